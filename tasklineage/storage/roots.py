"""What is kept by its name: pins, and what refs point to.

A pin is a file, `pins/<kind>-<id>`: `run-…`, `call-…` or `artifact-…`, the id in hexadecimal. Its
name says all; its one line tells people who has pinned it, and when. So it is there whole or not at
all, and is removed by removing the file.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from tasklineage import config
from tasklineage.errors import MissingObject, StoreError, StoreReadOnly
from tasklineage.storage.codecs import named_ids
from tasklineage.storage.ground import ground_of
from tasklineage.storage.reach import Graph, Reached
from tasklineage.storage.records import Ref, as_ref

if TYPE_CHECKING:
    from tasklineage.storage.backend import Backend
    from tasklineage.storage.store import Store

RUN, CALL, ARTIFACT = "run", "call", "artifact"
FOLDER = "pins"
_PIN = re.compile(r"(run|call|artifact)-([0-9a-f]{32})")


class Root(NamedTuple):
    """Something that is kept, and what for."""

    kind: str
    id: bytes
    """Of a run or call; the Digest of an artifact."""
    name: str
    """`pin`, or `ref` and its name."""
    oids: tuple[bytes, ...] = ()
    """The objects that the ref itself names for the artifact."""


class Pins:
    """The pins of a store. Any thread or process may call.

    Every method raises `StoreError` where they cannot be read or written.
    """

    def __init__(self, backend: Backend, *, read_only: bool = False) -> None:
        self._backend = backend
        self._read_only = read_only

    def add(self, kind: str, id: bytes) -> bool:
        """It is pinned now; False: it was already."""
        self._demand()
        key = _key(kind, id)
        if self._backend.size(key) is not None:
            return False
        line = f"{config.user()} {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}\n"
        self._backend.write(key, line.encode())
        return True

    def remove(self, kind: str, id: bytes) -> bool:
        """It is not pinned now; False: it was not."""
        self._demand()
        key = _key(kind, id)
        if self._backend.size(key) is None:
            return False
        self._backend.delete([key])
        return True

    def all(self) -> Iterator[Root]:
        """What is pinned."""
        for name in self._backend.names(FOLDER):
            match = _PIN.fullmatch(name)
            if match is not None:
                yield Root(match[1], bytes.fromhex(match[2]), "pin")

    def _demand(self) -> None:
        if self._read_only:
            raise StoreReadOnly(f"{self._backend.url} is read-only: pins stay as they are")


def roots_of(store: Store) -> list[Root]:
    """Everything that is kept by name: pins, and each version of every ref that is not deleted.

    Raises
    ------
    StoreError
        Pins or refs cannot be read, or the newest version of a ref is damaged: then nobody can say
        what it keeps.
    """
    return [*Pins(store.backend).all(), *_refs(store)]


def reached_by(graph: Graph, roots: Iterable[Root]) -> Reached:
    """What these lead to. An artifact leads to the newest call that gave it, and what is behind.

    The graph must have been read with the Digests of the artifacts.
    """
    runs: list[bytes] = []
    calls: list[bytes] = []
    objects: set[bytes] = set()
    for root in roots:
        if root.kind == RUN:
            runs.append(root.id)
        elif root.kind == CALL:
            calls.append(root.id)
        else:
            calls += [graph.makers[root.id][1]] if root.id in graph.makers else []
            objects |= graph.holders.get(root.id, set())
            objects.update(root.oids)
    return graph.reached(runs, calls, objects)


@contextlib.contextmanager
def rooted(store: Store, kind: str, id: bytes, ref: Ref | None = None) -> Generator[None]:
    """A block that makes a root; what that keeps is there at the end of it, and stays.

    A sweep that is going on may have looked at the roots before: it is waited for. One that begins
    later sees the root. `ref` is where an artifact is, if that is known.

    Raises
    ------
    MissingObject
        It was collected at that moment.
    """
    ground = ground_of(store)
    before = ground.stand()
    yield
    if ground.was_collected_since(before) and not _is_there(store, kind, id, ref):
        raise MissingObject(
            f"the {kind} {id.hex()} was collected as garbage at that moment: compute it again"
        )


def _is_there(store: Store, kind: str, id: bytes, ref: Ref | None) -> bool:
    if kind == RUN:
        return bool(store.catalog.find_runs(prefix=id.hex(), limit=1))
    if kind == CALL:
        if id not in store.catalog.calls_of((id,)):
            return False
        record = store.catalog.call_end(id)
        ref = None if record is None or record.output is None else as_ref(record.output)
    elif ref is None:
        ref = next((row.ref for row in store.catalog.find_artifacts(digest=id)), None)
    return ref is None or not ref.is_stored or store.has(ref)


def _refs(store: Store) -> Iterator[Root]:
    """What refs point to, or have pointed to since they were made or made anew."""
    from tasklineage.storage.refs import DAMAGED

    for newest in store.refs.all():
        if newest.kind == DAMAGED:
            raise StoreError(
                f"{newest.message}: nobody can say what the ref {newest.name!r} keeps. Give it a "
                "sound version: tag it again, or untag it"
            )
        for version in store.refs.kept(newest.name):
            if version.is_there:
                oids = named_ids(version.ref) if version.kind == ARTIFACT else ()
                yield Root(version.kind, version.target, f"ref {version.name}", oids)


def _key(kind: str, id: bytes) -> str:
    return f"{FOLDER}/{kind}-{id.hex()}"
