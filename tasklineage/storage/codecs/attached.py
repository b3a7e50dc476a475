"""How tables are pickled to which somebody has attached attributes, which their libraries drop."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from tasklineage.key.attributes import attached

_INDEXES = (
    "Index RangeIndex CategoricalIndex DatetimeIndex IntervalIndex PeriodIndex TimedeltaIndex"
)
_TABLES = {
    "pandas": ("DataFrame", "Series", "MultiIndex", *_INDEXES.split()),
    "polars": ("DataFrame", "Series"),
}


def reducers() -> dict[Any, Callable[[Any], Any]]:
    """The function that reduces tables, by type, for the libraries that are loaded."""
    kinds = (
        getattr(sys.modules.get(library), name, None)
        for library, names in _TABLES.items()
        for name in names
    )
    return {kind: _reduce for kind in kinds if kind is not None}


def rebuild(function: Any, arguments: Any, state: Any, own: dict[str, Any]) -> Any:
    """A table in a pickle. Its name stands in stored pickles."""
    made = function(*arguments)
    if state is not None:
        made.__setstate__(state)
    for name, part in own.items():
        object.__setattr__(made, name, part)
    return made


def _reduce(value: Any) -> Any:
    own = attached(value)
    reduced = value.__reduce_ex__(5)
    function, arguments, *rest = reduced
    state = rest[0] if rest else None
    return (rebuild, (function, arguments, state, own)) if own else reduced
