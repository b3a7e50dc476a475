"""Tables of pandas, polars and pyarrow as tasks make them, and what it means to be the same."""

from __future__ import annotations

import datetime as dt
import decimal
import zoneinfo
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_INTS = st.integers(-(2**63), 2**63 - 1)
_DAYS = st.integers(-10_000, 10_000)
_ZONES = st.sampled_from(
    [
        dt.UTC, zoneinfo.ZoneInfo("UTC"), zoneinfo.ZoneInfo("Europe/Berlin"),
        dt.timezone(dt.timedelta(hours=-5, minutes=-30)),
    ]
)  # fmt: skip
_UNITS = st.sampled_from(["s", "ms", "us", "ns"])


def _numbers(dtype: str) -> st.SearchStrategy[Any]:
    if dtype[0] == "b":
        return st.booleans()
    if dtype[0] in "iu":
        info = np.iinfo(dtype)
        return st.integers(int(info.min), int(info.max))
    if dtype[0] == "c":
        return st.complex_numbers(allow_nan=False)
    return st.floats(width=int(dtype[1]) * 8)  # type: ignore[arg-type]


# -- pandas ----------------------------------------------------------------------------------------


@st.composite
def pandas_columns(draw: st.DrawFn, size: int) -> Any:
    """An array, index or series of `size` elements of any dtype of pandas."""
    kind = draw(st.sampled_from(sorted(_PANDAS)))
    return _PANDAS[kind](draw, size)


def _many(draw: Any, items: st.SearchStrategy[Any], size: int) -> list[Any]:
    return draw(st.lists(items, min_size=size, max_size=size))  # type: ignore[no-any-return]


def _numpy(draw: Any, size: int) -> Any:
    dtype = draw(st.sampled_from("b1 i1 i2 i4 i8 u1 u4 u8 f2 f4 f8 c16".split()))
    order = draw(st.sampled_from("<>"))
    return pd.Series(np.array(_many(draw, _numbers(dtype), size), f"{order}{dtype}"))


def _objects(draw: Any, size: int) -> Any:
    atoms = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    items = draw(st.sampled_from([atoms, _TEXTS | st.none(), atoms | st.tuples(atoms, atoms)]))
    array = np.empty(size, object)
    for at, item in enumerate(_many(draw, items, size)):
        array[at] = item
    return pd.Series(array, dtype=object)


def _texts(draw: Any, size: int) -> Any:
    storage, missing = draw(st.sampled_from(["python", "pyarrow"])), draw(st.booleans())
    dtype = pd.StringDtype(storage, pd.NA if missing else np.nan)
    return pd.Series(_many(draw, _TEXTS | st.none(), size), dtype=dtype)


def _nullable(draw: Any, size: int) -> Any:
    name, dtype = draw(
        st.sampled_from(
            [("Int64", "i8"), ("UInt8", "u1"), ("Float32", "f4"), ("Float64", "f8"),
             ("boolean", "b1")]
        )
    )  # fmt: skip
    return pd.Series(_many(draw, _numbers(dtype) | st.none(), size), dtype=name)


def _categories(draw: Any, size: int) -> Any:
    texts = draw(st.booleans())
    values = st.lists(_TEXTS, unique=True) if texts else st.lists(_INTS, unique=True)
    found = draw(values)
    codes = _many(draw, st.integers(-1, len(found) - 1), size)
    dtype = pd.CategoricalDtype(found or pd.Index([], dtype=object), draw(st.booleans()))
    return pd.Series(pd.Categorical.from_codes(codes, dtype=dtype))


def _times(draw: Any, size: int) -> Any:
    unit = draw(_UNITS)
    days = np.array(_many(draw, _DAYS | st.just(None), size), "M8[D]").astype(f"M8[{unit}]")
    times = pd.Series(days)
    if draw(st.booleans()):
        return times.dt.tz_localize("UTC").dt.tz_convert(draw(_ZONES))
    return times


def _spans(draw: Any, size: int) -> Any:
    return pd.Series(np.array(_many(draw, _DAYS, size), "i8").view("m8[ns]"))


def _periods(draw: Any, size: int) -> Any:
    frequency = draw(st.sampled_from(["D", "M", "2M", "Y", "h", "W-TUE", "Q-NOV"]))
    ordinals = np.array(_many(draw, _DAYS, size), "i8")
    return pd.Series(pd.arrays.PeriodArray(ordinals, dtype=pd.PeriodDtype(frequency)))


def _intervals(draw: Any, size: int) -> Any:
    left = np.array(_many(draw, st.integers(-99, 99), size), draw(st.sampled_from(["i8", "f8"])))
    closed = draw(st.sampled_from(["left", "right", "both", "neither"]))
    return pd.Series(pd.arrays.IntervalArray.from_arrays(left, left + 1, closed=closed))


