"""Calls whose bodies run in another process, as they look from here.

Several calls of a map may travel together. What happens when their worker is lost, or takes too
long, is recorded here, where what it told until then is known. A lost worker is charged to the call
that it was executing; those it had finished are found in the store, and those it had not begun
begin elsewhere.
"""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from tasklineage.core import capture, memos
from tasklineage.core.accesses import inherit
from tasklineage.core.body import Body, stored_arguments
from tasklineage.core.call import Call, Outcome
from tasklineage.core.capture import Capture
from tasklineage.core.elements import StoredOutcome
from tasklineage.core.failure import described, status_of, without_our_frames
from tasklineage.core.fold import Fold
from tasklineage.core.luggage import Luggage
from tasklineage.core.shipping import (
    Delivery,
    Item,
    Reply,
    Shipment,
    packed_context,
    packed_task,
    starts_by_value,
)
from tasklineage.core.variables import packed_values
from tasklineage.errors import SchedulerLost, TaskTimeout, WorkerLost
from tasklineage.executors.resources import held
from tasklineage.executors.serving import unpacked_error
from tasklineage.key.digest import is_trivial
from tasklineage.key.digest_tokens import SIMPLE
from tasklineage.key.pins import live
from tasklineage.storage.records import CAUGHT, DONE, LOST, TIMEOUT, Ref, as_ref, new_id

if TYPE_CHECKING:
    from tasklineage.executors.base import Executor
    from tasklineage.storage.records import Condition

_OWN_TEXT = ("out", "err")
"""What a call writes; of calls inside of it a text is only shown here."""
LOSSES = 3
"""Workers that one call may lose before it fails; its own `retries` are not touched."""


def execute(this: Call, executor: Executor) -> Outcome[Any]:
    """What came of a call whose body ran elsewhere; a large value stays in the store."""
    (outcome,), _ = execute_all([this], executor)
    assert outcome is not None
    return outcome


def execute_all(
    calls: Sequence[Call],
    executor: Executor,
    seconds: float = math.inf,
    *,
    stops_at_failure: bool = False,
) -> tuple[list[Outcome[Any] | None], float]:
    """What came of calls of one task whose bodies ran elsewhere, and the seconds that they took.

    None stands for a call that was not begun, for those before it took longer than `seconds`, or
    failed where that `stops_at_failure`, or took the worker with them. There is no such call if
    there is but one.
    """
    bodies = [_Elsewhere(this) for this in calls]
    try:
        delivery = _shipped(bodies, executor, seconds, stops_at_failure=stops_at_failure)
    except BaseException as error:
        return _salvaged(bodies, executor, error), math.inf
    calls[0].run.store.catch_up()
    replies = [reply or body.reply for body, reply in zip(bodies, delivery.replies, strict=True)]
    return [
        reply and _outcome(body, reply) for body, reply in zip(bodies, replies, strict=True)
    ], delivery.seconds


def _shipped(
    bodies: Sequence[_Elsewhere],
    executor: Executor,
    seconds: float = math.inf,
    *,
    stops_at_failure: bool = False,
) -> Delivery:
    """What the worker delivers; it is given the calls once more if it had other code."""
    first = bodies[0].this

    def hear(told: tuple[int, str, Any]) -> bool:
        place, kind, what = told
        return bodies[place].hear(kind, what)

    is_second = False
    while True:
        luggage = Luggage(executor, by_value=executor in _apart)
        for body in bodies:
            body.enter()
        shipment = Shipment(
            tuple([body.item(luggage) for body in bodies]),
            packed_context(first.run, first.task, executor),
            packed_task(first.task, first.code.digest),
            first.code.digest, packed_values(first.code), first.parent.id,
            frozenset().union(*[body.frame.held for body in bodies]),
            seconds, stops_at_failure, luggage.has_references,
        )  # fmt: skip
        delivery = executor.perform(
            shipment.perform, hear, devices=held().devices, timeout=first.task.settings.timeout
        )
        if delivery.wants_values:
            _apart.add(executor)
            if not any(delivery.replies):
                continue
        if delivery.freight is not None:
            delivery.freight.unload(first.run.store)
        if not delivery.refusal:
            return delivery
        if starts_by_value(first.task):
            continue
        if is_second or not executor.is_remote:  # one of this machine has asked a new process
            raise unpacked_error(delivery.refusal)
        is_second = True


_apart: weakref.WeakSet[Executor] = weakref.WeakSet()
"""Those with workers that could not read arguments from the store."""


def _salvaged(
    bodies: Sequence[_Elsewhere], executor: Executor, error: BaseException
) -> list[Outcome[Any] | None]:
    """What came of calls for which there is no delivery.

    A lost worker is charged to the call that had begun. If none is known to have, nobody pays, and
    an error that may be that of any of them each meets by itself, or does not.
    """
    if len(bodies) == 1:
        return [_known(bodies[0]) or _alone(bodies[0], executor, error)]
    if isinstance(error, SchedulerLost):
        return [_known(body) or _alone(body, executor, error) for body in bodies]
    if not isinstance(error, WorkerLost | CancelledError):
        return [_known(body) or _alone(body, executor, None) for body in bodies]
    begun = _begun(bodies)
    return [
        _known(body) or (_alone(body, executor, error) if body.this.id in begun else None)
        for body in bodies
    ]


def _begun(bodies: Sequence[_Elsewhere]) -> list[bytes]:
    """The ids of the calls whose begin record there is."""
    store = bodies[0].this.run.store
    store.catch_up()
    return list(store.catalog.calls_of(body.this.id for body in bodies))


