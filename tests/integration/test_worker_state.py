"""What a body does to its worker process, and what it begins there, is nothing to other calls."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.executors.processes import Processes


@pytest.fixture(scope="module")
def pool() -> Iterator[Processes]:
    """Two processes for all tests of this module."""
    with Processes(2) as pool:
        yield pool


# Copies that a body forks.


def lives_on(folder: str) -> None:
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    Path(folder, "pid").write_text(str(pid))


def has_a_shell_begin(folder: str) -> None:
    os.system(f"sleep 60 & echo $! > {folder}/pid")


@pytest.mark.parametrize("begin", [lives_on, has_a_shell_begin])
def test_a_lost_worker_is_noticed_although_what_its_call_began_lives_on(
    pool: Processes, tmp_path: Path, begin: Callable[[str], None]
) -> None:
    @task(ignore=["folder"])
    def begins(folder: str) -> str:
        if Path(folder, "pid").exists():
            return "again"
        begin(folder)
        os.kill(os.getpid(), signal.SIGKILL)
        return ""

    began = time.monotonic()
    with tl.run(executor=pool):
        assert begins.submit(str(tmp_path)).result() == "again"
    assert time.monotonic() - began < 50
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


@task
def forks(x: int, end: str) -> int:
    pid = os.fork()
    if pid == 0:
        print("in the copy")
        if end == "exit":
            sys.exit(3)
        if end == "raise":
            raise ValueError("in the copy")
        return -1
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize(("end", "status"), [("return", 0), ("exit", 3), ("raise", 1)])
def test_a_copy_that_comes_to_the_end_of_the_body_ends(
    pool: Processes, end: str, status: int
) -> None:
    with tl.run(executor=pool) as run:
        assert tl.map(forks, range(30), end=end).results() == [status] * 30
    assert {(call.status, call.result) for call in run.calls} == {("done", status)}


def test_a_plain_work_may_fork_too(pool: Processes) -> None:
    def forks() -> int:
        pid = os.fork()
        return 7 if pid == 0 else os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert [pool.submit(forks).result() for _ in range(3)] == [0, 0, 0]


# Surroundings.


@task
def wanders(x: int) -> tuple[str | None, str, str]:
    found = os.environ.get("WANDERED"), os.getcwd(), sys.path[0]
    os.environ["WANDERED"] = str(x)
    os.chdir("/")
    sys.path.insert(0, "/nowhere")
    return found


def test_calls_that_travel_together_find_the_surroundings_of_the_driver(pool: Processes) -> None:
    with tl.run(executor=pool):
        found = set(tl.map(wanders, range(200)))
    assert found == {(None, os.getcwd(), sys.path[0])}


# Code and the state of modules.


def from_file(path: Path, text: str) -> ModuleType:
    path.write_text(text)
    sys.modules.pop(path.stem, None)
    importlib.invalidate_caches()
    return importlib.import_module(path.stem)


STATEFUL = """
import os, time
import tasklineage as tl

SEEN = {{}}

@tl.task
def remembers(x):
    if x not in SEEN:
        SEEN[x] = {value}
    return len(SEEN)

@tl.task
def of_process(x):
    time.sleep({pause})
    return {value}, os.getpid()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of modules; those that were loaded from it are forgotten."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setitem(sys.modules, "stateful", ModuleType("stateful"))
    return tmp_path


@pytest.mark.filterwarnings("ignore:.*SEEN in place")
def test_a_call_finds_the_state_of_the_driver_whatever_others_made_of_it(
    pool: Processes, folder: Path
) -> None:
    stateful = from_file(folder / "stateful.py", STATEFUL.format(value=1, pause=0))
    with warnings.catch_warnings(record=True) as warned, tl.run(executor=pool) as run:
        warnings.simplefilter("always")
        assert [stateful.remembers.submit(x).result() for x in range(3)] == [1, 1, 1]
        tl.map(stateful.remembers, range(3, 60)).results()
    assert run.executed == 60
    assert [str(one.message) for one in warned if "SEEN" in str(one.message)] == [
        "stateful.remembers changes stateful.SEEN in place, so its calls are never memos: return "
        "the changed value instead"
    ]
    with tl.run(executor=pool) as run:
        stateful.remembers.submit(1).result()
    assert run.executed == 1


def test_a_task_that_came_by_value_needs_no_new_process_to_find_its_state(pool: Processes) -> None:
    @task
    def remembers(x: int) -> tuple[int, int]:
        seen.append(x)
        return len(seen), os.getpid()

    seen: list[int] = []
    with warnings.catch_warnings(), tl.run(executor=pool):
        warnings.simplefilter("ignore")
        found = [remembers.submit(x).result() for x in range(12)]
    assert {length for length, _ in found} == {1}
    assert len({pid for _, pid in found}) <= 2


def test_warm_workers_with_other_code_all_give_way(folder: Path) -> None:
    stateful = from_file(folder / "stateful.py", STATEFUL.format(value=1, pause=0.3))
    with Processes(2) as pool, tl.run(executor=pool):
        found = tl.map(stateful.of_process, range(4)).results()
        warm = {pid for _, pid in found}
        assert len(warm) == 2
        stateful = from_file(folder / "stateful.py", STATEFUL.format(value=1000, pause=0))
        value, pid = stateful.of_process.submit(0).result()
        assert (value, pid in warm) == (1000, False)


# Beginnings.


def test_a_worker_that_cannot_begin_is_a_lost_one_however_much_it_was_sent() -> None:
    script = """
import os
import tasklineage as tl

@tl.task
def length(text):
    return len(text)

os.environ["PYTHONHOME"] = "/nowhere"
try:
    length.submit("x" * 900_000, ).result()
except tl.WorkerLost as error:
    print(error.exitcode)
"""
    environ = {**os.environ, "TASKLINEAGE_EXECUTOR": "processes:1"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.stdout == "1\n", done.stderr
