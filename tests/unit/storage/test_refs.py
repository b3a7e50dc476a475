"""Refs: versions that are only ever created, and believed only whole."""

from __future__ import annotations

import os
import struct
import threading
import time
import uuid
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from tasklineage.errors import ConfigError, CorruptObject, NotFound, StoreError, StoreReadOnly
from tasklineage.storage.backend import Backend, Folder, open_backend
from tasklineage.storage.records import Ref
from tasklineage.storage.ref_names import version_key
from tasklineage.storage.refs import (
    ARTIFACT,
    CALL,
    DAMAGED,
    DELETED,
    LAYOUT,
    MAGIC,
    RUN,
    Refs,
    Target,
    Version,
    decode,
    encode,
)
from tasklineage.storage.urls import Fsspec

A, B = b"a" * 16, b"b" * 16
NAME = "model/prod"


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return Folder(tmp_path)


@pytest.fixture
def refs(backend: Backend) -> Refs:
    return Refs(backend)


def write(backend: Backend, number: int, data: bytes, name: str = NAME) -> None:
    backend.write(version_key(name, number), data)


def test_a_ref_points_to_what_it_was_moved_to_last(refs: Refs) -> None:
    assert refs.find(NAME) is None
    first = refs.move(NAME, Target(RUN, A), message="it works")
    second = refs.move(NAME, Target(CALL, B))
    assert refs.find(NAME) == second
    assert (second.kind, second.target, second.previous) == (CALL, B, (RUN, A))
    assert [first.number, second.number] == [1, 2]
    assert first.message == "it works"
    assert list(refs.history(NAME)) == [second, first]
    assert refs.version(NAME, 1) == first


