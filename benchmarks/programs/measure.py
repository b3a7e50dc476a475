"""Runs one work of a program in this process and prints what it took.

A program is one library's way of doing the same works. `python PROGRAM WORK FOLDER SIZE` does WORK
on a store in FOLDER and prints one line of JSON. The clock starts before the store is opened and
stops when the last result is there; imports and the making of input stand outside.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

THREADS = 2

Work = Callable[[], object]
"""What is measured; it returns an answer that all libraries must agree on."""
Works = dict[str, Callable[[Path, int], Work]]
"""By name: takes the folder and the size, prepares what is not to be measured."""


LAP = 100
"""Calls between two looks at the clock."""


class _Noted:
    first: float | None = None
    laps: ClassVar[list[float]] = []
    calls: int | None = None


def first() -> None:
    """Say that the store is open and the first result is there."""
    _Noted.first = time.perf_counter()


def lap() -> None:
    """Say that another `LAP` calls are over."""
    _Noted.laps.append(time.perf_counter())


def count(calls: int) -> None:
    """Say how many calls it is as if this library had made, if that is not the work's size."""
    _Noted.calls = calls


def main(works: Works) -> None:
    """Do the work that the command line names."""
    name, folder, size = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    work = works[name](folder, size)
    profiler = _profiler() if "--profile" in sys.argv else None
    forget_peak()
    before = megabytes("VmRSS")
    begun, cpu = time.perf_counter(), time.process_time()
    answer = work()
    ended = time.perf_counter()
    told = {
        "answer": answer,
        "seconds": ended - begun,
        "first": None if _Noted.first is None else _Noted.first - begun,
        "lap": shortest_lap(),
        "calls": _Noted.calls or size,
        "cpu": time.process_time() - cpu,
        "before": before,
        "peak": megabytes("VmHWM"),
    }
    if profiler is not None:
        import pstats

        profiler.disable()
        pstats.Stats(profiler, stream=sys.stderr).strip_dirs().sort_stats("tottime").print_stats(30)
    print(json.dumps(told))


def shortest_lap() -> float | None:
    """Seconds of the quickest `LAP` calls in a row: what other programs disturb least."""
    if _Noted.first is None or len(_Noted.laps) < 2:
        return None
    begins = [_Noted.first, *_Noted.laps]
    laps = [end - begin for begin, end in itertools.pairwise(begins)]
    return min(laps[:-1])  # the last one may be a part


def forget_peak() -> None:
    """Let the peak of memory count from here, where the system can do that."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def megabytes(field: str) -> float:
    """Memory of this process, now (`VmRSS`) or at its peak (`VmHWM`)."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        unit = 1e6 if sys.platform == "darwin" else 1e3
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / 1e6


def _profiler() -> Any:
    import cProfile

    profiler = cProfile.Profile()
    profiler.enable()
    return profiler
