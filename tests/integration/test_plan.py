"""`tl.plan` and `task.why`: what would execute and why, without executing anything."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import tasklineage as tl
from tasklineage import task


def shape(call: Any) -> Any:
    """Last part of the name, status, and the same of what is below."""
    return (call.task.rpartition(".")[2], call.status, [shape(one) for one in call.children])


class Steps:
    """A small pipeline whose steps note that they executed."""

    def __init__(self, version: str = "1") -> None:
        self.executed: list[str] = []
        executed = self.executed

        @task(name="load")
        def load(n: int) -> list[int]:
            executed.append("load")
            return list(range(n))

        @task(name="clean", version=version)
        def clean(xs: list[int]) -> list[int]:
            executed.append("clean")
            return [x + 1 for x in xs]

        @task(name="fit")
        def fit(xs: list[int], lr: float = 0.1) -> float:
            executed.append("fit")
            return sum(xs) * lr

        @task(name="pipeline")
        def pipeline(n: int, lr: float = 0.1) -> float:
            executed.append("pipeline")
            return fit(clean(load(n)), lr)

        self.load, self.clean, self.fit, self.pipeline = load, clean, fit, pipeline


def test_without_a_store_everything_would_execute_and_none_is_made(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKLINEAGE_STORE", str(tmp_path / "none"))
    steps = Steps()
    plan = tl.plan(steps.pipeline, 3)
    assert plan
    assert (plan.executes, plan.hits, plan.unknown) == (1, 0, 0)
    assert plan.calls[0].causes[0].kind == "first"
    assert not (tmp_path / "none").exists()
    with pytest.raises(TypeError):
        tl.plan(steps.pipeline)


def test_a_call_that_was_made_is_a_hit_and_nothing_is_recorded() -> None:
    steps = Steps()
    steps.pipeline(3)
    before, calls = list(steps.executed), len(tl.calls())
    plan = tl.plan(steps.pipeline, 3)
    assert not plan
    assert shape(plan.calls[0]) == ("pipeline", "hit", [])
    assert plan.calls[0].previous == steps.pipeline.calls()[0].id
    assert steps.executed == before
    assert len(tl.calls()) == calls


def test_below_an_edit_what_can_be_known_is_known() -> None:
    Steps().pipeline(3)
    edited = Steps(version="2")
    (top,) = tl.plan(edited.pipeline, 3).calls
    assert shape(top) == (
        "pipeline",
        "execute",
        [("load", "hit", []), ("clean", "execute", []), ("fit", "unknown", [])],
    )
    assert [(c.kind, c.name) for c in top.causes] == [("version", "clean")]
    assert [(c.kind, c.name) for c in top.children[1].causes] == [("version", "clean")]
    assert "takes the result of clean" in top.children[2].causes[0].text
    assert edited.executed == []
    edited.pipeline(3)
    assert edited.executed == ["pipeline", "clean"]  # its result is what it was, so fit was a hit


def test_an_argument_that_differs_makes_what_depends_on_it_unknown() -> None:
    steps = Steps()
    steps.pipeline(3)
    (top,) = tl.plan(steps.pipeline, 4).calls
    assert [c.text for c in top.causes] == ["argument n: 3 is now 4"]
    assert {child.status for child in top.children} == {"unknown"}
    (top,) = tl.plan(steps.pipeline, 3, lr=0.2).calls
    assert [(c.kind, c.name) for c in top.causes] == [("argument", "lr")]


def test_bound_calls_among_the_arguments_are_planned() -> None:
    steps = Steps()
    steps.fit(steps.clean(steps.load(3)))
    before = list(steps.executed)
    plan = tl.plan(steps.fit, steps.clean.bind(steps.load.bind(3)))
    assert (plan.hits, plan.executes, plan.unknown) == (3, 0, 0)
    assert shape(plan.calls[0]) == (
        "fit", "hit", [("clean", "hit", [("load", "hit", [])])]
    )  # fmt: skip
    plan = tl.plan(steps.fit.bind([steps.clean.bind(steps.load.bind(4))]))
    assert shape(plan.calls[0])[:2] == ("fit", "unknown")
    assert steps.executed == before


def test_a_map_below_is_predicted_element_by_element() -> None:
    @task(name="square")
    def square(x: int) -> int:
        return x * x

    @task(name="total", version="1")
    def total(n: int) -> int:
        return sum(tl.map(square, range(n)))

    total(20)
    other = total.options(version="2")
    plan = tl.plan(other, 20)
    assert (plan.executes, plan.hits, plan.unknown) == (1, 20, 0)
    assert "(20 calls)" in str(plan)
    square.forget(7)
    plan = tl.plan(other, 20)
    assert (plan.executes, plan.hits) == (2, 19)
    (missed,) = [c for c in plan.calls[0].children if c.status == "execute"]
    assert missed.causes[0].kind == "forgotten"


def test_ignored_arguments_and_key_functions_are_honoured_below() -> None:
    @task(name="part", ignore="label", key={"xs": len})
    def part(xs: list[int], label: str) -> int:
        return len(xs)

    @task(name="whole", version="1")
    def whole(n: int) -> int:
        return part([0] * n, f"label {n}")

    whole(3)
    (top,) = tl.plan(whole.options(version="2"), 3).calls
    assert shape(top) == ("whole", "execute", [("part", "hit", [])])


def test_expired_and_refreshed_memos_would_execute() -> None:
    @task(ttl=0)
    def brief(x: int) -> int:
        return x

    brief(1)
    assert tl.plan(brief, 1).calls[0].causes[0].kind == "expired"

    @task
    def kept(x: int) -> int:
        return x

    kept(1)
    with tl.run("again", refresh=True):
        assert tl.plan(kept, 1).calls[0].causes[0].kind == "refreshed"


def test_why_of_a_task_tells_what_was_or_what_would_be() -> None:
    @task
    def double(x: int) -> int:
        return 2 * x

    double(1)
    double(2)
    double(2)
    found = double.why(2)
    assert found.call == double.calls()[1]
    assert [c.text for c in found.causes] == ["argument x: 1 is now 2"]
    planned = double.why(3)
    assert planned.call is None
    assert [(c.kind, c.name, c.new) for c in planned.causes] == [("argument", "x", "3")]
    assert planned.to_dict()["status"] == "would execute"
    assert len(double.calls()) == 3


def test_a_method_is_planned_with_its_instance() -> None:
    class Model:
        n = 2

        @task
        def scale(self, x: int) -> int:
            return self.n * x

    model = Model()
    model.scale(2)
    assert tl.plan(model.scale, 2).hits == 1
    assert model.scale.why(2).call is not None
    with pytest.raises(tl.ConfigError, match="takes a task"):
        tl.plan(len, [])


def test_a_plan_shows_itself() -> None:
    steps = Steps()
    steps.pipeline(3)
    plan = tl.plan(steps.pipeline, 3)
    assert repr(plan) == "<Plan: 0 would execute, 1 hits, 0 unknown>"
    assert "pipeline" in plan._repr_html_()
    assert plan.to_dict()["calls"][0]["status"] == "hit"


def test_asynchronous_tasks_and_the_elements_of_their_maps_are_planned() -> None:
    @task
    async def fetch(x: int) -> int:
        return x + 1

    @task
    async def gathered(n: int) -> int:
        return sum(await tl.amap(fetch, range(n)))

    assert tl.plan(gathered, 3).executes == 1
    assert asyncio.run(gathered(3)) == 6
    plan = tl.plan(gathered, 3)
    assert (plan.hits, plan.executes) == (1, 0)
    assert tl.plan(fetch, 2).hits == 1
    gathered.forget(3)
    plan = tl.plan(gathered, 3)
    assert (plan.executes, plan.hits, plan.unknown) == (1, 3, 0)
    assert [child.task for child in plan.calls[0].children] == [fetch.name] * 3
