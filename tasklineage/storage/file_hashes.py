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

import struct
from pathlib import Path

import xxhash

from tasklineage.key.file_contents import StatKey
from tasklineage.storage.line_file import LineFile

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
        self._lines = LineFile(root / FILE, LINE, _MOST)
        self._known: dict[bytes, bytes] | None = None

    def find(self, key: StatKey) -> bytes | None:
        """The hash of the file that had this status, if it was noted."""
        if key[2] < LEAST:
            return None
        known = self._known
        if known is None:
            known = self._known = _parsed(self._lines.load())
        return known.get(_packed(key))

    def note(self, key: StatKey, content_hash: bytes) -> None:
        """Keep it for other processes. Where that cannot be, it is not."""
        if key[2] < LEAST:
            return
        line = _packed(key) + content_hash
        line += xxhash.xxh3_64_intdigest(line).to_bytes(8, "little")
        self._lines.append(line)


def _parsed(content: bytes) -> dict[bytes, bytes]:
    known: dict[bytes, bytes] = {}
    for start in range(0, len(content) - LINE + 1, LINE):
        line = content[start : start + LINE]
        if xxhash.xxh3_64_digest(line[:56])[::-1] == line[56:]:
            known[line[:40]] = line[40:56]
    return known


def _packed(key: StatKey) -> bytes:
    return struct.pack("<5Q", *(number & _U64 for number in key))
