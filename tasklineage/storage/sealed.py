"""An SQLite file that shows whether anybody else has touched it.

SQLite keeps no checksum of its pages: a flipped byte can hide a row, or make one that was never
written, and every query would answer in good faith. So whoever writes this file seals it: a
moment is drawn at random, written into the database, and then given to the file as its time of
modification. Any other write gives the file the time of the clock, and the two no longer agree.
To look costs one `stat`, whatever the size of the file. (Git does the like to see whether a file
has changed since it was indexed, and has to mind the tick of the clock, within which a file can
change twice and keep its time; a time that no clock ever shows leaves no such gap.)

What the seal does not show is a disk that forgets. That is for whoever uses a row to find out, by
looking at what the row points to.

One process at a time writes the file, and holds a lock on another file meanwhile, which the kernel
frees with its holder. There is no write-ahead log and no journal file: a crash in the middle of a
commit leaves a broken seal, and the file is made anew.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tasklineage.errors import StoreBusy
from tasklineage.storage import oslock
from tasklineage.storage.modes import create_file, make_folder
from tasklineage.storage.regular import open_regular

if TYPE_CHECKING:
    import sqlite3

BUSY = 10.0
"""Seconds that a writer waits for another one."""
BLOCKED = 0.5
"""Seconds that a reader waits for SQLite's own lock: for a commit, which takes milliseconds."""
_FIRST_WAIT, _LONGEST_WAIT = 0.001, 0.05
_SECOND = 1_000_000_000
COMPANIONS = ("-journal", "-wal", "-shm")
"""How names of files end that SQLite may look for beside its own."""
_SETTINGS = (
    "trusted_schema = OFF", "cell_size_check = ON",
    "page_size = 8192", "journal_mode = MEMORY", "synchronous = OFF", "cache_size = -65536",
)  # fmt: skip
_abandoned: list[object] = []
"""Connections of the parent of this process, which are never used and never closed here."""


class Stamp(NamedTuple):
    """What tells one state of the file from every other."""

    device: int
    inode: int
    size: int
    modified: int

    def is_sealed_by(self, seal: int) -> bool:
        """Whether the file has the time of this seal: nobody has written to it since."""
        # A copy, or a file system, may keep whole seconds only.
        return self.modified in (seal, seal // _SECOND * _SECOND)


class SealedFile:
    """The SQLite file at `path`, whose writers keep one another out by a lock on `lock`.

    One thread at a time may use it. No descriptor of the file is opened here except by SQLite: to
    close one would drop SQLite's locks (those of POSIX belong to the process).
    """

    def __init__(self, path: Path, lock: Path, *, is_durable: bool = False) -> None:
        self.path = path
        self._is_durable = is_durable
        self._lock = lock
        self._lock_fd = -1
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None

    def stamp(self) -> Stamp | None:
        """The state that the file is in; None if there is none, but nothing or a link or folder."""
        try:
            found = os.lstat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(found.st_mode):
            return None
        return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    def connection(self) -> sqlite3.Connection:
        """The connection to the file that has the name now.

        Raises
        ------
        sqlite3.Error
            There is none, or it cannot be opened.
        """
        stamp = self.stamp()
        opened = stamp and (stamp.device, stamp.inode)
        if self._connection is None or self._opened != opened:
            self.close()
            self._refuse_companions()
            self._connection = connect(self.path)
            if self._is_durable:  # each commit flushes the whole file
                self._connection.execute("PRAGMA synchronous = FULL")
            self._opened = opened
        return self._connection

    def create(self) -> sqlite3.Connection:
        """The connection to a new, empty file. Whoever has the old one open keeps what it had."""
        self.close()
        self.remove()
        os.close(create_file(self.path))
        return self.connection()

    def seal(self, seal: int) -> None:
        """The file has the time of this seal. To be called by whoever wrote it, under the lock."""
        try:
            os.utime(self.path, ns=(seal, seal))
        except PermissionError:  # it is another user's: the next writer makes one of its own
            self.remove()

    def remove(self) -> None:
        """The file is gone; what is open stays open."""
        for name in (str(self.path), *self._companions()):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)

    def close(self) -> None:
        """No connection is open. The next use opens one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _companions(self) -> list[str]:
        return [f"{self.path}{end}" for end in COMPANIONS]

    def _refuse_companions(self) -> None:
        """Files beside it that SQLite would believe, and play back: nobody here makes any.

        Raises
        ------
        sqlite3.DatabaseError
            There are some.
        """
        if any(map(os.path.lexists, self._companions())):
            import sqlite3

            raise sqlite3.DatabaseError(f"somebody else has left a journal beside {self.path}")

    def after_fork(self) -> None:
        """In a forked child: SQLite allows no connection to be used, nor closed, on both sides."""
        abandon(self._connection)
        self._connection = None
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
        self._lock_fd = -1

    @contextlib.contextmanager
    def locked(self, patience: float) -> Generator[None]:
        """Nobody else writes the file meanwhile.

        Raises
        ------
        StoreBusy
            Somebody else has been writing for `patience` seconds.
        OSError
            There can be no lock: the folder cannot be written, or its file system has none.
        """
        descriptor = self._lock_fd = open_lock(self._lock)
        try:
            wait_for(descriptor, patience, self._lock)
            yield
        finally:
            if self._lock_fd == descriptor:  # else this is a child that was forked meanwhile
                self._lock_fd = -1
                os.close(descriptor)


def abandon(connection: object) -> None:
    """Never close what a forked child has inherited."""
    _abandoned.append(connection)


def new_seal() -> int:
    """A time near the present that no clock shows: nanoseconds, in whole microseconds."""
    fraction = int.from_bytes(os.urandom(4), "big") % 999_999 + 1
    return time.time_ns() // _SECOND * _SECOND + fraction * 1_000


def connect(path: Path | None) -> sqlite3.Connection:
    """A connection for any thread to the file at `path`; `None` is a database in memory.

    Raises
    ------
    sqlite3.Error
        The file is not there, or cannot be opened.
    """
    import sqlite3

    target = ":memory:" if path is None else f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(
        target, timeout=BLOCKED, isolation_level=None, check_same_thread=False, uri=path is not None
    )
    try:
        for setting in _SETTINGS:
            connection.execute(f"PRAGMA {setting}")
    except BaseException:
        connection.close()
        raise
    return connection


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the error says that the file is not what was written; else it says why not now."""
    import sqlite3

    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    return code in (
        sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_FORMAT,
        sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG,
    )  # fmt: skip


def open_lock(path: Path) -> int:
    """A descriptor of the file to lock, which is made if need be."""
    make_folder(path.parent)
    while True:
        try:
            return open_regular(path, os.O_RDWR)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                return create_file(path)


def wait_for(descriptor: int, patience: float, path: Path) -> None:
    """Return when the lock is held.

    Raises
    ------
    StoreBusy
        Somebody else has held it for `patience` seconds.
    """
    never = threading.Event()
    end, pause = time.monotonic() + patience, _FIRST_WAIT
    while not oslock.lock_file(descriptor):
        if time.monotonic() >= end:
            raise StoreBusy(f"somebody else has held {path} for {patience} seconds")
        never.wait(pause)
        pause = min(pause * 2, _LONGEST_WAIT)
