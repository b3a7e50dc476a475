"""What one record says that must be true of other things: which objects, codes and calls it needs.

Nothing here reads a file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgpack
import xxhash

from tasklineage.errors import CorruptObject
from tasklineage.storage import records
from tasklineage.storage.codecs import WITH_CHILDREN, named_ids
from tasklineage.storage.records import (
    DONE,
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
