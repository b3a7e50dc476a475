"""Objects as nodes of a tree: a form, which many of them share, and items.

The form says how to make the object, the items are its content. What has no form is left to pickle.

    ["instance", module, class, names, slots]    a dataclass, attrs class or pydantic model:
                                                 the values of its attributes, then of its slots
    ["namespace", names]                         types.SimpleNamespace
    ["namedtuple", module, class, names]         its parts
    ["enum", module, class, name, value]         a member by its name; value: nil if it is no atom
    ["flag", module, class, value]               members of a Flag combined
    ["OrderedDict", names], ["Counter", names]   the values of its attributes (state dicts of torch
                                                 have some), then keys and values in turn
    ["defaultdict", factory]                     keys and values in turn
    ["deque", maxlen]                            its elements

Making one runs no code of its class. Classes are found by name; a class that has changed so that
the object would lack something raises `Undecodable`.
"""

from __future__ import annotations

import collections
import types
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

from tasklineage.storage.codecs.classes import (
    FindClass,
    Record,
    is_enum,
    is_importable,
    named_fields,
    record_of,
    undecodable,
)

_ATOMS = frozenset({type(None), bool, int, float, str, bytes})
_FACTORIES: dict[type, str] = {
    kind: kind.__name__
    for kind in (list, dict, set, tuple, frozenset, int, float, complex, bool, str, bytes)
}
_FACTORIES_BY_NAME = {name: kind for kind, name in _FACTORIES.items()}
_ABSENT = object()


class Opened(NamedTuple):
    """An object as a node."""

    form: tuple[Any, ...]
    items: Sequence[Any]


class Maker(NamedTuple):
    """How the objects of one form are made."""

    new: Callable[[], Any] | None
    """An empty one, which `fill` then fills; None: it is made at once."""
    fill: Callable[[Any, list[Any]], Any]
    """Puts the items in; what is made at once is returned, and the first argument is nothing."""
    is_hashable: bool = False
    """Whether it may be a key or an element of a set: its hash is not its class's own code."""
    hashed: slice = slice(0, 0)
    """Which of the items are hashed when they are put in."""


def opened(value: Any) -> Opened | None:
    """The form and the items of an object; None where it has no form."""
    kind: Any = type(value)
    open_one = _OPENERS.get(kind)
    if open_one is not None:
        return open_one(value)
    record = record_of(kind)
    if record is not None:
        return _open_instance(value, kind, record)
    if is_enum(kind):
        return _open_member(value, kind)
    fields = named_fields(kind)
    return None if fields is None else _open_named(value, kind, fields)


def is_key(value: Any, found: Opened) -> bool:
    """Whether an object may be a key: hashing it runs no code that looks at its content."""
    if found.form[0] == "namedtuple":
        kind: Any = type(value)
        return bool(kind.__hash__ is tuple.__hash__)
    return found.form[0] in ("enum", "flag")


def hashed_items(found: Opened) -> Iterable[Any]:
    """The items that are keys."""
    kind = found.form[0]
    if kind in ("OrderedDict", "Counter"):
        return found.items[len(found.form[1]) :: 2]
    return found.items[::2] if kind == "defaultdict" else ()


def maker(form: Any, find: FindClass) -> Maker:
    """How to make the objects of a form.

    Raises
    ------
    ValueError, TypeError, LookupError
        It is no form.
    Undecodable
        Its class is not to be had, or has changed.
    """
    kind, *rest = form
    return _MAKERS[kind](find, *rest)


# -- instances -------------------------------------------------------------------------------------


def _open_instance(value: Any, kind: type, record: Record) -> Opened | None:
    if not is_importable(kind):
        return None
    held = _attributes(value)
    slots: list[str] = []
    items = list(held.values())
    for name, slot in record.slots.items():
        part = _slot(slot, value)
        if part is not _ABSENT:
            slots.append(name)
            items.append(part)
    if set(map(type, held)) - {str} or _missing_field(kind, record, {*held, *slots}):
        return None
    form = ("instance", kind.__module__, kind.__qualname__, tuple(held), tuple(slots))
    return Opened(form, items)


