"""`tag`, `untag`, `refs`, `load`, `reflog`, and refs wherever an id may stand."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.key.digest import digest
from tasklineage.query.ids import digest_text
from tasklineage.query.refs import RefVersion
from tasklineage.storage.ref_names import version_key


@task
def train(rate: float) -> dict[str, float]:
    return {"rate": rate}


@task
def table(n: int) -> Any:
    return np.arange(n, dtype=float)


@task
def total(numbers: Any) -> float:
    return float(numbers.sum())


@task
def split(n: int) -> tuple[Any, Any]:
    return np.arange(n), np.arange(n, 2 * n)


@task
def fail() -> None:
    raise ValueError("no")


def the_run() -> tl.Run:
    run = tl.current_run()
    assert run is not None
    return run


def damage(name: str, number: int = 1) -> None:
    store = tl.open_store()
    (store.path / version_key(name, number)).write_bytes(b"?")


# What can be tagged.


def test_a_run_a_call_and_an_artifact_can_be_tagged_and_got() -> None:
    with tl.run("nightly") as run:
        train(0.1)
    call = run["train"]
    assert call.output is not None
    for item, kind in ((run, "run"), (call, "call"), (call.output, "artifact")):
        made = tl.tag(item, f"a/{kind}")
        assert (made.name, made.number, made.kind, made.previous) == (f"a/{kind}", 1, kind, None)
        assert made.target == item == tl.get(f"a/{kind}")
        assert made.value == {"rate": 0.1} == tl.load(f"a/{kind}")


def test_a_value_stands_for_its_artifact() -> None:
    model = train(0.1)
    made = tl.tag(model, "model/prod")
    assert made.kind == "artifact"
    assert made.id == digest_text(digest(model))
    found = tl.get("model/prod")
    assert isinstance(found, tl.Artifact)
    assert [call.args["rate"] for call in found.producers] == [0.1]


def test_a_future_stands_for_its_result() -> None:
    assert tl.tag(train.submit(0.1), "model").kind == "artifact"
    assert tl.load("model") == {"rate": 0.1}


def test_a_future_that_failed_has_nothing_to_tag() -> None:
    future = fail.submit()
    with pytest.raises(ValueError, match="no"):
        future.result()
    with pytest.raises(tl.NotFound, match="is failed: it has no result"):
        tl.tag(future, "model")


def test_an_id_or_its_beginning_or_another_ref_stands_for_what_it_names() -> None:
    with tl.run("nightly") as run:
        train(0.1)
    call = run["train"]
    assert tl.tag(call.id, "by/id").target == call
    assert tl.tag(run.id[:20], "by/prefix").target == run
    assert call.output is not None
    assert tl.tag(call.output.digest, "by/digest").target == call.output
    assert tl.tag("by/prefix", "by/ref").target == run
    assert tl.tag(tl.reflog("by/id")[0], "by/version").target == call


def test_a_file_stands_for_what_is_in_it(tmp_path: Path) -> None:
    @task
    def write(text: str) -> tl.File:
        path = tmp_path / "report.txt"
        path.write_text(text)
        return tl.File(path)

    write("hello")
    assert tl.tag(tmp_path / "report.txt", "report").kind == "artifact"
    (tmp_path / "report.txt").unlink()
    assert tl.load("report").text() == "hello"


def test_an_argument_in_hand_that_was_only_described_is_stored_when_it_is_tagged() -> None:
    numbers = np.arange(10_000, dtype=float)
    total(numbers)
    made = tl.tag(numbers, "data/v1")
    assert isinstance(made.target, tl.Artifact)
    assert (tl.load("data/v1") == numbers).all()


def test_a_described_argument_that_is_not_in_hand_cannot_be_tagged() -> None:
    total(np.arange(10_000, dtype=float))
    with pytest.raises(tl.MissingObject, match="described when it was passed"):
        tl.tag(total.calls()[0].inputs["numbers"], "data/v1")
    assert not tl.refs()


def test_a_part_of_a_result_can_be_tagged() -> None:
    _, second = split(5_000)
    tl.tag(second, "test-set")
    assert (tl.load("test-set") == np.arange(5_000, 10_000)).all()


def test_a_value_of_which_nothing_is_known_is_refused() -> None:
    train(0.1)
    with pytest.raises(tl.NotFound, match="does not know this dict"):
        tl.tag({"rate": 0.3}, "model")
    with pytest.raises(tl.NotFound, match="neither a ref nor an id"):
        tl.tag("nothing of that name", "model")


def test_many_values_at_once_have_no_name() -> None:
    models = tl.map(train, [0.1, 0.2])
    models.results()
    with pytest.raises(tl.ConfigError, match="pass its results, one by one"):
        tl.tag(models, "models")


@pytest.mark.parametrize("name", ["", "../x", "a//b", "f" * 32, "model@2", "-x"])
def test_a_name_that_can_be_none_is_refused_everywhere(name: str) -> None:
    train(0.1)
    for ask in (lambda: tl.tag(the_run(), name), lambda: tl.untag(name), lambda: tl.reflog(name)):
        with pytest.raises(tl.ConfigError, match="a ref cannot have the name"):
            ask()
    assert not tl.refs()


# What it says.


def test_a_version_says_what_it_replaced_and_why_and_when() -> None:
    first = tl.tag(train(0.1), "model/prod", message="the first\nof many")
    second = tl.tag(train(0.2), "model/prod")
    assert second.previous == first.id
    assert first.message == "the first\nof many"
    assert abs(second.at - datetime.now(UTC)) < timedelta(minutes=5)
    assert second.at.utcoffset() == timedelta(0)
    assert (second.user, second.host) == (the_run().user, the_run().host)
    assert tl.reflog("model/prod") == [second, first]


def test_an_earlier_version_can_be_had_and_put_back() -> None:
    tl.tag(train(0.1), "model")
    tl.tag(train(0.2), "model")
    assert tl.load("model@1") == {"rate": 0.1}
    back = tl.tag("model@1", "model")
    assert (back.number, tl.load("model")) == (3, {"rate": 0.1})
    with pytest.raises(tl.NotFound, match="no version 9"):
        tl.get("model@9")


def test_versions_are_equal_by_name_and_number_and_travel() -> None:
    made = tl.tag(train(0.1), "model")
    (listed,) = tl.refs()
    assert made == listed
    assert hash(made) == hash(listed)
    assert pickle.loads(pickle.dumps(made)) == made
    assert made != tl.tag(train(0.1), "model")
    assert made != "model"


def test_a_ref_is_shown_on_one_line_and_as_a_card() -> None:
    made = tl.tag(train(0.1), "model/<b>", message="<script>")
    assert repr(made) == f"<Ref model/<b>@1 artifact {made.id}>"
    shown = made._repr_html_() + tl.refs()._repr_html_()  # type: ignore[attr-defined]
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "model/&lt;b&gt;" in shown
    assert repr(tl.refs()) == "<1 ref>"
    assert repr(tl.reflog("model/<b>")) == "<1 version>"


# Lists.


def test_refs_are_listed_by_name_and_filtered() -> None:
    for name in ("model/prod", "data", "model/dev", "Model"):
        tl.tag(train(0.1), name)
    tl.untag("data")
    assert [ref.name for ref in tl.refs()] == ["Model", "model/dev", "model/prod"]
    assert [ref.name for ref in tl.refs("model/*")] == ["model/dev", "model/prod"]
    assert [ref.name for ref in tl.refs("data")] == []
    found = tl.refs()
    assert found["model/dev"] == found[1] == found[1:2][0]
    assert "model/dev" in found
    assert found[0] in found
    assert "data" not in found
    with pytest.raises(tl.NotFound, match="no ref 'data' among these 3"):
        found["data"]


def test_without_a_store_there_are_no_refs() -> None:
    assert list(tl.refs()) == []
    for ask in (tl.reflog, tl.untag, tl.get, tl.load):
        with pytest.raises(tl.NotFound, match="no store at"):
            ask("model")  # type: ignore[operator]
    with pytest.raises(tl.StoreNotFound):
        tl.refs(store="/nowhere/at/all")


# Deletion.


def test_a_deleted_ref_is_gone_and_its_past_stays() -> None:
    first = tl.tag(train(0.1), "model")
    gone = tl.untag("model", message="no good")
    assert (gone.is_deleted, gone.id, gone.previous) == (True, "", first.id)
    with pytest.raises(tl.NotFound, match=r"it was deleted: see tl.reflog\('model'\)"):
        tl.load("model")
    with pytest.raises(tl.NotFound, match="has no ref 'model'; there was one"):
        tl.untag("model")
    assert tl.reflog("model") == [gone, first]
    with pytest.raises(tl.NotFound, match="deleted the ref"):
        tl.get("model@2")
    assert tl.tag("model@1", "model").number == 3


def test_a_misspelt_ref_says_which_there_are() -> None:
    tl.tag(train(0.1), "model/prod")
    for ask in (tl.get, tl.load, tl.untag, tl.reflog):
        with pytest.raises(tl.NotFound, match="there is or was model/prod"):
            ask("model/prd")  # type: ignore[operator]


# Compare and set.


def test_a_ref_is_moved_only_from_what_was_expected() -> None:
    first = tl.tag(train(0.1), "best", expected=None)
    with pytest.raises(tl.RefMoved, match=r"it is <Ref best@1 .*not what was expected") as refused:
        tl.tag(train(0.2), "best", expected=None)
    assert (refused.value.name, refused.value.number) == ("best", 1)
    second = tl.tag(train(0.2), "best", expected=first)
    with pytest.raises(tl.RefMoved):
        tl.tag(train(0.3), "best", expected=first)
    third = tl.tag(train(0.3), "best", expected=second.id)
    fourth = tl.tag(train(0.4), "best", expected=third.target)
    with pytest.raises(tl.RefMoved):
        tl.tag(train(0.5), "best", expected=second.target)
    assert [one.number for one in tl.reflog("best")] == [4, 3, 2, 1]
    tl.untag("best")
    assert tl.tag(train(0.1), "best", expected=None).previous is None
    assert fourth.previous == third.id


# Where an id may stand.


def test_a_ref_goes_before_the_beginning_of_an_id() -> None:
    train(0.1)
    run = the_run()
    other = train.calls()[0]
    tl.tag(other, run.id[:8])
    assert tl.get(run.id[:8]) == other
    assert tl.get(run.id) == run


def test_queries_take_refs() -> None:
    with tl.run("nightly") as run:
        train(0.1)
    tl.tag(run, "last")
    tl.tag(run["train"], "call")
    tl.tag(run["train"].result, "model")
    assert tl.calls(run="last") == list(run.calls)
    assert tl.whence("model").calls == tl.lineage("call").calls
    assert tl.why("call").call == run["train"]


# Other stores.


def test_a_ref_is_in_the_store_of_its_target_unless_said_otherwise(tmp_path: Path) -> None:
    other = tl.open_store(tmp_path / "other")
    with tl.run("there", store=other) as run:
        train(0.1)
    tl.tag(run, "last")
    assert [ref.name for ref in tl.refs(store=other)] == ["last"]
    assert tl.load("last", store=other) == {"rate": 0.1}
    train(0.2)
    with pytest.raises(tl.NotFound):
        tl.tag(run, "last", store=tl.open_store())


def test_a_read_only_store_keeps_its_refs(store_path: Path) -> None:
    tl.tag(train(0.1), "model")
    store = tl.open_store(store_path, read_only=True)
    assert tl.load("model", store=store) == {"rate": 0.1}
    with pytest.raises(tl.StoreReadOnly):
        tl.tag("model", "other", store=store)
    with pytest.raises(tl.StoreReadOnly):
        tl.untag("model", store=store)


# What is gone or damaged.


def test_a_damaged_ref_is_an_error_and_can_be_mended() -> None:
    made = tl.tag(train(0.1), "model")
    tl.tag(train(0.2), "model")
    damage("model", 2)
    for ask in (tl.get, tl.load):
        with pytest.raises(tl.CorruptObject, match="version 2 of the ref 'model' is damaged"):
            ask("model")
    assert [ref.kind for ref in tl.refs()] == ["damaged"]
    broken, first = tl.reflog("model")
    assert first == made
    assert "damaged" in repr(broken)
    assert "damaged" in broken._repr_html_()
    with pytest.raises(tl.CorruptObject):
        broken.target  # noqa: B018
    tl.tag(first, "model")
    assert tl.load("model") == {"rate": 0.1}


def test_a_damaged_ref_can_be_deleted() -> None:
    tl.tag(train(0.1), "model")
    damage("model")
    assert tl.untag("model").previous is None
    assert not tl.refs()


def test_a_ref_whose_run_is_gone_says_so(store_path: Path) -> None:
    tl.tag(train.submit(0.1).call, "call")
    tl.tag(the_run(), "run")
    store = tl.open_store()
    refs = store.refs
    lost = refs.move("lost", refs_target("run"))
    refs.move("lost-call", refs_target("call"))
    for name in ("lost", "lost-call"):
        with pytest.raises(tl.NotFound, match=r"does not have: it was removed, or was not copied"):
            tl.get(name)
    assert RefVersion(store, lost)._repr_html_()
    assert len(tl.refs()) == 4


def refs_target(kind: str) -> Any:
    from tasklineage.storage.refs import Target

    return Target(kind, b"\1" * 16)


def test_an_artifact_outlives_the_journal(store_path: Path) -> None:
    import shutil

    tl.tag(table(5_000), "numbers")
    tl.tag(train(0.1), "model")
    tl.open_store().close()
    fresh = store_path.with_name("copy")
    fresh.mkdir(mode=0o700)
    for name in ("format", "objects", "refs"):
        source = store_path / name
        shutil.copytree(source, fresh / name) if source.is_dir() else shutil.copy(source, fresh)
    assert (tl.load("numbers", store=fresh) == np.arange(5_000)).all()
    assert tl.load("model", store=fresh) == {"rate": 0.1}


def test_a_value_stored_anew_elsewhere_is_found(store_path: Path) -> None:
    first = table(5_000)
    tl.tag(first, "numbers")
    version = tl.open_store().refs.find("numbers")
    assert version is not None
    assert version.ref.oid is not None
    name = version.ref.oid.hex()
    (store_path / "objects" / name[:2] / name[2:]).unlink()
    with pytest.raises(tl.MissingObject):
        tl.load("numbers")
    table(5_000)
    assert (tl.load("numbers") == first).all()
