"""The works of a library whose memoised function is called like the function itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import functions
import measure
from measure import Work, Works

Function = Callable[..., Any]
Remember = Callable[[Function, Path], Function]
"""Opens the store in a folder and makes a function remember its results there."""
Spread = Callable[[Function, Iterable[Any]], Iterable[Any]]
"""Maps what `Remember` gave over elements, on `measure.THREADS` threads."""


def works(remember: Remember, spread: Spread) -> Works:
    """All works, done with one library."""

    def calls_of(function: Function, folder: Path, size: int) -> Work:
        def work() -> int:
            remembered = remember(function, folder)
            answer: int = remembered(0)
            measure.first()
            for begin in range(1, size, measure.LAP):
                answer += sum([remembered(x) for x in range(begin, min(begin + measure.LAP, size))])
                measure.lap()
            return answer

        return work

    def calls(folder: Path, size: int) -> Work:
        return calls_of(functions.add, folder, size)

    def closure_20(folder: Path, size: int) -> Work:
        return calls_of(functions.closure(folder, 20), folder, size)

    def closure_200(folder: Path, size: int) -> Work:
        return calls_of(functions.closure(folder, 200), folder, size)

    def map_(folder: Path, size: int) -> Work:
        return lambda: sum(spread(remember(functions.add, folder), range(size)))

    def kilobytes(folder: Path, size: int) -> Work:
        def work() -> int:
            results = spread(remember(functions.kilobyte, folder), range(size))
            return sum([len(one) for one in results])

        return work

    def large(folder: Path, size: int) -> Work:
        array = functions.noise(size * 125_000)
        return lambda: float(remember(functions.double, folder)(array)[-1])

    def chain(folder: Path, size: int) -> Work:
        array = functions.noise(size * 125_000)

        def work() -> float:
            value = array
            for function in functions.CHAIN:
                value = remember(function, folder)(value)
            return float(value[-1])

        return work

    def repeated(folder: Path, size: int) -> Work:
        functions.filled(1)

        def work() -> float:
            remembered = remember(functions.same, folder)
            return sum([float(remembered(index)[-1]) for index in range(size)])

        return work

    def memory(folder: Path, size: int) -> Work:
        functions.filled(1)
        return lambda: float(remember(functions.filled, folder)(size * 125_000).sum())

    return {
        "calls": calls, "closure_20": closure_20, "closure_200": closure_200, "map": map_,
        "kilobytes": kilobytes, "large": large, "chain": chain, "repeated": repeated,
        "memory": memory,
    }  # fmt: skip
