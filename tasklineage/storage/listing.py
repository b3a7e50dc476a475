"""Which segments a journal has, kept up to date at the price of one fstat where nothing is new.

Whenever a segment appears below it, the time stamp of the journal's folder changes (see `segment`).
A stamp that is as young as the moment when it was read proves nothing, since a second change could
carry the same one: then the folder is listed again until the stamp has aged. Git calls such a stamp
racy and treats its index in the same way.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from tasklineage.errors import StoreError
from tasklineage.storage import forks, frames
from tasklineage.storage.blocks import OpenFile, is_writer
from tasklineage.storage.regular import open_regular
from tasklineage.storage.segment import segment_path, silence

PACKING = "packing"
"""The file of the journal that names the writer of a pack, and then those that it replaces."""
_MOST_REPLACED = 1 << 20
_LINE = 17
"""Bytes of a line: a writer."""

_TICK = 20_000_000
"""Nanoseconds in which two changes may carry the same stamp: more than a tick of the kernel."""
_COARSE_TICK = 2_100_000_000
"""The same on a filesystem that stores whole seconds."""
_QUIET, _SILENT = 600.0, 86_400.0
"""Seconds of silence after which a segment of another machine is no longer looked at every time,
and those after which it is taken for finished."""
_NO_FOLDER = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""What says nothing about the file that could not be opened."""

MayGrow = Callable[[str], bool]


