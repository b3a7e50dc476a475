"""A store whose records are written by hand: what queries see, without the engine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tasklineage import config
from tasklineage.key.digest import digest
from tasklineage.storage.opening import open_store
from tasklineage.storage.records import (
    Argument,
    Attempt,
    CallBegin,
    CallEnd,
    Code,
    Error,
    Hit,
    Ref,
    RunBegin,
    RunEnd,
    new_id,
)
from tasklineage.storage.store import Store


class Writer:
    """Appends records of runs and calls; ids are returned as bytes."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def ref(self, value: Any) -> Ref:
        return self.store.put(value, digest(value))

    def run(
        self,
        name: str = "r",
        *,
        status: str | None = "done",
        namespace: str | None = None,
        parent: bytes | None = None,
        params: Mapping[str, Any] | None = None,
        tags: tuple[str, ...] = (),
        started: float | None = None,
        error: Error | None = None,
    ) -> bytes:
        id, now = bytes(new_id()), time.time()
        given = tuple((name, self.ref(value)) for name, value in (params or {}).items())
        began = now if started is None else started
        self.store.append(
            RunBegin(
                id, name, parent, namespace or config.namespace(), "ann", "host", 12,
                ("r.py", "-v"), given, tags, began, "threads", "3.11", "linux", "abc",
            )
        )  # fmt: skip
        if status is not None:
            self.end(id, status, error)
        return id

    def end(self, run: bytes, status: str = "done", error: Error | None = None) -> None:
        self.store.append(RunEnd(run, status, time.time(), error))

    def begin(self, run: bytes, task: str = "m.f", *, parent: bytes | None = None) -> bytes:
        id = bytes(new_id())
        self.store.append(CallBegin(id, run, parent, task, b"c" * 16, b"k" * 16, time.time()))
        return id

    def call(
        self,
        run: bytes,
        task: str = "m.f",
        *,
        parent: bytes | None = None,
        args: Mapping[str, Any] | None = None,
        described: Mapping[str, Any] | None = None,
        result: Any = None,
        status: str = "done",
        error: Error | None = None,
        stdout: str = "",
        stderr: str = "",
        attempts: tuple[Attempt, ...] = (),
        position: tuple[int, int | None] | None = None,
        tags: tuple[str, ...] = (),
        code: Code | None = None,
        id: bytes | None = None,
    ) -> bytes:
        id = id or self.begin(run, task, parent=parent)
        if code is not None:
            self.store.append(code)
        arguments = [Argument(name, self.ref(value)) for name, value in (args or {}).items()]
        arguments += [
            Argument(name, Ref(digest(value), type(value).__name__, preview="large"))
            for name, value in (described or {}).items()
        ]
        output = self.ref(result) if status in ("done", "caught") else None
        self.store.append(
            CallEnd(
                id, run, parent, task, b"c" * 16 if code is None else code.digest, digest(id),
                time.time() - 0.001, position, status, time.time(), status == "done", output,
                tuple(arguments), (), error, attempts,
                self.ref(stdout) if stdout else None, self.ref(stderr) if stderr else None,
                tags=tags,
            )
        )  # fmt: skip
        return id

    def hit(
        self, run: bytes, producer: bytes, task: str = "m.f", *, parent: bytes | None = None
    ) -> bytes:
        id = bytes(new_id())
        self.store.append(Hit(id, run, parent, task, b"k" * 16, producer, time.time()))
        return id


@pytest.fixture
def store(isolated: Path) -> Store:
    """The default store of the test, made."""
    return open_store(None)


@pytest.fixture
def writer(store: Store) -> Writer:
    """What writes records into it."""
    return Writer(store)
