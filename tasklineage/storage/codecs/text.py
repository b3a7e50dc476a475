"""Long text and bytes as they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tasklineage.storage.codecs.base import Codec, Encoded
from tasklineage.storage.object_layout import Buffer, Chunked

_ENCODED_AT_ONCE = 1 << 20


class TextCodec(Codec):
    """`str` as UTF-8; lone surrogates are encoded as if they were characters."""

    name = "text"
    is_safe = True

    def handles(self, value: Any) -> bool:
        return type(value) is str

    def encode(self, value: Any) -> Encoded:
        return Encoded(None, [_utf8(value)])

    def decode(self, meta: Any, buffers: list[memoryview]) -> str:
        (buffer,) = buffers
        return str(buffer, "utf-8", "surrogatepass")


class BytesCodec(Codec):
    """`bytes`."""

    name = "bytes"
    is_safe = True

    def handles(self, value: Any) -> bool:
        return type(value) is bytes

    def encode(self, value: Any) -> Encoded:
        return Encoded(None, [value])

    def decode(self, meta: Any, buffers: list[memoryview]) -> bytes:
        (buffer,) = buffers
        return bytes(buffer)


class BytearrayCodec(Codec):
    """`bytearray`."""

    name = "bytearray"
    is_safe = True

    def handles(self, value: Any) -> bool:
        return type(value) is bytearray

    def encode(self, value: Any) -> Encoded:
        return Encoded(None, [value])

    def decode(self, meta: Any, buffers: list[memoryview]) -> bytearray:
        (buffer,) = buffers
        return bytearray(buffer)


def _utf8(text: str) -> Buffer:
    """The encoded text, made piece by piece if it is long: what is not ASCII is encoded twice."""
    if len(text) <= _ENCODED_AT_ONCE:
        return text.encode("utf-8", "surrogatepass")
    size = len(text) if text.isascii() else sum(map(len, _encoded(text)))
    return Chunked(size, lambda: _encoded(text))


def _encoded(text: str) -> Iterator[bytes]:
    step = max(_ENCODED_AT_ONCE, len(text) // 32)
    for start in range(0, len(text), step):
        yield text[start : start + step].encode("utf-8", "surrogatepass")
