"""Waits for a part of something that last: somebody may have to do without what it waits for.

Who holds a unit and waits for a call in flight may wait for somebody who waits for that unit. The
executors cannot see the one, and what keeps the calls in flight cannot see the other. So a unit has
a name that looks like the key of a call, and who waits for one for long says so as if for a call.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

Tell = Callable[[frozenset[bytes]], AbstractContextManager[object]]
PATIENCE = 1.0
"""Seconds after which a wait is told of: most end sooner."""

_told: ContextVar[Tell | None] = ContextVar("tasklineage_lasting", default=None)


def name_of(whole: str, part: str) -> bytes:
    """What stands for the units of one thing among the keys of calls."""
    return f"{whole} {part}".encode()


@contextmanager
def told_to(tell: Tell | None) -> Generator[None]:
    """A block whose lasting waits are told: they take place inside of `tell(names)`."""
    token = _told.set(tell)
    try:
        yield
    finally:
        _told.reset(token)


def lasts(names: frozenset[bytes]) -> AbstractContextManager[object]:
    """A block in which the units of that name are waited for, by somebody who has done so long."""
    tell = _told.get()
    return nullcontext() if tell is None else tell(names)
