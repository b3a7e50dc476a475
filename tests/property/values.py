"""Values as tasks return them, and what it means that two of them are the same."""

from __future__ import annotations

import math
import struct
from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np

integers = st.integers() | st.integers(-(2**65), 2**65) | st.integers(-(2**4000), 2**4000)
texts = st.text(st.characters(exclude_categories=()), max_size=20)
atoms = (
    st.none()
    | st.booleans()
    | integers
    | st.floats()
    | st.complex_numbers()
    | texts
    | st.binary(max_size=20)
)
hashables = st.recursive(
    atoms,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)

_scalar_dtypes = (
    hnp.boolean_dtypes()
    | hnp.integer_dtypes(endianness="?")
    | hnp.unsigned_integer_dtypes(endianness="?")
    | hnp.floating_dtypes(endianness="?")
    | hnp.complex_number_dtypes(endianness="?")
    | hnp.datetime64_dtypes(endianness="?")
    | hnp.timedelta64_dtypes(endianness="?")
    | hnp.byte_string_dtypes(endianness="?")
    | hnp.unicode_string_dtypes(endianness="?")
)
dtypes = _scalar_dtypes | hnp.array_dtypes(_scalar_dtypes, max_size=3)
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


def _laid_out(array: np.ndarray[Any, Any], layout: str) -> np.ndarray[Any, Any]:
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "every second" and array.ndim:
        return np.repeat(array, 2, axis=0)[::2]
    if layout == "backward" and array.ndim:
        return array[::-1]
    if layout == "read-only":
        array.flags.writeable = False
    return array


arrays = st.builds(
    _laid_out,
    hnp.arrays(dtypes, shapes),
    st.sampled_from(["C", "F", "every second", "backward", "read-only"]),
)
scalars = hnp.arrays(_scalar_dtypes, ()).map(lambda array: array[()])

leaves = atoms | scalars | arrays | st.binary(max_size=30).map(bytearray)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(hashables, inner, max_size=4)
        | st.sets(hashables, max_size=4)
        | st.frozensets(hashables, max_size=4)
        | st.lists(st.tuples(atoms, atoms), max_size=4)
        | st.lists(st.lists(atoms, max_size=3), max_size=4)
    )


trees = st.recursive(leaves, _containers, max_leaves=12)
"""Values in which no container stands in two places."""


@st.composite
def graphs(draw: st.DrawFn) -> Any:
    """A container whose parts are shared and may contain each other."""
    boxes: list[Any] = [
        draw(st.sampled_from([list, dict, set]))() for _ in range(draw(st.integers(1, 6)))
    ]
    boxes += [draw(arrays), bytearray(b"shared")]
    anything = st.sampled_from(boxes) | leaves
    for box in boxes:
        if type(box) is list:
            box.extend(draw(st.lists(anything | st.lists(anything, max_size=2).map(tuple))))
        elif type(box) is dict:
            box.update(draw(st.dictionaries(hashables, anything, max_size=4)))
        elif type(box) is set:
            box.update(draw(st.sets(hashables, max_size=3)))
    return boxes[0] if draw(st.booleans()) else tuple(boxes)


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal in type, content and structure.

    NaN equals a NaN of the same bits, `0.0` is not `-0.0`, dicts keep their order, and what is one
    object in two places on the left is one object in two places on the right.
    """
    partners: dict[int, int] = {}
    taken: set[int] = set()
    pending = [(left, right)]
    while pending:
        a, b = pending.pop()
        if type(a) is not type(b):
            return False
        if type(a) in (list, dict, set, bytearray, np.ndarray):
            if id(a) in partners:
                if partners[id(a)] != id(b):
                    return False
                continue
            if id(b) in taken:
                return False
            partners[id(a)] = id(b)
            taken.add(id(b))
        if type(a) in (list, tuple, dict):
            if len(a) != len(b):
                return False
            if type(a) is dict:
                pending += zip(a, b, strict=True)
                pending += zip(a.values(), b.values(), strict=True)
            else:
                pending += zip(a, b, strict=True)
        elif form(a) != form(b):
            return False
    return True


def form(value: Any) -> Any:
    """Something that tells apart what differs in type or bits."""
    kind = type(value)
    if kind is float:
        return kind, struct.pack("<d", value)
    if kind is complex:
        return kind, struct.pack("<dd", value.real, value.imag)
    if kind is tuple:
        return kind, tuple(map(form, value))
    if kind in (set, frozenset):
        return kind, frozenset(map(form, value))
    if kind is np.ndarray:
        order = value.flags.f_contiguous and not value.flags.c_contiguous
        content = value.tolist() if value.dtype.hasobject else value.tobytes()
        if value.flags.c_contiguous or order:
            return kind, value.dtype, value.shape, content, order
        return kind, value.dtype, value.shape, content, False
    if isinstance(value, np.generic):
        return kind, value.dtype, value.tobytes()
    if isinstance(value, bytearray):
        return kind, bytes(value)
    return kind, value


def nested(depth: int, kind: type = list) -> Any:
    """A container in a container, `depth` times."""
    value: Any = kind()
    for _ in range(depth):
        value = {"x": value} if kind is dict else kind([value])
    return value


def depth_of(value: Any) -> int:
    """How often a container of one can be entered."""
    depth = 0
    while value:
        value = value["x"] if type(value) is dict else next(iter(value))
        depth += 1
    return depth


def is_nan(value: Any) -> bool:
    """Whether `value` is the float that equals nothing."""
    return type(value) is float and math.isnan(value)
