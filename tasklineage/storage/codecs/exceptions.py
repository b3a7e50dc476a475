"""How exceptions are pickled whose class makes them otherwise than pickle does.

Pickle calls the class with `args`, which fails where `__init__` takes something else, and leaves
out the cause.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

_HEAP_TYPE = 1 << 9


def reduced(value: Any) -> Any:
    """What pickle is to write of a value; `NotImplemented`: what it writes by itself."""
    if not isinstance(value, BaseException):
        return NotImplemented
    kind: Any = type(value)
    cause = value.__cause__, value.__suppress_context__
    if isinstance(kind.__init__, FunctionType) and _is_simple(kind):
        return rebuild, (kind, value.args), (dict(vars(value)), *cause), None, None, _fill
    if value.__cause__ is None:
        return NotImplemented
    made_by: Any = value.__reduce_ex__(5)
    if isinstance(made_by, str):  # the name of a global
        return NotImplemented
    function, arguments, *rest = made_by
    state = rest[0] if rest else None
    return function, arguments, (state, *cause), None, None, _fill


def rebuild(kind: Any, args: tuple[Any, ...]) -> Any:
    """An exception in a pickle. Its name stands in stored pickles."""
    return kind.__new__(kind, *args)


def _fill(made: Any, state: tuple[Any, Any, bool]) -> None:
    """What an exception has beside its arguments. Its name stands in stored pickles."""
    own, made.__cause__, made.__suppress_context__ = state
    if own is not None:
        made.__setstate__(own)


def _is_simple(kind: Any) -> bool:
    """Whether arguments and attributes are all that such an exception has."""
    if kind.__reduce__ is not BaseException.__reduce__:
        return False
    if kind.__getstate__ is not object.__getstate__:  # its own
        return False
    below: Any = next(base for base in kind.__mro__ if not base.__flags__ & _HEAP_TYPE)
    is_plain = below.__basicsize__ == BaseException.__basicsize__
    return is_plain and kind.__new__ is below.__new__ and not _has_slots(kind)


def _has_slots(kind: type) -> bool:
    return any(base.__flags__ & _HEAP_TYPE and vars(base).get("__slots__") for base in kind.__mro__)
