"""Calls whose bodies run on the workers of a Dask cluster: real ones, in other processes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tasklineage as tl
from tasklineage import task

pytest.importorskip("distributed")

from tasklineage.executors.dask import Dask
from tasklineage.executors.threads import cpus
from tests.integration.orphans import below, is_alive


@pytest.fixture(scope="module")
def cluster() -> Iterator[Dask]:
    """Two workers in processes of their own, for all tests of this module."""
    with Dask(n_workers=2) as cluster:
        cluster.client.wait_for_workers(2, timeout=60)
        yield cluster


def note(folder: str, what: object) -> None:
    with open(os.path.join(folder, "notes"), "a") as file:
        file.write(f"{what}\n")


def notes(folder: Path) -> Counter[str]:
    return Counter((folder / "notes").read_text().split("\n")[:-1])


@task
def square(x: int) -> int:
    return x * x


@task
def of_process(x: int) -> tuple[int, int]:
    return x, os.getpid()


def test_bodies_run_on_the_workers_and_results_come_back(cluster: Dask) -> None:
    with tl.run("elsewhere", executor=cluster) as run:
        found = tl.map(of_process, range(40)).results()
    assert [x for x, _ in found] == list(range(40))
    assert os.getpid() not in {pid for _, pid in found}
    assert run.executed == 40
    with tl.run("again", executor=cluster) as run:
        assert tl.map(of_process, range(40)).results() == found
    assert (run.executed, run.hits) == (0, 40)


@task
def noisy(x: int) -> int:
    print("to stdout", x)
    print("to stderr", x, file=sys.stderr)
    return x


def test_what_is_printed_is_recorded_and_shown(
    cluster: Dask, capfd: pytest.CaptureFixture[str]
) -> None:
    with tl.run("noise", executor=cluster) as run:
        tl.map(noisy, [1]).results()
    assert run["noisy"].stdout == "to stdout 1\n"
    assert run["noisy"].stderr == "to stderr 1\n"
    shown = capfd.readouterr()
    assert shown.out.count("to stdout 1\n") == 1


@task
def refuses(x: int) -> int:
    raise ValueError(f"no {x}")


def test_an_exception_comes_through_with_the_traceback_of_the_worker(cluster: Dask) -> None:
    with tl.run("refused", executor=cluster) as run, pytest.raises(ValueError, match="no 3") as e:
        tl.map(refuses, [3]).results()
    assert "in refuses" in str(e.value.__cause__)
    assert run.failed == 1


@task
def depth(n: int) -> int:
    return 0 if n == 0 else 1 + tl.map(depth, [n - 1])[0]


def test_maps_nest_deeper_than_there_are_threads(cluster: Dask) -> None:
    with tl.run("deep", executor=cluster):
        assert tl.map(depth, [20]).results() == [20]


@task(ignore=["folder"])
def leaf(x: int, folder: str) -> int:
    note(folder, os.getpid())
    time.sleep(0.2)
    return x


@task(ignore=["folder"])
def branch(x: int, folder: str) -> int:
    return sum(tl.map(leaf, range(10 * x, 10 * x + 6), folder=folder).results())


def test_a_nested_map_is_spread_over_the_cluster(cluster: Dask, tmp_path: Path) -> None:
    with tl.run("nested", executor=cluster) as run:
        assert tl.map(branch, [1], folder=str(tmp_path)).results() == [75]
    assert len(notes(tmp_path)) == 2
    assert run.executed == 7
    parents = {call.parent.task for call in run.calls if call.parent is not None}
    assert parents == {branch.name}


@task
async def awaits(x: int) -> int:
    found = await tl.amap(square, [x, x + 1])
    return sum(found) + await square.submit(x + 2) + await square.submit(x + 3)


def test_a_coroutine_on_a_worker_awaits_one_thing_after_the_other(cluster: Dask) -> None:
    with tl.run("coroutines", executor=cluster):
        assert tl.map(awaits, [1, 3]).results() == [1 + 4 + 9 + 16, 9 + 16 + 25 + 36]
        assert awaits.submit(5).result() == 25 + 36 + 49 + 64


@task(timeout=1, ignore=["folder"])
def hangs(x: int, folder: str) -> int:
    note(folder, x)
    if x == 1:
        threading.Event().wait(600)
    return x


def test_a_call_that_takes_too_long_is_killed_and_others_go_on(
    cluster: Dask, tmp_path: Path
) -> None:
    workers = set(cluster.client.scheduler_info()["workers"])
    with tl.run("limits", executor=cluster) as run:
        fan = tl.map(hangs, range(4), folder=str(tmp_path), on_error="collect")
        assert [one.index for one in fan.failures] == [1]
        assert isinstance(fan.failures[0].error, tl.TaskTimeout)
    assert fan.failures[0].call.status == "timeout"
    assert (run.executed, run.failed) == (4, 1)
    assert set(cluster.client.scheduler_info()["workers"]) == workers


@task(ignore=["folder"])
def dies_once(x: int, folder: str) -> int:
    note(folder, x)
    if x == 100 and notes(Path(folder))["100"] == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return -x


@task(ignore=["folder"], memo=False)
def is_no_memo(x: int, folder: str) -> int:
    return int(dies_once.__wrapped__(x, folder))


@pytest.mark.parametrize("which", [dies_once, is_no_memo], ids=lambda t: t.name)
def test_only_the_call_that_was_executing_pays_for_a_lost_worker(
    which: Any, cluster: Dask, tmp_path: Path
) -> None:
    with tl.run("loss", executor=cluster) as run:
        assert tl.map(which, range(200), folder=str(tmp_path)).results() == [-x for x in range(200)]
    assert notes(tmp_path) == Counter({str(x): 1 + (x == 100) for x in range(200)})
    assert (run.executed, run.failed) == (200, 0)
    (tried,) = [call for call in run.calls if len(call.attempts) > 1]
    assert [one.status for one in tried.attempts] == ["lost", "done"]


@task(ignore=["folder"])
def deadly(x: int, folder: str) -> int:
    note(folder, x)
    if x == 30:
        print("last words")
        ctypes.string_at(0)
    return x


def test_a_call_that_always_kills_its_worker_fails_alone(cluster: Dask, tmp_path: Path) -> None:
    with tl.run("deadly", executor=cluster) as run:
        fan = tl.map(deadly, range(60), folder=str(tmp_path), on_error="collect")
        assert [one.index for one in fan.failures] == [30]
    assert isinstance(fan.failures[0].error, tl.WorkerLost)
    attempts = fan.failures[0].call.attempts
    assert [(one.status, one.stdout) for one in attempts] == [("lost", "last words\n")] * 4
    counts = notes(tmp_path)
    assert {x for x, n in counts.items() if n > 1} == {"30"}
    assert (run.executed, run.failed) == (60, 1)


def test_a_worker_that_was_stopped_is_replaced(cluster: Dask, tmp_path: Path) -> None:
    @task(ignore=["folder"])
    def stops_once(x: int, folder: str) -> int:
        note(folder, x)
        if x == 5 and notes(Path(folder))["5"] == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        return x

    pids: list[int] = []
    try:
        with tl.run("stopped", executor=cluster) as run:
            pids = list(cluster.client.run(os.getpid).values())
            assert tl.map(stops_once, range(20), folder=str(tmp_path)).results() == list(range(20))
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert run.failed == 0
    assert sum(n > 1 for n in notes(tmp_path).values()) <= 1  # it may have gone on to the next


PROGRAM = """
import logging, os, sys, time
import tasklineage as tl

