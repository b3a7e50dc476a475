"""How many machine instructions a call takes: a figure that other programs cannot disturb.

Counted by `perf stat` where the processor's counters may be used, else by valgrind: a work is done
with few and with more calls, and the difference divided.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import environments
import measuring
from rows import OURS

FEW, MORE = 200, 1_200

Counter = Callable[[list[str]], int]


def counter() -> tuple[str, Counter] | None:
    """What can count instructions here, and its name."""
    for name, count in (("perf", _perf), ("valgrind", _valgrind)):
        if shutil.which(name) is not None:
            try:
                count(["true"])
            except (ValueError, subprocess.CalledProcessError):
                continue
            return name, count
    return None


def per_call(python: Path, work: str, folder: Path, count: Counter) -> dict[str, float]:
    """Instructions of one call, cold and hit."""
    counted: dict[str, list[int]] = {"cold": [], "hit": []}
    with tempfile.TemporaryDirectory(dir=folder) as name:
        for size in (FEW, MORE):
            store = Path(name) / f"store_{size}"
            command = measuring.command_of(python, OURS, work, store, size)
            for state in counted:
                counted[state].append(count(command))
    return {state: (more - few) / (MORE - FEW) for state, (few, more) in counted.items()}


def _perf(command: list[str]) -> int:
    told = _messages(["perf", "stat", "-x,", "-e", "instructions:u", *command])
    found = re.search(r"^(\d+),", told, re.MULTILINE)
    if found is None:
        raise ValueError("the processor's counters cannot be used")
    return int(found[1])


def _valgrind(command: list[str]) -> int:
    told = _messages(
        ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null",
         *command]
    )  # fmt: skip
    found = re.search(r"I\s+refs:\s+([\d,]+)", told)
    if found is None:
        raise ValueError(f"valgrind has not counted: {told[-500:]}")
    return int(found[1].replace(",", ""))


def _messages(command: list[str]) -> str:
    environ = {**environments.clean_environ(), "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        check=True,
    )  # fmt: skip
    return done.stderr
