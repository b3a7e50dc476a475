"""What was erased from a remote store is erased from the mirrors of all machines.

    gc/purges/<name>    a msgpack array of digests, of frames that stand in segments now (writer,
                        sequence number, offset, bytes), and of ids of objects that are gone; of a
                        signed store, its MAC behind it

Who erases writes over the pieces in which the value stands, each as a whole, and puts this key
after that. So whoever brings a piece later brings it without the value, and whoever has brought it
before finds the key: a `Purged` record that comes in a piece tells of it, and so does the listing
of `gc` that a writer makes after it has put something. Each machine then writes the frames over its
own copies. What its own writers have recorded and the other could not know of, it erases too, from
the pieces as well, and says so with a key of its own.

    <mirror>/purges       the names that were heeded, a line each
    <mirror>/purges.due   a piece with a `Purged` record was brought, and that was not heeded yet
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import msgpack
from xxhash import xxh3_128_hexdigest

from tasklineage.errors import MissingObject
from tasklineage.storage import frames
from tasklineage.storage.backend import Backend, Folder
from tasklineage.storage.catalog import FILE as CATALOG
from tasklineage.storage.epochs import FOLDER, PURGES, Counters
from tasklineage.storage.follower import DUE, Followed
from tasklineage.storage.follower import FILE as FOLLOWED
from tasklineage.storage.pieces import FOLDER as JOURNAL
from tasklineage.storage.pieces import parse
from tasklineage.storage.segment import segment_path
from tasklineage.storage.sweeps import exclusive

if TYPE_CHECKING:
    from tasklineage.storage.remote import Remote
    from tasklineage.storage.store import Store

KEYS = f"{FOLDER}/purges"
_HEEDED = "purges"
_PATIENCE = 30.0

_log = logging.getLogger("tasklineage.storage")


class Frame(NamedTuple):
    """What stands at a place of the journal now."""

    writer: str
    seq: int
    offset: int
    data: bytes


Frames: TypeAlias = list[Frame]


def spread(
    store: Store, remote: Remote, digests: Collection[bytes], erased: Frames, oids: Iterable[bytes]
) -> None:
    """The pieces have these frames, and all machines are told.

    Raises
    ------
    StoreError
    """
    _rewrite(remote.backend, erased)
    todo: bytes = msgpack.packb((tuple(digests), tuple(erased), tuple(oids)))
    name = xxh3_128_hexdigest(todo)
    mac = b"" if store.signer is None else store.signer.mac_of_purge(todo)
    remote.backend.write(f"{KEYS}/{name}", todo + mac)
    _note(store.path, [name])


def heed(store: Store, remote: Remote) -> None:
    """What other machines have erased by now is erased from this mirror.

    Raises
    ------
    StoreError, OSError
        Not all of it; the next attempt goes on.
    """
    names = set(remote.backend.names(KEYS)) - _heeded(store.path)
    if names:
        with exclusive(store.path, _PATIENCE):
            for name in sorted(names - _heeded(store.path)):
                _heed(store, remote, name)
                _note(store.path, [name])
    (store.path / DUE).unlink(missing_ok=True)


def _heed(store: Store, remote: Remote, name: str) -> None:
    from tasklineage.storage.erase import erased_from, forget_objects  # which need this module

    try:
        data = remote.backend.read(f"{KEYS}/{name}")
    except MissingObject:
        return
    if store.signer is not None:
        data, mac = data[: -frames.MAC], data[-frames.MAC :]
        if store.signer.mac_of_purge(data) != mac:
            _log.warning("%s/%s is not signed with the key of the store: nothing is erased",
                         KEYS, name)  # fmt: skip
            return
    unpacker = msgpack.Unpacker(use_list=False)
    unpacker.feed(data)
    digests, found, oids = unpacker.unpack()
    erased = [Frame(*fields) for fields in found]
    others = Followed(store.path / FOLLOWED).all()
    own = [
        one
        for one in erased_from(store, frozenset(digests))
        if one.writer not in others and one not in erased
    ]
    is_changed = [write_over(store.path, one) for one in (*erased, *own)]
    forget_objects(store, oids)
    remote.cached.uploads.forget(oids)
    remote.cached.refresh()
    if any(is_changed):
        counters = Counters(store.path, read_only=False)
        counters.set(PURGES, counters.now()[PURGES] + 1)
        for folder in store.index_folders():
            (folder / CATALOG).unlink(missing_ok=True)
    if own and not store.read_only:
        spread(store, remote, digests, own, ())


def write_over(mirror: Path, frame: Frame) -> bool:
    """Whether something else stood at the place of the frame, where the mirror has it."""
    if not frames.is_sound(frame.data, frames.place(frame.writer, frame.seq), frame.offset):
        return False
    path = segment_path(mirror / JOURNAL, frame.writer, frame.seq)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        here = os.pread(fd, len(frame.data), frame.offset)
        if len(here) < len(frame.data) or here == frame.data:
            return False
        done = 0
        while done < len(frame.data):
            done += os.pwrite(fd, frame.data[done:], frame.offset + done)
    finally:
        os.close(fd)
    return True


def _rewrite(backend: Backend, erased: Frames) -> None:
    """Each piece has the frames that stand in it."""
    writers: dict[str, Frames] = {}
    for frame in erased:
        writers.setdefault(frame.writer, []).append(frame)
    for writer, some in writers.items():
        for piece in filter(None, map(parse, backend.list(f"{JOURNAL}/{writer}"))):
            inside = [
                one
                for one in some
                if one.seq == piece.seq
                and piece.start <= one.offset
                and one.offset + len(one.data) <= piece.end
            ]
            if inside:
                data = bytearray(backend.read(piece.key))
                for one in inside:
                    at = one.offset - piece.start
                    data[at : at + len(one.data)] = one.data
                backend.write(piece.key, bytes(data))


def _heeded(mirror: Path) -> set[str]:
    try:
        return set(Folder(mirror).read(_HEEDED).decode("ascii", "replace").split())
    except MissingObject:
        return set()


def _note(mirror: Path, names: Iterable[str]) -> None:
    known = sorted({*_heeded(mirror), *names})
    Folder(mirror).write(_HEEDED, "".join(f"{name}\n" for name in known).encode())


def is_due(mirror: Path) -> bool:
    """Whether somebody has erased something that this mirror may have."""
    return (mirror / DUE).exists()
