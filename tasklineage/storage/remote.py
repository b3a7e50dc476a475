"""A remote store in step with its mirror: an ordinary local store on this machine.

    calls ──append──> mirror: own segments ──Spool──> pieces  ┐
                              objects ──────Uploads─> objects │ remote store
    look-ups <─read── mirror: others' segments <─Follower──── │
                              objects <─CachedObjects──────── ┘

Calls meet the mirror alone, with all that a local store promises. A thread puts what was recorded
when it is a megabyte or five seconds old, at the end of a map, a run and the process. What others
have put is looked for when something is not found here; how often is decided by how long it takes.

Where the remote store cannot be reached, work goes on: what is recorded waits in the spool.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasklineage.errors import CorruptObject, MissingObject, StoreError, StoreUnavailable
from tasklineage.storage import forks
from tasklineage.storage.backend import Backend
from tasklineage.storage.cached_objects import CachedObjects
from tasklineage.storage.codecs import refs_inside
from tasklineage.storage.follower import Follower
from tasklineage.storage.journal import Journal
from tasklineage.storage.patience import Patient
from tasklineage.storage.pulse import Pulse
from tasklineage.storage.records import CallEnd, Ref
from tasklineage.storage.remote_purges import heed, is_due
from tasklineage.storage.remote_sweeps import Care, Lists
from tasklineage.storage.spool import Spool, SpoolFile

if TYPE_CHECKING:
    from tasklineage.storage.store import Store

BYTES, SECONDS = 1 << 20, 5.0
"""What was recorded is put when it is so much, or so old."""
_TICK = 1.0
_PATIENCE = 20.0
"""Seconds for which passing failures are waited out."""
_LAST_PATIENCE = 60.0
"""Seconds for which the end of the process waits for a store that answers and refuses."""
_LEAST_PAUSE, _SHARE = 0.5, 20.0
"""Others are looked for at most so often, and for at most one part in so many of the time."""
_QUIETEST = 3
"""The pause before a look is doubled so often while nothing comes: up to four seconds."""
_OFFLINE_PAUSE = 15.0
"""Seconds after which a store that could not be reached is tried again."""

_log = logging.getLogger("tasklineage.storage")


class Remote:
    """Keeps a mirror and its remote store in step. Any thread may call, and a forked child.

    Parameters
    ----------
    limit
        Bytes that fetched objects may take on this machine.
    """

    def __init__(
        self, backend: Backend, mirror: Path, journal: Journal, *, read_only: bool, limit: int
    ) -> None:
        self.url = backend.url
        self.mutex = threading.Lock()
        self.backend = Patient(backend)
        self._patient = Patient(backend, _PATIENCE)
        self._mirror = mirror
        self._read_only = read_only
        self._limit = limit
        self.pulse = Pulse(self._patient)
        self.lists = Lists(self._patient, self.pulse)
        self._follower = Follower(mirror, self._patient, self.pulse)
        self._state = _State()
        journal.mirror(self._begin, self._follower.may_grow, self._lives_elsewhere)
        forks.register(self)

    def attach(self, owner: Store, objects: CachedObjects) -> None:
        """Begin: look for what is there, and put what somebody has left who was killed.

        It ends when `owner` is gone, or at `close`.
        """
        self._owner = weakref.ref(owner)
        self.cached = objects
        self._spool = self._new_spool()
        self.pull()
        if not self._read_only and self._spool.has_orphans():
            with self.mutex:
                self._start()

    def objects(self, **options: Any) -> CachedObjects:
        """The objects of the mirror, the others fetched when they are asked for."""
        return CachedObjects(self._mirror, self._patient, limit=self._limit, **options)

    def after_fork(self) -> None:
        """In a forked child: it is a writer of its own, and has no thread yet."""
        entry, self._state = self._state.entry, _State()
        if entry is not None:
            entry.close()
        self._spool = self._new_spool()

    def pull(self, *, now: bool = False) -> None:
        """What others have put is in the mirror, as of a moment ago. HOT where that is so.

        With `now`, as of now. A warning is given where the store cannot be reached.
        """
        state = self._state
        if time.monotonic() < state.pull_from and not now:
            return
        with state.pulling:
            began = time.monotonic()
            if began < state.pull_from and not now:  # another thread has done so meanwhile
                return
            pause = _LEAST_PAUSE
            try:
                is_new = self._follower.pull()
                state.quiet = 0 if is_new else min(state.quiet + 1, _QUIETEST)
                if self._read_only:
                    self._note_online()
            except StoreError as error:
                self._note_offline(error)
                pause = _OFFLINE_PAUSE
            ended = time.monotonic()
            pause = max(pause, _SHARE * (ended - began))
            state.pull_from = ended + pause
            state.look_from = ended + pause * 2**state.quiet
        if is_due(self._mirror):
            self._heed_purges()

    def look(self) -> None:
        """As `pull`, less and less often while nothing comes: something was not found here. HOT."""
        if time.monotonic() >= self._state.look_from:
            self.pull()

    def catch_up(self) -> None:
        """Everything that anybody had put is in the mirror.

        Raises
        ------
        StoreError
            It could not be brought.
        """
        with self._state.pulling:
            self._follower.pull(whole=True)
        if is_due(self._mirror):
            self._heed_purges()

    def publish(self) -> None:
        """Everything that this process has recorded is put.

        Raises
        ------
        StoreError
            It is not, and waits.
        """
        entry = self._state.entry
        if entry is not None:
            with self._state.putting:
                self._spool.put(entry)

    def flush(self, *, wait: bool = True) -> None:
        """What was recorded is put: now, or with `wait=False` in a moment.

        A warning is given where the store cannot be reached.
        """
        if self._state.entry is None:
            return
        if wait:
            self._put()
        else:
            self._state.wake.set()

    def deliver(self, writer: str, place: Callable[[], object]) -> None:
        """`place` puts the finished segments of a new writer into the mirror; they are put too.

        What is left of it after a kill is put by the next process on this machine.

        Raises
        ------
        StoreError
            Not all could be put; or `place` has raised it.
        """
        entry = self._spool.begin(writer)
        try:
            place()
            with self._state.putting:
                self._spool.put(entry)
                self._spool.end(entry)
        finally:
            entry.close()

    def adopt(self) -> None:
        """What processes of this machine have left that were killed is put.

        Raises
        ------
        StoreError
            Not all of it could be put.
        """
        with self._state.putting:
            self._spool.adopt()

    def prefetch(self, refs: Iterable[Ref]) -> None:
        """Fetch the objects of these values, and of their parts, many at once."""
        wanted = [ref for ref in refs if ref.is_stored]
        while wanted:
            self.cached.prefetch((ref.oid, ref.nbytes) for ref in wanted if ref.oid is not None)
            wanted = [part for ref in wanted for part in self._parts(ref)]

    def close(self) -> None:
        """Put everything that was recorded, and say that no more will come.

        A warning is given where that cannot be done: the next process on this machine does it.
        """
        with self._state.putting:
            is_put = self._put_at_last()
            with self.mutex:
                entry, self._state.entry = self._state.entry, None
            if entry is None:
                return
            waiting = self._spool.waiting(entry)
            if is_put:
                try:
                    self._spool.end(entry)
                except StoreError as error:  # then the next process says it
                    _log.info("%s", error)
            else:
                warnings.warn(
                    f"{waiting:,} bytes of records could not be put into {self.url}. They are safe "
                    f"in {self._mirror}, and are put by the next process on this machine that "
                    "opens the store",
                    stacklevel=2,
                )
            entry.close()
            self._state.wake.set()

    def _new_spool(self) -> Spool:
        care = Care(self._mirror, self.lists, self.cached, self._find_call, self._heed_purges)
        return Spool(self._mirror, self._patient, self.cached, self.pulse, care)

    def _heed_purges(self) -> None:
        """What other machines have erased is erased here; if that fails, the next time."""
        owner = self._owner()
        if owner is not None:
            try:
                heed(owner, self)
            except (StoreError, OSError) as error:
                _log.warning("%s", error)

    def _find_call(self, id: bytes) -> CallEnd | None:
        owner = self._owner()
        return None if owner is None else owner.catalog.call_end(id)

    def _begin(self, writer: str) -> None:
        """The journal is about to make a segment."""
        with self.mutex:
            entry = self._state.entry
            if entry is None or entry.writer != writer:
                self._state.entry = self._spool.begin(writer)
            self._start()

    def _start(self) -> None:
        if self._state.thread is None:
            thread = threading.Thread(target=self._run, name="tasklineage-remote", daemon=True)
            with contextlib.suppress(RuntimeError):  # the interpreter ends; then `close` does it
                thread.start()
                self._state.thread = thread

    def _run(self) -> None:
        """The life of the thread."""
        state = self._state
        is_urgent = True  # there may be something of somebody who was killed
        while True:
            if self._owner() is None:
                self.close()
            if is_urgent or self._is_due():
                self._put()
            with self.mutex:
                if state.entry is None:
                    state.thread = None
                    return
            self._beat()
            self.cached.trim()
            is_urgent = state.wake.wait(_TICK)
            state.wake.clear()

    def _is_due(self) -> bool:
        """Whether what waits is much, or old."""
        state, now = self._state, time.monotonic()
        entry = state.entry
        waiting = 0 if entry is None else self._spool.waiting(entry)
        if not waiting:
            state.since = None
            return False
        if state.since is None:
            state.since = now
        if state.is_offline:
            return now - state.since >= _OFFLINE_PAUSE
        return waiting >= BYTES or now - state.since >= SECONDS

    def _put(self) -> bool:
        """Whether everything that was recorded here is put."""
        state = self._state
        if self._read_only:
            return True
        with state.putting:
            state.since = None
            self._patient.unreached = 0.0 if state.is_offline else None
            try:
                entry = state.entry
                if entry is not None:
                    self._spool.put(entry)
                self._spool.adopt()
            except StoreError as error:
                self._note_offline(error)
                return False
            self._note_online()
            return True

    def _put_at_last(self) -> bool:
        """As `_put`, again and again for a minute as long as somebody answers."""
        until = time.monotonic() + _LAST_PATIENCE
        while not (is_put := self._put()):
            if self._state.is_offline or time.monotonic() >= until:
                break
        return is_put

    def _beat(self) -> None:
        entry = self._state.entry
        if entry is not None and entry.has_begun and not self._state.is_offline:
            with contextlib.suppress(StoreError):
                self.pulse.beat(entry.writer)

    def _lives_elsewhere(self, writer: str) -> bool:
        return self._follower.may_grow(writer) and self.pulse.is_alive(writer)

    def _parts(self, ref: Ref) -> list[Ref]:
        if ref.codec != "tree":
            return []
        try:
            return refs_inside(ref, self.cached.open)
        except (MissingObject, CorruptObject):
            return []

    def _note_offline(self, error: StoreError) -> None:
        is_busy = isinstance(error, StoreUnavailable) and error.is_reached
        if self._state.is_offline or is_busy:
            _log.warning("%s", error)
            return
        self._state.is_offline = True
        then = "" if self._read_only else f"; what is recorded waits in {self._mirror} until then"
        warnings.warn(
            f"{error}. Work goes on with what is known on this machine, and the store is tried "
            f"again{then}",
            stacklevel=2,
        )

    def _note_online(self) -> None:
        if self._state.is_offline:
            self._state.is_offline = False
            _log.info("%s can be reached again", self.url)


class _State:
    """What a forked child begins anew."""

    def __init__(self) -> None:
        self.entry: SpoolFile | None = None
        self.thread: threading.Thread | None = None
        self.wake = threading.Event()
        self.putting = threading.RLock()
        self.pulling = threading.Lock()
        self.pull_from = 0.0
        self.look_from = 0.0
        self.quiet = 0
        """How often nothing new has come, one time after the other."""
        self.since: float | None = None
        """When something was first seen to wait."""
        self.is_offline = False
