"""The works, done with mandala, one database file and files for large values. See `measure.py`."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import functions
import measure
from mandala.imports import Storage, op
from measure import Work
from works import Function, works


def remember(function: Function, folder: Path) -> Function:
    """A call in a block of its own: what a block has done is kept when it ends."""
    folder.mkdir(exist_ok=True)
    storage = _opened(folder)
    remembered = op(function)

    @functools.wraps(function)
    def call(argument: Any) -> Any:
        with storage:
            return storage.unwrap(remembered(argument))

    call.many = functools.partial(_many, storage, remembered)  # type: ignore[attr-defined]
    return call


def spread(remembered: Function, elements: Iterable[Any]) -> Iterable[Any]:
    """It has no threads: one after the other, in one block."""
    results: list[Any] = remembered.many(elements)  # type: ignore[attr-defined]
    return results


@functools.lru_cache
def _opened(folder: Path) -> Any:
    return Storage(db_path=str(folder / "mandala.db"), overflow_dir=str(folder / "large"))


def _many(storage: Any, remembered: Function, elements: Iterable[Any]) -> list[Any]:
    with storage:
        return [storage.unwrap(remembered(element)) for element in elements]


def calls(folder: Path, size: int) -> Work:
    return lambda: sum(spread(remember(functions.add, folder), range(size)))


if __name__ == "__main__":
    functions.filled(1)
    measure.main({**works(remember, spread), "calls": calls})
