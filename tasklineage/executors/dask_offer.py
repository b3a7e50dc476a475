"""What the workers of a Dask cluster have, for calls that ask for it.

Dask itself counts what is free. Threads and memory of a worker are compared with what a call asks
for, but counted only where the cluster declares them as resources of its workers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tasklineage.errors import UnsatisfiableResources
from tasklineage.executors.resources import (
    CPU,
    MEMORY,
    Lease,
    Offer,
    hold,
    machine_offer,
    normal_name,
    shown,
)

if TYPE_CHECKING:
    from tasklineage.executors.dask import Dask


class ClusterOffer(Offer):
    """What the workers have, each by itself: a call runs on one of them."""

    def __init__(self, executor: Dask) -> None:
        super().__init__({})
        self._executor = executor

    def check(self, task: str, asked: Mapping[str, float]) -> None:
        offers = [_offered(one) for one in self._executor.workers().values()]
        if not asked or not offers or _is_met(asked, offers):  # if there are none, some may come
            return
        offers = [_offered(one) for one in self._executor.all_workers().values()]
        if _is_met(asked, offers):
            return
        lines = sorted(set(map(_line, offers)))
        raise UnsatisfiableResources(
            f"{task} asks for {_line(asked)}, which no worker of {self._executor!r} has; "
            f"they offer: {'; '.join(lines)}"
        )

    @contextlib.contextmanager
    def reserve(self, asked: Mapping[str, float]) -> Generator[Lease]:
        """A block whose works ask Dask for this; nothing is waited for here."""
        lease = Lease(asked, by=self)
        with hold(lease):
            yield lease


class LocalOffer(ClusterOffer):
    """That of a cluster of this machine, whose CPUs are counted here for all executors."""

    def names(self, asked: Iterable[str]) -> frozenset[bytes]:
        return machine_offer().names(asked)

    @contextlib.contextmanager
    def reserve(self, asked: Mapping[str, float]) -> Generator[Lease]:
        """A block that holds the CPUs; they are waited for."""
        cpus = {CPU: asked[CPU]} if CPU in asked else {}
        with machine_offer().reserve(cpus), super().reserve(asked) as lease:
            yield lease


def _is_met(asked: Mapping[str, float], offers: Sequence[Mapping[str, float]]) -> bool:
    """Whether one of these has it all."""
    return any(all(n <= offered.get(name, 0) for name, n in asked.items()) for offered in offers)


class Declared:
    """What workers have declared, also those that are gone: by these names Dask is asked for it."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def note(self, workers: Mapping[str, Any]) -> None:
        """Take note of what these declare."""
        for one in workers.values():
            self._names.update((normal_name(name), name) for name in one["resources"])

    def asked(self, amounts: Mapping[str, float]) -> dict[str, float] | None:
        """What Dask is asked for: all that it counts, whether somebody has it now or not."""
        return {
            self._names.get(name, name): n
            for name, n in amounts.items()
            if name in self._names or name not in (CPU, MEMORY)
        } or None


def missing(asked: Mapping[str, float], workers: Sequence[Mapping[str, Any]]) -> str:
    """What sort of worker there would have to be, if none of these has all that is asked for."""
    if _is_met(asked, [_offered(one) for one in workers]):
        return ""
    return f"worker with {_line(asked)}" if asked else "workers"


def _offered(worker: Mapping[str, Any]) -> dict[str, float]:
    offered = {CPU: float(worker["nthreads"])}
    if worker.get("memory_limit"):
        offered[MEMORY] = float(worker["memory_limit"])
    return {**offered, **{normal_name(n): float(v) for n, v in worker["resources"].items()}}


def _line(offered: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {shown(name, amount)}" for name, amount in offered.items())
