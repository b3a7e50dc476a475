"""What can be told of a table of pandas, polars or pyarrow without storing it.

No code of the user's classes is run: a cell that holds such an object is shown as its type.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

LIBRARIES = frozenset({"pandas", "polars", "pyarrow"})
_MOST_COLUMNS = 8
_MOST_ROWS = 3
_LONGEST = 160

Show = Callable[[Any, int], str]
"""The text of a part at a level."""


class Table(NamedTuple):
    """A table, or one column of one."""

    rows: int
    names: Sequence[Any]
    dtypes: Sequence[Any]
    cells: Callable[[int, int], list[list[Any]]]
    """The first so many rows of the first so many columns, column by column."""
    labels: Callable[[int], list[Any]] | None = None
    """The first so many labels of the rows, where they have some."""
    is_column: bool = False


def table_of(value: Any) -> Table | None:
    """The table that a value is; None if it is none."""
    kind: Any = type(value)
    top = kind.__module__.partition(".")[0] if type(kind.__module__) is str else ""
    library: Any = sys.modules.get(top) if top in LIBRARIES else None
    return None if library is None else _VIEWS[top](value, library)


def shown_table(value: Any, show: Show) -> str | None:
    """Shape, columns and the first rows, in several lines; None for what is no table."""
    table = table_of(value)
    if table is None:
        return None
    return "\n".join(_clipped(line) for line in (_head_line(table, show), *_row_lines(table, show)))


def shown_line(value: Any, show: Show) -> str | None:
    """Shape and columns, in one line; None for what is no table."""
    table = table_of(value)
    return None if table is None else f"{type(value).__name__} of {_head_line(table, show)}"


def size_of(value: Any) -> int | None:
    """Bytes that a table takes in memory, objects in it not counted; None for what is no table."""
    kind: Any = type(value)
    top = kind.__module__.partition(".")[0] if type(kind.__module__) is str else ""
    if top == "pandas" and hasattr(value, "memory_usage"):
        used: Any = value.memory_usage()
        return int(used if kind.__name__ != "DataFrame" else used.sum())
    if top == "polars" and hasattr(value, "estimated_size"):
        return int(value.estimated_size())
    return None


def _pandas(value: Any, library: Any) -> Table | None:
    if isinstance(value, library.DataFrame):

        def cells(rows: int, columns: int) -> list[list[Any]]:
            head = value.iloc[:rows, :columns]
            return [head.iloc[:, at].tolist() for at in range(head.shape[1])]

        labels = value.index
        return Table(
            len(value), value.columns, value.dtypes.tolist(), cells, lambda n: labels[:n].tolist()
        )
    if isinstance(value, library.Series | library.Index) and getattr(value, "nlevels", 1) == 1:
        return Table(
            len(value), [value.name], [value.dtype], lambda n, _: [value[:n].tolist()],
            is_column=True,
        )  # fmt: skip
    return None


def _polars(value: Any, library: Any) -> Table | None:
    if isinstance(value, library.DataFrame):

        def cells(rows: int, columns: int) -> list[list[Any]]:
            return [column.head(rows).to_list() for column in value.get_columns()[:columns]]

        return Table(value.height, value.columns, value.dtypes, cells)
    if isinstance(value, library.Series):
        return Table(
            len(value), [value.name], [value.dtype], lambda n, _: [value.head(n).to_list()],
            is_column=True,
        )  # fmt: skip
    return None


def _pyarrow(value: Any, library: Any) -> Table | None:
    if isinstance(value, library.Table | library.RecordBatch):

        def cells(rows: int, columns: int) -> list[list[Any]]:
            return [column.slice(0, rows).to_pylist() for column in value.columns[:columns]]

        schema = value.schema
        return Table(value.num_rows, schema.names, schema.types, cells)
    if isinstance(value, library.Array | library.ChunkedArray):
        return Table(
            len(value), [None], [value.type], lambda n, _: [value.slice(0, n).to_pylist()],
            is_column=True,
        )  # fmt: skip
    return None


_VIEWS: dict[str, Callable[[Any, Any], Table | None]] = {
    "pandas": _pandas, "polars": _polars, "pyarrow": _pyarrow,
}  # fmt: skip


def _head_line(table: Table, show: Show) -> str:
    rows = f"{table.rows} row{'s' if table.rows != 1 else ''}"
    if table.is_column:
        name = "" if table.names[0] is None else f"{_name(table.names[0], show)} "
        return f"{rows}: {name}{table.dtypes[0]}"
    count = len(table.names)
    some = [
        f"{_name(name, show)} {dtype}"
        for name, dtype in zip(table.names[:_MOST_COLUMNS], table.dtypes, strict=False)
    ]
    more = ", …" if count > _MOST_COLUMNS else ""
    described = f": {', '.join(some)}{more}" if some else ""
    return f"{rows} x {count} column{'s' if count != 1 else ''}{described}"


def _row_lines(table: Table, show: Show) -> Iterator[str]:
    cells = table.cells(_MOST_ROWS, _MOST_COLUMNS)
    if table.is_column:
        more = ", …" if table.rows > _MOST_ROWS else ""
        if table.rows:
            yield f"{', '.join(_cell(cell, show) for cell in cells[0])}{more}"
        return
    labels = None if table.labels is None else table.labels(_MOST_ROWS)
    more = ", …" if len(table.names) > _MOST_COLUMNS else ""
    for at, row in enumerate(zip(*cells, strict=True)):
        label = "" if labels is None else f"{_cell(labels[at], show)}: "
        yield f"{label}{', '.join(_cell(cell, show) for cell in row)}{more}"
    if cells and table.rows > _MOST_ROWS:
        yield "…"


def _name(name: Any, show: Show) -> str:
    if type(name) is str:
        return name if name.isprintable() else repr(name)
    return _cell(name, show)


def _cell(cell: Any, show: Show) -> str:
    """A cell; what the library itself defines is shown in its own words."""
    module: Any = type(cell).__module__
    is_own = type(module) is str and module.partition(".")[0] in LIBRARIES
    text = " ".join(str(cell).split()) if is_own else show(cell, 2)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _clipped(line: str) -> str:
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
