"""The pool of threads: slots, idle threads, helping, forks and the end of the interpreter."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import tasklineage
from tasklineage.errors import ConfigError, WorkerLost
from tasklineage.executors.base import DEEPEST, NoThread, Work, current_seat, wait_for
from tasklineage.executors.inline import Inline
from tasklineage.executors.threads import Threads, default_slots
from tasklineage.testing.executors import PATIENCE, Gate, assert_soon, fail, square, watched

ROOT = Path(tasklineage.__path__[0]).parent


@pytest.fixture
def one() -> Iterator[Threads]:
    with Threads(1) as pool:
        yield pool


@pytest.fixture
def two() -> Iterator[Threads]:
    with Threads(2) as pool:
        yield pool


# The number of threads


@pytest.mark.parametrize("n", [0, -1, 1.5, "3", True])
def test_the_number_of_threads_is_a_positive_whole_number(n: Any) -> None:
    with pytest.raises(ConfigError):
        Threads(n)


def test_the_default_number_follows_the_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Threads().slots == default_slots() >= 5
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 1000)
    assert default_slots() == 32
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert default_slots() == 5


def test_a_pool_is_sent_elsewhere_by_its_number_of_threads() -> None:
    assert pickle.loads(pickle.dumps(Threads(3))).slots == 3


def test_no_thread_starts_before_there_is_work() -> None:
    pool = Threads(8)
    assert pool.statistics().threads == 0
    pool.submit(partial(square, 2)).result(PATIENCE)
    assert pool.statistics().threads == 1


def test_idle_threads_vanish_and_come_back() -> None:
    pool = Threads(4, idle_seconds=0.001)
    with Gate() as gate:
        works = [pool.submit(gate.wait) for _ in range(4)]
        assert_soon(lambda: pool.statistics().running == 4)
    assert pool.wait_for(works, PATIENCE)
    assert_soon(lambda: pool.statistics().threads == 0)
    for i in range(50):
        assert pool.submit(partial(square, i)).result(PATIENCE) == i * i


def test_a_pool_that_nobody_has_any_more_is_forgotten() -> None:
    pool = Threads(1, idle_seconds=0.001)
    forgotten = weakref.ref(pool)
    pool.submit(partial(square, 1)).result(PATIENCE)
    del pool
    assert_soon(lambda: gc.collect() >= 0 and forgotten() is None)


def test_an_outcome_lives_no_longer_than_its_work() -> None:
    class Large:
        pass

    def parent() -> list[weakref.ref[Large]]:
        works = [pool.submit(Large) for _ in range(5)]
        pool.wait_for(works)
        seen = [weakref.ref(work.result()) for work in works]
        del works
        assert pool.statistics().queued == 0
        return seen

    with Threads(1) as pool:
        children = pool.submit(parent).result(PATIENCE)
        work = pool.submit(Large)
        reference = weakref.ref(work.result(PATIENCE))
        del work
        assert_soon(lambda: reference() is None)
        assert [child() for child in children] == [None] * 5


def test_the_callable_and_its_context_are_dropped_when_it_is_done(one: Threads) -> None:
    class Argument:
        def __call__(self) -> None:
            pass

    argument = Argument()
    reference = weakref.ref(argument)
    work = one.submit(argument)
    del argument
    assert work.wait(PATIENCE)
    assert_soon(lambda: reference() is None)


# Helping


def test_a_waiting_worker_runs_only_what_it_waits_for(one: Threads) -> None:
    seen: list[str] = []

    def parent() -> None:
        one.submit(partial(seen.append, "other"))
        mine = [one.submit(partial(seen.append, f"mine {i}")) for i in range(3)]
        one.wait_for(mine[1:])
        seen.append("parent")

    one.submit(parent).result(PATIENCE)
    one.drain()
    assert seen[:3] == ["mine 1", "mine 2", "parent"]
    assert sorted(seen[3:]) == ["mine 0", "other"]


def test_helping_needs_no_second_thread(one: Threads) -> None:
    def nested(depth: int) -> set[int]:
        here = {threading.get_ident()}
        return here | one.submit(partial(nested, depth - 1)).result() if depth else here

    assert len(one.submit(partial(nested, DEEPEST - 1)).result(PATIENCE)) == 1
    assert one.statistics().threads == 1


@pytest.mark.parametrize("n", [1, 2, 3])
def test_recursion_far_deeper_than_the_stack_of_one_thread(n: int) -> None:
    def nested(depth: int) -> int:
        return depth and 1 + pool.submit(partial(nested, depth - 1)).result()

    with Threads(n) as pool:
        assert pool.submit(partial(nested, 1000)).result(PATIENCE) == 1000
        if n == 1:
            assert pool.statistics().threads <= 1000 // DEEPEST + 1


def test_a_worker_with_a_timeout_does_not_help(one: Threads) -> None:
    def parent() -> tuple[bool, bool]:
        with Gate() as gate:
            child = one.submit(gate.wait)
            timed_out = not one.wait_for([child], 0.01)
        return timed_out, one.wait_for([child], PATIENCE)

    assert one.submit(parent).result(PATIENCE) == (True, True)


def test_a_thread_that_is_no_worker_does_not_help(one: Threads) -> None:
    work = one.submit(threading.get_ident)
    assert work.result(PATIENCE) != threading.get_ident()
    assert current_seat() is None
    assert one.run_claimed([one.submit(threading.get_ident)]) == 0


def test_a_worker_does_not_help_another_pool() -> None:
    with Threads(1) as here, Threads(1) as there:

        def parent() -> tuple[int, int]:
            return threading.get_ident(), there.submit(threading.get_ident).result()

        mine, others = here.submit(parent).result(PATIENCE)
        assert mine != others


def test_two_pools_of_one_wait_for_each_other_at_any_depth() -> None:
    pools = Threads(1), Threads(1)

    def nested(depth: int) -> int:
        return depth and 1 + pools[depth % 2].submit(partial(nested, depth - 1)).result()

    assert pools[0].submit(partial(nested, 50)).result(PATIENCE) == 50


def test_inline_works_inside_a_worker_wait_for_its_pool(one: Threads) -> None:
    inline = Inline()

    def parent() -> int:
        return inline.submit(lambda: one.submit(partial(square, 5)).result()).result()

    assert one.submit(parent).result(PATIENCE) == 25


# Slots


def test_a_blocked_worker_lends_its_slot_to_queued_work(one: Threads) -> None:
    opened = threading.Event()

    def waits() -> str:
        with one.blocked():
            assert opened.wait(PATIENCE)
        return "went on"

    work = one.submit(waits)
    one.submit(opened.set)
    assert work.result(PATIENCE) == "went on"


def test_queued_works_are_run_at_once_when_there_are_more_slots(one: Threads) -> None:
    met = threading.Barrier(3)
    works = [one.submit(partial(met.wait, PATIENCE)) for _ in range(3)]
    one.widen(2)
    assert sorted(work.result(PATIENCE) for work in works) == [0, 1, 2]
    one.widen(-2)
    assert one.submit(lambda: 7).result(PATIENCE) == 7
    assert one.slots == 1


def test_a_worker_that_returns_from_a_wait_goes_before_queued_work(one: Threads) -> None:
    seen: list[str] = []
    go_on, wait_here = threading.Event(), threading.Event()

    def returns() -> None:
        with one.blocked():
            assert go_on.wait(PATIENCE)
        seen.append("returned")

    def occupies() -> None:
        go_on.set()
        assert wait_here.wait(PATIENCE)

    returning = one.submit(returns)
    occupying = one.submit(occupies)
    queued = one.submit(partial(seen.append, "queued"))
    assert go_on.wait(PATIENCE)
    assert_soon(lambda: one.statistics().returning == 1)
    wait_here.set()
    assert one.wait_for([returning, occupying, queued], PATIENCE)
    assert seen == ["returned", "queued"]


def test_a_failing_wait_takes_its_slot_back(one: Threads) -> None:
    def waits() -> None:
        with one.blocked():
            raise ValueError("while waiting")

    assert type(one.submit(waits).exception(PATIENCE)) is ValueError
    one.drain()
    assert one.statistics().running == 0
    assert one.submit(partial(square, 3)).result(PATIENCE) == 9


def test_a_coroutine_lends_the_slot_of_its_loop(one: Threads) -> None:
    async def awaits() -> int:
        done = asyncio.Event()
        loop = asyncio.get_running_loop()
        child = one.submit(partial(square, 6))
        child.add_done_callback(lambda _: loop.call_soon_threadsafe(done.set))
        async with one.blocked():
            await done.wait()
        return child.result()

    async def several() -> list[int]:
        return list(await asyncio.gather(awaits(), awaits(), awaits()))

    work = one.submit(lambda: asyncio.run(several()))
    assert work.result(PATIENCE) == [36, 36, 36]
    one.drain()
    assert one.statistics().running == 0


def test_a_loop_goes_on_beyond_the_slots_rather_than_stop(one: Threads) -> None:
    async def awaits(gate: Gate) -> None:
        async with one.blocked():
            occupant = one.submit(gate.wait)
            while not occupant.started():
                await asyncio.sleep(0.001)
        gate.open()  # the occupant has the slot, and would keep it until this line

    with Gate() as gate:
        assert one.submit(lambda: asyncio.run(awaits(gate))).wait(PATIENCE)
    one.drain()
    assert one.statistics().running == 0
    assert one.submit(partial(square, 3)).result(PATIENCE) == 9


def test_deeply_nested_works_go_first(one: Threads) -> None:
    seen: list[str] = []

    def parent() -> None:
        for i in range(2):
            one.submit(partial(seen.append, f"nested {i}"))

    with Gate() as gate:
        one.submit(gate.wait)
        one.submit(parent)
        for i in range(2):
            one.submit(partial(seen.append, f"outer {i}"))
    one.drain()
    assert seen == ["nested 0", "nested 1", "outer 0", "outer 1"]


# When no thread can be started


def no_start(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_work_that_no_thread_can_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with Threads(2) as pool:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", no_start)
            with pytest.raises(RuntimeError, match="could start no thread"):
                pool.submit(partial(square, 1))
        assert pool.is_drained()
        assert pool.submit(partial(square, 2)).result(PATIENCE) == 4


def test_fewer_threads_than_asked_for_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with Threads(3) as pool:
        with Gate() as gate:
            pool.submit(gate.wait)
            monkeypatch.setattr(threading.Thread, "start", no_start)
            works = [pool.submit(partial(square, i)) for i in range(5)]
            monkeypatch.undo()
        assert [work.result(PATIENCE) for work in works] == [0, 1, 4, 9, 16]


def test_a_worker_that_cannot_be_replaced_runs_all_that_it_waits_for(
    one: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nested(depth: int) -> int:
        return depth and 1 + one.submit(partial(nested, depth - 1)).result()

    one.submit(partial(square, 1)).result(PATIENCE)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_start)
        assert one.submit(partial(nested, 3 * DEEPEST)).result(PATIENCE) == 3 * DEEPEST
    assert one.statistics().threads == 1


def test_a_worker_that_cannot_be_replaced_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def waits() -> str:
        pool.submit(partial(square, 2))
        monkeypatch.setattr(threading.Thread, "start", no_start)
        try:
            with pool.blocked():
                return "waited"
        except RuntimeError as error:
            return str(error)
        finally:
            monkeypatch.undo()

    with Threads(1) as pool:
        assert "could start no thread" in pool.submit(waits).result(PATIENCE)
        pool.drain()
        assert pool.statistics().running == 0


# Ctrl-C


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_at_any_moment_of_submit_loses_neither_slot_nor_thread() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    pool = Threads(2, idle_seconds=0.01)
    chance, interrupted = random.Random(7), 0
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(100):
            # `Thread.start` can make a RuntimeError of it, when it strikes in the wrong line there
            with contextlib.suppress(KeyboardInterrupt, NoThread):
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 5e-4))
                for _ in range(1000):  # a finaliser or callback of somebody else may swallow it
                    pool.submit(int)
                signal.setitimer(signal.ITIMER_REAL, 0)
                time.sleep(0.001)  # another thread may have received it, and tell this one late
                continue
            interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 50
    watched(pool.drain)
    assert pool.statistics().running == 0
    assert_soon(lambda: pool.statistics().threads == 0)
    with Gate() as gate:
        works = [pool.submit(gate.wait) for _ in range(2)]
        assert_soon(lambda: pool.statistics().running == 2)
    assert pool.wait_for(works, PATIENCE)


# The end


def test_a_work_cannot_wait_for_the_end_of_its_own_pool(one: Threads) -> None:
    assert type(one.submit(one.shutdown).exception(PATIENCE)) is ConfigError


def test_shutdown_without_waiting_lets_works_go_on() -> None:
    pool = Threads(1)
    with Gate() as gate:
        works = [pool.submit(gate.wait) for _ in range(3)]
        pool.shutdown(wait=False)
        assert not works[-1].done()
    assert pool.wait_for(works, PATIENCE)
    assert_soon(lambda: pool.statistics().threads == 0)


def test_drain_waits_for_works_of_works() -> None:
    seen: list[int] = []

    def chain(n: int) -> None:
        seen.append(n)
        if n:
            pool.submit(partial(chain, n - 1))

    pool = Threads(2)
    pool.submit(partial(chain, 100))
    watched(pool.drain)
    assert seen == list(range(100, -1, -1))


def python(code: str) -> subprocess.CompletedProcess[str]:
    prelude = "import sys, threading, time\nfrom tasklineage.executors.threads import Threads\n"
    return subprocess.run(
        [sys.executable, "-c", prelude + code],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip


def test_the_interpreter_ends_only_after_submitted_works() -> None:
    ended = python("""
