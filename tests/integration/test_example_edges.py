"""Every edge of the example programs, when they execute and when all of it hits."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

import tasklineage as tl
from tasklineage import Lineage

ROOT = Path(__file__).resolve().parents[2]
GENRES = (
    "action", "animation", "comedy", "drama", "fantasy", "horror", "science fiction", "superheroes",
)  # fmt: skip

Edges = list[tuple[str, str, str, str]]

pytestmark = pytest.mark.slow

EXPECTED: dict[str, Edges] = {
    "branches/branches.py": [
        ("start", "count_words", "state", "identity"),
        ("start", "count_lines", "state", "identity"),
        *[
            (f"count_{branch}", merge, f"inputs.{branch}", "future")
            for branch in ("words", "lines")
            for merge in ("merge_all", "merge_titled")
        ],
    ],
    "collatz/collatz.py": [
        ("steps", "longest", f"counts[{i}]", "future") for i in range(1000)
    ],
    "counter/counter.py": [
        ("start", "increment", "count", "future"),
        ("increment", "increment", "count", "future"),
        ("increment", "increment", "count", "future"),
    ],
    "marathon/marathon.py": [("seconds", "gains", f"times[{i}]", "future") for i in range(12)],
    "movies/movies.py": [
        ("read", "split", "films", "identity"),
        *[("split", "summarise", "films", "identity") for _ in GENRES],
        *[("summarise", "table", f"summaries.{genre}", "future") for genre in GENRES],
    ],
    "planets/planets.py": [],
    "wine/train.py": [
        ("load", "split", "features", "identity"),
        ("load", "split", "classes", "identity"),
        ("split", "train_knn", "wines", "identity"),
        ("split", "train_svm", "wines", "identity"),
        ("train_knn", "choose", "candidates.knn", "future"),
        ("train_svm", "choose", "candidates.svm", "future"),
    ],
}  # fmt: skip
FAILS = ("marathon/marathon.py",)
Start = Callable[[], tl.Run]


@pytest.fixture(params=sorted(EXPECTED))
def script(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name.startswith("wine"):
        pytest.importorskip("sklearn")
    return name


@pytest.fixture
def start(script: str, tmp_path: Path) -> Start:
    """Runs the example and gives the run that it made."""
    folder = shutil.copytree(ROOT / "examples" / Path(script).parent, tmp_path / "example")
    store = tmp_path / "store"

    def run() -> tl.Run:
        done = subprocess.run(
            [sys.executable, Path(script).name],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "TASKLINEAGE_STORE": str(store)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == 1) == (script in FAILS), done.stderr
        found = tl.latest(namespace="*", store=store)
        assert found is not None
        return found

    return run


def edges_of(found: Lineage) -> Edges:
    def name(node: object) -> str:
        assert isinstance(node, tl.Call)
        return node.task.rpartition(".")[2]

    return sorted((name(e.producer), name(e.consumer), e.path, e.via) for e in found.edges)


def _without_via(edges: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return sorted(edge[:3] for edge in edges)


def test_every_edge_of_the_example(script: str, start: Start) -> None:
    first = start().graph()
    assert edges_of(first) == sorted(EXPECTED[script])
    again = start()
    assert again.hits > again.executed
    assert _without_via(edges_of(again.graph())) == _without_via(EXPECTED[script])
