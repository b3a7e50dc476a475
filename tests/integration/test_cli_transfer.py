"""`push`, `pull`, `export` and `import` as a shell sees them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tasklineage as tl
from tasklineage import task
from tests.integration.shell import Shell


@task
def text(count: int) -> str:
    return "a line\n" * count


@pytest.fixture
def run() -> tl.Run:
    with tl.run("weekly") as run:
        text(10_000)
    return run


def test_push_and_pull_say_what_was_sent(shell: Shell, run: tl.Run, tmp_path: Path) -> None:
    there = tmp_path / "there"
    would = shell("push", there, "--dry-run")
    assert not there.exists()
    said = shell("push", there)
    assert would == f"would send {said}"
    sent = re.fullmatch(r"1 run, 1 call, (\d objects), \d+\.?\d* kB; 0 objects were there\n", said)
    assert sent is not None
    assert shell("push", there) == f"0 runs, 0 calls, 0 objects, 0 B; {sent[1]} were there\n"
    assert shell("runs", "--store", there).count("weekly") == 1
    assert shell("pull", there, run.id, "--store", tmp_path / "new").startswith("1 run, 1 call")
    assert shell("runs", "--store", tmp_path / "new").count("weekly") == 1


def test_json_says_it_for_programs(shell: Shell, run: tl.Run, tmp_path: Path) -> None:
    answer = json.loads(shell("push", tmp_path / "there", run.id[:14], "--json"))
    assert answer["version"] == 1
    assert (answer["runs"], answer["calls"]) == (1, 1)
    assert answer["objects"] >= 2
    assert (answer["present"], answer["dry_run"], answer["running"]) == (0, False, [])
    assert answer["destination"] == str(tmp_path / "there")


def test_export_and_import_go_through_one_file(shell: Shell, run: tl.Run, tmp_path: Path) -> None:
    file = tmp_path / "weekly.tar"
    assert shell("export", file, run["text"].id).startswith("1 run, 1 call")
    shell("export", file, code=1)
    assert "there already" in shell.err
    shell("export", file, "--yes")
    assert shell("import", file, "--dry-run", "--store", tmp_path / "a").startswith("would send 1")
    assert not (tmp_path / "a").exists()
    assert shell("import", file, "--store", tmp_path / "a").startswith("1 run, 1 call")
    assert shell("import", file, "--store", tmp_path / "a").startswith("0 runs, 0 calls")
    assert tl.calls(text, store=tmp_path / "a")[0].result == "a line\n" * 10_000


def test_exit_codes(shell: Shell, run: tl.Run, tmp_path: Path) -> None:
    shell("push", code=2)
    shell("push", tmp_path / "there", "fedcba", code=3)
    shell("pull", tmp_path / "nowhere", code=3)
    shell("import", tmp_path / "nothing.tar", code=3)
    shell("push", tmp_path / "there", "--store", tmp_path / "nowhere", code=3)
    shell("push", run.store.url, code=2)
    (tmp_path / "no.tar").write_bytes(b"no archive")
    shell("import", tmp_path / "no.tar", code=1)
    for path in (run.store.path / "objects").rglob("*"):
        if path.is_file() and path.stat().st_size > 50_000:
            path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert shell("push", tmp_path / "there", code=5).startswith("1 run, 1 call, ")
    assert " damaged: " in shell.err


def test_a_run_that_goes_on_is_told(shell: Shell, tmp_path: Path) -> None:
    with tl.run("going") as run:
        text(3)
        shell("push", tmp_path / "there")
        assert run.id in shell.err


def test_refs_go_through_a_file_and_conflicts_are_told(
    shell: Shell, run: tl.Run, tmp_path: Path
) -> None:
    tl.tag(run, "weekly/last")
    assert " 1 ref, " in shell("export", tmp_path / "x.tar", "weekly/last")
    assert " 1 ref, " in shell("import", tmp_path / "x.tar", "--store", tmp_path / "a")
    assert "weekly/last" in shell("refs", "--store", tmp_path / "a")
    with tl.run("another", store=tmp_path / "a") as other:
        text(5)
    with tl.run("third") as third:
        text(6)
    tl.tag(third, "weekly/last")
    tl.tag(other, "weekly/last", store=tmp_path / "a")
    shell("push", tmp_path / "a", code=1)
    assert "'weekly/last' was not moved" in shell.err
    answer = json.loads(shell("push", tmp_path / "a", "--json", code=1))
    assert answer["conflicts"][0]["ours"] == f"run {third.id}"


def test_a_run_that_was_killed_goes_from_a_process_without_the_engine(tmp_path: Path) -> None:
    program = (
        "import os, tasklineage as tl\nwith tl.run('killed', store='here'):\n    os._exit(9)",
        "import tasklineage as tl\nassert tl.push('there', store='here').runs == 1",
    )
    codes = [subprocess.run([sys.executable, "-c", p], cwd=tmp_path).returncode for p in program]
    assert codes == [9, 0]
    assert [run.status for run in tl.runs(store=tmp_path / "there")] == ["killed"]
