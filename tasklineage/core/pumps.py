"""How the elements of a map get executed: pumps on the workers of an executor.

    Source ──pull──> batch ──look up──> hits: recorded in one write ──> Arrivals
                                   └──> misses: ready ──> pump ──> engine ──> Arrivals

A *pump* is a piece of work for the executor: it executes ready elements one after the other, and
pulls the next batch when none is left. How many of them run is decided by the `Crew`.

A thread that wants a result only waits, unless it is a worker of the same executor: then it is a
pump itself, which is why nested maps need no free slot.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tasklineage.core.arrivals import Arrivals
from tasklineage.core.call import Call, Outcome
from tasklineage.core.crew import Crew, Room
from tasklineage.core.elements import Elements
from tasklineage.core.failure import is_interrupt
from tasklineage.core.frame import Frame, current, waiting
from tasklineage.core.pace import Pace
from tasklineage.core.source import Source
from tasklineage.errors import WorkerLost
from tasklineage.executors.base import DEEPEST, Blocked, Executor, current_seat
from tasklineage.storage.records import CANCELLED

if TYPE_CHECKING:
    from tasklineage.core.run import RunState

_LARGEST_BATCH = 512
_QUICK_PULL = 0.02


class Pumps:
    """The elements of one map on their way. Safe to use from many threads.

    The lock of `arrivals` guards every attribute.
    """

    def __init__(
        self,
        elements: Elements,
        source: Source,
        parent: Frame,
        executor: Executor,
        pace: Pace | Room,
        stops_at_failure: bool,
        arrivals: Arrivals,
    ) -> None:
        self._elements = elements
        self._source = source
        self._parent = parent
        self._executor = executor
        self._stops_at_failure = stops_at_failure
        self._arrivals = arrivals
        self._crew = Crew(
            executor, pace, arrivals.lock, self._pump, lambda: len(arrivals.completed)
        )
        self._ready: deque[tuple[int, Call]] = deque()
        self._in_flight: dict[bytes, int] = {}
        self._is_pulling = False
        self._is_stopped = False
        self._is_ending = False
        self._batch = 2 * pace.limit
        self._portion = elements.portion if elements.portion.varies else None
        _all.add(self)

    def start(self) -> None:
        """Begin: on the executor's workers, or all of it here and now if that is `inline`."""
        total = self._source.total
        if self._executor.name == "inline" or total == 0:
            self._pump()
        else:
            self._crew.call(self._batch if total is None else total)

    def stop(self) -> None:
        """Start no further element."""
        with self._arrivals.lock:
            self._is_stopped = True
        self._end_if_over()

    def interrupt(self) -> None:
        """Start no further element; whoever waits for one that is missing is interrupted."""
        if not self._arrivals.is_over:
            self._source.fail(KeyboardInterrupt())
            self.stop()

    def is_inside(self, run: RunState) -> bool:
        """Whether it belongs to the run, or to one that was begun inside of that."""
        own: RunState | None = self._parent.run
        while own is not None and own is not run:
            own = own.parent
        return own is run

    def wait(self, is_met: Callable[[], bool]) -> None:
        """Return when `is_met()`, which must be true when all is over."""
        if is_met():
            return
        self._pump_here()
        try:
            with Blocked():
                while not is_met():
                    with waiting(self._parent, self._keys):
                        self._arrivals.wait(is_met)
        except KeyboardInterrupt:
            self._parent.stop_pending()
            self.stop()
            raise

    def lose(self) -> None:
        """In a forked child: the pumps are the parent's, and nobody here will finish the map."""
        if not self._arrivals.is_over:
            self._source.fail(WorkerLost("the threads of a map do not survive a fork"))
            self._is_stopped = self._is_ending = True
        self._arrivals.lose()

    def _pump_here(self) -> None:
        """Be a pump, if this thread is a worker of the executor and not too deep in waiting."""
        seat = current_seat()
        if seat is None or seat.executor is not self._executor or seat.lent:
            return
        if _here.depth < DEEPEST and self._crew.enter():
            _here.depth += 1
            try:
                self._run()
            finally:
                _here.depth -= 1

    def _keys(self) -> list[bytes]:
        with self._arrivals.lock:
            return [*self._in_flight, *(call.key for _, call in self._ready)]

    def _pump(self) -> None:
        """The life of a pump: it runs while it is of use, and stands by while it is not."""
        goes_on = self._crew.enter() or self._crew.stand_by()
        while goes_on:
            self._crew.call(self._left())
            goes_on = self._run() and self._crew.stand_by()

    def _run(self) -> bool:
        """Execute elements until none is left; whether there were too many pumps before that."""
        is_surplus = False
        token = current.set(self._parent)
        try:
            while not is_surplus and (taken := self._next()):
                began = time.perf_counter()
                outcomes: list[Outcome[Any] | None]
                try:
                    outcomes = self._elements.execute([call for _, call in taken])
                except BaseException as error:  # an interrupt outside of the body
                    outcomes = [Outcome(None, error, CANCELLED)] * len(taken)
                self._publish(taken, outcomes)
                for outcome in outcomes:
                    if outcome is not None and is_interrupt(outcome.error):
                        raise outcome.error
                is_surplus = self._crew.note(began, time.perf_counter(), self._left())
        except BaseException as error:
            self._source.fail(error)
            self._is_stopped = True
            raise
        finally:
            current.reset(token)
            if not is_surplus:
                self._crew.leave()
            self._end_if_over()
        return is_surplus

    def _next(self) -> list[tuple[int, Call]]:
        """The next elements to execute, pulled if need be; none: there are none for this pump."""
        while True:
            with self._arrivals.lock:
                if self._is_stopped:
                    return []
                is_all = self._is_pulling or self._source.is_exhausted
                taken = self._taken(is_all=is_all)
                if taken or is_all:
                    return taken
                self._is_pulling = True
                first = len(self._arrivals.outcomes)
                batch = self._batch
            self._pull(first, batch)

    def _taken(self, *, is_all: bool) -> list[tuple[int, Call]]:
        """Elements that are ready, now in flight; none where more should be read first."""
        ready, portion, in_flight = self._ready, self._portion, self._in_flight
        size = 1
        if portion is not None:
            count = len(ready)
            if not is_all and count < portion.least():
                return []
            size = portion.size(count, is_all=is_all)
        taken: list[tuple[int, Call]] = []
        while ready and len(taken) < size:
            one = ready.popleft()
            taken.append(one)
            key = one[1].key
            in_flight[key] = in_flight.get(key, 0) + 1
        return taken

    def _pull(self, first: int, batch: int) -> None:
        """Read and look up the next batch; publish its hits."""
        arrivals = self._arrivals
        began = time.perf_counter()
        pulled: list[Call | Outcome[Any]] = []
        try:
            pulled = self._elements.pull(batch)
        except BaseException as error:
            self._source.fail(error)
            if is_interrupt(error):
                raise
        finally:
            took = time.perf_counter() - began - self._elements.fetching
            is_quick = took < _QUICK_PULL  # to fetch many at once takes hardly longer than one
            with arrivals.lock:
                self._is_pulling = False
                most = max(_LARGEST_BATCH, self._elements.portion.least())
                self._batch = min(2 * batch, most) if is_quick else max(batch // 2, 1)
                arrivals.outcomes += [None] * len(pulled)
                for index, one in enumerate(pulled, first):
                    if isinstance(one, Call):
                        self._ready.append((index, one))
                    else:
                        self._put(index, one)
                arrivals.notify_locked(is_pressing=not self._ready)
        self._crew.call(self._left())

    def _left(self) -> int:
        """How many elements are ready for a pump: those of a map that is stopped never will be."""
        return 0 if self._is_stopped else len(self._ready)

    def _publish(self, taken: list[tuple[int, Call]], outcomes: list[Outcome[Any] | None]) -> None:
        """Put outcomes in their places; what was not executed is the next to be."""
        in_flight = self._in_flight
        with self._arrivals.lock:
            left: list[tuple[int, Call]] = []
            for (index, call), outcome in zip(taken, outcomes, strict=True):
                if in_flight[call.key] > 1:
                    in_flight[call.key] -= 1
                else:
                    del in_flight[call.key]
                if outcome is None:
                    left.append((index, call))
                else:
                    self._put(index, outcome)
            self._ready.extendleft(reversed(left))
            self._arrivals.notify_locked(is_pressing=not self._ready)

    def _put(self, index: int, outcome: Outcome[Any]) -> None:
        self._arrivals.put_locked(index, outcome)
        if self._stops_at_failure and outcome.error is not None:
            self._is_stopped = True

    def _end_if_over(self) -> None:
        """If nothing is left and nobody is at it, the map is over: check what was shared."""
        with self._arrivals.lock:
            is_left = self._ready or not self._source.is_exhausted
            is_busy = self._in_flight or self._is_pulling
            if self._is_ending or is_busy or (is_left and not self._is_stopped):
                return
            self._is_ending = True
        self._crew.end()
        try:
            self._elements.finish()
        except BaseException as error:
            self._source.fail(error)
        self._arrivals.close()


class _Here(threading.local):
    depth = 0


_here = _Here()
_all: weakref.WeakSet[Pumps] = weakref.WeakSet()


def interrupt_maps(run: RunState) -> None:
    """Have every map of the run end in this process, those inside of calls too."""
    for pumps in list(_all):
        if pumps.is_inside(run):
            pumps.interrupt()


def _after_fork() -> None:
    for pumps in list(_all):
        pumps.lose()


os.register_at_fork(after_in_child=_after_fork)