import atexit
atexit.register(lambda: print("closed", flush=True))
pool, other = Threads(2), Threads(1)
other.submit(int).result()  # Python 3.12.1 cannot start its first thread when it ends
def nested(depth):
    time.sleep(0.002)
    if depth:
        return 1 + pool.submit(lambda: nested(depth - 1)).result()
    return 0
def last():
    time.sleep(0.01)
    sys.stdout.write("other\\n")
def work():
    sys.stdout.write(f'{nested(20)}\\n')
    other.submit(last)
for _ in range(3):
    pool.submit(work)
sys.stdout.write("main\\n")
""")
    assert ended.stderr == ""
    lines = ended.stdout.split()
    assert lines[0] == "main"
    assert sorted(lines[1:-1]) == ["20"] * 3 + ["other"] * 3
    assert lines[-1] == "closed"


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "raise ValueError"])
def test_the_interpreter_ends_with_idle_threads(end: str) -> None:
    ended = python(f"""
pool = Threads(4)
pool.wait_for([pool.submit(lambda: time.sleep(0.001)) for _ in range(20)])
{end}
""")
    assert ended.returncode == {"": 0, "sys.exit(3)": 3}.get(end, 1)


def test_the_interpreter_ends_without_the_private_hook() -> None:
    ended = python("""
