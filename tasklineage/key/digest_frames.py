"""Forms of what pandas defines: frames, series, indexes, times. Each column has its own digest."""

from __future__ import annotations

import sys
from typing import Any

from tasklineage.key.digest_forms import Code, Library, Parts

LIBRARY = Library()


@LIBRARY.form("pandas:DataFrame", family=True)
def _frame(value: Any, _: Code) -> Parts:
    columns = [_column(column) for _name, column in value.items()]
    return "pandas.DataFrame", value.columns, value.index, columns, *_rest(value, "DataFrame")


@LIBRARY.form("pandas:Series", family=True)
def _series(value: Any, _: Code) -> Parts:
    return "pandas.Series", value.name, value.index, _column(value), *_rest(value, "Series")


@LIBRARY.form(
    "pandas:Index",
    "pandas:CategoricalIndex",
    "pandas:DatetimeIndex",
    "pandas:IntervalIndex",
    "pandas:PeriodIndex",
    "pandas:TimedeltaIndex",
)
def _index(value: Any, _: Code) -> Parts:
    frequency = getattr(value, "freqstr", None)
    return f"pandas.{type(value).__name__}", value.name, _column(value), frequency


@LIBRARY.form("pandas:RangeIndex")
def _range_index(value: Any, _: Code) -> Parts:
    return "pandas.RangeIndex", value.name, value.start, value.stop, value.step


@LIBRARY.form("pandas:MultiIndex")
def _multi_index(value: Any, _: Code) -> Parts:
    levels = [_column(value.get_level_values(i)) for i in range(value.nlevels)]
    return "pandas.MultiIndex", list(value.names), levels


@LIBRARY.form("pandas:Timestamp")
def _timestamp(value: Any, _: Code) -> Parts:
    return "pandas.Timestamp", int(value.asm8.view("i8")), value.unit, value.tzinfo, value.fold


@LIBRARY.form("pandas:Timedelta")
def _timedelta(value: Any, _: Code) -> Parts:
    return "pandas.Timedelta", int(value.asm8.view("i8")), value.unit


@LIBRARY.form("pandas._libs.tslibs.nattype:NaTType", "pandas._libs.missing:NAType")
def _missing(value: Any, _: Code) -> Parts:
    return ("pandas.NaT" if "NaT" in type(value).__name__ else "pandas.NA",)


def _column(column: Any) -> Parts:
    """The values of a Series or Index: dtype, and something that has a digest."""
    pandas: Any = sys.modules["pandas"]
    numpy: Any = sys.modules["numpy"]
    dtype = column.dtype
    if isinstance(dtype, numpy.dtype):
        return (column.to_numpy(),)
    if isinstance(dtype, pandas.CategoricalDtype):
        array = column.array
        return "category", dtype.ordered, _column(array.categories), array.codes
    if isinstance(dtype, pandas.DatetimeTZDtype):
        return str(dtype), column.array.asi8
    if hasattr(dtype, "numpy_dtype") and not hasattr(dtype, "pyarrow_dtype"):
        missing = column.isna()
        values = column.array.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0))
        return str(dtype), values, numpy.asarray(missing)
    return str(dtype), column.array.to_numpy(dtype=object).tolist()


def _rest(value: Any, name: str) -> Parts:
    """What a frame or series carries beside its columns; for a subclass, the class and its own."""
    pandas: Any = sys.modules["pandas"]
    attributes = (value.attrs or None, value.flags.allows_duplicate_labels)
    if type(value) is getattr(pandas, name):
        return attributes
    own = {key: getattr(value, key, None) for key in value._metadata if key != "_name"}
    return *attributes, type(value), own
