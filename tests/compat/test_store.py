"""Stores of every format version stay readable, and by programs that know only the page on it."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest

import tasklineage as tl
from tasklineage.errors import StoreError
from tasklineage.storage import format as layout
from tasklineage.storage.fsck import check
from tasklineage.storage.records import KINDS
from tests.compat import golden, reader


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the golden store: reading makes indexes."""
    return Path(shutil.copytree(golden.STORE, tmp_path / "store"))


def files(root: Path) -> dict[str, bytes]:
    found = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal to the last detail."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    if isinstance(one, BaseException):
        return one.args == other.args
    if hasattr(one, "func"):
        return (one.func, one.keywords) == (other.func, other.keywords)
    return bool(one == other)


def test_todays_code_writes_what_it_wrote_then(tmp_path: Path) -> None:
    golden.make(tmp_path)
    now, then = files(tmp_path), files(golden.STORE)
    changed = {name for name in then if now.get(name) != then[name]}
    # Digests of instances of a class of the project change with its code, and with Python's.
    assert {name.partition("/")[0] for name in changed} <= {"journal", "objects"}
    assert then["format"] == layout.content()


def test_the_golden_store_has_every_kind_of_record() -> None:
    kinds = {record.kind for record in reader.read_journal(golden.STORE)}
    assert kinds >= {0, *range(1, 14)}
    assert kinds <= {0, *KINDS}


def test_every_value_is_read_back(root: Path) -> None:
    store = tl.open_store(root)
    calls = {call.task.removeprefix("pkg."): call for call in tl.calls(store=store, namespace="*")}
    for name, expected in golden.values().items():
        assert same(calls[name].result, expected), name
    assert calls["file"].result.text() == "the content of a file\n" * 3
    assert calls["folder"].result.digest
    assert calls["failed"].status == "failed"
    assert calls["failed"].error is not None
    assert calls["failed"].error.message == "no"
    assert calls["lost"].status == "lost"


def test_what_happened_is_told(root: Path) -> None:
    (run,) = tl.runs(store=root, namespace="*")
    assert (run.name, run.status, run.user, run.tags) == ("golden", "done", "ada", ("second",))
    assert run.params["grid"] == {"lr": 0.1}
    assert (run.hits, run.failed, run.differing) == (1, 1, 1)
    (whole,) = tl.calls("whole", store=root, namespace="*")
    assert [attempt.status for attempt in whole.attempts] == ["failed", "done"]
    assert (whole.stdout, whole.result, whole.args["x"]) == ("printed\n", [7, 8], 7)
    (hit,) = tl.calls(status="hit", store=root, namespace="*")
    assert hit.result == 7
    assert hit.producer is not None
    assert hit.producer.task == "pkg.integer"
    assert tl.load("model/prod", store=root) == -(1 << 80)
    assert [version.kind for version in tl.reflog("model/prod", store=root)] == [
        "artifact", "deleted", "call", "run",
    ]  # fmt: skip


def test_it_is_sound(root: Path) -> None:
    report = check(root, read_data=1.0, decode=True)
    assert [finding for finding in report.findings if finding.is_damage] == []
    assert report.counts["values"] >= len(golden.values()) - 1


def test_another_program_reads_the_golden_store() -> None:
    root, expected = golden.STORE, golden.values()
    assert reader.read_format(root) == {"version": "1", "hash": "xxh3-128"}
    ends = [record for record in reader.read_journal(root) if record.kind == 5]
    found: dict[str, Any] = {}
    for record in ends:
        name, output = record.fields[3].removeprefix("pkg."), record.fields[11]
        if output is not None and output[2] in ("plain", "text", "bytes", "bytearray", "tree"):
            found[name] = output
    left_out = {"standard library", "instance", "large instance", "exception", "pickle"}
    for name in expected.keys() - left_out:
        assert reader.read_value(root, found[name]) == expected[name], name
    versions = reader.read_refs(root)["model/prod"]
    assert [version[2] for version in versions] == ["run", "call", "deleted", "artifact"]


def test_another_program_reads_a_store_of_today(tmp_path: Path) -> None:
    @tl.task
    def made(n: int) -> Any:
        return {"text": "x" * 30_000, "numbers": list(range(n)), "pair": (1, {2})}

    store = tl.open_store(tmp_path / "store")
    with tl.run("today", store=store, tags=("t",)) as run:
        expected = [made(n) for n in (3, 30_000)]
        made(3)
    tl.tag(run, "week/last", store=store)
    records = list(reader.read_journal(store.path))
    assert records[0].kind == 0
    assert records[0].fields[:3] == [1, records[0].writer, 1]
    ends = [record.fields for record in records if record.kind == 5]
    assert [reader.read_value(store.path, end[11]) for end in ends] == expected
    (begun,) = [record.fields for record in records if record.kind == 1]
    assert (begun[0].hex(), begun[1]) == (run.id, "today")
    (hit,) = [record.fields for record in records if record.kind == 6]
    assert hit[5] == ends[0][0]
    assert reader.read_refs(store.path)["week/last"][0][3] == begun[0]


@pytest.mark.parametrize(("version", "algorithm"), [(2, "xxh3-128"), (1, "blake3"), (99, "x")])
def test_a_newer_store_is_refused_and_left_alone(
    root: Path, version: int, algorithm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from tasklineage.cli.main import main

    (root / "format").write_bytes(layout.content(version, algorithm))
    before = files(root)
    with pytest.raises(StoreError, match=f"format version {version} .*upgrade tasklineage"):
        tl.open_store(root)
    with pytest.raises(StoreError, match="upgrade tasklineage"):
        check(root, repair=True)
    for command in (["runs"], ["fsck"], ["fsck", "--repair"], ["du"]):
        with pytest.raises(SystemExit) as ended:
            main([*command, "--store", str(root)])
        assert ended.value.code == 1
        assert "upgrade tasklineage" in capsys.readouterr().err
    assert files(root) == before
