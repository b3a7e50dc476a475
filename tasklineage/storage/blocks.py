"""Single records by their location, read through a bounded cache and verified every time."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from xxhash import xxh3_64_intdigest

from tasklineage.errors import CorruptObject, MissingObject, StoreError
from tasklineage.storage import frames, records
from tasklineage.storage.frames import HEAD, MAGIC, MAX_PAYLOAD, VERSION, Location
from tasklineage.storage.regular import open_regular
from tasklineage.storage.segment import segment_path

if TYPE_CHECKING:
    from tasklineage.storage.signing import Signer

_SHIFT = 18
_SIZE = 1 << _SHIFT
_INSIDE = _SIZE - 1
_GENERATION = 32  # blocks; two generations are kept: 16 MB in all
_FILES = 64
_HEX = frozenset("0123456789abcdef")
_NEIGHBOURS = 64
"""Blocks of which a miss is remembered: where records are read from all over a large journal, the
next one is hardly ever in a block that was looked at before."""
_PATIENCE = 8
"""Misses behind the end of a cached block, which may have grown, before it is read again."""
_unpack = struct.Struct("<4sQQ").unpack_from
_decode = records.decode


class Block(NamedTuple):
    """A piece of a segment, as long as `_SIZE` or up to where the segment ended."""

    data: bytes
    place: int


class OpenFile:
    """A descriptor that is closed when nobody refers to it any more.

    So it can be dropped from a cache while another thread still reads from it.
    """

    __slots__ = ("fd",)

    def __init__(self, path: str, *, is_folder: bool = False) -> None:
        self.fd = -1  # so that a failure below leaves nothing to close
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY
        self.fd = os.open(path, flags) if is_folder else open_regular(path)

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


class Blocks:
    """Reads records of a journal by location. May be called from any thread.

    Neighbours are read together: the first miss in a block of 256 KiB reads just the frame, the
    second the block. Two generations of blocks are kept; a block found in the older one moves to
    the younger, and when that is full, the older is dropped (an approximation of LRU whose hits
    cost one look-up).
    """

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._young: dict[tuple[str, int, int], Block] = {}
        self._old: dict[tuple[str, int, int], Block] = {}
        self._misses: dict[tuple[str, int, int], int] = {}
        self._files: dict[tuple[str, int], OpenFile] = {}

    def read(self, location: Location) -> Any:
        """The record at `location`.

        Raises
        ------
        CorruptObject
            The bytes there are not the frame that was written there.
        MissingObject
            The segment is gone.
        """
        writer, seq, offset, length = location
        block = self._young.get((writer, seq, offset >> _SHIFT))
        if block is not None:
            data, place = block
            start = offset & _INSIDE
            payload = data[start + HEAD : start + length]
            if payload:
                magic, fields, checksum = _unpack(data, start)
                if (
                    xxh3_64_intdigest(payload, fields ^ place ^ offset) == checksum
                    and length - HEAD == fields & 0xFFFFFFFF
                    and fields >> 40 == VERSION
                    and magic == MAGIC
                ):
                    try:
                        return _decode(fields >> 32 & 0xFF, payload)
                    except ValueError as error:
                        raise _corrupt(location) from error
        return self._read_slowly(location)

    def close(self) -> None:
        """Descriptors and cached blocks are let go; the next `read` begins anew."""
        self._files = {}
        self._young, self._old, self._misses = {}, {}, {}

    def _frame(
        self, data: bytes, place: int, location: Location, start: int
    ) -> tuple[int, bytes] | None:
        """Kind and payload of the frame that stands there; None where they are not to be had."""
        if frames.claim(data, start) != location.length:
            return None
        return frames.decode(data, place, location.offset, start)

    def _read_slowly(self, location: Location) -> Any:
        frame = self._from_old(location) or self._from_file(location)
        if frame is None:
            raise _corrupt(location)
        return _decoded(frame, location)

    def _from_old(self, location: Location) -> tuple[int, bytes] | None:
        key = (location.writer, location.seq, location.offset >> _SHIFT)
        block = self._old.get(key)
        if block is None:
            return None
        self._keep(key, block)
        return self._frame(block.data, block.place, location, location.offset & _INSIDE)

    def _from_file(self, location: Location) -> tuple[int, bytes] | None:
        writer, seq, offset, length = location
        if not HEAD <= length <= HEAD + MAX_PAYLOAD or offset < 0:
            return None
        try:
            file = self._open(writer, seq)
            if self._wants_block(writer, seq, offset):
                self._load(file, writer, seq, offset >> _SHIFT)
            data = os.pread(file.fd, length, offset)
        except FileNotFoundError as error:
            raise MissingObject(
                f"the journal's segment {writer}/{seq:08d} is gone", location=location
            ) from error
        except OSError as error:
            raise StoreError(
                f"cannot read {writer}/{seq:08d} of the journal: {error.strerror}",
                errno=error.errno,
            ) from error
        return self._frame(data, frames.place(writer, seq), location, 0)

    def _wants_block(self, writer: str, seq: int, offset: int) -> bool:
        key = (writer, seq, offset >> _SHIFT)
        misses = self._misses.pop(key, 0) + 1
        wanted = misses > (_PATIENCE if key in self._young else 1)
        if not wanted:
            if len(self._misses) >= _NEIGHBOURS:
                self._misses.clear()
            self._misses[key] = misses
        return wanted

    def _load(self, file: OpenFile, writer: str, seq: int, number: int) -> None:
        data = os.pread(file.fd, _SIZE, number << _SHIFT)
        self._keep((writer, seq, number), Block(data, frames.place(writer, seq)))

    def _keep(self, key: tuple[str, int, int], block: Block) -> None:
        if len(self._young) >= _GENERATION:
            self._old, self._young = self._young, {}
        self._young[key] = block

    def _open(self, writer: str, seq: int) -> OpenFile:
        file = self._files.get((writer, seq))
        if file is None:
            if len(self._files) >= _FILES:
                self._files = {}
            if not is_writer(writer):
                raise FileNotFoundError(writer)
            file = self._files[writer, seq] = OpenFile(segment_path(self._folder, writer, seq))
        return file


def is_writer(name: str) -> bool:
    """Whether `name` can be a writer's id: 16 hex digits."""
    return len(name) == 16 and _HEX.issuperset(name)


