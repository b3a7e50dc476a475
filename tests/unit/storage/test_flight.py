"""Calls in flight: one at a time per key, over threads, coroutines and processes; no deadlock."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasklineage.storage import flight as flight_module
from tasklineage.storage import oslock
from tasklineage.storage.flight import Flight
from tasklineage.storage.waits import Board, Wait, is_on_cycle, victims

ROOT = Path(__file__).parents[3]
LIMIT = 60.0
"""Seconds after which a test counts as hanging."""
NONE: frozenset[bytes] = frozenset()


def key(number: int) -> bytes:
    return number.to_bytes(2, "big") * 8


def keys(*numbers: int) -> frozenset[bytes]:
    return frozenset(map(key, numbers))


def open_flight(root: Path, writer: str = "0123456789abcdef") -> Flight:
    return Flight(root, lambda: writer)


@pytest.fixture(autouse=True)
def watchdog() -> Iterator[None]:
    """No test hangs: after a while the main thread is interrupted wherever it is."""

    def interrupt(*args: object) -> None:
        raise AssertionError("the test hangs")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 1.5 * LIMIT)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(params=["ofd", "flock"])
def locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both kinds of lock; processes are told by an argument."""
    if request.param == "flock":
        monkeypatch.setattr(oslock, "has_ofd", lambda: False)
    elif not oslock.has_ofd():
        pytest.skip("this kernel has no OFD locks")
    return str(request.param)


@pytest.fixture
def flight(tmp_path: Path, locks: str) -> Iterator[Flight]:
    opened = open_flight(tmp_path)
    yield opened
    opened.close()


class Threads:
    """Threads whose results and exceptions are asked for, and that may not hang."""

    def __init__(self) -> None:
        self.results: dict[str, Any] = {}
        self._threads: list[threading.Thread] = []

    def start(self, name: str, body: Callable[[], object]) -> None:
        def run() -> None:
            try:
                self.results[name] = body()
            except BaseException as error:
                self.results[name] = error

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self._threads.append(thread)

    def join(self) -> dict[str, Any]:
        for thread in self._threads:
            thread.join(timeout=LIMIT)
            assert not thread.is_alive(), "a thread hangs"
        return self.results


@pytest.fixture
def threads() -> Threads:
    return Threads()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, "this never happens"
        time.sleep(0.002)


def free(flight: Flight, one: bytes) -> None:
    """Release a key of another thread, as that thread would."""
    flight._locks.unlock(one)
    del flight._holders[one]
    flight._wake(one)


def is_waiting(flight: Flight, count: int = 1) -> Callable[[], bool]:
    return lambda: sum(map(len, flight._queues.values())) >= count


# one process


def test_a_free_key_is_taken_and_freed(flight: Flight) -> None:
    for _ in range(3):
        assert flight.acquire(key(1), NONE)
        flight.release(key(1))


def test_keys_do_not_exclude_each_other(flight: Flight) -> None:
    assert flight.acquire(key(1), NONE)
    assert flight.acquire(key(2), keys(1))


def test_a_key_of_an_ancestor_is_not_waited_for(flight: Flight) -> None:
    assert flight.acquire(key(1), NONE)
    assert not flight.acquire(key(1), keys(1))


def test_a_key_that_this_thread_has_is_not_waited_for(flight: Flight) -> None:
    assert flight.acquire(key(1), NONE)
    assert not flight.acquire(key(1), NONE)
    flight.release(key(1))
    assert flight.acquire(key(1), NONE)


def test_a_read_only_flight_never_waits_and_writes_nothing(tmp_path: Path) -> None:
    flight = Flight(tmp_path, lambda: "0" * 16, read_only=True)
    assert not flight.acquire(key(1), NONE)
    with flight.waiting(keys(1), keys(2)):
        assert list(tmp_path.iterdir()) == []
    assert not asyncio.run(flight.acquire_async(key(1), NONE))


