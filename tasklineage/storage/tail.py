"""What calls need of the part of the journal that the catalog does not have yet.

It is read once when a store is first used, and from then on whatever other writers have added.
This process tells of its own records as it appends them.
"""

from __future__ import annotations

import contextlib
import re
import struct
import threading
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from tasklineage.errors import CorruptObject, MissingObject
from tasklineage.storage import forks, records
from tasklineage.storage.catalog import Catalog, refs_of
from tasklineage.storage.frames import Location
from tasklineage.storage.journal import Batch, Cursor, Journal
from tasklineage.storage.kin import Kin
from tasklineage.storage.memos import Memos
from tasklineage.storage.records import (
    KIND_OF,
    Accept,
    CallEnd,
    Code,
    Forget,
    Record,
    Ref,
    Versions,
)
from tasklineage.storage.segment import LIMIT
from tasklineage.storage.tables import Offsets

LONGEST = 200_000
"""Records that are indexed in memory; with more than that the catalog is brought up to date."""

_ENDED, _CODE = KIND_OF[CallEnd], KIND_OF[Code]
_VERSIONS, _FORGET, _ACCEPT = KIND_OF[Versions], KIND_OF[Forget], KIND_OF[Accept]
_KINDS = frozenset({_ENDED, _CODE, _VERSIONS, _FORGET, _ACCEPT})
_new = tuple.__new__
_seconds = struct.Struct(">d").unpack

_end = re.compile(
    rb"\xdc..\xc4\x10.{16}\xc4\x10.{16}(?:\xc0|\xc4\x10.{16}).*?"  # id, run, parent, task
    rb"\xc4\x10.{16}\xc4\x10(.{16})\xcb.{8}"  # code, key, started
    rb"(?:\xc0|\x92.{2,18}?)[\xa4-\xac][a-z]+\xcb(.{8})([\xc2\xc3])",  # position, status, ended
    re.DOTALL,
).match
"""Key, end and memo flag of a `CallEnd`: a quarter of the price of decoding all of it. The text of
a task's name cannot end the search for its code early, for C4 10 is not UTF-8."""

R = TypeVar("R", Code, Versions)


class Interned(Generic[R]):
    """Records that are written once per digest, and where they stand. Any thread may call."""

    def __init__(
        self,
        journal: Journal,
        kind: type[R],
        search: Callable[[bytes, Offsets], list[Location]],
    ) -> None:
        self.known: set[bytes] = set()
        """Digests whose record was read or written by this process: it is there."""
        self._journal = journal
        self._kind: type[R] = kind
        self._search = search
        self._places: dict[bytes, Location] = {}

    def add(self, digest: bytes, location: Location) -> None:
        """Such a record stands there."""
        self._places[digest] = location

    def wrote(self, digest: bytes, location: Location) -> None:
        """Such a record stands there: this process has just written it."""
        self._places[digest] = location
        self.known.add(digest)

    def find(self, digest: bytes, beyond: Offsets) -> R | None:
        """The record, verified, or None."""
        place = self._places.get(digest)
        found = None if place is None else self._read(place, digest)
        if found is None and beyond:
            for location in self._search(digest, beyond):
                found = found or self._read(location, digest)
        if found is None:
            self.known.discard(digest)
        else:
            self.known.add(digest)
        return found

    def _read(self, location: Location, digest: bytes) -> R | None:
        try:
            record = self._journal.read(location)
        except (CorruptObject, MissingObject, OSError):
            return None
        is_it = isinstance(record, self._kind) and record.digest == digest
        return record if is_it else None


