"""The command `worker`: processes of this machine join a Dask cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from tasklineage.cli.failures import guarded
from tasklineage.errors import ConfigError


@guarded
def worker(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="as tcp://host:8786")],
    gpus: Annotated[
        str, typer.Option("--gpus", help="'all', a number, or names as in 0,2: a worker for each")
    ] = "0",
    workers: Annotated[
        int | None,
        typer.Option("--workers", "-n", min=0, help="processes in all; by default 1 without GPUs"),
    ] = None,
    threads: Annotated[
        int, typer.Option("--threads", min=1, help="of each worker without a GPU")
    ] = 1,
    name: Annotated[str | None, typer.Option("--name", help="the names begin with this")] = None,
    memory: Annotated[
        str, typer.Option("--memory", help="of each, as 8GB; a worker that exceeds it is replaced")
    ] = "auto",
) -> None:
    """Start workers of a Dask cluster here, each with a GPU of its own where there are some."""
    import asyncio

    from tasklineage.executors.dask_workers import devices_of, memory_of, plans, serve

    devices = devices_of(gpus)
    count = (0 if devices else 1) if workers is None else workers
    wanted = plans(count, devices, threads=threads, name=name, memory=memory_of(memory))
    if not wanted:
        raise ConfigError("--workers 0 without GPUs: there is nothing to start")
    for plan in wanted:
        device = "no GPU" if plan.device is None else f"GPU {plan.device}"
        threads_text = f"{plan.threads} thread{'s' * (plan.threads > 1)}"
        typer.echo(f"{plan.name or 'worker'}: {threads_text}, {device}")
    asyncio.run(serve(address, wanted))
