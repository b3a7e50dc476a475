"""`diff`: what differs between two runs, two calls or two values, and nothing else."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tasklineage as tl
from tasklineage import task
from tasklineage.query.comparing import matched

COUNT = itertools.count()


@task
def load(n: int) -> list[int]:
    return list(range(n))


@task
def fit(rows: list[int], rate: float = 0.1) -> dict[str, float]:
    return {"rate": rate, "sum": float(sum(rows))}


@task
def pipeline(n: int, rate: float) -> dict[str, float]:
    return fit(load(n), rate)


@task
def anything(value: Any) -> Any:
    return value


@task(memo=False)
def counter(x: int) -> int:
    return next(COUNT)


@task
def fail(x: int) -> int:
    raise ValueError(f"no {x}")


def texts(some: Any) -> list[str]:
    return [one.text for one in some]


def names(some: Any) -> list[tuple[str, str]]:
    return [(one.kind, one.name) for one in some]


# Values.


def artifact(value: Any) -> tl.Artifact:
    found = anything.submit(value).call.output
    assert found is not None
    return found


def test_equal_values_do_not_differ() -> None:
    found = tl.diff(artifact({"a": 1}), artifact({"a": 1}))
    assert not found
    assert repr(found) == "<Diff of artifacts: nothing differs>"
    assert found.added == found.removed == found.changed == ()
    assert len(found.same) == 1


def test_items_of_containers_are_compared() -> None:
    old = {"a": 1, "b": [1, 2, 3], "c": "x"}
    new = {"a": 1, "b": [1, 5, 3], "d": "y"}
    found = tl.diff(artifact(old), artifact(new))
    assert texts(found.added) == ["item ['d'] is new: 'y'"]
    assert texts(found.removed) == ["item ['c'] is gone: 'x'"]
    assert texts(found.changed) == ["['b'][1]: 2 is now 5"]
    assert names(found.same) == [("item", "['a']")]


def test_columns_of_tables_are_compared() -> None:
    old = pd.DataFrame({"a": [1, 2], "b": [1.0, 2.0], "c": ["x", "y"]})
    new = pd.DataFrame({"a": [1, 2], "b": [1.0, 3.0], "d": ["x", "y"]})
    found = tl.diff(artifact(old), artifact(new))
    assert names(found.added) == [("column", "d")]
    assert names(found.removed) == [("column", "c")]
    assert texts(found.changed) == ["column 'b' differs"]
    assert names(found.same) == [("rows", ""), ("column", "a")]


def test_a_table_that_was_only_described_is_compared_by_column(tmp_path: Path) -> None:
    @task
    def take(frame: pd.DataFrame) -> int:
        return len(frame)

    old = pd.DataFrame({"a": np.arange(50_000), "b": np.arange(50_000)})
    take(old)
    take(old.assign(b=1.5))
    newer, older = take.calls()
    found = tl.diff(older.inputs["frame"], newer.inputs["frame"])
    assert texts(found.changed) == ["column b: int64 is now float64"]
    assert ("column", "a") in names(found.same)


def test_what_differs_otherwise_differs_as_a_whole() -> None:
    found = tl.diff(artifact(np.zeros(5)), artifact(np.array([0.0, 0, 1, 0, 0])))
    assert names(found.changed) == [("value", "")]
    assert "1 of 5 elements differ" in found.changed[0].diff
    assert tl.diff(artifact({"a": 1, "b": 2}), artifact({"b": 2, "a": 1}))  # the order counts


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(PLAIN, PLAIN)
def test_two_values_differ_exactly_if_their_digests_do(one: Any, other: Any) -> None:
    a, b = artifact(one), artifact(other)
    there, back = tl.diff(a, b), tl.diff(b, a)
    assert bool(there) == bool(back) == (a.digest != b.digest)
    assert sorted(names(there.added)) == sorted(names(back.removed))
    assert sorted(names(there.changed)) == sorted(names(back.changed))
    assert all(one.text for one in (*there.added, *there.removed, *there.changed))


# Calls.


def test_two_calls_differ_in_arguments_and_result() -> None:
    fit([1, 2], 0.1)
    fit([1, 2], 0.2)
    newer, older = fit.calls()
    found = tl.diff(older, newer)
    assert texts(found.changed) == [
        "argument rate: 0.1 is now 0.2",
        "result: {'rate': 0.1, 'sum': 3.0} is now {'rate': 0.2, 'sum': 3.0}",
    ]
    assert {one.kind for one in found.same} == {"task", "code", "argument", "status"}
    assert not tl.diff(older, older)
    assert found.changed[0].after == newer.inputs["rate"]


def test_a_hit_does_not_differ_from_what_computed_it() -> None:
    fit([1, 2])
    fit([1, 2])
    hit, executed = fit.calls()
    assert hit.hit
    assert not tl.diff(executed, hit)


def test_an_edit_is_shown_as_a_diff_of_the_source() -> None:
    source = "def area(w, h):\n    return w * h{}\n"
    found = []
    for more in ("", " + 1"):
        space: dict[str, Any] = {"__name__": "shapes"}
        exec(source.format(more), space)
        area = task(name="area", version=None)(space["area"])
        area(2, 3)
        found.append(area.calls()[0])
    changed = tl.diff(*found).changed
    assert ("result", "") in names(changed)
    assert any(one.kind in ("function", "code", "python") for one in changed)


def test_a_call_that_failed_differs_by_status_and_error() -> None:
    @task
    def half(x: int) -> int:
        if x % 2:
            raise ValueError("odd")
        return x // 2

    half(2)
    with pytest.raises(ValueError, match="odd"):
        half(3)
    newer, older = half.calls()
    found = tl.diff(older, newer)
    assert texts(found.added) == ["error is new: ValueError: odd"]
    assert texts(found.removed) == ["result is gone: 1"]
    assert "status: done is now failed" in texts(found.changed)


def test_calls_of_different_tasks_can_be_compared() -> None:
    load(2)
    fit([1])
    found = tl.diff(load.calls()[0], fit.calls()[0])
    assert any("is now" in one.text and one.kind == "task" for one in found.changed)
    assert names(found.removed) == [("argument", "n")]


# Runs.


def test_a_warm_run_does_not_differ_from_the_cold_one() -> None:
    runs = []
    for _ in range(2):
        with tl.run("same", params={"n": 3}) as run:
            pipeline(3, 0.1)
            tl.map(load, [1, 2, 3]).results()
        runs.append(run)
    found = runs[0].diff(runs[1])
    assert not found
    assert sum(one.kind == "call" for one in found.same) == 4


def test_runs_differ_in_parameters_and_in_the_calls_that_differ() -> None:
    with tl.run("one", params={"rate": 0.1, "old": 1}) as one:
        pipeline(3, 0.1)
        load(7)
    with tl.run("two", params={"rate": 0.2, "new": 1}) as two:
        pipeline(3, 0.2)
        load(8)
        fit([1])
    found = tl.diff(one, two)
    assert names(found.added) == [("param", "new"), ("call", "fit")]
    assert names(found.removed) == [("param", "old")]
    assert names(found.changed) == [
        ("param", "rate"), ("call", "pipeline"), ("call", "pipeline > fit"), ("call", "load"),
    ]  # fmt: skip
    assert ("call", "pipeline > load") in names(found.same)
    assert "argument n: 7 is now 8" in found.changed[-1].text
    assert found.changed[-1].before == one["load"]
    assert tl.diff(one.id, two.id).to_dict() == found.to_dict()


def test_the_same_call_with_another_result_differs() -> None:
    with tl.run("one") as one:
        counter(1)
    with tl.run("two") as two:
        counter(1)
    (changed,) = one.diff(two).changed
    assert changed.text.startswith("counter: result: ")


def test_a_run_that_failed_differs_by_status() -> None:
    with tl.run("one") as one:
        pass
    with pytest.raises(ValueError, match="no 1"), tl.run("two") as two:
        fail(1)
    found = one.diff(two)
    assert "status: done is now failed" in texts(found.changed)
    assert texts(found.added) == ["fail(x=1) is new"]


def test_elements_of_maps_are_compared_with_those_in_their_place() -> None:
    with tl.run("one") as one:
        tl.map(fit, [[1], [2], [3]], rate=0.1).results()
    with tl.run("two") as two:
        tl.map(fit, [[1], [5], [3], [4]], rate=0.1).results()
    found = one.diff(two)
    assert texts(found.added) == ["fit(rows=[4], rate=0.1) is new"]
    assert "argument rows: [2] is now [5]" in found.changed[0].text
    assert len(found.changed) == 1


ITEMS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3)), max_size=8)


@given(ITEMS, ITEMS)
def test_every_call_is_matched_once_or_left(old: list[Any], new: list[Any]) -> None:
    pairs, gone, come = matched(old, new, lambda one: one, lambda one: one[0])
    assert sorted([a for a, _ in pairs] + gone) == sorted(old)
    assert sorted([b for _, b in pairs] + come) == sorted(new)
    assert all(a[0] == b[0] for a, b in pairs)
    assert not {one[0] for one in gone} & {one[0] for one in come}
    if old == new:
        assert all(a == b for a, b in pairs)


# What it looks like, and what it refuses.


def test_it_is_shown_as_text_and_html_and_for_programs() -> None:
    found = tl.diff(artifact({"<b>": 1}), artifact({"<b>": 2}))
    assert str(found).splitlines()[1] == "~ ['<b>']: 1 is now 2"
    assert "<b>']" not in found._repr_html_()
    assert "&lt;b&gt;" in found._repr_html_()
    assert tl.diff(artifact(1), artifact(1))._repr_html_()
    said = found.to_dict()
    assert (said["kind"], said["differs"], said["same"]) == ("artifact", True, 0)
    assert said["changed"][0]["old"] == "1"


def test_refs_values_and_futures_stand_for_what_they_name() -> None:
    tl.tag(fit([1]), "model/prod")
    tl.tag(fit([2]), "model/prod")
    assert names(tl.diff("model/prod@1", "model/prod").changed) == [("item", "['sum']")]
    assert not tl.diff(fit([2]), "model/prod")
    assert not tl.diff(fit.submit([2]), "model/prod")


def test_two_of_different_kinds_are_refused() -> None:
    with tl.run("one") as run:
        load(1)
    with pytest.raises(tl.ConfigError, match=r"two of one kind.*: run, call"):
        tl.diff(run, run["load"])
    with pytest.raises(tl.NotFound):
        run.diff("nothing")


def test_two_stores_can_be_compared(tmp_path: Path) -> None:
    found = []
    for name, rate in (("a", 0.1), ("b", 0.2)):
        with tl.run("one", store=tmp_path / name) as run:
            pipeline(3, rate)
        found.append(run)
    assert names(tl.diff(*found).changed)[0] == ("call", "pipeline")
    assert not tl.diff(found[0], found[0])
