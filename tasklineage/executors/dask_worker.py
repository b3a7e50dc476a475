"""What a Dask worker does with a work: it arrives packed, and what it returns goes back packed.

Dask gives the work of a lost worker to another one. So each work first asks the scheduler whether
it was begun before, under the number of the slot that its sender has it in: then it does nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import copy_context
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from tasklineage.executors import channel
from tasklineage.executors.base import Executor, Seat, Work, current_seat, take_seat
from tasklineage.executors.choose import killing_executor, one_thread
from tasklineage.executors.parcels import pack_whole, unpack
from tasklineage.executors.place import Here, around, cluster
from tasklineage.executors.resources import GPU, Lease, hold, machine_offer
from tasklineage.executors.serving import packed_error

if TYPE_CHECKING:
    from tasklineage.executors.dask import Dask

METADATA = "tasklineage"
"""Where the scheduler keeps which work was begun last in each slot, and where."""
_WAITED = 0.1
"""Seconds that one work may wait in any case until what it tells was sent; and beyond that:"""
_SHARE = 0.1
"""The share of its time."""
_TURN, _PATIENCE = 0.0005, 1.0
LOST = 100
"""A work was begun before, by a worker that has not finished it."""


class Ticket(NamedTuple):
    """What comes with a work."""

    session: str
    """The connection that it comes from: what it tells goes there."""
    slot: int
    token: int
    timeout: float | None
    amounts: dict[str, float]
    """The resources that it holds."""


def run(content: bytes, ticket: Ticket) -> tuple[int, bytes, int]:
    """What comes of a packed work: a kind, its content, and how often something was told."""
    from distributed import get_worker

    worker = Here.dask_worker = get_worker()
    before = _begun_before(worker, ticket)
    if before is not None:
        return LOST, pickle.dumps(before), 0
    telling = _Telling(worker, ticket)
    kind, reply = copy_context().run(_outcome, worker, content, ticket, telling)
    return kind, reply, telling.count


class _Telling:
    """Tells the sender of a work something while it runs.

    The worker sends what is told in the background, so it would be lost with a worker that dies at
    once. So this waits until it was sent, as long as that takes a small part of the time: it does
    not for each of thousands of lines.
    """

    def __init__(self, worker: Any, ticket: Ticket) -> None:
        self.count = 0
        self._worker = worker
        self._ticket = ticket
        self._began = time.monotonic()
        self._waited = 0.0

    def __call__(self, told: Any) -> None:
        self.count += 1
        self._worker.log_event(self._ticket.session, (self._ticket.token, pickle.dumps(told)))
        now = time.monotonic()
        if self._waited < _WAITED + _SHARE * (now - self._began):
            self._wait()
            self._waited += time.monotonic() - now

    def _wait(self) -> None:
        from distributed.utils import sync

        stream = self._worker.batched_stream

        async def sent() -> None:
            while getattr(stream, "buffer", None) and not stream.closed():
                await asyncio.sleep(_TURN)

        with contextlib.suppress(Exception):  # then the connection is gone, or too slow to wait
            sync(self._worker.loop, sent, callback_timeout=_PATIENCE)


def _begun_before(worker: Any, ticket: Ticket) -> str | None:
    """The address of the worker that has begun this work before, if one has."""
    from distributed.utils import sync

    keys = [METADATA, ticket.session, str(ticket.slot)]
    value = [ticket.token, worker.address]

    async def ask() -> str | None:
        known = await worker.scheduler.get_metadata(keys=keys, default=None)
        if known is not None and known[0] == ticket.token:
            return str(known[1])
        await worker.scheduler.set_metadata(keys=keys, value=value)
        return None

    before: str | None = sync(worker.loop, ask)
    return before


def _outcome(
    worker: Any, content: bytes, ticket: Ticket, tell: Callable[[Any], None]
) -> tuple[int, bytes]:
    seat, executor = current_seat(), _cluster_of(worker.scheduler.address)
    slot = _Slot(executor)
    take_seat(Seat(slot))
    cluster.set(worker.scheduler.address)
    # What it begins while it holds something has that too, and stays here.
    around.set(one_thread() if ticket.amounts else executor)
    try:
        with hold(Lease(ticket.amounts)):
            call = unpack(content, ())
            value = _killable(_Inside(call), ticket, tell) if _is_apart(ticket) else call(tell)
    except BaseException as error:  # noqa: BLE001 - it is told
        return channel.RAISED, packed_error(error)
    finally:
        take_seat(seat)
        slot.give_back()
    try:
        return channel.RETURNED, pack_whole(value)
    except Exception as error:  # noqa: BLE001 - the code of the user's classes
        return channel.UNSENT, packed_error(error)


def _cluster_of(address: str) -> Dask:
    """The executor that this process is a worker of, for what a work begins."""
    with _Clusters.lock:
        found = _Clusters.known.get(address)
        if found is None:
            from tasklineage.executors.dask import Dask

            found = _Clusters.known[address] = Dask(address)
        return found


class _Clusters:
    """Those whose worker this process is: one, but in tests of many."""

    lock = threading.Lock()
    known: ClassVar[dict[str, Dask]] = {}


def _is_apart(ticket: Ticket) -> bool:
    """Whether the work needs a process of its own: to be stopped in time, or for its devices."""
    devices = machine_offer().total.get(GPU, 0)
    return ticket.timeout is not None or 0 < ticket.amounts.get(GPU, 0) < devices


class _Inside:
    """A work on its way to a child process of its worker: what it begins stays there."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._cluster = cluster.get()

    def __call__(self, tell: Callable[[Any], None]) -> Any:
        cluster.set(self._cluster)
        around.set(one_thread())
        return self._call(tell)


def _killable(call: Any, ticket: Ticket, tell: Callable[[Any], None]) -> Any:
    """As `call(tell)`, in a warm child process of this one."""

    def hear(told: Any) -> bool:
        tell(told)
        return bool(isinstance(told, tuple) and "attempt" in told) or told is True

    count = ticket.amounts.get(GPU, 0)
    with machine_offer().reserve({GPU: count} if count else {}) as lease:
        return killing_executor().perform(call, hear, devices=lease.devices, timeout=ticket.timeout)


class _Slot(Executor):
    """The thread of a work on a Dask worker, as a place that is lent while the work waits."""

    name: ClassVar[str] = "dask"
    slots = 1

    def __init__(self, cluster: Dask) -> None:
        self._cluster = cluster
        self._is_lent = False
        self._has_seceded = False

    def submit(
        self,
        call: Callable[[], Any],
        *,
        resources: Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> Work[Any]:
        raise NotImplementedError("a worker is given work by the scheduler alone")

    def shutdown(self, wait: bool = True) -> None:
        """Nothing was opened."""

    def give_back(self) -> None:
        """Take the place back, if it is lent: a coroutine that goes on at once leaves it so."""
        if self._is_lent:
            self._is_lent = False
            self._cluster.note_waiting(-1)

    def lend(self, seat: Seat) -> None:
        if self._is_lent:  # still, where a coroutine went on at once
            return
        self._is_lent = True
        self._cluster.note_waiting(1)
        with contextlib.suppress(KeyError):  # the work itself has: `worker_client` does
            import_module("distributed").secede()
            self._has_seceded = True

    def retake(self, seat: Seat, *, at_once: bool) -> None:
        if at_once:
            return
        self.give_back()
        if self._has_seceded:
            self._has_seceded = False
            with contextlib.suppress(RuntimeError):  # the worker ends, and has no places any more
                import_module("distributed").rejoin()
