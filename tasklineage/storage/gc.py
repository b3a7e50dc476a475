"""Garbage collection: what nothing can reach any more is deleted, in two phases.

    plan       which runs the rules do not keep, and which objects only those need; writes nothing
    condemn    writes that as a list, `gc/condemned/<n>`, with the time by the store's clock
    sweep      a day later at the earliest: looks again at everything, takes the runs of the list
               out, deletes those of its objects that still nothing can reach, and takes their
               records out of the journal (see `packing`)

What is kept: the runs that the rules keep; those that have not ended while a process that records
for them lives; whatever is pinned or has a ref; and all that these can reach (see `reach`). A run
goes or stays with those that are nested in it.

The day is for machines that share a folder, whose clocks may differ and whose writes may be seen
late. On one machine the handshake of `sweeps` does without it, and so does that of remote stores.

A sweep that is killed has taken out some runs and deleted some of the objects: the list is still
there, and the next sweep goes on with it. Runs are taken out before their objects go.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, NamedTuple

from tasklineage import config
from tasklineage.errors import ConfigError, MissingObject, StoreBusy, StoreReadOnly
from tasklineage.storage import packing
from tasklineage.storage.backend import Backend
from tasklineage.storage.epochs import FOLDER
from tasklineage.storage.ground import Ground, ground_of
from tasklineage.storage.packing import Leaving
from tasklineage.storage.reach import Graph, Reached, RunFacts, closure, read_graph
from tasklineage.storage.records import Removed
from tasklineage.storage.roots import ARTIFACT, RUN, Root, reached_by, roots_of
from tasklineage.storage.sweeps import Candidates, decode_list, encode_list

if TYPE_CHECKING:
    from tasklineage.storage.store import Store

DAY = 86_400.0
GRACE = DAY
"""Seconds between condemning and sweeping."""
REFLOG = 90 * DAY
"""Seconds for which what a ref pointed to before it was deleted is remembered after that."""
_CONDEMNED = f"{FOLDER}/condemned"
_AT_ONCE = 1000
"""Records that are appended together."""

Clock = Callable[[], float]


class Rules(NamedTuple):
    """Which runs are kept: each that one of these keeps. Without any, all."""

    last: int | None = None
    """The newest so many of each name, in each namespace."""
    days: float | None = None
    """Those begun in the last so many days."""
    tags: tuple[str, ...] = ()
    """Those that have one of these tags."""

    def __str__(self) -> str:
        told = [] if self.last is None else [f"--keep-last {self.last}"]
        told += [] if self.days is None else [f"--keep-days {self.days:g}"]
        return " ".join((*told, *(f"--keep-tag {tag}" for tag in self.tags)))


ALL = Rules()
"""Every run is kept: only what nothing can reach goes."""


class Plan(NamedTuple):
    """What would go."""

    runs: list[RunFacts]
    """Oldest first."""
    calls: frozenset[bytes]
    """Calls of these, and of runs taken out before, that nothing reaches."""
    objects: dict[bytes, int]
    """Objects that nothing else can reach, and their sizes."""
    kept: int
    """Runs that stay."""
    records: int
    """Bytes that their records take in the journal, as far as those can go."""

    @property
    def nbytes(self) -> int:
        """What the objects take."""
        return sum(self.objects.values())

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.runs and not self.objects and not self.records


class Condemned(NamedTuple):
    """A list that waits for its sweep."""

    number: int
    at: float
    """By the store's clock."""
    runs: int
    objects: int


class Sweep(NamedTuple):
    """What a sweep has done."""

    runs: list[bytes]
    """Taken out."""
    objects: int
    """Deleted."""
    nbytes: int
    spared: int
    """Objects of the list that something reached again."""
    packed: int
    """By how many bytes the journal is smaller."""


