"""One writer's segment: a file that only its owner appends to, locked for as long as it may grow.

A segment is made under a temporary name in the journal's folder, locked, given its head, and then
moved to `<writer>/<sequence number>`. So nobody ever sees a segment that is not locked yet, and the
time stamp of the journal's folder changes whenever a segment appears in any folder below it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgpack

from tasklineage.storage import frames
from tasklineage.storage.flushing import flush, flush_paths
from tasklineage.storage.modes import create_file, make_folder
from tasklineage.storage.oslock import is_file_locked, lock_file

if TYPE_CHECKING:
    from tasklineage.storage.signing import Signer

FORMAT = 1
LIMIT = 64 << 20
"""Bytes after which a segment takes no further append."""
LONGEST = 2 * LIMIT
"""No segment is longer, since no append is longer than `LIMIT`; what stands beyond is damage."""


class Head(NamedTuple):
    """The first frame of a segment: whose it is."""

    format: int
    writer: str
    seq: int
    host: str
    boot: str
    """The boot id of the machine; two containers on one kernel share it."""
    pid: int
    started: float


class Oversize(OSError):
    """The frames of one append would be longer than `LIMIT`."""

    def __init__(self) -> None:
        super().__init__(errno.EFBIG, os.strerror(errno.EFBIG))


class Segment:
    """A segment open for appending. The journal's mutex is held around every method."""

    __slots__ = ("_durable", "_encode", "_is_careful", "end", "fd", "limit", "place", "seq")

    def __init__(
        self, journal: Path, writer: str, seq: int, durable: bool, signer: Signer | None = None
    ) -> None:
        self.place = frames.place(writer, seq)
        self.seq = seq
        head = frames.encode(frames.SEGMENT_HEAD, _head(writer, seq), self.place, 0)
        self.fd = _create(journal, writer, seq, head, durable)
        self.end = len(head)
        """Where the next frame begins: everything before it is sound."""
        self.limit = LIMIT
        """It takes no further append once `end` has reached this: none at all after `close`."""
        self._durable = durable
        self._encode = frames.encode if signer is None else _signing(signer, writer, seq)
        self._is_careful = durable
        """Something may stand behind `end`, because a write was interrupted; or `durable`."""

    def write_one(self, kind: int, payload: bytes) -> tuple[int, int]:
        """As `write`, of one frame. HOT."""
        if self._is_careful:
            return self.write(((kind, payload),))[0]
        offset = self.end
        frame = self._encode(kind, payload, self.place, offset)
        length = len(frame)
        if length > LIMIT:
            raise Oversize
        self._is_careful = True  # until the end of this method, whatever interrupts it
        try:
            written = os.pwrite(self.fd, frame, offset)
            if written != length:
                self._complete(frame, offset, written)
        except OSError:
            with contextlib.suppress(OSError):
                self.mend()
            raise
        self.end = offset + length
        self._is_careful = False
        return offset, length

    def write(self, payloads: Sequence[tuple[int, bytes]]) -> list[tuple[int, int]]:
        """Offset and length of the frame of each (kind, payload), written with one system call.

        Raises
        ------
        Oversize
            Nothing was written: it is too much for one append.
        OSError
            Not all could be written. Frames that stand there whole stay, since somebody may have
            read them; the torn rest is cut off; if that fails too, the segment is closed.
        """
        if self._is_careful:
            self.mend()
        start = offset = self.end
        parts: list[bytes] = []
        spots: list[tuple[int, int]] = []
        for kind, payload in payloads:
            frame = self._encode(kind, payload, self.place, offset)
            parts.append(frame)
            spots.append((offset, len(frame)))
            offset += len(frame)
        if offset - start > LIMIT:
            raise Oversize
        data = b"".join(parts)
        self._is_careful = True
        try:
            self._complete(data, start, os.pwrite(self.fd, data, start))
        except OSError:
            with contextlib.suppress(OSError):
                self.mend()
            raise
        self.end = offset
        self._is_careful = self._durable
        return spots

    def mend(self) -> None:
        """Nothing stands behind `end`: whole frames are kept, a torn one is cut off.

        Raises
        ------
        OSError
            That failed, and the segment is closed.
        """
        try:
            size = os.lseek(self.fd, 0, os.SEEK_END)
            if size > self.end:
                rest = os.pread(self.fd, size - self.end, self.end)
                self.end += frames.walk(rest, self.place, self.end)[1]
                if self.end < size:
                    os.ftruncate(self.fd, self.end)
        except OSError:
            self.close()
            raise
        self._is_careful = self._durable

    def close(self) -> None:
        """The lock is free, and nothing can be appended any more."""
        fd, self.fd, self.limit = self.fd, -1, 0
        if fd >= 0:
            os.close(fd)

    def _complete(self, data: bytes, start: int, written: int) -> None:
        """Write what a short write left, and flush if the store promises to outlive a power cut."""
        _write_rest(self.fd, data, start, written)
        if self._durable:
            try:
                flush(self.fd)
            except OSError:
                self.close()  # what the kernel still holds of this file is anybody's guess
                raise


