"""Killed or failing at any operation, `Objects.put` leaves an object whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xxhash

from tasklineage.storage import codecs
from tasklineage.storage.object_layout import Header
from tasklineage.storage.objects import MAPPED_FROM, Objects
from tests.crash.killer import KILL, SHORT, sweep

SMALL = b"small" * 100
LARGE = bytes(range(256)) * (MAPPED_FROM // 100)
HEADER = Header("test", "T")


def put_two(root: Path, say: Callable[[str], None]) -> None:
    objects = Objects(root)
    for content in (SMALL, LARGE):
        say(objects.put(HEADER, [content, b"tail"]).hex())


def put_two_for_power(root: Path, say: Callable[[str], None]) -> None:
    objects = Objects(root, durability="power")
    for content in (SMALL, LARGE):
        say(objects.put(HEADER, [content, b"tail"]).hex())


def put_a_damaged_one_again(root: Path, say: Callable[[str], None]) -> None:
    objects = Objects(root)
    oid = objects.put(HEADER, [SMALL, b"tail"])
    say(oid.hex())
    descriptor = os.open(objects.path(oid), os.O_WRONLY | os.O_TRUNC)
    os.close(descriptor)
    objects.put(HEADER, [SMALL, b"tail"])


def read_a_damaged_one(root: Path, say: Callable[[str], None]) -> None:
    objects = Objects(root)
    oid = objects.put(HEADER, [SMALL, b"tail"])
    descriptor = os.open(objects.path(oid), os.O_WRONLY)
    os.write(descriptor, b"?")
    os.close(descriptor)
    try:
        objects.open(oid)
    except Exception as error:
        say(type(error).__name__)


def encode_a_tree(root: Path, say: Callable[[str], None]) -> None:
    ref = codecs.encode(
        [*range(20_000), np.arange(5_000), "x" * 20_000],
        b"d" * 16,
        Objects(root).put,
        digest_of=lambda value: xxhash.xxh3_128_digest(repr(value).encode()),
    )
    assert ref.oid is not None
    say(ref.oid.hex())


def files(root: Path, *below: str) -> list[Path]:
    return [path for path in root.joinpath(*below).rglob("*") if path.is_file()]


def check_objects(root: Path) -> set[str]:
    """Ids of the objects there, each of which is whole; unfinished files are elsewhere."""
    found = set()
    for path in files(root, "objects"):
        if path.parent.name != "tmp":
            name = path.parent.name + path.name
            assert xxhash.xxh3_128_hexdigest(path.read_bytes()) == name
            found.add(name)
    return found


def check_life_goes_on(root: Path) -> None:
    objects = Objects(root)
    for content in (SMALL, LARGE):
        oid = objects.put(HEADER, [content, b"tail"])
        assert bytes(objects.open(oid).buffers[0]) == content


@pytest.mark.parametrize("scenario", [put_two, put_two_for_power])
def test_a_writer_killed_at_any_operation_leaves_whole_objects(
    scenario: Callable[[Path, Callable[[str], None]], None], tmp_path: Path
) -> None:
    outcomes = list(sweep(scenario, tmp_path))
    assert sum(outcome.status == "killed" for outcome in outcomes) > 15
    for outcome in outcomes:
        assert outcome.status in ("killed", "finished")
        assert set(outcome.said) <= check_objects(outcome.root)
        check_life_goes_on(outcome.root)


def test_what_the_dead_left_unfinished_can_be_removed(tmp_path: Path) -> None:
    left = 0
    for outcome in sweep(put_two, tmp_path):
        unfinished = files(outcome.root, "objects", "tmp")
        left += len(unfinished)
        assert Objects(outcome.root).remove_stale(age=-1) == len(unfinished)
        assert files(outcome.root, "objects", "tmp") == []
    assert left > 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_writer_whose_operations_fail_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    for outcome in sweep(put_two, tmp_path, actions=[number]):
        assert outcome.status == ("StoreError" if outcome.operation else "finished")
        assert set(outcome.said) <= check_objects(outcome.root)
        assert files(outcome.root, "objects", "tmp") == []
        check_life_goes_on(outcome.root)


def test_short_writes_are_completed(tmp_path: Path) -> None:
    for outcome in sweep(put_two, tmp_path, actions=[SHORT]):
        assert outcome.status == "finished"
        assert set(outcome.said) <= check_objects(outcome.root)
        assert len(outcome.said) == 2


def test_a_damaged_object_is_replaced_at_once_or_not(tmp_path: Path) -> None:
    for outcome in sweep(put_a_damaged_one_again, tmp_path):
        for path in files(outcome.root, "objects"):
            if path.parent.name != "tmp" and path.stat().st_size:
                assert xxhash.xxh3_128_hexdigest(path.read_bytes()) == path.parent.name + path.name
        check_life_goes_on(outcome.root)


def test_a_reader_killed_while_it_quarantines_loses_no_bytes(tmp_path: Path) -> None:
    for outcome in sweep(read_a_damaged_one, tmp_path, actions=[KILL, errno.EACCES]):
        held = files(outcome.root, "quarantine")
        there = [path for path in files(outcome.root, "objects") if path.parent.name != "tmp"]
        if outcome.said:
            assert outcome.said == ["CorruptObject"]
        assert len(held) + len(there) <= 1
        if outcome.operation == "rename":
            assert len(held) + len(there) == 1


def test_a_tree_is_there_only_with_its_parts(tmp_path: Path) -> None:
    for outcome in sweep(encode_a_tree, tmp_path):
        names = check_objects(outcome.root)
        objects = Objects(outcome.root)
        for name in names:
            header = objects.open(bytes.fromhex(name)).header
            assert {child.hex() for child in header.children} <= names
