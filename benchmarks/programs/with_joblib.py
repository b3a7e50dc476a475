"""The works, done with joblib.Memory, arrays as memory maps. See `measure.py`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import measure
from joblib import Memory, Parallel, delayed
from works import Function, works


def remember(function: Function, folder: Path) -> Function:
    remembered: Function = Memory(folder, verbose=0, mmap_mode="r").cache(function)
    return remembered


def spread(remembered: Function, elements: Iterable[Any]) -> Iterable[Any]:
    call = delayed(remembered)
    parallel = Parallel(
        n_jobs=measure.THREADS, prefer="threads", return_as="generator", pre_dispatch="all"
    )
    results: Iterable[Any] = parallel(call(element) for element in elements)
    return results


if __name__ == "__main__":
    measure.main(works(remember, spread))
