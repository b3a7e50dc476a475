"""A store that fails as planned, to see what a program makes of that."""

from __future__ import annotations

import os
from pathlib import Path

from tasklineage.errors import ConfigError
from tasklineage.storage.backend import Backend, Folder, open_backend
from tasklineage.storage.patience import wrappers
from tasklineage.storage.store import Store
from tasklineage.testing.disk import VARIANTS, Disk
from tasklineage.testing.faults import Fault, Happened, Plan
from tasklineage.testing.faulty_backend import FaultyBackend
from tasklineage.testing.local_faults import Faulty


class FaultStore(os.PathLike[str]):
    """Some of the operations on a store go wrong while the block lasts, as the faults say.

        with FaultStore("results", Fault.error("ENOSPC", on="write", after=50)) as faults:
            with pytest.raises(tl.StoreError):
                with tl.run(store=faults):
                    main()
        with tl.run(store="results"):
            main()                       # goes on where it stopped

    It is a path, or URL: whatever takes a store takes it. What else uses the same store in this
    process meets the faults too, also if it was opened before; other processes do not, but for
    children that are forked.

    Parameters
    ----------
    store
        A path, a URL, a `Store` or a `Backend`.
    *faults
        What goes wrong, see `Fault`.
    seed
        What is drawn at random follows from it, and from the order of the operations.
    unsynced
        Remember what of a local store has been flushed, for `cut_power`.

    Notes
    -----
    Of a local store, every file is an object of faults but the catalog, which is made anew where
    it is damaged; a key is the path inside the store. Of a remote one, the requests are; the copy
    of its journal on this machine is a local store, and can have faults of its own.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] | Store | Backend,
        *faults: Fault,
        seed: int = 0,
        unsynced: bool = False,
    ) -> None:
        self._plan = Plan(faults, seed)
        self._disk: Disk | None = None
        self._faulty: Faulty | None = None
        self.backend: Backend | None = None
        """A `Backend` that was given, with these faults. It needs no block."""
        given = store if isinstance(store, Backend) else open_backend(_url(store))
        self.url = given.url
        if given is store:
            self.backend = FaultyBackend(given, self._plan)
        elif isinstance(given, Folder):
            self._faulty = Faulty(given.root, self._plan)
            self._disk = Disk(given.root) if unsynced else None
        if unsynced and self._disk is None:
            raise ConfigError(f"unsynced=True: {self.url} is no local folder, and loses no power")

    @property
    def happened(self) -> list[Happened]:
        """The faults that came, in their order: `(operation, key, fault)` each."""
        return list(self._plan.happened)

    @property
    def operations(self) -> int:
        """How many operations there were, with and without faults."""
        return self._plan.count

    def inject(self, *faults: Fault) -> None:
        """From now on these faults come, and no others; they count from the beginning."""
        self._plan.follow(faults)

    def heal(self) -> None:
        """From now on nothing goes wrong."""
        self._plan.follow(())

    def cut_power(self, into: str | os.PathLike[str], *, left: str = "some", seed: int = 0) -> Path:
        """The new folder `into`, as the store would be found if the power failed now.

        The store itself goes on. SQLite's file, an index, is there as it is.

        Parameters
        ----------
        left
            What is left of what was not flushed: `"nothing"`; `"names"` of files without their
            contents; `"contents"` of files whose names were flushed; `"some"`, drawn at random.

        Raises
        ------
        ConfigError
            The store was not opened with `unsynced=True`, or `left` is something else.
        """
        if self._disk is None:
            raise ConfigError("cut_power: what was flushed is known with unsynced=True only")
        if left not in VARIANTS:
            raise ConfigError(f"left={left!r}: it is one of {', '.join(VARIANTS)}")
        folder = Path(into)
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._disk.cut_power(folder, left, seed)
        return folder

    def __enter__(self) -> FaultStore:
        if self._disk is not None:
            self._disk.install()
        if self._faulty is not None:
            self._faulty.begin()
        elif self.backend is None:
            wrappers.append(self._wrapped)
        return self

    def __exit__(self, *_: object) -> None:
        self.heal()
        if self._faulty is not None:
            self._faulty.end()
        elif self.backend is None:
            wrappers.remove(self._wrapped)
        if self._disk is not None:
            self._disk.uninstall()

    def _wrapped(self, backend: Backend) -> Backend:
        return FaultyBackend(backend, self._plan) if backend.url == self.url else backend

    def __fspath__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        return f"<FaultStore {self.url}: {len(self._plan.happened)} faults came>"


def _url(store: str | os.PathLike[str] | Store) -> str | os.PathLike[str]:
    return store.url if isinstance(store, Store) else store
