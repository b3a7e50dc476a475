"""The executor that runs everything at once, in the thread that submits it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextvars import copy_context
from typing import ClassVar, TypeVar

from tasklineage.errors import ConfigError
from tasklineage.executors.base import Executor, Work

T = TypeVar("T")


class Inline(Executor):
    """Runs each work inside `submit`: nothing is concurrent, and every work it gives out is done.

    Ctrl-C during a work is stored as its outcome, as everywhere, and is raised by `submit` as
    well: it was meant for the program.
    """

    name: ClassVar[str] = "inline"

    def __init__(self) -> None:
        self.slots = 1
        self._closed = False

    def __repr__(self) -> str:
        return "Inline()"

    def submit(
        self,
        call: Callable[[], T],
        *,
        resources: Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> Work[T]:
        self._refuse(timeout)
        call = self._holding(call, resources)
        if self._closed:
            raise ConfigError(f"{self!r} has been shut down: nothing can be submitted to it")
        work = Work(call, copy_context(), self)
        work.claim()
        work.run()
        if isinstance(error := work.exception(), KeyboardInterrupt) and _is_main_thread():
            raise error
        return work

    def shutdown(self, wait: bool = True) -> None:
        self._closed = True


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
