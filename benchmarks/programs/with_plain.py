"""The works without any library: what the functions themselves take. Nothing is remembered."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import measure
from works import Function, works


def remember(function: Function, folder: Path) -> Function:
    return function


def spread(function: Function, elements: Iterable[Any]) -> Iterable[Any]:
    with ThreadPoolExecutor(measure.THREADS) as pool:
        yield from pool.map(function, elements)


if __name__ == "__main__":
    measure.main(works(remember, spread))