class Source:
    """A segment as readers see it: open while it may grow, then just its final size.

    May be used from any thread.
    """

    __slots__ = (
        "_file", "_may_grow", "_path", "final", "is_over", "is_own", "key", "place", "problem",
    )  # fmt: skip

    def __init__(
        self, folder: str, writer: str, seq: int, is_own: bool, may_grow: MayGrow | None = None
    ) -> None:
        self._may_grow = may_grow
        self.key = (writer, seq)
        self.place = frames.place(writer, seq)
        self.is_own = is_own
        self.final: int | None = None
        """The size that it keeps; None while it may grow."""
        self.is_over = False
        """Whether `final` is known for sure; else see `has_grown`."""
        self.problem = ""
        """Why it cannot be read."""
        self._path = segment_path(folder, writer, seq)
        self._file: OpenFile | None = None

    def check(self) -> bool:
        """Whether it may grow. Its size must be asked for afterwards, so that nothing is missed."""
        if self.final is None:
            if self._may_grow is not None and self._may_grow(self.key[0]):
                return True
            try:
                file = self._open()
                quiet = silence(file.fd)
                if quiet > _QUIET:
                    self.is_over = quiet > _SILENT
                    self.final = os.lseek(file.fd, 0, os.SEEK_END)
                    self._file = None
            except OSError as error:
                self._give_up(error)
        return self.final is None

    def has_grown(self) -> bool:
        """Whether it has more bytes than were thought to be final."""
        if self.is_over or self.final is None or self.problem:
            return False
        try:
            return os.stat(self._path).st_size > self.final
        except OSError:
            return False

    def size(self) -> int:
        """Bytes it has now. HOT."""
        if self.final is not None:
            return self.final
        file = self._file or self._open()
        return os.lseek(file.fd, 0, os.SEEK_END)

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset` on; fewer at its end, none if it is gone."""
        try:
            file = self._open()
            return os.pread(file.fd, length, offset)
        except OSError as error:
            self._give_up(error)
            return b""

    def rest(self) -> None:
        """Nothing will be read for a while: a finished segment is closed."""
        if self.final is not None:
            self._file = None

    def _open(self) -> OpenFile:
        file = self._file
        if file is None:
            file = self._file = OpenFile(self._path)
        return file

    def _give_up(self, error: OSError) -> None:
        if error.errno in _PASSING or error.errno is None:
            raise error
        self.final = 0
        self.is_over = error.errno == errno.ENOENT
        if not self.is_over:
            self.problem = error.strerror or str(error)


class Listing:
    """The segments of a journal in the order in which this process found them.

    `refresh` may be called from any thread.
    """

    def __init__(self, folder: Path) -> None:
        self.mutex = threading.Lock()
        self.own = ""
        """This process's writer, whose segments are marked."""
        self.arrivals: list[Source] = []
        """Only ever appended to."""
        self.over: set[str] = set()
        """Writers whose segments are all here and final, and those that nobody wants to see."""
        self._skipped: frozenset[str] | None = None
        self.may_grow: MayGrow | None = None
        """Of a mirror: whether a writer that nobody here locks may still write elsewhere."""
        self._folder = str(folder)
        self._opened: OpenFile | None = None
        self._seen: tuple[int, int] | None = None
        self._known: dict[str, Source | None] = {}
        forks.register(self)

    def refresh(self) -> bool:
        """Whether there was a reason to look for new segments. HOT."""
        opened = self._opened
        if opened is not None:
            state = os.fstat(opened.fd)
            if (state.st_mtime_ns, state.st_nlink) == self._seen:
                return False
        with self.mutex:
            self._look()
        return True

    def review(self) -> None:
        """Find out which writers have ended; that alone leaves no trace in the folder."""
        with self.mutex:
            for writer in self._known.keys() - self.over:
                self._look_at(writer)

    def skip(self, writers: Iterable[str]) -> None:
        """Leave these writers out, except those that an earlier caller wanted to see."""
        wanted = frozenset(writers)
        with self.mutex:
            skipped = wanted if self._skipped is None else self._skipped & wanted
            self.over -= (self._skipped or frozenset()) - skipped - self._known.keys()
            self.over |= skipped
            if skipped != self._skipped:
                self._skipped, self._seen = skipped, None

    def anew(self) -> Listing:
        """A listing of the same journal that has found nothing yet."""
        other = Listing(Path(self._folder))
        other.own, other.may_grow = self.own, self.may_grow
        return other

    def close(self) -> None:
        """The folder is let go; the next `refresh` opens it again."""
        with self.mutex:
            self._opened, self._seen = None, None

    def after_fork(self) -> None:
        self.close()  # its position, which `listdir` moves, is shared with the parent
        self.own = ""
        for source in self.arrivals:
            source.is_own = False

    def _look(self) -> None:
        now = time.time_ns()
        try:
            if self._opened is None:
                self._opened = OpenFile(self._folder, is_folder=True)
            state = os.fstat(self._opened.fd)
            names = set(os.listdir(self._opened.fd))
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno in _PASSING:
                raise
            raise StoreError(
                f"cannot read the journal {self._folder}: {error.strerror}", errno=error.errno
            ) from error
        if state.st_nlink == 0:  # removed: begin with the folder that is there next time
            self._opened, self._seen = None, None
            return
        gone = replaced(self._folder, names)[1]
        for writer in filter(is_writer, names - self.over - gone):
            self._look_at(writer)
        tick = _TICK if state.st_mtime_ns % 1_000_000_000 else _COARSE_TICK
        is_settled = abs(now - state.st_mtime_ns) > tick
        self._seen = (state.st_mtime_ns, state.st_nlink) if is_settled else None

    def _look_at(self, writer: str) -> None:
        """Find the writer's new segments, and whether it will have more.

        It will if its newest segment may grow. A writer begins its next segment before it lets go
        of the last one: when the newest was found final, one more look decides.
        """
        final = None
        while True:
            self._find_segments(writer)
            newest = self._known.get(writer)
            if newest is None or newest.check():
                return
            if newest is final:
                break
            final = newest
        if newest.is_over:
            self.over.add(writer)
        elif newest.has_grown():
            self._add(writer, newest.key[1])

    def _find_segments(self, writer: str) -> None:
        newest = self._known.get(writer)
        last = newest.key[1] if newest else 0
        try:
            names = os.listdir(f"{self._folder}/{writer}")
        except OSError as error:
            if error.errno in _NO_FOLDER:
                return
            raise
        for seq in sorted(int(name) for name in names if is_segment(name)):
            if seq > last:
                self._add(writer, seq)

    def _add(self, writer: str, seq: int) -> None:
        source = Source(self._folder, writer, seq, writer == self.own, self.may_grow)
        self.arrivals.append(source)
        self._known[writer] = source


def replaced(folder: str | Path, names: Collection[str]) -> tuple[str, frozenset[str]]:
    """The pack among these writers of the journal that replaces others, and these others.

    Nothing, most of the time: they are deleted a moment after the pack has come.
    """
    if PACKING in names:
        pack, gone = read_packing(folder)
        if pack in names:
            return pack, gone
    return "", frozenset()


def read_packing(folder: str | Path) -> tuple[str, frozenset[str]]:
    """The writer of a pack, there or not, and those that it replaces; nothing without the file."""
    try:
        fd = open_regular(f"{folder}/{PACKING}")
    except OSError:
        return "", frozenset()
    with open(fd, "rb") as file:
        lines = file.read(_LINE * _MOST_REPLACED).decode("ascii", "replace").splitlines()
    if not all(map(is_writer, lines)):
        return "", frozenset()
    return "".join(lines[:1]), frozenset(lines[1:])


def is_segment(name: str) -> bool:
    """Whether `name` can be that of a segment: 8 digits."""
    return len(name) == 8 and name.isascii() and name.isdigit()
