"""The cache of hashes by status: what is read again, and what is not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tasklineage.errors import UnreadableFile
from tasklineage.key import file_contents
from tasklineage.key.file_contents import StatKey, content_of
from tasklineage.key.pins import State
from tasklineage.storage.file_hashes import LEAST, FileHashes


@pytest.fixture(autouse=True)
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of each file that is really read; nothing is known at the beginning."""
    done: list[int] = []
    original = file_contents._hash

    def counted(descriptor: int, size: int) -> bytes:
        done.append(size)
        return original(descriptor, size)

    monkeypatch.setattr(file_contents, "_hash", counted)
    monkeypatch.setattr(file_contents._Known, "hashes", {})
    monkeypatch.setattr(State, "memory", None)
    return done


def settled(path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file whose last change is long ago for the clock of the cache."""
    path.write_bytes(content)
    later = time.time_ns() + 10_000_000_000
    monkeypatch.setattr(file_contents.time, "time_ns", lambda: later)
    return str(path)


def test_a_settled_file_is_read_once(
    tmp_path: Path, hashed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = settled(tmp_path / "a", b"abc", monkeypatch)
    assert content_of(path) == content_of(path)
    os.rename(path, f"{path}2")  # this changes its status
    content_of(f"{path}2")
    assert len(hashed) == 2


def test_a_file_changed_just_now_is_read_each_time(tmp_path: Path, hashed: list[int]) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    now = os.stat(path).st_ctime_ns
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_contents.time, "time_ns", lambda: now + 1_000_000)
        content_of(str(path))
        content_of(str(path))
    assert len(hashed) == 2


def test_a_coarse_clock_takes_longer_to_settle() -> None:
    assert file_contents._tick(5_000_000_000) == 2_000_000_000
    assert file_contents._tick(5_000_000_001) == 20_000_000


def test_a_change_of_content_time_or_size_is_read_again(
    tmp_path: Path, hashed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = settled(tmp_path / "a", b"abc", monkeypatch)
    first = content_of(path).hash
    Path(path).write_bytes(b"abd")
    assert content_of(path).hash != first
    os.utime(path, (1, 1))
    content_of(path)
    assert len(hashed) == 3


def test_a_file_that_changes_while_it_is_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = settled(tmp_path / "a", b"abc", monkeypatch)
    original = file_contents._hash

    def interfere(descriptor: int, size: int) -> bytes:
        Path(path).write_bytes(b"longer")
        return original(descriptor, size)

    monkeypatch.setattr(file_contents, "_hash", interfere)
    with pytest.raises(UnreadableFile, match="changed while it was read"):
        content_of(path)


def test_another_process_finds_the_hash_of_a_large_file(
    tmp_path: Path, hashed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = settled(tmp_path / "a", bytes(LEAST), monkeypatch)
    small = settled(tmp_path / "b", bytes(LEAST - 1), monkeypatch)
    for _ in range(2):
        monkeypatch.setattr(State, "memory", lambda: FileHashes(tmp_path))
        file_contents._Known.hashes.clear()
        content_of(path)
        content_of(small)
    assert hashed == [LEAST, LEAST - 1, LEAST - 1]


KEY: StatKey = (1, 2, 30_000, 4, 5)


@pytest.mark.parametrize("damage", ["cut", "flipped", "longer"])
def test_a_damaged_line_is_forgotten_and_nothing_wrong_is_found(
    tmp_path: Path, damage: str
) -> None:
    hashes = FileHashes(tmp_path)
    hashes.note(KEY, b"h" * 16)
    hashes.note((*KEY[:4], 6), b"g" * 16)
    content = (tmp_path / "hashes").read_bytes()
    assert FileHashes(tmp_path).find(KEY) == b"h" * 16
    changed = {
        "cut": content[:-1],
        "flipped": content[:50] + bytes([content[50] ^ 1]) + content[51:],
        "longer": content + b"torn",
    }[damage]
    (tmp_path / "hashes").write_bytes(changed)
    again = FileHashes(tmp_path)
    assert again.find(KEY) == (None if damage == "flipped" else b"h" * 16)
    again.note((*KEY[:4], 7), b"f" * 16)
    assert FileHashes(tmp_path).find((*KEY[:4], 7)) == b"f" * 16


def test_a_place_that_cannot_be_written_costs_only_the_memory(tmp_path: Path) -> None:
    hashes = FileHashes(tmp_path / "nowhere")
    hashes.note(KEY, b"h" * 16)
    assert hashes.find(KEY) is None
