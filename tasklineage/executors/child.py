"""A worker process, as its parent sees it: it runs one call at a time, and can be killed.

It is started by `subprocess`, not by `multiprocessing`: so the user's main module is not imported a
second time, nothing is inherited but what is meant to be, and it works where daemonic processes may
have no children. It starts in 0.1 s and serves many calls.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from tasklineage.errors import TaskTimeout, WorkerLost
from tasklineage.executors import channel
from tasklineage.executors.parcels import unpack
from tasklineage.executors.serving import unpacked_error

_START = (
    "import sys; sys.path[:] = {path!r}; from tasklineage.executors.serving import main; main()"
)
_GRACE = 5.0
"""Seconds that a worker has to end by itself."""
STARTING = 60.0
"""Seconds that a worker has, beyond the time limit of a call, until it tells that it begins."""


class NotStarted(Exception):
    """The process had died before the call reached it."""


Hear = Callable[[Any], bool]
"""What is done with what a call tells; True: its time limit begins again."""


class Child:
    """One worker process. One thread at a time may use it."""

    def __init__(self, devices: str = "") -> None:
        self.devices = devices
        """The GPUs that it was begun for; empty: for whatever there is."""
        ours, theirs = socket.socketpair()
        life_read, life_write = os.pipe()
        command = [
            sys.executable, *_flags(), "-c", _START.format(path=sys.path), str(theirs.fileno()),
            str(life_read),
        ]  # fmt: skip
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": devices} if devices else None,
                pass_fds=(theirs.fileno(), life_read),
                process_group=0,
            )
        except BaseException:
            ours.close()
            os.close(life_write)
            raise
        finally:
            theirs.close()
            os.close(life_read)
        self._channel = ours
        self._life: int | None = life_write
        self._is_idle = True
        self.is_new = True
        """Whether it has run nothing so far."""
        self.has_retired = False
        """Whether what it gave says that it is of no further use."""
        self.was_interrupted = False
        """Whether it was killed since nobody wants to wait for what it does."""

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def run(
        self, content: bytes, fds: Sequence[int], hear: Hear, timeout: float | None = None
    ) -> Any:
        """What a packed call returns; or its exception is raised.

        Raises
        ------
        TaskTimeout
            It took longer than `timeout` seconds. The process has been killed.
        WorkerLost
            The process died; `exitcode` is negative for a signal.
        NotStarted
            It had died before; one that is new is lost.
        """
        is_new = self.is_new
        self._is_idle = self.is_new = False
        try:
            self._channel.settimeout(None)
            channel.send(self._channel, channel.CALL, content, fds)
        except OSError:
            if is_new:
                raise self._lost() from None
            self.kill()
            raise NotStarted from None
        try:
            return self._outcome(hear, timeout)
        except (TaskTimeout, WorkerLost):
            raise
        except BaseException:  # Ctrl-C: nobody will read what it sends
            if not self._is_idle:
                self.kill()
            raise

    def _outcome(self, hear: Hear, timeout: float | None) -> Any:
        until = time.monotonic() + STARTING + (timeout or 0)
        while True:
            message = self._received(None if timeout is None else until, timeout)
            if message.kind == channel.TOLD:
                if hear(pickle.loads(message.content)) and timeout is not None:
                    until = time.monotonic() + timeout
                continue
            self._is_idle = True
            try:
                if message.kind == channel.RETURNED:
                    value = unpack(message.content, message.fds)
                    self.has_retired = getattr(value, "retires", False) is True
                    return value
                raise unpacked_error(message.content)
            finally:
                for fd in message.fds:
                    os.close(fd)

    def _received(self, deadline: float | None, timeout: float | None) -> channel.Message:
        try:
            left = None if deadline is None else max(0.001, deadline - time.monotonic())
            self._channel.settimeout(left)
            message = channel.receive(self._channel)
        except TimeoutError:
            self.kill()
            raise TaskTimeout(f"it took longer than {timeout:g} seconds") from None
        except OSError:
            message = None
        if message is None:
            raise self._lost()
        return message

    def _lost(self) -> WorkerLost:
        try:
            code = self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self._process.returncode
        self.close()
        return WorkerLost(f"the worker process {self.pid} {_ended(code)}", exitcode=code)

    def is_fit(self) -> bool:
        """Whether it can run another call."""
        is_free = self._is_idle and not self.has_retired
        return is_free and self._life is not None and self.is_alive()

    def interrupt(self) -> None:
        """Kill it from another thread than the one that waits for it, which finds it lost."""
        self.was_interrupted = True
        self._process.kill()

    def abandon(self) -> None:
        """Let go of it in a forked child, whose process it is not."""
        self.close()
        self._process.returncode = 0  # nobody here may wait for it

    def kill(self) -> None:
        """End it now, and wait for that."""
        self._process.kill()
        self._process.wait()
        self.close()

    def end(self) -> None:
        """Let it end by itself as soon as it is idle; do not wait."""
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)
        self._channel.close()

    def join(self, grace: float = _GRACE) -> None:
        """Wait until it has ended; kill it if that takes longer than `grace` seconds."""
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.close()

    def close(self) -> None:
        """Let go of the descriptors. A process that is not dead is killed by that."""
        self._channel.close()
        life, self._life = self._life, None
        if life is not None:
            os.close(life)


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _flags() -> list[str]:
    """The options with which this interpreter runs."""
    flags: list[str] = getattr(subprocess, "_args_from_interpreter_flags", list)()
    return flags
