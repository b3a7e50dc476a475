"""Which calls a value came from, and which took it: the walk over what the records say.

A link runs from the call that made a value to the call that took it. Most are recorded: those that
the engine knew from a Future, from the identity of an object, or from its content. Three kinds
follow from the records:

    hit        a call that a memo answered has its value from the call that computed it
    child      a call that was made in the body of another gave its result to that body
    content    an argument for which no origin is recorded is the result, or a part of the result,
               of exactly one computation that was over when the call began: so a value that was
               read back from the store knows its origin in another run

The walk goes level by level, so that a few questions to the catalog answer for all calls of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tasklineage.errors import CorruptObject, MissingObject
from tasklineage.key.digest import is_trivial
from tasklineage.storage.codecs.plain import PLAIN
from tasklineage.storage.moved import record_of
from tasklineage.storage.records import CallEnd, Edge, Ref

if TYPE_CHECKING:
    from tasklineage.storage.catalog import CallRow
    from tasklineage.storage.store import Store

CANDIDATES = 50
"""Calls with the same result that are looked at for the one that an argument came from."""
_SHORT = 64
"""Encoded bytes up to which a value that was not recorded as passed on may be another one."""
_NUMBERS = ("numpy.", "decimal.", "fractions.")


class Link(NamedTuple):
    """A value went from one call to another."""

    producer: bytes
    consumer: bytes
    path: str = ""
    """Where in the arguments of the consumer; empty for a hit and a child."""
    via: str = ""
    digest: bytes = b""


class Found(NamedTuple):
    """What a walk has met."""

    calls: dict[bytes, CallRow]
    links: list[Link]
    is_cut: bool
    """Whether there is more than the limit allows."""


class Records:
    """Records of calls that have ended, each read once. For one thread."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._read: dict[bytes, CallEnd | None] = {}

    def of(self, row: CallRow) -> CallEnd | None:
        """The verified record; None of a hit, of a call that has not ended, of a damaged one."""
        if row.id not in self._read:
            self._read[row.id] = self._record(row)
        return self._read[row.id]

    def _record(self, row: CallRow) -> CallEnd | None:
        if row.producer is not None or row.ended is None:
            return None
        try:
            record = record_of(self.store, row)
        except (CorruptObject, MissingObject, OSError):
            return None
        return record if isinstance(record, CallEnd) else None


def upstream(
    records: Records, starts: Iterable[bytes], depth: int | None, limit: int | None
) -> Found:
    """The calls that these calls came from, themselves included, up to `depth` links away."""
    return _walk(records, starts, depth, limit, _links_into, lambda link: link.producer)


def downstream(
    records: Records, starts: Iterable[bytes], depth: int | None, limit: int | None
) -> Found:
    """The calls that were given what these calls made, themselves included."""
    return _walk(records, starts, depth, limit, _links_out_of, lambda link: link.consumer)


def given(record: CallEnd) -> list[tuple[str, bytes]]:
    """The arguments of which no origin is recorded: name and Digest; not those that are short."""
    known = {_name_of(edge[0]) for edge in record.edges}
    return [
        (name, ref[0])
        for name, ref, *_ in record.arguments
        if name not in known and not _is_short(Ref(*ref))
    ]


def results(record: CallEnd) -> Iterator[bytes]:
    """The Digests of the result and of its parts, but for one that is short."""
    if record.output is not None and not _is_short(Ref(*record.output)):
        yield record.output[0]
        yield from (part[1] for part in record.parts)


def says_nothing(ref: Ref) -> bool:
    """Whether the value is too common to tell where it came from: a number, a short text, `[]`."""
    if not _is_short(ref):
        return False
    if ref.data is None:
        return True
    if ref.type.startswith(_NUMBERS) and ref.type != "numpy.ndarray":
        return True
    if ref.codec != PLAIN:
        return False
    from tasklineage.storage.codecs.plain import unpack

    try:
        return is_trivial(unpack(ref.data))
    except Exception:  # noqa: BLE001 - whatever a damaged record holds
        return True


def _is_short(ref: Ref) -> bool:
    """Whether equal content may well be chance: then it tells nothing about another run."""
    return not ref.digest or (ref.data is not None and len(ref.data) <= _SHORT)


def content_links(
    records: Records, wanted: Mapping[bytes, tuple[CallRow, Sequence[tuple[str, bytes]]]]
) -> list[Link]:
    """Links to calls, by id, from the calls that made what they were given, where that is clear."""
    digests = {value for _, arguments in wanted.values() for _, value in arguments}
    if not digests:
        return []
    catalog = records.store.catalog
    makers = catalog.makers_of(digests, CANDIDATES)
    rows = catalog.calls_of({maker for found in makers.values() for maker in found})
    links: list[Link] = []
    for consumer, arguments in wanted.values():
        for name, value in arguments:
            candidates = [rows[maker] for maker in makers[value] if maker in rows]
            producer = _only_computation(records, candidates, consumer)
            if producer is not None:
                links.append(Link(producer.id, consumer.id, name, "content", value))
    return links


