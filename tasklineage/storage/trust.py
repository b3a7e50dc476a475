"""Whom to believe: a signing key, and where what was made of a store is kept by whom."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import xxhash

from tasklineage import config
from tasklineage.storage import format as layout

if TYPE_CHECKING:
    from tasklineage.storage.mirror import Opened as OpenedRemote
    from tasklineage.storage.signing import Signer

_SIGNATURES = "signatures"
"""The file of `signing`, which is imported where there is a key."""


def own_folder(path: Path, store: bytes) -> Path | None:
    """Where this user keeps what can be made again of a store in which others may write.

    None without a home, or where that cannot be written.
    """
    folder = config.cache_folder()
    if not folder:
        return None
    name = xxhash.xxh3_128_hexdigest(os.fsencode(path) + b"\0" + store)
    own = Path(folder, "stores", name)
    try:
        os.makedirs(own, mode=0o700, exist_ok=True)
        status = os.stat(own)
    except OSError:
        return None
    return own if status.st_uid == os.geteuid() and not status.st_mode & 0o077 else None


def index_folder(path: Path, signer: Signer | None, *, is_ours: bool) -> Path | None:
    """Where the indexes are: in the store, if what stands there for them may be believed.

    Whoever changes a record of a signed store can change the catalog too, and that of a stranger's
    store may be no catalog at all: then this user has indexes of his own. None: in memory.
    """
    if signer is not None:
        return own_folder(path, signer.store)
    return path if is_ours else distrusting_folder(path)


def distrusting_folder(path: Path) -> Path | None:
    """Where this user keeps the indexes of a store that he reads as a stranger's."""
    try:
        found = os.stat(path / layout.FILE)
    except OSError:
        return None
    return own_folder(path, f"{found.st_dev} {found.st_ino} {found.st_ctime_ns}".encode())


def signer_for(
    path: Path, key: bytes | None, remote: OpenedRemote | None, *, read_only: bool
) -> Signer | None:
    """What signs with the key and checks; None without one, with a warning if it is wanted."""
    if key is None:
        if os.path.lexists(path / _SIGNATURES) or (remote is not None and remote.is_signed):
            url = path if remote is None else remote.url
            warnings.warn(
                f"the store at {url} is signed, and opened without signing_key= (or "
                "TASKLINEAGE_SIGNING_KEY): what is in it is not checked, and what is recorded now "
                "will not answer those who have the key",
                stacklevel=5,
            )
        return None
    from tasklineage.storage.backend import Folder  # rarely needed
    from tasklineage.storage.signing import signer_of

    backend = Folder(path, durable=True) if remote is None else remote.backend
    return signer_of(backend, key, read_only=read_only)
