"""Context variables of calls that run elsewhere: what code reads of them there is what it is here.

A context variable is pickled by nobody, and what it stands for belongs to the caller's context. So
one of a module travels by its name, any other as a new one that is the same for all tasks of a
worker; and with the calls go the values of those that their code reads.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from importlib import import_module
from os import getpid
from typing import Any, ClassVar, TypeVar

from tasklineage.errors import ConfigError
from tasklineage.executors import parcels
from tasklineage.key.code_version import CodeVersion

T = TypeVar("T")
Token = tuple[int, int]


class _Known:
    """Here: where variables are found. In a worker: those made for variables without a place."""

    places: ClassVar[dict[int, tuple[ContextVar[Any], tuple[str, str] | None]]] = {}
    made: ClassVar[dict[Token, ContextVar[Any]]] = {}


def packed_values(code: CodeVersion) -> bytes:
    """The context variables that the code reads with what they stand for; empty without any."""
    variables = code.variables
    if not variables:
        return b""
    found = [(variable, _value(variable)) for variable in variables]
    try:
        return parcels.pack([pair for pair in found if pair[1]])[0]
    except Exception as error:
        names = ", ".join(variable.name for variable, value in found if value)
        raise ConfigError(
            f"what the context variables {names} stand for cannot travel to a worker: {error}. "
            "Pass what matters as an argument, or run the task on threads."
        ) from error


def called_with(packed: bytes, function: Callable[[], T]) -> T:
    """What a function returns where context variables stand for what was packed."""
    if not packed:
        return function()
    context = copy_context()
    for variable, (value,) in parcels.unpack(packed, ()):
        context.run(variable.set, value)
    return context.run(function)


def _value(variable: ContextVar[Any]) -> tuple[Any, ...]:
    try:
        return (variable.get(),)
    except LookupError:
        return ()


def _default(variable: ContextVar[Any]) -> tuple[Any, ...]:
    return Context().run(_value, variable)


def _reduced(variable: ContextVar[Any]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    known = _Known.places.get(id(variable))
    if known is None:
        known = _Known.places[id(variable)] = variable, _place(variable)
    if known[1] is not None:
        return _found, known[1]
    return _made, ((getpid(), id(variable)), variable.name, _default(variable))


def _place(variable: ContextVar[Any]) -> tuple[str, str] | None:
    """A module that a worker can import, and the name that the variable has in it."""
    for module, found in list(sys.modules.items()):
        if getattr(found, "__spec__", None) is not None and module != "__main__":
            for name, value in list(getattr(found, "__dict__", {}).items()):
                if value is variable:
                    return module, name
    return None


def _found(module: str, name: str) -> Any:
    return getattr(import_module(module), name)


def _made(token: Token, name: str, default: tuple[Any, ...]) -> ContextVar[Any]:
    if token not in _Known.made:
        _Known.made[token] = ContextVar(name, **({"default": default[0]} if default else {}))
    return _Known.made[token]


parcels.rules[ContextVar] = _reduced
