"""What one record says that must be true of other things: which objects, codes and calls it needs.

Nothing here reads a file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import msgpack
import xxhash

from tasklineage.errors import CorruptObject
from tasklineage.storage import records
from tasklineage.storage.codecs import WITH_CHILDREN, named_ids
from tasklineage.storage.records import (
    DONE,
    KINDS,
    CallBegin,
    CallEnd,
    Hit,
    Ref,
    RunBegin,
    RunEnvironment,
    Versions,
)

FILE_KINDS = ("file", "dir")


class Need(NamedTuple):
    """An object that a record needs, and what it says of it."""

    oid: bytes
    codec: str
    nbytes: int


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
    return ""


def impossible(record: CallEnd) -> str:
    """Why a record that is marked as a memo can be none; empty if it can."""
    if record.status != DONE:
        return f"its status is {record.status}"
    if record.volatile:
        return f"it is volatile: {record.volatile}"
    if record.mutated:
        return f"it changed {', '.join(record.mutated)}"
    if record.output is None or not records.as_ref(record.output).is_stored:
        return "its result is not stored"
    return ""


def is_named_right(record: Versions) -> bool:
    """Whether a set of versions has the digest that it is known by."""
    packed: bytes = msgpack.packb(record.members)
    return xxhash.xxh3_128_digest(packed) == record.digest


def refs_in(record: Any) -> Iterator[Ref]:
    """Every value that a record tells where it is."""
    for fields in _ref_fields(record):
        if fields is not None:
            yield records.as_ref(fields)


def needs(record: Any) -> Iterator[Need]:
    """The objects that a record needs."""
    for ref in refs_in(record):
        if ref.oid is not None:
            codec = {"file": "file content", "dir": "folder content"}.get(ref.codec, ref.codec)
            nbytes = 0 if ref.codec in WITH_CHILDREN else ref.nbytes
            yield Need(ref.oid, codec, nbytes)
        elif ref.codec == "tree" and ref.data is not None:
            with contextlib.suppress(CorruptObject):  # which is for `--decode` to find
                for oid in named_ids(ref):
                    yield Need(oid, "", 0)
    if type(record) is CallEnd:
        for condition in record.conditions:
            content = _content(records.Condition._make(condition))
            if content is not None:
                yield Need(content, "", 0)


def mentions(record: Any) -> Iterator[bytes]:
    """Ids and digests of what a record needs or is about."""
    kind = type(record)
    if kind in (CallBegin, CallEnd):
        yield from (id for id in (record.run, record.code, record.parent) if id)
    elif kind is Hit:
        yield from (id for id in (record.run, record.producer, record.parent) if id)
    elif "run" in record._fields:
        yield record.run
    if kind is CallEnd and record.versions:
        yield record.versions
    for need in needs(record):
        yield need.oid


def run_of(record: Any) -> tuple[Any, Any]:
    """The ids of the run and of the call that a record is about; None where it is about none."""
    if type(record) in (CallBegin, CallEnd, Hit):
        return record.run, record.id
    if type(record) in (RunBegin, records.RunEnd, records.RunTags):
        return record.id, None
    return getattr(record, "run", None), None


def _ref_fields(record: Any) -> Iterable[Any]:
    if type(record) is CallEnd:
        logs = (log for attempt in record.attempts for log in attempt[5:7])
        arguments = (argument[1] for argument in record.arguments)
        return (record.output, record.stdout, record.stderr, *arguments, *logs)
    if type(record) is RunBegin:
        return (ref for _, ref in record.params)
    if type(record) is RunEnvironment:
        return (record.environment, record.diff)
    return ()


def _content(condition: records.Condition) -> bytes | None:
    """The object with the content of a file on which a memo depends."""
    if condition.kind not in FILE_KINDS or not condition.data:
        return None
    try:
        fields = msgpack.unpackb(condition.data)
        oid = fields[3]
    except (ValueError, TypeError, LookupError):
        return None
    return oid if type(oid) is bytes and len(oid) == 16 else None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


_IDS = frozenset({"id", "run", "parent", "key", "code", "producer", "digest", "versions"})
_ID_PLACES: dict[type[Any], tuple[int, ...]] = {
    kind: tuple(at for at, name in enumerate(kind._fields) if name in _IDS)
    for kind in KINDS.values()
}
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
