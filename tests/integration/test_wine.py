"""The wine example, as its README tells it: run, run again, edit, predict."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="the example needs scikit-learn")

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A copy of the example's folder, to be edited."""
    return Path(shutil.copytree(ROOT / "examples" / "wine", tmp_path / "wine"))


def python(script: Path, *arguments: str, cwd: Path | None = None) -> str:
    """What a script prints, run by a new interpreter."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, script, *arguments],
        cwd=cwd or script.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def counts(output: str) -> tuple[int, int]:
    """(executed, hits) as `train.py` prints them."""
    found = re.search(r"executed (\d+), hits (\d+)", output)
    assert found, output
    return int(found[1]), int(found[2])


def edit(script: Path, change: Callable[[str], str]) -> None:
    before = script.read_text("utf-8")
    after = change(before)
    assert after != before, "the edit must find its place"
    script.write_text(after, "utf-8")


def test_a_second_run_executes_nothing_and_finds_the_same_model(example: Path) -> None:
    first = python(example / "train.py")
    second = python(example / "train.py")
    assert counts(first) == (5, 0)
    assert counts(second) == (0, 5)
    assert first.splitlines()[0] == second.splitlines()[0]


def test_after_an_edit_of_one_branch_only_what_depends_on_it_executes(example: Path) -> None:
    train = example / "train.py"
    python(train)
    edit(train, lambda text: text.replace("neighbors: int = 5", "neighbors: int = 7"))
    assert counts(python(train)) == (2, 3)  # train_knn and choose; not load, split, train_svm
    edit(train, lambda text: text.replace("neighbors: int = 7", "neighbors: int = 5"))
    assert counts(python(train)) == (0, 5)


def test_after_an_edit_of_a_shared_helper_both_branches_execute(example: Path) -> None:
    train = example / "train.py"
    python(train)
    edit(train, lambda text: text.replace('"accuracy": accuracy}', '"accuracy": accuracy, "v": 2}'))
    assert counts(python(train)) == (3, 2)


def test_an_edit_of_comments_and_docstrings_executes_nothing(example: Path) -> None:
    train = example / "train.py"
    python(train)
    edit(train, lambda text: text.replace('"""The class of most', '"""By vote: the class of most'))
    edit(train, lambda text: text.replace("@task\ndef load", "# the data\n\n\n@task\ndef load"))
    assert counts(python(train)) == (0, 5)


def test_the_latest_model_predicts_the_class_of_a_vector(example: Path) -> None:
    python(example / "train.py")
    assert python(example / "predict.py").splitlines()[0] == "class_0"
    third = "12.86 1.35 2.32 18 122 1.51 1.25 .21 .94 4.1 .76 1.29 630".split()
    assert python(example / "predict.py", *third).splitlines()[0] == "class_2"


def test_predicting_before_training_says_what_to_do(example: Path) -> None:
    done = subprocess.run(
        [sys.executable, example / "predict.py"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "run train.py first" in done.stderr


def test_the_store_is_found_upward_from_the_working_directory(
    example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TASKLINEAGE_STORE")
    inner = example / "inner"
    inner.mkdir()
    assert counts(python(example / "train.py", cwd=example)) == (5, 0)
    assert (example / ".tasklineage").is_dir()
    assert counts(python(example / "train.py", cwd=inner)) == (0, 5)
    assert not (inner / ".tasklineage").exists()
