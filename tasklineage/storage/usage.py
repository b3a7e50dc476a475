"""How many bytes of a store belong to what, so that they add up to those on the disk.

Each object, and the records of each run or call, is an item with a size and a set of labels: the
runs (tasks, tags, types) that need it. What has one label is that label's alone; what has several
is shared, and counted once; what has none is needed by nobody, or is no value: an index, a cache.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from tasklineage.errors import ConfigError
from tasklineage.storage.ground import ground_of
from tasklineage.storage.reach import Graph, RunFacts, closure, read_graph
from tasklineage.storage.roots import ARTIFACT, Root, reached_by, roots_of

if TYPE_CHECKING:
    from tasklineage.storage.store import Store

KINDS = ("task", "run", "tag", "type")
NAMED, OF_RUNS, REMOVED = "(pins and refs)", "(runs)", "(removed runs)"
UNTAGGED, NO_TYPE = "(no tag)", "(no result)"
"""Rows for what belongs to no task, run, tag or type."""

Labels: TypeAlias = frozenset[str]
Pairs: TypeAlias = Iterator[tuple[str, set[bytes]]]
Records: TypeAlias = Iterator[tuple[Sequence[str], int]]


class Row(NamedTuple):
    """What belongs to one run, task, tag or type."""

    name: str
    exclusive: int
    """Bytes that nothing else needs."""
    shared: int
    """Bytes that others need too: those of several rows overlap."""


class Usage(NamedTuple):
    """The bytes of a store. `sum(row.exclusive) + shared + unneeded + other == total`."""

    by: str
    rows: list[Row]
    """Those with the most bytes first."""
    shared: int
    """Bytes that several rows share, each counted once."""
    unneeded: int
    """Objects that nothing refers to: `gc` frees them."""
    other: int
    """Indexes, caches, code, files that are being written, the quarantine."""
    total: int
    """The sizes of all files below the store's folder."""


def usage(store: Store, by: str = "task") -> Usage:
    """What the bytes of the store belong to.

    Parameters
    ----------
    by
        `task`, `run` (names are ids), `tag` (of runs) or `type` (of values).

    Raises
    ------
    ConfigError
        There is no such division.
    StoreError
        Something could not be read.

    Notes
    -----
    Reads the whole journal, and the header of each object: some 10 µs a record.
    """
    if by not in KINDS:
        raise ConfigError(f"du is by {', '.join(KINDS)}, not by {by!r}")
    ground = ground_of(store)
    ground.catch_up()
    roots = roots_of(store)
    graph = read_graph(store.path, {root.id for root in roots if root.kind == ARTIFACT})
    needed, sizes = _Needed(store, graph), dict(ground.sizes())
    store.objects.look_ahead(sizes)
    values, records = _DIVISIONS[by]
    labels: dict[bytes, set[str]] = {oid: set() for oid in sizes}
    for name, oids in values(graph, needed):
        for oid in oids & sizes.keys():
            labels[oid].add(name)
    for oid in needed.by_roots(roots) & sizes.keys():
        labels[oid] = labels[oid] or {NAMED}
    items: Counter[Labels] = Counter()
    for oid, names in labels.items():
        items[frozenset(names)] += sizes[oid]
    unneeded = items.pop(frozenset(), 0)
    for found, size in records(graph):
        items[frozenset(found)] += size
    return _added_up(by, items, unneeded, ground.total())


class _Needed:
    """Which objects runs and calls need; what one object needs is read once."""

    def __init__(self, store: Store, graph: Graph) -> None:
        self._objects = store.objects
        self._graph = graph
        self._below: dict[bytes, frozenset[bytes]] = {}

    def below(self, oids: Iterable[bytes]) -> set[bytes]:
        """These objects and what they refer to."""
        found: set[bytes] = set()
        for oid in oids:
            if oid not in self._below:
                self._below[oid] = frozenset(closure((oid,), self._objects))
            found |= self._below[oid]
        return found

    def by_run(self, run: RunFacts) -> set[bytes]:
        return self.below(self._graph.reached((run.id,), (), ()).objects)

    def by_roots(self, roots: Sequence[Root]) -> set[bytes]:
        return self.below(reached_by(self._graph, roots).objects)


def _values_by_run(graph: Graph, needed: _Needed) -> Pairs:
    for run in graph.kept():
        yield run.id.hex(), needed.by_run(run)


def _values_by_tag(graph: Graph, needed: _Needed) -> Pairs:
    for run in graph.kept():
        oids = needed.by_run(run)
        for tag in _tags(run):
            yield tag, oids


def _values_by_task(graph: Graph, needed: _Needed) -> Pairs:
    for call in graph.reached((run.id for run in graph.kept()), (), ()).calls:
        facts = graph.calls[call]
        yield facts.task, needed.below(oid for oid, _ in facts.needs)
    yield from _values_of_runs(graph, needed)


def _values_by_type(graph: Graph, needed: _Needed) -> Pairs:
    for call in graph.reached((run.id for run in graph.kept()), (), ()).calls:
        for oid, kind in graph.calls[call].needs:
            yield kind, needed.below((oid,))
    yield from _values_of_runs(graph, needed)


def _values_of_runs(graph: Graph, needed: _Needed) -> Pairs:
    """What no call of a run needs: its parameters, what is known of its environment."""
    for run in graph.kept():
        yield OF_RUNS, needed.below(run.needs)


def _records_by_run(graph: Graph) -> Records:
    for run in graph.runs.values():
        name = REMOVED if run.is_removed else run.id.hex()
        yield (name,), run.nbytes + sum(graph.calls[call].nbytes for call in run.calls)


def _records_by_tag(graph: Graph) -> Records:
    for run in graph.runs.values():
        names = (REMOVED,) if run.is_removed else _tags(run)
        yield names, run.nbytes + sum(graph.calls[call].nbytes for call in run.calls)


def _records_by_task(graph: Graph) -> Records:
    for call in graph.calls.values():
        yield (call.task,), call.nbytes
    for run in graph.runs.values():
        yield (OF_RUNS,), run.nbytes


def _records_by_type(graph: Graph) -> Records:
    for call in graph.calls.values():
        yield (call.type or NO_TYPE,), call.nbytes
    for run in graph.runs.values():
        yield (OF_RUNS,), run.nbytes


_DIVISIONS: dict[str, tuple[Callable[[Graph, _Needed], Pairs], Callable[[Graph], Records]]] = {
    "task": (_values_by_task, _records_by_task),
    "run": (_values_by_run, _records_by_run),
    "tag": (_values_by_tag, _records_by_tag),
    "type": (_values_by_type, _records_by_type),
}


def _tags(run: RunFacts) -> tuple[str, ...]:
    return tuple(tag for tag in run.tags if run.has_tag(tag)) or (UNTAGGED,)


def _added_up(by: str, items: Counter[Labels], unneeded: int, total: int) -> Usage:
    """The rows that the items amount to; what is no item is other."""
    exclusive: Counter[str] = Counter()
    shared: Counter[str] = Counter()
    for labels, size in items.items():
        (exclusive if len(labels) == 1 else shared).update(dict.fromkeys(labels, size))
    rows = [Row(name, exclusive[name], shared[name]) for name in exclusive.keys() | shared.keys()]
    rows.sort(key=lambda row: (-row.exclusive - row.shared, row.name))
    both = sum(size for labels, size in items.items() if len(labels) > 1)
    return Usage(by, rows, both, unneeded, total - sum(items.values()) - unneeded, total)
