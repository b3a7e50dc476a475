"""The executor that runs works on the workers of a Dask cluster.

    submit ──> driver: Threads ──> Dask scheduler ──> a worker's thread ──> outcome
                  (here)                             (`dask_worker.run`)

What prepares works and waits for them runs here, in the threads of `driver`; `perform` is what they
call. More of them may be in flight than the cluster has threads, so that a worker has its next work
when it has finished one, and an adaptive cluster sees what waits.

Dask itself would give the work of a lost worker to another. Here that is for the caller to decide:
a work that is begun a second time says so at once and does nothing (see `dask_worker`), which is
`WorkerLost` for whoever waits for it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import signal
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from tasklineage.errors import ConfigError, SchedulerLost, TasklineageError, WorkerLost
from tasklineage.executors import channel
from tasklineage.executors.base import Executor
from tasklineage.executors.child import Hear
from tasklineage.executors.dask_offer import ClusterOffer, asked_of
from tasklineage.executors.dask_worker import LOST, Ticket, run
from tasklineage.executors.limits import travelling
from tasklineage.executors.parcels import pack_whole, unpack
from tasklineage.executors.performing import Performing, made_here
from tasklineage.executors.place import Here
from tasklineage.executors.resources import Offer, held
from tasklineage.executors.serving import unpacked_error
from tasklineage.executors.threads import Threads, cpus

if TYPE_CHECKING:
    from distributed import Client

T = TypeVar("T")

_CONNECTING = 10.0
"""Seconds that a scheduler has to answer."""
_LEAST, _GROWING = 4, 16
"""Works in flight where the cluster is small, or where nobody is there yet."""
_STARTING = 120.0
"""Seconds that the workers of a cluster of our own have to come."""
_FRESH = 1.0
"""Seconds for which what is known of the workers is not asked for again."""
_LISTENING = 5.0
"""Seconds that what was told has to arrive after the outcome."""
_LONELY = 10
"""Seconds without any worker after which somebody should know."""
_STOPPED = 5.0
"""Seconds after which a worker that was stopped is taken for lost."""
_SCHEMES = ("tcp://", "tls://", "ucx://", "ws://", "wss://", "inproc://")


class Dask(Performing):
    """Runs works on a Dask cluster: the user's, or one of this machine that begins when needed.

    Parameters
    ----------
    where
        The address of a scheduler (`"tcp://host:8786"`, `"dask://host:8786"`), a
        `distributed.Client`, or a cluster object. None: processes of this machine, which listen on
        the loopback interface only and end with this program.
    n_workers, gpus
        For a cluster of this machine: how many worker processes there are, by default one for each
        CPU, and how many of them have a GPU of their own, as `CUDA_VISIBLE_DEVICES` numbers them.

    Nothing is connected or started before something has to execute.
    """

    name: ClassVar[str] = "dask"
    can_kill: ClassVar[bool] = True
    shares_memory: ClassVar[bool] = False
    is_remote: ClassVar[bool] = True
    portion: ClassVar[float] = 0.1

    def __init__(
        self, where: Any = None, *, n_workers: int | None = None, gpus: int | None = None
    ) -> None:
        for what, number in (("n_workers", n_workers), ("gpus", gpus)):
            if number is not None and (type(number) is not int or number < (what == "n_workers")):
                raise ConfigError(f"Dask({what}={number!r}): it is a whole number")
            if number is not None and where is not None:
                raise ConfigError(f"Dask({where!r}, {what}={number}): the cluster exists already")
        super().__init__()
        self._where = _checked(where)
        self._n_workers = n_workers
        self._gpus = gpus
        self._offer = ClusterOffer(self)
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._connecting = threading.Lock()
        self._cluster: _Cluster | None = None
        self._driver: Threads | None = None
        self._closed = False

    def __repr__(self) -> str:
        if self._where is None:
            return f"Dask(n_workers={self._count()})"
        return f"Dask({self.address or self._where!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.address is None:
            return _copied, (self.token, self._n_workers, self._gpus)
        return Dask, (self.address,)

    @property
    def address(self) -> str | None:
        """Where the scheduler is; None as long as it has not been started."""
        if self._cluster is not None:
            return self._cluster.address
        return self._where if isinstance(self._where, str) else _address_of(self._where)

    @property
    def client(self) -> Client:
        """The client that it uses, connected.

        Raises
        ------
        ConfigError
            There is no scheduler at the address.
        """
        client: Client = self._connected().client
        return client

    @property
    def slots(self) -> int:  # type: ignore[override]
        """How many works may be in flight: more than there are threads for."""
        threads = self._threads()
        slots = max(2 * threads, _LEAST) if threads else _GROWING
        if self._driver is not None and self._driver.slots < slots:
            self._driver.slots = slots
        return slots

    @property
    def width(self) -> int:
        return max(1, self._threads())

    def _threads(self) -> int:
        if self._cluster is not None:
            return self._cluster.threads()
        return 0 if self._where is not None else self._count()

    def _count(self) -> int:
        """The workers of a cluster of our own."""
        return max(self._n_workers or cpus(), self._gpus or 0)

    @property
    def offer(self) -> Offer:
        return self._offer

    @property
    def shares_surroundings(self) -> bool:  # type: ignore[override]
        """Whether works are to find the folder and the environment of this process: our own do."""
        return self._where is None

    @property
    def driver(self) -> Executor:
        with self._lock:
            if self._driver is None:
                self._driver = Threads(self.slots)
            return self._driver

    def perform(
        self,
        call: Callable[[Callable[[Any], None]], T],
        hear: Hear = bool,
        *,
        devices: Sequence[str] = (),
        timeout: float | None = None,
    ) -> T:
        self._check()
        lease = held()
        amounts = lease.amounts if lease.by is self._offer else {}
        kind, reply = self._connected().performed(
            pack_whole(travelling(call)), hear, timeout, amounts
        )
        if kind == channel.RETURNED:
            value: T = unpack(reply, ())
            return value
        raise unpacked_error(reply)

    def workers(self) -> dict[str, Any]:
        """What Dask knows of the workers, by address; connects, if need be."""
        return self._connected().workers()

    def all_workers(self) -> dict[str, Any]:
        """As `workers`; of a cluster of our own once all that it shall have are there."""
        if self._where is None:
            self.client.wait_for_workers(self._count(), timeout=_STARTING)
        return self._connected().workers(now=True)

    def shutdown(self, wait: bool = True) -> None:
        with self._lock:
            self._closed, driver = True, self._driver
        if driver is not None:
            driver.shutdown(wait)
        self.end()

    def end(self) -> None:
        """Close what was opened here: the connection, and the cluster if it is ours."""
        with self._lock:
            self._closed, cluster, self._cluster = True, self._cluster, None
        if cluster is not None:
            cluster.close()

    def interrupt(self) -> bool:
        """Cancel what is in flight; whether there was anything."""
        cluster = self._cluster
        return cluster is not None and cluster.interrupt()

    def forget_parent(self) -> None:
        """Begin empty, in a child that was just forked: the connection is the parent's."""
        if self._where is not None and not isinstance(self._where, str):
            self._where = self.address
        self._reset()

    def _connected(self) -> _Cluster:
        if self._cluster is None:
            with self._connecting:
                if self._cluster is None:
                    self._cluster = self._connect()
        return self._cluster

    def _connect(self) -> _Cluster:
        distributed = _distributed()
        where = self._where
        if where is None:
            from tasklineage.executors.dask_local import LocalWorkers

            workers = LocalWorkers(self._count(), self._gpus or 0)
            return _Cluster(workers.client, workers.close)
        if isinstance(where, distributed.Client):
            return _Cluster(where)
        worker = Here.dask_worker
        if worker is not None and self.address == worker.scheduler.address:
            return _Cluster(worker._get_client())  # as `get_client`, in any thread
        try:
            client = distributed.Client(
                where, timeout=_CONNECTING, set_as_default=False, name="tasklineage"
            )
        except (OSError, ValueError) as error:
            raise ConfigError(f"no Dask scheduler answers at {where}: {error}") from None
        return _Cluster(client, client.close)


