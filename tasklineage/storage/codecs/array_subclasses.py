"""How arrays of numpy's subclasses are pickled, so that nothing of them is lost.

What numpy writes of a subclass has neither its attributes nor its byte order, and of a masked array
neither whether its mask is hard nor whether it has one at all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

_OF_MASKED = frozenset("_basedict _baseclass _data _fill_value _hardmask _mask _sharedmask".split())


def reducers() -> dict[Any, Callable[[Any], Any]]:
    """The function that reduces arrays, by type, for those that leave it to numpy."""
    numpy: Any = sys.modules.get("numpy")
    array: Any = getattr(numpy, "ndarray", None)
    if array is None:
        return {}
    found: dict[Any, Callable[[Any], Any]] = {}
    pending, seen = array.__subclasses__(), {array}
    while pending:
        kind = pending.pop()
        if kind not in seen:
            seen.add(kind)
            pending += kind.__subclasses__()
            is_own = kind.__reduce_ex__ is not array.__reduce_ex__
            if not is_own and kind.__reduce__ is array.__reduce__ and kind is not numpy.memmap:
                found[kind] = _reduce
    masked = getattr(sys.modules.get("numpy.ma"), "MaskedArray", None)
    return found if masked is None else {**found, masked: _reduce_masked}


def rebuild(kind: Any, plain: Any, own: dict[str, Any]) -> Any:
    """An array of a subclass in a pickle. Its name stands in stored pickles."""
    made = plain.view(kind)
    if own:
        vars(made).update(own)
    return made


def rebuild_masked(plain: Any, mask: Any, fill: Any, is_hard: bool, own: dict[str, Any]) -> Any:
    """A masked array in a pickle; no mask is None. Its name stands in stored pickles."""
    import numpy

    made: Any = numpy.ma.MaskedArray(
        plain, numpy.ma.nomask if mask is None else mask, fill_value=fill, hard_mask=is_hard
    )
    vars(made).update(own)
    return made


def _reduce(value: Any) -> Any:
    numpy: Any = sys.modules["numpy"]
    own = dict(getattr(value, "__dict__", {}))
    return rebuild, (type(value), value.view(numpy.ndarray), own)


def _reduce_masked(value: Any) -> Any:
    numpy: Any = sys.modules["numpy"]
    mask = None if value._mask is numpy.ma.nomask else value._mask.view(numpy.ndarray)
    own = {name: part for name, part in vars(value).items() if name not in _OF_MASKED}
    return rebuild_masked, (value.data, mask, value._fill_value, bool(value.hardmask), own)