def test_a_version_says_who_when_and_where(refs: Refs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKLINEAGE_USER", "ann")
    before = time.time()
    made = refs.move(NAME, Target(RUN, A))
    assert made.user == "ann"
    assert made.host == os.uname().nodename
    assert before <= made.at <= time.time()


def test_an_artifact_is_kept_with_the_place_of_its_value(refs: Refs) -> None:
    value = Ref(A, "int", "plain", 1, b"\x03", None, "3")
    refs.move(NAME, Target(ARTIFACT, A, value))
    found = refs.find(NAME)
    assert found is not None
    assert found.ref == value


def test_a_deletion_is_a_version(refs: Refs) -> None:
    refs.move(NAME, Target(RUN, A))
    deleted = refs.move(NAME, Target(DELETED))
    assert deleted.previous == (RUN, A)
    assert refs.find(NAME) is None
    assert refs.newest(NAME) == deleted
    again = refs.move(NAME, Target(RUN, B))
    assert (again.number, again.previous) == (3, (DELETED, b""))


def test_names_that_begin_alike_are_refs_of_their_own(refs: Refs) -> None:
    for name in ("model", "model/prod", "model/1", "model/prod/00000001", "Model"):
        assert refs.move(name, Target(RUN, A)).number == 1
    refs.move("model", Target(RUN, B))
    found = {version.name: version.target for version in refs.all()}
    assert found == {
        "Model": A, "model": B, "model/1": A, "model/prod": A, "model/prod/00000001": A,
    }  # fmt: skip
    assert refs.names() == sorted(found)


def test_a_version_that_is_not_there_is_not_found(refs: Refs) -> None:
    refs.move(NAME, Target(RUN, A))
    with pytest.raises(NotFound, match="'model/prod' has no version 2"):
        refs.version(NAME, 2)


def test_whoever_finds_its_number_taken_takes_the_next(tmp_path: Path) -> None:
    class Slow(Folder):
        """Somebody else is faster, once."""

        def create(self, key: str, data: bytes) -> bool:
            if not others:
                others.append(Refs(Folder(tmp_path)).move(NAME, Target(RUN, B)))
            return super().create(key, data)

    others: list[Version] = []
    made = Refs(Slow(tmp_path)).move(NAME, Target(RUN, A))
    assert (made.number, made.previous) == (2, (RUN, B))


def test_a_check_sees_what_somebody_else_has_made_of_it(tmp_path: Path) -> None:
    class Slow(Folder):
        def create(self, key: str, data: bytes) -> bool:
            if len(seen) == 1:
                Refs(Folder(tmp_path)).move(NAME, Target(RUN, B))
            return super().create(key, data)

    seen: list[Version | None] = []

    def check(newest: Version | None) -> None:
        seen.append(newest)
        if newest is not None:
            raise RuntimeError("moved")

    with pytest.raises(RuntimeError, match="moved"):
        Refs(Slow(tmp_path)).move(NAME, Target(RUN, A), check=check)
    assert [None if one is None else one.target for one in seen] == [None, B]
    assert len(list(Refs(Folder(tmp_path)).history(NAME))) == 1


@pytest.mark.parametrize("url", ["folder", "memory"])
def test_of_many_threads_each_gets_a_number_and_none_is_lost(url: str, tmp_path: Path) -> None:
    backend = Folder(tmp_path) if url == "folder" else open_backend(f"memory://{tmp_path.name}")
    begin = threading.Barrier(16)

    def work(number: int) -> None:
        refs = Refs(backend)
        begin.wait()
        for turn in range(5):
            refs.move(NAME, Target(RUN, bytes([number, turn]) * 8))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = list(Refs(backend).history(NAME))
    assert [version.number for version in found] == list(range(80, 0, -1))
    assert len({version.target for version in found}) == 80
    for newer, older in pairwise(found):
        assert newer.previous == (RUN, older.target)


def test_a_read_only_store_keeps_its_refs(backend: Backend) -> None:
    Refs(backend).move(NAME, Target(RUN, A))
    refs = Refs(backend, read_only=True)
    assert refs.find(NAME) is not None
    with pytest.raises(StoreReadOnly, match="the ref 'model/prod' stays as it is"):
        refs.move(NAME, Target(RUN, B))


def test_a_backend_that_cannot_create_only_what_is_absent_is_refused(tmp_path: Path) -> None:
    refs = Refs(open_backend(f"local://{tmp_path}"))
    assert refs.move(NAME, Target(RUN, A)).number == 1

    refs = Refs(Fsspec(f"file://{tmp_path}"))
    with pytest.raises(StoreError, match="names cannot be kept there safely"):
        refs.move(NAME, Target(RUN, B))
    assert [version.target for version in refs.history(NAME)] == [A]


def test_a_message_has_a_limit(refs: Refs) -> None:
    with pytest.raises(ConfigError, match="at most 10,000 characters"):
        refs.move(NAME, Target(RUN, A), message="x" * 10_001)


def test_other_files_among_the_versions_are_passed_over(refs: Refs, backend: Backend) -> None:
    made = refs.move(NAME, Target(RUN, A))
    for key in ("refs/model/prod/notes.txt", "refs/Model/00000009", "refs/model/prod/x/y"):
        backend.write(key, b"?")
    assert refs.find(NAME) == made
    assert [version.name for version in refs.all()] == [NAME]


# Damage.


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: data[:7],
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"\0" * len(data),
        lambda data: data.replace(A, B),
        lambda data: b"tasklineage ref",
    ],
)
def test_a_damaged_newest_version_is_noticed_and_the_one_before_is_not_believed(
    refs: Refs, backend: Backend, change: Callable[[bytes], bytes]
) -> None:
    refs.move(NAME, Target(RUN, B))
    data = encode(refs.move(NAME, Target(RUN, A)))
    write(backend, 2, change(data))
    with pytest.raises(CorruptObject, match=r"version 2 of the ref 'model/prod'.*tag it again"):
        refs.find(NAME)
    assert [version.kind for version in refs.history(NAME)] == [DAMAGED, RUN]
    assert [version.kind for version in refs.all()] == [DAMAGED]
    with pytest.raises(CorruptObject):
        refs.version(NAME, 2)
    mended = refs.move(NAME, Target(RUN, A))
    assert (mended.number, mended.previous) == (3, None)
    assert refs.find(NAME) == mended


