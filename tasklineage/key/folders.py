"""What a folder holds: its entries, sorted, each with the hash of its content.

Hidden files count, and so do empty folders; permissions and times do not. A symbolic link that
stays inside of the folder counts by where it leads; any other is followed, and what it leads to
counts as if it stood there. A tasklineage store below the folder is left out: it changes with each
call.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from marshal import dumps
from typing import NamedTuple

from xxhash import xxh3_128_digest

from tasklineage.key.file_contents import (
    StatKey,
    content_of,
    kind_of,
    problem,
    status_of,
    unreadable,
)
from tasklineage.key.guards import Unseen

FILE, FOLDER, LINK = "file", "folder", "link"
_STORE = b"tasklineage store\n"


class Entry(NamedTuple):
    """Something in a folder."""

    name: str
    """Its path relative to the folder, with `/`."""
    kind: str
    """`file`, `folder` or `link`."""
    mode: int = 0
    size: int = 0
    hash: bytes = b""
    """xxh3-128 of a file's bytes."""
    link: str = ""
    """Where a link leads."""
    oid: bytes | None = None
    """The object that holds a file's content, where it is stored."""


class Found(NamedTuple):
    """An entry, with what is needed to read the file again."""

    entry: Entry
    path: str
    key: StatKey | None


def entries_of(path: str) -> list[Found]:
    """Everything in the folder at `path`, sorted by name.

    Raises
    ------
    MissingFile
        There is nothing at `path`.
    UnreadableFile
        It is no folder; something inside cannot be read, is no file, folder or link, changes while
        it is read, or is a link to a folder around it.
    """
    status = status_of(path)
    if not stat.S_ISDIR(status.st_mode):
        hint = ": tl.File takes files" if stat.S_ISREG(status.st_mode) else ""
        raise problem(path, f"{path} is {kind_of(status)}, and a folder is expected{hint}")
    found = list(_walk(path, "", "", ((status.st_dev, status.st_ino),)))
    return sorted(found, key=lambda one: os.fsencode(one.entry.name))


def hash_of(entries: Iterable[Entry]) -> bytes:
    """The hash of a folder's content, from its sorted entries."""
    content = [
        (os.fsencode(e.name), e.kind, e.hash or os.fsencode(e.link)) for e in entries
    ]  # fmt: skip
    return xxh3_128_digest(dumps(content, 2))


def leads_inside(name: str, link: str) -> bool:
    """Whether a link of that name, followed by its text alone, stays inside of the folder."""
    if os.path.isabs(link):
        return False
    depth = name.count("/")
    for part in link.split("/"):
        if part == "..":
            depth -= 1
        elif part not in ("", "."):
            depth += 1
        if depth < 0:
            return False
    return True


def _walk(
    path: str, prefix: str, root: str, around: tuple[tuple[int, int], ...]
) -> Iterator[Found]:
    """What is below `path`. `root` is the prefix of the folder in which links may stay: the
    outermost one, or one that was reached by a link itself.
    """
    try:
        with os.scandir(Unseen(path)) as scanned:
            items = list(scanned)
    except OSError as error:
        raise unreadable(path, error) from error
    for item in items:
        name, place = prefix + item.name, item.path
        if item.is_symlink():
            link = _read_link(place)
            if leads_inside(name[len(root) :], link):
                yield Found(Entry(name, LINK, link=link), place, None)
            else:
                yield from _one(place, name, f"{name}/", around)
        else:
            yield from _one(place, name, root, around)


def _one(path: str, name: str, root: str, around: tuple[tuple[int, int], ...]) -> Iterator[Found]:
    status = status_of(path)
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISREG(status.st_mode):
        content = content_of(path, status)
        entry = Entry(name, FILE, content.mode, content.size, content.hash)
        yield Found(entry, path, content.key)
    elif stat.S_ISDIR(status.st_mode):
        if _is_store(path):
            return
        here = (status.st_dev, status.st_ino)
        if here in around:
            raise problem(path, f"{path} is a symbolic link to a folder around it")
        yield Found(Entry(name, FOLDER, mode), path, None)
        yield from _walk(path, f"{name}/", root, (*around, here))
    else:
        raise problem(path, f"{path} is {kind_of(status)}, which has no content to count")


def _read_link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError as error:
        raise unreadable(path, error) from error


def _is_store(path: str) -> bool:
    try:
        descriptor = os.open(Unseen(os.path.join(path, "format")), os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return os.read(descriptor, len(_STORE)) == _STORE
    except OSError:
        return False
    finally:
        os.close(descriptor)
