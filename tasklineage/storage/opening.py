"""Stores are opened: from a URL and options to the one `Store` of this process that they mean."""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tasklineage import config
from tasklineage.errors import ConfigError, StoreError
from tasklineage.storage import ending, forks
from tasklineage.storage import format as layout
from tasklineage.storage.store import Store

if TYPE_CHECKING:
    from tasklineage.storage.mirror import Opened as OpenedRemote

DURABILITIES = ("process", "power")
_KEPT_OPEN = 8


def _checked_key(key: bytes | str | None) -> bytes | None:
    if key is None:
        return None
    from tasklineage.storage.signing import checked_key

    return checked_key(key)


def open_store(
    url: str | os.PathLike[str] | Store | None = None,
    *,
    allow_pickle: bool = True,
    read_only: bool = False,
    durability: str | None = None,
    signing_key: bytes | str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    shared: str | None = None,
    create: bool = True,
) -> Store:
    """The store at `url`, which is made if there is none.

    Within a process there is one `Store` per place and options. A folder that cannot be written
    gives a store that is read-only.

    Parameters
    ----------
    url
        A path, a `file:` URL or a `Store`; by default the configured store, else the environment
        variable TASKLINEAGE_STORE, else the nearest `.tasklineage` upward from the working
        directory.
    allow_pickle
        False: values that only pickle can decode raise `UnsafeFormat`.
    durability
        `process`: what was recorded survives the death of the process; `power`: that of the
        machine too.
    signing_key
        Sign what is recorded and stored, and refuse what is not signed with this key: such records
        do not answer, such values raise `CorruptObject`, before anything of them is decoded. By
        default the environment variable TASKLINEAGE_SIGNING_KEY.
    shared
        `"group"`: a new store belongs to its folder's group, whose members read and write all of
        it, whatever their umask.
    create
        False: a store that is not there is an error.

    Raises
    ------
    StoreNotFound
        There is no store, and none shall be made.
    StoreError
        The store is of a newer version, or damaged where it says what it is, or could not be made;
        or it is signed with another key.
    ConfigError
        The URL or an option is not supported.
    """
    if shared not in (None, "group"):
        raise ConfigError(f"shared={shared!r}: it is None or 'group'")
    if url is None:
        url = config.default_store()
    if isinstance(url, Store):
        if durability in (None, url.durability):
            return url
        allow_pickle, read_only = url.allow_pickle, url.read_only
        signing_key = url.signing_key if signing_key is None else signing_key
        url = url.url
    place, is_remote = place_of(url)
    if storage_options and not is_remote:
        raise ConfigError(f"storage_options=... is for URLs of remote stores, not for {place}")
    if shared and is_remote:
        raise ConfigError(f"shared={shared!r} is for folders: who may write to {place}, it says")
    options = _Options(
        place,
        allow_pickle,
        read_only,
        durability or config.settings().durability,
        open_stores.storage_options(place, storage_options) if is_remote else None,
        _checked_key(config.signing_key() if signing_key is None else signing_key),
    )
    if options.durability not in DURABILITIES:
        raise ConfigError(f"durability={durability!r}: it is one of {', '.join(DURABILITIES)}")
    return open_stores.open(options, create=create, is_shared=shared is not None)


def open_signed(url: str, **options: Any) -> Store:
    """A store of another process that has a key: without one nothing recorded would be believed."""
    if config.signing_key() is None:
        raise StoreError(
            f"the store at {url} is signed, and this process has no key: set "
            "TASKLINEAGE_SIGNING_KEY for all processes that use it"
        )
    return open_store(url, **options)


class Confided(NamedTuple):
    """A store on its way to a worker of this machine, by a pickle that nobody keeps.

    What was given in code goes with it, the signing key and the options of a file system; else a
    key is in no pickle. It arrives as the `Store`.
    """

    store: Store

    def __reduce__(self) -> tuple[Any, ...]:
        reopen, (url,) = self.store.__reduce__()
        given = {**reopen.keywords, "signing_key": self.store.signing_key}
        if self.store.remote is not None:
            given["storage_options"] = open_stores.storage_options(url, None).options
        return functools.partial(open_store, **given), (url,)


def as_store(store: str | os.PathLike[str] | Store | None) -> Store:
    """The store that `store=` of a query or a run names; None is the default one."""
    return store if isinstance(store, Store) else open_store(store)