logging.basicConfig(level=logging.INFO)

@tl.task
def slow(x: int) -> int:
    time.sleep(0.05)
    return x

@tl.task
def nested(x: int) -> int:
    return sum(tl.map(slow, [x, x + 1]))

tl.configure(store=sys.argv[1], executor=tl.Dask(n_workers=2))
print(tl.map(slow, range(int(sys.argv[2])), max_workers=4).results()[-1], flush=True)
if sys.argv[2] == "60":
    nested.submit(1000).result()
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, None])
def test_a_cluster_of_this_machine_ends_with_its_program_and_needs_no_guard(
    tmp_path: Path, end: int | None
) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    command = [sys.executable, str(script), str(tmp_path / "store"), "60" if end is None else "400"]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    store = tl.open_store(tmp_path / "store")
    deadline = time.monotonic() + 60
    while sum(1 for _ in tl.calls(store=store)) < 10:
        assert time.monotonic() < deadline
        assert program.poll() is None
        time.sleep(0.1)
    processes = below(program.pid)
    assert len(processes) >= 3
    if end is not None:
        program.send_signal(end)
    out, err = program.communicate(timeout=120)
    if end is None:
        assert (out, err) == ("59\n", "")
    while any(map(is_alive, processes)):
        assert time.monotonic() < deadline + 60
        time.sleep(0.1)
    if end is not None:
        finished = len([c for c in tl.calls(store=store) if c.status == "done"])
        with tl.run("the rest", store=store, executor="threads"):
            pass
        again = subprocess.run(
            [*command[:3], "60"], capture_output=True, text=True, timeout=120, check=True
        )
        assert again.stdout == "59\n"
        executed = len([c for c in tl.calls(store=store) if c.status == "done"])
        assert executed <= max(60, finished + 60 - min(finished, 60) + 4)


