"""`Key`: what of an argument counts, said by the annotation of its parameter.

`data: Annotated[Frame, tl.Key(version_of)]` does what `@task(key={"data": version_of})` does.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_args, get_origin

from tasklineage.errors import ConfigError


class Key:
    """In `Annotated[T, tl.Key(function)]`: what `function` returns of the argument counts.

    Of `*args` and `**kwargs` the function gets each element. `@task(key=…)` goes before it.

    Examples
    --------
    >>> def total(values: Annotated[list[int], Key(sorted)]) -> int: ...
    """

    __slots__ = ("function",)

    def __init__(self, function: Callable[[Any], Any]) -> None:
        if not callable(function):
            raise ConfigError(f"tl.Key takes a function of the argument, not {function!r}")
        self.function = function

    def __repr__(self) -> str:
        return f"Key({getattr(self.function, '__qualname__', self.function)})"


def key_functions(function: Callable[..., Any]) -> Mapping[str, Callable[[Any], Any]]:
    """By parameter, the function that its annotation has a Key of.

    Raises
    ------
    ConfigError
        An annotation has two.
    """
    from tasklineage.core.annotations import evaluated

    found: dict[str, Callable[[Any], Any]] = {}
    hints = getattr(function, "__annotations__", {})
    for parameter in inspect.signature(function, follow_wrapped=False).parameters.values():
        hint = evaluated(hints.get(parameter.name), function)
        keys = [extra for extra in _extras(hint) if isinstance(extra, Key)]
        if len(keys) > 1:
            raise ConfigError(f"the annotation of {parameter.name!r} has two tl.Key: one counts")
        if keys:
            found[parameter.name] = _applied(parameter, keys[0].function)
    return found


def _extras(hint: Any) -> tuple[Any, ...]:
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()


def _applied(parameter: inspect.Parameter, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        return functools.partial(_of_each, function)
    if parameter.kind is inspect.Parameter.VAR_KEYWORD:
        return functools.partial(_of_named, function)
    return function


def _of_each(function: Callable[[Any], Any], values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(map(function, values))


def _of_named(function: Callable[[Any], Any], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: function(value) for name, value in values.items()}
