"""What can be said of a value without its digest: whether it can change, whether it is a number."""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tasklineage.key.digest_tokens import SIMPLE

_IMMUTABLE = {
    "builtins": {"complex", "range", "ellipsis", "NotImplementedType"},
    "_collections": {"_tuplegetter"},
    "_struct": {"Struct"},
    "collections": {"_tuplegetter"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "fractions": {"Fraction"},
    "pandas": {"Timestamp", "Timedelta", "NaTType", "NAType"},
    "pathlib": {"PurePosixPath", "PosixPath", "PureWindowsPath", "WindowsPath"},
    "re": {"Pattern"},
    "uuid": {"UUID"},
    "zoneinfo": {"ZoneInfo"},
}
_NUMERIC = frozenset({"builtins", "decimal", "fractions", "numpy"})


def is_immutable(value: Any) -> bool:
    """Whether a task cannot change the value in the usual ways; False where that is not known.

    Deep: a tuple, frozenset, namedtuple or frozen dataclass is, if all of its parts are.
    """
    kind: Any = type(value)
    if kind in SIMPLE or _is_immutable_kind(kind):
        return True
    parts = _frozen_parts(value, kind)
    if parts is None:
        return False
    try:
        return SIMPLE.issuperset(map(type, parts)) or all(map(is_immutable, parts))
    except RecursionError:
        return False


def frozen_instances(value: Any) -> Iterator[tuple[Callable[[Any], tuple[Any, ...]], Any]]:
    """The frozen dataclasses in a value that is immutable, each after what gets its attributes.

    `object.__setattr__` changes them all the same.
    """
    waiting = [value]
    while waiting:
        value = waiting.pop()
        kind: Any = type(value)
        if kind in SIMPLE or _is_immutable_kind(kind):
            continue
        waiting.extend(_frozen_parts(value, kind) or ())
        fields = kind.__dict__.get("__dataclass_fields__", ())
        names = [
            name for name in {*fields, *getattr(value, "__dict__", ())} if hasattr(value, name)
        ]
        if fields and names:
            yield operator.attrgetter(*names, names[0]), value


@functools.lru_cache(maxsize=1024)
def is_number_kind(kind: type) -> bool:
    """Whether a type that is no atom is one of numbers: complex, Decimal, Fraction, or numpy's."""
    if _library(kind) not in _NUMERIC:
        return False
    import numbers

    return issubclass(kind, numbers.Number) or kind.__name__ in ("bool", "bool_")


@functools.lru_cache(maxsize=1024)
def _is_immutable_kind(kind: type) -> bool:
    if kind.__name__ in _IMMUTABLE.get(_library(kind), ()):
        return True
    enum, numpy = sys.modules.get("enum"), sys.modules.get("numpy")
    if enum is not None and issubclass(kind, enum.Enum):
        return True
    if numpy is None or _library(kind) != "numpy":
        return False
    return issubclass(kind, numpy.generic | numpy.dtype) and not issubclass(kind, numpy.void)


def _frozen_parts(value: Any, kind: type) -> list[Any] | None:
    """The parts of what cannot be given others."""
    if kind is frozenset:
        return list(value)
    if issubclass(kind, tuple) and kind.__dictoffset__ == 0:
        return list(tuple.__iter__(value))
    parameters = kind.__dict__.get("__dataclass_params__")
    if parameters is None or not parameters.frozen:
        return None
    fields: Iterable[str] = kind.__dict__["__dataclass_fields__"]
    return [*getattr(value, "__dict__", {}).values(), *(getattr(value, f, None) for f in fields)]


def _library(kind: type) -> str:
    module: Any = kind.__module__
    return module.partition(".")[0] if isinstance(module, str) else ""
