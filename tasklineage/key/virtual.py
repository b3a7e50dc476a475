"""Classes that were registered with an abstract base: its virtual subclasses (PEP 3119).

Whether an object is an instance of the base depends on them, and neither class shows it.
"""

from __future__ import annotations

import sys
from typing import Any

_ABC: Any = sys.modules.get("_abc")
"""Knows the classes; absent where abstract bases are written in Python."""


class Registered:
    """The classes that were registered with an abstract base; its length is their number."""

    __slots__ = ("_base",)

    def __init__(self, base: type) -> None:
        self._base = base

    def __len__(self) -> int:
        return len(_registry(self._base))

    def classes(self) -> list[type]:
        """Those that are still there, by name: in what order they came does not count."""
        found = (reference() for reference in _registry(self._base))
        return sorted(filter(None, found), key=_name)


def is_abstract_base(cls: type) -> bool:
    """Whether classes can be registered with a class."""
    return "_abc_impl" in vars(cls)


def _registry(base: type) -> Any:
    return () if _ABC is None else _ABC._get_dump(base)[0]


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
