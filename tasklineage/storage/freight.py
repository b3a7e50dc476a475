"""What was recorded in a store of its own, on its way into the one that it belongs to.

For a process that cannot reach that one: it opens a store in a folder of its own, and all that is
in it then travels with the answer.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from tasklineage.storage.journal import Journal
from tasklineage.storage.opening import open_store
from tasklineage.storage.records import KIND_OF, Code, decode
from tasklineage.storage.store import Store

_CODE = KIND_OF[Code]


class Freight(NamedTuple):
    """Records and objects, as they are written."""

    records: tuple[tuple[int, bytes], ...]
    """Kind and payload of each."""
    objects: tuple[tuple[bytes, bytes], ...]
    """Id and bytes of each."""

    def unload(self, store: Store) -> None:
        """Let that store have all of it; an object that it has is not written again.

        Raises
        ------
        CorruptObject
            An object is not what was written. Nothing is recorded then.
        StoreError
            Something could not be written.
        """
        for oid, content in self.objects:
            if not store.objects.has(oid):
                store.objects.adopt(oid, [content])
        found = (decode(kind, payload) for kind, payload in self.records)
        store.append(
            *[one for one in found if not (type(one) is Code and store.has_code(one.digest))]
        )


@contextmanager
def store_apart(folder: str | None = None) -> Generator[Store]:
    """A new store below `folder`, by default where temporary files are; at the end it is gone."""
    place = tempfile.mkdtemp(prefix="tasklineage-", dir=folder)
    store = open_store(os.path.join(place, "store"))
    try:
        yield store
    finally:
        store.close()
        shutil.rmtree(place, ignore_errors=True)


def freight_of(store: Store) -> Freight:
    """All that is in a local store."""
    journal = Journal(store.path, read_only=True)
    records = [
        (kind, bytes(payload))
        for batch in journal.cursor().batches()
        for _, _, kind, payload in batch.frames
    ]
    return Freight(tuple(records), tuple(_objects(os.path.join(store.path, "objects"))))


def _objects(folder: str) -> Iterator[tuple[bytes, bytes]]:
    if not os.path.isdir(folder):  # there was none
        return
    for first in sorted(os.listdir(folder)):
        if len(first) == 2:
            for rest in sorted(os.listdir(os.path.join(folder, first))):
                with open(os.path.join(folder, first, rest), "rb") as file:
                    yield bytes.fromhex(first + rest), file.read()
