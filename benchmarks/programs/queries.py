"""Questions to a store that holds many calls: filled by one process, asked by others.

Half of the calls are elements of five large maps, a run each; the others are in runs of 100 calls,
that are 20 chains of five calls over lists.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import functions
import measure
from measure import Work, Works

import tasklineage as tl
from tasklineage import task

LARGE_RUNS = 5
CHAINS, LINKS = 20, 5

add = task(functions.add)


@task
def first(number: int) -> list[int]:
    return [number]


@task
def longer(numbers: list[int]) -> list[int]:
    return [*numbers, len(numbers)]


def fill(folder: Path, size: int) -> Work:
    """A store that holds `size` calls."""
    os.environ["TASKLINEAGE_STORE"] = str(folder)

    def work() -> int:
        in_large = size // 2 // LARGE_RUNS
        for number in range(LARGE_RUNS):
            with tl.run("large", params={"number": number}):
                first_element = number * in_large
                tl.map(add, range(first_element, first_element + in_large)).results()
        small_runs = size // 2 // (CHAINS * LINKS)
        for number in range(small_runs):
            with tl.run("small", params={"number": number}, tags=("odd",) if number % 2 else ()):
                for chain in range(CHAINS):
                    chained(number * CHAINS + chain)
        return size

    return work


def chained(number: int) -> list[int]:
    numbers = first(number)
    for _ in range(LINKS - 1):
        numbers = longer(numbers)
    return numbers


def list_runs(folder: Path, size: int) -> Work:
    """Name, status, tags and beginning of the newest 50 runs that have a tag."""

    def work() -> int:
        store = tl.open_store(str(folder), read_only=True)
        found = tl.runs("small", tag="odd", status="done", limit=50, store=store)
        return len([(run.id, run.name, run.status, run.tags, run.started) for run in found])

    return work


def open_run(folder: Path, size: int) -> Work:
    """Task, status and times of every call of the run that has most."""

    def work() -> int:
        store = tl.open_store(str(folder), read_only=True)
        run = tl.latest("large", store=store)
        assert run is not None
        return len(
            [(call.id, call.task, call.status, call.started, call.ended) for call in run.calls]
        )

    return work


def lineage(folder: Path, size: int) -> Work:
    """The calls that a value in hand came from, by its content."""
    value = [0]
    while len(value) < LINKS:
        value.append(len(value))

    def work() -> int:
        store = tl.open_store(str(folder), read_only=True)
        return len(tl.whence(value, store=store).calls)

    return work


def why(folder: Path, size: int) -> Work:
    """What of the last call of its task is not what it was at the nearest earlier one."""
    call = _last_call(folder)

    def work() -> int:
        store = tl.open_store(str(folder), read_only=True)
        return len(tl.why(call, store=store).causes)

    return work


def why_in_the_shell(folder: Path, size: int) -> Work:
    """The same, asked by a process of its own."""
    command = [
        sys.executable,
        "-m",
        "tasklineage",
        "why",
        _last_call(folder),
        "--store",
        str(folder),
    ]

    def work() -> int:
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return len(told.splitlines())

    return work


def _last_call(folder: Path) -> str:
    store = tl.open_store(str(folder), read_only=True)
    return tl.calls("longer", status="done", limit=1, store=store)[0].id


WORKS: Works = {
    "fill": fill, "list_runs": list_runs, "open_run": open_run, "lineage": lineage, "why": why,
    "why_in_the_shell": why_in_the_shell,
}  # fmt: skip

if __name__ == "__main__":
    measure.main(WORKS)