class _Options(NamedTuple):
    """What makes two stores of a process the same."""

    place: str
    """A path, or the URL of a remote store."""
    allow_pickle: bool
    read_only: bool
    durability: str
    remote: _Remembered | None = None
    """What the file system of a remote store is made with."""
    signing_key: bytes | None = None


class _Remembered:
    """Options of a file system, which are the same as long as they are equal."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = dict(options)
        self._text = repr(sorted(self.options.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Remembered) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "<options of a file system>"  # there are secrets in it


class _OpenStores:
    """The stores that this process has open: those in use, and some that were used lately."""

    def __init__(self) -> None:
        self.mutex = threading.Lock()
        self.opening = threading.Lock()
        """Held while a remote store is opened, which takes its time."""
        self._open: weakref.WeakValueDictionary[_Options, Store] = weakref.WeakValueDictionary()
        self._folders: dict[_Options, tuple[int, int]] = {}
        self._recent: deque[Store] = deque(maxlen=_KEPT_OPEN)
        self._storage_options: dict[str, _Remembered] = {}
        forks.register(self)

    def after_fork(self) -> None:
        """In a forked child: each store takes care of itself."""
        self.opening = threading.Lock()

    def storage_options(self, url: str, given: Mapping[str, Any] | None) -> _Remembered:
        """What the file system of the URL is made with: without options, those given before."""
        if given is None:
            return self._storage_options.get(url) or _Remembered({})
        options = self._storage_options[url] = _Remembered(given)
        return options

    def open(self, options: _Options, *, create: bool, is_shared: bool = False) -> Store:
        """The store of these options, the one that is open if it is still the same."""
        if options.remote is not None:
            return self._open_remote(options, options.remote.options, create)
        with self.mutex:
            return self._open_local(options, create, is_shared)

    def _open_local(self, options: _Options, create: bool, is_shared: bool) -> Store:
        root = Path(options.place)
        known = self._open.get(options)
        is_same = known is not None and self._folders.get(options) == _identity(options.place)
        is_writable = layout.open_folder(
            root,
            read_only=options.read_only,
            create=create,
            durable=options.durability == "power" and not is_same,
            is_shared=is_shared,
        )
        if known is not None and is_same:
            return known
        self._folders[options] = _identity(options.place)
        return self._opened(options, root, is_writable)

    def _open_remote(
        self, options: _Options, storage_options: Mapping[str, Any], create: bool
    ) -> Store:
        from tasklineage.storage.mirror import open_mirror

        with self.opening:
            with self.mutex:
                known = self._open.get(options)
            if known is not None:
                return known
            found = open_mirror(
                options.place, storage_options, read_only=options.read_only, create=create
            )
            store = self._opened(options, found.mirror, found.can_be_written, found)
        ending.reserve_anew()  # it is closed before its connections are
        return store

    def _opened(
        self, options: _Options, root: Path, is_writable: bool, remote: OpenedRemote | None = None
    ) -> Store:
        store = Store(
            root,
            allow_pickle=options.allow_pickle,
            read_only=not is_writable,
            durability=options.durability,
            remote=remote,
            signing_key=options.signing_key,
        )
        self._open[options] = store
        self._recent.append(store)
        return store

    def close_all(self) -> None:
        """At the end of the process."""
        for store in list(self._open.values()):
            store.close()


def _identity(path: str) -> tuple[int, int]:
    """What changes when somebody removes a store and makes a new one in its place."""
    try:
        return os.stat(path).st_ino, os.stat(os.path.join(path, layout.FILE)).st_ino
    except OSError:
        return 0, 0


def place_of(url: object) -> tuple[str, bool]:
    """The local path that the URL stands for, or the URL of a remote store, and whether it is.

    Raises
    ------
    ConfigError
        It stands for neither.
    """
    if not isinstance(url, str | os.PathLike):
        raise ConfigError(f"a store is a path, a URL or a Store, not a {type(url).__name__}")
    text = os.fspath(url)
    if not isinstance(text, str):
        raise ConfigError(f"the path of a store is text: {text!r}")
    scheme, mark, rest = text.partition("://")
    if not mark:
        return os.path.realpath(os.path.expanduser(text)), False
    if scheme in ("file", "local"):
        return os.path.realpath(rest), False
    return text if text.endswith("://") else text.rstrip("/"), True


open_stores = _OpenStores()
ending.at_end(open_stores.close_all)
