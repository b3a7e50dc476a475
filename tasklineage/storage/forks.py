"""What must happen around `os.fork` to objects that own descriptors, locks or threads.

A forked child inherits descriptors, and with them the locks of its parent, which would then outlive
the parent; and it inherits mutexes in whatever state another thread had them in. So the mutexes
are taken before the fork, and the child begins with new ones and without the descriptors.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol

PATIENCE = 1.0
"""Seconds that a fork waits for a mutex; it goes on without it rather than never."""


class Forkable(Protocol):
    """Something that has to know about forks."""

    mutex: threading.Lock
    """Held whenever a descriptor is made or dropped."""

    def after_fork(self) -> None:
        """In the child: let go of everything inherited. The mutex is a new one."""


_registered: weakref.WeakSet[Forkable] = weakref.WeakSet()
_registering = threading.Lock()
_held: list[threading.Lock] = []


def register(thing: Forkable) -> None:
    """From now on, and as long as it lives, `thing` is told about forks."""
    with _registering:
        _registered.add(thing)


def _before() -> None:
    if _registering.acquire(timeout=PATIENCE):
        _held.append(_registering)
    _held.extend(
        thing.mutex for thing in list(_registered) if thing.mutex.acquire(timeout=PATIENCE)
    )


def _after_in_parent() -> None:
    while _held:
        _held.pop().release()


def _after_in_child() -> None:
    _after_in_parent()
    for thing in list(_registered):
        thing.mutex = threading.Lock()
        thing.after_fork()


os.register_at_fork(
    before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
)
