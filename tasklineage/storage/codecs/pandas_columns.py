"""The columns and indexes of pandas as plain descriptions and buffers.

A description is an array whose first element says what it is; numbers in it that stand for buffers
are their positions. docs/codecs.md lists them. Nothing here runs code of the bytes.
"""

from __future__ import annotations

import datetime
import sys
import zoneinfo
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, ClassVar

from tasklineage.key.digest_arrow import chunks_of, text_offsets
from tasklineage.key.digest_frames import joined, text_sizes
from tasklineage.storage.codecs import arrays, arrow
from tasklineage.storage.codecs.plain import PlainCodec, pack, pack_any, unpack
from tasklineage.storage.codecs.survey import FLAT
from tasklineage.storage.object_layout import Buffer, Chunked

_BLOCK = 1 << 16
"""Elements that are copied at a time."""
_MASKED = frozenset(
    "Int8 Int16 Int32 Int64 UInt8 UInt16 UInt32 UInt64 Float32 Float64 boolean".split()
)
_FLAT_INDEXES = frozenset(
    "Index CategoricalIndex DatetimeIndex IntervalIndex PeriodIndex TimedeltaIndex".split()
)
_ARRAYS = arrays.ArrayCodec()
_PLAIN = PlainCodec()


class NotExact(Exception):
    """Something would not come back as it is. It never leaves the codecs."""


class Writer:
    """Describes arrays and indexes, and collects their buffers.

    Parameters
    ----------
    is_trial
        Only finds out whether it can be done: what is not free is not made.
    """

    __slots__ = ("_is_trial", "buffers")

    def __init__(self, *, is_trial: bool = False) -> None:
        self._is_trial = is_trial
        self.buffers: list[Buffer] = []

    def array(self, array: Any) -> list[Any]:
        """The description of an array of pandas.

        Raises
        ------
        NotExact
        """
        pandas: Any = sys.modules["pandas"]
        numpy: Any = sys.modules["numpy"]
        dtype = array.dtype
        if type(array) is pandas.arrays.NumpyExtensionArray or isinstance(dtype, numpy.dtype):
            return self._numpy(array.to_numpy())
        for kind, describe in (
            (pandas.CategoricalDtype, self._categories),
            (pandas.DatetimeTZDtype, self._zoned),
            (pandas.StringDtype, self._texts),
            (pandas.ArrowDtype, self._arrow),
            (pandas.PeriodDtype, self._periods),
            (pandas.IntervalDtype, self._intervals),
        ):
            if type(dtype) is kind:
                found: list[Any] = describe(array)
                return found
        if str(dtype) in _MASKED and type(dtype).__module__.partition(".")[0] == "pandas":
            return self._masked(array)
        raise NotExact(str(dtype))

    def index(self, index: Any) -> list[Any]:
        """The description of an index.

        Raises
        ------
        NotExact
        """
        pandas: Any = sys.modules["pandas"]
        kind = type(index)
        name = kind.__name__
        if kind is not getattr(pandas, name, None):
            raise NotExact(name)
        if kind is pandas.RangeIndex:
            return ["range", packed_name(index.name), index.start, index.stop, index.step]
        if kind is pandas.MultiIndex:
            return self._levels(index)
        if name not in _FLAT_INDEXES:
            raise NotExact(name)
        values, frequency = self.array(index.array), _frequency(index)
        return ["index", name, packed_name(index.name), len(index), values, frequency]

    def run(self, columns: Sequence[Any]) -> list[Any]:
        """The description of several arrays of numpy of one dtype: one buffer for all."""
        total = sum(column.nbytes for column in columns)
        described = arrays.pack_dtype(columns[0].dtype)
        chunks = [arrays.raw(column) for column in columns]
        return ["run", described, len(columns), self.add(Chunked(total, lambda: _each(chunks)))]

    def add(self, buffer: Buffer) -> int:
        """Where the buffer stands now."""
        self.buffers.append(buffer)
        return len(self.buffers) - 1

    def _numpy(self, array: Any) -> list[Any]:
        if array.dtype == object:
            return ["objects", self._objects(array)]
        if not arrays.is_array(array):
            raise NotExact(str(array.dtype))
        return ["numpy", arrays.pack_dtype(array.dtype), self.add(arrays.raw(array))]

    def _objects(self, array: Any) -> int:
        items = array.tolist()
        kinds = set(map(type, items))
        if not kinds <= FLAT and not all(map(_is_plain, items)):
            raise NotExact("objects")
        if self._is_trial:
            return 0
        return self.add(pack(items, kinds)[1] if kinds <= FLAT else pack_any(items))

    def _categories(self, array: Any) -> list[Any]:
        return [
            "categories", bool(array.ordered), self.index(array.categories),
            self._numpy(array.codes),
        ]  # fmt: skip

    def _zoned(self, array: Any) -> list[Any]:
        zone = _zone(array.dtype.tz)
        return ["zoned", array.dtype.unit, zone, self.add(arrays.raw(array.asi8))]

    def _periods(self, array: Any) -> list[Any]:
        frequency = str(array.dtype)[len("period[") : -1]
        if import_module("pandas").PeriodDtype(frequency) != array.dtype:
            raise NotExact(frequency)
        return ["periods", frequency, self.add(arrays.raw(array.asi8))]

    def _intervals(self, array: Any) -> list[Any]:
        left, right = self.array(array.left.array), self.array(array.right.array)
        return ["intervals", array.closed, left, right]

    def _masked(self, array: Any) -> list[Any]:
        dtype = array.dtype.numpy_dtype
        values = Chunked(len(array) * dtype.itemsize, lambda: _filled(array, dtype))
        missing = array.isna()
        mask = self.add(arrays.raw(missing)) if missing.any() else None
        return ["masked", str(array.dtype), self.add(values), mask]

    def _texts(self, array: Any) -> list[Any]:
        storage, is_na = array.dtype.storage, array.dtype.na_value is sys.modules["pandas"].NA
        if storage not in ("python", "pyarrow"):  # pandas 2 has one more
            raise NotExact(storage)
        if self._is_trial:
            return []
        missing = array.isna()
        source = _python_texts(array, missing) if storage == "python" else _arrow_texts(array)
        ends, data = (self.add(buffer) for buffer in source)
        bits = None
        if missing.any():
            numpy: Any = sys.modules["numpy"]
            bits = self.add(arrays.raw(numpy.packbits(~missing, bitorder="little")))
        return ["texts", storage, is_na, ends, data, bits]

    def _arrow(self, array: Any) -> list[Any]:
        held = array.__arrow_array__()
        if not arrow.is_portable(held.type):
            raise NotExact(str(held.type))
        if self._is_trial:
            return []
        table = sys.modules["pyarrow"].table({"": held})
        return ["arrow", self.add(arrow.table_stream(table))]

    def _levels(self, index: Any) -> list[Any]:
        names = [packed_name(name) for name in index.names]
        levels = [self.index(level) for level in index.levels]
        codes = [self._numpy(sys.modules["numpy"].asarray(codes)) for codes in index.codes]
        return ["levels", names, len(index), levels, codes, index.sortorder]


