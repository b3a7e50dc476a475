"""The store: what is appended is found, by everybody, and only what was verified is believed."""

from __future__ import annotations

import gc
import math
import os
import pickle
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasklineage import config
from tasklineage.errors import ConfigError, StoreError, StoreNotFound
from tasklineage.key.digest import digest
from tasklineage.storage import memos, tail
from tasklineage.storage import store as module
from tasklineage.storage.catalog import FILE
from tasklineage.storage.frames import Location
from tasklineage.storage.opening import as_store, open_store
from tasklineage.storage.records import CallBegin, CallEnd, Code, Forget, Ref, RunBegin
from tasklineage.storage.store import SAVED_FROM, Store
from tests.unit.storage.history import History, digest_of, inline

CODE = digest_of("pkg.train")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> Iterator[Store]:
    made = open_store(root)
    yield made
    made.close()


@pytest.fixture
def history() -> History:
    return History()


@pytest.fixture
def run(store: Store, history: History) -> RunBegin:
    begun = history.run()
    store.append(begun)
    return begun


def other_process(root: Path, **options: Any) -> Store:
    """What another process sees: nothing that this one has in memory."""
    return Store(root, **options)


def segments(root: Path) -> list[Path]:
    return sorted(path for path in (root / "journal").glob("*/*") if path.is_file())


def damage(root: Path, location: Location, at: int = 40) -> None:
    """Flip a bit of one record."""
    file = root / "journal" / location.writer / f"{location.seq:08d}"
    with open(file, "r+b") as opened:
        opened.seek(location.offset + at)
        byte = opened.read(1)[0]
        opened.seek(location.offset + at)
        opened.write(bytes([byte ^ 1]))


# Memos.


def test_a_memo_is_found_as_soon_as_it_is_appended(
    store: Store, run: RunBegin, history: History
) -> None:
    begun, end = history.call(run)
    assert store.find_memo(CODE, end.key) is None
    store.append(begun)
    assert store.find_memo(CODE, end.key) is None
    store.append(end)
    assert store.find_memo(CODE, end.key) == end


@pytest.mark.parametrize("synced", [False, True])
def test_a_memo_is_found_by_another_process(
    root: Path, store: Store, run: RunBegin, history: History, synced: bool
) -> None:
    ends = [history.call(run)[1] for _ in range(3)]
    store.append(*ends)
    if synced:
        store.catalog.sync()
    later = history.call(run)[1]
    store.append(later)
    other = other_process(root)
    assert [other.find_memo(CODE, end.key) for end in (*ends, later)] == [*ends, later]
    assert other.find_memo(CODE, b"?" * 16) is None
    assert other.find_memos(CODE, [later.key, b"?" * 16, ends[0].key]) == [later, None, ends[0]]


def test_what_others_append_is_found_after_catching_up(
    root: Path, store: Store, run: RunBegin, history: History
) -> None:
    other = other_process(root)
    assert other.catch_up()
    assert not other.catch_up()
    end = history.call(run)[1]
    store.append(end)
    assert other.find_memo(CODE, end.key) is None
    assert other.catch_up()
    assert other.find_memo(CODE, end.key) == end
    assert not other.catch_up()


