"""The journal made smaller: what removed runs have left goes, and small segments become large ones.

A pack is a writer that nobody is. It takes the place of writers that will write no more:

    write      the records that stay, in a folder that nobody looks at (see `parcel`), flushed
    announce   `journal/packing` names the pack, and the writers that it replaces
    publish    one rename: whoever lists the journal now sees the pack, and passes over the others
    count      the generation of the journal goes up (see `epochs`): every process looks for
               everything anew, and every catalog of before is made anew
    delete     the segments that are replaced, then `journal/packing`

So a reader sees each record at its old place or at its new one, and a kill at any instant leaves
one of the two; `finish` goes on where it was. Whoever knows a place from before finds it empty, and
looks again. Who reads the whole journal in one pass holds a lock, and is waited for (see `held`).

What goes was listed and waited for as the objects of a sweep are (see `gc`), and a writer that
refers to it at that moment writes it again (see `sweeps`).
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from xxhash import xxh3_64

from tasklineage.errors import StoreBusy, StoreError
from tasklineage.storage import frames, signing
from tasklineage.storage.backend import Folder
from tasklineage.storage.blocks import is_writer
from tasklineage.storage.catalog import FILE as CATALOG
from tasklineage.storage.epochs import PURGES, Counters
from tasklineage.storage.held import deleting
from tasklineage.storage.journal import Damage, Journal
from tasklineage.storage.listing import PACKING, is_segment, read_packing
from tasklineage.storage.parcel import Parcel, remove_stale
from tasklineage.storage.reach import Graph
from tasklineage.storage.records import (
    KIND_OF,
    CallBegin,
    CallEnd,
    Hit,
    LeftOut,
    RunBegin,
    RunEnd,
    RunEnvironment,
    RunTags,
    Verified,
    decode,
    encode,
    subject,
)
from tasklineage.storage.segment import segment_path, silence

if TYPE_CHECKING:
    from tasklineage.storage.store import Store

SMALL = 4 << 20
"""A writer with less than that many bytes is worth merging."""
MANY = 16
"""Small writers from which on they are merged."""
SILENT = 7 * 86_400.0
"""Seconds after which a writer of another machine, which nobody here can ask, is finished."""
_PATIENCE = 10.0
_HIDDEN = ".packing-"
"""What the names of folders begin with that nobody looks at."""
_OF_RUNS = frozenset(map(KIND_OF.__getitem__, (RunBegin, RunEnd, RunTags, RunEnvironment)))
_OF_CALLS = frozenset(map(KIND_OF.__getitem__, (CallBegin, CallEnd, Hit)))
_VERIFIED, _LEFT_OUT = KIND_OF[Verified], KIND_OF[LeftOut]


class Leaving(NamedTuple):
    """What of removed runs goes from the journal."""

    runs: frozenset[bytes] = frozenset()
    """Of which nothing stays but that they were removed."""
    calls: frozenset[bytes] = frozenset()
    above: frozenset[bytes] = frozenset()
    """Those of the calls in whose bodies others were made that stay."""
    writers: frozenset[str] = frozenset()
    """Who has written of them."""
    nbytes: int = 0

    def has(self, kind: int, payload: bytes) -> bool:
        """Whether that record goes."""
        if kind in _OF_CALLS:
            return subject(payload) in self.calls
        if kind in _OF_RUNS:
            return subject(payload) in self.runs
        return kind == _VERIFIED and bool(self.runs) and decode(kind, payload).run in self.runs


NOTHING = Leaving()


class _Unsound(Exception):
    """A writer's segments have bytes that nobody understands: they stay as they are."""

    def __init__(self, writer: str) -> None:
        super().__init__(writer)
        self.writer = writer


