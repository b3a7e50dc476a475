"""`tasklineage diff` as a shell sees it."""

from __future__ import annotations

import json

import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.cli.main import main


@task
def scale(x: int, factor: int = 2) -> dict[str, int]:
    return {"x": x, "scaled": x * factor}


def shell(capsys: pytest.CaptureFixture[str], *args: str, code: int) -> tuple[str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(args)
    printed = capsys.readouterr()
    assert (ended.value.code or 0) == code, printed
    return printed.out, printed.err


@pytest.fixture
def runs() -> list[tl.Run]:
    found = []
    for factor in (2, 4, 4):
        with tl.run("nightly", params={"factor": factor}) as run:
            tl.tag(scale(3, factor), "result")
        found.append(run)
    return found


def test_what_differs_is_printed_and_exits_with_1(
    capsys: pytest.CaptureFixture[str], runs: list[tl.Run]
) -> None:
    text, _ = shell(capsys, "diff", runs[0].id, runs[1].id, code=1)
    assert text.splitlines()[1] == "~ param factor: 2 is now 4"
    assert "argument factor: 2 is now 4" in text
    text, _ = shell(capsys, "diff", "result@1", "result", code=1)
    assert text.splitlines()[1:] == ["~ ['scaled']: 6 is now 12"]


def test_what_is_the_same_exits_with_0(
    capsys: pytest.CaptureFixture[str], runs: list[tl.Run]
) -> None:
    text, _ = shell(capsys, "diff", runs[1].id, runs[2].id, code=0)
    assert text.endswith("nothing differs\n")


def test_json_says_the_same(capsys: pytest.CaptureFixture[str], runs: list[tl.Run]) -> None:
    text, _ = shell(capsys, "diff", runs[0].id, runs[1].id, "--json", code=1)
    said = json.loads(text)
    assert (said["version"], said["kind"], said["differs"]) == (1, "run", True)
    assert (said["a"], said["b"]) == (runs[0].id, runs[1].id)
    assert [one["name"] for one in said["changed"]] == ["factor", "scale"]
    assert said["changed"][1]["before"] == runs[0]["scale"].id


def test_what_is_not_there_exits_with_3_and_two_kinds_with_2(
    capsys: pytest.CaptureFixture[str], runs: list[tl.Run]
) -> None:
    assert "neither a ref nor an id" in shell(capsys, "diff", "x", runs[0].id, code=3)[1]
    assert "artifact, run" in shell(capsys, "diff", "result", runs[0].id, code=2)[1]
