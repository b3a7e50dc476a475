"""Pieces of segments, as a remote store has them: immutable keys of whole frames.

    journal/<writer>/<sequence number: 8 digits>-<start: 9 digits>-<end: 9 digits>

A piece holds the bytes of the segment from `start` up to `end`. The names of a writer's pieces sort
as their bytes stand. Pieces may overlap, where somebody was killed before it could note what it had
put; their bytes then agree, for a segment only grows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tasklineage.storage import frames
from tasklineage.storage.backend import Entry
from tasklineage.storage.records import KIND_OF, Purged
from tasklineage.storage.segment import LONGEST

FOLDER = "journal"
SIZE = 4 << 20
"""Bytes from which on a piece is closed."""
tells_of_purge = re.compile(
    re.escape(frames.MAGIC) + b".{4}" + re.escape(bytes([KIND_OF[Purged]])), re.DOTALL
).search
"""Whether there may be a `Purged` record among these bytes."""
_name = re.compile(r"journal/([0-9a-f]{16})/([0-9]{8})-([0-9]{9})-([0-9]{9})").fullmatch


class Piece(NamedTuple):
    """Bytes of one segment."""

    writer: str
    seq: int
    start: int
    end: int

    @property
    def key(self) -> str:
        """Where it is in the remote store."""
        return f"{FOLDER}/{self.writer}/{self.seq:08d}-{self.start:09d}-{self.end:09d}"


def parse(entry: Entry) -> Piece | None:
    """The piece that a listing names; None if it is none, or is not as long as it says."""
    match = _name(entry.key)
    if match is None:
        return None
    writer, *numbers = match.groups()
    piece = Piece(writer, *map(int, numbers))
    is_sound = piece.start < piece.end <= LONGEST and piece.end - piece.start == entry.size
    return piece if is_sound else None


def cut(
    found: Sequence[tuple[int, int, int, bytes]], start: int, end: int, size: int = SIZE
) -> list[tuple[int, int]]:
    """Start and end of the pieces in which the frames `found` between `start` and `end` travel."""
    spans: list[tuple[int, int]] = []
    for offset, length, _, _ in found:
        if offset + length - start >= size:
            spans.append((start, offset + length))
            start = offset + length
    if start < end:
        spans.append((start, end))
    return spans


def wanted(pieces: Iterable[Piece], have: int, *, is_complete: bool) -> list[tuple[Piece, int]]:
    """Which pieces of a segment bring what stands behind the first `have` bytes.

    Each comes with the offset from which on it is of use. A piece behind a gap has to wait for
    what is missing, unless the listing `is_complete` for good.
    """
    found: list[tuple[Piece, int]] = []
    for piece in sorted(pieces):
        if piece.start > have and not is_complete:
            break
        if piece.end > have:
            found.append((piece, max(have, piece.start)))
            have = piece.end
    return found


def span(data: bytes, place: int, base: int) -> tuple[list[tuple[int, int, int, bytes]], int]:
    """The frames of a part of a segment that begins at `base`, and the length that can be put.

    Damaged bytes are put as they are once a sound frame follows; a frame that is not whole yet
    waits. The length is 0 where nothing can be put.
    """
    found, sound = frames.walk(data, place, base)
    if sound:
        return found, sound
    return [], max(frames.find(data, place, base, 1), 0)
