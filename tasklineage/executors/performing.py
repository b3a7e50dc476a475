"""What executors share whose works run in other processes.

How a plain callable gets there, and what becomes of them all with a fork, Ctrl-C, and at the end.
"""

from __future__ import annotations

import atexit
import os
import threading
import uuid
import weakref
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from tasklineage.executors.base import Executor, Work, interrupts
from tasklineage.executors.threads import Threads

T = TypeVar("T")


class Performing(Executor):
    """Works are prepared and waited for by `driver`, and run by `perform`."""

    def __init__(self) -> None:
        self.token = uuid.uuid4().hex
        """What a copy of it is known by where it was made."""
        _All.known[self.token] = self

    @property
    @abstractmethod
    def driver(self) -> Threads: ...

    @abstractmethod
    def end(self) -> None:
        """Close what was opened here: no work will come any more."""

    @abstractmethod
    def interrupt(self) -> bool:
        """Call off what is at work; whether there was anything."""

    @abstractmethod
    def forget_parent(self) -> None:
        """Begin empty, in a child that was just forked: what was opened is the parent's."""

    def submit(
        self,
        call: Callable[[], T],
        *,
        resources: Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> Work[T]:
        perform = self._holding(lambda: self.perform(_Plain(call), timeout=timeout), resources)
        return self.driver.submit(perform)

    def shutdown(self, wait: bool = True) -> None:
        self.driver.shutdown(wait)
        if wait or self.driver.is_drained():
            self._finish()
        else:
            threading.Thread(target=self._finish, daemon=True).start()

    def _finish(self) -> None:
        """End when all that was submitted is over."""
        self.driver.drain()
        self.end()


class Driver(Threads):
    """The threads of another executor, by whose name they are known."""

    def __init__(self, n: int, owner: Executor) -> None:
        super().__init__(n)
        self._owner = weakref.ref(owner)

    def __repr__(self) -> str:
        return repr(self._owner())


class _Plain:
    """A callable without parameters, as `perform` takes one."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call

    def __call__(self, tell: Callable[[Any], None]) -> Any:
        tell(True)
        return self.call()


def made_here(token: str) -> Performing | None:
    """The executor with this token, if it lives and this is the process that made it."""
    return _All.known.get(token)


class _All:
    """All of them in this process."""

    known: ClassVar[weakref.WeakValueDictionary[str, Performing]] = weakref.WeakValueDictionary()


def _forget_parent() -> None:
    for one in list(_All.known.values()):
        one.forget_parent()


def _end_all() -> None:
    for one in list(_All.known.values()):
        one.end()


def _interrupt_all() -> bool:
    ended = [one.interrupt() for one in list(_All.known.values())]  # all of them
    return any(ended)


os.register_at_fork(after_in_child=_forget_parent)
atexit.register(_end_all)
interrupts.append(_interrupt_all)
