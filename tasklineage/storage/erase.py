"""Erasing a value: its bytes are gone, and every process acts so at once.

A value stands in objects, and small ones inside the records of the calls that gave or took it, with
a preview. `erase` writes a tombstone (the record `Purged`), deletes the objects, and writes over
what stands in records, in place: a record keeps its length and its place, its checksum is made
anew, where the value stood there are spaces, and a call that gave it is no memo any more. A copy of
the new record is appended before, and all that is to be done is written down (`gc/purging`), so
that a kill in the midst of the writing loses nothing, and the next one who collects or purges goes
on. Then the counter of purges goes up, and every process drops what it has in its caches before it
looks up the next memo.

What holds the value goes with it, as far as records tell: results of which it is a part. What was
recorded after the tombstone is another matter: a call that executes again stores its result.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack

from tasklineage import config
from tasklineage.errors import MissingObject, StoreError
from tasklineage.storage import frames, packing
from tasklineage.storage.catalog import FILE as CATALOG
from tasklineage.storage.codecs import PURGED
from tasklineage.storage.epochs import FOLDER, PURGES, Counters
from tasklineage.storage.frames import MAC, Location
from tasklineage.storage.ground import Ground, ground_of
from tasklineage.storage.held import reading
from tasklineage.storage.journal import Journal
from tasklineage.storage.reach import closure, ids_of, needs_of, refs_of
from tasklineage.storage.records import (
    KIND_OF,
    CallEnd,
    Purged,
    Ref,
    RunBegin,
    RunEnvironment,
    as_ref,
    decode,
)
from tasklineage.storage.ref_names import version_key
from tasklineage.storage.refs import encode as encode_version
from tasklineage.storage.remote_purges import Frame, spread, write_over
from tasklineage.storage.signing import FILE as SIGNATURES

if TYPE_CHECKING:
    from tasklineage.storage.store import Store

PREVIEW = "purged"
_PENDING = f"{FOLDER}/purging"
"""What is to be written over and deleted, for whoever comes after a kill."""
_KINDS = frozenset({KIND_OF[CallEnd], KIND_OF[RunBegin], KIND_OF[RunEnvironment]})
_ENDED, _MEMO = KIND_OF[CallEnd], CallEnd._fields.index("memo")
_OUTPUT, _PARTS = CallEnd._fields.index("output"), CallEnd._fields.index("parts")
_REF, _ARGUMENT, _CONDITION = len(Ref._fields), 4, 4
_pack = msgpack.Packer(autoreset=True, unicode_errors="surrogatepass").pack


class Erasure(NamedTuple):
    """What erasing a value means."""

    digests: frozenset[bytes]
    """The value, and the results of which it is a part."""
    records: list[tuple[Location, int, bytes]]
    """Where it stands in records; kind and payload of each."""
    objects: dict[bytes, int]
    """Objects that hold it, or parts that nothing else needs, and their sizes."""
    calls: int
    """Calls that gave it."""
    generation: int
    """That of the journal in which the records stand there."""

    @property
    def nbytes(self) -> int:
        """What the objects take."""
        return sum(self.objects.values())


def erasure(store: Store, digest: bytes) -> Erasure:
    """What erasing the value would delete. Changes nothing.

    Raises
    ------
    StoreError
        Something could not be read.
    """
    ground_of(store).catch_up()
    generation = Counters(store.path, read_only=True).now()[PURGES]
    with reading(store.path):
        return _erasure(store, _with_holders(store, digest), generation)


def _erasure(store: Store, digests: frozenset[bytes], generation: int) -> Erasure:
    records: list[tuple[Location, int, bytes]] = []
    own: set[bytes] = set()
    parts: set[bytes] = set()
    needed: set[bytes] = set()
    calls: set[bytes] = set()
    for location, kind, payload in _frames(store):
        record = decode(kind, payload)
        if not any(one in payload for one in digests):
            needed.update(needs_of(record))
            continue
        for ref in _refs_in(record):
            if ref.digest not in digests:
                needed.update(ids_of((ref,)))
                continue
            parts.update(ids_of((ref,)))
            own.update(() if ref.oid is None else (ref.oid,))
        if isinstance(record, CallEnd) and record.output and record.output[0] in digests:
            calls.add(record.id)
        if redacted(kind, payload, digests) != payload:
            records.append((location, kind, payload))
    sizes = dict(ground_of(store).sizes())
    gone = own | (closure(parts, store.objects) - closure(needed, store.objects))
    objects = {oid: sizes[oid] for oid in gone & sizes.keys()}
    return Erasure(digests, records, objects, len(calls), generation)


def erase(store: Store, planned: Erasure, reason: str = "") -> None:
    """Nothing of the value is stored any more, and nobody serves it.

    Raises
    ------
    StoreReadOnly, StoreBusy, StoreError
        It could not be done, or not all of it: the next attempt goes on.
    """
    _demand_key(store)
    digests = planned.digests
    ground = ground_of(store)
    with ground.alone():
        finish(store, ground)
        packing.finish(store)
        generation = Counters(store.path, read_only=True).now()[PURGES]
        if generation != planned.generation:  # records stand elsewhere now
            planned = _erasure(store, digests, generation)
        writes = [
            (*location, kind, redacted(kind, payload, digests))
            for location, kind, payload in planned.records
        ]
        store.append(Purged(tuple(sorted(digests)), time.time(), config.user(), reason))
        store.journal.append_encoded([(kind, payload) for *_, kind, payload in writes])
        todo = (tuple(digests), tuple(writes), tuple(planned.objects))
        ground.backend.write(_PENDING, _signed(store, _pack(todo)))
        finish(store, ground)


def finish(store: Store, ground: Ground) -> None:
    """What somebody, perhaps killed meanwhile, has begun to erase is erased. `alone` is held.

    Raises
    ------
    OSError
        Something could not be written over or deleted.
    StoreError
        The store is signed, and this process, or who has said what is to be erased, has no key.
    """
    try:
        pending = ground.backend.read(_PENDING)
    except MissingObject:
        return
    _demand_key(store)
    digests, writes, oids = msgpack.unpackb(_believed(store, pending), use_list=False)
    erased = [_frame(store, Location(*place), kind, data) for *place, kind, data in writes]
    for frame in erased:
        write_over(store.path, frame)
    ground.delete(oids)
    forget_objects(store, oids)
    _redact_refs(store, frozenset(digests))
    if store.remote is not None:
        store.remote.publish()
        spread(store, store.remote, digests, erased, oids)
    counters = Counters(store.path, read_only=False)
    counters.set(PURGES, counters.now()[PURGES] + 1)
    # The catalogs list memos that are none any more: this handle's, and those of other handles.
    store.catalog.discard()
    for folder in store.index_folders():
        (folder / CATALOG).unlink(missing_ok=True)
    ground.backend.delete([_PENDING])
    store.heed_purges()


def _demand_key(store: Store) -> None:
    if store.signer is None and store.backend.size(SIGNATURES) is not None:
        raise StoreError(
            f"the store at {store.url} is signed: something can be purged in it only with the "
            "signing key"
        )


def _signed(store: Store, todo: bytes) -> bytes:
    return todo if store.signer is None else todo + store.signer.mac_of_purge(todo)


def _believed(store: Store, todo: bytes) -> bytes:
    """What is to be done, by somebody who may say so: it is signed again when it is done."""
    if store.signer is None:
        return todo
    if not hmac.compare_digest(todo, _signed(store, todo[:-MAC])):
        raise StoreError(
            f"{_PENDING} of {store.url} is not signed with the key of the store: nobody who has it "
            "has begun to erase that. Remove it"
        )
    return todo[:-MAC]


def _frames(store: Store) -> Iterator[tuple[Location, int, bytes]]:
    """The records of the whole journal that may name values."""
    journal = Journal(store.path, read_only=True)
    try:
        for writer, seq, found, _ in journal.cursor().batches(_KINDS):
            for offset, length, kind, payload in found:
                yield Location(writer, seq, offset, length), kind, payload
    finally:
        journal.close()


def _with_holders(store: Store, digest: bytes) -> frozenset[bytes]:
    """The value, and every result of which it is a part, or a part of a part."""
    held: dict[bytes, set[bytes]] = {}
    for _, kind, payload in _frames(store):
        if kind == _ENDED:
            record: CallEnd = decode(kind, payload)
            if record.output is not None:
                for part in record.parts:
                    held.setdefault(part[1], set()).add(record.output[0])
    found, pending = {digest}, [digest]
    while pending:
        new = held.get(pending.pop(), set()) - found
        found |= new
        pending += new
    return frozenset(found)


def _refs_in(record: Any) -> Iterator[Ref]:
    if isinstance(record, CallEnd):
        yield from refs_of(record)
    elif isinstance(record, RunBegin):
        yield from (as_ref(ref) for _, ref in record.params)
    elif isinstance(record, RunEnvironment):
        yield from map(as_ref, filter(None, (record.environment, record.diff)))


def redacted(kind: int, payload: bytes, digests: Collection[bytes]) -> bytes:
    """The payload without the values, of the same length; itself, if they are not in it."""
    fields = msgpack.unpackb(
        payload, use_list=False, strict_map_key=False, unicode_errors="surrogatepass"
    )
    bare = list(_bare(fields, digests))
    if kind == _ENDED and bare[_OUTPUT] is not None and bare[_OUTPUT][0] in digests:
        bare[_MEMO] = False
    if tuple(bare) == fields:
        return payload
    return _filled(bare, len(payload), digests) or payload


def _bare(item: Any, digests: Collection[bytes]) -> Any:
    """The same with every `Ref` to one of the values emptied, as of one that was not stored."""
    if type(item) is not tuple:
        return item
    if _is_ref_to(item, digests):
        return (*item[:4], None, None, "")
    if len(item) == _CONDITION and item[0] in ("file", "dir") and item[2] in digests:
        return (*item[:3], b"")
    found = tuple(_bare(one, digests) for one in item)
    if len(item) == _ARGUMENT and type(item[3]) is dict and _is_ref_to(item[1], digests):
        return (*found[:3], None)
    return found


def _is_ref_to(item: Any, digests: Collection[bytes]) -> bool:
    return (
        type(item) is tuple and len(item) == _REF and type(item[0]) is bytes and item[0] in digests
    )


def _filled(bare: list[Any], length: int, digests: Collection[bytes]) -> bytes | None:
    """The fields packed to that length: the first empty preview takes up what is missing."""
    missing = length - len(_pack(bare))
    for spaces in range(3):  # a text of 32 bytes takes two more than one of 31
        for size in range(max(missing - 8, 0), missing + 1):
            text = PREVIEW.ljust(size)[:size]
            packed: bytes = _pack(_with_text(bare, digests, [(text, " " * spaces)]))
            if len(packed) == length:
                return packed
    return None


def _with_text(item: Any, digests: Collection[bytes], texts: list[tuple[str, str]]) -> Any:
    """The same with a preview, and something behind the type, in the first `Ref` to a value."""
    if _is_ref_to(item, digests):
        if not texts:
            return item
        preview, more = texts.pop()
        return (item[0], item[1] + more, *item[2:6], preview)
    if type(item) in (tuple, list):
        return tuple(_with_text(one, digests, texts) for one in item)
    return item


def _frame(store: Store, location: Location, kind: int, payload: bytes) -> Frame:
    """What stands at that place from now on; what stood there had the same length."""
    writer, seq, offset, length = location
    place = frames.place(writer, seq)
    data = frames.encode(kind, payload, place, offset)
    if len(data) < length and store.signer is not None:
        signer = store.signer.segment(writer, seq)
        data = frames.encode_signed(kind, payload, place, offset, signer)
    if len(data) != length:
        raise StoreError(
            f"the record at {offset} of {writer}/{seq:08d} in the journal cannot be written over: "
            "what is to stand there has another length"
        )
    return Frame(writer, seq, offset, data)


def erased_from(store: Store, digests: frozenset[bytes]) -> list[Frame]:
    """What is to stand in the journal of this machine where there is something of these values."""
    return [
        _frame(store, location, kind, bare)
        for location, kind, payload in _frames(store)
        if any(one in payload for one in digests)
        and (bare := redacted(kind, payload, digests)) != payload
    ]


def forget_objects(store: Store, oids: Iterable[bytes]) -> None:
    """The objects, and what was once found damaged in their places, are not on this machine."""
    for oid in oids:
        quarantined = (store.path / "quarantine").glob(f"{oid.hex()}-*")
        for path in (Path(store.objects.path(oid)), *quarantined):
            path.unlink(missing_ok=True)


def _redact_refs(store: Store, digests: Collection[bytes]) -> None:
    """Versions of refs name the value and say no more of it."""
    for name in store.refs.names():
        for version in store.refs.history(name):
            if version.value is not None and version.target in digests:
                ref = version.ref
                bare = Ref(ref.digest, ref.type, PURGED, 0, b"", None, PREVIEW)
                data = encode_version(version._replace(value=bare), store.signer)
                store.backend.write(version_key(name, version.number), data)
