"""How records stand in a segment: frames that prove what they say and where they belong.

    offset  bytes  content
    0       4      magic C1 74 6C 66: a byte that msgpack never uses, then `tlf`
    4       4      length of the payload
    8       1      kind of record; 0 is the head of a segment
    9       1      version of the record, 1
    10      2      flags: 1 where the record is signed, else 0
    12      8      checksum
    20      ...    payload; behind that of a signed one its MAC, 24 bytes (see `signing`)

The length counts the MAC too. All numbers are little endian. The checksum is xxh3-64 of all behind
it, seeded with the exclusive or of three numbers of 64 bits: the 8 bytes before the checksum (so
they are covered), the writer's id, and `sequence number << 32 | offset in the segment`. A frame
therefore verifies only where it was written: bytes that were copied to another place, or frames
inside a value, are never taken for records.

Everything here is computed from bytes; nothing reads or writes a file.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from xxhash import xxh3_64_intdigest

if TYPE_CHECKING:
    from tasklineage.storage.signing import SegmentSigner

MAGIC = b"\xc1tlf"
HEAD = 20
"""Bytes of a frame before its payload."""
MAX_PAYLOAD = 64 << 20
"""No payload is longer: a length beyond it is damage, and is never allocated."""
SEGMENT_HEAD = 0
"""The kind of the first frame of a segment."""

VERSION = 1
SIGNED = VERSION | 1 << 8
"""As `VERSION`, with the flag."""
MAC = 24
"""Bytes of a MAC."""
_KNOWN = VERSION << 40
_HEADER = struct.Struct("<4sQQ")
_pack, _unpack = _HEADER.pack, _HEADER.unpack_from
_PATIENCE = 1 << 30
"""Bytes that `find` hashes before it gives up; each try counts as one more KiB."""


class Location(NamedTuple):
    """Where a frame stands in the journal."""

    writer: str
    seq: int
    offset: int
    length: int
    """Bytes of the frame, its header included."""


class Parsed(NamedTuple):
    """One frame found by `walk`."""

    offset: int
    length: int
    """Bytes of the frame, its header included."""
    kind: int
    payload: bytes


def place(writer: str, sequence: int) -> int:
    """What the checksums of a segment's frames start from."""
    return int(writer, 16) ^ (sequence << 32)


def encode(kind: int, payload: bytes, place: int, offset: int) -> bytes:
    """The frame of `payload` for this offset of the segment with this `place`."""
    fields = len(payload) | kind << 32 | _KNOWN
    return _pack(MAGIC, fields, xxh3_64_intdigest(payload, fields ^ place ^ offset)) + payload


def encode_signed(
    kind: int, payload: bytes, place: int, offset: int, signer: SegmentSigner
) -> bytes:
    """As `encode`, signed."""
    fields = len(payload) + MAC | kind << 32 | SIGNED << 40
    content = payload + signer.mac(fields, offset, payload)
    return _pack(MAGIC, fields, xxh3_64_intdigest(content, fields ^ place ^ offset)) + content


def decode(
    data: bytes, place: int, offset: int, start: int = 0, signer: SegmentSigner | None = None
) -> tuple[int, bytes] | None:
    """Kind and payload of the frame at `data[start]`, which stands at `offset` of its segment.

    None where the bytes are not a whole frame that belongs there, or one of a later version; with
    a signer also where it is not signed.
    """
    if not is_sound(data, place, offset, start):
        return None
    _, fields, _ = _unpack(data, start)
    content = data[start + HEAD : start + HEAD + (fields & 0xFFFFFFFF)]
    payload = _believed(fields, offset, content, signer)
    return None if payload is None else (fields >> 32 & 0xFF, payload)


def is_sound(data: bytes, place: int, offset: int, start: int = 0) -> bool:
    """Whether a whole frame that belongs at `offset` of its segment begins at `data[start]`."""
    if len(data) - start < HEAD:
        return False
    magic, fields, checksum = _unpack(data, start)
    length = fields & 0xFFFFFFFF
    payload = data[start + HEAD : start + HEAD + length]
    is_whole: bool = magic == MAGIC and len(payload) == length
    return is_whole and xxh3_64_intdigest(payload, fields ^ place ^ offset) == checksum


