"""The processes that a process has begun, as the system tells it."""

from __future__ import annotations

import contextlib
from pathlib import Path


def children_of(pid: int) -> list[int]:
    """The processes that it has begun itself, and that are there still."""
    children: list[int] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            fields = path.read_text("utf-8").rpartition(")")[2].split()
            if int(fields[1]) == pid:
                children.append(int(path.parent.name))
    return children


def workers_of(pid: int) -> list[int]:
    """Its children that are workers, or have started some."""
    marks = b"tasklineage.executors.serving", b"tasklineage.executors.dask_workers"
    found: list[int] = []
    for child in children_of(pid):
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if any(mark in command for mark in marks):
                found.append(child)
    return found


def is_alive(pid: int) -> bool:
    """Whether that process is there, and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
