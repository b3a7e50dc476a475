"""What the writers of other machines have put, brought into the mirror byte for byte.

A piece is appended to the segment of the same writer and number, at the same offset, so a
`Location` means the same everywhere, and every reader of the mirror reads it like a local one.

    <mirror>/followed: a line each, `+ <writer>` before the first segment of a writer of another
    machine is made here; `- <writer>` when all of its pieces are here and none will come.

What stands between the two may grow, though nobody on this machine locks it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path

from tasklineage.storage import forks
from tasklineage.storage.backend import Backend
from tasklineage.storage.blocks import is_writer
from tasklineage.storage.modes import create_file, make_folder
from tasklineage.storage.pieces import FOLDER, Piece, parse, tells_of_purge, wanted
from tasklineage.storage.pulse import DEAD_AFTER, Pulse
from tasklineage.storage.sealed import open_lock, wait_for
from tasklineage.storage.segment import segment_path

FILE = "followed"
LOCK = "followed"
DUE = "purges.due"
"""There when a `Purged` record was brought, of which `remote_purges` has to see."""
_LINE = 19
_WHOLE_LISTING = 1_000
"""Pieces up to which the whole journal is listed: one request."""
_MANY_WRITERS = 20
_BATCH_BYTES, _BATCH = 64 << 20, 256
_PATIENCE = 30.0
"""Seconds for which another process of this machine may be at it."""

_log = logging.getLogger("tasklineage.storage")


class Follower:
    """Brings pieces of other machines into a mirror. Any thread may call, and a forked child."""

    def __init__(self, mirror: Path, backend: Backend, pulse: Pulse) -> None:
        self._journal = mirror / FOLDER
        self._lock = mirror / "locks" / LOCK
        self._followed = Followed(mirror / FILE)
        self._due = mirror / DUE
        self._backend = backend
        self._pulse = pulse
        self._count = 0
        """Pieces that the remote store has, as far as is known."""
        self._last: dict[str, str] = {}
        """By writer, the last key of it that was looked at."""
        self._beats: dict[str, float] = {}
        self.mutex = threading.Lock()
        self._pulling = threading.Lock()
        self._lock_fd = -1
        forks.register(self)

    def after_fork(self) -> None:
        """In a forked child: the lock is the parent's."""
        self._pulling = threading.Lock()
        fd, self._lock_fd = self._lock_fd, -1
        if fd >= 0:
            os.close(fd)

    def may_grow(self, writer: str) -> bool:
        """Whether it is a writer of another machine that may still put something."""
        return writer in self._followed.open()

    def pull(self, *, whole: bool = False) -> bool:
        """Whether something new came. All that was put when this was called is in the mirror now.

        Of a writer that was not heard of for long no pieces are looked for, unless the `whole`
        journal is to be listed.

        Raises
        ------
        StoreError
            Not all could be read; what was is there.
        StoreBusy
            Another process of this machine has been at it for long.
        """
        with self._pulling, self._locked():
            known = self._followed.all()
            beats = self._pulse.look()
            pieces = self._all_pieces() if whole else self._pieces(beats)
            new = self._bring(pieces, ended=known - beats.keys())
            for writer in sorted(self._followed.open() & known - beats.keys()):
                self._followed.close_off(writer)
            self._beats = beats
        return new

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        """No other process of this machine writes what comes from others."""
        with self.mutex:
            fd = self._lock_fd = open_lock(self._lock)
        try:
            wait_for(fd, _PATIENCE, self._lock)
            yield
        finally:
            with self.mutex:
                if self._lock_fd == fd:  # else this is a child that was forked meanwhile
                    self._lock_fd = -1
                    os.close(fd)

    def _pieces(self, beats: Mapping[str, float]) -> list[Piece]:
        """Pieces that may be new."""
        if self._count > _WHOLE_LISTING or (not self._count and self._followed.all()):
            names = [name for name in self._backend.names(FOLDER) if is_writer(name)]
            asked = [name for name in names if self._is_of_interest(name, beats)]
            if len(asked) <= _MANY_WRITERS:
                found = [piece for writer in asked for piece in self._listed(writer)]
                self._count = max(self._count, len(found))
                return found
        return self._all_pieces()

    def _all_pieces(self) -> list[Piece]:
        found = list(filter(None, map(parse, self._backend.list(FOLDER))))
        self._count = len(found)
        return found

    def _listed(self, writer: str) -> list[Piece]:
        entries = self._backend.list(f"{FOLDER}/{writer}", self._last.get(writer, ""))
        return list(filter(None, map(parse, entries)))

    def _is_of_interest(self, writer: str, beats: Mapping[str, float]) -> bool:
        """Whether it may have put something since it was looked at last."""
        if writer not in self._followed.all():
            return not os.path.isdir(self._journal / writer)  # else it is one of this machine
        if writer not in self._followed.open():
            return False
        beat = beats.get(writer)
        if beat is None or beat != self._beats.get(writer):
            return True
        return self._pulse.now() - beat < DEAD_AFTER

    def _bring(self, pieces: Iterable[Piece], ended: set[str]) -> bool:
        """Whether any of the pieces brought something."""
        segments: dict[tuple[str, int], list[Piece]] = {}
        for piece in pieces:
            segments.setdefault((piece.writer, piece.seq), []).append(piece)
        plan: list[tuple[Piece, int]] = []
        for (writer, seq), some in sorted(segments.items()):
            have = _size(segment_path(self._journal, writer, seq))
            plan += wanted(some, have, is_complete=writer in ended)
        batch: list[tuple[Piece, int]] = []
        size = 0
        for piece, start in plan:
            batch.append((piece, start))
            size += piece.end - piece.start
            if size >= _BATCH_BYTES or len(batch) >= _BATCH:
                self._append(batch)
                batch, size = [], 0
        self._append(batch)
        return bool(plan)

    def _append(self, batch: list[tuple[Piece, int]]) -> None:
        found = self._backend.read_many([piece.key for piece, _ in batch]) if batch else {}
        stopped: set[tuple[str, int]] = set()
        for piece, start in batch:
            data = found.get(piece.key)
            segment = (piece.writer, piece.seq)
            if data is None or len(data) != piece.end - piece.start:  # gone since it was listed
                stopped.add(segment)
            if segment not in stopped and data is not None:
                if tells_of_purge(data):
                    with contextlib.suppress(FileExistsError):
                        os.close(create_file(self._due))
                self._write(piece, start, data[start - piece.start :])
                self._last[piece.writer] = max(self._last.get(piece.writer, ""), piece.key)

    def _write(self, piece: Piece, start: int, data: bytes) -> None:
        """The bytes stand at `start` of their segment, which is made if need be."""
        writer, seq = piece.writer, piece.seq
        final = segment_path(self._journal, writer, seq)
        try:
            fd = os.open(final, os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._followed.add(writer)
            make_folder(self._journal)
            temporary = self._journal / f".{writer}-{seq:08d}"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)  # of somebody who was killed
            fd = create_file(temporary)
            make_folder(self._journal / writer)
            with _closing(fd):
                _write_all(fd, data, start)
            os.replace(temporary, final)
            return
        with _closing(fd):
            _write_all(fd, data, start)


