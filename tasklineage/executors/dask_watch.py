"""What becomes of the workers of a Dask cluster, looked at while works are in flight.

A worker that was stopped is known to the scheduler as alive for minutes. Those of this machine are
found here: their nannies begin others.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasklineage.executors.dask_cluster import Cluster

_LONELY = 10
"""Seconds without any worker for a work after which somebody should know."""
_STOPPED = 5.0
"""Seconds after which a worker that was stopped is taken for lost."""


class Watch:
    """Looks once a second, in a thread of its own, for as long as anything is in flight."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pids: dict[str, int] = {}
        """The process of each worker of this machine, by address; 0: not known."""

    def begin(self) -> None:
        """Look, from now on."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._look_around, name="tasklineage-dask", daemon=True
                )
                self._thread.start()

    def _look_around(self) -> None:
        cluster = self._cluster
        since: dict[tuple[str, int], float] = {}
        lonely = 0
        while True:
            time.sleep(1)
            if cluster.is_over:
                cluster.abandon()
            with self._lock:
                if not cluster.is_busy:
                    self._thread = None
                    return
            lonely = lonely + 1 if cluster.misses() else 0
            if lonely == _LONELY:
                warnings.warn(
                    f"the Dask cluster at {cluster.address} has no {cluster.misses()}: calls wait "
                    f"for one, as `tasklineage worker {cluster.address}` starts",
                    stacklevel=1,
                )
            now = time.monotonic()
            since = {place: since.get(place, now) for place in self._stopped()}
            for (address, pid), began in since.items():
                if now - began >= _STOPPED:
                    self._give_up(address, pid)

    def _stopped(self) -> set[tuple[str, int]]:
        """The address and process of each worker of this machine that is stopped."""
        workers = self._cluster.workers()
        unknown = workers.keys() - self._pids.keys()
        if unknown:
            self._pids |= dict.fromkeys(unknown, 0) | _listeners(unknown)
        return {(one, self._pids[one]) for one in workers if _is_stopped(self._pids[one])}

    def _give_up(self, address: str, pid: int) -> None:
        """End a worker that was stopped: its nanny begins another. One without is forgotten."""
        if self._cluster.workers().get(address, {}).get("nanny"):
            with contextlib.suppress(OSError):  # it is somebody else's
                os.kill(pid, signal.SIGKILL)
                return
        client = self._cluster.client
        with contextlib.suppress(Exception):  # the scheduler knows already, or it is gone
            client.sync(
                client.scheduler.unregister, address=address,
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
            return file.read().rpartition(b")")[2].split()[0] == b"T"  # one in a debugger is not
    except (OSError, IndexError):
        return False
