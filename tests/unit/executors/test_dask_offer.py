"""What is asked of Dask for a call, and what is missed, from what it knows of its workers."""

from __future__ import annotations

from typing import Any

import pytest

from tasklineage.executors.dask_offer import Declared, missing


def worker(**resources: float) -> dict[str, Any]:
    return {"nthreads": 2, "memory_limit": 0, "resources": resources}


def test_dask_is_asked_for_what_nobody_has_yet_or_any_more() -> None:
    declared = Declared()
    assert declared.asked({"GPU": 1.0}) == {"GPU": 1.0}
    declared.note({"a": worker(gpus=1)})
    declared.note({"b": worker()})
    assert declared.asked({"GPU": 1.0}) == {"gpus": 1.0}


def test_cpus_and_memory_are_asked_for_only_where_they_are_counted() -> None:
    declared = Declared()
    assert declared.asked({"cpu": 2.0, "memory": 1e9}) is None
    declared.note({"a": worker(MEMORY=1e10)})
    assert declared.asked({"cpu": 2.0, "memory": 1e9}) == {"MEMORY": 1e9}


@pytest.mark.parametrize(
    ("asked", "there", "expected"),
    [
        ({}, [], "workers"),
        ({}, [worker()], ""),
        ({"GPU": 1.0}, [worker()], "worker with GPU 1"),
        ({"GPU": 1.0, "cpu": 4.0}, [worker(GPU=1), worker()], "worker with GPU 1, cpu 4"),
        ({"GPU": 1.0, "cpu": 2.0}, [worker(), worker(GPU=1)], ""),
    ],
)
def test_who_is_missed_has_all_that_one_call_asks_for(
    asked: dict[str, float], there: list[dict[str, Any]], expected: str
) -> None:
    assert missing(asked, there) == expected
