"""What every backend does: the interface's definition, as tests that a subclass inherits.

A new backend gets a test class with a fixture `url`: a place that nobody else uses. What `create`
promises is only asked of those that say they can (`can_create`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tasklineage.errors import MissingObject, StoreError
from tasklineage.storage.backend import Backend, open_backend

CREATORS = 16
ROUNDS = 5


class BackendTests:
    """Inherited by the tests of each backend."""

    @pytest.fixture
    def options(self) -> Mapping[str, Any]:
        """What the file system of the URL takes."""
        return {}

    @pytest.fixture
    def open(self, url: str, options: Mapping[str, Any]) -> Callable[[], Backend]:
        """The backend, as a process of its own would open it: it knows nothing yet."""
        return lambda: open_backend(url, options)

    @pytest.fixture
    def backend(self, open: Callable[[], Backend]) -> Backend:
        return open()

    # Bytes under keys

    @pytest.mark.parametrize("size", [0, 1, 1000, 1 << 20])
    def test_what_was_written_is_read_by_anybody(
        self, backend: Backend, open: Callable[[], Backend], size: int
    ) -> None:
        data = os.urandom(size)
        backend.write("a/b", data)
        for one in (backend, open()):
            assert one.read("a/b") == data
            assert one.size("a/b") == size

    def test_a_part_of_it_is_read(self, backend: Backend) -> None:
        backend.write("a", b"0123456789")
        assert backend.read("a", 3) == b"3456789"
        assert backend.read("a", 3, 5) == b"34"
        assert backend.read("a", 8, 50) == b"89"

    def test_what_is_written_again_is_read_then_at_once_by_anybody(
        self, backend: Backend, open: Callable[[], Backend]
    ) -> None:
        other = open()
        for n in range(5):
            backend.write("a", b"%d" % n * (5 - n))
            assert other.read("a") == b"%d" % n * (5 - n)
            assert other.size("a") == 5 - n

    def test_a_reader_sees_the_old_bytes_or_the_new_ones(
        self, backend: Backend, open: Callable[[], Backend]
    ) -> None:
        written = [bytes([n]) * 200_000 for n in range(4)]
        backend.write("a", written[0])
        seen: list[bytes] = []
        stop = threading.Event()

        def look() -> None:
            other = open()
            while not stop.is_set():
                seen.append(other.read("a"))

        reader = threading.Thread(target=look)
        reader.start()
        for n in range(40):
            backend.write("a", written[n % 4])
        stop.set()
        reader.join()
        assert seen
        assert all(data in written for data in seen)

    def test_what_is_absent_is_missing_and_named(self, backend: Backend) -> None:
        with pytest.raises(MissingObject, match="a/b"):
            backend.read("a/b")
        with pytest.raises(KeyError):
            backend.read("a/b", 1, 2)
        assert backend.size("a/b") is None
        assert backend.read_many(["a/b"]) == {}
        backend.delete(["a/b"])

    @pytest.mark.parametrize("name", ["a b", "ü-λ", "50%", "a+b", "a&b=c", "~x", "#1", "x" * 200])
    def test_a_name_is_any_text(self, backend: Backend, name: str) -> None:
        backend.write(f"folder/{name}", b"1")
        assert backend.read(f"folder/{name}") == b"1"
        assert backend.names("folder") == [name]
        assert [entry.key for entry in backend.list("folder")] == [f"folder/{name}"]
        backend.delete([f"folder/{name}"])
        assert backend.size(f"folder/{name}") is None

    @pytest.mark.parametrize("key", ["../a", "/a", "a//b", "a/../b", ".a", "a/.b", "a/", "a\0b"])
    def test_a_key_cannot_lead_out_of_the_store(self, backend: Backend, key: str) -> None:
        for do in (
            backend.read,
            backend.size,
            lambda k: backend.write(k, b""),
            lambda k: backend.create(k, b""),
            lambda k: backend.delete([k]),
        ):
            with pytest.raises(ValueError, match="no key"):
                do(key)

    # Listings

    def test_a_listing_has_every_key_below_in_order_and_nothing_else(
        self, backend: Backend
    ) -> None:
        keys = ["j/1/a", "j/1/b", "j/10/a", "j2/x", "k"]
        backend.write_many({key: key.encode() for key in keys})
        assert [entry.key for entry in backend.list()] == sorted(keys)
        assert [entry.key for entry in backend.list("j")] == ["j/1/a", "j/1/b", "j/10/a"]
        assert [entry.key for entry in backend.list("j/1")] == ["j/1/a", "j/1/b"]
        assert [entry.key for entry in backend.list("j", after="j/1/a")] == ["j/1/b", "j/10/a"]
        assert backend.list("k") == []
        assert backend.list("none") == []
        assert backend.list()[-1].size == 1

    def test_names_are_those_directly_below(self, backend: Backend) -> None:
        backend.write_many(dict.fromkeys(("j/1/a", "j/10/a", "j2/x", "k"), b""))
        assert backend.names("j") == ["1", "10"]
        assert backend.names() == ["j", "j2", "k"]
        assert backend.names("none") == []

    def test_a_listing_shows_at_once_what_somebody_else_did(
        self, backend: Backend, open: Callable[[], Backend]
    ) -> None:
        other = open()
        assert other.list() == []
        backend.write("a/1", b"1")
        assert [entry.key for entry in other.list()] == ["a/1"]
        backend.write("a/2", b"2")
        assert other.names("a") == ["1", "2"]
        backend.delete(["a/1"])
        assert [entry.key for entry in other.list("a")] == ["a/2"]
        assert other.size("a/1") is None

    @pytest.mark.slow
    def test_a_listing_is_of_any_length(self, backend: Backend) -> None:
        items = {f"many/{n:04d}": b"" for n in range(1100)}  # S3 lists a thousand at a time
        backend.write_many(items)
        assert [entry.key for entry in backend.list("many")] == sorted(items)
        assert len(backend.list("many", after="many/0099")) == 1000
        assert len(backend.names("many")) == 1100
        backend.delete(items)
        assert backend.list("many") == []

    def test_ages_are_by_the_clock_of_the_store(self, backend: Backend) -> None:
        before = backend.now()
        backend.write("a", b"")
        (entry,) = backend.list()
        assert before - 2 <= entry.modified <= backend.now() + 2

    # Many at once

    def test_many_keys_are_read_and_written_and_deleted_at_once(self, backend: Backend) -> None:
        items = {f"many/{n}": bytes([n]) for n in range(100)}
        backend.write_many(items)
        assert backend.read_many([*items, "many/none"]) == items
        found, failed = backend.try_read_many([*items, "many/none"])
        assert (found, failed) == (items, {})
        assert backend.try_write_many(items) == {}
        backend.delete([*items, "many/none"])
        assert backend.list() == []

    def test_threads_share_a_backend(self, backend: Backend) -> None:
        failed: list[BaseException] = []

        def work(me: int) -> None:
            try:
                for n in range(10):
                    backend.write(f"t/{me}/{n}", bytes([me, n]))
                    assert backend.read(f"t/{me}/{n}") == bytes([me, n])
                assert len(backend.list(f"t/{me}")) == 10
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=work, args=(me,)) for me in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []

    def test_a_forked_child_uses_it(self, backend: Backend) -> None:
        backend.write("a", b"parent")
        pid = os.fork()
        if pid == 0:
            try:
                backend.write("b", backend.read("a") + b"'s child")
            finally:
                os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert backend.read("b") == b"parent's child"

    def test_files_travel(self, backend: Backend, tmp_path: Any) -> None:
        source, target = tmp_path / "source", tmp_path / "target"
        source.write_bytes(os.urandom(12 << 20))  # more than one part of a multi-part upload
        backend.upload("objects/a", source)
        assert backend.size("objects/a") == 12 << 20
        backend.download("objects/a", target)
        assert target.read_bytes() == source.read_bytes()
        assert (
            backend.read("objects/a", 6 << 20, (6 << 20) + 9)
            == (source.read_bytes()[6 << 20 : (6 << 20) + 9])
        )
        with pytest.raises(MissingObject):
            backend.download("objects/none", target)

    # Creation

    def test_what_is_there_is_not_created_again(
        self, backend: Backend, open: Callable[[], Backend]
    ) -> None:
        if not backend.can_create:
            with pytest.raises(StoreError, match="a/1"):
                backend.create("a/1", b"first")
            return
        assert backend.create("a/1", b"first")
        assert not open().create("a/1", b"second")
        assert backend.read("a/1") == b"first"
        backend.delete(["a/1"])
        assert backend.create("a/1", b"third")

    def test_of_many_creators_one_wins(self, backend: Backend, open: Callable[[], Backend]) -> None:
        if not backend.can_create:
            pytest.skip(f"{backend.url} cannot create")
        backends = [open() for _ in range(4)] * (CREATORS // 4)
        for one in backends:
            one.size("warm")  # connections take time, which would spread the start
        for n in range(ROUNDS):
            won = race(
                [
                    lambda one=one, me=bytes([me]), key=f"refs/x/{n}": one.create(key, me)
                    for me, one in enumerate(backends)
                ]
            )
            assert sum(won) == 1
            assert backend.read(f"refs/x/{n}") == bytes([won.index(True)])


def race(acts: list[Callable[[], Any]]) -> list[Any]:
    """What each gives; all begin at once."""
    given: list[Any] = [None] * len(acts)
    start = threading.Barrier(len(acts))

    def run(place: int) -> None:
        start.wait()
        try:
            given[place] = acts[place]()
        except BaseException as error:
            given[place] = error

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in given:
        if isinstance(one, BaseException):
            raise one
    return given
