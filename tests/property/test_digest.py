"""Digests: what is the same has the same one, what differs has another."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from tasklineage.key import digest_graph, digest_walk
from tasklineage.key.digest import SCHEME, digest, is_immutable, is_trivial, parts
from tests.property.strategies import (
    arrays,
    copied,
    hashables,
    laid_out,
    leaves,
    neighbours,
    plain,
    records,
    same,
    values,
)

NIGHTLY = 1_000
"""Examples from which on it is the nightly profile."""


def no_code(_: Any) -> None:
    return None


def of(value: Any) -> bytes:
    return digest(value, code=no_code)


@given(values, values)
def test_digests_are_equal_where_the_values_are(left: Any, right: Any) -> None:
    assert (of(left) == of(right)) == same(left, right)


@given(neighbours())
def test_one_changed_part_changes_the_digest(pair: tuple[Any, Any]) -> None:
    left, right = pair
    assert (of(left) == of(right)) == same(left, right)


@given(leaves, leaves)
def test_leaves_share_no_digest(left: Any, right: Any) -> None:
    assert (of(left) == of(right)) == same(left, right)


def test_no_two_values_share_a_digest_by_accident() -> None:
    """Each value is compared with all that were met before: in a night a million pairs and more."""
    met: dict[bytes, Any] = {}

    @given(st.lists(values | records, min_size=8, max_size=8))
    def meet(several: list[Any]) -> None:
        for value in several:
            assert same(met.setdefault(of(value), value), value)

    meet()
    wanted = 1_000_000 if settings.default.max_examples >= NIGHTLY else 10_000
    assert len(met) * (len(met) - 1) // 2 > wanted


@given(values)
def test_a_copy_that_was_built_otherwise_has_the_digest_of_the_first(value: Any) -> None:
    assert of(copied(value)) == of(value)


@given(values)
def test_pickle_leaves_the_digest_alone(value: Any) -> None:
    """Pickling keeps no byte order of an array; the arrays here have the machine's own."""
    assert of(pickle.loads(pickle.dumps(value))) == of(value)


@given(values)
def test_shared_parts_count_as_copies(value: Any) -> None:
    shared = [value, {"again": value}, (value, value)] * 5
    apart = [copied(part) for part in shared]
    assert of(shared) == of(apart)


@given(values)
def test_the_slow_way_gives_the_digest_of_the_fast_one(value: Any) -> None:
    for nested in ([value], [value] * 12, {"x": value, "y": (value, 1)}):
        assert digest_graph.digest(nested, "value", no_code) == of(nested)


@given(st.lists(leaves | records, min_size=9, max_size=20), st.integers(1, 20))
def test_neither_chunks_nor_batches_show(many: list[Any], chunk: int) -> None:
    whole = of(many), of(dict(enumerate(many))), of(tuple(many))
    before = digest_walk._CHUNK, digest_walk._FEW
    digest_walk._CHUNK, digest_walk._FEW = chunk, chunk % 3
    try:
        pieces = of(many), of(dict(enumerate(many))), of(tuple(many))
    finally:
        digest_walk._CHUNK, digest_walk._FEW = before
    assert pieces == whole


@given(st.lists(hashables, max_size=12, unique=True), st.randoms())
def test_sets_have_no_order(content: list[Any], random: Any) -> None:
    again = list(content)
    random.shuffle(again)
    assert of(set(again)) == of(set(content))
    assert of(frozenset(again)) == of(frozenset(content))


@given(st.lists(st.tuples(st.text(), plain), unique_by=lambda pair: pair[0], min_size=2))
def test_dicts_keep_their_order(items: list[tuple[str, Any]]) -> None:
    assert of(dict(items)) != of(dict(reversed(items)))


@given(arrays)
def test_the_layout_of_an_array_does_not_count(array: Any) -> None:
    assert of(laid_out(array)) == of(array)
    read_only = array.copy()
    read_only.flags.writeable = False
    assert of(read_only) == of(array)
    assert of(array.tobytes()) != of(array)


@given(arrays)
def test_shape_and_dtype_of_an_array_count(array: Any) -> None:
    assert of(array[np.newaxis]) != of(array)
    if array.dtype.names is None:
        swapped = array.astype(array.dtype.newbyteorder())
        assert (of(swapped) == of(array)) == (swapped.dtype.str == array.dtype.str)


@given(values)
def test_what_is_said_to_be_immutable_can_be_hashed(value: Any) -> None:
    if is_immutable(value):
        hash(value)


@given(values)
def test_parts_are_named_as_python_names_them(value: Any) -> None:
    for suffix, part in parts(value):
        assert not is_trivial(part)
        if type(value) is not dict:
            assert eval(f"value{suffix}", {"value": value}) is part


@given(st.integers(0, 3), values)
def test_depth_does_not_show(extra: int, value: Any) -> None:
    """A value just below the depth at which the slow way is taken, and one just above it."""
    depth = digest_walk._DEEPEST - 2 + extra
    for _ in range(depth):
        value = [value]
    expected = digest_graph.digest(value, "value", no_code)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + 10 * depth)
    try:
        assert of(value) == expected
    finally:
        sys.setrecursionlimit(limit)


def test_the_scheme_is_named() -> None:
    assert SCHEME == 1
