"""Who is alive: each writer has a small key in the remote store, and writes it again and again.

    alive/<writer>     host and process id, for people; what counts is its age, by the store's clock

It is there before the first piece of the writer, and deleted when all of its pieces are there: by
itself at its end, or, if it was killed, by the next process on its machine. So a writer without
this key has nothing to come.
"""

from __future__ import annotations

import os
import time

from tasklineage.errors import StoreError
from tasklineage.storage.backend import Backend

FOLDER = "alive"
PERIOD = 20.0
"""Seconds between two beats."""
DEAD_AFTER = 90.0
"""Seconds of silence after which a writer of another machine counts as dead."""
_FRESH = 5.0
"""Seconds for which a look at the store serves."""
_CLOCK_FRESH = 600.0


class Pulse:
    """The beats of this machine's writers, and those of all others. Any thread may call."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._beaten = 0.0
        self._seen: dict[str, float] = {}
        self._looked = -_FRESH
        self._ahead = 0.0
        self._asked = -_CLOCK_FRESH

    def beat(self, writer: str, *, is_first: bool = False) -> None:
        """The writer lives, where it is time to say so.

        Raises
        ------
        StoreError
        """
        if is_first or time.monotonic() - self._beaten >= PERIOD:
            content = f"{os.uname().nodename} {os.getpid()}\n"
            self._backend.write(f"{FOLDER}/{writer}", content.encode())
            self._beaten = time.monotonic()

    def end(self, writer: str) -> None:
        """All pieces of the writer are there, and it puts no more.

        Raises
        ------
        StoreError
        """
        self._backend.delete([f"{FOLDER}/{writer}"])

    def look(self) -> dict[str, float]:
        """When each writer that has not ended has beaten last, by the store's clock. One request.

        Raises
        ------
        StoreError
        """
        skipped = len(FOLDER) + 1
        seen = {entry.key[skipped:]: entry.modified for entry in self._backend.list(FOLDER)}
        self._seen, self._looked = seen, time.monotonic()
        return seen

    def is_alive(self, writer: str) -> bool:
        """Whether the writer has beaten of late, as seen a few seconds ago at most."""
        try:
            if time.monotonic() - self._looked >= _FRESH:
                self.look()
            modified = self._seen.get(writer)
            return modified is not None and self.now() - modified < DEAD_AFTER
        except StoreError:  # nobody can tell: what was known last holds
            return writer in self._seen

    def now(self) -> float:
        """Seconds since the epoch by the store's clock, which is asked every ten minutes.

        Raises
        ------
        StoreError
        """
        if time.monotonic() - self._asked >= _CLOCK_FRESH:
            self._ahead = self._backend.now() - time.time()
            self._asked = time.monotonic()
        return time.time() + self._ahead
