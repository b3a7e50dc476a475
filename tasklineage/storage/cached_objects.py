"""The objects of a remote store, as its mirror has them: some here, all of them there.

What is written stands here first and is put there by the `spool`. What is read and is not here is
fetched, verified and kept, up to a number of bytes; beyond that the files go that were not used for
the longest time, as far as they are there for certain.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tasklineage.errors import CorruptObject, MissingObject, StoreError, StoreUnavailable
from tasklineage.storage import forks
from tasklineage.storage.backend import Backend
from tasklineage.storage.object_layout import StoredObject, children_in, front_length
from tasklineage.storage.objects import FRONT, NO_OBJECT, Objects, id_of
from tasklineage.storage.uploads import Uploads, key_of

_SMALL = 1 << 20
_BATCH_BYTES, _BATCH = 64 << 20, 256
_ROOM = 0.9
"""What is left of the cache when it was cleared."""
_YOUNG = 60.0
"""Seconds for which an object that was used stays, whatever the limit."""
_BLOCK = 4 << 20

_log = logging.getLogger("tasklineage.storage")


class CachedObjects(Objects):
    """As `Objects`, of a mirror. Any thread may call, and a forked child.

    Parameters
    ----------
    backend
        Of the remote store.
    limit
        Bytes that fetched objects may take here.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        backend: Backend,
        *,
        limit: int,
        durability: str = "process",
        read_only: bool = False,
        **hooks: Any,
    ) -> None:
        super().__init__(root, durability=durability, read_only=read_only, **hooks)
        self.mutex = threading.Lock()
        self.uploads = Uploads(Path(self.root), backend, self.path, super().open)
        self._backend = backend
        self._limit = limit
        self._there: dict[bytes, int] = {}
        """The sizes of objects that the remote store was seen to have."""
        self._children: dict[bytes, tuple[bytes, ...]] = {}
        """What objects refer to that are not here."""
        self._fetching: dict[bytes, threading.Lock] = {}
        self._fetched: int | None = None
        """Bytes that the cache has, at least; None: nobody has looked."""
        forks.register(self)

    def after_fork(self) -> None:
        """In a forked child: nobody is fetching anything."""
        self._fetching = {}

    def has_here(self, oid: bytes) -> bool:
        """Whether it needs no fetching."""
        return super().has(oid)

    def open_here(self, oid: bytes) -> StoredObject:
        """As `open`; nothing is fetched."""
        return super().open(oid)

    def size(self, oid: bytes) -> int | None:
        found = super().size(oid)
        if found is None:
            found = self._there.get(oid)
        if found is None:
            try:
                found = self._backend.size(key_of(oid))
            except StoreError as error:
                _log.warning("%s", error)
            if found is not None:
                self._there[oid] = found
        return found

    def has(self, oid: bytes) -> bool:
        return self.size(oid) is not None

    def open(self, oid: bytes) -> StoredObject:
        try:
            return super().open(oid)
        except MissingObject:
            pass
        except CorruptObject as error:
            _log.warning("%s; it is fetched again", error)
            with contextlib.suppress(FileNotFoundError):  # one that is not signed is still there
                os.unlink(self.path(oid))
        self._fetch(oid)
        try:
            return super().open(oid)
        except CorruptObject:
            self.uploads.distrust(oid)
            raise

    def children(self, oid: bytes) -> tuple[bytes, ...]:
        if super().has(oid):
            return super().children(oid)
        self.look_ahead((oid,))
        return self._children.get(oid, ())

    def look_ahead(self, oids: Iterable[bytes]) -> None:
        here = super().has
        wanted = [oid for oid in oids if oid not in self._children and not here(oid)]
        for start in range(0, len(wanted), _BATCH):
            self._read_children(wanted[start : start + _BATCH])

    def refresh(self) -> None:
        self._there.clear()
        self.uploads.refresh()

    def blocks(self, oid: bytes) -> Iterator[memoryview]:
        if not super().has(oid):
            self._fetch(oid)
        yield from super().blocks(oid)

    def prefetch(self, wanted: Iterable[tuple[bytes, int]]) -> None:
        """Fetch those objects of the given sizes that are not here, many at once.

        Large ones come when they are opened. What cannot be fetched now is left out.
        """
        batch: list[bytes] = []
        total = 0
        for oid, size in wanted:
            if size > _SMALL or super().has(oid):
                continue
            batch.append(oid)
            total += size
            if total >= _BATCH_BYTES or len(batch) >= _BATCH:
                self._fetch_batch(batch)
                batch, total = [], 0
        self._fetch_batch(batch)

    def trim(self) -> None:
        """Let go of the objects that were used last long ago, if all take more than the limit."""
        if self._fetched is not None and self._fetched <= self._limit:
            return
        files = list(_files(Path(self.root, "objects")))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._limit * _ROOM or (total <= self._limit and not self._fetched):
                break
            oid = bytes.fromhex("".join(path.rsplit("/", 2)[1:]))
            if self.uploads.has(oid):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                total -= size
        self._fetched = total

    def _read_children(self, oids: Sequence[bytes], length: int = FRONT) -> None:
        """What these objects refer to is known, from the first bytes of each."""
        found, failed = self._backend.try_read_many([key_of(oid) for oid in oids], length)
        for error in failed.values():
            raise error
        for oid in oids:
            front = found.get(key_of(oid))
            if front is None:  # it is not there now
                continue
            try:
                whole = front_length(front)
                if len(front) == length < whole:
                    self._read_children([oid], whole)
                else:
                    self._children[oid] = children_in(memoryview(front)[:whole])
            except NO_OBJECT:
                self._children[oid] = ()

    def _fetch_batch(self, oids: list[bytes]) -> None:
        if not oids:
            return
        found, failed = self._backend.try_read_many([key_of(oid) for oid in oids])
        for error in list(failed.values())[:1]:
            _log.warning("%s", error)
        for oid in oids:
            data = found.get(key_of(oid))
            if data is not None:
                with contextlib.suppress(CorruptObject):
                    self._keep(oid, data)

    def _fetch(self, oid: bytes) -> None:
        """The object is here; one thread fetches it, however many ask.

        Raises
        ------
        MissingObject
            It is not there, or cannot be had now.
        CorruptObject
            What is there is not what was put; it has been moved out of the way.
        """
        with self.mutex:
            lock = self._fetching.setdefault(oid, threading.Lock())
        with lock:
            try:
                if not super().has(oid):
                    self._fetch_now(oid)
            finally:
                with self.mutex:
                    self._fetching.pop(oid, None)

    def _fetch_now(self, oid: bytes) -> None:
        key = key_of(oid)
        try:
            self._download(oid, key)
        except MissingObject as error:
            self._there.pop(oid, None)
            if self.uploads.has(oid):
                self.uploads.forget([oid])
            raise MissingObject(
                f"{self._backend.url} has no object {oid.hex()}: it is stored anew when the call "
                "that gave it is made again",
                oid=oid,
            ) from error
        except StoreUnavailable as error:
            raise MissingObject(f"object {oid.hex()} cannot be had: {error}", oid=oid) from error

    def _keep(self, oid: bytes, data: bytes) -> None:
        if id_of([memoryview(data)]) != oid:
            raise self._damaged(oid)
        self._place(oid, lambda path: Path(path).write_bytes(data))

    def _download(self, oid: bytes, key: str) -> None:
        def bring(path: str) -> None:
            self._backend.download(key, path)
            if id_of(_blocks(path)) != oid:
                raise self._damaged(oid)

        self._place(oid, bring)

    def _place(self, oid: bytes, write: Callable[[str], object]) -> None:
        """What `write` writes to a new file gets the object's name."""
        temporary, descriptor = self._create()
        os.close(descriptor)
        try:
            write(temporary)
            size = os.stat(temporary).st_size
            self._publish(temporary, oid, size)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        self._note_kept(oid, size)

    def _note_kept(self, oid: bytes, size: int) -> None:
        self._there[oid] = size
        self.uploads.note([oid])
        if self._fetched is not None:
            self._fetched += size
            self.trim()

    def _damaged(self, oid: bytes) -> CorruptObject:
        """The error to raise; the key is out of the way, so that it can be put again."""
        key = key_of(oid)
        place = ""
        if not self.read_only:
            place = f"quarantine/{oid.hex()}-{os.urandom(4).hex()}"
            try:
                self._backend.write(place, self._backend.read(key))
                self._backend.delete([key])
            except (StoreError, MissingObject):
                place = ""
        self.uploads.forget([oid])
        self._there.pop(oid, None)
        where = f"; it is now {place}" if place else ""
        return CorruptObject(
            f"{self._backend.url}/{key} is not what was put{where}: it is stored anew when the "
            "call that gave it is made again",
            oid=oid,
            path=place or key,
        )


def _blocks(path: str) -> Iterator[memoryview]:
    """The bytes of a file, each block good until the next one is asked for."""
    with open(path, "rb") as file:
        block = memoryview(bytearray(_BLOCK))
        while count := file.readinto(block):
            yield block[:count]


def _files(folder: Path) -> Iterable[tuple[float, int, str]]:
    """When each object was used last, its size and its path."""
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if len(name) == 2:
            for entry in os.scandir(folder / name):
                with contextlib.suppress(FileNotFoundError, ValueError):
                    status = entry.stat()
                    bytes.fromhex(name + entry.name)
                    used = max(status.st_atime, status.st_mtime)
                    yield used, status.st_size, entry.path