def test_a_damaged_earlier_version_spoils_nothing(refs: Refs, backend: Backend) -> None:
    refs.move(NAME, Target(RUN, A))
    newest = refs.move(NAME, Target(RUN, B))
    write(backend, 1, b"?")
    assert refs.find(NAME) == newest
    assert [version.kind for version in refs.history(NAME)] == [RUN, DAMAGED]


def test_a_copy_of_a_version_elsewhere_is_none(refs: Refs, backend: Backend) -> None:
    data = encode(refs.move(NAME, Target(RUN, A)))
    write(backend, 2, data)
    write(backend, 1, data, "model/other")
    for name in (NAME, "model/other"):
        with pytest.raises(CorruptObject, match="is that of 'model/prod', number 1: a copy"):
            refs.find(name)


def test_a_huge_file_is_not_read(refs: Refs, tmp_path: Path) -> None:
    refs.move(NAME, Target(RUN, A))
    path = tmp_path / version_key(NAME, 2)
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(CorruptObject, match="version 2"):
        refs.find(NAME)


@given(st.binary(max_size=200), st.integers(0, 300))
def test_any_flipped_bytes_are_noticed(noise: bytes, at: int) -> None:
    data = encode(Version(NAME, 1, RUN, A, 12.0, "ann", "host", "why", (CALL, B)))
    at %= len(data)
    changed = data[:at] + noise + data[at + len(noise) :]
    if changed == data:
        return
    with pytest.raises(CorruptObject):
        decode(changed, NAME, 1)


def signed(payload: bytes, layout: int = LAYOUT) -> bytes:
    """Bytes with a right checksum: what somebody writes who means harm."""
    head = struct.pack("<4sI", MAGIC, layout)
    return head + struct.pack("<Q", xxh3_64_intdigest(head + payload)) + payload


SOUND: list[Any] = [NAME, 1, RUN, A, 12.0, "ann", "host", "", None, None, b""]
TEXTS = st.text(max_size=5)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats()
ANY = st.recursive(
    SCALARS | TEXTS | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(st.integers(0, len(SOUND) - 1), ANY)
def test_a_crafted_version_is_sound_or_refused(field: int, value: Any) -> None:
    fields = [*SOUND[:field], value, *SOUND[field + 1 :]]
    try:
        found = decode(signed(msgpack.packb(fields)), NAME, 1)
    except CorruptObject:
        return
    assert (found.name, found.number, found.kind) == (NAME, 1, RUN)
    assert isinstance(found.message, str)
    assert 0 <= found.at < 1e12


@given(ANY)
def test_any_other_payload_is_refused(value: Any) -> None:
    with pytest.raises(CorruptObject):
        decode(signed(msgpack.packb(value)), NAME, 1)


def test_a_deep_payload_is_refused() -> None:
    with pytest.raises(CorruptObject):
        decode(signed(b"\x91" * 500_000), NAME, 1)


def test_later_fields_are_passed_over_and_missing_ones_have_their_default() -> None:
    assert decode(signed(msgpack.packb([*SOUND, "new"])), NAME, 1) == Version(*SOUND)
    assert decode(signed(msgpack.packb(SOUND[:5])), NAME, 1) == Version(*SOUND[:5])


def test_a_later_layout_is_refused_and_named() -> None:
    data = signed(msgpack.packb(SOUND), LAYOUT + 1)
    with pytest.raises(CorruptObject, match="layout 2: it is of a later tasklineage"):
        decode(data, NAME, 1)


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "a/b", "A"]), st.sampled_from([RUN, DELETED])), max_size=12
    )
)
def test_refs_are_what_a_dict_of_lists_would_be(steps: list[tuple[str, str]]) -> None:
    refs = Refs(open_backend(f"memory://{uuid.uuid4().hex}"))
    model: dict[str, list[Version]] = {}
    for index, (name, kind) in enumerate(steps):
        target = Target(kind, b"" if kind == DELETED else index.to_bytes(16, "big"))
        model.setdefault(name, []).insert(0, refs.move(name, target))
    assert list(refs.all()) == [model[name][0] for name in sorted(model)]
    for name, versions in model.items():
        assert list(refs.history(name)) == versions
        assert refs.find(name) == (versions[0] if versions[0].is_there else None)
