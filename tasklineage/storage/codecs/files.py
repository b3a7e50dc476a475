"""Files and folders: a small value that says the place and names the object with the content.

    File, Dir       meta: [path, store, hash, mode, size, object id or nil], no buffers
    `file` object   one buffer: the bytes of a file
    `folder` object one buffer: a packed array of the entries of a folder, sorted by name, each
                    [name, kind, mode, size, hash, link, object id or nil]; its children are the
                    objects of the files

So equal content is stored once, whatever the names, and a value says its own place.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import msgpack

from tasklineage.key.files import Dir, File, kept_pin, restored
from tasklineage.key.folders import FILE, FOLDER, LINK, Entry, leads_inside
from tasklineage.storage.codecs.base import Codec, Encoded
from tasklineage.storage.object_layout import unpacked

FILE_CONTENT, FOLDER_CONTENT = "file content", "folder content"
"""What an object with the content of one or the other says as its codec."""


class FileCodec(Codec):
    """`tl.File`."""

    name = "file"
    is_safe = True
    kind: type[File | Dir] = File

    def handles(self, value: Any) -> bool:
        return type(value) is self.kind

    def encode(self, value: Any) -> Encoded:
        pin = kept_pin(value)
        meta = [value.place, value.store, *pin[:4]]
        return Encoded(meta, [], () if pin.oid is None else (pin.oid,), pin.size)

    def decode(self, meta: Any, buffers: list[memoryview]) -> File | Dir:
        path, store, content, mode, size, oid = meta
        if not (
            (type(path), type(store), type(content), type(mode), type(size))
            == (str, bool, bytes, int, int)
        ):
            raise ValueError("no file")
        if not os.path.isabs(path) or "\0" in path or len(content) != 16:
            raise ValueError("no file")
        return restored(self.kind is Dir, path, store, content, mode, size, oid)


class DirCodec(FileCodec):
    """`tl.Dir`."""

    name = "dir"
    kind = Dir


def pack_entries(entries: Iterable[Entry]) -> bytes:
    """The listing of a folder, as its object holds it."""
    packed: bytes = msgpack.packb(
        [list(entry) for entry in entries], unicode_errors="surrogatepass"
    )
    return packed


def unpack_entries(packed: memoryview) -> tuple[Entry, ...]:
    """The listing of a folder.

    Raises
    ------
    ValueError
        It is none, or something in it would not stay in the folder.
    """
    try:
        rows = unpacked(packed)
        entries = tuple(Entry(*row) for row in rows)
    except (TypeError, msgpack.UnpackException) as error:
        raise ValueError("no listing of a folder") from error
    folders, names = {""}, set[str]()
    for entry in entries:
        _check(entry, folders, names)
        names.add(entry.name)
        if entry.kind == FOLDER:
            folders.add(entry.name)
    return entries


def _check(entry: Entry, folders: set[str], names: set[str]) -> None:
    name = entry.name
    if type(name) is not str or "\0" in name or name in names:
        raise ValueError(f"no name in a folder: {name!r}")
    parent, _, last = name.rpartition("/")
    if last in ("", ".", "..") or parent not in folders or name.startswith("/"):
        raise ValueError(f"{name!r} does not stay in the folder")
    if entry.kind == LINK:
        if type(entry.link) is not str or "\0" in entry.link or not _stays(name, entry.link):
            raise ValueError(f"the link {name!r} does not stay in the folder")
    elif entry.kind == FILE:
        if type(entry.hash) is not bytes or type(entry.size) is not int:
            raise ValueError(f"{name!r} has no content")
    elif entry.kind != FOLDER:
        raise ValueError(f"{name!r} is a {entry.kind!r}")


def _stays(name: str, link: str) -> bool:
    return bool(link) and leads_inside(name, link)
