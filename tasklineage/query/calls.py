"""Calls: one execution of a task each, or the memo that spared it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from tasklineage.errors import NotFound
from tasklineage.query.acceptances import accepted_ever
from tasklineage.query.artifacts import Artifact, Values
from tasklineage.query.cards import call_card
from tasklineage.query.cells import call_row
from tasklineage.query.ids import digest_text, moment
from tasklineage.query.listing import Listing, paged
from tasklineage.query.render import one_line
from tasklineage.query.slot import Slot
from tasklineage.storage.moved import record_of
from tasklineage.storage.records import (
    CANCELLED,
    LOST,
    RUNNING,
    SKIPPED,
    CallBegin,
    CallEnd,
    Code,
    Hit,
    Ref,
)
from tasklineage.storage.records import Argument as ArgumentRecord
from tasklineage.storage.records import Attempt as AttemptRecord
from tasklineage.storage.records import Error as ErrorRecord

if TYPE_CHECKING:
    from tasklineage.query.runs import Run
    from tasklineage.storage.catalog import CallRow
    from tasklineage.storage.store import Store

HIT = "hit"
STATUSES = frozenset(
    {RUNNING, "done", HIT, "failed", "caught", CANCELLED, SKIPPED, LOST, "timeout"}
)
_NOT_EXECUTED = frozenset({SKIPPED, CANCELLED})


class CallError(NamedTuple):
    """An exception as it was recorded: nothing is unpickled to read it."""

    type: str
    message: str
    traceback: str


class Attempt:
    """One execution of a call's function."""

    __slots__ = ("_record", "_store")

    def __init__(self, store: Store, record: AttemptRecord) -> None:
        self._store = store
        self._record = record

    @property
    def index(self) -> int:
        """0 for the first."""
        return self._record.number

    @property
    def status(self) -> str:
        """How it ended."""
        return self._record.status

    @property
    def started(self) -> datetime:
        """When it began."""
        return moment(self._record.started)

    @property
    def ended(self) -> datetime:
        """When it was over."""
        return moment(self._record.ended)

    @property
    def error(self) -> CallError | None:
        """The exception that ended it."""
        return _error_of(self._record.error)

    @property
    def stdout(self) -> str:
        """What it printed."""
        return _text_of(self._store, self._record.stdout)

    @property
    def stderr(self) -> str:
        """What it wrote to stderr or logged."""
        return _text_of(self._store, self._record.stderr)

    def __repr__(self) -> str:
        return f"<Attempt {self.index} {self.status}>"


