"""Values of the standard library that cannot change: dates, exact numbers, ids, paths, patterns.

In plain content each is the extension type 10, a packed array of a code and of arguments:

    0  date         year, month, day
    1  time         hour, minute, second, microsecond, fold, time zone
    2  datetime     year, month, day, hour, minute, second, microsecond, fold, time zone
    3  timedelta    days, seconds, microseconds
    4  timezone     offset, and its name if it has one
    5  ZoneInfo     key
    6  Decimal      its text
    7  Fraction     numerator, denominator
    8  UUID         16 bytes, and how safe it is (nil: not known)
    9  path         name of the class, text
    10 range        start, stop, step
    11 slice        start, stop, step
    12 re.Pattern   pattern, flags
    13 Ellipsis     14 NotImplemented

Only exact types; bytes from a stranger make values of these types or an error. Nothing is imported
to tell whether a value is one of them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

from tasklineage.storage.codecs.base import Undecodable

STANDARD = 10
"""The extension type."""

_CODES = {
    "datetime.date": 0, "datetime.time": 1, "datetime.datetime": 2, "datetime.timedelta": 3,
    "datetime.timezone": 4, "zoneinfo.ZoneInfo": 5, "decimal.Decimal": 6, "fractions.Fraction": 7,
    "uuid.UUID": 8, "pathlib.PurePosixPath": 9, "pathlib.PosixPath": 9,
    "pathlib.PureWindowsPath": 9, "pathlib.WindowsPath": 9, "builtins.range": 10,
    "builtins.slice": 11, "re.Pattern": 12, "builtins.ellipsis": 13,
    "builtins.NotImplementedType": 14,
}  # fmt: skip
_PATHS = ("PurePosixPath", "PosixPath", "PureWindowsPath", "WindowsPath")
_ATOMS = frozenset({type(None), bool, int, float, str, bytes, complex})
_MOST_BITS = 1 << 14
"""Of the parts of a fraction: reducing it takes the square of their length."""
_LONGEST_PATTERN = 1 << 14
_ZONE = re.compile(r"[A-Za-z0-9_+\-]+(/[A-Za-z0-9_+\-]+)*")
_MOST_REMEMBERED = 4096

Pack: TypeAlias = Callable[[Any], list[Any] | None]


class _Kinds:
    """The codes of types that were met. Process-wide: types are, too."""

    codes: dict[type, int | None] = {}  # noqa: RUF012 - replaced, never emptied in use


def is_standard(value: Any) -> bool:
    """Whether `value` is one of these types and its arguments say everything of it."""
    code = code_of(type(value))
    if code is None:
        return False
    pack = _CHECKED.get(code)
    return pack is None or pack(value) is not None


def pack_standard(value: Any) -> list[Any] | None:
    """The code and the arguments; None for another value."""
    code = code_of(type(value))
    if code is None:
        return None
    arguments = _PACK[code](value)
    return None if arguments is None else [code, *arguments]


def unpack_standard(content: list[Any]) -> Any:
    """The value that `pack_standard` described.

    Raises
    ------
    ValueError, TypeError, LookupError, OverflowError
        It described none.
    Undecodable
        There is no such time zone or path on this machine.
    """
    code, *arguments = content
    if type(code) is not int or not 0 <= code < len(_UNPACK):
        raise ValueError("an unknown type of the standard library")
    return _UNPACK[code](*arguments)


def code_of(kind: type) -> int | None:
    """The code of a type; None for others."""
    codes = _Kinds.codes
    if kind in codes:
        return codes[kind]
    if len(codes) >= _MOST_REMEMBERED:  # classes come and go in a notebook
        codes = _Kinds.codes = {}
    found = codes[kind] = _look_up(kind)
    return found


def _look_up(kind: type) -> int | None:
    module: Any = kind.__module__
    top = module.partition(".")[0] if isinstance(module, str) else ""
    code = _CODES.get(f"{top}.{kind.__qualname__}")
    if code is None or top == "builtins":
        return code if kind in (range, slice, type(...), type(NotImplemented)) else None
    return code if getattr(sys.modules.get(top), kind.__qualname__, None) is kind else None


def _pack_date(value: Any) -> list[Any]:
    return [value.year, value.month, value.day]


def _pack_time(value: Any) -> list[Any] | None:
    zone = value.tzinfo
    if zone is not None and not _is_zone(zone):
        return None
    return [value.hour, value.minute, value.second, value.microsecond, value.fold, zone]


def _pack_datetime(value: Any) -> list[Any] | None:
    time = _pack_time(value)
    return None if time is None else [value.year, value.month, value.day, *time]


def _is_zone(zone: Any) -> bool:
    code = code_of(type(zone))
    return code == 4 or (code == 5 and _pack_zone(zone) is not None)


def _pack_timedelta(value: Any) -> list[Any]:
    return [value.days, value.seconds, value.microseconds]


def _pack_timezone(value: Any) -> list[Any]:
    return list(value.__getinitargs__())


def _pack_zone(value: Any) -> list[Any] | None:
    key = value.key
    return [key] if type(key) is str and _ZONE.fullmatch(key) else None


def _pack_decimal(value: Any) -> list[Any]:
    return [str(value)]


def _pack_fraction(value: Any) -> list[Any] | None:
    parts = [value.numerator, value.denominator]
    return parts if all(_is_short(part) for part in parts) else None


def _is_short(number: Any) -> bool:
    return type(number) is int and number.bit_length() <= _MOST_BITS


def _pack_uuid(value: Any) -> list[Any]:
    return [value.bytes, value.is_safe.value]


def _pack_path(value: Any) -> list[Any] | None:
    kind: Any = type(value)
    text = str(value)
    if "Windows" in kind.__name__ and kind(text) != value:
        return None
    return [kind.__name__, text]


def _pack_range(value: Any) -> list[Any] | None:
    parts = [value.start, value.stop, value.step]
    return parts if _ATOMS.issuperset(map(type, parts)) else None


def _pack_pattern(value: Any) -> list[Any] | None:
    pattern, flags = value.pattern, value.flags
    if type(pattern) not in (str, bytes) or len(pattern) > _LONGEST_PATTERN or flags & re.DEBUG:
        return None
    return [pattern, flags]


def _pack_nothing(_: Any) -> list[Any]:
    return []


def _date(*parts: Any) -> Any:
    import datetime

    return datetime.date(*_ints(parts, 3))


def _time(*parts: Any) -> Any:
    import datetime

    *numbers, zone = parts
    hour, minute, second, microsecond, fold = _ints(numbers, 5)
    moment = datetime.time(hour, minute, second, microsecond)
    return moment.replace(tzinfo=_zone_or_none(zone), fold=fold)


def _datetime(*parts: Any) -> Any:
    import datetime

    *numbers, zone = parts
    year, month, day, hour, minute, second, microsecond, fold = _ints(numbers, 8)
    moment = datetime.datetime(year, month, day, hour, minute, second, microsecond)
    return moment.replace(tzinfo=_zone_or_none(zone), fold=fold)


def _zone_or_none(zone: Any) -> Any:
    if zone is not None and code_of(type(zone)) not in (4, 5):
        raise TypeError("no time zone")
    return zone


def _timedelta(*parts: Any) -> Any:
    import datetime

    return datetime.timedelta(*_ints(parts, 3))


def _timezone(offset: Any, *name: Any) -> Any:
    import datetime

    return datetime.timezone(offset, *name)


def _zone(key: Any) -> Any:
    import zoneinfo

    if type(key) is not str or _ZONE.fullmatch(key) is None:
        raise ValueError("no key of a time zone")
    try:
        return zoneinfo.ZoneInfo(key)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise Undecodable(
            f"this machine has no time zone {key!r}: the package tzdata brings them",
            codec="plain",
            type="zoneinfo.ZoneInfo",
        ) from error


def _decimal(text: Any) -> Any:
    import decimal

    if type(text) is not str:
        raise TypeError("text expected")
    with decimal.localcontext(decimal.Context(traps=[decimal.InvalidOperation])):
        return decimal.Decimal(text)


def _fraction(numerator: Any, denominator: Any) -> Any:
    import fractions

    if not (_is_short(numerator) and _is_short(denominator)):
        raise ValueError("no fraction")
    return fractions.Fraction(numerator, denominator)


def _uuid(content: Any, safety: Any) -> Any:
    import uuid

    if type(content) is not bytes:
        raise TypeError("bytes expected")
    return uuid.UUID(bytes=content, is_safe=uuid.SafeUUID(safety))


def _path(name: Any, text: Any) -> Any:
    import pathlib

    if name not in _PATHS or type(text) is not str:
        raise ValueError("no path")
    try:
        return getattr(pathlib, name)(text)
    except NotImplementedError as error:
        raise Undecodable(
            "a path of another system", codec="plain", type=f"pathlib.{name}"
        ) from error


def _range(*parts: Any) -> Any:
    return range(*_ints(parts, 3))


def _slice(start: Any, stop: Any, step: Any) -> Any:
    if not _ATOMS.issuperset((type(start), type(stop), type(step))):
        raise TypeError("no slice")
    return slice(start, stop, step)


def _pattern(pattern: Any, flags: Any) -> Any:
    if type(pattern) not in (str, bytes) or type(flags) is not int or flags & re.DEBUG:
        raise TypeError("no pattern")
    if len(pattern) > _LONGEST_PATTERN:
        raise ValueError("too long a pattern")
    try:
        return re.compile(pattern, flags)
    except re.error as error:
        raise ValueError(str(error)) from error


def _ints(parts: Any, count: int) -> list[int]:
    if len(parts) != count or set(map(type, parts)) - {int}:
        raise TypeError("whole numbers expected")
    return list(parts)


def _ellipsis() -> Any:
    return ...


def _not_implemented() -> Any:
    return NotImplemented


_PACK: tuple[Pack, ...] = (
    _pack_date, _pack_time, _pack_datetime, _pack_timedelta, _pack_timezone, _pack_zone,
    _pack_decimal, _pack_fraction, _pack_uuid, _pack_path, _pack_range, _pack_range,
    _pack_pattern, _pack_nothing, _pack_nothing,
)  # fmt: skip
_CHECKED = {code: _PACK[code] for code in (1, 2, 5, 7, 9, 10, 11, 12)}
_UNPACK: tuple[Callable[..., Any], ...] = (
    _date, _time, _datetime, _timedelta, _timezone, _zone, _decimal, _fraction, _uuid, _path,
    _range, _slice, _pattern, _ellipsis, _not_implemented,
)  # fmt: skip
