"""Trying again what failed for the moment: with growing pauses, at random, and a line in the log.

"Exponential Backoff And Jitter", AWS Architecture Blog, 2015: half of each pause is random, so that
many clients that were refused together do not come back together.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from typing import TypeVar

from tasklineage.errors import StoreError, StoreUnavailable
from tasklineage.storage.backend import Backend, Entries, Names

PATIENCE = 60.0
"""Seconds after which no further attempt begins."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0

_log = logging.getLogger("tasklineage.storage")
R = TypeVar("R")


def patiently(
    attempt: Callable[[], R],
    what: str,
    patience: float = PATIENCE,
    unreached: float | None = None,
) -> R:
    """What `attempt` gives; it is made again as long as it raises `StoreUnavailable`.

    Where nobody answers at all, patience ends after `unreached` seconds, if that is less.

    Raises
    ------
    StoreUnavailable
        The last attempt failed as well, and `patience` is at its end.
    """
    pauses = Pauses(what, patience, unreached)
    while True:
        try:
            return attempt()
        except StoreUnavailable as error:
            pauses.take(error)


wrappers: list[Callable[[Backend], Backend]] = []
"""What is put around every backend of this process: by tests of what a failing one leads to."""


class Pauses:
    """The pauses between attempts at one thing."""

    def __init__(self, what: str, patience: float, unreached: float | None = None) -> None:
        self._what = what
        self._begun = time.monotonic()
        self._patience = patience
        self._unreached = patience if unreached is None else min(patience, unreached)
        self._count = 0

    def take(self, error: StoreUnavailable) -> None:
        """Wait for the next attempt; raises the error if there shall be none."""
        longest = min(_FIRST_PAUSE * 2**self._count, _LONGEST_PAUSE)
        pause = random.uniform(longest / 2, longest)
        self._count += 1
        patience = self._patience if error.is_reached else self._unreached
        if time.monotonic() + pause > self._begun + patience:
            raise error
        _log.info("%s: %s; attempt %d follows in %.1f s", self._what, error, self._count + 1, pause)
        time.sleep(pause)


class Patient(Backend):
    """A backend whose passing failures are waited out, up to `patience` seconds each time.

    Where nobody answers at all, up to `unreached` seconds. Of several keys only those that failed
    are tried again, and as long as some succeed, patience begins anew.
    """

    def __init__(
        self, inner: Backend, patience: float = PATIENCE, unreached: float | None = None
    ) -> None:
        self._inner = inner
        self.url = inner.url
        self.can_create = inner.can_create
        self.patience = patience
        self.unreached = unreached

    @property
    def inner(self) -> Backend:
        """The backend that fails, with what `wrappers` put around it now."""
        return reduce(lambda backend, wrap: wrap(backend), wrappers, self._inner)

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        return self._patiently(lambda: self.inner.read(key, start, end), "read", key)

    def write(self, key: str, data: bytes) -> None:
        self._patiently(lambda: self.inner.write(key, data), "write", key)

    def create(self, key: str, data: bytes) -> bool:
        """As `Backend.create`. An attempt whose answer was lost may have been the one that won:
        then what is there is compared, so two callers should not write the same bytes.
        """
        attempts = 0

        def attempt() -> bool:
            nonlocal attempts
            attempts += 1
            is_made = self.inner.create(key, data)
            return is_made or (attempts > 1 and self.inner.read(key) == data)

        return self._patiently(attempt, "create", key)

    def list(self, prefix: str = "", after: str = "") -> Entries:
        return self._patiently(lambda: self.inner.list(prefix, after), "list", prefix)

    def names(self, prefix: str = "") -> Names:
        return self._patiently(lambda: self.inner.names(prefix), "list", prefix)

    def size(self, key: str) -> int | None:
        return self._patiently(lambda: self.inner.size(key), "look at", key)

    def delete(self, keys: Iterable[str]) -> None:
        wanted = list(keys)
        first = wanted[0] if wanted else ""
        self._patiently(lambda: self.inner.delete(wanted), "delete", first)

    def now(self) -> float:
        return self._patiently(self.inner.now, "ask the time of", "")

    def upload(self, key: str, path: str | os.PathLike[str]) -> None:
        self._patiently(lambda: self.inner.upload(key, path), "write", key)

    def download(self, key: str, path: str | os.PathLike[str]) -> None:
        self._patiently(lambda: self.inner.download(key, path), "read", key)

    def try_read_many(
        self, keys: Sequence[str], end: int | None = None
    ) -> tuple[dict[str, bytes], dict[str, StoreError]]:
        found: dict[str, bytes] = {}

        def attempt(wanted: Sequence[str]) -> dict[str, StoreError]:
            some, failed = self.inner.try_read_many(wanted, end)
            found.update(some)
            return failed

        failed = self._again(attempt, list(keys), "read")
        return found, failed

    def try_write_many(self, items: Mapping[str, bytes]) -> dict[str, StoreError]:
        return self._again(
            lambda keys: self.inner.try_write_many({key: items[key] for key in keys}),
            list(items),
            "write",
        )

    def close(self) -> None:
        self.inner.close()

    def _patiently(self, attempt: Callable[[], R], what: str, key: str) -> R:
        return patiently(attempt, f"{what} {self.url}/{key}", self.patience, self.unreached)

    def _again(
        self,
        attempt: Callable[[Sequence[str]], dict[str, StoreError]],
        keys: Sequence[str],
        what: str,
    ) -> dict[str, StoreError]:
        """What went wrong in the end, by key."""
        lasting: dict[str, StoreError] = {}
        known, pauses = 0, Pauses("", 0.0)
        while keys:
            if len(keys) != known:  # some have succeeded
                known = len(keys)
                text = f"{what} {known} keys of {self.url}"
                pauses = Pauses(text, self.patience, self.unreached)
            failed = attempt(keys)
            passing = {k: e for k, e in failed.items() if isinstance(e, StoreUnavailable)}
            lasting |= {key: error for key, error in failed.items() if key not in passing}
            keys = list(passing)
            if not keys:
                break
            try:
                pauses.take(passing[keys[0]])
            except StoreUnavailable:
                return lasting | passing
        return lasting
