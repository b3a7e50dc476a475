"""Faults of a backend: one that does what a plan says before the one inside does anything."""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from tasklineage.errors import StoreError
from tasklineage.storage.backend import Backend, Entries, Names, failure
from tasklineage.testing.faults import Plan, exception

R = TypeVar("R")


class FaultyBackend(Backend):
    """A backend, some of whose operations go wrong.

    Each key of `try_read_many` and `try_write_many` is an operation of its own. A write is done
    whole or not at all, as behind every backend: one that is torn or short is not done.
    """

    def __init__(self, inner: Backend, plan: Plan) -> None:
        self.inner = inner
        self.url = inner.url
        self._plan = plan

    @property
    def can_create(self) -> bool:  # type: ignore[override]
        """As the backend inside."""
        return self.inner.can_create

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        return self._perform("read", key, lambda: self.inner.read(key, start, end))

    def write(self, key: str, data: bytes) -> None:
        self._perform("write", key, lambda: self.inner.write(key, data))

    def create(self, key: str, data: bytes) -> bool:
        return self._perform("create", key, lambda: self.inner.create(key, data))

    def list(self, prefix: str = "", after: str = "") -> Entries:
        return self._perform("list", prefix, lambda: self.inner.list(prefix, after))

    def names(self, prefix: str = "") -> Names:
        return self._perform("list", prefix, lambda: self.inner.names(prefix))

    def size(self, key: str) -> int | None:
        return self._perform("read", key, lambda: self.inner.size(key))

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._perform("delete", key, functools.partial(self.inner.delete, [key]))

    def now(self) -> float:
        return self._perform("read", "", self.inner.now)

    def upload(self, key: str, path: str | os.PathLike[str]) -> None:
        self._perform("write", key, lambda: self.inner.upload(key, path))

    def download(self, key: str, path: str | os.PathLike[str]) -> None:
        self._perform("read", key, lambda: self.inner.download(key, path))

    def try_read_many(
        self, keys: Sequence[str], end: int | None = None
    ) -> tuple[dict[str, bytes], dict[str, StoreError]]:
        failed, lost = self._meet_each("read", keys)
        found, others = self.inner.try_read_many([key for key in keys if key not in failed], end)
        return {k: v for k, v in found.items() if k not in lost}, {**others, **failed, **lost}

    def try_write_many(self, items: Mapping[str, bytes]) -> dict[str, StoreError]:
        failed, lost = self._meet_each("write", items)
        rest = {key: data for key, data in items.items() if key not in failed}
        return {**self.inner.try_write_many(rest), **failed, **lost}

    def close(self) -> None:
        self.inner.close()

    def _perform(self, operation: str, key: str, do: Callable[[], R]) -> R:
        lost = self._meet(operation, key)
        result = do()
        if lost is not None:
            raise lost
        return result

    def _meet_each(
        self, operation: str, keys: Iterable[str]
    ) -> tuple[dict[str, StoreError], dict[str, StoreError]]:
        """What goes wrong, by key: before it is done, and after that."""
        failed: dict[str, StoreError] = {}
        lost: dict[str, StoreError] = {}
        for key in keys:
            try:
                after = self._meet(operation, key)
            except StoreError as error:
                failed[key] = error
            else:
                if isinstance(after, StoreError):
                    lost[key] = after
        return failed, lost

    def _meet(self, operation: str, key: str) -> BaseException | None:
        """What is to be raised once the operation is done; raises what comes before it."""
        for fault in self._plan.draw(operation, key):
            if fault.kind == "slow":
                time.sleep(fault.seconds)
            elif fault.kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            elif fault.kind == "lost":
                return self._translated(operation, key, exception(fault))
            else:
                raise self._translated(operation, key, exception(fault))
        return None

    def _translated(self, operation: str, key: str, error: BaseException) -> BaseException:
        """As the backend inside tells it."""
        if not isinstance(error, OSError) or isinstance(error, StoreError):
            return error
        translated: BaseException = failure(self.url, operation, key, error)
        translated.__cause__ = error
        return translated
