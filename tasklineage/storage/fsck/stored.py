"""The objects of a store: whether each is what its name says, and whether none is missing.

Of every object the header is read; with `share`, of so many all bytes.
"""

from __future__ import annotations

import os
import random
import stat
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tasklineage.storage.fsck.findings import Finding, Findings
from tasklineage.storage.fsck.layout import entries, what
from tasklineage.storage.object_layout import (
    MAC_AT,
    MAC_SIZE,
    PREAMBLE,
    Header,
    NewerLayout,
    read_front,
)
from tasklineage.storage.objects import StatKey, hashed, id_of
from tasklineage.storage.regular import open_regular
from tasklineage.storage.signing import Signer

_FRONT = 4096
_BLOCK = 1 << 20
_HEX = frozenset("0123456789abcdef")
_LONGEST_HEADER = 64 << 20
MOST_HASHED = 64 << 20
"""Bytes of an object that nobody needs which are hashed to find out which one it is."""


class Seen(NamedTuple):
    """An object that is there."""

    size: int
    codec: str


class Stored:
    """Reads the objects of the store at `root`."""

    def __init__(
        self,
        root: Path,
        findings: Findings,
        *,
        share: float = 0.0,
        signer: Signer | None = None,
        vouched: Mapping[bytes, StatKey] | None = None,
        progress: Callable[[int, int], object] = lambda done, total: None,
    ) -> None:
        self.seen: dict[bytes, Seen] = {}
        self.bad: set[bytes] = set()
        """Objects that are there and are not what they should be."""
        self._children: dict[bytes, tuple[bytes, ...]] = {}
        self._root = root
        self._findings = findings
        self._share = share
        self._signer = signer
        self._vouched = vouched or {}
        self._progress = progress
        self._random = random.Random(os.urandom(8))
        self._hashes: dict[str, bytes] = {}
        """Files that are not what their names say, and what they are."""
        self._strays: list[str] = []
        """Files among the objects whose names are no ids."""

    def read(self) -> None:
        """Look at every object."""
        paths = list(self._paths())
        for done, (oid, path) in enumerate(paths):
            if done % 256 == 0:
                self._progress(done, len(paths))
            self._look(oid, path)
        self._findings.counts["objects"] += len(paths)

    def lacks(self, needs: Iterable[bytes]) -> bool:
        """Whether any of these, or of the objects that they need, is not there."""
        every = needed_order(dict.fromkeys(needs), self._children)
        return any(oid not in self.seen and not self._is_there(oid) for oid in every)

    def check(self, needs: Mapping[bytes, tuple[tuple[str, int], ...]]) -> None:
        """Find objects that are needed and not there, or not what records say."""
        above: dict[bytes, list[bytes]] = {}
        needed = dict.fromkeys(needs)
        for oid in needed_order(needed, self._children):
            for child in self._children.get(oid, ()):
                above.setdefault(child, []).append(oid)
                needed.setdefault(child)
        for oid in needed:
            if oid not in self.seen and not self._is_there(oid):
                self._missing(oid, is_needed=oid in needs)
        for oid, said in needs.items():
            for codec, nbytes in said:
                self._compare(oid, codec, nbytes)
        self._name_users(above)
        self._check_circles()
        self._check_unneeded(needed.keys())

    def _paths(self) -> Iterator[tuple[bytes, str]]:
        """The id and the path of each object."""
        for folder, status in entries(self._root / "objects"):
            if folder == "tmp":
                continue
            if not stat.S_ISDIR(status.st_mode):
                kind = "not-a-file" if _is_hex(folder, 2) else "foreign"
                repair = ("move",) if kind == "not-a-file" else ()
                self._findings.add(kind, f"objects/{folder}", what(status), repair=repair)
            elif not _is_hex(folder, 2):
                self._findings.add("foreign", f"objects/{folder}")
            else:
                yield from self._in_folder(folder)

    def _in_folder(self, folder: str) -> Iterator[tuple[bytes, str]]:
        for name, status in entries(self._root / "objects" / folder):
            path = f"objects/{folder}/{name}"
            if not _is_hex(name, 30):
                self._stray(path)
            elif not stat.S_ISREG(status.st_mode):
                self._findings.add(
                    "not-a-file", path, what(status), repair=("move",),
                    subjects=(bytes.fromhex(folder + name),),
                )  # fmt: skip
            else:
                yield bytes.fromhex(folder + name), path

    def _stray(self, path: str) -> None:
        self._findings.add("foreign", path)
        self._strays.append(path)

    def _look(self, oid: bytes, path: str) -> None:
        try:
            fd = open_regular(self._root / path)
        except FileNotFoundError:
            return
        except OSError as error:
            self._bad("unreadable", oid, path, error.strerror or "")
            return
        try:
            self._read(fd, oid, path)
        except OSError as error:
            self._bad("unreadable", oid, path, error.strerror or "")
        finally:
            os.close(fd)

    def _read(self, fd: int, oid: bytes, path: str) -> None:
        status = os.fstat(fd)
        self._findings.counts["bytes"] += status.st_size
        self.seen[oid] = Seen(status.st_size, "")
        is_read = self._random.random() < self._share
        if is_read and not self._is_intact(fd, oid, path, status):
            return
        try:
            header = front(fd, status.st_size)
        except NewerLayout as error:
            self._findings.add("object-newer", path, str(error), subjects=(oid,))
        except (ValueError, TypeError, struct.error) as error:
            self._bad("object-malformed", oid, path, str(error))
        else:
            self.seen[oid] = Seen(status.st_size, header.codec)
            if self._signer is not None and not any(os.pread(fd, MAC_SIZE, MAC_AT)):
                self._bad("object-unsigned", oid, path, "it has no signature")
            if header.children:
                self._children[oid] = tuple(header.children)

    def _is_intact(self, fd: int, oid: bytes, path: str, status: os.stat_result) -> bool:
        self._findings.counts["bytes read"] += status.st_size
        found, is_signed = self._digested(fd, path)
        if found == oid and is_signed:
            return True
        if found == oid:
            self._bad("object-unsigned", oid, path, "")
            return False
        self._bad("object-damaged", oid, path, f"its bytes hash to {found.hex()}")
        self._hashes[path] = found
        key = (status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns)
        if self._vouched.get(oid) == key:
            self._findings.add(
                "verified-wrong", "verified", oid.hex(), subjects=(oid,), repair=("move",)
            )
        return False

    def _digested(self, fd: int, path: str) -> tuple[bytes, bool]:
        """What the file is called by its bytes, and whether it is signed, if it should be."""
        return hashed(blocks_of(fd), self._signer)

    def _bad(self, kind: str, oid: bytes, path: str, text: str) -> Finding:
        self.bad.add(oid)
        return self._findings.add(kind, path, text, subjects=(oid,), repair=("move",))

    def _is_there(self, oid: bytes) -> bool:
        return os.path.lexists(self._root / path_of(oid))

    def _missing(self, oid: bytes, *, is_needed: bool) -> None:
        kind = "object-missing" if is_needed else "object-part-missing"
        self._findings.add(kind, path_of(oid), subjects=(oid,), mark=oid.hex())

    def _compare(self, oid: bytes, codec: str, nbytes: int) -> None:
        seen = self.seen.get(oid)
        if seen is None or oid in self.bad or not seen.codec:
            return
        text = ""
        if codec and codec != seen.codec:
            text = f"a record says {codec}, the object {seen.codec}"
        elif seen.size < nbytes:
            text = f"a record says {nbytes} bytes, the object has {seen.size}"
        if text:
            self._findings.add(
                "object-mismatch", path_of(oid), text, subjects=(oid,), mark=f"mismatch-{oid.hex()}"
            )

    def _name_users(self, above: Mapping[bytes, list[bytes]]) -> None:
        """Whoever needs an object that needs a bad one is concerned as well."""
        for finding in self._findings.all():
            pending = [oid for oid in finding.subjects if oid in above]
            reached = set(finding.subjects)
            while pending:
                for oid in above.get(pending.pop(), ()):
                    if oid not in reached:
                        reached.add(oid)
                        pending.append(oid)
            finding.subjects = tuple(reached)

    def _check_circles(self) -> None:
        """No object can name one that names it, for its name is the hash of what it says."""
        done: set[bytes] = set()
        for start in self._children:
            for oid in circle(start, self._children, done):
                self._findings.add("object-cycle", path_of(oid), subjects=(oid,), repair=("move",))
                self.bad.add(oid)

    def _check_unneeded(self, needed: Iterable[bytes]) -> None:
        """Objects that no record needs; one of them may be one that is missing."""
        unneeded = self.seen.keys() - set(needed)
        missing = {
            bytes.fromhex(finding.mark): finding
            for finding in self._findings.all()
            if finding.kind in ("object-missing", "object-part-missing")
        }
        if missing:
            candidates = [*map(path_of, unneeded), *self._strays]
            self._hashes.update((path, self._hash_of(path)) for path in candidates)
        for path, found in self._hashes.items():
            if found in missing:
                unneeded.discard(oid_of(path))
                self._findings.drop("object-damaged", path)
                missing[found].kind = "object-misplaced"
                missing[found].text = f"it is {path}"
                missing[found].repair = ("return", path)
                missing[found].mark = ""
        if unneeded:
            size = sum(self.seen[oid].size for oid in unneeded)
            self._findings.add(
                "object-unreferenced", "objects", f"{len(unneeded)} objects, {size} bytes"
            )

    def _hash_of(self, path: str) -> bytes:
        """What a file would be called; nothing of one that is too large to find out."""
        try:
            fd = open_regular(self._root / path)
        except OSError:
            return b""
        try:
            return _hashed(fd) if os.fstat(fd).st_size <= MOST_HASHED else b""
        except OSError:
            return b""
        finally:
            os.close(fd)


