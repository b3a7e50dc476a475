"""Containers as trees: a skeleton that names parts, each stored once by its Digest.

The skeleton is a packed array of two. First the nodes, the outermost container in front: an array
of its kind (0 list, 1 tuple, 2 dict, 3 set, 4 frozenset) and its elements, keys and values in turn
for a dict. An element is plain content, another node (extension type 8, four bytes, big endian) or
a part (type 9). Then the parts: the fields of a `Ref` each.

Nodes say what nesting cannot: the same container in two places, cycles, any depth. Parts are the
leaves (arrays, long text and bytes) and the plain containers directly below a node, where they
are large.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

import msgpack

from tasklineage.storage.codecs import arrays
from tasklineage.storage.codecs.base import Encoded
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
_CODES = {kind: code for code, kind in enumerate(_KINDS)}
_ITSELF = FLAT - {str, bytes}
_MOST_HASHED = 10_000_000
_DEEPEST_HASHED = 10_000


def encode_tree(found: Survey, limit: int, make_part: Callable[[Any], Ref]) -> Encoded | None:
    """The skeleton of what was found; None if it would have no parts and need no nodes.

    `make_part` stores a leaf or a plain container of more than `limit` bytes.
    """
    writer = _Writer(found, limit, make_part)
    rows = [writer.row(found.boxes[at]) for at in sorted(found.nodes | {0})]
    if not found.nodes and not writer.parts:
        return None
    skeleton = pack_any([rows, [list(ref) for ref in writer.parts]])
    children = dict.fromkeys(ref.oid for ref in writer.parts if ref.oid is not None)
    below = sum(ref.nbytes for ref in writer.parts)
    return Encoded(None, [skeleton], tuple(children), below)


def decode_tree(skeleton: memoryview, decode_part: Callable[[Ref], Any]) -> Any:
    """A new container.

    Raises
    ------
    ValueError, TypeError, LookupError, OverflowError, struct.error
        That is no skeleton.
    """
    rows, refs = _unpack(skeleton)
    return _Reader(rows, refs, decode_part).value()


def children(skeleton: memoryview | bytes) -> tuple[bytes, ...]:
    """Ids of the objects that a skeleton names."""
    _, refs = _unpack(memoryview(skeleton))
    return tuple(dict.fromkeys(ref.oid for ref in refs if ref.oid is not None))


class _Writer:
    """Turns containers into rows of the skeleton, and collects the parts."""

    __slots__ = ("_found", "_limit", "_make_part", "_numbers", "_seen", "parts")

    def __init__(self, found: Survey, limit: int, make_part: Callable[[Any], Ref]) -> None:
        self._found = found
        self._limit = limit
        self._make_part = make_part
        places = sorted(found.nodes | {0})
        self._numbers = {id(found.boxes[at]): number for number, at in enumerate(places)}
        self._seen: dict[int, int] = {}
        self.parts: list[Ref] = []

    def row(self, box: Any) -> list[Any]:
        """The kind of a container and its elements."""
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
        if arrays.is_scalar(item) or self._belongs(item):
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


class _Reader:
    """Makes the containers of a skeleton: first the mutable ones, empty, then those that cannot be
    filled later, then the contents.

    What is hashed is measured before: nodes that name each other twice are small to write and
    would take for ever to hash.
    """

    __slots__ = ("_built", "_decode_part", "_measures", "_parts", "_refs", "_rows")

    def __init__(
        self, rows: list[list[Any]], refs: Sequence[Ref], decode_part: Callable[[Ref], Any]
    ) -> None:
        self._rows = rows
        self._refs = refs
        self._decode_part = decode_part
        self._parts: dict[int, Any] = {}
        self._built: dict[int, Any] = {}
        self._measures: dict[int, tuple[int, int]] = {}

    def value(self) -> Any:
        for at, row in enumerate(self._rows):
            if row[0] not in _FROZEN:
                self._built[at] = _KINDS[row[0]]()
        for at, row in enumerate(self._rows):
            if row[0] in _FROZEN:
                self._freeze(at)
        for at, row in enumerate(self._rows):
            if row[0] not in _FROZEN:
                self._fill(self._built[at], row)
        return self._built[0]

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
        return tuple(self._resolved(items)) if kind == 1 else frozenset(self._hashed(items))

    def _frozen_below(self, at: int) -> list[int]:
        return [
            item
            for item in self._rows[at]
            if type(item) is _NodeAt and self._rows[item][0] in _FROZEN
        ]

    def _measure(self, at: int) -> None:
        below = [self._measures[item] for item in self._frozen_below(at)]
        weight = len(self._rows[at]) + sum(measure[0] for measure in below)
        depth = 1 + max((measure[1] for measure in below), default=0)
        self._measures[at] = (min(weight, _MOST_HASHED + 1), depth)

    def _fill(self, box: Any, row: list[Any]) -> None:
        if row[0] == 0:
            box.extend(self._resolved(row[1:]))
        elif row[0] == 2:
            box.update(zip(self._hashed(row[1::2]), self._resolved(row[2::2]), strict=True))
        else:
            box.update(self._hashed(row[1:]))

    def _resolved(self, items: list[Any]) -> list[Any]:
        kinds = set(map(type, items))
        if _NodeAt not in kinds and _PartAt not in kinds:
            return items
        return [self._resolve(item) for item in items]

    def _hashed(self, items: list[Any]) -> list[Any]:
        for item in items:
            if type(item) is _NodeAt:
                weight, depth = self._measures.get(item, (0, 0))
                if weight > _MOST_HASHED or depth > _DEEPEST_HASHED:
                    raise ValueError("an element that takes too long to hash")
        return self._resolved(items)

    def _resolve(self, item: Any) -> Any:
        if type(item) is _NodeAt:
            return self._built[item]
        if type(item) is not _PartAt:
            return item
        if item not in self._parts:
            self._parts[item] = self._decode_part(self._refs[item])
        return self._parts[item]


def _reference(code: int, number: int) -> Any:
    return msgpack.ExtType(code, number.to_bytes(4, "big"))


def _extended(code: int, data: bytes) -> Any:
    if code == NODE:
        return _NodeAt.from_bytes(data, "big")
    if code == PART:
        return _PartAt.from_bytes(data, "big")
    return extended(0, code, data)


def _unpack(skeleton: memoryview) -> tuple[list[list[Any]], list[Ref]]:
    rows, parts = unpack_items(skeleton, _extended)
    for row in rows:
        if type(row) is not list or type(row[0]) is not int or not 0 <= row[0] < len(_KINDS):
            raise ValueError("a node of no kind")
    refs = [Ref(*fields) for fields in parts]
    if any(ref.oid is not None and not _is_id(ref.oid) for ref in refs):
        raise ValueError("a part whose object has no id")
    return rows, refs


def _is_id(oid: Any) -> bool:
    return type(oid) is bytes and len(oid) == 16
