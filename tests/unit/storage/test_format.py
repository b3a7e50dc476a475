"""The format file of a store: made once, and refused where it cannot be believed."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from tasklineage.errors import StoreError, StoreNotFound
from tasklineage.storage import format as layout
from tasklineage.storage.format import content, open_folder


def test_the_content_follows_from_the_version() -> None:
    assert content() == (
        b"tasklineage store\nversion 1\nhash xxh3-128\nchecksum 27fec87b7e2fa922\n"
    )


def test_a_new_store_is_private_and_keeps_itself_out_of_a_working_tree(tmp_path: Path) -> None:
    root = tmp_path / "above" / "store"
    assert open_folder(root)
    assert stat.S_IMODE(os.stat(root).st_mode) == 0o700
    assert (root / "format").read_bytes() == content()
    assert (root / ".gitignore").read_bytes() == b"*\n"
    assert {stat.S_IMODE(os.stat(path).st_mode) for path in root.iterdir()} == {0o600}


def test_opening_again_writes_nothing(tmp_path: Path) -> None:
    open_folder(tmp_path)
    before = {path: os.stat(path).st_mtime_ns for path in (tmp_path, *tmp_path.iterdir())}
    assert open_folder(tmp_path)
    assert {path: os.stat(path).st_mtime_ns for path in before} == before


def test_a_folder_of_other_files_becomes_a_store_and_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".gitignore").write_text("mine too")
    assert open_folder(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / ".gitignore").read_text() == "mine too"


@pytest.mark.parametrize("options", [{"read_only": True}, {"create": False}])
def test_what_is_not_there_is_not_made_unless_asked(tmp_path: Path, options: dict) -> None:
    with pytest.raises(StoreNotFound, match="no store at"):
        open_folder(tmp_path / "absent", **options)
    assert not (tmp_path / "absent").exists()


def test_a_read_only_store_is_not_written(tmp_path: Path) -> None:
    open_folder(tmp_path)
    assert not open_folder(tmp_path, read_only=True)


def test_a_folder_without_permission_is_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_folder(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert not open_folder(tmp_path)


def test_any_damage_of_the_format_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    open_folder(tmp_path)
    file, good = tmp_path / "format", content()
    flipped = [good[:i] + bytes([good[i] ^ 1]) + good[i + 1 :] for i in range(len(good))]
    cut = [good[:i] for i in range(len(good))]
    for bad in (*flipped, *cut, good + b"\n", good + good, b"\0" * len(good)):
        file.write_bytes(bad)
        with pytest.raises(StoreError, match=r"is damaged.*copy the file `format` of any other"):
            open_folder(tmp_path)
        assert file.read_bytes() == bad


def test_a_newer_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    open_folder(tmp_path)
    (tmp_path / "format").write_bytes(content(version=2))
    with pytest.raises(StoreError, match=r"version 2 .* reads version 1 .*upgrade tasklineage"):
        open_folder(tmp_path)
    (tmp_path / "format").write_bytes(content(algorithm="blake3"))
    with pytest.raises(StoreError, match="blake3"):
        open_folder(tmp_path)


@pytest.mark.parametrize("part", ["journal", "objects"])
def test_a_lost_format_file_is_not_made_anew_by_guessing(tmp_path: Path, part: str) -> None:
    open_folder(tmp_path)
    (tmp_path / part).mkdir()
    (tmp_path / "format").unlink()
    for _ in range(2):
        with pytest.raises(StoreError, match="lost its format file"):
            open_folder(tmp_path)


def test_following_the_advice_repairs_the_store(tmp_path: Path) -> None:
    open_folder(tmp_path / "broken")
    (tmp_path / "broken" / "format").write_bytes(b"")
    open_folder(tmp_path / "other")
    (tmp_path / "broken" / "format").write_bytes((tmp_path / "other" / "format").read_bytes())
    assert open_folder(tmp_path / "broken")


def test_a_store_that_is_made_meanwhile_is_not_taken_for_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made_meanwhile(root: Path) -> bool:
        monkeypatch.undo()
        open_folder(root)
        (root / "journal").mkdir()
        return True

    monkeypatch.setattr(layout, "_has_parts", made_meanwhile)
    assert open_folder(tmp_path)


def test_a_file_in_the_way_is_an_error_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="TASKLINEAGE_STORE") as raised:
        open_folder(tmp_path / "file")
    assert raised.value.errno == errno.ENOTDIR
    with pytest.raises(StoreError, match="Not a directory") as raised:
        open_folder(tmp_path / "file" / "below")
    assert raised.value.errno == errno.ENOTDIR


def test_a_format_file_that_cannot_be_read_is_an_error_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "format").mkdir()
    with pytest.raises(StoreError, match="cannot read") as raised:
        open_folder(tmp_path)
    assert raised.value.errno == errno.EISDIR


def test_no_unfinished_file_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreError, match="No space left") as raised:
        open_folder(tmp_path)
    assert raised.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


def test_the_name_of_a_new_format_file_outlives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the store promises for its records: without it they would be those of no store."""
    done: list[tuple[str, str]] = []
    replace, flush_paths = os.replace, layout.flush_paths

    def replaced(source: Path, target: Path) -> None:
        done.append(("named", Path(target).name))
        replace(source, target)

    def flushed(*paths: Path) -> None:
        done.extend(("flushed", Path(path).name) for path in paths)
        flush_paths(*paths)

    monkeypatch.setattr(os, "replace", replaced)
    monkeypatch.setattr(layout, "flush_paths", flushed)
    open_folder(tmp_path / "new")
    assert done == [("named", "format"), ("flushed", "new"), ("named", ".gitignore")]
