"""Digests of tables: by content, whatever the memory layout, the chunks or what is behind nulls."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

import numpy as np
import pytest

from tasklineage.errors import UnhashableArgument
from tasklineage.key.digest import digest

pa = pytest.importorskip("pyarrow")
pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")

NAN = float("nan")
DECIMALS = [decimal.Decimal("1.25"), None, decimal.Decimal("3.00"), decimal.Decimal(4)]
DATES = [dt.date(2020, 1, 1), None, dt.date(2021, 1, 1), dt.date(2020, 1, 1)]
LISTS = [[1], None, [], [2, None]]
PAIRS = [[1, 2], None, [3, 4], [None, 5]]
STRUCTS = [{"x": 1, "y": "a"}, None, {"x": None, "y": "b"}, {"x": 3, "y": None}]
TEXTS = ["a", None, "", "bé, and more than twelve letters"]

ARROW: dict[str, tuple[Any, list[Any]]] = {
    "int": (pa.int64(), [1, 2, None, 4]),
    "float": (pa.float32(), [1.5, None, NAN, 2.0]),
    "bool": (pa.bool_(), [True, None, False, True]),
    "string": (pa.string(), TEXTS),
    "large string": (pa.large_string(), TEXTS),
    "string view": (pa.string_view(), TEXTS),
    "binary": (pa.binary(), [b"a", None, b"", b"b"]),
    "binary of one width": (pa.binary(2), [b"ab", None, b"cd", b"ef"]),
    "list": (pa.list_(pa.int8()), LISTS),
    "large list": (pa.large_list(pa.int8()), LISTS),
    "list view": (pa.list_view(pa.int8()), LISTS),
    "list of one size": (pa.list_(pa.int8(), 2), PAIRS),
    "struct": (pa.struct([("x", pa.int8()), ("y", pa.string())]), STRUCTS),
    "map": (pa.map_(pa.string(), pa.int8()), [[("a", 1)], None, [], [("b", 2), ("c", None)]]),
    "decimal": (pa.decimal128(10, 2), DECIMALS),
    "timestamp": (pa.timestamp("us", "Europe/Berlin"), [1, None, 3, 4]),
    "date": (pa.date32(), DATES),
    "null": (pa.null(), [None] * 4),
}
POLARS: dict[str, tuple[Any, list[Any]]] = {
    "int": (pl.Int64, [1, 2, None, 4]),
    "wide int": (pl.Int128, [1, None, 2**100, 4]),
    "float": (pl.Float32, [1.5, None, NAN, 2.0]),
    "bool": (pl.Boolean, [True, None, False, True]),
    "string": (pl.String, TEXTS),
    "binary": (pl.Binary, [b"a", None, b"", b"b"]),
    "categorical": (pl.Categorical, ["a", None, "b", "a"]),
    "enum": (pl.Enum(["a", "b", "c"]), ["a", None, "b", "a"]),
    "list": (pl.List(pl.Int8), LISTS),
    "lists in lists": (pl.List(pl.List(pl.String)), [[["a"]], None, [], [["b", None], [], None]]),
    "array": (pl.Array(pl.Int8, 2), PAIRS),
    "struct": (pl.Struct({"x": pl.Int8, "y": pl.String}), STRUCTS),
    "decimal": (pl.Decimal(10, 2), DECIMALS),
    "date": (pl.Date, DATES),
    "null": (pl.Null, [None] * 4),
}


@pytest.mark.parametrize("name", ARROW)
def test_arrow_arrays_count_by_their_elements(name: str) -> None:
    kind, items = ARROW[name]
    whole, thrice = pa.array(items, kind), pa.array(items * 3, kind)
    assert digest(whole) == digest(thrice.slice(4, 4)) == digest(pa.array(items, kind))
    pieces = [whole.slice(0, 1), whole.slice(0, 0), thrice.slice(5, 2), whole.slice(3)]
    assert digest(pa.chunked_array(pieces)) == digest(pa.chunked_array([whole]))
    assert digest(pa.chunked_array([], kind)) == digest(pa.chunked_array([whole.slice(2, 0)]))
    others = [pa.array(items[:3], kind), pa.array(items, kind).slice(1), whole[0], kind, thrice]
    assert digest(whole) not in {digest(other) for other in others}


def test_arrow_types_of_one_content_differ() -> None:
    values = [pa.array(*reversed(ARROW[name])) for name in ARROW]
    assert len({digest(value) for value in values}) == len(values)


def test_what_lies_behind_nulls_does_not_count() -> None:
    mask = pa.py_buffer(b"\x05")
    numbers = pa.Array.from_buffers(pa.int64(), 3, [mask, pa.py_buffer(np.array([1, 99, 3]))])
    assert digest(numbers) == digest(pa.array([1, None, 3]))
    ends = pa.py_buffer(np.array([0, 1, 3, 4], "i4"))
    texts = pa.Array.from_buffers(pa.string(), 3, [mask, ends, pa.py_buffer(b"abbc")])
    assert digest(texts) == digest(pa.array(["a", None, "c"]))


def test_dictionaries_and_runs_of_arrow_do_not_count_by_their_chunks() -> None:
    coded = pa.array(["a", "b", None]).dictionary_encode()
    apart = [coded.slice(0, 1), pa.array(["b", None]).dictionary_encode()]
    assert digest(pa.chunked_array(apart)) == digest(pa.chunked_array([coded]))
    assert digest(coded) != digest(pa.array(["b", "a", None]).dictionary_encode())
    import pyarrow.compute as pc

    runs = pc.run_end_encode(pa.array([0, 1, 1, 2]))
    assert digest(runs.slice(1)) == digest(pc.run_end_encode(pa.array([1, 1, 2])))


def test_arrow_tables_count_by_schema_and_columns() -> None:
    table = pa.table({"a": [1, 2], "b": ["x", None]})
    parts = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    assert digest(parts) == digest(table) == digest(parts.combine_chunks())
    others = [
        table.rename_columns(["a", "c"]),
        table.select(["b", "a"]),
        table.replace_schema_metadata({"k": "v"}),
        table.cast(pa.schema([pa.field("a", pa.int64(), nullable=False), ("b", pa.string())])),
        table.cast(pa.schema([("a", pa.int64()), ("b", pa.large_string())])),
        table.to_batches()[0],
        table.slice(0, 1),
        table.slice(0, 0),
        table.schema,
    ]
    assert len({digest(value) for value in [table, *others]}) == 10


@pytest.mark.parametrize("name", POLARS)
def test_polars_series_count_by_their_elements(name: str) -> None:
    kind, items = POLARS[name]
    whole = pl.Series("q", items, dtype=kind)
    thrice = pl.concat([whole] * 3)
    assert digest(whole) == digest(thrice.slice(4, 4)) == digest(thrice.rechunk().slice(8))
    pieces = pl.concat([whole.slice(0, 1), whole.slice(1)], rechunk=False)
    assert digest(pieces) == digest(whole)
    others = [whole.rename("p"), whole.slice(0, 3), whole.slice(0, 0), thrice, whole.dtype]
    assert digest(whole) not in {digest(other) for other in others}


def test_polars_types_of_one_content_differ() -> None:
    values = [pl.Series("q", items, dtype=kind) for kind, items in POLARS.values()]
    times = pl.Series("q", [0, 1], dtype=pl.Int64)
    values += [times.cast(pl.Datetime(unit)) for unit in ("ms", "us", "ns")]
    values += [times.cast(pl.Datetime("us", zone)) for zone in ("UTC", "Europe/Berlin")]
    assert len({digest(value) for value in values}) == len(values)


def test_polars_categories_count_by_their_texts() -> None:
    first = pl.Series(["x", "y"], dtype=pl.Categorical)
    pl.Series(["z", "y"], dtype=pl.Categorical)
    assert digest(first) == digest(pl.Series(["y", "x"], dtype=pl.Categorical).reverse())


def test_polars_frames_count_by_names_and_columns() -> None:
    frame = pl.DataFrame({"a": [1, 2], "b": ["x", None]})
    assert digest(frame) == digest(pl.concat([frame[:1], frame[1:]], rechunk=False))
    others = [frame.rename({"a": "c"}), frame[:, ::-1], frame[:1], frame["a"], frame.to_arrow()]
    assert len({digest(value) for value in [frame, *others]}) == 6


@pytest.mark.parametrize(
    "value", [pl.LazyFrame({"a": [1]}), pl.scan_csv("x.csv")], ids=["in memory", "of a file"]
)
def test_a_lazy_frame_is_refused(value: Any) -> None:
    with pytest.raises(UnhashableArgument, match=r"collect\(\)"):
        digest([value])


def test_an_arrow_dataset_is_refused() -> None:
    dataset = pytest.importorskip("pyarrow.dataset")
    with pytest.raises(UnhashableArgument, match=r"to_table\(\)"):
        digest(dataset.dataset(pa.table({"a": [1]})))


@pytest.mark.parametrize("missing", [np.nan, pd.NA])
def test_texts_of_pandas_count_whatever_holds_them(missing: Any) -> None:
    python, arrow = pd.StringDtype("python", missing), pd.StringDtype("pyarrow", missing)
    texts = pd.Series(["é", "", None, "x" * 5000, "\N{GRINNING FACE}", None], dtype=arrow)
    for at in range(6):
        assert digest(texts[at:]) == digest(texts[at:].astype(python))
    assert digest(texts) == digest(pd.concat([texts[:2], texts[2:]]))
    others = [texts.fillna("nan"), texts.astype(object), texts[::-1], texts[:5]]
    assert digest(texts) not in {digest(other) for other in others}


def test_missing_text_is_told_from_text_by_the_kind_of_dtype() -> None:
    nan, na = (pd.Series(["a"], dtype=pd.StringDtype("python", m)) for m in (np.nan, pd.NA))
    assert digest(nan) != digest(na)


def test_extension_columns_of_pandas_count_by_content() -> None:
    months = pd.Series(pd.period_range("2020-01", periods=3, freq="M"))
    spans = pd.Series(pd.IntervalIndex.from_breaks([0, 1, 2, 3], closed="left"))
    series = [
        months,
        months.dt.asfreq("D"),
        months[::-1],
        spans,
        spans.array.set_closed("right"),
        pd.Series(pd.arrays.SparseArray([0, 0, 1])),
        pd.Series(pd.arrays.SparseArray([0, 0, 1], fill_value=1)),
        pd.Series([0, 0, 1], dtype="int64[pyarrow]"),
        pd.Series([0, None, 1], dtype="int64[pyarrow]"),
        pd.Series([0, 0, 1], dtype="int32[pyarrow]"),
        pd.Series([1.5, None], dtype="Float64"),
        pd.Series([1.5, None], dtype="double[pyarrow]"),
        pd.Categorical([1, 2, 1]),
        pd.Series([1.5, None], dtype="Float64").array,
    ]
    assert len({digest(value) for value in series}) == len(series)
    for value in series:
        assert digest(value.copy()) == digest(value)


def test_a_frame_with_a_column_named_na_has_a_digest() -> None:
    frame = pd.DataFrame([[1, 2]], columns=pd.Index([pd.NA, "a"], dtype=object))
    assert digest(frame) == digest(frame.copy()) != digest(frame.iloc[:, ::-1])


def test_zones_that_have_one_name_and_another_time_differ() -> None:
    times = pd.Series(np.array([0, 1], "M8[ns]"))
    zones = [dt.timezone(dt.timedelta(hours=h), "X") for h in (1, 2)]
    assert len({digest(times.dt.tz_localize(zone)) for zone in zones}) == 2


def test_frequencies_that_have_one_text_and_other_holidays_differ() -> None:
    days = pd.DatetimeIndex(["2020-01-06", "2020-01-07"])
    found = set()
    for holiday in ("2020-05-01", "2020-05-08"):
        days.freq = pd.offsets.CustomBusinessDay(holidays=[holiday])
        found.add(digest(days))
    assert len(found) == 2