def leaving(
    graph: Graph,
    removed: Iterable[bytes],
    reached: Collection[bytes],
    writers: Collection[str],
    listed: Collection[bytes] | None = None,
) -> Leaving:
    """What goes of these runs, which are removed or about to be.

    Parameters
    ----------
    reached
        Calls that something needs.
    writers
        Who will write no more: what others have written stays.
    listed
        Calls that may go, if not all may.
    """
    gone: set[bytes] = set()
    calls: set[bytes] = set()
    of: set[str] = set()
    nbytes = 0
    for run in map(graph.runs.__getitem__, removed):
        if not run.writers or not run.writers <= set(writers):
            continue
        going = {c for c in run.calls if c not in reached and (listed is None or c in listed)}
        if len(going) == len(run.calls):
            gone.add(run.id)
            nbytes += run.nbytes
        if going or run.id in gone:
            of |= run.writers
        calls |= going
        nbytes += sum(graph.calls[call].nbytes for call in going)
    above = {
        call.parent for id, call in graph.calls.items() if call.parent in calls and id not in calls
    }
    return Leaving(
        frozenset(gone), frozenset(calls), frozenset(filter(None, above)), frozenset(of), nbytes
    )


def finished(store: Store) -> dict[str, int]:
    """The writers that will write no more, for all that can be known, and their bytes."""
    folder = store.journal.folder
    return {
        name: sum(os.stat(path).st_size for path in _segments(folder, name))
        for name in _names(folder)
        if is_writer(name) and not store.journal.is_alive(name) and _is_silent(folder, name)
    }


def pack(store: Store, going: Leaving = NOTHING) -> int:
    """By how many bytes the journal is smaller. The lock of `gc` is held.

    Where somebody reads the whole journal for long nothing is done: the next one does it.

    Raises
    ------
    StoreError, OSError
        Something could not be written. The journal is as it was, or as it will be when the next
        one has gone on.
    """
    finish(store)
    if not can_pack(store):
        return 0
    unsound: set[str] = set()
    while replaced := _chosen(finished(store), going, unsound):
        if not going.writers <= replaced.keys():
            going = NOTHING  # all of a run goes, or nothing
            continue
        try:
            return _packed(store, going, replaced)
        except _Unsound as error:
            unsound.add(error.writer)
    return 0


def can_pack(store: Store) -> bool:
    """Whether the journal can be packed here.

    That of a mirror cannot, whose records stand where they do in the remote store; nor that of a
    signed store without the key.
    """
    if store.read_only or store.remote is not None:
        return False
    if any(os.path.lexists(store.path / name) for name in ("spool", "followed")):
        return False
    return store.signer is not None or not os.path.lexists(store.path / signing.FILE)


def finish(store: Store) -> None:
    """What somebody has begun to replace, perhaps killed meanwhile, is replaced.

    The lock of `gc` is held.

    Raises
    ------
    StoreBusy
        Somebody reads the whole journal.
    OSError
        Something could not be deleted.
    """
    folder = store.journal.folder
    remove_stale(store.path, -math.inf, _HIDDEN)
    if not os.path.lexists(folder / PACKING):
        return
    writer, replaced = read_packing(folder)
    if writer and os.path.isdir(folder / writer):
        with deleting(store.path, _PATIENCE):
            _replace(store, replaced)
    with contextlib.suppress(OSError):
        os.rmdir(folder / writer)  # a pack of nothing
    os.unlink(folder / PACKING)


def _chosen(known: dict[str, int], going: Leaving, unsound: set[str]) -> dict[str, int]:
    """The writers that a pack would replace now, and their bytes."""
    sound = {writer: size for writer, size in known.items() if writer not in unsound}
    small = {writer for writer, size in sound.items() if size < SMALL}
    if len(small) < MANY:
        small = set()
    return {w: size for w, size in sound.items() if w in small or w in going.writers}


def _packed(store: Store, going: Leaving, replaced: dict[str, int]) -> int:
    # Whatever the store promises: what is flushed here is deleted elsewhere in a moment.
    parcel = Parcel(store.path, durability="power", signer=store.signer, prefix=_HIDDEN)
    try:
        _fill(parcel, store, going, replaced)
        size = sum(os.stat(path).st_size for path in parcel.paths())
        with contextlib.suppress(StoreBusy), deleting(store.path, _PATIENCE):
            lines = [parcel.writer, *sorted(replaced)]
            Folder(store.path, durable=True).write(
                f"{store.journal.folder.name}/{PACKING}", "".join(f"{w}\n" for w in lines).encode()
            )
            if parcel.is_empty:
                os.mkdir(store.journal.folder / parcel.writer, 0o700)
            parcel.publish()
            _replace(store, replaced)
            with contextlib.suppress(OSError):
                os.rmdir(store.journal.folder / parcel.writer)
            os.unlink(store.journal.folder / PACKING)
            return sum(replaced.values()) - size
        return 0
    finally:
        parcel.discard()


