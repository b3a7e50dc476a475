"""How the arguments of a call become one value per parameter, at the speed of a plain call."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from types import FunctionType
from typing import Any, NamedTuple

_ONLY_BY_PLACE, _EITHER, _ARGS, _ONLY_BY_NAME, _KWARGS = range(5)
"""Kinds of parameters, numbered as `inspect` does."""
_NONE = object()
_HAS_ARGS, _HAS_KWARGS = 4, 8  # flags of a code object


class _Parameter(NamedTuple):
    name: str
    kind: int
    default: Any = _NONE


class Binding(NamedTuple):
    """What is known of a function's parameters."""

    bind: Callable[..., tuple[Any, ...]]
    """Takes what the function takes and returns one value per parameter, defaults filled in.

    `*args` come as one tuple and `**kwargs` as one dict. It raises the `TypeError` that the
    function would have raised.
    """
    names: tuple[str, ...]
    single: tuple[str, ...]
    """The parameters that take one argument each: all but `*args` and `**kwargs`."""
    positional: int
    """How many of the first parameters may be given by position; those of `*args` count as many."""
    positional_only: int


def binding_of(function: Callable[..., Any]) -> Binding:
    """The binding of `function`, with the defaults that it has now.

    `inspect.Signature.bind` does the same in some 4 µs; a function made for the signature takes a
    fiftieth of that.
    """
    parameters = list(_parameters_of(function))
    names = tuple(p.name for p in parameters)
    defaults = {f"_default_{i}": p.default for i, p in enumerate(parameters)}
    name = getattr(function, "__name__", "")
    if not name.isidentifier() or name in names:
        name = "call"
    source = f"def {name}({_declare(parameters)}): return ({''.join(n + ', ' for n in names)})"
    namespace: dict[str, Any] = dict(defaults)
    exec(source, namespace)  # the names come from a signature: they are identifiers
    by_place = sum(p.kind <= _EITHER for p in parameters)
    if any(p.kind == _ARGS for p in parameters):
        by_place = sys.maxsize
    only = sum(p.kind == _ONLY_BY_PLACE for p in parameters)
    single = tuple(p.name for p in parameters if p.kind not in (_ARGS, _KWARGS))
    return Binding(namespace[name], names, single, by_place, only)


def _parameters_of(function: Callable[..., Any]) -> Iterator[_Parameter]:
    """The parameters in order: what `inspect.signature` says, whose import takes 5 ms."""
    if type(function) is not FunctionType or "__signature__" in function.__dict__:
        from inspect import signature

        for p in signature(function, follow_wrapped=False).parameters.values():
            yield _Parameter(p.name, p.kind, _NONE if p.default is p.empty else p.default)
        return
    code, defaults = function.__code__, function.__defaults__ or ()
    count, only = code.co_argcount, code.co_posonlyargcount
    names = iter(code.co_varnames)
    values = chain([_NONE] * (count - len(defaults)), defaults)
    for i, value in zip(range(count), values, strict=False):
        yield _Parameter(next(names), _ONLY_BY_PLACE if i < only else _EITHER, value)
    by_name = [next(names) for _ in range(code.co_kwonlyargcount)]
    if code.co_flags & _HAS_ARGS:
        yield _Parameter(next(names), _ARGS)
    for name in by_name:
        yield _Parameter(name, _ONLY_BY_NAME, (function.__kwdefaults__ or {}).get(name, _NONE))
    if code.co_flags & _HAS_KWARGS:
        yield _Parameter(next(names), _KWARGS)


def _declare(parameters: Sequence[_Parameter]) -> str:
    """The parameter list as source, its defaults taken from `_default_<i>`."""
    parts: list[str] = []
    previous = _EITHER
    for i, p in enumerate(parameters):
        if previous == _ONLY_BY_PLACE != p.kind:
            parts.append("/")
        if p.kind == _ONLY_BY_NAME and previous not in (_ONLY_BY_NAME, _ARGS):
            parts.append("*")
        star = "*" if p.kind == _ARGS else "**" if p.kind == _KWARGS else ""
        default = f"=_default_{i}" if p.default is not _NONE else ""
        parts.append(f"{star}{p.name}{default}")
        previous = p.kind
    if previous == _ONLY_BY_PLACE:
        parts.append("/")
    return ", ".join(parts)