class Call:
    """One call as the store knows it. Equal by id.

    A call that has not ended is looked up again whenever something is asked of it; what an ended
    one says never changes. A hit has recorded only that it was one: what it was given, what it
    gave, printed and called comes from its `.producer`.
    """

    __slots__ = ("__weakref__", "_known", "_row", "_store", "_through_hit")

    def __init__(self, store: Store, row: CallRow, *, through_hit: bool = False) -> None:
        self._store = store
        self._row = row
        self._known: CallBegin | CallEnd | Hit | None = None
        self._through_hit = through_hit

    @property
    def store(self) -> Store:
        """Where it is recorded."""
        return self._store

    # What the catalog knows.

    @property
    def id(self) -> str:
        """32 hexadecimal digits that sort by time."""
        return self._row.id.hex()

    @property
    def task(self) -> str:
        """The name that was called, also where a task of another name computed the memo."""
        return self._row.task

    @property
    def run_id(self) -> str:
        """The id of the run that recorded it; nothing is looked up."""
        return self._row.run.hex()

    @property
    def parent_id(self) -> str | None:
        """The id of the call in whose body it was made; nothing is looked up."""
        parent = self._row.parent
        return None if parent is None else parent.hex()

    @property
    def producer_id(self) -> str | None:
        """The id of the call that computed what this hit answered; nothing is looked up."""
        row = self._row
        producer = row.id if self._through_hit and row.producer is None else row.producer
        return None if producer is None else producer.hex()

    @property
    def run(self) -> Run:
        """The run that recorded it."""
        from tasklineage.query.runs import Run  # a call has a run, a run has calls

        return Run(self._store, self._row.run)

    @property
    def status(self) -> str:
        """`running done hit failed caught cancelled skipped lost timeout`."""
        if self._through_hit:
            return HIT
        row = self._fresh()
        if row.status != RUNNING or self._store.journal.is_alive(row.location.writer):
            return row.status
        row = self._fresh()  # it may have ended between the two looks
        return LOST if row.status == RUNNING else row.status

    @property
    def hit(self) -> bool:
        """Whether a memo answered it, or, seen through a hit, the call above it."""
        return self.status == HIT

    @property
    def started(self) -> datetime:
        """When it began."""
        return moment(self._row.started)

    @property
    def ended(self) -> datetime | None:
        """When it was over; None while it is not, and for a lost one."""
        ended = self._fresh().ended
        return None if ended is None else moment(ended)

    @property
    def parent(self) -> Call | None:
        """The call in whose body it was made."""
        parent = self._row.parent
        return None if parent is None else call_of(self._store, parent)

    @property
    def children(self) -> Sequence[Call]:
        """The calls made in its body, in the order they began.

        Those of a hit are its producer's, and marked as hits: they did not execute again.
        """
        executed = self._row.producer or self._row.id
        through = self._through_hit or self._row.producer is not None
        return Listing(_children(self._store, executed, through), "call", call_row)

    @property
    def producer(self) -> Call | None:
        """The call that computed what this hit answered; None for a call that executed."""
        producer = self.producer_id
        return None if producer is None else call_of(self._store, bytes.fromhex(producer))

    # What its record says.

    @property
    def key(self) -> str:
        """What makes two calls the same: `xxh3:…`."""
        return digest_text(self._record().key)

    @property
    def position(self) -> tuple[int, int | None] | None:
        """`(index, length)` inside a map; the length is None where the input had not ended yet."""
        return self._record().position

    @property
    def tags(self) -> tuple[str, ...]:
        """The task's tags at the time."""
        record = self._record()
        return () if isinstance(record, CallBegin) else record.tags

    @property
    def args(self) -> Values:
        """Names and values of the arguments, defaults included; each is decoded when asked for."""
        return Values(self.inputs, f"call {self.id} of {self.task}")

    @property
    def inputs(self) -> dict[str, Artifact]:
        """Names of the arguments, and what is known of their values."""
        record = self._executed()
        if isinstance(record, CallBegin):
            return {}
        arguments = [ArgumentRecord(*fields) for fields in record.arguments]
        return {a.name: Artifact(self._store, Ref(*a.ref), a.outline) for a in arguments}

    @property
    def output(self) -> Artifact | None:
        """The result, undecoded; None where there is none."""
        record = self._executed()
        if isinstance(record, CallBegin) or record.output is None:
            return None
        return Artifact(self._store, Ref(*record.output))

    @property
    def result(self) -> Any:
        """The result, decoded anew each time.

        Raises
        ------
        NotFound
            The call has none: it failed, or is not over.
        MissingObject
            It was not stored, or its object is gone.
        CorruptObject
            The stored bytes are not what was written.
        """
        output = self.output
        if output is not None:
            return output.value
        error = self.error
        reason = "" if error is None else f" with {error.type}: {one_line(error.message)}"
        raise NotFound(f"call {self.id} of {self.task} is {self.status}{reason}: no result")

    @property
    def source(self) -> str:
        """The source of the task's function as it was; empty where it was not known."""
        return self._function()[1]

    @property
    def function(self) -> str:
        """The module-qualified name of the task's function; empty where it was not known."""
        return self._function()[0]

    @property
    def code_version(self) -> str:
        """The digest of the code that counted: `xxh3:…`; empty for a call that was never made."""
        code = self._executed().code
        return digest_text(code) if code else ""

    @property
    def code(self) -> Code | None:
        """What was recorded of the code that counted; None where it was not."""
        return self._store.code(self._executed().code)

    @property
    def extras(self) -> dict[str, str]:
        """The digests of the tracked extras that counted (`track=`), by name."""
        record = self._executed()
        return {} if isinstance(record, CallBegin) else {n: d.hex() for n, d in record.salt}

    @property
    def accepted(self) -> bool:
        """Whether this hit stood by the memo of another code version, which had been accepted."""
        record = self._record()
        if not isinstance(record, Hit):
            return False
        producer = call_of(self._store, record.producer)
        executed = producer._executed()
        accepted = accepted_ever(self._store)
        if executed.key == record.key or not accepted:
            return False
        # Or the same code, compiled by another version of Python.
        return executed.code in accepted or _minor(producer.run) == _minor(self.run)

    def rerun(self, /, record: bool = False, **overrides: Any) -> Any:
        """Make the call again, here and now, with the arguments that were recorded.

        The plain function is executed in this thread, so that a debugger stops in it and its
        exceptions come as they are; options of the task (`retries`, `catch`, …) play no part.
        Tasks that it calls are called as ever: they are hits, or execute and are recorded. A hit is
        made again with its producer's arguments.

        Parameters
        ----------
        record
            Make it a call of the present run, with the options of the task. It executes although a
            memo may answer it.
        **overrides
            Arguments to use in the place of the recorded ones. Where a value is given, the recorded
            one is not read.

        Returns
        -------
        What the function returns.

        Raises
        ------
        NotFound
            The arguments were not recorded (the call was `lost`, or never begun), or the task's
            function cannot be found here.
        MissingObject
            An argument was described and not stored.
        TypeError
            The function of today does not have a parameter that was recorded or given.

        Warns
        -----
        UserWarning
            The code has changed since: what runs is the present code.
        """
        return Slot.rerun(self, record, overrides)

    @property
    def stdout(self) -> str:
        """What its last attempt printed."""
        record = self._executed()
        return "" if isinstance(record, CallBegin) else _text_of(self._store, record.stdout)

    @property
    def stderr(self) -> str:
        """What its last attempt wrote to stderr or logged."""
        record = self._executed()
        return "" if isinstance(record, CallBegin) else _text_of(self._store, record.stderr)

    @property
    def error(self) -> CallError | None:
        """The exception that ended it, also one that was caught."""
        record = self._executed()
        return None if isinstance(record, CallBegin) else _error_of(record.error)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every execution of its function; none for a call that was never begun, or is not over."""
        record = self._executed()
        if isinstance(record, CallBegin):
            return ()
        return tuple(Attempt(self._store, attempt) for attempt in _attempts_of(record))

    @property
    def worker(self) -> str:
        """`host:pid:thread` where its body ran; empty: in the main thread of the program.

        Empty, too, for a call that was killed with its worker, which its error names.
        """
        record = self._executed()
        return "" if isinstance(record, CallBegin) or record.cpu is None else record.worker

    @property
    def cpu_time(self) -> float | None:
        """CPU seconds of its body, all attempts together; None where it was not measured.

        In a worker process those of all its threads, and of the processes that it has waited for;
        else those of its thread.
        """
        record = self._executed()
        return None if isinstance(record, CallBegin) else record.cpu

    @property
    def peak_memory(self) -> int | None:
        """Bytes of its worker process that were resident at once while its body ran, at most.

        None where it was not measured: in a process that calls share.
        """
        record = self._executed()
        return None if isinstance(record, CallBegin) else record.memory

    @property
    def peak_gpu_memory(self) -> int | None:
        """Bytes of its GPUs that were allocated at once, at most; None where it used none."""
        record = self._executed()
        return None if isinstance(record, CallBegin) else record.gpu

    @property
    def mutated(self) -> tuple[str, ...]:
        """Parameters and globals that it changed in place."""
        record = self._executed()
        return () if isinstance(record, CallBegin) else record.mutated

    @property
    def untracked(self) -> tuple[str, ...]:
        """References of its code that could not be resolved, so do not count for its key."""
        record = self._executed()
        return () if isinstance(record, CallBegin) else record.untracked

    @property
    def reads(self) -> tuple[str, ...]:
        """The files and folders that it, and the calls below it, read by their paths, sorted.

        Those that it looked for and that were not there are among them.
        """
        record = self._executed()
        if isinstance(record, CallBegin):
            return ()
        return tuple(sorted({name for kind, name, *_ in record.conditions if kind == "read"}))

    def _function(self) -> tuple[str, str]:
        """Name and source of the task's function."""
        code = self.code
        parts = () if code is None else code.parts
        found = ((name, text) for kind, name, _, text in parts if kind == "function")
        return next(found, ("", ""))

    def _fresh(self) -> CallRow:
        """The row, read again while the call has not ended."""
        if self._row.status == RUNNING:
            found = self._store.catalog.find_calls(prefix=self.id, limit=1)
            if found and found[0].status != RUNNING:
                self._row, self._known = found[0], None
        return self._row

    def _record(self) -> CallBegin | CallEnd | Hit:
        """The newest record of the journal on this call, verified."""
        row = self._fresh()
        known = self._known
        if known is None:
            known = self._known = record_of(self._store, row)
        return known

    def _executed(self) -> CallBegin | CallEnd:
        """The record of the call that executed: its own, or for a hit its producer's."""
        record = self._record()
        if not isinstance(record, Hit):
            return record
        return call_of(self._store, record.producer)._executed()

    def __eq__(self, other: object) -> bool:
        return other._row.id == self._row.id if isinstance(other, Call) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._row.id)

    def __reduce__(self) -> tuple[Any, ...]:
        return call_of, (self._store, self._row.id)

    def __repr__(self) -> str:
        return f"<Call {self.id} {one_line(self.task)} {self.status}>"

    def _repr_html_(self) -> str:
        return call_card(self)


