"""Whether everything that a closure was built from is still bound as it was.

Checked on every call, so it is done in bulk: all names of one namespace are fetched by one
`operator.itemgetter` and compared by identity. (Comparing the tuples would be faster and wrong:
`1 == True`, and arrays do not compare.)

`__code__`, `__defaults__` and `__kwdefaults__` of a function, and the bases of a class, can be
replaced in place, as IPython's autoreload does. Reading them all at each call would cost more
than everything else; but replacing them raises an audit event, so a hook counts those, and they
are read again only after one.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Mapping, Sized
from types import CellType, FunctionType
from typing import Any

Namespace = Mapping[Any, Any]
PartsGetter = Callable[[Any], tuple[Any, ...]]

_REPLACED = frozenset({"__code__", "__defaults__", "__kwdefaults__", "__bases__"})
_OF_FILES = frozenset(
    {
        "open", "os.listdir", "os.scandir", "os.mkdir", "os.rename", "os.link", "os.symlink",
        "sqlite3.connect",
    }
)  # fmt: skip
_EVENTS = _OF_FILES | {"object.__setattr__", "object.__delattr__"}
_content = operator.attrgetter("cell_contents")
MISSING = object()
"""Stands where nothing is bound."""


class _Epoch:
    """Another object after every replacement in place; None until the hook is installed."""

    now: object = None
    on_file: Callable[[str, tuple[Any, ...]], object] | None = None


class Unseen(str):
    """A path that this package opens on its own account, which is no read of a body."""

    __slots__ = ()


def _notice(event: str, args: tuple[Any, ...]) -> None:
    if event in _EVENTS:
        if event not in _OF_FILES:
            if args[1] in _REPLACED:
                _Epoch.now = object()
        elif _Epoch.on_file is not None:
            _Epoch.on_file(event, args)


def watch_files(on_file: Callable[[str, tuple[Any, ...]], object]) -> None:
    """Have `on_file(event, arguments)` called for the audit events about files and folders."""
    _Epoch.on_file = on_file


def epoch() -> object:
    """What changes when a function or class is changed in place. Installs the hook once."""
    if _Epoch.now is None:
        _Epoch.now = object()
        sys.addaudithook(_notice)
    return _Epoch.now


def renew_epoch() -> None:
    """Whatever depends on the epoch is made anew: something else that it depends on has changed."""
    if _Epoch.now is not None:
        _Epoch.now = object()


class Guards:
    """What was bound where. Made by a `Recorder`; `hold` may be called from any thread."""

    __slots__ = (
        "_absent", "_bare", "_cells", "_contents", "_epoch", "_measured", "_namespaces",
        "_parts", "_recorder", "_replaceable", "_sizes", "_typed",
    )  # fmt: skip

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._epoch = recorder.epoch
        self._namespaces = tuple(_fetch(*entry) for entry in recorder.bound.values())
        self._absent = tuple(
            (space.keys(), frozenset(names)) for space, names in recorder.absent.values()
        )
        self._cells = tuple(cell for cell, _, _ in recorder.cells.values())
        self._contents = tuple(content for _, content, _ in recorder.cells.values())
        self._measured = tuple(thing for thing, _ in recorder.sizes.values())
        self._sizes = [size for _, size in recorder.sizes.values()]
        self._bare = tuple(recorder.bare.values())
        self._parts = tuple(recorder.parts.values())
        self._typed = tuple(recorder.typed)
        self._replaceable = tuple(recorder.replaceable)

    def hold(self) -> bool:
        """Whether everything is still bound as it was (HOT)."""
        is_ = operator.is_
        try:
            for getter, space, expected in self._namespaces:
                if not all(map(is_, getter(space), expected)):
                    return False
            if self._cells and not all(map(is_, map(_content, self._cells), self._contents)):
                return False
            for getter, thing, expected, _ in self._parts:
                if not all(map(is_, getter(thing), expected)):
                    return False
        except (LookupError, ValueError, AttributeError):  # a name is gone, or a cell is empty
            return False
        for keys, names in self._absent:
            if not keys.isdisjoint(names):
                return False
        if any(self._bare):  # a function has been given its first attribute
            return False
        if self._measured and list(map(len, self._measured)) != self._sizes:
            return False
        if self._typed and not all(type(get()) is kind for get, kind in self._typed):
            return False
        return _Epoch.now is self._epoch or self._hold_in_place()

    def files(self) -> frozenset[str]:
        """Files of the modules among the namespaces."""
        spaces = (space for space, _ in self._recorder.bound.values() if isinstance(space, dict))
        found = (space.get("__file__") for space in spaces)
        return frozenset(file for file in found if isinstance(file, str))

    def rebound(self) -> list[tuple[str, Any, Any]]:
        """What stands for something else now: its name, what it stood for, and what it does now."""
        found: list[tuple[str, Any, Any]] = []
        for place, (space, names) in self._recorder.bound.items():
            for name, expected in names.items():
                now = _item(space, name)
                if now is not expected:
                    owner = self._recorder.owners.get(place, space)
                    found.append((_title(owner, name), expected, now))
        for cell, content, name in self._recorder.cells.values():
            now = cell_value(cell)
            if now is not content:
                found.append((name, content, now))
        for getter, thing, expected, name in self._parts:
            now = _parts(getter, thing)
            if not all(map(operator.is_, now, expected)):
                found.append((name, expected, now))
        return found

    def _hold_in_place(self) -> bool:
        """Whether what can be replaced in place is what it was, after something was."""
        now = _Epoch.now
        if any(getattr(thing, name) is not expected for thing, name, expected in self._replaceable):
            return False
        self._epoch = now
        return True


class Recorder:
    """Notes, while a closure is walked, what was read where. Used by one thread."""

    def __init__(self) -> None:
        self.epoch = epoch()
        self.bound: dict[int, tuple[Namespace, dict[Any, Any]]] = {}
        self.owners: dict[int, object] = {}
        """Classes, whose namespaces do not say whose they are, by their identity."""
        self.absent: dict[int, tuple[Namespace, set[str]]] = {}
        self.cells: dict[int, tuple[CellType, Any, str]] = {}
        self.sizes: dict[int, tuple[Sized, int]] = {}
        self.bare: dict[int, Sized] = {}
        self.typed: list[tuple[Callable[[], Any], type]] = []
        self.replaceable: list[tuple[Any, str, Any]] = []
        self.parts: dict[int, tuple[PartsGetter, Any, tuple[Any, ...], str]] = {}

    def bind(self, space: Namespace, name: Any, value: Any, owner: object = None) -> None:
        """`name` stands for `value` in `space`, whose identity is that of `owner` if given."""
        place = id(space if owner is None else owner)
        self.bound.setdefault(place, (space, {}))[1].setdefault(name, value)
        if owner is not None:
            self.owners[place] = owner

    def bind_all(
        self, space: Any, items: Namespace, owner: object = None, count: int | None = None
    ) -> None:
        """`space` has just these items, or so many, these among them."""
        for name, value in items.items():
            self.bind(space, name, value, owner)
        self.sizes.setdefault(
            id(space if owner is None else owner), (space, len(items) if count is None else count)
        )

    def measure(self, thing: Sized) -> None:
        """`thing` keeps its length."""
        self.sizes.setdefault(id(thing), (thing, len(thing)))

    def lack(self, space: Namespace, name: str) -> None:
        """`name` is not in `space`."""
        self.absent.setdefault(id(space), (space, set()))[1].add(name)

    def hold(self, cell: CellType, content: Any, name: str) -> None:
        """`cell`, which people call `name`, holds `content`."""
        self.cells.setdefault(id(cell), (cell, content, name))

    def has_no_attributes(self, function: FunctionType) -> None:
        """`function` has no attributes of its own."""
        self.bare[id(function)] = function.__dict__

    def attribute(self, thing: FunctionType | type, name: str, value: Any) -> None:
        """The attribute, whose replacement is an audit event, has this value."""
        self.replaceable.append((thing, name, value))

    def hold_parts(self, getter: PartsGetter, thing: Any, name: str) -> None:
        """`thing`, which nobody should change, has the attributes that `getter` gets."""
        self.parts.setdefault(id(thing), (getter, thing, getter(thing), name))

    def typed_as(self, get: Callable[[], Any], kind: type) -> None:
        """What `get` yields may change, but stays of this type."""
        self.typed.append((get, kind))


def _fetch(
    space: Namespace, names: Mapping[Any, Any]
) -> tuple[Callable[[Namespace], tuple[Any, ...]], Namespace, tuple[Any, ...]]:
    """How to get all names of a namespace as a tuple, also where there is but one."""
    keys, values = tuple(names), tuple(names.values())
    if len(keys) == 1:
        keys, values = keys * 2, values * 2
    return operator.itemgetter(*keys), space, values


def cell_value(cell: CellType) -> Any:
    """What a cell holds; `MISSING` for an empty one."""
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


def _item(space: Namespace, name: Any) -> Any:
    try:
        return space[name]
    except LookupError:
        return MISSING


def _parts(getter: PartsGetter, thing: Any) -> tuple[Any, ...]:
    try:
        return getter(thing)
    except AttributeError:
        return (MISSING,)


def _title(owner: Any, name: Any) -> str:
    """The name of what is bound in a module, in a class, or somewhere else."""
    if isinstance(owner, type):
        return f"{owner.__module__}.{owner.__qualname__}.{name}"
    module = owner.get("__name__") if hasattr(owner, "get") else None
    return f"{module}.{name}" if isinstance(module, str) else str(name)
