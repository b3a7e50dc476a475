"""Which object files were verified whole, remembered across processes.

    offset  bytes  content
    0       16     id of the object
    16      32     device, inode, size, and time of change in nanoseconds of its file, 8 bytes each
    48      8      xxh3-64 of the 48 bytes before, with a seed

The seed is 0 for a file that had not changed for a minute. The content of a younger one may have
been in memory only, and gone after a power cut behind a name, a size and times that are not: there
it is the xxh3-64 of the machine's boot id, so that the line counts until the machine starts again.

All numbers are little endian. The file is a cache, appended to by everybody: a lost or damaged
line means that an object is verified once more. A line is of use only while its file has not been
touched, so it can never vouch for other bytes than those that were verified.
"""

from __future__ import annotations

import struct
import time
from pathlib import Path

import xxhash

from tasklineage.storage.line_file import LineFile
from tasklineage.storage.objects import StatKey
from tasklineage.storage.segment import boot

FILE = "verified"
_LINE = struct.Struct("<16s4QQ")
LINE = _LINE.size
_MOST = 200_000
_U64 = (1 << 64) - 1
_WRITTEN_BACK = 60_000_000_000  # ns; Linux leaves nothing unwritten for more than half of that


class Verified:
    """The verifications noted in the store at `root`. Any thread may call, and a forked child."""

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        self._lines = LineFile(root / FILE, LINE, _MOST)
        self._read_only = read_only
        self._known: dict[bytes, StatKey] | None = None

    def is_verified(self, oid: bytes, key: StatKey) -> bool:
        """Whether the object's file was verified as it is."""
        known = self._known
        if known is None:
            known = self._known = self._load()
        return known.get(oid) == key

    def note_verified(self, oid: bytes, key: StatKey) -> None:
        """The object's file has been verified as it is. Where this cannot be kept, it is not."""
        known = self._known
        if known is None:
            known = self._known = self._load()
        known[oid] = key
        if not self._read_only:
            self._lines.append(_line(oid, key, _seed_of(key)))

    def _load(self) -> dict[bytes, StatKey]:
        known, wrong = parsed(self._lines.load())
        if wrong:
            self._lines.begin_anew()
        return known


def parsed(content: bytes) -> tuple[dict[bytes, StatKey], int]:
    """The objects that these lines vouch for, and the number of lines that are not sound."""
    known: dict[bytes, StatKey] = {}
    wrong = 0
    seeds = (0, _this_boot())
    for oid, *numbers, check in _LINE.iter_unpack(content[: len(content) // LINE * LINE]):
        device, inode, size, changed = numbers
        key = (device, inode, size, changed)
        if any(_line(oid, key, seed)[-8:] == check.to_bytes(8, "little") for seed in seeds):
            known[oid] = key
        else:
            wrong += 1
    return known, wrong


def _line(oid: bytes, key: StatKey, seed: int) -> bytes:
    numbers = [number & _U64 for number in key]
    packed = _LINE.pack(oid, *numbers, 0)[:-8]
    return packed + xxhash.xxh3_64_intdigest(packed, seed).to_bytes(8, "little")


def _seed_of(key: StatKey) -> int:
    """0 for a file that the system has written to the disk by now; else it is the boot's."""
    return 0 if time.time_ns() - key[3] > _WRITTEN_BACK else _this_boot()


def _this_boot() -> int:
    return xxhash.xxh3_64_intdigest(boot().encode())
