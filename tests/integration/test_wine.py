"""The wine example, as its README tells it: run, run again, edit, predict."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

pytest.importorskip("sklearn", reason="the example needs scikit-learn")

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


class Trained(NamedTuple):
    """The store of one first run of `train.py`, and what that printed."""

    store: Path
    output: str


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Made once; tests work on copies."""
    store = tmp_path_factory.mktemp("trained") / "store"
    script = ROOT / "examples" / "wine" / "train.py"
    return Trained(store, python(script, TASKLINEAGE_STORE=str(store)))


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A copy of the example's folder, to be edited."""
    return Path(shutil.copytree(ROOT / "examples" / "wine", tmp_path / "wine"))


@pytest.fixture
def train(example: Path, trained: Trained, store_path: Path) -> Path:
    """A copy of `train.py` that has been run once."""
    shutil.copytree(trained.store, store_path)
    return example / "train.py"


def python(script: Path, *arguments: str, cwd: Path | None = None, **environment: str) -> str:
    """What a script prints, run by a new interpreter."""
    done = subprocess.run(
        [sys.executable, script, *arguments],
        cwd=cwd or script.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
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


def test_a_second_run_executes_nothing_and_finds_the_same_model(
    train: Path, trained: Trained
) -> None:
    second = python(train)
    assert counts(trained.output) == (5, 0)
    assert counts(second) == (0, 5)
    assert second.splitlines()[0] == trained.output.splitlines()[0]


def test_after_an_edit_of_one_branch_only_what_depends_on_it_executes(train: Path) -> None:
    edit(train, lambda text: text.replace("neighbors: int = 5", "neighbors: int = 7"))
    assert counts(python(train)) == (2, 3)  # train_knn and choose; not load, split, train_svm
    edit(train, lambda text: text.replace("neighbors: int = 7", "neighbors: int = 5"))
    assert counts(python(train)) == (0, 5)


def test_after_an_edit_of_a_shared_helper_both_branches_execute(train: Path) -> None:
    edit(train, lambda text: text.replace('"accuracy": accuracy}', '"accuracy": accuracy, "v": 2}'))
    assert counts(python(train)) == (3, 2)


def test_an_edit_of_comments_and_docstrings_executes_nothing(train: Path) -> None:
    edit(train, lambda text: text.replace('"""The class of most', '"""By vote: the class of most'))
    edit(train, lambda text: text.replace("@task\ndef load", "# the data\n\n\n@task\ndef load"))
    assert counts(python(train)) == (0, 5)


def test_the_latest_model_predicts_the_class_of_a_vector(train: Path) -> None:
    predict = train.with_name("predict.py")
    third = "12.86 1.35 2.32 18 122 1.51 1.25 .21 .94 4.1 .76 1.29 630".split()
    assert python(predict).splitlines()[0] == "class_0"
    assert python(predict, *third).splitlines()[0] == "class_2"


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
    monkeypatch.delenv("TASKLINEAGE_STORE", raising=False)
    inner = example / "inner"
    inner.mkdir()
    assert counts(python(example / "train.py", cwd=example)) == (5, 0)
    assert (example / ".tasklineage").is_dir()
    assert counts(python(example / "train.py", cwd=inner)) == (0, 5)
    assert not (inner / ".tasklineage").exists()
