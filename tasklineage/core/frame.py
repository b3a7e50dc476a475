"""The call in whose body we are: what children, logs and `current_call` hang on."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

from tasklineage.core.fold import Fold

if TYPE_CHECKING:
    from tasklineage.core.origins import Given
    from tasklineage.core.run import RunState
    from tasklineage.query.runs import Run
    from tasklineage.storage.store import Store

Position = tuple[int, int | None]
_TIDY = 8
NO_KEYS: frozenset[bytes] = frozenset()


class Pending(Protocol):
    """What a call or run waits for before it ends: a Future or a Fanout."""

    def settle(self) -> None:
        """Wait until it is over; raise the failure that nobody has seen, if there is one."""

    def stop(self) -> None:
        """Start nothing more; do not wait."""

    def abandon(self) -> None:
        """Start nothing more; wait for what is in flight."""

    def can_be_dropped(self) -> bool:
        """Whether it is over and `settle` would raise nothing."""
        ...


class _Guard:
    """Orders the changes of `Frame.pending`; held for a few operations on a short list."""

    lock = threading.Lock()


def _after_fork() -> None:
    _Guard.lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


class Frame:
    """One call in flight, or the top of a run (`id` is None).

    A run that is opened in the body of a call has that call's frame as its parent: what executes in
    the run is part of what the call's memo answers for.

    A frame is carried by a `ContextVar`: it follows the code into coroutines, and the engine hands
    it over when a call moves to another thread.
    """

    __slots__ = (
        "_held", "_tidy_at", "attempt", "fold", "given", "id", "key", "parent", "pending",
        "position", "run", "task",
    )  # fmt: skip

    def __init__(
        self,
        run: RunState | None,
        id: bytes | None = None,
        task: str = "",
        key: bytes = b"",
        parent: Frame | None = None,
        position: Position | None = None,
    ) -> None:
        self.run: RunState = run  # type: ignore[assignment]  # None only for bare functions
        self.id = id
        self.task = task
        self.key = key
        self.parent = parent
        self.position = position
        self.attempt = 0
        self.fold: Fold = Fold() if id is not None or parent is None else parent.fold
        self.pending: list[Pending] = []
        """What was begun here: it is waited for before this call ends."""
        self.given: Given | None = None
        """Where the arguments came from; None: nobody knows."""
        self._tidy_at = _TIDY
        self._held: frozenset[bytes] | None = None

    @property
    def held(self) -> frozenset[bytes]:
        """The keys of this call and of its ancestors: nobody below may wait for them."""
        if self._held is None:
            above = NO_KEYS if self.parent is None else self.parent.held
            self._held = above | {self.key} if self.key else above
        return self._held

    def lasting(self, names: frozenset[bytes]) -> AbstractContextManager[object]:
        """A block in which a call that is about to execute here waits for what these stand for."""
        return self.run.store.flight.waiting(names, self.held)

    @property
    def call(self) -> Frame | None:
        """The frame of the call in whose body this is, itself or around the run; None outside."""
        frame: Frame | None = self
        while frame is not None and frame.id is None:
            frame = frame.parent
        return frame

    @property
    def store(self) -> Store | None:
        """Where calls are recorded; None where tasks are the bare functions."""
        return getattr(self.run, "store", None)

    def adopt(self, held: frozenset[bytes]) -> None:
        """Take the keys that its ancestors hold, which are in another process."""
        self._held = held

    def add_pending(self, one: Pending) -> None:
        """Have this call wait for `one` before it ends."""
        with _Guard.lock:
            if len(self.pending) >= self._tidy_at:
                self.pending = [p for p in self.pending if not p.can_be_dropped()]
                self._tidy_at = max(_TIDY, 2 * len(self.pending))
            self.pending.append(one)

    def stop_pending(self) -> None:
        """Start nothing more of what was begun here."""
        for one in list(self.pending):
            one.stop()

    def take_pending(self) -> list[Pending]:
        """What was begun here so far, which is then the caller's to wait for."""
        with _Guard.lock:
            taken, self.pending = self.pending, []
            return taken


current: ContextVar[Frame | None] = ContextVar("tasklineage.frame", default=None)


def waiting(parent: Frame, keys: Callable[[], Iterable[bytes]]) -> AbstractContextManager[object]:
    """A block in which the current call waits for calls with these keys, begun under `parent`.

    Of its own children everybody knows that it waits for them. Of others, others must be told,
    lest two calls wait for each other (see `Flight.waiting`).
    """
    frame = current.get()
    if frame is None or not frame.held or frame is parent:
        return nullcontext()
    return frame.run.store.flight.waiting(keys(), frame.held)


class CurrentCall:
    """The call in whose body we are, as `current_call` shows it."""

    __slots__ = ("_run", "attempt", "id", "position", "task")

    def __init__(
        self, id: str, task: str, attempt: int, position: Position | None, run: RunState
    ) -> None:
        self.id = id
        """32 hexadecimal digits, as `tl.get` takes them."""
        self.task = task
        self.attempt = attempt
        """0 at the first attempt, one more after each retry."""
        self.position = position
        """`(index, length)` inside a map; the length is None where the input has none."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run that records it."""
        return self._run.view()

    @property
    def run_id(self) -> str:
        """The id of that run; nothing is looked up."""
        return self._run.id.hex()

    def __repr__(self) -> str:
        return f"<CurrentCall {self.id} {self.task} attempt {self.attempt}>"


def current_call() -> CurrentCall | None:
    """The call in whose body we are; None outside."""
    top = current.get()
    frame = None if top is None else top.call
    if frame is None or frame.id is None:
        return None
    return CurrentCall(frame.id.hex(), frame.task, frame.attempt, frame.position, frame.run)
