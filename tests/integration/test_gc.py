"""Garbage collection: what is kept, what goes, and what its commands say."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.errors import ConfigError, MissingObject, NotFound, StoreBusy, StoreReadOnly
from tasklineage.storage import fsck, gc, ground, roots
from tasklineage.storage.gc import DAY, Rules
from tasklineage.storage.ground import ground_of
from tasklineage.storage.opening import open_store
from tasklineage.storage.store import Store
from tasklineage.storage.usage import usage
from tests.integration.shell import Shell


@task
def blob(n: int) -> bytes:
    return n.to_bytes(4, "big") * 25_000


@task
def wide(n: int) -> dict[str, Any]:
    return {"own": b"%d" % n * 30_000, "taken": blob(n)}


@task
def size(data: Any) -> int:
    return len(data)


def run_of(store: Store, *numbers: int, name: str = "job", **options: Any) -> str:
    """The id of a run that has made these blobs."""
    with tl.run(name, store=store, **options) as run:
        for n in numbers:
            blob(n)
    return run.id


def collect(store: Store, rules: Rules = gc.ALL) -> gc.Sweep | None:
    """What one condemnation and its sweep have done, without the day in between."""
    planned = gc.plan(store, rules)
    gc.condemn(store, planned, rules)
    return gc.sweep(store, grace=0)


def names(store: Store) -> list[str]:
    return [run.id for run in tl.runs(store=store, namespace="*")]


def loads(run: Any) -> bool:
    return all(call.result is not None for call in run.calls)


def test_without_rules_only_what_nothing_reaches_goes(store: Store) -> None:
    kept = run_of(store, 1)
    store.put(b"z" * 50_000, bytes(16))
    swept = collect(store)
    assert swept is not None
    assert (swept.runs, swept.objects) == ([], 1)
    assert names(store) == [kept]
    assert loads(tl.get(kept, store=store))


def test_the_newest_runs_of_each_name_are_kept(store: Store) -> None:
    old = [run_of(store, n) for n in range(3)]
    other = run_of(store, 7, name="other")
    swept = collect(store, Rules(last=1))
    assert swept is not None
    assert swept.runs == [bytes.fromhex(id) for id in old[:2]]
    assert set(names(store)) == {old[2], other}
    assert loads(tl.get(old[2], store=store))
    assert loads(tl.get(other, store=store))


def test_runs_are_kept_by_age_and_by_tag(store: Store) -> None:
    tagged = run_of(store, 1, tags=("good",))
    run_of(store, 2)
    later = run_of(store, 3)
    tl.get(later, store=store).add_tags("good")  # type: ignore[union-attr]

    def in_a_week() -> float:
        return gc.clock_of(store)() + 7 * DAY

    assert gc.plan(store, Rules(days=1)).runs == []
    planned = gc.plan(store, Rules(days=1, tags=("good",)), clock=in_a_week)
    assert len(planned.runs) == 1
    assert {run.id.hex() for run in planned.runs}.isdisjoint({tagged, later})


def test_what_a_hit_was_answered_with_stays_when_its_run_goes(store: Store) -> None:
    first = run_of(store, 1, 2, name="first")
    with tl.run("second", store=store) as second:
        blob(1)
    planned = gc.plan(store, Rules(last=0, tags=()))
    assert len(planned.runs) == 2
    tl.get(second.id, store=store).add_tags("keep")  # type: ignore[union-attr]
    swept = collect(store, Rules(tags=("keep",)))
    assert swept is not None
    assert swept.runs == [bytes.fromhex(first)]
    (call,) = tl.get(second.id, store=store).calls  # type: ignore[union-attr]
    assert call.hit
    assert call.result == blob.__wrapped__(1)
    assert call.producer is not None
    assert call.producer.run.name == "first", "the run is listed no more, and yet known"
    assert names(store) == [second.id]
    with tl.run("third", store=store) as third:
        blob(1)
        blob(2)
    assert (third.hits, third.executed) == (1, 1)


def test_the_subtree_of_a_kept_call_stays(store: Store) -> None:
    with tl.run("first", store=store):
        wide(5)
    with tl.run("second", store=store, tags=("keep",)):
        wide(5)
    collect(store, Rules(tags=("keep",)))
    run = tl.latest("second", store=store)
    assert run is not None
    assert run.calls[0].result["taken"] == blob.__wrapped__(5)
    (child,) = run.calls[0].children
    assert child.result == blob.__wrapped__(5)


def test_what_an_argument_came_from_stays(store: Store) -> None:
    with tl.run("first", store=store):
        data = blob(3)
    with tl.run("second", store=store, tags=("keep",)):
        made = tl.latest("first", store=store)
        assert made is not None
        size(made.calls[0].result)
        blob(3)
        size(data)
    collect(store, Rules(tags=("keep",)))
    run = tl.latest("second", store=store)
    assert run is not None
    assert loads(run)


@pytest.mark.parametrize("kind", ["run", "call", "artifact"])
@pytest.mark.parametrize("how", ["pin", "tag"])
def test_what_has_a_name_stays(store: Store, command: Shell, kind: str, how: str) -> None:
    named = run_of(store, 1)
    gone = run_of(store, 2)
    call = tl.get(named, store=store).calls[0]  # type: ignore[union-attr]
    assert call.output is not None
    id = {"run": named, "call": call.id, "artifact": call.output.digest}[kind]
    command(how, id, *(["kept/one"] if how == "tag" else []))
    swept = collect(store, Rules(last=0))
    assert swept is not None
    assert bytes.fromhex(gone) in swept.runs
    assert (bytes.fromhex(named) in swept.runs) == (kind != "run")
    assert tl.get(call.id, store=store).result == blob.__wrapped__(1)  # type: ignore[union-attr]
    assert tl.whence(blob.__wrapped__(1), store=store).nodes, "its history is there too"
    gone_call = tl.get(gone, store=store) if gone in names(store) else None
    assert gone_call is None


def test_what_is_not_pinned_any_more_goes(store: Store, command: Shell) -> None:
    run = run_of(store, 1)
    command("pin", run)
    assert run in command("pin")
    assert collect(store, Rules(last=0)) is not None
    assert names(store) == [run]
    command("unpin", run)
    command("unpin", run, code=3)
    collect(store, Rules(last=0))
    assert names(store) == []


def test_earlier_versions_of_a_ref_are_kept_until_it_is_deleted(store: Store) -> None:
    with tl.run("job", store=store):
        tl.tag(blob(1), "model", store=store)
        tl.tag(blob(2), "model", store=store)
    collect(store, Rules(last=0))
    assert tl.load("model@1", store=store) == blob.__wrapped__(1)
    tl.untag("model", store=store)
    collect(store, Rules(last=0))
    with pytest.raises(MissingObject):
        tl.get("model@1", store=store).value  # type: ignore[union-attr]  # noqa: B018


def test_a_ref_made_anew_does_not_keep_what_it_pointed_to_before(store: Store) -> None:
    with tl.run("job", store=store):
        tl.tag(blob(1), "model", store=store)
        tl.untag("model", store=store)
        tl.tag(blob(2), "model", store=store)
    collect(store, Rules(last=0))
    assert tl.load("model", store=store) == blob.__wrapped__(2)
    with pytest.raises(MissingObject):
        tl.get("model@1", store=store).value  # type: ignore[union-attr]  # noqa: B018


@pytest.mark.parametrize("kind", ["value", "run", "call"])
def test_what_only_a_deleted_ref_has_named_is_not_missed(
    store: Store, command: Shell, kind: str
) -> None:
    with tl.run("job", store=store) as run:
        made = blob(1)
        tl.tag({"value": made, "run": run, "call": run["blob"]}[kind], "gone", store=store)
        tl.tag("gone", "anew", store=store)
        for name in ("gone", "anew"):
            tl.untag(name, store=store)
        tl.tag(blob(2), "anew", store=store)
    collect(store, Rules(last=0))
    command("fsck")


def test_a_run_that_goes_on_is_kept(store: Store) -> None:
    with tl.run("job", store=store) as run:
        blob(1)
        collect(store, Rules(last=0))
        assert names(store) == [run.id]
        assert blob(1) == blob.__wrapped__(1)
    collect(store, Rules(last=0))
    assert names(store) == []


def test_nested_runs_stay_and_go_together(store: Store) -> None:
    with tl.run("outer", store=store, tags=("keep",)), tl.run("inner") as inner:
        blob(1)
    collect(store, Rules(tags=("keep",)))
    assert inner.id in names(store)
    with tl.run("outer2", store=store), tl.run("inner2"):
        blob(2)
    collect(store, Rules(tags=("keep",)))
    assert len(names(store)) == 2


def test_nothing_goes_before_a_day_is_over(store: Store) -> None:
    run_of(store, 1)
    now = gc.clock_of(store)()
    gc.condemn(store, gc.plan(store, Rules(last=0)), clock=lambda: now)
    assert gc.sweep(store, clock=lambda: now + DAY - 1) is None
    assert len(names(store)) == 1
    swept = gc.sweep(store, clock=lambda: now + DAY + 1)
    assert swept is not None
    assert swept.objects > 0
    assert names(store) == []
    assert gc.condemned(store) == []


def test_a_hit_in_between_brings_a_condemned_result_back(store: Store) -> None:
    run_of(store, 1, 2, name="old")
    gc.condemn(store, gc.plan(store, Rules(last=0)))
    new = run_of(store, 1, name="new")
    swept = gc.sweep(store, grace=0)
    assert swept is not None
    assert swept.spared > 0
    assert names(store) == [new]
    (call,) = tl.get(new, store=store).calls  # type: ignore[union-attr]
    assert call.hit
    assert call.result == blob.__wrapped__(1)


def test_a_tag_in_between_keeps_a_condemned_run(store: Store) -> None:
    run = run_of(store, 1)
    rules = Rules(tags=("keep",))
    gc.condemn(store, gc.plan(store, rules), rules)
    tl.get(run, store=store).add_tags("keep")  # type: ignore[union-attr]
    gc.sweep(store, grace=0)
    assert names(store) == [run]


def test_what_was_swept_executes_again_and_is_stored_again(store: Store) -> None:
    run_of(store, 1)
    collect(store, Rules(last=0))
    with tl.run("again", store=store) as run:
        assert blob(1) == blob.__wrapped__(1)
    assert (run.executed, run.hits) == (1, 0)
    with tl.run("again", store=store) as run:
        assert blob(1) == blob.__wrapped__(1)
    assert run.hits == 1


def test_the_dry_run_lists_exactly_what_goes(store: Store, command: Shell) -> None:
    for n in range(4):
        run_of(store, n)
    before = usage(store).total
    told = json.loads(command("gc", "--keep-last", "2", "--json"))
    assert usage(store).total == before, "it was dry"
    there = {oid.hex() for oid, _ in ground_of(store).sizes()}
    did = json.loads(command("gc", "--keep-last", "2", "--yes", "--grace", "0", "--json"))
    left = {oid.hex() for oid, _ in ground_of(store).sizes()}
    assert set(told["objects"]) == there - left
    assert told["runs"] == did["swept"]["runs"]
    assert did["swept"]["nbytes"] == sum(told["objects"].values()) == told["nbytes"]
    assert usage(store).unneeded == 0


def test_the_command_condemns_first_and_deletes_a_day_later(
    store: Store, command: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = run_of(store, 1), run_of(store, 2)
    assert old[:12] in command("gc", "--keep-last", "1")
    assert "condemned 1 runs" in command.said("gc", "--keep-last", "1", "--yes")
    assert set(names(store)) == {old, new}
    now = gc.clock_of(store)
    monkeypatch.setattr(gc, "clock_of", lambda _: lambda: now() + DAY + 1)
    assert "deleted 1 runs" in command.said("gc", "--keep-last", "1", "--yes")
    assert names(store) == [new]
    assert "nothing to collect" in command.said("gc", "--keep-last", "1", "--yes")


def test_rm_says_what_depends_on_a_run_and_takes_it_out(store: Store, command: Shell) -> None:
    first = run_of(store, 1, 2, name="first")
    second = run_of(store, 1, name="second")
    told = command("rm", first)
    assert f"run {second} has something from them in 1 calls" in told
    assert first in names(store), "it was dry"
    answer = json.loads(command("rm", first, "--yes", "--json"))
    assert answer["dependents"] == {second: 1}
    assert names(store) == [second]
    assert [call.run_id for call in tl.calls(blob, store=store)] == [second]
    freed = answer["nbytes"]
    assert 100_000 <= freed < 101_000
    swept = collect(store)
    assert swept is not None
    assert swept.nbytes == freed
    assert loads(tl.get(second, store=store))
    with pytest.raises(NotFound):
        tl.get(first, store=store)


def test_rm_refuses_what_is_named_or_goes_on(store: Store, command: Shell) -> None:
    named = run_of(store, 1)
    command("pin", named)
    with pytest.raises(ConfigError, match="kept by pin"):
        gc.removal(store, [bytes.fromhex(named)])
    with tl.run("job", store=store) as run, pytest.raises(StoreBusy, match="goes on"):
        gc.removal(store, [bytes.fromhex(run.id)])
    command("rm", tl.get(named, store=store).calls[0].id, code=2)  # type: ignore[union-attr]
    command("rm", "ffffffffffff", code=3)


def test_only_one_collects_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasklineage.storage import sweeps

    run_of(store, 1)
    monkeypatch.setattr(ground, "_PATIENCE", 0.02)
    with sweeps.exclusive(store.path), pytest.raises(StoreBusy, match="somebody else"):
        gc.sweep(store)


def test_a_read_only_store_is_not_collected(store: Store) -> None:
    run_of(store, 1)
    reader = open_store(store.path, read_only=True)
    planned = gc.plan(reader, Rules(last=0))
    assert len(planned.runs) == 1
    with pytest.raises(StoreReadOnly):
        gc.condemn(reader, planned)
    with pytest.raises(StoreReadOnly):
        gc.sweep(reader)


@pytest.mark.parametrize("rules", [Rules(last=-1), Rules(days=-0.5), Rules(days=float("nan"))])
def test_rules_that_cannot_work_are_refused(store: Store, rules: Rules) -> None:
    with pytest.raises(ConfigError):
        gc.plan(store, rules)


def test_a_damaged_list_deletes_nothing(store: Store) -> None:
    run_of(store, 1)
    gc.condemn(store, gc.plan(store, Rules(last=0)))
    (path,) = (store.path / "gc" / "condemned").iterdir()
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    assert gc.sweep(store, grace=0) is None
    assert len(names(store)) == 1


def test_a_store_whose_journal_cannot_be_read_whole_is_not_collected(store: Store) -> None:
    run_of(store, 1)
    writer = store.journal.writer
    store.close()
    segment = store.path / "journal" / writer / "00000001"
    hidden = segment.read_bytes()
    os.unlink(segment)
    segment.symlink_to("/proc/self/mem")
    with pytest.raises(Exception, match="cannot be read"):
        gc.plan(store, Rules(last=0))
    os.unlink(segment)
    segment.write_bytes(hidden)
    assert len(gc.plan(store, Rules(last=0)).runs) == 1


def test_pins_are_files_that_say_what_they_pin(store: Store) -> None:
    pins = roots.Pins(store.backend)
    assert pins.add("run", bytes(16))
    assert not pins.add("run", bytes(16))
    (store.path / "pins" / "nonsense").write_bytes(b"")
    assert [(one.kind, one.id) for one in pins.all()] == [("run", bytes(16))]
    assert pins.remove("run", bytes(16))
    assert not pins.remove("run", bytes(16))


def test_what_a_ref_pointed_to_before_it_was_deleted_is_forgotten_in_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = run_of(store, 1), run_of(store, 2)
    for name in ("gone", "anew", "there"):
        tl.tag(old, name, store=store)
        tl.tag(new, name, store=store)
    tl.untag("gone", store=store)
    tl.untag("anew", store=store)
    tl.tag(new, "anew", store=store)
    clock = gc.clock_of(store)
    gc.sweep(store, clock=lambda: clock() + 89 * DAY)
    assert [len(tl.reflog(name, store=store)) for name in ("gone", "anew", "there")] == [3, 4, 2]
    gc.sweep(store, clock=lambda: clock() + 91 * DAY)
    assert [len(tl.reflog(name, store=store)) for name in ("gone", "anew", "there")] == [1, 2, 2]
    assert fsck.check(store.path).is_healthy
    assert tl.tag(new, "gone", store=store).number == 4
