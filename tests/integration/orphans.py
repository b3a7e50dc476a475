"""The processes that a process has begun, as the system tells it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    """One process, and no other that gets its number later."""

    pid: int
    began: str
    """In ticks of the system's clock."""

    @property
    def command(self) -> bytes:
        """What it was begun with; empty if it has ended."""
        try:
            return Path(f"/proc/{self.pid}/cmdline").read_bytes()
        except OSError:
            return b""

    def __repr__(self) -> str:
        return f"<{self.pid}: {_fields(self.pid)[:2]} {self.command!r}>"


def is_alive(process: Process) -> bool:
    """Whether that process is there, and no zombie."""
    return process in dict(_running((process.pid,)))


def children_of(pid: int) -> list[Process]:
    """The processes that it has begun itself, and that are there still."""
    every = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [child for child, parent in _running(every) if parent == pid]


def below(pid: int) -> list[Process]:
    """Every process that it has begun, however deep."""
    children = children_of(pid)
    return children + [one for child in children for one in below(child.pid)]


def workers_of(pid: int) -> list[Process]:
    """Its children that are workers, or have started some."""
    marks = b"tasklineage.executors.serving", b"tasklineage.executors.dask_workers"
    return [child for child in children_of(pid) if any(mark in child.command for mark in marks)]


def numbered(pid: int) -> Process:
    """The one that has that number now."""
    return Process(pid, _fields(pid)[19])


def _running(pids: Iterable[int]) -> Iterator[tuple[Process, int]]:
    """Those that have not ended, each with its parent."""
    for pid in pids:
        fields = _fields(pid)
        if fields and fields[0] != "Z":
            yield Process(pid, fields[19]), int(fields[1])


def _fields(pid: int) -> list[str]:
    """What the system says of a process, from its state on; nothing if it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return []