class Followed:
    """The writers of other machines, and which of them may still put something."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mutex = threading.Lock()
        self._read = 0
        self._all: set[str] = set()
        self._open: set[str] = set()

    def all(self) -> set[str]:
        """Every one that has something here."""
        self._catch_up()
        return set(self._all)

    def open(self) -> set[str]:
        """Those from which more may come."""
        self._catch_up()
        return set(self._open)

    def add(self, writer: str) -> None:
        """Its first segment is about to be made."""
        if writer not in self.all():
            self._append(f"+ {writer}\n")

    def close_off(self, writer: str) -> None:
        """All of it is here."""
        self._append(f"- {writer}\n")

    def _append(self, line: str) -> None:
        with contextlib.suppress(FileExistsError):
            os.close(create_file(self._path))
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        with _closing(fd):
            os.write(fd, line.encode())

    def _catch_up(self) -> None:
        with self._mutex:
            if _size(self._path) < self._read + _LINE:
                return
            with open(self._path, "rb") as file:
                file.seek(self._read)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._read += len(whole)
            for line in whole.decode("ascii", "replace").splitlines():
                mark, _, writer = line.partition(" ")
                if mark == "+" and is_writer(writer):
                    self._all.add(writer)
                    self._open.add(writer)
                elif mark == "-":
                    self._open.discard(writer)


def _size(path: str | Path) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def _closing(fd: int) -> Generator[None]:
    try:
        yield
    finally:
        os.close(fd)


def _write_all(fd: int, data: bytes, start: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, start)
        view, start = view[count:], start + count
