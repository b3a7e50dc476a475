"""A Git repository, read from its files: starting `git` would take longer than most calls.

The files are described in Git's own documentation: gitrepository-layout, gitformat-pack.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_KINDS = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}
_OFFSET_DELTA, _REF_DELTA = 6, 7
_DEEPEST = 100
LARGEST = 8 << 20
"""Objects of more bytes are not read."""


class Unreadable(Exception):
    """Something of the repository is not as this reader knows it; the text says what."""


class Entry(NamedTuple):
    """One file of a tree."""

    mode: int
    oid: bytes


class Repository:
    """The repository whose working tree is `root`. One thread at a time may use it."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        self.folder = folder
        """Of this working tree: `HEAD` and `index` are here."""
        self.common = _common(folder)
        """Of all working trees of the repository: refs and objects are here."""
        self._packs: list[_Pack] | None = None

    def head(self) -> str:
        """The commit that is checked out, 40 hexadecimal digits; empty before the first commit."""
        text = _text(self.folder / "HEAD")
        for _ in range(5):
            if not text.startswith("ref: "):
                return text
            text = self._ref(text.removeprefix("ref: "))
        return ""

    def tree(self, commit: str) -> bytes:
        """The id of a commit's tree."""
        first, _, tree = self.read(bytes.fromhex(commit)).partition(b"\n")[0].partition(b" ")
        if first != b"tree":
            raise Unreadable(f"{commit} is no commit")
        return bytes.fromhex(tree.decode())

    def files(self, tree: bytes, prefix: bytes = b"") -> Iterator[tuple[bytes, Entry]]:
        """Paths and entries of all files below a tree."""
        content, at = self.read(tree), 0
        while at < len(content):
            space = content.index(b" ", at)
            end = content.index(b"\0", space)
            mode, name = int(content[at:space], 8), prefix + content[space + 1 : end]
            at = end + 21
            if mode == 0o40000:
                yield from self.files(content[end + 1 : at], name + b"/")
            else:
                yield name, Entry(mode, content[end + 1 : at])

    def read(self, oid: bytes, depth: int = 0) -> bytes:
        """The content of an object.

        Raises
        ------
        Unreadable
            It is not there, too large, or not what Git writes.
        """
        return self._read(oid, depth)[1]

    def _read(self, oid: bytes, depth: int) -> tuple[int, bytes]:
        name = oid.hex()
        for objects in self._object_folders():
            try:
                packed = (objects / name[:2] / name[2:]).read_bytes()
            except OSError:
                continue
            import zlib  # not needed to know the commit

            head, _, content = zlib.decompressobj().decompress(packed, LARGEST).partition(b"\0")
            kind = next((n for n, text in _KINDS.items() if head.startswith(text.encode())), 0)
            return kind, content
        for pack in self._all_packs():
            offset = pack.find(oid)
            if offset is not None:
                return self._read_packed(pack, offset, depth)
        raise Unreadable(f"no object {name}")

    def _read_packed(self, pack: _Pack, offset: int, depth: int) -> tuple[int, bytes]:
        if depth > _DEEPEST:
            raise Unreadable("a chain of deltas that is too long")
        kind, base, data = pack.at(offset)
        if kind == _OFFSET_DELTA and type(base) is int:
            kind, whole = self._read_packed(pack, base, depth + 1)
        elif kind == _REF_DELTA and type(base) is bytes:
            kind, whole = self._read(base, depth + 1)
        else:
            return kind, data
        return kind, _patched(whole, data)

    def _ref(self, name: str) -> str:
        for folder in (self.folder, self.common):
            text = _text(folder / name)
            if text:
                return text
        for line in _text(self.common / "packed-refs").splitlines():
            oid, _, other = line.partition(" ")
            if other == name:
                return oid
        return ""

    def _object_folders(self) -> list[Path]:
        own = self.common / "objects"
        others = _text(own / "info" / "alternates").splitlines()
        return [own, *(own / line for line in others)]

    def _all_packs(self) -> list[_Pack]:
        if self._packs is None:
            folders = self._object_folders()
            found = [index for folder in folders for index in (folder / "pack").glob("*.idx")]
            self._packs = [_Pack(index) for index in found]
        return self._packs


