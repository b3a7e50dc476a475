"""map, gather, join, merge: order, errors, laziness, nesting, and the same records everywhere."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tasklineage as tl
from tasklineage import task

EXECUTORS = ["inline", "threads:1", "threads:2", "threads:4"]


@pytest.fixture(params=EXECUTORS)
def run(request: pytest.FixtureRequest) -> Iterator[Any]:
    with tl.run("maps", executor=request.param) as run:
        yield run


@task
def square(x: int) -> int:
    return x * x


@task
def add(a: int, b: int, c: int = 0) -> int:
    return a + b + c


@task
def odd_fails(x: int) -> int:
    if x % 2:
        raise ValueError(x)
    return x


@task(ignore="log")
def slow(x: int, seconds: float, log: Any) -> int:
    log.append(x)
    time.sleep(seconds)
    return x


def test_results_are_in_input_order(run: Any) -> None:
    fan = tl.map(square, range(100))
    assert len(fan) == 100
    assert list(fan) == fan.results() == [x * x for x in range(100)]
    assert (fan[3], fan[-1], fan[2:5]) == (9, 99 * 99, [4, 9, 16])
    assert (fan.hits, fan.executed, fan.failures) == (0, 100, [])
    again = tl.map(square, range(101))
    assert (again.hits, again.executed) == (100, 1)
    with pytest.raises(IndexError):
        fan[100]
    with pytest.raises(IndexError):
        fan[-101]


def test_iterables_bind_to_the_first_free_parameters(run: Any) -> None:
    assert tl.map(add, [1, 2], [10, 20]).results() == [11, 22]
    assert tl.map(add, [1, 2], b=5, c=7).results() == [13, 14]
    assert tl.map(add, [1, 2], a=100).results() == [101, 102]
    assert tl.map(add, [1, 2], (x for x in (5, 6)), c=1).results() == [7, 9]


def test_an_empty_input_gives_an_empty_fanout(run: Any) -> None:
    for empty in ([], (x for x in ())):
        fan = tl.map(square, empty)
        assert len(fan) == 0
        assert list(fan) == fan.results() == list(fan.as_completed()) == []
        assert (fan.hits, fan.executed) == (0, 0)


def test_unequal_lengths_are_an_error_at_the_end(run: Any) -> None:
    fan = tl.map(add, [1, 2, 3], [1, 2])
    assert fan[0] == 2
    with pytest.raises(tl.LengthMismatch):
        fan.results()
    with pytest.raises(tl.LengthMismatch):
        len(tl.map(add, iter([1]), [1, 2]))


def test_the_first_failure_is_raised_after_the_rest_in_flight(run: Any) -> None:
    fan = tl.map(odd_fails, [0, 2, 3, 4])
    assert fan[0] == 0
    with pytest.raises(ValueError, match="3"):
        fan.results()
    (failure,) = fan.failures
    assert (failure.index, str(failure.error), failure.call.status) == (2, "3", "failed")


def test_collect_and_skip(run: Any) -> None:
    fan = tl.map(odd_fails, range(5), on_error="collect")
    values = list(fan)
    assert [v for v in values if not isinstance(v, tl.Failure)] == [0, 2, 4]
    assert [v.index for v in values if isinstance(v, tl.Failure)] == [1, 3]
    assert [f.index for f in fan.failures] == [1, 3]
    skipping = tl.map(odd_fails, range(5), on_error="skip")
    assert list(skipping) == [0, 2, 4]
    assert (len(skipping), skipping[1], skipping[-1], skipping[1:]) == (3, 2, 4, [2, 4])
    with pytest.raises(IndexError):
        skipping[3]
    assert len(skipping.failures) == 2


def test_a_failure_nobody_looked_at_is_raised_at_the_end_of_the_block() -> None:
    with pytest.raises(ValueError, match="1"), tl.run("x") as run:
        tl.map(odd_fails, [1])
    assert run.status == "failed"

    @task
    def parent() -> int:
        tl.map(odd_fails, [1])
        return 1

    with pytest.raises(ValueError, match="1"):
        parent()


def test_nothing_finished_is_thrown_away() -> None:
    log: list[int] = []
    with tl.run(executor="threads:4"):
        fan = tl.map(slow, range(4), seconds=0.1, log=log)
        bad = tl.map(odd_fails, itertools.chain([0] * 3, [1], range(2, 1000, 2)))
        with pytest.raises(ValueError):
            bad.results()
        fan.results()
    done = bad.executed - 1
    with tl.run() as run:
        again = tl.map(odd_fails, [0, *range(2, 1000, 2)])
        again.results()
    assert again.hits >= done - 2
    assert run.failed == 0


def test_too_many_items_run_nothing() -> None:
    with tl.run() as run:
        for items in (range(11), (x for x in range(11)), itertools.count()):
            with pytest.raises(tl.TooManyItems):
                tl.map(square, items, max_items=10)
        assert len(tl.map(square, range(10), max_items=10)) == 10
    assert run.executed == 10


def test_positions_are_known_inside(run: Any) -> None:
    @task
    def where(x: str) -> Any:
        call = tl.current_call()
        assert call is not None
        return list(call.position or ())

    assert tl.map(where, ["a", "b"]).results() == [[0, 2], [1, 2]]
    assert tl.map(where, iter(["c"])).results() == [[0, None]]
    assert run["where"].position == (0, None)


def test_input_is_read_by_a_window_over_calls_in_flight() -> None:
    read: list[int] = []
    log: list[int] = []
    gate = threading.Event()

    @task(ignore=("gate", "log"))
    def wait(x: int, gate: Any, log: Any) -> int:
        log.append(x)
        gate.wait(20)
        return x

    def items() -> Iterator[int]:
        for i in range(2_000):
            read.append(i)
            yield i

    with tl.run(executor="threads:2"):
        fan = tl.map(wait, items(), gate=gate, log=log)  # returns at once
        deadline = time.monotonic() + 10
        while len(log) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        assert len(log) == 2
        assert len(read) <= 16
        gate.set()
        assert fan[1_999] == 1_999  # goes on without anybody taking results


def test_elements_run_at_once_on_threads() -> None:
    barrier = threading.Barrier(4, timeout=20)

    @task(ignore="barrier")
    def meet(x: int, barrier: Any) -> int:
        barrier.wait()
        return x

    with tl.run(executor="threads:4"):
        assert tl.map(meet, range(8), barrier=barrier).results() == list(range(8))


def test_max_workers_bounds_what_runs_at_once() -> None:
    running, most = [], []

    @task(ignore=("running", "most"))
    def watch(x: int, running: Any, most: Any) -> int:
        running.append(x)
        most.append(len(running))
        time.sleep(0.005)
        running.remove(x)
        return x

    with tl.run(executor="threads:8"):
        tl.map(watch, range(20), max_workers=2, running=running, most=most).results()
    assert max(most) <= 2


def test_as_completed_gives_quick_ones_first() -> None:
    @task
    def wait(x: float) -> float:
        time.sleep(x)
        return x

    with tl.run(executor="threads:3"):
        assert list(tl.map(wait, [0.5, 0.0, 0.2]).as_completed()) == [0.0, 0.2, 0.5]


def test_nested_maps_on_every_pool(run: Any) -> None:
    @task
    def inner(x: int, y: int) -> int:
        return x * y

    @task
    def middle(x: int) -> int:
        return sum(tl.map(inner, range(4), y=x))

    @task
    def outer(n: int) -> list[int]:
        return tl.map(middle, range(n)).results()

    assert outer(5) == [sum(i * x for i in range(4)) for x in range(5)]
    assert tl.map(outer, [3, 5]).results()[1] == outer(5)


def test_deep_recursion_on_a_pool_of_one() -> None:
    @task
    def down(n: int) -> int:
        return 0 if n == 0 else 1 + tl.map(down, [n - 1])[0]

    with tl.run(executor="threads:1"):
        assert down(50) == 50


def test_a_large_result_stays_in_the_store(run: Any) -> None:
    @task
    def ones(n: int) -> np.ndarray:
        return np.ones(n)

    fan = tl.map(ones, [50_000, 60_000])
    assert [a.size for a in fan] == [50_000, 60_000]
    fan[0][0] = 5
    assert fan[0][0] == 1
    assert fan[1].flags.writeable


def test_shared_arguments_are_checked_after_the_map(run: Any) -> None:
    @task
    def push(x: int, items: list[int]) -> int:
        items.append(x)
        return len(items)

    with pytest.warns(UserWarning, match="items"):
        tl.map(push, [1, 2], items=[], max_workers=1).results()
    again = tl.map(push, [1, 2], items=[], max_workers=1)
    assert (again.hits, again.executed) == (0, 2)
    assert again.results() == [1, 2]


def test_an_element_that_changed_what_all_share_is_no_memo_while_the_map_runs(run: Any) -> None:
    @task
    def push(x: int, items: list[int]) -> int:
        items.append(x)
        return len(items)

    seen = []

    def elements() -> Iterator[int]:
        for x in range(10):
            seen.append([push.cached(done, []) for done in range(x)])
            yield x

    with pytest.warns(UserWarning, match="items"):
        tl.map(push, elements(), items=[], max_workers=1).results()
    assert not any(map(any, seen))


def test_what_takes_long_to_look_at_again_is_looked_at_in_the_end(run: Any) -> None:
    @task
    def scale(x: int, data: np.ndarray) -> float:
        if x == 19:
            data *= 2
        return float(data[0])

    data = np.ones(1_000_000)
    with pytest.warns(UserWarning, match="data"):
        tl.map(scale, range(22), data=data, max_workers=1).results()
    assert not any(scale.cached(x, np.ones(1_000_000)) for x in (19, 20, 21))


def test_an_element_after_one_that_changed_what_all_share_is_no_memo_even_if_it_restores_it(
    run: Any,
) -> None:
    @task
    def swings(x: int, data: list[int]) -> int:
        data[0] += {3: 1, 5: -1}.get(x, 0)
        return data[0]

    with pytest.warns(UserWarning, match="data"):
        tl.map(swings, range(8), data=[0], max_workers=1).results()
    assert [swings.cached(x, [0]) for x in range(8)] == [True] * 3 + [False] * 5


def test_futures_may_be_arguments(run: Any) -> None:
    future = square.submit(3)
    assert add.submit(future, 1).result() == 10
    assert add(future, square.submit(2)) == 13
    total = tl.map(add, [square.submit(1), 2], b=square.submit(4)).results()
    assert total == [17, 18]

    @task
    def collect(items: Any) -> Any:
        return items

    assert collect({"a": [square.submit(2), 1], "b": (future,)}) == {"a": [4, 1], "b": (9,)}
    assert collect(tl.map(square, [1, 2])) == [1, 4]
    assert collect(square.bind(5)) == 25
    assert collect.submit(tl.map(square, [3])).result() == [9]


def test_a_future_as_argument_has_the_key_of_its_value(run: Any) -> None:
    add(9, 1)
    with tl.run() as second:
        add.submit(square.submit(3), 1).result()
    assert second["add"].hit


def test_a_failed_input_skips_the_call_and_raises_the_original(run: Any) -> None:
    bad = odd_fails.submit(1)
    with pytest.raises(ValueError, match="1"):
        add.submit(bad, 1).result()
    with pytest.raises(ValueError, match="1"):
        add(bad, 1)
    assert [c.status for c in run.calls if c.task.endswith("add")] == ["skipped", "skipped"]


def test_future_states() -> None:
    gate = threading.Event()

    @task(ignore="gate")
    def wait(x: int, gate: Any) -> int:
        gate.wait(20)
        return x

    with tl.run(executor="threads:1") as run:
        first = wait.submit(1, gate)
        second = wait.submit(2, gate)
        with pytest.raises(TimeoutError):
            first.result(timeout=0.01)
        assert not first.done()
        assert second.cancel()
        gate.set()
        assert first.result() == 1
        assert first.exception() is None
        assert first.call.status == "done"
        assert not first.cancel()
        with pytest.raises(BaseException, match="cancel"):
            second.result()
    assert sorted(c.status for c in run.calls) == ["cancelled", "done"]


def test_futures_can_be_awaited() -> None:
    async def main() -> int:
        return await square.submit(4) + (await tl.amap(square, [1, 2]))[1]

    with tl.run(executor="threads:2"):
        assert asyncio.run(main()) == 20


def test_gather_by_position_and_by_name(run: Any) -> None:
    assert tl.gather(square.bind(2), add.bind(1, 2)) == (4, 3)
    assert tl.gather(a=square.bind(2), b=add.bind(1, 2)) == {"a": 4, "b": 3}
    assert tl.gather({"x": square.bind(3)}) == {"x": 9}
    with pytest.raises(ValueError, match="5"):
        tl.gather(square.bind(9), odd_fails.bind(5))
    assert square.cached(9)


def test_join_gives_inputs_by_name_and_place(run: Any) -> None:
    @task
    def best(inputs: Any, bonus: int = 0) -> Any:
        assert inputs[0] == inputs.knn == inputs["knn"]
        assert len(inputs) == 2
        return [max(inputs) + bonus, list(inputs.names)]

    branches = {"knn": square.bind(3), "svm": square.submit(4)}
    assert tl.join(best, branches, bonus=1) == [17, ["knn", "svm"]]
    call = run["best"]
    paths = sorted(name for name in call.inputs)
    assert paths == ["bonus", "inputs"]

    @task
    def total(inputs: Any) -> int:
        return sum(inputs)

    assert tl.join(total, tl.map(square, [1, 2, 3])) == 14
    assert tl.join(total, [1, square.bind(2)]) == 5
    with tl.run() as again:
        assert tl.join(total, [1, 4, 9]) == 14
        assert total([1, 4]) == 5
    assert again.executed == 0


def test_merge_keeps_equal_values_and_names_conflicts() -> None:
    a = {"x": 1, "data": np.arange(3), "tmp": 1}
    b = {"y": 2, "data": np.arange(3), "tmp": 2}
    with pytest.raises(tl.MergeConflict, match="tmp") as caught:
        tl.merge([a, b])
    assert caught.value.names == ("tmp",)
    merged = tl.merge([a, b], exclude=("tmp",), count=7)
    assert sorted(merged) == ["count", "data", "x", "y"]
    assert tl.merge([a, b], tmp=3)["tmp"] == 3
    assert sorted(tl.merge([a, b], include=("x", "y"))) == ["x", "y"]


def test_a_map_over_a_map_has_edges_to_each_element(run: Any) -> None:
    second = tl.map(square, tl.map(square, [2, 3]))
    assert second.results() == [16, 81]


def test_inline_and_threads_give_equal_records(tmp_path: Path) -> None:
    @task
    def leaf(x: int, of: int) -> dict[str, int]:
        return {"x": x}

    @task
    def node(x: int) -> dict[str, int]:
        return {"sum": sum(d["x"] for d in tl.map(leaf, range(x), of=x))}

    @task
    def pick(inputs: Any) -> Any:
        return max(inputs, key=lambda d: d["sum"])

    def program() -> Any:
        return tl.join(pick, tl.map(node, [2, 3, 4]))

    seen = []
    for executor in ("inline", "threads:3"):
        with tl.run(executor=executor, store=tmp_path / executor) as run:
            program()
        calls = {c.id: c for c in run.calls}
        seen.append(
            sorted(
                (
                    c.task, c.status, c.position, c.output.digest, c.key,
                    sorted((n, a.digest) for n, a in c.inputs.items()),
                    c.parent and calls[c.parent.id].key,
                )
                for c in calls.values()
                for _ in [0]
            )
        )  # fmt: skip
    assert seen[0] == seen[1]


def test_a_generator_that_fails_ends_the_map(run: Any) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("input")

    fan = tl.map(square, items())
    assert fan[0] == 1
    with pytest.raises(KeyError, match="input"):
        fan.results()


def test_wrong_calls_of_map() -> None:
    with pytest.raises(tl.ConfigError):
        tl.map(lambda x: x, [1])  # type: ignore[call-overload]
    with pytest.raises(tl.ConfigError):
        tl.map(square, [1], on_error="ignore")  # type: ignore[call-overload]
    with pytest.raises(tl.ConfigError):
        tl.map(square)
    with pytest.raises(tl.ConfigError):
        tl.map(square, [1], executor="ftp://host")
    with pytest.raises(TypeError):
        tl.map(square, [1], nonsense=3).results()


LEVEL = [1]


def test_a_global_that_changes_during_a_map_is_seen_by_the_next_elements() -> None:
    @task
    def level(x: int) -> int:
        return LEVEL[0]

    def items() -> Iterator[int]:
        for i in range(40):
            LEVEL[0] = i // 20
            yield i

    LEVEL[0] = 1
    tl.map(level, range(40), executor="inline").results()
    with pytest.warns(UserWarning, match="LEVEL"):  # it changes while elements execute
        values = tl.map(level, items(), executor="inline").results()
    assert values[-1] == 1
    LEVEL[0] = 0
    assert tl.map(level, range(40), executor="inline").results() == [0] * 40
    LEVEL[0] = 1
    assert tl.map(level, range(40), executor="inline").results() == [1] * 40


def test_a_generator_that_yields_the_same_list_again_leaves_no_wrong_memo() -> None:
    @task
    def total(rows: list[int]) -> int:
        return sum(rows)

    def items() -> Iterator[list[int]]:
        rows: list[int] = []
        for i in range(10):
            rows.append(i)
            yield rows

    with pytest.warns(UserWarning, match="rows"):
        tl.map(total, items(), executor="inline").results()
    for n in range(1, 11):
        assert total(list(range(n))) == sum(range(n))


def test_a_pump_that_breaks_ends_the_map_with_its_exception(monkeypatch: Any) -> None:
    from tasklineage.core.arrivals import Arrivals

    def broken(self: Any, index: int, outcome: Any) -> None:
        raise RuntimeError("no place for it")

    monkeypatch.setattr(Arrivals, "put_locked", broken)

    @task
    def double(x: int) -> int:
        return 2 * x

    with pytest.raises(RuntimeError, match="no place"):
        tl.map(double, range(5)).results()