def _arrow(draw: Any, size: int) -> Any:
    return pd.Series(pd.arrays.ArrowExtensionArray(draw(arrow_arrays(size))))


_PANDAS = {
    "numpy": _numpy, "objects": _objects, "texts": _texts, "nullable": _nullable,
    "categories": _categories, "times": _times, "spans": _spans, "periods": _periods,
    "intervals": _intervals, "arrow": _arrow,
}  # fmt: skip

_NAMES = st.none() | _TEXTS | st.integers(-9, 9) | st.tuples(_TEXTS, st.integers(0, 9))


@st.composite
def pandas_indexes(draw: st.DrawFn, size: int) -> Any:
    """An index of any kind."""
    kind = draw(st.sampled_from(["range", "flat", "flat", "levels", "frequency"]))
    name = draw(_NAMES)
    if kind == "range":
        start, step = draw(st.integers(-9, 9)), draw(st.sampled_from([1, -2]))
        return pd.RangeIndex(start, start + step * size, step, name=name)
    if kind == "frequency":
        frequency = draw(st.sampled_from(["D", "2h", "MS", "W-MON"]))
        return pd.date_range("2020-01-01", periods=size, freq=frequency, name=name)
    if kind == "levels" and size:
        levels = [draw(_indexable(size)) for _ in range(draw(st.integers(1, 3)))]
        names = [draw(_TEXTS | st.none()) for _ in levels]
        found = pd.MultiIndex.from_arrays(levels, names=names)
        return found[draw(st.integers(0, size)) :].append(found)[-size:]
    return pd.Index(draw(_indexable(size)), name=name, tupleize_cols=False)


def _indexable(size: int) -> st.SearchStrategy[Any]:
    return pandas_columns(size).filter(
        lambda column: (
            column.dtype != "float16"
            and getattr(column.dtype, "byteorder", "=") != ">"
            and not _is_nested(column.dtype)
        )
    )


def _is_nested(dtype: Any) -> bool:
    kind = getattr(dtype, "pyarrow_dtype", None)
    return kind is not None and (pa.types.is_nested(kind) or pa.types.is_dictionary(kind))


@st.composite
def pandas_frames(draw: st.DrawFn) -> Any:
    """A DataFrame: any index, any columns, names that may be double, attributes, flags."""
    size = draw(st.integers(0, 5))
    columns = draw(st.lists(pandas_columns(size), max_size=5))
    columns += [columns[-1]] * draw(st.integers(0, 2)) if columns else []
    frame = pd.DataFrame({at: column.array for at, column in enumerate(columns)})
    if not columns:
        frame = pd.DataFrame(index=range(size))
    frame.index = draw(pandas_indexes(size))
    frame.columns = draw(pandas_indexes(len(columns)))
    if size and draw(st.booleans()):
        frame = draw(st.sampled_from([frame.iloc[::-1], frame.iloc[1:], frame.iloc[::2]]))
    frame.attrs = draw(st.dictionaries(_TEXTS, st.integers() | st.lists(_TEXTS), max_size=2))
    if frame.index.is_unique and frame.columns.is_unique and draw(st.booleans()):
        frame.flags.allows_duplicate_labels = False
    return frame


@st.composite
def pandas_series(draw: st.DrawFn) -> Any:
    """A Series of any dtype and index."""
    size = draw(st.integers(0, 5))
    series = draw(pandas_columns(size))
    series.index = draw(pandas_indexes(size))
    return series.rename(draw(_NAMES))


# -- pyarrow ---------------------------------------------------------------------------------------

_ARROW_TYPES = st.recursive(
    st.sampled_from(
        [
            pa.null(), pa.bool_(), pa.int8(), pa.uint64(), pa.float16(), pa.float32(),
            pa.float64(), pa.string(), pa.large_string(), pa.string_view(), pa.binary(),
            pa.large_binary(), pa.binary(3), pa.date32(), pa.date64(), pa.time32("s"),
            pa.time64("ns"), pa.timestamp("us"), pa.timestamp("ns", "Europe/Berlin"),
            pa.duration("ms"), pa.decimal128(10, 2), pa.decimal256(40, 3),
        ]
    ),
    lambda inner: (
        inner.map(pa.list_)
        | inner.map(pa.large_list)
        | inner.map(lambda kind: pa.list_(kind, 2))
        | st.lists(inner, min_size=1, max_size=3).map(
            lambda kinds: pa.struct([(f"f{at}", kind) for at, kind in enumerate(kinds)])
        )
        | inner.map(lambda kind: pa.map_(pa.string(), kind))
    ),
    max_leaves=3,
)  # fmt: skip


