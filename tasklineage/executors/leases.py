"""Limits with names: how much of something the calls of a run may hold at once, wherever they are.

    calls here ──────── reserve ────────> Limits: what is free, who waits
    calls in workers ── connection ─────────┘     (in the process that began the run)

Units move inward: a call inside of one that holds some takes those first, and what its parent has
left is for the next, so that however calls are nested never more is held than there is. A call
waits in the order of asking, but those inside of holders go first: somebody else may wait for them.

Where holders wait for each other, all of them would wait for ever. Whoever begins to wait looks
whether that is so: which of those who wait could go on if everybody else came to an end, and gave
back what they hold? (Coffman, Elphick and Shoshani, 1971, section on detection.) Who finds that
it could not goes on at once, beyond the limit: the one case in which more is held than there is.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import uuid
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, ClassVar, NamedTuple

from tasklineage.executors.base import Blocked
from tasklineage.executors.lasting import PATIENCE, lasts, name_of

_numbers = itertools.count(1)


class Lease:
    """What one call holds of some limits. The lock of the table guards it."""

    __slots__ = ("_taken", "free", "held", "limits", "number")

    def __init__(self, limits: Limits, asked: Mapping[str, float]) -> None:
        self.limits = limits
        self.number = next(_numbers)
        self.held = dict(asked)
        self.free = dict(asked)
        """What of it no call inside has taken."""
        self._taken: list[tuple[Lease | Limits, str, float]] = []

    @property
    def names(self) -> frozenset[bytes]:
        """What stands for what it holds among the keys of calls."""
        return self.limits.names(self.held)

    def take(self, sources: Sequence[Lease | Limits]) -> None:
        """Take it from these, the first one first; the last one may come to have less than none."""
        *nearer, last = sources
        for name, wanted in self.held.items():
            parts = [(last, wanted)]
            for source in nearer:
                part = min(parts[0][1], source.free.get(name, 0.0))
                parts[0] = last, parts[0][1] - part
                parts.append((source, part))
            for source, part in parts:
                if part:
                    source.free[name] -= part
                    self._taken.append((source, name, part))

    def give_back(self) -> None:
        """Return all of it to where it came from."""
        for source, name, amount in self._taken:
            source.free[name] += amount
        self._taken.clear()

    def taken_from(self, source: Lease, name: str) -> float:
        """What it has of another one."""
        return sum(part for one, what, part in self._taken if one is source and what == name)


class Limits:
    """How much there is of what. Any thread may call; a copy in another process counts here."""

    def __init__(self, total: Mapping[str, float], key: str = "") -> None:
        self.total = dict(total)
        self.free = dict(total)
        self.key = key or uuid.uuid4().hex
        _Table.known[self.key] = self

    def __repr__(self) -> str:
        return f"Limits({self.total})"

    def __reduce__(self) -> tuple[Any, ...]:
        from tasklineage.executors.broker import address

        return arrived, (self.key, self.total, address())

    def names(self, asked: Iterable[str]) -> frozenset[bytes]:
        """What stands for these among the keys of calls."""
        return frozenset(name_of(self.key, name) for name in asked)

    def of(self, asked: Mapping[str, float]) -> dict[str, float]:
        """What of that these limits are about."""
        return {name: amount for name, amount in asked.items() if name in self.total}

    @contextlib.contextmanager
    def reserve(self, asked: Mapping[str, float]) -> Generator[None]:
        """A block that holds what is asked for; waited for."""
        turn = threading.Event()
        request = _Request(self, asked, leases_around.get(), turn.set)
        try:
            if not request.begin():
                with Blocked():
                    if not turn.wait(PATIENCE):
                        with lasts(request.lease.names):
                            turn.wait()
            with inside(request.lease):
                yield
        finally:
            request.end()

    @contextlib.asynccontextmanager
    async def reserve_async(self, asked: Mapping[str, float]) -> AsyncGenerator[None]:
        """As `reserve`, on a loop, which is not blocked."""
        import asyncio

        loop, turn = asyncio.get_running_loop(), asyncio.Event()

        def grant() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(turn.set)

        request = _Request(self, asked, leases_around.get(), grant)
        try:
            if not request.begin():
                async with Blocked():
                    try:
                        await asyncio.wait_for(turn.wait(), PATIENCE)
                    except TimeoutError:
                        with lasts(request.lease.names):
                            await turn.wait()
            with inside(request.lease):
                yield
        finally:
            request.end()


class Held(NamedTuple):
    """A lease that another process keeps."""

    number: int
    names: frozenset[bytes] = frozenset()


leases_around: ContextVar[tuple[Lease | Held, ...]] = ContextVar("tasklineage_leases", default=())


def reserved_for(
    key: str, asked: Mapping[str, float], numbers: Sequence[int], grant: Callable[[], object]
) -> _Request:
    """A request of another process, whose call is inside of these leases."""
    with _Table.lock:
        around = tuple(_Table.leases[n] for n in numbers if n in _Table.leases)
    return _Request(_Table.known[key], asked, around, grant)


class _Request:
    """Somebody who wants a lease, until it is given back."""

    def __init__(
        self,
        limits: Limits,
        asked: Mapping[str, float],
        around: tuple[Lease | Held, ...],
        grant: Callable[[], object],
    ) -> None:
        self.lease = Lease(limits, asked)
        self.around = [one for one in around if isinstance(one, Lease)]
        self.grant = grant
        self._sources = [one for one in reversed(self.around) if one.limits is limits]

    def begin(self) -> bool:
        """Whether it is granted now; else `grant` is called once it is."""
        with _Table.lock:
            _Table.waiting.append(self)
            _Table.serve()
            if self.lease.number not in _Table.leases and self.around and self in _stuck():
                self.take()
            return self.lease.number in _Table.leases

    def end(self) -> None:
        """Give the lease back, or wait for it no longer."""
        with _Table.lock:
            if self in _Table.waiting:
                _Table.waiting.remove(self)
            if _Table.leases.pop(self.lease.number, None) is not None:
                self.lease.give_back()
            _Table.serve()

    def fits(self) -> bool:
        """Whether there is enough."""
        sources: list[Lease | Limits] = [*self._sources, self.lease.limits]
        return all(
            sum(source.free.get(name, 0.0) for source in sources) >= amount
            for name, amount in self.lease.held.items()
        )

    def take(self) -> None:
        """Have the lease, whether there is enough or not."""
        self.lease.take((*self._sources, self.lease.limits))
        _Table.leases[self.lease.number] = self.lease
        _Table.waiting.remove(self)
        self.grant()

    def wants(self) -> set[tuple[str, str]]:
        """What it waits for, by limits and name."""
        return {(self.lease.limits.key, name) for name in self.lease.held}


class _Table:
    """Who holds and who waits, in this process. The lock guards all of it."""

    lock: ClassVar[threading.Lock] = threading.Lock()
    waiting: ClassVar[list[_Request]] = []
    leases: ClassVar[dict[int, Lease]] = {}
    known: ClassVar[weakref.WeakValueDictionary[str, Limits]] = weakref.WeakValueDictionary()

    @classmethod
    def serve(cls) -> None:
        """Grant what can be: to those inside of holders, then to others unless somebody is before.

        Nobody waits for those others who holds something, so they may wait for their turn.
        """
        before: set[tuple[str, str]] = set()
        for one in sorted(cls.waiting, key=lambda one: not one.around):
            if one.fits() and (one.around or before.isdisjoint(one.wants())):
                one.take()
            else:
                before |= one.wants()


def _stuck() -> list[_Request]:
    """Those inside of holders who would wait for ever, if everybody else came to an end."""
    stuck = [one for one in _Table.waiting if one.around]
    while True:
        kept = {lease.number: lease for one in stuck for lease in one.around}
        still = [one for one in stuck if not _could_go_on(one, list(kept.values()))]
        if len(still) == len(stuck):
            return stuck
        stuck = still


def _could_go_on(one: _Request, kept: list[Lease]) -> bool:
    """Whether there is enough for it if all is given back but what these leases hold."""
    limits = one.lease.limits
    others = [lease for lease in kept if lease.limits is limits and lease not in one.around]
    for name, amount in one.lease.held.items():
        gone = sum(
            lease.held.get(name, 0.0) - sum(inner.taken_from(lease, name) for inner in kept)
            for lease in others
        )
        if limits.total[name] - gone < amount:
            return False
    return True


@contextlib.contextmanager
def inside(lease: Lease | Held) -> Generator[None]:
    """A block whose calls are inside of one that holds this."""
    token = leases_around.set((*leases_around.get(), lease))
    try:
        yield
    finally:
        leases_around.reset(token)


def arrived(key: str, total: Mapping[str, float], address: str) -> Limits:
    """The limits of that key: those that were made here, else what stands for them."""
    from tasklineage.executors.broker import Elsewhere

    return _Table.known.get(key) or Elsewhere(total, key, address)


def _after_fork() -> None:
    _Table.lock = threading.Lock()
    _Table.waiting, _Table.leases = [], {}


os.register_at_fork(after_in_child=_after_fork)
