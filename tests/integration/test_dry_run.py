"""`tasklineage run --dry-run`: plain code runs, tasks do not, and nothing is recorded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import tasklineage as tl
from tasklineage import task

def keep(x):
    return x > 0

@task
def load(n):
    open("executed", "a").write("load ")
    return list(range(n))

@task
def clean(xs):
    open("executed", "a").write("clean ")
    return [x for x in xs if keep(x)]

@task
def square(x):
    return x * x

@task
def fit(xs, lr=0.5):
    return sum(xs) * lr

def main(n: int = 4):
    xs = load(n)
    print("loaded", len(xs))
    fitted = fit(clean(xs))
    joined = tl.join(fit, tl.map(square, range(5)))
    print("before")
    print(fitted + 1)
    print("after", joined)

if __name__ == "__main__":
    tl.cli(main)
"""


def shell(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TASKLINEAGE_STORE": str(folder / "store"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", "tasklineage.cli.main", *args], cwd=folder, env=environment,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in (folder / "store" / "journal").rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in files}


def statuses(answer: Any) -> list[tuple[str, str]]:
    return [(call["task"].rpartition(".")[2], call["status"]) for call in answer["calls"]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(SCRIPT)
    return tmp_path


def edit(project: Path, old: str, new: str) -> None:
    text = (project / "train.py").read_text()
    assert old in text
    (project / "train.py").write_text(text.replace(old, new))


def test_where_nothing_was_ever_run_nothing_is_made(project: Path) -> None:
    done = shell(project, "run", "train.py", "--dry-run")
    assert done.returncode == 1
    assert "execute __main__.load: first call" in done.stdout
    assert "on it depends on the result of __main__.load, which would execute" in done.stdout
    assert sorted(path.name for path in project.iterdir()) == ["train.py"]


def test_when_all_are_hits_it_comes_to_the_end(project: Path) -> None:
    assert shell(project, "run", "train.py").returncode == 0
    before = content(project)
    done = shell(project, "run", "train.py", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "after" in done.stdout
    assert "0 would execute, 9 hits, 0 unknown" in done.stdout
    assert done.stderr == ""
    assert content(project) == before


def test_after_an_edit_it_says_what_executes_and_where_it_stops(project: Path) -> None:
    shell(project, "run", "train.py")
    (project / "executed").unlink()
    edit(project, "x > 0", "x > 1")
    before = content(project)
    done = shell(project, "run", "--dry-run", "--json", "train.py")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["version"] == 1
    found = statuses(answer)
    assert found[:3] == [("load", "hit"), ("clean", "execute"), ("fit", "unknown")]
    assert found.count(("square", "hit")) == 5
    assert ("fit", "hit") in found
    (cause,) = answer["calls"][1]["causes"]
    assert (cause["kind"], cause["name"]) == ("function", "__main__.keep")
    line = SCRIPT.splitlines().index("    print(fitted + 1)") + 1
    assert f"from line {line} of train.py on" in answer["note"]
    assert "before" in done.stderr
    assert not (project / "executed").exists()
    assert content(project) == before


def test_what_depends_on_a_map_that_would_execute_is_unknown(project: Path) -> None:
    shell(project, "run", "train.py")
    edit(project, "x * x", "x ** 2")
    done = shell(project, "run", "--dry-run", "--json", "train.py")
    found = statuses(json.loads(done.stdout))
    assert found.count(("square", "execute")) == 5
    assert ("fit", "unknown") in found
    assert ("fit", "hit") in found


def test_one_task_is_planned_with_its_parameters(project: Path) -> None:
    assert shell(project, "run", "train.py:load", "--n", "3").returncode == 0
    hit = shell(project, "run", "train.py:load", "--n", "3", "--dry-run")
    assert hit.returncode == 0, hit.stderr
    assert "hit     train.load" in hit.stdout
    missed = shell(project, "run", "--dry-run", "train.py:load", "--n", "4")
    assert missed.returncode == 1
    assert "execute train.load: argument n: 3 is now 4" in missed.stdout
    assert "line" not in missed.stdout


ALIASES = """
import asyncio
import tasklineage as tl
from tasklineage import task

@task
async def slow(x):
    return x + 1

@task
async def outer(x):
    return await slow(x), await slow(x + 1)

@task
def step(x):
    return x * 2

alias = step
other = step.options(tags=("t",))

class Model:
    @task
    def fit(self, x):
        return x

@task
def both(x: int = 3):
    return asyncio.run(outer(x)), alias(x), other(x), Model().fit(x)

def main(x: int = 3):
    awaited = asyncio.run(gathered(x))
    print("known", both(x), awaited)

async def gathered(x):
    return await asyncio.gather(slow(x), outer(x))

if __name__ == "__main__":
    tl.cli(main)
"""


def test_aliases_methods_and_asynchronous_tasks_are_planned(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(ALIASES)
    dry = ("run", "train.py", "--dry-run")
    assert shell(tmp_path, *dry).returncode == 1
    done = shell(tmp_path, "run", "train.py")
    assert done.returncode == 0, done.stderr
    again = shell(tmp_path, *dry)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "known" in again.stdout
    before = content(tmp_path)
    script.write_text(ALIASES.replace("x * 2", "x * 3"))
    answer = json.loads(shell(tmp_path, *dry, "--json").stdout)
    assert statuses(answer) == [("slow", "hit"), ("outer", "hit"), ("both", "execute")]
    both = answer["calls"][-1]
    assert [cause["name"] for cause in both["causes"]] == ["__main__.step"]
    assert sorted(statuses({"calls": both["children"]})) == [
        ("fit", "hit"), ("outer", "hit"), ("step", "execute"), ("step", "execute")
    ]  # fmt: skip
    script.write_text(ALIASES.replace("x + 1\n", "x + 9\n"))
    answer = json.loads(shell(tmp_path, *dry, "--json").stdout)
    assert ("slow", "execute") in statuses(answer)
    assert content(tmp_path) == before


@pytest.mark.parametrize("name", ["alias", "other", "slow", "both"])
def test_a_task_is_planned_under_each_of_its_names(tmp_path: Path, name: str) -> None:
    (tmp_path / "train.py").write_text(ALIASES)
    form = ("run", f"train.py:{name}", "--x", "5")
    planned = shell(tmp_path, *form, "--dry-run")
    assert planned.returncode == 1
    assert "would execute" in planned.stdout
    assert "typer" not in planned.stdout + planned.stderr
    assert "frozen" not in planned.stdout + planned.stderr
    assert shell(tmp_path, *form).returncode == 0
    planned = shell(tmp_path, *form, "--dry-run")
    assert planned.returncode == 0, planned.stdout
