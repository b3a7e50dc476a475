"""Random operations on a store, beside a dict that says what must come of them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from tasklineage.errors import CorruptObject, MissingObject
from tasklineage.key.digest import digest
from tasklineage.storage.catalog import FILE
from tasklineage.storage.frames import Location
from tasklineage.storage.opening import open_store
from tasklineage.storage.records import CallEnd, Forget, Ref
from tasklineage.storage.store import Store
from tests.unit.storage.history import History, digest_of

pytestmark = pytest.mark.slow

TASKS = ("pkg.train", "pkg.test")
KEYS = st.tuples(st.sampled_from(TASKS), st.integers(0, 4))
HANDLES = st.integers(0, 1)
VALUES: list[Any] = [
    5, [1, 2], b"a" * 20_000, "b" * 50_000, b"c" * 400_000, [b"d" * 30_000, "e" * 30_000],
    (b"d" * 30_000, {"k": b"c" * 400_000}),
]  # fmt: skip
"""Small and large ones, and two that share parts with others."""
NUMBERS = st.sampled_from(range(len(VALUES)))


class Model:
    """What is known of one key: its memos, the damaged among them, and when it was forgotten."""

    def __init__(self) -> None:
        self.memos: list[CallEnd] = []
        self.damaged: set[bytes] = set()
        self.forgotten = 0.0

    def answers(self) -> list[CallEnd | None]:
        """What a look-up may find: the newest memo; if that is damaged, an older one or nothing."""
        good = sorted(
            (memo for memo in self.memos if memo.ended >= self.forgotten),
            key=lambda memo: memo.ended,
        )
        if not good:
            return [None]
        if good[-1].id not in self.damaged:
            return [good[-1]]
        return [None, *good]


class StoreMachine(RuleBasedStateMachine):
    """Two handles on one store, as two processes have them, and everything that befalls it."""

    stored = Bundle("stored")

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp()) / "store"
        self.history = History()
        open_store(self.root).close()
        self.handles = [Store(self.root), Store(self.root)]
        self.run = self.history.run()
        self.handles[0].append(self.run)
        self.model: dict[tuple[str, int], Model] = {}
        self.places: dict[bytes, tuple[Location, tuple[str, int]]] = {}
        self.refs: dict[int, Ref] = {}
        self.executed: set[bytes] = set()

    def teardown(self) -> None:
        for handle in self.handles:
            handle.close()
        shutil.rmtree(self.root.parent)

    # Operations.

    @rule(handle=HANDLES, key=KEYS, status=st.sampled_from(["done", "done", "failed"]))
    def execute(self, handle: int, key: tuple[str, int], status: str) -> None:
        begun, end = self.history.call(self.run, key[0], key=key[1], status=status)
        store = self.handles[handle]
        store.append(begun)
        store.append(end)
        location = store._tail.last
        assert location is not None
        self.places[end.id] = location, key
        self.executed.add(end.id)
        if end.memo:
            self.model.setdefault(key, Model()).memos.append(end)

    @rule(handle=HANDLES, key=KEYS)
    def find(self, handle: int, key: tuple[str, int]) -> None:
        store = self.handles[handle]
        store.catch_up()
        found = store.find_memo(digest_of(key[0]), digest_of(key))
        assert found in self.model.get(key, Model()).answers()

    @rule(handle=HANDLES, keys=st.lists(KEYS, max_size=5), task=st.sampled_from(TASKS))
    def find_many(self, handle: int, keys: list[tuple[str, int]], task: str) -> None:
        store = self.handles[handle]
        store.catch_up()
        wanted = [key for key in keys if key[0] == task]
        found = store.find_memos(digest_of(task), [digest_of(key) for key in wanted])
        for key, memo in zip(wanted, found, strict=True):
            assert memo in self.model.get(key, Model()).answers()

    @rule(handle=HANDLES, key=KEYS)
    def forget(self, handle: int, key: tuple[str, int]) -> None:
        at = self.history.now()
        self.handles[handle].append(Forget(digest_of(key), at))
        self.model.setdefault(key, Model()).forgotten = at

    @rule(target=stored, handle=HANDLES, number=NUMBERS)
    def put(self, handle: int, number: int) -> int:
        """A value is stored; where its objects were damaged meanwhile, at the second attempt."""
        store, value = self.handles[handle], VALUES[number]
        self.refs[number] = store.put(value, digest(value))
        store.append(*self.history.call(self.run, "pkg.make", output=self.refs[number]))
        self.get(handle, number)
        return number

    @rule(handle=HANDLES, number=stored)
    def get(self, handle: int, number: int) -> None:
        """A value is right, or an error says that it is not there; storing it again heals it."""
        store, value, ref = self.handles[handle], VALUES[number], self.refs[number]
        try:
            assert store.get(ref) == value
        except (CorruptObject, MissingObject):
            self.refs[number] = store.put(value, ref.digest)
            assert store.get(self.refs[number]) == value

    @rule(handle=HANDLES, number=NUMBERS)
    def describe(self, handle: int, number: int) -> None:
        value = VALUES[number]
        described = self.handles[handle].describe(value, digest(value))
        assert described.digest == digest(value)
        assert not described.is_stored or self.handles[handle].has(described)

    # What befalls it.

    @rule(handle=HANDLES)
    def reopen(self, handle: int) -> None:
        self.handles[handle].close()
        self.handles[handle] = Store(self.root)

    @rule(handle=HANDLES)
    def close(self, handle: int) -> None:
        self.handles[handle].close()

    @rule(handle=HANDLES)
    def sync(self, handle: int) -> None:
        self.handles[handle].catalog.sync()

    @rule()
    def delete_catalog(self) -> None:
        (self.root / FILE).unlink(missing_ok=True)

    @precondition(lambda self: (self.root / FILE).exists())
    @rule(place=st.floats(0, 1, exclude_max=True), length=st.sampled_from([1, 100]))
    def garble_catalog(self, place: float, length: int) -> None:
        overwrite(self.root / FILE, place, lambda old: bytes(byte ^ 0x55 for byte in old), length)

    @precondition(lambda self: self.places)
    @rule(data=st.data(), zero=st.booleans())
    def damage_record(self, data: st.DataObject, zero: bool) -> None:
        """Any byte of a record of a call is changed, or all of it is zeroed."""
        id = data.draw(st.sampled_from(sorted(self.places)))
        location, key = self.places.pop(id)
        file = self.root / "journal" / location.writer / f"{location.seq:08d}"
        at = data.draw(st.integers(0, location.length - 1))
        with open(file, "r+b") as opened:
            opened.seek(location.offset)
            content = bytearray(opened.read(location.length))
            content[at] ^= 1
            opened.seek(location.offset)
            opened.write(bytes(len(content)) if zero else content)
        self.executed.discard(id)
        self.model.setdefault(key, Model()).damaged.add(id)

    @precondition(lambda self: list((self.root / "objects").glob("??/*")))
    @rule(
        data=st.data(),
        place=st.floats(0, 1, exclude_max=True),
        how=st.sampled_from(["flip", "cut", "remove", "append"]),
    )
    def damage_object(self, data: st.DataObject, place: float, how: str) -> None:
        files = sorted((self.root / "objects").glob("??/*"))
        file = data.draw(st.sampled_from(files))
        if how == "remove":
            file.unlink()
        elif how == "cut":
            os.truncate(file, int(file.stat().st_size * place))
        elif how == "append":
            with open(file, "ab") as opened:
                opened.write(b"more")
        elif file.stat().st_size:
            overwrite(file, place, lambda old: bytes([old[0] ^ 1]), 1)

    @invariant()
    def calls_are_listed(self) -> None:
        """Every call whose record is whole is listed, once, by whoever asks."""
        store = self.handles[len(self.executed) % 2]
        rows = store.catalog.find_calls(run=self.run.id)
        ids = [row.id for row in rows]
        assert len(set(ids)) == len(ids)
        assert ids == sorted(ids, reverse=True)
        ended = {row.id for row in rows if row.ended is not None}
        assert self.executed <= ended


def overwrite(file: Path, place: float, change: Callable[[bytes], bytes], length: int) -> None:
    """Change some bytes of a file in place."""
    start = int(file.stat().st_size * place)
    with open(file, "r+b") as opened:
        opened.seek(start)
        old = opened.read(length)
        opened.seek(start)
        opened.write(change(old))


TestStoreModel = StoreMachine.TestCase
TestStoreModel.settings = settings(max_examples=40, stateful_step_count=40)