def test_there_is_nobody_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasklineage.executors.dask._CONNECTING", 1.0)
    with (
        tl.run("nobody", executor="tcp://127.0.0.1:1"),
        pytest.raises(tl.ConfigError, match=r"tcp://127\.0\.0\.1:1"),
    ):
        tl.map(square, [123456]).results()


def test_what_no_worker_offers_is_refused_when_it_is_submitted(cluster: Dask) -> None:
    @task(resources={"GPU": 1})
    def on_gpu(x: int) -> int:
        return x

    with (
        tl.run("none", executor=cluster),
        pytest.raises(tl.UnsatisfiableResources, match="they offer: cpu "),
    ):
        tl.map(on_gpu, [1]).results()


@task(resources={"cpu": cpus()}, ignore=["folder"])
def alone(x: int, folder: str) -> int:
    path = Path(folder, "busy")
    path.touch(exist_ok=False)
    time.sleep(0.05)
    path.unlink()
    return x


@task
def asks_inside(x: int, folder: str) -> int:
    return alone(x, folder)


def test_cpus_are_those_of_this_machine(cluster: Dask, tmp_path: Path) -> None:
    with tl.run("alone", executor=cluster):
        assert tl.map(alone, range(6), folder=str(tmp_path)).results() == list(range(6))
        assert asks_inside.submit(7, str(tmp_path)).result() == 7
        greedy = alone.options(resources={"cpu": cpus() + 1})
        with pytest.raises(tl.UnsatisfiableResources, match=f"they offer: cpu {cpus()}"):
            greedy.submit(8, str(tmp_path))


@task(resources={"GPU": 1}, ignore=["folder"])
def on_a_gpu(x: int, folder: str) -> str:
    device = os.environ["CUDA_VISIBLE_DEVICES"]
    note(folder, f"+{device}")
    time.sleep(0.1)
    note(folder, f"-{device}")
    return device


def test_each_gpu_is_used_by_one_call_at_a_time(tmp_path: Path) -> None:
    with Dask(n_workers=3, gpus=2) as cluster, tl.run("gpus", executor=cluster):
        devices = tl.map(on_a_gpu, range(8), folder=str(tmp_path)).results()
        assert sorted(set(devices)) == ["0", "1"]
        assert tl.map(square, range(1000, 1010)).results()[0] == 1_000_000
    in_use: set[str] = set()
    for line in (tmp_path / "notes").read_text().split():
        if line[0] == "+":
            assert line[1:] not in in_use
            in_use.add(line[1:])
        else:
            in_use.remove(line[1:])


def test_workers_of_the_user_with_default_settings(tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as theirs,
        Client(theirs) as client,
    ):
        for i, where in enumerate((theirs, client, theirs.scheduler_address)):
            with Dask(where) as cluster, tl.run("theirs", executor=cluster) as run:
                assert tl.map(square, range(50 * i, 50 * i + 50))[49] == (50 * i + 49) ** 2
                fan = tl.map(hangs, [1], folder=str(tmp_path), on_error="collect")
                assert isinstance(fan.failures[0].error, tl.TaskTimeout)
            assert run.executed == 51
        assert client.status == "running"


def test_a_cluster_in_this_process() -> None:
    from distributed import LocalCluster

    settings = tl.current_run
    with (
        LocalCluster(
            processes=False, n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0"
        ) as theirs,
        Dask(theirs) as cluster,
        tl.run("inside", executor=cluster) as run,
    ):
        assert tl.map(square, range(2000, 2050)).results()[0] == 4_000_000
        assert tl.map(depth, [3]).results() == [3]
    assert run.executed == 54
    assert settings is tl.current_run


