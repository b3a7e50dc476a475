"""Containers as trees: a skeleton that names parts, each stored once by its Digest.

The skeleton is a packed array of two or three. First the nodes, the outermost container in front:
an array of its kind (0 list, 1 tuple, 2 dict, 3 set, 4 frozenset) and its elements, keys and values
in turn for a dict; or of the kind 5 (an object), the number of its form, and its items. An element
is plain content, another node (extension type 8, four bytes, big endian) or a part (type 9). Then
the parts: the fields of a `Ref` each. Then, where there are objects, their forms: see `instances`.

Nodes say what nesting cannot: the same container in two places, cycles, any depth. Parts are the
leaves (arrays, long text and bytes) and the plain containers directly below a node, where they
are large.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import msgpack

from tasklineage.storage.codecs import arrays, standard
from tasklineage.storage.codecs.base import Encoded
from tasklineage.storage.codecs.classes import FindClass
from tasklineage.storage.codecs.instances import Maker, maker
from tasklineage.storage.codecs.plain import (
    CONTAINERS,
    NODE,
    PART,
    extended,
    pack_any,
    unpack_items,
)
from tasklineage.storage.codecs.survey import FLAT, Survey
from tasklineage.storage.records import Ref

NAME = "tree"
MOST_MEASURED = 1000
"""In a container of more elements those that are plain stay in the skeleton, however large."""

_KINDS: tuple[type, ...] = (list, tuple, dict, set, frozenset)
_FROZEN = (1, 4)
_SEQUENCES = (0, 1)
_NAMES = frozenset({str, int, bool, type(None)})
_OBJECT = 5
_CODES = {kind: code for code, kind in enumerate(_KINDS)}
_ITSELF = FLAT - {str, bytes}
_MOST_HASHED = 10_000_000
_DEEPEST_HASHED = 10_000


def encode_tree(found: Survey, limit: int, make_part: Callable[[Any], Ref]) -> Encoded | None:
    """The skeleton of what was found; None if it would have no parts and need no nodes.

    `make_part` stores a leaf or a plain container of more than `limit` bytes.
    """
    writer = _Writer(found, limit, make_part)
    rows = [writer.row(at) for at in sorted(found.nodes | {0})]
    if not found.nodes and not writer.parts:
        return None
    content: list[Any] = [rows, [list(ref) for ref in writer.parts]]
    if writer.forms:
        content.append([_listed(form) for form in writer.forms])
    skeleton = pack_any(content)
    children = dict.fromkeys(ref.oid for ref in writer.parts if ref.oid is not None)
    below = sum(ref.nbytes for ref in writer.parts)
    return Encoded(None, [skeleton], tuple(children), below)


def decode_tree(skeleton: memoryview, decode_part: Callable[[Ref], Any], find: FindClass) -> Any:
    """A new value; `find` finds the classes of the objects in it.

    Raises
    ------
    ValueError, TypeError, LookupError, OverflowError, struct.error
        That is no skeleton.
    Undecodable
        A class in it is not to be had here, or has changed.
    """
    rows, refs, forms = _unpack(skeleton)
    return _Reader(rows, refs, [maker(form, find) for form in forms], decode_part).value()


def decode_for(
    skeleton: memoryview, key: Any, decode_part: Callable[[Ref], Any], find: FindClass
) -> Any:
    """Something of which `[key]` is what it is of the value; no more is decoded than that takes.

    Raises
    ------
    As `decode_tree`.
    """
    rows, refs, forms = _unpack(skeleton)
    return _Reader(rows, refs, [maker(form, find) for form in forms], decode_part).holder(key)


def named_parts(skeleton: memoryview) -> dict[str, Ref]:
    """Where the parts are, by their paths: `['X']`, `[0].weights`.

    Elements of sets, and what is in the keys of a dict, have none.
    """
    rows, refs, forms = _unpack(skeleton)
    found: dict[str, Ref] = {}
    pending, seen = [("", 0)], {0}
    for path, at in pending:
        for step, item in _steps(rows[at], forms):
            if type(item) is _PartAt:
                found.setdefault(path + step, refs[item])
            elif type(item) is _NodeAt and item not in seen:
                seen.add(item)
                pending.append((path + step, item))
    return found


def children(skeleton: memoryview | bytes) -> tuple[bytes, ...]:
    """Ids of the objects that a skeleton names."""
    return tuple(dict.fromkeys(ref.oid for ref in parts(skeleton) if ref.oid is not None))


def parts(skeleton: memoryview | bytes) -> list[Ref]:
    """Where the parts are that a skeleton names."""
    _, refs, _ = _unpack(memoryview(skeleton))
    return refs


class _Writer:
    """Turns containers into rows of the skeleton, and collects the parts."""

    __slots__ = ("_found", "_limit", "_make_part", "_numbers", "_seen", "forms", "parts")

    def __init__(self, found: Survey, limit: int, make_part: Callable[[Any], Ref]) -> None:
        self._found = found
        self._limit = limit
        self._make_part = make_part
        places = sorted(found.nodes | {0})
        self._numbers = {id(found.boxes[at]): number for number, at in enumerate(places)}
        self._seen: dict[int, int] = {}
        self.parts: list[Ref] = []
        self.forms: dict[tuple[Any, ...], int] = {}

    def row(self, at: int) -> list[Any]:
        """The kind of a container and its elements."""
        box, found = self._found.boxes[at], self._found.objects.get(at)
        if found is not None:
            is_small = len(found.items) <= MOST_MEASURED
            number = self.forms.setdefault(found.form, len(self.forms))
            return [_OBJECT, number, *(self._item(item, is_small) for item in found.items)]
        items: Iterable[Any] = chain.from_iterable(box.items()) if type(box) is dict else box
        is_small = len(box) <= MOST_MEASURED
        return [_CODES[type(box)], *(self._item(item, is_small) for item in items)]

    def _item(self, item: Any, is_measured: bool) -> Any:
        kind = type(item)
        if kind in _ITSELF:
            return item
        if kind is str or kind is bytes:
            return self._part(item) if len(item) > self._limit else item
        number = self._numbers.get(id(item))
        if number is not None:
            return _reference(NODE, number)
        if kind in CONTAINERS:
            is_large = is_measured and len(pack_any(item)) > self._limit
            return self._part(item) if is_large else item
        if standard.is_standard(item) or arrays.is_scalar(item) or self._belongs(item):
            return item
        return self._part(item)

    def _belongs(self, item: Any) -> bool:
        """Whether a leaf is plain content of its container."""
        is_small = arrays.is_array(item) and item.nbytes <= self._limit
        return is_small and id(item) not in self._found.twice

    def _part(self, item: Any) -> Any:
        number = self._seen.get(id(item))
        if number is None:
            number = self._seen[id(item)] = len(self.parts)
            self.parts.append(self._make_part(item))
        return _reference(PART, number)


class _NodeAt(int):
    __slots__ = ()


class _PartAt(int):
    __slots__ = ()


class _Measure(NamedTuple):
    """What hashing something takes."""

    weight: int = 0
    depth: int = 0
    is_safe: bool = True
    """Whether it runs no code of a class, which could see something half made."""


class _Reader:
    """Makes the containers of a skeleton: first the mutable ones, empty, then those that cannot be
    filled later, then the contents.

    What is hashed is measured before: nodes that name each other twice are small to write and
    would take for ever to hash.
    """

    __slots__ = ("_built", "_decode_part", "_makers", "_measures", "_parts", "_refs", "_rows")

    def __init__(
        self,
        rows: list[list[Any]],
        refs: Sequence[Ref],
        makers: Sequence[Maker],
        decode_part: Callable[[Ref], Any],
    ) -> None:
        self._rows = rows
        self._refs = refs
        self._makers = makers
        self._decode_part = decode_part
        self._parts: dict[int, Any] = {}
        self._built: dict[int, Any] = {}
        self._measures: dict[int, _Measure] = {}

    def value(self) -> Any:
        self._build(range(len(self._rows)))
        return self._built[0]

    def holder(self, key: Any) -> Any:
        """A list, tuple or dict that has at least the item of that key, if there is one."""
        kind, *items = self._rows[0]
        if kind in _SEQUENCES and type(key) is int:
            return {key: self._only(items[key])} if -len(items) <= key < len(items) else ()
        if kind != _CODES[dict] or not _is_hashable(key):
            return self.value()
        self._build(self._reached(items[::2]))
        place = dict(zip(self._hashed(items[::2]), items[1::2], strict=True))
        return {key: self._only(place[key])} if key in place else {}

    def _only(self, item: Any) -> Any:
        """The value of an element; nothing else is made but what it needs."""
        self._build(self._reached([item]))
        return self._resolve(item)

    def _reached(self, items: Iterable[Any]) -> Iterable[int]:
        """The nodes that some elements need, but for those that have been made."""
        pending, found = list(items), set[int]()
        while pending:
            item = pending.pop()
            if type(item) is _NodeAt and item not in found and item not in self._built:
                found.add(item)
                pending += self._rows[item]
        return sorted(found)

    def _build(self, places: Iterable[int]) -> None:
        """Make these nodes; whatever they hold is among them."""
        frozen: list[int] = []
        mutable: list[int] = []
        for at in places:
            row = self._rows[at]
            if self._is_frozen(row):
                frozen.append(at)
                continue
            mutable.append(at)
            new = self._makers[row[1]].new if row[0] == _OBJECT else None
            self._built[at] = _KINDS[row[0]]() if new is None else new()
        for at in frozen:
            self._freeze(at)
        for at in mutable:
            self._fill(self._built[at], self._rows[at])

    def _is_frozen(self, row: list[Any]) -> bool:
        """Whether a node cannot be filled later."""
        if row[0] == _OBJECT:
            return self._makers[row[1]].new is None
        return row[0] in _FROZEN

    def _freeze(self, start: int) -> None:
        """Make a tuple or frozenset, after those inside of it."""
        pending, begun = [start], set[int]()
        while pending:
            at = pending[-1]
            if at in self._built:
                pending.pop()
                continue
            missing = [item for item in self._frozen_below(at) if item not in self._built]
            if not missing:
                self._built[at] = self._frozen(at)
            elif at in begun:
                raise ValueError("tuples that contain each other")
            else:
                begun.add(at)
                pending.extend(missing)

    def _frozen(self, at: int) -> Any:
        self._measure(at)
        kind, *items = self._rows[at]
        if kind == _OBJECT:
            return self._makers[items[0]].fill(None, self._resolved(items[1:]))
        return tuple(self._resolved(items)) if kind == 1 else frozenset(self._hashed(items))

    def _frozen_below(self, at: int) -> list[int]:
        return [
            item
            for item in self._rows[at]
            if type(item) is _NodeAt and self._is_frozen(self._rows[item])
        ]

    def _measure(self, at: int) -> None:
        row = self._rows[at]
        below = [self._measures[item] for item in self._frozen_below(at)]
        weight = len(row) + sum(measure.weight for measure in below)
        depth = 1 + max((measure.depth for measure in below), default=0)
        is_safe = all(measure.is_safe for measure in below) and not any(
            type(item) is _NodeAt and self._runs_code(self._rows[item])
            for item in (_NodeAt(at), *row)
        )
        self._measures[at] = _Measure(min(weight, _MOST_HASHED + 1), depth, is_safe)

    def _runs_code(self, row: list[Any]) -> bool:
        """Whether hashing such an object runs code of its class."""
        return row[0] == _OBJECT and not self._makers[row[1]].is_hashable

    def _fill(self, box: Any, row: list[Any]) -> None:
        if row[0] == 0:
            box.extend(self._resolved(row[1:]))
        elif row[0] == 2:
            box.update(zip(self._hashed(row[1::2]), self._resolved(row[2::2]), strict=True))
        elif row[0] == _OBJECT:
            one = self._makers[row[1]]
            items = row[2:]
            self._check_hashed(items[one.hashed])
            one.fill(box, self._resolved(items))
        else:
            box.update(self._hashed(row[1:]))

    def _resolved(self, items: list[Any]) -> list[Any]:
        kinds = set(map(type, items))
        if _NodeAt not in kinds and _PartAt not in kinds:
            return items
        return [self._resolve(item) for item in items]

    def _hashed(self, items: list[Any]) -> list[Any]:
        self._check_hashed(items)
        return self._resolved(items)

    def _check_hashed(self, items: list[Any]) -> None:
        for item in items:
            if type(item) is not _NodeAt:
                continue
            measure = self._measures.get(item) or _Measure(
                is_safe=not self._runs_code(self._rows[item])
            )
            if measure.weight > _MOST_HASHED or measure.depth > _DEEPEST_HASHED:
                raise ValueError("an element that takes too long to hash")
            if not measure.is_safe:
                raise ValueError("an element that is hashed by its own class")

    def _resolve(self, item: Any) -> Any:
        if type(item) is _NodeAt:
            return self._built[item]
        if type(item) is not _PartAt:
            return item
        if item not in self._parts:
            self._parts[item] = self._decode_part(self._refs[item])
        return self._parts[item]


def _steps(row: list[Any], forms: Sequence[Any]) -> Iterable[tuple[str, Any]]:
    """The elements of a node, each with what leads to it."""
    kind, *items = row
    if kind in _SEQUENCES:
        return ((f"[{at}]", item) for at, item in enumerate(items))
    if kind == _CODES[dict]:
        pairs = zip(items[::2], items[1::2], strict=True)
        return ((f"[{key!r}]", item) for key, item in pairs if type(key) in _NAMES)
    if kind == _OBJECT:
        form, *held = items
        names: Iterable[Any] = chain.from_iterable(
            part for part in forms[form][1:] if type(part) is list
        )
        return ((f".{name}", item) for name, item in zip(names, held, strict=False))
    return ()


def _is_hashable(key: Any) -> bool:
    try:
        hash(key)
    except TypeError:
        return False
    return True


def _reference(code: int, number: int) -> Any:
    return msgpack.ExtType(code, number.to_bytes(4, "big"))


def _extended(code: int, data: bytes) -> Any:
    if code == NODE:
        return _NodeAt.from_bytes(data, "big")
    if code == PART:
        return _PartAt.from_bytes(data, "big")
    return extended(0, code, data)


def _listed(form: tuple[Any, ...]) -> list[Any]:
    return [list(part) if type(part) is tuple else part for part in form]


def _unpack(skeleton: memoryview) -> tuple[list[list[Any]], list[Ref], list[Any]]:
    rows, parts, *more = unpack_items(skeleton, _extended)
    forms = more[0] if more else []
    if type(forms) is not list or len(more) > 1:
        raise ValueError("no forms")
    for row in rows:
        if type(row) is not list or type(row[0]) is not int or not 0 <= row[0] <= _OBJECT:
            raise ValueError("a node of no kind")
        if row[0] == _OBJECT and (type(row[1]) is not int or not 0 <= row[1] < len(forms)):
            raise ValueError("an object of no form")
    refs = [Ref(*fields) for fields in parts]
    if any(ref.oid is not None and not _is_id(ref.oid) for ref in refs):
        raise ValueError("a part whose object has no id")
    return rows, refs, forms


def _is_id(oid: Any) -> bool:
    return type(oid) is bytes and len(oid) == 16
