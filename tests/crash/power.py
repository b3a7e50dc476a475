"""The power fails before each operation of a scenario in turn, and what is left is checked.

`tasklineage.testing.disk` keeps account of what was flushed, and says what a disk may be left with:
nothing of the rest, its names, its contents, or some of it, drawn at random.

    for outcome in sweep(scenario, check, tmp_path):
        assert not outcome.problems

`scenario(folder, say)` runs once for every fault, `check(folder, said)` on each thing that was
left; what it gives are the problems it found. Both run in processes of their own, and are functions
at the top of a module.
"""

from __future__ import annotations

import base64
import inspect
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tasklineage.testing.disk import Disk, lay_out
from tests.crash.killer import ROOT, load

VARIANTS = ("nothing", "names", "contents", "some", "some", "some")

Say = Callable[[str], None]
Scenario = Callable[[Path, Say], None]
Check = Callable[[Path, Sequence[str]], list[str]]


class Outcome(NamedTuple):
    """What was left after one power cut, and what is wrong with it."""

    number: int
    """Before which operation it came, from 1."""
    operation: str
    variant: str
    said: list[str]
    """What the scenario said before."""
    problems: list[str]


def sweep(
    scenario: Scenario,
    check: Check,
    folder: Path,
    *,
    variants: Sequence[str] = VARIANTS,
    start: int = 1,
    every: int = 1,
    all_variants: bool = False,
    timeout: float = 900.0,
) -> Iterator[Outcome]:
    """The outcomes of a power cut before each operation from `start` on, or `every` so many.

    Each leaves the first variant and one of the others, in turn; or all of them.
    """
    order = {
        "module": inspect.getsourcefile(scenario), "scenario": scenario.__name__,
        "check": check.__name__, "folder": str(folder), "variants": list(variants),
        "start": start, "every": every, "all": all_variants,
    }  # fmt: skip
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, __file__, json.dumps(order)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        timeout=timeout,
        check=True,
        text=True,
    )
    for line in done.stdout.splitlines():
        yield Outcome(**json.loads(line))


def serve(order: dict[str, Any]) -> None:
    """Fork a process for every fault and every check; print the outcomes."""
    module = load(Path(order["module"]))
    scenario, check = getattr(module, order["scenario"]), getattr(module, order["check"])
    base, number = Path(order["folder"]) / order["scenario"], order["start"]
    while True:
        live, left = base / f"{number}", base / f"{number}-left"
        live.mkdir(parents=True, mode=0o700)
        left.mkdir(mode=0o700)
        drawn = order["variants"] if order["all"] else _some(order["variants"], number)
        lines = _forked(partial(_live, scenario, live, left, number, drawn))
        said = [line[1:] for line in lines if line.startswith("s")]
        operation = "".join(line[1:] for line in lines if line.startswith("o"))
        if not operation:
            _expect_end(lines)
            break
        for at, variant in enumerate(drawn):
            problems = _forked(partial(_checked, check, left / f"{at}", said))
            print(
                json.dumps(Outcome(number, operation, variant, said, problems)._asdict()),
                flush=True,
            )
        shutil.rmtree(live)
        shutil.rmtree(left)
        number += order["every"]


def _some(variants: Sequence[str], number: int) -> list[str]:
    return [variants[0], variants[1 + number % (len(variants) - 1)]]


def _expect_end(lines: list[str]) -> None:
    """A scenario that did not come to its end found a bug in itself."""
    if "e" not in lines:
        raise RuntimeError(f"the scenario failed without a fault: {lines}")


def _live(
    scenario: Scenario,
    live: Path,
    left: Path,
    number: int,
    variants: Sequence[str],
    tell: Callable[[str], None],
) -> None:
    remaining = number

    def count(operation: str) -> None:
        nonlocal remaining
        remaining -= 1
        if remaining:
            return
        for at, variant in enumerate(variants):
            lay_out(disk.root, left / f"{at}", variant, random.Random(f"{number} {at}"))
        tell(f"o{operation}")
        os.kill(os.getpid(), signal.SIGKILL)

    disk = Disk(str(live), count)
    disk.install()
    scenario(live, lambda text: tell(f"s{text}"))
    tell("e")


def _checked(check: Check, folder: Path, said: Sequence[str], tell: Callable[[str], None]) -> None:
    for problem in check(folder, said):
        tell(problem)


def _forked(act: Callable[[Callable[[str], None]], None]) -> list[str]:
    """What `act` told, in a process of its own; an exception is told as well."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        put, end = os.write, os._exit
        signal.alarm(120)

        def tell(text: str) -> None:
            put(write, base64.b64encode(text.encode("utf-8", "replace")) + b"\n")

        try:
            act(tell)
        except BaseException:
            tell(traceback.format_exc())
        end(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        lines = [base64.b64decode(line).decode() for line in pipe.read().splitlines()]
    os.waitpid(pid, 0)
    return lines


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
