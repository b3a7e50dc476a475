"""Values as arguments of tasks, an oracle for which of them are the same, and ways to copy them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import math
import pathlib
import struct
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable
from typing import Any, NamedTuple

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np


class Colour(enum.Enum):
    """A type of the project that has no content but its name."""

    RED = 1
    BLUE = 2


class Pair(NamedTuple):
    """A tuple that is no plain tuple."""

    left: Any
    right: Any


@dataclasses.dataclass
class Box:
    """An instance with attributes."""

    content: Any
    label: Any = None


class Slotted:
    """An instance without a dict."""

    __slots__ = ("content",)

    def __init__(self, content: Any) -> None:
        self.content = content


integers = st.integers() | st.integers(-(2**40), 2**40) | st.integers(-(2**400), 2**400)
texts = st.text(st.characters(exclude_categories=()), max_size=12) | st.integers(4094, 4098).map(
    "a".__mul__
)
numbers = st.booleans() | integers | st.floats() | st.complex_numbers()
plain = (
    st.none() | numbers | texts | st.binary(max_size=12) | st.integers(4094, 4098).map(b"b".__mul__)
)
hashable_leaves = (
    plain
    | st.dates()
    | st.datetimes()
    | st.times()
    | st.timedeltas()
    | st.decimals().filter(lambda number: not number.is_snan())
    | st.fractions()
    | st.uuids()
    | st.sampled_from(
        [Colour.RED, Colour.BLUE, ..., range(3), range(0), pathlib.PurePosixPath("a")]
    )
)
hashables = st.recursive(
    hashable_leaves,
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.frozensets(inner, max_size=3)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=5,
)
dtypes = (
    hnp.boolean_dtypes()
    | hnp.integer_dtypes(endianness="=")
    | hnp.floating_dtypes(endianness="=")
    | hnp.complex_number_dtypes(endianness="=")
    | hnp.datetime64_dtypes(endianness="=")
    | hnp.byte_string_dtypes(max_len=3)
    | hnp.unicode_string_dtypes(max_len=3, endianness="=")
)
arrays = hnp.arrays(dtypes | hnp.array_dtypes(dtypes), hnp.array_shapes(min_dims=0, min_side=0))
leaves = hashable_leaves | arrays | st.binary(max_size=12).map(bytearray)
records = st.fixed_dictionaries({"id": plain, "tags": st.lists(plain, max_size=3)})


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    mappings = st.dictionaries(hashables, inner, max_size=4)
    return (
        st.lists(inner, max_size=12)
        | st.lists(inner, max_size=4).map(tuple)
        | mappings
        | st.lists(records, max_size=20)
        | st.lists(st.tuples(plain, plain), max_size=20)
        | st.sets(hashables, max_size=4)
        | st.frozensets(hashables, max_size=4)
        | mappings.map(OrderedDict)
        | mappings.map(lambda content: defaultdict(list, content))
        | st.lists(inner, max_size=3).map(deque)
        | st.lists(hashables, max_size=3).map(Counter)
        | st.builds(Pair, inner, inner)
        | st.builds(Box, inner, inner)
        | st.builds(Slotted, inner)
    )


values = st.recursive(leaves, _containers, max_leaves=20)
"""Anything that has a digest and does not contain itself."""


@st.composite
def neighbours(draw: st.DrawFn) -> tuple[Any, Any]:
    """Two values that differ in one place at most."""
    value = draw(values)
    places = list(_places(value))
    at = draw(st.sampled_from(places))
    return value, changed(value, at, draw(leaves))


def same(left: Any, right: Any) -> bool:
    """Whether two values are to have the same digest. Recursive and slow, but plainly right."""
    return shape(left) == shape(right)


def shape(value: Any) -> Any:
    """Plain tuples and frozensets that tell values apart by type and content."""
    kind = type(value)
    if kind is float:
        return kind, "nan" if math.isnan(value) else struct.pack("<d", value)
    if kind is complex:
        return kind, shape(value.real), shape(value.imag)
    if kind in (set, frozenset):
        return kind, frozenset(Counter(map(shape, value)).items())
    if kind in (dict, OrderedDict, defaultdict, Counter):
        return kind, tuple((shape(key), shape(part)) for key, part in value.items())
    if kind in (list, tuple, Pair, deque):
        return kind, tuple(map(shape, value))
    if kind in (Box, Slotted):
        return kind, shape(value.content), shape(getattr(value, "label", None))
    if kind is np.ndarray:
        return kind, str(value.dtype.descr), value.shape, value.tobytes()
    if kind is decimal.Decimal:
        return kind, value.as_tuple()
    if isinstance(value, dt.datetime | dt.time):
        return kind, value.isoformat(), value.fold
    if kind is bytearray:
        return kind, bytes(value)
    return kind, value


def copied(value: Any) -> Any:
    """An equal value that was built otherwise: no part of it is shared with the first one."""
    kind = type(value)
    if kind in (list, tuple, deque):
        return kind(map(copied, value))
    if kind is Pair:
        return Pair(*map(copied, value))
    if kind in (set, frozenset):
        return kind(reversed([copied(part) for part in value]))
    if kind in (dict, OrderedDict, Counter):
        return kind({copied(key): copied(part) for key, part in value.items()})
    if kind is defaultdict:
        return defaultdict(list, {copied(key): copied(part) for key, part in value.items()})
    if kind is Box:
        return Box(copied(value.content), copied(value.label))
    if kind is Slotted:
        return Slotted(copied(value.content))
    return _copied_leaf(value, kind)


def _copied_leaf(value: Any, kind: type) -> Any:
    if kind is str:
        return "".join(list(value))
    if kind in (bytes, bytearray):
        return kind(bytes(value)[:1] + bytes(value)[1:])
    if kind is int:
        return int(str(value)) if abs(value) < 10**1000 else value
    if kind is float:
        return -value if math.isnan(value) else float.fromhex(value.hex())
    if kind is np.ndarray:
        return laid_out(value)
    if kind in (fractions.Fraction, uuid.UUID, pathlib.PurePosixPath, decimal.Decimal):
        return kind(str(value))
    return value


def laid_out(array: Any) -> Any:
    """The same array, in another order in memory."""
    if not array.ndim:
        return array.copy()
    doubled = np.repeat(np.asfortranarray(array), 2, axis=-1)
    return doubled[..., ::2]


def changed(value: Any, place: tuple[int, ...], new: Any) -> Any:
    """A value with the part at one place replaced; the place is a path of positions."""
    if not place:
        return new
    parts = list(_parts(value))
    parts[place[0]] = changed(parts[place[0]], place[1:], new)
    kind = type(value)
    if kind is dict:
        return dict(zip(value, parts, strict=True))
    if kind in (Pair, Box):
        return kind(*parts)
    return kind(parts)


def _places(value: Any) -> Iterable[tuple[int, ...]]:
    yield ()
    for i, part in enumerate(_parts(value)):
        yield from ((i, *place) for place in _places(part))


def _parts(value: Any) -> Iterable[Any]:
    kind = type(value)
    if kind in (list, tuple, Pair):
        return list(value)
    if kind is dict:
        return list(value.values())
    return [value.content, value.label] if kind is Box else []
