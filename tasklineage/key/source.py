"""The source text of a function, if it is the source of the code that runs."""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType, FunctionType

from tasklineage.key.references import body_digest, facts_of


class Sources:
    """Reads the text of functions; each file is compiled once. For one thread, short-lived.

    A file may have been edited since it was imported. So its text is compiled, and taken only if
    it gives the code that the function has.
    """

    def __init__(self) -> None:
        self._codes: dict[str, list[CodeType]] = {}

    def of(self, function: FunctionType) -> str:
        """The text of a function with its decorators; empty where there is none that fits."""
        import inspect  # slow to import; needed once for each new code version
        import linecache

        code = function.__code__
        lines = linecache.getlines(code.co_filename, function.__globals__)
        if not lines:
            return ""
        if code.co_filename not in self._codes:
            self._codes[code.co_filename] = list(_compiled("".join(lines)))
        wanted = facts_of(code).digest
        alike = [c for c in self._codes[code.co_filename] if c.co_name == code.co_name]
        for found in sorted(alike, key=lambda c: abs(c.co_firstlineno - code.co_firstlineno)):
            if body_digest(found) == wanted:
                return "".join(inspect.getblock(lines[found.co_firstlineno - 1 :]))
        return ""


def _compiled(text: str) -> Iterator[CodeType]:
    """The code objects that a text compiles to."""
    try:
        module = compile(text, "<source>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return
    yield from _nested(module)


def _nested(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _nested(constant)
