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

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from tasklineage.errors import ConfigError
from tasklineage.executors import channel
from tasklineage.executors.base import Executor
from tasklineage.executors.child import Hear
from tasklineage.executors.dask_cluster import Cluster
from tasklineage.executors.dask_offer import ClusterOffer, LocalOffer
from tasklineage.executors.dask_package import distributed
from tasklineage.executors.limits import travelling
from tasklineage.executors.parcels import pack_whole, unpack
from tasklineage.executors.performing import Driver, Performing, made_here
from tasklineage.executors.place import Here, around, cluster
from tasklineage.executors.resources import Offer, held
from tasklineage.executors.serving import unpacked_error
from tasklineage.executors.threads import Threads, check_number, cpus

if TYPE_CHECKING:
    from distributed import Client

T = TypeVar("T")

_CONNECTING = 10.0
"""Seconds that a scheduler has to answer."""
_LEAST, _GROWING = 4, 16
"""Works in flight where the cluster is small, or where nobody is there yet."""
_AGAIN = 2.0
"""Seconds after which one that did not answer is asked again."""
_STARTING = 120.0
"""Seconds that the workers of a cluster of our own have to come."""
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
        check_number(f"Dask(n_workers={n_workers!r})", "workers", n_workers)
        check_number(f"Dask(gpus={gpus!r})", "GPUs", gpus, 0)
        for what, number in (("n_workers", n_workers), ("gpus", gpus)):
            if number is not None and where is not None:
                raise ConfigError(f"Dask({where!r}, {what}={number}): the cluster exists already")
        super().__init__()
        self._where = _checked(where)
        self._n_workers = n_workers
        self._gpus = gpus
        self._offer = (LocalOffer if where is None else ClusterOffer)(self)
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._connecting = threading.Lock()
        self._cluster: Cluster | None = None
        self._refusal: tuple[float, ConfigError] | None = None
        """When there was nobody at the address, and what was said of it."""
        self._driver = Driver(_LEAST, self)
        self._waiting = 0
        """Works of the cluster that wait, in this process, for what they have begun."""
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
    def here(self) -> Executor:
        """In a work of the cluster what that is spread over; no worker has a cluster of its own."""
        if self.address not in (None, cluster.get()):
            return self
        found: Executor | None = around.get()
        if found is None and Here.is_worker:
            from tasklineage.executors.choose import one_thread

            return one_thread()
        return found or self

    @property
    def slots(self) -> int:  # type: ignore[override]
        """How many works may be in flight: more than there are threads for."""
        return self._widened()

    def _widened(self) -> int:
        """As many slots as there are now; the driver has them, too."""
        threads = self._threads()
        slots = max(2 * threads, _LEAST) if threads else _GROWING
        with self._lock:
            slots += self._waiting
            if self._driver.slots < slots:
                self._driver.widen(slots - self._driver.slots)
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
    def driver(self) -> Threads:
        self._widened()
        return self._driver

    def note_waiting(self, by: int) -> None:
        """So many more works of the cluster wait here for what they have begun, or fewer.

        Each has a slot for that: those of the works that it is inside of are taken.
        """
        driver = self.driver
        with self._lock:
            self._waiting += by
            driver.widen(by)

    def perform(
        self,
        call: Callable[[Callable[[Any], None]], T],
        hear: Hear = bool,
        *,
        devices: Sequence[str] = (),
        timeout: float | None = None,
    ) -> T:
        lease = held()
        amounts = lease.amounts if lease.by is self._offer else {}
        self._connected().settle()
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

    def _connected(self) -> Cluster:
        if self._cluster is None or self._cluster.is_over:
            with self._connecting:
                if self._cluster is not None and self._cluster.is_over:
                    self._cluster.close()
                    self._cluster = None
                if self._cluster is None:
                    self._cluster = self._connect()
        return self._cluster

    def _connect(self) -> Cluster:
        if self._closed:
            raise ConfigError(f"{self!r} has been shut down")
        package = distributed()
        where: Any = self._where
        if where is None:
            from tasklineage.executors.dask_local import LocalWorkers

            workers = LocalWorkers(self._count(), self._gpus or 0)
            return Cluster(workers.client, workers.close, workers.interrupt)
        if isinstance(where, package.Client):
            if where.status == "closed":
                raise ConfigError(f"{self!r}: the client is closed")
            return Cluster(where)
        if cluster.get() is not None and self.address == cluster.get():
            return Cluster(Here.dask_worker._get_client())  # as `get_client`, in any thread
        if self._refusal is not None and time.monotonic() < self._refusal[0] + _AGAIN:
            raise self._refusal[1]
        try:
            client = package.Client(
                where, timeout=_CONNECTING, set_as_default=False, name="tasklineage"
            )
        except (OSError, ValueError, RuntimeError) as error:  # a cluster object may be closed
            refusal = ConfigError(f"no Dask scheduler answers at {where}: {error}")
            self._refusal = time.monotonic(), refusal
            raise refusal from None
        return Cluster(client, client.close)


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


def _copied(token: str, n_workers: int | None, gpus: int | None) -> Executor:
    """The cluster of a process that has not begun, where it was made; elsewhere one like it."""
    return made_here(token) or Dask(n_workers=n_workers, gpus=gpus)
