"""Random graphs of tasks: memos answer what a clean execution gives, before and after edits.

Verification executes every hit of such a program again and has to find nothing that differs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tasklineage as tl
from tasklineage.key.digest import digest

OPERATIONS = ("sum", "list", "each", "dict", "array", "text", "append", "twice")


class Node(NamedTuple):
    """One task of a graph: what it does, with a constant, to what earlier ones give."""

    operation: str
    constant: int
    children: tuple[int, ...]


Each = Callable[[Callable[[int], Any], Iterable[int]], list[Any]]


def nodes() -> st.SearchStrategy[list[Node]]:
    """Graphs of up to six tasks."""
    operation, constant = st.sampled_from(OPERATIONS), st.integers(0, 3)
    return st.lists(
        st.tuples(operation, constant, st.lists(st.integers(0, 5), max_size=2)),
        min_size=1,
        max_size=6,
    ).map(
        lambda drawn: [
            Node(what, number, tuple(c % n for c in below) if n else ())
            for n, (what, number, below) in enumerate(drawn)
        ]
    )


def body(node: Node, children: tuple[Callable[[int], Any], ...], each: Each) -> Any:
    """The function of a node."""
    operation, constant = node.operation, node.constant

    def compute(x: int) -> Any:
        below = [child(x + n) for n, child in enumerate(children)]
        if operation == "sum":
            return constant + x + sum(len(str(one)) for one in below)
        if operation == "list":
            return [constant, *below]
        if operation == "each":
            return [each(child, range(constant)) for child in children]
        if operation == "dict":
            return {"x": x, "below": below, "constant": constant}
        if operation == "array":
            return np.arange(x + constant, dtype="f8") / 3
        if operation == "text":
            return f"{constant} {x} {below!s:.100}"
        if operation == "append":
            for one in below:
                if isinstance(one, list):
                    one.append(constant)
            return below
        return [child(x) for child in children for _ in range(2)]

    return compute


def built(graph: list[Node], wrap: Callable[[Any, int], Any], each: Each) -> list[Any]:
    """The functions of a graph."""
    made: list[Any] = []
    for n, node in enumerate(graph):
        made.append(wrap(body(node, tuple(made[c] for c in node.children), each), n))
    return made


def as_tasks(graph: list[Node]) -> list[Any]:
    return built(
        graph,
        lambda function, n: tl.task(name=f"node {n}")(function),
        lambda function, xs: list(tl.map(function, xs)),  # type: ignore[arg-type]
    )


def as_functions(graph: list[Node]) -> list[Any]:
    return built(graph, lambda function, _: function, lambda function, xs: list(map(function, xs)))


def check(graph: list[Node], edit: tuple[int, int], calls: list[tuple[int, int]]) -> None:
    """Make the calls, make them again, edit one task, and make them twice more."""
    changed = list(graph)
    place = edit[0] % len(graph)
    changed[place] = changed[place]._replace(constant=edit[1])
    with tempfile.TemporaryDirectory() as folder:
        for version in (graph, graph, changed, changed, graph):
            tasks, functions = as_tasks(version), as_functions(version)
            with tl.run(store=folder, verify=1.0, executor="inline") as run:
                for n, x in calls:
                    value = tasks[n % len(graph)](x)
                    assert digest(value) == digest(functions[n % len(graph)](x))
                assert [one.text for one in run.verifications if one.is_differing] == []
                assert run.verified == run.hits
        assert run.executed == 0, "the first version's memos are there still"


arguments = {
    "graph": nodes(),
    "edit": st.tuples(st.integers(0, 5), st.integers(0, 3)),
    "calls": st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), min_size=1, max_size=4),
}


@settings(max_examples=20)
@given(**arguments)
def test_memos_answer_what_a_clean_execution_gives(
    graph: list[Node], edit: tuple[int, int], calls: list[tuple[int, int]]
) -> None:
    check(graph, edit, calls)


@pytest.mark.nightly
@settings(max_examples=500)
@given(**arguments)
def test_memos_of_many_graphs_answer_what_a_clean_execution_gives(
    graph: list[Node], edit: tuple[int, int], calls: list[tuple[int, int]]
) -> None:
    check(graph, edit, calls)
