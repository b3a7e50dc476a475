"""Classes whose instances are their attributes: what is known of them, and how they are found.

A dataclass, an attrs class or a pydantic model is stored as its attributes if nothing of it says
otherwise: no `__reduce__`, `__getstate__`, `__new__` or `__del__` of its own, no base that is no
class of Python's. Such an instance is made without running any code of its class, neither
`__init__` nor a validator, and with the attributes it had.
"""

from __future__ import annotations

import copyreg
import sys
import types
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from tasklineage.storage.codecs.base import Undecodable

_HEAP_TYPE = 1 << 9
"""The flag of classes made at run time."""
_REDUCERS = (
    "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__",
    "__getnewargs_ex__", "__new__", "__del__",
)  # fmt: skip
_GENERATORS = frozenset({"dataclasses", "attr._make", "pydantic.main", "pydantic.root_model"})
"""Modules whose `__getstate__` and `__setstate__` say what the attributes say."""

FindClass = Callable[[str, str], type]


class Record(NamedTuple):
    """What is known of a class whose instances are their attributes."""

    slots: Mapping[str, Any]
    """Its slots by name, each with what reads and writes it."""
    fields: tuple[str, ...]
    """The names that are declared."""


@lru_cache(maxsize=1024)
def record_of(kind: Any) -> Record | None:
    """What is known of such a class; None for others."""
    fields = _fields(kind)
    if fields is None or kind.__new__ is not object.__new__ or kind in copyreg.dispatch_table:
        return None
    slots: dict[str, Any] = {}
    for base in kind.__mro__[:-1]:
        own = vars(base)
        if not base.__flags__ & _HEAP_TYPE or any(_is_own(own.get(name)) for name in _REDUCERS):
            return None
        for name, descriptor in own.items():
            if type(descriptor) is types.MemberDescriptorType:
                slots.setdefault(name, descriptor)
    return None if "_attrs_cached_hash" in slots else Record(slots, fields)


@lru_cache(maxsize=1024)
def named_fields(kind: Any) -> tuple[str, ...] | None:
    """The names of the parts of a namedtuple's class; None for others."""
    fields = getattr(kind, "_fields", None)
    if not issubclass(kind, tuple) or type(fields) is not tuple or kind in copyreg.dispatch_table:
        return None
    maker = getattr(kind.__new__, "__globals__", {}).get("__name__")
    if not isinstance(maker, str) or not maker.startswith("namedtuple_"):
        return None
    for base in kind.__mro__:
        if base in (tuple, object):
            continue
        reducers = {name: vars(base).get(name) for name in _REDUCERS if name != "__new__"}
        arguments = reducers.pop("__getnewargs__")
        if any(reducers.values()) or (arguments and _module_of(arguments) != "collections"):
            return None
    return fields if all(type(name) is str for name in fields) else None


def is_enum(kind: type) -> bool:
    """Whether it is the class of an enumeration."""
    enum = sys.modules.get("enum")
    return enum is not None and issubclass(kind, enum.Enum)


def is_importable(kind: type) -> bool:
    """Whether a class is found under its name."""
    return _look_up(kind.__module__, kind.__qualname__) is kind


def find_loaded(module: str, name: str) -> type:
    """The class of that name in a module that is imported already.

    Raises
    ------
    Undecodable
        There is none.
    """
    if module not in sys.modules:
        raise undecodable(module, name, f"import {module} first: this store may import nothing")
    return _found(module, name)


def find_class(module: str, name: str) -> type:
    """The class of that name; its module is imported if need be.

    Raises
    ------
    Undecodable
        There is none, or its module raised.
    """
    if module not in sys.modules:
        from importlib import import_module

        try:
            import_module(module)
        except Exception as error:
            raise undecodable(module, name, f"{type(error).__name__}: {error}") from error
    return _found(module, name)


def undecodable(module: str, name: str, reason: str) -> Undecodable:
    """The error for a class that cannot be used here."""
    return Undecodable(
        f"a {module}.{name} does not decode here: {reason}", codec="tree", type=f"{module}.{name}"
    )


def _found(module: str, name: str) -> type:
    kind = _look_up(module, name)
    if kind is None:
        raise undecodable(module, name, f"{module} has no class of that name any more")
    return kind


def _look_up(module: Any, name: str) -> type | None:
    """The class of that name, without running code of the module or of a class."""
    found: Any = sys.modules.get(module) if isinstance(module, str) else None
    for part in name.split("."):
        if not isinstance(found, types.ModuleType | type):
            return None
        found = vars(found).get(part)
    return found if isinstance(found, type) else None


def _fields(kind: type) -> tuple[str, ...] | None:
    """The declared names of a dataclass, an attrs class or a pydantic model."""
    for base in kind.__mro__:
        own = vars(base)
        if "__dataclass_fields__" in own:
            import dataclasses

            return tuple(field.name for field in dataclasses.fields(base))
        if "__attrs_attrs__" in own:
            return tuple(attribute.name for attribute in own["__attrs_attrs__"])
        if "__pydantic_fields__" in own:
            return tuple(own["__pydantic_fields__"])
    return None


def _is_own(method: Any) -> bool:
    """Whether a method that decides how instances are stored was written by the user."""
    return method is not None and _module_of(method) not in _GENERATORS


def _module_of(function: Any) -> Any:
    """The module in whose code a function was made."""
    return getattr(function, "__globals__", {}).get("__name__")
