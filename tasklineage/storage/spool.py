"""What this machine has recorded and a remote store does not have yet.

The spool is no copy: it is the segments of the mirror that were written on this machine, from the
place on up to which they were put. Beside each stands a small file that says so.

    <mirror>/spool/<writer>: 20 bytes a line, little endian: sequence number (4) and offset (8) up
    to which all was put; xxh3-64 of these 12 bytes. The last sound line counts.

A writer makes this file before its first segment, and holds a lock on it for as long as it lives.
One that nobody locks is an orphan: its process was killed. Whoever opens the mirror next puts what
is left of it, and removes the file.

Nothing is acknowledged to have been put before it was: who is killed between a put and its line
puts some pieces twice, which says the same.
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
from xxhash import xxh3_64_intdigest

from tasklineage.errors import CorruptObject, MissingObject, StoreBusy
from tasklineage.storage import frames, records
from tasklineage.storage.backend import Backend
from tasklineage.storage.blocks import is_writer
from tasklineage.storage.cached_objects import CachedObjects
from tasklineage.storage.codecs import object_ids
from tasklineage.storage.epochs import PURGES, Counters
from tasklineage.storage.modes import create_file, make_folder
from tasklineage.storage.oslock import lock_file
from tasklineage.storage.pieces import Piece, cut, span
from tasklineage.storage.pulse import Pulse
from tasklineage.storage.records import Condition, Hit, Ref
from tasklineage.storage.remote_sweeps import Care
from tasklineage.storage.segment import LONGEST, segment_path

FOLDER = "spool"
_READ = 16 << 20
_LINE = struct.Struct("<IQQ")
_ID = 16
_PATIENCE, _PAUSE = 60.0, 0.5
"""Seconds for which the end of a writer waits for somebody who sweeps."""

_log = logging.getLogger("tasklineage.storage")


class Spool:
    """Puts the segments of this machine's writers. One thread at a time may use it."""

    def __init__(
        self, mirror: Path, backend: Backend, objects: CachedObjects, pulse: Pulse, care: Care
    ) -> None:
        self._folder = mirror / FOLDER
        self._journal = mirror / "journal"
        self._backend = backend
        self._objects = objects
        self._uploads = objects.uploads
        self._pulse = pulse
        self._care = care
        self._counters = Counters(mirror, read_only=True)

    def waiting(self, entry: SpoolFile) -> int:
        """Bytes of the writer that wait to be put."""
        position = entry.position
        return sum(
            size - (position.offset if seq == position.seq else 0)
            for seq, size in self._segments(entry.writer)
            if seq >= position.seq
        )

    def put(self, entry: SpoolFile) -> None:
        """All that the writer has recorded by now is in the remote store.

        Raises
        ------
        StoreError
            Not all of it is. What was put is not put again.
        """
        if not self.waiting(entry):
            self._settle(entry)
            return
        if not entry.has_begun:
            self._pulse.beat(entry.writer, is_first=True)
            entry.has_begun = True
        for seq, _ in self._segments(entry.writer):
            if seq >= entry.position.seq:
                self._put_segment(entry, seq)

    def adopt(self) -> None:
        """Put what writers of this machine have left that were killed.

        Raises
        ------
        StoreError
            Not all could be put; the next one goes on.
        """
        for writer in self._writers():
            entry = SpoolFile.claim(self._folder, writer)
            if entry is None:
                continue
            try:
                entry.is_orphan = True
                self.put(entry)
                if self._settle(entry):
                    self.end(entry)
            finally:
                entry.close()

    def begin(self, writer: str) -> SpoolFile:
        """The file of a writer that is about to make its first segment."""
        make_folder(self._folder)
        return SpoolFile.made(self._folder, writer)

    def end(self, entry: SpoolFile) -> None:
        """Everything of the writer was put, and it writes no more.

        Raises
        ------
        StoreError
            That could not be said, or a sweep goes on that may hurt it; the next process says it.
        """
        end = time.monotonic() + _PATIENCE
        while not self._settle(entry):
            if time.monotonic() >= end:
                raise StoreBusy(
                    f"somebody has been collecting garbage in {self._backend.url} for "
                    f"{_PATIENCE:g} seconds, and may delete what was just put"
                )
            time.sleep(_PAUSE)
        self._pulse.end(entry.writer)
        entry.remove()

    def has_orphans(self) -> bool:
        """Whether somebody was killed here and has left something."""
        for writer in self._writers():
            entry = SpoolFile.claim(self._folder, writer)
            if entry is not None:
                entry.close()
                return True
        return False

    def _put_segment(self, entry: SpoolFile, seq: int) -> None:
        position = entry.position
        start = position.offset if seq == position.seq else 0
        place = frames.place(entry.writer, seq)
        path = segment_path(self._journal, entry.writer, seq)
        while True:
            generation = self._generation()
            data = _read(path, start, _READ)
            found, length = span(data, place, start)
            if not length and len(data) == _READ:  # a very long frame, or damage
                data = _read(path, start, LONGEST)
                found, length = span(data, place, start)
            if not length:
                return
            needed, producers = self._needed(found)
            if entry.is_orphan:
                self._care.distrust(needed)
            self._uploads.ensure(self._care.before(needed, producers))
            pieces = [Piece(entry.writer, seq, *ends) for ends in cut(found, start, start + length)]
            self._backend.write_many(
                {one.key: data[one.start - start : one.end - start] for one in pieces}
            )
            if self._generation() != generation:  # somebody has erased something meanwhile
                continue
            start += length
            entry.position = Position(seq, start)
            self._care.note(needed, producers)
            self._settle(entry)

    def _generation(self) -> int:
        """How often something was erased on this machine."""
        return self._counters.now()[PURGES]

    def _settle(self, entry: SpoolFile) -> bool:
        """Whether what was put stays, so that it need not be put again: then it is noted."""
        if entry.noted == entry.position:
            return True
        is_settled = self._care.settle()
        if is_settled:
            entry.note()
        return is_settled

    def _needed(self, found: list[tuple[int, int, int, bytes]]) -> tuple[set[bytes], set[bytes]]:
        """Ids of the objects that these records refer to, and of the calls that answered hits."""
        needed: set[bytes] = set()
        producers: set[bytes] = set()
        for _, _, kind, payload in found:
            with contextlib.suppress(ValueError, TypeError):
                record = records.decode(kind, payload)
                if isinstance(record, Hit):
                    producers.add(record.producer)
                for ref in _refs_in(record):
                    if ref.oid is not None:
                        needed.add(ref.oid)  # what that refers to, its header says
                    else:
                        with contextlib.suppress(MissingObject, CorruptObject):
                            needed.update(object_ids(ref, self._objects.open_here))
        return needed, producers

    def _segments(self, writer: str) -> list[tuple[int, int]]:
        """Sequence number and size of the writer's segments, in order."""
        folder = self._journal / writer
        found: list[tuple[int, int]] = []
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(filter(str.isdigit, os.listdir(folder))):
                found.append((int(name), os.stat(folder / name).st_size))
        return found

    def _writers(self) -> list[str]:
        try:
            return sorted(filter(is_writer, os.listdir(self._folder)))
        except FileNotFoundError:
            return []


