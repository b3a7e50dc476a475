"""The hash of a file's bytes, remembered for as long as the file's status stays the same.

A file is not read again while device, inode, size, time of modification and time of change are
what they were. The time of change cannot be set by a program, so a file that was written to after
it was hashed has another one, with one exception: within one tick of the file system's clock. A
file that was changed so lately is hashed and not remembered, as in Git ("racily clean"). A large
one is worth waiting for the end of the tick.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from typing import Any, ClassVar, NamedTuple, Protocol

from xxhash import xxh3_128

from tasklineage.errors import MissingFile, UnreadableFile
from tasklineage.key.guards import Unseen
from tasklineage.key.pins import State

StatKey = tuple[int, int, int, int, int]
"""Device, inode, size, and the times of modification and change in nanoseconds."""

BLOCK = 1 << 20
_MOST_READ = 1 << 24
_TICK = 20_000_000  # ns; kernels stamp files every 1 to 10 ms
_COARSE_TICK = 2_000_000_000  # file systems that keep whole seconds
_WORTH_WAITING = 1 << 25
_MOST_REMEMBERED = 200_000
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISREG, "a file"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class Content(NamedTuple):
    """What a file held when it was looked at."""

    hash: bytes
    """xxh3-128 of its bytes."""
    key: StatKey
    mode: int
    """Its permissions."""

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.key[2]


class Memory(Protocol):
    """Hashes kept beyond the life of the process."""

    def find(self, key: StatKey) -> bytes | None:
        """The hash of the file that had this status."""

    def note(self, key: StatKey, content_hash: bytes) -> None:
        """Keep it. Where that cannot be, it is not."""


class _Known:
    """What this process has hashed. Files are the same for all of its stores."""

    hashes: ClassVar[dict[StatKey, bytes]] = {}
    memory: ClassVar[Memory | None] = None
    maker: ClassVar[Any] = None


def _memory() -> Memory | None:
    """What keeps hashes now: it may be another one after a store was opened."""
    maker = State.memory
    if maker is not _Known.maker:
        _Known.maker, _Known.memory = maker, None if maker is None else maker()
    return _Known.memory


def content_of(path: str, status: os.stat_result | None = None) -> Content:
    """What the file at `path` holds; its bytes are read only if its status is not known.

    `status` is that of the file, where somebody has just asked for it.

    Raises
    ------
    MissingFile
        There is none.
    UnreadableFile
        It is no file, cannot be read, or is being written to.
    """
    if status is None:
        status = status_of(path)
    if not stat.S_ISREG(status.st_mode):
        raise problem(path, f"{path} is {kind_of(status)}, and a file is expected{_hint(status)}")
    key = key_of(status)
    known = _Known.hashes.get(key) or _remembered(key)
    if known is None:
        _wait_for_the_tick(status)
        known = _hashed(path, key)
    return Content(known, key, stat.S_IMODE(status.st_mode))


def status_of(path: str) -> os.stat_result:
    """The status of what is at `path`, links followed.

    Raises
    ------
    MissingFile, UnreadableFile
        There is nothing, or one may not look.
    """
    try:
        return os.stat(path)
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:  # a null character
        raise problem(path, f"{path!r} is no path: {error}") from error


def opened(path: str, key: StatKey) -> int:
    """A descriptor of the file, which has that status.

    Raises
    ------
    UnreadableFile
        It cannot be opened, or is another file by now.
    """
    try:
        # Nobody shall wait for the other end of a pipe that has taken the file's place.
        descriptor = os.open(Unseen(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise unreadable(path, error) from error
    if key_of(os.fstat(descriptor)) != key:
        os.close(descriptor)
        raise changed(path)
    return descriptor


def key_of(status: os.stat_result) -> StatKey:
    """What changes whenever the file does."""
    return (
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns,
    )  # fmt: skip


def kind_of(status: os.stat_result) -> str:
    """What is there, in words."""
    return next((text for test, text in _KINDS if test(status.st_mode)), "no file")


def unreadable(path: str, error: OSError) -> UnreadableFile:
    """The error to raise for one of the system."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        if os.path.islink(path):
            target = os.readlink(path)
            return problem(path, f"{path} is a symbolic link to {target}, which is not there")
        text = f"there is no file or folder {path}: make it first, or correct the path"
        return MissingFile(text, file=path, errno=error.errno)
    return problem(path, f"{path} cannot be read: {error.strerror or error}", error.errno)


def changed(path: str) -> UnreadableFile:
    """The error to raise where a file was written to while it was read."""
    return problem(path, f"{path} changed while it was read: let whoever writes to it finish first")


def problem(path: str, text: str, errno: int | None = None) -> UnreadableFile:
    """An error that says what is wrong with the file."""
    return UnreadableFile(text, file=path, errno=errno)


def _hint(status: os.stat_result) -> str:
    return ": tl.Dir takes folders" if stat.S_ISDIR(status.st_mode) else ""


def _remembered(key: StatKey) -> bytes | None:
    memory = _memory()
    found = None if memory is None else memory.find(key)
    if found is not None:
        _keep(key, found)
    return found


def _wait_for_the_tick(status: os.stat_result) -> None:
    """Wait, 20 ms at most, where that saves hashing a large file that was just written twice."""
    age = time.time_ns() - status.st_ctime_ns
    if (
        status.st_size >= _WORTH_WAITING
        and 0 <= age <= _TICK
        and _tick(status.st_ctime_ns) == _TICK
    ):
        threading.Event().wait((_TICK - age) / 1e9 + 0.001)


def _hashed(path: str, key: StatKey) -> bytes:
    # Whatever is written after this moment has a later time of change.
    settled = time.time_ns() - key[4] > _tick(key[4])
    descriptor = opened(path, key)
    try:
        found = _hash(descriptor, key[2])
        still = key_of(os.fstat(descriptor)) == key
    except OSError as error:
        raise unreadable(path, error) from error
    finally:
        os.close(descriptor)
    if not still:
        raise changed(path)
    if settled:
        _keep(key, found)
        memory = _memory()
        if memory is not None:
            memory.note(key, found)
    return found


def _hash(descriptor: int, size: int) -> bytes:
    hasher = xxh3_128()
    block = memoryview(bytearray(max(min(size, BLOCK), min(size // 8, _MOST_READ), 1)))
    while count := os.readv(descriptor, [block]):
        hasher.update(block[:count])
    return hasher.digest()


def _keep(key: StatKey, found: bytes) -> None:
    if len(_Known.hashes) >= _MOST_REMEMBERED:
        _Known.hashes.clear()
    _Known.hashes[key] = found


def _tick(changed_at: int) -> int:
    """How long two changes of a file may have one time; whole seconds tell a coarse clock."""
    return _TICK if changed_at % 1_000_000_000 else _COARSE_TICK
