"""What a call took is recorded with it: CPU time, and in a worker process memory."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

import tasklineage as tl
from tasklineage import task
from tasklineage.cli.main import application
from tasklineage.core import metering
from tasklineage.core.metering import Meter, Meters
from tests.compat import golden

MB = 1_000_000


@pytest.fixture
def one() -> Iterator[tl.Processes]:
    with tl.Processes(1) as pool:
        yield pool


def compute(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


@task
def busy(seconds: float) -> float:
    compute(seconds)
    return seconds


@task
def idle(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@pytest.mark.parametrize("executor", ["inline", "threads:2", "processes:2"])
def test_cpu_time_is_that_of_computing_and_not_of_waiting(executor: str) -> None:
    with tl.run(executor=executor) as run:
        tl.map(busy, [0.2]).results()
        tl.map(idle, [0.2, 0.2, 0.2]).results()
    assert 0.2 <= (run["busy"].cpu_time or 0) < 5
    assert all(call.cpu_time is not None for call in run.calls)
    waited = [call.cpu_time or 0 for call in run.calls if call.task.endswith("idle")]
    assert len(waited) == 3
    assert max(waited) < 0.15


@task(retries=2)
def third_time() -> int:
    compute(0.1)
    current = tl.current_call()
    if current and current.attempt < 2:
        raise ValueError
    return 3


@pytest.mark.parametrize("executor", ["inline", "processes:1"])
def test_attempts_are_added_up(executor: str) -> None:
    with tl.run(executor=executor) as run:
        third_time.submit().result()
    assert (run["third_time"].cpu_time or 0) >= 0.3


@task
def failing() -> None:
    compute(0.1)
    raise ValueError("no")


def test_a_failed_call_took_something_too() -> None:
    with tl.run() as run, pytest.raises(ValueError, match="no"):
        failing()
    assert (run["failing"].cpu_time or 0) >= 0.1


@task
def starting() -> int:
    code = "import time\nwhile time.process_time() < 0.3: pass"
    return subprocess.run([sys.executable, "-c", code], check=True).returncode


def test_processes_that_a_call_has_waited_for_are_among_it(one: tl.Processes) -> None:
    with tl.run(executor=one) as run:
        starting.submit().result()
    assert (run["starting"].cpu_time or 0) >= 0.3


@task
def allocating(megabytes: int) -> int:
    return len(bytearray(b"x") * (megabytes * MB))


@task
def parent(before: int, child: int) -> int:
    return allocating(before) + slowly(child)


@task
def slowly(megabytes: int) -> int:
    content = bytearray(b"x") * (megabytes * MB)
    time.sleep(0.01)
    return len(content)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells it on Linux only")
def test_peak_memory_is_that_of_the_call_and_not_of_its_worker(one: tl.Processes) -> None:
    with tl.run(executor=one) as run:
        for megabytes in (1, 300, 2, 100):
            allocating.submit(megabytes).result()
    first, large, small, medium = [call.peak_memory or 0 for call in run.calls]
    assert 250 * MB < large - first < 400 * MB
    assert large - small > 250 * MB
    assert 50 * MB < medium - small < 200 * MB
    assert 5 * MB < first < 300 * MB


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells it on Linux only")
def test_calls_inside_of_a_call_have_peaks_of_their_own(one: tl.Processes) -> None:
    with tl.run(executor=one) as run:
        parent.submit(300, 100).result()
        parent.submit(1, 200).result()
    first, second = run.roots
    whole, child = first.peak_memory or 0, first.children[1].peak_memory or 0
    assert whole - child > 150 * MB
    assert (second.children[1].peak_memory or 0) - child > 50 * MB
    assert second.peak_memory == second.children[1].peak_memory


def test_memory_that_calls_share_is_nobodys() -> None:
    with tl.run() as run:
        tl.map(allocating, [1, 2]).results()
        allocating(3)
    assert {call.peak_memory for call in run.calls} == {None}
    assert {call.peak_gpu_memory for call in run.calls} == {None}


def test_a_hit_tells_what_its_producer_took(one: tl.Processes) -> None:
    with tl.run(executor=one) as first:
        busy.submit(0.11).result()
    with tl.run() as second:
        busy(0.11)
    hit, producer = second["busy"], first["busy"]
    assert hit.hit
    assert (hit.cpu_time, hit.peak_memory) == (producer.cpu_time, producer.peak_memory)


async def asked(seconds: float) -> float:
    compute(seconds)
    return seconds


def test_on_a_loop_that_coroutines_share_nothing_is_known() -> None:
    async def main() -> None:
        await task(asked)(0.01)

    with tl.run() as run:
        asyncio.run(main())
    (call,) = run.calls
    assert call.cpu_time is None


def test_records_without_it_are_read(tmp_path: Path) -> None:
    root = shutil.copytree(golden.STORE, tmp_path / "store")
    for call in tl.calls(store=root, namespace="*"):
        assert (call.cpu_time, call.peak_memory, call.peak_gpu_memory) == (None, None, None)


def test_the_command_line_and_notebooks_show_it(one: tl.Processes) -> None:
    with tl.run(executor=one) as run:
        busy.submit(0.12).result()
    call = run["busy"]
    url = str(call.store.url)
    shown = CliRunner().invoke(application(), ["show", call.id, "--store", url]).stdout
    assert "cpu time" in shown
    told = CliRunner().invoke(application(), ["show", call.id, "--json", "--store", url]).stdout
    details = json.loads(told)["call"]
    assert details["cpu_time"] == call.cpu_time
    assert details["peak_memory"] == call.peak_memory
    assert details["peak_gpu_memory"] is None
    assert details["worker"] == call.worker
    assert call.worker in shown
    assert call.worker.split(":")[1] == str(one.pids()[0])
    assert "cpu time" in call._repr_html_()
    if sys.platform == "linux":
        assert "peak memory" in shown


class _Cuda:
    """What `torch.cuda` says of two devices."""

    def __init__(self) -> None:
        self.now = [0, 0]
        self.most = [0, 0]

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return 2

    def reset_peak_memory_stats(self, device: int) -> None:
        self.most[device] = self.now[device]

    def max_memory_allocated(self, device: int) -> int:
        return self.most[device]

    def allocate(self, device: int, nbytes: int) -> None:
        self.now[device] += nbytes
        self.most[device] = max(self.most[device], self.now[device])


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> _Cuda:
    fake = _Cuda()
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=fake))  # type: ignore[arg-type]
    return fake


def test_memory_of_gpus_is_the_most_during_the_call(cuda: _Cuda) -> None:
    cuda.allocate(0, 10)
    cuda.allocate(0, -10)
    outer = Meter(is_outermost=True)
    cuda.allocate(0, 5)
    cuda.allocate(1, 3)
    cuda.allocate(0, -5)
    time.sleep(0.003)
    inner = Meter()
    cuda.allocate(1, 1)
    time.sleep(0.003)
    assert inner.end()[2] == 4
    assert outer.end()[2] == 8
    assert Meters.running == []


def test_without_a_device_in_use_there_is_none() -> None:
    meter = Meter(is_outermost=True)
    assert meter.end()[2] == 0


@task(resources={"GPU": 1})
def on_gpu(nbytes: int) -> int:
    sys.modules["torch"].cuda.allocate(0, nbytes)  # type: ignore[attr-defined]
    return nbytes


def test_a_task_that_asks_for_a_gpu_tells_its_memory_in_a_thread_too(
    cuda: _Cuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with tl.run() as run:
        on_gpu(1234)
    assert run["on_gpu"].peak_gpu_memory == 1234


@pytest.mark.parametrize(
    ("at_first", "at_last", "expected"),
    [((500, 100), (500, 120), 120), ((500, 100), (700, 90), 700), ((100, 100), (300, 90), 300)],
)
def test_a_maximum_that_the_kernel_keeps_is_not_taken_for_that_of_a_call(
    monkeypatch: pytest.MonkeyPatch,
    at_first: tuple[int, int],
    at_last: tuple[int, int],
    expected: int,
) -> None:
    said = iter((at_first, at_last))
    monkeypatch.setattr(metering, "_resident", lambda: 0)
    monkeypatch.setattr(metering, "_status", lambda: next(said))
    monkeypatch.setattr(Meters, "in_use", True)
    monkeypatch.setattr(Meters, "is_reset", False)
    assert Meter(is_outermost=True).end()[1] == expected


@task
def which() -> tuple[int, str]:
    return os.getpid(), threading.current_thread().name


@pytest.mark.parametrize("executor", ["inline", "threads:2", "processes:2"])
def test_a_call_tells_where_it_ran(executor: str) -> None:
    with tl.run(executor=executor) as run:
        pid, thread = which.submit().result()
    expected = f"{platform.node()}:{pid}:{thread}"
    in_program = (pid, thread) == (os.getpid(), threading.main_thread().name)
    assert run["which"].worker == ("" if in_program else expected)
    shown = CliRunner().invoke(application(), ["show", run["which"].id]).stdout
    assert in_program or expected in shown.replace("\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells it on Linux only")
def test_a_call_that_takes_no_memory_has_what_its_process_had(one: tl.Processes) -> None:
    with tl.run(executor=one) as run:
        tl.map(add, range(200)).results()
        allocating.submit(200).result()
        tl.map(add, range(200, 400)).results()
    peaks = [call.peak_memory or 0 for call in run.calls]
    large = peaks.pop(200)
    assert min(peaks) > 5 * MB
    assert large - max(peaks) > 150 * MB


@task
def add(x: int) -> int:
    return x + 1
