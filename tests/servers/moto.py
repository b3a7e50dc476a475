"""moto's server: an imitation of S3 in Python, which believes everybody."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.servers.lifetime import Endpoint, await_port, daemon, free_port


def what_is_missing() -> str:
    """What has to be installed; empty if nothing."""
    absent = [name for name in ("moto", "flask") if importlib.util.find_spec(name) is None]
    return f"no {', '.join(absent)}: pip install 'moto[server]'" if absent else ""


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[Endpoint]:
    """The server, which takes some 3 s to start."""
    port, log = free_port(), folder / "moto.out"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with daemon(command, log) as process:
        await_port(port, process, log)
        yield Endpoint("moto", f"http://127.0.0.1:{port}", "tester", "tester-secret")
