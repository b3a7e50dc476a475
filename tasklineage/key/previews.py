"""Short texts for the values that a closure reads: they run no code of users, tell no secrets."""

from __future__ import annotations

import reprlib
from types import FunctionType
from typing import Any

_SHOWN = 120
_SECRET = ("secret", "passw", "token", "apikey", "api_key", "credential", "private")
_PLAIN = (int, float, complex, bool, type(None), str, bytes)
_CONTAINERS = (tuple, list, dict, set, frozenset)
_SAYING = frozenset(
    {
        ("builtins", "range"), ("builtins", "slice"), ("builtins", "ellipsis"),
        ("builtins", "bytearray"), ("builtins", "type"), ("builtins", "builtin_function_or_method"),
        ("builtins", "method_descriptor"), ("decimal", "Decimal"), ("fractions", "Fraction"),
        ("datetime", "date"), ("datetime", "time"), ("datetime", "datetime"),
        ("datetime", "timedelta"), ("re", "Pattern"), ("uuid", "UUID"), ("types", "UnionType"),
        ("pathlib", "PosixPath"), ("pathlib", "PurePosixPath"), ("pathlib", "PureWindowsPath"),
        ("pathlib._local", "PosixPath"), ("pathlib._local", "PurePosixPath"),
        ("numpy", "float64"), ("numpy", "float32"), ("numpy", "int64"), ("numpy", "int32"),
    }
)  # fmt: skip
"""Types, by module and name, whose own `repr` is short and says everything."""
_FEW = 6


def preview(name: str, value: Any) -> str:
    """A short text for a value; of texts whose name speaks of a secret only the length."""
    if isinstance(value, (str, bytes)) and _is_secret(name):
        return _hidden(value)
    text = _repr.repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


class _Preview(reprlib.Repr):
    """Looks into plain containers and plain attributes, and calls no `__repr__` of users."""

    def repr1(self, x: Any, level: int) -> str:
        kind = type(x)
        if kind in _PLAIN or kind in _CONTAINERS:
            return super().repr1(x, level)
        if (kind.__module__, kind.__qualname__) in _SAYING:
            text = repr(x)
            return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
        if kind is FunctionType:
            return f"<function {x.__qualname__}>"
        shape, dtype = getattr(x, "shape", None), getattr(x, "dtype", None)
        if isinstance(shape, tuple) and dtype is not None:
            return f"<{kind.__qualname__} {dtype} {shape}{_first(x)}>"
        return self._instance(x, level)

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        """In the order of the dict, which counts."""
        if level <= 0 and x:
            return "{...}"
        shown = [
            f"{self.repr1(key, level - 1)}: {self._item(key, x[key], level - 1)}"
            for key in list(x)[: self.maxdict]
        ]
        return "{" + ", ".join([*shown, *(["..."] if len(x) > self.maxdict else [])]) + "}"

    def _item(self, key: Any, value: Any, level: int) -> str:
        hides = isinstance(key, str) and isinstance(value, (str, bytes)) and _is_secret(key)
        return _hidden(value) if hides else self.repr1(value, level)

    def _instance(self, x: Any, level: int) -> str:
        kind = type(x)
        try:
            space = object.__getattribute__(x, "__dict__")
        except AttributeError:
            space = None
        if type(space) is not dict or not space or level <= 0:
            return f"<{kind.__qualname__}>"
        plain = [
            f"{key}={self._item(key, value, level - 1)}"
            for key, value in space.items()
            if type(key) is str and (type(value) in _PLAIN or type(value) in _CONTAINERS)
        ]
        more = ["..."] if len(plain) < len(space) or len(plain) > _FEW else []
        return f"<{kind.__qualname__} {', '.join([*plain[:_FEW], *more])}>"


def _first(array: Any) -> str:
    """The first numbers of an array of numpy."""
    if type(array).__module__ != "numpy" or array.dtype.kind not in "biufc":
        return ""
    values = array.flat[:_FEW].tolist()
    more = ["..."] if array.size > _FEW else []
    return f": {', '.join([*map(repr, values), *more])}" if values else ""


def _is_secret(name: str) -> bool:
    lower = name.lower()
    return any(word in lower for word in _SECRET)


def _hidden(value: str | bytes) -> str:
    return f"<{type(value).__name__} of {len(value)}>"


_repr = _Preview()
_repr.maxstring = _repr.maxother = _SHOWN
