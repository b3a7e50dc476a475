"""What stands in the folders of a store: the format file, names that nobody gave, modes, leftovers.

Reads names and states of files, and the format file; no other contents.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from tasklineage.errors import StoreError, StoreNotFound
from tasklineage.storage import file_hashes, secret_key, signing, verified
from tasklineage.storage import format as layout
from tasklineage.storage.catalog import FILE as CATALOG
from tasklineage.storage.fsck.findings import Findings
from tasklineage.storage.sealed import COMPANIONS

QUARANTINE = "quarantine"
NOTED = ".missing"
"""How names in `quarantine` end that stand for something that is gone."""
FOLDERS = frozenset({"journal", "objects", "refs", "pins", "gc", "locks", "waits", QUARANTINE})
FILES = frozenset(
    {layout.FILE, ".gitignore", CATALOG, verified.FILE, file_hashes.FILE, secret_key.FILE,
     signing.FILE}
)  # fmt: skip
_BESIDE = tuple(f"{CATALOG}{end}" for end in COMPANIONS)
_STALE_AFTER = 24 * 3600.0


def check_format(root: Path, findings: Findings) -> None:
    """Find out whether the format file is what it should be.

    Raises
    ------
    StoreNotFound
        There is no store.
    StoreError
        It is a store of another version, of which nothing can be said here.
    """
    path = root / layout.FILE
    try:
        found = layout.read_format(root)
    except StoreError as error:
        if os.path.lexists(path):
            kind = "unreadable" if is_regular(path) else "not-a-file"
            findings.add(kind, layout.FILE, str(error), repair=("format",))
        else:
            findings.add("format-missing", layout.FILE, repair=("format",))
        return
    if found is None:
        raise StoreNotFound(f"there is no store at {root}")
    if layout.is_intact(found):
        layout.check(found, root)
    else:
        findings.add("format-damaged", layout.FILE, repair=("format",))


def noted(root: Path) -> list[str]:
    """The losses that a repair has noted."""
    names = (name for name, _ in entries(root / QUARANTINE))
    return [name.removesuffix(NOTED) for name in names if name.endswith(NOTED)]


def check_names(root: Path, findings: Findings) -> None:
    """Find what stands at the top of the store and in its small folders."""
    for name, status in entries(root):
        if name in FOLDERS:
            if not stat.S_ISDIR(status.st_mode):
                findings.add("not-a-file", name, what(status), repair=("move",))
        elif name in FILES:
            if not stat.S_ISREG(status.st_mode) and name != layout.FILE:
                findings.add("not-a-file", name, what(status), repair=("move",))
        elif name in _BESIDE or (name.startswith(".") and is_old(status)):
            findings.add("leftover", name)
        elif name[0] != ".":
            findings.add("foreign", name)
    _check_tmp(root, findings)
    _check_waits(root, findings)
    _check_quarantine(root, findings)


def check_modes(root: Path, findings: Findings) -> None:
    """Find what others may read or write though they may not do so with the folder of the store."""
    granted = os.stat(root).st_mode & 0o777
    for path, status in walk(root):
        mode = status.st_mode & 0o777
        beyond = mode & ~granted & (0o777 if stat.S_ISDIR(status.st_mode) else 0o666)
        if beyond and not stat.S_ISLNK(status.st_mode):
            name = os.path.relpath(path, root)
            wanted = mode & granted
            findings.add(
                "mode", name, f"{mode:o}, store {granted:o}", repair=("mode", f"{wanted:o}")
            )


def entries(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Name and state of what stands in a folder, links not followed; nothing if it is none."""
    if os.path.islink(folder):
        return
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in sorted(names):
        with contextlib.suppress(OSError):  # gone since
            yield name, os.lstat(folder / name)


def walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below a folder; links are not followed."""
    pending = [folder]
    while pending:
        here = pending.pop()
        for name, status in entries(here):
            path = here / name
            yield str(path), status
            if stat.S_ISDIR(status.st_mode):
                pending.append(path)


def is_regular(path: Path) -> bool:
    """Whether there is a file, and no link to one."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def is_old(status: os.stat_result) -> bool:
    """Whether nobody has touched it for so long that nobody can be at it."""
    return time.time() - status.st_mtime > _STALE_AFTER


def what(status: os.stat_result) -> str:
    """What stands there, in words."""
    names = {
        stat.S_IFLNK: "a link", stat.S_IFIFO: "a FIFO", stat.S_IFDIR: "a folder",
        stat.S_IFSOCK: "a socket", stat.S_IFREG: "a file",
    }  # fmt: skip
    return names.get(stat.S_IFMT(status.st_mode), "a device")


def _check_tmp(root: Path, findings: Findings) -> None:
    """Objects that were being written: by a process that is gone, or for more than a day."""
    for name, status in entries(root / "objects" / "tmp"):
        if is_old(status) or not _is_running(name.partition("-")[0]):
            findings.add("leftover", f"objects/tmp/{name}", f"{status.st_size} bytes")


def _check_waits(root: Path, findings: Findings) -> None:
    for name, status in entries(root / "waits"):
        if not stat.S_ISREG(status.st_mode):
            findings.add("not-a-file", f"waits/{name}", what(status), repair=("move",))
        elif is_old(status):
            findings.add("leftover", f"waits/{name}")


def _check_quarantine(root: Path, findings: Findings) -> None:
    kept = [name for name, _ in entries(root / QUARANTINE) if not name.endswith(NOTED)]
    if kept:
        findings.add("quarantined", QUARANTINE, f"{len(kept)} files, which may be deleted")


def _is_running(pid: str) -> bool:
    """Whether a process of that number, in hexadecimal, is there; on another machine it may be."""
    try:
        os.kill(int(pid, 16), 0)
    except (ValueError, ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
