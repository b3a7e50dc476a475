"""A connection to the scheduler of a Dask cluster, and the works that are in flight there."""

from __future__ import annotations

import contextlib
import itertools
import logging
import pickle
import threading
import time
import uuid
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import CancelledError
from typing import Any

from tasklineage.errors import ConfigError, SchedulerLost, TasklineageError, WorkerLost
from tasklineage.executors.child import Hear
from tasklineage.executors.dask_offer import Declared, missing
from tasklineage.executors.dask_watch import Watch
from tasklineage.executors.dask_worker import LOST, Ticket, run

_FRESH = 1.0
"""Seconds for which what is known of the workers is not asked for again."""
_LISTENING = 5.0
"""Seconds that what was told has to arrive after the outcome."""
_PAUSE = 0.05
"""Seconds between looks at a connection that is made anew."""


class _Flying:
    """A work in flight."""

    __slots__ = (
        "amounts", "error", "future", "hear", "heard", "outcome", "over", "slot", "was_interrupted",
    )  # fmt: skip

    def __init__(self, hear: Hear, slot: int, amounts: Mapping[str, float]) -> None:
        self.hear = hear
        self.slot = slot
        self.amounts = amounts
        self.future: Any = None
        self.over = threading.Event()
        """Set when its future is done, or never will be."""
        self.outcome: tuple[int, bytes, int] | None = None
        self.error: BaseException | None = None
        self.was_interrupted = False
        self.heard = 0
        """How often something was told; the loop of the client counts."""


