"""Forms of the types of the standard library that have a digest of our own making."""

from __future__ import annotations

import types
from contextvars import ContextVar
from typing import Any

from xxhash import xxh3_128_digest

from tasklineage.key.digest_forms import Code, Library, Parts, Undigestible, add_form
from tasklineage.key.digest_tokens import ATOMS

LIBRARY = Library()


@LIBRARY.form("builtins:complex")
def _complex(value: Any, _: Code) -> Parts:
    return "complex", value.real, value.imag


@LIBRARY.form("builtins:range", "builtins:slice")
def _range(value: Any, _: Code) -> Parts:
    return type(value).__name__, value.start, value.stop, value.step


@LIBRARY.form("builtins:bytearray")
def _bytearray(value: Any, _: Code) -> Parts:
    return "bytearray", xxh3_128_digest(value)


@LIBRARY.form("builtins:memoryview")
def _memoryview(value: Any, _: Code) -> Parts:
    content = xxh3_128_digest(value if value.c_contiguous else value.tobytes())
    return "memoryview", value.format, *value.shape, content


@LIBRARY.form("array:array")
def _array(value: Any, _: Code) -> Parts:
    return "array.array", value.typecode, value.itemsize, xxh3_128_digest(value)


@LIBRARY.form("pickle:PickleBuffer")
def _buffer(value: Any, _: Code) -> Parts:
    return "buffer", xxh3_128_digest(value.raw())


def _constant(value: Any, _: Code) -> Parts:
    return (repr(value),)


@LIBRARY.form("types:UnionType", "typing:Union")  # the latter is the type from Python 3.14 on
def _union(value: Any, _: Code) -> Parts:
    return "types.UnionType", value.__args__


def _mapping_proxy(value: Any, _: Code) -> Parts:
    return "mappingproxy", dict(value)


add_form(types.EllipsisType, _constant, family=False)
add_form(types.NotImplementedType, _constant, family=False)
add_form(types.MappingProxyType, _mapping_proxy, family=False)


@LIBRARY.form("datetime:date")
def _date(value: Any, _: Code) -> Parts:
    return "datetime.date", value.year, value.month, value.day


@LIBRARY.form("datetime:time")
def _time(value: Any, _: Code) -> Parts:
    parts = value.hour, value.minute, value.second, value.microsecond, value.fold
    return "datetime.time", *parts, value.tzinfo


@LIBRARY.form("datetime:datetime")
def _datetime(value: Any, _: Code) -> Parts:
    day = value.year, value.month, value.day
    time = value.hour, value.minute, value.second, value.microsecond, value.fold
    return "datetime.datetime", *day, *time, value.tzinfo


@LIBRARY.form("datetime:timedelta")
def _timedelta(value: Any, _: Code) -> Parts:
    return "datetime.timedelta", value.days, value.seconds, value.microseconds


@LIBRARY.form("datetime:timezone")
def _timezone(value: Any, _: Code) -> Parts:
    return "datetime.timezone", *value.__getinitargs__()


@LIBRARY.form("zoneinfo:ZoneInfo")
def _zone(value: Any, _: Code) -> Parts:
    if value.key is None:
        raise Undigestible("a ZoneInfo that was read from a file has no key")
    return "zoneinfo.ZoneInfo", value.key


@LIBRARY.form("decimal:Decimal")
def _decimal(value: Any, _: Code) -> Parts:
    sign, digits, exponent = value.as_tuple()
    return "decimal.Decimal", sign, bytes(digits), exponent


@LIBRARY.form("decimal:Context")
def _decimal_context(value: Any, _: Code) -> Parts:
    """How it computes; not the flags, which every computation raises."""
    limits = value.prec, value.rounding, value.Emin, value.Emax, value.capitals, value.clamp
    traps = sorted(signal.__name__ for signal, is_set in value.traps.items() if is_set)
    return "decimal.Context", *limits, traps


@LIBRARY.form("fractions:Fraction")
def _fraction(value: Any, _: Code) -> Parts:
    return "fractions.Fraction", value.numerator, value.denominator


@LIBRARY.form("uuid:UUID")
def _uuid(value: Any, _: Code) -> Parts:
    return "uuid.UUID", value.int


@LIBRARY.form(
    "pathlib:PurePosixPath", "pathlib:PosixPath", "pathlib:PureWindowsPath", "pathlib:WindowsPath"
)
def _path(value: Any, _: Code) -> Parts:
    return f"pathlib.{type(value).__name__}", str(value)


@LIBRARY.form("enum:Enum", family=True)
def _enum(value: Any, _: Code) -> Parts:
    content = value._value_
    return "enum", type(value), value._name_, content if type(content) in ATOMS else None


@LIBRARY.form("enum:Flag", family=True)
def _flag(value: Any, _: Code) -> Parts:
    return "enum", type(value), None, value._value_


@LIBRARY.form("collections:deque")
def _deque(value: Any, _: Code) -> Parts:
    return "collections.deque", value.maxlen, list(value)


@LIBRARY.form("collections:OrderedDict", "collections:Counter")
def _mapping(value: Any, _: Code) -> Parts:
    return f"collections.{type(value).__name__}", dict(value), vars(value) or None


@LIBRARY.form("collections:defaultdict")
def _defaultdict(value: Any, _: Code) -> Parts:
    return "collections.defaultdict", value.default_factory, dict(value)


@LIBRARY.form("functools:partial")
def _partial(value: Any, _: Code) -> Parts:
    return "functools.partial", value.func, value.args, value.keywords, vars(value) or None


@LIBRARY.form("functools:_lru_cache_wrapper")
def _cached(value: Any, _: Code) -> Parts:
    return "functools.lru_cache", value.__wrapped__


@LIBRARY.form("re:Pattern")
def _pattern(value: Any, _: Code) -> Parts:
    return "re.Pattern", value.pattern, value.flags


@LIBRARY.form("types:SimpleNamespace")
def _namespace(value: Any, _: Code) -> Parts:
    return "types.SimpleNamespace", vars(value)


@LIBRARY.form("random:Random")
def _random(value: Any, _: Code) -> Parts:
    own = {name: part for name, part in vars(value).items() if name != "gauss_next"}
    return "random.Random", value.getstate(), own or None


@LIBRARY.form("_struct:Struct")
def _struct(value: Any, _: Code) -> Parts:
    return "struct.Struct", value.format


@LIBRARY.form("json.decoder:JSONDecoder")
def _json_decoder(value: Any, _: Code) -> Parts:
    """What it was made with: the scanner that it keeps is C code."""
    hooks = value.object_hook, value.object_pairs_hook, value.parse_float, value.parse_int
    return "json.JSONDecoder", *hooks, value.parse_constant, value.strict


@LIBRARY.form("weakref:WeakSet", "_weakrefset:WeakSet")
def _weak_set(value: Any, _: Code) -> Parts:
    return "weakref.WeakSet", set(value)


@LIBRARY.form("weakref:WeakValueDictionary", "weakref:WeakKeyDictionary")
def _weak_mapping(value: Any, _: Code) -> Parts:
    return f"weakref.{type(value).__name__}", dict(value.items())


def _context_variable(value: Any, _: Code) -> Parts:
    """What it stands for in the context of whoever asks, its default included."""
    return "contextvars.ContextVar", *_set_value(value)


def _set_value(variable: ContextVar[Any]) -> Parts:
    try:
        return (variable.get(),)
    except LookupError:
        return ()


add_form(ContextVar, _context_variable, family=False)