class CheckedBlocks(Blocks):
    """As `Blocks`, of a journal that anybody may have written."""

    def read(self, location: Location) -> Any:
        """As there; a record with other fields than such a record has is as good as damaged."""
        from tasklineage.storage.shapes import malformed  # for strangers' stores

        record = super().read(location)
        if malformed(record):
            raise _corrupt(location)
        return record


class SignedBlocks(Blocks):
    """As `Blocks`, of a journal whose records must be signed."""

    def __init__(self, folder: Path, signer: Signer) -> None:
        super().__init__(folder)
        self._signer = signer

    def read(self, location: Location) -> Any:
        """As there; a record that is not signed is refused as a damaged one is."""
        block = self._young.get((location.writer, location.seq, location.offset >> _SHIFT))
        if block is not None:
            frame = self._frame(block.data, block.place, location, location.offset & _INSIDE)
            if frame is not None:
                return _decoded(frame, location)
        return self._read_slowly(location)

    def _frame(
        self, data: bytes, place: int, location: Location, start: int
    ) -> tuple[int, bytes] | None:
        if frames.claim(data, start) != location.length:
            return None
        signer = self._signer.segment(location.writer, location.seq)
        return frames.decode(data, place, location.offset, start, signer)


def _decoded(frame: tuple[int, bytes], location: Location) -> Any:
    try:
        return _decode(*frame)
    except ValueError as error:
        raise _corrupt(location) from error


def _corrupt(location: Location) -> CorruptObject:
    return CorruptObject(
        f"the record at {location.offset} of {location.writer}/{location.seq:08d} in the journal "
        "is damaged, or not signed with the key of the store; fsck names the runs concerned",
        location=location,
    )
