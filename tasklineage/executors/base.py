"""What the engine asks of an executor: run a prepared callable somewhere, and give back a `Work`.

    engine ── submit(call) ──> Executor ── Work ──> engine
                                  │         ^  │
                                  │ run     │  └─ wait_for([work]): a worker that waits runs what
                                  v         │     has not started, and lends its slot for the rest
                               a worker ────┘ outcome

An executor knows neither tasks nor stores: a call is any callable without parameters, and what it
returns or raises is its outcome. A `Work` is claimed before it is run, and whoever claims it runs
it: a worker that took it from a queue, or the thread that waits for it.

Waiting without deadlock. A worker that waits for works of its own executor claims and runs those
that have not started, one upon the other, and nothing else: running some other queued work could
make what it waits for wait for something that is now below it on the stack. What has been claimed
by others it waits for inside `blocked()`, which lends its slot to queued work meanwhile. Either
would suffice against deadlock; the first keeps the number of threads small, the second is needed
where a work is claimed already, and beyond `DEEPEST` works on one stack (recursion limit).
"Helping" of this kind is Blumofe and Leiserson's (1999), restricted as in "leapfrogging" (Wagner
and Calder, 1993).
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from _thread import allocate_lock
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import Context
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, TypeVar, cast

from tasklineage.errors import ConfigError

if TYPE_CHECKING:
    from tasklineage.executors.resources import Offer

T = TypeVar("T")

DEEPEST = 8
"""Works that one thread runs upon each other before it lets other threads run them."""

_PENDING, _CLAIMED, _DONE, _CANCELLED = range(4)


class _Guard:
    """The one lock that orders the state changes of all works; held for a few assignments only."""

    lock = allocate_lock()


def _forget_guard() -> None:
    _Guard.lock = allocate_lock()


os.register_at_fork(after_in_child=_forget_guard)


class Work(Generic[T]):
    """A prepared callable and what became of it.

    Every method may be called from any thread. `claim` is atomic: it answers True once, and who
    gets that answer calls `run`. The outcome, set once, is a value or an exception of any kind.
    Small, as a map may have 100,000: a lock exists only while somebody waits.
    """

    __slots__ = (
        "__weakref__", "_call", "_callbacks", "_context", "_error", "_state", "_traceback",
        "_value", "executor", "place",
    )  # fmt: skip

    def __init__(
        self,
        call: Callable[[], T],
        context: Context | None = None,
        executor: Executor | None = None,
    ) -> None:
        self._call: Callable[[], T] | None = call
        self._context = context
        self._state = _PENDING
        self._value: T | None = None
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None
        self._callbacks: list[Callable[[Work[T]], object]] | None = None
        self.executor = executor
        """Whose workers run it; a worker helps only with works of its own executor."""
        self.place: Any = None
        """For the executor alone: where in its queue this is."""

    def claim(self) -> bool:
        """Take it for execution: True for exactly one caller, who then calls `run`."""
        with _Guard.lock:
            if self._state != _PENDING:
                return False
            self._state = _CLAIMED
            return True

    def run(self) -> None:
        """Call the callable of a claimed work, in its context, and store the outcome.

        Nothing is raised: `KeyboardInterrupt` and `SystemExit` too are stored.
        """
        call, context = self._call, self._context
        assert call is not None
        try:
            value = call() if context is None else context.run(call)
        except BaseException as error:
            traceback = error.__traceback__
            self.fail(error.with_traceback(traceback and traceback.tb_next))  # without this frame
        else:
            self.succeed(value)

    def succeed(self, value: T) -> None:
        """Store the value of a claimed work, and wake whoever waits."""
        self._value = value
        self._settle(_DONE)

    def fail(self, error: BaseException) -> None:
        """Store the exception of a claimed work, and wake whoever waits."""
        self._error, self._traceback = error, error.__traceback__
        self._settle(_DONE)

    def cancel(self) -> bool:
        """Whether it had not started, and now never will."""
        if not self.claim():
            return self._state == _CANCELLED
        self._settle(_CANCELLED)
        return True

    def done(self) -> bool:
        """Whether there is an outcome; a cancelled work is done."""
        return self._state >= _DONE

    def cancelled(self) -> bool:
        """Whether it was cancelled before it started."""
        return self._state == _CANCELLED

    def started(self) -> bool:
        """Whether somebody has claimed it; also true when it is done or cancelled."""
        return self._state != _PENDING

    def wait(self, timeout: float | None = None) -> bool:
        """Whether it was done within `timeout` seconds; None: wait as long as it takes.

        Only waits. A worker that may not hold its slot meanwhile uses `wait_for` or `result`.
        """
        if self._state >= _DONE:
            return True
        wake = allocate_lock()
        wake.acquire()

        def woken(_: Work[T]) -> None:
            wake.release()

        self.add_done_callback(woken)
        if wake.acquire(timeout=-1 if timeout is None else min(max(timeout, 0), _LONGEST)):
            return True
        self._remove_callback(woken)
        return self._state >= _DONE

    def result(self, timeout: float | None = None) -> T:
        """The value, waited for with `wait_for`; or its exception is raised.

        Raises
        ------
        TimeoutError
            There is no outcome after `timeout` seconds.
        concurrent.futures.CancelledError
            It was cancelled.
        """
        error = self.exception(timeout)
        if error is not None:
            try:
                raise error.with_traceback(self._traceback)  # as it was, or it would grow
            finally:
                del error  # its traceback refers to this frame
        return cast(T, self._value)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The exception, or None where there is a value; waits and raises as `result` does."""
        if self._state < _DONE and not wait_for((self,), timeout):
            raise TimeoutError(f"the work is not done after {timeout} seconds")
        if self._state == _CANCELLED:
            raise _cancelled_error()
        return self._error

    def add_done_callback(self, callback: Callable[[Work[T]], object]) -> None:
        """Call `callback(work)` once it is done, in the thread that ends it; now, if it is done.

        An exception of a callback is reported through `threading.excepthook`.
        """
        with _Guard.lock:
            if self._state < _DONE:
                if self._callbacks is None:
                    self._callbacks = [callback]
                else:
                    self._callbacks.append(callback)
                return
        _tell(callback, self)

    def _settle(self, state: int) -> None:
        self._call = self._context = None
        with _Guard.lock:
            self._state = state
            callbacks, self._callbacks = self._callbacks, None
        if callbacks is not None:
            for callback in callbacks:
                _tell(callback, self)

    def lose(self, error: BaseException) -> None:
        """Fail in a child that was just forked, where no lock may be taken yet.

        The callbacks are called when something is waited for next.
        """
        if self._state < _DONE:
            self._call = self._context = None
            self._error, self._state = error, _DONE
            callbacks, self._callbacks = self._callbacks, None
            _Lost.callbacks.extend((callback, self) for callback in callbacks or ())

    def _remove_callback(self, callback: Callable[[Work[T]], object]) -> None:
        with _Guard.lock:
            if self._callbacks is not None and callback in self._callbacks:
                self._callbacks.remove(callback)


