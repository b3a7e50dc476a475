"""Clusters of the user: they grow and shrink, are closed, and run functions of their own."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tasklineage as tl
from tasklineage import task
from tests.integration.test_dask import depth, note, notes, square

pytest.importorskip("distributed")

from distributed import Client, LocalCluster

from tasklineage.executors import dask as executors_dask

OPTIONS: dict[str, Any] = {
    "processes": False, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0",
}  # fmt: skip
"""Workers are threads of this process: they come and go at once."""


@pytest.fixture
def theirs() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=1, **OPTIONS) as theirs:
        yield theirs


@task(ignore=["folder"])
def slow(x: int, folder: str) -> int:
    note(folder, x)
    time.sleep(0.1)
    return x


def until(claim: Any) -> None:
    deadline = time.monotonic() + 60
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_map_goes_on_while_the_cluster_shrinks_and_grows(
    theirs: LocalCluster, tmp_path: Path
) -> None:
    with tl.Dask(theirs) as executor, tl.run("scaled", executor=executor) as run:
        fan = tl.map(slow, range(40), folder=str(tmp_path))
        assert fan[2] == 2
        for count in (3, 1, 0, 2):
            theirs.scale(count)
            until(lambda: len(theirs.scheduler.workers) == count)  # noqa: B023
            time.sleep(0.2)
        assert fan.results() == list(range(40))
    attempts = {str(call.args["x"]): [one.status for one in call.attempts] for call in run.calls}
    assert len(attempts) == run.executed == 40
    assert all(set(statuses[:-1]) <= {"lost"} for statuses in attempts.values())
    assert notes(tmp_path) == Counter({x: len(statuses) for x, statuses in attempts.items()})


@task(ignore=["folder"])
def held(x: int, folder: str) -> int:
    note(folder, x)
    until(Path(folder, "go").exists)
    return x


def test_workers_that_are_retired_are_not_charged(theirs: LocalCluster, tmp_path: Path) -> None:
    (tmp_path / "notes").touch()
    with tl.Dask(theirs) as executor, tl.run("retired", executor=executor):
        future = held.submit(1, str(tmp_path))
        for count in range(1, 5):
            until(lambda: notes(tmp_path)["1"] == count)  # noqa: B023
            workers = theirs.scheduler.workers.values()
            (busy,) = [one.address for one in workers if one.processing]
            theirs.scale(count + 1)
            executor.client.retire_workers([busy])
        until(lambda: notes(tmp_path)["1"] == 5)
        (tmp_path / "go").touch()
        assert future.result() == 1
    assert future.call.status == "done"


def test_an_adaptive_cluster_begins_and_ends_with_no_workers(tmp_path: Path) -> None:
    with LocalCluster(n_workers=0, **OPTIONS) as theirs, tl.Dask(theirs) as executor:
        theirs.adapt(minimum=0, maximum=2, interval="50ms", wait_count=2)
        for first in (0, 100):
            with tl.run("adaptive", executor=executor) as run:
                xs = range(first, first + 10)
                assert tl.map(slow, xs, folder=str(tmp_path)).results() == list(xs)
            assert run.executed == 10
            until(lambda: not theirs.scheduler.workers)
    assert set(notes(tmp_path).values()) == {1}


def test_maps_nest_on_one_worker_of_one_thread(theirs: LocalCluster) -> None:
    with tl.Dask(theirs) as executor, tl.run("deep", executor=executor):
        assert tl.map(depth, [30, 25]).results() == [30, 25]


@task
def with_dask(x: int) -> int:
    """Of the user, who knows Dask: the thread is lent already where a map waits."""
    from distributed import worker_client

    with worker_client() as client:
        inner: int = client.submit(int, x).result() + sum(tl.map(square, [x, x + 1]).results())
    return inner + sum(tl.map(square, [x + 2, x + 3]).results())


def test_a_function_may_use_the_client_of_its_worker(theirs: LocalCluster) -> None:
    with tl.Dask(theirs) as executor, tl.run("both", executor=executor):
        found = tl.map(with_dask, range(3)).results()
    assert found == [x + sum((x + i) ** 2 for i in range(4)) for x in range(3)]


def test_tasks_are_functions_for_plain_dask(theirs: LocalCluster) -> None:
    with Client(theirs) as client:
        assert client.submit(square, 7).result() == 49
        assert client.submit(lambda: tl.map(square, range(3)).results()).result() == [0, 1, 4]


def test_a_cluster_that_was_closed_is_missed_at_once_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors_dask, "_CONNECTING", 1.0)
    options = {**OPTIONS, "protocol": "tcp", "host": "127.0.0.1", "n_workers": 1}
    with LocalCluster(**options) as theirs:
        address = theirs.scheduler_address
        executor = tl.Dask(address)
        with tl.run("closed", executor=executor) as run:
            fan = tl.map(slow, range(20), folder=str(tmp_path), on_error="collect")
            assert fan[1] == 1
            theirs.close()
            lost = [one for one in fan.results() if isinstance(one, tl.Failure)]
    assert {type(one.error).__name__ for one in lost} <= {"SchedulerLost", "ConfigError"}
    assert address in str(lost[0].error)
    with tl.run("nobody", executor=executor), pytest.raises(tl.ConfigError, match=address):
        tl.map(slow, [100], folder=str(tmp_path)).results()
    monkeypatch.setattr(executors_dask, "_AGAIN", 0.0)
    port = int(address.rpartition(":")[2])
    with (
        LocalCluster(**options, scheduler_port=port),
        executor,
        tl.run("the rest", executor=executor) as rest,
    ):
        tl.map(slow, range(20), folder=str(tmp_path)).results()
    assert (rest.hits, rest.executed) == (run.executed - len(lost), len(lost))


def test_a_client_or_cluster_that_was_closed_is_named(theirs: LocalCluster) -> None:
    client = Client(theirs)
    executor = tl.Dask(client)
    with tl.run("closed", executor=executor):
        assert tl.map(square, [31]).results() == [961]
        client.close()
        with pytest.raises(tl.ConfigError, match="the client is closed"):
            tl.map(square, [32]).results()
    theirs.close()
    with (
        tl.run("closed", executor=tl.Dask(theirs)),
        pytest.raises(tl.ConfigError, match="no Dask scheduler answers"),
    ):
        tl.map(square, [32]).results()


OWN = tl.Dask(n_workers=1)


@task(executor=OWN)
def inner(x: int) -> int:
    return os.getpid()


@task(executor=OWN)
def outer(x: int) -> list[int]:
    return [os.getpid(), inner(x), tl.map(inner, [x + 1])[0]]


@task(executor=OWN, timeout=60)
def limited(x: int) -> list[int]:
    return [os.getpid(), inner(x), tl.map(inner, [x + 1])[0]]


def test_no_worker_has_a_cluster_of_its_own() -> None:
    with OWN:
        worker, *others = outer(0)
        assert others == [worker, worker]
        process, *others = limited(10)
        assert process != worker
        assert others == [process, process]


@task(resources={"GPU": 1}, ignore=["folder"])
def needs_a_gpu(x: int, folder: str) -> str:
    note(folder, x)
    if notes(Path(folder))[str(x)] == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.environ.get("CUDA_VISIBLE_DEVICES", "none")


def test_a_call_waits_for_a_worker_with_what_it_asks_for(tmp_path: Path) -> None:
    with tl.Dask(n_workers=2, gpus=1) as executor, tl.run("gpu", executor=executor):
        executor.all_workers()
        assert tl.map(needs_a_gpu, [1], folder=str(tmp_path)).results() == ["0"]
    assert notes(tmp_path) == Counter({"1": 2})
