"""The format file of a local store: what tells a folder that is a store from one that is not.

    tasklineage store
    version 1
    hash xxh3-128
    checksum 27fec87b7e2fa922

The last line is xxh3-64 of the lines before it. The content follows from the version alone, so
that any number of processes may create one store at once: each puts the same file in place.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import xxhash

from tasklineage.errors import StoreError, StoreNotFound
from tasklineage.storage.flushing import flush, flush_paths
from tasklineage.storage.modes import create_file
from tasklineage.storage.regular import open_regular

NAME = "tasklineage store"
VERSION = 1
HASH = "xxh3-128"
FILE = "format"
PARTS = ("journal", "objects")
"""What only a store has: a folder with one of these and no format file has lost it."""
_FOLDER_MODE, _SHARED_MODE = 0o700, 0o2770
_READABLE = 4_096


def content(version: int = VERSION, algorithm: str = HASH, id: str = "") -> bytes:
    """What the format file of a store of that version holds; that of a remote one has an id."""
    last = f"id {id}\n" if id else ""
    lines = f"{NAME}\nversion {version}\nhash {algorithm}\n{last}".encode()
    return lines + f"checksum {xxhash.xxh3_64_hexdigest(lines)}\n".encode()


def open_folder(
    root: Path,
    *,
    read_only: bool = False,
    create: bool = True,
    durable: bool = False,
    is_shared: bool = False,
) -> bool:
    """Whether the store at `root` can be written; with `create` it is made where there is none.

    Any number of processes may do this at once. With `durable`, that it is there outlives a power
    cut from now on, whoever made it. With `is_shared` it is one in which its group may write.

    Raises
    ------
    StoreNotFound
        There is no store, and it cannot or shall not be made.
    StoreError
        It is a store of a newer version, its format file is missing or damaged, the folder could
        not be made, or it is there and not shared.
    """
    found = read_format(root)
    made: list[Path] = []
    if found is None:
        if read_only or not create:
            raise StoreNotFound(f"there is no store at {root}")
        made = _missing(root.parent)
        _create(root, is_shared=is_shared)
    else:
        check(found, root)
        if is_shared:
            _check_shared(root)
    can_be_written = not read_only and os.access(root, os.W_OK | os.X_OK)
    if durable and can_be_written:
        _flush(root, made)
    return can_be_written


def is_intact(found: bytes) -> bool:
    """Whether these lines are followed by their checksum."""
    body, mark, checksum = found.rpartition(b"checksum ")
    return bool(mark) and checksum == f"{xxhash.xxh3_64_hexdigest(body)}\n".encode()


def check(found: bytes, root: Path | str) -> None:
    """Nothing, if this is the content of a format file that this version can read.

    Raises
    ------
    StoreError
        It is not; the message says what to do.
    """
    if not is_intact(found):
        raise StoreError(f"{root}/{FILE} is damaged. {_remedy(root)}")
    fields: dict[str, str] = {}
    for line in found.decode("ascii", "replace").splitlines()[1:]:
        name, _, value = line.partition(" ")
        fields[name] = value
    version, algorithm = fields.get("version", ""), fields.get("hash", "")
    if version != str(VERSION) or algorithm != HASH:
        raise StoreError(
            f"the store at {root} has format version {version} with {algorithm}, and this "
            f"tasklineage reads version {VERSION} with {HASH}: upgrade tasklineage, or use "
            "another store"
        )


def read_format(root: Path) -> bytes | None:
    """The bytes of the format file; None where there is no store.

    Raises
    ------
    StoreError
        The file is missing though the rest of a store is there, or it cannot be read.
    """
    found = _read(root)
    if found is None and _has_parts(root):
        # Its creator writes the format file before anything else: look again, it may be there now.
        found = _read(root)
        if found is None:
            raise StoreError(f"the store at {root} has lost its format file. {_remedy(root)}")
    return found


def _read(root: Path) -> bytes | None:
    try:
        descriptor = open_regular(root / FILE)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _failed("read the store at", root, error) from error
    try:
        return os.read(descriptor, _READABLE)
    except OSError as error:
        raise _failed("read the format file of the store at", root, error) from error
    finally:
        os.close(descriptor)


def _has_parts(root: Path) -> bool:
    return any(os.path.isdir(root / part) for part in PARTS)


def _missing(folder: Path) -> list[Path]:
    """The folder and those above it, as far as they are not there."""
    found: list[Path] = []
    while not os.path.isdir(folder) and folder != folder.parent:
        found.append(folder)
        folder = folder.parent
    return found


def _flush(root: Path, made: Sequence[Path]) -> None:
    """The format file, and the names that lead to it, outlive a power cut."""
    try:
        flush_paths(root / FILE, root)
        above = [root.parent, *(folder.parent for folder in made)]
        flush_paths(*(folder for folder in above if os.access(folder, os.R_OK)))
    except OSError as error:
        raise _failed("flush the format file of the store at", root, error) from error


def _check_shared(root: Path) -> None:
    mode = os.stat(root).st_mode
    if mode & 0o070 != 0o070:
        raise StoreError(
            f"the store at {root} is there and not shared with its group: its mode is "
            f"{stat.S_IMODE(mode):o}. Share it with `chmod -R g+rwX {root}` and `find {root} -type "
            "d -exec chmod g+s {} +`, or make a new one"
        )


def _create(root: Path, *, is_shared: bool) -> None:
    """Make the folder, its format file, and a .gitignore that keeps it out of a working tree."""
    try:
        _make_folder(root, _SHARED_MODE if is_shared else _FOLDER_MODE)
        put(root / FILE, content())
        flush_paths(root)  # its name before any other: without it the rest would be no store
        if not os.path.exists(root / ".gitignore"):
            put(root / ".gitignore", b"*\n")
    except OSError as error:
        raise _failed("create a store at", root, error) from error


def _make_folder(root: Path, mode: int) -> None:
    """The folder is there; a shared one has its mode when it gets its name, umask or not."""
    os.makedirs(root.parent, exist_ok=True)
    if mode == _FOLDER_MODE:
        with contextlib.suppress(FileExistsError):
            os.mkdir(root, mode)
    elif os.path.isdir(root):
        os.chmod(root, mode)
    else:
        _make_shared(root, mode)
    if not os.path.isdir(root):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def _make_shared(root: Path, mode: int) -> None:
    temporary = root.with_name(f".{root.name}.{os.urandom(8).hex()}")
    os.mkdir(temporary, _FOLDER_MODE)
    try:
        os.chmod(temporary, mode)
        os.rename(temporary, root)
    except OSError:
        os.rmdir(temporary)
        if not os.path.isdir(root):
            raise


def put(path: Path, written: bytes) -> None:
    """Put a small file in place, whole or not at all. Another process may put the same at once."""
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    descriptor = create_file(temporary)
    try:
        try:
            while written:
                written = written[os.write(descriptor, written) :]
            flush(descriptor)  # once in the life of a store: an empty one is refused
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _remedy(root: Path | str) -> str:
    return (
        "Nothing else of the store need be lost: restore this file from a backup, or copy the file "
        f"`{FILE}` of any other store of the same version to {root}/{FILE}; a new store made by "
        f"this tasklineage has version {VERSION}"
    )


def _failed(what: str, root: Path, error: OSError) -> StoreError:
    reason = error.strerror or str(error)
    return StoreError(
        f"cannot {what} {root}: {reason}. Choose another place with `tl.configure(store=...)` or "
        "the environment variable TASKLINEAGE_STORE",
        errno=error.errno,
    )
