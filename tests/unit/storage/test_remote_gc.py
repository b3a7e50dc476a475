"""Garbage of a remote store, collected by one machine while others work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.errors import StoreBusy
from tasklineage.storage import gc, ground, remote, remote_sweeps, spool
from tasklineage.storage.gc import DAY, Plan, Rules, Sweep
from tasklineage.storage.reach import closure, read_graph
from tasklineage.storage.roots import Pins, rooted
from tasklineage.storage.store import Store
from tasklineage.storage.usage import KINDS, usage
from tests.unit.storage.machines import Bucket, Machines

executed: list[Any] = []
NOTHING = Rules(last=0)


def bytes_of(n: int) -> bytes:
    return n.to_bytes(4, "big") * 25_000


@task
def blob(n: int) -> bytes:
    executed.append(n)
    return bytes_of(n)


@task
def pair(n: int) -> list[bytes]:
    executed.append(n)
    return [bytes_of(n), bytes_of(n + 1)]


@task
def same(n: int) -> bytes:
    """What `blob` gives, by another call."""
    executed.append(n)
    return bytes_of(n)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Others are looked for at each miss, threads do nothing by themselves; in no working tree."""
    monkeypatch.setattr(remote, "_LEAST_PAUSE", 0.0)
    monkeypatch.setattr(remote, "_SHARE", 0.0)
    monkeypatch.setattr(remote, "_TICK", 3600.0)
    monkeypatch.setattr(remote_sweeps, "_PAUSE", 0.01)
    monkeypatch.setattr(ground, "_PATIENCE", 0.1)
    monkeypatch.setattr(spool, "_PAUSE", 0.01)
    monkeypatch.chdir(tmp_path)
    executed.clear()


def run_of(store: Store, *numbers: int, made: Any = blob, **options: Any) -> str:
    """The id of a run that has made these, and was put."""
    with tl.run("job", store=store, executor="inline", **options) as run:
        for n in numbers:
            made(n)
    store.flush()
    return run.id


def collect(store: Store, rules: Rules = NOTHING) -> Sweep | None:
    gc.condemn(store, gc.plan(store, rules), rules)
    return gc.sweep(store, grace=0)


def blobs(bucket: Bucket) -> set[str]:
    """The keys of large results."""
    return {entry.key for entry in bucket.list("objects") if entry.size > 90_000}


def is_whole(store: Store, bucket: Bucket) -> bool:
    """Whether all that the runs need is in the bucket: as a new machine sees it."""
    graph = read_graph(store.path)
    needed = graph.reached((run.id for run in graph.kept()), (), ()).objects
    there = {"".join(entry.key.split("/")[1:]) for entry in bucket.list("objects")}
    return {oid.hex() for oid in closure(needed, store.objects)} <= there


def test_exactly_what_the_plan_lists_goes_a_day_later_by_the_clock_of_the_store(
    machine: Machines, bucket: Bucket
) -> None:
    a, b = machine("a"), machine("b")
    gone, kept = run_of(a, 1, 2), run_of(a, 3)
    planned = gc.plan(b, Rules(last=1))
    assert [run.id.hex() for run in planned.runs] == [gone]
    before = {entry.key for entry in bucket.list("objects")}
    gc.condemn(b, planned)
    assert [one.number for one in gc.condemned(a)] == [1]
    assert gc.sweep(b) is None
    now = bucket.now()
    swept = gc.sweep(a, clock=lambda: now + DAY + 10)
    assert swept is not None
    assert [run.hex() for run in swept.runs] == [gone]
    after = {entry.key for entry in bucket.list("objects")}
    assert before - after == {f"objects/{oid.hex()[:2]}/{oid.hex()[2:]}" for oid in planned.objects}
    assert [run.id for run in tl.runs(store=machine("c"))] == [kept]
    executed.clear()
    run_of(machine("c"), 1, 3)
    assert executed == [1]
    assert is_whole(machine("d"), bucket)


@pytest.mark.parametrize("by", KINDS)
def test_what_du_says_adds_up_to_the_bytes_in_the_bucket(
    machine: Machines, bucket: Bucket, by: str
) -> None:
    a = machine("a")
    run_of(a, 1, 2, tags=("x",))
    run_of(a, 2, made=pair)
    bucket.write("objects/ab/" + "c" * 30, b"needed by nobody")
    found = usage(machine("b"), by)
    assert found.total == sum(entry.size for entry in bucket.list())
    own = sum(row.exclusive for row in found.rows)
    assert own + found.shared + found.unneeded + found.other == found.total
    assert found.unneeded == 16
    assert own >= 200_000
    assert found.other >= 0


