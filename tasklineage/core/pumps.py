"""How the elements of a map get executed: pumps on the workers of an executor.

    source ──pull──> batch ──look up──> hits: recorded in one write, published
                                   └──> misses: ready ──> pump ──> engine ──> published

A *pump* is a piece of work for the executor: it executes ready elements one after the other, and
pulls the next batch when none is left. As many run as the executor has slots, unless elements take
so little time that threads would only get into each other's way (the interpreter's lock is handed
over at every system call): then one runs. At first, and while elements are quick, a second stands
by, and goes on as soon as nothing was finished for a moment.

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
from typing import Any, TypeGuard

from tasklineage.core.call import Call, Outcome
from tasklineage.core.elements import Elements
from tasklineage.core.frame import Frame, current, waiting
from tasklineage.core.source import Source
from tasklineage.errors import WorkerLost
from tasklineage.executors.base import DEEPEST, Blocked, Executor, current_seat
from tasklineage.storage.records import CANCELLED

_QUICK = 250e-6
"""Seconds an element takes below which one pump is faster than several."""
_WALL = 50e-3
"""Seconds below which an element may have taken so long because other pumps were running."""
_SAMPLES = 8
"""Elements that are executed before the time they take is relied upon."""
_STAND_BY = 0.005
_NOTIFY = 0.002
_WAIT = 0.02
_LARGEST_BATCH = 512


class Pumps:
    """The elements of one map on their way. Safe to use from many threads.

    `changed` guards every attribute; it is never held during I/O or user code.
    """

    def __init__(
        self,
        elements: Elements,
        source: Source,
        parent: Frame,
        executor: Executor,
        limit: int,
        stops_at_failure: bool,
        on_change: Callable[[Pumps], object],
    ) -> None:
        self.outcomes: list[Outcome[Any] | None] = []
        self.completed: list[int] = []
        self.failed: list[int] = []
        self.hits = 0
        self.is_over = False
        self._elements = elements
        self._source = source
        self._parent = parent
        self._executor = executor
        self._limit = limit
        self._stops_at_failure = stops_at_failure
        self._on_change = on_change
        self._changed = threading.Condition(threading.Lock())
        self._ready: deque[tuple[int, Call]] = deque()
        self._in_flight: dict[bytes, int] = {}
        self._queued = 0
        self._running = 0
        self._is_pulling = False
        self._is_stopped = False
        self._is_ending = False
        self._stands_by = False
        self._ended = threading.Event()
        self._mean = 1.0
        self._samples = 0
        self._batch = 2 * limit
        self._notified = 0.0
        self._waiters = 0
        self._callbacks: list[Callable[[], object]] = []
        _all.add(self)

    @property
    def executed(self) -> int:
        """How many elements are over that were no hits."""
        return len(self.completed) - self.hits

    def start(self) -> None:
        """Begin: on the executor's workers, or all of it here and now if that is `inline`."""
        total = self._source.total
        if self._executor.name == "inline" or total == 0:
            self._pump()
        else:
            self._spawn(min(2, self._limit if total is None else min(self._limit, total)))

    def stop(self) -> None:
        """Start no further element."""
        with self._changed:
            self._is_stopped = True
        self._end_if_over()

    def wait(self, is_met: Callable[[], bool]) -> None:
        """Return when `is_met()`, which must be true when all is over."""
        if is_met():
            return
        self._pump_here()
        try:
            with Blocked():
                while not is_met():
                    with waiting(self._parent, self._keys()), self._changed:
                        if not is_met():
                            self._waiters += 1
                            self._changed.wait(_WAIT)
                            self._waiters -= 1
        except KeyboardInterrupt:
            self._parent.stop_pending()
            self.stop()
            raise

    def add_done_callback(self, callback: Callable[[], object]) -> None:
        """Call `callback` once all is over; at once, if it is."""
        with self._changed:
            if not self.is_over:
                self._callbacks.append(callback)
                return
        callback()

    def lose(self) -> None:
        """In a forked child: the pumps are the parent's, and nobody here will finish the map."""
        self._changed = threading.Condition(threading.Lock())
        if not self.is_over:
            self._source.fail(WorkerLost("the threads of a map do not survive a fork"))
            self._is_stopped = self._is_ending = self.is_over = True

    def _pump_here(self) -> None:
        """Be a pump, if this thread is a worker of the executor and not too deep in waiting."""
        seat = current_seat()
        if seat is None or seat.executor is not self._executor or seat.lent:
            return
        if _here.depth < DEEPEST:
            _here.depth += 1
            try:
                self._pump()
            finally:
                _here.depth -= 1

    def _keys(self) -> list[bytes]:
        with self._changed:
            return [*self._in_flight, *(call.key for _, call in self._ready)]

    def _spawn(self, wanted: int) -> None:
        """See that `wanted` pumps run or are queued."""
        with self._changed:
            missing = wanted - self._queued - self._running
            self._queued += max(0, missing)
        for i in range(missing):
            try:
                self._executor.submit(self._queued_pump)
            except BaseException:
                with self._changed:
                    self._queued -= missing - i
                raise

    def _queued_pump(self) -> None:
        with self._changed:
            self._queued -= 1
            is_early = self._running > 0 and self._samples < _SAMPLES
        if not is_early or self._stood_by():
            self._pump()

    def _pump(self) -> None:
        """Execute elements until none is left for this pump."""
        with self._changed:
            if self._running >= self._limit or self.is_over:
                return
            self._running += 1
        token = current.set(self._parent)
        try:
            while (next_one := self._next()) is not None:
                index, call = next_one
                began, cpu = time.perf_counter(), time.thread_time()
                try:
                    outcome = self._elements.execute(call)
                except BaseException as error:  # an interrupt outside of the body
                    outcome = Outcome(None, error, CANCELLED)
                took = time.perf_counter() - began
                is_alone = self._running - self._stands_by <= 1
                if took < _WALL and not is_alone:  # some of it was waiting for other pumps
                    took = min(took, time.thread_time() - cpu)
                self._publish(index, call.key, outcome, took)
                if _is_interrupt(outcome.error):
                    raise outcome.error
                if self._samples >= _SAMPLES and not self._may_go_on():
                    break
        finally:
            current.reset(token)
            with self._changed:
                self._running -= 1
            self._end_if_over()

    def _next(self) -> tuple[int, Call] | None:
        """The next element to execute, pulled if need be; None: there is none for this pump."""
        while True:
            with self._changed:
                if self._is_stopped:
                    return None
                if self._ready:
                    following = self._ready.popleft()
                    key = following[1].key
                    self._in_flight[key] = self._in_flight.get(key, 0) + 1
                    return following
                if self._is_pulling or self._source.is_exhausted:
                    return None
                self._is_pulling = True
                first = len(self.outcomes)
                batch = self._batch
            self._pull(first, batch)

    def _pull(self, first: int, batch: int) -> None:
        """Read and look up the next batch; publish its hits."""
        began = time.perf_counter()
        pulled = []
        try:
            pulled = self._elements.pull(batch)
        except BaseException as error:
            self._source.fail(error)
            if _is_interrupt(error):
                with self._changed:
                    self._is_pulling = False
                raise
        took = time.perf_counter() - began
        with self._changed:
            self._is_pulling = False
            self._batch = min(2 * batch, _LARGEST_BATCH) if took < 0.02 else max(batch // 2, 1)
            for index, one in enumerate(pulled, first):
                if isinstance(one, Call):
                    self.outcomes.append(None)
                    self._ready.append((index, one))
                else:
                    self.outcomes.append(one)
                    self._note(index, one)
            wanted = min(self._limit, len(self._ready))
            self._notify(is_pressing=not self._ready)
        if self._samples >= _SAMPLES and self._mean >= _QUICK:
            self._spawn(wanted)

    def _publish(self, index: int, key: bytes, outcome: Outcome[Any], took: float) -> None:
        with self._changed:
            self.outcomes[index] = outcome
            if self._in_flight[key] > 1:
                self._in_flight[key] -= 1
            else:
                del self._in_flight[key]
            self._samples += 1
            early = self._samples <= _SAMPLES  # the first ones make what later ones find made
            self._mean = min(self._mean, took) if early else 0.8 * self._mean + 0.2 * took
            self._note(index, outcome)
            self._notify(is_pressing=not self._ready)

    def _note(self, index: int, outcome: Outcome[Any]) -> None:
        self.completed.append(index)
        if outcome.is_hit:
            self.hits += 1
        if outcome.error is not None:
            self.failed.append(index)
            if self._stops_at_failure:
                self._is_stopped = True

    def _notify(self, *, is_pressing: bool) -> None:
        """Wake who waits, but not for every one of many quick elements."""
        now = time.perf_counter()
        if is_pressing or now - self._notified > _NOTIFY:
            self._notified = now
            if self._waiters:
                self._changed.notify_all()
            self._on_change(self)

    def _may_go_on(self) -> bool:
        """Whether this pump goes on; see that as many others run as are of use."""
        if self._mean >= _QUICK:
            if len(self._ready) > 0:
                self._spawn(min(self._limit, len(self._ready) + 1))
            return True
        if self._running > 1:
            return self._stood_by()
        if self._limit > 1 and not self._stands_by and len(self._ready) > 1:
            self._spawn(2)
        return True

    def _stood_by(self) -> bool:
        """Whether elements have come to take longer, waited for; False: another waits for that."""
        with self._changed:
            if self._stands_by or self._is_ending:
                return False
            self._stands_by = True
        count = -1
        while count != len(self.completed) and not self._is_ending:
            count = len(self.completed)
            self._ended.wait(_STAND_BY)
        with self._changed:
            self._stands_by = False
        if not self._is_ending:
            self._spawn(min(self._limit, len(self._ready) + 1))
        return not self._is_ending

    def _end_if_over(self) -> None:
        """If nothing is left and nobody is at it, the map is over: check what was shared."""
        with self._changed:
            is_left = self._ready or not self._source.is_exhausted
            is_busy = self._in_flight or self._is_pulling
            if self._is_ending or is_busy or (is_left and not self._is_stopped):
                return
            self._is_ending = True
        self._ended.set()
        try:
            self._elements.finish()
        except BaseException as error:
            self._source.fail(error)
        with self._changed:
            self.is_over = True
            callbacks, self._callbacks = self._callbacks, []
            self._notify(is_pressing=True)
        for callback in callbacks:
            callback()


def _is_interrupt(error: BaseException | None) -> TypeGuard[KeyboardInterrupt]:
    """Whether it is a Ctrl-C that has reached this thread."""
    is_main = threading.current_thread() is threading.main_thread()
    return isinstance(error, KeyboardInterrupt) and is_main


class _Here(threading.local):
    depth = 0


_here = _Here()
_all: weakref.WeakSet[Pumps] = weakref.WeakSet()


def _after_fork() -> None:
    for pumps in list(_all):
        pumps.lose()


os.register_at_fork(after_in_child=_after_fork)