def _attributes(value: Any) -> dict[str, Any]:
    try:
        held: dict[str, Any] = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return held


def _slot(slot: Any, value: Any) -> Any:
    try:
        return slot.__get__(value)
    except AttributeError:
        return _ABSENT


def _instance_maker(find: FindClass, module: Any, name: Any, names: Any, slots: Any) -> Maker:
    kind = find(_text(module), _text(name))
    record = record_of(kind)
    if record is None:
        reason = "it is no class whose instances are their attributes any more"
        raise undecodable(module, name, reason)
    names = _texts(names)
    missing = _missing_field(kind, record, {*names, *_texts(slots)})
    if missing is not None:
        raise undecodable(module, name, f"it has a field {missing!r} that was not stored")
    try:
        writers = [record.slots[slot].__set__ for slot in slots]
    except KeyError as error:
        raise undecodable(module, name, f"it has no slot {error} any more") from error
    if names and not hasattr(object.__new__(kind), "__dict__"):
        raise undecodable(module, name, f"it has no attribute {names[0]!r} any more")
    count = len(names)

    def fill(made: Any, items: list[Any]) -> None:
        if len(items) != count + len(writers):
            raise ValueError("another number of attributes")
        if count:
            object.__getattribute__(made, "__dict__").update(zip(names, items, strict=False))
        for write, item in zip(writers, items[count:], strict=True):
            write(made, item)

    return Maker(lambda: object.__new__(kind), fill)


def _missing_field(kind: type, record: Record, has: set[str]) -> str | None:
    """A declared field that an instance with these attributes lacks, and its class too."""
    for field in record.fields:
        if field not in has and field in record.slots:
            return field
        if field not in has and not any(field in vars(base) for base in kind.__mro__):
            return field
    return None


def _open_namespace(value: Any) -> Opened:
    held = vars(value)
    return Opened(("namespace", tuple(held)), list(held.values()))


def _namespace_maker(_: FindClass, names: Any) -> Maker:
    keys = _texts(names)

    def fill(made: Any, items: list[Any]) -> None:
        vars(made).update(zip(keys, items, strict=True))

    return Maker(types.SimpleNamespace, fill)


# -- namedtuples and enumerations ------------------------------------------------------------------


def _open_named(value: Any, kind: type, fields: tuple[str, ...]) -> Opened | None:
    items = list(tuple.__iter__(value))
    if len(items) != len(fields) or getattr(value, "__dict__", None) or not is_importable(kind):
        return None
    return Opened(("namedtuple", kind.__module__, kind.__qualname__, fields), items)


def _named_maker(find: FindClass, module: Any, name: Any, names: Any) -> Maker:
    kind: Any = find(_text(module), _text(name))
    fields = named_fields(kind)
    if fields is None or list(fields) != _texts(names):
        raise undecodable(module, name, f"it had the fields {', '.join(names)}")
    count = len(fields)

    def make(_: Any, items: list[Any]) -> Any:
        if len(items) != count:
            raise ValueError("another number of parts")
        return tuple.__new__(kind, items)

    return Maker(None, make, kind.__hash__ is tuple.__hash__)


def _open_member(value: Any, kind: Any) -> Opened | None:
    if not is_importable(kind):
        return None
    where = kind.__module__, kind.__qualname__
    content, name = value._value_, value._name_
    if type(name) is str and kind._member_map_.get(name) is value:
        atom = content if type(content) in _ATOMS and content == content else None
        return Opened(("enum", *where, name, atom), ())
    if _is_combined(kind) and type(content) is int:
        return Opened(("flag", *where, content), ())
    return None


def _is_combined(kind: Any) -> bool:
    """Whether members can be combined, and the class has no code of its own for that."""
    import enum

    flag: Any = enum.Flag
    return issubclass(kind, flag) and kind._missing_.__func__ is flag._missing_.__func__


