"""A work by itself."""

from __future__ import annotations

import threading
import traceback
from contextvars import copy_context

import pytest

from tasklineage.executors.base import Blocked, Seat, Work, run_claimed, take_seat, wait_for
from tasklineage.executors.inline import Inline
from tasklineage.testing.executors import PATIENCE, fail, watched


def test_one_of_many_claims_succeeds() -> None:
    for _ in range(20):
        work = Work(int)
        start = threading.Barrier(4)
        claims: list[bool] = []

        def claim(work: Work[int] = work) -> None:
            start.wait()  # noqa: B023 - the barrier of this turn
            claims.append(work.claim())  # noqa: B023

        threads = [threading.Thread(target=claim) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert sorted(claims) == [False, False, False, True]


def test_a_work_whose_outcome_comes_from_elsewhere() -> None:
    good, bad = Work(int), Work(int)
    assert good.claim()
    assert bad.claim()
    good.succeed(3)
    bad.fail(OSError("gone"))
    assert good.result() == 3
    with pytest.raises(OSError, match="gone"):
        bad.result()


def test_a_callback_that_waits_for_its_own_work_does_not_hang() -> None:
    work = Work(int)
    seen: list[int] = []
    work.add_done_callback(lambda w: seen.append(w.result()))
    assert work.claim()
    watched(work.run)
    assert seen == [0]


def test_a_waiter_that_gave_up_is_forgotten() -> None:
    work = Work(int)
    for _ in range(10):
        assert not work.wait(0)
    told: list[int] = []
    work.add_done_callback(lambda _: told.append(1))
    work.claim()
    work.run()
    assert told == [1]
    assert work.wait()


def test_raising_an_exception_again_does_not_grow_its_traceback() -> None:
    work = Work(lambda: fail(ValueError("no")))
    work.claim()
    work.run()
    lengths = []
    for _ in range(3):
        with pytest.raises(ValueError, match="no") as raised:
            work.result()
        lengths.append(len(traceback.extract_tb(raised.value.__traceback__)))
    assert lengths[0] == lengths[1] == lengths[2]


def test_a_waiter_runs_only_works_of_its_own_executor() -> None:
    mine, other = Inline(), Inline()
    ours, theirs, nobodys = Work(int, None, mine), Work(int, None, other), Work(int)
    take_seat(Seat(mine))
    try:
        assert run_claimed([theirs, nobodys, ours]) == 1
        with Blocked():
            assert run_claimed([Work(int, None, mine)]) == 0
    finally:
        take_seat(None)
    assert [work.done() for work in (ours, theirs, nobodys)] == [True, False, False]


def test_a_work_without_a_context_runs_in_that_of_its_thread() -> None:
    work = Work(copy_context)
    work.claim()
    work.run()
    assert wait_for([work])
    assert dict(work.result()) == dict(copy_context())
