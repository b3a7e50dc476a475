"""What came of the elements of a map so far, and who waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from tasklineage.core.call import Outcome

_NOTIFY = 0.002
_WAIT = 0.02


class Arrivals:
    """The outcomes of a map in input order, as they come. Safe to use from many threads.

    `lock` guards the attributes; it is taken by itself, since Ctrl-C can arrive inside of
    `changed.__enter__` and leave the lock taken for ever. It is never held during I/O or user
    code. Methods named `_locked` are called while it is held.
    """

    def __init__(self, on_change: Callable[[], object]) -> None:
        self.outcomes: list[Outcome[Any] | None] = []
        """One for each element that was read; None while it is on its way."""
        self.completed: list[int] = []
        """Places in the order in which they were finished."""
        self.failed: list[int] = []
        self.hits = 0
        self.is_over = False
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self._on_change = on_change
        self._notified = 0.0
        self._waiters = 0
        self._callbacks: list[Callable[[], object]] = []

    @property
    def executed(self) -> int:
        """How many elements are over that were no hits."""
        return len(self.completed) - self.hits

    def wait(self, is_met: Callable[[], bool]) -> None:
        """Wait for a moment, or until `is_met()` may have become true."""
        with self.lock:
            if not is_met():
                self._waiters += 1
                self.changed.wait(_WAIT)
                self._waiters -= 1

    def add_done_callback(self, callback: Callable[[], object]) -> None:
        """Call `callback` once all is over; at once, if it is."""
        with self.lock:
            if not self.is_over:
                self._callbacks.append(callback)
                return
        callback()

    def put_locked(self, index: int, outcome: Outcome[Any]) -> None:
        """Note what came of the element at this place."""
        self.outcomes[index] = outcome
        self.completed.append(index)
        self.hits += outcome.is_hit
        if outcome.error is not None:
            self.failed.append(index)

    def notify_locked(self, *, is_pressing: bool) -> None:
        """Wake who waits, but not for every one of many quick elements."""
        now = time.perf_counter()
        if is_pressing or now - self._notified > _NOTIFY:
            self._notified = now
            if self._waiters:
                self.changed.notify_all()
            self._on_change()

    def close(self) -> None:
        """Nothing more will come."""
        with self.lock:
            self.is_over = True
            callbacks, self._callbacks = self._callbacks, []
            self.notify_locked(is_pressing=True)
        for callback in callbacks:
            callback()

    def lose(self) -> None:
        """In a forked child: nobody here waits, and nothing more will come."""
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.is_over = True
