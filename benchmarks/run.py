"""Measure tasklineage beside diskcache and joblib, in one run on this machine.

    python benchmarks/run.py                     # everything; writes benchmarks/results.md
    python benchmarks/run.py --only calls map    # works whose name contains one of the words
    python benchmarks/run.py --profile calls     # where the time of our own side goes

Every figure is the median of several repetitions. A repetition starts fresh processes on a fresh
store, one library after the other, beginning with another one each time, so that whatever else
the machine is doing falls on all of them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

import environments

PROGRAMS = Path(__file__).resolve().parent / "programs"
OURS = "tasklineage"
LIBRARIES = (OURS, *environments.PEERS)


class Work(NamedTuple):
    """One thing to measure: a program's work, done cold and then warm by new processes."""

    name: str
    program: str
    """The work's name in the programs."""
    per: int
    """The time is divided by this."""
    unit: str
    goals: tuple[str, str]
    """What is asked of us, cold and warm: a share of diskcache's figure, or an amount."""


class Figure(NamedTuple):
    """One row of the table: what each library took."""

    name: str
    unit: str
    goal: str
    medians: dict[str, float]


WORKS = (
    Work("call of a trivial task, one after the other", "calls", 2_000, "µs", ("1/6", "1/4")),
    Work("map of 10,000 trivial calls, 2 threads", "threads", 1, "s", ("1/5", "1/8")),
    Work("100 MB array in, 100 MB array out", "large", 1, "s", ("0.25 s", "0.025 s")),
    Work("the same 10 MB result 100 times", "repeated", 1, "s", ("0.5 s", "")),
)
SCALE = {"µs": 1e6, "ms": 1e3, "s": 1.0}


def rounds(libraries: Sequence[str], repetitions: int) -> Iterator[tuple[int, list[str]]]:
    """The libraries in an order that turns by one with each repetition."""
    for repetition in range(repetitions):
        turn = repetition % len(libraries)
        yield repetition, [*libraries[turn:], *libraries[:turn]]


def run_program(
    python: Path, library: str, work: str, folder: Path, *options: str
) -> tuple[float, object]:
    """Seconds that one work took in a new process, and its answer."""
    program = PROGRAMS / f"with_{library}.py"
    command = [str(python), str(program), work, str(folder), *options]
    environ = environments.clean_environ()
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    return told["seconds"], told["answer"]


def measure(work: Work, pythons: dict[str, Path], repetitions: int, folder: Path) -> list[Figure]:
    """Cold, warm and, where values are large, the megabytes that the store holds."""
    taken: dict[tuple[str, str], list[float]] = defaultdict(list)
    answers = set()
    for _, order in rounds(tuple(pythons), repetitions):
        for library in order:
            store = folder / library
            for state in ("cold", "warm"):
                seconds, answer = run_program(pythons[library], library, work.program, store)
                taken[library, state].append(seconds / work.per * SCALE[work.unit])
                answers.add(answer)
            taken[library, "stored"].append(megabytes(store))
            shutil.rmtree(store)
    if len(answers) != 1:
        raise RuntimeError(f"{work.name}: the libraries disagree: {answers}")

    def figure(state: str, label: str, unit: str, goal: str) -> Figure:
        medians = {library: statistics.median(taken[library, state]) for library in pythons}
        return Figure(f"{work.name}: {label}", unit, goal, medians)

    cold, warm = work.goals
    figures = [
        figure("cold", "cold", work.unit, cold),
        figure("warm", "hit, new process", work.unit, warm),
    ]
    if work.program in ("large", "repeated"):
        figures.append(figure("stored", "stored", "MB", ""))
    return figures


def measure_imports(pythons: dict[str, Path], repetitions: int) -> Figure:
    """Milliseconds that an import takes, above those of starting Python."""
    taken: dict[str, list[float]] = defaultdict(list)
    for _, order in rounds(tuple(pythons), 3 * repetitions):
        for library in order:
            bare = wall(pythons[library], "pass")
            taken[library].append((wall(pythons[library], f"import {library}") - bare) * 1e3)
    medians = {library: statistics.median(values) for library, values in taken.items()}
    return Figure("import, above bare Python", "ms", "60 ms", medians)


def wall(python: Path, code: str) -> float:
    """Seconds from the start of a new interpreter to its end."""
    begun = time.perf_counter()
    subprocess.run([python, "-c", code], env=environments.clean_environ(), check=True)
    return time.perf_counter() - begun