class Tail:
    """The position of this process in the journal, and the indices that are fed from there.

    Any thread may call, and a forked child.
    """

    def __init__(self, journal: Journal, catalog: Catalog) -> None:
        self.mutex = threading.Lock()
        self.memos = Memos(catalog)
        self.kin = Kin(journal, catalog)
        self.codes = Interned(journal, Code, catalog.codes)
        self.versions = Interned(journal, Versions, catalog.versions)
        self.beyond: Offsets = {}
        """What is behind these offsets is indexed here; what is before them is in the catalog."""
        self._journal = journal
        self._catalog = catalog
        self._cursor: Cursor | None = None
        self._restarts = 0
        self._opened_at = -1
        """Which of the restarts the cursor comes after."""
        self.last: Location | None = None
        """The last record that this process has appended and noted here."""
        self._finished: list[str] = []
        self._refs: dict[bytes, Ref] | None = None
        forks.register(self)

    def after_fork(self) -> None:
        """In a forked child: what was indexed stays good."""

    def open(self) -> None:
        """Read what the catalog does not have, if that has not been done yet."""
        if self._opened_at != self._restarts:
            with self.mutex:
                while (now := self._restarts) != self._opened_at:
                    self._cursor, self._opened_at = self._opened(), now

    def restart(self) -> None:
        """All is read again at the next question: records may stand elsewhere now, or nowhere."""
        self._restarts += 1
        self._refs = None
        self.memos.loaded.clear()

    def catch_up(self) -> bool:
        """Whether other writers have added something, which is indexed now. HOT."""
        cursor = self._cursor
        if cursor is None or self._opened_at != self._restarts:
            self.open()
            return True
        with self.mutex:
            if not cursor.poll():
                return False
            last = self.last
            if last is not None:  # no need to read what this process has written
                cursor.offsets[last.writer, last.seq] = last.offset + last.length
            return self._index(cursor.batches(_KINDS)) > 0

    def note(self, record: Record, location: Location) -> None:
        """Index what this process has just appended. HOT."""
        if isinstance(record, CallEnd):
            if record.memo:
                self.memos.add(record.key, record.ended, location)
        elif isinstance(record, Forget):
            self.memos.forget(record.key, record.at)
        elif isinstance(record, Code):
            self.codes.wrote(record.digest, location)
            self.kin.add_code(record, location)
        elif isinstance(record, Versions):
            self.versions.wrote(record.digest, location)
        elif isinstance(record, Accept):
            self.kin.add_accept(record)

    def stored(self, digest: bytes) -> Ref | None:
        """Where a value of that Digest is stored in an object, as some record says.

        What other processes have stored since the first such question is not known here.
        """
        self.open()
        if self._refs is None:
            with self.mutex:
                self._refs = self._large_refs()
        ref = self._refs.get(digest)
        if ref is None and self.beyond:
            ref = self._catalog.stored(digest, self.beyond)
        return ref

    def length(self) -> int:
        """Bytes of the journal, as far as this process knows it, that the catalog did not have."""
        offsets = dict(self._cursor.offsets) if self._cursor is not None else {}
        last = self.last
        if last is not None:
            offsets |= {(last.writer, seq): LIMIT for seq in range(1, last.seq)}  # they are full
            offsets[last.writer, last.seq] = last.offset + last.length
        return sum(end - self.beyond.get(segment, 0) for segment, end in offsets.items())

    def _opened(self) -> Cursor:
        beyond, finished = self._catalog.known()
        cursor = self._begin(beyond, finished)
        if self._index(cursor.batches(_KINDS), LONGEST) > LONGEST:
            self._catalog.sync()
            cursor = self._begin(*self._catalog.known())
            self._index(cursor.batches(_KINDS))
        return cursor

    def _begin(self, beyond: Offsets, finished: list[str]) -> Cursor:
        self.beyond, self._finished = beyond, finished
        self.memos.begin(beyond)
        self.kin.begin(beyond)
        return self._journal.cursor(beyond, finished)

    def _large_refs(self) -> dict[bytes, Ref]:
        """Every value in an object that a record says is stored and the catalog does not have."""
        found: dict[bytes, Ref] = {}
        cursor = self._journal.cursor(self.beyond, self._finished)
        for batch in cursor.batches((_ENDED,)):
            for _, _, kind, payload in batch.frames:
                with contextlib.suppress(ValueError, TypeError, IndexError):
                    record: CallEnd = records.decode(kind, payload)
                    for ref in refs_of(record):
                        if ref.oid is not None:
                            found[ref.digest] = ref
        return found

    def _index(self, batches: Iterable[Batch], most: int | None = None) -> int:
        """How many records were indexed: all, or just more than `most`."""
        count = 0
        for writer, seq, frames, _ in batches:
            memos: list[tuple[bytes, float, Location]] = []
            for offset, length, kind, payload in frames:
                found = _end(payload) if kind == _ENDED else None
                location = _new(Location, (writer, seq, offset, length))
                if found is None:
                    self._add(kind, payload, location)
                elif found[3] == b"\xc3":
                    memos.append((found[1], _seconds(found[2])[0], location))
            self.memos.add_all(memos)
            count += len(frames)
            if most is not None and count > most:
                break
        return count

    def _add(self, kind: int, payload: bytes, location: Location) -> None:
        """Index one record of any kind. What is not understood is nothing to look up."""
        with contextlib.suppress(ValueError, TypeError):
            record: Any = records.decode(kind, payload)
            if kind == _CODE:
                self.codes.add(record.digest, location)
                self.kin.add_code(record, location)
            elif kind == _VERSIONS:
                self.versions.add(record.digest, location)
            elif kind == _FORGET:
                self.memos.forget(record.key, record.at)
            elif kind == _ACCEPT:
                self.kin.add_accept(record)
            elif record.memo:
                self.memos.add(record.key, record.ended, location)
