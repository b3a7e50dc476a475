"""Where the values of a run came from: the table behind the edges that need no Future.

A value is recognised by the identity of the object together with its digest, or by its content if
exactly one call of the run produced that. The table holds no reference to a value, so an address
may be used again by another object: the same digest is then the same content, and another digest
is called `changed in place` only if a weak reference, or the first element of a list or dict, says
that it is the same object still.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from tasklineage.errors import CorruptObject, MissingObject, UnhashableArgument
from tasklineage.key import digest as digests
from tasklineage.key.digest import Unresolved, digest, is_trivial
from tasklineage.storage.records import Edge, Ref

if TYPE_CHECKING:
    from tasklineage.storage.store import Store

_LIMIT = 100_000
"""Entries of a table; a run that makes more forgets the oldest half."""
_DEPTH = 2
_FEW = 20
"""Of a container with no more parts, the parts of its parts are looked at too."""
MOST_RECORDED = 100
"""Parts of one result that its record names."""


class Part(NamedTuple):
    """What may be unpacked from a result and passed on."""

    path: str
    value: Any
    digest: bytes


RecordedParts = tuple[tuple[str, bytes, str], ...]


def parts_of(value: Any, recorded: Sequence[Sequence[Any]] = ()) -> list[Part]:
    """The parts of a result that are not trivial, and where they are few, the parts of those.

    `recorded` is what `named` gave for an equal value: nothing of that is digested again.
    """
    if is_trivial(value):
        return []
    known = {path: part_digest for path, part_digest, *_ in recorded}
    found = _digested("", value, known)
    if len(found) <= _FEW:
        below = [part for top in found for part in _digested(top.path, top.value, known)]
        found += below[:MOST_RECORDED]
    return found


def named(parts: Sequence[Part]) -> RecordedParts:
    """The parts as the record of a call has them: path, Digest and type of each."""
    from tasklineage.storage.codecs.describe import type_name

    return tuple(
        [(path, found, type_name(type(part))) for path, part, found in parts[:MOST_RECORDED]]
    )


class _Origin(NamedTuple):
    digest: bytes
    producer: bytes
    reference: weakref.ref[Any] | None
    mark: tuple[type, int] | None


def pictures(store: Store, output: Ref) -> RecordedParts:
    """The pictures that are stored with a value, as parts of it: by them a file of it is known."""
    try:
        found = store.pictures(output)
    except (MissingObject, CorruptObject):
        return ()
    return tuple((kind, digest(bytes(content)), kind) for kind, content in found.items())


class Given:
    """The origins of what a call was given, for the calls in its body.

    An object that has been passed on may by now be known as part of what another call has given
    back: within the body it comes from where the caller had it from.
    """

    __slots__ = ("_edges", "_known", "_named")

    def __init__(self, named: Iterable[tuple[str, Any]], edges: Iterable[Edge]) -> None:
        self._named = tuple(named)
        self._edges = {edge.path: edge for edge in edges}
        self._known: dict[int, tuple[bytes, bytes]] | None = None
        """By object, its digest and the call that made it; made when somebody asks."""

    def producer(self, value: Any, value_digest: bytes) -> bytes | None:
        """The call that made an argument or a part of one; None: not known."""
        if self._known is None:
            self._known = {}
            for name, argument in self._named:
                self._add(self._known, name, argument, _DEPTH + 1)
        known = self._known.get(id(value))
        return known[1] if known is not None and known[0] == value_digest else None

    def _add(
        self, known: dict[int, tuple[bytes, bytes]], path: str, value: Any, depth: int
    ) -> None:
        edge = self._edges.get(path)
        if edge is not None:
            known[id(value)] = edge.digest, edge.producer
            for part in parts_of(value):
                known.setdefault(id(part.value), (part.digest, edge.producer))
        elif depth > 1 and any(one.startswith(path) for one in self._edges):
            for suffix, part in _parts(value):
                self._add(known, path + suffix, part, depth - 1)


class Origins:
    """Values of one run and the calls that made them. Safe to use from many threads."""

    def __init__(self) -> None:
        self._by_object: dict[int, _Origin] = {}
        self._by_content: dict[bytes, bytes | None] = {}

    def __bool__(self) -> bool:
        """Whether any value is known: where not, no argument has an origin."""
        return bool(self._by_content)

    def note(
        self,
        value: Any,
        value_digest: bytes,
        producer: bytes,
        parts: Sequence[Part] | None = None,
        recorded: Sequence[Sequence[Any]] = (),
    ) -> None:
        """Remember that `producer` made this value, and the parts of it that may be unpacked.

        `parts` are what `parts_of` gave, if that is known; `recorded` is for `parts_of`.
        """
        if is_trivial(value):
            return
        self._note_one(value, value_digest, producer)
        for _, part, part_digest in parts_of(value, recorded) if parts is None else parts:
            self._note_one(part, part_digest, producer)

    def note_stored(
        self, value_digest: bytes, producer: bytes, recorded: Sequence[Sequence[Any]]
    ) -> None:
        """As `note`, of a value that is in the store and not here."""
        for known in (value_digest, *(part_digest for _, part_digest, *_ in recorded)):
            if self._by_content.setdefault(known, producer) != producer:
                self._by_content[known] = None

    def edges(
        self, path: str, value: Any, value_digest: bytes, around: Given | None = None
    ) -> Iterator[Edge]:
        """The known origins of an argument, its own first, else those of its parts.

        `around` is what the call was given in whose body the argument was.
        """
        if is_trivial(value):
            return
        own = self._edge(path, value, value_digest, around)
        if own is not None:
            yield own
        else:
            yield from self._part_edges(path, value, _DEPTH, around)

    def _note_one(self, value: Any, value_digest: bytes, producer: bytes) -> None:
        if len(self._by_object) >= _LIMIT:
            _forget_half(self._by_object)
            _forget_half(self._by_content)
        self._by_object[id(value)] = _Origin(
            value_digest, producer, _reference(value), _mark(value)
        )
        known = self._by_content.setdefault(value_digest, producer)
        if known != producer:
            self._by_content[value_digest] = None

    def _edge(
        self, path: str, value: Any, value_digest: bytes, around: Given | None
    ) -> Edge | None:
        if around is not None:
            given = around.producer(value, value_digest)
            if given is not None:
                return Edge(path, given, "identity", value_digest)
        origin = self._by_object.get(id(value))
        if origin is not None and origin.digest == value_digest:
            return Edge(path, origin.producer, "identity", value_digest)
        producer = self._by_content.get(value_digest)
        if producer is not None:
            return Edge(path, producer, "content", value_digest)
        if origin is not None and _is_same(origin, value):
            return Edge(path, origin.producer, "changed in place", value_digest)
        return None

    def _part_edges(
        self, path: str, value: Any, depth: int, around: Given | None
    ) -> Iterator[Edge]:
        for suffix, part in _parts(value):
            part_digest = _try_digest(part)
            if part_digest is None:
                continue
            edge = self._edge(path + suffix, part, part_digest, around)
            if edge is not None:
                yield edge
            elif depth > 1:
                yield from self._part_edges(path + suffix, part, depth - 1, around)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """As `digests.parts`, for the branches of a join too."""
    inputs = sys.modules.get("tasklineage.core.inputs")
    if inputs is None or type(value) is not inputs.Inputs:
        return digests.parts(value)
    names = [f".{name}" for name in value.names] or [f"[{i}]" for i in range(len(value))]
    return (pair for pair in zip(names, value, strict=True) if not is_trivial(pair[1]))


def _digested(path: str, value: Any, known: dict[str, bytes]) -> list[Part]:
    found: list[Part] = []
    for suffix, part in _parts(value):
        inside = path + suffix
        part_digest = known.get(inside) or _try_digest(part)
        if part_digest is not None:
            found.append(Part(inside, part, part_digest))
    return found


def _try_digest(value: Any) -> bytes | None:
    """The digest of a part, or None where it has none: then no edge leads to it."""
    if is_trivial(value):
        return None
    try:
        return digest(value)
    except (UnhashableArgument, Unresolved):
        return None


def _reference(value: Any) -> weakref.ref[Any] | None:
    try:
        return weakref.ref(value)
    except TypeError:
        return None


def _mark(value: Any) -> tuple[type, int] | None:
    """What tells a list or dict that was changed from another that took its address."""
    kind = type(value)
    if (kind is list or kind is dict) and value:
        return kind, id(next(iter(value)))
    return None


def _is_same(origin: _Origin, value: Any) -> bool:
    if origin.reference is not None:
        return origin.reference() is value
    return origin.mark is not None and origin.mark == _mark(value)


def _forget_half(table: dict[Any, Any]) -> None:
    for key in list(islice(table, len(table) // 2)):
        table.pop(key, None)
