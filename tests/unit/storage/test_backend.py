"""Bytes under keys: one suite for every backend."""

from __future__ import annotations

import os
import threading
import time
import uuid
from pathlib import Path

import pytest

from tasklineage.errors import ConfigError, MissingObject, StoreError, StoreUnavailable
from tasklineage.storage.backend import Backend, Folder, failure, is_passing, open_backend
from tasklineage.storage.patience import Patient, patiently


@pytest.fixture(params=["folder", "memory"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    if request.param == "folder":
        (tmp_path / "store").mkdir(mode=0o700)
        return open_backend(tmp_path / "store")
    return open_backend(f"memory://bucket-{uuid.uuid4().hex}/prefix")


def test_what_was_written_is_read_whole_and_in_part(backend: Backend) -> None:
    backend.write("a/b", b"0123456789")
    assert backend.read("a/b") == b"0123456789"
    assert backend.read("a/b", 3) == b"3456789"
    assert backend.read("a/b", 3, 5) == b"34"
    assert backend.read("a/b", 8, 50) == b"89"
    assert backend.size("a/b") == 10
    backend.write("a/b", b"")
    assert backend.read("a/b") == b""


def test_what_is_absent_is_missing(backend: Backend) -> None:
    with pytest.raises(MissingObject, match="a/b"):
        backend.read("a/b")
    assert backend.size("a/b") is None
    assert backend.list("a") == []
    assert backend.names("a") == []
    backend.delete(["a/b"])
    assert backend.read_many(["a/b"]) == {}


def test_a_listing_has_every_key_below_in_order_and_nothing_else(backend: Backend) -> None:
    keys = ["j/1/a", "j/1/b", "j/10/a", "j2/x", "k"]
    backend.write_many({key: key.encode() for key in keys})
    assert [entry.key for entry in backend.list()] == sorted(keys)
    assert [entry.key for entry in backend.list("j")] == ["j/1/a", "j/1/b", "j/10/a"]
    assert [entry.key for entry in backend.list("j/1")] == ["j/1/a", "j/1/b"]
    assert [entry.key for entry in backend.list("j", after="j/1/a")] == ["j/1/b", "j/10/a"]
    assert backend.names("j") == ["1", "10"]
    assert backend.names() == ["j", "j2", "k"]
    assert [entry.size for entry in backend.list("k")] == []
    assert backend.list()[-1].size == 1


def test_the_age_of_a_key_is_by_the_clock_of_the_store(backend: Backend) -> None:
    before = backend.now()
    backend.write("a", b"")
    (entry,) = backend.list()
    assert before - 2 <= entry.modified <= backend.now() + 2
    assert [entry.key for entry in backend.list()] == ["a"]


def test_many_keys_are_read_and_written_and_deleted_at_once(backend: Backend) -> None:
    items = {f"many/{n}": bytes([n]) for n in range(50)}
    backend.write_many(items)
    assert backend.read_many([*items, "many/none"]) == items
    backend.delete([*items, "many/none"])
    assert backend.list() == []


def test_of_many_creators_one_wins(backend: Backend) -> None:
    for n in range(20):
        won: list[bytes] = []
        start = threading.Barrier(8)

        def create(me: bytes, key: str, start: threading.Barrier, won: list[bytes]) -> None:
            start.wait()
            if backend.create(key, me):
                won.append(me)

        threads = [
            threading.Thread(target=create, args=(bytes([i]), f"refs/x/{n}", start, won))
            for i in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert won == [backend.read(f"refs/x/{n}")]


def test_files_travel_without_being_held_in_memory(backend: Backend, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(100_000))
    backend.upload("objects/a", source)
    backend.download("objects/a", target)
    assert target.read_bytes() == source.read_bytes()
    with pytest.raises(MissingObject):
        backend.download("objects/none", target)


@pytest.mark.parametrize("key", ["../a", "/a", "a//b", "a/../b", ".a", "a/.b", "a/", "a\0b"])
def test_a_key_cannot_lead_out_of_the_store(backend: Backend, key: str) -> None:
    for do in (backend.read, backend.size, lambda k: backend.write(k, b""),
               lambda k: backend.create(k, b""), lambda k: backend.delete([k])):  # fmt: skip
        with pytest.raises(ValueError, match="no key"):
            do(key)


def test_a_folder_keeps_the_modes_of_its_root_and_leaves_nothing_behind(tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.mkdir()
    root.chmod(0o2770)
    folder = Folder(root, durable=True)
    folder.write("a/b/c", b"1")
    folder.create("a/b/c", b"2")
    assert (root / "a/b/c").stat().st_mode & 0o7777 == 0o660
    assert (root / "a/b").stat().st_mode & 0o777 == 0o770
    assert sorted(p.name for p in root.rglob("*")) == ["a", "b", "c"]


def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path)
    folder.write("a", b"old")

    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreError, match=r"cannot write .*/a: No space left") as caught:
        folder.write("a", b"new")
    assert caught.value.errno == 28
    assert folder.read("a") == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_an_unknown_kind_of_url_says_what_to_install() -> None:
    with pytest.raises(ConfigError, match=r"nosuch://x.*fsspec"):
        open_backend("nosuch://x").read("a")


class Flaky(Folder):
    """Refuses the first attempts at each thing."""

    def __init__(self, root: Path, refusals: int) -> None:
        super().__init__(root)
        self.refusals = refusals
        self.attempts: dict[str, int] = {}

    def _path(self, key: str) -> str:
        count = self.attempts[key] = self.attempts.get(key, 0) + 1
        if count <= self.refusals:
            raise StoreUnavailable("SlowDown")
        return super()._path(key)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


def test_passing_failures_are_waited_out_with_growing_random_pauses(
    tmp_path: Path, no_pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tasklineage")
    patient = Patient(Flaky(tmp_path, 9))
    patient.write("a", b"1")
    assert patient.read("a") == b"1"
    assert 0.05 <= no_pauses[0] <= 0.1
    assert 2.5 <= no_pauses[8] <= 5.0
    assert "SlowDown" in caplog.text
    assert "attempt 2" in caplog.text


def test_of_many_only_those_that_failed_are_tried_again(
    tmp_path: Path, no_pauses: list[float]
) -> None:
    flaky = Flaky(tmp_path, 1)
    flaky.attempts["good"] = 1
    Patient(flaky).write_many({"good": b"1", "bad": b"2"})
    assert flaky.attempts == {"good": 2, "bad": 2}


def test_patience_ends_and_the_last_error_is_raised(tmp_path: Path, no_pauses: list[float]) -> None:
    with pytest.raises(StoreUnavailable):
        Patient(Flaky(tmp_path, 1), patience=0).write("a", b"1")
    assert Patient(Flaky(tmp_path, 1), patience=0).try_write_many({"a": b""}).keys() == {"a"}


def test_what_will_not_pass_is_not_tried_again(no_pauses: list[float]) -> None:
    attempts: list[int] = []

    def attempt() -> None:
        attempts.append(1)
        raise StoreError("denied")

    with pytest.raises(StoreError, match="denied"):
        patiently(attempt, "try")
    assert attempts == [1]


def test_a_create_whose_answer_was_lost_has_won(tmp_path: Path, no_pauses: list[float]) -> None:
    class Forgetful(Folder):
        answers = 0

        def create(self, key: str, data: bytes) -> bool:
            is_made = super().create(key, data)
            self.answers += 1
            if self.answers == 1:
                raise StoreUnavailable("connection reset")
            return is_made

    assert Patient(Forgetful(tmp_path)).create("refs/a/1", b"mine")
    assert not Patient(Folder(tmp_path)).create("refs/a/1", b"mine")


def test_which_errors_pass() -> None:
    class ClientError(Exception):
        def __init__(self, status: int) -> None:
            self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}

    assert is_passing(ConnectionResetError())
    assert is_passing(TimeoutError())
    assert is_passing(ClientError(503))
    assert not is_passing(ClientError(403))
    assert not is_passing(OSError(28, "full"))
    wrapped = OSError("?")
    wrapped.__cause__ = ClientError(429)
    assert is_passing(wrapped)
    assert isinstance(failure("s3://b", "read", "k", wrapped), StoreUnavailable)
