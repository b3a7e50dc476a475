"""`call.rerun()`: a recorded call, made again with what was recorded."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import textwrap
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tasklineage as tl
from tasklineage import task

COUNT = {"executed": 0}


@task
def plain(a: int, b: int = 2, *rest: int, c: int = 3, **more: int) -> tuple[Any, ...]:
    return a, b, rest, c, more


@task
def only_by_place(a: int, b: int = 2, /, *, c: int = 3) -> tuple[int, ...]:
    return a, b, c


@task
async def later(x: int) -> int:
    await asyncio.sleep(0)
    return x + 1


@task(name="another.name")
def renamed(x: int) -> int:
    return x


@dataclass
class Scaler:
    factor: int

    @task
    def scale(self, x: int) -> int:
        return x * self.factor

    @staticmethod
    @task
    def twice(x: int) -> int:
        return 2 * x

    @classmethod
    @task
    def made(cls, x: int) -> int:
        return cls(x).factor


def last(run: tl.Run) -> tl.Call:
    return run.calls[-1]


def test_it_gives_what_the_call_gave_and_records_nothing() -> None:
    with tl.run() as run:
        value = plain(1, 2, 5, 6, c=4, d=7)
    assert last(run).rerun() == value
    assert len(tl.calls()) == 1


@pytest.mark.parametrize("make", [
    lambda: plain(1), lambda: only_by_place(1, 5, c=6), lambda: asyncio.run(later(1)),
    lambda: renamed(4), lambda: Scaler(3).scale(4), lambda: Scaler.twice(4), lambda: Scaler.made(4),
    lambda: tl.join(joining, [1, 2]),
])  # fmt: skip
def test_every_kind_of_task_can_be_made_again(make: Any) -> None:
    with tl.run() as run:
        value = make()
    assert last(run).rerun() == value


def lambda_free(inputs: Any) -> int:
    return sum(inputs)


joining = task(lambda_free)


def test_overrides_take_the_place_of_recorded_values() -> None:
    with tl.run() as run:
        plain(1, 2, 5, c=4, d=7)
    assert last(run).rerun(a=9, rest=(), e=8) == (9, 2, (), 4, {"d": 7, "e": 8})
    with tl.run() as run:
        Scaler(3).scale(4)
    assert last(run).rerun(self=Scaler(5)) == 20


def test_a_parameter_that_is_not_there_is_a_type_error() -> None:
    with tl.run() as run:
        renamed(1)
    with pytest.raises(TypeError, match=r"no parameter 'y'; it has: x"):
        last(run).rerun(y=1)


def test_a_failed_call_fails_again_with_its_own_traceback() -> None:
    @task
    def fails(items: list[int]) -> None:
        items.append(1)
        raise LookupError(len(items))

    with tl.run() as run, pytest.raises(LookupError):
        fails([1])
    for _ in range(2):
        with pytest.raises(LookupError, match="2") as caught:
            last(run).rerun()
        assert caught.traceback[-1].name == "fails"
        assert caught.value.__cause__ is None


def test_options_play_no_part_unless_it_is_recorded() -> None:
    @task(retries=2, catch=ValueError, default=-1)
    def fails(x: int) -> int:
        COUNT["executed"] += 1
        raise ValueError(x)

    with tl.run() as run:
        assert fails(1) == -1
    COUNT["executed"] = 0
    with pytest.raises(ValueError):
        last(run).rerun()
    assert COUNT["executed"] == 1
    assert last(run).rerun(record=True) == -1
    assert COUNT["executed"] == 4


def test_recorded_it_executes_and_is_a_call_of_the_present_run() -> None:
    with tl.run() as first:
        plain(1)
    with tl.run() as second:
        assert last(first).rerun(record=True, a=5) == plain.__wrapped__(5)
        last(first).rerun(record=True)
    assert [call.status for call in second.calls] == ["done", "done"]
    assert second.calls[0].args["a"] == 5
    assert plain.cached(5)


def test_a_hit_is_made_again_with_its_producers_arguments() -> None:
    with tl.run():
        plain(1, 7)
    with tl.run() as run:
        plain(1, 7)
    assert last(run).hit
    assert last(run).rerun() == plain.__wrapped__(1, 7)


def test_children_are_hits() -> None:
    @task
    def parent(x: int) -> Any:
        return [renamed(x), tl.map(renamed, [x])]

    with tl.run() as run:
        parent(3)
    with tl.run() as again:
        assert run["parent"].rerun() == [3, [3]]
    assert [call.hit for call in again.calls] == [True, True]


def test_a_described_argument_is_missing_unless_another_is_given() -> None:
    @task
    def total(data: np.ndarray, scale: float = 1.0) -> float:
        return float(data.sum()) * scale

    with tl.run() as run:
        total(np.ones(100_000))
    with pytest.raises(tl.MissingObject, match=r"'data'.*total.*store_args=True.*rerun\(data="):
        last(run).rerun()
    assert last(run).rerun(data=np.ones(3), scale=2.0) == 6.0


def test_edited_code_runs_with_a_warning() -> None:
    def make(text: str) -> Any:
        space: dict[str, Any] = {"__name__": __name__, "task": task}
        exec(textwrap.dedent(text), space)
        return space["edited"]

    old = make("@task\ndef edited(x):\n    return x + 1")
    with tl.run() as run:
        old(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert last(run).rerun() == 2
    new = make("@task\ndef edited(x):\n    return x + 2")
    with pytest.warns(UserWarning, match=r"the code of .*edited is not what it was"):
        assert last(run).rerun() == 3
    assert new is not old


def test_a_call_that_was_never_made_has_no_arguments() -> None:
    @task
    def fails() -> int:
        raise LookupError

    with tl.run() as run, pytest.raises(LookupError):
        renamed.submit(fails.submit()).result()
    (skipped,) = tl.calls(run=run, status="skipped")
    with pytest.raises(tl.NotFound, match="is skipped: its arguments were not recorded"):
        skipped.rerun()


def test_a_function_that_is_gone_is_named() -> None:
    def define() -> tl.Run:
        @task
        def inner(x: int) -> int:
            return x

        with tl.run() as run:
            inner(1)
        return run

    run = define()
    gc.collect()
    with pytest.raises(tl.NotFound, match="inner was defined inside a function"):
        last(run).rerun()


SCRIPT = """
import sys
import tasklineage as tl
from helper import double

