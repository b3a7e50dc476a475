"""What a writer has to know of sweeps, so that nothing it refers to is swept from under it.

A sweep deletes objects that were found unreachable, and a writer may be about to refer to one of
them. Neither waits for the other on the way:

    sweep    writes what it may delete to `gc/sweeps/<n>`, n odd; sets the counter to n;
             reads the whole journal again; deletes what still nothing refers to; counter n + 1
    writer   appends its record; reads the counter

If the record was there before the counter was set, the sweep reads it. If not, the writer reads
a counter that is not what it was: it then looks whether its record names anything of that list,
and if so, waits until the sweep is over and looks whether it is still there. If it is not, whoever
has the value writes it again (`Swept`). What a writer knew before, and how long it slept between
deciding and appending, does not matter, and neither does anybody's clock.

The counter is eight bytes of a file that every process maps, so reading it costs no system call.
A writer that opens the store during a sweep (n is odd), or has seen one, looks at each of its
records from then on: others of its threads may be between deciding and appending. A killed sweep
leaves an odd counter and no lock, so that nobody waits for it.

    gc/epochs        the counters, see `epochs`
    gc/sweeps/<n>    a list, see `encode_list`
    locks/gc         locked while somebody condemns, sweeps, removes or purges

The idea of making readers announce nothing and the collector wait for nothing is that of epochs
(Fraser 2004, "Practical lock-freedom", 5.2.3), turned round: here the one who refers checks.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgpack
from xxhash import xxh3_64_intdigest

from tasklineage.storage import oslock
from tasklineage.storage.epochs import FOLDER
from tasklineage.storage.held import WAIT, held
from tasklineage.storage.object_layout import unpacked
from tasklineage.storage.objects import Objects
from tasklineage.storage.reach import closure, needs_of
from tasklineage.storage.records import CallEnd, Hit, Record, Swept
from tasklineage.storage.regular import open_regular

_MAGIC, _LAYOUT = b"\xc1tlg", 1
_HEAD = struct.Struct("<4sIQ")
_MOST_LISTS = 1000
LISTS_KEPT = 16
"""Lists of sweeps that processes may still want to read."""


class Candidates(NamedTuple):
    """What a sweep may delete."""

    at: float = 0.0
    """When it was condemned, by the store's clock."""
    tags: tuple[str, ...] = ()
    """Runs that have one of these tags by then are kept."""
    runs: tuple[bytes, ...] = ()
    calls: frozenset[bytes] = frozenset()
    """Calls of those runs, and of runs taken out before, that nothing reaches."""
    objects: frozenset[bytes] = frozenset()


def encode_list(candidates: Candidates) -> bytes:
    """The bytes of a list: magic, layout and checksum as in refs, then one msgpack array."""
    fields = [
        candidates.at, candidates.tags, candidates.runs,
        b"".join(sorted(candidates.calls)), b"".join(sorted(candidates.objects)),
    ]  # fmt: skip
    payload: bytes = msgpack.packb(fields, unicode_errors="surrogatepass")
    return _HEAD.pack(_MAGIC, _LAYOUT, xxh3_64_intdigest(payload)) + payload


def decode_list(data: bytes) -> Candidates | None:
    """The list; None if it is damaged, or none."""
    payload = data[_HEAD.size :]
    if len(data) < _HEAD.size or data[: _HEAD.size] != _HEAD.pack(
        _MAGIC, _LAYOUT, xxh3_64_intdigest(payload)
    ):
        return None
    try:
        at, tags, runs, calls, objects = unpacked(payload)[:5]
        return Candidates(
            float(at), tuple(tags), tuple(runs), frozenset(_ids(calls)), frozenset(_ids(objects))
        )
    except (ValueError, TypeError):
        return None


def read_list(path: str | os.PathLike[str]) -> Candidates | None:
    """The list at `path`; None if there is none, or none to be trusted."""
    try:
        descriptor = open_regular(path)
    except OSError:
        return None
    with open(descriptor, "rb") as file:
        return decode_list(file.read())


