"""Frames, series, indexes and arrays of pandas, column by column.

Neighbouring columns of one dtype of numpy are one buffer, of which the loaded frame is a view;
other columns have buffers of their own. So nothing is copied either way, any columns can be read
without the others, and pyarrow is needed only for columns that it holds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from tasklineage.key.attributes import attached
from tasklineage.key.digest_frames import column_arrays
from tasklineage.storage.codecs import arrays
from tasklineage.storage.codecs.base import Codec, Encoded
from tasklineage.storage.codecs.pandas_columns import (
    NotExact,
    Reader,
    Writer,
    packed_name,
    unpacked_name,
)
from tasklineage.storage.codecs.plain import pack_any, unpack
from tasklineage.storage.codecs.survey import plain_kinds

_FRAME, _SERIES, _INDEX, _ARRAY = "frame", "series", "index", "array"
_ARRAYS = frozenset(
    "Categorical IntegerArray FloatingArray BooleanArray ArrowExtensionArray ArrowStringArray "
    "PeriodArray IntervalArray StringArray".split()
)


class PandasCodec(Codec):
    """`DataFrame`, `Series`, every index and most arrays, where they come back as they were."""

    name = "pandas"
    is_safe = True

    def handles(self, value: Any) -> bool:
        if _kind(value) is None or attached(value):
            return False
        try:
            _described(value, Writer(is_trial=True))
        except NotExact:
            return False
        return True

    def encode(self, value: Any) -> Encoded:
        writer = Writer()
        meta = _described(value, writer)
        return Encoded(meta, writer.buffers)

    def decode(self, meta: Any, buffers: list[memoryview]) -> Any:
        kind, *rest = meta
        reader = Reader(buffers)
        if kind == _FRAME:
            return _frame(reader, rest, None)
        if kind == _SERIES:
            return _series(reader, *rest)
        if kind == _INDEX:
            return reader.index(rest[0])
        if kind == _ARRAY:
            return reader.array(*rest)
        raise ValueError("no value of pandas")

    def columns(self, meta: Any, buffers: list[memoryview]) -> list[Any] | None:
        if meta[0] != _FRAME:
            return None
        names: list[Any] = Reader(buffers).index(meta[1]).tolist()
        return names

    def decode_for(self, meta: Any, buffers: list[memoryview], key: Any) -> Any:
        kind, *rest = meta
        if kind == _FRAME and _names_columns(key):
            reader = Reader(buffers)
            at = _places(reader.index(rest[0]), key)
            if at is not None:
                return _frame(reader, rest, at)
        return self.decode(meta, buffers)


def _kind(value: Any) -> str | None:
    pandas: Any = sys.modules.get("pandas")
    kind = type(value)
    if pandas is None or kind.__module__.partition(".")[0] != "pandas":
        return None
    if kind is getattr(pandas, "DataFrame", None):
        return _FRAME
    if kind is getattr(pandas, "Series", None):
        return _SERIES
    if isinstance(value, getattr(pandas, "Index", ())):
        return _INDEX
    return _ARRAY if kind.__name__ in _ARRAYS else None


def _described(value: Any, writer: Writer) -> list[Any]:
    """The meta of a value; its buffers are with the writer.

    Raises
    ------
    NotExact
        Some part would not come back as it is.
    """
    kind = _kind(value)
    if kind == _INDEX:
        return [kind, writer.index(value)]
    if kind == _ARRAY:
        return [kind, writer.array(value), len(value)]
    rest = [_attributes(value.attrs), value.flags.allows_duplicate_labels]
    if kind == _SERIES:
        name, index = packed_name(value.name), writer.index(value.index)
        return [kind, name, index, len(value), writer.array(value.array), *rest]
    columns, index = writer.index(value.columns), writer.index(value.index)
    runs = list(_runs(column_arrays(value), writer))
    return [kind, columns, index, len(value), runs, *rest]


def _attributes(attributes: Any) -> bytes | None:
    """What `attrs` of a frame or series holds, packed."""
    if not attributes:
        return None
    if type(attributes) is not dict or plain_kinds(attributes) is None:
        raise NotExact("attrs")
    return bytes(pack_any(attributes))


def _runs(columns: Sequence[Any], writer: Writer) -> Iterator[list[Any]]:
    """The descriptions of all columns; neighbours of one dtype of numpy have one together."""
    run: list[Any] = []
    for column in columns:
        array = _raw_array(column)
        if run and (array is None or array.dtype != run[0].dtype):
            yield _run(run, writer)
            run = []
        if array is None:
            yield writer.array(column)
        else:
            run.append(array)
    if run:
        yield _run(run, writer)


def _run(run: list[Any], writer: Writer) -> list[Any]:
    if len(run) > 1:
        return writer.run(run)
    return ["numpy", arrays.pack_dtype(run[0].dtype), writer.add(arrays.raw(run[0]))]


def _raw_array(column: Any) -> Any:
    """The array of numpy that a column is; None if it is another one, or not of raw bytes."""
    if not hasattr(column.dtype, "numpy_dtype") and not hasattr(column.dtype, "itemsize"):
        return None
    pandas: Any = sys.modules["pandas"]
    is_numpy = isinstance(column.dtype, sys.modules["numpy"].dtype)
    if not is_numpy and type(column) is not pandas.arrays.NumpyExtensionArray:
        return None
    array = column.to_numpy()
    return array if arrays.is_array(array) else None


def _names_columns(key: Any) -> bool:
    """Whether indexing a frame by the key takes columns, by their names."""
    if type(key) is list:
        return bool(key) and all(type(name) in (str, int) for name in key)
    return type(key) in (str, int, tuple)


def _places(columns: Any, key: Any) -> list[int] | None:
    """Where the columns are that a key names; None if that is for pandas to say."""
    wanted = columns.isin(key) if type(key) is list else columns.isin([key])
    found = [at for at, is_wanted in enumerate(wanted) if is_wanted]
    return found if found and columns.nlevels == 1 else None


def _frame(reader: Reader, rest: list[Any], at: Sequence[int] | None) -> Any:
    """The frame, or that of the columns at some places."""
    pandas = import_module("pandas")
    columns_of, index_of, length, described, attributes, duplicates = rest
    columns, index = reader.index(columns_of), reader.index(index_of)
    if len(index) != length or sum(map(_width, described)) != len(columns):
        raise ValueError("a frame of another shape")
    if at is not None:
        columns = columns[list(at)]
    pieces = list(_pieces(reader, described, length, index, at))
    if not pieces:
        frame = pandas.DataFrame(index=index, columns=columns)
    else:
        frame = pieces[0] if len(pieces) == 1 else pandas.concat(pieces, axis=1, **_not_copied())
        frame.columns = columns
    return _finished(frame, attributes, duplicates=duplicates)


def _pieces(
    reader: Reader, described: Any, length: int, index: Any, at: Sequence[int] | None
) -> Iterator[Any]:
    """Frames over the memory of the buffers, which stand beside each other in the whole one."""
    pandas = import_module("pandas")
    separate: dict[int, Any] = {}
    place = 0
    for one in described:
        first, place = place, place + _width(one)
        wanted = list(range(place - first))
        if at is not None:
            wanted = [i - first for i in at if first <= i < place]
            if not wanted:
                continue
        if one[0] == "run":
            block = reader.run(one, length)
            if separate:
                yield pandas.DataFrame(separate, index=index, copy=False)
                separate = {}
            yield pandas.DataFrame(block[_slice(wanted)].T, index=index, copy=False)
        else:
            separate[first] = _column(reader.array(one, length), index)
    if separate:
        yield pandas.DataFrame(separate, index=index, copy=False)


def _slice(places: list[int]) -> Any:
    """A slice where there is one, so that nothing is copied."""
    is_dense = places[-1] - places[0] == len(places) - 1
    return slice(places[0], places[-1] + 1) if is_dense else places


def _column(array: Any, index: Any) -> Any:
    """The array, or a series of it where pandas would guess what the objects are."""
    if array.dtype == object:
        return import_module("pandas").Series(array, index=index, dtype=object, copy=False)
    return array


def _width(described: list[Any]) -> int:
    """The number of columns that a description is of."""
    count: int = described[2] if described[0] == "run" else 1
    return count


def _not_copied() -> dict[str, bool]:
    """What keeps pandas before 3 from copying."""
    is_old = int(import_module("pandas").__version__.partition(".")[0]) < 3
    return {"copy": False} if is_old else {}


def _series(
    reader: Reader, name: Any, index: Any, length: int, array: Any, attributes: Any, duplicates: Any
) -> Any:
    values = reader.array(array, length)
    dtype = object if values.dtype == object else None
    series = import_module("pandas").Series(
        values, index=reader.index(index), dtype=dtype, name=unpacked_name(name), copy=False
    )
    return _finished(series, attributes, duplicates=duplicates)


def _finished(value: Any, attributes: bytes | None, *, duplicates: bool) -> Any:
    if attributes is not None:
        value.attrs = unpack(attributes)
    if not duplicates:
        value.flags.allows_duplicate_labels = False
    return value
