from __future__ import annotations

import pickle
from typing import Any

import pytest

from tasklineage.errors import MissingObject, NotFound
from tasklineage.query.calls import Call, call_of
from tasklineage.query.runs import Run
from tasklineage.storage.records import Attempt, Code, Error
from tasklineage.storage.store import Store


def test_a_call_tells_what_happened(writer: Any, store: Store) -> None:
    run = writer.run()
    id = writer.call(
        run, "m.f", args={"x": 1, "y": [2]}, result={"z": 3}, stdout="out", stderr="err",
        position=(2, 5), tags=("slow",),
    )  # fmt: skip
    call = call_of(store, id)
    assert (call.task, call.status, call.hit, call.run) == ("m.f", "done", False, Run(store, run))
    assert call.args == {"x": 1, "y": [2]}
    assert call.result == {"z": 3}
    assert (call.stdout, call.stderr) == ("out", "err")
    assert call.position == (2, 5)
    assert call.tags == ("slow",)
    assert call.key.startswith("xxh3:")
    assert call.ended is not None
    assert call.ended >= call.started
    assert call.error is None
    assert call.producer is None
    assert call.parent is None
    assert call.inputs["x"].value == 1
    assert call.output is not None
    assert call.output.type == "dict"


def test_each_result_is_a_new_object(writer: Any, store: Store) -> None:
    call = call_of(store, writer.call(writer.run(), result=[1]))
    call.result.append(2)
    assert call.result == [1]


def test_a_failed_call_has_an_error_and_no_result(writer: Any, store: Store) -> None:
    error = Error("ValueError", "no such column", "Traceback …")
    call = call_of(store, writer.call(writer.run(), status="failed", error=error))
    assert call.status == "failed"
    assert call.error == ("ValueError", "no such column", "Traceback …")
    assert call.output is None
    with pytest.raises(NotFound, match="failed with ValueError: no such column"):
        _ = call.result


def test_a_caught_call_has_an_error_and_its_default(writer: Any, store: Store) -> None:
    error = Error("ValueError", "bad", "")
    call = call_of(store, writer.call(writer.run(), status="caught", error=error, result=-1))
    assert call.result == -1
    assert call.error is not None


def test_parent_and_children_are_calls(writer: Any, store: Store) -> None:
    run = writer.run()
    outer = writer.begin(run, "m.outer")
    inner = [writer.call(run, "m.inner", parent=outer) for _ in range(3)]
    writer.call(run, "m.outer", id=outer)
    call = call_of(store, outer)
    assert [c.id for c in call.children] == [id.hex() for id in inner]
    assert call.children[0].parent == call
    assert not call.children[0].children


def test_a_call_without_end_is_running_and_knows_little(writer: Any, store: Store) -> None:
    run = writer.run(status=None)
    id = writer.begin(run, "m.f")
    call = call_of(store, id)
    assert call.status == "running"
    assert call.ended is None
    assert call.args == {}
    assert (call.stdout, call.attempts, call.tags, call.mutated) == ("", (), (), ())
    with pytest.raises(NotFound, match="is running: no result"):
        _ = call.result
    writer.call(run, "m.f", id=id, args={"x": 1}, result=2)
    assert (call.status, call.args, call.result) == ("done", {"x": 1}, 2)


def test_a_hit_answers_through_its_producer(writer: Any, store: Store) -> None:
    code = Code(b"d" * 16, "m.f", (("function", "f", b"", "def f(x): ..."),))
    first = writer.run()
    made = writer.begin(first, "m.f")
    child = writer.call(first, "m.g", parent=made)
    writer.call(
        first, "m.f", id=made, args={"x": 1}, result=2, stdout="out", stderr="err", code=code
    )
    hit = call_of(store, writer.hit(writer.run(), made, "other.name"))
    assert (hit.status, hit.hit, hit.task) == ("hit", True, "other.name")
    assert hit.producer == call_of(store, made)
    assert (hit.producer_id, hit.parent_id) == (made.hex(), None)
    assert hit.children[0].producer_id == hit.children[0].id
    assert hit.children[0].parent_id == made.hex()
    assert hit.run_id == hit.run.id
    assert (hit.args, hit.result, hit.stdout, hit.stderr) == ({"x": 1}, 2, "out", "err")
    assert hit.source == "def f(x): ..."
    assert [a.status for a in hit.attempts] == ["done"]
    assert [c.id for c in hit.children] == [child.hex()]
    assert hit.children[0].hit
    assert hit.run != hit.producer.run  # type: ignore[union-attr]


def test_a_described_argument_is_missing_by_name_until_it_is_stored(
    writer: Any, store: Store
) -> None:
    run = writer.run()
    call = call_of(store, writer.call(run, "m.f", args={"lr": 0.1}, described={"data": [1, 2]}))
    assert call.args["lr"] == 0.1
    assert "data" in call.args
    assert call.args.get("nothing") is None
    assert "large" in repr(call.args)
    with pytest.raises(MissingObject, match=r"'data' of call .* of m\.f: .*store_args=True"):
        _ = call.args["data"]
    with pytest.raises(MissingObject):
        call.args.get("data")
    assert not call.inputs["data"].is_stored
    writer.call(run, "m.load", result=[1, 2])
    assert call.args["data"] == [1, 2]


def test_every_attempt_is_kept(writer: Any, store: Store) -> None:
    attempts = (
        Attempt(0, "failed", 1.0, 2.0, Error("E", "first", ""), writer.ref("a"), None),
        Attempt(1, "done", 3.0, 4.0, None, writer.ref("b"), writer.ref("c")),
    )
    call = call_of(store, writer.call(writer.run(), attempts=attempts, stdout="b"))
    assert [(a.index, a.status, a.stdout, a.stderr) for a in call.attempts] == [
        (0, "failed", "a", ""),
        (1, "done", "b", "c"),
    ]
    assert call.attempts[0].error is not None
    assert call.attempts[0].error.message == "first"
    assert call.attempts[1].started.timestamp() == 3.0
    assert call.attempts[1].ended.timestamp() == 4.0


def test_the_only_attempt_says_what_the_call_says(writer: Any, store: Store) -> None:
    error = Error("E", "bad", "")
    call = call_of(store, writer.call(writer.run(), status="failed", error=error, stderr="log"))
    (attempt,) = call.attempts
    assert (attempt.index, attempt.status, attempt.stderr) == (0, "failed", "log")
    assert attempt.error == call.error


@pytest.mark.parametrize("status", ["skipped", "cancelled"])
def test_a_call_that_was_not_made_has_no_attempt(writer: Any, store: Store, status: str) -> None:
    call = call_of(store, writer.call(writer.run(), status=status))
    assert call.status == status
    assert call.attempts == ()


def test_source_is_empty_where_the_code_is_not_known(writer: Any, store: Store) -> None:
    assert call_of(store, writer.call(writer.run())).source == ""


def test_calls_are_equal_by_id(writer: Any, store: Store) -> None:
    run = writer.run()
    a, b = writer.call(run), writer.call(run)
    assert call_of(store, a) == call_of(store, a)
    assert call_of(store, a) != call_of(store, b)
    assert len({call_of(store, a), call_of(store, a)}) == 1
    assert pickle.loads(pickle.dumps(call_of(store, a))) == call_of(store, a)
    with pytest.raises(NotFound):
        call_of(store, bytes(16))


def test_a_call_shows_itself(writer: Any, store: Store) -> None:
    call: Call = call_of(store, writer.call(writer.run(), "m.<f>"))
    assert repr(call) == f"<Call {call.id} m.<f> done>"
    assert "m.&lt;f&gt;" in call._repr_html_()
