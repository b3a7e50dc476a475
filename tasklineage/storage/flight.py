"""The same call asked for twice at the same time executes once, on one machine.

Whoever is about to execute a call acquires its key. Within a process a table tells who has which
key; the kernel tells it between processes, through a lock that it frees when its holder dies
(`oslock`). Who finds the key taken waits, then looks for the memo that the other has left.

Two things could make such waiting last for ever, and both end in executing without the key, which
is harmless since a call may be executed twice:

- a call waits for itself: its key is held by one of its own ancestors, or its thread;
- calls wait for each other: see `waits`.

An acquire that finds nobody is the common case by far. It takes one operation on a dict, which the
interpreter makes atomic, and one system call; no mutex.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, ClassVar

from tasklineage.storage import forks
from tasklineage.storage.oslock import key_locks
from tasklineage.storage.waits import Board, Wait, is_on_cycle, victims

if TYPE_CHECKING:
    import asyncio

Slot = tuple[int, bool]
"""Who has a key in this process: its thread, and whether it is a coroutine there."""

_NOTHING = contextlib.nullcontext()
_SHORTEST, _LONGEST = 0.001, 0.05
"""Seconds between two looks at a key that another process has; they double in between."""
_TICK = 0.02
"""Seconds between two looks at the waits of other processes."""
_LINGER = 50
"""Ticks without a wait after which nobody looks any more."""
_GRACE = 1.0
"""Seconds after which a wait on a cycle yields although it would be another's turn."""


class Beside:
    """What is held beside keys, and freed as late as they."""

    held: ClassVar[Callable[..., frozenset[bytes]]] = frozenset
    """`held()`: names among keys of what the calling thread holds. The engine fills it in."""