def _items(kind: Any) -> st.SearchStrategy[Any]:
    """What can be made an element of an Arrow array, `None` included."""
    types = pa.types
    if types.is_null(kind):
        return st.none()
    if types.is_struct(kind):
        fields = {kind.field(at).name: _items(kind.field(at).type) for at in range(kind.num_fields)}
        return st.none() | st.fixed_dictionaries(fields)
    if types.is_map(kind):
        return st.none() | st.lists(st.tuples(_TEXTS, _items(kind.item_type)), max_size=2)
    if types.is_fixed_size_list(kind):
        return st.none() | st.lists(_items(kind.value_type), min_size=2, max_size=2)
    if types.is_nested(kind):
        return st.none() | st.lists(_items(kind.value_type), max_size=3)
    return st.none() | _atoms(kind)


def _atoms(kind: Any) -> st.SearchStrategy[Any]:
    types = pa.types
    if types.is_boolean(kind):
        return st.booleans()
    if types.is_integer(kind):
        bits, signed = kind.bit_width, types.is_signed_integer(kind)
        return (
            st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
            if signed
            else st.integers(0, 2**bits - 1)
        )
    if types.is_float16(kind):
        return st.floats(width=16).map(np.float16)
    if types.is_floating(kind):
        return st.floats(width=32)
    if types.is_decimal(kind):
        return st.integers(-(10**7), 10**7).map(lambda n: decimal.Decimal(n).scaleb(-2))
    if types.is_fixed_size_binary(kind):
        return st.binary(min_size=3, max_size=3)
    if "binary" in str(kind):
        return st.binary(max_size=20)
    if "string" in str(kind):
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    if types.is_date(kind):
        return st.dates(dt.date(1970, 1, 1), dt.date(2100, 1, 1))
    return st.integers(0, 80_000)


@st.composite
def arrow_arrays(draw: st.DrawFn, size: int) -> Any:
    """A chunked array of `size` elements, cut out of a larger one in pieces."""
    kind = draw(_ARROW_TYPES)
    items = draw(st.lists(_items(kind), min_size=size + 2, max_size=size + 2))
    whole = pa.array(items, kind).slice(1, size)
    if "dictionary" not in str(kind) and draw(st.booleans()) and pa.types.is_string(kind):
        whole = whole.dictionary_encode()
    cut = draw(st.integers(0, size))
    return pa.chunked_array([whole.slice(0, cut), whole.slice(cut)], whole.type)


@st.composite
def arrow_tables(draw: st.DrawFn) -> Any:
    """A table, possibly with metadata and double names."""
    size = draw(st.integers(0, 4))
    columns = draw(st.lists(arrow_arrays(size), max_size=4))
    names = draw(st.lists(_TEXTS, min_size=len(columns), max_size=len(columns)))
    metadata = draw(st.none() | st.dictionaries(_TEXTS, _TEXTS, max_size=2))
    fields = [pa.field(n, c.type, metadata=metadata) for n, c in zip(names, columns, strict=True)]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, metadata=metadata))


arrow_values = (
    arrow_tables()
    | arrow_arrays(3)
    | arrow_arrays(3).map(lambda array: array.combine_chunks())
    | arrow_tables().map(lambda table: table.schema)
    | arrow_tables()
    .map(lambda table: table.combine_chunks().to_batches())
    .filter(bool)
    .map(lambda batches: batches[0])
)

# -- polars ----------------------------------------------------------------------------------------

_POLARS_TYPES = st.recursive(
    st.sampled_from(
        [
            pl.Null(), pl.Boolean(), pl.Int8(), pl.Int64(), pl.UInt32(), pl.Int128(),
            pl.Float32(), pl.Float64(), pl.String(), pl.Binary(), pl.Date(), pl.Time(),
            pl.Datetime("us"), pl.Datetime("ns", "Europe/Berlin"), pl.Duration("ms"),
            pl.Decimal(12, 2), pl.Categorical(), pl.Enum(["a", "b", "c"]),
        ]
    ),
    lambda inner: (
        inner.map(pl.List)
        | inner.map(lambda kind: pl.Array(kind, 2))
        | st.lists(inner, min_size=1, max_size=2).map(
            lambda kinds: pl.Struct({f"f{at}": kind for at, kind in enumerate(kinds)})
        )
    ),
    max_leaves=3,
)  # fmt: skip


def _polars_items(kind: Any) -> st.SearchStrategy[Any]:
    name = type(kind).__name__
    found: st.SearchStrategy[Any]
    if name == "Null":
        return st.none()
    if name == "Struct":
        found = st.fixed_dictionaries({f.name: _polars_items(f.dtype) for f in kind.fields})
    elif name == "List":
        found = st.lists(_polars_items(kind.inner), max_size=3)
    elif name == "Array":
        found = st.lists(_polars_items(kind.inner), min_size=2, max_size=2)
    else:
        found = _POLARS_ITEMS[name]
    return st.none() | found


