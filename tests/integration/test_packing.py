"""The journal gets smaller: what removed runs have left goes, and small segments become one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.errors import MissingObject, NotFound, StoreBusy
from tasklineage.storage import erase, fsck, gc, held, packing, roots
from tasklineage.storage.gc import Rules
from tasklineage.storage.listing import PACKING
from tasklineage.storage.opening import open_store
from tasklineage.storage.records import Hit
from tasklineage.storage.store import Store
from tasklineage.storage.upkeep import Upkeep
from tests.integration.shell import Shell
from tests.integration.test_gc_writers import before_append, check_everything

LAST = Rules(last=1)
NOTHING = Rules(last=0)


@task
def text(n: int) -> str:
    return f"canary {n:05}"


@task
def blob(n: int) -> bytes:
    return n.to_bytes(4, "big") * 25_000


@task
def above(n: int) -> int:
    return len(text(n)) + len(blob(n))


@pytest.fixture
def other(store: Store) -> Iterator[Store]:
    """A handle on the same store as another process has it."""
    handle = Store(store.path)
    yield handle
    handle.close()


def run_elsewhere(
    store: Store, body: Callable[[], object], name: str = "job", **options: Any
) -> str:
    """The id of a run of a process that is over."""
    handle = Store(store.path, **options)
    with tl.run(name, store=handle, tags=(name,)) as run:
        body()
    handle.close()
    return run.id


def collect(store: Store, rules: Rules = LAST) -> gc.Sweep:
    gc.condemn(store, gc.plan(store, rules), rules)
    done = gc.sweep(store, grace=0)
    assert done is not None
    return done


def writers(store: Store) -> set[str]:
    return set(os.listdir(store.path / "journal"))


def journal_size(store: Store) -> int:
    return sum(path.stat().st_size for path in (store.path / "journal").rglob("*/*"))


def everything(store: Store) -> list[Any]:
    """What queries say of the whole store."""
    return [
        (
            run.id,
            run.name,
            run.status,
            run.tags,
            run.params,
            run.hits,
            run.executed,
            run.python,
            [(c.id, c.task, c.status, c.args, c.result, c.parent) for c in run.calls],
        )
        for run in tl.runs(store=store, namespace="*")
    ]


def check(store: Store) -> None:
    report = fsck.check(store.path, read_data=1)
    assert report.is_healthy, report.damage
    assert not [one for one in report.findings if one.kind in ("leftover", "foreign")]


def test_what_a_removed_run_has_left_goes_and_all_else_stays(store: Store) -> None:
    for n in range(5):
        run_elsewhere(store, lambda n=n: [above(n), text(n + 100)])
    planned = gc.plan(store, LAST)
    before = journal_size(store)
    (kept,) = (run for run in everything(store) if run[0] not in {r.id.hex() for r in planned.runs})
    done = collect(store)
    assert done.packed >= before - journal_size(store) > planned.records - 300 > before / 2
    assert everything(store) == [kept]
    store.close()
    assert everything(store) == [kept], "and so says a catalog made anew"
    check(store)
    for n in range(4):
        assert f"canary {n:05}" not in str(
            [path.read_bytes() for path in store.path.rglob("*") if path.is_file()]
        )
    with tl.run("again", store=store) as again:
        assert [above(4), text(104)] == [100_012, "canary 00104"]
    assert (again.hits, again.executed) == (2, 0)


def test_a_run_that_was_taken_out_before_leaves_the_journal_too(store: Store) -> None:
    ids = [run_elsewhere(store, lambda n=n: text(n)) for n in range(3)]
    gc.take_out(store, [bytes.fromhex(ids[0])], "rm")
    assert gc.plan(store).records > 300
    before = journal_size(store)
    assert collect(store, gc.ALL).packed >= before - journal_size(store) > 300
    assert [run.id for run in tl.runs(store=store)] == ids[:0:-1]
    assert gc.plan(store).is_empty
    with pytest.raises(NotFound):
        tl.get(ids[0], store=store)
    check(store)


def test_a_call_that_is_needed_stays_with_its_run_and_without_its_caller(store: Store) -> None:
    first = run_elsewhere(store, lambda: above(1), "first")
    last = run_elsewhere(store, lambda: text(1), "last")
    (hit,) = tl.get(last, store=store).calls
    made_by = hit.producer
    collect(store, Rules(tags=("last",)))
    (hit,) = tl.get(last, store=store).calls
    assert hit.result == "canary 00001"
    assert hit.producer == made_by
    assert hit.producer.run_id == first
    with pytest.raises(NotFound):
        assert hit.producer.parent, "as after a transfer"
    assert [run.id for run in tl.runs(store=store)] == [last]
    assert tl.lineage(hit, store=store).nodes
    check(store)


def test_small_segments_become_one(store: Store) -> None:
    for n in range(packing.MANY):
        run_elsewhere(store, lambda n=n: above(n))
    said = everything(store)
    assert 0 < gc.pack(store) < 200 * packing.MANY, "only the heads of segments go"
    assert len(writers(store)) == 1
    assert everything(store) == said
    store.close()
    assert everything(store) == said
    assert gc.pack(store) == 0
    check(store)


def test_few_small_segments_stay_as_they_are(store: Store) -> None:
    for n in range(packing.MANY - 1):
        run_elsewhere(store, lambda n=n: text(n))
    before = writers(store)
    assert gc.pack(store) == 0
    assert writers(store) == before


def test_who_knows_old_places_finds_the_records_at_the_new_ones(store: Store, other: Store) -> None:
    with tl.run("reader", store=other) as run:
        assert text(0) == "canary 00000"
    for n in range(packing.MANY):
        run_elsewhere(store, lambda n=n: text(n))
    with tl.run("reader", store=other) as run:
        assert [text(n) for n in range(packing.MANY)] == [text.__wrapped__(n) for n in range(16)]
    runs = list(tl.runs("job", store=other))
    calls = [run.calls[0] for run in runs]
    before = writers(store)
    gc.pack(store)
    assert len(writers(store)) < len(before)
    with tl.run("reader", store=other) as run:
        assert [text(n) for n in range(packing.MANY)] == [text.__wrapped__(n) for n in range(16)]
    assert (run.hits, run.executed) == (packing.MANY, 0)
    assert [call.result for call in calls] == [text.__wrapped__(n) for n in reversed(range(16))]
    assert {run.python for run in runs} == {sys.version.split()[0]}
    assert tl.why(calls[0])


def test_a_map_reads_its_small_results_where_they_are_now(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasklineage.core.elements._KEPT", 0)
    run_elsewhere(store, lambda: tl.map(long, range(5)).results())
    with tl.run("map", store=store):
        found = tl.map(long, range(10))
        wanted = list(found)
        for n in range(packing.MANY):
            run_elsewhere(store, lambda n=n: text(n))
        gc.pack(Store(store.path))
        assert list(found) == wanted


@task
def long(n: int) -> str:
    return f"{n}" * 5000


def test_who_lives_is_not_packed(store: Store, other: Store) -> None:
    for n in range(packing.MANY):
        run_elsewhere(store, lambda n=n: text(n))
    with tl.run("live", store=other):
        text(100)
        gc.pack(store)
        assert len(writers(store)) == 2
        assert other.journal.writer in writers(store)
        text(101)
    assert [c.result for c in tl.latest("live", store=store).calls] == [
        "canary 00100",
        "canary 00101",
    ]
    check(store)


def test_the_collecting_process_packs_what_it_has_written_itself(store: Store) -> None:
    with tl.run("job", store=store):
        text(1)
    with tl.run("job", store=store) as last:
        text(2)
    before = journal_size(store)
    assert collect(store).packed > 0.3 * before
    assert [run.id for run in tl.runs(store=store)] == [last.id]
    with tl.run("more", store=store) as run:
        text(1)
        text(2)
    assert (run.hits, run.executed) == (1, 1)
    check(store)


def test_the_collecting_process_goes_on_with_a_run_that_goes_on(store: Store) -> None:
    with tl.run("old", store=store):
        text(1)
    with tl.run("new", store=store) as run:
        text(2)
        collect(store, NOTHING)
        text(3)
        assert run.status == "running"
    assert [call.result for call in run.calls] == ["canary 00002", "canary 00003"]
    check(store)


def test_a_hit_at_the_moment_its_record_leaves_is_recorded_whole(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_elsewhere(store, lambda: above(1), "old")
    with tl.run("new", store=store) as run:
        before_append(store, Hit, lambda: collect(other, NOTHING), monkeypatch)
        assert text(1) == "canary 00001"
    assert [one.id for one in tl.runs(store=store)] == [run.id]
    assert [call.result for call in run.calls] == ["canary 00001"]
    check_everything(store)
    monkeypatch.undo()
    store.close()
    collect(other, Rules(tags=("none",), last=1))
    assert [call.result for call in tl.get(run.id, store=other).calls] == ["canary 00001"]
    check_everything(store)


@pytest.mark.parametrize("kind", ["run", "call"])
def test_a_pin_made_while_it_leaves_fails(store: Store, other: Store, kind: str) -> None:
    id = run_elsewhere(store, lambda: text(1))
    what = id if kind == "run" else tl.get(id, store=store).calls[0].id
    gc.condemn(other, gc.plan(other, NOTHING), NOTHING)
    with pytest.raises(MissingObject), roots.rooted(store, kind, bytes.fromhex(what)):
        gc.sweep(other, grace=0)


def test_a_purged_value_is_nowhere_in_a_packed_journal(store: Store) -> None:
    for n in range(packing.MANY):
        run_elsewhere(store, lambda n=n: text(n))
    (call,) = [c for c in tl.calls("text", store=store) if c.args["n"] == 7]
    planned = erase.erasure(store, bytes.fromhex(call.output.digest.rpartition(":")[2]))
    gc.pack(store)
    erase.erase(store, planned)
    gc.pack(store)
    for path in store.path.rglob("*"):
        assert path.is_dir() or b"canary 00007" not in path.read_bytes(), path
    with tl.run("again", store=store) as run:
        assert [text(n) for n in range(packing.MANY)] == [text.__wrapped__(n) for n in range(16)]
    assert run.executed == 1
    check(store)


def test_records_of_a_signed_store_are_signed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    key = b"k" * 32
    store = open_store(tmp_path / "signed", signing_key=key)
    for n in range(packing.MANY):
        run_elsewhere(store, lambda n=n: text(n), signing_key=key)
    before = writers(store)
    with pytest.warns(UserWarning, match="signed"):
        stranger = Store(store.path)
    assert gc.pack(stranger) == 0
    assert writers(store) == before
    gc.pack(store)
    assert len(writers(store)) == 1
    with tl.run("again", store=store) as run:
        assert text(3) == "canary 00003"
    assert run.hits == 1
    assert len(tl.runs("job", store=store)) == packing.MANY


def test_what_is_damaged_stays_for_fsck(store: Store) -> None:
    for n in range(packing.MANY + 1):
        run_elsewhere(store, lambda n=n: text(n))
    damaged = sorted(writers(store))[5]
    path = store.path / "journal" / damaged / "00000001"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    gc.pack(store)
    assert damaged in writers(store)
    assert len(writers(store)) == 2
    assert path.read_bytes() == data


def test_the_mirror_of_a_remote_store_is_refused() -> None:
    store = open_store("memory://packed")
    with tl.run("job", store=store):
        text(1)
    assert not packing.can_pack(store)
    assert packing.pack(store) == 0
    mirror = Store(store.path)
    assert not packing.can_pack(mirror)


def test_who_reads_the_whole_journal_is_waited_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "_PATIENCE", 0.1)
    for n in range(packing.MANY):
        run_elsewhere(store, lambda n=n: text(n))
    before = writers(store)
    with held.reading(store.path):
        assert gc.pack(store) == 0
    assert writers(store) == before
    with held.deleting(store.path, 0), pytest.raises(StoreBusy):
        monkeypatch.setattr(held, "_READERS_PATIENCE", 0.0)
        fsck.check(store.path)
    gc.pack(store)
    assert len(writers(store)) == 1


def test_a_query_beside_a_pack_sees_every_record_once(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(packing.MANY):
        run_elsewhere(store, lambda n=n: text(n))
    ingest, done = Upkeep._ingest, list[int]()

    def packed_meanwhile(self: Upkeep, index: Any) -> None:
        if not done:
            done.append(1)
            assert len(writers(store)) == packing.MANY
            gc.pack(other)
        ingest(self, index)

    store.catalog.discard()
    monkeypatch.setattr(Upkeep, "_ingest", packed_meanwhile)
    assert len(tl.runs("job", store=store)) == packing.MANY
    assert len(writers(store)) == 1
    assert [len(run.calls) for run in tl.runs("job", store=store)] == [1] * packing.MANY
    check(store)


def test_nothing_that_stays_leaves_nothing(store: Store) -> None:
    run_elsewhere(store, lambda: blob.__wrapped__(1))
    collect(store, NOTHING)
    left = writers(store)
    assert len(left) <= 1
    assert PACKING not in left
    assert not tl.runs(store=store)
    check(store)


def test_the_command_says_what_it_does(store: Store, command: Shell) -> None:
    for n in range(packing.MANY):
        run_elsewhere(store, lambda n=n: text(n))

    assert "\nrecords " in command.said("gc", "--keep-last", "8")
    assert "smaller" in command.said("gc", "--keep-last", "8", "--yes", "--grace", "0")
    assert len(writers(store)) == 1
    assert "nothing to collect" in command.said("gc", "--keep-last", "8", "--yes")
