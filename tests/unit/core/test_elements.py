"""What a map keeps of its results in memory, and what it reads from the store again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.core import elements


@pytest.fixture(autouse=True, params=["inline", "threads:2"])
def run(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    monkeypatch.setattr(elements, "_KEPT", 0)
    with tl.run("map", store=tmp_path / "store", executor=request.param) as opened:
        yield opened


@task
def text(number: int) -> str:
    return str(number).zfill(1_000)


@task
def rows(number: int) -> dict[str, Any]:
    return {"number": number, "row": [float(i) for i in range(number, number + 100)]}


def test_results_that_are_read_again_are_the_same_cold_and_warm() -> None:
    for hits in (0, 30):
        texts, tables = tl.map(text, range(30)), tl.map(rows, range(30))
        for _ in range(2):
            assert list(texts) == [str(i).zfill(1_000) for i in range(30)]
            assert tables[7]["row"][-1] == 106.0
        assert sorted(texts.as_completed()) == texts.results()
        assert (texts.hits, tables.hits) == (hits, hits)


def test_results_are_not_kept_in_memory() -> None:
    texts = tl.map(text, range(3))
    assert texts[1] == texts[1]
    assert texts[1] is not texts[1]


def test_forgotten_results_are_still_there_for_who_has_the_map() -> None:
    texts = tl.map(text, range(5)).results() and tl.map(text, range(5))
    assert texts.hits == 5
    for number in range(5):
        text.forget(number)
    assert texts[3] == "3".zfill(1_000)


def test_a_newer_result_of_the_same_call_does_not_take_the_place_of_the_old_one() -> None:
    made = iter(range(100))

    @task(version="1")
    def counted(number: int) -> str:
        return f"{next(made)} " + "x" * 1_000

    first = tl.map(counted, [0, 1], executor="inline")
    before = list(first)
    with tl.run("again", refresh=True, store=tl.current_run().store):  # type: ignore[union-attr]
        assert list(tl.map(counted, [0, 1], executor="inline")) != before
    assert list(first) == before


def test_results_without_a_memo_stay_in_memory() -> None:
    @task(memo=False)
    def volatile(number: int) -> str:
        return f"{time.perf_counter_ns()} {'x' * 1_000}"

    @task(catch=ValueError, default="caught " * 200)
    def failing(number: int) -> str:
        raise ValueError(number)

    times = tl.map(volatile, range(10))
    assert times[3] is times[3]
    assert tl.map(failing, range(3)).results() == ["caught " * 200] * 3


def test_an_object_of_a_class_made_at_run_time_is_the_functions_own() -> None:
    class Local:
        def __init__(self, number: int) -> None:
            self.text = str(number).zfill(1_000)

    @task(version="1")
    def local(number: int) -> Local:
        return Local(number)

    assert all(isinstance(one, Local) for one in tl.map(local, range(3)))


def test_results_that_are_read_again_keep_their_producer() -> None:
    @task
    def same(number: int) -> list[str]:
        return ["x" * 600]

    @task
    def length(value: list[str]) -> int:
        return len(value[0])

    results = tl.map(same, range(3))
    value = results[1]
    assert length(value) == 600
    run = tl.current_run()
    assert run is not None
    (edge,) = tl.lineage(run["length"], "up").edges
    assert edge.via == "identity"
    assert edge.producer.args["number"] == 1
