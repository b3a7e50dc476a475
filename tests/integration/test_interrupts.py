"""Ctrl-C: the first lets calls in flight finish and be stored, the second cancels them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import tasklineage as tl
from tests.integration.orphans import is_alive, workers_of

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0

PROGRAM = """
    import os, time
    import tasklineage as tl
    from tasklineage import task

    @task
    def work(number: int) -> int:
        note("begun", number)
        time.sleep(float(os.environ["SECONDS"]))
        note("ended", number)
        return number

    @task
    def outer(number: int) -> int:
        return sum(tl.map(work, [10 * number + i for i in range(4)]))

    @task
    def one_elsewhere(number: int) -> int:
        return work.options(executor="processes:1")(number)

    @task
    def some_elsewhere(number: int) -> int:
        return sum(tl.map(one_elsewhere, [10 * number + i for i in range(4)]))

    def note(what: str, number: int) -> None:
        fd = os.open(os.environ["LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(fd, f"{what} {number}\\n".encode())
        os.close(fd)

    kind = os.environ["KIND"]
    with tl.run("interrupted"):
        if kind == "map":
            print(sum(tl.map(work, range(40))))
        elif kind == "collect":
            print(len(tl.map(work, range(40), on_error="collect").results()))
        elif kind == "nested":
            print(sum(tl.map(outer, range(10))))
        elif kind == "queued":
            print(sum(tl.map(some_elsewhere, range(10))))
        else:
            futures = [work.submit(number) for number in range(40)]
            print(sum(future.result() for future in futures))
"""


class Program:
    """The program in a process of its own, as a terminal starts it: a group of its own."""

    def __init__(self, folder: Path, executor: str, kind: str, seconds: float) -> None:
        self.script = folder / "program.py"
        self.script.write_text(textwrap.dedent(PROGRAM), "utf-8")
        self.store = folder / "store"
        self.log = folder / "log"
        self.log.touch()
        self.process = subprocess.Popen(
            [sys.executable, str(self.script)],
            cwd=folder,
            env=os.environ
            | {"PYTHONPATH": str(ROOT), "TASKLINEAGE_STORE": str(self.store), "KIND": kind}
            | {"TASKLINEAGE_EXECUTOR": executor, "SECONDS": str(seconds), "LOG": str(self.log)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def noted(self, what: str) -> list[int]:
        """The numbers of the calls that have begun, or ended."""
        lines = map(str.split, self.log.read_text("utf-8").splitlines())
        return [int(number) for kind, number in lines if kind == what]

    def interrupt(self) -> None:
        """Ctrl-C: everybody in the group gets the signal."""
        os.killpg(self.process.pid, signal.SIGINT)

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE
        while not is_so():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < until
            time.sleep(0.01)

    def interrupt_twice(self) -> None:
        """Ctrl-C, and once more at once; it ends by that."""
        self.interrupt()
        time.sleep(0.1)
        self.interrupt()
        _, err = self.end()
        assert "KeyboardInterrupt" in err

    def end(self) -> tuple[str, str]:
        return self.process.communicate(timeout=PATIENCE)


@pytest.mark.parametrize("executor", ["threads:2", "processes:2"])
@pytest.mark.parametrize("kind", ["map", "collect", "nested", "submit"])
def test_the_first_lets_calls_in_flight_finish(tmp_path: Path, executor: str, kind: str) -> None:
    program = Program(tmp_path, executor, kind, 0.3)
    program.wait_until(lambda: len(program.noted("ended")) >= 3)
    workers = workers_of(program.process.pid)
    program.interrupt()
    _, err = program.end()
    assert "KeyboardInterrupt" in err
    assert program.process.returncode == -signal.SIGINT
    assert not any(map(is_alive, workers))

    begun, ended = program.noted("begun"), program.noted("ended")
    assert sorted(begun) == sorted(ended)  # nothing was torn
    assert len(begun) < 40
    (run,) = tl.runs(store=program.store)
    assert run.status == "interrupted"
    statuses = Counter(call.status for call in run.calls)
    assert set(statuses) <= {"done", "cancelled"}
    work = [call for call in run.calls if call.task.endswith("work")]
    done = {call.args["number"] for call in work if call.status == "done"}
    assert done == set(ended)

    again = Program(tmp_path, executor, kind, 0.0)
    out, err = again.end()
    assert again.process.returncode == 0, err
    total = len({10 * i + j for i in range(10) for j in range(4)}) if kind == "nested" else 40
    executed = program.noted("begun")[len(begun) :]
    assert not done & set(executed)
    assert len(done) + len(set(executed)) == total
    assert len(executed) == len(set(executed))
    numbers = [10 * i + j for i in range(10) for j in range(4)] if kind == "nested" else range(40)
    assert int(out) == (40 if kind == "collect" else sum(numbers))


@pytest.mark.parametrize(
    ("executor", "kind"),
    [
        ("processes:2", "map"), ("processes:2", "nested"), ("processes:2", "submit"),
        ("dask:2", "nested"),
    ],
)  # fmt: skip
def test_the_second_cancels_them(tmp_path: Path, executor: str, kind: str) -> None:
    if executor.startswith("dask"):
        pytest.importorskip("distributed")
    program = Program(tmp_path, executor, kind, 3600.0)
    program.wait_until(lambda: len(program.noted("begun")) >= 2)
    workers = workers_of(program.process.pid)
    assert workers
    program.interrupt()
    time.sleep(0.5)  # it waits for them
    assert program.process.poll() is None
    assert all(map(is_alive, workers))
    program.interrupt()
    _, err = program.end()
    assert "KeyboardInterrupt" in err
    assert not any(map(is_alive, workers))
    (run,) = tl.runs(store=program.store)
    assert run.status == "interrupted"
    statuses = Counter(call.status for call in run.calls if not call.parent_id)
    assert set(statuses) == {"cancelled"}
    assert statuses.total() >= 2
    inside = {call.status for call in run.calls if call.parent_id}
    assert inside <= {"lost", "cancelled"}

    again = Program(tmp_path, "threads:2", kind, 0.0)
    _, err = again.end()
    assert again.process.returncode == 0, err
    second = tl.latest("interrupted", store=program.store)
    assert second is not None
    assert (second.status, second.hits) == ("done", 0)


def test_the_second_cancels_what_is_queued_elsewhere(tmp_path: Path) -> None:
    program = Program(tmp_path, "threads:2", "queued", 3600.0)
    program.wait_until(lambda: len(program.noted("begun")) >= 1)
    program.interrupt_twice()
    assert len(program.noted("begun")) == 1
    (run,) = tl.runs(store=program.store)
    assert {call.status for call in run.calls} == {"cancelled"}


def test_the_second_ends_maps_inside_of_calls_in_threads(tmp_path: Path) -> None:
    program = Program(tmp_path, "threads:2", "nested", 0.5)
    program.wait_until(lambda: len(program.noted("begun")) >= 2)
    program.interrupt_twice()
    begun = program.noted("begun")
    assert sorted(begun) == sorted(program.noted("ended"))  # a thread cannot be killed
    assert len(begun) < 8  # of the two maps that had begun
    (run,) = tl.runs(store=program.store)
    assert run.status == "interrupted"
    assert {call.status for call in run.calls if not call.parent_id} == {"cancelled"}
