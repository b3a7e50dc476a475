"""The works, done with tasklineage. See `measure.py`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measure

import tasklineage as tl
from tasklineage import task


@task
def add(x: int) -> int:
    return x + 1


@task
def double(x: Any) -> Any:
    return x * 2


@task
def same(index: int) -> Any:
    import numpy as np

    return np.arange(measure.REPEATED, dtype=np.float64)


def use(folder: Path) -> None:
    os.environ["TASKLINEAGE_STORE"] = str(folder)


def calls(folder: Path) -> Callable[[], int]:
    use(folder)
    return lambda: sum([add(x) for x in range(measure.CALLS)])


def threads(folder: Path) -> Callable[[], int]:
    use(folder)
    return lambda: sum(tl.map(add, range(measure.ELEMENTS), executor=f"threads:{measure.THREADS}"))


def large(folder: Path) -> Callable[[], float]:
    import numpy as np

    use(folder)
    array = np.arange(measure.LARGE, dtype=np.float64)
    return lambda: float(double(array)[-1])


def repeated(folder: Path) -> Callable[[], float]:
    import numpy as np

    use(folder)
    np.arange(1)
    return lambda: sum([float(same(index)[-1]) for index in range(measure.REPEATS)])


if __name__ == "__main__":
    measure.main({"calls": calls, "threads": threads, "large": large, "repeated": repeated})