def outermost(rows: Sequence[CallRow]) -> list[CallRow]:
    """The rows without those whose caller is among them: a child's result that was passed on."""
    ids = {row.id for row in rows}
    return [row for row in rows if row.parent not in ids]


def _only_computation(
    records: Records, candidates: Sequence[CallRow], consumer: CallRow
) -> CallRow | None:
    """The newest candidate that was over when the consumer began, if all computed the same."""
    over = [row for row in candidates if row.ended is not None and row.ended <= consumer.started]
    fitting = outermost(over)
    if not fitting:
        return None
    newest = max(fitting, key=lambda row: row.id)
    if len({row.key for row in fitting}) == 1:
        return newest
    return newest if len({_signature(records, row) for row in fitting}) == 1 else None


def _signature(records: Records, row: CallRow) -> tuple[Any, ...]:
    """What two versions of one task have in common when they are given the same."""
    record = records.of(row)
    given = () if record is None else tuple((name, ref[0]) for name, ref, *_ in record.arguments)
    return row.task, given


def _walk(
    records: Records,
    starts: Iterable[bytes],
    depth: int | None,
    limit: int | None,
    links_of: Callable[[Records, Sequence[CallRow], int], Sequence[Link]],
    far_end: Callable[[Link], bytes],
) -> Found:
    """Breadth first; a call beyond `limit`, and the links to it, are left out."""
    catalog = records.store.catalog
    most = limit if limit is not None else 1 << 62
    met = catalog.calls_of(list(dict.fromkeys(starts)))
    is_cut = len(met) > most
    met = dict(list(met.items())[:most])
    links: dict[Link, None] = {}
    level, steps = list(met.values()), 0
    while level and (depth is None or steps < depth):
        room = most - len(met)
        found = links_of(records, level, min(room + CANDIDATES, 1 << 40))
        ends = dict.fromkeys(far_end(link) for link in found if far_end(link) not in met)
        is_cut = is_cut or len(ends) > room
        rows = catalog.calls_of(list(ends)[: max(room, 0)])
        met.update(rows)
        links.update((link, None) for link in found if far_end(link) in met)
        level, steps = list(rows.values()), steps + 1
    return Found(met, list(links), is_cut)


def _links_into(records: Records, level: Sequence[CallRow], limit: int) -> list[Link]:
    """What the calls of a level were given, and by whom."""
    links = [Link(row.producer, row.id, "", "hit") for row in level if row.producer is not None]
    wanted: dict[bytes, tuple[CallRow, Sequence[tuple[str, bytes]]]] = {}
    for row in level:
        record = records.of(row)
        if record is not None:
            links += _recorded(row, record)
            wanted[row.id] = row, given(record)
    links += content_links(records, wanted)
    executed = [row.id for row in level if row.producer is None]
    children = records.store.catalog.children_of(executed, limit)
    links += [_child(row) for row in children]
    return links


def _links_out_of(records: Records, level: Sequence[CallRow], limit: int) -> list[Link]:
    """To whom the calls of a level gave their results."""
    catalog = records.store.catalog
    ids = {row.id for row in level}
    links = [_child(row) for row in level if row.parent is not None]
    links += [Link(row.producer or b"", row.id, "", "hit") for row in catalog.hits_of(ids, limit)]
    for row in catalog.takers_of(ids, limit):
        record = records.of(row)
        if record is not None:
            links += [link for link in _recorded(row, record) if link.producer in ids]
    links += [link for link in _content_takers(records, level, limit) if link.producer in ids]
    return links


def _content_takers(records: Records, level: Sequence[CallRow], limit: int) -> list[Link]:
    """Links to the calls that were given what these made, where only the content tells so."""
    made: dict[bytes, None] = {}
    for row in level:
        record = records.of(row)
        if record is not None:
            made.update((value, None) for value in results(record))
    catalog = records.store.catalog
    takers = catalog.makers_of(made, min(limit, CANDIDATES), role="argument")
    rows = catalog.calls_of({taker for found in takers.values() for taker in found})
    wanted: dict[bytes, tuple[CallRow, Sequence[tuple[str, bytes]]]] = {}
    for row in rows.values():
        record = records.of(row)
        if record is not None:
            arguments = [(name, value) for name, value in given(record) if value in made]
            if arguments:
                wanted[row.id] = row, arguments
    return content_links(records, wanted)


def _recorded(row: CallRow, record: CallEnd) -> list[Link]:
    edges = (Edge(*edge) for edge in record.edges)
    return [Link(edge.producer, row.id, edge.path, edge.via, edge.digest) for edge in edges]


def _child(row: CallRow) -> Link:
    return Link(row.id, row.parent or b"", "", "child")


def _name_of(path: str) -> str:
    """The parameter at the beginning of a path: `inputs` of `inputs.knn[0]`."""
    return path.partition(".")[0].partition("[")[0]
