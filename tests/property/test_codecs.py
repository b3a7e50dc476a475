"""Laws of the codecs: what is decoded is what was encoded, whatever it is and wherever it went."""

from __future__ import annotations

import pickle
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import xxhash
from hypothesis import example, given

from tasklineage.errors import TasklineageError
from tasklineage.storage.codecs import decode, encode, is_present, object_ids
from tasklineage.storage.codecs.base import Undecodable
from tasklineage.storage.object_layout import Header, StoredObject, laid_out, parse
from tasklineage.storage.records import Ref
from tests.property.values import form, graphs, same, trees

limits = st.sampled_from([0, 1, 20, 200, 16 * 1024])
"""Small limits make objects and parts of small values."""


class Memory:
    """Objects in memory, by the same layout as on disk."""

    def __init__(self) -> None:
        self.files: dict[bytes, bytes] = {}

    def put(self, header: Header, buffers: Any) -> bytes:
        size, pieces = laid_out(Header(*header), buffers)
        data = b"".join(map(bytes, pieces))
        assert len(data) == size
        oid = xxhash.xxh3_128_digest(data)
        self.files[oid] = data
        return oid

    def open(self, oid: bytes) -> StoredObject:
        return parse(memoryview(bytearray(self.files[oid])))


def digest_of(value: Any) -> bytes:
    """A stand-in: parts have a digest of their content."""
    content = form(value) if type(value) is np.ndarray else pickle.dumps(value)
    return xxhash.xxh3_128_digest(repr(content).encode())


def stored(value: Any, limit: int) -> tuple[Ref, Memory]:
    memory = Memory()
    ref = encode(value, b"d" * 16, memory.put, limit=limit, digest_of=digest_of)
    return Ref(*_through_msgpack(ref)), memory


def _through_msgpack(ref: Ref) -> Any:
    """A record holds what msgpack holds."""
    import msgpack

    return msgpack.unpackb(msgpack.packb(tuple(ref)))


@given(trees, limits)
@example([(1, 2), [3]], 0)
@example({1: [], "a": (), (1, (2.0,)): frozenset()}, 0)
@example([[1]] * 2, 0)
@example(-(2**63), 0)
@example(2**64, 0)
@example([2**64], 0)
@example((2**64,), 0)
@example("\udc80", 0)
@example([np.float64(0.5), np.array(1.5), np.array([], "f4")], 0)
@example({"a": np.zeros(3, [("x", "<i4"), ("y", ">f8", (2,))])}, 0)
def test_a_decoded_value_is_the_encoded_one(value: Any, limit: int) -> None:
    ref, memory = stored(value, limit)
    assert same(value, decode(ref, memory.open))


@given(trees, limits)
def test_native_values_need_no_pickle(value: Any, limit: int) -> None:
    ref, memory = stored(value, limit)
    assert same(value, decode(ref, memory.open, allow_pickle=False))


@given(graphs(), limits)
def test_shared_and_cyclic_containers_keep_their_structure(value: Any, limit: int) -> None:
    ref, memory = stored(value, limit)
    assert same(value, decode(ref, memory.open, allow_pickle=False))


@given(trees, limits)
def test_each_decoding_is_a_value_of_its_own(value: Any, limit: int) -> None:
    ref, memory = stored(value, limit)
    first, second = decode(ref, memory.open), decode(ref, memory.open)
    for part in mutable_parts(first):
        spoil(part)
    assert same(value, second)
    assert same(value, decode(ref, memory.open))


@given(trees | graphs(), limits)
def test_encoding_leaves_the_value_as_it_is(value: Any, limit: int) -> None:
    before = pickle.dumps(value)
    stored(value, limit)
    assert pickle.dumps(value) == before


@given(trees | graphs(), limits)
def test_the_ids_of_a_value_are_those_of_its_objects(value: Any, limit: int) -> None:
    ref, memory = stored(value, limit)
    ids = object_ids(ref, memory.open)
    assert set(ids) == set(memory.files)
    assert is_present(ref, memory.files.__contains__, memory.open)
    for oid in ids:
        assert not is_present(ref, (set(memory.files) - {oid}).__contains__, memory.open)


@given(trees, limits)
def test_encoding_is_deterministic(value: Any, limit: int) -> None:
    first, _ = stored(value, limit)
    second, _ = stored(value, limit)
    assert first == second


@given(trees | graphs(), limits)
def test_the_description_is_short_and_the_size_is_known(value: Any, limit: int) -> None:
    ref, _ = stored(value, limit)
    assert len(ref.preview) <= 120
    assert ref.type.split(".")[-1] == type(value).__qualname__
    assert ref.nbytes > 0 or ref.codec in ("numpy", "bytearray", "text", "bytes")


@given(trees, limits)
def test_the_digest_of_a_decoded_value_is_that_of_the_encoded_one(value: Any, limit: int) -> None:
    key = pytest.importorskip("tasklineage.key.digest")
    ref, memory = stored(value, limit)
    assert key.digest(decode(ref, memory.open)) == key.digest(value)


@given(trees | graphs(), limits, st.data())
def test_damaged_content_is_an_error_of_ours_or_another_value(
    value: Any, limit: int, data: st.DataObject
) -> None:
    ref, memory = stored(value, limit)
    files = {oid: bytearray(content) for oid, content in memory.files.items()}
    inline = bytearray(ref.data or b"")
    targets = [content for content in (*files.values(), inline) if content]
    content = data.draw(st.sampled_from(targets))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    decode_anyhow(ref._replace(data=bytes(inline) if ref.data else None), files)


@given(st.binary(max_size=200), st.sampled_from(["plain", "numpy", "text", "bytes", "tree"]))
@example(b"", "plain")
@example(b"\xc1", "plain")
@example(b"\xc1T", "plain")
@example(b"\xdd\xff\xff\xff\xff", "plain")
def test_any_bytes_are_an_error_of_ours_or_a_value(content: bytes, codec: str) -> None:
    decode_anyhow(Ref(b"", "T", codec, 0, content), {})


def decode_anyhow(ref: Ref, files: dict[bytes, Any]) -> None:
    def open_object(oid: bytes) -> StoredObject:
        from tasklineage.errors import CorruptObject

        try:
            return parse(memoryview(files[oid]))
        except Exception as error:  # as `Objects.open` would for bytes of the wrong hash
            raise CorruptObject("damaged") from error

    try:
        decode(ref, open_object, allow_pickle=False)
    except TasklineageError as error:
        if isinstance(error, Undecodable):
            assert "codec" in str(error) or "does not decode here" in str(error)


def mutable_parts(value: Any) -> list[Any]:
    found: list[Any] = []
    pending = [value]
    while pending:
        item = pending.pop()
        if type(item) in (list, dict, set, bytearray, np.ndarray):
            found.append(item)
        if type(item) in (list, tuple):
            pending.extend(item)
        elif type(item) is dict:
            pending.extend(item.values())
    return found


def spoil(part: Any) -> None:
    if type(part) is np.ndarray:
        assert part.flags.writeable
        if part.size:
            memoryview(part.reshape(-1, order="A").view("u1"))[0] ^= 1
    elif type(part) is bytearray:
        part.append(1)
    else:
        part.clear()
