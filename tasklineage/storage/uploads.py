"""Which objects of a mirror are in its remote store, and the way there.

    <mirror>/put: 24 bytes a line: the id of an object; xxh3-64 of it, with seed 1: it is there;
    with seed 0: it is not, or no longer

It is a log that all processes of the machine append to, each line with one `write`. A lost line
means that an object is put once more.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from xxhash import xxh3_64_digest

from tasklineage.errors import CorruptObject, MissingObject
from tasklineage.storage import forks
from tasklineage.storage.backend import Backend
from tasklineage.storage.modes import create_file
from tasklineage.storage.object_layout import StoredObject

FILE = "put"
LARGE = 8 << 20
"""Bytes from which on an object travels by itself, in parts."""
_ID, _LINE = 16, 24
_THERE, _GONE = 1, 0
_BATCH_BYTES, _BATCH = 64 << 20, 512
_HEAD_FROM = 1 << 20
"""Bytes from which on it is cheaper to ask whether an object is there than to put it again."""

_log = logging.getLogger("tasklineage.storage")


def key_of(oid: bytes) -> str:
    """Where an object is in a remote store: as in a local one."""
    name = oid.hex()
    return f"objects/{name[:2]}/{name[2:]}"


class Uploads:
    """Puts objects of the mirror into the remote store, once. Any thread may call.

    Parameters
    ----------
    path, open_local
        Where the mirror has an object, or would have it; and the object, verified.
    """

    def __init__(
        self,
        mirror: Path,
        backend: Backend,
        path: Callable[[bytes], str],
        open_local: Callable[[bytes], StoredObject],
    ) -> None:
        self.mutex = threading.Lock()
        self._file = mirror / FILE
        self._backend = backend
        self._path = path
        self._open = open_local
        self._there: set[bytes] = set()
        self._suspect: set[bytes] = set()
        self._read = 0
        forks.register(self)

    def after_fork(self) -> None:
        """In a forked child: what was read stays good."""

    def has(self, oid: bytes) -> bool:
        """Whether the object was put there, or came from there, as far as this machine knows."""
        if oid not in self._there:
            self.refresh()
        return oid in self._there

    def note(self, oids: Iterable[bytes]) -> None:
        """These objects are there."""
        self._append([oid for oid in oids if oid not in self._there], _THERE)

    def forget(self, oids: Iterable[bytes]) -> None:
        """These are not there, or not what they were: they are put again when they are needed."""
        self.refresh()
        self._append([oid for oid in oids if oid in self._there], _GONE)

    def distrust(self, oid: bytes) -> None:
        """What is there is not to be used: it is put again whatever its size."""
        self.forget([oid])
        self._suspect.add(oid)

    def ensure(self, oids: Iterable[bytes]) -> None:
        """These objects, and all that they refer to, are in the remote store.

        One that is not here either cannot be put: that is logged, for whoever reads it stores it
        anew.

        Raises
        ------
        StoreError
            Not all could be put. Those that could are not put again.
        """
        self.refresh()
        leaves, inner = self._missing(oids)
        self._put(leaves)
        for oid in inner:  # one after the other: none is there before what it refers to
            self._put([oid])

    def _missing(self, oids: Iterable[bytes]) -> tuple[list[bytes], list[bytes]]:
        """Those that are not there yet: without objects below them, and with, the lowest first."""
        leaves: dict[bytes, None] = {}
        inner: dict[bytes, None] = {}
        pending = list(oids)
        while pending:
            oid = pending.pop()
            if oid in leaves or self.has(oid):
                continue
            try:
                children = self._open(oid).header.children
            except (MissingObject, CorruptObject) as error:
                if self._backend.size(key_of(oid)) is None:
                    _log.warning("an object cannot be put into %s: %s", self._backend.url, error)
                else:
                    self.note([oid])
                continue
            if children:
                inner.pop(oid, None)
                inner[oid] = None
                pending.extend(children)
            else:
                leaves[oid] = None
        return list(leaves), list(reversed(inner))

    def _put(self, oids: Iterable[bytes]) -> None:
        batch: dict[str, bytes] = {}
        done: dict[str, bytes] = {}
        size = 0
        for oid in oids:
            path, key = self._path(oid), key_of(oid)
            length = os.stat(path).st_size
            is_asked = length >= _HEAD_FROM and oid not in self._suspect
            if is_asked and self._backend.size(key) == length:
                self.note([oid])
            elif length >= LARGE:
                self._backend.upload(key, path)
                self.note([oid])
            else:
                batch[key], done[key] = Path(path).read_bytes(), oid
                size += length
            if size >= _BATCH_BYTES or len(batch) >= _BATCH:
                self._put_batch(batch, done)
                batch, done, size = {}, {}, 0
        self._put_batch(batch, done)

    def _put_batch(self, batch: dict[str, bytes], done: dict[str, bytes]) -> None:
        failed = self._backend.try_write_many(batch) if batch else {}
        self.note([oid for key, oid in done.items() if key not in failed])
        for error in failed.values():
            raise error

    def refresh(self) -> None:
        """What other processes have noted is known."""
        with contextlib.suppress(FileNotFoundError), self.mutex:
            if os.stat(self._file).st_size < self._read + _LINE:
                return
            with open(self._file, "rb") as file:
                file.seek(self._read)
                data = file.read()
            for start in range(0, len(data) - _LINE + 1, _LINE):
                oid, checksum = data[start : start + _ID], data[start + _ID : start + _LINE]
                if checksum == xxh3_64_digest(oid, _THERE):
                    self._there.add(oid)
                elif checksum == xxh3_64_digest(oid, _GONE):
                    self._there.discard(oid)
            self._read += len(data) // _LINE * _LINE

    def _append(self, oids: Iterable[bytes], state: int) -> None:
        lines = b"".join(oid + xxh3_64_digest(oid, state) for oid in oids)
        if not lines:
            return
        with contextlib.suppress(FileExistsError):
            os.close(create_file(self._file))
        fd = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            rest = os.fstat(fd).st_size % _LINE
            os.write(fd, b"\0" * ((_LINE - rest) % _LINE) + lines)
        finally:
            os.close(fd)
        self.refresh()
