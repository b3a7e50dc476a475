"""The works, done with tasklineage. See `measure.py`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import measure
import queries
from works import Function, works

import tasklineage as tl


def remember(function: Function, folder: Path) -> Function:
    os.environ["TASKLINEAGE_STORE"] = str(folder)
    return tl.task(function)


def spread(remembered: Function, elements: Iterable[Any]) -> Iterable[Any]:
    assert isinstance(remembered, tl.Task)
    return tl.map(remembered, elements, executor=f"threads:{measure.THREADS}")


if __name__ == "__main__":
    measure.main({**works(remember, spread), **queries.WORKS})
