"""What garbage is collected on: the folder of a local store, or a remote store and its mirror.

`gc`, `erase` and `usage` say what is done; here is where lists, objects and locks are. A remote
store is collected by its mirror, which has the whole journal; objects that are not here are known
by a listing and their first bytes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from tasklineage.errors import StoreError
from tasklineage.storage.backend import Backend, Folder
from tasklineage.storage.epochs import SWEEPS, Counters
from tasklineage.storage.remote_sweeps import Lease, State
from tasklineage.storage.sweeps import (
    LISTS_KEPT,
    Candidates,
    encode_list,
    exclusive,
    sweep_path,
    wait_until_free,
)
from tasklineage.storage.uploads import key_of

if TYPE_CHECKING:
    from tasklineage.storage.cached_objects import CachedObjects
    from tasklineage.storage.remote import Remote
    from tasklineage.storage.store import Store

Stand: TypeAlias = tuple[int, int] | State
"""What changes when somebody collects or purges."""
_PATIENCE = 10.0
"""Seconds for which somebody else who collects is waited for."""


def ground_of(store: Store) -> Ground:
    """What garbage of that store is collected on."""
    if store.remote is None:
        return Ground(store)
    return RemoteGround(store, store.remote)


class Ground:
    """A local store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.backend: Backend = Folder(store.path)
        """Where lists and pins are."""

    def now(self) -> float:
        """Seconds since the epoch, by the store's clock."""
        return self.backend.now()

    def catch_up(self) -> None:
        """Everything that anybody has recorded can be read here.

        Raises
        ------
        StoreError
            Not everything.
        """

    def publish(self) -> None:
        """Everybody can read what was recorded here.

        Raises
        ------
        StoreError
            Not everything.
        """

    def sizes(self) -> Iterator[tuple[bytes, int]]:
        """Each object that is there, and how many bytes it has."""
        folder = f"{self._store.path}/objects"
        for name in _names(folder):
            if len(name) == 2:
                for rest, size in _sizes(f"{folder}/{name}"):
                    oid = _id(name + rest)
                    if oid is not None:
                        yield oid, size

    def total(self) -> int:
        """The bytes of all files below the store's folder; links are not followed."""
        total, folders = 0, [str(self._store.path)]
        while folders:
            try:
                with os.scandir(folders.pop()) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                        else:
                            total += entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                continue
        return total

    @contextlib.contextmanager
    def alone(self) -> Generator[None]:
        """A block in which nobody else collects garbage, or purges.

        Raises
        ------
        StoreBusy
            Somebody else has been at it for ten seconds.
        StoreError
            There can be no lock, or what the block did failed.
        """
        try:
            with exclusive(self._store.path, _PATIENCE):
                yield
        except OSError as error:
            if isinstance(error, StoreError):
                raise
            raise StoreError(
                f"cannot collect garbage in {self._store.url}: {error.strerror or error}",
                errno=error.errno,
            ) from error

    @contextlib.contextmanager
    def announced(self, wanted: Candidates) -> Generator[None]:
        """A block in which writers are careful about what is on the list. `alone` is held."""
        root = self._store.path
        counters = Counters(root, read_only=False)
        last = counters.now()[SWEEPS]
        number = last + 1 + last % 2  # the next odd one: after a killed sweep the last was odd too
        Folder(root).write(str(sweep_path(root, number).relative_to(root)), encode_list(wanted))
        counters.set(SWEEPS, number)
        try:
            yield
        finally:
            counters.set(SWEEPS, number + 1)
            _remove(sweep_path(root, number - 2 * LISTS_KEPT))

    def stand(self) -> Stand:
        """What changes when somebody collects or purges."""
        return Counters(self._store.path, read_only=True).now()

    def _is_calm(self) -> bool:
        return Counters(self._store.path, read_only=True).now()[SWEEPS] % 2 == 0

    def was_collected_since(self, before: Stand) -> bool:
        """Whether that may be: `stand` was another one. Whoever is at it is waited for."""
        if before == self.stand() and self._is_calm():
            return False
        wait_until_free(self._store.path)
        return True

    def delete(self, oids: Collection[bytes]) -> None:
        """These objects are gone. `alone` is held."""
        for oid in oids:
            _remove(Path(self._store.objects.path(oid)))

    def tidy(self) -> None:
        """What killed processes have left half written is removed. `alone` is held."""
        self._store.objects.remove_stale()
        for name in ("condemned", "sweeps"):
            folder = self._store.path / "gc" / name
            for half in _names(str(folder)):
                if half.startswith("."):
                    _remove(folder / half)


class RemoteGround(Ground):
    """A remote store, by its mirror."""

    def __init__(self, store: Store, remote: Remote) -> None:
        super().__init__(store)
        self._remote = remote
        self._objects: CachedObjects = remote.cached
        self.backend = remote.backend
        self._lease = Lease(remote.backend, remote.pulse, store.path)

    def catch_up(self) -> None:
        self._remote.catch_up()

    def publish(self) -> None:
        self._remote.publish()

    def sizes(self) -> Iterator[tuple[bytes, int]]:
        for key, size, _ in self.backend.list("objects"):
            oid = _id("".join(key.split("/")[1:]))
            if oid is not None and key == key_of(oid):
                yield oid, size

    def total(self) -> int:
        """The bytes of all keys of the store."""
        return sum(entry.size for entry in self.backend.list())

    @contextlib.contextmanager
    def alone(self) -> Generator[None]:
        with super().alone(), self._lease.held(_PATIENCE):
            yield

    @contextlib.contextmanager
    def announced(self, wanted: Candidates) -> Generator[None]:
        with super().announced(wanted), self._remote.lists.announced(wanted):
            self.catch_up()
            yield

    def stand(self) -> Stand:
        return self._remote.lists.look()

    def was_collected_since(self, before: Stand) -> bool:
        now = self._remote.lists.look()
        if before == now and now.is_over:
            return False
        self._remote.lists.wait()
        self._objects.refresh()
        return True

    def delete(self, oids: Collection[bytes]) -> None:
        """What this machine has of them goes too."""
        self._objects.uploads.forget(oids)
        names = {oid.hex() for oid in oids}
        quarantined = [
            entry.key
            for entry in self.backend.list("quarantine")
            if entry.key.rpartition("/")[2].partition("-")[0] in names
        ]
        self._lease.delete([*map(key_of, oids), *quarantined])
        super().delete(oids)
        self._objects.refresh()


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _id(name: str) -> bytes | None:
    """The id that the name of an object is; None if it is none."""
    try:
        oid = bytes.fromhex(name)
    except ValueError:
        return None
    return oid if len(oid) == 16 else None


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _sizes(folder: str) -> Iterator[tuple[str, int]]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    yield entry.name, entry.stat(follow_symlinks=False).st_size
    except (FileNotFoundError, NotADirectoryError):
        return
