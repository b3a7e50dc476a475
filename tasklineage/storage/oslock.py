"""Locks that the kernel frees with their holder, so that none is ever stale.

On Linux these are the locks of an open file description (OFD, see fcntl(2)). A plain POSIX lock
does not do: it belongs to the process, so threads share it, and closing any descriptor of the file
drops it. Elsewhere, and on kernels without OFD locks, flock(2) stands in, with one file per key.

Both belong to the open file description, which a forked child inherits: whoever forks closes the
descriptors in the child (see `forks`), else a lock outlives its owner for as long as the child
lives. Programs started by `exec` never inherit them, since Python's descriptors close on `exec`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import struct
import sys
import threading
from abc import ABC, abstractmethod
from pathlib import Path

from tasklineage.storage import forks
from tasklineage.storage.modes import create_file, make_folder
from tasklineage.storage.regular import open_regular

_GET, _SET = 36, 37  # F_OFD_GETLK, F_OFD_SETLK
_WRITE, _FREE = fcntl.F_WRLCK, fcntl.F_UNLCK
_HELD = errno.EAGAIN  # POSIX allows EACCES too, but that is what `open` says to strangers
_FLOCK = struct.Struct("hhqqi4x")  # type, whence, start, length, pid
_pack = _FLOCK.pack
_WHOLE = _pack(_WRITE, os.SEEK_SET, 0, 0, 0)
_SHARED = _pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)


@functools.cache
def has_ofd() -> bool:
    """Whether this kernel has OFD locks; where not, everything here goes through flock."""
    if not sys.platform.startswith("linux"):
        return False
    fd = os.open(os.devnull, os.O_RDONLY)
    try:
        fcntl.fcntl(fd, _GET, _WHOLE)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def lock_file(fd: int) -> bool:
    """Lock the whole open file until `fd` is closed; False when somebody else holds the lock.

    Raises
    ------
    OSError
        The filesystem has no locks.
    """
    return _try_ofd(fd, _WHOLE) if has_ofd() else _try_flock(fd, fcntl.LOCK_EX)


def share_file(fd: int) -> bool:
    """As `lock_file`, beside any number of others that share it; a reader's descriptor will do.

    Raises
    ------
    OSError
        The filesystem has no locks.
    """
    return _try_ofd(fd, _SHARED) if has_ofd() else _try_flock(fd, fcntl.LOCK_SH)


def is_file_locked(fd: int) -> bool:
    """Whether somebody holds `lock_file` through another open file description than that of `fd`.

    Raises
    ------
    OSError
        The filesystem has no locks.
    """
    if has_ofd():
        return _is_ofd_held(fd, _WHOLE)
    if not _try_flock(fd, fcntl.LOCK_SH):
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


class KeyLocks(ABC):
    """Exclusive locks by key on one machine, freed by the kernel when this process ends.

    The same instance may take a key only once at a time: whoever shares it among threads keeps
    them apart first. All methods may be called from any thread. Where locks do not work, because
    the filesystem has none or the file cannot be made, every key is free for everybody.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.mutex = threading.Lock()
        """Held while a descriptor is made or dropped: see `forks`."""
        forks.register(self)

    @abstractmethod
    def try_lock(self, key: bytes) -> bool:
        """Whether the key, which was free, is now locked; never waits."""

    @abstractmethod
    def unlock(self, key: bytes) -> None:
        """The key is free; nothing happens if it was not locked here."""

    @abstractmethod
    def is_locked(self, key: bytes) -> bool:
        """Whether another instance, here or in another process, holds the key."""

    @abstractmethod
    def close(self) -> None:
        """Every key is free again. The next `try_lock` begins anew."""

    @abstractmethod
    def after_fork(self) -> None:
        """In a forked child: let go of what was inherited, without freeing the parent's keys."""

    def __del__(self) -> None:
        self.close()


def key_locks(folder: Path) -> KeyLocks:
    """The best kind of lock that this system has, in `folder`, which is made at first use."""
    return RangeLocks(folder) if has_ofd() else FileLocks(folder)


