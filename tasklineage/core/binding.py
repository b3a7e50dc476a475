"""How the arguments of a call become one value per parameter, at the speed of a plain call."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


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
    parameters = list(inspect.signature(function, follow_wrapped=False).parameters.values())
    names = tuple(p.name for p in parameters)
    defaults = {f"_default_{i}": p.default for i, p in enumerate(parameters)}
    name = getattr(function, "__name__", "")
    if not name.isidentifier() or name in names:
        name = "call"
    source = f"def {name}({_declare(parameters)}): return ({''.join(n + ', ' for n in names)})"
    namespace: dict[str, Any] = dict(defaults)
    exec(source, namespace)  # the names come from a signature: they are identifiers
    kinds = [p.kind for p in parameters]
    by_place = sum(kind in _BY_PLACE for kind in kinds)
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        by_place = sys.maxsize
    only = sum(kind is inspect.Parameter.POSITIONAL_ONLY for kind in kinds)
    single = tuple(p.name for p in parameters if p.kind not in _VARIADIC)
    return Binding(namespace[name], names, single, by_place, only)


def _declare(parameters: Sequence[inspect.Parameter]) -> str:
    """The parameter list as source, its defaults taken from `_default_<i>`."""
    parts: list[str] = []
    previous: Any = None
    for i, p in enumerate(parameters):
        if previous is p.POSITIONAL_ONLY and p.kind is not p.POSITIONAL_ONLY:
            parts.append("/")
        if p.kind is p.KEYWORD_ONLY and previous not in (p.KEYWORD_ONLY, p.VAR_POSITIONAL):
            parts.append("*")
        star = "*" if p.kind is p.VAR_POSITIONAL else "**" if p.kind is p.VAR_KEYWORD else ""
        default = f"=_default_{i}" if p.default is not p.empty else ""
        parts.append(f"{star}{p.name}{default}")
        previous = p.kind
    if previous is inspect.Parameter.POSITIONAL_ONLY:
        parts.append("/")
    return ", ".join(parts)
