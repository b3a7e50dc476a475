"""Processes that join a Dask cluster as workers, each under a nanny that starts it anew.

A worker with a GPU sees no other one (`CUDA_VISIBLE_DEVICES`), and has the Dask resource `GPU=1`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

from tasklineage.errors import ConfigError
from tasklineage.executors.dask_package import distributed
from tasklineage.executors.resources import CPU, GPU, MEMORY, VISIBLE, amounts, machine_offer
from tasklineage.executors.serving import die_with
from tasklineage.executors.threads import cpus

INTERRUPT = signal.SIGUSR1
"""Tells these processes that nobody wants to wait for what their workers do."""
_LOGGING = "logging", "logging-file-config"
_CONNECTING = 10
"""Seconds that the scheduler has to answer."""


class Plan(NamedTuple):
    """One worker process."""

    name: str | None
    threads: int = 1
    device: str | None = None
    memory: int | str = "auto"
    cpus: int | None = None
    """Those that a call may ask for; None: one for each thread."""

    def resources(self) -> dict[str, int]:
        """What Dask is told that it has."""
        declared = {GPU: None if self.device is None else 1, CPU: self.cpus}
        return {name: amount for name, amount in declared.items() if amount is not None}


def plans(
    count: int,
    devices: Sequence[str],
    *,
    threads: int = 1,
    name: str | None = None,
    memory: int | str = "auto",
    cpus: int | None = None,
) -> list[Plan]:
    """As many workers as asked for, at least one for each device; the first have one each.

    Examples
    --------
    >>> [(plan.name, plan.device) for plan in plans(2, ["0"], name="a")]
    [('a-0', '0'), ('a-1', None)]
    """
    found: list[Plan] = []
    for i in range(max(count, len(devices))):
        device = devices[i] if i < len(devices) else None
        own = name and f"{name}-{i}"
        found.append(Plan(own, threads if device is None else 1, device, memory, cpus))
    return found


async def serve(address: str, wanted: Sequence[Plan]) -> None:
    """Be workers of the scheduler at this address until it is gone, or this process is told."""
    package = distributed()
    try:
        comm = await package.core.connect(address, timeout=_CONNECTING)
    except (OSError, ValueError) as error:
        raise ConfigError(f"no Dask scheduler answers at {address}: {error}") from error
    await comm.close()
    is_here = "://127." in address or "://localhost" in address or "://[::1]" in address
    host = "127.0.0.1" if is_here else None
    nannies = [
        package.Nanny(
            address,
            nthreads=plan.threads,
            name=plan.name,
            memory_limit=plan.memory,
            resources=plan.resources(),
            env={VISIBLE: plan.device} if plan.device is not None else {},
            host=host,
            dashboard_address=f"{host}:0" if host else ":0",
            death_timeout=60,
            preload=[*import_module("dask").config.get("distributed.worker.preload"), __name__],
        )
        for plan in wanted
    ]
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    loop.add_signal_handler(INTERRUPT, _kill_workers, nannies)
    await asyncio.gather(*nannies)
    stopping = asyncio.ensure_future(told.wait())
    finished: Any = asyncio.gather(*[one.finished() for one in nannies])
    await asyncio.wait((stopping, finished), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    await asyncio.gather(*[one.close(timeout=5) for one in nannies])
    await finished


def _kill_workers(nannies: Sequence[Any]) -> None:
    """End all works: the nannies begin other workers."""
    for pid in filter(None, [nanny.pid for nanny in nannies]):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def dask_setup(_: Any) -> None:
    """Leave Ctrl-C to the nanny: Dask calls this in each worker when it begins."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def main(arguments: Sequence[str] | None = None) -> None:
    """Be the workers of a cluster of the process that has started this one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    for name in ("count", "gpus", "life", "memory"):
        parser.add_argument(f"--{name}", type=int, required=True)
    asked = parser.parse_args(arguments)
    die_with(asked.life)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not is_told_to_log():
        os.environ["DASK_LOGGING__DISTRIBUTED"] = "critical"
        import_module("dask").config.refresh()
    devices = _first(machine_offer().devices, asked.gpus)
    wanted = plans(asked.count, devices, memory=asked.memory, cpus=cpus())
    asyncio.run(serve(asked.address, wanted))


def is_told_to_log() -> bool:
    """Whether Dask's configuration says how it shall log; else it tells of all that it does."""
    config = import_module("dask").config
    places = [f"{above}{name}" for above in ("distributed.", "") for name in _LOGGING]
    return any(config.get(place, None) for place in places)


def devices_of(asked: str) -> list[str]:
    """The GPUs that are meant by `all`, a number of them, or their names.

    Raises
    ------
    ConfigError
        It is none of these, or there are no GPUs.
    """
    visible = list(machine_offer().devices)
    if asked == "all":
        if not visible:
            raise ConfigError("--gpus all: this machine has none, or CUDA_VISIBLE_DEVICES hides it")
        return visible
    if asked.isdecimal() and (int(asked) == 0 or "," not in asked):
        return _first(visible, int(asked))
    names = [one.strip() for one in asked.split(",")]
    if not all(names):
        raise ConfigError(f"--gpus {asked!r}: it is 'all', a number, or names as in 0,2")
    return names


def memory_of(asked: str) -> str:
    """What was asked for, as Dask understands it: `auto`, a size, or a share of the memory.

    Raises
    ------
    ConfigError
        It is none of these.
    """
    if asked != "auto":
        try:
            amounts({MEMORY: asked})
        except ConfigError:
            raise ConfigError(f"--memory {asked!r}: it is 'auto', or a size as in 8GB") from None
    return asked


def _first(visible: Sequence[str], count: int) -> list[str]:
    """So many of those that this process may see; where there are not so many, as numbered."""
    return list(visible[:count]) if len(visible) >= count else [str(i) for i in range(count)]


if __name__ == "__main__":
    main(sys.argv[1:])