def _known(body: _Elsewhere) -> Outcome[Any] | None:
    """What came of a call that was over before its worker was lost, if it was."""
    if body.reply is not None:
        return _outcome(body, body.reply)
    this = body.this
    store = this.run.store
    store.catch_up()
    record = store.catalog.call_end(this.id)
    if record is None or record.status not in (DONE, CAUGHT) or record.output is None:
        return None
    output = as_ref(record.output)
    if not output.is_stored:
        return None
    fold = Fold()
    if record.memo:
        memos.fold_memo(fold, this, record)
    else:
        fold.add(this.task.name, b"", volatile=record.volatile or f"{this.task.name}: memo=False")
    reply = Reply(record.status, this.id, output, None, b"", fold, record.parts)
    return _outcome(body, reply)


def _alone(body: _Elsewhere, executor: Executor, error: BaseException | None) -> Outcome[Any]:
    """What comes of a call that travels alone, after an attempt that ended with this, if any."""
    from tasklineage.core.policy import pause

    while True:
        try:
            if error is not None:
                delay = body.delay_after(error)
                if delay is None:
                    value, this = body.fail(error), body.this
                    return Outcome(value, None, this.status, this.id, this.output.digest)
                pause(delay)
        except BaseException as failure:
            return _failed(body, failure)
        try:
            (reply,) = _shipped([body], executor).replies
        except BaseException as again:
            error = again
            known = _known(body)
            if known is not None:
                return known
        else:
            assert reply is not None
            body.this.run.store.catch_up()
            return _outcome(body, reply)


def _outcome(body: _Elsewhere, reply: Reply) -> Outcome[Any]:
    """The outcome that a reply stands for; the run and the parent learn of it."""
    try:
        return _taken(body.this, reply)
    except BaseException as error:
        return _failed(body, error)


def _failed(body: _Elsewhere, error: BaseException) -> Outcome[Any]:
    return Outcome(None, without_our_frames(error), body.this.status, body.this.id)


def _taken(this: Call, reply: Reply) -> Outcome[Any]:
    run, parent = this.run, this.parent
    this.status, this.id, this.is_hit = reply.status, reply.id, reply.is_hit
    for what, message in reply.warnings:
        run.warn_once(what, message)
    if parent.call is not None and reply.fold is not None:
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
            value = run.store.get_on(output, this.task.settings.device)
        run.origins.note(value, output.digest, this.id, recorded=reply.parts)
    return Outcome(value, None, this.status, this.id, output.digest, this.is_hit)


def _fold_in(parent: Fold, below: Fold) -> None:
    conditions: Sequence[Condition] = tuple(below.conditions)
    if conditions or below.accesses is not None:
        conditions = inherit(parent, conditions, below.accesses)
    parent.members |= below.members
    parent.take(conditions, (below.expires,), below.volatile)


class _Elsewhere(Body):
    """The attempts of a call that a worker executes, as they look from here."""

    __slots__ = ("_is_described", "_losses", "_stopped", "reply")

    recorded_arguments = staticmethod(stored_arguments)  # the worker outlines them

    def __init__(self, this: Call) -> None:
        self._losses = 0
        self._is_described = False
        self._stopped: BaseException | None = None
        self.reply: Reply | None = None
        """What was told to have come of it before those beside it were over."""
        this.id = new_id()
        self.open(this)
        self.describe()

    def describe(self) -> None:
        """Take down arguments that can change, or have come from somewhere.

        The worker does so as well; of the others this is to be known only where it cannot tell.
        """
        self.arguments = ()
        bound = self.this.bound
        if not (SIMPLE.issuperset(map(type, bound)) and all(map(is_trivial, bound))):
            self._take_down()

    def _take_down(self) -> None:
        if not self._is_described:
            self._is_described = True
            super().describe()

    def enter(self) -> None:
        self.log = Capture()
        self.began = time.time()

    def item(self, luggage: Luggage) -> Item:
        """The call as it travels."""
        this = self.this
        args, kwargs = luggage.packed(this, self.arguments)
        return Item(
            this.id, this.key, args, kwargs, this.digests, this.salt, this.position,
            this.edges, this.miss, tuple(self.attempts),
        )  # fmt: skip

    def hear(self, kind: str, what: Any) -> bool:
        """Take note of what the worker tells; an attempt that begins has its own time."""
        if kind == "reply":
            self.reply = what
        elif kind == "attempt":
            self.attempts = list(what)
            self.frame.attempt = len(what)
            self.enter()
            return True
        else:
            if kind in _OWN_TEXT:
                (self.log.add_err if kind == "err" else self.log.add_out)(what)
            capture.echo(what, is_err=kind.endswith("err"))
        return False

    def delay_after(self, error: BaseException) -> float | None:
        """As for any body; a lost worker is made good before anybody asks for retries."""
        if isinstance(error, TaskTimeout | WorkerLost):
            self._stopped = error
        if not isinstance(error, WorkerLost):
            return super().delay_after(error)
        self._losses += not error.data.get("was_retired")  # it did not die of this call
        self._note_attempt(LOST, described(error))
        if self._losses > LOSSES or isinstance(error, SchedulerLost):
            return None
        self.frame.attempt += 1
        return 0.0

    def fail(self, error: BaseException) -> Any:
        self._take_down()
        name = self.this.task.name
        if error is self._stopped and isinstance(error, TaskTimeout):
            limit = self.this.task.settings.timeout
            error = TaskTimeout(
                f"{name} was stopped: it took longer than its timeout of {limit:g} s"
            )
            self._stopped = error
        elif error is self._stopped and isinstance(error, SchedulerLost):
            error = self._stopped = SchedulerLost(f"{name} was not finished: {error}")
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
