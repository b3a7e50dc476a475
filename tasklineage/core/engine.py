"""The one path that every call takes: bind, digest, look up, execute, store, record.

    Call        bind the arguments, digest what counts, make the key       (core/call.py)
    answer      a memo of that key, if it is good: record a hit
    execute     otherwise, alone on this machine: begin record, body, object, end record

A direct call runs this in its own thread; `submit`, `map` and `join` run the same functions on a
worker. The two drivers of a body, `execute` and `execute_async`, differ only in what they await.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from time import thread_time
from typing import TYPE_CHECKING, Any

from tasklineage import config
from tasklineage.core import memos
from tasklineage.core.ambient import top_frame
from tasklineage.core.body import Body
from tasklineage.core.call import Call, Outcome, plain_value
from tasklineage.core.deferred import with_values
from tasklineage.core.failure import described, without_our_frames
from tasklineage.core.frame import Frame, Position, current
from tasklineage.core.loops import in_thread, run_coroutine
from tasklineage.core.metering import Meters
from tasklineage.errors import CorruptObject, MissingObject, StoreError, UnhashableArgument
from tasklineage.key.digest import Unresolved
from tasklineage.storage.codecs import Undecodable
from tasklineage.storage.flight import Beside, Flight
from tasklineage.storage.records import (
    CANCELLED,
    DONE,
    FAILED,
    SKIPPED,
    CallEnd,
    Hit,
    Ref,
    Swept,
    as_ref,
    new,
    new_id,
)

if TYPE_CHECKING:
    from tasklineage.core.future import Future
    from tasklineage.core.task import Task
    from tasklineage.executors.base import Blocked, Executor

_NOTHING = Ref(b"")
MISS = object()
"""What `answer` gives where no memo answers."""


def call(task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The value of a direct call, made in this thread (HOT)."""
    parent = current.get() or top_frame()
    if task.is_elsewhere:
        from tasklineage.core.future import submit

        future = submit(task, args, kwargs)
        return _awaited(future) if task.is_async else future.result()
    if task.is_async:
        return call_async(task, args, kwargs, parent)
    this: Call | None
    try:
        this = Call(task, args, kwargs, parent)
    except Unresolved:
        this = None
    if this is None:  # not in the handler: the exception of an input has another context
        this = resolved_call(task, args, kwargs, parent)
    value = answer(this)
    if value is MISS:
        value = execute(this)
    if this.run.verification is not None and this.is_hit:
        this.run.verification.check(this, value)
    return value


async def _awaited(future: Future[Any]) -> Any:
    return await future


