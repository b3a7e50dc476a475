"""What `du` says adds up to the bytes on the disk, and is put down to the right owners."""

from __future__ import annotations

from pathlib import Path

import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.errors import ConfigError
from tasklineage.storage.opening import open_store
from tasklineage.storage.refs import Target
from tasklineage.storage.store import Store
from tasklineage.storage.usage import KINDS, Usage, usage
from tests.integration.shell import Shell


@task
def blob(n: int) -> bytes:
    return bytes([n]) * 100_000


@task
def pair(n: int) -> list[bytes]:
    return [blob(n), b"x" * 50_000 + bytes([n])]


def on_disk(root: Path) -> int:
    return sum(path.lstat().st_size for path in root.rglob("*") if not path.is_dir())


def added_up(found: Usage) -> int:
    own = sum(row.exclusive for row in found.rows)
    return own + found.shared + found.unneeded + found.other


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)  # in no working tree, whose differences would be stored too
    here = open_store(tmp_path / "store")
    with tl.run("first", store=here, tags=("a", "b")):
        blob(1)
        pair(2)
    with tl.run("second", store=here, tags=("b",)):
        blob(1)
        blob(3)
    with tl.run("third", store=here):
        pair(2)
    return here


@pytest.mark.parametrize("by", KINDS)
def test_rows_add_up_to_the_bytes_on_disk(store: Store, by: str) -> None:
    (store.path / "objects" / "tmp" / "left").write_bytes(b"y" * 1234)
    found = usage(store, by)
    assert found.total == on_disk(store.path) == added_up(found)
    assert all(value >= 0 for value in (found.shared, found.unneeded, found.other))
    assert found.other >= 1234


def test_a_value_that_a_run_alone_needs_is_exclusive_to_it(store: Store) -> None:
    rows = {row.name: row for row in usage(store, "run").rows}
    second = rows[tl.latest("second", store=store).id]  # type: ignore[union-attr]
    assert 100_000 <= second.exclusive < 110_000, "blob(3)"
    assert 100_000 <= second.shared < 140_000, "blob(1) and what the environment was"


def test_a_hit_shares_what_it_was_answered_with(store: Store) -> None:
    rows = {row.name: row for row in usage(store, "run").rows}
    third = rows[tl.latest("third", store=store).id]  # type: ignore[union-attr]
    assert 150_000 <= third.shared < 190_000, "pair(2), and what the environment was"
    assert third.exclusive < 10_000


def test_by_task_parts_are_shared_with_the_task_that_made_them(store: Store) -> None:
    rows = {row.name.rpartition(".")[2]: row for row in usage(store, "task").rows}
    assert 200_000 <= rows["blob"].exclusive < 210_000, "blob(1) and blob(3)"
    assert 100_000 <= rows["blob"].shared < 110_000, "blob(2), a part of pair(2)"
    assert 50_000 <= rows["pair"].exclusive < 60_000


def test_by_tag_and_by_type(store: Store) -> None:
    tags = {row.name: row for row in usage(store, "tag").rows}
    assert set(tags) == {"a", "b", "(no tag)"}
    assert tags["b"].exclusive >= 100_000, "blob(3) is of no run with another tag"
    types = {row.name: row for row in usage(store, "type").rows}
    assert types["bytes"].exclusive >= 200_000
    assert types["list"].exclusive >= 50_000


def test_what_nothing_refers_to_is_told_apart(store: Store) -> None:
    store.put(b"z" * 70_000, bytes(16))
    assert 70_000 <= usage(store).unneeded < 71_000


def test_an_unknown_division_is_a_usage_error(store: Store) -> None:
    with pytest.raises(ConfigError, match="by task, run, tag, type"):
        usage(store, "colour")


def test_the_command_prints_a_table_or_json(store: Store, command: Shell) -> None:
    told = command("du", "--by", "run")
    assert "second" in told
    assert "total" in told
    answer = command.json("du")
    assert answer["total"] == on_disk(store.path)
    own = sum(row["exclusive"] for row in answer["rows"])
    assert own + answer["shared"] + answer["unneeded"] + answer["other"] == answer["total"]
    command("du", "--by", "colour", code=2)


def test_what_only_a_ref_or_a_pin_keeps_is_told_so(store: Store) -> None:
    alone = store.put(b"t" * 80_000, bytes([1]) * 16)
    store.refs.move("kept", Target("artifact", bytes([1]) * 16, alone))
    (named,) = [row for row in usage(store).rows if row.name == "(pins and refs)"]
    assert 80_000 <= named.exclusive < 81_000
    run = tl.latest("first", store=store)
    assert run is not None
    store.refs.move("a run", Target("run", bytes.fromhex(run.id)))
    store.refs.move("kept", Target("deleted"))
    assert usage(store).unneeded >= 80_000
