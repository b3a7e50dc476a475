"""The executor that runs works in threads of this process.

    submit ──> queue ──> worker: claim, run ──> queue empty: idle ──> ended after `idle_seconds`
                 ^          │
                 │          └─ blocked(): its slot goes to a worker that returns from such a wait,
                 │             else a worker is called for what is queued; afterwards the worker
                 └──────────── waits for a slot, before anything that is queued

There are `slots` slots, and a thread runs a work only while it has one. A worker that is *called*,
being idle or new, takes a slot and a work by itself, if there still are both, so whoever calls need
not keep account of it. That makes Ctrl-C harmless, which may end `submit` between any two lines: a
call that was not made loses at most the time until the idle worker looks by itself.

The queue hands out the most deeply nested works first. Finishing what was begun, before beginning
more, keeps the number of threads low that wait with their slot lent: with first come, first
served, a recursive program would have as many as it has calls.
"""

from __future__ import annotations

import atexit
import itertools
import os
import threading
import weakref
from _thread import allocate_lock
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from contextvars import copy_context
from heapq import heappop, heappush
from typing import Any, ClassVar, NamedTuple, TypeVar

from tasklineage.errors import ConfigError, WorkerLost
from tasklineage.executors.base import (
    Executor,
    NoThread,
    Seat,
    Work,
    current_seat,
    interrupt_works,
    take_seat,
)

T = TypeVar("T")

IDLE_SECONDS = 5.0


class Statistics(NamedTuple):
    """What a pool of threads is doing, at one moment."""

    running: int
    """Slots in use."""
    threads: int
    """Threads that exist; those beyond `running` are idle or wait with their slot lent."""
    idle: int
    returning: int
    """Threads that have waited with their slot lent, and now wait for a slot."""
    queued: int