_POLARS_ITEMS: dict[str, st.SearchStrategy[Any]] = {
    "Boolean": st.booleans(),
    "Int8": st.integers(-128, 127),
    "Int64": _INTS,
    "UInt32": st.integers(0, 2**32 - 1),
    "Int128": st.integers(-(2**127), 2**127 - 1),
    "Float32": st.floats(width=32),
    "Float64": st.floats(),
    "String": _TEXTS,
    "Binary": st.binary(max_size=20),
    "Date": st.dates(dt.date(1970, 1, 1), dt.date(2100, 1, 1)),
    "Time": st.times(),
    "Datetime": st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2100, 1, 1)),
    "Duration": st.timedeltas(dt.timedelta(0), dt.timedelta(99)),
    "Decimal": st.integers(-(10**7), 10**7).map(lambda n: decimal.Decimal(n).scaleb(-2)),
    "Categorical": st.sampled_from(["x", "y", "z"]),
    "Enum": st.sampled_from(["a", "b", "c"]),
}


@st.composite
def polars_series(draw: st.DrawFn, size: int = 3, name: str = "s") -> Any:
    """A series of `size` elements, in two chunks."""
    kind = draw(_POLARS_TYPES)
    items = draw(st.lists(_polars_items(kind), min_size=size, max_size=size))
    if "Europe" in str(kind):
        kind, items = pl.Datetime("ns", "Europe/Berlin"), [None] * size
    whole = pl.Series(name, items, dtype=kind, strict=False)
    cut = draw(st.integers(0, size))
    return pl.concat([whole[:cut], whole[cut:]], rechunk=False)


@st.composite
def polars_frames(draw: st.DrawFn) -> Any:
    """A DataFrame."""
    size = draw(st.integers(0, 4))
    names = draw(st.lists(_TEXTS, unique=True, max_size=4))
    return pl.DataFrame([draw(polars_series(size, name)) for name in names])


polars_values = polars_series() | polars_frames()
pandas_values = pandas_frames() | pandas_series()
tables = pandas_frames() | arrow_tables() | polars_frames()


def same(left: Any, right: Any) -> bool:
    """Whether two tables are equal in type, content and all that belongs to them."""
    if type(left) is not type(right):
        return False
    if isinstance(left, pd.DataFrame):
        return _same_frames(left, right)
    if isinstance(left, pd.Series):
        return _same_series(left, right)
    if isinstance(left, pl.DataFrame):
        return left.schema == right.schema and left.equals(right, null_equal=True)
    if isinstance(left, pl.Series):
        is_same = left.dtype == right.dtype and left.name == right.name
        return is_same and left.equals(right, null_equal=True)
    if isinstance(left, pa.Schema):
        return left.equals(right, check_metadata=True)
    if isinstance(left, pa.Table | pa.RecordBatch):
        pairs = zip(left.columns, right.columns, strict=True)
        is_same = left.schema.equals(right.schema, check_metadata=True)
        return is_same and left.num_rows == right.num_rows and all(same(*pair) for pair in pairs)
    return left.type.equals(right.type) and repr(left.to_pylist()) == repr(right.to_pylist())


def _same_frames(left: Any, right: Any) -> bool:
    if left.shape != right.shape or left.flags != right.flags or left.attrs != right.attrs:
        return False
    columns = ((left.iloc[:, at], right.iloc[:, at]) for at in range(left.shape[1]))
    return (
        _same_indexes(left.index, right.index)
        and _same_indexes(left.columns, right.columns)
        and all(_same_series(*pair) for pair in columns)
    )


def _same_indexes(left: Any, right: Any) -> bool:
    try:
        pd.testing.assert_index_equal(left, right, exact=True, check_exact=True)
    except AssertionError:
        return False
    is_same = list(left.names) == list(right.names) and type(left) is type(right)
    return is_same and getattr(left, "freq", None) == getattr(right, "freq", None)


def _same_series(left: Any, right: Any) -> bool:
    if not (left.dtype == right.dtype and str(left.dtype) == str(right.dtype)):
        return False
    if type(left.array) is not type(right.array) or not _same_indexes(left.index, right.index):
        return False
    if isinstance(left.dtype, pd.ArrowDtype):
        return same(left.array.__arrow_array__(), right.array.__arrow_array__())
    if left.dtype == object:
        return [(type(x), repr(x)) for x in left] == [(type(x), repr(x)) for x in right]
    try:
        pd.testing.assert_series_equal(left, right, check_exact=True)
    except AssertionError:
        return False
    return getattr(left.dtype, "tz", None) == getattr(right.dtype, "tz", None)
