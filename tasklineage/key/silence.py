"""Attributes that a task only writes to: counters and statistics that nobody asks for.

`Stats.calls += 1`, `helper.calls += 1` and `self.n += 1` tell the task nothing if no code that it
reaches reads an attribute of that name. So such an attribute of a class, of a function, or of an
instance in a global is no part of the code version, and changing it is no mutation.

Only where that is sure: not if there is code that looks at attributes by computed names, or at all
of them; not for classes that say themselves what their attributes are; not for what is handed on,
as an argument or result or in a container, where code of others may look at it.
"""

from __future__ import annotations

import abc
import copyreg
import functools
import operator
import types
import typing
from typing import Any, NamedTuple

from tasklineage.key.attribute_uses import Uses
from tasklineage.key.boundary import is_project_class
from tasklineage.key.digest_forms import Code, Parts, Undigestible, add_form
from tasklineage.key.digest_objects import instance_parts
from tasklineage.key.references import facts_of
from tasklineage.key.sinks import COUNTED

_PLAIN_BASES = frozenset({object, abc.ABC, typing.Generic, typing.Protocol})
_PLAIN_METACLASSES = frozenset({type, abc.ABCMeta})
_OWN_ACCESS = frozenset(
    {
        "__getattr__", "__getattribute__", "__setattr__", "__delattr__", "__dataclass_fields__",
        "__attrs_attrs__", "__match_args__", "__slots__", "__reduce__", "__reduce_ex__",
        "__getstate__", "__setstate__", "__getnewargs__", "__getnewargs_ex__", "__copy__",
        "__deepcopy__",
    }
)  # fmt: skip
_KNOWN_DESCRIPTORS = frozenset(
    {
        types.FunctionType, property, classmethod, staticmethod, functools.cached_property,
        functools.partialmethod, functools.singledispatchmethod,
        type(functools.lru_cache(lambda: None)), types.GetSetDescriptorType,
    }
)  # fmt: skip
_NAMERS = (operator.attrgetter, operator.methodcaller)
_NUMBERS = frozenset({int, float, bool, complex})


class Silence(NamedTuple):
    """What one walk over the code has found for the next one to leave out."""

    names: frozenset[str] = frozenset()
    """Attributes that are only written to."""
    updated: frozenset[str] = frozenset()
    """Those that are read to be written again."""
    passed: frozenset[int] = frozenset()
    """Identities of functions, classes and instances that are handed on."""

    def of_function(self, function: types.FunctionType) -> frozenset[str]:
        """Attributes of a function that do not count."""
        if not self.names or id(function) in self.passed:
            return frozenset()
        return self._plain(function.__dict__)

    def of_class(self, cls: type) -> frozenset[str]:
        """Attributes in the namespace of a class that do not count."""
        if not self.names or id(cls) in self.passed or not _is_plain(cls):
            return frozenset()
        return self._plain(vars(cls))

    def of_instance(self, value: Any) -> frozenset[str]:
        """Attributes of an instance that do not count."""
        kind = type(value)
        if not self.names or id(value) in self.passed or not is_project_class(kind):
            return frozenset()
        if kind in copyreg.dispatch_table or not _is_plain(kind):
            return frozenset()
        own = vars(value)
        return frozenset(
            name
            for name in self.names
            if (name in own or hasattr(kind, name))
            and _is_silent(own.get(name))
            and _is_silent(getattr(kind, name, None))
        )

    def _plain(self, attributes: typing.Mapping[str, Any]) -> frozenset[str]:
        return frozenset(
            name for name in self.names & attributes.keys() if _is_silent(attributes[name])
        )


NOTHING = Silence()
"""Every attribute counts."""


class Listener:
    """Hears, while a closure is walked, what its code does to attributes."""

    def __init__(self) -> None:
        self._read: set[str] = set()
        self._written: set[str] = set()
        self._updated: set[str] = set()
        self._held: set[str] = set()
        self._passed: set[int] = set()
        self._is_deaf = False

    def hear(self, uses: Uses) -> None:
        """A function uses attributes in that way."""
        self._read |= uses.read
        self._written |= uses.written
        self._updated |= uses.updated
        self._is_deaf |= uses.looks_at_all

    def hold(self, attributes: typing.Mapping[str, Any]) -> None:
        """There is something that has these attributes."""
        self._held.update(attributes)

    def hand_on(self, value: Any) -> None:
        """Something is handed on: others may look at it."""
        self._is_deaf |= isinstance(value, _NAMERS)
        if isinstance(value, (types.FunctionType, type)) or is_project_class(type(value)):
            self._passed.add(id(value))

    def silence(self) -> Silence:
        """What does not count, as far as was heard."""
        names = (self._written & self._held) - self._read
        if not names or self._is_deaf:
            return NOTHING
        passed = frozenset(self._passed)
        return Silence(frozenset(names), frozenset(self._updated & names), passed)


class Without:
    """An instance without some of its attributes."""

    __slots__ = ("names", "updated", "value")

    def __init__(self, value: Any, names: frozenset[str], updated: frozenset[str]) -> None:
        self.value = value
        self.names = names
        self.updated = updated & names


def kind_text(value: Any) -> str:
    """What counts of an attribute that is read to be written again: what can be done with it."""
    kind = type(value)
    return "number" if kind in _NUMBERS else f"{kind.__module__}.{kind.__qualname__}"


def _without(value: Without, code: Code) -> Parts:
    tag, kind, state, *rest = instance_parts(value.value, code)
    state = {} if state is None else state
    if tag != "object" or type(state) is not dict:
        raise Undigestible("its attributes are not all of its state")
    names = sorted(name for name in value.updated if name in state or hasattr(kind, name))
    kinds = [(name, kind_text(state.get(name, getattr(kind, name, None)))) for name in names]
    kept = {name: part for name, part in state.items() if name not in value.names}
    return tag, kind, kept, *rest, *([kinds] if kinds else [])


def _is_plain(cls: type) -> bool:
    """Whether attributes of a class and of its instances are found as usual, and nobody else's."""
    if type(cls) not in _PLAIN_METACLASSES:
        return False
    return all(base in _PLAIN_BASES or _is_plain_here(base) for base in cls.__mro__)


def _is_plain_here(cls: type) -> bool:
    space = vars(cls)
    if not is_project_class(cls) or not _OWN_ACCESS.isdisjoint(space):
        return False
    for name, value in space.items():
        if (
            name[:2] != "__"
            and type(value) not in _KNOWN_DESCRIPTORS
            and hasattr(type(value), "__get__")
        ):
            return False
        if any(map(_gives_self, _functions(value))):
            return False
    return True


def _functions(value: Any) -> list[Any]:
    """The functions through which a class attribute gets hold of the instance or class."""
    if isinstance(value, property):
        return [f for f in (value.fget, value.fset, value.fdel) if f is not None]
    if isinstance(value, staticmethod):
        return []
    if isinstance(value, (classmethod, functools.cached_property)):
        return [value.__func__ if isinstance(value, classmethod) else value.func]
    return [value] if type(value) in _KNOWN_DESCRIPTORS - {types.GetSetDescriptorType} else []


def _gives_self(function: Any) -> bool:
    if not isinstance(function, types.FunctionType):
        return True
    return facts_of(function.__code__).uses.gives_self


def _is_silent(value: Any) -> bool:
    kind = type(value)
    return value is None or f"{kind.__module__}.{kind.__qualname__}" in COUNTED


add_form(Without, _without, family=False)
