"""Measure tasklineage beside other libraries, in one go on this machine.

    python benchmarks/run.py                     # everything; writes results.md and results.svg
    python benchmarks/run.py --quick             # less of everything, in some three minutes
    python benchmarks/run.py --only calls map    # works whose name contains one of the words
    python benchmarks/run.py --profile calls     # where the time of our own side goes
    python benchmarks/run.py --instructions      # what a call of ours takes, whatever else runs

Every figure is the median of several repetitions. A repetition starts fresh processes on a fresh
store, one library after the other, beginning with another one each time, so that whatever else
the machine is doing falls on all of them.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import environments
import instructions
import machine
import measuring
import picture
import report
import rows
from measuring import Figure, Measurement
from rows import OURS, Scale

LIBRARIES = (OURS, *environments.PEERS)
LAST = environments.CACHE / "last.json"


def chosen(words: Sequence[str]) -> Callable[[str], bool]:
    """Whether a name contains one of the words; all do where there are none."""
    return lambda name: not words or any(word in name for word in words)


def measure(
    pythons: dict[str, Path], words: Sequence[str], scale: Scale, repetitions: int, folder: Path
) -> Measurement:
    """Everything that was chosen."""
    is_chosen = chosen(words)
    loads = [machine.load()]

    def figures() -> Iterator[Figure]:
        for work in rows.WORKS:
            if is_chosen(work.name) and work.size(scale):
                measuring.progress(work.title)
                yield from measuring.measure(work, pythons, scale, repetitions, folder)
        if is_chosen("import"):
            measuring.progress("import")
            yield from measuring.measure_imports(pythons, repetitions)

    found = tuple(figures())
    versions = (f"{one} {environments.version(python, one)}" for one, python in pythons.items())
    about = (
        f"on {datetime.datetime.now(datetime.UTC).date()}",
        *machine.described(folder),
        f"load average (1, 5, 15 minutes) at the start {loads[0]}; at the end {machine.load()}",
        ", ".join(version.strip() for version in versions),
        f"repetitions: {repetitions}, at most 2 of redun, mandala and Metaflow; fresh processes "
        f"and stores, in turn{'' if scale == 'full' else f'; {scale}: less of everything'}",
    )
    return Measurement(about, scale, found)


def write(measurement: Measurement, folder: Path) -> report.Page:
    """Write the page and the picture into a folder."""
    page = report.Page(measurement)
    (folder / "results.md").write_text(page.markdown(), "utf-8")
    (folder / "results.svg").write_text(picture.svg(page), "utf-8")
    return page


def show_instructions(python: Path, folder: Path) -> None:
    """Print how many machine instructions our calls take."""
    counter = instructions.counter()
    if counter is None:
        sys.exit("neither `perf` nor `valgrind` can count instructions here")
    for work in ("calls", "closure_20", "closure_200"):
        counted = instructions.per_call(python, work, folder, counter[1])
        told = ", ".join(f"{state} {value:,.0f}" for state, value in counted.items())
        print(f"{work}: instructions a call, by {counter[0]}: {told}")


def show_profile(python: Path, work: str, folder: Path) -> None:
    """Print where the time goes, cold and then warm."""
    found = measuring.work_of(work)
    for program in found.steps:
        print(f"--- {program}", file=sys.stderr)
        size = found.sizes[0]
        measuring.run_program(python, OURS, program, folder / OURS, size, "--profile")


def parsed() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    works = [work.name for work in rows.WORKS]
    parser.add_argument("--only", nargs="+", default=(), metavar="WORD", help="part of a name")
    parser.add_argument("--without", nargs="+", default=(), choices=environments.PEERS)
    parser.add_argument("--repetitions", type=int, help="by default 5, with --quick 2")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--folder", type=Path, help="where the stores are made")
    parser.add_argument("--output", type=Path, help="folder to write results.md, results.svg to")
    parser.add_argument("--again", action="store_true", help="only write what was measured last")
    parser.add_argument("--profile", metavar="WORK", choices=works)
    parser.add_argument("--instructions", action="store_true")
    return parser.parse_args()


def main() -> None:
    """Measure, print and write."""
    options = parsed()
    environments.CACHE.mkdir(exist_ok=True)
    if options.again:
        write(Measurement.from_json(LAST.read_text("utf-8")), options.output or _here())
        return
    is_own = options.profile or options.instructions
    pythons = {
        library: environments.own() if library == OURS else environments.peer(library)
        for library in LIBRARIES[: 1 if is_own else None]
        if library not in options.without
    }
    with tempfile.TemporaryDirectory(dir=options.folder or environments.CACHE) as name:
        folder = Path(name)
        if options.profile:
            show_profile(pythons[OURS], options.profile, folder)
        elif options.instructions:
            show_instructions(pythons[OURS], folder)
        else:
            scale: Scale = "quick" if options.quick else "full"
            repetitions = options.repetitions or (2 if options.quick else 5)
            measurement = measure(pythons, options.only, scale, repetitions, folder)
            LAST.write_text(measurement.to_json(), "utf-8")
            is_whole = scale == "full" and not options.only and not options.without
            output = options.output or (_here() if is_whole else environments.CACHE)
            page = write(measurement, output)
            print(page.markdown())
            for line in report.misses(page):
                measuring.progress(f"a peer takes less: {line}")
            print(f"written to {os.path.relpath(output)}/results.md and .svg", file=sys.stderr)


def _here() -> Path:
    return Path(__file__).resolve().parent


if __name__ == "__main__":
    main()
