"""How many pumps a map should have: found out by trying, since only the elements know.

Threads help where elements wait or compute outside of the interpreter's lock. Where they take some
microseconds, threads only hand that lock over at every system call, which costs more than the
elements do. Neither can be told from an element while others run beside it: what it takes then is
mostly their time. So one pump runs alone for some elements, and what they take *alone* is known;
if they are not quick, all pumps run for some, and the two are compared by elements a second. An
element that takes long is reason enough for all pumps to run.
"""

from __future__ import annotations

_QUICK = 250e-6
"""Seconds an element takes alone, below which several pumps are not even tried."""
_LONG = 5e-3
"""Seconds an element takes, above which several pumps never do harm."""
_TRIAL = 8
_LONGEST_TRIAL = 128
_USUAL = 0.75
"""The share of a trial that counts: its longest elements may have been interrupted."""
_GAIN = 0.8
"""Several pumps must need less than this share of the time of one."""


class Pace:
    """How many pumps of a map should run now: `width`, which is 1 or `limit`.

    Not safe for threads: the lock of the map guards it.
    """

    def __init__(self, limit: int) -> None:
        self.width = 1
        self.limit = limit
        self._alone = _LONG
        self._trial = _TRIAL
        self._times: list[float] = []
        self._began = 0.0

    def note(self, began: float, ended: float) -> None:
        """An element has been executed between these moments, in seconds of one clock."""
        if self.limit == 1:
            return
        if not self._times:
            self._began = began if self.width == 1 else ended
        self._times.append(ended - began)
        if self.width == 1:
            if len(self._times) >= self._trial:
                self._judge_alone()
        elif len(self._times) > max(_TRIAL, 2 * self.limit):
            self._judge_together((ended - self._began) / (len(self._times) - 1))

    def widen(self) -> None:
        """An element takes long: several pumps never do harm."""
        if self.width != self.limit:
            self._begin(self.limit)
            self._alone = _LONG

    def _judge_alone(self) -> None:
        usual = sorted(self._times)[: max(1, int(_USUAL * len(self._times)))]
        self._alone = sum(usual) / len(usual)
        self._begin(1 if self._alone < _QUICK else self.limit)

    def _judge_together(self, period: float) -> None:
        """Go on with several if elements are finished at a rate that one could not reach.

        A rate that not even so many could reach tells that elements have become quicker.
        """
        expected = self._alone / self.limit
        if period >= _LONG or _USUAL * expected <= period <= _GAIN * self._alone:
            self._trial = _TRIAL
            self._begin(self.limit)
        else:
            self._trial = min(2 * self._trial, _LONGEST_TRIAL)
            self._begin(1)

    def _begin(self, width: int) -> None:
        self.width = width
        self._times.clear()
