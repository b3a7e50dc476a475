from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasklineage.errors import AmbiguousId, ConfigError, NotFound, StoreNotFound
from tasklineage.query import find
from tasklineage.query.artifacts import Artifact
from tasklineage.query.calls import Call
from tasklineage.query.find import calls, get, latest, namespace, runs
from tasklineage.query.runs import Run
from tasklineage.storage.records import Error
from tasklineage.storage.store import Store


@pytest.fixture(autouse=True)
def default_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find._Seen, "name", None)


def ids(found: Any) -> list[str]:
    return [item.id for item in found]


def hexes(*given: bytes) -> list[str]:
    return [id.hex() for id in given]


def test_runs_are_newest_first_and_filtered(writer: Any) -> None:
    a = writer.run("a", tags=("x", "y"))
    b = writer.run("b", status="failed", tags=("x",))
    c = writer.run("a", status=None)
    assert ids(runs()) == hexes(c, b, a)
    assert ids(runs("a")) == ids(runs(name="a")) == hexes(c, a)
    assert ids(runs(status="failed")) == hexes(b)
    assert ids(runs(status=("failed", "running"))) == hexes(c, b)
    assert ids(runs(tag="x")) == hexes(b, a)
    assert ids(runs(tag=["x", "y"])) == hexes(a)
    assert ids(runs(limit=2)) == hexes(c, b)
    assert ids(runs(limit=0)) == []
    assert runs()[1].id == b.hex()


def test_runs_since_a_moment(writer: Any) -> None:
    now = datetime.now(UTC)
    writer.run(started=(now - timedelta(days=2)).timestamp())
    new = writer.run()
    assert ids(runs(since=timedelta(days=1))) == hexes(new)
    assert ids(runs(since=now - timedelta(hours=1))) == hexes(new)
    assert ids(runs(since=(now - timedelta(hours=1)).isoformat())) == hexes(new)
    assert len(runs(since=timedelta(days=3))) == 2


def test_an_unknown_status_is_refused(store: Store) -> None:
    with pytest.raises(ConfigError, match="no status 'finished'; there are: done"):
        runs(status="finished")
    with pytest.raises(ConfigError, match="no status 'killed'"):
        calls(status="killed")


def test_queries_see_one_namespace_or_all(writer: Any) -> None:
    mine = writer.run()
    theirs = writer.run(namespace="user:somebody-else")
    call = writer.call(theirs)
    assert ids(runs()) == hexes(mine)
    assert ids(runs(namespace="*")) == hexes(theirs, mine)
    assert ids(runs(namespace="user:somebody-else")) == hexes(theirs)
    assert ids(calls()) == []
    assert ids(calls(namespace="*")) == hexes(call)
    assert ids(calls(run=theirs.hex())) == hexes(call)
    assert get(theirs.hex()).id == theirs.hex()  # type: ignore[union-attr]
    namespace("user:somebody-else")
    assert ids(runs()) == hexes(theirs)
    assert ids(calls()) == hexes(call)
    namespace(None)
    assert ids(runs()) == hexes(theirs, mine)


def test_calls_are_newest_first_and_filtered(writer: Any) -> None:
    run, other = writer.run(), writer.run()
    a = writer.call(run, "m.train", args={"lr": 0.1})
    b = writer.call(run, "m.load", status="failed", error=Error("E", "", ""))
    c = writer.hit(other, a, "m.train")
    d = writer.begin(other, "n.train")
    assert ids(calls()) == hexes(d, c, b, a)
    assert ids(calls("train")) == hexes(d, c, a)
    assert ids(calls(task="m.train")) == hexes(c, a)
    assert ids(calls(status="hit")) == hexes(c)
    assert ids(calls(status="done")) == hexes(a)
    assert ids(calls(status=["done", "hit"])) == hexes(c, a)
    assert ids(calls(status="running")) == hexes(d)
    assert ids(calls(status="lost")) == []
    assert ids(calls(run=run.hex())) == hexes(b, a)
    assert ids(calls(run=runs()[1])) == hexes(b, a)
    assert ids(calls("train", limit=2)) == hexes(d, c)
    with pytest.raises(NotFound, match="no run"):
        calls(run="0" * 32)


def test_calls_are_found_by_the_content_of_their_arguments(writer: Any) -> None:
    run = writer.run()
    a = writer.call(run, args={"lr": 0.1, "data": [1, 2]})
    writer.call(run, args={"lr": 0.2, "data": [1, 2]})
    writer.call(run, args={"lr": 1, "data": []})
    c = writer.call(run, described={"data": [1, 2]}, args={"lr": 0.1})
    hit = writer.hit(run, a)
    writer.call(run, args={"other": 0.1})
    writer.begin(run)
    assert ids(calls(where={"lr": 0.1})) == hexes(hit, c, a)
    assert ids(calls(where={"lr": 0.1, "data": [1, 2]}, limit=2)) == hexes(hit, c)
    assert ids(calls(where={"lr": 1.0})) == []
    assert ids(calls(where={"nothing": 1})) == []


def test_a_task_may_be_given_itself(writer: Any) -> None:
    class TaskLike:
        name = "m.train"

    a = writer.call(writer.run(), "m.train")
    assert ids(calls(TaskLike())) == hexes(a)


def test_get_finds_by_id_prefix_and_digest(writer: Any, store: Store) -> None:
    run = writer.run()
    call = writer.call(run, result=[1, 2])
    assert isinstance(get(run.hex()), Run)
    found = get(call.hex())
    assert isinstance(found, Call)
    assert found.output is not None
    digest = found.output.digest
    for text in (digest, digest.removeprefix("xxh3:"), digest[:17], digest.upper()):
        artifact = get(text)
        assert isinstance(artifact, Artifact)
        assert artifact.value == [1, 2]


def test_get_tells_what_a_prefix_may_mean(writer: Any) -> None:
    run = writer.run()
    for _ in range(20):
        writer.call(run)
    shared = run.hex()[:4]
    with pytest.raises(AmbiguousId, match="…") as raised:
        get(shared)
    assert run.hex() in raised.value.candidates
    assert len(raised.value.candidates) > 10
    for text in ("f" * 32, "xxh3:" + run.hex(), "model/prod", ""):
        with pytest.raises(NotFound):
            get(text)


def test_an_absent_default_store_is_empty_and_stays_absent(isolated: Path) -> None:
    assert runs() == []
    assert calls("train", where={"x": 1}) == []
    assert latest("a") is None
    with pytest.raises(NotFound, match="no store at"):
        get("00")
    assert not isolated.exists()


def test_an_absent_named_store_is_not_found_and_stays_absent(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    for query in (runs, calls, latest):
        with pytest.raises(StoreNotFound):
            query(store=nowhere)
    with pytest.raises(StoreNotFound):
        get("00", store=nowhere)
    assert not nowhere.exists()


def test_a_store_may_be_named_or_given(writer: Any, store: Store) -> None:
    id = writer.run()
    for given in (store, store.url, Path(store.url)):
        assert ids(runs(store=given)) == hexes(id)
