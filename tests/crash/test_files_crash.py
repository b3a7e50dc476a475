"""Killed or failing at any operation: a place has all of a file or none, and never another."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import tasklineage as tl
from tasklineage import task
from tests.crash.killer import Outcome, sweep

CONTENT = bytes(range(256)) * 3_000


@task
def produce(place: str) -> tl.File:
    os.makedirs(os.path.dirname(place), exist_ok=True)
    Path(place).write_bytes(CONTENT)
    return tl.File(place)


@task
def produce_folder(place: str) -> tl.Dir:
    os.makedirs(f"{place}/sub/empty", exist_ok=True)
    Path(place, "a.bin").write_bytes(CONTENT)
    Path(place, "sub", "b.txt").write_text("b")
    if not os.path.islink(f"{place}/link"):
        os.symlink("sub/b.txt", f"{place}/link")
    return tl.Dir(place)


def store_and_put_back(root: Path, say: Callable[[str], None]) -> None:
    with tl.run(store=root / "store"):
        produce(str(root / "work" / "out.bin"))
        say("stored")
        os.remove(root / "work" / "out.bin")
        produce(str(root / "work" / "out.bin"))
        say("put back")


def store_and_put_back_a_folder(root: Path, say: Callable[[str], None]) -> None:
    with tl.run(store=root / "store"):
        produce_folder(str(root / "work"))
        say("stored")
        shutil.rmtree(root / "work")
        produce_folder(str(root / "work"))
        say("put back")


def check_file(outcome: Outcome) -> None:
    place = outcome.root / "work" / "out.bin"
    if place.exists() and "stored" in outcome.said:  # the body does not write at once
        assert place.read_bytes() == CONTENT
    with tl.run(store=outcome.root / "store") as run:
        assert produce(str(place)).bytes() == CONTENT
    assert place.read_bytes() == CONTENT
    assert run.executed == 0 or "stored" not in outcome.said
    call = next(call for call in run.calls if call.task.endswith("produce"))
    place.write_bytes(b"changed")
    assert call.result.bytes() == CONTENT


def folder_is_whole(place: Path) -> bool:
    return (
        (place / "a.bin").read_bytes() == CONTENT
        and (place / "sub" / "b.txt").read_text() == "b"
        and (place / "sub" / "empty").is_dir()
        and os.readlink(place / "link") == "sub/b.txt"
    )


def check_folder(outcome: Outcome) -> None:
    place = outcome.root / "work"
    # The body and `rmtree` do not work at once; what is put back does.
    if place.exists() and "put back" in outcome.said:
        assert folder_is_whole(place)
    if outcome.said == ["stored"] and outcome.operation in ("rename", "link", "chmod", "symlink"):
        assert not place.exists() or folder_is_whole(place)
    with tl.run(store=outcome.root / "store") as run:
        result = produce_folder(str(place))
    assert folder_is_whole(place)
    call = next(call for call in run.calls if call.task.endswith("produce_folder"))
    assert call.result.digest == result.digest
    (place / "a.bin").write_bytes(b"changed")
    assert folder_is_whole(Path(call.result.path))


def test_killed_at_any_operation_a_file_is_whole_or_absent(tmp_path: Path) -> None:
    outcomes = list(sweep(store_and_put_back, tmp_path, every=2))
    assert sum(outcome.status == "killed" for outcome in outcomes) > 15
    for outcome in outcomes:
        assert outcome.status in ("killed", "finished")
        check_file(outcome)


def test_killed_at_any_operation_a_folder_is_put_back_whole_or_not(tmp_path: Path) -> None:
    outcomes = list(sweep(store_and_put_back_a_folder, tmp_path, every=2))
    assert sum(outcome.status == "killed" for outcome in outcomes) > 15
    for outcome in outcomes:
        assert outcome.status in ("killed", "finished")
        check_folder(outcome)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_file_that_cannot_be_put_back_is_made_anew(tmp_path: Path, number: int) -> None:
    for outcome in sweep(store_and_put_back, tmp_path, actions=[number], every=2):
        check_file(outcome)
        left = os.listdir(outcome.root / "work")
        assert left == ["out.bin"] or outcome.operation == "unlink"