def find_repository(start: Path) -> Repository | None:
    """The repository of the nearest folder upward from `start` that has one."""
    for folder in (start, *start.parents):
        git = folder / ".git"
        if (git / "HEAD").is_file():
            return Repository(folder, git)
        text = _text(git)  # of a further working tree, or a submodule: a file
        if text.startswith("gitdir: "):
            return Repository(folder, folder / text.removeprefix("gitdir: "))
    return None


class _Pack:
    """A pack and its index, of version 2."""

    def __init__(self, index: Path) -> None:
        self._index = index.read_bytes()
        self._path = index.with_suffix(".pack")
        if self._index[:8] != b"\377tOc\0\0\0\2":
            raise Unreadable("a pack index of another version than 2")
        self._count = struct.unpack_from(">I", self._index, 8 + 255 * 4)[0]

    def find(self, oid: bytes) -> int | None:
        """Where in the pack an object begins."""
        first = struct.unpack_from(">I", self._index, 8 + (oid[0] - 1) * 4)[0] if oid[0] else 0
        last = struct.unpack_from(">I", self._index, 8 + oid[0] * 4)[0]
        names = 8 + 256 * 4
        while first < last:
            middle = (first + last) // 2
            name = self._index[names + middle * 20 : names + middle * 20 + 20]
            if name == oid:
                return self._offset(names + self._count * 24 + middle * 4)
            first, last = (middle + 1, last) if name < oid else (first, middle)
        return None

    def _offset(self, at: int) -> int:
        offset: int = struct.unpack_from(">I", self._index, at)[0]
        if offset < 1 << 31:
            return offset
        large = 8 + 256 * 4 + self._count * 28 + (offset - (1 << 31)) * 8
        return int(struct.unpack_from(">Q", self._index, large)[0])

    def at(self, offset: int) -> tuple[int, int | bytes | None, bytes]:
        """Kind, base (of a delta) and data of the object that begins there."""
        with open(self._path, "rb") as file:
            file.seek(offset)
            head = file.read(64)
            size, place, shift = head[0] & 15, 1, 4
            kind = head[0] >> 4 & 7
            while head[place - 1] & 128:
                size |= (head[place] & 127) << shift
                place, shift = place + 1, shift + 7
            base: int | bytes | None = None
            if kind == _OFFSET_DELTA:
                distance, place = _distance(head, place)
                base = offset - distance
            elif kind == _REF_DELTA:
                base, place = head[place : place + 20], place + 20
            if size > LARGEST:
                raise Unreadable("an object that is too large")
            file.seek(offset + place)
            return kind, base, _inflated(file.fileno(), offset + place, size)


def _inflated(fd: int, offset: int, size: int) -> bytes:
    import zlib

    inflater = zlib.decompressobj()
    content = b""
    while len(content) < size:
        block = os.pread(fd, 1 << 16, offset)
        if not block:
            raise Unreadable("a pack that is cut off")
        content += inflater.decompress(block)
        offset += len(block)
    return content


def _distance(head: bytes, place: int) -> tuple[int, int]:
    value = head[place] & 127
    while head[place] & 128:
        place += 1
        value = ((value + 1) << 7) | (head[place] & 127)
    return value, place + 1


def _patched(base: bytes, delta: bytes) -> bytes:
    _, at = _length(delta, 0)
    size, at = _length(delta, at)
    pieces: list[bytes] = []
    while at < len(delta):
        op = delta[at]
        at += 1
        if op & 128:
            values = [0] * 7
            for bit in range(7):
                if op & 1 << bit:
                    values[bit] = delta[at]
                    at += 1
            start = int.from_bytes(bytes(values[:4]), "little")
            count = int.from_bytes(bytes(values[4:]), "little") or 0x10000
            pieces.append(base[start : start + count])
        else:
            pieces.append(delta[at : at + op])
            at += op
    whole = b"".join(pieces)
    if len(whole) != size:
        raise Unreadable("a delta that does not fit")
    return whole


def _length(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if not byte & 128:
            return value, at


def _common(folder: Path) -> Path:
    text = _text(folder / "commondir")
    return folder / text if text else folder


def _text(path: Path) -> str:
    """The text of a small file without the white space around it; empty where there is none."""
    try:
        return path.read_text("utf-8", "surrogateescape").strip()
    except OSError:
        return ""