def test_a_waiter_goes_on_as_soon_as_the_key_is_free(flight: Flight, threads: Threads) -> None:
    assert flight.acquire(key(1), NONE)
    threads.start("waiter", lambda: flight.acquire(key(1), NONE))
    until(is_waiting(flight))
    assert threads.results == {}
    flight.release(key(1))
    assert threads.join() == {"waiter": True}
    assert flight._queues == {}


def test_only_a_real_wait_takes_place_in_the_context_that_is_given(
    flight: Flight, threads: Threads
) -> None:
    events: list[str] = []

    @contextlib.contextmanager
    def pausing() -> Iterator[None]:
        events.append("pause")
        yield
        events.append("go on")

    assert flight.acquire(key(1), NONE, pausing)
    assert events == []
    threads.start("waiter", lambda: flight.acquire(key(1), NONE, pausing))
    until(is_waiting(flight))
    assert events == ["pause"]
    flight.release(key(1))
    assert threads.join() == {"waiter": True}
    assert events == ["pause", "go on"]


def test_releasing_what_is_not_held_frees_nothing(flight: Flight, tmp_path: Path) -> None:
    assert flight.acquire(key(1), NONE)
    other = open_flight(tmp_path, "f" * 16)
    other.release(key(1))
    flight.release(key(2))
    assert not other._locks.try_lock(key(1))


def test_another_thread_cannot_release_a_key(flight: Flight, threads: Threads) -> None:
    assert flight.acquire(key(1), NONE)
    threads.start("release", lambda: flight.release(key(1)))
    threads.join()
    assert not flight.acquire(key(1), NONE)


def test_an_interrupted_release_can_be_repeated(
    flight: Flight, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    assert flight.acquire(key(1), NONE)
    monkeypatch.setattr(flight, "release", interrupted)
    with pytest.raises(KeyboardInterrupt):
        try:
            flight.release(key(1))
        finally:
            flight.release(key(1))
    flight.release(key(1))
    threads.start("next", lambda: flight.acquire(key(1), NONE))
    assert threads.join() == {"next": True}


def test_threads_are_never_inside_together(flight: Flight, threads: Threads) -> None:
    inside = dict.fromkeys(range(3), 0)
    entered = dict.fromkeys(range(3), 0)

    def body(seed: int) -> bool:
        chance = random.Random(seed)
        for _ in range(60):
            number = chance.randrange(3)
            assert flight.acquire(key(number), NONE)
            inside[number] += 1
            assert inside[number] == 1
            if chance.random() < 0.2:
                time.sleep(0.0005)
            entered[number] += 1
            inside[number] -= 1
            flight.release(key(number))
        return True

    for seed in range(6):
        threads.start(str(seed), lambda seed=seed: body(seed))  # type: ignore[misc]
    assert set(threads.join().values()) == {True}
    assert sum(entered.values()) == 360


def test_a_hundred_waiters_for_one_key_all_get_it(flight: Flight, threads: Threads) -> None:
    assert flight.acquire(key(1), NONE)

    def body() -> bool:
        assert flight.acquire(key(1), NONE)
        flight.release(key(1))
        return True

    for number in range(100):
        threads.start(str(number), body)
    until(is_waiting(flight, 100))
    start = time.monotonic()
    flight.release(key(1))
    assert set(threads.join().values()) == {True}
    assert time.monotonic() - start < 60


@pytest.mark.parametrize("place", ["try_lock", "_join", "_attempt", "_leave"])
def test_an_interrupted_acquire_leaves_the_key_free(
    flight: Flight, threads: Threads, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place != "try_lock":
        assert flight.acquire(key(1), NONE)
    owner: Any = flight._locks if place == "try_lock" else flight
    original = getattr(owner, place)
    with monkeypatch.context() as patch:

        def interrupted(*args: Any) -> Any:
            patch.undo()
            if place != "try_lock":
                free(flight, key(1))
            original(*args)
            raise KeyboardInterrupt

        patch.setattr(owner, place, interrupted)
        if place == "_leave":
            threading.Timer(0.05, lambda: free(flight, key(1))).start()
        threads.start("interrupted", lambda: flight.acquire(key(1), NONE))
        assert isinstance(threads.join()["interrupted"], KeyboardInterrupt)
    assert flight._queues == {}
    assert flight._holders == {}
    assert flight.acquire(key(1), NONE)


def test_an_error_of_a_signal_handler_is_not_taken_for_one_of_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any) -> None:
        raise TimeoutError("the test takes too long")

    flight = open_flight(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("fcntl.fcntl", interrupted)
        patch.setattr("fcntl.flock", interrupted)
        with pytest.raises(TimeoutError, match="too long"):
            flight.acquire(key(1), NONE)
    assert flight.acquire(key(1), NONE)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSPC, errno.EACCES])
