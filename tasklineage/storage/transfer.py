"""What one store has and another lacks, put there: the work of push, pull, export and import.

The journal of the source is read once, from end to end. A record is what its bytes say, wherever it
stands: one that the destination has under any writer is not sent again, which is all it takes to go
on after a kill. What the records need of objects is copied first, each verified on its way by the
hash that is its name; then the new records become visible, all at once (see `parcel`).

What the source has lost cannot be sent: objects that are damaged or gone are told, and the records
that name them go all the same, so that both stores say the same of them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from xxhash import xxh3_128_digest

from tasklineage.errors import CorruptObject, MissingObject, StoreError
from tasklineage.storage.codecs import PURGED
from tasklineage.storage.epochs import SWEEPS, Counters
from tasklineage.storage.erase import redacted
from tasklineage.storage.held import reading
from tasklineage.storage.journal import Damage, Journal
from tasklineage.storage.parcel import Parcel, remove_stale
from tasklineage.storage.reach import needs_of
from tasklineage.storage.records import (
    KIND_OF,
    KINDS,
    Accept,
    CallEnd,
    Hit,
    Purged,
    Record,
    Removed,
    RunBegin,
    RunEnvironment,
    Verified,
    decode,
    encode,
    subject,
)
from tasklineage.storage.shapes import malformed
from tasklineage.storage.store import Store
from tasklineage.storage.sweeps import wait_until_free

_COUNTED = {KIND_OF[RunBegin]: "runs", KIND_OF[CallEnd]: "calls", KIND_OF[Hit]: "calls"}
_WITH_VALUES = frozenset({KIND_OF[RunBegin], KIND_OF[CallEnd], KIND_OF[RunEnvironment]})
_ACCEPT, _VERIFIED, _PURGED = KIND_OF[Accept], KIND_OF[Verified], KIND_OF[Purged]
_STAYING = frozenset({KIND_OF[Removed], _PURGED})
"""What was taken out of one store, or erased there, says nothing of another."""
_MISREAD = (ValueError, TypeError, LookupError, AttributeError)
"""What a record raises that nobody here has written."""
_ERASED = PURGED.encode()
_THREADS = 8
_AT_ONCE = 256
"""Objects that are handed to the threads together."""
_ID_LENGTH = 16


class StoredBytes(Protocol):
    """Objects that can be read, as `Objects` has them."""

    def children(self, oid: bytes) -> tuple[bytes, ...]:
        """Ids of the objects that it refers to; none where it is not at hand."""
        ...

    def blocks(self, oid: bytes) -> Iterator[memoryview]:
        """The bytes of the object as they stand there, in order."""
        ...

    def size(self, oid: bytes) -> int | None:
        """Bytes of the object; None where there is none."""
        ...


class Source(NamedTuple):
    """Where records and objects come from."""

    journal: Journal
    objects: StoredBytes
    is_strange: bool = False
    """Whether it may be a stranger's: each field of each record is looked at then."""


class Target(Protocol):
    """Where they go."""

    def known(self) -> set[bytes]:
        """What it has already: the `identity` of each record."""
        ...

    def purged(self) -> Mapping[bytes, float]:
        """The Digests of values that were erased there, and when."""
        ...

    def has_end(self, call: bytes) -> bool:
        """Whether it has a record of the end of that call."""
        ...

    def has(self, oid: bytes) -> bool:
        """Whether it has that object."""
        ...

    def children(self, oid: bytes) -> tuple[bytes, ...]:
        """Ids of the objects that it refers to; none where it is not at hand."""
        ...

    def adopt(self, oid: bytes, pieces: Iterable[Any]) -> int:
        """How many bytes the object has; it is there now. Many threads may call."""
        ...

    def parcel(self) -> Parcel:
        """What takes the records, until they are published or discarded."""
        ...

    def publish(self, parcel: Parcel) -> None:
        """The records are there."""
        ...

    def has_swept(self) -> bool:
        """Whether objects that it had at the beginning may have gone before the records came."""
        ...


SENT, PRESENT, DAMAGED, MISSING = "sent", "present", "damaged", "missing"


class _Outcome(NamedTuple):
    """What became of an object."""

    what: str
    nbytes: int = 0
    """That were sent."""
    below: tuple[bytes, ...] = ()
    """Ids of the objects that it refers to."""


