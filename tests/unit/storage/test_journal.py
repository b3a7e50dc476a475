"""The journal: appends of one process, seen by itself and by others, and what damage does to it."""

from __future__ import annotations

import errno
import gc
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasklineage.errors import CorruptObject, MissingObject, StoreError, StoreReadOnly
from tasklineage.storage import frames, listing, oslock, segment
from tasklineage.storage.journal import Damage, Journal, Location
from tasklineage.storage.records import Forget, decode, encode

ROOT = Path(__file__).parents[3]


def forget(number: int, size: int = 8) -> Forget:
    return Forget(number.to_bytes(8, "big") * (size // 8), float(number))


def numbers(frames_found: Any) -> list[int]:
    return [int(decode(frame.kind, frame.payload).at) for frame in frames_found]


def seen(root: Path) -> list[int]:
    """Numbers of the records that a new reader finds."""
    return numbers(Journal(root, read_only=True).scan({}))


def segments(root: Path) -> list[Path]:
    return sorted(path for path in (root / "journal").rglob("[0-9]" * 8) if path.is_file())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def journal(root: Path) -> Journal:
    return Journal(root)


@pytest.fixture(params=["ofd", "flock"])
def locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both kinds of lock."""
    if request.param == "flock":
        monkeypatch.setattr(oslock, "has_ofd", lambda: False)
    elif not oslock.has_ofd():
        pytest.skip("this kernel has no OFD locks")
    return str(request.param)


def killed_writer(root: Path, *appended: Forget) -> str:
    """The id of a writer that was killed after it had appended these."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        child = Journal(root)
        child.append(list(appended))
        os.write(write, child.writer.encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(write)
    with os.fdopen(read) as pipe:
        return pipe.read()


# appending and reading


def test_records_are_read_back_from_their_locations(journal: Journal) -> None:
    places = [*journal.append([forget(1)]), *journal.append([forget(2), forget(3)])]
    assert [journal.read(place) for place in places] == [forget(1), forget(2), forget(3)]
    assert places[0].writer == journal.writer
    assert places[1].offset == places[0].offset + places[0].length


def test_nothing_is_created_before_the_first_append(root: Path) -> None:
    journal = Journal(root)
    assert list(journal.scan({})) == []
    assert not journal.poll()
    assert len(journal.writer) == 16
    assert list(root.iterdir()) == []


def test_an_empty_append_gives_nothing(journal: Journal) -> None:
    assert journal.append([]) == []
    assert journal.append_encoded([]) == []


def test_encoded_payloads_and_records_are_the_same(journal: Journal) -> None:
    (place,) = journal.append_encoded([(9, encode(forget(4)))])
    assert journal.read(place) == forget(4)


def test_another_process_reads_what_one_appends(root: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from tasklineage.storage.journal import Journal\n"
        "from tasklineage.storage.records import Forget\n"
        "print(*Journal(sys.argv[1]).append([Forget(b'key', 7.0)])[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(root), str(ROOT)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    writer, seq, offset, length = done.stdout.split()
    place = Location(writer, int(seq), int(offset), int(length))
    assert Journal(root, read_only=True).read(place) == Forget(b"key", 7.0)


def test_appends_of_many_threads_are_all_there(journal: Journal, root: Path) -> None:
    places: list[Location] = []

    def append(first: int) -> None:
        for number in range(first, first + 50):
            places.extend(journal.append([forget(number)]))

    threads = [threading.Thread(target=append, args=(first * 50,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(seen(root)) == list(range(400))
    assert sorted(journal.read(place).at for place in places) == list(range(400))


def test_a_full_segment_is_followed_by_another(
    journal: Journal, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment, "LIMIT", 300)
    places = [journal.append([forget(number)])[0] for number in range(20)]
    assert len(segments(root)) > 3
    assert seen(root) == list(range(20))
    assert [journal.read(place).at for place in places] == list(range(20))
    assert journal.is_alive(journal.writer)


def test_an_append_longer_than_a_segment_is_cut_into_several(
    journal: Journal, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment, "LIMIT", 200)
    places = journal.append([forget(number) for number in range(30)])
    assert [journal.read(place).at for place in places] == list(range(30))
    assert seen(root) == list(range(30))
    with pytest.raises(StoreError) as caught:
        journal.append([forget(1, size=400)])
    assert caught.value.errno == errno.EFBIG


def test_a_read_only_journal_writes_nothing(root: Path) -> None:
    journal = Journal(root, read_only=True)
    with pytest.raises(StoreReadOnly):
        journal.append([forget(1)])
    assert list(root.iterdir()) == []


def test_a_forbidden_folder_reads_as_read_only(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(StoreReadOnly) as caught:
        Journal(root).append([forget(1)])
    assert caught.value.errno == errno.EACCES


@pytest.mark.parametrize(("mode", "file_mode"), [(0o700, 0o600), (0o770, 0o660), (0o755, 0o644)])
def test_modes_follow_the_root(tmp_path: Path, mode: int, file_mode: int) -> None:
    tmp_path.chmod(mode)
    Journal(tmp_path).append([forget(1)])
    (path,) = segments(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == file_mode
    assert stat.S_IMODE(path.parent.stat().st_mode) == mode


def test_durability_power_flushes_file_and_folders(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda fd: (flushed.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd))
    )
    if not Path("/proc/self/fd").exists():
        pytest.skip("no /proc here")
    journal = Journal(root, durability="power")
    journal.append([forget(1)])
    writer = root / "journal" / journal.writer
    folders = [writer, root / "journal", root]
    assert flushed[1:] == [*map(str, folders), str(writer / "00000001")]
    flushed.clear()
    journal.append([forget(2)])
    assert flushed == [str(writer / "00000001")]


def test_a_dropped_journal_leaves_no_descriptors(root: Path) -> None:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("no /proc here")
    gc.collect()
    before = len(list(folder.iterdir()))
    for _ in range(20):
        journal = Journal(root)
        (place,) = journal.append([forget(1)])
        journal.read(place)
        list(journal.scan({}))
        assert not journal.poll()
        del journal
    gc.collect()
    assert len(list(folder.iterdir())) <= before + 2


# failures of the disk


def failing(monkeypatch: pytest.MonkeyPatch, name: str, number: int, keep: float = 0.0) -> None:
    """Let `os.<name>` fail with "no space" from now on, after having written a part."""
    original = getattr(os, name)

    def fail(fd: int, *args: Any) -> Any:
        if keep and not isinstance(args[0], int):
            original(fd, args[0][: int(len(args[0]) * keep)], *args[1:])
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, name, fail)


def test_a_torn_write_is_cut_off_and_the_segment_goes_on(
    journal: Journal, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.append([forget(1)])
    with monkeypatch.context() as patch:
        failing(patch, "pwrite", errno.ENOSPC, keep=0.5)
        with pytest.raises(StoreError) as caught:
            journal.append([forget(2)])
    assert caught.value.errno == errno.ENOSPC
    journal.append([forget(3)])
    assert seen(root) == [1, 3]
    assert len(segments(root)) == 1


def test_whole_frames_of_a_torn_append_stay(
    journal: Journal, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        journal.append([forget(1)])
        failing(patch, "pwrite", errno.ENOSPC, keep=0.9)
        with pytest.raises(StoreError):
            journal.append([forget(2), forget(3), forget(4)])
    journal.append([forget(5)])
    assert seen(root) == [1, 2, 3, 5]


def test_a_segment_that_cannot_be_cut_is_abandoned(
    journal: Journal, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.append([forget(1)])
    with monkeypatch.context() as patch:
        failing(patch, "pwrite", errno.ENOSPC, keep=0.5)
        failing(patch, "ftruncate", errno.EIO)
        with pytest.raises(StoreError) as caught:
            journal.append([forget(2)])
    assert caught.value.errno == errno.ENOSPC
    journal.append([forget(3)])
    assert seen(root) == [1, 3]
    assert len(segments(root)) == 2
    assert journal.is_alive(journal.writer)


def test_a_failed_flush_abandons_the_segment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(root, durability="power")
    journal.append([forget(1)])
    with monkeypatch.context() as patch:
        failing(patch, "fsync", errno.EIO)
        with pytest.raises(StoreError):
            journal.append([forget(2)])
    journal.append([forget(3)])
    assert set(seen(root)) >= {1, 3}
    assert len(segments(root)) == 2


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_interrupted_append_leaves_a_journal_that_goes_on(
    journal: Journal, root: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = journal.append([forget(1)])
    pwrite = os.pwrite

    def interrupted(fd: int, data: bytes, offset: int) -> int:
        if moment == "after":
            pwrite(fd, data, offset)
        else:
            pwrite(fd, data[:10], offset)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", interrupted)
        with pytest.raises(KeyboardInterrupt):
            journal.append([forget(2)])
    (third,) = journal.append([forget(3)])
    assert seen(root) == ([1, 2, 3] if moment == "after" else [1, 3])
    assert (journal.read(first).at, journal.read(third).at) == (1, 3)


def test_a_journal_that_was_removed_begins_again(journal: Journal, root: Path) -> None:
    journal.append([forget(1)])
    assert not journal.poll()
    for path in segments(root):
        path.unlink()
        path.parent.rmdir()
    (root / "journal").rmdir()
    journal.poll()
    journal.append([forget(2)])
    assert seen(root) == [2]
    other = Journal(root)
    other.append([forget(3)])
    journal.poll()
    assert journal.poll()
    assert sorted(numbers(journal.scan({}))) == [2, 3]


# several writers


def test_poll_tells_whether_others_have_appended_since_the_last_scan(root: Path) -> None:
    one, two = Journal(root), Journal(root)
    assert not one.poll()
    one.append([forget(1)])
    assert not one.poll()
    two.append([forget(2)])
    assert one.poll()
    assert sorted(numbers(one.scan({}))) == [1, 2]
    assert not one.poll()
    two.append([forget(3)])
    assert one.poll()
    assert one.poll()
    list(one.scan({}))
    one.append([forget(4)])
    assert not one.poll()


def test_segments_that_appear_within_one_tick_of_the_clock_are_seen(root: Path) -> None:
    reader = Journal(root)
    for number in range(30):
        Journal(root).append([forget(number)])
        assert reader.poll()
        assert numbers(reader.scan({}))[-1] == number
        assert not reader.poll()


def test_a_stamp_that_has_aged_saves_the_listing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Journal(root).append([forget(1)])
    reader = Journal(root)
    list(reader.scan({}))
    monkeypatch.setattr(listing, "_TICK", 0)
    monkeypatch.setattr(listing, "_COARSE_TICK", 0)
    list(reader.scan({}))
    monkeypatch.setattr(os, "listdir", None)
    assert not reader.poll()


def test_a_segment_begun_by_a_writer_that_is_known_is_seen(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment, "LIMIT", 200)
    writer, reader = Journal(root), Journal(root)
    cursor = reader.cursor()
    found: list[int] = []
    for number in range(20):
        writer.append([forget(number)])
        assert cursor.poll()
        for batch in cursor.batches():
            found += [int(decode(kind, payload).at) for _, _, kind, payload in batch.frames]
        assert not cursor.poll()
    assert found == list(range(20))


def test_scan_gives_what_stands_beyond_the_offsets(root: Path) -> None:
    one, two = Journal(root), Journal(root)
    (place,) = one.append([forget(1)])
    two.append([forget(2)])
    one.append([forget(3)])
    since = {(place.writer, place.seq): place.offset + place.length}
    assert sorted(numbers(two.scan(since))) == [2, 3]
    assert numbers(two.scan(since, kinds={1})) == []


def test_locations_of_a_scan_can_be_read(root: Path) -> None:
    Journal(root).append([forget(number) for number in range(5)])
    reader = Journal(root, read_only=True)
    assert [reader.read(frame.location).at for frame in reader.scan({})] == [0, 1, 2, 3, 4]


def test_two_cursors_do_not_disturb_each_other(root: Path) -> None:
    writer, reader = Journal(root), Journal(root)
    writer.append([forget(1)])
    fast, slow = reader.cursor(), reader.cursor()
    assert [len(batch.frames) for batch in fast.batches()] == [1]
    assert not fast.poll()
    assert slow.poll()
    writer.append([forget(2)])
    assert [len(batch.frames) for batch in slow.batches()] == [2]
    assert fast.poll()
    assert fast.offsets != slow.offsets
    assert [len(batch.frames) for batch in fast.batches()] == [1]
    assert fast.offsets == slow.offsets


def test_a_batch_that_was_not_finished_comes_again(root: Path) -> None:
    Journal(root).append([forget(1)])
    cursor = Journal(root).cursor()
    for _ in cursor.batches():
        break
    assert cursor.offsets == {}
    assert [len(batch.frames) for batch in cursor.batches()] == [1]


def test_a_cursor_goes_on_where_another_life_has_ended(root: Path) -> None:
    dead = killed_writer(root, forget(1))
    live = Journal(root)
    live.append([forget(2)])
    first = Journal(root).cursor()
    assert sum(len(batch.frames) for batch in first.batches()) == 2
    assert first.finished == {dead}
    live.append([forget(3)])
    second = Journal(root).cursor(first.offsets, first.finished)
    assert second.poll()
    assert [len(batch.frames) for batch in second.batches()] == [1]
    assert second.finished == {dead}


def test_a_reader_without_memory_sees_what_another_has_finished(root: Path) -> None:
    dead = killed_writer(root, forget(1))
    reader = Journal(root)
    knowing = reader.cursor({}, {dead})
    assert list(knowing.batches()) == []
    assert [len(batch.frames) for batch in reader.cursor().batches()] == [1]


def test_frames_longer_than_a_chunk_are_read(
    journal: Journal, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasklineage.storage.journal._CHUNK", 300)
    for number in range(20):
        journal.append([forget(number, size=8 * (1 + number**2))])
    assert seen(root) == list(range(20))


WRITER = """
import signal, sys
signal.alarm(60)
sys.path.insert(0, sys.argv[2])
from tasklineage.storage import segment
from tasklineage.storage.journal import Journal
from tasklineage.storage.records import Forget
segment.LIMIT = 5000
journal = Journal(sys.argv[1])
for number in range(int(sys.argv[3])):
    journal.append([Forget(number.to_bytes(8, "big"), float(number))] * (1 + number % 3))
"""


@pytest.mark.slow
def test_a_reader_beside_busy_writers_misses_nothing_and_sees_nothing_twice(root: Path) -> None:
    count = 600
    reader = Journal(root, read_only=True)
    cursor = reader.cursor()
    found: dict[str, list[int]] = {}
    damage: list[Damage] = []
    command = [sys.executable, "-c", WRITER, str(root), str(ROOT), str(count)]
    writers = [subprocess.Popen(command) for _ in range(4)]
    is_over = False
    while not is_over or cursor.poll():
        is_over = all(writer.poll() is not None for writer in writers)
        for batch in cursor.batches(on_damage=damage.append):
            numbers = [int(decode(kind, payload).at) for _, _, kind, payload in batch.frames]
            found.setdefault(batch.writer, []).extend(numbers)
    assert [writer.wait() for writer in writers] == [0] * 4
    expected = [number for number in range(count) for _ in range(1 + number % 3)]
    assert list(found.values()) == [expected] * 4
    assert damage == []
    assert cursor.finished == found.keys()


# the living and the dead


def test_a_writer_lives_until_it_is_killed(root: Path, locks: str) -> None:
    reader = Journal(root, read_only=True)
    live = Journal(root)
    live.append([forget(1)])
    assert reader.is_alive(live.writer)
    assert live.is_alive(live.writer)
    assert not reader.is_alive(killed_writer(root, forget(2)))
    assert not reader.is_alive("0123456789abcdef")
    assert not reader.is_alive("../../etc")
    writer = live.writer
    live.close()
    assert not reader.is_alive(writer)
    live.append([forget(3)])
    assert reader.is_alive(writer)
    assert sorted(seen(root)) == [1, 2, 3]


def test_the_head_says_whose_a_segment_is(journal: Journal) -> None:
    assert journal.head(journal.writer) is None
    journal.append([forget(1)])
    head = journal.head(journal.writer)
    assert head is not None
    assert (head.writer, head.seq, head.pid) == (journal.writer, 1, os.getpid())
    assert abs(head.started - time.time()) < 60
    assert journal.head("nobody") is None


def test_an_unfinished_frame_of_the_living_is_not_yet_and_of_the_dead_is_the_end(
    root: Path,
) -> None:
    dead = killed_writer(root, forget(1), forget(2))
    live = Journal(root)
    live.append([forget(3)])
    for path in segments(root):
        with path.open("ab") as file:
            file.write(frames.encode(9, b"x" * 50, 0, 0)[:40])
    damage: list[Damage] = []
    reader = Journal(root)
    assert sorted(numbers(reader.scan({}, on_damage=damage.append))) == [1, 2, 3]
    assert [(one.writer, one.reason) for one in damage] == [(dead, "unfinished")]
    assert reader.poll()
    live.append([forget(4)])  # over the rest, as its owner knows its own end
    assert sorted(numbers(reader.scan({}))) == [1, 2, 3, 4]


def test_a_forked_child_is_a_writer_of_its_own(journal: Journal, root: Path) -> None:
    journal.append([forget(1)])
    parent = journal.writer
    in_child(lambda: (journal.append([forget(2)]), journal.writer != parent and None))
    journal.append([forget(3)])
    assert sorted(seen(root)) == [1, 2, 3]
    assert len({path.parent for path in segments(root)}) == 2


def test_a_forked_child_sees_its_parent_as_another(journal: Journal, root: Path) -> None:
    journal.append([forget(1)])
    cursor = journal.cursor()
    list(cursor.batches())
    parent, child = os.pipe(), os.pipe()

    def body() -> None:
        assert journal.is_alive(writer)
        assert not cursor.poll()
        os.write(child[1], b"x")
        os.read(parent[0], 1)
        assert cursor.poll()
        found = [frame for batch in cursor.batches() for frame in batch.frames]
        assert [int(decode(kind, payload).at) for _, _, kind, payload in found] == [2]

    writer = journal.writer
    pid = fork(body)
    os.read(child[0], 1)
    journal.append([forget(2)])
    os.write(parent[1], b"x")
    assert os.waitpid(pid, 0)[1] == 0
    for fd in (*parent, *child):
        os.close(fd)


def test_forks_during_appends_of_other_threads_do_not_hang(journal: Journal, root: Path) -> None:
    stop = threading.Event()

    def append() -> None:
        while not stop.is_set():
            journal.append([forget(0)])

    thread = threading.Thread(target=append)
    thread.start()
    try:
        for number in range(1, 15):
            in_child(lambda number=number: journal.append([forget(number)]))  # type: ignore[misc]
    finally:
        stop.set()
        thread.join(timeout=60)
    assert set(seen(root)) == set(range(15))


@pytest.mark.parametrize("alive", [True, False])
def test_without_locks_the_process_id_tells_the_living(
    root: Path, alive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(segment, "lock_file", refuse)
    monkeypatch.setattr(segment, "is_file_locked", refuse)
    if alive:
        other = Journal(root)
        other.append([forget(1)])
        writer = other.writer
    else:
        writer = killed_writer(root, forget(1))
    reader = Journal(root)
    assert reader.is_alive(writer) == alive
    assert numbers(reader.scan({})) == [1]


@pytest.mark.parametrize(("age", "is_over"), [(1, False), (3600, False), (90_000, True)])
def test_a_segment_of_another_machine_is_finished_once_it_is_old(
    root: Path, age: float, is_over: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(segment, "boot", lambda: "another machine")
        other = Journal(root)
        other.append([forget(1)])
        writer = other.writer
        other.close()
    (path,) = segments(root)
    os.utime(path, (time.time() - age, time.time() - age))
    reader = Journal(root)
    cursor = reader.cursor()
    assert [len(batch.frames) for batch in cursor.batches()] == [1]
    assert not reader.is_alive(writer)
    assert cursor.finished == ({writer} if is_over else frozenset())
    assert not cursor.poll()
    with path.open("ab") as file:  # it lives, and its lock is not seen here
        file.write(
            frames.encode(9, encode(forget(2)), frames.place(writer, 1), path.stat().st_size)
        )
    Journal(root).append([forget(3)])
    assert cursor.poll()
    assert sum(len(batch.frames) for batch in cursor.batches()) == (1 if is_over else 2)


def test_a_writer_that_another_cursor_has_found_finished_is_not_finished_for_this_one(
    root: Path,
) -> None:
    reader = Journal(root)
    one, two = reader.cursor(), reader.cursor()
    assert list(one.batches()) == []
    dead = killed_writer(root, forget(1))
    assert len(list(two.batches())) == 1
    assert (one.finished, two.finished) == (frozenset(), {dead})
    assert len(list(one.batches())) == 1
    assert one.finished == {dead}


def test_a_signal_handlers_error_is_not_taken_for_one_of_the_store(
    journal: Journal, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object) -> None:
        raise TimeoutError("the user's alarm")

    journal.append([forget(1)])
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", interrupted)
        with pytest.raises(TimeoutError, match="alarm"):
            journal.append([forget(2)])
    journal.append([forget(3)])
    assert seen(root) == [1, 3]


def test_a_segment_that_fails_to_be_read_is_told_and_not_finished(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = killed_writer(root, forget(1))
    reader = Journal(root)
    cursor = reader.cursor()
    assert cursor.poll()

    def fail(*args: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    damage: list[Damage] = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", fail)
        assert list(cursor.batches(on_damage=damage.append)) == []
    assert [one.reason for one in damage] == ["Input/output error"]
    assert writer not in cursor.finished
    assert writer not in cursor.offsets
    assert seen(root) == [1]


# damage


def test_an_overwritten_record_is_corrupt_and_the_others_are_found(
    journal: Journal, root: Path
) -> None:
    places = [journal.append([forget(number)])[0] for number in range(3)]
    assert journal.read(places[1]).at == 1
    damage_at(segments(root)[0], places[1].offset + 25)
    reader = Journal(root)
    with pytest.raises(CorruptObject):
        reader.read(places[1])
    damage: list[Damage] = []
    assert numbers(reader.scan({}, on_damage=damage.append)) == [0, 2]
    ends = places[1].offset + places[1].length
    assert [one[2:] for one in damage] == [(places[1].offset, ends, "damaged")]


def test_a_wrong_location_never_yields_a_record(journal: Journal) -> None:
    (place,) = journal.append([forget(1)])
    wrong = [
        place._replace(offset=place.offset + 1),
        place._replace(offset=-1),
        place._replace(offset=1 << 62),
        place._replace(length=place.length - 1),
        place._replace(length=place.length + 1),
        place._replace(length=1 << 60),
        place._replace(length=-5),
    ]
    for _ in range(3):  # from the file, and from the cache
        assert journal.read(place) == forget(1)
        for location in wrong:
            with pytest.raises(CorruptObject):
                journal.read(location)


@pytest.mark.parametrize("writer", ["0123456789abcdef", "../../../../etc/pa", "", "x" * 16])
def test_a_segment_that_is_gone_is_missing(journal: Journal, writer: str) -> None:
    with pytest.raises(MissingObject):
        journal.read(Location(writer, 1, 0, 100))


def test_an_unknown_kind_is_corrupt(journal: Journal) -> None:
    (place,) = journal.append_encoded([(200, b"payload")])
    for _ in range(3):
        with pytest.raises(CorruptObject):
            journal.read(place)


def test_cached_blocks_do_not_hide_what_came_later(journal: Journal) -> None:
    places: list[Location] = []
    for number in range(200):
        places += journal.append([forget(number)])
        assert journal.read(places[-1]).at == number
        assert journal.read(places[number // 2]).at == number // 2


def test_more_blocks_than_the_cache_holds_are_read(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in [("_SHIFT", 8), ("_SIZE", 256), ("_INSIDE", 255), ("_GENERATION", 2)]:
        monkeypatch.setattr(f"tasklineage.storage.blocks.{name}", value)
    places = [journal.append([forget(number)])[0] for number in range(60)]
    for step in (1, 7, 1, -1):
        for number in range(59, -1, step) if step < 0 else range(0, 60, step):
            assert journal.read(places[number]).at == number


def test_the_files_of_many_segments_are_read(
    journal: Journal, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment, "LIMIT", 100)
    monkeypatch.setattr("tasklineage.storage.blocks._FILES", 3)
    places = [journal.append([forget(number)])[0] for number in range(12)]
    for _ in range(2):
        assert [journal.read(place).at for place in places] == list(range(12))
    journal.close()
    assert journal.read(places[5]).at == 5


def damage_at(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(content)


@settings(max_examples=60)
@given(st.data())
def test_any_damage_is_survived(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("store")
    writer = Journal(root)
    places = writer.append([forget(number) for number in range(6)])
    writer.close()
    (path,) = segments(root)
    content = bytearray(path.read_bytes())
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(start + 60, len(content))))
    piece = data.draw(st.one_of(st.binary(max_size=80), st.just(bytes(end - start)), st.just(b"")))
    content[start:end] = piece
    path.write_bytes(content)
    reader = Journal(root)
    found = {frame.location: decode(frame.kind, frame.payload) for frame in reader.scan({})}
    for number, place in enumerate(places):
        is_behind = place.offset >= end and len(piece) == end - start
        is_whole = place.offset + place.length <= start or is_behind
        assert found.pop(place, None) == forget(number) or not is_whole
        try:
            assert reader.read(place) == forget(number)
        except CorruptObject:
            assert not is_whole
    assert found == {}


def test_a_sparse_file_is_not_read_into_memory(root: Path) -> None:
    killed_writer(root, forget(1))
    (path,) = segments(root)
    os.truncate(path, 1 << 40)
    damage: list[Damage] = []
    monitor = Journal(root)
    assert numbers(monitor.scan({}, on_damage=damage.append)) == [1]
    assert {one.reason for one in damage} == {"damaged"}


def strange_things(folder: Path) -> Iterator[Callable[[], object]]:
    yield lambda: (folder / "README").write_text("hello")
    yield lambda: (folder / "0123456789abcdef").write_text("no folder")
    yield lambda: (folder / "1123456789abcdef").mkdir()
    yield lambda: (folder / "2123456789abcdef" / "00000001").mkdir(parents=True)
    yield lambda: (folder / "2123456789abcdef" / "notes.txt").write_text("x")
    yield lambda: (folder / "2123456789abcdef" / "00000002").write_bytes(b"")
    yield lambda: os.mkfifo(folder / "2123456789abcdef" / "00000003")
    yield lambda: (folder / "2123456789abcdef" / "00000004").symlink_to("/dev/zero")
    yield lambda: (folder / ".0123456789abcdef-00000001").write_bytes(b"left behind")


def test_strange_things_in_the_folder_are_left_alone(journal: Journal, root: Path) -> None:
    journal.append([forget(1)])
    for make in strange_things(root / "journal"):
        make()
        reader = Journal(root)
        assert numbers(reader.scan({})) == [1]
        assert not reader.poll()


def test_a_segment_that_may_not_be_read_is_told_and_not_finished(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = killed_writer(root, forget(1))
    Journal(root).append([forget(2)])
    original = os.open

    def refuse(path: Any, *args: Any, **kwargs: Any) -> int:
        if writer in str(path):
            raise PermissionError(errno.EACCES, "Permission denied")
        return original(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    damage: list[Damage] = []
    reader = Journal(root)
    cursor = reader.cursor()
    assert sum(len(one.frames) for one in cursor.batches(on_damage=damage.append)) == 1
    assert [(one.writer, one.reason) for one in damage] == [(writer, "Permission denied")]
    assert writer not in cursor.finished


# helpers


def fork(body: Callable[[], object]) -> int:
    """The id of a child that runs `body` and ends with 0 if nothing was raised."""
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(60)
    status = 1
    try:
        body()
        status = 0
    except BaseException as error:
        os.write(2, f"in the child: {error!r}\n".encode())
    os._exit(status)


def in_child(body: Callable[[], object]) -> None:
    assert os.waitpid(fork(body), 0)[1] == 0
