"""Records whose place was looked up some time ago: a pack may have moved them since."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tasklineage.errors import MissingObject
from tasklineage.storage.frames import Location

if TYPE_CHECKING:
    from tasklineage.storage.selections import CallRow, RunRow
    from tasklineage.storage.store import Store


def record_of(store: Store, row: CallRow) -> Any:
    """The newest record of the call, verified.

    Raises
    ------
    MissingObject, CorruptObject
        It is gone, or is not what was written.
    """

    def again() -> Location | None:
        found = store.catalog.calls_of((row.id,)).get(row.id)
        return None if found is None else found.location

    return _read(store, row.location, again)


def beginning_of(store: Store, row: RunRow) -> Any:
    """The record of the run's beginning, verified. Raises as `record_of`."""
    return _read(store, row.location, lambda: _run_again(store, row).location)


def end_of(store: Store, row: RunRow) -> Any:
    """The record of the run's end, verified; None without one. Raises as `record_of`."""
    if row.end is None:
        return None
    return _read(store, row.end, lambda: _run_again(store, row).end)


def _read(store: Store, location: Location, again: Callable[[], Location | None]) -> Any:
    try:
        return store.journal.read(location)
    except MissingObject:
        now = again()
        if now is None or now == location:
            raise
    return store.journal.read(now)


def _run_again(store: Store, row: RunRow) -> RunRow:
    found = store.catalog.find_runs(prefix=row.id.hex(), limit=1, removed=True)
    return found[0] if found else row
