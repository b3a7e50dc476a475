"""Forms of what pandas defines: frames, series, indexes, arrays, times.

Each column has its own digest. Texts are hashed as bytes, whether pyarrow or Python objects hold
them; the values of other columns as the arrays they are.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterator
from typing import Any

from tasklineage.key.attributes import attached
from tasklineage.key.digest_arrow import chunks_of, content, text_form, type_form
from tasklineage.key.digest_forms import Code, Library, Parts

LIBRARY = Library()

_BLOCK = 1 << 16
"""Texts that are encoded at a time."""


@LIBRARY.form("pandas:DataFrame", family=True)
def _frame(value: Any, _: Code) -> Parts:
    rest = _rest(value, "DataFrame")
    return "pandas.DataFrame", value.columns, value.index, columns(value), *rest


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
    if frequency is not None and getattr(value.freq, "holidays", None):  # its text has none of them
        frequency = frequency, value.freq
    name = f"pandas.{type(value).__name__}"
    return name, value.name, _column(value), frequency, *_own(value)


@LIBRARY.form("pandas:RangeIndex")
def _range_index(value: Any, _: Code) -> Parts:
    return "pandas.RangeIndex", value.name, value.start, value.stop, value.step, *_own(value)


@LIBRARY.form("pandas:MultiIndex")
def _multi_index(value: Any, _: Code) -> Parts:
    levels = [_column(value.get_level_values(i)) for i in range(value.nlevels)]
    return "pandas.MultiIndex", list(value.names), levels, *_own(value)


@LIBRARY.form("pandas:Timestamp")
def _timestamp(value: Any, _: Code) -> Parts:
    return "pandas.Timestamp", int(value.asm8.view("i8")), value.unit, value.tzinfo, value.fold


@LIBRARY.form("pandas:Timedelta")
def _timedelta(value: Any, _: Code) -> Parts:
    return "pandas.Timedelta", int(value.asm8.view("i8")), value.unit


@LIBRARY.form("pandas._libs.tslibs.nattype:NaTType", "pandas._libs.missing:NAType")
def _missing(value: Any, _: Code) -> Parts:
    return ("pandas.NaT" if "NaT" in type(value).__name__ else "pandas.NA",)


@LIBRARY.form("pandas:Period")
def _period(value: Any, _: Code) -> Parts:
    return "pandas.Period", value.ordinal, value.freqstr


@LIBRARY.form("pandas:Interval")
def _interval(value: Any, _: Code) -> Parts:
    return "pandas.Interval", value.left, value.right, value.closed


@LIBRARY.form("pandas.api.extensions:ExtensionArray", family=True)
def _array(value: Any, _: Code) -> Parts:
    return f"pandas.{type(value).__name__}", len(value), _values(value)


def columns(value: Any) -> list[Parts] | None:
    """What has the digest of each column of a DataFrame; None for other values."""
    pandas: Any = sys.modules.get("pandas")
    if pandas is None or not isinstance(value, pandas.DataFrame):
        return None
    return [_values(array) for array in column_arrays(value)]


def column_arrays(frame: Any) -> list[Any]:
    """The array of each column of a DataFrame."""
    try:
        return [column.array for _name, column in frame.items()]
    except KeyError:  # pandas 2 does not find a column by the name `NA`
        return [frame.iloc[:, at].array for at in range(frame.shape[1])]


def text_sizes(texts: Any, missing: Any) -> Any:
    """Bytes of each text in UTF-8, 0 for one that is missing."""
    numpy: Any = sys.modules["numpy"]
    sizes = numpy.zeros(len(texts), "<i8")
    present = texts[~missing].tolist()
    if not "".join(present).isascii():
        present = [text.encode("utf-8", "surrogatepass") for text in present]
    sizes[~missing] = list(map(len, present))
    return sizes


def joined(texts: Any) -> bytes:
    """The bytes of texts, one after the other."""
    return "".join(texts.tolist()).encode("utf-8", "surrogatepass")


def _column(column: Any) -> Parts:
    """The values of a Series or Index: dtype, and something that has a digest."""
    return _values(column.array)


def _values(array: Any) -> Parts:
    pandas: Any = sys.modules["pandas"]
    dtype = array.dtype
    is_plain = type(array) is pandas.arrays.NumpyExtensionArray
    if is_plain or isinstance(dtype, sys.modules["numpy"].dtype):
        return (array.to_numpy(),)
    for kind, form in (
        (pandas.CategoricalDtype, _categories),
        (pandas.DatetimeTZDtype, _zoned),
        (pandas.StringDtype, _texts),
        (pandas.ArrowDtype, _arrow),
        (pandas.PeriodDtype, _periods),
        (pandas.IntervalDtype, _intervals),
        (pandas.SparseDtype, _sparse),
    ):
        if isinstance(dtype, kind):
            return form(array)
    if hasattr(dtype, "numpy_dtype"):
        return _masked(array)
    return str(dtype), array.to_numpy(dtype=object).tolist()


def _categories(array: Any) -> Parts:
    form = "category", array.dtype.ordered, _column(array.categories), array.codes
    name = array.categories.name
    return form if name is None else (*form, name)


def _zoned(array: Any) -> Parts:
    zone, name = array.dtype.tz, str(array.dtype)
    if _is_known_by_name(zone):
        return name, array.asi8
    return name, zone, array.asi8


def _is_known_by_name(zone: Any) -> bool:
    """Whether a zone's text says which it is: not so one that the user named."""
    if isinstance(zone, datetime.timezone):
        return str(zone) == str(datetime.timezone(zone.utcoffset(None)))
    return getattr(zone, "key", None) is not None or getattr(zone, "zone", None) is not None


