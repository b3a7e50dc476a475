"""How functions and classes that decorators have made are pickled by value.

cloudpickle takes what `functools` makes for something that can be imported, or finds a lock in it.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable
from typing import Any


def with_slots(kind: type, reduced: Any) -> Any:
    """How a class is reduced by value, with the slots that cloudpickle leaves out."""
    slots = vars(kind).get("__slots__")
    if slots and isinstance(reduced, tuple) and reduced[0].__name__ == "_make_skeleton_class":
        made, (meta, name, bases, members, *rest), *state = reduced
        members = {**members, "__slots__": slots if isinstance(slots, str) else tuple(slots)}
        return made, (meta, name, bases, members, *rest), *state
    return reduced


def _cached(function: Any) -> Any:
    """What `functools.cache` has made: with its function, but for what is imported."""
    import cloudpickle

    name = getattr(function, "__qualname__", "")
    home = sys.modules.get(function.__module__)
    if home is not None and home.__name__ not in _made_here(cloudpickle):
        found: Any = home
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is function:
            return name
    return _cached_again, (function.__wrapped__, function.cache_parameters())


def _made_here(cloudpickle: Any) -> set[str]:
    """Modules that are not imported by who unpickles."""
    return {"__main__", *cloudpickle.list_registry_pickle_by_value()}


def _cached_again(function: Any, parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


def _cached_property(found: functools.cached_property[Any]) -> Any:
    """Until Python 3.12 it has a lock."""
    return _cached_property_again, (found.func, found.attrname)


def _cached_property_again(function: Any, name: str | None) -> Any:
    made = functools.cached_property(function)
    made.attrname = name
    return made


def _weak(values: weakref.WeakKeyDictionary[Any, Any]) -> Any:
    return weakref.WeakKeyDictionary, (dict(values),)


rules: dict[type, Callable[[Any], Any]] = {
    type(functools.cache(len)): _cached,
    functools.cached_property: _cached_property,
    weakref.WeakKeyDictionary: _weak,  # in what `functools.singledispatch` makes
}
"""By type, how its instances are reduced."""
