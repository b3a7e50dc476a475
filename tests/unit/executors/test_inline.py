"""The executor that is not one."""

from __future__ import annotations

import threading

import pytest

from tasklineage.executors.inline import Inline
from tasklineage.testing.executors import fail, watched


def test_a_work_runs_in_the_thread_that_submits_it() -> None:
    assert Inline().submit(threading.get_ident).result() == threading.get_ident()


def test_an_interrupt_stops_the_program_and_not_only_the_work() -> None:
    with pytest.raises(KeyboardInterrupt):
        Inline().submit(lambda: fail(KeyboardInterrupt()))


def test_an_interrupt_raised_in_another_thread_is_an_outcome() -> None:
    work = watched(lambda: Inline().submit(lambda: fail(KeyboardInterrupt())))
    assert type(work.exception()) is KeyboardInterrupt
