"""Two counters that every process of a machine sees at once, without a system call.

`gc/epochs` holds two numbers of 64 bits, little endian: that of sweeps, odd while one is going on
(see `sweeps`), and that of purges and packs, the generation of the journal: with each, records that
stood there are written over, or stand elsewhere. It is made with both by the first process that
appends something, and mapped by all. It never shrinks and is never replaced.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasklineage.storage.modes import create_file, make_folder
from tasklineage.storage.regular import open_regular

FOLDER = "gc"
SWEEPS, PURGES = 0, 1
"""Places of the two counters."""
_COUNTERS = struct.Struct("<2Q")


class Counters:
    """The two counters of a store; `view` is what they are now. Any process, any thread."""

    def __init__(self, root: Path, *, read_only: bool) -> None:
        self._path = root / FOLDER / "epochs"
        self._read_only = read_only
        self.view: Any = None
        """What `[0]` and `[1]` read; None until `map` was called."""

    def now(self) -> tuple[int, int]:
        """Both, read from the file; zeros where there is none."""
        try:
            descriptor = open_regular(self._path)
        except OSError:
            return 0, 0
        try:
            data = os.pread(descriptor, _COUNTERS.size, 0)
        finally:
            os.close(descriptor)
        return _COUNTERS.unpack(data) if len(data) == _COUNTERS.size else (0, 0)

    def map(self) -> Any:
        """`view`, which shows from now on what any process sets."""
        if self.view is None:
            self.view = self._mapped()
        return self.view

    def set(self, place: int, value: int) -> None:
        """Every process sees that number now. The lock of `exclusive` is held.

        Raises
        ------
        OSError
        """
        descriptor = self._open()
        try:
            os.pwrite(descriptor, struct.pack("<Q", value), 8 * place)
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        """A descriptor of the file, which has both numbers."""
        while True:
            try:
                return open_regular(self._path, os.O_RDWR)
            except FileNotFoundError:
                make_folder(self._path.parent)
            temporary = self._path.with_name(f".epochs-{os.urandom(8).hex()}")
            descriptor = create_file(temporary)
            try:
                os.write(descriptor, bytes(_COUNTERS.size))
            finally:
                os.close(descriptor)
            with contextlib.suppress(FileExistsError):
                os.link(temporary, self._path)
            os.unlink(temporary)

    def _mapped(self) -> Any:
        import mmap  # slow to import, and not needed by programs that record nothing

        try:
            descriptor = open_regular(self._path) if self._read_only else self._open()
        except OSError:  # there is none and none can be made
            return _Polled(self)
        try:
            image = mmap.mmap(descriptor, _COUNTERS.size, access=mmap.ACCESS_READ)
        except (OSError, ValueError):  # no maps on this file system
            return _Polled(self)
        finally:
            os.close(descriptor)
        return memoryview(image).cast("Q")


class Purges:
    """Whether records were written over or moved since this process looked last.

    Any thread may ask.

    Parameters
    ----------
    forget
        Drops what the process has in its caches of records.
    """

    __slots__ = ("_counters", "_forget", "seen")

    def __init__(self, counters: Counters, forget: Callable[[], object]) -> None:
        self._counters = counters
        self._forget = forget
        self.seen = counters.now()[PURGES]
        """The counter at the last look."""

    def generation(self) -> int:
        """The counter at the last look, which is now."""
        self.heed()
        return self.seen

    def heed(self) -> Any:
        """The counters; what was written over or moved before this is in no cache any more."""
        view = self._counters.map()
        now = view[PURGES]
        if now != self.seen:
            self._forget()
            self.seen = now
        return view


class _Polled:
    """The counters where they cannot be mapped: each look reads the file."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def __getitem__(self, place: int) -> int:
        return self._counters.now()[place]
