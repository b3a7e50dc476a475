"""Plain values: what msgpack says, and what it says with a little help.

None, bool, int, float, str, bytes, list and dict are msgpack's own. The rest are extension types:

    1  int beyond 64 bits: two's complement, little endian
    2  complex: two doubles, little endian
    3  tuple: a packed array
    4  set, 5  frozenset: a packed array, in an order that depends on the content alone
    6  numpy scalar: a packed array of dtype and bytes
    7  numpy array: a packed array of the codec's description and the bytes
    10 a date, a path, an exact number …: see `standard`

What holds tuples and no lists is packed as if they were lists, at full speed, and marked: the byte
0xC1, which msgpack never uses, then `T`, or `L` where the outermost array is a list after all.
Text is UTF-8; lone surrogates are encoded as if they were characters.

Only exact types are plain. Bytes from a stranger run no code, and cost memory in proportion to
their length.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import msgpack

from tasklineage.storage.codecs import arrays
from tasklineage.storage.codecs.base import Codec, Encoded
from tasklineage.storage.codecs.standard import STANDARD, pack_standard, unpack_standard
from tasklineage.storage.object_layout import check_lengths

PLAIN = "plain"
ATOMS: frozenset[type] = frozenset({type(None), bool, int, float, str, bytes})
"""What msgpack holds by itself."""
CONTAINERS: frozenset[type] = frozenset({list, tuple, dict, set, frozenset})
DEEPEST = 48
"""Containers nested further are not plain."""

BIGINT, COMPLEX, TUPLE, SET, FROZENSET, SCALAR, ARRAY, NODE, PART = range(1, 10)
"""Extension types, as is `standard.STANDARD`; the last two occur in trees only."""

_LISTS = ATOMS | {list, dict}
_TUPLES = ATOMS | {tuple, dict}
_MARK = 0xC1
_ALL_TUPLES, _LIST_OF_TUPLES = b"\xc1T", b"\xc1L"
_CHECKED_FROM = 16 * 1024
_MOST_HOOKS = 2 * DEEPEST
_SORTABLE = (frozenset({int}), frozenset({str}), frozenset({bytes}))
_PAIR = struct.Struct("<dd")
_unpackb = msgpack.unpackb
# A packer begins with 256 KiB, which costs more than packing when several are alive at once.
_VERSION: tuple[int, ...] = getattr(msgpack, "version", (1, 0))
_BUFFER: dict[str, Any] = {"buf_size": 1024} if _VERSION >= (1, 1) else {}
_OPTIONS: dict[str, Any] = {"autoreset": False, "unicode_errors": "surrogatepass", **_BUFFER}

pack_atom: Callable[[Any], bytes] = msgpack.Packer(unicode_errors="surrogatepass").pack
"""HOT. The packed form of one atom; OverflowError for an int beyond 64 bits.

