"""What the machines that share a remote store tell each other of sweeps.

The handshake is that of `sweeps`, with keys of the store instead of a counter in shared memory:

    sweep     puts what it may delete as `gc/sweeps/<n>`; brings every piece of the journal here and
              reads it; deletes what still nothing refers to; puts `gc/swept/<n>`
    writer    puts its pieces; lists `gc`

If the pieces were there before the list, the sweep reads them. If not, the writer sees the list:
when the sweep is over, it puts again whatever of that list its records need, which it still has.
Only then does it note that its pieces were put, so who is killed in between leaves that to the next
process. A sweep whose machine has not been heard of for five minutes is over.

    gc/condemned/<n>   what waits for its sweep, as in a local store
    gc/sweeps/<n>      a list, see `sweeps`; the last sixteen are kept
    gc/swept/<n>       that sweep is over
    gc/busy/<id>       somebody collects: put again every 20 seconds

In the mirror, `swept` is the number of the last sweep that `put`, the list of what is in the store,
takes into account; and `gc/lease` is the id under which this machine has collected last.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tasklineage.errors import MissingObject, StoreBusy, StoreError
from tasklineage.storage.backend import Backend, Folder
from tasklineage.storage.epochs import FOLDER
from tasklineage.storage.pulse import PERIOD, Pulse
from tasklineage.storage.reach import closure
from tasklineage.storage.sweeps import (
    LISTS_KEPT,
    Candidates,
    answer_needs,
    decode_list,
    encode_list,
)

if TYPE_CHECKING:
    from tasklineage.storage.cached_objects import CachedObjects
    from tasklineage.storage.records import CallEnd

SWEEPS, SWEPT, BUSY, PURGED = (f"{FOLDER}/{name}" for name in ("sweeps", "swept", "busy", "purges"))
DEAD_AFTER = 300.0
"""Seconds of silence, by the store's clock, after which nobody collects any more."""
_TRUSTED = 60.0
"""Seconds since its last sign of life for which a collector deletes."""
_AT_ONCE = 1000
"""Keys that are deleted with one request."""
_PAUSE = 0.5
"""Seconds between two looks at what somebody else is doing."""
_BASELINE, _LEASE = "swept", f"{FOLDER}/lease"
_clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""It goes on while the machine sleeps, where there is such a clock."""

FindCall = Callable[[bytes], "CallEnd | None"]


class State(NamedTuple):
    """What the store says of sweeps."""

    newest: int
    """The number of the last one that has begun; 0: there was none."""
    is_over: bool
    purges: frozenset[str] = frozenset()
    """The names of what was erased, see `remote_purges`."""


class Lists:
    """The lists of sweeps of a remote store. Any thread may call."""

    def __init__(self, backend: Backend, pulse: Pulse) -> None:
        self._backend = backend
        self._pulse = pulse

    def look(self) -> State:
        """What is going on now. One request.

        Raises
        ------
        StoreError
        """
        begun, over, beats = {0}, {0}, [0.0]
        purges: set[str] = set()
        for key, _, modified in self._backend.list(FOLDER):
            folder, _, name = key.rpartition("/")
            if folder == BUSY:
                beats.append(modified)
            elif folder == PURGED:
                purges.add(name)
            elif folder in (SWEEPS, SWEPT) and name.isdecimal():
                (begun if folder == SWEEPS else over).add(int(name))
        newest = max(begun | over)
        is_over = newest in over or len(beats) == 1
        is_over = is_over or max(beats) < self._pulse.now() - DEAD_AFTER
        return State(newest, is_over, frozenset(purges))

    def between(self, seen: int, newest: int) -> Candidates | None:
        """What the sweeps after `seen` may have deleted; None: anything.

        Raises
        ------
        StoreError
        """
        if newest - seen > LISTS_KEPT:
            return None
        calls, objects = set[bytes](), set[bytes]()
        for number in range(seen + 1, newest + 1):
            found = self.read(sweep_key(number))
            if found is None:
                return None
            calls |= found.calls
            objects |= found.objects
        return Candidates(calls=frozenset(calls), objects=frozenset(objects))

    def read(self, key: str) -> Candidates | None:
        """The list under that key; None if there is none, or none to be trusted."""
        try:
            return decode_list(self._backend.read(key))
        except MissingObject:
            return None

    @contextlib.contextmanager
    def announced(self, wanted: Candidates) -> Generator[None]:
        """A block in which the writers of all machines are careful about what is on the list.

        If it fails, nobody can say what was deleted: then the sweep is over when its beats end.
        """
        number = self.look().newest + 1
        self._backend.write(sweep_key(number), encode_list(wanted))
        yield
        self._backend.write(f"{SWEPT}/{number:08d}", b"")
        old = number - LISTS_KEPT
        self._backend.delete([sweep_key(old), f"{SWEPT}/{old:08d}"])

    def wait(self) -> State:
        """What the store says when nobody sweeps."""
        never = threading.Event()
        while not (state := self.look()).is_over:
            never.wait(_PAUSE)
        return state


class Care:
    """Sees to it that nothing which this process puts is swept from under it. One thread at a time.

    Parameters
    ----------
    find_call
        The record of a call that is over.
    on_purges
        Is called when there may be something that others have erased.
    """

    def __init__(
        self,
        mirror: Path,
        lists: Lists,
        objects: CachedObjects,
        find_call: FindCall,
        on_purges: Callable[[], object],
    ) -> None:
        self._folder = Folder(mirror)
        self._lists = lists
        self._objects = objects
        self._find_call = find_call
        self._on_purges = on_purges
        self._purges: frozenset[str] = frozenset()
        self._seen = self._baseline()
        self._needed: set[bytes] = set()
        self._producers: set[bytes] = set()

    def before(self, needed: set[bytes], producers: set[bytes]) -> set[bytes]:
        """The objects that have to be in the store before records are put that need these.

        What answered a hit is there, unless somebody has ever swept; then it is put again from
        here.
        """
        if not self._seen:
            return needed
        here = self._objects.has_here
        answers = (oid for call in producers for oid in self._answers(call))
        return needed.union(filter(here, answers))

    def note(self, needed: set[bytes], producers: set[bytes]) -> None:
        """Records were put that need these objects, and what these calls gave."""
        self._needed |= needed
        self._producers |= producers

    def distrust(self, needed: set[bytes]) -> None:
        """Whoever has noted that these objects were put may not have known of the last sweeps."""
        if self._seen:
            self._objects.uploads.forget(needed)

    def settle(self) -> bool:
        """Whether all that was noted is there, and stays; False: a sweep goes on that may hurt it.

        Raises
        ------
        StoreError
        """
        if not self._needed and not self._producers:
            return True
        state = self._lists.look()
        if state.purges != self._purges:
            self._purges = state.purges
            self._on_purges()
        if state.newest != self._seen:
            found = self._lists.between(self._seen, state.newest)
            hurt = self._hurt(found)
            if not state.is_over:
                if hurt:
                    return False
            else:
                known = hurt if found is None else found.objects | hurt
                self._objects.uploads.forget(known)
                self._objects.refresh()
                self._objects.uploads.ensure(hurt)
                self._take_in(state.newest)
        self._needed.clear()
        self._producers.clear()
        return True

    def _hurt(self, found: Candidates | None) -> set[bytes]:
        """What of these objects is needed."""
        calls = self._producers if found is None else self._producers & found.calls
        needed = self._needed.union(oid for call in calls for oid in self._answers(call))
        below = closure(needed, self._objects)
        return below if found is None else below & found.objects

    def _answers(self, call: bytes) -> Iterable[bytes]:
        """The objects of what a call gave."""
        record = self._find_call(call)
        return () if record is None or record.output is None else answer_needs(record)

    def _take_in(self, newest: int) -> None:
        """`put` takes all sweeps up to this one into account."""
        self._seen = newest
        if newest > self._baseline():
            self._folder.write(_BASELINE, b"%d\n" % newest)

    def _baseline(self) -> int:
        """The last sweep that `put` takes into account; of a new mirror, that knows of nothing."""
        try:
            return int(self._folder.read(_BASELINE))
        except (MissingObject, ValueError):
            return 0


class Lease:
    """Nobody else collects while it is held."""

    def __init__(self, backend: Backend, pulse: Pulse, mirror: Path) -> None:
        self._backend = backend
        self._pulse = pulse
        self._memory = Folder(mirror)
        self._key = f"{BUSY}/{os.urandom(8).hex()}"
        self._beaten = 0.0
        self._is_sure = True
        """Whether nothing that was asked for may still be deleted."""
        self._ended = threading.Event()

    @contextlib.contextmanager
    def held(self, patience: float) -> Generator[None]:
        """A block in which nobody else collects garbage of this store.

        The lock of this machine, see `sweeps.exclusive`, is held.

        Raises
        ------
        StoreBusy
            Somebody else has been at it for `patience` seconds.
        """
        self._backend.delete(self._left_behind())
        self._memory.write(_LEASE, self._key.encode())
        self._take(patience)
        thread = threading.Thread(target=self._live, name="tasklineage-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()
            if self._is_sure:  # else the others wait until it counts as dead
                self._backend.delete([self._key])

    def delete(self, keys: list[str]) -> None:
        """There is nothing under these keys, some at a time.

        Raises
        ------
        StoreBusy
            This process was stopped, or has not reached the store, for so long that others may
            think that it was killed. Nothing more is deleted.
        StoreError
            Not all could be deleted.
        """
        for start in range(0, len(keys), _AT_ONCE):
            if time.clock_gettime(_clock) - self._beaten > _TRUSTED:
                raise StoreBusy(
                    f"{self._backend.url} could not be told for {_TRUSTED:g} seconds that somebody "
                    "collects garbage in it, so nothing more was deleted: try again"
                )
            self._is_sure = False
            self._backend.delete(keys[start : start + _AT_ONCE])
            self._is_sure = True

    def _take(self, patience: float) -> None:
        """Whoever sees another one lets go and waits; so of two at once none may get it."""
        never, end = threading.Event(), time.monotonic() + patience
        while True:
            self._beat()
            others = self._others()
            if not others:
                return
            self._backend.delete([self._key])
            if time.monotonic() >= end:
                who = self._backend.read_many(others[:1]).get(others[0], b"").decode().strip()
                raise StoreBusy(
                    f"somebody else ({who or 'unknown'}) is collecting garbage in "
                    f"{self._backend.url}, or was killed at it less than {DEAD_AFTER / 60:g} "
                    "minutes ago: try again later"
                )
            never.wait(_PAUSE + int.from_bytes(os.urandom(1)) / 256)

    def _others(self) -> list[str]:
        """The keys of others who are at it."""
        alive = self._pulse.now() - DEAD_AFTER
        beats = self._backend.list(BUSY)
        return [one.key for one in beats if one.key != self._key and one.modified > alive]

    def _left_behind(self) -> list[str]:
        """The key of the one who has collected last on this machine, and was killed."""
        try:
            key = self._memory.read(_LEASE).decode("ascii", "replace")
        except MissingObject:
            return []
        return [key] if key.startswith(f"{BUSY}/") else []

    def _live(self) -> None:
        while not self._ended.wait(PERIOD):
            with contextlib.suppress(StoreError):
                self._beat()

    def _beat(self) -> None:
        now = time.clock_gettime(_clock)
        self._backend.write(self._key, f"{os.uname().nodename} {os.getpid()}\n".encode())
        self._beaten = now


def sweep_key(number: int) -> str:
    """Where the list of a sweep is."""
    return f"{SWEEPS}/{number:08d}"
