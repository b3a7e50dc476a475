"""A disk that loses power: of what was written below a folder, only what was flushed is left.

The functions of `os` are replaced by ones that do their work and keep a second account: of each
file, the content at its last `fsync` and the writes since; of each folder, the entries at its last
`fsync` and the changes since. `lay_out` makes of that account, in a new folder, what a disk may be
left with when the power fails. POSIX promises no more than what was flushed, and no order of the
rest, so there are several:

    nothing     nothing of what was not flushed
    names       all names, and of contents only what was flushed: files are empty, or zeros
    contents    all contents, and only the names that were flushed
    some        any of it, drawn at random; a write may be torn at a multiple of 512 bytes

SQLite does not write through `os`: its files have whatever content they had, if their names are
left.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tasklineage.testing.descriptors import path_of

VARIANTS = ("nothing", "names", "contents", "some")
_WRITES = ("write", "pwrite", "writev", "pwritev")
_NAMES = ("mkdir", "rmdir", "unlink", "remove", "rename", "replace", "link")
_DESCRIPTORS = ("ftruncate", "fsync", "fdatasync", "close")
_SECTOR = 512


class File:
    """A file: its content when it was last flushed, and what was done to it since."""

    def __init__(self, path: str) -> None:
        self.flushed = b""
        self.pending: list[tuple[int, bytes | None]] = []
        """Writes: where and what; None cuts the file off there."""
        self.path = path
        """Where it is now; for the content of files that somebody else writes."""
        self.is_ours = False

    def flush(self) -> None:
        self.flushed = _applied(self.flushed, self.pending)
        self.pending = []


class Folder:
    """A folder: its entries when it was last flushed, and the changes since."""

    def __init__(self) -> None:
        self.flushed: dict[str, File | Folder] = {}
        self.pending: list[tuple[str, File | Folder | None]] = []
        """Names given to something, or taken away."""

    def entries(self) -> dict[str, File | Folder]:
        return _named(self.flushed, self.pending)

    def flush(self) -> None:
        self.flushed = self.entries()
        self.pending = []


class Disk:
    """The second account of what is below `root`.

    Parameters
    ----------
    before
        Called with the name of each operation that changes something, before it is done.
    """

    def __init__(self, root: str, before: Callable[[str], None] | None = None) -> None:
        self.path = os.path.realpath(root)
        self.root = Folder()
        self._before = before
        self._open: dict[int, File | Folder] = {}
        self._real: dict[str, Callable[..., Any]] = {}
        self._lock = threading.RLock()
        """One operation at a time, and none in any thread once the power fails."""

    def install(self) -> None:
        """Replace the functions of `os`. What is there already was flushed."""
        self.root = _found(self.path)
        names = ("open", *_WRITES, *_NAMES, *_DESCRIPTORS)
        self._real = {name: getattr(os, name) for name in names if hasattr(os, name)}
        self._replace("open", self._opened)
        for name in _WRITES:
            self._replace(name, self._writing(name))
        for name in _NAMES:
            self._replace(name, self._naming(name))
        for name in _DESCRIPTORS:
            self._replace(name, self._descriptor(name))

    def uninstall(self) -> None:
        """The functions of `os` are those that they were."""
        for name, function in self._real.items():
            setattr(os, name, function)

    def cut_power(self, into: Path, variant: str, seed: int) -> None:
        """Make the folder `into`: what the disk may be left with if the power fails now."""
        with self._lock:
            lay_out(self.root, into, variant, random.Random(seed))

    def _replace(self, name: str, function: Callable[..., Any]) -> None:
        def alone(*args: Any, **options: Any) -> Any:
            with self._lock:
                return function(*args, **options)

        if name in self._real:
            setattr(os, name, alone)

    def _count(self, name: str) -> None:
        if self._before is not None:
            self._before(name)

    def _find(self, path: Any) -> tuple[Folder, str] | None:
        """The folder and the name that a path leads to; None if it is not below the root."""
        full = os.path.abspath(os.fsdecode(path))
        full = os.path.join(os.path.realpath(os.path.dirname(full)), os.path.basename(full))
        if full == self.path or not full.startswith(self.path + os.sep):
            return None
        folder: Any = self.root
        *above, name = full[len(self.path) + 1 :].split(os.sep)
        for part in above:
            folder = folder.entries().get(part)
            if not isinstance(folder, Folder):
                return None
        return folder, name

    def _node(self, fd: int) -> File | Folder | None:
        """What is open as `fd`, also if it was opened before; None if it is not below the root."""
        if fd not in self._open:
            path = path_of(fd)
            spot = None if path is None else self._find(path)
            node = None if spot is None else spot[0].entries().get(spot[1])
            if node is None:
                return None
            self._open[fd] = node
        return self._open[fd]

    def _opened(self, path: Any, flags: int, mode: int = 0o777, **options: Any) -> int:
        spot = self._find(path)
        if spot is None:
            fd: int = self._real["open"](path, flags, mode, **options)
            if os.path.realpath(os.fsdecode(path)) == self.path:
                self._open[fd] = self.root
            return fd
        folder, name = spot
        known = folder.entries().get(name)
        if known is None and flags & os.O_CREAT:
            self._count("open")
        fd = self._real["open"](path, flags, mode, **options)
        if known is None:
            known = File(os.fsdecode(path))
            folder.pending.append((name, known))
        if flags & os.O_TRUNC and isinstance(known, File):
            known.pending.append((0, None))
        self._open[fd] = known
        return fd

    def _writing(self, name: str) -> Callable[..., int]:
        def write(fd: int, data: Any, *where: int) -> int:
            file = self._node(fd)
            if isinstance(file, File):
                self._count(name)
            at = where[0] if where else os.lseek(fd, 0, os.SEEK_CUR) if file else 0
            count: int = self._real[name](fd, data, *where)
            if isinstance(file, File):
                pieces = data if name.endswith("v") else [data]
                whole = b"".join(bytes(memoryview(piece).cast("B")) for piece in pieces)
                file.pending.append((at, whole[:count]))
                file.is_ours = True
            return count

        return write

    def _naming(self, name: str) -> Callable[..., None]:
        def change(path: Any, *args: Any, **options: Any) -> None:
            spot = self._find(path)
            target = self._find(args[0]) if name in ("rename", "replace", "link") else None
            if spot is not None or target is not None:
                self._count(name)
            self._real[name](path, *args, **options)
            if spot is not None:
                self._renamed(name, spot, target, args)

        return change

    def _renamed(self, name: str, spot: Any, target: Any, args: Any) -> None:
        folder, entry = spot
        if name == "mkdir":
            folder.pending.append((entry, Folder()))
            return
        node = folder.entries().get(entry)
        if target is not None and node is not None:
            target[0].pending.append((target[1], node))
            if isinstance(node, File):
                node.path = os.fsdecode(args[0])
        if name != "link":
            folder.pending.append((entry, None))

    def _descriptor(self, name: str) -> Callable[..., None]:
        def act(fd: int, *args: Any) -> None:
            if name == "close":
                self._real[name](fd)
                self._open.pop(fd, None)
                return
            node = self._node(fd)
            if node is not None:
                self._count(name)
            if node is None or name == "ftruncate":  # a real flush takes its time for nothing
                self._real[name](fd, *args)
            if name == "ftruncate" and isinstance(node, File):
                node.pending.append((args[0], None))
            elif node is not None and name != "ftruncate":
                node.flush()

        return act


def lay_out(node: File | Folder, path: Path, variant: str, rng: random.Random) -> None:
    """Make at `path` what a disk may be left with."""
    if isinstance(node, Folder):
        path.mkdir(mode=0o700)
        keeps = {"nothing": 0.0, "names": 1.0, "contents": 0.0}.get(variant, 0.5)
        kept = [change for change in node.pending if rng.random() < keeps]
        for name, entry in _named(node.flushed, kept).items():
            lay_out(entry, path / name, variant, rng)
    else:
        if not node.is_ours and os.path.isfile(node.path):
            content = Path(node.path).read_bytes()
        else:
            content = _left_of(node, variant, rng)
        path.write_bytes(content)
        path.chmod(0o600)


def _left_of(file: File, variant: str, rng: random.Random) -> bytes:
    if variant == "nothing":
        return file.flushed
    if variant == "contents":
        return _applied(file.flushed, file.pending)
    if variant == "names":
        whole = len(_applied(file.flushed, file.pending))
        return file.flushed if rng.random() < 0.5 else file.flushed.ljust(whole, b"\0")
    kept: list[tuple[int, bytes | None]] = []
    for at, data in file.pending:
        drawn = rng.random()
        if drawn < 0.4:
            kept.append((at, data))
        elif drawn < 0.7 and data is not None:
            cut = rng.randrange(len(data) // _SECTOR + 1) * _SECTOR
            kept.append((at, data[:cut]))
    return _applied(file.flushed, kept)


def _applied(content: bytes, writes: Sequence[tuple[int, bytes | None]]) -> bytes:
    image = bytearray(content)
    for at, data in writes:
        if len(image) < at:
            image.extend(bytes(at - len(image)))
        if data is None:
            del image[at:]
        else:
            image[at : at + len(data)] = data
    return bytes(image)


def _named(
    entries: dict[str, File | Folder], changes: Sequence[tuple[str, File | Folder | None]]
) -> dict[str, File | Folder]:
    found = dict(entries)
    for name, node in changes:
        if node is None:
            found.pop(name, None)
        else:
            found[name] = node
    return found


def _found(path: str) -> Folder:
    """The account of a folder of which everything was flushed."""
    folder = Folder()
    if os.path.isdir(path):
        for entry in os.scandir(path):
            if entry.is_dir(follow_symlinks=False):
                folder.flushed[entry.name] = _found(entry.path)
            else:
                file = folder.flushed[entry.name] = File(entry.path)
                file.flushed = Path(entry.path).read_bytes()
    return folder
