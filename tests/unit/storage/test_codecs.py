"""Codecs: which value goes where, what it costs, what is refused, and what hostile bytes can do."""

from __future__ import annotations

import collections
import dataclasses
import enum
import gc
import math
import os
import pickle
import sys
import threading
import time
import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import xxhash

from tasklineage.core.inputs import Inputs
from tasklineage.errors import CorruptObject, MissingObject, UnsafeFormat, UnstorableResult
from tasklineage.storage import codecs
from tasklineage.storage.codecs import LIMIT, Undecodable, describe, registry
from tasklineage.storage.codecs.base import Codec, Encoded
from tasklineage.storage.codecs.describe import preview
from tasklineage.storage.object_layout import Header
from tasklineage.storage.objects import Objects
from tasklineage.storage.records import Ref
from tests.property.values import depth_of, form, nested, same

DIGEST = b"d" * 16


class Point:
    """A class that pickle can name."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and self.x == other.x

    __hash__ = None  # type: ignore[assignment]


class Slotted:
    __slots__ = ("first", "second")

    def __init__(self, first: Any, second: Any) -> None:
        self.first = first
        self.second = second


class Colour(enum.Enum):
    RED = 1


class Text(str):
    """A subclass: plain it is not."""


Pair = collections.namedtuple("Pair", "x y")


@dataclasses.dataclass
class Row:
    a: int
    b: list[int]


class Bomb:
    """Leaves a trace when it is unpickled."""

    fuse: list[str] = []  # noqa: RUF012

    def __reduce__(self) -> Any:
        return self.fuse.append, ("boom",)


def digest_of(value: Any) -> bytes:
    content = form(value) if type(value) is np.ndarray else pickle.dumps(value)
    return xxhash.xxh3_128_digest(repr(content).encode())


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    root = tmp_path / "store"
    root.mkdir(mode=0o700)
    return Objects(root)


def encode(value: Any, objects: Objects, **options: Any) -> Ref:
    return codecs.encode(value, DIGEST, objects.put, digest_of=digest_of, **options)


def through(value: Any, objects: Objects, **options: Any) -> Any:
    return codecs.decode(encode(value, objects), objects.open, **options)


def inline(data: bytes, codec: str = "plain") -> Ref:
    return Ref(DIGEST, "T", codec, len(data), data)


def file_count(objects: Objects) -> int:
    return sum(len(names) for _, _, names in os.walk(objects.root))


# -- where values go ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (None, "NoneType", "None"),
        (True, "bool", "True"),
        (7, "int", "7"),
        (-(2**70), "int", str(-(2**70))),
        (0.5, "float", "0.5"),
        ("a'b", "str", '"a\'b"'),
        (b"x", "bytes", "b'x'"),
        (2j, "complex", "2j"),
        ([1, "a"], "list", "[1, 'a']"),
        ((1,), "tuple", "(1,)"),
        ({"loss": 0.1}, "dict", "{'loss': 0.1}"),
        (set(), "set", "set()"),
        (frozenset(), "frozenset", "frozenset()"),
        (np.float64(0.5), "numpy.float64", "0.5"),
        ([(1, 2), [3]], "list", "[(1, 2), [3]]"),
    ],
)
def test_a_small_plain_value_is_inline(value: Any, kind: str, text: str, objects: Objects) -> None:
    ref = encode(value, objects)
    assert ref.codec == "plain"
    assert ref.digest == DIGEST
    assert ref.oid is None
    assert ref.type == kind
    assert ref.preview == text
    assert ref.nbytes == len(ref.data or b"")
    assert file_count(objects) == 0
    assert same(value, codecs.decode(ref, objects.open))


@pytest.mark.parametrize(
    ("value", "codec"),
    [
        ("x" * 20_000, "text"),
        ("ü\udc80" * 10_000, "text"),
        (b"x" * 20_000, "bytes"),
        (bytearray(20_000), "bytearray"),
        (np.zeros(5_000), "numpy"),
        (list(range(50_000)), "plain"),
        ([(n, n) for n in range(20_000)], "plain"),
        ([[n, 2**70] for n in range(20_000)], "plain"),
        (tuple(range(20_000)), "plain"),
        ({str(n): n for n in range(20_000)}, "plain"),
        (set(range(20_000)), "plain"),
        (Point(np.zeros(5_000)), "pickle"),
    ],
)
def test_a_large_value_is_one_object(value: Any, codec: str, objects: Objects) -> None:
    ref = encode(value, objects)
    assert ref.codec == codec
    assert ref.data is None
    assert ref.oid is not None
    assert file_count(objects) == 1
    assert objects.open(ref.oid).header[:2] == (codec, ref.type)
    decoded = codecs.decode(ref, objects.open)
    assert type(decoded) is type(value)
    if codec == "pickle":
        assert same(decoded.x, value.x)
    else:
        assert same(decoded, value)


@pytest.mark.parametrize(
    ("value", "codec"),
    [
        (bytearray(b"x"), "bytearray"),
        (np.arange(3), "numpy"),
        (Point(1), "pickle"),
        (Row(1, [2]), "tree"),
        (Colour.RED, "tree"),
        (Text("a"), "pickle"),
        (Pair(1, 2), "tree"),
        ([Text("a")], "pickle"),
        ({"p": Point([1])}, "pickle"),
        (range(3), "plain"),
        (collections.OrderedDict(a=1), "tree"),
        (collections.defaultdict(list, a=[1]), "tree"),
        (collections.defaultdict(Point, a=[1]), "pickle"),
        (len, "pickle"),
        (Point, "pickle"),
    ],
)
def test_what_is_small_and_not_plain_is_inline_under_its_codec(
    value: Any, codec: str, objects: Objects
) -> None:
    ref = encode(value, objects)
    assert ref.codec == codec
    assert ref.oid is None
    decoded = codecs.decode(ref, objects.open)
    assert type(decoded) is type(value)
    assert decoded == value if type(value) is not np.ndarray else same(decoded, value)


def test_enum_members_functions_and_classes_come_back_as_themselves(objects: Objects) -> None:
    for value in (Colour.RED, len, Point, os.path.join):
        assert through(value, objects) is value


def test_the_limit_decides_between_inline_and_object(objects: Objects) -> None:
    assert encode(b"x" * 100, objects, limit=100).oid is None
    assert encode(b"x" * 101, objects, limit=100).oid is not None
    assert encode([1] * 97, objects, limit=100).oid is None
    assert encode([1] * 98, objects, limit=100).oid is not None


# -- plain values ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        float("nan"), -0.0, 0.0, math.inf, 5e-324, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1,
        pytest.param(10**5000, id="huge"), complex(-0.0, math.nan),
        "\udc80", "\ud83d\ude00", "\x00", "", b"", [], (), {},
        [[]], ((),), {(): ()}, {1: 1, 1.5: 2, "1": 3, b"1": 4, None: 5, (1, "a"): 6},
        {frozenset({1, (2, 3)}): 1}, [True, 1, 1.0], {2: "b", 1: "a"}, (1, [2, (3, {4: (5,)})]),
        [(1,), (2,)], [(1, (2,))], ({"a": (1,)},), {"a": [1]}, {"a": (1, 2)}, [{"a": 1}, {"b": 2}],
        {"x": {1, 2}}, [{(1, 2)}], [2**64, (1,)], (2**64, 1), [1j], [np.float32(1.5)],
        np.datetime64("2024-01-01T00:00"), np.timedelta64(5, "s"), np.datetime64("NaT", "D"),
        np.str_("a\x00"), np.bytes_(b"a\x00"), np.bool_(True), np.int8(-1), np.complex64(1j),
        np.longdouble("0.1"), np.void(b"abc"),
        np.array([(1, 2.5)], [("a", "i4"), ("b", "f8")])[0],
        {"acc": np.float64(0.5), 1: np.array([1, 2])}, [np.array(5), np.zeros((0, 3))],
    ],
)  # fmt: skip
def test_plain_values_come_back_exactly(value: Any, objects: Objects) -> None:
    assert encode(value, objects).codec == "plain"
    assert same(value, through(value, objects, allow_pickle=False))


def test_equal_sets_have_equal_bytes(objects: Objects) -> None:
    words = ["ab", "cd", "ef", "gh", "ij"] * 2
    mixed: list[Any] = [*words, 1, 2.5, None, (1, 2), b"x"]
    for items in (words, mixed):
        refs = {encode(set(order), objects).data for order in (items, items[::-1])}
        assert len(refs) == 1


def test_native_looking_types_are_not_taken_for_others(objects: Objects) -> None:
    for value in (msgpack.ExtType(5, b"x"), msgpack.Timestamp(1), [msgpack.ExtType(3, b"")]):
        assert same(value, through(value, objects))
        assert encode(value, objects).codec == "pickle"
    assert type(through([bytearray(b"x")], objects)[0]) is bytearray


@pytest.mark.parametrize("kind", [list, tuple, dict, frozenset])
@pytest.mark.parametrize("depth", [1, 40, 44, 45, 46, 47, 48, 49, 50, 60, 100, 10_000])
def test_any_depth_comes_back_without_pickle(kind: type, depth: int, objects: Objects) -> None:
    value = nested(depth, kind)
    ref = encode(value, objects)
    if not 40 < depth < 60:
        assert ref.codec == ("plain" if depth <= 40 else "tree")
    assert len(ref.preview) <= 120
    decoded = codecs.decode(ref, objects.open, allow_pickle=False)
    assert type(decoded) is kind
    assert depth_of(decoded) == depth


def test_shared_and_cyclic_containers_keep_their_structure(objects: Objects) -> None:
    shared = [1]
    first, second = through([shared, shared], objects, allow_pickle=False)
    assert first is second
    cycle: list[Any] = [1]
    cycle.append({"me": cycle, "pair": (cycle,)})
    decoded = through(cycle, objects, allow_pickle=False)
    assert decoded[1]["me"] is decoded
    assert decoded[1]["pair"][0] is decoded


def test_one_array_in_two_places_stays_one(objects: Objects) -> None:
    for size in (3, 5_000):
        array = np.zeros(size)
        decoded = through({"a": array, "b": [array]}, objects, allow_pickle=False)
        assert decoded["a"] is decoded["b"][0]
        decoded["a"][0] = 1
        assert decoded["b"][0][0] == 1


def test_what_is_decoded_is_new_each_time(objects: Objects) -> None:
    values: list[Any] = [[1, 2], {"a": [1]}, np.zeros(3), np.zeros(50_000), bytearray(b"x")]
    for value in values:
        ref = encode(value, objects)
        first = codecs.decode(ref, objects.open)
        first[0 if not isinstance(first, dict) else "a"] = 99
        assert same(codecs.decode(ref, objects.open), value)


# -- arrays ------------------------------------------------------------------------------------

ARRAYS = [
    np.arange(6.0).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(10)[::2],
    np.arange(10)[::-1],
    np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
    np.array(3.5),
    np.zeros((0, 5)),
    np.zeros((3, 0)),
    np.array(["a", "bcd"]),
    np.array([b"a", b"bcd"]),
    np.array(["2024-01-01", "NaT"], "M8[ns]"),
    np.array([1, 2], "m8[25s]"),
    np.array([1, 2], ">i4"),
    np.array([1, 2], "f2"),
    np.array([1, 2], "G"),
    np.array([True, False]),
    np.array([b"abc"], "V3"),
    np.zeros(2, [("a", "i1"), ("b", ">f8", (2, 2)), ("c", [("d", "U3")])]),
    np.zeros(2, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    np.zeros(2, np.dtype({"names": ["b", "a"], "formats": ["i4", "i2"], "offsets": [8, 2]})),
    np.zeros(2, np.dtype({"names": ["a", "b"], "formats": ["i4", "i2"], "offsets": [0, 2]})),
    np.zeros(2, np.dtype([(("title", "name"), "i4")])),
    np.zeros(3, np.dtype([])),
    np.broadcast_to(np.arange(3), (4, 3)),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}"[:40])
@pytest.mark.parametrize("limit", [0, LIMIT])
def test_arrays_keep_dtype_shape_order_and_bits(array: Any, limit: int, objects: Objects) -> None:
    ref = encode(array, objects, limit=limit)
    assert ref.codec == "numpy"
    decoded = codecs.decode(ref, objects.open, allow_pickle=False)
    assert same(array, decoded)
    assert decoded.flags.writeable
    assert decoded.dtype.isalignedstruct == array.dtype.isalignedstruct


@pytest.mark.parametrize(
    "value",
    [
        np.array([1, "a", None], object),
        np.zeros(2, [("a", object)]),
        np.zeros(2, np.dtype("i4", metadata={"unit": "m"})),
        np.ma.masked_array([1, 2], [True, False]),
        np.zeros(2, "V0"),
        np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    ],
    ids=["object", "object field", "metadata", "masked", "empty void", "record"],
)
def test_arrays_that_bytes_cannot_say_are_pickled(value: Any, objects: Objects) -> None:
    ref = encode(value, objects)
    assert ref.codec == "pickle"
    decoded = codecs.decode(ref, objects.open)
    assert type(decoded) is type(value)
    assert decoded.dtype == value.dtype
    assert decoded.tolist() == value.tolist()


def test_a_memory_mapped_array_comes_back(tmp_path: Path, objects: Objects) -> None:
    np.save(tmp_path / "a.npy", np.arange(100_000))
    value = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert (through(value, objects) == np.arange(100_000)).all()


def test_a_mapped_array_is_writable_and_the_store_is_not_touched(objects: Objects) -> None:
    array = np.arange(1_000_000.0)
    ref = encode(array, objects)
    first = codecs.decode(ref, objects.open)
    first[:] = -1
    first.sort()
    assert same(codecs.decode(ref, objects.open), array)


def test_a_mapped_array_is_freed_with_its_last_view(objects: Objects) -> None:
    ref = encode(np.arange(1_000_000.0), objects)
    array = codecs.decode(ref, objects.open)
    view = array[10:20]
    alive = weakref.ref(array)
    del array
    gc.collect()
    assert view[0] == 10.0
    del view
    gc.collect()
    assert alive() is None


def test_storing_and_loading_an_array_takes_no_copy(objects: Objects) -> None:
    size = 32 << 20
    for array in (
        np.zeros(size, "u1"),
        np.zeros((2, size // 2), "u1", order="F"),
        np.zeros(2 * size, "u1")[::2],
    ):
        array.flat[:100] = 7
        tracemalloc.start()
        ref = encode(array, objects)
        decoded = codecs.decode(ref, objects.open)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 0.2 * size
        assert (decoded.flat[:200] == array.flat[:200]).all()


def test_storing_long_text_takes_no_copy(objects: Objects) -> None:
    for text in ("x" * (32 << 20), "ü" * (16 << 20)):
        tracemalloc.start()
        ref = encode(text, objects)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 0.2 * (32 << 20)
        assert codecs.decode(ref, objects.open) == text


# -- trees -------------------------------------------------------------------------------------


def test_a_container_with_large_parts_is_a_tree_of_objects(objects: Objects) -> None:
    value = {"X": np.arange(5_000.0), "y": np.arange(5_000), "rows": [[1, "a"]] * 0, "n": 3}
    ref = encode(value, objects)
    assert ref.codec == "tree"
    assert ref.data is not None
    assert file_count(objects) == 2
    assert ref.nbytes > 80_000
    assert same(value, codecs.decode(ref, objects.open))


def test_a_part_is_stored_once_by_itself_and_in_containers(objects: Objects) -> None:
    array = np.arange(5_000.0)
    alone = encode(array, objects)
    encode((array, 1), objects)
    encode({"again": array.copy(), "more": [array.copy()]}, objects)
    assert file_count(objects) == 1
    assert alone.oid in codecs.object_ids(encode([array, "x"], objects), objects.open)


def test_a_known_part_is_not_written_again(objects: Objects) -> None:
    array = np.asfortranarray(np.arange(5_000.0).reshape(50, 100))
    known = encode(array, objects)._replace(digest=digest_of(array))
    asked: list[bytes] = []

    def find(digest: bytes) -> Ref | None:
        asked.append(digest)
        return known if digest == known.digest else None

    def put(header: Header, buffers: Any) -> bytes:
        raise AssertionError("it is there")

    ref = codecs.encode([array], DIGEST, put, known=find, digest_of=digest_of)
    assert asked == [known.digest]
    assert codecs.object_ids(ref, objects.open) == (known.oid,)
    assert same(codecs.decode(ref, objects.open), [array])


@pytest.mark.parametrize("codec", ["tree", "pickle", "cloudpickle"])
def test_a_known_part_that_may_share_objects_is_written_anew(codec: str, objects: Objects) -> None:
    array = np.arange(5_000.0)
    known = Ref(b"", "list", codec, 1, b"x")
    ref = encode([array], objects, known=lambda _: known)
    assert same(codecs.decode(ref, objects.open), [array])


def test_large_plain_parts_are_objects_too(objects: Objects) -> None:
    rows = [{"a": n, "b": str(n)} for n in range(5_000)]
    split = (rows[:4_000], rows[4_000:], {"text": "x" * 20_000})
    ref = encode(split, objects)
    assert ref.codec == "tree"
    parts = codecs.object_ids(ref, objects.open)
    assert len(parts) == 2
    assert {objects.open(oid).header.codec for oid in parts} == {"plain"}
    assert same(split, codecs.decode(ref, objects.open))
    first = encode(rows[:4_000], objects)
    assert first.oid in parts


def test_a_wide_container_of_small_things_is_one_object(objects: Objects) -> None:
    value = [{"a": [n]} for n in range(3_000)]
    assert encode(value, objects).codec == "plain"
    assert encode({"all": value, "n": 1}, objects).codec == "tree"
    assert file_count(objects) == 1


def test_a_wide_list_of_numpy_scalars_is_one_object(objects: Objects) -> None:
    value = [np.float32(n) for n in range(3_000)]
    assert encode(value, objects).codec == "plain"
    assert file_count(objects) == 1
    assert same(value, through(value, objects))


def test_parts_have_the_digests_of_the_key(objects: Objects) -> None:
    from tasklineage.key.digest import digest

    asked: list[bytes] = []
    array = np.arange(5_000.0)
    codecs.encode([array], DIGEST, objects.put, known=asked.append)
    assert asked == [digest(array)]


def test_the_parts_of_a_damaged_tree_are_not_guessed(objects: Objects) -> None:
    ref = inline(msgpack.packb([None, b"\x05"]), "tree")
    with pytest.raises(CorruptObject):
        codecs.object_ids(ref, objects.open)
    assert not codecs.is_present(ref, objects.has, objects.open)


def test_a_tree_with_a_large_skeleton_is_an_object_with_children(objects: Objects) -> None:
    value = [*range(20_000), np.zeros(5_000)]
    ref = encode(value, objects)
    assert ref.oid is not None
    header = objects.open(ref.oid).header
    assert header.codec == "tree"
    assert codecs.object_ids(ref, objects.open) == (ref.oid, *header.children)
    assert same(value, codecs.decode(ref, objects.open))


def test_a_container_is_present_only_with_all_its_parts(objects: Objects) -> None:
    for value in ([np.zeros(5_000)], [*range(20_000), np.zeros(5_000)]):
        ref = encode(value, objects)
        assert codecs.is_present(ref, objects.has, objects.open)
        part = codecs.object_ids(ref, objects.open)[-1]
        os.unlink(objects.path(part))
        assert not codecs.is_present(ref, objects.has, objects.open)
        with pytest.raises(MissingObject):
            codecs.decode(ref, objects.open)
        assert encode(value, objects) == ref
        assert same(codecs.decode(ref, objects.open), value)
        if ref.oid is not None:
            os.unlink(objects.path(ref.oid))
            assert not codecs.is_present(ref, objects.has, objects.open)


def test_a_described_value_is_not_present(objects: Objects) -> None:
    ref = Ref(DIGEST, "numpy.ndarray", "", 10, preview="float64 (100, 3)")
    assert not codecs.is_present(ref, objects.has, objects.open)
    assert codecs.object_ids(ref, objects.open) == ()
    with pytest.raises(MissingObject, match=r"described.*float64 \(100, 3\)"):
        codecs.decode(ref, objects.open)


def test_what_only_pickle_takes_keeps_the_identity_of_its_neighbours(objects: Objects) -> None:
    array = np.zeros(5_000)
    decoded = through({"model": Point(array), "weights": array}, objects)
    assert decoded["model"].x is decoded["weights"]
    decoded["weights"][0] = 1
    assert decoded["model"].x[0] == 1


# -- pickle ------------------------------------------------------------------------------------


def test_pickled_arrays_are_mapped_and_writable(objects: Objects) -> None:
    array = np.arange(1_000_000.0)
    ref = encode(Point(array), objects)
    assert ref.oid is not None
    _, buffers = objects.open(ref.oid)
    assert len(buffers) == 2
    assert buffers[1].nbytes == array.nbytes
    decoded = codecs.decode(ref, objects.open)
    decoded.x[0] = 5
    assert codecs.decode(ref, objects.open).x[0] == 0


def test_small_pickled_arrays_are_writable(objects: Objects) -> None:
    decoded = through(Point(np.arange(3)), objects)
    decoded.x[0] = 5
    assert decoded.x.tolist() == [5, 1, 2]


def test_large_bytes_inside_a_pickled_value_are_not_copied(objects: Objects) -> None:
    value = Point(os.urandom(32 << 20))
    tracemalloc.start()
    ref = encode(value, objects)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.2 * (32 << 20)
    assert codecs.decode(ref, objects.open) == value


def test_lambdas_closures_and_local_classes_go_by_cloudpickle(objects: Objects) -> None:
    offset = 10

    class Local:
        def value(self) -> int:
            return offset

    double = encode(lambda x: 2 * x, objects)
    assert double.codec == "cloudpickle"
    assert codecs.decode(double, objects.open)(4) == 8
    assert through(Local(), objects).value() == 10
    assert through({"f": [lambda: offset]}, objects)["f"][0]() == 10


@pytest.mark.parametrize(
    "value", [Point(1), [Point(1)], lambda: 1, np.array([None])], ids=["a", "b", "c", "d"]
)
@pytest.mark.parametrize("limit", [0, LIMIT])
def test_pickle_is_refused_where_it_is_not_allowed(
    value: Any, limit: int, objects: Objects
) -> None:
    ref = encode(value, objects, limit=limit)

    def unread(oid: bytes) -> Any:
        raise AssertionError("read before it was refused")

    with pytest.raises(UnsafeFormat, match="allow_pickle=False"):
        codecs.decode(ref, unread, allow_pickle=False)


def test_a_pickle_under_another_name_runs_no_code(objects: Objects) -> None:
    Bomb.fuse.clear()
    stream = pickle.dumps(Bomb())
    oid = objects.put(Header("pickle", "T"), [stream])
    packed = msgpack.packb([None, stream])
    part = [DIGEST, "T", "pickle", 1, packed, None, ""]
    skeleton = msgpack.packb([[[0, msgpack.ExtType(9, b"\0\0\0\0")]], [part]])
    attempts = [
        Ref(DIGEST, "T", codec, 1, oid=oid)
        for codec in ("plain", "numpy", "text", "bytes", "bytearray", "tree")
    ]
    attempts += [inline(packed, codec) for codec in ("plain", "numpy", "text", "tree")]
    attempts += [inline(msgpack.packb([None, skeleton]), "tree")]
    for ref in attempts:
        for allow in (False, True):
            try:
                codecs.decode(ref, objects.open, allow_pickle=allow)
            except CorruptObject:
                continue
    assert Bomb.fuse == []


def test_a_class_that_is_gone_is_undecodable(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = encode(Point(1), objects)
    monkeypatch.delattr(sys.modules[__name__], "Point")
    with pytest.raises(Undecodable, match="Point") as caught:
        codecs.decode(ref, objects.open)
    assert isinstance(caught.value.__cause__, AttributeError)
    assert caught.value.codec == "pickle"
    assert caught.value.type.endswith(".Point")


def test_a_class_that_raises_is_undecodable(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = encode(Point(1), objects)

    def refuse(self: Any, state: Any) -> None:
        raise KeyError("changed")

    monkeypatch.setattr(Point, "__setstate__", refuse, raising=False)
    with pytest.raises(Undecodable, match="KeyError"):
        codecs.decode(ref, objects.open)


def test_running_out_of_memory_is_no_fault_of_the_bytes(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = encode(Point(1), objects)

    def exhausted(self: Any, state: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(Point, "__setstate__", exhausted, raising=False)
    with pytest.raises(MemoryError):
        codecs.decode(ref, objects.open)


# -- what cannot be stored ---------------------------------------------------------------------


class Holder:
    def __init__(self, hook: Any) -> None:
        self.hook = hook
        self.other = 1


@pytest.mark.parametrize(
    ("build", "path"),
    [
        (lambda bad: bad, "result"),
        (lambda bad: [1, bad], "result[1]"),
        (lambda bad: {"model": Holder(bad)}, "result['model'].hook"),
        (lambda bad: {"a": 1, 7: (0, {"b": bad})}, "result[7][1]['b']"),
        (lambda bad: Slotted(1, [bad]), "result.second[0]"),
        (lambda bad: Pair(1, Holder([bad])), "result.y.hook[0]"),
        (lambda bad: {(1, 2): bad}, "result[…]"),
        (lambda bad: [np.zeros(5_000), Holder({"x": Holder(bad)})], "result[1].hook['x'].hook"),
    ],
)
def test_what_cannot_be_stored_is_named(build: Any, path: str, objects: Objects) -> None:
    bad = threading.Lock()
    value = build(bad)
    with pytest.raises(UnstorableResult) as caught:
        encode(value, objects)
    assert caught.value.path == path
    assert caught.value.value is value
    assert str(caught.value).startswith(f"{path} cannot be stored: ")
    assert "lock" in str(caught.value)
    assert caught.value.__cause__ is not None
    assert file_count(objects) == 0


def test_what_would_come_back_as_something_else_cannot_be_stored(objects: Objects) -> None:
    with open(os.devnull) as file:
        for bad in ((n for n in range(3)), file, memoryview(b"x")):
            with pytest.raises(UnstorableResult):
                encode([bad], objects)


def test_a_cycle_around_what_cannot_be_stored_is_no_endless_search(objects: Objects) -> None:
    value = Holder(None)
    value.hook = [value, threading.Lock()]
    with pytest.raises(UnstorableResult) as caught:
        encode(value, objects)
    assert caught.value.path == "result.hook[1]"


def test_an_endless_chain_of_objects_is_an_error_of_ours(objects: Objects) -> None:
    value = Holder(None)
    for _ in range(100_000):
        value = Holder(value)
    with pytest.raises(UnstorableResult):
        encode(value, objects)
    while value is not None:  # so that freeing it does not recurse either
        value = value.hook


def test_a_value_that_cannot_even_be_looked_into_is_named_as_a_whole(objects: Objects) -> None:
    class Shy(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            raise PermissionError

    with pytest.raises(UnstorableResult, match="lock") as caught:
        encode([Shy(a=threading.Lock())], objects)
    assert caught.value.path == "result[0]"


def test_the_caller_names_the_value(objects: Objects) -> None:
    with pytest.raises(UnstorableResult) as caught:
        encode([threading.Lock()], objects, path="train(x)")
    assert caught.value.path == "train(x)[0]"


# -- hostile bytes -----------------------------------------------------------------------------

HOSTILE = {
    "empty": b"",
    "a mark alone": b"\xc1",
    "an unknown mark": b"\xc1Zx",
    "a mark and nothing": b"\xc1T",
    "a list of tuples that is none": b"\xc1L\x01",
    "an array that is not there": b"\xdd\xff\xff\xff\xff",
    "arrays in arrays": b"\xdd\x00\x00\x40\x00" * 3_000,
    "tuples in tuples": b"\xc1T" + b"\xdd\x00\x00\x40\x00" * 3_000,
    "maps in maps": b"\xdf\x00\x00\x20\x00" * 3_000,
    "deep arrays": b"\x91" * 100_000 + b"\xc0",
    "deep maps": b"\x81\x01" * 100_000 + b"\xc0",
    "text that is not there": b"\xdb\xff\xff\xff\xff",
    "bytes that are not there": b"\xc6\xff\xff\xff\xff",
    "an extension that is not there": b"\xc9\xff\xff\xff\xff\x01",
    "an unknown extension": msgpack.packb(msgpack.ExtType(99, b"x")),
    "a node": msgpack.packb(msgpack.ExtType(8, b"\0\0\0\0")),
    "half a complex": msgpack.packb(msgpack.ExtType(2, b"123")),
    "a tuple of no array": msgpack.packb(msgpack.ExtType(3, b"\x01")),
    "a set of lists": msgpack.packb(msgpack.ExtType(4, b"\x91\x90")),
    "a list as a key": b"\x81\x90\x01",
    "no text": b"\xa1\xff",
    "more behind": b"\x01\x02",
    "a reserved byte": b"\x91\xc1",
    "a scalar of objects": msgpack.packb(msgpack.ExtType(6, msgpack.packb(["|O", b"x" * 8]))),
    "a scalar of code": msgpack.packb(msgpack.ExtType(6, msgpack.packb(["f8,O", b"x" * 16]))),
    "a short scalar": msgpack.packb(msgpack.ExtType(6, msgpack.packb(["<f8", b"x"]))),
    "an array of a map": msgpack.packb(msgpack.ExtType(7, b"\x80")),
    "an array of a number": msgpack.packb(
        msgpack.ExtType(7, msgpack.packb([["<f8", [1], "C"], 10**12]))
    ),
    "a text scalar of bytes": msgpack.packb(msgpack.ExtType(6, msgpack.packb(["U", b"x"]))),
}


def hostile_tuples() -> bytes:
    data = b"\x90"
    for _ in range(3_000):
        data = msgpack.packb(msgpack.ExtType(3, b"\x91" + data))
    return data


HOSTILE["tuples deeper than any"] = hostile_tuples()


def array_bytes(described: Any, shape: Any, order: Any = "C", raw: Any = b"") -> bytes:
    packed: bytes = msgpack.packb([[described, shape, order], raw])
    return packed


HOSTILE_ARRAYS = {
    "objects": array_bytes("|O", [1], raw=b"x" * 8),
    "objects in fields": array_bytes([["a"], ["|O"], [0], 8, False, None], [1], raw=b"x" * 8),
    "too large": array_bytes("<f8", [2**40]),
    "overflowing": array_bytes("<f8", [2**62, 2**62, 4]),
    "negative": array_bytes("<f8", [-1, -1], raw=b"x" * 8),
    "nothing times a lot": array_bytes("<f8", [0, 2**63]),
    "many dimensions": array_bytes("<f8", [1] * 100, raw=b"x" * 8),
    "no shape": array_bytes("<f8", None),
    "a float as shape": array_bytes("<f8", [1.0], raw=b"x" * 8),
    "no order": array_bytes("<f8", [1], "Z", b"x" * 8),
    "an expression": array_bytes("__import__('os')", [1], raw=b"x"),
    "a long name": array_bytes("<U99999999999999", [1], raw=b"x"),
    "fields outside": array_bytes([["a"], ["<f8"], [100], 8, False, None], [1], raw=b"x" * 8),
    "negative offset": array_bytes([["a"], ["<f8"], [-8], 8, False, None], [1], raw=b"x" * 8),
    "deep": array_bytes(__import__("functools").reduce(
        lambda inner, _: [inner, [1]], range(400), "<f8"), [1], raw=b"x" * 8),
    "a large subarray": array_bytes([["a"], [["<f8", [2**29]]], [0], 8, False, None], [1]),
    "two buffers": msgpack.packb([["<f8", [1], "C"], b"x" * 8, b"y"]),
    "no buffer": msgpack.packb([["<f8", [1], "C"]]),
    "a number as buffer": msgpack.packb([["<f8", [1], "C"], 10**12]),
    "no meta": msgpack.packb([None, b"x" * 8]),
}  # fmt: skip


def node(number: int) -> Any:
    return msgpack.ExtType(8, number.to_bytes(4, "big"))


def part(number: int) -> Any:
    return msgpack.ExtType(9, number.to_bytes(4, "big"))


def tree_bytes(rows: Any, refs: Any = ()) -> bytes:
    packed: bytes = msgpack.packb([None, msgpack.packb([rows, list(refs)])])
    return packed


PLAIN_PART = [DIGEST, "int", "plain", 1, b"\x01", None, ""]
DOUBLED: list[Any] = [*[[1, node(n + 1), node(n + 1)] for n in range(1, 60)], [1, 5]]

HOSTILE_TREES = {
    "no rows": tree_bytes([]),
    "rows of no kind": tree_bytes([[9]]),
    "an empty row": tree_bytes([[]]),
    "a negative kind": tree_bytes([[-1]]),
    "no list": tree_bytes(5),
    "a node that is not there": tree_bytes([[0, node(7)]]),
    "a part that is not there": tree_bytes([[0, part(0)]]),
    "tuples in each other": tree_bytes([[1, node(1)], [1, node(0)]]),
    "a tuple in itself": tree_bytes([[1, node(0)]]),
    "a list as a key": tree_bytes([[2, node(1), 1], [0]]),
    "half a pair": tree_bytes([[2, 1]]),
    "a set of lists": tree_bytes([[3, node(1)], [0]]),
    "hashing for ever": tree_bytes([[3, node(1)], *DOUBLED]),
    "a key that hashes for ever": tree_bytes([[2, node(1), 1], *DOUBLED]),
    "frozensets that hash for ever": tree_bytes([[4, node(1)], *DOUBLED]),
    "a deep key": tree_bytes([[3, node(1)], *[[1, node(n + 1)] for n in range(1, 11_000)], [1]]),
    "a tree as a part": tree_bytes(
        [[0, part(0)]], [[DIGEST, "list", "tree", 1, tree_bytes([[0]]), None, ""]]
    ),
    "a part without an id": tree_bytes([[0]], [[DIGEST, "T", "numpy", 1, None, "../../x", ""]]),
    "a part of too many fields": tree_bytes([[0]], [list(range(20))]),
    "a part of other types": tree_bytes([[0, part(0)]], [[1, 2, 3, 4, 5, None, 7]]),
    "no skeleton": msgpack.packb([None]),
}


@pytest.mark.parametrize(
    "ref",
    [
        *(pytest.param(inline(data), id=name) for name, data in HOSTILE.items()),
        *(pytest.param(inline(d, "numpy"), id=name) for name, d in HOSTILE_ARRAYS.items()),
        *(pytest.param(inline(d, "tree"), id=name) for name, d in HOSTILE_TREES.items()),
        pytest.param(inline(msgpack.packb([None, b"\xff"]), "text"), id="text of no text"),
        pytest.param(inline(msgpack.packb([None]), "bytes"), id="bytes of no buffer"),
        pytest.param(inline(b"", "text"), id="text of nothing"),
        pytest.param(Ref(DIGEST, "T", "numpy", 1, oid=b"short"), id="a short id"),
        pytest.param(Ref(DIGEST, "T", "numpy", 1, oid="x" * 16), id="a text as id"),  # type: ignore[arg-type]
    ],
)
def test_hostile_bytes_are_corrupt_soon_and_cheaply(ref: Ref, objects: Objects) -> None:
    is_counted = ref.nbytes < 100_000  # counting makes it slow
    start = time.perf_counter()
    if is_counted:
        tracemalloc.start()
    with pytest.raises((CorruptObject, Undecodable)):
        codecs.decode(ref, objects.open, allow_pickle=False)
    if is_counted:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 200 << 20
    assert time.perf_counter() - start < 60  # a bomb takes hours


def test_hostile_objects_are_corrupt_too(objects: Objects) -> None:
    for data in HOSTILE.values():
        oid = objects.put(Header("plain", "T"), [data])
        with pytest.raises(CorruptObject, match=oid.hex()):
            codecs.decode(Ref(DIGEST, "T", "plain", 1, oid=oid), objects.open)


def test_an_object_of_another_codec_is_corrupt(objects: Objects) -> None:
    ref = encode(np.zeros(5_000), objects)
    with pytest.raises(CorruptObject, match="stored by numpy, not by text"):
        codecs.decode(ref._replace(codec="text"), objects.open)


def test_a_damaged_object_is_not_decoded(objects: Objects) -> None:
    ref = encode([np.zeros(5_000), np.ones(5_000)], objects)
    path = Path(objects.path(codecs.object_ids(ref, objects.open)[1]))
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    with pytest.raises(CorruptObject):
        codecs.decode(ref, objects.open)


# -- other codecs ------------------------------------------------------------------------------


class PointCodec(Codec):
    name = "point"

    def handles(self, value: Any) -> bool:
        return type(value) is Point

    def encode(self, value: Any) -> Encoded:
        return Encoded({"x": value.x}, [])

    def decode(self, meta: Any, buffers: list[memoryview]) -> Any:
        return Point(meta["x"])


@pytest.fixture
def point_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry._Plugins, "codecs", (PointCodec(),))


@pytest.mark.usefixtures("point_codec")
def test_a_codec_of_another_package_goes_before_pickle(objects: Objects) -> None:
    ref = encode(Point(5), objects)
    assert ref.codec == "point"
    assert codecs.decode(ref, objects.open) == Point(5)
    ref = encode([Point(5), 1], objects)
    assert ref.codec == "tree"
    assert codecs.decode(ref, objects.open) == [Point(5), 1]
    with pytest.raises(UnsafeFormat):
        codecs.decode(ref, objects.open, allow_pickle=False)


def test_a_codec_that_is_not_installed_makes_it_undecodable(objects: Objects) -> None:
    with pytest.raises(Undecodable, match="no codec named 'arrow'"):
        codecs.decode(Ref(DIGEST, "T", "arrow", 1, b"x"), objects.open)


class _Entry:
    def __init__(self, value: str, target: Any) -> None:
        self.value = value
        self.target = target

    def load(self) -> Any:
        if isinstance(self.target, Exception):
            raise self.target
        return self.target


def test_codecs_are_looked_for_once_and_a_broken_one_only_warns(
    monkeypatch: pytest.MonkeyPatch, objects: Objects
) -> None:
    asked: list[str] = []

    def entry_points(*, group: str) -> list[_Entry]:
        asked.append(group)
        return [
            _Entry("pkg:Point", PointCodec),
            _Entry("pkg:broken", ImportError("no such module")),
            _Entry("pkg:other", 5),
        ]

    monkeypatch.setattr(registry._Plugins, "codecs", None)
    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    encode({"a": [1, np.zeros(3)]}, objects)
    assert asked == []
    with pytest.warns(UserWarning, match="codec") as warned:
        assert encode(Point(1), objects).codec == "point"
    assert [str(w.message) for w in warned] == [
        "the codec pkg:broken cannot be loaded: no such module",
        "pkg:other is no codec with a name of its own",
    ]
    assert encode(Point(2), objects).codec == "point"
    assert asked == ["tasklineage.codecs"]


def test_a_codec_says_how_its_values_are_kept_apart() -> None:
    assert PointCodec.is_leaf
    assert not PointCodec.is_safe


# -- what people read --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.zeros((100, 3)), "float64 (100, 3)"),
        (list(range(10)), "10 items: [0, 1, 2, 3, 4, 5, …]"),
        ([[[[1]]]], "[[[[…]]]]"),
        ([[[[]]]], "[[[[]]]]"),
        (Point(1), f"{__name__}.Point"),
        ({"a": Point(1), "b": np.zeros(2)}, f"{{'a': {__name__}.Point, 'b': float64 (2,)}}"),
        pytest.param(10**5000, "int of 16610 bits", id="huge"),
        ("x" * 1000, "1000 long: '" + "x" * 107 + "…"),
        (Inputs([1, Point(2)], ["a", "b"]), f"Inputs(a=1, b={__name__}.Point)"),
        (Inputs([1, [2]]), "Inputs([1, [2]])"),
        (Inputs(range(7), list("abcdefg")), "Inputs(a=0, b=1, c=2, d=3, e=4, f=5, …)"),
    ],
)
def test_previews_are_short_and_say_what_there_is(value: Any, text: str) -> None:
    assert preview(value) == text


def test_a_preview_runs_no_code_of_the_class() -> None:
    class Shy:
        def __repr__(self) -> str:
            raise AssertionError

        __str__ = __repr__

    assert "Shy" in preview([Shy()])
    assert "Shy" in preview(Shy())


def test_previews_of_everything_are_within_their_length() -> None:
    for value in (["x" * 200] * 10, {"k" * 100: "v" * 100}, ("\U0001f600" * 200,), b"\x00" * 500):
        assert len(preview(value)) <= describe.LONGEST
    assert len(codecs.encode("\U0001f600\udc80" * 30, DIGEST, None).preview) <= 120  # type: ignore[arg-type]