One packer serves all threads, since it calls no Python code on its way. It keeps a buffer as large
as the largest atom it saw: give it small ones.
"""


class PlainCodec(Codec):
    """Objects that are one buffer of packed plain content; encoding is `pack`."""

    name = PLAIN
    is_safe = True

    def handles(self, value: Any) -> bool:
        return False

    def encode(self, value: Any) -> Encoded:
        raise NotImplementedError

    def decode(self, meta: Any, buffers: list[memoryview]) -> Any:
        (packed,) = buffers
        return _with_mark(bytes(meta or b""), packed)


def pack(value: Any, kinds: frozenset[type] | set[type]) -> tuple[bytes, memoryview]:
    """The mark, which may be empty, and the packed form of a plain value.

    `kinds` are the exact types of everything inside of it, at any depth.

    Raises
    ------
    ValueError
        Something in it is larger than 4 GiB.
    """
    mark = b""
    if type(value) in _LISTS and kinds <= _LISTS:
        packer = msgpack.Packer(**_OPTIONS)
    elif type(value) in (list, tuple, dict) and kinds <= _TUPLES:
        packer = msgpack.Packer(**_OPTIONS)
        mark = _LIST_OF_TUPLES if type(value) is list else _ALL_TUPLES
    else:
        return b"", pack_any(value)
    try:
        packer.pack(value)
    except OverflowError:
        return b"", pack_any(value)
    return mark, packer.getbuffer()


def pack_any(value: Any) -> memoryview:
    """The packed form of a plain value of any kind, in which each type speaks for itself."""
    packer = msgpack.Packer(default=_extension, strict_types=True, **_OPTIONS)
    packer.pack(value)
    view: memoryview = packer.getbuffer()
    return view


def unpack(data: bytes) -> Any:
    """HOT. The value of packed plain content, its mark in front.

    Raises
    ------
    ValueError, TypeError, LookupError, OverflowError, struct.error
        It is no such content.
    """
    if data[0] == _MARK:
        return _with_mark(data[:2], memoryview(data)[2:])
    if len(data) > _CHECKED_FROM:
        check_lengths(memoryview(data))
    return _unpackb(data, ext_hook=_HOOK, strict_map_key=False, unicode_errors="surrogatepass")


def unpack_items(data: memoryview, hook: Callable[[int, bytes], Any]) -> Any:
    """The same without a mark, where `hook` sees extension types that `extended` does not know."""
    if len(data) > _CHECKED_FROM:
        check_lengths(data)
    return _unpackb(data, ext_hook=hook, strict_map_key=False, unicode_errors="surrogatepass")


def _with_mark(mark: bytes, packed: memoryview) -> Any:
    if mark == b"":
        return unpack_items(packed, _HOOK)
    if mark not in (_ALL_TUPLES, _LIST_OF_TUPLES):
        raise ValueError("an unknown mark")
    if len(packed) > _CHECKED_FROM:
        check_lengths(packed)
    value = _unpackb(
        packed,
        ext_hook=_HOOK,
        use_list=False,
        strict_map_key=False,
        unicode_errors="surrogatepass",
    )
    return list(value) if mark == _LIST_OF_TUPLES else value


def _extension(value: Any) -> Any:
    """What the packer takes in place of a value that it does not know."""
    kind = type(value)
    if kind is tuple:
        return msgpack.ExtType(TUPLE, bytes(pack_any(list(value))))
    if kind is set or kind is frozenset:
        code = SET if kind is set else FROZENSET
        return msgpack.ExtType(code, _pack_set(value))
    if kind is int:
        size = value.bit_length() // 8 + 1
        return msgpack.ExtType(BIGINT, value.to_bytes(size, "little", signed=True))
    if kind is complex:
        return msgpack.ExtType(COMPLEX, _PAIR.pack(value.real, value.imag))
    described = pack_standard(value)
    if described is not None:
        return msgpack.ExtType(STANDARD, bytes(pack_any(described)))
    if arrays.is_scalar(value):
        return msgpack.ExtType(SCALAR, bytes(pack_any(arrays.pack_scalar(value))))
    if arrays.is_array(value):
        encoded = _ARRAYS.encode(value)
        (buffer,) = encoded.buffers
        content = [encoded.meta, buffer if type(buffer) is bytes else value.tobytes("A")]
        return msgpack.ExtType(ARRAY, bytes(pack_any(content)))
    raise TypeError(f"not plain: {kind.__qualname__}")


def _pack_set(values: Collection[Any]) -> bytes:
    """A packed array of the elements, in an order that the same elements always have."""
    if frozenset(map(type, values)) in _SORTABLE:
        return bytes(pack_any(sorted(values)))
    packed = sorted(bytes(pack_any(value)) for value in values)
    return b"".join((msgpack.Packer(**_BUFFER).pack_array_header(len(packed)), *packed))


def extended(depth: int, code: int, data: bytes) -> Any:
    """The value of an extension type found inside of `depth` others."""
    if depth == _MOST_HOOKS:
        raise ValueError("nested too deeply")
    if code == BIGINT:
        return int.from_bytes(data, "little", signed=True)
    if code == COMPLEX:
        return complex(*_PAIR.unpack(data))
    content = unpack_items(memoryview(data), _HOOKS[depth + 1])
    if type(content) is not list:
        raise TypeError("the content of an extension type is no array")
    if code == TUPLE:
        return tuple(content)
    if code == SET:
        return set(content)
    if code == FROZENSET:
        return frozenset(content)
    if code == STANDARD:
        return unpack_standard(content)
    if code == SCALAR:
        return arrays.unpack_scalar(content)
    if code == ARRAY:
        meta, raw = content
        return _ARRAYS.decode(meta, [memoryview(bytearray(_as_bytes(raw)))])
    raise ValueError(f"an unknown extension type: {code}")


_ARRAYS = arrays.ArrayCodec()
_HOOKS = [partial(extended, depth) for depth in range(_MOST_HOOKS + 1)]
_HOOK = _HOOKS[0]


def _as_bytes(raw: Any) -> bytes:
    if type(raw) is not bytes:
        raise TypeError("bytes expected")
    return raw