class Flight:
    """The keys of calls in flight on this machine.

    Every method may be called from any thread; a key is released by the thread that acquired it.
    An interrupt (Ctrl-C) leaves no key behind in

        if flight.acquire(key, held):
            try:
                ...
            finally:
                try:
                    flight.release(key)
                finally:
                    flight.release(key)  # does nothing, unless the first one was interrupted

    since the interpreter looks for signals when a function is entered, not when it returns.

    Parameters
    ----------
    root
        The store's folder. Locks are in its `locks`, the waits of processes in its `waits`.
    journal_writer
        Gives the id of this process among the writers of the store.
    read_only
        Nothing can be recorded, so there is no point in waiting for others: `acquire` gives False.
    """

    def __init__(
        self, root: str | Path, journal_writer: Callable[[], str], read_only: bool = False
    ) -> None:
        self.mutex = threading.Lock()
        """Guards the queues and the waits, not the holders."""
        self._read_only = read_only
        self._writer = journal_writer
        folder = Path(os.path.abspath(root))
        self._locks = key_locks(folder / "locks")
        self._board = Board(folder / "waits", self._locks)
        self._holders: dict[bytes, Slot] = {}
        self._queues: dict[bytes, list[_Waiter]] = {}
        self._waits: dict[int, tuple[Wait, _Waiter | None]] = {}
        self._numbers = itertools.count()
        self._watcher: threading.Thread | None = None
        self._publishing = threading.Lock()
        forks.register(self)

    def acquire(
        self,
        key: bytes,
        held: frozenset[bytes],
        pausing: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext,
    ) -> bool:
        """Whether the caller has the key now, and must release it; waits while others have it. HOT.

        False: it shall execute the call without it. `held` are the keys of the caller's ancestors.
        If there is a wait, it takes place inside `pausing()`.
        """
        if key in held or self._read_only:
            return False
        slot = (get_ident(), False)
        try:
            if self._holders.setdefault(key, slot) is slot and self._locks.try_lock(key):
                return True
            with pausing():
                held |= Beside.held()
                return self._wait(_ThreadWaiter(key, held, slot, next(self._numbers)))
        except BaseException:
            self._drop(key, slot)
            raise

    def try_acquire(self, key: bytes, held: frozenset[bytes]) -> bool:
        """As `acquire`, but where somebody else has the key it is left to them."""
        if key in held or self._read_only:
            return False
        slot = (get_ident(), False)
        try:
            if self._holders.setdefault(key, slot) is slot:
                if self._locks.try_lock(key):
                    return True
                self._holders.pop(key, None)
        except BaseException:
            self._drop(key, slot)
            raise
        return False

    async def acquire_async(
        self,
        key: bytes,
        held: frozenset[bytes],
        pausing: Callable[[], AbstractAsyncContextManager[object]] = contextlib.nullcontext,
    ) -> bool:
        """As `acquire`, for a coroutine: other coroutines of its loop go on meanwhile."""
        if key in held or self._read_only:
            return False
        slot = (get_ident(), True)
        try:
            if self._holders.setdefault(key, slot) is slot and self._locks.try_lock(key):
                return True
            async with pausing():
                held |= Beside.held()
                return await self._wait_async(_TaskWaiter(key, held, slot, next(self._numbers)))
        except BaseException:
            self._drop(key, slot)
            raise

    def release(self, key: bytes) -> None:
        """The key is free for others; nothing happens if this thread has not acquired it. HOT."""
        holder = self._holders.get(key)
        if holder is not None and holder[0] == get_ident():
            try:
                self._locks.unlock(key)  # first: else it might free the key of the next holder here
            finally:
                self._holders.pop(key, None)
            if self._queues:
                self._wake(key)

    def waiting(
        self, wanted: Iterable[bytes], held: frozenset[bytes]
    ) -> AbstractContextManager[object]:
        """While inside, everybody knows that the calls of `held` wait for those of `wanted`.

        For a parent that waits for Futures: it cannot yield itself, but a call on the same cycle
        can that waits to execute.
        """
        keys = frozenset(wanted)
        held |= Beside.held()
        if not held or not keys or self._read_only:
            return _NOTHING
        return _Waiting(self, Wait("", next(self._numbers), held, keys, can_yield=False))

    def add_wait(self, wait: Wait, waiter: _Waiter | None = None) -> None:
        """Make a wait known, and let somebody yield if it closes a cycle. The mutex is held."""
        self._waits[wait.number] = wait, waiter
        waits = [each for each, _ in self._waits.values()]
        if len(waits) > 1 and is_on_cycle(wait, waits):
            self._let_yield(victim.number for victim in victims(waits))
        if self._watcher is None:
            self._start_watching()

    def remove_wait(self, wait: Wait) -> None:
        """Forget a wait. The mutex is held."""
        self._waits.pop(wait.number, None)

    def close(self) -> None:
        """All keys are free, and nothing of this process is left in the store's folders."""
        with self._publishing:
            with self.mutex:
                self._watcher = None
            self._board.withdraw()
        self._locks.close()

    def after_fork(self) -> None:
        """In a forked child: the keys and waits are the parent's."""
        self._holders = {}
        self._queues = {}
        self._waits = {}
        self._watcher = None
        self._publishing = threading.Lock()
        self._board.forget()

    def _wait(self, waiter: _ThreadWaiter) -> bool:
        try:
            self._join(waiter)
            while (outcome := self._attempt(waiter)) is None:
                waiter.sleep()
            self._leave(waiter)
        except BaseException:
            self._leave(waiter)  # once more, if it was `_leave` that was interrupted
            raise
        return outcome

    async def _wait_async(self, waiter: _TaskWaiter) -> bool:
        try:
            self._join(waiter)
            while (outcome := self._attempt(waiter)) is None:
                await waiter.sleep()
            self._leave(waiter)
        except BaseException:
            self._leave(waiter)
            raise
        return outcome

    def _attempt(self, waiter: _Waiter) -> bool | None:
        """True: it has the key. False: it shall execute without. None: it has to wait."""
        key, slot = waiter.key, waiter.slot
        holder = self._holders.setdefault(key, slot)
        if holder is slot:
            if self._locks.try_lock(key):
                return True
        elif holder[0] == slot[0] and not (holder[1] and slot[1]):
            return False  # it is held further up on this thread's stack, which waits for us
        if not waiter.yields:
            return None
        if holder is slot:
            self._holders.pop(key, None)
        return False

    def _join(self, waiter: _Waiter) -> None:
        with self.mutex:
            self._queues.setdefault(waiter.key, []).append(waiter)
            if waiter.wait.held:
                self.add_wait(waiter.wait, waiter)

    def _leave(self, waiter: _Waiter) -> None:
        with self.mutex:
            self.remove_wait(waiter.wait)
            queue = self._queues.get(waiter.key, [])
            if waiter in queue:
                queue.remove(waiter)
            if not queue:
                self._queues.pop(waiter.key, None)
            elif waiter.key not in self._holders:
                queue[0].wake()

    def _wake(self, key: bytes) -> None:
        with self.mutex:
            queue = self._queues.get(key)
            if queue:
                queue[0].wake()

    def _drop(self, key: bytes, slot: Slot) -> None:
        """Undo an acquire that was interrupted wherever it was."""
        if self._holders.get(key) is slot:
            self.release(key)

    def _let_yield(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            waiter = self._waits.get(number, (None, None))[1]
            if waiter is not None:
                waiter.yields = True
                waiter.wake()

    def _start_watching(self) -> None:
        thread = threading.Thread(target=self._watch, name="tasklineage-waits", daemon=True)
        with contextlib.suppress(RuntimeError):  # the interpreter ends: nobody waits for long
            thread.start()
            self._watcher = thread

    def _watch(self) -> None:
        """Publish the waits of this process that last, and look for cycles through others."""
        suspects: dict[int, float] = {}
        pause = threading.Event()
        idle = 0
        while True:
            pause.wait(_TICK)
            with self._publishing:
                waits = self._lasting(is_last=idle == _LINGER)
                if waits is None:
                    return
                with contextlib.suppress(OSError):
                    self._board.publish(self._writer(), waits)
            idle = 0 if waits else idle + 1
            self._look_around(waits, suspects)

    def _lasting(self, *, is_last: bool) -> list[Wait] | None:
        """The waits there are; None if this thread shall watch no longer."""
        with self.mutex:
            if self._watcher is threading.current_thread():
                if self._waits or not is_last:
                    return [wait for wait, _ in self._waits.values()]
                self._watcher = None
            return None

    def _look_around(self, waits: list[Wait], suspects: dict[int, float]) -> None:
        """`suspects` keeps since when each of our waits has been seen on a cycle."""
        owner = self._writer()
        others = self._board.others(owner) if waits else []
        own = [wait._replace(owner=owner) for wait in waits]
        everybody = own + others
        circling = {wait.number for wait in own if others and is_on_cycle(wait, everybody)}
        now = time.monotonic()
        for number in suspects.keys() ^ circling:
            suspects.pop(number, None)
            if number in circling:
                suspects[number] = now
        if circling:
            turn = {wait.number for wait in victims(everybody) if wait.owner == owner}
            turn |= {number for number, since in suspects.items() if now - since > _GRACE}
            with self.mutex:
                self._let_yield(turn)


class _Waiting:
    """The context manager of `Flight.waiting`."""

    __slots__ = ("_flight", "_wait")

    def __init__(self, flight: Flight, wait: Wait) -> None:
        self._flight = flight
        self._wait = wait

    def __enter__(self) -> None:
        with self._flight.mutex:
            self._flight.add_wait(self._wait)

    def __exit__(self, *exception: object) -> None:
        with self._flight.mutex:
            self._flight.remove_wait(self._wait)


class _Waiter(ABC):
    """One who wants a key that somebody else has."""

    def __init__(self, key: bytes, held: frozenset[bytes], slot: Slot, number: int) -> None:
        self.key = key
        self.slot = slot
        self.wait = Wait("", number, held, frozenset((key,)), can_yield=True)
        self.yields = False
        """Set when it shall go on without the key."""
        self._pause = _SHORTEST

    @abstractmethod
    def wake(self) -> None:
        """Its sleep ends at once, or the next one if it does not sleep."""

    def _next_pause(self) -> float:
        pause, self._pause = self._pause, min(self._pause * 2, _LONGEST)
        return pause


class _ThreadWaiter(_Waiter):
    def __init__(self, key: bytes, held: frozenset[bytes], slot: Slot, number: int) -> None:
        super().__init__(key, held, slot, number)
        self._event = threading.Event()

    def wake(self) -> None:
        self._event.set()

    def sleep(self) -> None:
        self._event.wait(self._next_pause())
        self._event.clear()


class _TaskWaiter(_Waiter):
    def __init__(self, key: bytes, held: frozenset[bytes], slot: Slot, number: int) -> None:
        import asyncio

        super().__init__(key, held, slot, number)
        self._loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # its loop is closed: it will not miss it
            self._loop.call_soon_threadsafe(self._event.set)

    async def sleep(self) -> None:
        import asyncio

        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), self._next_pause())
        self._event.clear()
