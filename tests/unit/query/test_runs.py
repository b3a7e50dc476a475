from __future__ import annotations

import pickle
from datetime import UTC, datetime
from typing import Any

import pytest

from tasklineage.errors import NotFound, StoreReadOnly
from tasklineage.query.find import latest, open_run, runs
from tasklineage.query.runs import Run
from tasklineage.storage.opening import open_store
from tasklineage.storage.records import Error
from tasklineage.storage.store import Store


def the_run(store: Store, id: bytes) -> Run:
    return Run(store, id)


def test_a_run_tells_what_it_was_begun_with(writer: Any, store: Store) -> None:
    before = datetime.now(UTC)
    outer = writer.run("outer")
    run = the_run(store, writer.run("inner", parent=outer, params={"lr": 0.1}, tags=("a", "b")))
    assert run.name == "inner"
    assert run.parent == the_run(store, outer)
    assert run.params == {"lr": 0.1}
    assert run.params["lr"] == 0.1
    assert run.tags == ("a", "b")
    assert (run.user, run.host, run.pid, run.argv) == ("ann", "host", 12, ("r.py", "-v"))
    assert (run.executor, run.python, run.platform, run.commit) == (
        "threads", "3.11", "linux", "abc",
    )  # fmt: skip
    assert run.ended is not None
    assert run.started.tzinfo is UTC
    assert abs((run.started - before).total_seconds()) < 5
    assert run.status == "done"
    assert run.error is None


def test_a_run_that_goes_on_is_running_until_it_ends(writer: Any, store: Store) -> None:
    id = writer.run(status=None)
    run = the_run(store, id)
    assert run.status == "running"
    assert run.ended is None
    writer.end(id, "failed", Error("ValueError", "bad", "Traceback …"))
    assert run.status == "failed"
    assert run.ended is not None
    assert run.error is not None
    assert run.error.message == "bad"


