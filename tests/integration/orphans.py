"""The processes that a process has begun, as the system tells it."""

from __future__ import annotations

from pathlib import Path


def workers_of(pid: int) -> list[int]:
    """Its children that are workers, or have started some."""
    marks = b"tasklineage.executors.serving", b"tasklineage.executors.dask_workers"
    children: list[int] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text("utf-8").rpartition(")")[2].split()
            command = (path.parent / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        if int(fields[1]) == pid and any(mark in command for mark in marks):
            children.append(int(path.parent.name))
    return children


def is_alive(pid: int) -> bool:
    """Whether that process is there, and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
