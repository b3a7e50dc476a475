"""What is done about damage of a remote store. Nothing is deleted: keys are moved to `quarantine`.

Pieces that are torn or gone are put again from the mirror of this machine, if it has them. Else the
sound records of their segment are put as a new one, and its pieces are moved away.
"""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING

from tasklineage.errors import MissingObject
from tasklineage.storage import format as layout
from tasklineage.storage import frames
from tasklineage.storage.fsck.layout import NOTED, QUARANTINE
from tasklineage.storage.fsck.repair import Repair
from tasklineage.storage.fsck.scratch import Key, Scratch
from tasklineage.storage.pieces import Piece, cut
from tasklineage.storage.segment import segment_path
from tasklineage.storage.signing import FILE as SIGNATURES

if TYPE_CHECKING:
    from tasklineage.storage.fsck.segments import Segments
    from tasklineage.storage.signing import Signer

_HEALED = frozenset({"piece-torn", "piece-missing", "record-damaged", "segment-head"})
"""What the mirror may have whole."""
_id = re.compile(rb"^id ([0-9a-f]{32})$", re.MULTILINE)


class RemoteRepair(Repair):
    """Repairs the store that a `Scratch` was brought from; other machines may use it meanwhile."""

    def __init__(self, scratch: Scratch, segments: Segments, signer: Signer | None) -> None:
        super().__init__(scratch.root, segments, signer)
        self._scratch = scratch
        self._backend = scratch.backend
        self._is_signed = self._backend.size(SIGNATURES) is not None

    def _move(self, path: str) -> str:
        if path in self._done:
            return self._done[path]
        parts = path.split("/")
        key = self._segment_of(path)
        if key is not None and len(parts) == 3 and "-" not in parts[2]:
            self._done[path] = self._moved_segment(path, key)
            return self._done[path]
        name = "".join(parts[1:]) if parts[0] == "objects" else "-".join(parts[1:] or parts)
        self._done[path] = f"moved to {self._moved(path, name)}"
        if parts[0] == "objects":
            self._note(path, name)
        return self._done[path]

    def _return(self, path: str, other: str) -> str:
        """To the place where it belongs, if there is nothing."""
        wrong, right = (other, path) if path.startswith("objects/") else (path, other)
        if wrong.startswith("journal/"):
            raise OSError(errno.EINVAL, "its pieces do not tell which they are; move them by hand")
        if self._backend.size(right) is None:
            self._backend.write(right, self._backend.read(wrong))
        self._move(wrong)
        return f"is at {right} again"

    def _reframe(self, path: str, *_given: str) -> str:
        key = self._segment_of(path)
        assert key is not None
        path = f"journal/{key[0]}/{key[1]:08d}"
        if path in self._done:
            return self._done[path]
        if key[0] in self._scratch.alive:
            raise OSError(errno.EBUSY, "its writer lives; try again when it has ended")
        if self._is_healed(key):
            self._done[path] = "put again from the mirror of this machine"
            return self._done[path]
        if not os.path.exists(self._root / path):
            return self._move(path)
        return super()._reframe(path)

    def _note(self, path: str, mark: str) -> str:
        """An empty key that stands for the loss; a piece that the mirror has is no loss."""
        key = self._segment_of(path)
        if key is not None and key[0] not in self._scratch.alive and self._is_healed(key):
            return "put again from the mirror of this machine"
        place = f"{QUARANTINE}/{mark}{NOTED}"
        self._backend.write(place, b"")
        return f"noted as {place}: what needs it is made again"

    def _format(self, path: str) -> str:
        """With the id that it had, if that can be read, so that mirrors know their store again."""
        moved, found = "", b""
        try:
            found = self._backend.read(path)
            moved = f"; the old one was moved to {self._moved(path, path)}"
        except MissingObject:
            pass
        known = _id.search(found)
        id = known[1].decode() if known else os.urandom(16).hex()
        self._backend.write(path, layout.content(id=id))
        return f"written anew{moved}"

    def _copied(self, path: str, place: int, bad: list[tuple[int, int]]) -> int:
        """Written to the folder first, as a segment of a new writer, and then put."""
        before = set(os.listdir(self._root / "journal"))
        count = super()._copied(path, place, bad)
        for writer in set(os.listdir(self._root / "journal")) - before:
            for name in sorted(os.listdir(self._root / "journal" / writer)):
                self._put(writer, int(name))
        return count

    def _put(self, writer: str, seq: int) -> None:
        with open(segment_path(self._root / "journal", writer, seq), "rb") as file:
            data = file.read()
        found, length = frames.walk(data, frames.place(writer, seq), 0)
        for start, end in cut(found, 0, length):
            self._backend.write(Piece(writer, seq, start, end).key, data[start:end])

    def _is_healed(self, key: Key) -> bool:
        """Whether the mirror of this machine had all that is damaged, and it is there again."""
        places = [
            (start, end)
            for start, end, finding in self._segments.damaged.get(key, ())
            if finding.kind in _HEALED
        ]
        place = frames.place(*key)
        if not places or len(places) < len(self._segments.damaged[key]):
            return False
        spans = [self._span(key, *one) for one in places]
        whole = {span: self._scratch.mirrored(key, *span) for span in spans}
        for (start, end), data in whole.items():
            if len(data) != end - start or frames.walk(data, place, start)[1] != end - start:
                return False
        for torn, _ in self._scratch.torn:
            if (torn.writer, torn.seq) == key:
                self._moved(torn.key, "-".join(torn.key.split("/")[1:]))
        for (start, end), data in whole.items():
            piece = Piece(*key, start, end)
            if piece in self._scratch.pieces.get(key, ()):
                self._copy(piece.key, "-".join(piece.key.split("/")[1:]))
            self._backend.write(piece.key, data)
        return True

    def _span(self, key: Key, start: int, end: int) -> tuple[int, int]:
        """The whole pieces in which these bytes are, or the bytes where there is none."""
        pieces = self._scratch.pieces.get(key, ())
        touched = [one for one in pieces if one.start < end and one.end > start]
        return min([start, *(one.start for one in touched)]), max([end, *(o.end for o in touched)])

    def _moved_segment(self, path: str, key: Key) -> str:
        """All pieces of a segment are out of the way."""
        torn = [one for one, _ in self._scratch.torn if (one.writer, one.seq) == key]
        for piece in (*self._scratch.pieces.get(key, ()), *torn):
            self._moved(piece.key, "-".join(piece.key.split("/")[1:]))
        name = f"{key[0]}-{key[1]:08d}"
        self._backend.write(f"{QUARANTINE}/{name}{NOTED}", b"")
        (self._root / path).unlink(missing_ok=True)
        return f"moved to {QUARANTINE}/{name}-…"

    def _moved(self, key: str, name: str) -> str:
        place = self._copy(key, name)
        self._backend.delete([key])
        return place

    def _copy(self, key: str, name: str) -> str:
        place = f"{QUARANTINE}/{name}-{os.urandom(4).hex()}"
        self._backend.write(place, self._backend.read(key))
        return place

    def _is_growing(self, path: str) -> bool:
        return path.split("/")[1] in self._scratch.alive

    def _is_there(self, path: str) -> bool:
        return self._is_signed if path == SIGNATURES else self._backend.size(path) is not None

    def _segment_of(self, path: str) -> Key | None:
        """The segment that a path, or the key of a piece, is of."""
        parts = path.split("/")
        if len(parts) != 3 or parts[0] != "journal":
            return None
        number = parts[2].partition("-")[0]
        return (parts[1], int(number)) if number.isdecimal() else None
