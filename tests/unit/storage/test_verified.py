"""Verifications of objects are remembered across processes, and never vouch for other bytes."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from tasklineage.storage import verified as module
from tasklineage.storage.verified import FILE, Verified

OID, KEY = b"o" * 16, (1, 2, 3, 1_750_000_000_000_000_000)


def test_a_note_outlives_its_process(tmp_path: Path) -> None:
    assert not Verified(tmp_path).is_verified(OID, KEY)
    first = Verified(tmp_path)
    first.note_verified(OID, KEY)
    assert first.is_verified(OID, KEY)
    assert Verified(tmp_path).is_verified(OID, KEY)
    assert not Verified(tmp_path).is_verified(OID, (1, 2, 3, 4))
    assert not Verified(tmp_path).is_verified(b"p" * 16, KEY)


def test_the_last_note_counts(tmp_path: Path) -> None:
    other = (1, 2, 3, 9)
    for key in (KEY, other):
        Verified(tmp_path).note_verified(OID, key)
    assert Verified(tmp_path).is_verified(OID, other)
    assert not Verified(tmp_path).is_verified(OID, KEY)


def test_no_damage_makes_a_note_that_was_not_written(tmp_path: Path) -> None:
    Verified(tmp_path).note_verified(OID, KEY)
    file = tmp_path / FILE
    good = file.read_bytes()
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 16
        file.write_bytes(bad)
        read = Verified(tmp_path)
        assert not read.is_verified(OID, KEY)
        assert not read._known
        read.note_verified(OID, KEY)
        assert file.read_bytes() == good
    for length in range(len(good)):
        file.write_bytes(good[:length])
        assert not Verified(tmp_path).is_verified(OID, KEY)


def test_a_torn_or_full_file_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / FILE).write_bytes(b"torn")
    Verified(tmp_path).note_verified(OID, KEY)
    assert Verified(tmp_path).is_verified(OID, KEY)
    monkeypatch.setattr(module, "_MOST", 1)
    Verified(tmp_path).note_verified(b"p" * 16, KEY)
    monkeypatch.undo()
    assert Verified(tmp_path).is_verified(b"p" * 16, KEY)
    assert not Verified(tmp_path).is_verified(OID, KEY)


def test_a_read_only_store_is_not_written(tmp_path: Path) -> None:
    notes = Verified(tmp_path, read_only=True)
    notes.note_verified(OID, KEY)
    assert notes.is_verified(OID, KEY)
    assert not (tmp_path / FILE).exists()


def test_a_full_disk_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    notes = Verified(tmp_path)
    notes.note_verified(OID, KEY)
    assert notes.is_verified(OID, KEY)


def test_numbers_of_any_size_are_kept(tmp_path: Path) -> None:
    key = (-1, 2**64 - 1, 0, -5)
    Verified(tmp_path).note_verified(OID, key)
    assert not Verified(tmp_path).is_verified(OID, KEY)


def test_a_note_on_a_young_file_counts_until_the_machine_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    young = (1, 2, 3, time.time_ns())
    Verified(tmp_path).note_verified(OID, young)
    Verified(tmp_path).note_verified(b"p" * 16, KEY)
    assert Verified(tmp_path).is_verified(OID, young)
    monkeypatch.setattr(module, "boot", lambda: "another boot")
    assert not Verified(tmp_path).is_verified(OID, young)
    assert Verified(tmp_path).is_verified(b"p" * 16, KEY)