def _fill(parcel: Parcel, store: Store, going: Leaving, writers: Collection[str]) -> None:
    """The parcel has what stays of these writers' records: it was read back."""
    wanted, found = xxh3_64(), xxh3_64()
    for kind, payload in _records(store, going, writers):
        wanted.update(b"%d %d " % (kind, len(payload)) + payload)
        parcel.add(kind, payload)
    for kind, payload in parcel.written():
        found.update(b"%d %d " % (kind, len(payload)) + payload)
    if wanted.digest() != found.digest():
        raise StoreError(f"what was written to {parcel.segments} does not read back: pack again")


def _records(store: Store, going: Leaving, writers: Collection[str]) -> Iterator[tuple[int, bytes]]:
    """Kind and payload of what stays."""
    for kind, payload in _frames(store, writers):
        if not going.has(kind, payload):
            yield kind, payload
    for call in sorted(going.above):
        yield _LEFT_OUT, encode(LeftOut(call))


def _frames(store: Store, writers: Collection[str]) -> Iterator[tuple[int, bytes]]:
    """Kind and payload of all records of these writers, each one's in order.

    Raises
    ------
    _Unsound
        There are bytes in their segments that are no record of this version.
    """
    journal = Journal(store.path, read_only=True, signer=store.signer)
    told: dict[tuple[str, int], int] = {}
    """Bytes of each segment that are accounted for."""
    ends: dict[tuple[str, int], int] = {}

    def note(damage: Damage) -> None:
        if damage.reason != "unfinished":  # of that nobody was told that it was there
            raise _Unsound(damage.writer)
        key = damage.writer, damage.seq
        told[key] = told.get(key, 0) + damage.end - damage.start

    try:
        others = {name for name in _names(journal.folder) if is_writer(name)}.difference(writers)
        for writer, seq, found, end in journal.cursor({}, others).batches(None, note):
            key = writer, seq
            told[key] = told.get(key, 0) + sum(length for _, length, _, _ in found)
            ends[key] = end
            yield from ((kind, payload) for _, _, kind, payload in found)
    finally:
        journal.close()
    for writer in writers:
        for path in _segments(journal.folder, writer):
            key = writer, int(path.name)
            if told.get(key, 0) + _head_length(path) != path.stat().st_size:
                raise _Unsound(writer)


def _replace(store: Store, replaced: Iterable[str]) -> None:
    """Nobody looks for these writers any more, and they are gone; the pack is there."""
    counters = Counters(store.path, read_only=False)
    counters.set(PURGES, counters.now()[PURGES] + 1)
    for writer in replaced:
        if not store.journal.is_alive(writer):
            for path in _segments(store.journal.folder, writer):
                os.unlink(path)
            with contextlib.suppress(OSError):
                os.rmdir(store.journal.folder / writer)
    store.catalog.discard()
    (store.path / CATALOG).unlink(missing_ok=True)
    store.heed_purges()


def _is_silent(folder: Path, writer: str) -> bool:
    """Whether the writer is known to be dead, or has not been heard of for long."""
    newest = max(_segments(folder, writer), default=None)
    if newest is None:
        return False
    try:
        descriptor = os.open(newest, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return silence(descriptor) > SILENT
    finally:
        os.close(descriptor)


def _segments(folder: Path, writer: str) -> list[Path]:
    """The segments of a writer; none behind a link."""
    if os.path.islink(folder / writer):
        return []
    names = filter(is_segment, _names(folder / writer))
    return sorted(Path(segment_path(folder, writer, int(name))) for name in names)


def _head_length(path: Path) -> int:
    with open(path, "rb") as file:
        return frames.claim(file.read(4096), 0)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
