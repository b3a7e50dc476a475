"""What may stand for a value among arguments: Futures, Fanouts, and the like."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

from tasklineage.core.inputs import Inputs
from tasklineage.key.digest import register_unresolved
from tasklineage.storage.records import Edge


class Deferred(ABC):
    """A value that may not be there yet. An argument that is one is replaced by its value."""

    __slots__ = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        register_unresolved(cls)

    @abstractmethod
    def done(self) -> bool:
        """Whether it is over."""

    @abstractmethod
    def failure(self) -> BaseException | None:
        """The exception that stands in place of the value, if any; waits until it is over."""

    @abstractmethod
    def value(self) -> Any:
        """The value of one that is over and has not failed."""

    @abstractmethod
    def edges(self, path: str) -> Iterator[Edge]:
        """The calls that made the value, which stands at `path` among some arguments."""


def walk(value: Any, path: str = "") -> Iterator[tuple[str, Deferred]]:
    """Every Deferred in a value, at any depth of list, tuple, dict and Inputs, with its path."""
    kind = type(value)
    if kind is list or kind is tuple or (kind is Inputs and not value.names):
        for i, part in enumerate(value):
            yield from walk(part, f"{path}[{i}]")
    elif kind is Inputs:
        for name, part in zip(value.names, value, strict=True):
            yield from walk(part, f"{path}.{name}")
    elif kind is dict:
        for key, part in value.items():
            yield from walk(part, f"{path}[{key!r}]")
    elif isinstance(value, Deferred):
        yield path, value


def replaced(value: Any, replace: Callable[[Any], Any]) -> Any:
    """A value with `replace` applied to what is no container; itself where nothing changed."""
    kind = type(value)
    if kind is list or kind is tuple:
        parts = [replaced(part, replace) for part in value]
        is_same = all(map(_is, parts, value))
        return value if is_same else kind(parts)
    if kind is Inputs:
        return Inputs([replaced(part, replace) for part in value], value.names)
    if kind is dict:
        new = {key: replaced(part, replace) for key, part in value.items()}
        return value if all(map(_is, new.values(), value.values())) else new
    return replace(value)


def with_values(value: Any) -> Any:
    """A value with every Deferred replaced by its value; all of them are over."""
    return replaced(value, lambda part: part.value() if isinstance(part, Deferred) else part)


def _is(a: object, b: object) -> bool:
    return a is b
