"""Random programs: their graph is the one that follows from who was given what."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

import tasklineage as tl
from tasklineage import Lineage, task

HANDED = ("value", "copy", "future", "part", "part of a copy", "in a list", "in a dict")


class Step(NamedTuple):
    """One call: of what earlier calls it takes the results, and how those are handed over."""

    inputs: tuple[tuple[int, str], ...]


@task
def step(number: int, salt: int, inputs: Any) -> dict[str, Any]:
    return {"whole": [number, salt, "made by a step"], "part": [number, salt, "a part of it"]}


@st.composite
def programs(draw: st.DrawFn) -> list[Step]:
    steps: list[Step] = []
    for i in range(draw(st.integers(1, 6))):
        one = st.tuples(st.integers(0, max(i - 1, 0)), st.sampled_from(HANDED))
        chosen = st.lists(one, max_size=3, unique_by=lambda pair: pair[0])
        steps.append(Step(tuple(draw(chosen)) if i else ()))
    return steps


def run_program(steps: Sequence[Step], salt: int, executor: Any, **options: Any) -> tl.Run:
    with tl.run("program", executor=executor, **options) as run:
        futures: list[tl.Future[Any]] = []
        results: list[Any] = []
        for number, one in enumerate(steps):
            inputs = [_handed(futures[i], results[i], how) for i, how in one.inputs]
            futures.append(step.submit(number, salt, inputs))
            results.append(futures[-1].result())
    return run


def _handed(future: Any, result: Any, how: str) -> Any:
    return {
        "value": lambda: result,
        "copy": lambda: copy.deepcopy(result),
        "future": lambda: future,
        "part": lambda: result["part"],
        "part of a copy": lambda: copy.deepcopy(result)["part"],
        "in a list": lambda: [result],
        "in a dict": lambda: {"key": result},
    }[how]()


_SUFFIXES = {"in a list": "[0]", "in a dict": "['key']"}
_VIA = {"copy": "content", "part of a copy": "content", "future": "future"}
Edges = set[tuple[int, int, str, str]]


def expected(steps: Sequence[Step]) -> Edges:
    """Producer, consumer, path and kind of every edge."""
    return {
        (i, number, f"inputs[{place}]{_SUFFIXES.get(how, '')}", _VIA.get(how, "identity"))
        for number, one in enumerate(steps)
        for place, (i, how) in enumerate(one.inputs)
    }


def edges_of(found: Lineage) -> Edges:
    return {(_number(e.producer), _number(e.consumer), e.path, e.via) for e in found.edges}


def _number(node: Any) -> int:
    number: int = node.args["number"]
    return number


@settings(max_examples=25, deadline=None)
@given(programs(), st.integers(0, 10**9))
def test_a_random_program_has_exactly_the_edges_of_what_was_handed_over(
    steps: list[Step], salt: int
) -> None:
    wanted = expected(steps)
    for executor in (tl.Inline(), tl.Threads(2)):
        with tempfile.TemporaryDirectory() as folder:
            store = tl.open_store(folder)
            run = run_program(steps, salt, executor, store=store)
            assert edges_of(run.graph()) == wanted
            again = run_program(steps, salt, executor, store=store)
            assert again.executed == 0
            assert {e[:3] for e in edges_of(again.graph())} == {e[:3] for e in wanted}
            _check_directions(run, wanted)
            store.close()


def _check_directions(run: tl.Run, wanted: Edges) -> None:
    """Up and down from each call meet what can be reached along the edges."""
    for call in run.calls:
        number = _number(call)
        above = {_number(node) for node in tl.lineage(call, "up")}
        below = {
            _number(node)
            for node in tl.lineage(call, "down")
            if node.run == run  # type: ignore[union-attr]  # a call
        }
        assert above == _reached(number, {(c, p) for p, c, *_ in wanted})
        assert below == _reached(number, {(p, c) for p, c, *_ in wanted})


def _reached(start: int, pairs: set[tuple[int, int]]) -> set[int]:
    found, new = {start}, {start}
    while new:
        new = {end for begin, end in pairs if begin in new} - found
        found |= new
    return found
