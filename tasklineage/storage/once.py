"""Small files that are made once in the life of a store, by whoever needs them first."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from tasklineage.storage.modes import create_file

_LONGEST = 4096


def read(path: Path) -> bytes | None:
    """The content of the file; None where there is none. It is no link."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        return os.read(descriptor, _LONGEST)
    finally:
        os.close(descriptor)


def put(path: Path, content: bytes) -> bytes:
    """What the file holds from now on: `content`, or what somebody else has put there before."""
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    descriptor = create_file(temporary)
    try:
        try:
            os.write(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
            return content
    finally:
        os.unlink(temporary)
    found = read(path)
    return content if found is None else found