def megabytes(folder: Path) -> float:
    """What the files below a folder hold."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def meets(goal: str, figure: Figure) -> bool | None:
    """Whether our figure is within the goal; None where there is none to judge by."""
    if not goal:
        return None
    ours = figure.medians[OURS]
    if "/" in goal:
        over, under = goal.split("/")
        peer = figure.medians.get("diskcache")
        return None if peer is None else ours <= peer * int(over) / int(under)
    return ours <= float(goal.split()[0])


def table(figures: Iterable[Figure], libraries: Sequence[str]) -> str:
    """The figures as a markdown table."""
    peers = [library for library in libraries if library != OURS]
    head = ["work", *libraries, *(f"ours / {peer}" for peer in peers), "goal", "met"]
    rows = [head, ["---"] * len(head)]
    for figure in figures:
        ours = figure.medians[OURS]
        goal = f"{figure.goal} of diskcache" if "/" in figure.goal else figure.goal
        met = {True: "yes", False: "**no**", None: ""}[meets(figure.goal, figure)]
        rows.append(
            [
                figure.name,
                *(f"{amount(figure.medians[library])} {figure.unit}" for library in libraries),
                *(f"{ours / figure.medians[peer]:.3f}" for peer in peers),
                goal,
                met,
            ]
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def amount(value: float) -> str:
    """Three digits that count."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def machine(folder: Path) -> str:
    """What a reader must know to compare: hardware, system, versions, load."""
    lines = _first_lines(Path("/proc/cpuinfo"), "model name")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return "\n".join(
        [
            f"- {os.cpu_count()} x {lines or platform.processor()}, {memory:.0f} GiB of memory",
            f"- {platform.system()} {platform.release()}, Python {platform.python_version()}",
            f"- stores on {filesystem(folder)}; load average at the start {load}",
        ]
    )


def _first_lines(path: Path, field: str) -> str:
    if not path.exists():
        return ""
    found = (line for line in path.read_text().splitlines() if line.startswith(field))
    return next(found, ":").partition(":")[2].strip()


def filesystem(folder: Path) -> str:
    """The type of the file system that a folder is on."""
    command = ["df", "--output=fstype", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.split()[-1] if done.returncode == 0 else "an unknown file system"


def report(figures: Sequence[Figure], pythons: dict[str, Path], about: str, how: str) -> str:
    """The page that is written."""
    versions = ", ".join(
        f"{library} {environments.version(python, library)}" for library, python in pythons.items()
    )
    today = datetime.datetime.now(datetime.UTC).date()
    return (
        f"# Measured on {today}\n\n{about}\n- {versions}\n- {how}\n\n"
        f"{table(figures, list(pythons))}\n\n"
        "What is measured, and how, is told in [README.md](README.md).\n"
    )


def chosen(words: Sequence[str]) -> Callable[[str], bool]:
    """Whether a name contains one of the words; all do where there are none."""
    return lambda name: not words or any(word in name for word in words)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=(), metavar="WORD", help="part of a name")
    parser.add_argument("--without", nargs="+", default=(), choices=environments.PEERS)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the stores are made")
    parser.add_argument("--output", type=Path, default=PROGRAMS.parent / "results.md")
    parser.add_argument("--profile", metavar="WORK", choices=[work.program for work in WORKS])
    options = parser.parse_args()

    environments.CACHE.mkdir(exist_ok=True)
    wanted = [library for library in LIBRARIES if library not in options.without]
    pythons = {
        library: environments.own() if library == OURS else environments.peer(library)
        for library in wanted
    }
    with tempfile.TemporaryDirectory(dir=options.folder or environments.CACHE) as name:
        folder = Path(name)
        if options.profile:
            for state in ("cold", "warm"):
                print(f"--- {options.profile}, {state}", file=sys.stderr)
                run_program(pythons[OURS], OURS, options.profile, folder / OURS, "--profile")
            return
        about = machine(folder)
        figures = []
        is_chosen = chosen(options.only)
        for work in WORKS:
            if is_chosen(f"{work.program} {work.name}"):
                print(work.name, file=sys.stderr)
                figures += measure(work, pythons, options.repetitions, folder)
        if is_chosen("import"):
            figures.append(measure_imports(pythons, options.repetitions))
    how = f"medians of {options.repetitions} repetitions, fresh processes and stores, interleaved"
    page = report(figures, pythons, about, how)
    print(page)
    if not options.only and not options.without:
        options.output.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