class RangeLocks(KeyLocks):
    """One byte per key of one file, `keys`, by OFD locks: the byte at half the key's first 64 bits.

    The file stays empty. Two keys that agree in 63 bits share a byte; then one waits for the other.
    """

    _fd = -1

    def try_lock(self, key: bytes) -> bool:
        place = int.from_bytes(key[:8], "big") >> 1
        try:
            fd = self._fd if self._fd >= 0 else self._open()
            fcntl.fcntl(fd, _SET, _pack(_WRITE, 0, place, 1, 0))
        except OSError as error:
            _pass_on_foreign(error)
            return error.errno != _HELD
        return True

    def unlock(self, key: bytes) -> None:
        if self._fd >= 0:
            place = int.from_bytes(key[:8], "big") >> 1
            try:
                fcntl.fcntl(self._fd, _SET, _pack(_FREE, 0, place, 1, 0))
            except OSError as error:
                _pass_on_foreign(error)

    def is_locked(self, key: bytes) -> bool:
        place = int.from_bytes(key[:8], "big") >> 1
        try:
            fd = self._fd if self._fd >= 0 else self._open()
            return _is_ofd_held(fd, _pack(_WRITE, 0, place, 1, 0))
        except OSError as error:
            _pass_on_foreign(error)
            return False

    def close(self) -> None:
        with self.mutex:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)

    def after_fork(self) -> None:
        self.close()

    def _open(self) -> int:
        with self.mutex:
            if self._fd < 0:
                self._fd = _open_or_create(self._folder / "keys")
            return self._fd


class FileLocks(KeyLocks):
    """One file per key by flock(2), removed when the key is freed.

    Removing it races with whoever has opened it and not locked it yet: a lock therefore counts only
    if the file still has its name once it is locked.
    """

    def __init__(self, folder: Path) -> None:
        self._held: dict[bytes, int] = {}
        super().__init__(folder)

    def try_lock(self, key: bytes) -> bool:
        path = self._folder / key.hex()
        try:
            with self.mutex:
                return self._try_lock(key, path)
        except OSError as error:
            _pass_on_foreign(error)
            return True

    def unlock(self, key: bytes) -> None:
        with self.mutex:
            fd = self._held.pop(key, None)
            if fd is not None:
                with contextlib.suppress(OSError):
                    os.unlink(self._folder / key.hex())
                os.close(fd)

    def is_locked(self, key: bytes) -> bool:
        try:
            fd = open_regular(self._folder / key.hex())
        except OSError:
            return False
        try:
            return not _try_flock(fd, fcntl.LOCK_SH)
        finally:
            os.close(fd)

    def close(self) -> None:
        for key in list(self._held):
            self.unlock(key)

    def after_fork(self) -> None:
        held, self._held = self._held, {}
        for fd in held.values():
            os.close(fd)

    def _try_lock(self, key: bytes, path: Path) -> bool:
        fd = _open_or_create(path)
        try:
            if _try_flock(fd, fcntl.LOCK_EX) and _has_name(fd, path):
                self._held[key] = fd
        finally:
            if self._held.get(key) != fd:
                os.close(fd)
        return key in self._held


def _pass_on_foreign(error: OSError) -> None:
    """Raise again what a signal handler has raised here: such an error has no number."""
    if error.errno is None:
        raise error


def _try_ofd(fd: int, lock: bytes) -> bool:
    try:
        fcntl.fcntl(fd, _SET, lock)
    except OSError as error:
        if error.errno == _HELD:
            return False
        raise
    return True


def _is_ofd_held(fd: int, lock: bytes) -> bool:
    return bool(_FLOCK.unpack(fcntl.fcntl(fd, _GET, lock))[0] != _FREE)


def _try_flock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno == _HELD:
            return False
        raise
    return True


def _open_or_create(path: Path) -> int:
    while True:
        try:
            return open_regular(path, os.O_RDWR)
        except FileNotFoundError:
            make_folder(path.parent)
        with contextlib.suppress(FileExistsError):
            return create_file(path)


def _has_name(fd: int, path: Path) -> bool:
    try:
        named = os.stat(path)
    except FileNotFoundError:
        return False
    opened = os.fstat(fd)
    return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)
