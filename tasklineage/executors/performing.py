"""What executors share whose works run in other processes.

How a plain callable gets there, and what becomes of them all with a fork, Ctrl-C, and at the end.
"""

from __future__ import annotations

import atexit
import os
import uuid
import weakref
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from tasklineage.errors import ConfigError
from tasklineage.executors.base import Executor, Work, interrupts

T = TypeVar("T")


class Performing(Executor):
    """Works are prepared and waited for by `driver`, and run by `perform`."""

    _closed: bool
    """Whether it has been shut down."""

    def __init__(self) -> None:
        self.token = uuid.uuid4().hex
        """What a copy of it is known by where it was made."""
        _All.known[self.token] = self

    @abstractmethod
    def end(self) -> None:
        """Take in no further works, and close what was opened here; do not wait."""

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
        self._check()
        perform = self._holding(lambda: self.perform(_Plain(call), timeout=timeout), resources)
        return self.driver.submit(perform)

    def _check(self) -> None:
        if self._closed:
            raise ConfigError(f"{self!r} has been shut down: nothing can be submitted to it")


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
