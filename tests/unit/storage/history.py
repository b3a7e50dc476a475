"""Records as an engine would write them, with made-up digests, by a clock that goes forward."""

from __future__ import annotations

import itertools
from typing import Any

import xxhash

from tasklineage.storage.records import (
    Argument,
    CallBegin,
    CallEnd,
    Edge,
    Hit,
    Ref,
    RunBegin,
    RunEnd,
    RunTags,
)

EPOCH = 1_750_000_000.0


def digest_of(name: object) -> bytes:
    """Some digest, always the same for the same name."""
    return xxhash.xxh3_128_digest(repr(name).encode())


def inline(value: int) -> Ref:
    """A small value, stored in the record."""
    return Ref(digest_of(value), "int", "plain", 1, bytes([value % 128]), None, str(value))


class History:
    """Makes records one after the other. Ids sort in the order in which they are made."""

    def __init__(self, seed: str = "") -> None:
        self._seed = seed
        self._count = itertools.count(1)

    def now(self) -> float:
        """The next moment."""
        return EPOCH + next(self._count)

    def id(self) -> bytes:
        """The next id: its first bytes are the time, its last the seed's."""
        number = next(self._count)
        return number.to_bytes(6, "big") + digest_of((self._seed, number))[:10]

    def run(self, name: str = "exp", **fields: Any) -> RunBegin:
        """A run that begins."""
        given = {"parent": None, "namespace": "user:a", "user": "a", "host": "h", "tags": ()}
        given |= fields
        return RunBegin(self.id(), name, pid=1, argv=(), params=(), started=self.now(), **given)

    def end_run(self, run: RunBegin, status: str = "done") -> RunEnd:
        """Its end."""
        return RunEnd(run.id, status, self.now())

    def tag(self, run: RunBegin, added: tuple[str, ...] = (), removed: tuple[str, ...] = ()) -> Any:
        """A change of its tags."""
        return RunTags(run.id, added, removed, self.now())

    def begin(
        self,
        run: RunBegin,
        task: str = "pkg.train",
        key: object = None,
        parent: bytes | None = None,
    ) -> CallBegin:
        """A call that begins."""
        id = self.id()
        key = id if key is None else key
        return CallBegin(
            id, run.id, parent, task, digest_of(task), digest_of((task, key)), self.now()
        )

    def end(
        self,
        begun: CallBegin,
        status: str = "done",
        *,
        output: Ref | None = None,
        arguments: dict[str, Ref] | None = None,
        edges: tuple[Edge, ...] = (),
        memo: bool | None = None,
    ) -> CallEnd:
        """Its end; a memo if it is done."""
        return CallEnd(
            *begun, status, self.now(), status == "done" if memo is None else memo, output,
            tuple(Argument(name, ref) for name, ref in (arguments or {}).items()), edges,
        )  # fmt: skip

    def hit(self, run: RunBegin, producer: CallEnd, parent: bytes | None = None) -> Hit:
        """A call that was answered with what another one computed."""
        return Hit(self.id(), run.id, parent, producer.task, producer.key, producer.id, self.now())

    def call(self, run: RunBegin, task: str = "pkg.train", **fields: Any) -> list[Any]:
        """Begin and end of a call."""
        begun = self.begin(run, task, fields.pop("key", None), fields.pop("parent", None))
        return [begun, self.end(begun, **fields)]
