"""The key with which a store makes digests of Secrets that count: 32 random bytes in one file.

It is made when it is first needed. It is no part of the store's content: whoever copies the store
leaves it behind, and nothing sends it anywhere.
"""

from __future__ import annotations

import os
from pathlib import Path

from tasklineage.errors import StoreError
from tasklineage.storage import once

FILE = "secret.key"
_LENGTH = 32


def secret_key(root: Path, *, read_only: bool) -> bytes:
    """The key of the store at `root`; of one that has none and cannot be written, one for now.

    Raises
    ------
    StoreError
        The file is damaged, or cannot be read or made.
    """
    path = root / FILE
    try:
        found = once.read(path)
        if found is None:
            fresh = os.urandom(_LENGTH)
            found = fresh if read_only else once.put(path, fresh)
    except OSError as error:
        raise StoreError(
            f"cannot read or make {path}: {error.strerror or error}; a Secret with counts=True "
            "needs it",
            errno=error.errno,
        ) from error
    if len(found) != _LENGTH:
        raise StoreError(
            f"{path} is damaged. Remove it: calls with a Secret that counts execute once more"
        )
    return found