class Removal(NamedTuple):
    """What it means to take some runs out."""

    runs: list[RunFacts]
    """Those that were asked for, and the runs nested in them; oldest first."""
    calls: int
    dependents: dict[bytes, int]
    """Runs that stay, and how many of their calls have something from these runs."""
    needed: int
    """Calls of these runs that stay for them, for pins or for refs."""
    nbytes: int
    """What `gc` can free afterwards."""


def clock_of(store: Store) -> Clock:
    """The clock by which condemned lists are stamped: that of the store's file system."""
    return ground_of(store).now


def plan(store: Store, rules: Rules = ALL, *, clock: Clock | None = None) -> Plan:
    """What the rules do not keep, and what nothing can reach. Changes nothing.

    Raises
    ------
    ConfigError
        The rules cannot work.
    StoreError
        Something could not be read, so that nobody can say what may go.
    """
    _check(rules)
    ground = ground_of(store)
    ground.catch_up()
    roots, graph = _read(store)
    chosen = _chosen(graph, rules, (clock or clock_of(store))())
    kept, going = _divided(store, graph, roots, lambda run: run.id in chosen)
    reached = _reached(graph, kept, roots)
    needed = closure(reached.objects, store.objects)
    calls = frozenset(_calls_of(store, graph, going) - reached.calls)
    return Plan(
        going,
        calls,
        {oid: size for oid, size in ground.sizes() if oid not in needed},
        len(kept),
        _leaving(store, graph, going, reached.calls, calls).nbytes,
    )


def condemn(
    store: Store, planned: Plan, rules: Rules = ALL, *, clock: Clock | None = None
) -> Condemned:
    """The list of what is planned to go, which is written now. Nothing is deleted.

    Raises
    ------
    StoreReadOnly, StoreBusy, StoreError
        It cannot be written, or somebody else is collecting garbage.
    """
    ground = _writable(store)
    now = (clock or clock_of(store))()
    runs = tuple(run.id for run in planned.runs)
    wanted = Candidates(now, rules.tags, runs, planned.calls, frozenset(planned.objects))
    with ground.alone():
        number = max((one.number for one in condemned(store)), default=0) + 1
        ground.backend.write(_list_key(number), encode_list(wanted))
    return Condemned(number, now, len(wanted.runs), len(wanted.objects))


def condemned(store: Store) -> list[Condemned]:
    """The lists that wait for their sweep, oldest first. Damaged ones are left out."""
    backend = ground_of(store).backend
    numbers = sorted(int(name) for name in backend.names(_CONDEMNED) if name.isdecimal())
    found = ((number, _list(backend, number)) for number in numbers)
    return [
        Condemned(number, known.at, len(known.runs), len(known.objects))
        for number, known in found
        if known is not None
    ]


def sweep(store: Store, *, grace: float = GRACE, clock: Clock | None = None) -> Sweep | None:
    """What was deleted of the newest list that is `grace` seconds old; None: there is none.

    Older lists are dropped with it.

    Raises
    ------
    StoreReadOnly, StoreBusy, StoreError
        Something cannot be read or deleted, or somebody else is collecting garbage.
    """
    ground = _writable(store)
    now = (clock or clock_of(store))()
    from tasklineage.storage.erase import finish  # which needs this module

    with ground.alone():
        finish(store, ground)
        packing.finish(store)
        store.refs.prune(now - REFLOG)
        due = [one.number for one in condemned(store) if one.at <= now - grace]
        wanted = _list(ground.backend, due[-1]) if due else None
        if wanted is None:
            return None
        with ground.announced(wanted):
            done = _sweep(store, ground, wanted)
        ground.backend.delete(map(_list_key, due))
        ground.tidy()
        return done


def pack(store: Store) -> int:
    """By how many bytes the journal is smaller: many small segments of it were merged.

    Raises
    ------
    StoreReadOnly, StoreBusy, StoreError
        As `sweep`.
    """
    with _writable(store).alone():
        return packing.pack(store)


