"""What of the project was put into libraries: into their classes, modules and abstract bases.

Code of a library is not walked. But a function of a library that is called by name may use a
function, or a class, that somebody has replaced: so the names in it, and in the functions of its
module that it uses, are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import is_
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    NoneType,
    WrapperDescriptorType,
)
from typing import Any, ClassVar, NamedTuple

from tasklineage.key.contents import carried_parts, held_parts
from tasklineage.key.virtual import Registered, is_abstract_base

_HEAP_TYPE = 1 << 9
_DEPTH = 3
"""How many functions of a library lie between the one that is called and the one replaced."""

_PLAIN = frozenset(
    {
        str, int, float, bool, NoneType, tuple, list, dict, set, frozenset, type,
        BuiltinFunctionType, ClassMethodDescriptorType, GetSetDescriptorType,
        MemberDescriptorType, MethodDescriptorType, WrapperDescriptorType,
    }
)  # fmt: skip

IsOurs = Callable[[Any], bool]
"""Whether a function or class is surely of the project."""


class _Known:
    """What was found before, by identity: the names in code, and what was put into a class."""

    LIMIT = 20_000
    names: ClassVar[dict[int, tuple[CodeType, tuple[str, ...]]]] = {}
    classes: ClassVar[dict[int, tuple[type, tuple[Any, ...], list[tuple[str, Any]]]]] = {}


class Patch(NamedTuple):
    """What was put into a class."""

    owner: type
    name: str
    value: Any

    def parts(self) -> list[tuple[str, Any]]:
        """The value; of an accessor of a library, what it was made to hold."""
        if isinstance(self.value, FunctionType) or carried_parts(self.value) is not None:
            return [(self.name, self.value)]
        return [(f"{self.name}.{label}", part) for label, part in held_parts(self.value)]


def patches_of(cls: type, is_ours: IsOurs) -> list[Patch]:
    """Functions, properties, accessors and such in a class of a library, and in its bases."""
    bases = [base for base in cls.__mro__ if base is cls or not is_ours(base)]
    found = [Patch(base, *item) for base in bases for item in _put_into(base, is_ours)]
    return sorted(found, key=lambda patch: patch.name)


def registered_with(cls: type, is_ours: IsOurs) -> list[type]:
    """Classes of the project that were registered with an abstract base of a library."""
    return list(filter(is_ours, Registered(cls).classes())) if is_abstract_base(cls) else []


def patches_below(function: FunctionType, is_ours: IsOurs) -> list[tuple[str, Any]]:
    """Functions and patched classes that a function of a library uses, by their names in it."""
    found: dict[str, Any] = {}
    seen, level = {function}, [function]
    for _ in range(_DEPTH):
        below: list[FunctionType] = []
        for user in level:
            for name, value in _used(user):
                if isinstance(value, FunctionType) and not is_ours(value):
                    below += [value] if value.__globals__ is user.__globals__ else []
                elif isinstance(value, FunctionType) or _has_patches(value, is_ours):
                    found[name] = value
        level = list(dict.fromkeys(f for f in below if f not in seen))
        seen.update(level)
    return sorted(found.items())


def _used(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """The functions and classes that the names in a function stand for in its module."""
    space = function.__globals__
    code = function.__code__
    known = _Known.names.get(id(code))
    if known is None:
        if len(_Known.names) >= _Known.LIMIT:
            _Known.names.clear()
        known = _Known.names[id(code)] = code, tuple(dict.fromkeys(_names(code)))
    for name in known[1]:
        value = space.get(name)
        if isinstance(value, (FunctionType, type)):
            yield name, value


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _has_patches(cls: type, is_ours: IsOurs) -> bool:
    return not is_ours(cls) and bool(_put_into(cls, is_ours))


def _put_into(cls: type, is_ours: IsOurs) -> list[tuple[str, Any]]:
    """What somebody has put into the namespace of one class; remembered while it is the same."""
    if not cls.__flags__ & _HEAP_TYPE:
        return []
    values = tuple(vars(cls).values())
    known = _Known.classes.get(id(cls))
    if known is not None and len(known[1]) == len(values) and all(map(is_, known[1], values)):
        return known[2]
    if len(_Known.classes) >= _Known.LIMIT:
        _Known.classes.clear()
    items = zip(tuple(vars(cls)), values, strict=True)
    found = [
        (name, value)
        for name, value in items
        if type(value) not in _PLAIN and any(map(is_ours, _code_in(value)))
    ]
    _Known.classes[id(cls)] = cls, values, found
    return found


def _code_in(value: Any) -> list[Any]:
    """A function itself; those, and classes, that a property, an accessor and the like carry."""
    if isinstance(value, FunctionType):
        return [value]
    parts = [part for _, part in carried_parts(value) or held_parts(value)]
    return [part for part in parts if isinstance(part, (FunctionType, type))]
