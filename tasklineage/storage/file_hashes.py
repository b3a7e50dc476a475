"""Hashes of users' files by their status, remembered across processes.

    offset  bytes  content
    0       40     device, inode, size, time of modification and time of change in nanoseconds of
                   the file, 8 bytes each
    40      16     xxh3-128 of its bytes
    56      8      xxh3-64 of the 56 bytes before

All numbers are little endian. The file is a cache, appended to by everybody: a lost or damaged line
means that a file is hashed once more. Small files are not worth a line.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import xxhash

from tasklineage.key.file_contents import StatKey
from tasklineage.storage.modes import create_file
from tasklineage.storage.regular import open_regular

FILE = "hashes"
LEAST = 16 * 1024
"""Bytes of the smallest file that is remembered."""
_LINE = struct.Struct("<5Q16sQ")
LINE = _LINE.size
_MOST = 50_000
_U64 = (1 << 64) - 1


class FileHashes:
    """The hashes noted in the store at `root`. Any thread may call, and a forked child."""

    def __init__(self, root: Path) -> None:
        self._path = root / FILE
        self._known: dict[bytes, bytes] | None = None
        self._begins_anew = False

    def find(self, key: StatKey) -> bytes | None:
        """The hash of the file that had this status, if it was noted."""
        if key[2] < LEAST:
            return None
        known = self._known
        if known is None:
            known = self._known = self._load()
        return known.get(_packed(key))

    def note(self, key: StatKey, content_hash: bytes) -> None:
        """Keep it for other processes. Where that cannot be, it is not."""
        if key[2] < LEAST:
            return
        line = _packed(key) + content_hash
        line += xxhash.xxh3_64_intdigest(line).to_bytes(8, "little")
        try:
            self._append(line)
        except OSError:
            return

    def _append(self, line: bytes) -> None:
        anew, self._begins_anew = self._begins_anew, False
        flags = os.O_WRONLY | os.O_APPEND
        try:
            descriptor = open_regular(self._path, flags | os.O_TRUNC if anew else flags)
        except FileNotFoundError:
            descriptor = create_file(self._path)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)

    def _load(self) -> dict[bytes, bytes]:
        try:
            descriptor = open_regular(self._path)
        except OSError:
            return {}
        try:
            content = os.read(descriptor, _MOST * LINE)
        except OSError:
            return {}
        finally:
            os.close(descriptor)
        known: dict[bytes, bytes] = {}
        for start in range(0, len(content) - LINE + 1, LINE):
            line = content[start : start + LINE]
            if xxhash.xxh3_64_digest(line[:56])[::-1] == line[56:]:
                known[line[:40]] = line[40:56]
        lines = len(content) // LINE
        # Behind a torn line nothing is found, and a file that is full is mostly of the past.
        self._begins_anew = len(content) % LINE != 0 or lines >= _MOST
        return known


def _packed(key: StatKey) -> bytes:
    return struct.pack("<5Q", *(number & _U64 for number in key))