def walk(
    data: bytes, place: int, base: int, start: int = 0, kinds: Collection[int] | None = None
) -> tuple[list[tuple[int, int, int, bytes]], int]:
    """The frames from `data[start]` on, and where in `data` the first stands that is not sound.

    That is the end of `data` if all are. `data[0]` stands at `base` of the segment. A frame comes
    back as a plain tuple with the fields of `Parsed`, because 100,000 of them are made at once;
    only those whose kind is in `kinds`, if it is given. Frames of a later version and the heads of
    segments are verified and passed over.
    """
    found: list[tuple[int, int, int, bytes]] = []
    add = found.append
    size = len(data)
    last = size - HEAD
    seed = place
    while start <= last:
        magic, fields, checksum = _unpack(data, start)
        end = start + HEAD + (fields & 0xFFFFFFFF)
        if magic != MAGIC or end > size:
            break
        payload = data[start + HEAD : end]
        offset = base + start
        if xxh3_64_intdigest(payload, fields ^ seed ^ offset) != checksum:
            break
        form = fields >> 40
        if form == SIGNED:
            payload, form = payload[:-MAC], VERSION
        if form == VERSION:
            kind = fields >> 32 & 0xFF
            if kind and (kinds is None or kind in kinds):
                add((offset, end - start, kind, payload))
        start = end
    return found, start


def walk_signed(
    data: bytes,
    place: int,
    base: int,
    kinds: Collection[int] | None,
    signer: SegmentSigner,
) -> tuple[list[tuple[int, int, int, bytes]], int, list[tuple[int, int]]]:
    """As `walk`, of frames that are signed; where in the segment others stand that are not.

    Nothing of these comes back. The head of a segment, which says who may live, is never signed.
    """
    found: list[tuple[int, int, int, bytes]] = []
    refused: list[tuple[int, int]] = []
    start = 0
    while is_sound(data, place, base + start, start):
        _, fields, _ = _unpack(data, start)
        end = start + HEAD + (fields & 0xFFFFFFFF)
        offset, kind = base + start, fields >> 32 & 0xFF
        payload = _believed(fields, offset, data[start + HEAD : end], signer)
        if payload is None:
            if kind != SEGMENT_HEAD and fields >> 40 in (VERSION, SIGNED):
                first = refused.pop()[0] if refused and refused[-1][1] == offset else offset
                refused.append((first, base + end))
        elif kind and (kinds is None or kind in kinds):
            found.append((offset, end - start, kind, payload))
        start = end
    return found, start, refused


def _believed(
    fields: int, offset: int, content: bytes, signer: SegmentSigner | None
) -> bytes | None:
    """The payload in the content of a sound frame; None where it is not believed or not known."""
    form = fields >> 40
    if form == VERSION:
        return content if signer is None else None
    if form != SIGNED or (signer is not None and not signer.is_good(fields, offset, content)):
        return None
    return content[:-MAC]


def claim(data: bytes, start: int) -> int:
    """Bytes that the frame at `data[start]` says it has; 0 where nothing like a frame begins."""
    if len(data) - start < HEAD:
        return HEAD if MAGIC.startswith(data[start : start + len(MAGIC)]) else 0
    magic, fields, _ = _unpack(data, start)
    length = int(fields & 0xFFFFFFFF)
    return HEAD + length if magic == MAGIC and length <= MAX_PAYLOAD else 0


def find(data: bytes, place: int, base: int, start: int) -> int:
    """Where in `data`, from `start` on, the next sound frame begins; -1 if there is none.

    A file that is made of false beginnings is given up after a while.
    """
    patience = _PATIENCE
    while (start := data.find(MAGIC, start)) >= 0 and patience > 0:
        length = claim(data, start)
        patience -= length + 1024
        if length and is_sound(data, place, base + start, start):
            return start
        start += 1
    return -1
