"""The works, done with diskcache. See `measure.py`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import diskcache
import measure


def add(x: int) -> int:
    return x + 1


def double(x: Any) -> Any:
    return x * 2


def same(index: int) -> Any:
    import numpy as np

    return np.arange(measure.REPEATED, dtype=np.float64)


def memoized(function: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    """Without eviction: nothing is counted, and nothing is thrown away when it gets large."""
    cache = diskcache.Cache(folder, eviction_policy="none", size_limit=1 << 40)
    remembered: Callable[..., Any] = cache.memoize()(function)
    return remembered


def calls(folder: Path) -> Callable[[], int]:
    def work() -> int:
        remembered = memoized(add, folder)
        return sum([remembered(x) for x in range(measure.CALLS)])

    return work


def threads(folder: Path) -> Callable[[], int]:
    def work() -> int:
        remembered = memoized(add, folder)
        with ThreadPoolExecutor(measure.THREADS) as pool:
            return sum(pool.map(remembered, range(measure.ELEMENTS)))

    return work


def large(folder: Path) -> Callable[[], float]:
    import numpy as np

    array = np.arange(measure.LARGE, dtype=np.float64)
    return lambda: float(memoized(double, folder)(array)[-1])


def repeated(folder: Path) -> Callable[[], float]:
    import numpy as np

    np.arange(1)

    def work() -> float:
        remembered = memoized(same, folder)
        return sum([float(remembered(index)[-1]) for index in range(measure.REPEATS)])

    return work


if __name__ == "__main__":
    measure.main({"calls": calls, "threads": threads, "large": large, "repeated": repeated})