class Executor(ABC):
    """Runs prepared callables. Every method may be called from any thread, workers included.

    `submit` runs the callable in a copy of the submitter's context (`contextvars`), so that
    context variables mean in it what they meant where it was submitted.
    """

    name: ClassVar[str]
    """What it is called in records and settings: `inline`, `threads`."""
    can_kill: ClassVar[bool] = False
    """Whether it can stop a work that has started; else a `timeout` is refused."""
    shares_memory: ClassVar[bool] = True
    """Whether works see the objects of the submitter, and it sees what they return."""
    portion: ClassVar[float] = 0.05
    """Seconds of work that a worker should be given at once, where small works may go together."""
    is_remote: ClassVar[bool] = False
    """Whether works may run on another machine."""
    shares_surroundings: bool = True
    """Whether works are to find the folder and the environment of the submitter."""

    slots: int
    """How many works run at once."""

    @property
    def width(self) -> int:
        """How many works really run at once; more may have been handed over."""
        return self.slots

    @property
    def here(self) -> Executor:
        """What stands for it where this is asked: in its own workers it may be another one."""
        return self

    @property
    def offer(self) -> Offer:
        """What works may ask for beside a slot, and what of it is free."""
        from tasklineage.executors.resources import machine_offer  # for those who ask

        return machine_offer()

    @property
    def driver(self) -> Executor:
        """Whose workers, in this process, prepare works and wait for them."""
        return self

    def perform(
        self,
        call: Callable[[Callable[[Any], None]], T],
        hear: Callable[[Any], bool] = bool,
        *,
        devices: Sequence[str] = (),
        timeout: float | None = None,
    ) -> T:
        """What `call(tell)` returns where works run, waited for by a worker of `driver`.

        Where works have processes of their own, that one sees these GPUs from its beginning, and no
        others. What it tells meanwhile is given to `hear` at once; where that answers True, the
        time of its limit begins, or begins again.

        Raises
        ------
        TaskTimeout
            It took longer than `timeout` seconds, and was stopped.
        WorkerLost
            Who ran it died.
        ConfigError
            The executor cannot honour `timeout`, or has been shut down.
        """
        if timeout is not None:
            self._refuse(timeout)
        return call(lambda told: None)

    @abstractmethod
    def submit(
        self,
        call: Callable[[], T],
        *,
        resources: Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> Work[T]:
        """A work that runs `call` as soon as there is a slot.

        Raises
        ------
        UnsatisfiableResources
            Nobody here has what is asked for.
        ConfigError
            It cannot honour `timeout`, or has been shut down.
        """

    @abstractmethod
    def shutdown(self, wait: bool = True) -> None:
        """Refuse further works; with `wait`, return once those submitted before are done."""

    def wait_for(self, works: Sequence[Work[Any]], timeout: float | None = None) -> bool:
        """Whether all of `works` were done within `timeout` seconds. See `wait_for` below."""
        return wait_for(works, timeout)

    def run_claimed(self, works: Iterable[Work[Any]]) -> int:
        """How many of `works` this thread claimed and ran; it must be a worker. See below."""
        return run_claimed(works)

    def blocked(self) -> Blocked:
        """A context in which the calling thread waits, and lends its slot meanwhile. See below."""
        return Blocked()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    def taken(self, work: Work[Any]) -> None:
        """A waiting worker has claimed `work`, which may stand in a queue still."""

    def lend(self, seat: Seat) -> None:
        """The worker on `seat` is about to wait: somebody else may use its slot.

        Raises
        ------
        NoThread
            Nobody is left to run what is queued. The slot was not lent.
        """

    def retake(self, seat: Seat, *, at_once: bool) -> None:
        """The worker on `seat` goes on: with a slot, or without waiting for one if `at_once`."""

    def _refuse(self, timeout: float | None) -> None:
        """Raise for what only an executor that kills can do."""
        if timeout is not None:
            raise ConfigError(
                f"the {self.name} executor cannot stop a call: timeout={timeout} needs processes"
            )

    def _holding(
        self, call: Callable[[], T], resources: Mapping[str, object] | None
    ) -> Callable[[], T]:
        """The callable with a block around it that holds the resources, if there are any."""
        if not resources:
            return call
        from tasklineage.executors.resources import amounts  # for those who ask

        asked, offer = amounts(resources), self.offer
        offer.check("a work", asked)

        def held() -> T:
            with offer.reserve(asked):
                return call()

        return held


class NoThread(RuntimeError):
    """There is work and a free slot, but no thread for it, and none can be started."""


class Seat:
    """The place of one worker thread: what it runs, and whether its slot is lent.

    Changed by its own thread only.
    """

    __slots__ = ("depth", "executor", "lent", "returned", "wake", "works")

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.works: list[Work[Any]] = []
        """What runs here: the first came from the queue, each further one is run by a waiter."""
        self.depth = 0
        """How deeply the first of them is nested; 0: submitted by no worker."""
        self.lent = 0
        """How many waits are going on; more than one only among coroutines."""
        self.wake = allocate_lock()
        """Released to make an idle worker look for work."""
        self.wake.acquire()
        self.returned = allocate_lock()
        """Released when a worker that waits for its slot to return has got one."""
        self.returned.acquire()

    def run(self) -> None:
        """Run the last of `works`, which is claimed."""
        try:
            self.works[-1].run()
        finally:
            self.works.pop()

    def call(self) -> None:
        """Make an idle worker look for work; no matter if it has been called already."""
        with contextlib.suppress(RuntimeError):
            self.wake.release()

    def depth_of_submitted(self) -> int:
        """How deeply nested a work is that is submitted from here."""
        return self.depth + len(self.works)


class _Here(threading.local):
    seat: Seat | None = None


_here = _Here()


def current_seat() -> Seat | None:
    """The seat of this thread, if it is a worker of some executor."""
    return _here.seat


def take_seat(seat: Seat | None) -> None:
    """Make this thread a worker, or (None) no longer one."""
    _here.seat = seat


class Blocked:
    """A context in which the calling thread waits for something.

    If it is a worker, of whatever executor, its slot is lent to queued work until the end of the
    block, where it waits for a slot again; so at most `slots` workers run at once. In other
    threads, and inside another such block, nothing happens.

    `async with` is for a coroutine that awaits, in an event loop that a worker runs. That loop must
    not stop, so at the end it goes on at once, beyond `slots` if need be.
    """

    __slots__ = ("_seat",)

    def __init__(self) -> None:
        self._seat: Seat | None = None

    def __enter__(self) -> None:
        if _Lost.callbacks:
            _tell_of_lost()
        seat = self._seat = _here.seat
        if seat is not None:
            if seat.lent == 0:
                seat.executor.lend(seat)
            seat.lent += 1

    def __exit__(self, *_: object) -> Literal[False]:
        return self.leave(at_once=False)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(self, *_: object) -> Literal[False]:
        return self.leave(at_once=True)

    def leave(self, *, at_once: bool) -> Literal[False]:
        """End the block; with `at_once`, without waiting for a slot."""
        seat = self._seat
        if seat is not None:
            seat.lent -= 1
            if seat.lent == 0:
                seat.executor.retake(seat, at_once=at_once)
        return False


def wait_for(works: Sequence[Work[Any]], timeout: float | None = None) -> bool:
    """Whether all of `works` were done within `timeout` seconds; None: as long as it takes.

    A worker runs those of them that have not started, then waits for the others with its slot lent.
    Under a timeout it only waits, since what it has begun it cannot leave, and it goes on in time,
    beyond the slots if need be. Threads that are no workers only wait.
    """
    if _Lost.callbacks:
        _tell_of_lost()
    if timeout is None:
        run_claimed(works)
    unfinished = [work for work in works if not work.done()]
    if not unfinished:
        return True
    if timeout is None:
        _wait_for_all(unfinished)
        return True
    blocked, deadline = Blocked(), time.monotonic() + timeout
    blocked.__enter__()
    try:
        return all(work.wait(deadline - time.monotonic()) for work in unfinished)
    finally:
        blocked.leave(at_once=True)


def run_claimed(works: Iterable[Work[Any]], deepest: int = DEEPEST) -> int:
    """How many of `works` this thread claimed and ran, one after the other.

    None, if it is not a worker of their executor, has lent its slot, or runs `deepest` works
    upon each other already.
    """
    seat = _here.seat
    if seat is None or seat.lent or len(seat.works) >= deepest:
        return 0
    executor, count = seat.executor, 0
    for work in works:
        if work.executor is executor and work.claim():
            seat.works.append(work)
            executor.taken(work)
            seat.run()
            count += 1
    return count


def _wait_for_all(works: Sequence[Work[Any]]) -> None:
    blocked = Blocked()
    try:
        blocked.__enter__()
    except NoThread:  # then on this stack, however deep it is
        run_claimed(works, sys.maxsize)
        if all(work.done() for work in works):
            return
        blocked.__enter__()
    try:
        for work in works:
            work.wait()
    finally:
        blocked.leave(at_once=False)


interrupts: list[Callable[[], bool]] = []
"""What ends at once the works that executors of this process can kill; whether there were any."""


def interrupt_works() -> bool:
    """Whether there were works that could be killed. They are: somebody does not want to wait."""
    ended = [interrupt() for interrupt in interrupts]  # all of them
    return any(ended)


_LONGEST = threading.TIMEOUT_MAX


class _Lost:
    """What is to be told of works that were lost by a fork."""

    callbacks: ClassVar[list[tuple[Callable[[Work[Any]], object], Work[Any]]]] = []


def _tell_of_lost() -> None:
    lost, _Lost.callbacks = _Lost.callbacks, []
    for callback, work in lost:
        _tell(callback, work)


def _tell(callback: Callable[[Work[T]], object], work: Work[T]) -> None:
    try:
        callback(work)
    except Exception:
        threading.excepthook(
            threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread()))
        )


def _cancelled_error() -> BaseException:
    from concurrent.futures import CancelledError

    return CancelledError("the work was cancelled before it started")
