"""Encoding: which codec a value gets, what stays inline and what becomes an object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import msgpack

from tasklineage.errors import UnstorableResult
from tasklineage.storage.codecs import arrays, registry, standard, tree
from tasklineage.storage.codecs.base import Encoded
from tasklineage.storage.codecs.describe import clipped, preview, type_name
from tasklineage.storage.codecs.pickled import CLOUDPICKLE, PICKLE, blame
from tasklineage.storage.codecs.plain import CONTAINERS, PLAIN, pack, pack_any
from tasklineage.storage.codecs.survey import FLAT, Survey, plain_kinds
from tasklineage.storage.object_layout import Buffer, Chunked, Header
from tasklineage.storage.records import Ref

NEVER_PARTS = (tree.NAME, PICKLE, CLOUDPICKLE)
"""Codecs of which no part of a tree may be: what they store may share objects with others."""

_SHORT = 100

Put: TypeAlias = Callable[[Header, Any], bytes]


class Encoder:
    """One call of `encode`: where its parts go and what they are called."""

    __slots__ = ("_digest_of", "_known", "_limit", "_path", "_put")

    def __init__(
        self,
        put: Put,
        limit: int,
        known: Callable[[bytes], Ref | None] | None,
        digest_of: Callable[[Any], bytes] | None,
        path: str,
    ) -> None:
        self._put = put
        self._limit = limit
        self._known = known
        self._digest_of = digest_of
        self._path = path

    def ref(self, value: Any, digest: bytes) -> Ref:
        """The `Ref` of the whole value."""
        if type(value) in CONTAINERS:
            return self._container(value, digest)
        if self._is_small(value):
            return self._inline_plain(value, digest, bytes(pack_any(value)), preview(value))
        if standard.is_standard(value):
            return self._stored(value, digest, PLAIN, Encoded(b"", [pack_any(value)]))
        codec = registry.codec_for(value)
        if codec is None:
            return self._nested(value, digest)
        return self._stored(value, digest, codec.name, codec.encode(value))

    def _is_small(self, value: Any) -> bool:
        """Whether `value`, no container, is plain and short."""
        kind = type(value)
        if kind is str or kind is bytes:
            return len(value) <= self._limit
        return kind in FLAT or arrays.is_scalar(value)

    def _container(self, value: Any, digest: bytes) -> Ref:
        kinds = plain_kinds(value)
        if kinds is None:
            return self._nested(value, digest)
        mark, packed = pack(value, kinds)
        size = len(mark) + len(packed)
        if size <= self._limit:
            text = clipped(repr(value)) if size <= _SHORT else preview(value)
            return self._inline_plain(value, digest, mark + packed, text)
        if len(value) <= tree.MOST_MEASURED:
            return self._nested(value, digest)
        return self._stored(value, digest, PLAIN, Encoded(mark, [packed]))

    def _nested(self, value: Any, digest: bytes) -> Ref:
        found = Survey(value, self._limit, registry.is_leaf)
        if not found.is_storable:
            return self._pickled(value, digest)
        mark, packed = b"", memoryview(b"")
        if not found.nodes:
            mark, packed = pack(value, found.kinds)
            if len(mark) + len(packed) <= self._limit:
                return self._inline_plain(value, digest, mark + packed, preview(value))
        if found.nodes or len(value) <= tree.MOST_MEASURED:
            encoded = tree.encode_tree(found, self._limit, self._part)
            if encoded is not None:
                return self._stored(value, digest, tree.NAME, encoded)
        return self._stored(value, digest, PLAIN, Encoded(mark, [packed]))

    def _part(self, value: Any) -> Ref:
        """The `Ref` of a leaf, or of a plain container, inside of the whole."""
        digest = self._digest(value)
        known = self._known(digest) if self._known is not None else None
        if known is not None and known.is_stored and known.codec not in NEVER_PARTS:
            return known
        if type(value) in CONTAINERS:
            kinds = plain_kinds(value) or Survey(value, self._limit, registry.is_leaf).kinds
            mark, packed = pack(value, kinds)
            return self._stored(value, digest, PLAIN, Encoded(mark, [packed]))
        codec = registry.codec_for(value)
        if codec is None:
            raise TypeError(f"no part of a tree: {type_name(type(value))}")
        return self._stored(value, digest, codec.name, codec.encode(value))

    def _digest(self, value: Any) -> bytes:
        if self._digest_of is None:
            from tasklineage.key.digest import digest

            self._digest_of = digest
        return self._digest_of(value)

    def _inline_plain(self, value: Any, digest: bytes, data: bytes, text: str) -> Ref:
        return Ref(digest, type_name(type(value)), PLAIN, len(data), data, None, text)

    def _stored(self, value: Any, digest: bytes, codec: str, encoded: Encoded) -> Ref:
        """The `Ref` of an encoded value: inline if it is small and no plain content."""
        name = type_name(type(value))
        size = sum(map(_length, encoded.buffers))
        data, oid = None, None
        if size <= self._limit and codec == PLAIN and not encoded.meta:
            data = _joined(encoded.buffers[0])
        elif size <= self._limit and codec != PLAIN:
            meta = [encoded.meta, *map(_joined, encoded.buffers)]
            data = msgpack.packb(meta, unicode_errors="surrogatepass")
            if encoded.children and not encoded.buffers:
                oid = encoded.children[0]
        else:
            header = Header(codec, name, encoded.meta, encoded.children)
            oid = self._put(header, encoded.buffers)
        return Ref(digest, name, codec, size + encoded.below, data, oid, preview(value))

    def _pickled(self, value: Any, digest: bytes) -> Ref:
        problem: Exception | None = None
        for codec in registry.PICKLERS:
            try:
                encoded = codec.encode(value)
            except Exception as error:  # noqa: BLE001 - code of the user's classes
                problem = error
            else:
                return self._stored(value, digest, codec.name, encoded)
        place = blame(value, self._path, registry.PICKLERS[-1].accepts)
        raise UnstorableResult(
            f"{place} cannot be stored: {problem}. Return it without that, or in a form that "
            f"pickle takes",
            value=value,
            path=place,
        ) from problem


def _length(buffer: Buffer) -> int:
    return buffer.nbytes if isinstance(buffer, Chunked | memoryview) else len(buffer)


def _joined(buffer: Buffer) -> bytes:
    return b"".join(_pieces(buffer))


def _pieces(buffer: Buffer) -> Iterator[bytes]:
    if isinstance(buffer, Chunked):
        yield from map(bytes, buffer.chunks())
    else:
        yield bytes(buffer)
