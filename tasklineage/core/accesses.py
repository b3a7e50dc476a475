"""What the body of a call does to files, as the interpreter's audit events tell it.

    open(…), os.scandir(…) ──> audit event ──> the frame of this context ──> Accesses of its attempt

Python code that opens a file, also inside of a library, raises an event; C code that opens one by
itself does not. Which call it belongs to is a context variable: right in the threads of a map and
in coroutines. A thread that the body starts by itself has an empty context, so it is not seen.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tasklineage import config
from tasklineage.core.frame import current
from tasklineage.key.data_files import is_data_file, is_data_folder, source_of
from tasklineage.key.file_contents import StatKey, key_of
from tasklineage.key.guards import Unseen, watch_files
from tasklineage.storage.records import Condition

if TYPE_CHECKING:
    from tasklineage.core.fold import Fold

READ = "read"
"""The kind of the conditions that are about files read by their paths."""
_LOOKERS = ("importlib", "pkg_resources", "zipimport", "tasklineage", "linecache")
"""Modules that list folders to find code."""
_IMPORTERS = ("importlib", "frozen_importlib_external")


class Access:
    """What the calls of one subtree did to one file, in the order of its first events."""

    __slots__ = (
        "before", "is_again", "is_database", "is_made", "is_read", "is_relative", "is_written",
        "may_write",
    )  # fmt: skip

    def __init__(self, *, is_made: bool = False, is_relative: bool = False) -> None:
        self.is_made = is_made
        """Its content is of the call: it was created or emptied before anything was read."""
        self.is_relative = is_relative
        self.is_read = False
        """The body itself opened it for reading."""
        self.before: StatKey | None = None
        """Its status when it was first opened; None: there was nothing."""
        self.is_again = False
        """It was opened more than once."""
        self.is_written = False
        """It was opened for writing after it had been read."""
        self.may_write = False
        """It was opened for reading and writing: only its status tells what was done."""
        self.is_database = False


class Accesses:
    """Of one attempt and of the calls below it. Any thread may add to it."""

    __slots__ = ("files", "imports", "listings", "since")

    def __init__(self) -> None:
        self.files: dict[str, Access] = {}
        """By absolute path."""
        self.listings: dict[str, tuple[bool, frozenset[str] | None]] = {}
        """Folders that were listed: whether named by a relative path, and the names that were
        there; None: there was no folder."""
        self.imports: set[str] = set()
        """Source files that were opened to import modules of them."""
        self.since = time.time_ns()

    def note_open(self, path: str, flags: int, *, is_relative: bool, is_low: bool) -> None:
        """A file is about to be opened. `is_low`: by its descriptor, as `os.open` does."""
        writes = flags & os.O_ACCMODE != os.O_RDONLY
        is_new = bool(flags & os.O_TRUNC) or flags & (os.O_CREAT | os.O_EXCL) == (
            os.O_CREAT | os.O_EXCL
        )
        known = self.files.get(path)
        if known is None:
            if is_new:
                self.files[path] = Access(is_made=True)
                return
            is_there, key = _status(path)
            is_elsewhere = is_low and not is_there and not writes  # relative to another folder
            if is_elsewhere or (is_there and key is None):
                return
            known = Access(is_relative=is_relative)
            known.before = key
            self.files[path] = known
        elif known.is_made:
            return
        else:
            known.is_again = True
            if not known.is_read and known.before is None and not is_new:
                known.before = _status(path)[1]
        if is_new or flags & os.O_ACCMODE == os.O_WRONLY:
            known.is_written = True
        else:
            known.is_read = True
            known.is_relative = is_relative
            known.may_write = known.may_write or writes

    def note_database(self, path: str, *, is_relative: bool) -> None:
        """A file is about to be opened by SQLite, which may read and write."""
        self.note_open(path, os.O_RDWR, is_relative=is_relative, is_low=False)
        self.files[path].is_database = True

    def note_made(self, path: str) -> None:
        """What is at `path` was made by the call."""
        known = self.files.get(path)
        if known is None:
            self.files[path] = Access(is_made=True)
        elif not known.is_made:
            known.is_written = True

    def note_listing(self, path: str, *, is_relative: bool) -> None:
        """The names in a folder are about to be read."""
        if path not in self.listings:
            self.listings[path] = is_relative, names_in(path)


def names_in(folder: str) -> frozenset[str] | None:
    """The names in a folder, without hidden ones and what Python caches; None: it is none."""
    try:
        names = os.listdir(Unseen(folder))
    except OSError:
        return None
    return frozenset([name for name in names if not name.startswith(".") and name != "__pycache__"])


def inherit(
    parent: Fold, conditions: Iterable[Condition], made: Accesses | None
) -> list[Condition]:
    """What a call passes on to its parent: the conditions but those on what the parent has made.

    `made` are the accesses of the call, of which the parent learns what was written.
    """
    kept = list(conditions)
    reads = [c for c in kept if c.kind == READ]
    if reads or (made is not None and made.files):
        known = accesses_of(parent).files
        for condition in reads:
            path = os.path.abspath(condition.name)
            if path not in known:
                known[path] = Access()
            elif known[path].is_made:
                kept.remove(condition)
        if made is not None:
            for path, access in list(made.files.items()):
                if access.is_made or access.is_written or (access.may_write and not access.before):
                    accesses_of(parent).note_made(path)
    return kept


def accesses_of(fold: Fold) -> Accesses:
    """The accesses of an attempt, begun if there are none."""
    found = fold.accesses
    if found is None:
        found = fold.accesses = Accesses()
    return found


def _noticed(event: str, args: tuple[Any, ...]) -> None:
    """Note an audit event about a file, if the body of a call is executing (HOT for opens)."""
    frame = current.get()
    if frame is None or type(args[0]) is Unseen or (frame.id is None and frame.call is None):
        return
    path = args[1] if event in ("os.rename", "os.link", "os.symlink") else args[0]
    if path is None:
        path = "."
    text = _text(path)
    if not text or config.settings().reads == "ignore":
        return
    if text[0] == "<" and text[-1] == ">":  # what stands for code that has no file: <stdin>
        return
    if event == "sqlite3.connect":
        text = _database(text)
        if not text:
            return
    is_relative = text[0] != "/"
    try:
        absolute = os.path.abspath(text)
    except OSError:  # the working folder is gone
        return
    if event == "open":
        flags = args[2]
        if absolute.endswith(".pyc"):
            absolute = source_of(absolute)
        if is_data_file(absolute) and not flags & getattr(os, "O_DIRECTORY", 0):
            accesses = accesses_of(frame.fold)
            accesses.note_open(absolute, flags, is_relative=is_relative, is_low=args[1] is None)
            if absolute.endswith(".py") and _caller() in _IMPORTERS:
                accesses.imports.add(absolute)
    elif event in ("os.listdir", "os.scandir"):
        if is_data_folder(absolute) and not _looks_for_code():
            accesses_of(frame.fold).note_listing(absolute, is_relative=is_relative)
    elif is_data_file(absolute):
        accesses = accesses_of(frame.fold)
        if event != "sqlite3.connect":
            accesses.note_made(absolute)
        else:
            accesses.note_database(absolute, is_relative=is_relative)
            if os.path.exists(f"{absolute}-wal"):
                accesses.note_database(f"{absolute}-wal", is_relative=is_relative)


def _text(path: Any) -> str:
    """A path as text; empty for a descriptor, and for what can be no path."""
    if type(path) is str:
        return "" if "\0" in path else path
    if isinstance(path, int):
        return ""
    try:
        text = os.fsdecode(path)
    except (TypeError, ValueError):
        return ""
    return "" if "\0" in text else text


def _database(text: str) -> str:
    """The path of a database, as `sqlite3.connect` takes it; empty for one in memory."""
    if text.startswith(":"):
        return ""
    if not text.startswith("file:"):
        return text
    from urllib.parse import unquote, urlsplit  # slow to import, rarely needed

    parts = urlsplit(text)
    return "" if "mode=memory" in parts.query else unquote(parts.path)


def _looks_for_code() -> bool:
    """Whether the code that lists a folder is that of imports, or of this package."""
    return _caller(4) in _LOOKERS


def _caller(depth: int = 3) -> str:
    """The package of the code that has caused an audit event."""
    caller = sys._getframe(depth)  # pyright: ignore[reportPrivateUsage]
    name = caller.f_globals.get("__name__", "")
    return name.partition(".")[0].strip("_") if isinstance(name, str) else ""


def _status(path: str) -> tuple[bool, StatKey | None]:
    """Whether there is something, and the status of a regular file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return False, None
    return True, key_of(found) if stat.S_ISREG(found.st_mode) else None


watch_files(_noticed)
