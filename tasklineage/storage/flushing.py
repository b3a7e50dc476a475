"""What outlives a power cut: a file's content once it is flushed, its name once its folder is."""

from __future__ import annotations

import contextlib
import fcntl
import os


def flush(fd: int) -> None:
    """What was written to `fd` outlives a power cut, as far as the drive can be trusted."""
    full = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone stops at the drive's cache
    if full is not None:
        with contextlib.suppress(OSError):  # not every file system has it
            fcntl.fcntl(fd, full)
            return
    os.fsync(fd)


def flush_paths(*paths: str | os.PathLike[str]) -> None:
    """The content of these files, and the names in these folders, outlive a power cut."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            flush(fd)
        finally:
            os.close(fd)
