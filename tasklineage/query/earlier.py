"""The earlier call that a call is compared with, and records that are read once.

That is the nearest of the calls of the same task that began before it: one of the same key, else
the one of which the fewest components differ, and of several such the newest. It is looked for
among those that were given one of its arguments and among the last ones, so that what it costs does
not grow with the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tasklineage.errors import CorruptObject, MissingObject
from tasklineage.query.code_differences import code_causes
from tasklineage.storage.catalog import CallRow
from tasklineage.storage.moved import record_of
from tasklineage.storage.records import DONE, Argument, CallEnd, Code, Ref
from tasklineage.storage.store import Store

_SAME_ARGUMENT = 24
"""Calls that are looked at of those with an argument of the same value."""
_MANY_OF_THE_SAME = 2_000
"""So many, where the first ones are not of the same arguments: a value may be a frequent one."""
_LAST = 48
"""Calls that are looked at of the last ones, of this run and of those before it."""


class Records:
    """The records of one store, each read once. For one answer; not for several threads."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._ends: dict[bytes, CallEnd | None] = {}
        self._codes: dict[bytes, Code | None] = {}
        self._distances: dict[tuple[bytes, bytes], int] = {}
        self._last: dict[tuple[str, bytes], list[CallEnd]] = {}

    def end(self, id: bytes) -> CallEnd | None:
        """The record of an executed call that is over; None where there is none to be read."""
        if id not in self._ends:
            self.read(self.store.catalog.calls_of([id]).values())
        return self._ends.setdefault(id, None)

    def ends(self, ids: Iterable[bytes]) -> list[CallEnd]:
        """The records of these executed calls, those that can be read."""
        wanted = list(ids)
        unread = [id for id in wanted if id not in self._ends]
        if unread:
            self.read(self.store.catalog.calls_of(unread).values())
        return [one for id in wanted if (one := self._ends.get(id)) is not None]

    def read(self, rows: Iterable[CallRow]) -> list[CallEnd]:
        """The records of these calls, of a hit that of its producer; each once, in their order."""
        found: dict[bytes, CallEnd] = {}
        hits: dict[bytes, None] = {}
        for row in rows:
            if row.producer is not None:
                hits[row.producer] = None
                continue
            if row.id not in self._ends:
                self._ends[row.id] = self._read(row)
            record = self._ends[row.id]
            if record is not None:
                found[row.id] = record
        unread = [id for id in hits if id not in found]
        if unread:
            for record in self.read(self.store.catalog.calls_of(unread).values()):
                found.setdefault(record.id, record)
        return list(found.values())

    def know(self, code: Code) -> None:
        """Let this be the record of a code version that the store may not have."""
        self._codes[code.digest] = code

    def code(self, digest: bytes) -> Code | None:
        """The parts of a code version; None where they were not recorded."""
        if digest not in self._codes:
            self._codes[digest] = self.store.code(digest) if digest else None
        return self._codes[digest]

    def distance(self, one: bytes, other: bytes) -> int:
        """How many parts of two code versions differ."""
        if one == other:
            return 0
        if (one, other) not in self._distances:
            old, new = self.code(one), self.code(other)
            self._distances[one, other] = len(code_causes(old, new)) if old and new else 1
        return self._distances[one, other]

    def last(self, task: str, before: bytes) -> list[CallEnd]:
        """The last calls of a task that began before that id, newest first."""
        key = task, before
        if key not in self._last:
            rows = self.store.catalog.find_calls(task=task, before=before, limit=_LAST)
            self._last[key] = self.read(row for row in rows if row.task == task)
        return self._last[key]

    def _read(self, row: CallRow) -> CallEnd | None:
        try:
            record = record_of(self.store, row)
        except (CorruptObject, MissingObject, OSError):
            return None
        return record if isinstance(record, CallEnd) else None


def nearest(records: Records, this: CallEnd) -> CallEnd | None:
    """The earlier call with which `this` is compared; None where the task was never called."""
    alike = list(_given_the_same(records, this))
    if not any(_differing(this, one) == 0 for one in alike):
        alike += records.last(this.task, this.run)
        alike += records.last(this.task, this.id)
    alike = [one for one in alike if one.key == this.key or not _is_of_the_same_map(this, one)]
    return min(alike, key=lambda one: _rank(records, this, one), default=None)


def arguments_of(record: CallEnd) -> dict[str, Argument]:
    """The recorded arguments by name."""
    return {fields[0]: Argument(*fields) for fields in record.arguments}


def _given_the_same(records: Records, this: CallEnd) -> Iterator[CallEnd]:
    """Earlier calls of the task that were given one of the arguments, the rarest of them."""
    catalog = records.store.catalog
    digests = {Ref(*a.ref).digest for a in arguments_of(this).values()} - {b""}
    if not digests:
        return
    found = {d: catalog.earlier_consumers(d, this.id, _SAME_ARGUMENT) for d in digests}
    rarest = min(found, key=lambda digest: len(found[digest]))
    alike = _of_task(records, found[rarest], this.task)
    if len(found[rarest]) == _SAME_ARGUMENT and all(_differing(this, one) for one in alike):
        many = catalog.earlier_consumers(rarest, this.id, _MANY_OF_THE_SAME)
        alike += [one for one in _of_task(records, many, this.task) if not _differing(this, one)]
    yield from alike


def _of_task(records: Records, ids: Iterable[bytes], task: str) -> list[CallEnd]:
    return [one for one in records.ends(ids) if one.task == task]


def _is_of_the_same_map(this: CallEnd, other: CallEnd) -> bool:
    return (
        this.position is not None
        and other.position is not None
        and (this.run, this.parent) == (other.run, other.parent)
    )


def _rank(records: Records, this: CallEnd, other: CallEnd) -> tuple[bool, int, int, bool, int]:
    """What is smallest for the nearest. Between other code and other arguments, other code is."""
    arguments = _differing(this, other)
    count = arguments + records.distance(other.code, this.code)
    newest = -int.from_bytes(other.id, "big")
    return other.key != this.key, count, arguments, other.status != DONE, newest


def _differing(this: CallEnd, other: CallEnd) -> int:
    """How many arguments and tracked extras differ."""
    one, two = arguments_of(this), arguments_of(other)
    count = sum(
        1
        for name in one.keys() | two.keys()
        if name not in one
        or name not in two
        or (one[name].counts and one[name].ref[0] != two[name].ref[0])
    )
    return count + len(set(this.salt) ^ set(other.salt))
