"""Objects: whole or not at all, verified, writable copies, and nothing left behind."""

from __future__ import annotations

import errno
import gc
import mmap
import os
import stat
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import xxhash

from tasklineage.errors import CorruptObject, MissingObject, StoreError, StoreReadOnly
from tasklineage.storage import objects as module
from tasklineage.storage.object_layout import ALIGNMENT, Chunked, Header, in_blocks, laid_out
from tasklineage.storage.objects import MAPPED_FROM, Objects, StatKey

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")

HEADER = Header("test", "pkg.Thing", {"a": [1, "x"]}, (b"c" * 16,))
LARGE = MAPPED_FROM * 5


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def objects(root: Path) -> Objects:
    return Objects(root)


@pytest.fixture(params=[100, LARGE], ids=["small", "large"])
def content(request: pytest.FixtureRequest) -> bytes:
    return np.random.default_rng(0).bytes(request.param)


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def flip(path: str, at: int = -1) -> None:
    """Change one byte behind the store's back."""
    data = bytearray(Path(path).read_bytes())
    data[at] ^= 1
    Path(path).write_bytes(data)


def test_what_was_put_is_read_back(objects: Objects, content: bytes) -> None:
    buffers = [content, b"", bytearray(b"second"), memoryview(b"third")]
    oid = objects.put(HEADER, buffers)
    header, read = objects.open(oid)
    assert header == HEADER
    assert [bytes(one) for one in read] == [bytes(one) for one in buffers]


def test_the_id_is_the_hash_of_the_whole_file(objects: Objects, content: bytes) -> None:
    oid = objects.put(HEADER, [content])
    data = Path(objects.path(oid)).read_bytes()
    assert xxhash.xxh3_128_digest(data) == oid
    assert objects.path(oid).endswith(f"/objects/{oid.hex()[:2]}/{oid.hex()[2:]}")


def test_the_same_content_has_the_same_id_in_every_store(tmp_path: Path, content: bytes) -> None:
    ids = set()
    for name in "ab":
        (tmp_path / name).mkdir()
        ids.add(Objects(tmp_path / name).put(HEADER, [content]))
    assert len(ids) == 1


def test_buffers_are_aligned_on_disk_and_in_memory(objects: Objects, content: bytes) -> None:
    oid = objects.put(HEADER, [b"x", content, b"y" * 65])
    data = Path(objects.path(oid)).read_bytes()
    assert data.find(content) % ALIGNMENT == 0
    for buffer in objects.open(oid).buffers:
        assert np.frombuffer(buffer, "u1").ctypes.data % 16 == 0


def test_a_header_without_buffers_is_an_object(objects: Objects) -> None:
    oid = objects.put(Header("test", "T"), [])
    assert objects.open(oid) == (Header("test", "T"), [])


def test_buffers_of_any_item_size_are_stored_by_their_bytes(objects: Objects) -> None:
    for array in (np.arange(6.0).reshape(2, 3), np.zeros((0, 3))):
        data: Any = array
        oid = objects.put(HEADER, [memoryview(data), Chunked(array.nbytes, lambda: [data])])  # noqa: B023
        assert [bytes(one) for one in objects.open(oid).buffers] == [array.tobytes()] * 2


def test_a_buffer_may_be_made_while_it_is_written(objects: Objects) -> None:
    asked: list[int] = []

    def chunks() -> Iterator[bytes]:
        for number in range(3):
            asked.append(number)
            yield bytes([number]) * 1000

    oid = objects.put(HEADER, [b"a", Chunked(3000, chunks), b"b"])
    assert bytes(objects.open(oid).buffers[1]) == b"\0" * 1000 + b"\1" * 1000 + b"\2" * 1000
    assert asked == [0, 1, 2]


def test_a_buffer_that_is_shorter_than_it_says_is_no_object(objects: Objects, root: Path) -> None:
    with pytest.raises(ValueError, match="bytes of what they say"):
        objects.put(HEADER, [Chunked(3000, lambda: [b"x"])])
    assert files(root) == []


def test_put_twice_keeps_the_first_file(objects: Objects, content: bytes, root: Path) -> None:
    oid = objects.put(HEADER, [content])
    before = os.stat(objects.path(oid))
    assert objects.put(HEADER, [content]) == oid
    after = os.stat(objects.path(oid))
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert len(files(root)) == 1


