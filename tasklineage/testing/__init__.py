"""For tests of programs that use tasklineage: stores of their own, assertions, and faults.

The fixtures of `plugin` are there in every pytest session once tasklineage is installed. This
module is loaded with them, so it loads nothing itself before it is asked for a name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasklineage.testing.assertions import assert_executed, assert_hit
    from tasklineage.testing.executors import ExecutorTests
    from tasklineage.testing.fault_store import FaultStore
    from tasklineage.testing.faults import Fault, Happened
    from tasklineage.testing.sandbox import temporary_store

__all__ = [
    "ExecutorTests",
    "Fault",
    "FaultStore",
    "Happened",
    "assert_executed",
    "assert_hit",
    "temporary_store",
]

_PLACES = {
    "ExecutorTests": "executors",
    "Fault": "faults",
    "FaultStore": "fault_store",
    "Happened": "faults",
    "assert_executed": "assertions",
    "assert_hit": "assertions",
    "temporary_store": "sandbox",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
