"""Tasks of modules that a hook changes on import, as pytest does with this one, run in workers.

A worker that imports such a module by itself comes to other code, so they travel with the call.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import tasklineage as tl
from tasklineage import task


class Refused(Exception):
    pass


class Thing:
    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thing) and other.x == self.x

    def __hash__(self) -> int:
        return hash(self.x)


def helper(x: int) -> int:
    assert x >= 0, "below 0"
    return x + 1


@task
def inner(x: int) -> int:
    assert x < 100
    return helper(x)


@task
def outer(x: int) -> int:
    assert tl.current_call() is not None
    return sum(tl.map(inner, range(x)))


@task
def thing(x: int) -> Thing:
    assert x
    return Thing(x)


@task
def grown(one: Thing) -> Thing:
    assert isinstance(one, Thing)
    return Thing(one.x + 1)


@task
def refuses(x: int) -> int:
    assert x
    raise Refused("no")


@task
def is_two(x: int) -> None:
    assert x == 2


def test_assertions_in_tasks_do_no_harm(tmp_path: Path) -> None:
    with tl.Processes(2) as pool, tl.run(executor=pool, store=tmp_path):
        assert tl.map(outer, [3, 4]).results() == [6, 10]
        made = thing.submit(3).result()
        assert type(made) is Thing
        assert grown.submit(made).result() == Thing(4)
        assert tl.map(grown, [Thing(5), Thing(6)]).results() == [Thing(6), Thing(7)]
        with pytest.raises(Refused):
            refuses.submit(1).result()
        with pytest.raises(AssertionError, match="assert 1 == 2"):
            is_two.submit(1).result()
    with tl.run(executor="inline", store=tmp_path) as here:
        assert tl.map(outer, [3, 4]).results() == [6, 10]
        assert thing(3) == Thing(3)
    assert here.executed == 0
