"""A file of short lines of one size that every process appends to: a cache, anew when full."""

from __future__ import annotations

import os
from pathlib import Path

from tasklineage.storage.modes import create_file
from tasklineage.storage.regular import open_regular


class LineFile:
    """At most `most` lines of `size` bytes in the file at `path`. Any thread may call."""

    def __init__(self, path: Path, size: int, most: int) -> None:
        self._path = path
        self._size = size
        self._most = most
        self._begins_anew = False

    def load(self) -> bytes:
        """The content, a torn line at its end included; empty if it cannot be read."""
        try:
            descriptor = open_regular(self._path)
        except OSError:
            return b""
        try:
            content = os.read(descriptor, self._most * self._size)
        except OSError:
            return b""
        finally:
            os.close(descriptor)
        # Behind a torn line nothing is found, and a file that is full is mostly of the past.
        lines, torn = divmod(len(content), self._size)
        self._begins_anew = torn != 0 or lines >= self._most
        return content

    def begin_anew(self) -> None:
        """Let the next line be the first: there are some that are not sound."""
        self._begins_anew = True

    def append(self, line: bytes) -> None:
        """Keep a line for other processes. Where that cannot be, it is not."""
        anew, self._begins_anew = self._begins_anew, False
        flags = os.O_WRONLY | os.O_APPEND
        try:
            try:
                descriptor = open_regular(self._path, flags | os.O_TRUNC if anew else flags)
            except FileNotFoundError:
                descriptor = create_file(self._path)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError:
            return
