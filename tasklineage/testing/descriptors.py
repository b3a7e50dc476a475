"""Which file a descriptor is open on, also if nobody has seen it being opened."""

from __future__ import annotations

import fcntl
import os
import sys

_F_GETPATH = 50  # macOS
_readlink = os.readlink


def path_of(fd: int) -> str | None:
    """The path of the file; None for what has none: a socket, a pipe, a file that was removed."""
    try:
        if sys.platform == "linux":
            path = _readlink(f"/proc/self/fd/{fd}")
        else:
            path = os.fsdecode(fcntl.fcntl(fd, _F_GETPATH, bytes(1024)).rstrip(b"\0"))
    except OSError:
        return None
    return path if path.startswith("/") and not path.endswith(" (deleted)") else None
