"""The catalog says what the journal says: grown or made anew, in a file or in memory."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from tasklineage.storage import sealed, upkeep
from tasklineage.storage.catalog import FILE, Catalog
from tasklineage.storage.frames import Location
from tasklineage.storage.ingest import Rows
from tasklineage.storage.journal import Batch, Journal
from tasklineage.storage.records import (
    KIND_OF,
    CallEnd,
    Code,
    Edge,
    Forget,
    Record,
    Ref,
    Versions,
    encode,
)
from tasklineage.storage.tables import Tables
from tests.unit.storage.history import History, digest_of, inline

LOGICAL = {
    "runs": """SELECT id, name, parent, namespace, user, host, started, s.writer, s.number,
        offset, length, status, ended, e.writer, e.number, end_offset, end_length FROM runs
        LEFT JOIN segments s ON s.n = segment LEFT JOIN segments e ON e.n = end_segment""",
    "tags": "SELECT id, tag, at, rank, present FROM tags JOIN runs ON n = run",
    "calls": """SELECT calls.id, runs.id, calls.parent, tasks.name, key, calls.started,
        calls.ended, calls.status, producer, writer, number, calls.offset, calls.length FROM calls
        JOIN runs ON runs.n = run JOIN tasks ON tasks.n = task JOIN segments s ON s.n =
        calls.segment""",
    "uses": "SELECT * FROM uses",
    "edges": "SELECT * FROM edges",
    "memos": """SELECT code, key, ended, writer, number, offset, length FROM memos
        JOIN segments ON n = segment""",
    "forgotten": "SELECT * FROM forgotten",
    "codes": "SELECT digest, writer, number, offset FROM codes JOIN segments ON n = segment",
    "versions": "SELECT digest, writer, number, offset FROM versions JOIN segments ON n = segment",
}
"""What each table says, whatever numbers stand for runs, tasks and segments."""


def said_by(connection: sqlite3.Connection) -> dict[str, list[Any]]:
    return {
        table: sorted(connection.execute(query).fetchall(), key=repr)
        for table, query in LOGICAL.items()
    }


def said_by_file(root: Path) -> dict[str, list[Any]]:
    connection = sqlite3.connect(root / FILE)
    try:
        return said_by(connection)
    finally:
        connection.close()


_opened: list[Tables] = []


def tables() -> Tables:
    made = Tables(sealed.connect(None))
    made.create()
    _opened.append(made)
    return made


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().connection.close()


def some_history() -> list[Record]:
    """A bit of everything."""
    history = History()
    outer = history.run("outer", tags=("a", "b"))
    inner = history.run("inner", parent=outer.id, namespace="user:b")
    train = history.call(outer, output=inline(1), arguments={"x": inline(2)})
    child = history.call(inner, "pkg.mod.load", parent=train[0].id, output=inline(2))
    failed = history.call(outer, "pkg.test", status="failed")
    lost = history.begin(outer, "pkg.test")
    return [
        outer, inner, *train, *child, *failed, lost, history.hit(outer, train[1]),
        history.tag(outer, ("c",), ("a",)), history.end_run(inner),
        Code(digest_of("code"), "pkg.train", ()), Versions(digest_of("v"), (("pkg.train", b""),)),
        Forget(child[1].key, history.now()),
    ]  # fmt: skip


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path)
    yield made
    made.close()


@pytest.fixture
def catalog(tmp_path: Path, journal: Journal) -> Iterator[Catalog]:
    made = Catalog(tmp_path, journal)
    yield made
    made.close()


# What is found.


def test_runs_come_newest_first_with_their_tags_and_ends(
    journal: Journal, catalog: Catalog
) -> None:
    history = History()
    old, new = history.run("a", tags=("x", "y")), history.run("b", parent=b"p" * 16)
    end = history.end_run(old, "failed")
    places = journal.append([old, new, history.tag(old, ("z",), ("x",)), end])
    found = catalog.find_runs()
    assert [row.id for row in found] == [new.id, old.id]
    assert found[1] == (
        old.id, "a", None, "user:a", "a", "h", old.started, "failed", end.ended,
        places[0], places[3], ("y", "z"),
    )  # fmt: skip
    assert (found[0].status, found[0].ended, found[0].end) == ("running", None, None)
    assert found[0].parent == b"p" * 16


def test_runs_are_filtered_by_everything_at_once(journal: Journal, catalog: Catalog) -> None:
    history = History()
    runs = [history.run("ab"[i % 2], tags=("even", "odd")[i % 2 : i % 2 + 1]) for i in range(6)]
    other = history.run("a", namespace="prod")
    journal.append([*runs, other, history.end_run(runs[0]), history.end_run(runs[2], "failed")])

    def ids(**filters: Any) -> list[bytes]:
        return [row.id for row in catalog.find_runs(**filters)]

    assert ids(name="a") == [other.id, runs[4].id, runs[2].id, runs[0].id]
    assert ids(name="a", namespace="user:a", limit=1, offset=1) == [runs[2].id]
    assert ids(namespace="prod") == [other.id]
    assert ids(statuses=("done", "failed")) == [runs[2].id, runs[0].id]
    assert ids(statuses=("running",), name="a") == [other.id, runs[4].id]
    assert ids(statuses=()) == []
    assert ids(tags=("even",)) == [runs[4].id, runs[2].id, runs[0].id]
    assert ids(tags=("even", "odd")) == []
    assert ids(since=runs[4].started, namespace="user:a") == [runs[5].id, runs[4].id]
    assert ids(prefix=runs[3].id.hex()) == [runs[3].id]
    assert ids(prefix=runs[3].id.hex()[:15]) == [runs[3].id]
    assert ids(prefix="0") == [other.id, *(run.id for run in reversed(runs))]
    assert ids(prefix="f") == []


def test_nested_runs_are_found_by_their_parent(journal: Journal, catalog: Catalog) -> None:
    history = History()
    outer = history.run()
    inner = history.run(parent=outer.id)
    journal.append([outer, inner])
    assert [row.id for row in catalog.find_runs(parent=outer.id)] == [inner.id]


def test_a_tag_is_what_its_last_change_says_whatever_comes_first(
    journal: Journal, catalog: Catalog
) -> None:
    history = History()
    run = history.run(tags=("a",))
    changes = [
        history.tag(run, added=("b",)),
        history.tag(run, removed=("a", "b")),
        history.tag(run, added=("b",)),
    ]
    journal.append([changes[2], changes[1], run, changes[0]])
    assert catalog.find_runs()[0].tags == ("b",)


def test_calls_come_with_their_newest_record(journal: Journal, catalog: Catalog) -> None:
    history = History()
    run = history.run()
    begun = history.begin(run)
    places = journal.append([run, begun])
    assert catalog.find_calls() == [
        (begun.id, run.id, None, begun.task, begun.key, begun.started, None, "running", None,
         places[1])
    ]  # fmt: skip
    end = history.end(begun, "failed")
    place = journal.append([end])[0]
    (row,) = catalog.find_calls()
    assert (row.status, row.ended, row.location) == ("failed", end.ended, place)
    hit = history.hit(run, end)
    place = journal.append([hit])[0]
    row = catalog.find_calls()[0]
    assert (row.id, row.status, row.producer, row.location) == (hit.id, "hit", end.id, place)
    assert row.started == row.ended == hit.at


def test_calls_are_filtered_by_everything(journal: Journal, catalog: Catalog) -> None:
    history = History()
    run, other = history.run(), history.run(namespace="prod")
    first = history.call(run, "pkg.train", output=inline(1), key=1)
    child = history.call(run, "pkg.load", parent=first[0].id)
    failed = history.call(other, "pkg.mod.train", status="failed")
    hit = history.hit(other, first[1])
    lost = history.begin(other, "train")
    journal.append([run, other, *first, *child, *failed, hit, lost])
    ids = {first[0].id: "first", child[0].id: "child", failed[0].id: "failed", hit.id: "hit"}
    ids[lost.id] = "lost"

    def names(**filters: Any) -> list[str]:
        return [ids[row.id] for row in catalog.find_calls(**filters)]

    assert names() == ["lost", "hit", "failed", "child", "first"]
    assert names(oldest_first=True, limit=2, offset=1) == ["child", "failed"]
    assert names(task="train") == ["lost", "hit", "failed", "first"]
    assert names(task="mod.train") == ["failed"]
    assert names(task="pkg.train") == ["hit", "first"]
    assert names(task="rain") == []
    assert names(status="failed") == ["failed"]
    assert names(statuses=("done", "hit")) == ["hit", "child", "first"]
    assert names(statuses=("running", "failed")) == ["lost", "failed"]
    assert names(run=run.id) == ["child", "first"]
    assert names(run=run.id, roots_only=True) == ["first"]
    assert names(run=b"?" * 16) == []
    assert names(parent=first[0].id) == ["child"]
    assert names(key=first[0].key) == ["hit", "first"]
    assert names(producer=first[0].id) == ["hit"]
    assert names(output=inline(1).digest) == ["first"]
    assert names(namespace="prod", task="train") == ["lost", "hit", "failed"]
    assert names(since=failed[0].started) == ["lost", "hit", "failed"]
    assert names(prefix=child[0].id.hex()[:20]) == ["child"]


def test_a_run_counts_hits_and_what_executed(journal: Journal, catalog: Catalog) -> None:
    history = History()
    run = history.run()
    done = history.call(run)
    statuses = ("failed", "failed", "timeout", "caught", "skipped", "cancelled")
    others = [record for status in statuses for record in history.call(run, status=status)]
    journal.append([run, *done, *others, history.begin(run), history.hit(run, done[1])])
    assert catalog.counts(run.id) == (1, 5, 3)
    assert catalog.counts(b"?" * 16) == (0, 0, 0)


def test_producers_and_consumers_are_the_calls_that_gave_and_took(
    journal: Journal, catalog: Catalog
) -> None:
    history = History()
    run, value, part = history.run(), inline(7), inline(8)
    made = [history.call(run, output=value) for _ in range(2)]
    edge = Edge("x[0]", made[0][0].id, "future", part.digest)
    took = history.call(run, arguments={"x": value}, edges=(edge, edge._replace(digest=b"")))
    journal.append([run, *made[0], *made[1], *took])
    assert [row.id for row in catalog.producers(value.digest)] == [made[1][0].id, made[0][0].id]
    assert [row.id for row in catalog.consumers(value.digest)] == [took[0].id]
    assert [row.id for row in catalog.consumers(part.digest)] == [took[0].id]
    assert catalog.producers(part.digest) == catalog.consumers(b"") == []


def test_an_artifact_is_what_a_record_says_that_has_it_stored(
    journal: Journal, catalog: Catalog
) -> None:
    history = History()
    run, stored = history.run(), inline(5)
    described = Ref(stored.digest, "int", preview="5")
    only = Ref(digest_of("large"), "list", preview="a list")
    records = [
        *history.call(run, arguments={"x": described, "y": only}),
        *history.call(run, arguments={"x": stored}),
        *history.call(run, arguments={"x": described}),
    ]
    places = journal.append([run, *records])
    assert catalog.find_artifacts(digest=stored.digest) == [(stored.digest, stored, places[4])]
    assert [row.ref for row in catalog.find_artifacts(digest=only.digest)] == [only]
    assert catalog.find_artifacts(prefix=stored.digest.hex()[:9])[0].ref == stored
    assert len(catalog.find_artifacts(prefix="")) == 2
    assert len(catalog.find_artifacts(prefix="", limit=1)) == 1
    assert catalog.find_artifacts(digest=b"?" * 16) == []


def test_an_artifact_whose_record_is_damaged_is_not_found(
    tmp_path: Path, journal: Journal, catalog: Catalog
) -> None:
    history, value = History(), inline(5)
    run = history.run()
    place = journal.append([run, *history.call(run, output=value)])[2]
    assert catalog.find_artifacts(digest=value.digest)
    segment = journal.folder / place.writer / f"{place.seq:08d}"
    content = bytearray(segment.read_bytes())
    content[place.offset + 30] ^= 1
    segment.write_bytes(content)
    other = Catalog(tmp_path, Journal(tmp_path, read_only=True))
    assert other.find_artifacts(digest=value.digest) == []


def test_tasks_are_listed_by_name(journal: Journal, catalog: Catalog) -> None:
    history = History()
    run = history.run()
    journal.append([run, *history.call(run, "b.b"), *history.call(run, "a.z")])
    assert catalog.call_tasks() == ["a.z", "b.b"]


def test_names_that_are_not_unicode_are_kept(journal: Journal, catalog: Catalog) -> None:
    """As the names of files that are no text: Python makes lone surrogates of their bytes."""
    history = History()
    odd = "caf\udce9"
    run = history.run(odd, namespace=odd, user=odd, host=odd, tags=(odd,))
    journal.append([run, *history.call(run, f"pkg.{odd}"), *history.call(run, "pkg.\u00e9")])
    (row,) = catalog.find_runs(name=odd, namespace=odd, tags=(odd,))
    assert row[:6] == run[:6]
    assert row.tags == (odd,)
    assert [row.task for row in catalog.find_calls(task=f"pkg.{odd}")] == [f"pkg.{odd}"]
    assert [row.task for row in catalog.find_calls(task="\u00e9")] == ["pkg.\u00e9"]
    assert catalog.call_tasks() == [f"pkg.{odd}", "pkg.\u00e9"]


def test_a_value_that_sqlite_does_not_take_costs_its_own_row_only() -> None:
    made, history = tables(), History()
    run = history.run()
    calls = [history.call(run)[1] for _ in range(5)]
    odd = calls[2]._replace(key={"a": 1}), run._replace(id=history.id(), started=2**63)
    records = [run, odd[1], *calls[:2], odd[0], *calls[3:]]
    frames = [(n * 500, 500, KIND_OF[type(r)], encode(r)) for n, r in enumerate(records)]
    made.ingest([Batch("a" * 16, 1, frames, 9000)])
    assert {id for (id,) in made.all("SELECT id FROM calls")} == {
        call.id for call in calls if call is not calls[2]
    }
    assert made.all("SELECT id FROM runs WHERE started IS NOT NULL") == [(run.id,)]


# The same, however it came about.


@settings(max_examples=25)
@given(st.data())
def test_what_tables_say_does_not_depend_on_the_order_nor_on_repetition(
    data: st.DataObject,
) -> None:
    records = some_history()
    segments: dict[tuple[str, int], list[Any]] = {}
    for index, record in enumerate(records):
        writer = data.draw(st.sampled_from(["a" * 16, "b" * 16, "c" * 16]))
        frames = segments.setdefault((writer, 1), [])
        frames.append((index * 1000, 500, KIND_OF[type(record)], encode(record)))

    whole = tables()
    whole.ingest([Batch(*key, frames, 10**6) for key, frames in segments.items()])

    pieces = [
        Batch(*key, [frame], frame[0] + 500) for key, frames in segments.items() for frame in frames
    ]
    grown = tables()
    for piece in data.draw(st.permutations(pieces + pieces[: len(pieces) // 2])):
        grown.ingest([piece])
    assert said_by(grown.connection) == said_by(whole.connection)


def test_records_of_an_unknown_kind_or_form_make_no_rows() -> None:
    made, run = tables(), History().run()
    frames = [
        (0, 100, 200, b"whatever"),
        *((n * 100, 100, kind, b"\x91\x01") for n, kind in enumerate(range(1, 10), 1)),
        (2000, 100, 5, b"\xc1"),
        (3000, 100, 1, encode(run)),
    ]
    made.ingest([Batch("a" * 16, 1, frames, 5000)])
    assert made.all("SELECT id FROM runs") == [(run.id,)]
    assert made.offsets() == {("a" * 16, 1): 5000}


def test_a_call_begun_again_by_another_worker_is_the_newer_one() -> None:
    history = History()
    run = history.run()
    first = history.begin(run)
    second = first._replace(started=first.started + 5)
    for order in ([first, second], [second, first]):
        made = tables()
        frames = [(n * 500, 500, KIND_OF[type(r)], encode(r)) for n, r in enumerate(order)]
        made.ingest([Batch("a" * 16, 1, frames, 5000)])
        assert made.all("SELECT started FROM calls") == [(second.started,)]


def test_many_records_are_ingested_in_pieces(
    monkeypatch: pytest.MonkeyPatch, journal: Journal, catalog: Catalog
) -> None:
    monkeypatch.setattr("tasklineage.storage.tables.CHUNK", 10)
    history = History()
    run = history.run()
    begun = [history.begin(run) for _ in range(100)]
    for record in (run, *begun, *(history.end(call) for call in begun)):
        journal.append([record])
        if len(journal.writer) and record is begun[50]:
            catalog.sync()
    assert [row.status for row in catalog.find_calls()] == ["done"] * 100


# The file: deleted, damaged, of another version, locked, shared.


def test_nothing_is_opened_before_the_first_question(tmp_path: Path, journal: Journal) -> None:
    program = """