def front(fd: int, size: int) -> Header:
    """The header of an object of this size, whose buffers fit.

    Raises
    ------
    ValueError, TypeError, struct.error
        It is no object.
    NewerLayout
        It is one of a later version.
    """
    content = os.pread(fd, min(_FRONT, size), 0)
    length = PREAMBLE + int.from_bytes(content[12:16], "little")
    if len(content) < length <= min(size, _LONGEST_HEADER):
        content = os.pread(fd, length, 0)
    return read_front(memoryview(content), size)[0]


def needed_order(
    needed: dict[bytes, None], children: Mapping[bytes, tuple[bytes, ...]]
) -> Iterator[bytes]:
    """Each object that is needed, once; those that are added to `needed` meanwhile too."""
    pending = list(needed)
    seen = set(pending)
    while pending:
        oid = pending.pop()
        yield oid
        for child in children.get(oid, ()):
            if child not in seen:
                seen.add(child)
                pending.append(child)


def circle(
    start: bytes, children: Mapping[bytes, tuple[bytes, ...]], done: set[bytes]
) -> list[bytes]:
    """The objects on a circle that is reached from `start`; none if there is none.

    What is in `done` reaches no circle, or one that was told of.
    """
    path: dict[bytes, Iterator[bytes]] = {start: iter(children.get(start, ()))}
    if start in done:
        return []
    while path:
        here = next(reversed(path))
        for child in path[here]:
            if child in path:
                names = list(path)
                done.update(names)
                return names[names.index(child) :]
            if child not in done and child in children:
                path[child] = iter(children[child])
                break
        else:
            done.add(here)
            del path[here]
    return []


def _hashed(fd: int) -> bytes:
    return id_of(blocks_of(fd))


def blocks_of(fd: int) -> Iterator[memoryview]:
    """The bytes of a file, each block good until the next one is asked for."""
    os.lseek(fd, 0, os.SEEK_SET)
    block = memoryview(bytearray(_BLOCK))
    while count := os.readv(fd, [block]):
        yield block[:count]


def path_of(oid: bytes) -> str:
    """Where an object is."""
    name = oid.hex()
    return f"objects/{name[:2]}/{name[2:]}"


def _is_hex(name: str, length: int) -> bool:
    return len(name) == length and _HEX.issuperset(name)


def oid_of(path: str) -> bytes:
    """The object of that path; nothing where the name is no id."""
    name = "".join(path.rsplit("/", 2)[1:])
    return bytes.fromhex(name) if _is_hex(name, 32) else b""
