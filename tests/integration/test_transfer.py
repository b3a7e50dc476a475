"""Push and pull: what is asked of the source is answered the same by the destination."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.errors import ConfigError, CorruptObject, MissingObject
from tasklineage.key.digest import digest
from tasklineage.query.transfers import export_bundle, import_bundle
from tasklineage.storage.erase import erase, erasure
from tasklineage.storage.fsck import check
from tasklineage.storage.gc import Rules, condemn, plan, sweep, take_out
from tasklineage.storage.parcel import PREFIX, Parcel
from tasklineage.storage.records import Ref
from tasklineage.storage.store import Store

Make = Callable[[str], Store]
executed: list[str] = []


@task
def load(rows: int) -> dict[str, np.ndarray]:
    executed.append("load")
    return {"X": np.arange(rows, dtype=float), "y": np.ones(rows)}


@task
def train(data: dict[str, np.ndarray], rate: float = 0.1) -> float:
    executed.append("train")
    print("training at", rate)
    return float(data["X"].sum() * rate)


@task
def pipeline(rows: int) -> list[float]:
    data = load(rows)
    return [train(data, rate) for rate in (0.1, 0.2)]


@task
def write(path: str) -> tl.File:
    Path(path).write_text("written " * 10_000)
    return tl.File(path)


@task
def fill(path: str) -> tl.Dir:
    for name in ("a", "b/c"):
        place = Path(path, name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(name * 10_000)
    return tl.Dir(path)


@task
def lines(count: int) -> str:
    return "a line\n" * count


@task
def shelf(count: int) -> list[np.ndarray]:
    return [np.full(2_100, i, dtype=float) for i in range(count)]


@task
def size(table: np.ndarray) -> int:
    return table.size


@task
def broken() -> None:
    print("so far so good")
    raise ValueError("no luck")


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return lambda name: tl.open_store(tmp_path / name)


@pytest.fixture
def source(make: Make) -> Store:
    """The default store of these tests."""
    executed.clear()
    tl.configure(store=make("source"))
    return make("source")


def answers(store: Store) -> dict[str, Any]:
    """What a store says of its runs and calls, without saying that it is this store."""
    runs = {
        run.id: (run.name, run.status, run.tags, run.ended, dict(run.params), run.argv, run.counts)
        for run in tl.runs(store=store, namespace="*")
    }
    calls = {
        call.id: (
            call.task, call.status, call.key, call.started, call.ended, call.source, call.stdout,
            {name: a.digest for name, a in call.inputs.items()},
            call.output and call.output.digest, call.producer_id, call.parent_id,
            call.error and call.error.message, [child.id for child in call.children],
            str(tl.lineage(call, "both")), tl.why(call).to_dict(),
        )
        for call in tl.calls(store=store, namespace="*")
    }  # fmt: skip
    return {"runs": runs, "calls": calls}


def object_files(store: Store) -> list[Path]:
    return [p for p in (store.path / "objects").rglob("*") if p.is_file()]


def test_everything_pushed_is_answered_the_same(source: Store, make: Make) -> None:
    with tl.run("first", params={"rows": 50_000}, tags=("big",)) as first:
        pipeline(50_000)
    first.add_tags("good")
    with tl.run("second"):
        pipeline(50_000)
        with pytest.raises(ValueError, match="no luck"):
            broken()
    sent = tl.push(make("there"))
    assert (sent.runs, sent.calls) == (2, 6)
    assert answers(make("there")) == answers(source)
    there = tl.get(first.id, store=make("there"))
    assert isinstance(there, tl.Run)
    assert there.tags == ("big", "good")
    assert there["load"].result["X"].tolist() == list(range(50_000))
    assert there.environment is not None


def test_a_second_push_sends_nothing(source: Store, make: Make) -> None:
    with tl.run("one"):
        pipeline(50_000)
    first = tl.push(make("there"))
    before = sorted(make("there").path.rglob("*"))
    again = tl.push(make("there"))
    assert first.objects == again.present > 0
    assert (again.records, again.objects, again.nbytes) == (0, 0, 0)
    assert sorted(make("there").path.rglob("*")) == before
    train({"X": np.zeros(1), "y": np.zeros(1)}, 3.0)
    assert tl.push(make("there")).calls == 1


def test_a_run_takes_what_it_came_from_and_nothing_else(source: Store, make: Make) -> None:
    with tl.run("first"):
        pipeline(50_000)
        lines(100_000)
    with tl.run("second") as second:
        pipeline(50_000)
    sent = tl.push(make("there"), second)
    assert sent.calls == 5
    there = tl.get(second.id, store=make("there"))
    assert isinstance(there, tl.Run)
    assert there["train"].stdout == "training at 0.2\n"
    assert str(there.graph()) == str(second.graph())
    assert not tl.calls(lines, store=make("there"), namespace="*")
    assert str(tl.lineage(there.roots[0])) == str(tl.lineage(second.roots[0]))
    assert tl.push(make("there"), second).records == 0
    assert tl.push(make("there")).calls == 1


def test_what_was_pushed_is_a_hit(source: Store, make: Make) -> None:
    with tl.run("one") as one:
        pipeline(50_000)
    tl.push(make("there"), one)
    executed.clear()
    with tl.run("again", store=make("there")) as again:
        assert pipeline(50_000) == one.result
        assert train(load(50_000), 0.2) == one.result[1]
    assert (again.hits, again.executed, executed) == (3, 0, [])


def test_a_living_reader_finds_what_arrives(source: Store, make: Make) -> None:
    with tl.run("there", store=make("there")):
        lines(3)
        with tl.run("one", store=source) as one:
            load(7)
        executed.clear()
        tl.push(make("there"), one)
        load(7)
    assert executed == []


def test_an_artifact_takes_the_calls_that_made_it(source: Store, make: Make) -> None:
    with tl.run("one") as one:
        pipeline(50_000)
    output = one["load"].output
    assert output is not None
    tl.push(make("there"), output)
    found = tl.get(output.digest, store=make("there"))
    assert isinstance(found, tl.Artifact)
    assert found.value["y"].sum() == 50_000
    assert [call.id for call in found.producers] == [one["load"].id]
    assert tl.get(one.id, store=make("there")) == one


def test_ids_and_their_beginnings_name_things(source: Store, make: Make) -> None:
    with tl.run("one") as one:
        pipeline(10)
    tl.push(make("there"), one["train"].id, one["load"].id[:30])
    assert {c.task.rpartition(".")[2] for c in tl.calls(store=make("there"))} == {"load", "train"}
    with pytest.raises(tl.NotFound):
        tl.push(make("there"), "abcdef")


def test_pull_fetches_from_the_other_store(source: Store, make: Make) -> None:
    with tl.run("one", store=make("there")) as one:
        pipeline(50_000)
    assert tl.pull(make("there"), one.id[:20]).calls == 4
    assert answers(source) == answers(make("there"))
    assert tl.pull(make("there").url).records == 0


def test_files_and_folders_go_with_their_contents(
    source: Store, make: Make, tmp_path: Path
) -> None:
    with tl.run("one") as one:
        write(str(tmp_path / "x.txt"))
        fill(str(tmp_path / "folder"))
    tl.push(make("there"), one)
    (tmp_path / "x.txt").unlink()
    os.rename(tmp_path / "folder", tmp_path / "moved")
    with tl.run("again", store=make("there")) as again:
        assert write(str(tmp_path / "x.txt")).text() == "written " * 10_000
        fill(str(tmp_path / "folder"))
    assert again.hits == 2
    assert (tmp_path / "folder" / "b" / "c").read_text() == "b/c" * 10_000


def test_forgotten_memos_stay_forgotten(source: Store, make: Make) -> None:
    with tl.run("one") as one:
        load(5)
    load.forget(5)
    tl.push(make("there"), one)
    with tl.run("again", store=make("there")) as again:
        load(5)
    assert again.executed == 1


def test_accepted_code_stays_accepted(source: Store, make: Make) -> None:
    scope: dict[str, Any] = {"__name__": __name__, "task": task}
    exec("@task(name='scaled')\ndef scaled(x: int) -> int:\n    return x * 2\n", scope)
    with tl.run("one") as one:
        scope["scaled"](4)
    exec("@task(name='scaled')\ndef scaled(x: int) -> int:\n    return 2 * x\n", scope)
    scope["scaled"].accept()
    tl.push(make("there"), one)
    with tl.run("again", store=make("there")) as again:
        assert scope["scaled"](4) == 8
    assert again.hits == 1


def test_runs_begun_in_its_block_go_with_a_run(source: Store, make: Make) -> None:
    with tl.run("outer") as outer, tl.run("inner") as inner:
        load(3)
    tl.push(make("there"), outer)
    assert answers(make("there")) == answers(source)
    tl.push(make("elsewhere"), inner)
    found = tl.get(inner.id, store=make("elsewhere"))
    assert isinstance(found, tl.Run)
    assert found.parent is not None
    assert found.parent.name == "outer"


def test_a_run_that_goes_on_is_told_and_completed_by_the_next_push(
    source: Store, make: Make
) -> None:
    with tl.run("one") as one:
        load(1)
        sent = tl.push(make("there"))
        assert sent.running == (one.id,)
        load(2)
    assert tl.push(make("there")).running == ()
    assert answers(make("there")) == answers(source)


def test_dry_run_counts_and_writes_nothing(source: Store, make: Make, tmp_path: Path) -> None:
    with tl.run("one"):
        pipeline(50_000)
    would = tl.push(tmp_path / "there", dry_run=True)
    assert not (tmp_path / "there").exists()
    assert tl.push(tmp_path / "there") == would._replace(
        dry_run=False, destination=str(tmp_path / "there")
    )
    assert tl.push(tmp_path / "there", dry_run=True).nbytes == 0


def test_a_damaged_object_is_told_and_not_copied(source: Store, make: Make) -> None:
    with tl.run("one") as one:
        text = lines(100_000)
        pipeline(50_000)
    calls = tl.calls(lines)
    damaged = next(path for path in object_files(source) if path.stat().st_size > 700_000)
    content = bytearray(damaged.read_bytes())
    content[-5] ^= 1
    damaged.write_bytes(content)
    oid = damaged.parent.name + damaged.name
    with pytest.raises(CorruptObject, match=oid) as told:
        tl.push(make("there"), one)
    assert told.value.objects == (oid,)  # type: ignore[attr-defined]
    assert not make("there").objects.has(bytes.fromhex(oid))
    there = tl.get(calls[0].id, store=make("there"))
    assert isinstance(there, tl.Call)
    with pytest.raises(MissingObject):
        there.result  # noqa: B018
    with tl.run("healed"):
        assert lines(100_000) == text
    assert tl.push(make("there")).objects >= 1
    assert there.result == text


def test_a_damaged_container_is_told_and_its_folder_goes(
    source: Store, make: Make, tmp_path: Path
) -> None:
    with tl.run("one") as one:
        shelf(600)
        fill(str(tmp_path / "folder"))
    (skeleton,) = (path for path in object_files(source) if b"\xa4tree" in path.read_bytes()[:60])
    skeleton.write_bytes(skeleton.read_bytes()[:-1] + b"?")
    oid = skeleton.parent.name + skeleton.name
    with pytest.raises(CorruptObject, match=f"1 object damaged: {oid}") as told:
        tl.push(make("there"), one)
    assert told.value.transfer.calls == 2  # type: ignore[attr-defined]
    assert len(object_files(make("there"))) >= 3


def test_a_missing_object_is_told(source: Store, make: Make) -> None:
    with tl.run("one") as one:
        lines(100_000)
    path = max(object_files(source), key=lambda path: path.stat().st_size)
    path.unlink()
    with pytest.raises(MissingObject, match="missing") as told:
        tl.push(make("there"), one)
    assert told.value.transfer.calls == 1  # type: ignore[attr-defined]


def test_a_damaged_record_is_told_and_the_others_go(source: Store, make: Make) -> None:
    with tl.run("one"):
        for i in range(20):
            load(i)
    source.close()
    segment = max((source.path / "journal").rglob("0000*"), key=lambda path: path.stat().st_size)
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    with pytest.raises(CorruptObject, match="journal") as told:
        tl.push(make("there"))
    assert told.value.transfer.calls >= 18  # type: ignore[attr-defined]
    assert len(tl.calls(store=make("there"))) >= 18


def test_an_object_that_was_lost_there_is_sent_again(source: Store, make: Make) -> None:
    with tl.run("one"):
        lines(100_000)
    tl.push(make("there"))
    for path in object_files(make("there")):
        path.unlink()
    sent = tl.push(make("there"))
    assert sent.records == 0
    assert sent.objects > 0
    assert tl.calls(lines, store=make("there"))[0].result == "a line\n" * 100_000


def test_a_large_container_goes_with_its_parts(source: Store, make: Make) -> None:
    with tl.run("one") as one:
        shelf(600)
    assert tl.push(make("there"), one).objects > 600
    there = tl.get(one["shelf"].id, store=make("there"))
    assert isinstance(there, tl.Call)
    assert [int(part[-1]) for part in there.result] == list(range(600))


def test_writers_on_both_sides_disturb_nothing(source: Store, make: Make) -> None:
    stop = threading.Event()

    def work(store: Store, offset: int) -> None:
        with tl.run("busy", store=store):
            for i in range(10_000):
                if stop.is_set():
                    return
                load(offset + i)

    with tl.run("one"):
        pipeline(50_000)
    threads = [
        threading.Thread(target=work, args=(store, offset))
        for store, offset in ((source, 60_000), (make("there"), 90_000))
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            tl.push(make("there"))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    tl.push(make("there"))
    tl.pull(make("there"))
    assert answers(make("there")) == answers(source)
    for call in tl.calls(load, store=make("there")):
        assert call.result["X"].size == call.args["rows"]


def test_pushes_at_once_from_several_stores_all_arrive(make: Make) -> None:
    for name in ("a", "b", "c"):
        with tl.run(name, store=make(name)):
            pipeline(10_000 + ord(name))
    threads = [
        threading.Thread(target=tl.push, args=(make("there"),), kwargs={"store": make(name)})
        for name in ("a", "b", "c") * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {run.name for run in tl.runs(store=make("there"))} == {"a", "b", "c"}
    assert len(tl.calls(store=make("there"))) == 12


def test_things_of_another_store_are_found_where_they_are(source: Store, make: Make) -> None:
    with tl.run("one", store=make("other")) as one:
        load(5)
    assert tl.push(make("there"), one).calls == 1
    with tl.run("two") as two:
        load(6)
    with pytest.raises(ConfigError, match="several stores"):
        tl.push(make("there"), one, two)


def test_what_cannot_be_sent_is_refused_with_what_to_do(source: Store, make: Make) -> None:
    load(5)
    with pytest.raises(ConfigError, match="both source and destination"):
        tl.push(source.url)
    with pytest.raises(ConfigError, match="whence"):
        tl.push(make("there"), 5)
    with pytest.raises(tl.StoreNotFound):
        tl.pull(source.path / "nowhere")
    read_only = tl.open_store(make("there").path, read_only=True)
    with pytest.raises(tl.StoreReadOnly):
        tl.push(read_only)


def test_a_transfer_leaves_nothing_behind(source: Store, make: Make) -> None:
    load(50_000)
    tl.push(make("there"))
    assert not [p for p in make("there").path.rglob("*") if p.name.startswith(PREFIX)]
    assert not list((make("there").path / "objects" / "tmp").iterdir())


def sound(store: Store) -> bool:
    """Whether a check of all bytes finds no damage."""
    return not check(store.path, read_data=1.0, decode=True).damage


def test_what_arrives_is_sound_though_its_caller_stays_behind(source: Store, make: Make) -> None:
    with tl.run("one") as one:
        pipeline(50_000)
    tl.push(make("there"), one["train"])
    assert sound(make("there"))
    assert tl.push(make("there"), one["train"]).records == 0
    tl.push(make("there"))
    assert tl.get(one["train"].id, store=make("there")).parent == one["pipeline"]
    tl.push(make("elsewhere"), one)
    assert tl.push(make("elsewhere"), one["train"]).records == 0
    assert sound(make("there"))
    assert sound(make("elsewhere"))


def test_removed_runs_stay_behind_but_for_what_others_have_of_them(
    source: Store, make: Make
) -> None:
    with tl.run("one") as one:
        pipeline(50_000)
        lines(100_000)
    with tl.run("two"):
        train(load(50_000), 0.1)
    take_out(source, [bytes.fromhex(one.id)], "rm")
    condemn(source, plan(source), Rules())
    sweep(source, grace=0)
    tl.push(make("there"))
    assert sound(make("there"))
    assert not tl.calls(lines, store=make("there"))
    two = tl.latest("two", store=make("there"))
    assert two is not None
    assert two.hits == 2
    assert two["load"].result["y"].sum() == 50_000
    assert tl.push(make("there")).records == 0


def test_a_run_that_was_removed_there_stays_so(source: Store, make: Make) -> None:
    with tl.run("one") as one:
        lines(100_000)
    tl.push(make("there"))
    take_out(make("there"), [bytes.fromhex(one.id)], "rm")
    condemn(make("there"), plan(make("there")), Rules())
    sweep(make("there"), grace=0)
    again = tl.push(make("there"))
    assert (again.records, again.objects, again.removed) == (0, 0, (one.id,))
    assert tl.push(make("there"), one).removed == (one.id,)
    assert not tl.runs(store=make("there"))
    assert tl.runs(store=source)[0] == one
    tl.pull(make("there"))
    assert tl.runs(store=source)[0] == one


def test_what_is_swept_before_the_records_arrive_is_sent_again(
    source: Store, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tl.run("one") as one:
        text = lines(100_000)
    there = make("there")
    there.put(text, digest(text))  # to which no record refers
    publish = Parcel.publish

    def swept(parcel: Parcel) -> None:
        condemn(there, plan(there), Rules())
        sweep(there, grace=0)
        publish(parcel)

    monkeypatch.setattr(Parcel, "publish", swept)
    tl.push(there, one)
    assert sound(there)
    assert tl.calls(lines, store=there)[0].result == text


def test_of_two_records_of_a_call_the_newer_says_what_is_needed(source: Store, make: Make) -> None:
    with tl.run("one"):
        text = lines(100_000)
    (row,) = source.catalog.find_calls()
    record = source.journal.read(row.location)
    gone = Ref(digest(text), "str", "text", 5, None, bytes(16))  # swept as it was recorded
    source.append(record._replace(ended=record.ended - 1e-6, output=tuple(gone)))
    source.append(record._replace(ended=record.ended + 1e-6))
    tl.push(make("there"))
    assert tl.calls(lines, store=make("there"))[0].result == text


@pytest.mark.parametrize("count", [3, 100_000])
def test_what_was_purged_there_does_not_come_back(source: Store, make: Make, count: int) -> None:
    with tl.run("one") as one:
        lines(count)
        load(5)
    there = make("there")
    tl.push(there)
    erase(there, erasure(there, digest("a line\n" * count)))
    again = tl.push(there)
    assert (again.records, again.objects) == (0, 0)
    assert tl.push(there, one).records == 0
    with pytest.raises(MissingObject):
        tl.get(one["lines"].id, store=there).result  # type: ignore[union-attr]  # noqa: B018
    assert all(b"a line\na line" not in path.read_bytes() for path in files(there))
    assert one["lines"].result == "a line\n" * count
    tl.pull(there)
    assert one["lines"].result == "a line\n" * count
    assert tl.pull(there).records == 0


def files(store: Store) -> list[Path]:
    return [path for path in store.path.rglob("*") if path.is_file()]


def test_what_was_purged_here_is_not_sent_and_not_purged_there(source: Store, make: Make) -> None:
    with tl.run("one") as one:
        lines(100_000)
    tl.push(make("before"))
    erase(source, erasure(source, digest("a line\n" * 100_000)))
    tl.push(make("before"))
    tl.push(make("after"))
    assert tl.calls(lines, store=make("before"))[0].result == "a line\n" * 100_000
    assert tl.calls(lines, store=make("after"))[0] == one["lines"]
    with pytest.raises(MissingObject):
        tl.calls(lines, store=make("after"))[0].result  # noqa: B018
    assert sound(make("after"))


def test_power_makes_what_arrives_durable(source: Store, tmp_path: Path) -> None:
    with tl.run("one"):
        load(50_000)
    there = tl.open_store(tmp_path / "there", durability="power")
    tl.push(there)
    assert answers(there) == answers(source)


def test_refs_go_with_what_they_point_to(source: Store, make: Make) -> None:
    with tl.run("one") as one:
        pipeline(50_000)
    with tl.run("two") as two:
        load(3)
    output = one["load"].output
    assert output is not None
    tl.tag(one, "run/best", message="the best")
    tl.tag(output, "data/v1")
    tl.tag(two, "run/other")
    sent = tl.push(make("there"), one)
    assert sent.refs == ("data/v1", "run/best")
    assert tl.push(make("there"), "run/best").refs == ()
    assert tl.get("run/best", store=make("there")) == one
    assert tl.load("data/v1", store=make("there"))["y"].sum() == 50_000
    assert tl.reflog("run/best", store=make("there"))[0].message == "the best"
    assert tl.push(make("there")).refs == ("run/other",)
    assert "1 ref," in str(tl.push(make("elsewhere"), tl.refs("run/other")[0]))


def test_a_ref_that_moved_on_moves_on_there(source: Store, make: Make) -> None:
    made = []
    for rows in (1, 2, 3):
        with tl.run(f"run {rows}") as run:
            load(rows)
        made.append(run)
    tl.tag(made[0], "best")
    tl.push(make("there"))
    tl.tag(made[1], "best")
    tl.tag(made[2], "best")
    assert tl.push(make("there")).refs == ("best",)
    assert tl.get("best", store=make("there")) == made[2]
    tl.tag(made[1], "best", store=make("there"))
    assert tl.push(make("there")).conflicts == ()  # it has moved on there
    assert tl.get("best", store=make("there")) == made[1]
    assert tl.pull(make("there")).refs == ("best",)
    assert tl.get("best") == made[1]
    tl.tag(made[0], "best")  # back to where it was once
    assert tl.push(make("there")).refs == ("best",)
    assert tl.get("best", store=make("there")) == made[0]


def test_a_ref_that_points_elsewhere_is_told_and_not_moved(source: Store, make: Make) -> None:
    with tl.run("ours") as ours:
        load(1)
    with tl.run("theirs", store=make("there")) as theirs:
        load(2)
    tl.tag(ours, "best")
    tl.tag(theirs, "best", store=make("there"))
    with pytest.warns(UserWarning, match="'best' was not moved: it is run"):
        sent = tl.push(make("there"))
    assert [(c.name, c.ours, c.theirs) for c in sent.conflicts] == [
        ("best", f"run {ours.id}", f"run {theirs.id}")
    ]
    assert sent.calls == 1
    assert tl.get("best", store=make("there")) == theirs
    tl.untag("best", store=make("there"))
    with pytest.warns(UserWarning, match="it is deleted there"):
        tl.push(make("there"), ours)
    assert not tl.refs(store=make("there"))


def test_a_value_that_only_a_ref_names_goes_with_it(source: Store, make: Make) -> None:
    table = np.arange(70_000)
    with tl.run("one"):
        size(table)  # which describes its argument, and does not store it
    tl.tag(table, "lookup")
    tl.push(make("there"))
    assert tl.load("lookup", store=make("there")).size == 70_000


def test_signed_stores_sign_what_arrives(source: Store, tmp_path: Path) -> None:
    with tl.run("one") as one:
        pipeline(50_000)
        shelf(20)
    tl.tag(one, "best")
    first = tl.open_store(tmp_path / "first", signing_key=b"one key")
    tl.push(first)
    second = tl.open_store(tmp_path / "second", signing_key=b"another key")
    tl.push(second, store=first)
    export_bundle(tmp_path / "x.tar", store=second)
    third = tl.open_store(tmp_path / "third", signing_key=b"a third key")
    import_bundle(tmp_path / "x.tar", store=third)
    tl.push(tmp_path / "plain", store=third)
    for store in (first, second, third, tl.open_store(tmp_path / "plain")):
        assert answers(store) == answers(source)
        assert tl.get("best", store=store) == one
        assert tl.get(one["shelf"].id, store=store).result[7][0] == 7  # type: ignore[union-attr]
        assert tl.push(store, store=source).records == 0


def test_what_is_not_signed_is_told_and_not_sent(source: Store, make: Make, tmp_path: Path) -> None:
    signed = tl.open_store(tmp_path / "signed", signing_key=b"a key")
    with tl.run("one", store=signed):
        load(5)
    with pytest.warns(UserWarning, match="is signed"):
        intruder = Store(signed.path)
    with tl.run("two", store=intruder):
        load(6)
    intruder.close()
    with pytest.raises(CorruptObject, match="not signed"):
        tl.push(make("there"), store=signed)
    assert [run.name for run in tl.runs(store=make("there"))] == ["one"]