@pytest.mark.parametrize("is_other", [False, True])
def test_put_replaces_a_damaged_file_of_the_same_size(
    objects: Objects, content: bytes, root: Path, is_other: bool
) -> None:
    oid = objects.put(HEADER, [content])
    path = Path(objects.path(oid))
    path.chmod(0o600)
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    writer = Objects(root) if is_other else objects
    assert writer.put(HEADER, [content]) == oid
    assert bytes(objects.open(oid).buffers[0]) == content
    assert len(files(root)) == 1


def test_put_keeps_a_file_that_was_verified(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RACY", -1)
    noted: dict[bytes, Any] = {}
    content = bytes(MAPPED_FROM)
    first = Objects(
        root, is_verified=lambda o, k: noted.get(o) == k, note_verified=noted.__setitem__
    )
    oid = first.put(HEADER, [content])
    first.open(oid)
    before = os.stat(first.path(oid)).st_ino
    other = Objects(root, is_verified=lambda o, k: noted.get(o) == k)
    assert other.put(HEADER, [content]) == oid
    assert os.stat(first.path(oid)).st_ino == before
    assert Objects(root).put(HEADER, [content]) == oid
    assert os.stat(first.path(oid)).st_ino != before


def test_put_replaces_a_file_of_another_size(objects: Objects, content: bytes) -> None:
    oid = objects.put(HEADER, [content])
    os.truncate(objects.path(oid), 70)
    assert objects.put(HEADER, [content]) == oid
    assert bytes(objects.open(oid).buffers[0]) == content


def test_has_tells_what_is_there(objects: Objects) -> None:
    oid = objects.put(HEADER, [b"x"])
    assert objects.has(oid)
    assert not objects.has(b"\0" * 16)


def test_an_absent_object_is_missing(objects: Objects) -> None:
    with pytest.raises(MissingObject, match="00000000000000000000000000000000"):
        objects.open(b"\0" * 16)


def test_a_changed_byte_is_never_returned(objects: Objects, content: bytes, root: Path) -> None:
    for at in (0, 20, 60, 100, -1):
        oid = objects.put(HEADER, [content])
        flip(objects.path(oid), at)
        with pytest.raises(CorruptObject) as caught:
            objects.open(oid)
        assert caught.value.oid == oid  # type: ignore[attr-defined]


def test_a_byte_changed_right_after_a_read_is_seen(objects: Objects) -> None:
    content = os.urandom(LARGE)
    oid = objects.put(HEADER, [content])
    objects.open(oid)
    flip(objects.path(oid))
    with pytest.raises(CorruptObject):
        objects.open(oid)


def test_a_bad_object_goes_to_quarantine_and_can_be_put_again(
    objects: Objects, content: bytes, root: Path
) -> None:
    oid = objects.put(HEADER, [content])
    flip(objects.path(oid))
    with pytest.raises(CorruptObject, match="quarantine"):
        objects.open(oid)
    with pytest.raises(MissingObject):
        objects.open(oid)
    assert [path.name[:32] for path in (root / "quarantine").iterdir()] == [oid.hex()]
    assert objects.put(HEADER, [content]) == oid
    assert bytes(objects.open(oid).buffers[0]) == content


def test_quarantine_keeps_everything_it_ever_got(objects: Objects, root: Path) -> None:
    for _ in range(3):
        oid = objects.put(HEADER, [b"x" * 100])
        flip(objects.path(oid))
        with pytest.raises(CorruptObject):
            objects.open(oid)
    assert len(list((root / "quarantine").iterdir())) == 3


def test_a_good_object_put_meanwhile_does_not_stay_in_quarantine(
    objects: Objects, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    oid = objects.put(HEADER, [b"x" * 100])
    good = Path(objects.path(oid)).read_bytes()
    flip(objects.path(oid))
    rename = os.rename

    def healed_just_before(source: str, target: str) -> None:
        other = root / "other"
        other.write_bytes(good)
        os.replace(other, source)
        rename(source, target)

    monkeypatch.setattr(os, "rename", healed_just_before)
    with pytest.raises(CorruptObject):
        objects.open(oid)
    monkeypatch.undo()
    assert bytes(objects.open(oid).buffers[0]) == b"x" * 100
    assert list((root / "quarantine").iterdir()) == []


@pytest.mark.parametrize("size", [0, 10, 47, 48, 64, 100, LARGE - 1])
def test_a_truncated_object_is_corrupt(objects: Objects, size: int) -> None:
    oid = objects.put(HEADER, [os.urandom(LARGE)])
    objects.open(oid)
    os.truncate(objects.path(oid), size)
    with pytest.raises(CorruptObject):
        objects.open(oid)


def test_an_object_that_grew_is_corrupt(objects: Objects, content: bytes) -> None:
    oid = objects.put(HEADER, [content])
    with open(objects.path(oid), "ab") as file:
        file.write(b"\0" * 64)
    with pytest.raises(CorruptObject):
        objects.open(oid)


def foreign(root: Path, data: bytes) -> bytes:
    """The id of an object that somebody else made: its name is right, its content is anything."""
    oid = xxhash.xxh3_128_digest(data)
    path = Path(Objects(root).path(oid))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return oid


def object_bytes(header: list[Any], front: bytes | None = None) -> bytes:
    packed = msgpack.packb(header)
    start = struct.pack("<8sHHI32s", b"\x89TLOBJ\r\n", 1, 0, len(packed), b"")
    return (front or start) + packed


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x" * 48,
        b"x" * 1000,
        object_bytes(["c", "t", None, [], [2**60]]),
        object_bytes(["c", "t", None, [], [-5]]),
        object_bytes(["c", "t", None, [], [1.5]]),
        object_bytes(["c", "t", None, [], [True]]),
        object_bytes(["c", "t", None, [], 3]),
        object_bytes(["c", "t", None, [10**12], []]),
        object_bytes(["c", "t", None, [b"short"], []]),
        object_bytes(["c", "t", None, 7, []]),
        object_bytes(["c", 1, None, [], []]),
        object_bytes(["c", "t"]),
        object_bytes(["c", "t", None, [], []]) + b"more",
        object_bytes([], struct.pack("<8sHHI32s", b"\x89TLOBJ\r\n", 1, 0, 2**31, b"")),
        object_bytes([])[:-1] + b"\xdd\xff\xff\xff\xff",
        object_bytes([[]], struct.pack("<8sHHI32s", b"\x89TLOBJ\r\n", 1, 0, 30_000, b""))[:-2]
        + b"\xdd\x00\x00\x10\x00" * 6_000,
    ],
)
def test_a_file_with_the_right_name_and_a_senseless_content_is_corrupt(
    objects: Objects, root: Path, data: bytes
) -> None:
    oid = foreign(root, data)
    with pytest.raises(CorruptObject):
        objects.open(oid)


