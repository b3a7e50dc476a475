"""What a call does whose record was written just when its objects were swept.

The record is there, and names objects that a sweep has deleted in between (see `storage.sweeps`).
Whoever made the call still has its result: it is stored anew, and the record is written once more,
a moment later, so that it counts instead of the first.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tasklineage.errors import UnhashableArgument, UnreadableFile, UnstorableResult
from tasklineage.storage.records import (
    Argument,
    Attempt,
    CallEnd,
    LeftOut,
    Ref,
    Swept,
    as_ref,
)
from tasklineage.storage.sweeps import wait_until_free

if TYPE_CHECKING:
    from tasklineage.storage.store import Store


def record_again(store: Store, record: CallEnd, value: Any) -> Ref | None:
    """Where the result of a call is now, whose record names objects that are gone.

    `value` is the result. Arguments and printed texts that are gone are only described from now on;
    a record of files that are gone is no memo any more.

    Raises
    ------
    StoreError
        Something could not be written.
    """
    while True:
        record = _whole(store, record, value)
        try:
            store.append_one(record)
        except Swept:
            continue
        _note_parent(store, record.parent)
        return None if record.output is None else as_ref(record.output)


def _note_parent(store: Store, parent: bytes | None) -> None:
    """Nobody misses the caller of a call that is in the journal again.

    A sweep that is going on has not seen that, and may still let go of the caller; a later one does
    not.
    """
    if parent is not None:
        wait_until_free(store.path)
        if parent not in store.catalog.calls_of((parent,)):
            store.append_one(LeftOut(parent))


def _whole(store: Store, record: CallEnd, value: Any) -> CallEnd:
    """The record as it can be written now."""
    output = None if record.output is None else _stored(store, as_ref(record.output), value)
    is_lost = output is not None and not output.is_stored
    has_files = any(condition[0] in ("file", "dir") for condition in record.conditions)
    return record._replace(
        ended=math.nextafter(record.ended, math.inf),
        memo=record.memo and not is_lost and not has_files,
        output=output,
        arguments=tuple(_argument(store, Argument(*fields)) for fields in record.arguments),
        stdout=_text(store, record.stdout),
        stderr=_text(store, record.stderr),
        attempts=tuple(_attempt(store, Attempt(*fields)) for fields in record.attempts),
        conditions=tuple(
            (*fields[:3], b"") if fields[0] in ("file", "dir") else fields
            for fields in record.conditions
        ),
    )


def _stored(store: Store, ref: Ref, value: Any) -> Ref:
    """Where the value is stored; described where there is no way to store it."""
    if not ref.is_stored or store.has(ref):
        return ref
    try:
        return store.put(value, ref.digest)
    except (UnstorableResult, UnhashableArgument, UnreadableFile):
        return _described(ref)


def _argument(store: Store, argument: Argument) -> Argument:
    ref = as_ref(argument.ref)
    return argument if _is_there(store, ref) else argument._replace(ref=_described(ref))


def _attempt(store: Store, attempt: Attempt) -> Attempt:
    return attempt._replace(
        stdout=_text(store, attempt.stdout), stderr=_text(store, attempt.stderr)
    )


def _text(store: Store, fields: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    return fields if fields is None or _is_there(store, as_ref(fields)) else None


def _is_there(store: Store, ref: Ref) -> bool:
    return not ref.is_stored or store.has(ref)


def _described(ref: Ref) -> Ref:
    return Ref(ref.digest, ref.type, preview=ref.preview)
