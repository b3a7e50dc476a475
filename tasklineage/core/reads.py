"""Files that a body opened by their paths: conditions of its memo.

When a call ends, each file that it read, and that was not made by the call itself or by one below
it, is a condition: the content must be the same for the memo to answer. So is a file that was
looked for and not there, and the names in a folder that was listed. A file that was changed while
the call ran, or that the call read and then wrote over, cannot hold again: the call is no memo.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

import msgpack
from xxhash import xxh3_128_digest

from tasklineage import config
from tasklineage.core.accesses import READ, Access, Accesses, names_in
from tasklineage.errors import UnreadableFile, UntrackedRead
from tasklineage.key.code_version import code_version
from tasklineage.key.data_files import is_loaded
from tasklineage.key.file_contents import StatKey, content_of, key_of
from tasklineage.key.files import Dir, File, value_digest, values_in
from tasklineage.key.hidden import Hidden
from tasklineage.key.pins import State
from tasklineage.storage.records import Condition

if TYPE_CHECKING:
    from tasklineage.core.call import Call
    from tasklineage.core.fold import Fold

ABSENT = xxh3_128_digest(b"tasklineage: there is no file")
_OUTDATED = "given by an lru_cache what other code, or other globals, had computed"
_FILE, _NAMES, _FOLDER = "file", "names", "dir"
_CLOCK = 50_000_000
"""Nanoseconds by which the clock of a file system may be behind."""


class _Cached:
    """Of an `lru_cache`: what was read while it was filled, and the code versions it had then."""

    conditions: ClassVar[WeakKeyDictionary[Any, set[Condition]]] = WeakKeyDictionary()
    codes: ClassVar[WeakKeyDictionary[Any, set[bytes]]] = WeakKeyDictionary()


def settle(this: Call, fold: Fold, value: Any, cached: Sequence[Any]) -> None:
    """Make conditions of what the call read, when its body and all calls below are over.

    `cached` is what the caches that the code reaches said of themselves when it began.

    Raises
    ------
    UntrackedRead
        `reads="error"` is configured, and the body has read a file by its path.
    """
    accesses, computed = fold.accesses, this.code.closure.computed
    if accesses is not None:
        _settle_accesses(this, fold, accesses, value)
    for cache, before in zip(this.code.closure.caches, cached, strict=True):
        _settle_cache(this, fold, cache, before)
    imported = frozenset() if accesses is None else frozenset(accesses.imports)
    if computed or imported:
        from tasklineage.core import modules  # rarely needed

        code = getattr(this.task.__wrapped__, "__code__", None)
        own = "" if code is None else os.path.abspath(code.co_filename)
        fold.conditions.update(modules.conditions(computed, imported, own))


def _settle_cache(this: Call, fold: Fold, cache: Any, before: Any) -> None:
    """What a call got from a cache depends on what was read, and how it was computed, before."""
    now, code = cache.cache_info(), code_version(cache.__wrapped__).digest
    read = _Cached.conditions.setdefault(cache, set())
    codes = _Cached.codes.setdefault(cache, {code})
    if not before.currsize:  # it was cleared
        codes.clear()
    if now.misses > before.misses:
        read.update(c for c in fold.conditions if c.kind == READ)
        codes.add(code)
    if now.hits > before.hits:
        fold.conditions.update(read)
        if codes - {code}:
            fold.volatile = fold.volatile or f"{this.task.name}: {_OUTDATED}"


def _settle_accesses(this: Call, fold: Fold, accesses: Accesses, value: Any) -> None:
    task, places = this.task.name, _places(this, fold)
    if places:
        gone = {c for c in fold.conditions if c.kind == READ and _is_at(c.name, places)}
        fold.conditions -= gone
    own: list[Condition] = []
    for path, access in list(accesses.files.items()):
        is_code = is_loaded(path) and not (path in accesses.imports and _is_unnamed(path))
        if access.is_made or not access.is_read or _is_at(path, places) or is_code:
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


def _is_unnamed(path: str) -> bool:
    """Whether a source file was imported that no import by the module's name would find."""
    from tasklineage.core import modules

    return not modules.is_found(path)


def holds(condition: Condition) -> bool:
    """Whether a file has the content that it had, or is still not there.

    The body may have made an absolute path out of the working folder or not: both files that it may
    mean now must be what it read, or absent, and one of them there.
    """
    try:
        kind, inside, *without = _details(condition)
    except (ValueError, msgpack.UnpackException):
        return False
    if not inside:
        return _holds_at(condition.name, condition.digest, kind, without)
    places = {condition.name, os.path.abspath(inside)}
    there = [place for place in places if os.path.lexists(place)] or [condition.name]
    return all(_holds_at(place, condition.digest, kind, without) for place in there)


def _holds_at(path: str, digest: bytes, kind: str, without: list[str]) -> bool:
    try:
        if kind == _NAMES:
            names = names_in(path)
            now = ABSENT if names is None else _names_digest(names, without)
        elif kind == _FOLDER:
            now = value_digest(Dir, Dir(path).content_hash())
        else:
            now = value_digest(File, content_of(path).hash)
    except UnreadableFile:
        return digest == ABSENT and not os.path.lexists(path)
    except (OSError, ValueError):
        return False
    return now == digest


def of_arguments(this: Call) -> tuple[Condition, ...]:
    """The Files among the arguments of a call, as conditions of a parent that made them."""
    found: list[Condition] = []
    for one in values_in(this.bound):
        if one.pin is None:
            try:
                digest = value_digest(type(one), one.content_hash())
            except UnreadableFile:
                continue
            name = _inside(one.place)
            kind, is_relative = _FOLDER if isinstance(one, Dir) else _FILE, name != one.place
            found.append(Condition(READ, name, digest, _packed(kind, one.place, is_relative)))
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
    if Hidden.in_use:
        from tasklineage.core.hiding import holds_secret

        if holds_secret(path):
            return None
    try:
        digest = value_digest(File, content_of(path).hash)
        return Condition(READ, name, digest, _packed(_FILE, path, access.is_relative))
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
    return Condition(READ, name, ABSENT, _packed(_FILE, path, access.is_relative))


def _listing(
    path: str, is_relative: bool, names: frozenset[str] | None, made: set[str]
) -> Condition:
    name = _named(path, is_relative)
    ours = sorted(os.path.basename(one) for one in made if os.path.dirname(one) == path)
    digest = ABSENT if names is None else _names_digest(names, ours)
    return Condition(READ, name, digest, _packed(_NAMES, path, is_relative, *ours))


def _names_digest(names: frozenset[str], without: Iterable[str]) -> bytes:
    kept = sorted(os.fsencode(name) for name in names.difference(without))
    return xxh3_128_digest(b"tasklineage names:" + b"\0".join(kept))


def _details(condition: Condition) -> tuple[str, ...]:
    """What a condition is about, its path from the working folder if it matters, and more names."""
    if not condition.data:
        return _FILE, ""
    details: tuple[str, ...] = msgpack.unpackb(
        condition.data, use_list=False, unicode_errors="surrogatepass"
    )
    return details


def _packed(kind: str, path: str, is_relative: bool, *more: str) -> bytes:
    """The `data` of a condition: nothing for a file that the body named by a relative path."""
    if is_relative and kind == _FILE:
        return b""
    inside = "" if is_relative else os.path.relpath(path)
    packed: bytes = msgpack.packb([kind, inside, *more], unicode_errors="surrogatepass")
    return packed


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
    files = [c.name for c in own if _details(c)[0] == _FILE and c.digest != ABSENT]
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
