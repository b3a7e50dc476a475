"""Values are stored once per Digest, read back verified, and stored anew where damaged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasklineage.errors import (
    CorruptObject,
    MissingObject,
    StoreReadOnly,
    UnsafeFormat,
    UnstorableResult,
)
from tasklineage.key.digest import digest
from tasklineage.storage.objects import Objects
from tasklineage.storage.records import Ref
from tasklineage.storage.values import Values

LARGE = b"x" * 100_000


class Point:
    """A class that only pickle can store."""

    def __init__(self, content: Any) -> None:
        self.content = content

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and other.content == self.content

    __hash__ = None


class Bench:
    """Values over a folder of objects, with a count of the files written."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.recorded: dict[bytes, Ref] = {}
        self.searched: list[bytes] = []
        self.written = 0
        put = Objects.put

        def counted(objects: Objects, *args: Any) -> bytes:
            self.written += 1
            return put(objects, *args)

        monkeypatch.setattr(Objects, "put", counted)
        self.values = self.opened()

    def opened(self, **options: Any) -> Values:
        """As another process would open it."""

        def search(digest: bytes) -> Ref | None:
            self.searched.append(digest)
            return self.recorded.get(digest)

        read_only = options.get("read_only", False)
        return Values(Objects(self.root, read_only=read_only), search, **options)

    def put(self, value: Any) -> Ref:
        ref = self.values.put(value, digest(value))
        self.recorded[ref.digest] = ref
        return ref

    def file(self, ref: Ref) -> Path:
        assert ref.oid is not None
        return Path(Objects(self.root).path(ref.oid))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    return Bench(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "value",
    [1, 1.5, None, True, 2j, "text", b"bytes", [1, "a"], {"k": (1, {2})}, LARGE, Point([1]),
     list(range(20_000)), {"a": LARGE, "b": 1}, Point(LARGE)],
)  # fmt: skip
def test_a_value_comes_back(bench: Bench, value: Any) -> None:
    ref = bench.put(value)
    assert bench.values.has(ref)
    assert bench.values.get(ref) == value
    assert bench.opened().get(Ref(*ref)) == value


def test_small_values_touch_neither_files_nor_records(bench: Bench) -> None:
    for value in (1, "text", [1, 2], {"a": (1,)}, Point(1)):
        assert bench.put(value).oid is None
        assert bench.values.describe(value, digest(value)).data is not None
    assert not bench.searched
    assert not bench.written


@pytest.mark.parametrize("value", [LARGE, Point(LARGE), list(range(20_000)), np.arange(50_000)])
def test_a_large_value_is_written_once_also_after_a_restart(bench: Bench, value: Any) -> None:
    first = bench.put(value)
    assert bench.written == 1
    assert bench.put(value) == first
    bench.values = bench.opened()
    assert bench.put(value) == first
    assert bench.written == 1


def test_parts_that_are_stored_are_not_written_again(bench: Bench) -> None:
    left, right = np.arange(20_000), np.ones(30_000)
    both = bench.put((left, right))
    assert bench.written == 2  # the tree that names them is small
    assert bench.put(left).oid is not None
    assert bench.put([right, left]).digest != both.digest
    assert bench.written == 2
    assert np.array_equal(bench.values.get(bench.put(right)), right)


def test_what_a_record_names_and_is_gone_or_cut_is_written_again(bench: Bench) -> None:
    ref = bench.put(LARGE)
    for damage in (os.unlink, lambda path: os.truncate(path, 500)):
        damage(bench.file(ref))
        bench.values = bench.opened()
        assert not bench.values.has(ref)
        assert bench.put(LARGE).oid == ref.oid
        assert bench.values.get(ref) == LARGE
    assert bench.written == 3


def test_what_was_found_damaged_is_written_again(bench: Bench) -> None:
    for value in (LARGE, {"a": LARGE, "b": 1}, (np.arange(20_000), LARGE)):
        bench.put(value)
        for file in [path for path in (bench.root / "objects").rglob("*") if path.is_file()]:
            ref = bench.put(value)
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 1
            file.write_bytes(content)
            with pytest.raises((CorruptObject, MissingObject)):
                bench.values.get(ref)
            healed = bench.put(value)
            assert digest(bench.values.get(healed)) == digest(value)
            assert digest(bench.opened().get(healed)) == digest(value)