class Cluster:
    """What a client of Dask is used for. Any thread may call.

    Parameters
    ----------
    client
        Connected. Where it loses its scheduler, it tries for a while to find it again; what was in
        flight is lost by then.
    close
        What is to be called at the end.
    kill
        What ends works that have begun, where that is for us to do.
    """

    def __init__(
        self,
        client: Any,
        close: Callable[[], object] | None = None,
        kill: Callable[[], object] = bool,
    ) -> None:
        self.client = client
        self.address: str = client.scheduler.address
        self._close = close
        self._kill = kill
        self._session = uuid.uuid4().hex
        self._connection: Any = None
        """That on which it was asked for what works tell."""
        self._lock = threading.Lock()
        self._flying: dict[int, _Flying] = {}
        self._tokens = itertools.count(1)
        self._slots = itertools.count()
        self._free: list[int] = []
        self._asked = 0.0
        self._workers: dict[str, Any] = {}
        self._declared = Declared()
        self._watch = Watch(self)
        self.workers()

    @property
    def is_over(self) -> bool:
        """Whether the connection is closed for good."""
        return bool(self.client.status == "closed")

    def settle(self) -> None:
        """Wait until a connection that is made anew is there, or was given up."""
        while self.client.status in ("connecting", "closing"):
            time.sleep(_PAUSE)

    @property
    def is_busy(self) -> bool:
        """Whether anything is in flight."""
        return bool(self._flying)

    def threads(self) -> int:
        """How many threads the workers have together, as was known last: nobody is asked.

        This is called with locks held, and the scheduler may be on a loop that waits for them.
        """
        return sum(one["nthreads"] for one in self._workers.values())

    def workers(self, *, now: bool = False) -> dict[str, Any]:
        """What is known of the workers, by address; a moment old, unless asked `now`."""
        if now or time.monotonic() - self._asked > _FRESH:
            self._asked = time.monotonic()
            with contextlib.suppress(OSError, RuntimeError, TimeoutError):  # it is gone
                self._workers = self._info().get("workers", {})
                self._declared.note(self._workers)
        return self._workers

    def _info(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self.client.scheduler_info(n_workers=-1)
        except TypeError:  # of an earlier version, which tells of all
            found = self.client.scheduler_info()
        return found

    def misses(self) -> str:
        """What sort of worker a work in flight waits for that there is not; '': none."""
        workers = list(self.workers().values())
        with self._lock:
            asked = [one.amounts for one in self._flying.values()]
        return next((found for one in asked if (found := missing(one, workers))), "")

    def performed(
        self, content: bytes, hear: Hear, timeout: float | None, amounts: Mapping[str, float]
    ) -> tuple[int, bytes]:
        """What a worker gave for a packed work: a kind and its content.

        Raises
        ------
        WorkerLost
            The worker was lost.
        SchedulerLost
            The scheduler was.
        CancelledError
            It was interrupted here.
        """
        self._join()
        self.workers()
        with self._lock:
            token = next(self._tokens)
            slot = self._free.pop() if self._free else next(self._slots)
            flying = self._flying[token] = _Flying(hear, slot, amounts)
        ticket = Ticket(self._session, flying.slot, token, timeout, dict(amounts))
        try:
            return self._result(flying, content, ticket)
        finally:
            with self._lock:
                del self._flying[token]
                self._free.append(flying.slot)
            if flying.future is not None:
                flying.future.release()

    def _join(self) -> None:
        """Listen to what works tell, on the connection that there is."""
        if self.client.status != "running":
            raise self._lost("it is closed")
        with self._lock:
            if self._connection is not self.client.scheduler_comm:
                self._connection = self.client.scheduler_comm
                self.client.subscribe_topic(self._session, self._heard)

    def _result(self, flying: _Flying, content: bytes, ticket: Ticket) -> tuple[int, bytes]:
        from distributed.scheduler import KilledWorker

        try:
            flying.future = self.client.submit(
                run, content, ticket, key=f"tasklineage-{self._session}-{ticket.token}",
                pure=False, retries=0, resources=self._declared.asked(ticket.amounts),
            )  # fmt: skip
            if flying.was_interrupted:
                flying.future.cancel()
            self.client.loop.add_callback(self._follow, flying)
            self._watch.begin()
            flying.over.wait()
            if flying.error is not None:
                raise flying.error
            if flying.outcome is None:
                raise self._lost("it is closed")
            kind, reply, told = flying.outcome
        except KilledWorker as error:
            raise WorkerLost(f"Dask gave it up: {error}", exitcode=None) from None
        except TasklineageError:
            raise
        except ImportError as error:
            raise ConfigError(
                f"a Dask worker of {self.address} cannot run this: {error}; install the same "
                "packages there"
            ) from error
        except (CancelledError, Exception) as error:
            if flying.was_interrupted:
                raise CancelledError("it was interrupted") from None
            status = None if flying.future is None else flying.future.status
            if self.client.status != "running" or status in ("cancelled", "lost"):
                raise self._lost(error) from None
            raise
        if kind == LOST:
            raise self._lost_worker(pickle.loads(reply))
        until = time.monotonic() + _LISTENING
        while flying.heard < told and time.monotonic() < until:  # it comes by another way
            time.sleep(0.001)
        return kind, reply

    async def _follow(self, flying: _Flying) -> None:
        """Take what comes of a work, on the loop of the client."""
        try:
            flying.outcome = await flying.future
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            flying.error = error
        flying.over.set()

    def _lost_worker(self, address: str) -> WorkerLost:
        """What is said of a worker that did not finish its work; of one that was retired, that."""
        events: Any = ()
        with contextlib.suppress(OSError, RuntimeError, TimeoutError):  # the scheduler is gone
            events = self.client.get_events(address)
        was_retired = any(isinstance(e, dict) and e.get("expected") is True for _, e in events)
        how = "retired" if was_retired else "lost"
        return WorkerLost(
            f"the Dask worker {address} was {how}", exitcode=None, was_retired=was_retired
        )

    def _lost(self, why: object) -> SchedulerLost:
        return SchedulerLost(
            f"there is no connection to the Dask scheduler at {self.address} any more ({why}); "
            "what was finished is in the store"
        )

    def interrupt(self) -> bool:
        """Cancel what is in flight; whether there was anything."""
        with self._lock:
            flying = list(self._flying.values())
        for one in flying:
            one.was_interrupted = True
            if one.future is not None:
                one.future.cancel(reason="interrupted")
        if flying:
            self._kill()
        return bool(flying)

    def abandon(self) -> None:
        """Wait no longer for what is in flight: nobody will tell what came of it."""
        with self._lock:
            for one in self._flying.values():
                one.over.set()

    def close(self) -> None:
        """End what was begun with the client; it is closed itself only if that was asked for."""
        with contextlib.suppress(Exception):  # it may be gone already
            self.client.unsubscribe_topic(self._session)
        if self._close is not None:
            with silence():
                self._close()
        self.abandon()

    def _heard(self, event: tuple[float, Any]) -> None:
        """In the thread of the connection: what a work tells."""
        token, told = event[1]
        flying = self._flying.get(token)
        if flying is None:
            return
        flying.hear(pickle.loads(told))
        flying.heard += 1


@contextlib.contextmanager
def silence() -> Generator[None]:
    """A block in which Dask does not tell of each connection that ends."""
    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
