"""Runs: the calls that belong together, and what they were begun with."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from tasklineage.errors import NotFound, StoreReadOnly
from tasklineage.query import logs
from tasklineage.query.artifacts import Artifact, Values
from tasklineage.query.calls import Call, CallError
from tasklineage.query.cards import run_card
from tasklineage.query.cells import call_row
from tasklineage.query.environments import Environment, read_environment
from tasklineage.query.ids import moment
from tasklineage.query.listing import Listing, paged
from tasklineage.query.render import one_line
from tasklineage.query.slot import Slot
from tasklineage.query.verifications import Verification, verifications_of
from tasklineage.storage.moved import beginning_of, end_of
from tasklineage.storage.records import RUNNING, Ref, RunBegin, RunEnd, RunEnvironment, RunTags

if TYPE_CHECKING:
    from tasklineage.query.diff import Diff
    from tasklineage.query.lineage import Lineage
    from tasklineage.storage.catalog import CallRow, RunRow
    from tasklineage.storage.store import Store

KILLED = "killed"
STATUSES = frozenset({RUNNING, "done", "failed", "interrupted", KILLED})
_SUCCEEDED = frozenset({"done", "hit"})


class Counts(NamedTuple):
    """How the calls of a run came out."""

    hits: int
    executed: int
    failed: int


class Run:
    """One run as the store knows it. Equal by id; one that goes on is looked up anew each time."""

    __slots__ = ("__weakref__", "_begin", "_id", "_row", "_store")

    def __init__(self, store: Store, id: bytes, row: RunRow | None = None) -> None:
        self._store = store
        self._id = id
        self._row = row
        self._begin: RunBegin | None = None

    @property
    def store(self) -> Store:
        """Where it is recorded."""
        return self._store

    # What the catalog knows.

    @property
    def id(self) -> str:
        """32 hexadecimal digits that sort by time."""
        return self._id.hex()

    @property
    def name(self) -> str:
        """The name it was given, else the script's."""
        return self._known().name

    @property
    def namespace(self) -> str:
        """Whose it is: by default `user:<name>`."""
        return self._known().namespace

    @property
    def started(self) -> datetime:
        """When it began."""
        return moment(self._known().started)

    @property
    def ended(self) -> datetime | None:
        """When it was over; None while it is not, and for a killed one."""
        ended = self._fresh().ended
        return None if ended is None else moment(ended)

    @property
    def status(self) -> str:
        """`running done failed interrupted killed`; killed: its process is gone without a word."""
        row = self._fresh()
        if row.status != RUNNING or self._store.journal.is_alive(row.location.writer):
            return row.status
        row = self._fresh()  # it may have ended between the two looks
        return KILLED if row.status == RUNNING else row.status

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags as they are now."""
        return tuple(self._read_row().tags)

    @property
    def counts(self) -> Counts:
        """How many of its calls were hits, executed and failed."""
        return Counts(*self._store.catalog.counts(self._id))

    @property
    def hits(self) -> int:
        """How many of its calls a memo answered."""
        return self.counts.hits

    @property
    def executed(self) -> int:
        """How many of its calls executed to their end, whatever came of them."""
        return self.counts.executed

    @property
    def failed(self) -> int:
        """How many of its calls failed."""
        return self.counts.failed

    @property
    def verified(self) -> int:
        """How many of its hits were executed again and compared (`tl.run(verify=...)`)."""
        counts = self._store.catalog.verified_counts(self._id)
        return sum(count for status, count in counts.items() if status != "skipped")

    @property
    def differing(self) -> int:
        """How many of those gave another result than their memo, or raised."""
        counts = self._store.catalog.verified_counts(self._id)
        return counts.get("differs", 0) + counts.get("failed", 0)

    @property
    def verifications(self) -> Sequence[Verification]:
        """What came of each hit that was chosen to be executed again, in their order."""
        return verifications_of(self._store, self._id)

    @property
    def parent(self) -> Run | None:
        """The run in whose block it was begun."""
        parent = self._recorded().parent
        return None if parent is None else Run(self._store, parent)

    # What its record says.

    @property
    def params(self) -> Values:
        """Names and values of its parameters; each is decoded when asked for."""
        artifacts = {k: Artifact(self._store, Ref(*ref)) for k, ref in self._recorded().params}
        return Values(artifacts, f"run {self.id}")

    @property
    def user(self) -> str:
        """Who began it."""
        return self._recorded().user

    @property
    def host(self) -> str:
        """The machine of the process that began it."""
        return self._recorded().host

    @property
    def pid(self) -> int:
        """The process that began it."""
        return self._recorded().pid

    @property
    def argv(self) -> tuple[str, ...]:
        """The command line of that process."""
        return self._recorded().argv

    @property
    def cwd(self) -> str:
        """The working directory in which it was begun."""
        return self._recorded().cwd

    @property
    def executor(self) -> str:
        """The executor it was given; empty for the default."""
        return self._recorded().executor

    @property
    def commit(self) -> str:
        """The Git commit of the working directory; empty outside a repository."""
        return self._recorded().commit

    @property
    def is_dirty(self) -> bool:
        """Whether files of the working tree differed from that commit."""
        return self._recorded().dirty

    @property
    def python(self) -> str:
        """The version of Python."""
        return self._recorded().python

    @property
    def platform(self) -> str:
        """The kind of system: `linux`."""
        return self._recorded().platform

    @property
    def environment(self) -> Environment | None:
        """What it executed in; None where that was not recorded (the run was killed at once).

        Raises
        ------
        MissingObject, CorruptObject
            What was stored of it is gone, or is not what was written.
        """
        Slot.await_environment(self._id)
        for location in self._store.catalog.environments(self._id):
            record = self._store.journal.read(location)
            if isinstance(record, RunEnvironment) and record.run == self._id:
                return read_environment(self._store, record)
        return None

    @property
    def error(self) -> CallError | None:
        """The exception that ended it."""
        record = end_of(self._store, self._fresh())
        if not isinstance(record, RunEnd) or record.error is None:
            return None
        return CallError(*record.error)

    # Its calls.

    @property
    def calls(self) -> Sequence[Call]:
        """What this run recorded, in the order it began; the calls below a hit are not among it."""
        return Listing(self._find(), "call", call_row)

    @property
    def roots(self) -> Sequence[Call]:
        """Its calls that no other call made, in the order they began."""
        return Listing(self._find(roots_only=True), "call", call_row)

    @property
    def result(self) -> Any:
        """The result of the last root call that succeeded, decoded anew each time.

        Raises
        ------
        NotFound
            No root call has succeeded.
        """
        return self.last_success.result

    @property
    def last_success(self) -> Call:
        """The last root call that succeeded, by executing or as a hit: it has the run's result.

        Raises
        ------
        NotFound
            No root call has succeeded.
        """
        for call in self._find(roots_only=True, oldest_first=False):
            if call.status in _SUCCEEDED:
                return call
        raise NotFound(f"no call of run {self.id} ({self.name}) has succeeded: it has no result")

    def __getitem__(self, task: str) -> Call:
        """The last call of `task` (its full name or the last part), also below hits.

        What is found below a hit and did not execute in this run is marked as a hit.

        Raises
        ------
        NotFound
            No call of the run, nor of what its hits stand for, is of that task.
        """
        found = _last_call(self._store, self._id, task)
        if found is None:
            raise NotFound(f"no call of {task!r} in run {self.id} ({self.name})")
        return found

    def graph(self, *, limit: int | None = 10_000) -> Lineage:
        """Its calls as a graph, those below its hits included and marked as hits.

        Parameters
        ----------
        limit
            How many calls at most, the first ones; None: any number. `.is_cut` says whether there
            are more.
        """
        from tasklineage.query.run_graph import graph  # a run has a graph, a graph is of a run

        return graph(self, limit)

    def diff(self, other: Run | str) -> Diff:
        """What differs between this run and another one, or that of an id: see `tl.diff`."""
        from tasklineage.query.diff import diff  # a run has differences, these are of runs

        return diff(self, other)

    __iter__ = None  # `run["task"]` does not make a run iterable; `run.calls` is

    def logs(self) -> str:
        """What its calls printed and logged, in the order they began, each under a heading.

        Hits printed nothing again: see their `.stdout`.
        """
        return logs.joined(logs.entries(call for call in self._find() if not call.hit))

    # Its tags.

    def add_tags(self, *tags: str) -> None:
        """Add tags; those it has are kept.

        Raises
        ------
        StoreReadOnly
            The store cannot be written.
        """
        self._change_tags(added=tags)

    def remove_tags(self, *tags: str) -> None:
        """Remove tags; those it does not have are ignored.

        Raises
        ------
        StoreReadOnly
            The store cannot be written.
        """
        self._change_tags(removed=tags)

    def _change_tags(self, added: tuple[Any, ...] = (), removed: tuple[Any, ...] = ()) -> None:
        if not all(isinstance(tag, str) for tag in added + removed):
            raise TypeError("tags are strings")
        self._known()
        if self._store.read_only:
            raise StoreReadOnly(f"{self._store.url} is read-only: the tags stay as they are")
        if added or removed:
            self._store.append(RunTags(self._id, added, removed, time.time()))

    def _find(self, *, roots_only: bool = False, oldest_first: bool = True) -> Iterator[Call]:
        find = self._store.catalog.find_calls
        rows = paged(
            lambda limit, offset: find(
                run=self._id,
                roots_only=roots_only,
                oldest_first=oldest_first,
                limit=limit,
                offset=offset,
            )
        )
        return (Call(self._store, row) for row in rows)

    def _read_row(self) -> RunRow:
        """The row as it is now."""
        rows = self._store.catalog.find_runs(prefix=self.id, limit=1, removed=True)
        if not rows:
            raise NotFound(f"no run {self.id} in {self._store.url}")
        self._row = rows[0]
        return rows[0]

    def _known(self) -> RunRow:
        """The row as it was read first, for what never changes."""
        return self._row or self._read_row()

    def _fresh(self) -> RunRow:
        """The row, read again while the run has not ended."""
        row = self._known()
        return self._read_row() if row.status == RUNNING else row

    def _recorded(self) -> RunBegin:
        begin = self._begin
        if begin is None:
            begin = self._begin = beginning_of(self._store, self._known())
        return begin

    def __eq__(self, other: object) -> bool:
        return other._id == self._id if isinstance(other, Run) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._id)

    def __reduce__(self) -> tuple[Any, ...]:
        return Run, (self._store, self._id)

    def __repr__(self) -> str:
        try:
            return f"<Run {self.id} {one_line(self.name)} {self.status}>"
        except NotFound:
            return f"<Run {self.id} not recorded>"

    def _repr_html_(self) -> str:
        return run_card(self)


def _last_call(store: Store, run: bytes, task: str) -> Call | None:
    """The last call of `task` that a run made, or whose memo spared it."""
    find = store.catalog.find_calls
    own = next(iter(find(run=run, task=task, limit=1)), None)
    visited: set[bytes] = set()
    hits = paged(lambda limit, offset: find(run=run, status="hit", limit=limit, offset=offset))
    for hit in hits:
        if own is not None and hit.id < own.id:
            break
        below = _last_below(store, hit, task, visited)
        if below is not None:
            return Call(store, below, through_hit=below.run != run)
    return None if own is None else Call(store, own)


def _last_below(store: Store, top: CallRow, task: str, visited: set[bytes]) -> CallRow | None:
    """The last call of `task` among the descendants of a call, hits looked through.

    Depth first, later calls before earlier ones and before those that made them. A subtree is
    searched once, however many hits stand for it.
    """
    above: list[tuple[CallRow, Iterator[CallRow]]] = [(top, _later_first(store, top, visited))]
    while above:
        row, children = above[-1]
        child = next(children, None)
        if child is not None:
            above.append((child, _later_first(store, child, visited)))
            continue
        above.pop()
        if above and _is_task(row.task, task):
            return row
    return None


def _later_first(store: Store, row: CallRow, visited: set[bytes]) -> Iterator[CallRow]:
    """The calls in the body of a call, or of the one that computed it, later ones first."""
    executed = row.producer or row.id
    if executed in visited:
        return iter(())
    visited.add(executed)
    find = store.catalog.find_calls
    return paged(lambda limit, offset: find(parent=executed, limit=limit, offset=offset))


def _is_task(name: str, asked: str) -> bool:
    """Whether `asked` is the full name, or its last part."""
    return name == asked or name.rpartition(".")[2] == asked