@pytest.mark.parametrize("how", ["pin", "ref", "run"])
def test_what_another_machine_keeps_stays(machine: Machines, bucket: Bucket, how: str) -> None:
    a, b = machine("a"), machine("b")
    run = run_of(a, 1)
    gc.condemn(a, gc.plan(a, NOTHING), NOTHING)
    if how == "run":
        with tl.run("going on", store=b, executor="inline"):
            blob(1)
            b.flush()
            gc.sweep(a, grace=0)
    else:
        if how == "pin":
            Pins(b.backend).add("run", bytes.fromhex(run))
        else:
            tl.tag(tl.get(run, store=b).calls[0].output, "model", store=b)  # type: ignore[union-attr]
        gc.sweep(a, grace=0)
    assert len(blobs(bucket)) == 1
    executed.clear()
    run_of(machine("c"), 1)
    assert executed == []


def during(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """Do something once between the look of a sweep at the journal and its deletions."""
    take_out, done = gc.take_out, list[bool]()

    def take_out_late(*args: Any) -> None:
        if not done:
            done.append(True)
            do()
        take_out(*args)

    monkeypatch.setattr(gc, "take_out", take_out_late)


@pytest.mark.parametrize("made", [blob, pair])
@pytest.mark.parametrize("moment", ["before", "during", "after"])
def test_a_hit_elsewhere_that_a_sweep_does_not_see_is_made_good(
    machine: Machines, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, made: Any, moment: str
) -> None:
    a, b = machine("a"), machine("b")
    run_of(a, 1, made=made)
    gc.condemn(a, gc.plan(a, NOTHING), NOTHING)
    with tl.run("new", store=b, executor="inline") as run:
        made(1)
        assert executed == [1]
        if moment == "before":
            b.flush()  # the run goes on: all that it has stays
            assert gc.sweep(a, grace=0).spared > 0  # type: ignore[union-attr]
        elif moment == "during":
            during(monkeypatch, b.flush)
            gc.sweep(a, grace=0)
        else:
            assert gc.sweep(a, grace=0).objects > 0  # type: ignore[union-attr]
    b.close()
    assert not list((b.path / "spool").iterdir())
    c = machine("c")
    assert tl.get(run.id, store=c).calls[0].result == made.__wrapped__(1)  # type: ignore[union-attr]
    assert is_whole(c, bucket)


def test_a_result_that_is_stored_already_is_put_again_if_it_was_swept(
    machine: Machines, bucket: Bucket
) -> None:
    a, b = machine("a"), machine("b")
    run_of(a, 1)
    run_of(b, 1)
    gc.condemn(a, gc.plan(a, NOTHING), NOTHING)
    with tl.run("new", store=b, executor="inline") as run:
        same(1)  # its bytes are there, as far as this machine knows
        gc.sweep(a, grace=0)
    b.close()
    assert tl.get(run.id, store=machine("c")).calls[0].result == bytes_of(1)  # type: ignore[union-attr]


def test_who_was_offline_for_many_sweeps_puts_again_what_it_needs(
    machine: Machines, bucket: Bucket
) -> None:
    a, b = machine("a"), machine("b")
    run_of(b, 1)
    with tl.run("new", store=b, executor="inline") as run:
        blob(1)
        for n in range(remote_sweeps.LISTS_KEPT + 3):
            run_of(a, 100 + n)
            collect(a)
        assert blobs(bucket) == set()
    b.close()
    assert len(bucket.list("gc/sweeps")) == remote_sweeps.LISTS_KEPT
    assert tl.get(run.id, store=machine("c")).calls[0].result == bytes_of(1)  # type: ignore[union-attr]


def test_who_was_killed_before_it_could_look_leaves_that_to_the_next(
    machine: Machines, bucket: Bucket
) -> None:
    a, b = machine("a"), machine("b")
    run_of(a, 1)
    gc.condemn(a, gc.plan(a, NOTHING), NOTHING)

    def killed(what: str, key: str) -> None:
        if (what, key) == ("list", "gc"):
            raise KeyboardInterrupt

    with tl.run("new", store=b, executor="inline"):
        blob(1)
        bucket.trouble = killed
        with pytest.raises(KeyboardInterrupt):
            b.flush()
        bucket.heal()
    assert b.remote is not None
    entry = b.remote._state.entry
    assert entry is not None
    entry.close()  # as the kernel would
    b.remote._state.entry = None
    gc.sweep(a, grace=0)
    run_of(machine("b"), 1)
    assert is_whole(machine("c"), bucket)


def test_only_one_machine_collects_at_a_time(machine: Machines, bucket: Bucket) -> None:
    a, b = machine("a"), machine("b")
    run_of(a, 1)
    with ground.ground_of(a).alone(), pytest.raises(StoreBusy, match="collecting garbage in"):
        collect(b)
    assert collect(b) is not None
    assert not bucket.list("gc/busy")


def test_who_was_killed_at_it_stops_its_own_machine_not_at_all_and_others_for_minutes(
    machine: Machines, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = machine("a"), machine("b")
    run_of(a, 1)
    gc.condemn(a, gc.plan(a, NOTHING), NOTHING)
    during(monkeypatch, _killed)
    with pytest.raises(KeyboardInterrupt):
        gc.sweep(a, grace=0)
    bucket.write("gc/busy/00ff00ff00ff00ff", b"a 1")  # the other end of a kill
    Path(a.path / "gc" / "lease").write_bytes(b"gc/busy/00ff00ff00ff00ff")
    with pytest.raises(StoreBusy):
        gc.sweep(b, grace=0)
    assert gc.sweep(a, grace=0) is not None
    run_of(a, 2)
    bucket.write("gc/busy/00ff00ff00ff00ff", b"c 1")
    monkeypatch.setattr(remote_sweeps, "DEAD_AFTER", -1.0)
    assert collect(b) is not None


def _killed() -> None:
    raise KeyboardInterrupt


def test_who_was_stopped_for_long_deletes_nothing(
    machine: Machines, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = machine("a")
    run_of(a, 1)
    gc.condemn(a, gc.plan(a, NOTHING), NOTHING)
    during(monkeypatch, lambda: monkeypatch.setattr(remote_sweeps, "_TRUSTED", -1.0))
    with pytest.raises(StoreBusy, match="nothing more was deleted"):
        gc.sweep(a, grace=0)
    assert len(blobs(bucket)) == 1


def test_a_writer_waits_for_a_sweep_that_may_hurt_it_and_no_longer_than_it_lives(
    machine: Machines, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = machine("a"), machine("b")
    run_of(a, 1)
    gc.condemn(a, gc.plan(a, NOTHING), NOTHING)
    ended: list[float] = []

    def write() -> None:
        with tl.run("new", store=b, executor="inline"):
            blob(1)
        b.close()
        ended.append(time.monotonic())

    thread = threading.Thread(target=write)

    def begin() -> None:
        thread.start()
        time.sleep(0.5)
        assert not ended

    during(monkeypatch, begin)
    gc.sweep(a, grace=0)
    thread.join(30)
    assert ended
    assert is_whole(machine("c"), bucket)


def test_a_root_that_is_made_during_a_sweep_holds_or_fails(
    machine: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = machine("a"), machine("b")
    run = run_of(a, 1)
    call = tl.get(run, store=b).calls[0]  # type: ignore[union-attr]
    id = bytes.fromhex(call.id)
    gc.condemn(a, gc.plan(a, NOTHING), NOTHING)
    raised: list[BaseException] = []

    def pin() -> None:
        try:
            with rooted(b, "call", id):
                Pins(b.backend).add("call", id)
        except tl.MissingObject as error:
            raised.append(error)

    thread = threading.Thread(target=pin)

    def begin() -> None:
        thread.start()
        time.sleep(0.3)

    during(monkeypatch, begin)
    gc.sweep(a, grace=0)
    thread.join(30)
    assert "collected" in str(raised[0])


def test_a_plan_needs_the_store(
    machine: Machines, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_PATIENCE", 0.0)
    a = machine("a")
    run_of(a, 1)

    def unplugged(what: str, key: str) -> None:
        raise tl.StoreUnavailable("connection refused", is_reached=False)

    bucket.trouble = unplugged
    with pytest.raises(tl.StoreError, match="refused"):
        gc.plan(a, NOTHING)


def test_trees_are_followed_without_fetching_objects(machine: Machines) -> None:
    a = machine("a")
    run_of(a, 1, made=pair)
    b = machine("b")
    planned: Plan = gc.plan(b, gc.ALL)
    assert planned.objects == {}
    assert not list((b.path / "objects").glob("??/*"))