def test_the_scheduler_goes_and_what_was_finished_is_kept(tmp_path: Path) -> None:
    address = "127.0.0.1"
    scheduler = subprocess.Popen(
        [
            sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", address,
            "--port", "0", "--dashboard-address", f"{address}:0",
            "--scheduler-file", str(tmp_path / "where.json"),
        ],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    import json

    where = ""
    while not where:
        assert time.monotonic() < deadline
        time.sleep(0.1)
        if (tmp_path / "where.json").exists():
            where = json.loads((tmp_path / "where.json").read_text())["address"]
    worker = subprocess.Popen(
        [sys.executable, "-m", "tasklineage", "worker", where, "--workers", "1"],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip

    @task(ignore=["folder"])
    def slow(x: int, folder: str) -> int:
        note(folder, x)
        time.sleep(0.2)
        return x

    try:
        with tl.run("lost", executor=where) as run:
            fan = tl.map(slow, range(100), folder=str(tmp_path))
            assert fan[3] == 3
            scheduler.kill()
            with pytest.raises(tl.WorkerLost, match="scheduler"):
                fan.results()
        done = [call for call in run.calls if call.status == "done"]
        assert 3 in {call.args["x"] for call in done}
        with tl.run("rest", executor="threads:8") as rest:
            tl.map(slow, range(100), folder=str(tmp_path)).results()
        assert rest.hits >= len(done)
    finally:
        for process in (scheduler, worker):
            process.kill()
            process.wait()


@task
def sized(x: int) -> Any:
    return np.full(50_000, x, np.int64)


@task
def picked(place: int, values: Any) -> int:
    return int(values[place])


def test_large_arguments_are_read_from_the_store(cluster: Dask, tmp_path: Path) -> None:
    large = np.arange(3_000_000)
    with tl.run("large", executor=cluster, store=tmp_path / "store") as run:
        assert tl.map(picked, range(20), values=large).results() == list(range(20))
        arrays = tl.map(sized, [1, 2])
        assert tl.map(picked, [3], values=arrays[1]).results() == [2]
    stored = [path.stat().st_size for path in (tmp_path / "store/objects").rglob("*")]
    assert sum(size > large.nbytes for size in stored) == 1
    assert run.executed == 23


@task
def with_parts(x: int) -> int:
    print("parts", x)
    return int(sized(x)[0]) + sum(tl.map(square, [x, x + 1]).results())


@pytest.mark.skipif(not os.path.isdir("/proc/self/cwd"), reason="the folder is one by process")
def test_workers_that_cannot_reach_the_store_send_what_they_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    with Dask(n_workers=1) as ours:
        worker = subprocess.Popen(
            [sys.executable, "-m", "tasklineage", "worker", ours.client.scheduler.address],
            cwd=tmp_path / "there", env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        ours.client.wait_for_workers(2, timeout=60)
        near = next(
            address
            for address, cwd in ours.client.run(os.getcwd).items()
            if cwd != str(tmp_path / "there")
        )
        ours.client.retire_workers([near], close_workers=True, remove=True)
        monkeypatch.chdir(tmp_path / "here")
        try:
            with (
                Dask(ours.client.scheduler.address) as far,
                tl.run("far", executor=far, store="/proc/self/cwd/store") as run,
            ):
                assert tl.map(with_parts, range(30)).results() == [
                    x + x * x + (x + 1) ** 2 for x in range(30)
                ]
                arrays = tl.map(sized, range(40, 44)).results()
                assert [int(one[-1]) for one in arrays] == [40, 41, 42, 43]
                large = np.arange(300_000)
                assert tl.map(picked, [0, 7], values=large).results() == [0, 7]
                fan = tl.map(refuses, [5], on_error="collect")
                assert str(fan.failures[0].error) == "no 5"
        finally:
            os.killpg(worker.pid, signal.SIGINT)  # as Ctrl-C in its terminal
            _, said = worker.communicate(timeout=30)
        assert "Traceback" not in said
        assert "killing" not in said  # what it would say of a worker that does not end
        assert not list((tmp_path / "there").iterdir())
        calls = list(run.calls)
        assert {call.stdout for call in calls if call.task == with_parts.name} == {
            f"parts {x}\n" for x in range(30)
        }
        assert sum(call.status == "done" for call in calls) >= 64
        with tl.run("near", executor="inline", store="/proc/self/cwd/store") as again:
            tl.map(with_parts, range(30)).results()
            assert int(sized(40)[0]) == 40
        assert (again.executed, again.hits) == (0, 31)


class Unusual(Exception):
    """Of the project; Dask has told `copyreg` how it travels."""


@task
def may_raise(x: int) -> int:
    if x < 0:
        raise Unusual(x)
    return x


def test_a_code_version_is_the_same_whether_dask_is_there_or_not(cluster: Dask) -> None:
    copyreg = pytest.importorskip("copyreg")
    assert cluster.client.status == "running"
    with_dask = may_raise.code_version
    told = copyreg.dispatch_table.pop(Unusual, None)
    try:
        fresh = task(may_raise.__wrapped__, name=may_raise.name)
        assert fresh.code_version == with_dask
    finally:
        if told is not None:
            copyreg.dispatch_table[Unusual] = told


def test_a_copy_of_a_cluster_that_has_not_begun_is_that_cluster() -> None:
    unstarted = Dask(n_workers=3, gpus=2)
    content = pickle.dumps(unstarted)
    assert pickle.loads(content) is unstarted
    del unstarted
    elsewhere = pickle.loads(content)
    assert repr(elsewhere) == "Dask(n_workers=3)"
