"""Forms of what polars defines: frames and series. Each column has its own digest.

A column counts by its type, its elements and where it has nulls; categoricals by their texts, for
the numbers behind these differ between processes. polars is never imported here: whoever has a
frame has imported it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from xxhash import xxh3_128

from tasklineage.key.attributes import attached
from tasklineage.key.digest_arrow import text_form
from tasklineage.key.digest_forms import Code, Library, Parts, Undigestible

LIBRARY = Library()

_BLOCK = 1 << 18
"""Rows that are copied at a time."""


@LIBRARY.form("polars:DataFrame", family=True)
def _frame(value: Any, _: Code) -> Parts:
    rest = _rest(value, "DataFrame")
    return "polars.DataFrame", value.height, value.columns, columns(value), *rest


@LIBRARY.form("polars:Series", family=True)
def _series(value: Any, _: Code) -> Parts:
    return "polars.Series", value.name, _column(value), *_rest(value, "Series")


@LIBRARY.form("polars:LazyFrame", family=True)
def _lazy(_value: Any, _: Code) -> Parts:
    raise Undigestible(
        "it is a plan, and what the plan reads is not part of it: pass collect() of it, "
        "or the files that it reads as tl.File"
    )


@LIBRARY.form("polars.datatypes.classes:DataType", family=True)
def _type(value: Any, _: Code) -> Parts:
    return "polars.DataType", type_form(value)


def columns(value: Any) -> list[Parts] | None:
    """What has the digest of each column of a DataFrame; None for other values."""
    polars: Any = sys.modules.get("polars")
    if polars is None or not isinstance(value, polars.DataFrame):
        return None
    return [_column(column) for column in value.get_columns()]


def _column(series: Any) -> Parts:
    """Type and content of a series, without its name."""
    return type_form(series.dtype), _content(series)


def type_form(dtype: Any) -> Parts:
    """What tells types apart."""
    name = type(dtype).__name__
    if name in ("List", "Array"):
        return name, getattr(dtype, "size", None), type_form(dtype.inner)
    if name == "Struct":
        return name, *((field.name, type_form(field.dtype)) for field in dtype.fields)
    if name == "Enum":
        return name, dtype.categories.to_list()
    parameters = ("time_unit", "time_zone", "precision", "scale")
    form = name, *(getattr(dtype, parameter, None) for parameter in parameters)
    return form if name != "Categorical" else (*form, *_categories_form(dtype))


def _categories_form(dtype: Any) -> Parts:
    """What tells a Categorical from one of the categories that all share, in their own order."""
    shared = getattr(dtype, "categories", None)
    if shared is None:  # before polars 1.32
        ordering = getattr(dtype, "ordering", None)
        return ("lexical",) if ordering == "lexical" else ()
    if shared.is_global():
        return ()
    return shared.name(), shared.namespace(), str(shared.physical())


def _content(series: Any) -> Parts:
    nulls = None
    if series.null_count():
        nulls = _hashed(series, lambda rows: rows.is_not_null().to_numpy())
    return len(series), _elements(series), nulls


def _elements(series: Any) -> Any:
    """Something that has a digest, and is the same for the same elements."""
    name = type(series.dtype).__name__
    form = _FORMS.get(name)
    if form is not None:
        return form(series)
    if name not in _ONE_WIDTH:
        raise Undigestible(f"polars columns of the type {series.dtype} have no digest")
    return _hashed(series, lambda rows: rows.to_physical().fill_null(0).to_numpy())


def _booleans(series: Any) -> bytes:
    return _hashed(series, lambda rows: rows.fill_null(False).to_numpy().view("u1"))


def _texts(series: Any) -> Parts:
    return text_form(
        (rows.str.len_bytes().fill_null(0).to_numpy().astype("<i8") for rows in _rows(series)),
        ("".join(rows.drop_nulls().str.join().to_list()).encode() for rows in _rows(series)),
    )


def _bytes(series: Any) -> Parts:
    return text_form(
        (rows.bin.size().fill_null(0).to_numpy().astype("<i8") for rows in _rows(series)),
        (b"".join(rows.drop_nulls().to_list()) for rows in _rows(series)),
    )


def _categories(series: Any) -> Parts:
    return _texts(series.cast(sys.modules["polars"].String))


def _enum(series: Any) -> bytes:
    wide = sys.modules["polars"].UInt32
    return _hashed(series, lambda rows: rows.to_physical().cast(wide).fill_null(0).to_numpy())


def _lists(series: Any) -> Parts:
    def sizes(rows: Any) -> Any:
        return rows.list.len().fill_null(0).to_numpy().astype("<i8")

    full = series.filter(series.list.len().fill_null(0) > 0)
    return _hashed(series, sizes), _content(full.explode())


def _arrays(series: Any) -> Parts | None:
    if not series.dtype.size:
        return None
    return _content(series.drop_nulls().explode())


def _struct(series: Any) -> list[Parts]:
    """Each field with nulls where the struct is null."""
    names = [field.name for field in series.dtype.fields]
    return [_content(series.struct.field(name)) for name in names]


def _integers(series: Any) -> list[Any]:
    items: list[Any] = series.to_physical().to_list()
    return items


def _objects(series: Any) -> list[Any]:
    items: list[Any] = series.to_list()
    return items


def _nothing(_: Any) -> None:
    return None


_FORMS: dict[str, Callable[[Any], Any]] = {
    "Null": _nothing,
    "Boolean": _booleans,
    "String": _texts,
    "Binary": _bytes,
    "Categorical": _categories,
    "Enum": _enum,
    "List": _lists,
    "Array": _arrays,
    "Struct": _struct,
    "Object": _objects,
    **dict.fromkeys(("Decimal", "Int128", "UInt128"), _integers),
}
_ONE_WIDTH = frozenset(
    "Int8 Int16 Int32 Int64 UInt8 UInt16 UInt32 UInt64 Float16 Float32 Float64 "
    "Date Datetime Duration Time".split()
)


def _rows(series: Any) -> Iterator[Any]:
    """The series, so many rows at a time."""
    for at in range(0, len(series), _BLOCK):
        yield series.slice(at, _BLOCK)


def _hashed(series: Any, raw: Callable[[Any], Any]) -> bytes:
    """The digest of what the rows are as numbers."""
    state = xxh3_128()
    for rows in _rows(series):
        state.update(import_module("numpy").ascontiguousarray(raw(rows)))
    return state.digest()


def _rest(value: Any, name: str) -> Parts:
    """For a subclass, the class and its own attributes."""
    own = attached(value)
    if type(value) is getattr(sys.modules["polars"], name):
        return (own,) if own else ()
    return type(value), own