def call_anew(task: Task[Any, Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The value of a call that executes, and is recorded, although a memo may answer it."""
    return _execute_body(_made(task, tuple(args), kwargs, current.get() or top_frame()))


async def call_async(
    task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any], parent: Frame
) -> Any:
    """The value of a direct call of an `async def` task, made on the caller's loop."""
    this: Call | None = None
    try:
        with suppress(Unresolved):
            this = Call(task, args, kwargs, parent)
        if this is None:
            this = await _resolved_call_async(task, args, kwargs, parent)
        return await _value_async(this)
    except BaseException as error:
        without_our_frames(error)
        raise


def perform(
    task: Task[Any, Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    parent: Frame,
    position: Position | None = None,
    note_key: Callable[[bytes], object] = id,
    elsewhere: Executor | None = None,
    reserve: Callable[[Frame], AbstractContextManager[object]] = nullcontext,
) -> Outcome[Any]:
    """What came of a call, made on a worker: its exception is in the outcome.

    It executes in a block that `reserve` makes; a hit needs none.
    """
    skipped: list[bytes] = []
    try:
        this = _made(task, args, kwargs, parent, position, skipped.append)
        note_key(this.key)
    except BaseException as error:
        return unmade(error, skipped)
    return outcome(this, elsewhere, reserve)


def unmade(error: BaseException, skipped: Sequence[bytes]) -> Outcome[Any]:
    """What came of a call that could not be made: it is recorded only if it was `skipped`."""
    status, call_id = (SKIPPED, skipped[0]) if skipped else (FAILED, b"")
    return Outcome(None, without_our_frames(error), status, call_id)


def outcome(
    this: Call,
    elsewhere: Executor | None = None,
    reserve: Callable[[Frame], AbstractContextManager[object]] = nullcontext,
) -> Outcome[Any]:
    """What came of a call whose key is known, its body run here or by that executor."""
    try:
        value = answer(this)
        if value is MISS:
            with reserve(this.parent):
                if elsewhere is not None:
                    return _execute_elsewhere(this, elsewhere)
                value = execute(this)
        if this.run.verification is not None and this.is_hit:
            this.run.verification.check(this, value)
    except BaseException as error:
        return Outcome(None, without_our_frames(error), this.status, this.id)
    return Outcome(value, None, this.status, this.id, this.output.digest, this.is_hit)


def outcomes(
    calls: Sequence[Call], executor: Executor, seconds: float, *, stops_at_failure: bool
) -> tuple[list[Outcome[Any] | None], float]:
    """What came of calls of one task whose bodies that executor runs together, and how long it was.

    None stands for a call that was not begun (see `elsewhere.execute_all`), or that somebody else
    is executing. There is at least one that is not.
    """
    from tasklineage.core import elsewhere  # for those who need processes

    found: list[Outcome[Any] | None] = [None] * len(calls)
    flight, acquired, took = calls[0].run.store.flight, list[bytes](), math.inf
    try:
        places = list(_acquired(calls, acquired))
        calls[0].run.store.catch_up()
        for place in places:
            found[place] = _hit(calls[place])
        missed = [place for place in places if found[place] is None]
        if missed:
            made, took = elsewhere.execute_all(
                [calls[place] for place in missed], executor, seconds,
                stops_at_failure=stops_at_failure,
            )  # fmt: skip
            for place, one in zip(missed, made, strict=True):
                found[place] = one
    finally:
        for key in acquired:
            _release(flight, key)
    if not any(found):
        found[0] = outcome(calls[0], executor)
    return found, took


def _acquired(calls: Sequence[Call], acquired: list[bytes]) -> Iterator[int]:
    """The places of the calls that nobody else is executing; their keys are acquired."""
    flight = calls[0].run.store.flight
    for place, this in enumerate(calls):
        if not this.task.settings.memo:
            yield place
        elif this.key not in acquired and flight.try_acquire(this.key, this.parent.held):
            acquired.append(this.key)
            yield place


def _hit(this: Call) -> Outcome[Any] | None:
    """What came of a call that a memo answers; None: there is none."""
    try:
        value = answer(this)
        if value is MISS:
            return None
        if this.run.verification is not None:
            this.run.verification.check(this, value)
    except BaseException as error:
        return Outcome(None, without_our_frames(error), this.status, this.id)
    return Outcome(value, None, this.status, this.id, this.output.digest, True)


def bare_value(task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The value of a direct call of the bare function: `TASKLINEAGE_DISABLE` is set."""
    if "tasklineage.core.future" in sys.modules:  # else there are no Futures
        args, kwargs = with_values(args), with_values(kwargs)
    return plain_value(task, args, kwargs)


def bare(task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outcome[Any]:
    """What comes of calling the bare function: `TASKLINEAGE_DISABLE` is set."""
    try:
        value = plain_value(task, with_values(args), with_values(kwargs))
        if task.is_async:
            value = run_coroutine(value)
    except BaseException as error:
        return Outcome(None, without_our_frames(error), FAILED)
    return Outcome(value, None, DONE)


async def outcome_async(
    task: Task[Any, Any], kwargs: dict[str, Any], position: Position
) -> Outcome[Any]:
    """What came of an element of an `amap`, made on the caller's loop."""
    if config.is_disabled():
        return await in_thread(bare, task, (), kwargs)
    parent = current.get() or top_frame()
    this: Call | None = None
    skipped: list[bytes] = []
    try:
        with suppress(Unresolved):
            this = Call(task, (), kwargs, parent, position)
        if this is None:
            this = await _resolved_call_async(task, (), kwargs, parent, position, skipped.append)
        value = await _value_async(this)
    except Exception as error:
        if this is None:
            return unmade(error, skipped)
        return Outcome(None, without_our_frames(error), this.status, this.id)
    return Outcome(value, None, this.status, this.id, this.output.digest, this.is_hit)


def is_cached(task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the call would be a hit now."""
    if config.is_disabled():
        return False
    this = _made(task, args, kwargs, current.get() or top_frame())
    memo = memos.find(this)
    return memo is not None and this.run.store.has(as_ref(memo.output or _NOTHING))


def forget(task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Make the memo of the call answer no longer."""
    if config.is_disabled():
        return
    this = _made(task, args, kwargs, current.get() or top_frame())
    for key in memos.keys(this):
        this.run.store.forget(key)


def _made(
    task: Task[Any, Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    parent: Frame,
    position: Position | None = None,
    note_skipped: Callable[[bytes], object] = id,
) -> Call:
    """The call, with the values of the Futures among its arguments, waited for."""
    with suppress(Unresolved):
        return Call(task, args, kwargs, parent, position)
    return resolved_call(task, args, kwargs, parent, position, note_skipped)


def answer(this: Call) -> Any:
    """The value of a good memo, with the hit recorded; `MISS` if there is none (HOT)."""
    memo = memos.find(this)
    if memo is None:
        return MISS
    value = decoded(this, memo)
    if value is not MISS:
        try:
            this.run.append(record_hit(this, memo, value))
        except Swept:
            _store_again(this, memo, value)
    return value


def append_hit(this: Call, memo: CallEnd, value: Any, hit: Hit) -> None:
    """Append the record of a hit. A value that is swept at that moment is stored anew."""
    try:
        this.run.append(hit)
    except Swept:
        _store_again(this, memo, value)


def _store_again(this: Call, memo: CallEnd, value: Any) -> None:
    from tasklineage.core.swept import record_again  # very rare

    try:
        this.output = record_again(this.run.store, memo, value) or this.output
    except StoreError as error:
        this.run.warn_unwritten(error)


def decoded(this: Call, memo: CallEnd) -> Any:
    """The value of a memo, whose output is the call's from now on.

    `MISS` where it cannot be read back: the call then executes anew.
    """
    this.output = output = as_ref(memo.output or _NOTHING)
    try:
        if memo.conditions or this.task.settings.device is not None:
            return _restored(this, memo)
        return this.run.store.get(output)
    except (MissingObject, CorruptObject, Undecodable) as error:
        memos.note_miss(this, memo, memos.unreadable(error))
        return MISS


def _restored(this: Call, memo: CallEnd) -> Any:
    """The value of a memo that has conditions, or whose task asks for a device."""
    from tasklineage.core import files  # rarely needed
    from tasklineage.storage.codecs.placing import placed_on

    with placed_on(this.task.settings.device):
        if memo.conditions:
            return files.restored(this.run.store, memo)
        return this.run.store.get(this.output)


def record_hit(this: Call, memo: CallEnd, value: Any) -> Hit:
    """The record of a hit, its conditions folded into the parent, its value known to the run.

    HOT. The value has been `decoded`.
    """
    parent, task, run = this.parent, this.task, this.run
    this.id = made = new_id()
    this.is_hit = True
    if parent.call is not None:
        memos.fold_memo(parent.fold, this, memo)
    run.origins.note(value, this.output.digest, made, recorded=memo.parts)
    fields = (
        made, run.id, parent.id, task.name, this.key, memo.id, time.time(), this.position,
        task.settings.tags,
    )  # fmt: skip
    hit: Hit = new(Hit, fields)
    return hit


def execute(this: Call, body: Callable[[Call], Any] | None = None) -> Any:
    """The value of a call that no memo answers, executed alone on this machine.

    Whoever asks for the same call meanwhile waits, looks again and finds the memo. `body` is what
    executes it, if that is not this thread.
    """
    body = body or _execute_body
    if not this.task.settings.memo:
        return body(this)
    store = this.run.store
    held = store.flight.acquire(this.key, this.parent.held, _blocked)
    try:
        value = _look_again(this)
        return body(this) if value is MISS else value
    finally:
        if held:
            _release(store.flight, this.key)


def _execute_elsewhere(this: Call, executor: Executor) -> Outcome[Any]:
    """As `execute`, with the body run by another process."""
    from tasklineage.core import elsewhere  # for those who need processes

    found = execute(this, partial(elsewhere.execute, executor=executor))
    if this.is_hit:  # the value of a memo that came meanwhile
        if this.run.verification is not None:
            this.run.verification.check(this, found)
        return Outcome(found, None, this.status, this.id, this.output.digest, True)
    outcome: Outcome[Any] = found
    return outcome


async def execute_async(this: Call) -> Any:
    """As `execute`, for an `async def` task; the loop is never blocked."""
    if not this.task.settings.memo:
        return await _execute_body_async(this)
    store = this.run.store
    held = await store.flight.acquire_async(this.key, this.parent.held, _blocked)
    try:
        value = _look_again(this)
        return await _execute_body_async(this) if value is MISS else value
    finally:
        if held:
            _release(store.flight, this.key)


def _blocked() -> Blocked:
    """A block in which this thread's place is free for other work, as nothing but waiting needs."""
    from tasklineage.executors.base import Blocked

    return Blocked()


def _held_beside() -> frozenset[bytes]:
    """What stands for the limits that are held around the call in this context."""
    limits = sys.modules.get("tasklineage.executors.limits")
    return frozenset() if limits is None else limits.names_held()


Beside.held = _held_beside


def _release(flight: Flight, key: bytes) -> None:
    """Let the key go, also if an interrupt arrives on the way: a second release does nothing."""
    try:
        flight.release(key)
    except BaseException:
        flight.release(key)
        raise


def _look_again(this: Call) -> Any:
    """Another thread or process may have made the call between the look-up and the lock."""
    this.run.store.catch_up()
    return answer(this)


def _execute_body(this: Call) -> Any:
    return attempt(Body(this))


def attempt(body: Body) -> Any:
    """The value of a call whose body runs here, after as many attempts as it takes."""
    this = body.this
    task = this.task
    while True:
        body.enter()
        is_metered = Meters.in_use or task.is_elsewhere
        body.clock = body.made_meter() if is_metered else thread_time()
        try:
            value: Any = task.__wrapped__(*this.args, **this.kwargs)
            if task.is_async:
                value = run_coroutine(value)
            if body.frame.pending:
                value = body.settle(value)
        except BaseException as error:
            body.leave()
            delay = body.delay_after(error)
            if delay is None:
                return body.fail(error)
        else:
            body.leave()
            return body.succeed(value)
        from tasklineage.core.policy import pause

        pause(delay)


async def _execute_body_async(this: Call) -> Any:
    task = this.task
    body = Body(this)
    while True:
        body.enter()
        try:
            value = await task.__wrapped__(*this.args, **this.kwargs)
            if body.frame.pending:
                value = await body.settle_async(value)
        except BaseException as error:
            body.leave()
            delay = body.delay_after(error)
            if delay is None:
                return body.fail(error)
        else:
            body.leave()
            return body.succeed(value)
        from tasklineage.core.policy import pause_async

        await pause_async(delay)


def skip(task: Task[Any, Any], parent: Frame, error: BaseException) -> bytes:
    """Record a call that was not made because one of its inputs failed; its id."""
    return _record_unmade(task, parent, SKIPPED, error)


def cancelled(task: Task[Any, Any], parent: Frame) -> bytes:
    """Record a call that was cancelled before it started; its id."""
    return _record_unmade(task, parent, CANCELLED, None)


def _record_unmade(
    task: Task[Any, Any], parent: Frame, status: str, error: BaseException | None
) -> bytes:
    run, now = parent.run, time.time()
    made = new_id()
    run.append(
        CallEnd(
            made, run.id, parent.id, task.name, b"", b"", now, None, status, now, False,
            error=None if error is None else described(error), tags=task.settings.tags,
        )
    )  # fmt: skip
    if parent.call is not None:
        parent.fold.add(task.name, b"", volatile=f"{task.name}: {status}")
    return made


def resolved_call(
    task: Task[Any, Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    parent: Frame,
    position: Position | None = None,
    note_skipped: Callable[[bytes], object] = id,
) -> Call:
    """The call with the values of the Futures among its arguments, waited for.

    Where one of them has failed, the call is recorded as skipped; its id is noted.
    """
    from tasklineage.core.future import resolved

    try:
        return Call(task, *resolved(task, args, kwargs, parent, position, note_skipped))
    except Unresolved:
        raise UnhashableArgument(
            f"an argument of {task.name} has a Future inside that is not in a list, tuple or dict: "
            "ask for its result() first",
            path=task.name,
        ) from None


async def _resolved_call_async(
    task: Task[Any, Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    parent: Frame,
    position: Position | None = None,
    note_skipped: Callable[[bytes], object] = id,
) -> Call:
    return await in_thread(resolved_call, task, args, kwargs, parent, position, note_skipped)


async def _value_async(this: Call) -> Any:
    value = answer(this)
    if value is MISS and this.task.settings.resources:
        from tasklineage.executors import limits  # for those who ask

        async with limits.reserved_async(this.task.settings.resources, this.parent.lasting):
            value = await execute_async(this)
    elif value is MISS:
        value = await execute_async(this)
    if this.run.verification is not None and this.is_hit:
        await this.run.verification.check_async(this, value)
    return value