def test_an_object_of_a_newer_layout_says_so_and_stays(objects: Objects, root: Path) -> None:
    front = struct.pack("<8sHHI32s", b"\x89TLOBJ\r\n", 2, 0, 1, b"")
    oid = foreign(root, object_bytes([], front))
    with pytest.raises(StoreError, match=r"layout 2.*newer"):
        objects.open(oid)
    assert objects.has(oid)


def test_buffers_are_writable_and_the_file_never_changes(objects: Objects, content: bytes) -> None:
    oid = objects.put(HEADER, [content])
    first = objects.open(oid).buffers[0]
    first[:4] = b"mine"
    assert bytes(objects.open(oid).buffers[0]) == content
    assert bytes(first[:4]) == b"mine"
    del first
    gc.collect()
    assert bytes(Objects(objects.root).open(oid).buffers[0]) == content


def test_a_map_lives_as_long_as_its_buffers(objects: Objects) -> None:
    content = os.urandom(LARGE)
    oid = objects.put(HEADER, [content])
    buffer = objects.open(oid).buffers[0]
    os.unlink(objects.path(oid))
    gc.collect()
    assert bytes(buffer) == content


def test_many_arrays_alive_leave_descriptors_for_others(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FEW_MAPS", 3)
    monkeypatch.setattr("resource.getrlimit", lambda _: (16, 16))
    monkeypatch.setattr(module, "_MAP_OPTIONS", {})
    content = os.urandom(LARGE)
    oid = objects.put(HEADER, [content])
    before = len(os.listdir("/dev/fd"))
    alive = [objects.open(oid).buffers[0] for _ in range(10)]
    assert len(os.listdir("/dev/fd")) - before <= 4
    alive[9][:4] = b"mine"
    assert all(bytes(buffer) == content for buffer in alive[:9])
    del alive
    gc.collect()
    assert not module._Maps.alive


def test_where_there_are_no_maps_objects_are_read(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(LARGE)
    oid = objects.put(HEADER, [content])
    real = mmap.mmap

    def no_files(descriptor: int, *args: Any, **options: Any) -> mmap.mmap:
        if descriptor != -1:
            raise OSError(errno.ENODEV, "no maps here")
        return real(descriptor, *args, **options)

    monkeypatch.setattr(mmap, "mmap", no_files)
    buffer = objects.open(oid).buffers[0]
    assert bytes(buffer) == content
    buffer[0] = 7


def settle(monkeypatch: pytest.MonkeyPatch, seconds: float = 3600.0) -> None:
    """Let every file be old."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + int(seconds * 1e9))


def count_hashing(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the files that are read to be verified from now on."""
    sizes: list[int] = []
    blocks = module._blocks

    def counted(descriptor: int, size: int) -> Iterator[memoryview]:
        sizes.append(size)
        return blocks(descriptor, size)

    monkeypatch.setattr(module, "_blocks", counted)
    return sizes


def test_a_large_object_is_verified_once(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    oid = objects.put(HEADER, [os.urandom(LARGE)])
    settle(monkeypatch)
    hashed = count_hashing(monkeypatch)
    for _ in range(3):
        objects.open(oid)
    assert len(hashed) == 1


def test_a_file_touched_since_is_verified_again(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    oid = objects.put(HEADER, [os.urandom(LARGE)])
    settle(monkeypatch)
    objects.open(oid)
    flip(objects.path(oid))
    with pytest.raises(CorruptObject):
        objects.open(oid)


def test_a_file_just_written_is_not_trusted_for_long(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    oid = objects.put(HEADER, [os.urandom(LARGE)])
    hashed = count_hashing(monkeypatch)
    objects.open(oid)
    objects.open(oid)
    assert len(hashed) == 2


def test_verifications_are_remembered_by_the_hooks(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory: dict[bytes, StatKey] = {}

    def open_objects() -> Objects:
        return Objects(
            root,
            is_verified=lambda oid, key: memory.get(oid) == key,
            note_verified=memory.__setitem__,
        )

    oid = open_objects().put(HEADER, [os.urandom(LARGE)])
    settle(monkeypatch)
    hashed = count_hashing(monkeypatch)
    for _ in range(3):
        open_objects().open(oid)
    assert len(hashed) == 1
    assert list(memory) == [oid]
    memory[oid] = (0, 0, 0, 0)
    open_objects().open(oid)
    assert len(hashed) == 2


def test_a_failed_write_leaves_nothing_and_says_why(
    objects: Objects, root: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreError, match="No space left") as caught:
        objects.put(HEADER, [content])
    assert caught.value.errno == errno.ENOSPC
    assert files(root) == []
    monkeypatch.undo()
    assert objects.has(objects.put(HEADER, [content]))


@pytest.mark.parametrize("operation", ["replace", "close"])
def test_a_failed_publication_leaves_nothing(
    objects: Objects, root: Path, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_close = os.close

    def fail(*args: Any) -> None:
        if operation == "close":
            real_close(args[0])
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, operation, fail)
    with pytest.raises(StoreError) as caught:
        objects.put(HEADER, [b"x"])
    monkeypatch.undo()
    assert caught.value.errno == errno.EDQUOT
    assert files(root) == []


def test_short_writes_are_completed(
    objects: Objects, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, memoryview(data)[:70_001]))
    oid = objects.put(HEADER, [content, b"tail"])
    assert [bytes(one) for one in objects.open(oid).buffers] == [content, b"tail"]


def test_a_system_that_writes_nothing_is_an_error(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "write", lambda fd, data: 0)
    with pytest.raises(StoreError):
        objects.put(HEADER, [b"x"])


def test_an_interrupt_leaves_nothing(
    objects: Objects, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        objects.put(HEADER, [b"x"])
    assert files(root) == []


def test_a_read_only_store_is_not_written(root: Path) -> None:
    oid = Objects(root).put(HEADER, [b"x"])
    objects = Objects(root, read_only=True)
    with pytest.raises(StoreReadOnly):
        objects.put(HEADER, [b"y"])
    flip(objects.path(oid))
    with pytest.raises(CorruptObject):
        objects.open(oid)
    assert objects.has(oid)
    assert not (root / "quarantine").exists()


def test_a_store_without_permission_is_read_only(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreReadOnly) as caught:
        objects.put(HEADER, [b"y"])
    assert caught.value.errno == errno.EACCES
    with pytest.raises(StoreError):
        objects.open(b"\0" * 16)


def test_a_store_that_is_gone_is_an_error_of_ours(tmp_path: Path) -> None:
    objects = Objects(tmp_path / "gone")
    with pytest.raises(StoreError):
        objects.put(HEADER, [b"x"])
    with pytest.raises(MissingObject):
        objects.open(b"\0" * 16)


@pytest.mark.parametrize(("mode", "wanted"), [(0o700, 0o600), (0o770, 0o660), (0o755, 0o644)])
def test_modes_follow_those_of_the_root(tmp_path: Path, mode: int, wanted: int) -> None:
    root = tmp_path / "store"
    root.mkdir()
    root.chmod(mode)
    old = os.umask(0o077)
    try:
        objects = Objects(root)
        oid = objects.put(HEADER, [b"x"])
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(objects.path(oid)).st_mode) == wanted
    for folder in (root / "objects", Path(objects.path(oid)).parent):
        assert stat.S_IMODE(folder.stat().st_mode) == mode


def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the files and folders that reach the disk from now on."""
    paths: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: paths.append(os.readlink(f"/proc/self/fd/{fd}")))
    return paths


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_power_durability_syncs_file_and_folders(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = synced(monkeypatch)
    objects = Objects(root, durability="power")
    oid = objects.put(HEADER, [b"x"])
    folder = os.path.dirname(objects.path(oid))
    assert {str(root / "objects"), folder, str(root)} < set(paths)
    assert any("/tmp/" in path.removeprefix(str(root)) for path in paths)
    paths.clear()
    objects.put(HEADER, [b"x"])  # there, but perhaps not on the disk yet
    assert objects.path(oid) in paths


def test_process_durability_syncs_nothing(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = synced(monkeypatch)
    objects.put(HEADER, [b"x"])
    assert paths == []


def test_unfinished_files_of_the_dead_can_be_removed(objects: Objects, root: Path) -> None:
    assert objects.remove_stale() == 0
    objects.put(HEADER, [b"x"])
    folder = root / "objects" / "tmp"
    (folder / "old").write_bytes(b"x")
    (folder / "new").write_bytes(b"x")
    os.utime(folder / "old", (0, 0))
    assert objects.remove_stale() == 1
    assert [path.name for path in folder.iterdir()] == ["new"]


def test_threads_put_the_same_and_different_objects_at_once(objects: Objects, root: Path) -> None:
    contents = [os.urandom(2000) for _ in range(8)]
    ids: set[bytes] = set()

    def work() -> None:
        for content in contents:
            oid = objects.put(HEADER, [content])
            assert bytes(objects.open(oid).buffers[0]) == content
            ids.add(oid)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert len(files(root)) == 8


def in_children(count: int, work: Callable[[int], object]) -> None:
    """Run `work` in forked children, all at once; each must succeed."""
    children = []
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                work(number)
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * count


def test_processes_put_the_same_objects_at_once(root: Path) -> None:
    def work(_: int) -> None:
        objects = Objects(root)
        for number in range(50):
            content = bytes([number]) * 5000
            assert bytes(objects.open(objects.put(HEADER, [content])).buffers[0]) == content

    in_children(4, work)
    assert len(files(root)) == 50


def test_a_forked_child_writes_under_names_of_its_own(objects: Objects, root: Path) -> None:
    objects.put(HEADER, [b"x"])
    in_children(4, lambda number: [objects.put(HEADER, [bytes([number]) * 1000])])
    assert len(files(root)) == 5


def test_a_large_buffer_is_never_copied(objects: Objects) -> None:
    array = np.zeros(64 << 20, "u1")
    size, pieces = laid_out(HEADER, [memoryview(array)])
    blocks = [block for block in in_blocks(pieces) if len(block) > 1 << 20]
    assert sum(map(len, blocks)) == array.nbytes
    assert all(isinstance(block, memoryview) and block.obj is array for block in blocks)
    assert size > array.nbytes
