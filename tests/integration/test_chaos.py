"""Workers that are killed, stopped, or crash, all the time, while a map goes on."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tasklineage as tl
from tasklineage import task
from tests.integration.orphans import Process, children_of, is_alive, numbered, workers_of

COUNT = 500
PAUSE = 0.8
"""Seconds from one death to the next."""


@task(ignore=["folder"], retries=0)
def fragile(x: int, folder: str) -> int:
    with open(os.path.join(folder, "begun"), "a") as file:
        file.write(f"{x}\n")
    time.sleep(0.02)
    once = Path(folder, f"crashed-{x}")
    if x % 100 == 50 and not once.exists():
        once.touch()
        if x % 200 == 50:
            os._exit(7)
        ctypes.string_at(0)
    return x * x


class Chaos(threading.Thread):
    """Sends signals to one of these processes again and again, until it is told to stop.

    It waits for some progress in between: on a slow machine nobody would ever come to anything.
    """

    def __init__(self, pids: Callable[[], list[Process]], signals: list[int], begun: Path) -> None:
        super().__init__(daemon=True)
        self.seen: set[Process] = set()
        self.sent: list[int] = []
        self._pids = pids
        self._signals = signals
        self._begun = begun
        self._size = 0
        self._over = threading.Event()
        self._random = random.Random(5)

    def run(self) -> None:
        while not self._over.wait(PAUSE):
            with contextlib.suppress(OSError, IndexError):  # nobody is there at this moment
                if self._begun.stat().st_size < self._size + 60:
                    continue
                found = self._pids()
                self.seen.update(found)
                number = self._signals[len(self.sent) % len(self._signals)]
                os.kill(self._random.choice(found).pid, number)
                self.sent.append(number)
                self._size = self._begun.stat().st_size

    def __enter__(self) -> Chaos:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def dask_workers(others: list[Process]) -> list[Process]:
    """The worker processes of a cluster that this process has begun after these."""
    return [
        worker
        for launcher in workers_of(os.getpid())
        if launcher not in others
        for worker in children_of(launcher.pid)
        if b"spawn_main" in worker.command
    ]


@pytest.mark.parametrize(
    ("name", "signals"),
    [
        ("processes", [signal.SIGKILL]),
        ("dask", [signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP]),
    ],
    ids=["processes", "dask"],
)
def test_a_map_is_finished_whatever_becomes_of_the_workers(
    name: str, signals: list[int], tmp_path: Path
) -> None:
    others = workers_of(os.getpid())  # of clusters of other tests
    executor: Any = tl.Processes(3)
    if name == "dask":
        pytest.importorskip("distributed")
        executor = tl.Dask(n_workers=3)
        executor.client.wait_for_workers(3, timeout=60)

    def workers() -> list[Process]:
        if name == "dask":
            return dask_workers(others)
        return list(map(numbered, executor.pids()))

    with (
        tl.run("chaos", executor=executor, store=tmp_path / "store") as run,
        Chaos(workers, signals, tmp_path / "begun") as chaos,
    ):
        found = tl.map(fragile, range(COUNT), folder=str(tmp_path)).results()
    assert found == [x * x for x in range(COUNT)]
    executor.shutdown()
    calls = list(run.calls)
    begun = Counter((tmp_path / "begun").read_text().split())
    assert Counter(call.args["x"] for call in calls) == Counter(range(COUNT))
    assert {call.status for call in calls} == {"done"}
    for call in calls:
        statuses = [attempt.status for attempt in call.attempts]
        assert set(statuses[:-1]) <= {"lost"}, statuses
        assert begun[str(call.args["x"])] <= max(1, len(statuses))
    assert chaos.sent
    assert begun["50"] >= 2
    deadline = time.monotonic() + 150
    while left := list(filter(is_alive, chaos.seen)):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
