"""The works, done with diskcache, without eviction. See `measure.py`."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import diskcache
import measure
from works import Function, works


def remember(function: Function, folder: Path) -> Function:
    """Nothing is counted, and nothing is thrown away when the store gets large."""
    cache = diskcache.Cache(folder, eviction_policy="none", size_limit=1 << 40)
    remembered: Function = cache.memoize()(function)
    return remembered


def spread(remembered: Function, elements: Iterable[Any]) -> Iterable[Any]:
    with ThreadPoolExecutor(measure.THREADS) as pool:
        yield from pool.map(remembered, elements)


if __name__ == "__main__":
    measure.main(works(remember, spread))
