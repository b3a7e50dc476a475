"""Files that are locked for the length of a block, and not beyond it in a forked child.

`locks/gc` is locked by whoever condemns, sweeps, packs or purges: one at a time. The format file is
shared by those who read the whole journal, and locked by the one who deletes segments of it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Generator
from pathlib import Path

from tasklineage.errors import StoreBusy
from tasklineage.storage import forks, oslock
from tasklineage.storage import format as layout
from tasklineage.storage.modes import create_file, make_folder

FORMAT = layout.FILE
"""The one file that every store has, and whoever reads may read."""
_READERS_PATIENCE = 60.0
WAIT = 0.01
"""Seconds between two looks at a lock."""


@contextlib.contextmanager
def held(path: Path, patience: float, what: str) -> Generator[None]:
    """A block in which nobody else holds the lock on that file.

    Raises
    ------
    StoreBusy
        Somebody has held it for `patience` seconds: `what` is what they do.
    OSError
        There can be no lock: the folder cannot be written, or its file system has none.
    """
    with _locked(_opened(path), patience, f"{what} in {path.parents[1]}"):
        yield


@contextlib.contextmanager
def reading(root: Path) -> Generator[None]:
    """A block in which no segment of the store at `root` is deleted: all of them will be read.

    Raises
    ------
    StoreBusy
        Somebody has been deleting for a minute.
    """
    try:
        descriptor = os.open(root / FORMAT, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:  # no store of this machine
        yield
        return
    with _locked(descriptor, _READERS_PATIENCE, f"replacing segments in {root}", is_shared=True):
        yield


@contextlib.contextmanager
def deleting(root: Path, patience: float) -> Generator[None]:
    """A block in which nobody is `reading`.

    Raises
    ------
    StoreBusy
        Somebody has been for `patience` seconds.
    OSError
        There can be no lock.
    """
    try:
        descriptor = os.open(root / FORMAT, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:  # lost, so that nobody can share it
        yield
        return
    with _locked(descriptor, patience, f"reading the whole journal of {root}"):
        yield


@contextlib.contextmanager
def _locked(
    descriptor: int, patience: float, what: str, *, is_shared: bool = False
) -> Generator[None]:
    lock = _Lock(descriptor)
    try:
        lock.wait(patience, what, is_shared=is_shared)
        yield
    finally:
        lock.close()


class _Lock:
    """A descriptor that is locked, and that a forked child does not keep."""

    def __init__(self, descriptor: int) -> None:
        self.mutex = threading.Lock()
        self._descriptor = descriptor
        forks.register(self)

    def wait(self, patience: float, what: str, *, is_shared: bool) -> None:
        never, waited = threading.Event(), 0.0
        while not self._has_locked(is_shared):
            if waited >= patience:
                raise StoreBusy(
                    f"somebody else is {what}, for {patience:g} seconds at least: try again later"
                )
            never.wait(WAIT)
            waited += WAIT

    def _has_locked(self, is_shared: bool) -> bool:
        if not is_shared:
            return oslock.lock_file(self._descriptor)
        try:
            return oslock.share_file(self._descriptor)
        except OSError:  # no locks here, so nobody deletes
            return True

    def close(self) -> None:
        with self.mutex:
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                os.close(descriptor)

    def after_fork(self) -> None:
        """In a forked child: the lock is the parent's."""
        self.close()


def _opened(path: Path) -> int:
    make_folder(path.parent)
    while True:
        try:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                return create_file(path)