def test_all_damaged_parts_of_a_value_are_healed_at_once(bench: Bench) -> None:
    value = (np.arange(20_000), LARGE, [np.ones(20_000)])
    ref = bench.put(value)
    for file in [path for path in (bench.root / "objects").rglob("*") if path.is_file()]:
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    bench.values = bench.opened()
    with pytest.raises(CorruptObject):
        bench.values.get(ref)
    assert digest(bench.values.get(bench.put(value))) == digest(value)


def test_a_value_that_did_not_decode_is_stored_in_a_form_that_does(bench: Bench) -> None:
    ref = bench.put(LARGE)._replace(codec="a codec of the past")
    bench.recorded[ref.digest] = ref
    bench.values = bench.opened()
    assert bench.values.put(LARGE, ref.digest) == ref
    with pytest.raises(Exception, match="a codec of the past"):
        bench.values.get(ref)
    assert bench.values.get(bench.values.put(LARGE, ref.digest)) == LARGE


def test_a_large_argument_is_described_and_never_written(bench: Bench) -> None:
    array = np.zeros((200, 100))
    for value in (LARGE, array, Point(LARGE), list(range(20_000)), {"a": array}):
        ref = bench.values.describe(value, digest(value))
        assert not ref.is_stored
        assert not bench.values.has(ref)
        assert ref.type.endswith(type(value).__name__)
        assert ref.preview
        with pytest.raises(MissingObject):
            bench.values.get(ref)
    assert bench.values.describe(array, digest(array)).preview == "float64 (200, 100)"
    assert not bench.written


def test_an_argument_that_is_stored_already_is_referred_to(bench: Bench) -> None:
    array = np.zeros((200, 100))
    for value in (LARGE, array, Point(LARGE), list(range(20_000))):
        assert bench.values.describe(value, digest(value)) != bench.put(value)
        assert bench.values.describe(value, digest(value)) == bench.put(value)
        assert bench.opened().describe(value, digest(value)) == bench.put(value)


def test_an_argument_that_cannot_be_pickled_is_described(bench: Bench) -> None:
    with open(os.devnull) as opened:
        value = Point(opened)
        assert not bench.values.describe(value, b"d" * 16).is_stored
        with pytest.raises(UnstorableResult):
            bench.values.put(value, b"d" * 16)


def test_describing_a_large_instance_does_not_pickle_all_of_it(bench: Bench) -> None:
    class Counting:
        pickled = 0

        def __reduce__(self) -> Any:
            Counting.pickled += 1
            return (bytes, (LARGE,))

    bench.values.describe(Point([Counting() for _ in range(1000)]), b"d" * 16)
    assert Counting.pickled < 10


def test_a_read_only_store_describes_what_it_would_store(bench: Bench) -> None:
    stored = bench.put(LARGE)
    values = bench.opened(read_only=True)
    assert values.put(5, digest(5)).data is not None
    assert values.put([5], digest([5])).data is not None
    assert values.put(LARGE, stored.digest) == stored
    other = LARGE + b"y"
    assert not values.put(other, digest(other)).is_stored
    with pytest.raises(StoreReadOnly):
        values.write(("bytes", "bytes"), [b"x"])


def test_a_store_that_forbids_pickle_says_so(bench: Bench) -> None:
    ref = bench.put(Point(1))
    safe = bench.opened(allow_pickle=False)
    with pytest.raises(UnsafeFormat):
        safe.get(ref)
    assert safe.get(bench.put([1])) == [1]


def test_a_changed_array_is_not_taken_for_the_one_that_was_stored(bench: Bench) -> None:
    array = np.zeros(50_000)
    ref = bench.put(array)
    array[0] = 1
    changed = bench.put(array)
    assert changed.oid != ref.oid
    assert bench.values.get(ref)[0] == 0
    loaded = bench.values.get(ref)
    loaded[:] = 5
    assert bench.values.get(ref)[0] == 0
