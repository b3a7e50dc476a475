"""Coroutines and Dask: what is awaited runs on workers, while the loop goes on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

import tasklineage as tl
from tests.integration.test_async import beside, cube, failing, noted, square

pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[tl.Dask]:
    with tl.Dask(n_workers=2) as cluster:
        cluster.client.wait_for_workers(2, timeout=60)
        yield cluster


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_maps_and_futures_are_awaited_while_the_loop_goes_on(cluster: tl.Dask, log: Path) -> None:
    async def main() -> None:
        found, turns = await beside(tl.amap(square, range(6), log=str(log), seconds=0.1))
        assert found == [0, 1, 4, 9, 16, 25]
        assert turns > 10
        assert await square.submit(7, str(log)) == 49
        assert await cube.submit(3, str(log)) == 27
        with pytest.raises(ValueError, match="no 1"):
            await failing.submit(1)

    with tl.run(executor=cluster) as run:
        asyncio.run(main())
    assert (run.executed, run.failed) == (9, 1)


@pytest.mark.parametrize("which", [square, cube])
def test_many_awaits_of_one_key_execute_it_once(cluster: tl.Dask, which: Any, log: Path) -> None:
    async def main() -> None:
        futures = [which.submit(5, str(log), 0.2) for _ in range(12)]
        if which is square:
            futures.append(tl.amap(square, [5], log=str(log), seconds=0.2))
        await asyncio.gather(*futures)

    with tl.run(executor=cluster) as run:
        asyncio.run(main())
    assert noted(log) == ["5"]
    assert run.executed == 1


def test_what_is_cancelled_is_recorded_and_what_was_done_is_kept(
    cluster: tl.Dask, log: Path
) -> None:
    async def main() -> None:
        futures = [square.submit(x, str(log), 0.4) for x in range(100, 108)]
        work = asyncio.ensure_future(tl.amap(square, range(50), log=str(log), seconds=0.1))
        while not noted(log):
            await asyncio.sleep(0.01)
        assert futures[-1].cancel()
        with pytest.raises(CancelledError):
            await futures[-1]
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        await asyncio.gather(*futures[:-1])

    with tl.run(executor=cluster) as run:
        asyncio.run(main())
    statuses = Counter(call.status for call in run.calls)
    assert statuses == Counter(cancelled=1, done=len(noted(log)))
    assert 7 <= statuses["done"] < 50


@pytest.mark.parametrize("is_async", [True, False])
def test_a_cluster_may_be_made_on_the_loop(is_async: bool, log: Path) -> None:
    from distributed import Client, LocalCluster

    async def main() -> None:
        options = {"processes": False, "n_workers": 1, "dashboard_address": "127.0.0.1:0"}
        if is_async:
            async with (
                LocalCluster(asynchronous=True, **options) as theirs,
                Client(theirs, asynchronous=True) as client,
            ):
                for i, where in enumerate((client, theirs)):
                    assert await called(tl.Dask(where), i) == [i, 1 + i]
        else:
            with LocalCluster(**options) as theirs:
                assert await called(tl.Dask(theirs), 3) == [3, 4]

    async def called(executor: tl.Dask, first: int) -> list[int]:
        with tl.run(executor=executor):
            found = await tl.amap(square, [first, 1 + first], log=str(log), seconds=0.05)
        await asyncio.to_thread(executor.shutdown)
        return [round(x**0.5) for x in found]

    asyncio.run(asyncio.wait_for(main(), 60))