def test_without_locks_threads_still_exclude_each_other(
    tmp_path: Path, locks: str, number: int, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise OSError(number, os.strerror(number))

    flight = open_flight(tmp_path)
    if number == errno.ENOLCK:
        monkeypatch.setattr("fcntl.fcntl", refuse)
        monkeypatch.setattr("fcntl.flock", refuse)
    else:
        monkeypatch.setattr(oslock, "_open_or_create", refuse)
    assert flight.acquire(key(1), NONE)
    threads.start("waiter", lambda: flight.acquire(key(1), NONE))
    until(is_waiting(flight))
    flight.release(key(1))
    assert threads.join() == {"waiter": True}


# coroutines


def test_a_coroutine_waits_without_blocking_its_loop(flight: Flight) -> None:
    async def main() -> list[str]:
        events: list[str] = []

        async def body(name: str) -> None:
            assert await flight.acquire_async(key(1), NONE)
            events.append(f"{name} in")
            await asyncio.sleep(0.01)
            events.append(f"{name} out")
            flight.release(key(1))

        await asyncio.gather(*map(body, "abc"))
        return events

    events = asyncio.run(asyncio.wait_for(main(), LIMIT))
    assert events == ["a in", "a out", "b in", "b out", "c in", "c out"]


def test_coroutines_and_threads_wait_for_each_other(flight: Flight, threads: Threads) -> None:
    async def main() -> bool:
        got = await flight.acquire_async(key(1), NONE)
        threads.start("thread", lambda: flight.acquire(key(1), NONE))
        while not is_waiting(flight)():
            await asyncio.sleep(0.001)
        flight.release(key(1))
        return got

    assert flight.acquire(key(1), NONE)
    threads.start("loop", lambda: asyncio.run(asyncio.wait_for(main(), LIMIT)))
    until(is_waiting(flight))
    flight.release(key(1))
    until(lambda: len(threads.results) == 2)
    assert threads.join() == {"loop": True, "thread": True}


def test_a_cancelled_coroutine_leaves_nothing_behind(flight: Flight) -> None:
    async def main() -> None:
        assert await flight.acquire_async(key(1), NONE)
        waiter = asyncio.ensure_future(flight.acquire_async(key(1), keys(2)))
        while not is_waiting(flight)():
            await asyncio.sleep(0.001)
        waiter.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiter
        assert flight._queues == {}
        assert flight._waits == {}
        flight.release(key(1))
        assert await flight.acquire_async(key(1), NONE)

    asyncio.run(asyncio.wait_for(main(), LIMIT))


def test_a_blocking_acquire_in_a_loop_does_not_wait_for_that_loop(flight: Flight) -> None:
    async def main() -> bool:
        assert await flight.acquire_async(key(1), NONE)
        return flight.acquire(key(1), NONE)

    assert not asyncio.run(asyncio.wait_for(main(), LIMIT))


def test_a_deadlock_of_coroutines_is_broken(flight: Flight) -> None:
    async def body(mine: int, other: int) -> bool:
        assert await flight.acquire_async(key(mine), NONE)
        await asyncio.sleep(0.01)
        got = await flight.acquire_async(key(other), keys(mine))
        if got:
            flight.release(key(other))
        flight.release(key(mine))
        return got

    async def main() -> list[bool]:
        return list(await asyncio.gather(body(1, 2), body(2, 1)))

    assert sorted(asyncio.run(asyncio.wait_for(main(), LIMIT))) == [False, True]


# deadlocks of threads


@pytest.mark.parametrize("count", [2, 3, 6])
def test_one_of_a_circle_of_threads_executes_without_waiting(
    flight: Flight, threads: Threads, count: int
) -> None:
    barrier = threading.Barrier(count)

    def body(mine: int) -> bool:
        assert flight.acquire(key(mine), NONE)
        barrier.wait(LIMIT)
        other = (mine + 1) % count
        got = flight.acquire(key(other), keys(mine))
        if got:
            flight.release(key(other))
        flight.release(key(mine))
        return got

    for number in range(count):
        threads.start(str(number), lambda number=number: body(number))  # type: ignore[misc]
    assert sorted(threads.join().values()) == [False] + [True] * (count - 1)
    assert flight._waits == {}


@pytest.mark.parametrize("parent_first", [True, False])
def test_a_circle_through_a_wait_for_a_future_is_broken(
    flight: Flight, threads: Threads, parent_first: bool
) -> None:
    """1 waits for the Future of 2, which wants 1."""
    assert flight.acquire(key(1), NONE)
    ready = threading.Event()

    def child() -> bool:
        assert flight.acquire(key(2), NONE)
        ready.wait(LIMIT)
        return flight.acquire(key(1), keys(2))

    threads.start("child", child)
    if parent_first:
        with flight.waiting(keys(2), keys(1)):
            ready.set()
            assert threads.join() == {"child": False}
    else:
        ready.set()
        until(is_waiting(flight))
        with flight.waiting(keys(2), keys(1)):
            assert threads.join() == {"child": False}
    assert flight._waits == {}


def test_a_wait_that_is_over_makes_no_circle(flight: Flight, threads: Threads) -> None:
    assert flight.acquire(key(1), NONE)
    with flight.waiting(keys(2), keys(1)):
        pass
    threads.start("child", lambda: flight.acquire(key(1), keys(2)))
    until(is_waiting(flight))
    flight.release(key(1))
    assert threads.join() == {"child": True}


def test_waiting_without_keys_costs_nothing(flight: Flight) -> None:
    with flight.waiting(keys(1), NONE), flight.waiting((), keys(1)):
        assert flight._waits == {}
        assert flight._watcher is None


# the rule


waits = st.lists(
    st.builds(
        lambda owner, held, wanted, can_yield: (owner, held, wanted - held, can_yield),
        st.sampled_from("ab"),
        st.frozensets(st.integers(0, 5), min_size=1, max_size=3),
        st.frozensets(st.integers(0, 5), min_size=1, max_size=3),
        st.booleans(),
    ),
    max_size=7,
).map(
    lambda fields: [
        Wait(owner, number, keys(*held), keys(*wanted), can_yield)
        for number, (owner, held, wanted, can_yield) in enumerate(fields)
    ]
)


@given(waits, st.randoms())
def test_victims_break_every_circle_that_can_be_broken(
    found: list[Wait], chance: random.Random
) -> None:
    chosen = victims(found)
    left = [wait for wait in found if wait not in chosen]
    assert all(wait.can_yield and is_on_cycle(wait, found) for wait in chosen)
    assert not any(wait.can_yield and is_on_cycle(wait, left) for wait in left)
    shuffled = chance.sample(found, len(found))
    assert victims(shuffled) == chosen


@given(st.integers(2, 6), st.data())
def test_a_simple_circle_has_one_victim(count: int, data: st.DataObject) -> None:
    found = [
        Wait(
            data.draw(st.sampled_from("abc")),
            number,
            keys(number),
            keys((number + 1) % count),
            True,
        )
        for number in range(count)
    ]
    assert len(victims(found)) == 1
    assert victims(found[1:]) == []


# files of other processes


@pytest.mark.parametrize(
    "content",
    [b"", b"\xc1", b"\x91\x01", b"x" * 100, msgpack.packb([[1, 2, 3]]), msgpack.packb([[1] * 4]),
     msgpack.packb({"a": 1}), msgpack.packb([["x", [b"1"], [b"2"], True]])],
)  # fmt: skip
def test_garbled_waits_of_a_living_process_are_ignored(tmp_path: Path, content: bytes) -> None:
    one, two = open_flight(tmp_path, "a" * 16), open_flight(tmp_path, "b" * 16)
    one._board.publish("a" * 16, [Wait("a" * 16, 1, keys(1), keys(2), True)])
    assert len(two._board.others("b" * 16)) == 1
    (tmp_path / "waits" / ("a" * 16)).write_bytes(content)
    assert two._board.others("b" * 16) == []


def test_waits_of_a_dead_process_are_ignored_and_removed(tmp_path: Path, locks: str) -> None:
    folder = tmp_path / "waits"
    held = oslock.key_locks(tmp_path / "locks")
    Board(folder, held).publish("a" * 16, [Wait("a" * 16, 1, keys(1), keys(2), True)])
    mine = Board(folder, oslock.key_locks(tmp_path / "locks"))
    assert len(mine.others("b" * 16)) == 1
    held.close()
    assert mine.others("b" * 16) == []
    assert list(folder.iterdir()) == []


def test_only_waits_that_last_are_written(flight: Flight, tmp_path: Path) -> None:
    with flight.waiting(keys(2), keys(1)):
        pass
    assert not (tmp_path / "waits").exists()
    with flight.waiting(keys(2), keys(1)):
        until((tmp_path / "waits" / ("0123456789abcdef")).exists)
    until(lambda: not any((tmp_path / "waits").iterdir()))


def test_the_watcher_ends_when_there_is_nothing_to_watch(
    flight: Flight, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flight_module, "_LINGER", 2)
    with flight.waiting(keys(2), keys(1)):
        watcher = flight._watcher
        assert watcher is not None
    watcher.join(LIMIT)
    assert flight._watcher is None
    with flight.waiting(keys(2), keys(1)):
        assert flight._watcher is not None


# processes


PROCESS = textwrap.dedent(
    """
    import os, random, signal, sys, time
    from pathlib import Path
    signal.alarm(60)
    root, locks, writer, imports, *arguments = sys.argv[1:]
    sys.path.insert(0, imports)
    from tasklineage.storage import oslock
    from tasklineage.storage.flight import Flight
    if locks == "flock":
        oslock.has_ofd = lambda: False
    flight = Flight(root, lambda: writer)

    def key(number):
        return int(number).to_bytes(2, "big") * 8

    def say(text):
        print(text, flush=True)

    def hear():
        return sys.stdin.readline().strip()
    """
)
EXCLUSIVE = """
chance = random.Random(writer)
for _ in range(int(arguments[0])):
    number = chance.randrange(int(arguments[1]))
    assert flight.acquire(key(number), frozenset())
    marker = os.path.join(root, f"inside-{number}")
    fd = os.open(marker, os.O_CREAT | os.O_EXCL)
    if chance.random() < 0.1:
        time.sleep(0.001)
    os.close(fd)
    os.unlink(marker)
    flight.release(key(number))
say("done")
"""
CIRCLE = """
mine, other = arguments
assert flight.acquire(key(mine), frozenset())
say("holds")
hear()
got = flight.acquire(key(other), frozenset([key(mine)]))
if got:
    flight.release(key(other))
flight.release(key(mine))
flight.close()
say(f"got {got}")
"""
FUTURE = """
mine, other = arguments
assert flight.acquire(key(mine), frozenset())
say("holds")
hear()
with flight.waiting([key(other)], frozenset([key(mine)])):
    hear()
say("over")
"""
HOLD = """
assert flight.acquire(key(1), frozenset())
say("holds")
hear()
"""


class Process:
    """A process with a flight of its own, that one can talk to."""

    numbers = itertools.count(1)

    def __init__(self, root: Path, locks: str, program: str, *arguments: object) -> None:
        self.writer = f"{next(self.numbers):016x}"
        self._popen = subprocess.Popen(
            [sys.executable, "-c", PROCESS + program, str(root), locks, self.writer, str(ROOT),
             *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def hear(self) -> str:
        assert self._popen.stdout is not None
        return self._popen.stdout.readline().strip()

    def say(self) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.write("\n")
        self._popen.stdin.flush()

    def kill(self) -> None:
        self._popen.kill()
        self.wait()

    def wait(self) -> int:
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        code = self._popen.wait(LIMIT)
        self._popen.stdin.close()
        self._popen.stdout.close()
        return code


@pytest.mark.slow
def test_processes_are_never_inside_together(tmp_path: Path, locks: str) -> None:
    processes = [Process(tmp_path, locks, EXCLUSIVE, 60, 4) for _ in range(8)]
    assert [process.hear() for process in processes] == ["done"] * 8
    assert [process.wait() for process in processes] == [0] * 8
    left = list((tmp_path / "locks").iterdir())
    assert [path.name for path in left] == ([] if locks == "flock" else ["keys"])


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_one_of_a_circle_of_processes_executes_without_waiting(
    tmp_path: Path, locks: str, count: int
) -> None:
    processes = [
        Process(tmp_path, locks, CIRCLE, number, (number + 1) % count) for number in range(count)
    ]
    assert [process.hear() for process in processes] == ["holds"] * count
    for process in processes:
        process.say()
    answers = [process.hear() for process in processes]
    assert [process.wait() for process in processes] == [0] * count
    assert sorted(answers) == ["got False"] + ["got True"] * (count - 1)
    assert list((tmp_path / "waits").iterdir()) == []


@pytest.mark.slow
def test_a_circle_of_processes_through_a_wait_for_a_future_is_broken(
    tmp_path: Path, locks: str
) -> None:
    parent = Process(tmp_path, locks, FUTURE, 1, 2)
    child = Process(tmp_path, locks, CIRCLE, 2, 1)
    assert (parent.hear(), child.hear()) == ("holds", "holds")
    child.say()
    parent.say()
    assert child.hear() == "got False"
    parent.say()
    assert (parent.hear(), parent.wait(), child.wait()) == ("over", 0, 0)


@pytest.mark.slow
def test_a_circle_of_threads_of_two_processes_is_broken(
    tmp_path: Path, locks: str, threads: Threads
) -> None:
    """Here 1 waits for 2 and 3 for 4; the other process has 2 and 4, and waits for 3 and 1."""
    flight = open_flight(tmp_path, "f" * 16)
    others = [Process(tmp_path, locks, CIRCLE, 2, 3), Process(tmp_path, locks, CIRCLE, 4, 1)]
    assert [other.hear() for other in others] == ["holds"] * 2
    barrier = threading.Barrier(3)

    def body(mine: int, wanted: int) -> bool:
        assert flight.acquire(key(mine), NONE)
        barrier.wait(LIMIT)
        got = flight.acquire(key(wanted), keys(mine))
        if got:
            flight.release(key(wanted))
        flight.release(key(mine))
        return got

    threads.start("1", lambda: body(1, 2))
    threads.start("3", lambda: body(3, 4))
    barrier.wait(LIMIT)
    for other in others:
        other.say()
    answers = [*threads.join().values(), *(other.hear() == "got True" for other in others)]
    assert [other.wait() for other in others] == [0, 0]
    assert answers.count(False) == 1


def test_a_key_of_a_killed_process_is_free(tmp_path: Path, locks: str, threads: Threads) -> None:
    holder = Process(tmp_path, locks, HOLD)
    assert holder.hear() == "holds"
    flight = open_flight(tmp_path, "f" * 16)
    threads.start("waiter", lambda: flight.acquire(key(1), NONE))
    until(is_waiting(flight))
    time.sleep(0.02)
    assert threads.results == {}
    holder.kill()
    assert threads.join() == {"waiter": True}


def test_a_coroutine_waits_for_another_process(tmp_path: Path, locks: str) -> None:
    async def main() -> int:
        waiter = asyncio.ensure_future(flight.acquire_async(key(1), NONE))
        for ticks in itertools.count():
            if ticks == 10:
                holder.say()
            await asyncio.sleep(0.002)
            if waiter.done():
                assert waiter.result()
                return ticks
        raise AssertionError

    holder = Process(tmp_path, locks, HOLD)
    assert holder.hear() == "holds"
    flight = open_flight(tmp_path, "f" * 16)
    assert asyncio.run(asyncio.wait_for(main(), LIMIT)) >= 10
    assert holder.wait() == 0


def test_a_victim_that_does_not_yield_is_not_waited_for_for_ever(
    tmp_path: Path, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flight_module, "_GRACE", 0.1)
    stopped = open_flight(tmp_path, "0" * 16)  # it comes first, and never looks
    assert stopped.acquire(key(2), NONE)
    stopped._board.publish("0" * 16, [Wait("0" * 16, 1, keys(2), keys(1), True)])
    flight = open_flight(tmp_path, "f" * 16)
    assert flight.acquire(key(1), NONE)
    threads.start("waiter", lambda: flight.acquire(key(2), keys(1)))
    assert threads.join() == {"waiter": False}


# forks


def in_child(body: Callable[[], object]) -> None:
    pid = os.fork()
    if not pid:
        signal.alarm(60)
        status = 1
        try:
            body()
            status = 0
        except BaseException as error:
            os.write(2, f"in the child: {error!r}\n".encode())
        os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_forked_child_has_none_of_its_parents_keys(
    flight: Flight, tmp_path: Path, threads: Threads
) -> None:
    def child() -> None:
        flight.release(key(1))
        assert not flight._locks.try_lock(key(1))
        assert flight.acquire(key(2), NONE)
        flight.release(key(2))
        flight.close()

    assert flight.acquire(key(1), NONE)
    with flight.waiting(keys(9), keys(1)):
        until((tmp_path / "waits" / "0123456789abcdef").exists)
        in_child(child)
        assert (tmp_path / "waits" / "0123456789abcdef").exists()
    other = open_flight(tmp_path, "f" * 16)
    assert not other._locks.try_lock(key(1))
    flight.release(key(1))
    assert other._locks.try_lock(key(1))


def test_forks_while_other_threads_acquire_do_not_hang(flight: Flight, threads: Threads) -> None:
    stop = threading.Event()

    def body() -> bool:
        for number in itertools.count():
            if stop.is_set():
                return True
            assert flight.acquire(key(number % 7), NONE)
            flight.release(key(number % 7))
        return False

    threads.start("a", body)
    threads.start("b", body)
    try:
        for _ in range(10):
            in_child(lambda: flight.acquire(key(100), NONE))
    finally:
        stop.set()
    assert set(threads.join().values()) == {True}


# the locks themselves


def test_the_highest_and_the_lowest_key_can_be_locked(tmp_path: Path, locks: str) -> None:
    one, two = (oslock.key_locks(tmp_path / "locks") for _ in range(2))
    for extreme in (bytes(16), b"\xff" * 16, b"ab"):
        assert one.try_lock(extreme)
        assert not two.try_lock(extreme)
        assert two.is_locked(extreme)
        one.unlock(extreme)
        assert not two.is_locked(extreme)
        assert two.try_lock(extreme)
        two.unlock(extreme)


def test_a_lock_file_that_was_removed_meanwhile_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = oslock.FileLocks(tmp_path / "locks"), oslock.FileLocks(tmp_path / "locks")
    assert one.try_lock(b"key")
    original = oslock._open_or_create

    def opened_before_the_release(path: Path) -> int:
        fd = original(path)
        one.unlock(b"key")
        return fd

    with monkeypatch.context() as patch:
        patch.setattr(oslock, "_open_or_create", opened_before_the_release)
        assert not two.try_lock(b"key")
    assert two.try_lock(b"key")


def test_closed_locks_are_free_and_can_be_used_again(tmp_path: Path, locks: str) -> None:
    one, two = (oslock.key_locks(tmp_path / "locks") for _ in range(2))
    assert one.try_lock(b"k" * 16)
    one.close()
    assert two.try_lock(b"k" * 16)
    assert not one.try_lock(b"k" * 16)
