"""A remote store that is a folder here, and the machines that share it: each is a mirror."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasklineage.storage import format as layout
from tasklineage.storage.backend import Folder
from tasklineage.storage.mirror import Opened
from tasklineage.storage.store import Store


class Bucket(Folder):
    """Counts requests, and fails on demand."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.requests: Counter[str] = Counter()
        self.trouble: Callable[[str, str], None] = lambda what, key: None

    def _meet(self, what: str, key: str) -> None:
        self.requests[what] += 1
        self.trouble(what, key)

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        self._meet("read", key)
        return super().read(key, start, end)

    def write(self, key: str, data: bytes) -> None:
        self._meet("write", key)
        super().write(key, data)

    def create(self, key: str, data: bytes) -> bool:
        self._meet("create", key)
        return super().create(key, data)

    def list(self, prefix: str = "", after: str = "") -> Any:
        self._meet("list", prefix)
        return super().list(prefix, after)

    def names(self, prefix: str = "") -> Any:
        self._meet("list", prefix)
        return super().names(prefix)

    def size(self, key: str) -> int | None:
        self._meet("size", key)
        return super().size(key)

    def delete(self, keys: Any) -> None:
        self._meet("delete", "")
        super().delete(keys)

    def heal(self) -> None:
        """No trouble any more."""
        self.trouble = lambda what, key: None


def new_bucket(root: Path) -> Bucket:
    """A store in which nothing is."""
    root.mkdir()
    found = Bucket(root)
    found.write(layout.FILE, layout.content(id="00"))
    found.requests.clear()
    return found


class Machines:
    """Opens a store as the machine of a name does: in a mirror of that name."""

    def __init__(self, bucket: Bucket, folder: Path) -> None:
        self._bucket = bucket
        self._folder = folder
        self._opened: list[Store] = []

    def __call__(
        self,
        name: str,
        *,
        limit: int = 1 << 30,
        read_only: bool = False,
        signing_key: bytes | None = None,
    ) -> Store:
        folder = self._folder / name
        layout.open_folder(folder)
        is_signed = Folder(self._bucket.root).size("signatures") is not None
        found = Opened("s3://bucket/x", self._bucket, folder, not read_only, limit, is_signed)
        store = Store(folder, read_only=read_only, remote=found, signing_key=signing_key)
        self._opened.append(store)
        return store

    def close(self) -> None:
        """All of them end well."""
        self._bucket.heal()
        for store in self._opened:
            store.close()
