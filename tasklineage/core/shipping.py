"""Calls whose bodies run in another process: how they get there, and what is taken back.

    here                                       in the worker
    key, look-up, lock ──── Shipment ────> Body: begin record, function, object, end record
    outcome, fold, origins <─── Reply ───┘     what it prints is told at once

The worker has the same store open and writes objects and records itself. What happens when it is
lost, or takes too long, is recorded here, where what it told until then is known.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from tasklineage import config
from tasklineage.core import capture
from tasklineage.core.accesses import inherit
from tasklineage.core.body import Body
from tasklineage.core.call import Call, Outcome
from tasklineage.core.capture import Capture
from tasklineage.core.elements import StoredOutcome
from tasklineage.core.failure import described, status_of
from tasklineage.core.fold import Fold
from tasklineage.core.program import working_folder
from tasklineage.core.run import RunState
from tasklineage.core.task import Options, Task
from tasklineage.errors import TaskTimeout, WorkerLost
from tasklineage.executors import parcels
from tasklineage.executors.resources import held
from tasklineage.executors.serving import unpacked_error
from tasklineage.key.pins import live
from tasklineage.storage.records import (
    LOST,
    TIMEOUT,
    Attempt,
    Edge,
    Ref,
    new_id,
)

if TYPE_CHECKING:
    from tasklineage.executors.base import Executor
    from tasklineage.executors.serving import Tell
    from tasklineage.storage.records import Condition
    from tasklineage.storage.store import Store

LOSSES = 3
"""Workers that one call may lose before it fails; its own `retries` are not touched."""


class Context(NamedTuple):
    """What the calls of one run have in common, as a worker needs it."""

    store: Store
    settings: config.Settings
    run: bytes
    name: str
    refresh: Any
    refresh_since: float
    store_args: bool
    verify: float
    environment: dict[bytes, bytes]
    folder: str
    path: tuple[str, ...]


class Shipment(NamedTuple):
    """One call on its way to a worker."""

    context: bytes
    """A packed `Context`, equal for many calls."""
    task: bytes
    """The packed task."""
    code: bytes
    """The code version that the worker must come to as well."""
    id: bytes
    key: bytes
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    digests: tuple[bytes, ...]
    salt: tuple[Condition, ...]
    position: tuple[int, int | None] | None
    edges: tuple[Edge, ...]
    miss: str
    parent: bytes | None
    held: frozenset[bytes]
    attempts: tuple[Attempt, ...]
    """Those that are over: workers were lost, or stopped."""

    def perform(self, tell: Tell) -> Reply:
        """What came of it, in the worker."""
        from tasklineage.core.receiving import performed

        return performed(self, tell)


class Reply(NamedTuple):
    """What came of a call in a worker."""

    status: str
    output: Ref | None
    """Where the value is, if it is stored."""
    value: Any
    """The value, if it is not."""
    error: bytes
    fold: Fold
    """What the call adds to that of its parent."""
    parts: tuple[tuple[str, bytes, str], ...] = ()
    is_refused: bool = False
    """The worker has other code; `error` says so. It ends, and the next one may have the same."""

    @property
    def retires(self) -> bool:
        """Whether the process that gives this reply is of no further use."""
        return self.is_refused


def execute(this: Call, executor: Executor) -> Outcome[Any]:
    """What came of a call whose body ran elsewhere; a large value stays in the store."""
    body = _Elsewhere(this)
    while True:
        body.enter()
        try:
            reply = body.shipped(executor)
        except BaseException as error:
            body.leave()
            delay = body.delay_after(error)
            if delay is None:
                return Outcome(body.fail(error), None, this.status, this.id, this.output.digest)
            from tasklineage.core.policy import pause

            pause(delay)
        else:
            body.leave()
            return _taken(this, reply)


def _taken(this: Call, reply: Reply) -> Outcome[Any]:
    """The outcome that a reply stands for; the run and the parent learn of it."""
    run, parent = this.run, this.parent
    run.store.catch_up()
    this.status = reply.status
    if parent.call is not None:
        _fold_in(parent.fold, reply.fold)
    if reply.error:
        raise unpacked_error(reply.error)
    output = this.output = reply.output or Ref(b"")
    if output.oid is not None and output.data is None:
        run.origins.note_stored(output.digest, this.id, reply.parts)
        return StoredOutcome(this, output, run.store)
    value = reply.value
    if output.data is not None:
        with live():
            value = run.store.get(output)
        run.origins.note(value, output.digest, this.id, recorded=reply.parts)
    return Outcome(value, None, this.status, this.id, output.digest)


def _fold_in(parent: Fold, below: Fold) -> None:
    conditions: Sequence[Condition] = tuple(below.conditions)
    if conditions or below.accesses is not None:
        conditions = inherit(parent, conditions, below.accesses)
    parent.members |= below.members
    parent.take(conditions, (below.expires,), below.volatile)


class _Elsewhere(Body):
    """The attempts of a call that a worker executes, as they look from here."""

    __slots__ = ("_losses", "_stopped")

    def __init__(self, this: Call) -> None:
        self._losses = 0
        self._stopped: BaseException | None = None
        this.id = new_id()
        self.open(this)
        self.describe()

    def enter(self) -> None:
        self.log = Capture()
        self.began = time.time()

    def leave(self) -> None:
        """Nothing of this process was set for the attempt."""

    def shipped(self, executor: Executor) -> Reply:
        """What the worker replies; it is given the call once more if it had other code."""
        settings = self.this.task.settings
        is_second = False
        while True:
            reply = executor.perform(
                _shipment(self).perform, self._hear,
                devices=held().devices, timeout=settings.timeout,
            )  # fmt: skip
            if not reply.is_refused:
                return reply
            if is_second:
                raise unpacked_error(reply.error)
            is_second = True

    def delay_after(self, error: BaseException) -> float | None:
        """As for any body; a lost worker is made good before anybody asks for retries."""
        if isinstance(error, TaskTimeout | WorkerLost):
            self._stopped = error
        if not isinstance(error, WorkerLost):
            return super().delay_after(error)
        self._losses += 1
        self._note_attempt(LOST, described(error))
        if self._losses > LOSSES:
            return None
        self.frame.attempt += 1
        return 0.0

    def fail(self, error: BaseException) -> Any:
        name = self.this.task.name
        if error is self._stopped and isinstance(error, TaskTimeout):
            error = TaskTimeout(f"{name} took longer than its timeout: {error}")
            self._stopped = error
        elif error is self._stopped and isinstance(error, WorkerLost):
            error = WorkerLost(
                f"{name} lost {self._losses} workers, each time it was tried: {error}", **error.data
            )
            self._stopped = error
        return super().fail(error)

    def status_of(self, error: BaseException) -> str:
        if error is not self._stopped:
            return status_of(error)
        return TIMEOUT if isinstance(error, TaskTimeout) else LOST

    def _hear(self, told: tuple[str, Any]) -> bool:
        """Take note of what the worker tells; an attempt that begins has its own time."""
        kind, what = told
        if kind == "attempt":
            self.attempts = list(what)
            self.frame.attempt = len(what)
            self.enter()
            return True
        if kind == "err":
            self.log.add_err(what)
        else:
            self.log.add_out(what)
        capture.echo(what, is_err=kind == "err")
        return False


def _shipment(body: _Elsewhere) -> Shipment:
    this, task = body.this, body.this.task
    return Shipment(
        _context(this.run), _packed_task(task, this.code.digest), this.code.digest, this.id,
        this.key, this.args, this.kwargs, this.digests, this.salt, this.position,
        body.known_edges(), this.miss, this.parent.id, body.frame.held, tuple(body.attempts),
    )  # fmt: skip


class _Packed:
    """What was packed last, by what it was made of."""

    context: ClassVar[tuple[Any, bytes] | None] = None
    tasks: ClassVar[dict[Task[Any, Any], tuple[bytes, bytes]]] = {}


def _context(run: RunState) -> bytes:
    environment, devices = config.environment(), held().devices
    if devices:
        environment[b"CUDA_VISIBLE_DEVICES"] = ",".join(devices).encode()
    share = 0.0 if run.verification is None else run.verification.share
    context = Context(
        run.store, config.settings()._replace(store=None, executor=None), run.id, run.name,
        run.refresh, run.refresh_since, run.store_args, share, environment,
        working_folder(), tuple(sys.path),
    )  # fmt: skip
    known = _Packed.context
    if known is None or known[0] != context:
        known = _Packed.context = context, parcels.pack(context)[0]
    return known[1]


def _packed_task(task: Task[Any, Any], code: bytes) -> bytes:
    known = _Packed.tasks.get(task)
    if known is None or known[0] != code:
        known = _Packed.tasks[task] = code, parcels.pack(task)[0]
    return known[1]


def _reduced_task(task: Task[Any, Any]) -> Any:
    """How a task travels: by name where the worker can import it, else with its function."""
    module = sys.modules.get(task.__wrapped__.__module__)
    spec = getattr(module, "__spec__", None)
    if spec is not None and spec.name == getattr(module, "__name__", None):
        reduced = task.__reduce__()
        if isinstance(reduced, str):
            return reduced
    return Task.__new__, (Task,), (task.__wrapped__, task.settings), None, None, _restore_task


def _restore_task(task: Task[Any, Any], state: tuple[Callable[..., Any], Options]) -> None:
    Task.__init__(task, *state)
    home = sys.modules["__main__"]
    if task.__wrapped__.__module__ == home.__name__:  # where codecs look for its classes
        vars(home).update(
            (name, value)
            for name, value in task.__wrapped__.__globals__.items()
            if isinstance(value, type) and value.__module__ == home.__name__
        )


parcels.rules[Task] = _reduced_task