class Chosen(NamedTuple):
    """Only records about one of these travel."""

    subjects: frozenset[bytes]
    """Ids of runs and calls, keys, digests of code versions and of interned sets."""
    codes: frozenset[bytes]
    """Code versions: what was accepted for or of one of them travels too."""

    def has(self, kind: int, payload: bytes) -> bool:
        """Whether that record travels."""
        if kind == _ACCEPT:
            accept: Accept = decode(kind, payload)
            return not self.codes.isdisjoint((accept.code, *accept.accepted))
        return kind not in _STAYING and (
            subject(payload) in self.subjects
            or (kind == _VERIFIED and decode(kind, payload).call in self.subjects)
        )


class AllBut(NamedTuple):
    """All records travel but those about one of these."""

    subjects: frozenset[bytes] = frozenset()
    """Ids of runs and calls."""

    def has(self, kind: int, payload: bytes) -> bool:
        """Whether that record travels."""
        return kind not in _STAYING and not (
            subject(payload) in self.subjects
            or (kind == _VERIFIED and self.subjects and decode(kind, payload).run in self.subjects)
        )


Selection = Chosen | AllBut


class Progress(NamedTuple):
    """How far the objects are."""

    done: int
    total: int
    nbytes: int
    """Of those that were sent."""


class Sent(NamedTuple):
    """What has travelled, and what could not."""

    runs: int = 0
    calls: int = 0
    records: int = 0
    """All of them, those of runs and calls included."""
    objects: int = 0
    nbytes: int = 0
    """Of records and objects."""
    present: int = 0
    """Objects that were needed and there already."""
    damaged: tuple[bytes, ...] = ()
    """Objects of the source that are not what was written."""
    missing: tuple[bytes, ...] = ()
    """Objects that the source's records name and nobody has."""
    broken: tuple[Damage, ...] = ()
    """Bytes of the source's journal that are no sound record."""
    unknown: int = 0
    """Records of the source that this version does not understand, or that nobody writes so; they
    were left out."""


class IntoStore:
    """A store as the target."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._purged: dict[bytes, float] = {}
        self._counters = Counters(store.path, read_only=True)
        self._calm = self._counters.now()[SWEEPS]  # before anything is looked for: see `sweeps`
        self.has = store.objects.has
        self.children = store.objects.children
        self.adopt = store.objects.adopt

    def known(self) -> set[bytes]:
        self._store.catch_up()
        known: set[bytes] = set()
        # A journal of its own: this reader wants to see writers that others skip.
        for kind, payload in _frames(reader(self._store)):
            known.add(identity(kind, payload))
            if kind == _PURGED:
                erased: Purged = decode(kind, payload)
                self._purged.update((digest, erased.at) for digest in erased.digests)
        return known

    def purged(self) -> Mapping[bytes, float]:
        return self._purged

    def has_end(self, call: bytes) -> bool:
        row = self._store.catalog.calls_of([call]).get(call)
        return row is not None and row.ended is not None

    def parcel(self) -> Parcel:
        remove_stale(self._store.path)
        store = self._store
        return Parcel(store.path, durability=store.durability, signer=store.signer)

    def publish(self, parcel: Parcel) -> None:
        remote = self._store.remote
        if remote is None:
            parcel.publish()
        elif parcel.is_empty:
            remote.adopt()
        else:
            remote.deliver(parcel.writer, parcel.publish)
        self._store.catch_up()  # look-ups of this process know of them too

    def has_swept(self) -> bool:
        counter = self._counters.now()[SWEEPS]
        if counter == self._calm and counter % 2 == 0:
            return False
        wait_until_free(self._store.path)
        return True


class Nowhere:
    """A store that is not there yet, as the target of a dry run."""

    def known(self) -> set[bytes]:
        return set()

    def purged(self) -> Mapping[bytes, float]:
        return {}

    def has_end(self, call: bytes) -> bool:
        del call
        return False

    def has(self, oid: bytes) -> bool:
        del oid
        return False

    def children(self, oid: bytes) -> tuple[bytes, ...]:
        del oid
        return ()

    def adopt(self, oid: bytes, pieces: Iterable[Any]) -> int:
        del oid, pieces
        return 0

    def parcel(self) -> Parcel:
        return Parcel(Path(os.devnull))  # nothing is put into it

    def publish(self, parcel: Parcel) -> None:
        del parcel

    def has_swept(self) -> bool:
        return False


def reader(store: Store) -> Journal:
    """The journal of a store for one pass over all of it, which leaves the store's own as it is."""
    return Journal(store.path, read_only=True, signer=store.signer)


