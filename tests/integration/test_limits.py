"""Named limits of a run hold on every executor, however calls are nested, and never for ever."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import os
import pickle
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tasklineage as tl
from tasklineage import task
from tasklineage.executors.leases import Limits
from tasklineage.executors.limits import in_force
from tasklineage.executors.parcels import pack_whole, unpack

EXECUTORS = ["inline", "threads:6", "processes:3", "dask:2"]
PATIENCE = 60.0


def note(log: str, sign: str) -> None:
    """Append to a file that everybody appends to: the order of its lines is that of events."""
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, sign.encode())
    os.close(fd)


def most(log: Path) -> int:
    """How many were inside at once."""
    now = highest = 0
    for sign in log.read_text("utf-8"):
        now += 1 if sign == "+" else -1
        highest = max(highest, now)
    assert now == 0
    return highest


def inside(log: str, seconds: float = 0.02) -> None:
    note(log, "+")
    time.sleep(seconds)
    note(log, "-")


@task(resources={"db": 1})
def query(number: int, log: str) -> int:
    inside(log)
    return number


@task(resources={"db": 2})
def twice(number: int, log: str) -> int:
    inside(log)
    inside(log)
    return number


@task
def report(number: int, log: str) -> int:
    rows = tl.map(query, [10 * number + i for i in range(3)], log=log)
    return sum(rows) + query(-number, log)


@task(resources={"db": 1})
def session(number: int, log: str) -> int:
    numbers = [1000 + 10 * number + i for i in range(3)]
    return sum(tl.map(query, numbers, log=log, executor="threads:3"))


@task(resources={"db": 1})
def growing(number: int, log: str) -> int:
    time.sleep(0.02)
    return twice(number, log)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_no_more_execute_at_once_than_the_limit_says(executor: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with tl.run(executor=executor, limits={"db": 2}) as run:
        futures = [query.submit(100 + i, str(log)) for i in range(4)]
        found = tl.map(query, range(6), log=str(log)).results()
        assert [future.result() for future in futures] == [100, 101, 102, 103]
        assert query(7, str(log)) == 7
    assert found == list(range(6))
    assert run.executed == 11
    assert most(log) == 2 or not executor.startswith("threads")  # others may take long to start
    assert most(log) <= 2


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("outer", [report, session])
def test_calls_inside_of_calls_count_too(
    executor: str, outer: tl.Task[Any, int], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with tl.run(executor=executor, limits={"db": 2}):
        tl.map(outer, range(4), log=str(log)).results()
    assert 1 <= most(log) <= 2


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_limit_of_one_is_no_deadlock(executor: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with tl.run(executor=executor, limits={"db": 1}):
        assert tl.map(session, range(3), log=str(log)).results() == [3003, 3033, 3063]
    assert most(log) == 1


@pytest.mark.parametrize("executor", EXECUTORS)
def test_holders_that_wait_for_each_other_go_on(executor: str, tmp_path: Path) -> None:
    with tl.run(executor=executor, limits={"db": 2}):
        assert tl.map(growing, range(4), log=str(tmp_path / "log")).results() == [0, 1, 2, 3]


@task(resources={"a": 1})
def needs_a(number: int) -> int:
    time.sleep(0.02)
    return number


@task(resources={"b": 1})
def needs_b(number: int) -> int:
    time.sleep(0.02)
    return number


@task(resources={"a": 1})
def a_then_b(number: int) -> int:
    time.sleep(0.05)
    return needs_b(number)


@task(resources={"b": 1})
def b_then_a(number: int) -> int:
    time.sleep(0.05)
    return needs_a(number)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_two_limits_in_either_order_are_no_deadlock(executor: str) -> None:
    with tl.run(executor=executor, limits={"a": 1, "b": 1}):
        futures = [which.submit(i) for i in range(3) for which in (a_then_b, b_then_a)]
        assert [future.result() for future in futures] == [0, 0, 1, 1, 2, 2]


@task(ignore=["log"])
def shared(number: int, log: str) -> int:
    note(log, "+")
    time.sleep(0.5)
    found = query.submit(number, os.devnull).result()
    note(log, "-")
    return found


@task(resources={"db": 1})
def asks_for_shared(number: int, log: str) -> int:
    time.sleep(0.2)
    return shared(number, log)


@task(resources={"db": 1})
def holds(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@pytest.mark.parametrize("executor", ["threads:6", "processes:3"])
def test_a_holder_that_waits_for_a_call_that_waits_for_what_it_holds_goes_on(
    executor: str, tmp_path: Path
) -> None:
    log = str(tmp_path / "log")
    with tl.run(executor=executor, limits={"db": 1}):
        future = shared.submit(1, log)
        time.sleep(0.1)
        assert asks_for_shared.submit(1, log).result(PATIENCE) == 1
        assert future.result(PATIENCE) == 1


def test_a_call_in_flight_executes_once_where_somebody_else_gives_back_what_it_waits_for(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    with tl.run(executor="threads:6", limits={"db": 2}):
        futures: list[tl.Future[Any]] = [shared.submit(1, str(log)), holds.submit(0.9)]
        futures.append(asks_for_shared.submit(1, str(log)))
        assert [future.result(PATIENCE) for future in futures] == [1, 0.9, 1]
    assert log.read_text("utf-8") == "+-"


@task(resources={"db": 1})
async def query_later(number: int) -> int:
    await asyncio.sleep(0.02)
    return number


@task
async def shared_later(number: int) -> int:
    await asyncio.sleep(0.3)
    return (await tl.amap(query_later, [number]))[0]


@task(resources={"db": 1})
async def asks_for_shared_later(number: int) -> int:
    await asyncio.sleep(0.1)
    return await shared_later(number)


def test_a_coroutine_that_holds_goes_on_too() -> None:
    async def both() -> list[Any]:
        return list(
            await asyncio.gather(tl.amap(shared_later, [1]), tl.amap(asks_for_shared_later, [1]))
        )

    with tl.run(limits={"db": 1}):
        assert asyncio.run(asyncio.wait_for(both(), PATIENCE)) == [[1], [1]]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_limits_of_the_runs_around_hold_too(executor: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with tl.run(limits={"db": 2}), tl.run(executor=executor, limits={"db": 5, "other": 1}):
        tl.map(query, range(6), log=str(log)).results()
    assert most(log) <= 2


@pytest.mark.parametrize("executor", EXECUTORS)
def test_what_exceeds_the_limit_fails_when_it_is_submitted(executor: str, tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    with tl.run(executor=executor, limits={"db": 1, "gpu": 0}) as run:
        for submit in (
            lambda: twice(1, log),
            lambda: twice.submit(1, log),
            lambda: tl.map(twice, [1], log=log),
        ):
            with pytest.raises(
                tl.UnsatisfiableResources, match=r"twice asks for db 2.*offered: db"
            ):
                submit()
        with pytest.raises(tl.UnsatisfiableResources, match="GPU 1"):
            query.options(resources={"gpu": 1})(1, log)
    assert run.executed == 0


def test_what_has_no_limit_is_refused_and_the_message_says_where_to_name_one() -> None:
    with pytest.raises(tl.UnsatisfiableResources, match=r"db 1.*tl\.run\(limits="):
        query(1, "nowhere")


def test_a_limit_of_what_the_machine_has_is_one_more(tmp_path: Path) -> None:
    log = tmp_path / "log"
    cpu = query.options(resources={"cpu": 1})
    with tl.run(executor="threads:4", limits={"cpu": 1}):
        tl.map(cpu, range(4), log=str(log)).results()
    assert most(log) == 1


def test_a_hit_waits_for_nobody(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    with tl.run(limits={"db": 1}):
        query(1, log)
        begun, over = threading.Event(), threading.Event()

        def hold() -> None:
            with in_force()[0].reserve({"db": 1}):
                begun.set()
                over.wait(PATIENCE)

        holder = threading.Thread(target=contextvars.copy_context().run, args=(hold,))
        holder.start()
        begun.wait(PATIENCE)
        try:
            assert query(1, log) == 1
            assert query.submit(1, log).result(PATIENCE) == 1
            assert tl.map(query, [1], log=log).results() == [1]
        finally:
            over.set()
            holder.join()


@task(resources={"db": 1})
async def awaited(number: int, log: str) -> int:
    note(log, "+")
    await asyncio.sleep(0.01)
    note(log, "-")
    return number


def test_coroutines_on_a_loop_count(tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def main() -> list[int]:
        return await tl.amap(awaited, range(8), log=str(log))

    with tl.run(limits={"db": 3}):
        assert asyncio.run(main()) == list(range(8))
        with pytest.raises(tl.UnsatisfiableResources, match="db 4"):
            asyncio.run(tl.amap(awaited.options(resources={"db": 4}), [1], log=str(log)))
    assert most(log) == 3


@task
def plain(number: int, log: str) -> int:
    inside(log)
    return number


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_map_has_no_more_workers_than_it_was_given(executor: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with tl.run(executor=executor):
        assert len(tl.map(plain, range(8), log=str(log), max_workers=2)) == 8
        assert asyncio.run(tl.amap(plain, range(8, 12), log=str(log), max_workers=2))
    assert most(log) <= 2


@task
def spread(number: int, log: str) -> int:
    numbers = [10 * number + i for i in range(6)]
    return sum(tl.map(plain, numbers, log=log, max_workers=2, executor="threads:6"))


@pytest.mark.parametrize("executor", ["threads:2", "processes:2"])
def test_each_of_the_maps_inside_has_its_own_workers(executor: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with tl.run(executor=executor):
        tl.map(spread, range(4), log=str(log), max_workers=2).results()
    assert most(log) <= 4


@task
def dies_inside(number: int, log: str, marker: str) -> int:
    with in_force()[0].reserve({"db": 1}):
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            inside(log)
        else:
            os._exit(3)
    return number


def test_who_dies_holds_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    marker = str(tmp_path / "marker")
    with tl.run(executor="processes:2", limits={"db": 1}):
        found = tl.map(dies_inside, range(4), log=str(log), marker=marker).results()
    assert found == [0, 1, 2, 3]
    assert most(log) == 1


@task(resources={"license": 1})
def licensed(number: int, log: str) -> int:
    inside(log)
    return number


@task
def several(number: int, log: str) -> int:
    return sum(tl.map(licensed, [10 * number + i for i in range(2)], log=log))


def test_what_an_executor_declares_counts_in_its_workers_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with tl.Processes(3, resources={"license": 1}) as pool, tl.run(executor=pool):
        assert tl.map(several, range(3), log=str(log)).results() == [1, 21, 41]
    assert most(log) == 1


def test_processes_keep_what_they_offer_when_they_are_copied() -> None:
    with tl.Processes(3, gpus=2, resources={"license": 1}) as pool:
        assert copy.copy(pool) is pool
        assert copy.deepcopy(pool) is pool
        assert pickle.loads(pickle.dumps(pool)) is pool
        offered = pool.offer.total
        assert (offered["GPU"], offered["license"]) == (2, 1)
        content = pickle.dumps(pool)
    del pool
    again = pickle.loads(content)
    assert again.slots == 3
    assert again.offer.total == offered
    again.shutdown()


def where(number: int, log: str) -> int:
    inside(log)
    return number


def test_a_task_with_an_executor_of_its_own_finds_it_in_a_worker(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with tl.Processes(2, resources={"license": 1}) as pool:
        own = task(executor=pool, resources={"license": 1})(where)

        @task
        def outer(number: int) -> int:
            return own(number, str(log))

        with tl.run(executor="processes:3"):
            assert tl.map(outer, range(4)).results() == [0, 1, 2, 3]
    assert most(log) == 1


def test_limits_travel_and_are_counted_where_they_were_made() -> None:
    one = Limits({"x": 1})
    assert unpack(pack_whole(one), ()) is one


@pytest.mark.parametrize("wrong", [{"db": -1}, {"db": "many"}, {"": 1}, 4, {"db": None}])
def test_what_is_no_limit_is_refused(wrong: Any) -> None:
    with pytest.raises(tl.ConfigError, match="limits="), tl.run(limits=wrong):
        pass


Program = tuple[dict[str, int], list["Program"]]


def programs(grows: bool) -> st.SearchStrategy[Any]:
    """Calls: what each asks for, and the calls inside of it, made at once."""
    amounts = st.dictionaries(st.sampled_from("ab"), st.integers(1, 2 if grows else 1), max_size=2)
    return st.recursive(
        st.tuples(amounts, st.just([])),
        lambda inner: st.tuples(amounts, st.lists(inner, max_size=3)),
        max_leaves=12,
    )


def execute(limits: Limits, program: Any, enter: Callable[..., Any], seed: int) -> None:
    """Run a program, each call in a thread of its own."""
    asked, inner = program
    with limits.reserve(asked):
        enter(asked, 1)
        time.sleep(random.Random(seed).random() * 1e-3)
        enter(asked, -1)  # while it waits for the calls inside it gives way to them
        threads = [
            threading.Thread(
                target=contextvars.copy_context().run,
                args=(execute, limits, one, enter, seed + i),
                daemon=True,
            )
            for i, one in enumerate(inner)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


@settings(deadline=None, max_examples=60)
@given(st.lists(programs(grows=False), min_size=1, max_size=5), st.integers(0, 1000))
def test_random_programs_end_and_never_hold_more_than_there_is(
    several: list[Any], seed: int
) -> None:
    limits = Limits({"a": 2.0, "b": 1.0})
    lock = threading.Lock()
    now = {"a": 0, "b": 0}
    broken: list[str] = []

    def enter(asked: dict[str, int], sign: int) -> None:
        with lock:
            for name, amount in asked.items():
                now[name] += sign * amount
                if now[name] > limits.total[name] and not over():
                    broken.append(name)

    def over() -> bool:  # somebody went on beyond the limit rather than wait for ever
        return any(amount < 0 for amount in limits.free.values())

    execute(limits, ({}, several), enter, seed)
    assert not broken
    assert limits.free == limits.total


@settings(deadline=None, max_examples=60)
@given(st.lists(programs(grows=True), min_size=1, max_size=5), st.integers(0, 1000))
def test_random_programs_that_ask_for_more_inside_end(several: list[Any], seed: int) -> None:
    limits = Limits({"a": 2.0, "b": 2.0})
    execute(limits, ({}, several), lambda *_: None, seed)
    assert limits.free == limits.total
