"""What is done at the end of the process, after whatever was registered with `atexit` later.

`atexit` calls last what was registered first, but a store is opened after the run that uses it was
made ready to end by itself, and must be closed after that.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from functools import cache

_functions: list[Callable[[], object]] = []


@cache
def reserve() -> None:
    """Take the place in the order of `atexit`, if nobody has taken it yet."""
    atexit.register(_end)


def reserve_anew() -> None:
    """Take a place before whatever was registered with `atexit` until now."""
    atexit.unregister(_end)
    atexit.register(_end)


def at_end(function: Callable[[], object]) -> None:
    """Call `function` in that place, those given later first."""
    reserve()
    _functions.append(function)


def _end() -> None:
    while _functions:
        _functions.pop()()
