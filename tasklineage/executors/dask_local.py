"""A Dask cluster of this machine: the scheduler in this process, each worker in one of its own.

Everything listens on the loopback interface only. The workers are started by `subprocess`, so the
user's main module is not imported a second time; they end with this process, however it ends.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
from typing import Any

from tasklineage.executors.dask_package import distributed
from tasklineage.executors.dask_workers import INTERRUPT, is_told_to_log
from tasklineage.executors.threads import cpus

_HOST = "127.0.0.1"
_STARTING = 120
"""Seconds that the first worker has."""
_GRACE = 10
_START = (
    "import sys; sys.path[:] = {path!r}; from tasklineage.executors.dask_workers import main; "
    "main({arguments!r})"
)


class LocalWorkers:
    """A scheduler with `count` workers of one thread each; the first `gpus` have one GPU each."""

    def __init__(self, count: int, gpus: int) -> None:
        path = list(sys.path)
        package = distributed()
        is_told_to_log = _quieten()
        self._cluster: Any = package.LocalCluster(
            n_workers=0, host=_HOST, dashboard_address=f"{_HOST}:0", processes=True,
            silence_logs=False if is_told_to_log else logging.CRITICAL,
        )  # fmt: skip
        self._cluster.shutdown_on_close = False  # `close` does it, when the workers have ended
        sys.path[:] = path  # the scheduler has put a folder of its own first
        life_read, self._life = os.pipe()
        arguments = [
            self._cluster.scheduler_address, f"--count={count}", f"--gpus={gpus}",
            f"--life={life_read}", f"--memory={_memory() // max(count, cpus())}",
        ]  # fmt: skip
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START.format(path=sys.path, arguments=arguments)],
                stdin=subprocess.DEVNULL, pass_fds=(life_read,), process_group=0,
            )  # fmt: skip
        finally:
            os.close(life_read)
        self.client: Any = self._cluster.get_client()
        self.client.wait_for_workers(1, timeout=_STARTING)

    def interrupt(self) -> None:
        """Kill the workers, whatever they do; others take their places."""
        self._process.send_signal(INTERRUPT)

    def close(self) -> None:
        """End the workers and the scheduler."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)
        os.close(self._life)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for closing in (self.client.close, self._cluster.close):
            with contextlib.suppress(Exception):  # at the end of the process, in whatever state
                closing()


def _quieten() -> bool:
    """Let Dask not tell of each worker, unless it was told how to log; whether it was."""
    is_told = is_told_to_log()
    logger = logging.getLogger("distributed")
    if not is_told and logger.level == logging.INFO:  # as Dask itself has set it when imported
        logger.setLevel(logging.WARNING)
    return is_told


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
