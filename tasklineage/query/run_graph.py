"""The calls of one run as a graph, with what its hits stand for.

A call that was answered by a memo has recorded nothing but that. What it was given is what the call
was given that computed it, so its edges are that call's, led to the calls of this run that gave the
same. Below it stand the calls that were made in the body of the one that computed it, marked as
hits: they did not execute again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from tasklineage.query import tracing
from tasklineage.query.calls import Call
from tasklineage.query.history import edges_of
from tasklineage.query.lineage import Lineage
from tasklineage.query.tracing import Link, Records
from tasklineage.storage.records import Edge

if TYPE_CHECKING:
    from tasklineage.query.runs import Run
    from tasklineage.storage.catalog import CallRow
    from tasklineage.storage.records import CallEnd
    from tasklineage.storage.store import Store


def graph(run: Run, limit: int | None) -> Lineage:
    """The calls of the run and those below its hits, at most `limit`, and the edges among them."""
    return _RunGraph(run.store, bytes.fromhex(run.id), limit).lineage(run)


class _RunGraph:
    """The making of one graph. For one thread."""

    def __init__(self, store: Store, run: bytes, limit: int | None) -> None:
        self._store = store
        self._records = Records(store)
        rows = store.catalog.find_calls(
            run=run, oldest_first=True, limit=None if limit is None else limit + 1
        )
        self._is_cut = limit is not None and len(rows) > limit
        self._rows = {row.id: row for row in rows[:limit]}
        self._own = set(self._rows)
        self._computed: dict[bytes, CallRow] = {}
        """The calls of other runs that hits stand for."""
        self._standing: dict[bytes, list[bytes]] = {}
        """The hits, in order, that stand for each of those."""
        self._add_below_hits(limit)
        self._makers = self._all_makers()
        self._origins = self._all_origins()

    def lineage(self, run: Run) -> Lineage:
        links = dict.fromkeys(link for row in self._rows.values() for link in self._links(row))
        own = self._own
        calls = {
            id: Call(self._store, row, through_hit=id not in own) for id, row in self._rows.items()
        }
        return Lineage(run, calls.values(), edges_of(links, calls), is_cut=self._is_cut)

    def _add_below_hits(self, limit: int | None) -> None:
        level = list(self._rows.values())
        while level:
            hits = [row for row in level if row.producer and row.producer not in self._own]
            for row in hits:
                self._standing.setdefault(row.producer or b"", []).append(row.id)
            new = [row.producer for row in hits if row.producer not in self._computed]
            self._computed.update(self._store.catalog.calls_of(filter(None, new)))
            executed = [row.id for row in level if row.id not in self._own and not row.producer]
            executed += [id for id in filter(None, new) if id in self._computed]
            room = (1 << 40) if limit is None else limit - len(self._rows)
            below = self._store.catalog.children_of(dict.fromkeys(executed), room + 1)
            self._is_cut = self._is_cut or len(below) > room
            level = [row for row in below[:room] if row.id not in self._rows]
            self._rows.update((row.id, row) for row in level)

    def _executed(self, row: CallRow) -> CallEnd | None:
        """The record that says what a call was given and gave: its own, or its producer's."""
        if row.producer is not None:
            found = self._computed.get(row.producer) or self._rows.get(row.producer)
            return None if found is None else self._records.of(found)
        return self._records.of(row)

    def _all_makers(self) -> dict[bytes, list[CallRow]]:
        """The calls of this graph that gave each value; not those that passed a child's on."""
        made: dict[bytes, list[CallRow]] = {}
        if self._standing:
            for row in self._rows.values():
                record = self._executed(row)
                for value in () if record is None else tracing.results(record):
                    made.setdefault(value, []).append(row)
        return made

    def _all_origins(self) -> dict[bytes, bytes]:
        """The call that computed it, for each producer of another run that was itself a hit."""
        records = map(self._executed, self._rows.values()) if self._standing else ()
        producers = {edge[1] for record in records if record is not None for edge in record.edges}
        found = self._store.catalog.calls_of(producers - self._rows.keys() - self._standing.keys())
        return {row.id: row.producer for row in found.values() if row.producer is not None}

    def _links(self, row: CallRow) -> Iterator[Link]:
        yield from self._to_callers(row)
        if row.producer in self._rows:
            yield Link(row.producer, row.id, "", "hit")
            return
        record = self._executed(row)
        if record is None:
            return
        edges = [Edge(*edge) for edge in record.edges]
        if row.id in self._own and row.producer is None:
            yield from (Link(e.producer, row.id, e.path, e.via, e.digest) for e in edges)
            yield from self._unrecorded(row, tracing.given(record))
            return
        for edge in edges:
            producer, via = self._led(edge, row)
            if producer is not None:
                yield Link(producer, row.id, edge.path, via, edge.digest)
        yield from self._unrecorded(row, tracing.given(record))

    def _to_callers(self, row: CallRow) -> Iterator[Link]:
        if row.parent is None:
            return iter(())
        callers = [row.parent] if row.parent in self._rows else self._standing.get(row.parent, [])
        return (Link(row.id, caller, "", "child") for caller in callers)

    def _led(self, edge: Edge, row: CallRow) -> tuple[bytes | None, str]:
        """Which call of this graph gave what an edge of another run is about."""
        if edge.producer in self._rows and edge.producer not in self._own:
            return edge.producer, edge.via
        origin = self._origins.get(edge.producer, edge.producer)
        standing = self._standing.get(origin, ())
        before = [hit for hit in standing if hit < row.id] if row.id in self._own else standing
        if before:
            return before[-1], "content"
        maker = self._only_maker(edge.digest, row)
        return (None if maker is None else maker.id), "content"

    def _unrecorded(self, row: CallRow, given: Iterable[tuple[str, bytes]]) -> Iterator[Link]:
        for name, value in given:
            maker = self._only_maker(value, row)
            if maker is not None:
                yield Link(maker.id, row.id, name, "content", value)

    def _only_maker(self, value: bytes, row: CallRow) -> CallRow | None:
        """The only call of this run that gave the value before this one began."""
        found = tracing.outermost(
            [m for m in self._makers.get(value, ()) if m.id in self._own and m.id < row.id]
        )
        ended = [m for m in found if m.ended is not None and m.ended <= row.started]
        return ended[0] if len(ended) == 1 and len(found) == 1 else None