def test_a_run_whose_writer_is_gone_is_killed(
    writer: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = writer.run(status=None)
    call = writer.begin(id)
    monkeypatch.setattr(store.journal, "is_alive", lambda writer: False)
    run = the_run(store, id)
    assert run.status == "killed"
    assert run.calls[0].status == "lost"
    assert run.calls[0].id == call.hex()
    assert [r.id for r in runs(status="killed")] == [run.id]
    assert not runs(status="running")


def test_its_calls_are_in_the_order_they_began(writer: Any, store: Store) -> None:
    id = writer.run()
    first = writer.call(id, "m.a")
    inner = writer.call(id, "m.b", parent=first)
    last = writer.call(id, "m.c")
    run = the_run(store, id)
    assert [c.id for c in run.calls] == [c.hex() for c in (first, inner, last)]
    assert [c.id for c in run.roots] == [c.hex() for c in (first, last)]


def test_hits_executed_and_failed_are_counted(writer: Any, store: Store) -> None:
    id = writer.run(status=None)
    run = the_run(store, id)
    assert (run.hits, run.executed, run.failed) == (0, 0, 0)
    done = writer.call(id)
    writer.hit(id, done)
    writer.hit(id, done)
    writer.call(id, status="failed", error=Error("E", "", ""))
    assert run.hits == 2
    assert run.failed == 1
    assert run.executed == 2


def test_the_result_is_that_of_the_last_root_call_that_succeeded(writer: Any, store: Store) -> None:
    id = writer.run()
    run = the_run(store, id)
    with pytest.raises(NotFound, match="no call"):
        _ = run.result
    first = writer.call(id, "m.a", result=1)
    writer.call(id, "m.b", parent=first, result=2)
    assert run.result == 1
    writer.call(id, "m.c", result=3)
    writer.call(id, "m.d", status="failed", error=Error("E", "", ""))
    assert run.result == 3
    writer.hit(id, first, "m.a")
    assert run.result == 1


def test_a_task_gives_its_last_call(writer: Any, store: Store) -> None:
    id = writer.run()
    writer.call(id, "m.train", result=1)
    second = writer.call(id, "m.train", result=2)
    other = writer.call(id, "m.retrain", result=3)
    run = the_run(store, id)
    assert run["train"].id == second.hex()
    assert run["m.train"].id == second.hex()
    assert run["retrain"].id == other.hex()
    with pytest.raises(NotFound, match="no call of 'rain'"):
        run["rain"]
    with pytest.raises(KeyError):
        run["m"]


def test_a_task_is_found_below_a_hit_and_marked_as_one(writer: Any, store: Store) -> None:
    first = writer.run("first")
    leaf = writer.call(first, "m.leaf", result=5)
    inner = writer.begin(first, "m.inner")
    below = writer.call(first, "m.leaf", parent=inner, result=7)
    writer.call(first, "m.inner", id=inner, result=8)
    outer = writer.begin(first, "m.outer")
    seen = writer.hit(first, inner, "m.inner", parent=outer)
    writer.call(first, "m.outer", id=outer, result=9)

    second = writer.run("second")
    writer.hit(second, leaf, "m.leaf")
    writer.hit(second, outer, "m.outer")
    run = the_run(store, second)
    assert len(run.calls) == 2
    found = run["leaf"]
    assert found.id == below.hex()
    assert found.hit
    assert found.status == "hit"
    assert found.result == 7
    assert found.producer is not None
    assert found.producer.status == "done"
    assert run["inner"].id == seen.hex()
    assert run["outer"].hit
    assert the_run(store, first)["leaf"].status == "done"


def test_an_own_call_goes_before_what_an_earlier_hit_stands_for(writer: Any, store: Store) -> None:
    first = writer.run()
    outer = writer.begin(first, "m.outer")
    writer.call(first, "m.leaf", parent=outer)
    writer.call(first, "m.outer", id=outer)
    second = writer.run()
    writer.hit(second, outer, "m.outer")
    own = writer.call(second, "m.leaf")
    assert the_run(store, second)["leaf"].id == own.hex()


def test_logs_name_call_attempt_and_stream(writer: Any, store: Store) -> None:
    id = writer.run()
    first = writer.call(id, "m.a", stdout="one\n", stderr="oops")
    writer.hit(id, first, "m.a")
    assert the_run(store, id).logs() == (
        f"--- m.a {first.hex()} stdout\none\n--- m.a {first.hex()} stderr\noops\n"
    )


def test_tags_are_added_and_removed(writer: Any, store: Store) -> None:
    run = the_run(store, writer.run(tags=("a",)))
    run.add_tags("b", "c")
    run.remove_tags("a", "nowhere")
    assert set(run.tags) == {"b", "c"}
    run.add_tags()
    assert [r.id for r in runs(tag=("b", "c"))] == [run.id]
    assert not runs(tag="a")
    with pytest.raises(TypeError):
        run.add_tags(1)  # type: ignore[arg-type]


def test_tags_of_a_read_only_store_stay(writer: Any, store: Store) -> None:
    id = writer.run()
    writer.store.close()
    read_only = open_store(store.url, read_only=True)
    with pytest.raises(StoreReadOnly):
        Run(read_only, id).add_tags("a")


def test_runs_are_equal_by_id(writer: Any, store: Store) -> None:
    a, b = writer.run(), writer.run()
    assert the_run(store, a) == the_run(store, a)
    assert len({the_run(store, a), the_run(store, a), the_run(store, b)}) == 2
    assert the_run(store, a) != "x"
    assert pickle.loads(pickle.dumps(the_run(store, a))) == the_run(store, a)


def test_a_run_shows_itself(writer: Any, store: Store) -> None:
    run = the_run(store, writer.run("<b>", tags=("x",)))
    assert repr(run) == f"<Run {run.id} <b> done>"
    assert "&lt;b&gt;" in run._repr_html_()
    assert run.id in runs()._repr_html_()  # type: ignore[attr-defined]


def test_a_run_that_was_never_recorded_can_be_held_but_not_asked(store: Store) -> None:
    run = open_run(store, bytes(16))
    assert "not recorded" in repr(run)
    assert run.executed == 0
    with pytest.raises(NotFound):
        _ = run.name


def test_a_run_is_not_iterable(writer: Any, store: Store) -> None:
    run: Any = the_run(store, writer.run())
    with pytest.raises(TypeError):
        iter(run)


def test_the_latest_run_is_the_newest_that_fits(writer: Any, store: Store) -> None:
    old = writer.run("a")
    writer.run("a", status="failed")
    writer.run("b")
    found = latest("a", status="done")
    assert found is not None
    assert found.id == old.hex()
    assert latest("c") is None
