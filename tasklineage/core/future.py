"""Calls that are not over yet: Futures and BoundCalls, and arguments that contain them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from tasklineage import config
from tasklineage.core import engine
from tasklineage.core.ambient import top_frame
from tasklineage.core.call import Outcome, recorded_call
from tasklineage.core.deferred import Deferred, replaced, walk, with_values
from tasklineage.core.frame import Frame, Position, current, waiting
from tasklineage.executors.base import Blocked, Executor, Work, interrupt_works, wait_for
from tasklineage.storage.records import CANCELLED, Edge

if TYPE_CHECKING:
    from tasklineage.core.task import Task
    from tasklineage.query.calls import Call as RecordedCall

R = TypeVar("R")
_LOOK = 0.05
"""Seconds between two looks at what the awaited call has come to."""


class Future(Deferred, Generic[R]):
    """The value of a call that may not have been made yet. Safe to use from any thread.

    It may be awaited, and may be an argument of another call, which is made when this one is over.
    """

    def __init__(self, task: Task[Any, Any], parent: Frame) -> None:
        self._task = task
        self._parent = parent
        self._outcome: Outcome[R] | None = None
        self.key = b""
        """The key of the call, as soon as it is known."""
        self._work: Work[Outcome[R]] | None = None
        self._is_submitted = False
        self._inputs: list[Deferred] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._callbacks: list[Callable[[Future[R]], object]] = []

    def result(self, timeout: float | None = None) -> R:
        """The value, waited for; the exception of the call is raised as it was.

        Raises
        ------
        TimeoutError
            It is not over after `timeout` seconds.
        concurrent.futures.CancelledError
            It was cancelled.
        """
        return self.outcome(timeout).get()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The exception of the call, or None; waits as `result` does."""
        return self.outcome(timeout).error

    def done(self) -> bool:
        """Whether the call is over."""
        return self._outcome is not None

    def cancel(self) -> bool:
        """Whether the call had not started, and now never will."""
        with self._lock:
            work, outcome = self._work, self._outcome
            if outcome is not None:
                return outcome.status == CANCELLED
            if work is None and self._is_submitted:
                return False
            self._is_submitted = True
        if work is not None and not work.cancel():
            return False
        self.finish(self._cancelled())
        return True

    @property
    def call(self) -> RecordedCall:
        """The record of the call, waited for.

        Raises
        ------
        NotFound
            It was never made: its arguments do not fit the function, or have no digest.
        """
        outcome = self.outcome()
        return recorded_call(self._parent.store, outcome.call_id, outcome.error)

    def __await__(self) -> Generator[Any, None, R]:
        return self._awaited().__await__()

    def __repr__(self) -> str:
        outcome = self._outcome
        state = "not over" if outcome is None else outcome.status
        return f"<future of {self._task.name}: {state}>"

    async def _awaited(self) -> R:
        import asyncio

        loop = asyncio.get_running_loop()
        over = asyncio.Event()

        def wake(_: Future[R]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(over.set)

        self.add_done_callback(wake)
        async with Blocked():
            await over.wait()
        return self.outcome().get()

    # What the engine and the combinators use.

    def outcome(self, timeout: float | None = None) -> Outcome[R]:
        """What came of the call. A worker that waits runs what has not started, inputs first."""
        if self._outcome is None:
            if timeout is None:
                for one in self._inputs:
                    one.failure()
            try:
                self._wait(timeout)
            except KeyboardInterrupt:
                self._parent.stop_pending()
                raise
        return cast("Outcome[R]", self._outcome)

    def _wait(self, timeout: float | None) -> None:
        work = self._work
        if work is not None:
            wait_for((work,), timeout)
        if timeout is not None and not self._over.wait(0 if work is not None else timeout):
            raise TimeoutError(f"{self!r} after {timeout} seconds")
        with Blocked():
            while not self._over.is_set():
                with waiting(self._parent, lambda: [self.key] if self.key else ()):
                    self._over.wait(_LOOK)

    def failure(self) -> BaseException | None:
        return self.outcome().error

    def value(self) -> R:
        return self.outcome().get()

    def edges(self, path: str) -> Iterator[Edge]:
        return self.outcome().edges(path)

    def settle(self) -> None:
        """Wait until it is over. Its failure is for whoever asks for the result."""
        self.outcome()

    def stop(self) -> None:
        """Cancel it if it has not started."""
        self.cancel()

    def can_be_dropped(self) -> bool:
        return self.done()

    def abandon(self) -> None:
        """Cancel it if it has not started; else wait until it is over."""
        if not self.cancel():
            self.outcome()

    def add_done_callback(self, callback: Callable[[Future[R]], object]) -> None:
        """Call `callback(future)` once the call is over; at once, if it is."""
        with self._lock:
            if self._outcome is None:
                self._callbacks.append(callback)
                return
        callback(self)

    def schedule(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        executor: Executor,
        position: Position | None = None,
    ) -> None:
        """Submit the call once the Futures among its arguments are over."""
        context = copy_context()
        elsewhere = None if executor.shares_memory else executor
        reserve = reservation(self._task, executor)

        run = self._parent.run
        interruptions = run.interruptions()

        def performed() -> Outcome[R]:
            if run.interruptions() != interruptions:  # it was queued then
                return self._cancelled()
            return engine.perform(
                self._task, args, kwargs, self._parent, position, self._note_key, elsewhere, reserve
            )

        def perform() -> Outcome[R]:
            return context.run(performed)

        def submit_now() -> None:
            with self._lock:
                if self._outcome is not None or self._is_submitted:
                    return
                self._is_submitted = True
            try:
                work = self._work = executor.driver.submit(perform)
            except BaseException as error:
                self.finish(Outcome(None, error, CANCELLED))
                raise
            work.add_done_callback(self._take)

        self._inputs = [one for _, one in walk([args, kwargs]) if not one.done()]
        _when_over([one for one in self._inputs if isinstance(one, Future)], submit_now)

    def _cancelled(self) -> Outcome[R]:
        """The outcome of a call that was cancelled before it started, which is recorded."""
        made = engine.cancelled(self._task, self._parent)
        return Outcome(None, _cancelled_error(), CANCELLED, made)

    def _note_key(self, key: bytes) -> None:
        self.key = key

    def _take(self, work: Work[Outcome[R]]) -> None:
        if not work.cancelled():
            error = work.exception()
            self.finish(work.result() if error is None else Outcome(None, error, CANCELLED))

    def finish(self, outcome: Outcome[R]) -> None:
        """Let this be what came of the call, unless something else did before."""
        with self._lock:
            if self._outcome is not None:
                return
            self._outcome = outcome
            callbacks, self._callbacks = self._callbacks, []
        self._over.set()
        for callback in callbacks:
            try:
                callback(self)
            except Exception:  # what waits for this one has been told by `submit_now`
                continue


class BoundCall(Deferred, Generic[R]):
    """A call that is not made yet: a task with its arguments, for `gather` and `join`."""

    def __init__(self, task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.task = task
        self.args = args
        self.kwargs = kwargs
        self._future: Future[R] | None = None

    def submit(self, executor: Executor | None = None) -> Future[R]:
        """Make the call on `executor`, by default the run's; once, however often it is asked."""
        if self._future is None:
            self._future = submit(self.task, self.args, self.kwargs, executor)
        return self._future

    def done(self) -> bool:
        return self._future is not None and self._future.done()

    def failure(self) -> BaseException | None:
        return self.submit().failure()

    def value(self) -> R:
        return self.submit().value()

    def edges(self, path: str) -> Iterator[Edge]:
        return self.submit().edges(path)

    def __repr__(self) -> str:
        return f"<bound call of {self.task.name}>"


def submit(
    task: Task[Any, Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    executor: Executor | None = None,
) -> Future[Any]:
    """Schedule a call on the executor of its task, else on the given one, else on the run's."""
    parent = current.get() or top_frame()
    future: Future[Any] = Future(task, parent)
    if config.is_disabled():
        future.finish(engine.bare(task, args, kwargs))
        return future
    future.schedule(
        _submitted(args),
        _submitted(kwargs),
        executor_for(task, task.settings.executor or executor, parent),
    )
    parent.add_pending(future)
    return future


def executor_for(task: Task[Any, Any], chosen: Executor | None, parent: Frame) -> Executor:
    """Where a call of the task runs: where it was chosen to, else where the run's calls do.

    One that cannot stop a call does not do for a task with a time limit.

    Raises
    ------
    UnsatisfiableResources
        Nobody there has what the task asks for.
    """
    executor = (chosen or parent.run.executor).here
    if task.settings.resources:
        from tasklineage.executors import limits  # for those who ask

        limits.check(task.name, task.settings.resources, executor.offer)
    if task.settings.timeout is None or executor.can_kill:
        return executor
    from tasklineage.executors.choose import killing_executor

    return killing_executor()


def reservation(
    task: Task[Any, Any], executor: Executor
) -> Callable[[Frame], AbstractContextManager[object]]:
    """What makes blocks that hold what a call of the task asks for."""
    asked = task.settings.resources
    if not asked:
        return contextlib.nullcontext
    from tasklineage.executors import limits  # for those who ask

    def reserve(parent: Frame) -> AbstractContextManager[object]:
        return limits.reserved(asked, executor.offer, parent.lasting)

    return reserve


def resolved(
    task: Task[Any, Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    parent: Frame,
    position: Position | None = None,
    note_skipped: Callable[[bytes], object] = id,
) -> tuple[tuple[Any, ...], dict[str, Any], Frame, Position | None, tuple[Edge, ...]]:
    """What a `Call` is made of, with values in the place of Futures, and the edges they make.

    Raises
    ------
    BaseException
        The exception of an input that failed; the call is recorded as skipped, its id noted.
    """
    args, kwargs = _submitted(args), _submitted(kwargs)
    inputs = [one for _, one in walk([args, kwargs])]
    _wait_for_inputs(task, parent, inputs, note_skipped)
    binding = task.binding
    bound = zip(binding.names, binding.bind(*args, **kwargs), strict=True)
    edges = [e for name, value in bound for path, one in walk(value, name) for e in one.edges(path)]
    return with_values(args), with_values(kwargs), parent, position, tuple(edges)


def resolved_shared(
    task: Task[Any, Any], shared: dict[str, Any], parent: Frame
) -> tuple[dict[str, Any], tuple[Edge, ...]]:
    """What all elements of a map share, with values in the place of Futures, and their edges."""
    shared = _submitted(shared)
    waited = [(path, one) for name, value in shared.items() for path, one in walk(value, name)]
    _wait_for_inputs(task, parent, [one for _, one in waited])
    return with_values(shared), tuple(e for path, one in waited for e in one.edges(path))


def _wait_for_inputs(
    task: Task[Any, Any],
    parent: Frame,
    inputs: list[Deferred],
    note_skipped: Callable[[bytes], object] = id,
) -> None:
    """All are over; where one failed, the call is recorded as skipped and the exception raised."""
    for one in inputs:
        error = one.failure()
        if error is not None:
            note_skipped(engine.skip(task, parent, error))
            raise error


def settle(frame: Frame, value: Any) -> Any:
    """Wait for all that was begun under `frame`; `value` with results in the place of Futures.

    Raises
    ------
    BaseException
        The first failure of a Fanout that nobody has seen, or of a Future inside `value`.
    """
    failure: BaseException | None = None
    while pending := frame.take_pending():
        for one in pending:
            try:
                one.settle()
            except Exception as error:
                failure = failure or error
            except BaseException as error:
                failure = error
                for other in pending:
                    other.stop()
    if failure is not None:
        raise failure
    return with_values(value)


def abandon(frame: Frame) -> None:
    """Start nothing more of what was begun under `frame`; wait for what is in flight.

    Who interrupts that has what can be killed killed, and maps inside of calls end.
    """
    while pending := frame.take_pending():
        for one in pending:
            try:
                one.abandon()
            except KeyboardInterrupt:
                from tasklineage.core.pumps import interrupt_maps  # which imports this module

                frame.run.note_interruption()
                interrupt_maps(frame.run)
                if not interrupt_works():
                    raise
                one.abandon()


def _submitted(value: Any) -> Any:
    """A value with Futures in the place of BoundCalls: they run concurrently."""
    return replaced(value, lambda part: part.submit() if isinstance(part, BoundCall) else part)


def _when_over(futures: list[Future[Any]], then: Callable[[], object]) -> None:
    """Call `then` once all of `futures` are over, in the thread that ends the last one."""
    if not futures:
        then()
        return
    left = iter(range(len(futures) - 1))

    def one_less(_: Future[Any]) -> None:
        if next(left, None) is None:  # atomic: exactly one caller finds nothing left
            then()

    for future in futures:
        future.add_done_callback(one_less)


def _cancelled_error() -> BaseException:
    from concurrent.futures import CancelledError

    return CancelledError("the call was cancelled before it started")