class Threads(Executor):
    """Runs up to `n` works at once, each in a thread.

    Threads start when there is work, at most one for each work that runs or waits, and end when
    idle. All are daemons; the end of the interpreter waits for submitted works all the same, before
    any `atexit` function is called. In a forked child the pool is empty: works of the parent that
    were not done are lost there (`WorkerLost`), while the parent goes on with them.

    A lock of your own that is held while waiting for other works can deadlock, as it can with any
    pool: the worker that wants it keeps its slot, since nobody can know that it waits.
    """

    name: ClassVar[str] = "threads"

    def __init__(self, n: int | None = None, *, idle_seconds: float = IDLE_SECONDS) -> None:
        check_number(f"Threads({n!r})", "threads", n)
        self.slots = n or default_slots()
        self._idle_seconds = idle_seconds
        self._closed = False
        self._reset()
        _Pools.all.add(self)

    def _reset(self) -> None:
        """Begin empty: at first, and in a forked child."""
        self._lock = allocate_lock()
        self._queue = _Queue()
        self._running = 0
        self._away = 0
        """Workers that wait with their slot lent, or for a slot to return."""
        self._seats: set[Seat] = set()
        self._idle: list[Seat] = []
        self._returning: deque[Seat] = deque()
        self._drained: list[Callable[[], object]] = []

    def __repr__(self) -> str:
        return f"Threads({self.slots})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (Threads, (self.slots,))

    def submit(
        self,
        call: Callable[[], T],
        *,
        resources: Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> Work[T]:
        if timeout is not None:
            self._refuse(timeout)
        if resources:
            call = self._holding(call, resources)
        seat = current_seat()
        if self._closed and (seat is None or seat.executor is not self):
            raise ConfigError(f"{self!r} has been shut down: nothing can be submitted to it")
        work = Work(call, copy_context(), self)
        try:
            with self._lock:
                self._queue.put(work, 0 if seat is None else seat.depth_of_submitted())
                is_called = self._running < self.slots
            if is_called:
                self._call_worker()
        except BaseException:  # no thread, or Ctrl-C: a work that nobody has must not be run
            self.taken(work)
            work.cancel()
            raise
        return work

    def widen(self, by: int) -> None:
        """Have so many slots more from now on, or fewer; what runs is not disturbed."""
        with self._lock:
            self.slots += by
            missing = min(len(self._queue), self.slots - self._running)
        for _ in range(missing):
            self._call_worker()

    def is_drained(self) -> bool:
        """Whether nothing is queued and no thread is doing anything."""
        with self._lock:
            return self._is_drained()

    def statistics(self) -> Statistics:
        """What the pool is doing now."""
        with self._lock:
            return Statistics(
                self._running, len(self._seats), len(self._idle), len(self._returning),
                len(self._queue),
            )  # fmt: skip

    def shutdown(self, wait: bool = True) -> None:
        """Refuse further works except from its own; end the threads once all works are done."""
        seat = current_seat()
        if wait and seat is not None and seat.executor is self:
            raise ConfigError(f"{self!r} cannot be shut down by a call that it runs: it would wait")
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for one in idle:
            one.call()
        if wait:
            self.drain()

    def drain(self) -> None:
        """Return once every submitted work is done, those submitted meanwhile included."""
        drained = allocate_lock()
        drained.acquire()
        with self._lock:
            if self._is_drained():
                return
            self._drained.append(drained.release)
        drained.acquire()

    def taken(self, work: Work[Any]) -> None:
        with self._lock:
            self._queue.discard(work)

    # The workers

    def _serve(self, seat: Seat, arrived: Callable[[], object]) -> None:
        """The life of a worker."""
        take_seat(seat)
        with self._lock:
            self._seats.add(seat)
        arrived()
        has_slot = False
        while True:
            has_slot = self._has_next(seat, has_slot)
            if has_slot:
                seat.run()
            elif not self._rests(seat):
                return

    def _has_next(self, seat: Seat, has_slot: bool) -> bool:
        """Whether the worker has a slot and a claimed work now; if not, it is idle or has left."""
        with self._lock:
            if seat not in self._seats:
                return False  # a forked child, whose pool has forgotten this thread
            if has_slot and (self._returning or self._running > self.slots):
                self._free_slot()  # it is owed to somebody who has work already
            elif has_slot or self._running < self.slots:
                self._running += not has_slot
                if self._claim_next(seat):
                    return True
                self._running -= 1
            if self._closed:
                self._seats.discard(seat)
            else:
                self._idle.append(seat)
            self._tell_drained()
            return False

    def _claim_next(self, seat: Seat) -> bool:
        """Whether there was a work in the queue; it is claimed, and the last of `seat.works`."""
        while (entry := self._queue.first()) is not None:
            work, seat.depth = entry
            seat.works.append(work)  # before it leaves the queue: a fork must find it somewhere
            self._queue.discard(work)
            if work.claim():
                return True
            seat.works.pop()
        return False

    def _rests(self, seat: Seat) -> bool:
        """Wait idly; whether there may be work now, else the worker has left."""
        if seat not in self._seats:
            return False
        is_called = seat.wake.acquire(timeout=self._idle_seconds)
        with self._lock:
            if seat in self._idle:
                self._idle.remove(seat)
            if not is_called and not (self._queue and self._running < self.slots):
                self._seats.discard(seat)
                self._tell_drained()
            return seat in self._seats

    def _call_worker(self) -> None:
        """See that somebody looks at the queue: an idle worker, or a new one if there may be one.

        Called without the lock, since a thread takes long to start.

        Raises
        ------
        NoThread
            None can be started, and nobody else is there to do the work.
        """
        with self._lock:
            idle = self._idle.pop() if self._idle else None
            if idle is None and self._active() >= self.slots:
                return
        if idle is not None:
            idle.call()
        elif not self._starts_worker():
            with self._lock:
                if self._active() == 0:
                    raise NoThread(f"{self!r} could start no thread, and has none that is free")

    def _starts_worker(self) -> bool:
        """Whether there is a new worker; it has arrived."""
        arrived = allocate_lock()
        arrived.acquire()
        thread = threading.Thread(
            target=self._serve, args=(Seat(self), arrived.release),
            name=f"tasklineage-{next(_numbers)}", daemon=True,
        )  # fmt: skip
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads to give, or the interpreter is ending
            return False
        return arrived.acquire()

    def _active(self) -> int:
        """How many workers run something, are idle, or are about to look at the queue."""
        return len(self._seats) - self._away

    def _is_drained(self) -> bool:
        return len(self._idle) == len(self._seats) and not self._queue

    def _tell_drained(self) -> None:
        if self._drained and self._is_drained():
            waiting, self._drained = self._drained, []
            for release in waiting:
                release()

    # The slots

    def lend(self, seat: Seat) -> None:
        with self._lock:
            if seat not in self._seats:
                return
            self._away += 1
            self._free_slot()
            is_called = self._queue and self._running < self.slots
        try:
            if is_called:
                self._call_worker()
        except NoThread:
            with self._lock:
                self._away -= 1
                self._running += 1
            raise

    def retake(self, seat: Seat, *, at_once: bool) -> None:
        with self._lock:
            if seat not in self._seats:
                return
            if at_once or self._running < self.slots:
                self._running += 1
                self._away -= 1
                return
            self._returning.append(seat)
        seat.returned.acquire()

    def _free_slot(self) -> None:
        """Give up a slot: to the worker that has waited longest for its own to return."""
        self._running -= 1
        if self._returning and self._running < self.slots:
            self._running += 1
            self._away -= 1
            self._returning.popleft().returned.release()

    # Fork

    def forget_parent(self) -> None:
        """Begin empty, in a child that was just forked."""
        here = current_seat()
        works = [work for seat in self._seats if seat is not here for work in seat.works]
        works.extend(self._queue)
        if here in self._seats:
            take_seat(None)
        self._reset()
        for work in works:
            work.lose(WorkerLost(_LOST))


class _Queue:
    """Works that have not started: the most deeply nested first, then as they came.

    A level is an ordered dict, from which a work that a waiter has claimed is removed at once: an
    outcome must not stay in memory because its work is still somewhere in a queue.
    """

    __slots__ = ("_depths", "_levels")

    def __init__(self) -> None:
        self._levels: dict[int, OrderedDict[Work[Any], None]] = {}
        self._depths: list[int] = []
        """A heap of the negated depths of the levels."""

    def __len__(self) -> int:
        return sum(map(len, self._levels.values()))

    def __bool__(self) -> bool:
        return any(self._levels.values())

    def __iter__(self) -> Iterator[Work[Any]]:
        for level in self._levels.values():
            yield from level

    def put(self, work: Work[Any], depth: int) -> None:
        level = self._levels.get(depth)
        if level is None:
            level = self._levels[depth] = OrderedDict()
            heappush(self._depths, -depth)
        level[work] = None
        work.place = level

    def first(self) -> tuple[Work[Any], int] | None:
        """The next work, and how deeply it is nested; None: there is none."""
        while self._depths:
            depth = -self._depths[0]
            for work in self._levels[depth]:
                return work, depth
            heappop(self._depths)
            del self._levels[depth]
        return None

    def discard(self, work: Work[Any]) -> None:
        """Take a work out, if it is here."""
        if work.place is not None:
            work.place.pop(work, None)
            work.place = None


_LOST = (
    "the process was forked before this work was done: it goes on in the parent only; call again "
    "in the child"
)
_numbers = itertools.count(1)


def default_slots() -> int:
    """Threads of a pool for which nobody gave a number: some more than this process has CPUs."""
    return min(cpus() + 4, 32)


def check_number(where: str, what: str, number: object, least: int = 1) -> None:
    """Nothing, if it is None, or a whole number that is large enough.

    Raises
    ------
    ConfigError
        It is not.
    """
    if number is not None and (type(number) is not int or number < least):
        raise ConfigError(f"{where}: the number of {what} is a whole number from {least} on")


def cpus() -> int:
    """How many CPUs this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


class _Pools:
    """All pools of this process, for fork and exit."""

    all: ClassVar[weakref.WeakSet[Threads]] = weakref.WeakSet()


def _forget_parent() -> None:
    for pool in list(_Pools.all):
        pool.forget_parent()


def _drain_all() -> None:
    """Wait for every pool; works of one may submit to another that was empty."""
    while busy := [pool for pool in list(_Pools.all) if not pool.is_drained()]:
        for pool in busy:
            try:
                pool.drain()
            except KeyboardInterrupt:
                if not interrupt_works():
                    raise


os.register_at_fork(after_in_child=_forget_parent)
# Threads can still be started then, and no `atexit` function has closed anything that works need;
# `atexit` itself, the public way, comes after that on an interpreter that lacks this one.
getattr(threading, "_register_atexit", atexit.register)(_drain_all)