class Position(NamedTuple):
    """Up to where a writer's segments were put."""

    seq: int = 0
    offset: int = 0


class SpoolFile:
    """The file of one writer in the spool, open and locked."""

    def __init__(self, path: Path, fd: int) -> None:
        self.writer = path.name
        self.position = self.noted = read_position(fd)
        """Up to where its segments were put, and up to where that was noted."""
        self.has_begun = False
        """Whether this process has said that the writer lives."""
        self.is_orphan = False
        """Whether its process was killed."""
        self._path = path
        self._fd = fd

    @classmethod
    def made(cls, folder: Path, writer: str) -> SpoolFile:
        """The file of a new writer."""
        temporary = folder / f".{writer}"
        fd = create_file(temporary)
        with contextlib.suppress(OSError):  # no locks on this file system
            lock_file(fd)
        os.replace(temporary, folder / writer)  # so nobody ever finds it without its lock
        return cls(folder / writer, fd)

    @classmethod
    def claim(cls, folder: Path, writer: str) -> SpoolFile | None:
        """The file of a writer that was killed; None if it lives, or somebody else is at it."""
        try:
            fd = os.open(folder / writer, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            is_ours = lock_file(fd) and os.fstat(fd).st_nlink > 0
        except OSError:  # no locks: nobody can tell, so the living are left alone
            is_ours = False
        if not is_ours:
            os.close(fd)
            return None
        return cls(folder / writer, fd)

    def note(self) -> None:
        """All before the position was put, and need not be put again."""
        line = struct.pack("<IQ", *self.position)
        self.noted = self.position
        os.lseek(self._fd, 0, os.SEEK_END)
        with contextlib.suppress(OSError):  # then it is put again
            os.write(self._fd, line + xxh3_64_intdigest(line).to_bytes(8, "little"))

    def remove(self) -> None:
        """Nothing of the writer waits any more."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    def close(self) -> None:
        """The lock is free."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def read_position(fd: int) -> Position:
    """Up to where all was put, as the last sound line of an open spool file says."""
    data = os.pread(fd, os.fstat(fd).st_size, 0)
    for start in range(len(data) - _LINE.size, -1, -1):  # a torn line shifts those behind it
        seq, offset, checksum = _LINE.unpack_from(data, start)
        if checksum == xxh3_64_intdigest(data[start : start + 12]):
            return Position(seq, offset)
    return Position()


def _read(path: str, start: int, length: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(fd, length, start)
    finally:
        os.close(fd)


def _refs_in(fields: Any) -> Iterator[Ref]:
    """Every `Ref` to something stored that stands anywhere in a record.

    What looks like one and is none costs a question to the store, and nothing else.
    """
    if type(fields) is dict:
        fields = tuple(fields.values())
    if not isinstance(fields, tuple):
        return
    if _is_ref(fields):
        yield Ref(*fields[: len(Ref._fields)])
    elif _is_content(fields):
        with contextlib.suppress(ValueError, LookupError, TypeError, msgpack.UnpackException):
            yield Ref(fields[2], "", "content", 0, None, msgpack.unpackb(fields[3])[3])
    else:
        for field in fields:
            yield from _refs_in(field)


def _is_ref(fields: tuple[Any, ...]) -> bool:
    if len(fields) < len(Ref._fields):
        return False
    digest, kind, codec, size, data, oid = fields[:6]
    is_one = type(digest) is bytes and type(kind) is str and type(codec) is str
    has_place = (type(oid) is bytes and len(oid) == _ID) or type(data) is bytes
    return is_one and type(size) is int and has_place


def _is_content(fields: tuple[Any, ...]) -> bool:
    """Whether it is a `Condition` that names the content of a file or folder."""
    is_one = len(fields) == len(Condition._fields) and fields[0] in ("file", "dir")
    return is_one and type(fields[3]) is bytes and bool(fields[3])
