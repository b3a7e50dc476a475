"""Measure how a store is to use that holds a thousand, and up to a million records.

    python benchmarks/records.py                 # 10^3 to 10^6; writes its section of results.md
    python benchmarks/records.py --most 100000   # less, and only printed

The store is filled by calls of a trivial task, of which each leaves two records. Whatever is
measured is measured in a new process, some times over; the figure is the median.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SIZES = (1_000, 10_000, 100_000, 1_000_000)
HITS = 2_000
"""Calls that are answered, one after the other; each is another one."""
IN_A_RUN = 5_000
RESULTS = Path(__file__).with_name("results.md")
TITLE = "## A store of a million records"


def measured(what: str, root: Path, *more: object) -> dict[str, float]:
    """What a new process says that it found."""
    told = subprocess.run(
        [sys.executable, __file__, "--child", what, str(root), *map(str, more)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, float] = json.loads(told.stdout)
    return found


def row(records: int, folder: Path, repetitions: int) -> dict[str, float]:
    """The figures of a store with that many records."""
    root = folder / f"store-{records}"
    calls = records // 2
    found = measured("fill", root, calls)
    rounds = [measured("hits", root, calls) for _ in range(repetitions)]
    rounds = [one | measured("query", root) for one in rounds]
    rounds = [one | measured("rebuild", root) for one in rounds]
    for name in rounds[0]:
        found[name] = statistics.median(one[name] for one in rounds)
    found["catalog"] = (root / "catalog.sqlite").stat().st_size / 1e6
    found["journal"] = sum(one.stat().st_size for one in (root / "journal").rglob("0*")) / 1e6
    return found


ROWS = (
    ("fill", "filling it: a cold call", "µs"),
    ("open", "open the store", "ms"),
    ("first", "the first hit of a process, store opened", "ms"),
    ("hit", "a hit, of 2,000 from all over the store", "µs"),
    ("in_order", "a hit, of 2,000 in the order in which they were made", "µs"),
    ("again", "a hit that this process has had before", "µs"),
    ("hits_memory", "memory of that process, above Python with the library", "MB"),
    ("query", "the first question in a new process: the last run, and 50 of its calls", "ms"),
    ("rebuild", "make the catalog anew", "s"),
    ("rebuild_memory", "memory that takes, above Python with the library", "MB"),
    ("journal", "size of the journal", "MB"),
    ("catalog", "size of the catalog", "MB"),
)


def table(found: dict[int, dict[str, float]]) -> str:
    """The rows as a table."""
    lines = [
        "| | " + " | ".join(f"{size:,}" for size in found) + " |",
        "| --- |" + " ---: |" * len(found),
    ]
    for name, title, unit in ROWS:
        cells = (f"{_figure(row[name])} {unit}" for row in found.values())
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _figure(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def section(found: dict[int, dict[str, float]]) -> str:
    """What stands in results.md."""
    import machine

    about = "; ".join(machine.described(Path(tempfile.gettempdir())))
    return (
        f"{TITLE}\n\n{about}. `python benchmarks/records.py`; two records a call, all of one task. "
        "Every figure is the median of some new processes; hits are given in CPU time.\n\n"
        f"{table(found)}\n"
    )


def write(text: str) -> None:
    """Put the section in the place of the last one, at the end of the page."""
    page = RESULTS.read_text("utf-8").split(TITLE)[0].rstrip()
    RESULTS.write_text(f"{page}\n\n{text}", "utf-8")


# What a new process does.


def _task() -> Any:
    from tasklineage import task

    @task
    def add(n: int) -> int:
        return n + 1

    return add


def _memory() -> float:
    """The most that this process has had so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fill(root: str, calls: str) -> dict[str, float]:
    """Make the store."""
    import tasklineage as tl

    add = _task()
    began = time.perf_counter()
    for start in range(0, int(calls), IN_A_RUN):
        with tl.run("fill", store=root):
            for n in range(start, min(start + IN_A_RUN, int(calls))):
                add(n)
    return {"fill": (time.perf_counter() - began) / int(calls) * 1e6}


def hits(root: str, calls: str) -> dict[str, float]:
    """Open the store, and make calls of long ago again."""
    import sqlite3  # noqa: F401  (it is here before the memory is looked at)

    import tasklineage as tl

    add, count = _task(), int(calls)
    wanted = [n * 7919 % count for n in range(1, min(HITS, count // 2))]
    in_order = range(count // 2, count // 2 + len(wanted))
    before = _memory()
    clock = time.process_time
    times = [clock()]
    store = tl.open_store(root)
    times.append(clock())
    with tl.run("hits", store=store) as run:
        for few in (wanted[:1], wanted[1:101], wanted[101:], wanted[1:], in_order):
            times.append(clock())
            for n in few:
                add(n)
            times.append(clock())
            if few == wanted[:1]:
                time.sleep(2)  # what the run executes in is found meanwhile, once
    if run.executed:
        raise SystemExit(f"{run.executed} calls of {count} executed again")
    return {
        "open": (times[1] - times[0]) * 1e3,
        "first": (times[3] - times[2]) * 1e3,
        "hit": (times[7] - times[6]) / len(wanted[101:]) * 1e6,
        "again": (times[9] - times[8]) / len(wanted[1:]) * 1e6,
        "in_order": (times[11] - times[10]) / len(in_order) * 1e6,
        "hits_memory": _memory() - before,
    }


def query(root: str) -> dict[str, float]:
    """Ask for the last run and its calls."""
    import tasklineage as tl

    began = time.perf_counter()
    store = tl.open_store(root)
    run = tl.runs("fill", store=store)[0]
    for call in run.calls[:50]:
        call.result  # noqa: B018
    return {"query": (time.perf_counter() - began) * 1e3}


def rebuild(root: str) -> dict[str, float]:
    """Make the catalog anew."""
    import sqlite3  # noqa: F401

    import tasklineage as tl

    store = tl.open_store(root)
    os.unlink(store.path / "catalog.sqlite")
    before, began = _memory(), time.perf_counter()
    store.catalog.sync()
    return {"rebuild": time.perf_counter() - began, "rebuild_memory": _memory() - before}


def main() -> None:
    """Measure, print, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=SIZES[-1], help="records at most")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--folder", default=None, help="where the stores are made")
    given = parser.parse_args()
    found: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for size in SIZES:
            if size <= given.most:
                print(f"{size:,} records", file=sys.stderr)
                found[size] = row(size, Path(folder), given.repetitions)
    print(table(found))
    if given.most >= SIZES[-1]:
        write(section(found))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(globals()[sys.argv[2]](*sys.argv[3:])))
    else:
        main()
