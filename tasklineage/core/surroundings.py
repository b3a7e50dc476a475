"""The environment of a run, found by a thread of its own after the first calls have been made.

So no call waits for it. It is recorded a moment after the run has begun, so that a run that is
killed later has it, and at the latest when the run ends or somebody asks for it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from typing import TYPE_CHECKING

from tasklineage.errors import StoreError
from tasklineage.query.slot import Slot
from tasklineage.storage import forks
from tasklineage.storage.records import Swept

if TYPE_CHECKING:
    from tasklineage.storage.store import Store


DELAY = 0.1
"""Seconds that the first calls have for themselves."""
PATIENCE = 10.0
"""Seconds that the end of a run waits for what usually takes some tenths."""


class Surroundings:
    """The environment of one run on its way to the record. For the process that began the run."""

    def __init__(self, run: bytes, store: Store) -> None:
        self._run = run
        self._store = store
        self._thread: threading.Thread | None = None
        self._is_wanted = threading.Event()
        _pending[run] = self

    def start(self) -> None:
        """Look soon. Where no thread can be had, it is done here and now."""
        if self._store.read_only:
            return
        thread = threading.Thread(target=self._record, name="tasklineage-environment", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except RuntimeError:  # the interpreter is about to end
            self._thread = None
            self._record()

    def finish(self, patience: float | None = None) -> None:
        """It is recorded, as far as it could be found, or so many seconds are over.

        There is an end to waiting: the interpreter can lose the lock of a module when Ctrl-C ends
        an import, and whoever imports that module elsewhere never gets on.
        """
        thread = self._thread
        if thread is None or thread.ident is None:  # it is about to be started
            return
        if thread is not threading.current_thread():
            self._is_wanted.set()
            thread.join(PATIENCE if patience is None else patience)
            if not thread.is_alive():
                self._thread = None

    def _record(self) -> None:
        if self._thread is not None:
            self._is_wanted.wait(DELAY)
        from tasklineage.core.environment import record_environment  # not in the way of a call

        with contextlib.suppress(StoreError):  # a full disk is told of by the run's own records
            try:
                record_environment(self._run, self._store)
            except Swept:  # what it is was swept at that moment: stored anew now
                record_environment(self._run, self._store)


_pending: weakref.WeakValueDictionary[bytes, Surroundings] = weakref.WeakValueDictionary()


def _await(run: bytes) -> None:
    found = _pending.get(run)
    if found is not None:
        found.finish()


def _before_fork() -> None:
    """No thread of ours runs during a fork: a child with the locks of another thread may hang."""
    for found in list(_pending.values()):
        found.finish(patience=forks.PATIENCE)


def _after_fork() -> None:
    """In a forked child: the runs are the parent's, which has recorded what there was."""
    _pending.clear()


# Handlers run last registered first: those of `forks`, which take the mutexes that our thread may
# need, have been registered when `forks` was imported above, so they run after this one.
os.register_at_fork(before=_before_fork, after_in_child=_after_fork)


Slot.await_environment = _await
