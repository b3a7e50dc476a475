"""Runs one work of a program in this process and prints what it took.

A program is one library's way of doing the same works. `python PROGRAM WORK FOLDER` does WORK on
a store in FOLDER and prints one line of JSON. The clock starts before the store is opened and
stops when the last result is there; imports and the making of input stand outside.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

CALLS = 2_000
ELEMENTS = 10_000
THREADS = 2
LARGE = 12_500_000
"""Numbers of 8 bytes in 100 MB."""
REPEATED = 1_250_000
"""Numbers of 8 bytes in 10 MB."""
REPEATS = 100


def main(works: dict[str, Callable[[Path], Callable[[], object]]]) -> None:
    """Do the work that the command line names.

    A work takes the folder, prepares what is not to be measured, and returns what is.
    """
    name, folder = sys.argv[1], Path(sys.argv[2])
    work = works[name](folder)
    profiler = None
    if "--profile" in sys.argv:
        import cProfile

        profiler = cProfile.Profile()
        profiler.enable()
    begun = time.perf_counter()
    answer = work()
    seconds = time.perf_counter() - begun
    if profiler is not None:
        import pstats

        profiler.disable()
        pstats.Stats(profiler, stream=sys.stderr).strip_dirs().sort_stats("tottime").print_stats(30)
    print(json.dumps({"seconds": seconds, "answer": answer}))