class Reader:
    """Makes arrays and indexes of descriptions. Raises what damaged or hostile ones deserve."""

    __slots__ = ("_buffers",)

    def __init__(self, buffers: Sequence[memoryview]) -> None:
        self._buffers = buffers

    def array(self, described: list[Any], length: int) -> Any:
        """An array of numpy or pandas with so many elements, over the memory of the buffers."""
        kind, *rest = described
        made = self.readers[kind](self, length, *rest)
        if len(made) != length:
            raise ValueError("a column of another length")
        return made

    def index(self, described: list[Any]) -> Any:
        """An index."""
        kind, *rest = described
        if kind == "range":
            name, *bounds = rest
            return import_module("pandas").RangeIndex(*bounds, name=unpacked_name(name))
        return self._levels(*rest) if kind == "levels" else self._flat_index(*rest)

    def run(self, described: list[Any], length: int) -> Any:
        """The columns of a run as the rows of one array."""
        _, dtype, count, at = described
        return _ARRAYS.decode([dtype, [count, length], "C"], [self._buffers[at]])

    def _numpy(self, length: int, dtype: Any, at: int) -> Any:
        return _ARRAYS.decode([dtype, [length], "C"], [self._buffers[at]])

    def _objects(self, length: int, at: int) -> Any:
        items: Any = _PLAIN.decode(b"", [self._buffers[at]])
        if type(items) is not list or len(items) != length:
            raise ValueError("objects of another number")
        made = import_module("numpy").empty(length, object)
        if tuple in set(map(type, items)):
            for at, item in enumerate(items):  # numpy would take tuples apart
                made[at] = item
        else:
            made[:] = items
        return made

    def _categories(self, length: int, ordered: bool, categories: Any, codes: Any) -> Any:
        pandas = import_module("pandas")
        dtype = pandas.CategoricalDtype(self.index(categories), bool(ordered))
        return pandas.Categorical.from_codes(self.array(codes, length), dtype=dtype)

    def _zoned(self, length: int, unit: str, zone: Any, at: int) -> Any:
        times = self._numpy(length, f"<M8[{unit}]", at)
        utc = import_module("pandas").DatetimeIndex(times).tz_localize("UTC")
        return utc.tz_convert(_as_zone(zone)).array

    def _periods(self, length: int, frequency: str, at: int) -> Any:
        pandas = import_module("pandas")
        ordinals = self._numpy(length, "<i8", at)
        return pandas.arrays.PeriodArray(ordinals, dtype=pandas.PeriodDtype(frequency))

    def _intervals(self, length: int, closed: str, left: Any, right: Any) -> Any:
        sides = [self.array(side, length) for side in (left, right)]
        return import_module("pandas").arrays.IntervalArray.from_arrays(*sides, closed=closed)

    def _masked(self, length: int, name: str, at: int, mask_at: int | None) -> Any:
        if name not in _MASKED:
            raise ValueError("no nullable column")
        dtype = import_module("pandas").api.types.pandas_dtype(name)
        values = self._numpy(length, dtype.numpy_dtype.str, at)
        if mask_at is None:
            mask = import_module("numpy").zeros(length, bool)
        else:
            mask = self._numpy(length, "|b1", mask_at)
        return dtype.construct_array_type()(values, mask)

    def _texts(
        self, length: int, storage: str, is_na: bool, ends: int, data: int, bits: int | None
    ) -> Any:
        pandas, numpy = import_module("pandas"), import_module("numpy")
        dtype = pandas.StringDtype(storage) if is_na else pandas.StringDtype(storage, numpy.nan)
        offsets, content = self._numpy(length + 1, "<i8", ends), self._buffers[data]
        valid = None if bits is None else self._numpy(-(-length // 8), "|u1", bits)
        if storage == "pyarrow":
            return _arrow_column(dtype, offsets, content, valid)
        return _python_column(dtype, offsets, content, valid)

    def _arrow(self, _length: int, at: int) -> Any:
        held = arrow.read_table(self._buffers[at]).column(0)
        return import_module("pandas").arrays.ArrowExtensionArray(held)

    def _flat_index(
        self, kind: str, name: Any, length: int, values: Any, frequency: str | None
    ) -> Any:
        pandas = import_module("pandas")
        array = self.array(values, length)
        dtype = object if array.dtype == object else None
        index = pandas.Index(
            array, dtype, copy=False, name=unpacked_name(name), tupleize_cols=False
        )
        if type(index).__name__ != kind:
            raise ValueError("an index of another kind")
        if frequency is not None:
            index.freq = import_module("pandas.tseries.frequencies").to_offset(frequency)
        return index

    def _levels(
        self, names: Any, length: int, levels: Any, codes: Any, sortorder: int | None
    ) -> Any:
        return import_module("pandas").MultiIndex(
            levels=[self.index(level) for level in levels],
            codes=[self.array(code, length) for code in codes],
            names=[unpacked_name(name) for name in names],
            sortorder=sortorder,
        )

    readers: ClassVar[dict[str, Callable[..., Any]]] = {
        "numpy": _numpy, "objects": _objects, "categories": _categories, "zoned": _zoned,
        "periods": _periods, "intervals": _intervals, "masked": _masked, "texts": _texts,
        "arrow": _arrow,
    }  # fmt: skip
    """By the first element of a description."""


def packed_name(name: Any) -> bytes | None:
    """The name of an index or column, packed.

    Raises
    ------
    NotExact
        It is no plain value.
    """
    if name is None:
        return None
    if not _is_plain(name):
        raise NotExact(type(name).__name__)
    return bytes(pack_any(name))


def unpacked_name(packed: bytes | None) -> Any:
    """The name that was packed."""
    return None if packed is None else unpack(packed)


def _is_plain(name: Any) -> bool:
    if type(name) is tuple:
        return all(map(_is_plain, name))
    return type(name) in FLAT or arrays.is_scalar(name)


def _frequency(index: Any) -> str | None:
    """The text of the frequency of an index of times."""
    frequency = getattr(index, "freq", None)
    if frequency is None or type(index).__name__ == "PeriodIndex":
        return None
    text: str = index.freqstr
    try:
        again = import_module("pandas.tseries.frequencies").to_offset(text)
    except ValueError as error:
        raise NotExact(text) from error
    if again != frequency or getattr(frequency, "holidays", None):
        raise NotExact(text)
    return text


def _zone(zone: Any) -> list[Any]:
    if zone is datetime.UTC:
        return ["utc"]
    if type(zone) is datetime.timezone:
        offset = zone.utcoffset(None)
        if str(zone) == str(datetime.timezone(offset)):
            return ["offset", offset.total_seconds()]
    key = getattr(zone, "key", None)
    if type(zone) is zoneinfo.ZoneInfo and key is not None:
        return ["zone", key]
    name = getattr(zone, "zone", None)
    if type(zone).__module__.partition(".")[0] == "pytz" and name is not None:
        return ["pytz", name]
    raise NotExact(repr(zone))


def _as_zone(described: list[Any]) -> Any:
    if described == ["utc"]:
        return datetime.UTC
    kind, detail = described
    if kind == "offset":
        return datetime.timezone(datetime.timedelta(seconds=detail))
    if kind == "zone":
        return zoneinfo.ZoneInfo(detail)
    if kind == "pytz":
        return import_module("pytz").timezone(detail)
    raise ValueError("no zone")


def _each(chunks: Sequence[Buffer]) -> Iterator[Any]:
    for chunk in chunks:
        if isinstance(chunk, Chunked):
            yield from chunk.chunks()
        else:
            yield chunk


def _filled(array: Any, dtype: Any) -> Iterator[Any]:
    """The values of a nullable column, with zeros for what is missing."""
    for at in range(0, len(array), _BLOCK):
        block = array[at : at + _BLOCK].to_numpy(dtype=dtype, na_value=dtype.type(0))
        yield memoryview(block.view("u1"))


def _python_texts(array: Any, missing: Any) -> tuple[Buffer, Buffer]:
    """Where the texts end, and the texts, which Python objects hold."""
    numpy: Any = sys.modules["numpy"]
    texts = array.to_numpy(dtype=object)
    blocks = [slice(at, at + _BLOCK) for at in range(0, len(texts), _BLOCK)]
    ends = numpy.zeros(len(texts) + 1, "<i8")
    for block in blocks:
        ends[1:][block] = text_sizes(texts[block], missing[block])
    numpy.cumsum(ends, out=ends)
    data = Chunked(int(ends[-1]), lambda: (joined(texts[b][~missing[b]]) for b in blocks))
    return arrays.raw(ends), data


def _arrow_texts(array: Any) -> tuple[Buffer, Buffer]:
    """Where the texts end, and the texts, which pyarrow holds."""
    held = array.__arrow_array__()
    code = "<i8" if str(held.type) == "large_string" else "<i4"
    chunks = [chunk for chunk in chunks_of(held) if len(chunk)]
    offsets = [text_offsets(chunk, code) for chunk in chunks]
    pieces = [
        memoryview(chunk.buffers()[2] or b"").cast("B")[int(some[0]) : int(some[-1])]
        for chunk, some in zip(chunks, offsets, strict=True)
    ]
    data = Chunked(sum(piece.nbytes for piece in pieces), lambda: pieces)
    return Chunked(8 * (len(array) + 1), lambda: _ends(offsets)), data


def _ends(offsets: Sequence[Any]) -> Iterator[Any]:
    """The offsets of several chunks as those of one that begins at 0."""
    numpy: Any = sys.modules["numpy"]
    yield bytes(8)
    base = 0
    for some in offsets:
        shift = base - int(some[0])
        for at in range(1, len(some), _BLOCK):
            block = some[at : at + _BLOCK].astype("<i8") + numpy.int64(shift)
            yield memoryview(block.view("u1"))
        base += int(some[-1]) - int(some[0])


def _arrow_column(dtype: Any, offsets: Any, content: memoryview, valid: Any) -> Any:
    pyarrow = import_module("pyarrow")
    buffers = [None if one is None else pyarrow.py_buffer(one) for one in (offsets, content, valid)]
    held = pyarrow.LargeStringArray.from_buffers(len(offsets) - 1, *buffers)
    held.validate(full=True)
    return dtype.__from_arrow__(held)


def _python_column(dtype: Any, offsets: Any, content: memoryview, valid: Any) -> Any:
    pandas, numpy = import_module("pandas"), import_module("numpy")
    ends = offsets.tolist()
    texts = numpy.empty(len(ends) - 1, object)
    texts[:] = [
        str(content[ends[i] : ends[i + 1]], "utf-8", "surrogatepass") for i in range(len(texts))
    ]
    if valid is not None:
        missing = ~numpy.unpackbits(valid, count=len(texts), bitorder="little").astype(bool)
        texts[missing] = dtype.na_value
    return pandas.array(texts, dtype=dtype, copy=False)
