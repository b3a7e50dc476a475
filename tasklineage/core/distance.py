"""The store of a run, as a worker has it: the same one, if it can be reached.

A local store is the same if what this process has recorded is in it, one in memory only in this
process. Else the worker records in a store of its own for each shipment, and all of that travels
back (`storage/freight.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from tasklineage.errors import StoreError
from tasklineage.executors.place import Here
from tasklineage.storage.opening import Confided
from tasklineage.storage.store import Store


class Distant(NamedTuple):
    """A store on its way to a worker. It arrives as that `Store`, or as None: out of reach."""

    store: Store
    is_confided: bool
    """Whether what was given in code goes with it: signing key and options."""

    def __reduce__(self) -> tuple[Any, ...]:
        store = self.store
        reopen, (url,) = (Confided(store) if self.is_confided else store).__reduce__()
        if is_in_memory(store):
            return _reached_here, (reopen, url, Here.token)
        mark = "" if store.remote is not None else os.path.join("journal", store.journal.writer)
        return _reached, (reopen, url, mark)


def is_in_memory(store: Store) -> bool:
    """Whether it is in the memory of this process."""
    return store.url.startswith("memory:")


def _reached_here(reopen: Callable[[str], Store], url: str, token: str) -> Store | None:
    return reopen(url) if token == Here.token else None


def _reached(reopen: Callable[[str], Store], url: str, mark: str) -> Store | None:
    if mark and not os.path.isdir(os.path.join(url, mark)):
        return None
    try:
        return reopen(url)
    except (StoreError, ImportError):
        return None
