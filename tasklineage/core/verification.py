"""A hit executed again, to see whether its memo is what the call gives now.

The function alone is executed, with copies of the arguments, in the place of the call: what it
prints is kept from the screen, and tasks that it calls are calls as ever, most of them hits. The
program goes on with what the memo answered, whatever comes of it.

Not undone is what the body does to the world: a verified task that writes to a file, a database or
a global list writes once more. So a call that gave Files is passed over: it would write them anew.
"""

from __future__ import annotations

import copy
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from tasklineage.core import capture, memos
from tasklineage.core.body import retry_delay
from tasklineage.core.call import Call
from tasklineage.core.capture import SilentCapture
from tasklineage.core.failure import described
from tasklineage.core.frame import Frame, current
from tasklineage.core.future import abandon, settle
from tasklineage.core.loops import in_thread, run_coroutine
from tasklineage.core.policy import pause, pause_async
from tasklineage.key.digest import Unresolved, digest, is_immutable
from tasklineage.storage.records import CallEnd, Verified, new_id

if TYPE_CHECKING:
    from tasklineage.core.causes import Finding

SAME, DIFFERS, FAILED, SKIPPED = "same", "differs", "failed", "skipped"
_FILES = frozenset({"file", "dir"})


class Trial(NamedTuple):
    """What came of one more execution."""

    value: Any = None
    digest: bytes = b""
    error: BaseException | None = None


class CannotRepeat(Exception):  # it never leaves this module
    """The call cannot be executed again without touching what is the caller's."""


def verify(this: Call, value: Any) -> None:
    """Execute a hit again, compare the digests, record and report what came of it.

    `value` is what its memo has answered.
    """
    memo = _memo(this)
    if memo is None:
        return
    second: Trial | None = None
    with _chance_kept():
        try:
            first = _execute(this, memo)
            if _is_other(first, this):
                second = _execute(this, memo, again=True)
        except CannotRepeat as reason:
            _skip(this, memo, reason)
            return
    _conclude(this, memo, value, first, second)


async def verify_async(this: Call, value: Any) -> None:
    """As `verify`, for an `async def` task, on the caller's loop."""
    memo = _memo(this)
    if memo is None:
        return
    second: Trial | None = None
    try:
        first = await _execute_async(this, memo)
        if _is_other(first, this):
            second = await _execute_async(this, memo, again=True)
    except CannotRepeat as reason:
        _skip(this, memo, reason)
        return
    await in_thread(_conclude, this, memo, value, first, second)


# Executing.


class _Again(Frame):
    """The frame of an execution that looks for a cause: nothing below it is verified."""

    __slots__ = ()


class _Trial:
    """A block in which the body of a hit is executed once more, in silence."""

    __slots__ = ("_tokens", "frame")

    def __init__(self, this: Call, attempt: int, *, again: bool) -> None:
        kind = _Again if again else Frame
        self.frame = kind(this.run, this.id, this.task.name, this.key, this.parent, this.position)
        self.frame.attempt = attempt

    def __enter__(self) -> Frame:
        self._tokens = current.set(self.frame), capture.begin(SilentCapture())
        return self.frame

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        frame_token, log_token = self._tokens
        capture.end(log_token)
        current.reset(frame_token)
        if error is not None and self.frame.pending:
            abandon(self.frame)


def _execute(this: Call, memo: CallEnd, *, again: bool = False) -> Trial:
    task, attempt = this.task, 0
    while True:
        args, kwargs = _copies(this, memo)
        try:
            with _Trial(this, attempt, again=again) as frame:
                value: Any = task.__wrapped__(*args, **kwargs)
                if task.is_async:
                    value = run_coroutine(value)
                return _settled(this, frame, value)
        except (Exception, SystemExit) as error:
            delay = retry_delay(task.settings.retries, error, attempt)
            if delay is None:
                return Trial(error=error)
        pause(delay)
        attempt += 1


async def _execute_async(this: Call, memo: CallEnd, *, again: bool = False) -> Trial:
    task, attempt = this.task, 0
    while True:
        args, kwargs = _copies(this, memo)
        try:
            with _Trial(this, attempt, again=again) as frame:
                value = await task.__wrapped__(*args, **kwargs)
                return await in_thread(_settled, this, frame, value)
        except (Exception, SystemExit) as error:
            delay = retry_delay(task.settings.retries, error, attempt)
            if delay is None:
                return Trial(error=error)
        await pause_async(delay)
        attempt += 1


