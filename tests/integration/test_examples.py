"""Every example, run in a copy as its README tells it: what executes, and what hits."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tasklineage as tl
from tests.integration.kernels import run_all

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
FOLDERS = sorted(path.name for path in EXAMPLES.iterdir() if any(path.glob("*.*")))

pytestmark = pytest.mark.slow


class Example:
    """A copy of one example, which a user may run and edit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script = folder / f"{folder.name}.py"

    def fails(self, *arguments: str) -> str:
        """What it says on stderr when it fails."""
        done = self._start(*arguments)
        assert done.returncode == 1, done.stdout
        return done.stderr

    def prints(self, *arguments: str) -> str:
        done = self._start(*arguments)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    def counts(self, *arguments: str) -> tuple[int, int]:
        """(executed, hits) as it prints them."""
        output = self.prints(*arguments)
        found = re.search(r"executed (\d+), hits (\d+)", output)
        assert found, output
        return int(found[1]), int(found[2])

    def edit(self, before: str, after: str, file: str | None = None) -> None:
        path = self.folder / file if file else self.script
        text = path.read_text("utf-8")
        assert text.count(before) == 1, "the edit must find its place"
        path.write_text(text.replace(before, after), "utf-8")

    def _start(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, self.script, *arguments],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[str], Example]:
    def copied(name: str) -> Example:
        return Example(shutil.copytree(EXAMPLES / name, tmp_path / name))

    return copied


Copy = Callable[[str], Example]


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_example_says_what_it_shows_and_is_listed(folder: str) -> None:
    assert (EXAMPLES / folder / "README.md").read_text("utf-8").startswith("# ")
    assert f"../examples/{folder}/README.md" in (ROOT / "docs" / "index.md").read_text("utf-8")


def test_counting_further_executes_only_the_new_steps(copy: Copy) -> None:
    counter = copy("counter")
    assert "counted to 3" in counter.prints()
    assert counter.counts() == (0, 4)
    assert counter.counts("5") == (2, 4)
    assert [call.result for call in tl.latest("counter").calls] == [0, 1, 2, 3, 4, 5]


def test_branches_that_differ_in_a_name_conflict_until_it_is_decided(copy: Copy) -> None:
    branches = copy("branches")
    output = branches.prints()
    assert "conflict: the inputs of merge differ in title" in output
    assert "The Tyger, 20 words in 4 lines" in output
    first = tl.latest("branches", status="done")
    assert first["merge_all"].status == "failed"
    assert first["merge_all"].error.type.endswith("MergeConflict")
    assert branches.counts() == (1, 4)
    branches.edit("return tl.merge(inputs)", "return tl.merge(inputs, exclude=('title',))")
    assert branches.counts() == (1, 4)
    assert branches.counts() == (0, 5)
    assert "title" not in tl.latest("branches")["merge_all"].result


def test_one_more_element_of_a_list_is_one_call(copy: Copy) -> None:
    planets = copy("planets")
    assert planets.counts() == (8, 0)
    assert planets.counts() == (0, 8)
    planets.edit("102, 24622),\n", '102, 24622),\n    Planet("Pluto", 0.0130, 1188),\n')
    assert planets.counts() == (1, 8)
    planets.edit('"Mars", 0.642, 3390', '"Mars", 0.642, 3389.5')
    assert planets.counts() == (1, 8)
    planets.edit("EARTH = 9.81", "EARTH = 9.80665")
    assert planets.counts() == (9, 0)


def test_a_wide_map_is_a_call_for_each_element(copy: Copy) -> None:
    collatz = copy("collatz")
    assert "871 takes 178 steps" in collatz.prints()
    assert collatz.counts() == (0, 1001)
    assert collatz.counts("1200") == (201, 1000)
    run = tl.latest("collatz")
    assert run.params == {"limit": 1200}
    assert run.result == (1161, 181)
    assert len(run.calls) == 1201


def test_an_edit_of_one_film_executes_what_depends_on_its_genre(copy: Copy) -> None:
    movies = copy("movies")
    assert movies.counts() == (11, 0)
    assert movies.counts() == (0, 11)
    movies.edit("Titanic,1997,drama,2264", "Titanic,1997,drama,2265", "movies.csv")
    assert movies.counts() == (3, 8)  # the median of its genre is what it was, and so is the table
    movies.edit("King's Speech,2010,drama,414", "King's Speech,2010,drama,415", "movies.csv")
    assert movies.counts() == (4, 7)
    movies.edit("Psycho,1960,horror,50\n", "Psycho,1960,horror,50\n\n", "movies.csv")
    assert movies.counts() == (1, 10)
    movies.edit("{genre:16} {summary", "{genre:20} {summary")
    assert movies.counts() == (1, 10)


def test_the_film_statistics_are_right(copy: Copy) -> None:
    output = copy("movies").prints().splitlines()
    assert output[1].split() == "superheroes 13 1,085 M$ Avengers: Endgame".split()
    assert [line.split()[-1] for line in output if line.startswith("comedy")] == ["Barbie"]


def test_a_mended_script_executes_only_what_was_not_finished(copy: Copy) -> None:
    marathon = copy("marathon")
    assert "IndexError" in marathon.fails()
    assert "IndexError" in marathon.fails()
    failed = tl.latest("marathon")
    assert (failed.status, failed.executed, failed.hits) == ("failed", 1, 12)
    marathon.edit("range(len(times))", "range(len(times) - 1)")
    assert marathon.counts() == (2, 12)
    assert marathon.counts() == (0, 14)
    assert "1925 Albert Michelsen      1576.6 s" in marathon.prints()


def test_a_notebook_executes_nothing_in_a_new_kernel(copy: Copy) -> None:
    pytest.importorskip("sklearn", reason="the example needs scikit-learn")
    folder = copy("notebook").folder
    cells = json.loads((folder / "neighbours.ipynb").read_text("utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    first = "".join(output.stdout for output in run_all(folder, *code))
    assert "executed 16, hits 0" in first
    second = run_all(folder, "1 + 1", *code)
    assert "executed 0, hits 16" in "".join(output.stdout for output in second)
    assert any("image/png" in shown for output in second for shown in output.displays)
    assert sum("text/html" in shown for output in second for shown in output.displays) == 3
