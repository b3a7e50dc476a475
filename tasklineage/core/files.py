"""File and Dir results: stored with the call, conditions of its memo, put back on a hit.

A call whose result has Files in it depends on them: each is a condition, with all that is needed
to put it back. Conditions are folded into the parent, so a hit of the parent finds, or puts back,
the files of every call below it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgpack

from tasklineage.errors import CorruptObject, MissingObject, UnreadableFile
from tasklineage.key.file_contents import changed
from tasklineage.key.files import Dir, File, Value, value_digest
from tasklineage.key.pins import Pin, live
from tasklineage.storage.records import CallEnd, Condition, Ref

if TYPE_CHECKING:
    from tasklineage.core.fold import Fold
    from tasklineage.storage.store import Store

KINDS = {"file": File, "dir": Dir}
"""The kinds of conditions that are about files."""


def stored(store: Store, value: Any, digest: bytes, found: Sequence[Value], fold: Fold) -> Ref:
    """Where a result is stored, with the contents of the Files in it, which become conditions.

    `found` are those that `digest` was made of.

    Raises
    ------
    UnreadableFile
        One has changed since.
    UnstorableResult, StoreError
        As `Store.put`.
    """
    keeper = store.keeper()
    expected = {id(one): (one, one.content_hash()) for one in found}
    conditions: list[Condition] = []
    for one, content in expected.values():
        pin = keeper(one)
        if pin.hash != content:
            raise changed(one.place)
        conditions.append(_condition(one, pin))
    ref = store.put_files(value, digest, keeper)
    fold.conditions.update(conditions)
    return ref


def settle(fold: Fold) -> None:
    """Let the conditions be about the files as they are when the call ends.

    A file that is gone by now was a temporary one: a hit need not bring it back. Where several
    calls below wrote to one place, what the last one wrote is there.
    """
    ours = [c for c in fold.conditions if c.kind in KINDS]
    if not ours:
        return
    last = {c.name: c for c in ours if len(ours) > 1 and holds_now(c)}
    for condition in ours:
        is_replaced = last.get(condition.name, condition).digest != condition.digest
        if is_replaced or not os.path.lexists(condition.name):
            fold.conditions.discard(condition)


def holds(condition: Condition) -> bool:
    """Whether the file has its content, or is absent and can be put back."""
    if not os.path.isabs(condition.name) or "\0" in condition.name:
        return False
    return holds_now(condition) or (bool(condition.data) and _is_absent(condition))


def holds_now(condition: Condition) -> bool:
    """Whether the file is there with its content."""
    kind = KINDS[condition.kind]
    try:
        return value_digest(kind, kind(condition.name).content_hash()) == condition.digest
    except UnreadableFile:
        return False


def restored(store: Store, memo: CallEnd) -> Any:
    """The value of a memo whose conditions hold, after its absent files were put back.

    Raises
    ------
    MissingObject, CorruptObject, Undecodable
        A file or the value cannot be had: the memo does not answer.
    """
    for fields in memo.conditions:
        condition = Condition(*fields)
        if condition.kind in KINDS and condition.data:
            if _is_absent(condition):
                _put_back(store, condition)
            else:
                _heal(store, condition)
    with live():
        return store.get(Ref(*(memo.output or ())))


def _put_back(store: Store, condition: Condition) -> None:
    if not store.allow_pickle:
        raise _not_there(condition)  # who does not trust a store lets it write no files
    pin = _pin(condition)
    is_folder = condition.kind == "dir"
    try:
        store.contents.put_back(pin, condition.name, is_folder=is_folder)
    except FileExistsError:  # another thread or process has put it back, or something else there
        if not holds_now(condition):
            raise _not_there(condition) from None
    except OSError as error:
        raise _not_there(condition) from error


def _heal(store: Store, condition: Condition) -> None:
    """Store the content again, if its object is gone: the file that is there has it."""
    oid = _pin(condition).oid
    if store.read_only or (oid is not None and store.objects.has(oid)):
        return
    with contextlib.suppress(UnreadableFile):  # it has changed this very moment
        store.keeper()(KINDS[condition.kind](condition.name))


def _condition(value: Value, pin: Pin) -> Condition:
    kind = "dir" if isinstance(value, Dir) else "file"
    data = b"" if pin.oid is None else msgpack.packb(pin[:4])
    return Condition(kind, value.place, value_digest(type(value), pin.hash), data)


def _pin(condition: Condition) -> Pin:
    try:
        content, mode, size, oid = msgpack.unpackb(condition.data)
    except (ValueError, msgpack.UnpackException) as error:
        raise CorruptObject(f"the record of {condition.name} is damaged") from error
    return Pin(content, mode, size, oid)


def _is_absent(condition: Condition) -> bool:
    return not os.path.lexists(condition.name)


def _not_there(condition: Condition) -> MissingObject:
    return MissingObject(f"{condition.name} cannot be put back")