def identity(kind: int, payload: bytes) -> bytes:
    """What two records have in common that say the same, wherever they stand."""
    return xxh3_128_digest(payload, seed=kind)


def send(
    source: Source,
    target: Target,
    selection: Selection,
    *,
    notes: Iterable[Record] = (),
    extra: Iterable[bytes] = (),
    dry_run: bool = False,
    tell: Callable[[Progress], object] = lambda _: None,
) -> Sent:
    """What of the source the target lacked; it has it now.

    Parameters
    ----------
    selection
        Which records.
    notes
        Records that are sent with them.
    extra
        Objects that are needed beside those of the records.
    dry_run
        Nothing is written; the objects are not read.
    tell
        Is called now and then, by this thread.

    Raises
    ------
    StoreError
        Something could not be written. No record is visible then; objects that were copied stay,
        and need not be copied again.
    """
    sending = _Sending(source, target)
    parcel = target.parcel()
    try:
        sending.records(parcel, selection, notes, dry_run=dry_run)
        sending.need(extra)
        sending.objects(dry_run=dry_run, tell=tell)
        if not dry_run:
            target.publish(parcel)
            if target.has_swept():
                sending.look_again()
    finally:
        parcel.discard()
    return sending.sent()


class _Sending:
    """One transfer: `records`, then `objects`."""

    def __init__(self, source: Source, target: Target) -> None:
        self._source = source
        self._target = target
        self._counts = Counter[str]()
        self._broken: list[Damage] = []
        self._needed: dict[bytes, None] = {}
        self._newest: dict[bytes, tuple[float, tuple[bytes, ...]]] = {}
        """When the newest record of a call says that it ended, and what that one needs."""
        self._outcomes: dict[bytes, str] = {}

    def records(
        self, parcel: Parcel, selection: Selection, notes: Iterable[Record], *, dry_run: bool
    ) -> None:
        """What is wanted and not there is in the parcel; what is wanted needs is known."""
        known = self._target.known()
        found = _frames(self._source.journal, self._broken.append)
        more = ((KIND_OF[type(note)], encode(note)) for note in notes)
        for kind, full in chain((one for one in found if selection.has(*one)), more):
            try:
                payload = self._erased(kind, full)
                if payload is None:
                    continue
                self._note(kind, payload)
            except _MISREAD:
                self._counts["unknown"] += 1
                continue
            one = identity(kind, payload)
            if one in known:
                continue
            known.add(one)
            self._counts.update(("records", _COUNTED.get(kind, "others")))
            self._counts["nbytes"] += len(payload)
            if not dry_run:
                parcel.add(kind, payload)

    def _erased(self, kind: int, payload: bytes) -> bytes | None:
        """The record without values that were erased at the target.

        None of one without values that were erased at the source, where the target has it whole.
        """
        if kind not in _WITH_VALUES:
            return payload
        named = {one: at for one, at in self._target.purged().items() if one in payload}
        if named:
            record = decode(kind, payload)
            ended = record.ended if isinstance(record, CallEnd) else 0.0
            gone = frozenset(one for one, at in named.items() if ended <= at)
            return redacted(kind, payload, gone) if gone else payload
        if _ERASED in payload and kind == KIND_OF[CallEnd]:
            record = decode(kind, payload)
            if _tells_of_erasure(record) and self._target.has_end(record.id):
                return None
        return payload

    def _note(self, kind: int, payload: bytes) -> None:
        """What the record needs is needed; of several records of one call, what the newest does.

        Raises
        ------
        ValueError, TypeError, LookupError, AttributeError
            It is no record that this version understands.
        """
        if kind not in KINDS:
            raise ValueError(f"unknown kind of record: {kind}")
        if kind not in _WITH_VALUES and not self._source.is_strange:
            return
        record = decode(kind, payload)
        if self._source.is_strange and malformed(record):
            raise ValueError("no such record is written here")
        needs = _needed(record)
        if not isinstance(record, CallEnd):
            self.need(needs)
        elif needs or record.id in self._newest:
            ended, known = self._newest.get(record.id, (record.ended, ()))
            if ended <= record.ended:
                needs = needs if ended < record.ended else (*known, *needs)
                self._newest[record.id] = record.ended, needs

    def need(self, oids: Iterable[bytes]) -> None:
        """These objects are needed, and what they refer to."""
        self._needed.update(dict.fromkeys(oids))

    def objects(self, *, dry_run: bool, tell: Callable[[Progress], object]) -> None:
        """Every object that is needed is at the target, or it is known what became of it."""
        step = self._weighed if dry_run else self._copied
        for _, needs in self._newest.values():
            self.need(needs)
        level = list(self._needed)
        total = len(level)
        with ThreadPoolExecutor(_THREADS) as threads:
            while level:
                below: dict[bytes, None] = {}
                for start in range(0, len(level), _AT_ONCE):
                    some = level[start : start + _AT_ONCE]
                    for oid, outcome in zip(some, threads.map(step, some), strict=True):
                        self._outcomes[oid] = outcome.what
                        self._counts["nbytes"] += outcome.nbytes
                        below.update(dict.fromkeys(outcome.below))
                    tell(Progress(len(self._outcomes), total, self._counts["nbytes"]))
                level = [oid for oid in below if oid not in self._outcomes]
                total += len(level)

    def look_again(self) -> None:
        """What was swept just before the records were there is sent again."""
        for oid, outcome in self._outcomes.items():
            if outcome in (SENT, PRESENT) and not self._target.has(oid):
                self._outcomes[oid] = self._copied(oid).what

    def sent(self) -> Sent:
        """What came of it."""
        counts, by_outcome = self._counts, Counter(self._outcomes.values())
        lost = {
            what: tuple(oid for oid, outcome in self._outcomes.items() if outcome == what)
            for what in (DAMAGED, MISSING)
        }
        return Sent(
            counts["runs"], counts["calls"], counts["records"], by_outcome[SENT], counts["nbytes"],
            by_outcome[PRESENT], lost[DAMAGED], lost[MISSING], tuple(self._broken),
            counts["unknown"],
        )  # fmt: skip

    def _copied(self, oid: bytes) -> _Outcome:
        """What became of an object that is needed."""
        if self._target.has(oid):
            return _Outcome(PRESENT, 0, self._below(oid))
        try:
            nbytes = self._target.adopt(oid, self._pieces(oid))
        except CorruptObject:
            return _Outcome(DAMAGED)
        except MissingObject:
            return _Outcome(MISSING)
        return _Outcome(SENT, nbytes, self._below(oid))

    def _weighed(self, oid: bytes) -> _Outcome:
        """As `_copied`, if it were done and the object is what was written."""
        if self._target.has(oid):
            return _Outcome(PRESENT, 0, self._below(oid))
        size = self._source.objects.size(oid)
        return _Outcome(MISSING) if size is None else _Outcome(SENT, size, self._below(oid))

    def _below(self, oid: bytes) -> tuple[bytes, ...]:
        """The objects that one refers to, as that side says which has it at hand."""
        return self._source.objects.children(oid) or self._target.children(oid)

    def _pieces(self, oid: bytes) -> Iterator[memoryview]:
        """The bytes of an object. One that cannot be read is as good as damaged."""
        try:
            yield from self._source.objects.blocks(oid)
        except StoreError as error:
            raise CorruptObject(error.message, oid=oid) from error


def _frames(
    journal: Journal, on_damage: Callable[[Damage], object] = lambda _: None
) -> Iterator[tuple[int, bytes]]:
    """Kind and payload of every sound record."""

    def tell(damage: Damage) -> None:
        if damage.reason != "unfinished":  # nobody was ever told that it was there
            on_damage(damage)

    with reading(journal.folder.parent):
        for batch in journal.cursor().batches(on_damage=tell):
            for _, _, kind, payload in batch.frames:
                yield kind, payload


def _tells_of_erasure(record: CallEnd) -> bool:
    """Whether a value was erased from the record."""
    refs = [
        record.output,
        record.stdout,
        record.stderr,
        *(fields[1] for fields in record.arguments),
    ]
    return any(ref is not None and ref[2] == PURGED for ref in refs)


def _needed(record: Any) -> tuple[bytes, ...]:
    """Ids of the objects that a record names.

    Raises
    ------
    ValueError, TypeError, LookupError, AttributeError
        It is not such a record as anybody here writes.
    """
    found = tuple(needs_of(record))
    if any(type(oid) is not bytes or len(oid) != _ID_LENGTH for oid in found):
        raise ValueError("what is to name an object is no id")
    return found
