"""Servers that live as long as somebody holds a lease on them, and not longer.

A test session may be many processes (pytest-xdist), which share one server of a kind; any of them
may be killed. Each holds a shared lock on a file, its lease; the first one also starts a keeper, a
process that starts the server, says in another file where it is, and then asks for the same lock
alone: it gets it when the last lease is gone, however that came about. Then it stops the server.

    folder/starting     held alone by whoever looks whether the server is there
    folder/lease        held shared by every user, then alone by the keeper
    folder/ready        where the server is, and the keeper's process
    folder/failed       why it did not start
    folder/data         the server's own

Everybody holds his lease to the end of the session, so the last act of the keeper is to remove the
folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


class Endpoint(NamedTuple):
    """Where a server is, and with whose name one may talk to it."""

    kind: str
    url: str
    key: str = ""
    secret: str = ""


class NotStarted(Exception):
    """The server is installed and does not start."""


class Lease:
    """The right to use a server. Lost when it is closed, or when its process ends."""

    def __init__(self, kind: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._keeper: subprocess.Popen[bytes] | None = None
        with _locked(folder / "starting"):
            self._file = os.open(folder / "lease", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_SH)
            try:
                if not _is_ready(folder):
                    self._keeper = _kept(kind, folder)
                    _await_ready(folder, self._keeper)
                self.endpoint = Endpoint(*json.loads((folder / "ready").read_text())["endpoint"])
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Whoever has started the server sees it end."""
        os.close(self._file)
        if self._keeper is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._keeper.wait(PATIENCE)


def free_port() -> int:
    """A port of the loopback interface that nobody listens on just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextlib.contextmanager
def daemon(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block, and with this process."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=_die_with_parent,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def await_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until somebody listens there."""

    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    wait_for(answers, process, log)


def wait_for(is_there: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Until it is there.

    Raises
    ------
    NotStarted
        It took too long, or the process that should bring it about has ended.
    """
    deadline = time.monotonic() + PATIENCE / 2
    while not is_there():
        if process.poll() is not None or time.monotonic() > deadline:
            told = log.read_text("utf-8", "replace")[-2000:]
            raise NotStarted(f"{process.args!r} ended with {process.returncode}: {told}")
        time.sleep(0.05)


def keep(kind: str, folder: Path) -> None:
    """In the keeper: the server is there until the last lease is gone."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    data = folder / "data"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir()
    serve = importlib.import_module(f"tests.servers.{kind}").serve
    with (folder / "lease").open("rb") as lease:
        try:
            with serve(data) as endpoint:
                told = {"endpoint": endpoint, "keeper": os.getpid()}
                _write(folder / "ready", json.dumps(told))
                fcntl.flock(lease, fcntl.LOCK_EX)
                (folder / "ready").unlink()
            shutil.rmtree(folder)
        except NotStarted as error:
            _write(folder / "failed", str(error))
        finally:
            shutil.rmtree(data, ignore_errors=True)


def _kept(kind: str, folder: Path) -> subprocess.Popen[bytes]:
    for name in ("ready", "failed"):
        (folder / name).unlink(missing_ok=True)
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.servers.lifetime", kind, str(folder)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C is for the tests: they end, and so does their server
        )


def _await_ready(folder: Path, keeper: subprocess.Popen[bytes]) -> None:
    def is_there() -> bool:
        return (folder / "ready").exists()

    try:
        wait_for(is_there, keeper, folder / "log")
    except NotStarted:
        with contextlib.suppress(FileNotFoundError):
            raise NotStarted((folder / "failed").read_text()) from None
        raise


def _is_ready(folder: Path) -> bool:
    try:
        os.kill(json.loads((folder / "ready").read_text())["keeper"], 0)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return True


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(text)
    temporary.replace(path)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        library: Any = ctypes.CDLL(None)
        library.prctl(_DIE_WITH_PARENT, signal.SIGKILL)


if __name__ == "__main__":
    from tests.servers import lifetime  # the same module under its name, with the same classes

    lifetime.keep(sys.argv[1], Path(sys.argv[2]))
