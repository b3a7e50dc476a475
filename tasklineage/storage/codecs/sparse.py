"""Sparse arrays and matrices of scipy: the arrays that they consist of.

The meta is the class, the shape, the dtype, and for each buffer the name and description of an
array. `lil` is stored as the lengths of its rows, its columns and its values, `dok` as coordinates
and values in the order of its dict.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from tasklineage.key.digest_tensors import sparse_attributes
from tasklineage.storage.codecs.arrays import ArrayCodec, is_array, pack_dtype, unpack_dtype
from tasklineage.storage.codecs.base import Codec, Encoded

_COMPRESSED = ("data", "indices", "indptr")
_FORMATS: dict[str, tuple[str, ...]] = {
    "bsr": _COMPRESSED, "csc": _COMPRESSED, "csr": _COMPRESSED, "dia": ("data", "offsets"),
}  # fmt: skip
_NAMES = frozenset(f"{form}_{kind}" for form in ("bsr", "coo", "csc", "csr", "dia", "dok", "lil")
                   for kind in ("array", "matrix"))  # fmt: skip
_MOST_DIMENSIONS = 32
_ARRAYS = ArrayCodec()


class SparseCodec(Codec):
    """Every format of `scipy.sparse`, as array and as matrix."""

    name = "scipy"
    is_safe = True

    def handles(self, value: Any) -> bool:
        if not is_sparse(value) or sparse_attributes(value):
            return False
        parts = sparse_parts(value)
        if value.format == "dok" and not parts["data"].all():
            return False  # setting an element to zero removes it
        return all(is_array(part) for part in parts.values())

    def encode(self, value: Any) -> Encoded:
        parts = sparse_parts(value)
        encoded = [_ARRAYS.encode(part) for part in parts.values()]
        described = [[name, one.meta] for name, one in zip(parts, encoded, strict=True)]
        dtype = pack_dtype(value.dtype)
        meta = [type(value).__name__, [int(n) for n in value.shape], dtype, described]
        return Encoded(meta, [buffer for one in encoded for buffer in one.buffers])

    def decode(self, meta: Any, buffers: list[memoryview]) -> Any:
        name, shape, dtype, described = meta
        if name not in _NAMES or type(shape) is not list or len(shape) > _MOST_DIMENSIONS:
            raise ValueError("no sparse array")
        if any(type(n) is not int or not 0 <= n < 1 << 62 for n in shape):
            raise ValueError("no shape")
        parts = {
            one: _ARRAYS.decode(about, [buffer])
            for (one, about), buffer in zip(described, buffers, strict=True)
        }
        kind = getattr(import_module("scipy.sparse"), name)
        made = _made(kind, tuple(shape), unpack_dtype(dtype), parts)
        if made.shape != tuple(shape) or made.dtype != unpack_dtype(dtype):
            raise ValueError("a sparse array of another shape")
        return made


def is_sparse(value: Any) -> bool:
    """Whether `value` is of a class of `scipy.sparse` itself."""
    sparse = sys.modules.get("scipy.sparse")
    name = type(value).__name__
    return sparse is not None and name in _NAMES and getattr(sparse, name, None) is type(value)


def sparse_parts(value: Any) -> dict[str, Any]:
    """The arrays that a sparse array consists of, by name."""
    numpy: Any = sys.modules["numpy"]
    form = value.format
    if form in _FORMATS:
        return {name: getattr(value, name) for name in _FORMATS[form]}
    if form == "coo":
        coordinates = value.coords if hasattr(value, "coords") else (value.row, value.col)
        named = {f"coords{axis}": part for axis, part in enumerate(coordinates)}
        return {"data": value.data, **named}
    if form == "lil":
        rows = [numpy.asarray(row, "i8") for row in value.rows]
        held = [numpy.asarray(row, value.dtype) for row in value.data]
        lengths = numpy.array([len(row) for row in rows], "i8")
        empty = numpy.zeros(0, "i8"), numpy.zeros(0, value.dtype)
        return {
            "lengths": lengths,
            "columns": numpy.concatenate([empty[0], *rows]),
            "data": numpy.concatenate([empty[1], *held]),
        }
    keys = [key if isinstance(key, tuple) else (key,) for key in value.keys()]  # noqa: SIM118 - no dict
    places = numpy.array(keys, "i8").reshape(len(keys), len(value.shape))
    return {"data": numpy.array(list(value.values()), value.dtype), "places": places}


def _made(kind: Any, shape: tuple[int, ...], dtype: Any, parts: dict[str, Any]) -> Any:
    form = kind.__name__[:3]
    if form in _FORMATS:
        content = tuple(parts[name] for name in _FORMATS[form])
        made = kind(content, shape=shape, copy=False)
        if form != "dia":
            made.check_format(full_check=True)
        made.data = parts["data"]  # the check has made it one of the machine's byte order
        return made
    if form == "coo":
        coordinates = tuple(parts[f"coords{axis}"] for axis in range(len(shape)))
        return kind((parts["data"], coordinates), shape=shape, copy=False)
    if form == "lil":
        return _made_lil(kind, shape, dtype, parts)
    return _made_dok(kind, shape, dtype, parts)


def _made_lil(kind: Any, shape: tuple[int, ...], dtype: Any, parts: dict[str, Any]) -> Any:
    lengths, columns = parts["lengths"].tolist(), parts["columns"].tolist()
    if len(shape) != 2 or len(lengths) != shape[0] or min(lengths, default=0) < 0:
        raise ValueError("other rows than the shape says")
    if sum(lengths) != len(columns) or not all(0 <= n < shape[1] for n in columns):
        raise ValueError("columns outside of the shape")
    made = kind(shape, dtype=dtype)
    values, start = parts["data"].tolist(), 0
    for row, length in enumerate(lengths):
        made.rows[row] = columns[start : start + length]
        made.data[row] = values[start : start + length]
        start += length
    return made


def _made_dok(kind: Any, shape: tuple[int, ...], dtype: Any, parts: dict[str, Any]) -> Any:
    made = kind(shape, dtype=dtype)
    places = parts["places"].tolist()
    for place, value in zip(places, parts["data"], strict=True):
        if len(place) != len(shape) or not all(
            0 <= at < n for at, n in zip(place, shape, strict=True)
        ):
            raise ValueError("a place outside of the shape")
        made[tuple(place) if len(place) > 1 else place[0]] = value
    return made