class _Flying:
    """A work in flight."""

    __slots__ = ("future", "hear", "heard", "slot", "was_interrupted")

    def __init__(self, hear: Hear, slot: int) -> None:
        self.hear = hear
        self.slot = slot
        self.future: Any = None
        self.was_interrupted = False
        self.heard = 0
        """How often something was told; the loop of the client counts."""


class _Cluster:
    """A connection to a scheduler, and what is in flight there."""

    def __init__(self, client: Any, close: Callable[[], object] | None = None) -> None:
        self.client = client
        self.address: str = client.scheduler.address
        self._close = close
        self._session = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._flying: dict[int, _Flying] = {}
        self._tokens = itertools.count(1)
        self._slots = itertools.count()
        self._free: list[int] = []
        self._asked = 0.0
        self._workers: dict[str, Any] = {}
        self._pids: dict[str, int] = {}
        """The process of each worker of this machine, by address; 0: not known."""
        self._watcher: threading.Thread | None = None
        client.subscribe_topic(self._session, self._heard)

    def threads(self) -> int:
        """How many threads the workers have together, as far as it is known."""
        return sum(one["nthreads"] for one in self.workers().values())

    def workers(self, *, now: bool = False) -> dict[str, Any]:
        """What is known of the workers, by address; a moment old, unless asked `now`."""
        if now or time.monotonic() - self._asked > _FRESH:
            self._asked = time.monotonic()
            with contextlib.suppress(OSError, RuntimeError, TimeoutError):  # it is gone
                self._workers = self._info().get("workers", {})
        return self._workers

    def _info(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self.client.scheduler_info(n_workers=-1)
        except TypeError:  # of an earlier version, which tells of all
            found = self.client.scheduler_info()
        return found

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
        with self._lock:
            token = next(self._tokens)
            flying = _Flying(hear, self._free.pop() if self._free else next(self._slots))
            self._flying[token] = flying
        ticket = Ticket(self._session, flying.slot, token, timeout, dict(amounts))
        try:
            return self._result(flying, content, ticket)
        finally:
            with self._lock:
                del self._flying[token]
                self._free.append(flying.slot)
            if flying.future is not None:
                flying.future.release()

    def _result(self, flying: _Flying, content: bytes, ticket: Ticket) -> tuple[int, bytes]:
        from distributed.scheduler import KilledWorker

        try:
            flying.future = self.client.submit(
                run, content, ticket, key=f"tasklineage-{self._session}-{ticket.token}",
                pure=False, retries=0, resources=asked_of(self.workers(), ticket.amounts),
            )  # fmt: skip
            self._watch()
            kind, reply, told = flying.future.result()
        except KilledWorker as error:
            raise WorkerLost(f"Dask gave it up: {error}", exitcode=None) from None
        except TasklineageError:
            raise
        except (CancelledError, OSError, RuntimeError) as error:
            if flying.was_interrupted:
                raise CancelledError("it was interrupted") from None
            status = None if flying.future is None else flying.future.status
            if self.client.status != "running" or status in ("cancelled", "lost"):
                raise SchedulerLost(
                    f"the Dask scheduler at {self.address} is gone ({error}); what was finished is "
                    "in the store"
                ) from None
            raise
        except ImportError as error:
            raise ConfigError(
                f"a Dask worker of {self.address} cannot run this: {error}; install the same "
                "packages there"
            ) from error
        if kind == LOST:
            where = pickle.loads(reply)
            raise WorkerLost(f"the Dask worker {where} was lost", exitcode=None)
        until = time.monotonic() + _LISTENING
        while flying.heard < told and time.monotonic() < until:  # it comes by another way
            time.sleep(0.001)
        return kind, reply

    def interrupt(self) -> bool:
        with self._lock:
            flying = list(self._flying.values())
        for one in flying:
            one.was_interrupted = True
            if one.future is not None:
                one.future.cancel(reason="interrupted")
        return bool(flying)

    def close(self) -> None:
        with contextlib.suppress(Exception):  # it may be gone already
            self.client.unsubscribe_topic(self._session)
        if self._close is not None:
            self._close()

    def _heard(self, event: tuple[float, Any]) -> None:
        """In the thread of the connection: what a work tells."""
        token, told = event[1]
        flying = self._flying.get(token)
        if flying is None:
            return
        flying.hear(pickle.loads(told))
        flying.heard += 1

    # A worker that was stopped is known to the scheduler as alive for minutes.

    def _watch(self) -> None:
        with self._lock:
            if self._watcher is None:
                self._watcher = threading.Thread(
                    target=self._look_around, name="tasklineage-dask", daemon=True
                )
                self._watcher.start()

    def _look_around(self) -> None:
        since: dict[tuple[str, int], float] = {}
        lonely = 0
        while True:
            time.sleep(1)
            with self._lock:
                if not self._flying or self.client.status == "closed":
                    self._watcher = None
                    return
            lonely = 0 if self.workers() else lonely + 1
            if lonely == _LONELY:
                warnings.warn(
                    f"the Dask cluster at {self.address} has no workers: calls wait for one, as "
                    f"`tasklineage worker {self.address}` starts",
                    stacklevel=1,
                )
            now = time.monotonic()
            since = {place: since.get(place, now) for place in self._stopped()}
            for (address, pid), began in since.items():
                if now - began >= _STOPPED:
                    self._give_up(address, pid)

    def _stopped(self) -> set[tuple[str, int]]:
        """The address and process of each worker of this machine that is stopped."""
        workers = self.workers()
        unknown = workers.keys() - self._pids.keys()
        if unknown:
            self._pids |= dict.fromkeys(unknown, 0) | _listeners(unknown)
        return {(one, self._pids[one]) for one in workers if _is_stopped(self._pids[one])}

    def _give_up(self, address: str, pid: int) -> None:
        """End a worker that was stopped: its nanny begins another. One without is forgotten."""
        if self._workers.get(address, {}).get("nanny"):
            with contextlib.suppress(OSError):  # it is somebody else's
                os.kill(pid, signal.SIGKILL)
                return
        with contextlib.suppress(Exception):  # the scheduler knows already, or it is gone
            self.client.sync(
                self.client.scheduler.unregister, address=address,
                stimulus_id=f"tasklineage-stopped-{time.time()}",
            )  # fmt: skip


def _listeners(addresses: Iterable[str]) -> dict[str, int]:
    """The processes of this machine that listen at some of these addresses."""
    psutil: Any = import_module("psutil")  # it comes with distributed
    found: dict[str, int] = {}
    with contextlib.suppress(psutil.Error, OSError):  # nobody tells us
        nets = psutil.net_if_addrs().values()
        here = {interface.address for net in nets for interface in net}
        pids = {
            one.laddr.port: one.pid
            for one in psutil.net_connections("tcp")
            if one.status == psutil.CONN_LISTEN and one.pid
        }
        for address in addresses:
            host, _, port = address.rpartition("://")[2].rpartition(":")
            if host.strip("[]") in here and port.isdecimal() and int(port) in pids:
                found[address] = pids[int(port)]
    return found


def _is_stopped(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except (OSError, IndexError):
        return False


def _checked(where: Any) -> Any:
    """Where a cluster is: an address, a client or a cluster object; None for our own."""
    if where is None:
        return None
    if isinstance(where, str):
        if where.startswith("dask://"):
            return "tcp://" + where.removeprefix("dask://")
        if where.startswith(_SCHEMES):
            return where
        raise ConfigError(f'Dask({where!r}): an address looks like "tcp://host:8786"')
    if _address_of(where) is None:
        raise ConfigError(f"Dask({where!r}): it is no address, Client or cluster object")
    return where


def _address_of(where: Any) -> str | None:
    """The address of the scheduler of a client or of a cluster object."""
    address = getattr(where, "scheduler_address", None)
    if isinstance(address, str):
        return address
    address = getattr(getattr(where, "scheduler", None), "address", None)
    return address if isinstance(address, str) else None


def _distributed() -> Any:
    try:
        return import_module("distributed")
    except ImportError as error:
        raise ConfigError(
            f"the Dask executor needs a package that is missing ({error}): "
            'pip install "tasklineage[dask]"'
        ) from error


def _copied(token: str, n_workers: int | None, gpus: int | None) -> Executor:
    """The cluster of a process that has not begun, where it was made; elsewhere one like it."""
    return made_here(token) or Dask(n_workers=n_workers, gpus=gpus)