def removal(store: Store, runs: Iterable[bytes]) -> Removal:
    """What taking these runs out would mean. Changes nothing.

    Raises
    ------
    ConfigError
        One of them is kept by its name: it is pinned, or has a ref.
    StoreBusy
        One of them goes on.
    StoreError
        Something could not be read.
    """
    ground = ground_of(store)
    ground.catch_up()
    roots, graph = _read(store)
    out = _with_nested(graph, runs)
    for run in out:
        named = [root.name for root in roots if root.kind == RUN and root.id == run.id]
        if named:
            raise ConfigError(
                f"run {run.id.hex()} is kept by {', '.join(named)}: unpin it, or untag the ref"
            )
        if is_live(store, run):
            raise StoreBusy(f"run {run.id.hex()} goes on: end its process first")
    ids = {run.id for run in out}
    stays = [run for run in graph.kept() if run.id not in ids]
    before = closure(_reached(graph, graph.kept(), roots).objects, store.objects)
    reached = _reached(graph, stays, roots)
    freed = before - closure(reached.objects, store.objects)
    sizes = dict(ground.sizes())
    own = {call for run in out for call in run.calls}
    return Removal(
        out,
        len(own),
        {run.id: count for run in stays if (count := _taken_from(graph, run, own))},
        len(own & reached.calls),
        sum(sizes.get(oid, 0) for oid in freed),
    )


def take_out(store: Store, runs: Iterable[bytes], reason: str) -> None:
    """These runs are listed no more, and keep nothing.

    Raises
    ------
    StoreError
        That could not be recorded.
    """
    at, user = time.time(), config.user()
    records = [Removed(run, at, user, reason) for run in runs]
    for start in range(0, len(records), _AT_ONCE):
        store.append(*records[start : start + _AT_ONCE])
    ground_of(store).publish()


def _sweep(store: Store, ground: Ground, wanted: Candidates) -> Sweep:
    roots, graph = _read(store)
    listed = frozenset(wanted.runs)
    kept, going = _divided(
        store,
        graph,
        roots,
        lambda run: run.id not in listed or any(map(run.has_tag, wanted.tags)),
    )
    reached = _reached(graph, kept, roots)
    needed = closure(reached.objects, store.objects)
    take_out(store, (run.id for run in going), "gc")
    sizes = dict(ground.sizes())
    gone = [oid for oid in wanted.objects & sizes.keys() if oid not in needed]
    ground.delete(gone)
    records = _leaving(store, graph, going, reached.calls, wanted.calls)
    if _may_finish(store, graph):
        store.journal.finish()
    return Sweep(
        [run.id for run in going],
        len(gone),
        sum(sizes[oid] for oid in gone),
        len(wanted.objects & needed),
        packing.pack(store, records),
    )


def _leaving(
    store: Store,
    graph: Graph,
    going: Iterable[RunFacts],
    reached: Collection[bytes],
    listed: Collection[bytes],
) -> Leaving:
    """What can leave the journal of these runs, and of those taken out before."""
    if not packing.can_pack(store):
        return packing.NOTHING
    runs = {run.id for run in (*going, *(run for run in graph.runs.values() if run.is_removed))}
    writers = set(packing.finished(store))
    if _may_finish(store, graph):
        writers.add(store.journal.writer)
    return packing.leaving(graph, runs, reached, writers, listed)


def _may_finish(store: Store, graph: Graph) -> bool:
    """Whether no run goes on that this process records for."""
    own = store.journal.writer
    return packing.can_pack(store) and all(
        run.is_over or run.is_removed for run in graph.runs.values() if own in run.writers
    )


def _read(store: Store) -> tuple[list[Root], Graph]:
    """What is kept by name, and what the journal says now."""
    roots = roots_of(store)
    return roots, read_graph(store.path, {root.id for root in roots if root.kind == ARTIFACT})


