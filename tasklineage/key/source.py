"""The source of a function, if it is the source of the code that runs."""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, ClassVar

from tasklineage.key.references import body_digest, facts_of

if TYPE_CHECKING:
    from tasklineage.key.syntax import Functions


class Sources:
    """Reads the text of functions, and digests of their syntax; each file is compiled once.

    A file may have been edited since it was imported. So its text is compiled, and taken only if
    it gives the code that the function has.
    """

    LIMIT = 64
    _files: ClassVar[dict[str, _File]] = {}
    """Those that were read last."""

    def of(self, function: FunctionType) -> str:
        """The text of a function with its decorators; empty where there is none that fits."""
        import inspect  # slow to import; needed once for each new code version

        file = self._file(function)
        found = None if file is None else file.code_like(function.__code__)
        if file is None or found is None:
            return ""
        return "".join(inspect.getblock(file.lines[found.co_firstlineno - 1 :]))

    def syntax(self, function: FunctionType) -> bytes:
        """The digest of its syntax, the same under every Python; empty where there is no source."""
        file = self._file(function)
        found = None if file is None else file.code_like(function.__code__)
        if file is None or found is None:
            return b""
        return file.syntax(found)

    def _file(self, function: FunctionType) -> _File | None:
        import linecache

        name = function.__code__.co_filename
        lines = linecache.getlines(name, function.__globals__)
        if not lines:
            return None
        known = self._files.get(name)
        if known is None or (known.lines is not lines and known.lines != lines):
            if len(self._files) >= self.LIMIT:
                self._files.clear()
            known = self._files[name] = _File(lines)
        return known


class _File:
    """One text, and what it compiles to."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self._text = "".join(lines)
        self._codes: dict[str, list[CodeType]] = {}
        for code in _compiled(self._text):
            self._codes.setdefault(code.co_name, []).append(code)
        self._digests: dict[int, bytes] = {}
        self._functions: Functions | None = None

    def code_like(self, code: CodeType) -> CodeType | None:
        """The code object of the text that does the same as this one, the nearest one."""
        wanted = facts_of(code).digest
        alike = self._codes.get(code.co_name, [])
        for found in sorted(alike, key=lambda c: abs(c.co_firstlineno - code.co_firstlineno)):
            known = self._digests.get(id(found))
            if known is None:
                known = self._digests[id(found)] = body_digest(found)
            if known == wanted:
                return found
        return None

    def syntax(self, code: CodeType) -> bytes:
        """The digest of the syntax of one of its code objects; empty if that is not certain."""
        if self._functions is None:
            from tasklineage.key.syntax import Functions  # slow to import, as `inspect` is

            try:
                self._functions = Functions(self._text)
            except (ValueError, RecursionError, MemoryError):  # too deep, for one
                return b""
        return self._functions.digest(code)


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
