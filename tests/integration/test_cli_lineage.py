"""`whence`, `lineage` and `graph` as a shell sees them."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tasklineage as tl
from tasklineage import task
from tests.integration.shell import Shell

ROOT = Path(__file__).resolve().parents[2]


@task
def rows(count: int) -> list[list[int]]:
    return [[i, i * i] for i in range(count)]


@task
def report(table: list[list[int]], title: str = "a table") -> str:
    # one line for each row
    return "\n".join([title, *(f"{a},{b}" for a, b in table)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that holds what a task returned."""
    with tl.run("weekly"):
        text = report(rows(20))
    path = tmp_path / "table.csv"
    path.write_text(text)
    return path


def test_whence_tells_call_code_inputs_and_environment_of_a_file(shell: Shell, file: Path) -> None:
    run = tl.latest("weekly")
    assert run is not None
    printed = shell("whence", str(file))
    call = run["report"]
    for expected in (
        f"{call.id}  {__name__}.report  done", f"{run.id}  weekly", "def report(",
        "# one line for each row", "table  list: [[0, 0]", "<- rows",
        "str: 'a table'", run.python, run.host,
        "came from", f"rows(count=20)  done  {run['rows'].id}",
    ):  # fmt: skip
        assert expected in printed, expected


def test_whence_prints_json_for_programs(shell: Shell, file: Path) -> None:
    answer = shell.json("whence", str(file))
    assert answer["kind"] == "whence"
    assert answer["call"]["task"] == f"{__name__}.report"
    assert "def report(" in answer["call"]["source"]
    assert list(answer["call"]["inputs"]) == ["table", "title"]
    assert answer["run"]["name"] == "weekly"
    assert answer["subject"]["kind"] == "artifact"
    assert [node["kind"] for node in answer["nodes"]] == ["call", "call", "artifact"]
    assert [(e["path"], e["via"]) for e in answer["edges"]] == [
        ("table", "identity"), ("", "result"),
    ]  # fmt: skip
    known = {node["id"] for node in answer["nodes"]}
    assert all({e["producer"], e["consumer"]} <= known for e in answer["edges"])


def test_whence_of_a_hit_names_the_call_that_computed_it(shell: Shell, file: Path) -> None:
    with tl.run("again") as again:
        report(rows(20))
    hit = again["report"]
    printed = shell("whence", hit.id)
    assert hit.producer is not None
    assert re.search(rf"call +{hit.producer.id}", printed)
    assert re.search(rf"hit +{hit.id}", printed)
    assert re.search(r"run +\w+  weekly", printed)
    answer = shell.json("whence", hit.id)
    assert answer["call"]["producer"] == hit.producer.id


def test_whence_of_a_common_value_counts_its_producers(shell: Shell) -> None:
    @task
    def even(n: int) -> bool:
        return n % 2 == 0

    for n in range(5):
        even(n)
    call = tl.calls(even)[0]
    assert call.output is not None
    printed = shell("whence", call.output.digest)
    assert re.search(r"given by\n  .*even  3 calls", printed)
    assert shell.json("whence", call.output.digest)["counts"] == {call.task: 3}


DRAW = """
import sys
import tasklineage as tl
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt

@tl.task
def squares(n: int) -> list[int]:
    return [i * i for i in range(n)]

@tl.task
def draw(heights: list[int], colour: str) -> tl.File:
    figure, axes = plt.subplots()
    axes.plot(heights, color=colour)
    figure.savefig("fig.png")
    return tl.File("fig.png")

with tl.run("paper"):
    draw(squares(30), colour="red")
"""


def test_a_figure_tells_where_it_came_from_in_a_new_process(tmp_path: Path, isolated: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "draw.py").write_text(DRAW)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "draw.py"], cwd=tmp_path, env=environment, check=True)
    command = "from tasklineage.cli.main import main; main()"
    printed = subprocess.run(
        [sys.executable, "-c", command, "whence", "fig.png"],
        cwd=tmp_path, env=environment, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for expected in (
        ".draw  done", "paper", "colour   str: 'red'", "axes.plot(heights, color=colour)",
        "draw.py", "squares(n=30)", "distributions: tasklineage env ", platform.python_version(),
    ):  # fmt: skip
        assert expected in printed, printed


def test_a_value_that_was_only_given_says_to_whom(shell: Shell, tmp_path: Path) -> None:
    @task
    def words(path: tl.File) -> int:
        return len(path.text().split())

    data = tmp_path / "data.txt"
    data.write_text("some words")
    words(tl.File(data))
    printed = shell("whence", str(data))
    assert "no call has made it; it was given to" in printed
    assert tl.calls(words)[0].id in printed


def test_lineage_looks_both_ways(shell: Shell, file: Path) -> None:
    run = tl.latest("weekly")
    assert run is not None
    source = run["rows"].id
    assert "report" not in shell("lineage", source)
    assert "table -> report(title='a table')" in shell("lineage", source, "--direction", "down")
    both = shell.json("lineage", source, "-d", "both")
    assert both["kind"] == "lineage"
    assert len(both["nodes"]) == 2
    assert len(shell.json("lineage", run["report"].id, "--depth", "0")["nodes"]) == 1
    assert shell.json("lineage", run["report"].id, "--limit", "1")["cut"] is True


@pytest.mark.parametrize(
    ("form", "begins"),
    [("text", "report("), ("mermaid", "flowchart LR\n"), ("dot", "digraph lineage {\n"),
     ("svg", "<svg "), ("json", '{\n  "version": 1')],
)  # fmt: skip
def test_graph_prints_every_form(shell: Shell, file: Path, form: str, begins: str) -> None:
    run = tl.latest("weekly")
    assert run is not None
    for id in (run.id, run["report"].id):
        printed = shell("graph", id, "--format", form)
        assert printed.startswith(begins)
        assert "rows" in printed
        assert "report" in printed


def test_what_is_unknown_is_exit_code_3(shell: Shell, file: Path) -> None:
    assert "is not a file" in shell.error("whence", "nowhere.png", code=3)
    other = file.with_name("other.csv")
    other.write_text("something else")
    assert "does not know the content of" in shell.error("whence", str(other), code=3)


def test_an_artifact_has_a_lineage_and_no_graph(shell: Shell, file: Path) -> None:
    run = tl.latest("weekly")
    assert run is not None
    output = run["report"].output
    assert output is not None
    assert "see lineage" in shell.error("graph", output.digest, code=2)


def test_names_cannot_forge_lines_of_the_output(shell: Shell) -> None:
    @task(name="m.a\n\x1b[2Jcall  forged")
    def f(x: list[int]) -> list[int]:
        return [*x, 1]

    with tl.run("r\n\x1b[31m") as run:
        f([1])
    for command in ("whence", "lineage", "graph"):
        printed = shell(command, run.roots[0].id)
        assert "\x1b" not in printed
        assert "\ncall  forged" not in printed
