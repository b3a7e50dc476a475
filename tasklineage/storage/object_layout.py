"""The layout of an object: a header and buffers as one sequence of bytes.

    offset  size  content
    0       8     magic, `MAGIC`
    8       2     version of this layout, 1
    10      2     flags, 0
    12      4     length of the header, n
    16      32    the signature (see `signing`), zeros without
    48      n     the header: a msgpack array of codec, type, meta, children, lengths of the buffers
    ...           each buffer, at the next multiple of 64 bytes, the gap filled with zeros

All numbers are little endian. Nothing follows the last buffer. docs/store.md says
the same for readers of other languages. Nothing here reads or writes a file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgpack

MAGIC = b"\x89TLOBJ\r\n"
VERSION = 1
ALIGNMENT = 64
MAC_AT, MAC_SIZE = 16, 32
"""Where the signature stands, and its bytes."""

_PREAMBLE = struct.Struct("<8sHHI32s")
PREAMBLE = _PREAMBLE.size
"""Bytes that say how long the header is, which comes after them."""
_SMALL_PIECE = 64 * 1024
_LEAST_BLOCK = 1 << 20


class NewerLayout(Exception):
    """An object of a layout that this version does not know."""


class Chunked(NamedTuple):
    """A buffer made piece by piece while it is written, for what is nowhere in one piece."""

    nbytes: int
    chunks: Callable[[], Iterable[Any]]
    """Yields bytes-like pieces; each is used up before the next is asked for."""


Buffer: TypeAlias = bytes | bytearray | memoryview | Chunked


class Header(NamedTuple):
    """What an object says about its buffers."""

    codec: str
    type: str
    """The qualified type of the value, for people."""
    meta: Any = None
    """What the codec needs besides the buffers; anything that msgpack can hold."""
    children: Sequence[bytes] = ()
    """Ids of the objects that this one refers to."""


class StoredObject(NamedTuple):
    """An object as read: its buffers are writable and belong to the reader alone."""

    header: Header
    buffers: list[memoryview]


def laid_out(header: Header, buffers: Sequence[Buffer]) -> tuple[int, Iterator[Any]]:
    """The size of the object, and its bytes from beginning to end in pieces."""
    views = [_flat(buffer) for buffer in buffers]
    lengths = [view.nbytes for view in views]
    front = _front(header, lengths)
    size = len(front)
    for length in lengths:
        size = _aligned(size) + length
    return size, _pieces(front, views)


def in_blocks(pieces: Iterable[Any]) -> Iterator[Any]:
    """The same bytes in pieces fit for one system call: small ones joined, large ones divided.

    Whoever waits for the interpreter lock after each call waits a number of times that does not
    grow with the size.
    """
    small = bytearray()
    for piece in pieces:
        if len(piece) < _SMALL_PIECE:
            small += piece
            if len(small) < _LEAST_BLOCK:
                continue
        if small:
            yield small
            small = bytearray()
        if len(piece) >= _SMALL_PIECE:
            step = max(_LEAST_BLOCK, len(piece) // 8)
            for start in range(0, len(piece), step):
                yield piece[start : start + step]
    if small:
        yield small


def parse(content: memoryview) -> StoredObject:
    """The parts of an object.

    Raises
    ------
    ValueError, TypeError, struct.error
        It is none. No length is believed beyond the size of the content.
    NewerLayout
        It is one of a later version.
    """
    header, spans = read_front(content, len(content))
    return StoredObject(header, [content[start:end] for start, end in spans])


def read_front(content: memoryview, size: int) -> tuple[Header, list[tuple[int, int]]]:
    """The header of an object of `size` bytes, and where its buffers begin and end.

    `content` is all of it, or as much as the header needs.

    Raises
    ------
    As `parse`.
    """
    magic, version, _flags, length, _mac = _PREAMBLE.unpack_from(content)
    if magic != MAGIC:
        raise ValueError("no object")
    if version != VERSION:
        raise NewerLayout(f"an object of layout {version}")
    end = PREAMBLE + length
    codec, kind, meta, children, lengths = unpacked(content[PREAMBLE:end])
    if type(codec) is not str or type(kind) is not str or set(map(type, lengths)) - {int}:
        raise TypeError("a header of other types")
    if any(type(child) is not bytes or len(child) != 16 for child in children):
        raise TypeError("a child that is no id")
    spans: list[tuple[int, int]] = []
    offset = end
    for count in lengths:
        start = _aligned(offset)
        offset = start + count
        if count < 0 or offset > size:
            raise ValueError("a buffer ends behind the file")
        spans.append((start, offset))
    if offset != size:
        raise ValueError("bytes behind the last buffer")
    return Header(codec, kind, meta, tuple(children)), spans


def unpacked(packed: bytes | memoryview) -> Any:
    """The msgpack value, whose lengths are known to be true before room is made for them.

    Raises
    ------
    ValueError
        It is not complete, or is none.
    """
    check_lengths(memoryview(packed))
    return msgpack.unpackb(packed, strict_map_key=False, unicode_errors="surrogatepass")


def front_length(content: bytes) -> int:
    """Bytes in front of the first buffer's gap, told by the first `PREAMBLE` bytes of an object.

    Raises
    ------
    ValueError, struct.error
        It is none, or one of a layout that this version does not know.
    """
    magic, version, _flags, length, _mac = _PREAMBLE.unpack_from(content)
    if magic != MAGIC or version != VERSION:
        raise ValueError("no object of a known layout")
    return PREAMBLE + int(length)


def children_in(front: memoryview) -> tuple[bytes, ...]:
    """Ids of the objects that an object refers to; `front` is what `front_length` tells.

    Raises
    ------
    ValueError, TypeError
        It is no whole header.
    """
    children = unpacked(front[PREAMBLE:])[3]
    if any(type(child) is not bytes or len(child) != 16 for child in children):
        raise TypeError("a child that is no id")
    return tuple(children)


def check_lengths(packed: memoryview) -> None:
    """Let pass what is one complete msgpack value.

    A packed array names its length first, and whoever makes room for it believes that; nested
    ones multiply. This pass makes nothing, so that afterwards each length is known to be true.

    Raises
    ------
    ValueError
        It is not complete, or is none.
    """
    step = min(len(packed), 1 << 20)
    unpacker = msgpack.Unpacker(_Reader(packed), max_buffer_size=len(packed), read_size=step)
    try:
        unpacker.skip()
    except msgpack.UnpackException as error:
        raise ValueError("no complete value") from error


def _flat(buffer: Buffer) -> memoryview | Chunked:
    """The bytes of a buffer of any item size."""
    return buffer if isinstance(buffer, Chunked) else _flat_view(buffer)


def _flat_view(buffer: Any) -> memoryview:
    view = memoryview(buffer)
    if view.format == "B" and view.ndim == 1:
        return view
    return view.cast("B") if view.nbytes else memoryview(b"")


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _front(header: Header, lengths: list[int]) -> bytes:
    """Everything in front of the first buffer's gap."""
    packed: bytes = msgpack.packb(
        [header.codec, header.type, header.meta, list(header.children), lengths],
        unicode_errors="surrogatepass",
    )
    return _PREAMBLE.pack(MAGIC, VERSION, 0, len(packed), bytes(32)) + packed


def _pieces(front: bytes, views: Sequence[memoryview | Chunked]) -> Iterator[Any]:
    yield front
    offset = len(front)
    for view in views:
        start = _aligned(offset)
        yield bytes(start - offset)
        if isinstance(view, Chunked):
            yield from map(_flat_view, view.chunks())
        else:
            yield view
        offset = start + view.nbytes


class _Reader:
    """The little of a file that a msgpack unpacker asks for."""

    __slots__ = ("_at", "_content")

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self._at = 0

    def read(self, size: int) -> bytes:
        piece = self._content[self._at : self._at + size]
        self._at += len(piece)
        return bytes(piece)
