"""What people read of a value without decoding it: its type and a short text."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import islice
from typing import Any

from tasklineage.storage.codecs import arrays
from tasklineage.storage.codecs.tables import LIBRARIES, shown_line, shown_table

LONGEST = 120
_MOST_ITEMS = 6
_MOST_LEVELS = 3
_SHOWN_BITS = 256

_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    dict: ("{", "}"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}


def type_name(kind: type) -> str:
    """`int`, `numpy.ndarray`, `pandas.DataFrame`, `myproject.Model`."""
    if kind.__module__ == "builtins":
        return kind.__qualname__
    top = str(kind.__module__).partition(".")[0]
    if top in LIBRARIES and getattr(sys.modules.get(top), kind.__qualname__, None) is kind:
        return f"{top}.{kind.__qualname__}"
    return f"{kind.__module__}.{kind.__qualname__}"


def preview(value: Any) -> str:
    """A text of at most `LONGEST` characters; of a table up to five lines.

    Runs no code of the value's class.
    """
    try:
        text = shown_table(value, _shown)
    except Exception:  # noqa: BLE001 - a text for people is worth no failed call
        text = None
    return clipped(_shown(value, 0)) if text is None else text


def clipped(text: str) -> str:
    """The text, its end cut off if it is long."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _shown(value: Any, level: int) -> str:
    kind = type(value)
    if kind in _BRACKETS:
        return _container(value, level)
    show = _SHOWN.get(kind)
    if show is not None:
        return show(value)
    if kind is arrays.loaded("ndarray"):
        return f"{clipped(str(value.dtype))} {value.shape}"
    if kind.__module__ == "numpy" and isinstance(value, arrays.loaded("generic") or ()):
        return clipped(str(value))
    if kind.__module__ == "tasklineage":
        return _own(value, level)
    if level > _MOST_LEVELS:
        return type_name(kind)
    return _line(value, level) or type_name(kind)


def _own(value: Any, level: int) -> str:
    """A File or Dir, or an `Inputs` of a join."""
    kind = type(value)
    if kind.__name__ != "Inputs":
        return repr(value)
    if level > _MOST_LEVELS:
        return kind.__name__
    if not value.names:
        return f"{kind.__name__}({_shown(list(value), level)})"
    some = [
        f"{name}={_shown(part, level + 1)}" for name, part in islice(value.items(), _MOST_ITEMS)
    ]
    more = ", …" if len(value) > _MOST_ITEMS else ""
    return f"{kind.__name__}({', '.join(some)}{more})"


def _line(value: Any, level: int) -> str | None:
    from tasklineage.storage.codecs.describe_objects import shown_object  # not for plain values

    try:
        return shown_line(value, _shown) or shown_object(value, level, _shown)
    except Exception:  # noqa: BLE001 - as above
        return None


def _container(value: Any, level: int) -> str:
    left, right = _BRACKETS[type(value)]
    if level == _MOST_LEVELS:
        return f"{left}…{right}" if value else left + right
    if type(value) is dict:
        some = [
            f"{_shown(key, level + 1)}: {_shown(item, level + 1)}"
            for key, item in islice(value.items(), _MOST_ITEMS)
        ]
    else:
        some = [_shown(item, level + 1) for item in islice(value, _MOST_ITEMS)]
    if len(value) <= _MOST_ITEMS:
        return f"{left}{', '.join(some)}{right}"
    return f"{len(value)} items: {left}{', '.join(some)}, …{right}"


def _text(value: str | bytes | bytearray) -> str:
    if len(value) <= LONGEST:
        return repr(value)
    return clipped(f"{len(value)} long: {value[:LONGEST]!r}")


def _whole(value: int) -> str:
    # A very long int takes for ever to write in decimal.
    return str(value) if value.bit_length() <= _SHOWN_BITS else f"int of {value.bit_length()} bits"


_SHOWN: dict[type, Callable[[Any], str]] = {
    str: _text, bytes: _text, bytearray: _text, int: _whole,
    float: repr, complex: repr, bool: repr, type(None): repr,
}  # fmt: skip