def call_of(store: Store, id: bytes) -> Call:
    """The call of that id.

    Raises
    ------
    NotFound
        The store does not have it.
    """
    rows = store.catalog.find_calls(prefix=id.hex(), limit=1)
    if not rows:
        raise NotFound(f"no call {id.hex()} in {store.url}")
    return Call(store, rows[0])


def calls_of_rows(
    store: Store, rows: Iterable[CallRow], *, through_hit: bool = False
) -> Listing[Call]:
    """The calls of these rows, in their order."""
    return Listing((Call(store, row, through_hit=through_hit) for row in rows), "call", call_row)


def _children(store: Store, parent: bytes, through_hit: bool) -> Iterator[Call]:
    find = store.catalog.find_calls
    rows = paged(
        lambda limit, offset: find(parent=parent, oldest_first=True, limit=limit, offset=offset)
    )
    return (Call(store, row, through_hit=through_hit) for row in rows)


def _minor(run: Run) -> list[str]:
    """The minor version of Python that a run executed under."""
    return run.python.split(".")[:2]


def _attempts_of(record: CallEnd) -> Iterator[AttemptRecord]:
    """The attempts; where the record has none, the only one says what the call says."""
    if record.attempts:
        return (AttemptRecord(*fields) for fields in record.attempts)
    if record.status in _NOT_EXECUTED:
        return iter(())
    only = AttemptRecord(
        0, record.status, record.started, record.ended, record.error, record.stdout, record.stderr
    )
    return iter((only,))


def _error_of(fields: tuple[str, str, str] | None) -> CallError | None:
    return None if fields is None else CallError(*ErrorRecord(*fields))


def _text_of(store: Store, fields: tuple[Any, ...] | None) -> str:
    return "" if fields is None else store.text(Ref(*fields))
