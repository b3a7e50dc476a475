"""Measure processes and Dask beside joblib and `client.map`, and what large arguments cost.

    python benchmarks/executors.py             # writes executors.md
    python benchmarks/executors.py --rounds 1  # quicker, and only printed

Needs joblib and `dask[distributed]` in the environment that runs it. Each work is measured some
times, the libraries taking turns; workers are warm. The figure is the median, ratios are those of
medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np

import tasklineage as tl

RESULTS = Path(__file__).with_name("executors.md")
WORKERS = 2
LARGE = 25_000_000
"""Numbers in the large argument: 200 MB."""


def pause(seconds: float, number: int) -> int:
    """Take that long."""
    time.sleep(seconds)
    return number


def add(number: int) -> int:
    """Take no time."""
    return number + 1


def total(number: int, values: Any) -> float:
    """Read all of a large argument."""
    return float(values.sum()) + number


paused, added, totalled = tl.task(pause), tl.task(add), tl.task(total)


def timed(work: Callable[[], object]) -> float:
    """The seconds that it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def gathered(client: Any, numbers: range) -> None:
    """The same, by Dask alone."""
    client.gather(client.map(add, numbers, pure=False))


def mapped(task: Any, *iterables: Any, executor: Any, **shared: Any) -> Callable[[], object]:
    """A map whose results go to a new store."""

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder, tl.run("map", store=folder):
            tl.map(task, *iterables, executor=executor, **shared).results()

    return work


def processes(rounds: int) -> dict[str, dict[str, float]]:
    """Beside joblib with loky."""
    joblib: Any = import_module("joblib")
    delayed = joblib.delayed
    pool = tl.Processes(WORKERS)
    parallel = joblib.Parallel(n_jobs=WORKERS)
    mapped(added, range(100), executor=pool)()
    parallel(delayed(add)(n) for n in range(100))
    found: dict[str, dict[str, list[float]]] = {}
    for number in range(rounds):
        for what, seconds, count in (
            ("10,000 calls of 1 ms", 0.001, 10_000),
            ("200 calls of 100 ms", 0.1, 200),
        ):
            row = found.setdefault(what, {})
            row.setdefault("ideal", []).append(seconds * count / WORKERS)
            numbers = range(number * count, number * count + count)
            ours = mapped(paused, [seconds] * count, numbers, executor=pool)
            row.setdefault("tasklineage", []).append(timed(ours))
            theirs = [delayed(pause)(seconds, n) for n in numbers]
            row.setdefault("joblib, loky", []).append(timed(partial(parallel, theirs)))
    pool.shutdown()
    return medians(found)


def dask(rounds: int) -> dict[str, dict[str, float]]:
    """Beside `client.map` on the same cluster."""
    distributed: Any = import_module("distributed")
    row: dict[str, list[float]] = {"tasklineage": [], "client.map": []}
    with distributed.LocalCluster(
        n_workers=WORKERS, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as cluster:
        executor = tl.Dask(cluster)
        client: Any = executor.client
        mapped(added, range(100), executor=executor)()
        client.gather(client.map(add, range(100), pure=False))
        for number in range(rounds):
            numbers = range(number * 10_000, number * 10_000 + 10_000)
            row["tasklineage"].append(timed(mapped(added, numbers, executor=executor)))
            row["client.map"].append(timed(partial(gathered, client, numbers)))
        executor.shutdown()
    return medians({"10,000 trivial calls on Dask": row})


def large(rounds: int) -> dict[str, dict[str, float]]:
    """Beside what it takes to copy the argument once into shared memory, and to read it."""
    pool = tl.Processes(WORKERS)
    mapped(totalled, range(8), executor=pool, values=np.ones(10))()
    row: dict[str, list[float]] = {"shared memory": [], "tasklineage": []}
    for number in range(rounds):
        values = np.random.default_rng(number).random(LARGE)

        def floor(values: Any = values) -> None:
            fd = os.memfd_create("floor")
            os.write(fd, values)
            os.close(fd)
            for _ in range(4 // WORKERS):
                values.sum()

        row["shared memory"].append(timed(floor))
        ours = mapped(totalled, range(4), executor=pool, values=values)
        row["tasklineage"].append(timed(ours))
    pool.shutdown()
    return medians({"4 calls with 200 MB": row})


def medians(found: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, float]]:
    """The figures of each row."""
    return {
        what: {who: statistics.median(times) for who, times in row.items()}
        for what, row in found.items()
    }


def page(rows: dict[str, dict[str, float]]) -> str:
    """A table of seconds, and how our time compares with each."""
    import machine

    about = "; ".join(machine.described(Path(tempfile.gettempdir())))
    lines = [
        "# Executors", "",
        f"{about}. `python benchmarks/executors.py`, {WORKERS} workers, a new store.", "",
        "| work | tasklineage | beside | ours by theirs |", "|---|---|---|---|",
    ]  # fmt: skip
    for what, row in rows.items():
        ours = row["tasklineage"]
        for who, theirs in row.items():
            if who != "tasklineage":
                lines.append(
                    f"| {what} | {ours:.2f} s | {who}: {theirs:.2f} s | {ours / theirs:.2f} |"
                )
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    text = page({**processes(rounds), **large(rounds), **dask(rounds)})
    print(text)
    if rounds > 1:
        RESULTS.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