def _settled(this: Call, frame: Frame, value: Any) -> Trial:
    """The result with values in the place of Futures, and its digest."""
    if frame.pending:
        value = settle(frame, value)
    if this.plan.files is not None:
        value = this.plan.files.returned(value)
    try:
        return Trial(value, digest(value, "result"))
    except Unresolved:
        value = settle(frame, value)
        return Trial(value, digest(value, "result"))


def _copies(this: Call, memo: CallEnd) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call, copied so that its body cannot change those of the caller.

    An argument that does not count and cannot be copied (a connection) is passed as it is.

    Raises
    ------
    CannotRepeat
        One that counts cannot be copied, or its copy is not equal; or the call gave Files.
    """
    if any(kind in _FILES for kind, *_ in memo.conditions):
        raise CannotRepeat("it gives files, or calls what does: they would be written anew")
    copier = _Copier()
    args = tuple([copier.copy(value) for value in this.args])
    kwargs = {name: copier.copy(value) for name, value in this.kwargs.items()}
    plan = this.plan
    bound = plan.bind(*args, **kwargs)
    uncounted = [value for i, value in enumerate(bound) if not plan.counts(i)]
    for value in copier.failed:
        if not any(value is other for other in uncounted):
            raise CannotRepeat(f"an argument of type {type(value).__qualname__} cannot be copied")
    for i, value in enumerate(bound):
        if plan.counts(i) and not is_immutable(value) and not plan.still(i, value, this.digests[i]):
            raise CannotRepeat(f"a copy of the argument {plan.names[i]} is not equal to it")
    return args, kwargs


class _Copier:
    """Copies values that may share parts; those that cannot be copied stay, and are `failed`."""

    __slots__ = ("_shared", "failed")

    def __init__(self) -> None:
        self.failed: list[Any] = []
        self._shared: dict[int, Any] = {}

    def copy(self, value: Any) -> Any:
        """A copy, or the value itself."""
        if is_immutable(value):
            return value
        try:
            return copy.deepcopy(value, self._shared)
        except Exception:  # the value's own code, or there is none for copying
            self.failed.append(value)
            return value


@contextmanager
def _chance_kept() -> Generator[None]:
    """A block after which the random generators of the process stand where they stood.

    So that a program in one thread draws the same numbers with and without verification. Other
    threads may be drawing meanwhile: what is done there is left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = [(restore, state()) for state, restore in _generators()]
    try:
        yield
    finally:
        for restore, state in kept:
            restore(state)


def _generators() -> Generator[tuple[Callable[[], Any], Callable[[Any], Any]]]:
    """How the state of each generator that belongs to the process is read, and written."""
    for module, get, put in (
        ("random", "getstate", "setstate"),
        ("numpy.random", "get_state", "set_state"),
        ("torch", "get_rng_state", "set_rng_state"),
    ):
        found = sys.modules.get(module)
        if found is not None and hasattr(found, get):
            yield getattr(found, get), getattr(found, put)


# Concluding.


def _memo(this: Call) -> CallEnd | None:
    """The memo of the hit; None where it is not to be verified."""
    frame: Frame | None = this.parent
    while frame is not None:
        if isinstance(frame, _Again):
            return None
        frame = frame.parent
    return memos.find(this)


def _is_other(trial: Trial, this: Call) -> bool:
    return trial.error is None and trial.digest != this.output.digest


def _conclude(this: Call, memo: CallEnd, value: Any, first: Trial, second: Trial | None) -> None:
    if first.error is None and first.digest == this.output.digest:
        this.run.append(_record(this, memo, SAME, first.digest))
        return
    from tasklineage.core.causes import finding_of

    found: Finding = finding_of(this, memo, value, first, second)
    status = DIFFERS if first.error is None else FAILED
    error = None if first.error is None else described(first.error)
    record = _record(this, memo, status, first.digest)._replace(
        cause=found.cause, text=found.text, error=error
    )
    this.run.append(record)
    this.run.warn_differing(record)


def _skip(this: Call, memo: CallEnd, reason: CannotRepeat) -> None:
    this.run.append(_record(this, memo, SKIPPED, b"")._replace(text=str(reason)))


def _record(this: Call, memo: CallEnd, status: str, found: bytes) -> Verified:
    return Verified(
        new_id(), this.run.id, this.id, memo.id, this.key, this.task.name, time.time(), status,
        this.output.digest, found,
    )  # fmt: skip
