"""Files that a body opened by their paths: conditions of its memo.

When a call ends, each file that it read, and that was not made by the call itself or by one below
it, is a condition: the content must be the same for the memo to answer. So is a file that was
looked for and not there, and the names in a folder that was listed. A file that was changed while
the call ran, or that the call read and then wrote over, cannot hold again: the call is no memo.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgpack
from xxhash import xxh3_128_digest

from tasklineage import config
from tasklineage.core.accesses import READ, Access, Accesses, names_in
from tasklineage.errors import UnreadableFile, UntrackedRead
from tasklineage.key.data_files import is_loaded
from tasklineage.key.file_contents import StatKey, content_of, key_of
from tasklineage.key.files import Dir, File, value_digest, values_in
from tasklineage.key.pins import State
from tasklineage.storage.records import Condition

if TYPE_CHECKING:
    from tasklineage.core.call import Call
    from tasklineage.core.fold import Fold

ABSENT = xxh3_128_digest(b"tasklineage: there is no file")
_NAMES, _FOLDER = "names", "dir"
_CLOCK = 50_000_000
"""Nanoseconds by which the clock of a file system may be behind."""


def settle(this: Call, fold: Fold, value: Any) -> None:
    """Make conditions of what the call read, when its body and all calls below are over.

    Raises
    ------
    UntrackedRead
        `reads="error"` is configured, and the body has read a file by its path.
    """
    accesses = fold.accesses
    if accesses is None:
        return
    task, places = this.task.name, _places(this, fold)
    if places:
        gone = {c for c in fold.conditions if c.kind == READ and _is_at(c.name, places)}
        fold.conditions -= gone
    own: list[Condition] = []
    for path, access in list(accesses.files.items()):
        if access.is_made or not access.is_read or _is_at(path, places) or is_loaded(path):
            if access.is_written and not access.is_read:
                _drop_changed(fold, task, path)
            continue
        found = _condition(path, access, accesses)
        if isinstance(found, Condition):
            own.append(found)
        elif found and not fold.volatile:
            fold.volatile = f"{task}: {found}"
            this.run.warn_changed(task, found)
    made = {path for path, access in list(accesses.files.items()) if access.is_made}
    for path, (is_relative, names) in list(accesses.listings.items()):
        if path not in made and not _is_at(path, places):
            own.append(_listing(path, is_relative, names, made))
    fold.conditions.update(own)
    _report(this, own, value)


def holds(condition: Condition) -> bool:
    """Whether a file has the content that it had, or is still not there."""
    try:
        if condition.data:
            return _holds_folder(condition)
        content = content_of(condition.name).hash
    except UnreadableFile:
        return condition.digest == ABSENT and not os.path.lexists(condition.name)
    except (OSError, ValueError):
        return False
    return value_digest(File, content) == condition.digest


def of_arguments(this: Call) -> tuple[Condition, ...]:
    """The Files among the arguments of a call, as conditions of a parent that made them."""
    found: list[Condition] = []
    for one in values_in(this.bound):
        if one.pin is None:
            try:
                digest = value_digest(type(one), one.content_hash())
            except UnreadableFile:
                continue
            data = msgpack.packb([_FOLDER]) if isinstance(one, Dir) else b""
            found.append(Condition(READ, _inside(one.place), digest, data))
    return tuple(found)


def _condition(path: str, access: Access, accesses: Accesses) -> Condition | str | None:
    """The condition that a file read is, or, in words, why there can be none; None: it is none."""
    name, before, now = _named(path, access.is_relative), access.before, _key(path)
    if before is None:
        return _absence(path, name, access, now, accesses)
    if access.is_written:
        return f"read {name} and then wrote to it"
    if now is None:
        is_temporary = before[4] >= accesses.since - _CLOCK
        return None if access.may_write or is_temporary else f"{name} was removed while it ran"
    if now != before:
        if access.is_database:
            return None
        return f"{name} was changed while it ran"
    try:
        return Condition(READ, name, value_digest(File, content_of(path).hash))
    except UnreadableFile:
        return f"{name} cannot be read any more"


def _absence(
    path: str, name: str, access: Access, now: StatKey | None, accesses: Accesses
) -> Condition | None:
    if access.is_written or access.may_write:
        return None
    if now is not None and access.is_again:
        return None  # made by something that the body called
    folder = os.path.dirname(path)
    while folder != "/":
        if folder in accesses.files and accesses.files[folder].is_made:
            return None
        folder = os.path.dirname(folder)
    return Condition(READ, name, ABSENT)


def _listing(
    path: str, is_relative: bool, names: frozenset[str] | None, made: set[str]
) -> Condition:
    name = _named(path, is_relative)
    if names is None:
        return Condition(READ, name, ABSENT)
    ours = sorted(os.path.basename(one) for one in made if os.path.dirname(one) == path)
    data: bytes = msgpack.packb([_NAMES, *ours])
    return Condition(READ, name, _names_digest(names, ours), data)


def _names_digest(names: frozenset[str], without: Iterable[str]) -> bytes:
    kept = sorted(os.fsencode(name) for name in names.difference(without))
    return xxh3_128_digest(b"tasklineage names:" + b"\0".join(kept))


def _holds_folder(condition: Condition) -> bool:
    try:
        kind, *without = msgpack.unpackb(condition.data)
    except (ValueError, msgpack.UnpackException):
        return False
    if kind == _FOLDER:
        return value_digest(Dir, Dir(condition.name).content_hash()) == condition.digest
    names = names_in(condition.name)
    return names is not None and _names_digest(names, without) == condition.digest


def _drop_changed(fold: Fold, task: str, path: str) -> None:
    """Make no memo of a call that has changed what a call below it had read before."""
    for condition in [c for c in fold.conditions if c.kind == READ]:
        if os.path.abspath(condition.name) == path and not holds(condition):
            fold.volatile = fold.volatile or f"{task}: {condition.name} was changed while it ran"


def _places(this: Call, fold: Fold) -> frozenset[str]:
    """Paths that count already: Files among the arguments, and those that calls below returned."""
    if not State.in_use:
        return frozenset()
    places = {one.place for one in values_in(this.bound)}
    places.update(c.name for c in fold.conditions if c.kind in ("file", "dir"))
    return frozenset(places)


def _is_at(name: str, places: frozenset[str]) -> bool:
    """Whether a path is one of these places, or below one."""
    if not places:
        return False
    path = os.path.abspath(name)
    while path not in places:
        above = os.path.dirname(path)
        if above == path:
            return False
        path = above
    return True


def _named(path: str, is_relative: bool) -> str:
    """A path as the body named it: relative to the working folder, or absolute."""
    if not is_relative:
        return path
    inside = _inside(path)
    return os.path.relpath(path) if inside is path else inside


def _inside(path: str) -> str:
    """A path relative to the working folder, if it is inside of that."""
    folder = os.getcwd() + "/"
    return path.removeprefix(folder)


def _key(path: str) -> StatKey | None:
    try:
        return key_of(os.stat(path))
    except OSError:
        return None


def _report(this: Call, own: list[Condition], value: Any) -> None:
    files = [c.name for c in own if not c.data and c.digest != ABSENT]
    wanted = config.settings().reads
    if not files or wanted == "track":
        return
    task = this.task.name
    text = (
        f"{task} reads {files[0]} by its path. Pass it as an argument, tl.File({files[0]!r}), so "
        "that its content is part of the key"
    )
    if wanted == "error":
        raise UntrackedRead(text, file=files[0], value=value)
    this.run.warn_read(task, text)
