"""What the records of a store refer to, and what can be reached from some of them.

The journal is read once, from its beginning, and what matters of it is kept in memory: which calls
belong to a run, which call answered a hit, which objects hold what a record names. `reached` then
follows the references, as the mark phase of mark-and-sweep does (McCarthy 1960).

A run reaches its calls; a call reaches its values, the call that answered it, the calls that its
arguments came from, and with each call what was called in its body. An object reaches what its
header names. The runs that are nested in one another go together.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgpack

from tasklineage.errors import CorruptObject, StoreError
from tasklineage.storage import records
from tasklineage.storage.codecs import named_ids
from tasklineage.storage.held import reading
from tasklineage.storage.journal import Damage, Journal
from tasklineage.storage.objects import Objects
from tasklineage.storage.records import (
    KINDS,
    Attempt,
    CallBegin,
    CallEnd,
    Condition,
    Hit,
    Ref,
    Removed,
    RunBegin,
    RunEnd,
    RunEnvironment,
    RunTags,
    Verified,
    as_ref,
)
from tasklineage.storage.shapes import malformed

_PINNED = ("file", "dir")
"""Kinds of conditions that name the object with the content of a file or folder."""
_MISREAD = (ValueError, TypeError, LookupError, AttributeError)
"""What a record raises that nobody here has written."""


@dataclass(slots=True)
class RunFacts:
    """One run."""

    id: bytes
    name: str = ""
    namespace: str = ""
    started: float = 0.0
    is_known: bool = False
    """Whether its beginning was found."""
    is_over: bool = False
    is_removed: bool = False
    parent: bytes | None = None
    tags: dict[str, tuple[float, bool]] = field(default_factory=dict)
    """When each was last added (True) or removed."""
    needs: tuple[bytes, ...] = ()
    """Ids of the objects that its own records name."""
    calls: list[bytes] = field(default_factory=list)
    writers: set[str] = field(default_factory=set)
    nbytes: int = 0
    """Of its own records."""

    def has_tag(self, tag: str) -> bool:
        """Whether it has that tag now."""
        return self.tags.get(tag, (0.0, False))[1]


@dataclass(slots=True)
class CallFacts:
    """One call: what its records say."""

    run: bytes
    task: str
    parent: bytes | None = None
    needs: tuple[tuple[bytes, str], ...] = ()
    """Objects that it names, and the type of the value that each is needed for."""
    producers: tuple[bytes, ...] = ()
    """The call that answered it, and those that its arguments came from."""
    answered_by: bytes | None = None
    type: str = ""
    """Of its result."""
    ended: float = 0.0
    """As its newest record says, which counts alone."""
    nbytes: int = 0


class Reached(NamedTuple):
    """What can be reached."""

    calls: set[bytes]
    objects: set[bytes]


class Graph:
    """The runs and calls of a store, and what each refers to. A snapshot."""

    def __init__(self) -> None:
        self.runs: dict[bytes, RunFacts] = {}
        self.calls: dict[bytes, CallFacts] = {}
        self.makers: dict[bytes, tuple[float, bytes]] = {}
        """Of values that were asked for: the newest call that gave one, alone or as a part."""
        self.holders: dict[bytes, set[bytes]] = {}
        """Of values that were asked for: the objects that records name for them."""
        self.damaged = 0
        """Places of the journal where bytes are no sound records."""
        self._children: dict[bytes, list[bytes]] | None = None

    def kept(self) -> list[RunFacts]:
        """The runs that were not removed."""
        return [run for run in self.runs.values() if not run.is_removed]

    def children(self, call: bytes) -> list[bytes]:
        """The calls that were made in the body of that one."""
        if self._children is None:
            self._children = {}
            for id, facts in self.calls.items():
                if facts.parent is not None:
                    self._children.setdefault(facts.parent, []).append(id)
        return self._children.get(call, [])

    def families(self) -> Iterable[list[RunFacts]]:
        """The runs, those that are nested in one another together."""
        found: dict[bytes, list[RunFacts]] = {}
        for run in self.runs.values():
            found.setdefault(self._outermost(run.id), []).append(run)
        return found.values()

    def reached(
        self, runs: Iterable[bytes], calls: Iterable[bytes], needs: Iterable[bytes]
    ) -> Reached:
        """The calls that these runs and calls lead to, and the objects that those name.

        The objects below them are not among them: see `closure`.
        """
        found = Reached(set(), set(needs))
        pending = list(calls)
        for id in runs:
            run = self.runs.get(id)
            if run is not None:
                found.objects.update(run.needs)
                pending.extend(run.calls)
        while pending:
            id = pending.pop()
            facts = self.calls.get(id)
            if facts is None or id in found.calls:
                continue
            found.calls.add(id)
            found.objects.update(oid for oid, _ in facts.needs)
            pending.extend(facts.producers)
            pending.extend(self.children(id))
        return found

    def _outermost(self, run: bytes) -> bytes:
        passed = {run}
        while (facts := self.runs.get(run)) and facts.parent and facts.parent not in passed:
            run = facts.parent
            passed.add(run)
        return run


def closure(oids: Iterable[bytes], objects: Objects) -> set[bytes]:
    """These objects and all that they refer to, also those that are not there.

    Raises
    ------
    StoreError
        One could not be read.
    """
    found: set[bytes] = set()
    pending = set(oids)
    while pending:
        found |= pending
        objects.look_ahead(pending)
        pending = {child for oid in pending for child in objects.children(oid)} - found
    return found


def read_graph(root: Any, values: Collection[bytes] = ()) -> Graph:
    """What the whole journal of the store at `root` says now.

    Parameters
    ----------
    values
        Digests of which the graph shall know makers and holders.

    Raises
    ------
    StoreError
        Part of it cannot be read just now, or is of a later version: then nobody can say what is
        referred to.
    """
    graph = Graph()
    journal = Journal(root, read_only=True)
    reader = _Reader(graph, frozenset(values))
    try:
        with reading(Path(root)):
            for writer, _, frames, _ in journal.cursor().batches(None, reader.note_damage):
                for _, length, kind, payload in frames:
                    reader.add(writer, length, kind, payload)
    finally:
        journal.close()
    return graph


class _Reader:
    """Fills a `Graph` with records."""

    def __init__(self, graph: Graph, values: frozenset[bytes]) -> None:
        self._graph = graph
        self._values = values
        self._adders: dict[type[Any], Any] = {
            RunBegin: self._run_begin,
            RunEnd: self._run_end,
            RunTags: self._run_tags,
            RunEnvironment: self._environment,
            CallBegin: self._call_begin,
            CallEnd: self._call_end,
            Hit: self._hit,
            Verified: self._verified,
            Removed: self._removed,
        }

    def note_damage(self, damage: Damage) -> None:
        """Bytes that belong to no record say nothing; those that cannot be read might."""
        if damage.reason not in ("damaged", "unfinished"):
            raise StoreError(
                f"the journal's segment {damage.writer}/{damage.seq:08d} cannot be read "
                f"({damage.reason}), so nobody can say what it refers to"
            )
        self._graph.damaged += damage.reason == "damaged"

    def add(self, writer: str, length: int, kind: int, payload: bytes) -> None:
        """One record, of so many bytes in the journal."""
        if kind not in KINDS:
            raise StoreError(
                f"the journal has records of a kind ({kind}) that this tasklineage does not know, "
                "and that may refer to anything: use the newest version that writes to this store"
            )
        adder = self._adders.get(KINDS[kind])
        if adder is not None:
            with contextlib.suppress(*_MISREAD):
                record = records.decode(kind, payload)
                if not malformed(record):
                    adder(writer, length, record)

    def _run(self, id: bytes, writer: str, length: int) -> RunFacts:
        run = self._graph.runs.get(id)
        if run is None:
            run = self._graph.runs[id] = RunFacts(id)
        run.writers.add(writer)
        run.nbytes += length
        return run

    def _run_begin(self, writer: str, length: int, record: RunBegin) -> None:
        run = self._run(record.id, writer, length)
        run.is_known = True
        run.name, run.namespace = record.name, record.namespace
        run.started, run.parent = record.started, record.parent
        run.needs += tuple(needs_of(record))
        self._tag(run, record.tags, record.started, present=True)

    def _run_end(self, writer: str, length: int, record: RunEnd) -> None:
        self._run(record.id, writer, length).is_over = True

    def _run_tags(self, writer: str, length: int, record: RunTags) -> None:
        run = self._run(record.id, writer, length)
        self._tag(run, record.removed, record.at, present=False)
        self._tag(run, record.added, record.at, present=True)

    def _tag(self, run: RunFacts, tags: tuple[str, ...], at: float, *, present: bool) -> None:
        for tag in tags:
            run.tags[tag] = max(run.tags.get(tag, (at, present)), (at, present))

    def _environment(self, writer: str, length: int, record: RunEnvironment) -> None:
        run = self._run(record.run, writer, length)
        run.needs += tuple(needs_of(record))

    def _verified(self, writer: str, length: int, record: Verified) -> None:
        self._run(record.run, writer, length)

    def _removed(self, writer: str, length: int, record: Removed) -> None:
        del writer, length  # of whoever has taken it out
        run = self._graph.runs.setdefault(record.id, RunFacts(record.id))
        run.is_removed = True

    def _call(self, id: bytes, run: bytes, task: str, writer: str, length: int) -> CallFacts:
        call = self._graph.calls.get(id)
        facts = self._run(run, writer, 0)
        if call is None:
            call = self._graph.calls[id] = CallFacts(run, task)
            facts.calls.append(id)
        call.nbytes += length
        return call

    def _call_begin(self, writer: str, length: int, record: CallBegin) -> None:
        call = self._call(record.id, record.run, record.task, writer, length)
        call.parent = record.parent

    def _call_end(self, writer: str, length: int, record: CallEnd) -> None:
        call = self._call(record.id, record.run, record.task, writer, length)
        call.parent = record.parent
        if record.ended > call.ended:
            call.ended, call.needs = record.ended, ()
        if record.ended == call.ended:
            call.type = "" if record.output is None else record.output[1]
            call.needs += tuple(_needs(record))
        if record.edges:
            call.producers += tuple(edge[1] for edge in record.edges)
        if self._values:
            self._note_values(record)

    def _note_values(self, record: CallEnd) -> None:
        for ref in refs_of(record):
            if ref.digest in self._values:
                self._graph.holders.setdefault(ref.digest, set()).update(ids_of((ref,)))
        given = () if record.output is None else (record.output[0],)
        for digest in (*given, *(part[1] for part in record.parts)):
            if digest in self._values:
                known = self._graph.makers.get(digest, (0.0, b""))
                self._graph.makers[digest] = max(known, (record.ended, record.id))

    def _hit(self, writer: str, length: int, record: Hit) -> None:
        call = self._call(record.id, record.run, record.task, writer, length)
        call.parent, call.answered_by = record.parent, record.producer
        call.producers += (record.producer,)


def needs_of(record: Any) -> Iterator[bytes]:
    """Ids of the objects that a record names, whatever its kind."""
    if isinstance(record, CallEnd):
        yield from (oid for oid, _ in _needs(record))
    elif isinstance(record, RunBegin):
        yield from ids_of(as_ref(ref) for _, ref in record.params)
    elif isinstance(record, RunEnvironment):
        yield from ids_of(map(as_ref, filter(None, (record.environment, record.diff))))


def refs_of(record: CallEnd) -> Iterator[Ref]:
    """Where every value is that the record names: result, arguments, what was printed."""
    yield from map(as_ref, filter(None, (record.output, record.stdout, record.stderr)))
    for argument in record.arguments:
        yield as_ref(argument[1])
    for attempt in record.attempts:
        printed = Attempt(*attempt)
        yield from map(as_ref, filter(None, (printed.stdout, printed.stderr)))


def _contents_of(record: CallEnd) -> Iterator[bytes]:
    """Objects with the contents of files that the record's conditions name."""
    for fields in record.conditions:
        condition = Condition(*fields)
        if condition.kind in _PINNED and condition.data:
            with contextlib.suppress(*_MISREAD, msgpack.UnpackException):
                oid = msgpack.unpackb(condition.data)[3]
                if type(oid) is bytes:
                    yield oid


def _needs(record: CallEnd) -> Iterator[tuple[bytes, str]]:
    for ref in refs_of(record):
        for oid in ids_of((ref,)):
            yield oid, ref.type
    for oid in _contents_of(record):
        yield oid, "tasklineage.File"


def ids_of(refs: Iterable[Ref]) -> tuple[bytes, ...]:
    """Ids of the objects that these name."""
    found: list[bytes] = []
    for ref in refs:
        if ref.oid is not None or ref.codec == "tree":
            with contextlib.suppress(CorruptObject):
                found += named_ids(ref)
    return tuple(found)