def _texts(array: Any) -> Parts:
    """The same whether pyarrow or Python objects hold the texts."""
    name = "string" if array.dtype.na_value is sys.modules["pandas"].NA else "str"
    missing = array.isna()
    if array.dtype.storage == "python":
        texts = array.to_numpy(dtype=object)
        pieces = [texts[at : at + _BLOCK][~missing[at : at + _BLOCK]] for at in _starts(array)]
        sizes = (
            text_sizes(texts[at : at + _BLOCK], missing[at : at + _BLOCK]) for at in _starts(array)
        )
        form = text_form(sizes, (joined(piece) for piece in pieces))
    else:
        held = array.__arrow_array__()
        form = content(held.type, chunks_of(held))[1]
    return name, len(array), form, missing if missing.any() else None


def _starts(array: Any) -> Iterator[int]:
    return iter(range(0, len(array), _BLOCK))


def _arrow(array: Any) -> Parts:
    held = array.__arrow_array__()
    return "arrow", type_form(held.type), content(held.type, chunks_of(held))


def _periods(array: Any) -> Parts:
    return str(array.dtype), array.asi8


def _intervals(array: Any) -> Parts:
    return "interval", array.closed, _column(array.left), _column(array.right)


def _sparse(array: Any) -> Parts:
    places = array.sp_index.indices
    return str(array.dtype), len(array), array.fill_value, array.sp_values, places


def _masked(array: Any) -> Parts:
    dtype = array.dtype
    values = array.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0))
    return str(dtype), values, sys.modules["numpy"].asarray(array.isna())


def _own(value: Any) -> Parts:
    """What somebody has attached to an index."""
    own = attached(value)
    return (own,) if own else ()


def _rest(value: Any, name: str) -> Parts:
    """What a frame or series carries beside its columns; for a subclass, the class and its own."""
    pandas: Any = sys.modules["pandas"]
    attributes = (value.attrs or None, value.flags.allows_duplicate_labels)
    own = attached(value)
    if type(value) is getattr(pandas, name):
        return (*attributes, own) if own else attributes
    own |= {key: getattr(value, key, None) for key in value._metadata if key != "_name"}
    return *attributes, type(value), own
