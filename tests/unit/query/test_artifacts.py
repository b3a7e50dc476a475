from __future__ import annotations

import pickle
from typing import Any

import pytest

from tasklineage.query import artifacts
from tasklineage.query.artifacts import Artifact
from tasklineage.query.calls import call_of
from tasklineage.storage.store import Store


def output(store: Store, call: bytes) -> Artifact:
    found = call_of(store, call).output
    assert found is not None
    return found


def test_an_artifact_is_a_value_with_its_history(writer: Any, store: Store) -> None:
    run = writer.run()
    made = writer.call(run, "m.load", result=["a", "b"])
    again = writer.call(run, "m.other", result=["a", "b"])
    used = writer.call(run, "m.use", args={"x": ["a", "b"]}, result=1)
    artifact = output(store, made)
    assert artifact.value == ["a", "b"]
    assert artifact.type == "list"
    assert artifact.nbytes > 0
    assert "'a'" in artifact.preview
    assert artifact.digest.startswith("xxh3:")
    assert artifact.is_stored
    assert [c.id for c in artifact.producers] == [again.hex(), made.hex()]
    assert [c.id for c in artifact.consumers] == [used.hex()]


def test_artifacts_are_equal_by_digest(writer: Any, store: Store) -> None:
    run = writer.run()
    a, b = output(store, writer.call(run, result=[1])), output(store, writer.call(run, result=[1]))
    assert a == b
    assert len({a, b}) == 1
    assert a != output(store, writer.call(run, result=[2]))
    assert a != a.digest
    assert pickle.loads(pickle.dumps(a)) == a


def test_nothing_is_decoded_before_the_value_is_asked_for(
    writer: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = call_of(store, writer.call(writer.run(params={"p": 1}), args={"x": 2}, result=3))
    decoded: list[object] = []
    monkeypatch.setattr(type(store), "get", lambda self, ref: decoded.append(ref))
    artifact = call.output
    assert artifact is not None
    shown = [repr(call), call._repr_html_(), repr(artifact), artifact._repr_html_()]
    shown += [repr(call.args), repr(call.inputs), repr(call.run), repr(call.run.params)]
    assert all(shown)
    assert decoded == []
    _ = call.args["x"]
    assert len(decoded) == 1


def test_an_artifact_shows_itself(writer: Any, store: Store) -> None:
    artifact = output(store, writer.call(writer.run(), result="<b>\n" * 3))
    assert repr(artifact).startswith(f"<Artifact {artifact.digest} str ")
    assert "\n" not in repr(artifact)
    assert "<b>str</b>" in artifact._repr_html_()
    assert "&lt;b&gt;" in artifact._repr_html_()


def test_values_are_a_mapping() -> None:
    values = artifacts.Values({}, "call x")
    assert values == {}
    assert len(values) == 0
    with pytest.raises(KeyError):
        values["x"]