import importlib, tasklineage.executors.threads as threads
del threading._register_atexit
threads = importlib.reload(threads)
pool = threads.Threads(2)
works = [pool.submit(lambda: (time.sleep(0.01), sys.stdout.write("done\\n"))) for _ in range(4)]
""")
    assert (ended.stdout.split(), ended.stderr) == (["done"] * 4, "")


# Fork


def in_child(function: Callable[[], bool]) -> bool:
    """What the function returns in a forked child."""
    pid = os.fork()
    if pid == 0:
        ended = 1
        try:
            ended = 0 if function() else 2
        finally:
            os._exit(ended)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


forks = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")


@forks
def test_a_forked_child_starts_with_an_empty_pool() -> None:
    told: list[Work[Any]] = []

    def child() -> bool:
        assert pool.statistics() == (0, 0, 0, 0, 0)
        assert done.result() == 4
        for work in (running, queued):
            assert type(work.exception(PATIENCE)) is WorkerLost
        assert not told  # while a fork is handled, nothing may be called
        assert wait_for([running, queued])
        assert told == [running, queued]
        return pool.submit(partial(square, 5)).result(PATIENCE) == 25

    pool = Threads(1)
    done = pool.submit(partial(square, 2))
    assert done.wait(PATIENCE)
    with Gate() as gate:
        running = pool.submit(gate.wait)
        queued = pool.submit(partial(square, 3))
        for work in (running, queued):
            work.add_done_callback(told.append)
        assert_soon(running.started)
        assert in_child(child)
        assert not told
    assert queued.result(PATIENCE) == 9


@forks
def test_a_child_forked_by_a_work_uses_the_pool_anew(two: Threads) -> None:
    def child() -> bool:
        assert current_seat() is None
        works = [two.submit(partial(square, i)) for i in range(5)]
        return wait_for(works, PATIENCE) and works[4].result() == 16

    with Gate() as gate:
        two.submit(gate.wait)
        assert two.submit(lambda: in_child(child)).result(PATIENCE)


@forks
def test_forks_at_any_moment_leave_a_pool_that_works(two: Threads) -> None:
    def child() -> bool:
        return two.submit(partial(square, 3)).result(PATIENCE) == 9

    for _ in range(5):
        works = [two.submit(partial(square, i)) for i in range(200)]
        assert in_child(child)
        assert two.wait_for(works, PATIENCE)


# Stress


def test_submitters_in_many_threads(two: Threads) -> None:
    def submit_some() -> int:
        works = [two.submit(partial(square, i)) for i in range(200)]
        two.wait_for(works)
        return sum(work.result() for work in works)

    sums: list[int] = []
    threads = [threading.Thread(target=lambda: sums.append(submit_some())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sums == [sum(i * i for i in range(200))] * 4


def test_cancelling_and_running_race_to_one_outcome(two: Threads) -> None:
    seen: list[int] = []
    works = [two.submit(partial(seen.append, i)) for i in range(500)]
    cancelled = [i for i, work in enumerate(works) if work.cancel()]
    assert two.wait_for(works, PATIENCE)
    assert sorted([*cancelled, *seen]) == list(range(500))


def test_a_failing_work_leaves_its_seat_clean(one: Threads) -> None:
    def parent() -> int:
        for error in (ValueError(), SystemExit()):
            with pytest.raises(type(error)):
                one.submit(partial(fail, error)).result()
        seat = current_seat()
        assert seat is not None
        return len(seat.works)

    assert one.submit(parent).result(PATIENCE) == 1
