"""Memory: storing and loading take little beyond the value itself, and a map keeps little."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numpy", reason="the large values here are arrays")

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads /proc"),
]

SMALL = pytest.param(200, id="200MB")
LARGE = pytest.param(1_000, id="1GB", marks=pytest.mark.nightly)

PRELUDE = """
import json, os, sys
import numpy as np
import tasklineage as tl
from tasklineage import task

def memory():
    lines = open("/proc/self/status").read().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    names = {"now": "VmRSS", "own": "RssAnon", "peak": "VmHWM"}
    return {name: int(fields[field].split()[0]) * 1024 / 1e6 for name, field in names.items()}

def forget_peak():
    open("/proc/self/clear_refs", "w").write("5")

MB = int(os.environ["SIZE"])

@task
def made(megabytes):
    print("executed")
    return np.arange(megabytes * 125_000, dtype=np.float64)

@task
def total(array):
    print("executed")
    return float(array.sum())

@task
def pair(megabytes):
    half = megabytes * 62_500
    return {"x": np.zeros(half), "rest": [np.ones(half), "text"]}

@task
def text(number):
    return str(number).zfill(10_000)

@task
def kilobyte(number):
    return str(number).zfill(1_000)

@task
def add(number):
    return number + 1
"""


def told(size: int, code: str) -> dict[str, float]:
    """What a new process tells: the last line that it prints."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "SIZE": str(size)}
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + code], env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {**answer, "executed": done.stdout.count("executed\n")}


def beyond(size: int, call: str) -> dict[str, float]:
    """Peak of memory above that before `call`, which is an expression."""
    return told(
        size,
        f"""
add(0)
np.arange(10).sum()
forget_peak()
before = memory()
value = {call}
print(json.dumps({{"beyond": memory()["peak"] - before["now"]}}))
""",
    )


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_result_is_stored_and_loaded_in_little_more_than_its_own_room(size: int) -> None:
    stored = beyond(size, "made(MB)")
    loaded = beyond(size, "made(MB)")
    read = beyond(size, "made(MB).sum()")
    assert (stored["executed"], loaded["executed"], read["executed"]) == (1, 0, 0)
    assert stored["beyond"] <= 1.2 * size
    assert loaded["beyond"] <= 1.2 * size
    assert read["beyond"] <= 1.2 * size


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_large_result_is_mapped_and_writing_copies_only_what_is_written(size: int) -> None:
    use = """
value = made(MB)
loaded = memory()
first = float(value[1])
value[1] = -1.0
value[-1] = -1.0
print(json.dumps({
    "first": first,
    "loaded": loaded["own"] - before["own"],
    "written": memory()["own"] - before["own"],
}))
"""
    code = f"add(0)\nnp.arange(10).sum()\nbefore = memory()\n{use}"
    told(size, "made(MB)\nprint('{}')")
    for _ in range(2):
        answer = told(size, code)
        assert answer["executed"] == 0
        assert answer["first"] == 1.0
        assert answer["loaded"] <= 0.05 * size
        assert answer["written"] <= 0.05 * size


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_large_argument_is_not_copied(size: int) -> None:
    call = "total(array)"
    for executed in (1, 0):
        answer = told(
            size,
            f"""
array = np.arange(MB * 125_000, dtype=np.float64)
add(0)
forget_peak()
before = memory()
value = {call}
print(json.dumps({{"beyond": memory()["peak"] - before["now"]}}))
""",
        )
        assert answer["executed"] == executed
        assert answer["beyond"] <= 0.2 * size


def test_arrays_inside_a_container_take_no_more_room_than_alone() -> None:
    for _ in range(2):
        assert beyond(200, "pair(MB)")["beyond"] <= 1.2 * 200


MAP = """
add(0)
forget_peak()
before = memory()
results = tl.map({task}, range({count}), executor="threads:2")
count = sum(1 for one in results if one is not None)
print(json.dumps({{
    "count": count, "hits": results.hits, "beyond": memory()["peak"] - before["now"],
    "peak": memory()["peak"], "right": results[{count} - 1] == {task}({count} - 1),
}}))
"""


def test_a_map_does_not_keep_all_of_its_results_in_memory() -> None:
    code = MAP.format(task="text", count=20_000)
    cold, warm = told(1, code), told(1, code)
    for answer, hits in ((cold, 0), (warm, 20_000)):
        assert (answer["count"], answer["hits"], answer["right"]) == (20_000, hits, True)
        assert answer["beyond"] <= 120  # of 200 MB of results


@pytest.mark.nightly
@pytest.mark.parametrize("task", ["add", "kilobyte"])
def test_a_map_over_100_000_elements_takes_at_most_300_megabytes(task: str) -> None:
    code = MAP.format(task=task, count=100_000)
    for _ in range(2):
        answer = told(1, code)
        assert answer["right"]
        assert answer["peak"] <= 300
