"""How many elements of a map go to another process together.

What it costs to hand something over is paid once for all of them; but they are executed one after
the other, so there must be enough for everybody, and those that take long each go alone.
"""

from __future__ import annotations

_GROWTH = 4
_PARTS = 2
"""Portions that there shall be for each worker of what is left."""
_LEAST = 16
"""The share of a usual portion below which nothing is divided any more."""
_MOST = 8192


class Portion:
    """How many, found out by what they take. Calls of one map may note and ask from any thread.

    Parameters
    ----------
    seconds
        What a portion shall take; 0: it is always one element.
    workers
        How many portions are executed at once.
    """

    def __init__(self, seconds: float, workers: int) -> None:
        self._seconds = seconds
        self._workers = workers
        self._count = 1

    @property
    def varies(self) -> bool:
        """Whether it may be more than one element."""
        return self._seconds > 0

    def size(self, ready: int, *, is_all: bool) -> int:
        """The number of elements for a worker, of so many that are ready, or that are left."""
        count = self._count
        if is_all and count > 1:
            count = min(count, max(ready // (_PARTS * self._workers), count // _LEAST))
        return max(1, min(count, ready))

    def least(self) -> int:
        """How many elements should be ready, lest what is handed over becomes small."""
        return min(_PARTS * self._workers * self._count, _MOST) if self._seconds else 1

    def note(self, count: int, seconds: float) -> None:
        """So many were executed together, and took so long; for ever, if their worker was lost."""
        fit = int(self._seconds * count / seconds) if seconds > 0 else _MOST
        self._count = max(1, min(fit, _GROWTH * max(count, self._count)))
