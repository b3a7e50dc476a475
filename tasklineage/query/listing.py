"""A sequence whose elements are read from the catalog when they are asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar, overload

from tasklineage.query.render import html_table, html_text

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")
Row = TypeVar("Row", bound="HasId")
_SHOWN = 50
_COUNTED = 1_000
_FIRST_PAGE, _LARGEST_PAGE = 64, 8_192


class HasId(Protocol):
    """A row of the catalog."""

    @property
    def id(self) -> bytes:
        """What tells it from the others."""
        ...


class Listing(Sequence[T_co], Generic[T_co]):
    """The results of a query, in order: read as far as they are looked at, each once.

    What was read stays as it was; ask again to see what has come since. `len`, negative indices
    and `==` read everything. Safe to use from many threads.
    """

    def __init__(
        self,
        found: Iterable[T_co],
        noun: str = "result",
        cells: Callable[[T_co], Mapping[str, str]] | None = None,
    ) -> None:
        self._rest: Iterator[T_co] = iter(found)
        self._read: list[T_co] = []
        self._noun = noun
        self._cells = cells or _as_text
        self._lock = threading.RLock()

    @overload
    def __getitem__(self, index: int) -> T_co: ...
    @overload
    def __getitem__(self, index: slice) -> list[T_co]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            bounds = (index.start, index.stop, index.step)
            known = index.stop is not None and all(b is None or b >= 0 for b in bounds)
            return Rows(self._read_until(index.stop if known else None)[index], self._cells)
        return self._read_until(index + 1 if index >= 0 else None)[index]

    def __len__(self) -> int:
        return len(self._read_until(None))

    def __bool__(self) -> bool:
        return bool(self._read_until(1))

    def __iter__(self) -> Iterator[T_co]:
        index = 0
        while len(self._read_until(index + 1)) > index:
            yield self._read[index]
            index += 1

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Sequence) and not isinstance(other, str | bytes):
            return list(self) == list(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as for any sequence compared by content

    def __repr__(self) -> str:
        count = len(self._read_until(_COUNTED + 1))
        number = f"over {_COUNTED:,}" if count > _COUNTED else str(count)
        return f"<{number} {self._noun}{'' if count == 1 else 's'}>"

    def _repr_html_(self) -> str:
        return table_of(self._read_until(_SHOWN + 1), self._cells)

    def _read_until(self, count: int | None) -> list[T_co]:
        """What has been read, after reading up to `count` elements (None: all)."""
        if count is None or len(self._read) < count:
            with self._lock:
                wanted = None if count is None else max(count - len(self._read), 0)
                try:
                    self._read.extend(islice(self._rest, wanted))
                except Exception as error:
                    self._rest = _Broken(error)
                    raise
        return self._read


class Rows(list[T], Generic[T]):
    """A slice of a listing: a list that notebooks show as a table."""

    def __init__(self, items: Iterable[T], cells: Callable[[T], Mapping[str, str]]) -> None:
        super().__init__(items)
        self._cells = cells

    def _repr_html_(self) -> str:
        return table_of(self[: _SHOWN + 1], self._cells)

    def __reduce__(self) -> Any:
        return Rows, (list(self), self._cells)


def table_of(items: Sequence[T], cells: Callable[[T], Mapping[str, str]]) -> str:
    """The first of these as a table, and whether there are more."""
    more = html_text("…") if len(items) > _SHOWN else ""
    return html_table([cells(item) for item in items[:_SHOWN]]) + more


def _as_text(item: object) -> Mapping[str, str]:
    return {"": str(item)}


class _Broken(Iterator[Any]):
    """The rest after an error, which it raises again: a generator that has raised seems over."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __next__(self) -> Any:
        raise self._error


def paged(fetch: Callable[[int, int], Sequence[Row]], first: int = _FIRST_PAGE) -> Iterator[Row]:
    """The rows that `fetch(limit, offset)` gives, in growing pages, each once.

    A row that is added at the front meanwhile moves the others back, so a page may repeat what
    the one before it had: such rows are left out.
    """
    size, offset = max(1, min(first, _LARGEST_PAGE)), 0
    seen: set[bytes] = set()
    while True:
        rows = fetch(size, offset)
        for row in rows:
            if row.id not in seen:
                seen.add(row.id)
                yield row
        if len(rows) < size:
            return
        offset += size
        size = min(size * 4, _LARGEST_PAGE)
