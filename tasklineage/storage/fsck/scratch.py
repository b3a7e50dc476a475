"""A remote store, brought into a temporary folder as far as a check needs it.

There it looks like a local store: pieces are appended to segments; refs, lists and marks are
copied; and of each object there is a file of its size that has the first bytes. What is damaged is
damaged there in the same way.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tasklineage.storage import format as layout
from tasklineage.storage import ref_names, roots, signing
from tasklineage.storage.backend import Backend, Entry
from tasklineage.storage.follower import FILE as FOLLOWED
from tasklineage.storage.follower import Followed, Follower
from tasklineage.storage.fsck.layout import QUARANTINE
from tasklineage.storage.object_layout import front_length
from tasklineage.storage.objects import FRONT, NO_OBJECT
from tasklineage.storage.pieces import FOLDER as JOURNAL
from tasklineage.storage.pieces import Piece, parse
from tasklineage.storage.pulse import FOLDER as ALIVE
from tasklineage.storage.pulse import Pulse
from tasklineage.storage.remote_sweeps import SWEEPS
from tasklineage.storage.segment import segment_path
from tasklineage.storage.spool import FOLDER as SPOOL
from tasklineage.storage.spool import read_position
from tasklineage.storage.tables import Offsets

COPIED = (ref_names.FOLDER, roots.FOLDER, "gc/condemned", SWEEPS)
FOLDERS = frozenset({JOURNAL, "objects", ALIVE, "probe", "now", "gc", QUARANTINE, *COPIED[:2]})
_AT_ONCE = 256
_piece = re.compile(r"journal/([0-9a-f]{16})/([0-9]{8})-([0-9]{9})-([0-9]{9})").fullmatch

Key = tuple[str, int]


class Hole(NamedTuple):
    """Bytes of a segment that are not there."""

    key: Key
    start: int
    end: int
    is_awaited: bool
    """Whether its writer may still put them."""


class Scratch:
    """What was brought of a store into the folder `root`."""

    def __init__(self, backend: Backend, root: Path, mirror: Path | None) -> None:
        self.backend = backend
        self.root = root
        self.mirror = mirror
        """The mirror of this machine, if there is one."""
        self.alive: set[str] = set()
        """Writers that may put more."""
        self.pieces: dict[Key, list[Piece]] = {}
        self.torn: list[tuple[Piece, int]] = []
        """Pieces of another size than their names say, and these sizes."""
        self.foreign: list[str] = []
        """Keys that nobody here has written."""
        self._follower = Follower(root, backend, Pulse(backend))
        layout.open_folder(root)

    def bring(self) -> None:
        """Everything but the objects is here, as of now.

        Raises
        ------
        StoreError
            It cannot be read.
        """
        self.alive = {entry.key.rpartition("/")[2] for entry in self.backend.list(ALIVE)}
        for _ in range(2):  # what stands behind a gap is brought once its writer is known
            self._follower.pull(whole=True)
        self.pieces.clear()
        self.torn.clear()
        self.foreign.clear()
        copied: list[str] = []
        for entry in self.backend.list():
            folder = entry.key.partition("/")[0]
            if entry.key.startswith(tuple(f"{name}/" for name in COPIED)):
                copied.append(entry.key)
            elif folder == JOURNAL:
                self._note_piece(entry)
            elif folder == QUARANTINE:
                self._put(entry.key, b"")
            elif folder not in FOLDERS and entry.key not in (layout.FILE, signing.FILE):
                self.foreign.append(entry.key)
        for start in range(0, len(copied), _AT_ONCE):
            found = self.backend.read_many(copied[start : start + _AT_ONCE])
            for key, data in found.items():
                self._put(key, data)

    def holes(self) -> Iterator[Hole]:
        """Bytes that are missing before others of the same segment, and those of torn pieces."""
        torn = [piece for piece, _ in self.torn]
        segments: dict[Key, list[Piece]] = {}
        for piece in (*torn, *(one for some in self.pieces.values() for one in some)):
            segments.setdefault((piece.writer, piece.seq), []).append(piece)
        for key, pieces in sorted(segments.items()):
            have = 0
            for piece in sorted(pieces):
                if piece.start > have:
                    yield Hole(key, have, piece.start, key[0] in self.alive)
                have = max(have, piece.end)

    def known(self, offsets: Offsets) -> Offsets:
        """Of what this machine has read in its mirror, what the store must have."""
        if self.mirror is None:
            return {}
        others = Followed(self.mirror / FOLLOWED).all()
        return {
            key: min(offset, self._put_of(key)) if key[0] not in others else offset
            for key, offset in offsets.items()
        }

    def mirrored(self, key: Key, start: int, end: int) -> bytes:
        """These bytes of a segment as this machine's mirror has them; fewer if it has fewer."""
        if self.mirror is None:
            return b""
        try:
            with open(segment_path(self.mirror / JOURNAL, *key), "rb") as file:
                file.seek(start)
                return file.read(end - start)
        except OSError:
            return b""

    def objects(self) -> Iterator[tuple[str, int]]:
        """The keys of all objects, and their sizes; what stands below `objects`."""
        for entry in self.backend.list("objects"):
            yield entry.key, entry.size

    def bring_fronts(self, sizes: Mapping[str, int]) -> dict[str, str]:
        """Of each of these objects there is a file; what went wrong, by key."""
        found, failed = self.backend.try_read_many(list(sizes), FRONT)
        for key, front in found.items():
            whole = self._whole_front(key, front, sizes[key])
            path = self._put(key, whole)
            os.truncate(path, sizes[key])
        return {key: str(error) for key, error in failed.items()}

    def bring_whole(self, keys: Iterable[str]) -> None:
        """All bytes of these objects are here."""
        for key in keys:
            self.backend.download(key, self.root / key)

    def _whole_front(self, key: str, front: bytes, size: int) -> bytes:
        try:
            length = front_length(front)
        except NO_OBJECT:
            return front
        return front if len(front) >= min(length, size) else self.backend.read(key, 0, length)

    def _note_piece(self, entry: Entry) -> None:
        piece, match = parse(entry), _piece(entry.key)
        if piece is not None:
            self.pieces.setdefault((piece.writer, piece.seq), []).append(piece)
        elif match is not None and int(match[3]) < int(match[4]):
            torn = Piece(match[1], *map(int, match.groups()[1:]))
            self.torn.append((torn, entry.size))
        else:
            self.foreign.append(entry.key)

    def _put_of(self, key: Key) -> int:
        """Up to where a segment of this machine was put."""
        assert self.mirror is not None
        path = self.mirror / SPOOL / key[0]
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # all of it
            return 1 << 62
        try:
            position = read_position(fd)
        finally:
            os.close(fd)
        if key[1] == position.seq:
            return position.offset
        return 1 << 62 if key[1] < position.seq else 0

    def _put(self, key: str, data: bytes) -> Path:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path