class Model:
    def __init__(self, k):
        self.k = k

@tl.task
def f(x, model=None):
    import beside
    if x < 0:
        raise ValueError(f"negative: {x}")
    return double(x) + beside.ONE, model and model.k

if __name__ == "__main__":
    print("main ran")
    with tl.run("first"):
        f(2, Model(5))
        double(4)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "script.py").write_text(SCRIPT)
    (folder / "helper.py").write_text(
        "import tasklineage as tl\n@tl.task\ndef double(x):\n    return 2 * x\n"
    )
    (folder / "beside.py").write_text("ONE = 1\n")
    subprocess.run([sys.executable, "script.py"], cwd=folder, check=True, capture_output=True)
    return folder


def command(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tasklineage.cli.main", *args],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def call_id(task: str, cwd: Path) -> str:
    listed = json.loads(command("calls", "--task", task, "--json", cwd=cwd).stdout)
    return str(listed["calls"][-1]["id"])


def test_the_command_makes_a_call_of_a_script_again(project: Path, tmp_path: Path) -> None:
    id = call_id("f", tmp_path)
    done = command("rerun", id, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "(5, 5)\n"), done.stderr
    assert "main ran" not in done.stdout
    done = command("rerun", id[:20], "--x", "10", cwd=tmp_path)
    assert done.stdout == "(21, 5)\n"


def test_the_script_is_loaded_with_the_arguments_that_it_had(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import sys\nimport tasklineage as tl\nCOUNT = int(sys.argv[1])\n"
        "@tl.task\ndef f(x):\n    return x + COUNT\n"
        "if __name__ == '__main__':\n    f(1)\n"
    )
    subprocess.run([sys.executable, "script.py", "40"], cwd=tmp_path, check=True)
    done = command("rerun", call_id("f", tmp_path), cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "41"), done.stderr


def test_the_command_finds_tasks_in_modules_beside_the_script(
    project: Path, tmp_path: Path
) -> None:
    done = command("rerun", call_id("double", tmp_path), "--x=5", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "10\n"), done.stderr


def test_the_command_ends_with_1_and_the_traceback_when_it_raises(
    project: Path, tmp_path: Path
) -> None:
    done = command("rerun", call_id("f", tmp_path), "--x", "-1", cwd=tmp_path)
    assert done.returncode == 1
    assert "ValueError: negative: -1" in done.stderr
    assert "script.py" in done.stderr
    assert f"{os.sep}tasklineage{os.sep}" not in done.stderr


def test_the_command_records_on_request(project: Path, tmp_path: Path) -> None:
    done = command("rerun", call_id("f", tmp_path), "--record", "--x", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    runs = list(tl.runs())
    assert [run.name for run in runs] == ["first", "first"]
    assert [call.task for call in runs[0].roots] == ["__main__.f"]
    assert runs[0]["f"].args["x"] == 3


def test_the_command_refuses_what_is_no_call_or_no_parameter(project: Path, tmp_path: Path) -> None:
    assert command("rerun", tl.runs()[0].id, cwd=tmp_path).returncode == 2
    assert command("rerun", "ffffffff", cwd=tmp_path).returncode == 3
    done = command("rerun", call_id("f", tmp_path), "--nothing", "1", cwd=tmp_path)
    assert done.returncode == 2
    assert "--nothing" in done.stderr


def test_a_script_that_is_gone_is_named(project: Path, tmp_path: Path) -> None:
    id = call_id("f", tmp_path)
    (project / "script.py").unlink()
    done = command("rerun", id, cwd=tmp_path)
    assert done.returncode == 3
    assert "was defined in the script script.py" in done.stderr