def segment_path(journal: str | Path, writer: str, seq: int) -> str:
    """Where a segment stands."""
    return f"{journal}/{writer}/{seq:08d}"


def read_head(fd: int) -> Head | None:
    """The head of an open segment, None where there is no sound one."""
    data = os.pread(fd, 4096, 0)
    try:
        fields = msgpack.unpackb(data[frames.HEAD : frames.claim(data, 0)], use_list=False)
        head = Head(*fields[: len(Head._fields)])
        frame = frames.decode(data, frames.place(head.writer, head.seq), 0)
    except (ValueError, TypeError):
        return None
    return head if frame is not None and frame[0] == frames.SEGMENT_HEAD else None


def is_held(fd: int) -> bool:
    """Whether the writer of an open segment lives, as far as this machine can tell."""
    try:
        return is_file_locked(fd)
    except OSError:
        head = read_head(fd)
        return head is not None and head.boot == boot() and _is_running(head.pid)


def silence(fd: int) -> float:
    """Seconds for which nothing can have been appended to an open segment.

    None if its writer lives; for ever if it is known to be dead. In between are the segments of
    other machines that nobody locks: not every network filesystem shows their locks here, so they
    are as silent as they are old.
    """
    if is_held(fd):
        return 0.0
    head = read_head(fd)
    if head is None or head.boot == boot():
        return math.inf
    return time.time() - os.fstat(fd).st_mtime


@functools.cache
def boot() -> str:
    """What tells this machine since its last start from all others; its name where unknown."""
    try:
        fd = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY)
    except OSError:
        return os.uname().nodename
    try:
        return os.read(fd, 64).decode().strip()
    finally:
        os.close(fd)


def _head(writer: str, seq: int) -> bytes:
    fields = Head(FORMAT, writer, seq, os.uname().nodename, boot(), os.getpid(), time.time())
    packed: bytes = msgpack.packb(fields)
    return packed


def _signing(signer: Signer, writer: str, seq: int) -> Callable[[int, bytes, int, int], bytes]:
    """As `frames.encode`, signed."""
    return functools.partial(frames.encode_signed, signer=signer.segment(writer, seq))


def _create(journal: Path, writer: str, seq: int, head: bytes, durable: bool) -> int:
    """A descriptor of a new segment that holds its head, locked where the filesystem has locks."""
    make_folder(journal)
    temporary = journal / f".{writer}-{seq:08d}"
    try:
        fd = create_file(temporary)
    except FileExistsError:  # of an attempt that failed, and could not be tidied up
        temporary = journal / f"{temporary.name}-{os.urandom(4).hex()}"
        fd = create_file(temporary)
    try:
        with contextlib.suppress(OSError):
            lock_file(fd)
        _write_rest(fd, head, 0, 0)
        final = segment_path(journal, writer, seq)
        folder = make_folder(journal / writer)
        if durable:
            flush(fd)
        os.replace(temporary, final)
        if durable:
            flush_paths(folder, journal, journal.parent)
    except BaseException:
        os.close(fd)
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return fd


def _write_rest(fd: int, data: bytes, start: int, written: int) -> None:
    """`data` stands at `start`, of which so many bytes stand there already."""
    while written < len(data):
        count = os.pwrite(fd, data[written:], start + written)
        if count == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        written += count


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
