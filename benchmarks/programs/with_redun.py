"""The works, done with redun: threads, a local database, large values in files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import functions
import measure
from measure import Work, Works
from redun import Scheduler, task
from redun.config import Config

redun_namespace = "benchmarks"

add = task(name="add")(functions.add)
double = task(name="double")(functions.double)
filled = task(name="filled")(functions.filled)
same = task(name="same")(functions.same)
chained = [task(name=function.__name__)(function) for function in functions.CHAIN]


@task()
def many(count: int) -> list[int]:
    return [add(x) for x in range(count)]


@task()
def last(array: Any) -> float:
    return float(array[-1])


@task()
def lasts(count: int) -> list[float]:
    return [last(same(index)) for index in range(count)]


def scheduler(folder: Path, threads: int = 1) -> Any:
    folder.mkdir(exist_ok=True)
    backend = {
        "db_uri": f"sqlite:///{folder}/redun.db",
        "value_store_path": str(folder / "values"),
        "value_store_min_size": "100000",
    }
    executor = {"type": "local", "mode": "thread", "max_workers": str(threads)}
    made = Scheduler(config=Config({"backend": backend, "executors.default": executor}))
    made.load()
    return made


def calls(folder: Path, size: int) -> Work:
    return lambda: sum(scheduler(folder).run(many(size)))


def map_(folder: Path, size: int) -> Work:
    return lambda: sum(scheduler(folder, measure.THREADS).run(many(size)))


def large(folder: Path, size: int) -> Work:
    array = functions.noise(size * 125_000)
    return lambda: float(scheduler(folder).run(double(array))[-1])


def chain(folder: Path, size: int) -> Work:
    array = functions.noise(size * 125_000)

    def work() -> float:
        value: Any = array
        for step in chained:
            value = step(value)
        return float(scheduler(folder).run(value)[-1])

    return work


def repeated(folder: Path, size: int) -> Work:
    functions.filled(1)
    return lambda: sum(scheduler(folder).run(lasts(size)))


def memory(folder: Path, size: int) -> Work:
    functions.filled(1)
    return lambda: float(scheduler(folder).run(filled(size * 125_000)).sum())


WORKS: Works = {
    "calls": calls, "map": map_, "large": large, "chain": chain, "repeated": repeated,
    "memory": memory,
}  # fmt: skip

if __name__ == "__main__":
    logging.getLogger("redun").setLevel(logging.ERROR)
    measure.main(WORKS)