def _member_maker(find: FindClass, module: Any, name: Any, member: Any, content: Any) -> Maker:
    kind: Any = find(_text(module), _text(name))
    found = kind._member_map_.get(member) if is_enum(kind) else None
    if found is None:
        raise undecodable(module, name, f"it has no member {_text(member)} any more")
    own = found._value_
    if content is not None and (type(own) is not type(content) or own != content):
        raise undecodable(module, name, f"{member} has another value now")
    return Maker(None, lambda _, items: found, is_hashable=True)


def _flag_maker(find: FindClass, module: Any, name: Any, content: Any) -> Maker:
    kind: Any = find(_text(module), _text(name))
    if not is_enum(kind) or not _is_combined(kind) or type(content) is not int:
        raise undecodable(module, name, "it is no Flag any more")
    try:
        found = kind(content)
    except ValueError as error:
        raise undecodable(module, name, str(error)) from error
    return Maker(None, lambda _, items: found, is_hashable=True)


# -- containers of the standard library ------------------------------------------------------------


def _open_mapping(value: Any) -> Opened:
    kind, held = type(value), vars(value)
    pairs = kind.items(value)  # those of a plain dict do not know the order of an OrderedDict
    form = (kind.__name__, tuple(held))
    return Opened(form, [*held.values(), *chain.from_iterable(pairs)])


def _mapping_maker(kind: Any) -> Callable[..., Maker]:
    update = collections.OrderedDict.update if kind is collections.OrderedDict else dict.update

    def make(_: FindClass, names: Any) -> Maker:
        keys, count = _texts(names), len(names)

        def fill(made: Any, items: list[Any]) -> None:
            update(made, zip(items[count::2], items[count + 1 :: 2], strict=True))
            vars(made).update(zip(keys, items[:count], strict=True))

        return Maker(kind, fill, hashed=slice(count, None, 2))

    return make


def _open_defaultdict(value: Any) -> Opened | None:
    factory = value.default_factory
    name = None if factory is None else _FACTORIES.get(factory)
    if name is None and factory is not None:
        return None
    return Opened(("defaultdict", name), list(chain.from_iterable(dict.items(value))))


def _defaultdict_maker(_: FindClass, factory: Any) -> Maker:
    kind = None if factory is None else _FACTORIES_BY_NAME[factory]

    def fill(made: Any, items: list[Any]) -> None:
        dict.update(made, zip(items[::2], items[1::2], strict=True))

    return Maker(lambda: collections.defaultdict(kind), fill, hashed=slice(0, None, 2))


def _open_deque(value: Any) -> Opened:
    return Opened(("deque", value.maxlen), list(value))


def _deque_maker(_: FindClass, maxlen: Any) -> Maker:
    if maxlen is not None and type(maxlen) is not int:
        raise TypeError("no length")
    return Maker(lambda: collections.deque(maxlen=maxlen), collections.deque.extend)


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError("text expected")
    return value


def _texts(values: Any) -> list[str]:
    if type(values) is not list or set(map(type, values)) - {str}:
        raise TypeError("names expected")
    return values


_OPENERS: dict[type, Callable[[Any], Opened | None]] = {
    types.SimpleNamespace: _open_namespace,
    collections.OrderedDict: _open_mapping,
    collections.Counter: _open_mapping,
    collections.defaultdict: _open_defaultdict,
    collections.deque: _open_deque,
}
_MAKERS: dict[Any, Callable[..., Maker]] = {
    "instance": _instance_maker,
    "namespace": _namespace_maker,
    "namedtuple": _named_maker,
    "enum": _member_maker,
    "flag": _flag_maker,
    "OrderedDict": _mapping_maker(collections.OrderedDict),
    "Counter": _mapping_maker(collections.Counter),
    "defaultdict": _defaultdict_maker,
    "deque": _deque_maker,
}
