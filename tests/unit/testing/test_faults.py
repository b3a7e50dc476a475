"""What goes wrong, and when: decided from a seed and the order of operations alone."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from tasklineage.errors import ConfigError, StoreUnavailable
from tasklineage.storage.backend import failure
from tasklineage.testing import Fault
from tasklineage.testing.faults import Plan, exception


def came(fault: Fault, operations: int = 40, seed: int = 0) -> list[int]:
    """The numbers of the writes at which it comes."""
    plan = Plan([fault], seed)
    return [n for n in range(1, operations + 1) if plan.draw("write", f"objects/{n}")]


def test_a_fault_that_says_nothing_comes_always() -> None:
    assert came(Fault.error(), 3) == [1, 2, 3]


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({"at": 3}, [3]),
        ({"at": (2, 5)}, [2, 5]),
        ({"after": 37}, [38, 39, 40]),
        ({"times": 2}, [1, 2]),
        ({"after": 10, "times": 2}, [11, 12]),
        ({"share": 0}, []),
        ({"key": "objects/1?"}, list(range(10, 20))),
        ({"on": "read"}, []),
        ({"on": ("read", "write"), "times": 1}, [1]),
    ],
)
def test_a_fault_comes_by_schedule(when: dict[str, Any], expected: list[int]) -> None:
    assert came(Fault.error("EIO", **when)) == expected


def test_a_share_is_drawn_from_the_seed() -> None:
    first = came(Fault.error(share=0.3), 1000, seed=1)
    assert 230 < len(first) < 370
    assert came(Fault.error(share=0.3), 1000, seed=1) == first
    assert came(Fault.error(share=0.3), 1000, seed=2) != first


def test_other_operations_do_not_change_what_a_fault_draws() -> None:
    plan = Plan([Fault.error(share=0.5, key="a"), Fault.error(share=0.5, key="b")])
    alone = Plan([Fault.error(share=0.5, key="a")])
    drawn = []
    for n in range(50):
        if n % 3 == 0:
            plan.draw("write", "b")
        drawn.append(bool(plan.draw("write", "a")))
    assert drawn == [bool(alone.draw("write", "a")) for _ in range(50)]


def test_an_operation_meets_one_fault_and_any_number_of_delays() -> None:
    plan = Plan([Fault.slow(0.1), Fault.error("EIO"), Fault.slow(0.2), Fault.lost()])
    assert [fault.kind for fault in plan.draw("write", "a")] == ["slow", "error", "slow"]
    assert [one.fault.kind for one in plan.happened] == ["slow", "error", "slow"]
    assert [fault.kind for fault in plan.draw("read", "a")] == ["slow", "slow"]


@pytest.mark.parametrize("error", [503, 429, 500, "EBUSY", "ECONNRESET"])
def test_what_may_pass_is_told_as_a_backend_tells_it(error: Any) -> None:
    assert type(failure("s3://b", "write", "k", exception(Fault.error(error)))) is StoreUnavailable


@pytest.mark.parametrize("error", ["ENOSPC", errno.ENOSPC])
def test_an_error_of_the_system_has_its_number_and_its_text(error: Any) -> None:
    raised = exception(Fault.error(error))
    assert isinstance(raised, OSError)
    assert raised.errno == errno.ENOSPC
    assert "No space left" in str(raised)


def test_an_exception_is_raised_as_it_is() -> None:
    mine = ValueError("mine")
    assert exception(Fault.error(mine)) is mine
    assert type(exception(Fault.error(ValueError))) is ValueError


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Fault.error("ENOSPACE"), "ENOSPACE.*named as ENOSPC"),
        (lambda: Fault.error(on="wirte"), "wirte.*read, write"),
        (lambda: Fault.error(share=50), "from 0 to 1"),
        (lambda: Fault.error(shares=0.5), "shares"),
        (lambda: Plan(["ENOSPC"]), "Fault.error"),  # type: ignore[list-item]
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(make: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make()


def test_a_fault_is_shown_as_it_is_made() -> None:
    for fault in (
        Fault.error("ENOSPC", on="write", after=20),
        Fault.slow(0.5, on=("read", "list"), key="objects/*", share=0.1, times=3),
        Fault.kill(at=(3, 7)),
        Fault.lost(),
    ):
        assert eval(repr(fault)) == fault