class Watch:
    """Whether what one process has just recorded may have been swept meanwhile.

    Any thread may call, and a forked child.

    Parameters
    ----------
    began
        The counter of sweeps before this process read anything of the store.
    read_call
        The record of a call that is over, by id; None where there is none.
    """

    def __init__(
        self,
        root: Path,
        began: int,
        objects: Objects,
        read_call: Callable[[bytes], CallEnd | None],
    ) -> None:
        self._root = root
        self._objects = objects
        self._read_call = read_call
        self._seen = began - began % 2
        """Of the sweeps up to this one nothing needs to be known."""
        self._calls: set[bytes] = set()
        self._names: set[bytes] = set()
        self._is_anything = False
        """Whether a list could not be read, so that anything may have been swept."""

    def check(self, records: Iterable[Record], counter: int) -> None:
        """Return if everything that the records name is there, and stays.

        Raises
        ------
        Swept
            It is not.
        """
        self._take_in(counter)
        records = list(records)
        self._check_producers({one.producer for one in records if isinstance(one, Hit)})
        named = {oid for record in records for oid in self._named_by(record)}
        if not named:
            return
        needed = closure(named, self._objects)
        if self._is_anything or not needed.isdisjoint(self._names):
            wait_until_free(self._root)
            self._objects.refresh()
            needed = closure(named, self._objects)
            if not all(map(self._objects.has, needed)):
                raise Swept("what was just recorded has been swept")

    def _check_producers(self, calls: set[bytes]) -> None:
        """Return if the records of these calls, which have answered, are there, and stay."""
        doubtful = calls if self._is_anything else calls & self._calls
        if doubtful:
            wait_until_free(self._root)
            if not all(map(self._read_call, doubtful)):
                raise Swept("the record that has answered has left the journal")

    def _take_in(self, counter: int) -> None:
        """Whatever sweeps up to `counter` may delete is known."""
        first = self._seen + 1
        if counter - first > _MOST_LISTS:  # so many lists are not kept
            self._is_anything, first = True, counter
        for number in range(first, counter + 1):
            if number % 2:
                found = read_list(sweep_path(self._root, number))
                if found is None:
                    self._is_anything = True
                else:
                    self._calls |= found.calls
                    self._names |= found.objects
        self._seen = max(self._seen, counter)

    def _named_by(self, record: Record) -> Iterator[bytes]:
        """Objects without which the record is worth nothing."""
        if isinstance(record, Hit):
            if self._is_anything or record.producer in self._calls:
                producer = self._read_call(record.producer)
                if producer is not None and producer.output is not None:
                    yield from answer_needs(producer)
        else:
            yield from needs_of(record)


def answer_needs(producer: CallEnd) -> Iterator[bytes]:
    """Ids of the objects of a call that a hit on it cannot do without."""
    return needs_of(producer._replace(arguments=(), attempts=(), stdout=None, stderr=None))


@contextlib.contextmanager
def exclusive(root: Path, patience: float = 10.0) -> Generator[None]:
    """A block in which nobody else condemns, sweeps, removes or purges.

    Raises
    ------
    StoreBusy
        Somebody else has been at it for `patience` seconds.
    OSError
        There can be no lock: the folder cannot be written, or its file system has none.
    """
    with held(_lock_path(root), patience, "collecting garbage"):
        yield


def wait_until_free(root: Path) -> None:
    """Return when nobody sweeps.

    A sweeper that is killed is gone at once; one that is stopped is waited for.
    """
    try:
        descriptor = os.open(_lock_path(root), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return
    never = threading.Event()
    try:
        while oslock.is_file_locked(descriptor):
            never.wait(WAIT)
    except OSError:  # a file system without locks
        pass
    finally:
        os.close(descriptor)


def sweep_path(root: Path, number: int) -> Path:
    """Where the list of a sweep is."""
    return root / FOLDER / "sweeps" / f"{number:08d}"


def _lock_path(root: Path) -> Path:
    return root / "locks" / "gc"


def _ids(joined: bytes) -> Iterator[bytes]:
    return (joined[start : start + 16] for start in range(0, len(joined), 16))
