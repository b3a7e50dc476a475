"""Whether the fields of a record hold what such a record holds.

A checksum tells damage, not who has written it: what comes from elsewhere may be intact, and still
have a number where a text should be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args, get_origin, get_type_hints

from tasklineage.storage import records
from tasklineage.storage.records import KINDS, Ref

_IDS = frozenset({"id", "run", "parent", "key", "code", "producer", "digest", "versions"})
_ID_PLACES: dict[type[Any], tuple[int, ...]] = {
    kind: tuple(at for at, name in enumerate(kind._fields) if name in _IDS)
    for kind in KINDS.values()
}
_TIMES = frozenset({"started", "ended", "at"})
_TIME_PLACES: dict[type[Any], tuple[int, ...]] = {
    kind: tuple(at for at, name in enumerate(kind._fields) if name in _TIMES)
    for kind in KINDS.values()
}
_YEAR_10000 = 253_402_300_800.0
_PARTS: dict[tuple[str, str], type[Any]] = {
    ("CallEnd", "output"): Ref, ("CallEnd", "stdout"): Ref, ("CallEnd", "stderr"): Ref,
    ("RunEnvironment", "environment"): Ref, ("RunEnvironment", "diff"): Ref,
}  # fmt: skip
_ROWS: dict[tuple[str, str], type[Any]] = {
    ("CallEnd", "arguments"): records.Argument, ("CallEnd", "edges"): records.Edge,
    ("CallEnd", "attempts"): records.Attempt, ("CallEnd", "conditions"): records.Condition,
}  # fmt: skip
"""What the fields of a record hold that are other records, as arrays."""
_MOST_SHAPES = 10_000
_sound_shapes: set[Any] = set()
"""Types of everything in a record, of such as were found sound: most records have one of a few."""
Check = Callable[[Any], bool]
_known: dict[type[Any], tuple[Check, ...]] = {}


def malformed(record: Any) -> str:
    """Which field does not hold what such a record holds, and what it holds; empty: all do."""
    kind = type(record)
    shape = (kind, _shape(record))
    if shape not in _sound_shapes:
        for name, value, fits in zip(record._fields, record, _checks(kind), strict=True):
            if not fits(value):
                return f"{name} is {_shown(value)}"
        if len(_sound_shapes) < _MOST_SHAPES:
            _sound_shapes.add(shape)
    for at in _ID_PLACES[kind]:
        if record[at] and len(record[at]) != 16:
            return f"{record._fields[at]} has {len(record[at])} bytes"
    for at in _TIME_PLACES[kind]:
        if record[at] is not None and not 0 <= record[at] < _YEAR_10000:
            return f"{record._fields[at]} is {record[at]}"
    return ""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _shape(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple([_shape(v) if type(v) is tuple else type(v) for v in values])


def _checks(kind: type[Any]) -> tuple[Check, ...]:
    """For each field of a record or a part of one, whether a value may stand there."""
    found = _known.get(kind)
    if found is None:
        hints = get_type_hints(kind)
        found = _known[kind] = tuple(
            _check_of(kind.__name__, name, hints[name]) for name in kind._fields
        )
    return found


def _check_of(record: str, name: str, hint: Any) -> Check:
    part = _PARTS.get((record, name)) or (Ref if name == "ref" else None)
    if part is not None:
        return lambda value: value is None or _is_part(part, value)
    row = _ROWS.get((record, name))
    if row is not None:
        return lambda value: type(value) is tuple and all(_is_part(row, one) for one in value)
    if (record, name) == ("RunBegin", "params"):
        return lambda value: (
            type(value) is tuple
            and all(type(one) is tuple and len(one) == 2 and _is_part(Ref, one[1]) for one in value)
        )
    return _typed(hint)


def _is_part(part: type[Any], value: Any) -> bool:
    """Whether an array holds the fields of a part; it may have more, and lack those at the end."""
    if type(value) is not tuple or len(value) < len(part._fields) - len(part._field_defaults):
        return False
    return all(fits(one) for fits, one in zip(_checks(part), value, strict=False))


def _typed(hint: Any) -> Check:
    """Whether a value is of a type, as far down as annotations of records go."""
    if hint is Any:
        return lambda value: True
    origin, args = get_origin(hint), get_args(hint)
    if origin is tuple:
        inner = [_typed(arg) for arg in args if arg is not Ellipsis]
        if Ellipsis in args:
            return lambda value: type(value) is tuple and all(map(inner[0], value))
        return lambda value: (
            type(value) is tuple
            and len(value) == len(inner)
            and all(fits(one) for fits, one in zip(inner, value, strict=True))
        )
    if origin is dict:
        return lambda value: type(value) is dict
    if args:  # a union
        options = [_typed(arg) for arg in args]
        return lambda value: any(fits(value) for fits in options)
    if hint is float:
        return lambda value: type(value) in (float, int)
    kind = getattr(hint, "__supertype__", hint)
    return lambda value: type(value) is kind
