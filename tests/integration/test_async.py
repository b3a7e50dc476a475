"""Coroutines await calls on every executor: the loop goes on, and one key executes once."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, TypeVar

import pytest

import tasklineage as tl
from tasklineage import task

T = TypeVar("T")
EXECUTORS = ["inline", "threads:2", "processes:2"]
PATIENCE = 60.0


def note(log: str, text: str) -> None:
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, f"{text}\n".encode())
    os.close(fd)


def noted(log: Path) -> list[str]:
    return log.read_text("utf-8").splitlines() if log.exists() else []


@task
def square(x: int, log: str, seconds: float = 0.0) -> int:
    note(log, f"{x}")
    time.sleep(seconds)
    return x * x


@task
async def cube(x: int, log: str, seconds: float = 0.0) -> int:
    note(log, f"{x}")
    await asyncio.sleep(seconds)
    return x * x * x


@task
def failing(x: int) -> int:
    raise ValueError(f"no {x}")


@task
def nested(x: int, log: str) -> int:
    async def main() -> list[int]:
        return await tl.amap(square, range(x), log=log)

    return sum(asyncio.run(main()))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


async def beside(one: Awaitable[T]) -> tuple[T, int]:
    """What is awaited, and how often the loop went round meanwhile."""
    work, turns = asyncio.ensure_future(one), 0
    while not work.done():
        await asyncio.sleep(0.005)
        turns += 1
    return work.result(), turns


@pytest.mark.parametrize("executor", EXECUTORS)
def test_amap_gives_results_in_order_while_the_loop_goes_on(executor: str, log: Path) -> None:
    async def main() -> None:
        found, turns = await beside(tl.amap(square, range(6), log=str(log), seconds=0.1))
        assert found == [0, 1, 4, 9, 16, 25]
        assert turns > 10
        again, _ = await beside(tl.amap(square, range(6), log=str(log), seconds=0.1))
        assert again == found

    with tl.run(executor=executor) as run:
        asyncio.run(main())
    assert (run.executed, run.hits) == (6, 6)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("which", [square, cube])
def test_futures_are_awaited(executor: str, which: Any, log: Path) -> None:
    async def main() -> None:
        future = which.submit(3, str(log), 0.2)
        found, turns = await beside(future)
        assert found == (9 if which is square else 27)
        assert turns > 3 or executor == "inline"
        assert await future == found
        with pytest.raises(ValueError, match="no 1"):
            await failing.submit(1)

    with tl.run(executor=executor) as run:
        asyncio.run(main())
    assert (run.executed, run.failed) == (2, 1)


@pytest.mark.parametrize("executor", ["threads:4", "processes:3"])
@pytest.mark.parametrize("which", [square, cube])
def test_many_awaits_of_one_key_execute_it_once(executor: str, which: Any, log: Path) -> None:
    async def main() -> None:
        futures = [which.submit(5, str(log), 0.2) for _ in range(12)]
        maps = [tl.amap(which, [5, 6], log=str(log), seconds=0.2) for _ in range(3)]
        found = await asyncio.wait_for(asyncio.gather(*futures, *maps), PATIENCE)
        assert set(found[:12]) == {25 if which is square else 125}
        assert found[12:] == 3 * [[25, 36] if which is square else [125, 216]]

    with tl.run(executor=executor) as run:
        asyncio.run(main())
    assert sorted(noted(log)) == ["5", "6"]
    assert (run.executed, run.hits) == (2, 16)


@pytest.mark.parametrize("executor", ["threads:1", "processes:1"])
def test_a_future_that_is_cancelled_is_recorded(executor: str, log: Path) -> None:
    async def main() -> None:
        first = square.submit(1, str(log), 0.5)
        second = square.submit(2, str(log), 0.5)
        while not noted(log):
            await asyncio.sleep(0.01)
        assert second.cancel()
        assert not first.cancel()
        with pytest.raises(CancelledError):
            await second
        assert await first == 1

    with tl.run(executor=executor) as run:
        asyncio.run(main())
    assert [call.status for call in run.calls] == ["done", "cancelled"]
    assert noted(log) == ["1"]


@pytest.mark.parametrize("executor", ["threads:2", "processes:2"])
def test_a_cancelled_amap_starts_nothing_more_and_keeps_what_was_done(
    executor: str, log: Path
) -> None:
    async def main() -> None:
        work = asyncio.ensure_future(tl.amap(square, range(100), log=str(log), seconds=0.1))
        while len(noted(log)) < 4:
            await asyncio.sleep(0.01)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    with tl.run(executor=executor) as run:
        asyncio.run(main())
    begun = noted(log)
    assert 4 <= len(begun) < 100
    assert {call.status for call in run.calls} == {"done"}
    assert run.executed == len(begun)
    with tl.run(executor=executor) as again:
        tl.map(square, range(len(begun)), log=str(log), seconds=0.1).results()
    assert again.hits >= len(begun) - 2


def test_a_cancelled_coroutine_is_recorded(log: Path) -> None:
    async def main() -> None:
        work = asyncio.ensure_future(tl.amap(cube, range(3), log=str(log), seconds=PATIENCE))
        while len(noted(log)) < 3:
            await asyncio.sleep(0.01)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    with tl.run() as run:
        asyncio.run(main())
    assert [call.status for call in run.calls] == 3 * ["cancelled"]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_call_may_have_a_loop_of_its_own(executor: str, log: Path) -> None:
    with tl.run(executor=executor):
        assert tl.map(nested, [3, 4], log=str(log)).results() == [5, 14]
    assert len(noted(log)) == 4


@pytest.mark.parametrize("executor", ["threads:2", "processes:2"])
def test_failures_are_those_of_map(executor: str) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="no"):
            await tl.amap(failing, [1, 2])
        collected: list[Any] = await tl.amap(failing, [3], on_error="collect")
        assert [type(one) for one in collected] == [tl.Failure]
        assert await tl.amap(failing, [4], on_error="skip") == []

    with tl.run(executor=executor):
        asyncio.run(main())


@task(timeout=0.3)
async def never_ends(x: int) -> int:
    time.sleep(PATIENCE)  # not even the loop can go on
    return x


def test_a_coroutine_with_a_time_limit_is_stopped_wherever_it_is_awaited() -> None:
    async def both() -> list[Any]:
        found = await tl.amap(never_ends, [1, 2], on_error="collect")
        with pytest.raises(tl.TaskTimeout):
            await never_ends(3)
        return found

    began = time.monotonic()
    with tl.run(executor="threads:2") as run:
        found = asyncio.run(both())
    assert [type(one.error) for one in found] == [tl.TaskTimeout] * 2
    assert {call.status for call in run.calls} == {"timeout"}
    assert time.monotonic() - began < PATIENCE / 2