import sys
from pathlib import Path
from tasklineage.storage.catalog import Catalog
from tasklineage.storage.journal import Journal
catalog = Catalog(Path(sys.argv[1]), Journal(sys.argv[1]))
assert catalog.known() == ({}, [])
assert "sqlite3" not in sys.modules
catalog.sync()
assert "sqlite3" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, cwd=os.getcwd())


def test_the_file_follows_the_modes_of_its_folder(
    tmp_path: Path, journal: Journal, catalog: Catalog
) -> None:
    os.chmod(tmp_path, 0o700)
    catalog.sync()
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_every_query_sees_what_was_appended_before_it(journal: Journal, catalog: Catalog) -> None:
    history = History()
    for count in range(1, 20):
        journal.append([history.run()])
        assert len(catalog.find_runs()) == count


def test_catalogs_of_one_file_see_each_others_work(tmp_path: Path, journal: Journal) -> None:
    catalogs = [Catalog(tmp_path, Journal(tmp_path)) for _ in range(3)]
    history = History()
    for count in range(1, 10):
        journal.append([history.run()])
        assert len(catalogs[count % 3].find_runs()) == count
    assert [len(catalog.find_runs()) for catalog in catalogs] == [9] * 3


@pytest.mark.parametrize("how", ["delete", "truncate", "not a database", "other version", "empty"])
def test_a_file_that_is_no_catalog_is_made_anew(tmp_path: Path, journal: Journal, how: str) -> None:
    journal.append(some_history())
    first = Catalog(tmp_path, journal)
    first.sync()
    first.close()
    said, file = said_by_file(tmp_path), tmp_path / FILE
    if how == "delete":
        file.unlink()
    elif how == "truncate":
        os.truncate(file, file.stat().st_size // 2)
    elif how == "other version":
        with sqlite3.connect(file) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
    else:
        file.write_bytes(b"" if how == "empty" else b"something else entirely" * 1000)
    Catalog(tmp_path, journal).sync()
    assert said_by_file(tmp_path) == said


def test_a_byte_changed_anywhere_is_noticed_and_changes_no_answer(
    tmp_path: Path, journal: Journal
) -> None:
    journal.append(some_history())
    catalog = Catalog(tmp_path, journal)
    catalog.sync()
    said, file = said_by_file(tmp_path), tmp_path / FILE
    size = file.stat().st_size
    for place in [*range(0, 120, 9), *range(120, size, size // 25)]:
        content = bytearray(file.read_bytes())
        content[place] ^= 1 << (place % 8)
        file.write_bytes(content)  # the same inode, at once, with the catalog open
        assert len(catalog.find_calls()) == 5
        assert said_by_file(tmp_path) == said


def test_damage_behind_an_unbroken_seal_is_found_when_it_is_met(
    tmp_path: Path, journal: Journal
) -> None:
    history = History()
    journal.append([run := history.run()])
    journal.append([record for _ in range(500) for record in history.call(run)])
    Catalog(tmp_path, journal).sync()
    said, file = said_by_file(tmp_path), tmp_path / FILE
    times = os.stat(file)
    for place in (0, 8192 + 3, 2 * 8192, 5 * 8192):
        with open(file, "r+b") as opened:
            opened.seek(place)
            opened.write(b"\xff" * 500)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        catalog = Catalog(tmp_path, journal)
        assert len(catalog.find_calls()) == 500
        assert len(catalog.find_calls(run=run.id)) == 500
        catalog.close()
        file.unlink()
        Catalog(tmp_path, journal).sync()
        assert said_by_file(tmp_path) == said
        times = os.stat(file)


def test_a_copy_that_keeps_its_times_is_trusted_and_another_is_made_anew(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.append(some_history())
    Catalog(tmp_path, journal).sync()
    made: list[int] = []
    create = Tables.create
    monkeypatch.setattr(Tables, "create", lambda self: (made.append(1), create(self))[1])

    def copy(name: str, function: Callable[[Path, Path], object]) -> Catalog:
        shutil.copytree(tmp_path / "journal", tmp_path / name / "journal")
        function(tmp_path / FILE, tmp_path / name / FILE)
        return Catalog(tmp_path / name, Journal(tmp_path / name))

    assert len(copy("kept", shutil.copy2).find_calls()) == 5
    assert not made
    coarse = copy("coarse", shutil.copy2)
    seconds = int(os.stat(tmp_path / FILE).st_mtime)
    os.utime(tmp_path / "coarse" / FILE, (seconds, seconds))
    assert len(coarse.find_calls()) == 5
    assert not made
    assert len(copy("new", shutil.copyfile).find_calls()) == 5
    assert made


def foreign_lock(root: Path, kind: str) -> sqlite3.Connection:
    connection = sqlite3.connect(root / FILE, isolation_level=None)
    connection.execute(f"BEGIN {kind}")
    return connection


@pytest.mark.parametrize("kind", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_locked_file_gives_the_same_answers(
    tmp_path: Path, journal: Journal, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed, "BLOCKED", 0.01)
    monkeypatch.setattr(upkeep, "IN_MEMORY_FOR", 0.0)
    history = History("more")
    journal.append(some_history())
    catalog = Catalog(tmp_path, journal)
    catalog.sync()
    before = (tmp_path / FILE).read_bytes()
    lock = foreign_lock(tmp_path, kind)
    for count in (1, 2):
        journal.append([history.run("more")])
        assert len(catalog.find_runs(name="more")) == count
        assert len(catalog.find_calls()) == 5
    assert (tmp_path / FILE).read_bytes() == before
    lock.close()
    assert len(catalog.find_runs(name="more")) == 2
    assert len(said_by_file(tmp_path)["runs"]) == 4


def test_whoever_cannot_get_the_lock_goes_on_in_memory(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed, "BUSY", 0.01)
    journal.append(some_history())
    holder = sealed.SealedFile(tmp_path / FILE, tmp_path / "locks" / "catalog")
    catalog = Catalog(tmp_path, journal)
    with holder.locked(0.0):
        assert len(catalog.find_calls()) == 5
        assert not catalog.save(0.0)
        assert not (tmp_path / FILE).exists()
        journal.append([History("more").run("more")])
        assert len(catalog.find_runs(name="more")) == 1
    assert catalog.save()
    assert (tmp_path / FILE).exists()


def test_a_read_only_catalog_writes_nothing(tmp_path: Path, journal: Journal) -> None:
    journal.append(some_history())
    Catalog(tmp_path, journal).sync()
    journal.append([History("more").run("more")])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    catalog = Catalog(tmp_path, Journal(tmp_path, read_only=True), read_only=True)
    assert len(catalog.find_runs(name="more")) == 1
    assert len(catalog.find_calls()) == 5
    (tmp_path / FILE).write_bytes(b"broken")
    assert len(catalog.find_calls()) == 5
    assert not catalog.save()
    (tmp_path / FILE).unlink()
    del before[tmp_path / FILE]
    assert len(Catalog(tmp_path, journal, read_only=True).find_calls()) == 5
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert {path: after[path] for path in before if path != tmp_path} == before


def test_a_failed_write_leaves_the_answers_right(
    tmp_path: Path, journal: Journal, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.append(some_history())
    catalog.sync()
    set_seal = Tables.set_seal

    def full(self: Tables, seal: int, boot: str, generation: int) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(Tables, "set_seal", full)
    journal.append([History("more").run("more")])
    assert len(catalog.find_runs(name="more")) == 1
    assert not catalog.save()
    monkeypatch.setattr(Tables, "set_seal", set_seal)
    assert catalog.save()
    assert len(said_by_file(tmp_path)["runs"]) == 3


def test_a_file_that_cannot_be_read_while_it_is_asked_is_left_for_memory(
    journal: Journal, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.append(some_history())
    catalog.sync()
    beyond = catalog.known()[0]
    everything, failures = Tables.all, [0]

    def busy(self: Tables, query: str, values: Sequence[Any] = ()) -> list[Any]:
        if failures[0] and "FROM segments" not in query and "FROM finished" not in query:
            failures[0] -= 1
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error
        return everything(self, query, values)

    monkeypatch.setattr(Tables, "all", busy)
    for count in (1, 2):
        failures[0] = count
        assert len(catalog.find_calls()) == 5
        failures[0] = count
        assert len(catalog.memos(digest_of("pkg.train"), 10, beyond)) == 1
    assert not failures[0]


def test_a_crash_between_commit_and_seal_costs_nothing_but_time(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.append(some_history())
    catalog = Catalog(tmp_path, journal)

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(os, "utime", crash)
        catalog.sync()
    assert len(catalog.find_calls()) == 5
    assert len(Catalog(tmp_path, journal).find_calls()) == 5


def test_a_file_of_another_user_is_replaced_by_one_of_ones_own(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.append(some_history())
    catalog = Catalog(tmp_path, journal)

    def denied(*_: object, **__: object) -> None:
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr(os, "utime", denied)
        assert len(catalog.find_calls()) == 5
    assert not (tmp_path / FILE).exists()
    assert len(catalog.find_calls()) == 5
    assert (tmp_path / FILE).exists()


def test_many_threads_ask_while_one_appends(journal: Journal, catalog: Catalog) -> None:
    history, wrong = History(), []
    run = history.run()
    journal.append([run])

    def ask() -> None:
        last = 0
        while last < 200:
            now = len(catalog.find_calls(run=run.id))
            if now < last:
                wrong.append((last, now))
            last = now

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        journal.append(history.call(run))
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)


def test_a_forked_child_asks_and_writes_on_its_own(journal: Journal, catalog: Catalog) -> None:
    journal.append(some_history())
    catalog.sync()
    pid = os.fork()
    if pid == 0:
        try:
            journal.append([History("child").run("child")])
            fine = len(catalog.find_calls()) == 5 and len(catalog.find_runs()) == 3
            os._exit(0 if fine else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert len(catalog.find_runs()) == 3


def test_finished_writers_are_not_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        writer = Journal(tmp_path)
        writer.append([History(str(number)).run()])
        writer.close()
    Catalog(tmp_path, Journal(tmp_path)).sync()
    listed: list[str] = []
    listdir = os.listdir
    monkeypatch.setattr(
        os, "listdir", lambda path=".": (listed.append(str(path)), listdir(path))[1]
    )
    catalog = Catalog(tmp_path, Journal(tmp_path))
    assert len(catalog.find_runs()) == 3
    assert not [path for path in listed if "journal/" in path]


# What the store looks up.


def test_what_is_known_needs_no_journal(tmp_path: Path, journal: Journal, catalog: Catalog) -> None:
    assert catalog.known() == ({}, [])
    place = journal.append(some_history())[-1]
    catalog.sync()
    end = {(place.writer, place.seq): place.offset + place.length}
    journal.append([History().run()])
    assert catalog.known()[0] == end
    assert Catalog(tmp_path, journal).known()[0] == end


def test_memos_are_those_of_the_code_that_were_not_forgotten(
    journal: Journal, catalog: Catalog
) -> None:
    history = History()
    run = history.run()
    old = history.call(run, key=1)[1]
    new = history.call(run, key=1)[1]
    gone = history.call(run, key=2)[1]
    failed = history.call(run, status="failed")[1]
    other = history.call(run, "pkg.other")[1]
    places = journal.append([run, old, new, gone, failed, other, Forget(gone.key, history.now())])
    beyond = {(places[0].writer, 1): 1}
    code = digest_of("pkg.train")
    rows = [(old.key, old.ended, places[1]), (new.key, new.ended, places[2])]
    assert catalog.memos(code, 10, beyond) == rows
    assert catalog.memos(code, 1, beyond) is None
    assert catalog.memos_of(code, [new.key, gone.key], beyond) == rows
    again = history.call(run, key=2)[1]
    place = journal.append([again])[0]
    catalog.sync()
    assert catalog.memos_of(code, [gone.key], beyond) == [(again.key, again.ended, place)]
    assert catalog.memos_next(code, old.id, new.id, beyond) == (
        again.id, [(again.key, again.ended, place)]
    )  # fmt: skip


def test_look_ups_do_not_read_on_but_have_what_was_promised(
    journal: Journal, catalog: Catalog
) -> None:
    history = History()
    run = history.run()
    first, second = history.call(run)[1], history.call(run)[1]
    places = journal.append([run, first])
    catalog.sync()
    known = catalog.known()[0]
    later = journal.append([second])[0]
    code = digest_of("pkg.train")
    assert [row.key for row in catalog.memos(code, 10, known)] == [first.key]
    promised = {(places[0].writer, 1): later.offset + later.length}
    assert {row.key for row in catalog.memos(code, 10, promised)} == {first.key, second.key}


def test_all_places_of_a_code_version_are_known(journal: Journal, catalog: Catalog) -> None:
    record, versions = Code(digest_of(1), "f", ()), Versions(digest_of(2), ())
    places = journal.append([record, record, versions])
    catalog.sync()
    known = catalog.known()[0]
    assert catalog.codes(record.digest, known) == places[:2]
    assert catalog.versions(versions.digest, known) == places[2:]
    assert catalog.codes(versions.digest, known) == []


def test_a_stored_value_is_found_without_reading_on(journal: Journal, catalog: Catalog) -> None:
    history = History()
    run = history.run()
    large = Ref(digest_of("large"), "bytes", "bytes", 10**6, None, digest_of("object"))
    journal.append([run, *history.call(run, output=large, arguments={"x": inline(1)})])
    catalog.sync()
    known = catalog.known()[0]
    assert catalog.stored(large.digest, known) == large
    assert catalog.stored(inline(1).digest, known) is None
    assert catalog.stored(b"?" * 16, known) is None


def plan_of(root: Path, query: str, values: Sequence[Any]) -> str:
    connection = sqlite3.connect(root / FILE)
    rows = connection.execute(f"EXPLAIN QUERY PLAN {query}", tuple(values)).fetchall()
    connection.close()
    return " ".join(row[3] for row in rows)


def test_queries_use_the_index_meant_for_them(
    tmp_path: Path, journal: Journal, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.append(some_history())
    catalog.sync()
    asked: list[str] = []
    everything = Tables.all

    def listen(self: Tables, query: str, values: Sequence[Any] = ()) -> list[Any]:
        values = tuple(values)
        asked.append(plan_of(tmp_path, query, values))
        return everything(self, query, values)

    monkeypatch.setattr(Tables, "all", listen)
    id = b"i" * 16
    for filters, index in (
        ({"run": id}, "calls_by_run"),
        ({"parent": id}, "calls_by_parent"),
        ({"producer": id}, "calls_by_producer"),
        ({"task": "train"}, "calls_by_task"),
        ({"status": "failed"}, "calls_by_status"),
        ({"statuses": ("running",)}, "calls_by_status"),
        ({"prefix": "00"}, "PRIMARY KEY"),
        ({"output": id}, "uses USING PRIMARY KEY"),
    ):
        asked.clear()
        catalog.find_calls(**filters)
        assert index in asked[-1], (filters, asked)
        assert "SCAN calls" not in asked[-1]
    asked.clear()
    catalog.find_runs(name="a", limit=50)
    assert "runs_by_name" in asked[0]
    assert "TEMP B-TREE" not in asked[0]


def test_a_call_end_of_an_older_reader_has_its_defaults() -> None:
    """Fields may be added at the end: a record that lacks the newest ones is understood."""
    import msgpack

    history = History()
    end: CallEnd = history.call(history.run())[1]
    made = tables()
    frames = [(0, 100, KIND_OF[CallEnd], msgpack.packb(end[:11]))]
    made.ingest([Batch("a" * 16, 1, frames, 100)])
    assert made.all("SELECT id, status FROM calls") == [(end.id, "done")]
    assert made.location(1, 2, 3) == Location("a" * 16, 1, 2, 3)


def test_rows_that_were_inserted_do_not_stay_in_memory() -> None:
    rows = Rows({}, {})
    gone = weakref.ref(rows)
    del rows
    assert gone() is None
