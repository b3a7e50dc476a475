"""The source text of a function, if it is the source of the code that runs."""

from __future__ import annotations

import inspect
import linecache
from collections.abc import Iterator
from types import CodeType, FunctionType

from tasklineage.key.references import facts_of


def source_of(function: FunctionType) -> str:
    """The text of a function, with its decorators; empty where there is none that fits.

    A file may have been edited since it was imported. So the text is compiled, and taken only if
    it gives the code that the function has.
    """
    code = function.__code__
    lines = linecache.getlines(code.co_filename, function.__globals__)
    if not lines:
        return ""
    wanted = facts_of(code).digest
    for found in _codes("".join(lines), code):
        if facts_of(found).digest == wanted:
            return "".join(inspect.getblock(lines[found.co_firstlineno - 1 :]))
    return ""


def _codes(text: str, like: CodeType) -> Iterator[CodeType]:
    """The code objects of the same name that a text compiles to, those on the same line first."""
    try:
        module = compile(text, like.co_filename, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return
    named = [code for code in _nested(module) if code.co_name == like.co_name]
    yield from sorted(named, key=lambda code: abs(code.co_firstlineno - like.co_firstlineno))


def _nested(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _nested(constant)
