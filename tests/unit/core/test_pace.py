"""Several pumps run where they finish more elements a second than one does, and only there."""

from __future__ import annotations

from collections.abc import Callable

from tasklineage.core.pace import Pace


class Clock:
    """Executes elements on a pace: `time(width, number)` seconds pass from one end to the next."""

    def __init__(self, limit: int) -> None:
        self.pace = Pace(limit)
        self.now = 0.0
        self.wide = 0

    def run(self, count: int, time: Callable[[int, int], float]) -> None:
        for number in range(count):
            width = self.pace.width
            self.wide += width > 1
            period = time(width, number)
            self.now += period
            self.pace.note(self.now - period * width, self.now)


def test_quick_elements_never_run_side_by_side() -> None:
    clock = Clock(8)
    clock.run(1_000, lambda width, _: 50e-6)
    assert clock.wide == 0


def test_elements_that_wait_run_side_by_side_from_the_first_trial_on() -> None:
    clock = Clock(8)
    clock.run(1_000, lambda width, _: 2e-3 / width)
    assert clock.wide >= 990


def test_elements_that_hold_the_lock_mostly_run_alone() -> None:
    clock = Clock(4)
    clock.run(2_000, lambda width, _: 1e-3 if width == 1 else 2e-3)
    assert clock.wide < 500


def test_a_few_interrupted_elements_do_not_make_quick_ones_slow() -> None:
    clock = Clock(8)
    clock.run(1_000, lambda _, number: 20e-3 if number % 8 == 3 else 50e-6)
    assert clock.wide == 0


def test_elements_that_become_quick_run_alone_soon() -> None:
    clock = Clock(4)
    clock.run(200, lambda width, _: 3e-3 / width)
    clock.wide = 0
    clock.run(1_000, lambda width, _: 40e-6 if width == 1 else 500e-6)
    assert clock.pace.width == 1
    assert clock.wide < 100


def test_elements_that_become_slow_run_side_by_side_soon() -> None:
    clock = Clock(4)
    clock.run(1_000, lambda width, _: 40e-6)
    clock.run(50, lambda width, _: 3e-3 / width)
    assert clock.pace.width == 4


def test_a_long_element_is_reason_enough() -> None:
    pace = Pace(4)
    pace.widen()
    assert pace.width == 4


def test_a_limit_of_one_is_never_exceeded() -> None:
    pace = Pace(1)
    for number in range(100):
        pace.note(number, number + 1)
    pace.widen()
    assert pace.width == 1
