"""A memo answers for its whole subtree: expiry, extras, code and failures below are honoured."""

from __future__ import annotations

import time
from typing import Any

import pytest

import tasklineage as tl
from tasklineage import task


def run_of(function: Any, *args: Any, **options: Any) -> Any:
    with tl.run("probe", **options) as run:
        function(*args)
    return run


def tasks_executed(run: Any) -> list[str]:
    return sorted(c.task.rsplit(".")[-1] for c in run.calls if not c.hit)


def test_a_hit_writes_one_record_and_none_for_its_descendants() -> None:
    @task
    def leaf(x: int) -> int:
        return x

    @task
    def parent(x: int) -> int:
        return leaf(x) + sum(tl.map(leaf, range(5)))

    assert len(run_of(parent, 1).calls) == 7
    again = run_of(parent, 1)
    assert len(again.calls) == 1
    assert again.calls[0].hit
    assert again["leaf"].task.endswith("leaf")  # looked up through the hit


def test_an_expired_child_is_missed_through_its_parent() -> None:
    @task(ttl=0.08)
    def quote() -> float:
        return time.time()

    @task
    def middle() -> float:
        return quote()

    @task
    def report() -> float:
        return middle()

    first = report()
    assert report() == first
    time.sleep(0.1)
    second = run_of(report)
    assert tasks_executed(second) == ["middle", "quote", "report"]
    assert second.result > first


def test_the_expiry_of_a_child_that_was_a_hit_counts_from_its_own_end() -> None:
    @task(ttl=0.15)
    def quote() -> float:
        return time.time()

    @task
    def report(x: int) -> float:
        return quote()

    quote()
    time.sleep(0.1)
    report(1)  # the child is a hit with 0.05 s to live
    assert run_of(report, 1).hits == 1
    time.sleep(0.08)
    assert run_of(report, 1).executed == 2


def test_a_child_without_memo_makes_its_parents_volatile() -> None:
    @task(memo=False)
    def now() -> float:
        return time.time()

    @task
    def cheap(x: int) -> int:
        return x

    @task
    def parent() -> float:
        cheap(1)
        return now()

    @task
    def grandparent() -> float:
        return parent()

    assert tasks_executed(run_of(grandparent)) == ["cheap", "grandparent", "now", "parent"]
    assert tasks_executed(run_of(grandparent)) == ["grandparent", "now", "parent"]


def test_a_caught_child_makes_its_parent_volatile() -> None:
    works: list[int] = []

    @task(catch=ValueError, default=0, ignore="works")
    def fragile(works: Any) -> int:
        if not works:
            raise ValueError
        return 1

    @task(ignore="works")
    def parent(works: Any) -> int:
        return fragile(works)

    assert parent(works) == 0
    works.append(1)
    assert parent(works) == 1
    assert run_of(parent, works).hits == 1


def test_a_failed_child_that_was_handled_makes_its_parent_volatile() -> None:
    works: list[int] = []

    @task(ignore="works")
    def fragile(works: Any) -> int:
        if not works:
            raise ValueError
        return 1

    @task(ignore="works")
    def parent(works: Any) -> int:
        try:
            return fragile(works)
        except ValueError:
            return 0

    @task(ignore="works")
    def collector(works: Any) -> int:
        return len(tl.map(fragile, [works], on_error="collect").failures)

    assert parent(works) == 0
    assert collector(works) == 1
    works.append(1)
    assert parent(works) == 1
    assert collector(works) == 0


def test_only_the_attempt_that_succeeded_is_folded() -> None:
    attempts: list[int] = []

    @task
    def fragile(x: int) -> int:
        if x == 0:
            raise ValueError
        return x

    @task(retries=1, ignore="log")
    def parent(log: Any) -> int:
        log.append(1)
        return fragile(len(log) - 1)

    assert parent(attempts) == 1
    assert run_of(parent, attempts).hits == 1


def test_a_task_passed_by_name_lookup_is_checked_for_its_code() -> None:
    """A child that the static closure cannot see is a dynamic version of the memo."""
    registry: dict[str, Any] = {}

    def make(factor: int) -> Any:
        def child(x: int) -> int:
            return x * factor

        return task(name="dynamic.child")(child)

    @task(ignore="registry")
    def parent(x: int, registry: Any) -> int:
        return int(registry["child"](x))

    registry["child"] = make(2)
    assert parent(10, registry) == 20
    assert run_of(parent, 10, registry).hits == 1
    registry["child"] = make(3)
    import gc

    gc.collect()
    assert parent(10, registry) == 30


def test_a_task_defined_inside_the_body_is_part_of_the_closure() -> None:
    @task
    def parent(x: int) -> int:
        @task
        def inner(y: int) -> int:
            return y + 1

        return inner(x)

    assert parent(1) == 2
    import gc

    gc.collect()
    assert run_of(parent, 1).hits == 1


def test_forget_acts_on_its_key_alone() -> None:
    @task
    def leaf(x: int) -> int:
        return x

    @task
    def parent(x: int) -> int:
        return leaf(x)

    parent(1)
    leaf.forget(1)
    assert run_of(parent, 1).hits == 1
    parent.forget(1)
    assert tasks_executed(run_of(parent, 1)) == ["leaf", "parent"]


def test_two_tasks_with_the_same_code_share_memos_and_keep_their_names() -> None:
    def body(x: int) -> int:
        return x + 1

    one, two = task(name="one")(body), task(name="two")(body)
    with tl.run() as run:
        one(1)
        two(1)
    hit = run["two"]
    assert hit.hit
    assert hit.task == "two"
    assert hit.producer.task == "one"


def test_recursion_does_not_wait_for_itself() -> None:
    @task(ignore="depth")
    def walk(url: str, depth: int) -> int:
        return 1 if depth == 0 else 1 + walk(url, depth - 1)

    assert walk("x", 3) == 4


@pytest.mark.parametrize("executor", ["inline", "threads:2"])
def test_a_memo_folds_what_ran_on_workers(executor: str) -> None:
    @task(memo=False)
    def now(x: int) -> float:
        return time.time()

    @task
    def parent() -> list[float]:
        return tl.map(now, range(3)).results()

    with tl.run(executor=executor) as run:
        assert parent() != parent()
    assert run.executed == 8


def test_a_run_opened_in_a_body_is_part_of_the_subtree() -> None:
    @task(memo=False)
    def now() -> float:
        return time.time()

    @task
    def parent() -> float:
        with tl.run("inside"):
            call = tl.current_call()
            assert call is not None
            assert call.task.endswith("parent")
            return now()

    assert parent() != parent()


def test_a_run_opened_in_a_body_does_not_wait_for_its_own_key() -> None:
    @task(ignore="depth")
    def again(x: int, depth: int) -> int:
        if depth == 0:
            return 0
        with tl.run("inside"):
            return 1 + again(x, depth - 1)

    assert again(1, 2) == 2