def _reached(graph: Graph, kept: Iterable[RunFacts], roots: Iterable[Root]) -> Reached:
    by_runs = graph.reached((run.id for run in kept), (), ())
    by_name = reached_by(graph, roots)
    return Reached(by_runs.calls | by_name.calls, by_runs.objects | by_name.objects)


def _divided(
    store: Store, graph: Graph, roots: Iterable[Root], is_kept: Callable[[RunFacts], bool]
) -> tuple[list[RunFacts], list[RunFacts]]:
    """The runs that stay and those that go, the oldest first. Removed ones are neither."""
    named = {root.id for root in roots if root.kind == RUN}
    kept: list[RunFacts] = []
    going: list[RunFacts] = []
    for family in graph.families():
        runs = [run for run in family if not run.is_removed]
        stays = any(
            not run.is_known or run.id in named or is_kept(run) or is_live(store, run)
            for run in runs
        )
        (kept if stays else going).extend(runs)
    return kept, sorted(going, key=lambda run: run.started)


def is_live(store: Store, run: RunFacts) -> bool:
    """Whether the run has not ended, and a process that records for it lives."""
    return not run.is_over and any(map(store.journal.is_alive, run.writers))


def _chosen(graph: Graph, rules: Rules, now: float) -> set[bytes]:
    """The runs that the rules keep."""
    runs = [run for run in graph.kept() if run.is_known]
    if rules == ALL:
        return {run.id for run in runs}
    chosen = {run.id for run in runs if any(map(run.has_tag, rules.tags))}
    if rules.days is not None:
        chosen |= {run.id for run in runs if run.started >= now - rules.days * DAY}
    if rules.last is not None:
        named: dict[tuple[str, str], list[RunFacts]] = {}
        for run in sorted(runs, key=lambda run: run.id, reverse=True):
            named.setdefault((run.namespace, run.name), []).append(run)
        chosen |= {run.id for same in named.values() for run in same[: rules.last]}
    return chosen


def _with_nested(graph: Graph, runs: Iterable[bytes]) -> list[RunFacts]:
    """These runs and all that were begun in their blocks."""
    nested: dict[bytes, list[bytes]] = {}
    for run in graph.kept():
        if run.parent is not None:
            nested.setdefault(run.parent, []).append(run.id)
    found: dict[bytes, RunFacts] = {}
    pending = list(runs)
    while pending:
        id = pending.pop()
        if id in graph.runs and id not in found:
            found[id] = graph.runs[id]
            pending += nested.get(id, ())
    return sorted(found.values(), key=lambda run: run.started)


def _taken_from(graph: Graph, run: RunFacts, calls: set[bytes]) -> int:
    """How many calls of the run were answered or given something by these calls."""
    return sum(not calls.isdisjoint(graph.calls[call].producers) for call in run.calls)


def _calls_of(store: Store, graph: Graph, going: Iterable[RunFacts]) -> set[bytes]:
    """The calls of these runs, and of those taken out before, of which something may go."""
    out = (run for run in graph.runs.values() if run.is_removed)
    calls = {call for run in (*going, *out) for call in run.calls}
    return calls if packing.can_pack(store) else {one for one in calls if graph.calls[one].needs}


def _check(rules: Rules) -> None:
    if rules.last is not None and rules.last < 0:
        raise ConfigError(f"--keep-last is a number of runs, from 0 on, not {rules.last}")
    if rules.days is not None and not rules.days >= 0:
        raise ConfigError(f"--keep-days is a number of days, from 0 on, not {rules.days}")


def _writable(store: Store) -> Ground:
    if store.read_only:
        raise StoreReadOnly(f"the store at {store.url} is read-only: nothing can be deleted in it")
    return ground_of(store)


def _list_key(number: int) -> str:
    return f"{_CONDEMNED}/{number:08d}"


def _list(backend: Backend, number: int) -> Candidates | None:
    """That list; None if there is none, or none to be trusted."""
    try:
        return decode_list(backend.read(_list_key(number)))
    except MissingObject:
        return None
