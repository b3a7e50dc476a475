"""Runs the programs, one library after the other, and keeps what they tell."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import environments
import rows
from rows import OURS, Row, Scale, Taken, Work

PROGRAMS = Path(__file__).resolve().parent / "programs"
SLOW = {"redun": 2, "mandala": 2, "metaflow": 2}
"""Repetitions at most of libraries that take long."""


class Figure(NamedTuple):
    """What one library took for one row, in the row's unit."""

    work: str
    label: str
    library: str
    size: int
    """How much was done."""
    values: tuple[float, ...]
    """One of each repetition."""

    @property
    def median(self) -> float:
        """What the table says."""
        return statistics.median(self.values)


class Measurement(NamedTuple):
    """All that one go has found."""

    about: tuple[str, ...]
    """Machine, versions and circumstances, a line each."""
    scale: str
    figures: tuple[Figure, ...]

    def to_json(self) -> str:
        """Text to read it again from."""
        return json.dumps({**self._asdict(), "figures": [one._asdict() for one in self.figures]})

    @classmethod
    def from_json(cls, text: str) -> Measurement:
        """What `to_json` has written."""
        told = json.loads(text)
        figures = tuple(
            Figure(**{**one, "values": tuple(one["values"])}) for one in told["figures"]
        )
        return cls(tuple(told["about"]), told["scale"], figures)


def measure(
    work: Work, pythons: Mapping[str, Path], scale: Scale, repetitions: int, folder: Path
) -> Iterator[Figure]:
    """The figures of a work: new processes and new stores, the libraries in turn."""
    sizes = {one: work.size(scale, one) for one in pythons if one not in work.absent}
    sizes = {library: size for library, size in sizes.items() if size}
    taken: dict[tuple[str, int], list[Taken]] = defaultdict(list)
    failed: set[str] = set()
    for number, order in rounds(tuple(sizes), min(repetitions, work.repetitions)):
        for library in order:
            if number >= SLOW.get(library, repetitions) or library in failed:
                continue
            try:
                told = run_steps(work, pythons[library], library, sizes[library], folder / library)
            except subprocess.CalledProcessError as error:
                if library == OURS:
                    raise
                progress(f"{library} has failed at {work.name}: {error}")
                failed.add(library)
                continue
            for step, one in enumerate(told):
                taken[library, step].append(one)
    sizes = {library: size for library, size in sizes.items() if library not in failed}
    check_answers(work, sizes, taken)
    for row in work.rows:
        for library, size in sizes.items():
            values = [row.take(one) for one in taken[library, row.step]]
            known = tuple(value for value in values if value is not None)
            if known:
                yield Figure(work.name, row.label, library, size, known)


def run_steps(work: Work, python: Path, library: str, size: int, store: Path) -> list[Taken]:
    """What the steps of a work told, each done on what the one before has left."""
    steps = []
    try:
        for program in work.steps:
            told = run_program(python, library, program, store, size)
            steps.append(told._replace(size=size, wanted=work.sizes[0], stored=megabytes(store)))
    finally:
        shutil.rmtree(store, ignore_errors=True)
    return steps


def measure_imports(pythons: Mapping[str, Path], repetitions: int) -> Iterator[Figure]:
    """Milliseconds that an import takes, above those of starting Python."""
    libraries = [library for library in pythons if library not in rows.IMPORT.absent]
    taken: dict[str, list[float]] = defaultdict(list)
    for _, order in rounds(libraries, 2 * repetitions):
        for library in order:
            bare = wall(pythons[library], "pass")
            taken[library].append((wall(pythons[library], import_of(library)) - bare) * 1e3)
    for library in libraries:
        yield Figure("import", rows.IMPORT.rows[0].label, library, 1, tuple(taken[library]))


def import_of(library: str) -> str:
    """What every program that uses the library imports."""
    if library == "tasklineage":
        return "from tasklineage import task"  # the package alone loads nothing
    return f"import {environments.MODULES.get(library, library)}"


def rounds(libraries: Sequence[str], repetitions: int) -> Iterator[tuple[int, list[str]]]:
    """The libraries in an order that turns by one with each repetition."""
    for repetition in range(repetitions):
        turn = repetition % max(1, len(libraries))
        yield repetition, [*libraries[turn:], *libraries[:turn]]


def run_program(
    python: Path, library: str, work: str, folder: Path, size: int, *options: str
) -> Taken:
    """What a new process tells of one work."""
    command = command_of(python, library, work, folder, size, *options)
    environ = environments.clean_environ()
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True)
    return Taken(**json.loads(done.stdout.splitlines()[-1]))


def command_of(
    python: Path, library: str, work: str, folder: Path, size: int, *options: str
) -> list[str]:
    """The command that does one work with one library."""
    program = PROGRAMS / f"with_{library}.py"
    return [str(python), str(program), work, str(folder), str(size), *options]


def wall(python: Path, code: str) -> float:
    """Seconds from the start of a new interpreter to its end."""
    begun = time.perf_counter()
    subprocess.run([python, "-c", code], env=environments.clean_environ(), check=True)
    return time.perf_counter() - begun


def check_answers(
    work: Work, sizes: Mapping[str, int], taken: Mapping[tuple[str, int], Iterable[Taken]]
) -> None:
    """See that libraries that did the same came to the same."""
    answers: dict[tuple[str, int], set[object]] = defaultdict(set)
    for (library, step), told in taken.items():
        if library not in sizes:
            continue
        answers[work.steps[step], sizes[library]].update(one.answer for one in told)
    for (program, size), found in answers.items():
        if len(found) != 1:
            raise RuntimeError(f"{program} of size {size}: the libraries disagree: {found}")


def megabytes(folder: Path) -> float:
    """What the files below a folder hold."""
    found = (path for path in folder.rglob("*") if not path.is_symlink())
    return sum(path.stat().st_size for path in found if path.is_file()) / 1e6


def progress(text: str) -> None:
    """Tell who waits what goes on."""
    load = os.getloadavg()[0]
    print(f"{time.strftime('%H:%M:%S')}  load {load:.1f}  {text}", file=sys.stderr)


def row_of(figure: Figure) -> Row:
    """The row that a figure belongs to."""
    work = work_of(figure.work)
    return next(row for row in work.rows if row.label == figure.label)


def work_of(name: str) -> Work:
    """The work of that name."""
    return next(work for work in (*rows.WORKS, rows.IMPORT) if work.name == name)
