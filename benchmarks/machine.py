"""What a reader must know of the machine to compare."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path


def described(folder: Path) -> list[str]:
    """Hardware, system and file system, a line each."""
    model = _first(Path("/proc/cpuinfo"), "model name") or platform.processor()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return [
        f"{os.cpu_count()} x {model}, {memory:.0f} GiB of memory",
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        f"stores on {filesystem(folder)}",
    ]


def load() -> str:
    """How busy the machine is: averages over 1, 5 and 15 minutes."""
    return ", ".join(f"{value:.1f}" for value in os.getloadavg())


def filesystem(folder: Path) -> str:
    """The type of the file system that a folder is on."""
    command = ["df", "--output=fstype", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.split()[-1] if done.returncode == 0 else "an unknown file system"


def _first(path: Path, field: str) -> str:
    if not path.exists():
        return ""
    found = (line for line in path.read_text().splitlines() if line.startswith(field))
    return next(found, ":").partition(":")[2].strip()