def test_catching_up_does_not_read_what_this_process_has_written(
    root: Path, store: Store, run: RunBegin, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.catch_up()
    read: list[bytes] = []
    match = tail._end
    monkeypatch.setattr(tail, "_end", lambda payload: (read.append(payload), match(payload))[1])
    store.append(*[history.call(run)[1] for _ in range(5)])
    other_process(root).append(history.call(run)[1])
    assert store.catch_up()
    assert len(read) == 1


@pytest.mark.parametrize("status", ["failed", "caught", "skipped", "cancelled", "timeout", "done"])
@pytest.mark.parametrize("synced", [False, True])
def test_only_a_memo_answers(
    root: Path, store: Store, run: RunBegin, history: History, status: str, synced: bool
) -> None:
    end = history.call(run, status=status, memo=False)[1]
    store.append(end)
    if synced:
        store.catalog.sync()
    assert store.find_memo(CODE, end.key) is None
    assert other_process(root).find_memo(CODE, end.key) is None


@pytest.mark.parametrize("synced", [False, True])
def test_of_several_memos_the_newest_answers(
    root: Path, store: Store, run: RunBegin, history: History, synced: bool
) -> None:
    ends = [history.call(run, key=1)[1] for _ in range(3)]
    store.append(ends[2], ends[0])
    if synced:
        store.catalog.sync()
    store.append(ends[1])
    for one in (store, other_process(root)):
        assert one.find_memo(CODE, ends[0].key) == ends[2]


@pytest.mark.parametrize("synced", ["never", "before", "after"])
def test_a_forgotten_key_does_not_answer_until_it_is_computed_anew(
    root: Path, store: Store, run: RunBegin, history: History, synced: str
) -> None:
    gone, kept = history.call(run)[1], history.call(run)[1]
    other = other_process(root)
    store.append(gone, kept)
    other.catch_up()
    if synced == "before":
        store.catalog.sync()
    store.forget(gone.key)
    if synced == "after":
        store.catalog.sync()
    assert store.find_memo(CODE, gone.key) is None
    assert other.catch_up()
    for one in (store, other, other_process(root)):
        assert one.find_memo(CODE, gone.key) is None
        assert one.find_memo(CODE, kept.key) == kept
    again = gone._replace(id=history.id(), ended=time.time() + 1)
    store.append(again)
    other.catch_up()
    for one in (store, other, other_process(root)):
        assert one.find_memo(CODE, gone.key) == again


def test_forgetting_works_when_the_clock_was_ahead(
    root: Path, store: Store, run: RunBegin, history: History
) -> None:
    end = history.call(run)[1]._replace(ended=time.time() + 3600)
    store.append(end)
    store.forget(end.key)
    assert store.find_memo(CODE, end.key) is None
    assert other_process(root).find_memo(CODE, end.key) is None


@pytest.mark.parametrize("synced", [False, True])
def test_a_damaged_memo_is_a_miss_and_heals(
    root: Path, store: Store, run: RunBegin, history: History, synced: bool
) -> None:
    end, kept = history.call(run)[1], history.call(run)[1]
    places = store.journal.append([end, kept])
    if synced:
        store.catalog.sync()
    damage(root, places[0])
    other = other_process(root)
    assert other.find_memo(CODE, end.key) is None
    assert other.find_memo(CODE, kept.key) == kept
    again = end._replace(id=history.id(), ended=history.now())
    other.append(again)
    for one in (other, other_process(root)):
        assert one.find_memo(CODE, end.key) == again


@pytest.mark.parametrize("synced", [False, True])
def test_damage_that_comes_after_indexing_is_a_miss_too(
    root: Path, store: Store, run: RunBegin, history: History, synced: bool
) -> None:
    end = history.call(run)[1]
    place = store.journal.append([end])[0]
    if synced:
        store.catalog.sync()
    other = other_process(root)
    other.catch_up()
    damage(root, place)
    assert other.find_memo(CODE, end.key) is None
    assert other.find_memo(CODE, end.key) is None


def test_an_older_memo_answers_where_the_newest_is_damaged(
    root: Path, store: Store, run: RunBegin, history: History
) -> None:
    old, new = (history.call(run, key=1)[1] for _ in range(2))
    places = store.journal.append([old, new])
    store.catalog.sync()
    damage(root, places[1])
    assert other_process(root).find_memo(CODE, old.key) == old


def test_a_memo_whose_segment_is_gone_is_a_miss(
    root: Path, store: Store, run: RunBegin, history: History
) -> None:
    end = history.call(run)[1]
    store.append(end)
    store.catalog.sync()
    store.close()
    for file in segments(root):
        file.unlink()
    other = other_process(root)
    assert other.find_memo(CODE, end.key) is None
    other.append(end)
    assert other.find_memo(CODE, end.key) == end


def test_a_row_of_the_catalog_is_not_believed(
    root: Path, store: Store, run: RunBegin, history: History
) -> None:
    """A row that leads to another record, whole and sound, does not make that an answer."""
    import sqlite3

    mine, other = history.call(run)[1], history.call(run)[1]
    failed = history.call(run, status="failed")[1]
    places = store.journal.append([mine, other, failed])
    store.catalog.sync()
    times = os.stat(root / FILE)
    for place in (places[1], places[2]):
        connection = sqlite3.connect(root / FILE)
        connection.execute(
            "UPDATE memos SET offset = ?, length = ? WHERE key = ?",
            (place.offset, place.length, mine.key),
        )
        connection.commit()
        connection.close()
        os.utime(root / FILE, ns=(times.st_atime_ns, times.st_mtime_ns))
        lookup = other_process(root)
        assert lookup.find_memo(CODE, mine.key) is None
        assert lookup.find_memo(CODE, other.key) == other


def test_of_a_task_with_many_memos_single_keys_are_looked_up(
    root: Path, store: Store, run: RunBegin, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memos, "MANY", 10)
    ends = [history.call(run)[1] for _ in range(30)]
    store.append(*ends)
    store.catalog.sync()
    store.append(new := history.call(run)[1])
    other = other_process(root)
    keys = [end.key for end in ends]
    assert other.find_memos(CODE, [*keys[::3], b"?" * 16]) == [*ends[::3], None]
    assert other.find_memo(CODE, keys[1]) == ends[1]
    assert other.find_memo(CODE, new.key) == new
    assert other.find_memo(CODE, b"?" * 16) is None
    assert len(other._newest) == 12


def test_damage_to_one_of_very_many_memos_is_a_miss(
    root: Path, store: Store, run: RunBegin, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memos, "MANY", 10)
    ends = [history.call(run)[1] for _ in range(30)]
    places = store.journal.append(ends)
    store.catalog.sync()
    damage(root, places[7])
    other = other_process(root)
    expected = [*ends[:7], None, *ends[8:]]
    assert [other.find_memo(CODE, end.key) for end in ends] == expected
    assert other.find_memos(CODE, [end.key for end in ends]) == expected
    again = ends[7]._replace(id=history.id(), ended=1.0)  # the clock has been set back
    other.append(again)
    assert other.find_memo(CODE, again.key) == again
    assert other_process(root).find_memo(CODE, again.key) == again


def test_a_long_tail_goes_into_the_catalog_instead_of_memory(
    root: Path, store: Store, run: RunBegin, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "LONGEST", 10)
    ends = [history.call(run)[1] for _ in range(30)]
    store.append(*ends)
    other = other_process(root)
    other.catch_up()
    assert not other._newest
    assert (root / FILE).exists()
    assert [other.find_memo(CODE, end.key) for end in ends] == ends


@pytest.mark.parametrize("how", ["deleted", "garbled", "older"])
def test_a_catalog_that_changes_under_an_open_store_loses_nothing(
    root: Path, store: Store, run: RunBegin, history: History, how: str
) -> None:
    ends = [history.call(run)[1] for _ in range(4)]
    store.append(*ends[:2])
    store.catalog.sync()
    older = (root / FILE).read_bytes(), os.stat(root / FILE).st_mtime_ns
    store.append(*ends[2:])
    store.catalog.sync()
    other = other_process(root)
    other.catch_up()
    if how == "deleted":
        (root / FILE).unlink()
    elif how == "garbled":
        (root / FILE).write_bytes(os.urandom(5000))
    else:
        (root / FILE).unlink()
        (root / FILE).write_bytes(older[0])
        os.utime(root / FILE, ns=(older[1], older[1]))
    assert [other.find_memo(CODE, end.key) for end in ends] == ends


def test_the_fast_way_of_reading_a_call_agrees_with_decoding(history: History) -> None:
    """`tail` finds key, end and memo flag of a call by a pattern."""
    from tasklineage.storage.records import encode

    run = history.run()
    for task in ("f", "pkg.train", "x" * 40, "y" * 300, "é" * 30, "\u0110" * 200, "\x10" * 196):
        for position in (None, (0, None), (1, 5), (300, 70_000), (2**40, 2**40)):
            for status, memo in (("done", True), ("done", False), ("failed", False)):
                for parent in (None, history.id()):
                    begun = history.begin(run, task, parent=parent)
                    end = history.end(
                        begun._replace(position=None), status, memo=memo, output=inline(3)
                    )._replace(position=position)
                    found = tail._end(encode(end))
                    assert found is not None, (task, position, status)
                    key, ended, flag = found.groups()
                    assert (key, tail._seconds(ended)[0]) == (end.key, end.ended)
                    assert (flag == b"\xc3") is memo


def test_records_in_another_form_than_ours_are_understood(
    root: Path, store: Store, run: RunBegin, history: History
) -> None:
    """Another writer may pack numbers and positions as it likes."""
    import msgpack

    end = history.call(run, output=inline(1))[1]
    packed = msgpack.packb([*end[:6], 3, [1, 2], "done", 4, True, end.output])
    assert tail._end(packed) is None
    odd = msgpack.packb([history.id(), *end[1:5], {"a": 1}, 3, None, "done", "late", True, [1]])
    store.journal.append_encoded(
        [(5, odd), (5, packed), (5, b"\xc1"), (7, b"\x90"), (9, b"\x92\x01\x02")]
    )
    found = other_process(root).find_memo(CODE, end.key)
    assert found is not None
    assert (found.id, found.ended) == (end.id, 4)
    value = b"x" * 100_000
    assert other_process(root).get(store.put(value, digest(value))) == value
    assert [row.id for row in store.catalog.find_calls()] == [end.id]


# Code versions.


@pytest.mark.parametrize("synced", [False, True])
def test_a_code_version_is_known_once_it_is_recorded(
    root: Path, store: Store, synced: bool
) -> None:
    code = Code(digest_of("code"), "f", (("function", "f", b"d", "def f(): ..."),))
    assert not store.has_code(code.digest)
    assert store.code(code.digest) is None
    store.append(code)
    if synced:
        store.catalog.sync()
    for one in (store, other_process(root)):
        assert one.has_code(code.digest)
        assert one.code(code.digest) == code


def test_a_damaged_code_version_is_not_known_and_is_written_again(root: Path, store: Store) -> None:
    code = Code(digest_of("code"), "f", ())
    place = store.journal.append([code])[0]
    store.catalog.sync()
    damage(root, place, 25)
    other = other_process(root)
    assert not other.has_code(code.digest)
    other.append(code)
    other.catalog.sync()
    assert other_process(root).code(code.digest) == code


@pytest.mark.parametrize("synced", [False, True])
def test_sets_of_versions_are_interned(root: Path, store: Store, synced: bool) -> None:
    members = (("b", b"2"), ("a", b"1"))
    name = store.intern_versions(members)
    size = sum(file.stat().st_size for file in segments(root))
    assert store.intern_versions(reversed(members)) == name
    if synced:
        store.catalog.sync()
    other = other_process(root)
    assert other.intern_versions(members) == name
    assert other.versions(name) == store.versions(name) == (("a", b"1"), ("b", b"2"))
    assert sum(file.stat().st_size for file in segments(root)) == size
    assert other.versions(b"?" * 16) == ()
    assert other.intern_versions(()) != name


def test_a_damaged_set_of_versions_is_unknown_and_is_written_again(
    root: Path, store: Store
) -> None:
    name = store.intern_versions([("a", b"1")])
    for file in segments(root):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    other = other_process(root)
    assert other.versions(name) == ()
    assert other.intern_versions([("a", b"1")]) == name
    assert other_process(root).versions(name) == (("a", b"1"),)


# Values.


@pytest.mark.parametrize("synced", [False, True])
def test_a_large_value_is_stored_once_also_after_a_restart(
    root: Path, store: Store, run: RunBegin, history: History, synced: bool
) -> None:
    value = b"x" * 100_000
    ref = store.put(value, digest(value))
    store.append(history.call(run, output=ref)[1])
    if synced:
        store.catalog.sync()
    before = os.stat(store.objects.path(ref.oid))
    other = other_process(root)
    assert other.put(value, digest(value)) == ref
    assert other.describe(value, digest(value)) == ref
    after = os.stat(store.objects.path(ref.oid))
    assert (before.st_ino, before.st_ctime_ns) == (after.st_ino, after.st_ctime_ns)
    os.unlink(store.objects.path(ref.oid))
    assert other.get(other.put(value, digest(value))) == value


def test_arguments_are_described_unless_they_shall_be_kept(store: Store) -> None:
    value = b"x" * 100_000
    assert not store.describe(value, digest(value)).is_stored
    kept = store.describe(value, digest(value), keep=True)
    assert store.get(kept) == value
    assert not store.describe(sys.stdout, b"d" * 16, keep=True).is_stored


# Opening.


def test_a_process_has_one_store_per_place_and_options(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(root)
    monkeypatch.chdir(tmp_path)
    os.symlink(root, tmp_path / "link")
    for name in (root, str(root), "store", "./store/", f"file://{root}", tmp_path / "link", store):
        assert open_store(name) is store
        assert as_store(name) is store
    assert open_store(root, allow_pickle=False) is not store
    assert open_store(root, read_only=True) is not store
    assert open_store(store, durability="power") is not store
    assert open_store(store, durability="power") is open_store(root, durability="power")
    assert not open_store(open_store(root, allow_pickle=False), durability="power").allow_pickle


def test_a_store_stays_where_it_was_opened(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, history: History
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("store")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = history.run()
    store.append(run, *history.call(run, output=store.put(b"x" * 99_999, b"d" * 16)))
    assert len(store.catalog.find_calls()) == 1
    assert not list((tmp_path / "elsewhere").iterdir())
    assert store.url == str(root)


def test_a_store_made_anew_in_the_same_place_is_another_one(root: Path, history: History) -> None:
    import shutil

    first = open_store(root)
    run = history.run()
    end = history.call(run)[1]
    first.append(run, end)
    shutil.rmtree(root)
    second = open_store(root)
    assert second is not first
    assert second.find_memo(CODE, end.key) is None
    second.append(end)
    assert open_store(root).find_memo(CODE, end.key) == end


def test_without_a_name_the_default_store_is_opened(isolated: Path, root: Path) -> None:
    assert open_store().url == str(isolated)
    config.change(store=root)
    assert open_store().url == as_store(None).url == str(root)
    safe = open_store(root, allow_pickle=False)
    config.change(store=safe)
    assert open_store() is safe


def test_a_name_in_the_home_folder_is_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_store("~/mine").path == tmp_path / "mine"


@pytest.mark.parametrize("url", ["nosuch://bucket/x", "gs://a", 5, b"x"])
def test_what_is_no_local_path_is_refused_with_what_to_do(url: Any) -> None:
    with pytest.raises(ConfigError):
        open_store(url)


@pytest.mark.parametrize(
    "options",
    [{"signing_key": b""}, {"signing_key": 5}, {"shared": "world"}, {"storage_options": {"a": 1}},
     {"durability": "paper"}],
)  # fmt: skip
def test_options_that_cannot_be_are_refused(root: Path, options: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        open_store(root, **options)
    assert not root.exists()


def test_durability_comes_from_the_settings(root: Path) -> None:
    config.change(durability="power")
    assert open_store(root).durability == "power"


def test_a_store_that_is_not_there_is_not_made_by_a_question(root: Path) -> None:
    for options in ({"read_only": True}, {"create": False}):
        with pytest.raises(StoreNotFound):
            open_store(root, **options)
    assert not root.exists()


def test_a_damaged_format_file_is_refused(root: Path) -> None:
    open_store(root).close()
    (root / "format").write_bytes(b"?")
    with pytest.raises(StoreError, match="is damaged"):
        open_store(root)


def test_opening_and_appending_does_not_load_sqlite(root: Path) -> None:
    program = """
import sys
from tasklineage.storage.opening import open_store
from tests.unit.storage.history import History
store, history = open_store(sys.argv[1]), History()
run = history.run()
begun, end = history.call(run, output=store.put(list(range(50_000)), b"d" * 16))
store.append(run, begun)
assert store.find_memo(end.code, end.key) is None
store.catch_up()
store.append(end)
assert store.find_memo(end.code, end.key) == end
store.close()
assert "sqlite3" not in sys.modules
"""
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program, str(root)], check=True)
        import shutil

        shutil.rmtree(root)


# Read-only.


def test_a_read_only_store_answers_and_records_nothing(
    root: Path, store: Store, run: RunBegin, history: History
) -> None:
    end = history.call(run)[1]
    store.append(end)
    reader = open_store(root, read_only=True)
    assert reader.read_only
    before = sorted(root.rglob("*"))
    with pytest.warns(UserWarning, match="cannot be written") as caught:
        for _ in range(3):
            reader.append(history.call(run)[1])
            reader.append_many([history.call(run)[1]])
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert reader.find_memo(CODE, end.key) == end
    assert reader.put([1, 2], b"d" * 16).is_stored
    assert not reader.put(b"x" * 100_000, b"d" * 16).is_stored
    assert reader.intern_versions([("a", b"1")]) == store.intern_versions([("a", b"1")])
    assert len(reader.catalog.find_calls()) == 1
    assert not reader.flight.acquire(end.key, frozenset())
    reader.close()
    assert sorted(root.rglob("*")) == before


def test_a_folder_without_permission_gives_a_read_only_store(
    root: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(History().run())
    store.catalog.sync()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    reader = open_store(root, allow_pickle=False)  # another instance than `store`
    assert reader.read_only
    assert len(reader.catalog.find_runs()) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reader.append(History("more").run())
    assert len(reader.catalog.find_runs()) == 1


# Its life.


def test_closing_brings_the_catalog_up_to_date_if_there_is_much(
    root: Path, store: Store, run: RunBegin, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(*[history.call(run)[1] for _ in range(10)])
    store.close()
    assert not (root / FILE).exists()
    monkeypatch.setattr(module, "SAVED_FROM", 1000)
    other = other_process(root)
    other.catch_up()
    other.close()
    assert len(other_process(root).catalog.known()[0]) == 1


def test_the_end_of_the_process_closes_its_stores(root: Path) -> None:
    program = """
import sys
from tasklineage.storage import opening, store
from tests.unit.storage.history import History
store.SAVED_FROM = 1000
opened, history = opening.open_store(sys.argv[1]), History()
run = history.run()
opened.append(run, *[record for _ in range(20) for record in history.call(run)])
"""
    subprocess.run([sys.executable, "-c", program, str(root)], check=True)
    assert (root / FILE).exists()
    assert len(Store(root).catalog.find_calls()) == 20


def test_a_closed_store_opens_again_when_it_is_used(
    root: Path, store: Store, run: RunBegin, history: History
) -> None:
    ends = [history.call(run)[1] for _ in range(3)]
    for end in ends:
        with store:
            store.append(end)
            assert store.find_memo(CODE, end.key) == end
            assert store.catalog.find_calls()
    assert [other_process(root).find_memo(CODE, end.key) for end in ends] == ends


def test_a_store_that_nobody_uses_is_let_go(tmp_path: Path) -> None:
    gc.collect()
    gc.disable()  # nothing holds itself alive
    before = len(os.listdir("/dev/fd"))
    for number in range(40):
        store = open_store(tmp_path / str(number))
        store.append(History().run())
        store.catalog.find_runs()
    open_files = len(os.listdir("/dev/fd")) - before
    gc.enable()
    assert open_files < 100


def test_a_store_is_sent_by_name(root: Path, store: Store) -> None:
    assert pickle.loads(pickle.dumps(store)) is store
    safe = open_store(root, allow_pickle=False)
    assert pickle.loads(pickle.dumps(safe)) is safe
    assert repr(store) == f"<Store {root}>"


def test_an_append_of_nothing_does_nothing(root: Path, store: Store) -> None:
    store.append()
    store.append_many([])
    assert not segments(root)


def test_a_refused_append_leaves_the_index_as_it_was(
    store: Store, run: RunBegin, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = history.call(run)[1]

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(StoreError) as raised:
        patched.setattr(os, "pwrite", full)
        store.append(end)
    assert raised.value.errno == 28
    assert store.find_memo(CODE, end.key) is None
    store.append(end)
    assert store.find_memo(CODE, end.key) == end


def test_threads_append_and_find_at_once(root: Path, store: Store, run: RunBegin) -> None:
    wrong: list[Any] = []

    def work(number: int) -> None:
        own = History(str(number))
        for _ in range(50):
            begun, end = own.call(run)
            if store.find_memo(CODE, end.key) is not None:
                wrong.append(end)
            store.append(begun, end)
            store.catch_up()
            if store.find_memo(CODE, end.key) != end:
                wrong.append(end)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert len(other_process(root).catalog.find_calls()) == 300


def test_a_forked_child_and_its_parent_see_each_others_work(
    root: Path, store: Store, run: RunBegin, history: History
) -> None:
    before, after, child = (history.call(run)[1] for _ in range(3))
    store.append(before)
    store.catalog.sync()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            fine = store.find_memo(CODE, before.key) == before
            store.append(child)
            os.read(read, 1)
            store.catch_up()
            fine &= store.find_memo(CODE, after.key) == after
            fine &= len(store.catalog.find_calls()) == 3
            os._exit(0 if fine else 1)
        finally:
            os._exit(2)
    store.append(after)
    os.write(write, b"!")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    store.catch_up()
    assert store.find_memo(CODE, child.key) == child
    assert len(store.catalog.find_calls()) == 3


def test_a_begin_record_alone_is_never_an_answer(
    root: Path, store: Store, run: RunBegin, history: History
) -> None:
    begun = history.begin(run)
    store.append(begun)
    store.catalog.sync()
    for one in (store, other_process(root)):
        assert one.find_memo(CODE, begun.key) is None
    assert isinstance(begun, CallBegin)
    assert not math.isnan(begun.started)


def test_forgetting_is_recorded(store: Store, run: RunBegin, history: History) -> None:
    end: CallEnd = history.call(run, output=Ref(b"d" * 16))[1]
    store.append(end)
    store.forget(end.key)
    kinds = [frame.kind for frame in store.journal.scan({})]
    assert kinds[-1] == 9
    assert Forget._fields == ("key", "at")


def test_a_code_version_that_another_process_has_recorded_is_known(
    root: Path, store: Store
) -> None:
    store.find_memo(CODE, b"k" * 16)
    other = other_process(root)
    code = Code(digest_of("later"), "task", (("function", "task", b"d" * 16, "source"),))
    other.append(code)
    assert store.code(code.digest) == code


def test_all_segments_of_a_process_count_as_journal_that_the_catalog_lacks(
    root: Path, store: Store, run: RunBegin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the last one has just begun: then the catalog is saved at the end."""
    monkeypatch.setattr("tasklineage.storage.segment.LIMIT", SAVED_FROM)
    monkeypatch.setattr("tasklineage.storage.tail.LIMIT", SAVED_FROM)
    store.append(run)
    while store.journal._segment is None or store.journal._segment.seq < 2:
        store.append(Code(os.urandom(16), "task", (("function", "f", b"", "x" * 100_000),)))
    assert store._tail.length() > SAVED_FROM
    store.close()
    assert (root / FILE).exists()
