"""The pumps of a map: those that run, are queued at the executor, or stand by."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tasklineage.core.pace import Pace
from tasklineage.executors.base import Blocked, Executor

_PATIENCE = 0.01
"""Seconds without a finished element after which several pumps run."""


class Room:
    """As many pumps as an executor has slots, now; they wait for others, and do nothing else."""

    def __init__(self, executor: Executor, most: int | None) -> None:
        self._executor = executor
        self._most = most

    @property
    def limit(self) -> int:
        """How many there may be."""
        slots = self._executor.slots
        return slots if self._most is None else min(slots, self._most)

    width = limit

    def note(self, began: float, ended: float) -> None:
        """What an element takes makes no difference."""

    def widen(self) -> None:
        """There are as many as there may be."""


class Crew:
    """How many pumps of a map there are, and should be.

    While one runs alone, another stands by, its slot lent to other work: an element may turn out
    to take for ever. The methods are called without `lock`, which guards every attribute.
    """

    def __init__(
        self,
        executor: Executor,
        pace: Pace | Room,
        lock: threading.Lock,
        pump: Callable[[], object],
        finished: Callable[[], int],
    ) -> None:
        self.running = 0
        self._queued = 0
        self._stands_by = False
        self._is_over = threading.Event()
        self._pace = pace
        self._executor = executor
        self._lock = lock
        self._pump = pump
        self._finished = finished

    def call(self, ready: int) -> None:
        """See that there are pumps for so many ready elements, and one that stands by."""
        if not ready:
            return
        with self._lock:
            width = self._pace.width
            wanted = min(self._pace.limit, width + 1, self.running + ready)
            missing = wanted - self.running - self._queued - self._stands_by
            self._queued += max(0, missing)
        for i in range(missing):
            try:
                self._executor.submit(self._arrive)
            except BaseException:
                self._leave_queue(missing - i)
                raise

    def enter(self) -> bool:
        """Whether one more may run now; it does, until it leaves."""
        with self._lock:
            return self._enter()

    def leave(self) -> None:
        """One pump has nothing left to execute."""
        with self._lock:
            self.running -= 1

    def note(self, began: float, ended: float, ready: int) -> bool:
        """Take account of an element; whether its pump was one too many, and has left."""
        with self._lock:
            self._pace.note(began, ended)
            surplus = self.running - self._pace.width
            if surplus > 0:
                self.running -= 1
                return True
        if surplus < 0 and ready:
            self.call(ready)
        return False

    def stand_by(self) -> bool:
        """Whether one more pump is wanted, waited for, and has entered; False: none ever will be.

        Or there is another that stands by.
        """
        with self._lock:
            if self._stands_by or self._is_over.is_set():
                return False
            self._stands_by = True
        has_entered = False
        with Blocked():
            while not has_entered:
                finished = self._finished()
                if self._is_over.wait(_PATIENCE):
                    break
                with self._lock:
                    if finished == self._finished():
                        self._pace.widen()
                    has_entered = self._enter()
                    self._stands_by = not has_entered
        return has_entered

    def end(self) -> None:
        """Let nobody stand by any longer."""
        self._is_over.set()

    def _enter(self) -> bool:
        is_wanted = self.running < self._pace.width
        self.running += is_wanted
        return is_wanted

    def _arrive(self) -> None:
        self._leave_queue(1)
        self._pump()

    def _leave_queue(self, count: int) -> None:
        """So many are queued no longer: one that Ctrl-C called off may have arrived all the same.

        It is told of twice, and must not be missed ever after.
        """
        with self._lock:
            self._queued = max(0, self._queued - count)
