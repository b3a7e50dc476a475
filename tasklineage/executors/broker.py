"""The limits of a process, as its workers use them: one connection is one lease.

A lease ends with its connection, so that nothing is held by who is dead. The listener begins when
limits travel to another process for the first time.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import warnings
from collections.abc import AsyncGenerator, Generator, Mapping
from typing import TYPE_CHECKING, Any

from tasklineage.executors.base import Blocked
from tasklineage.executors.lasting import PATIENCE, lasts
from tasklineage.executors.leases import Held, Limits, inside, leases_around, reserved_for

if TYPE_CHECKING:
    from multiprocessing.connection import Connection, Listener


class _Broker:
    """The listener of this process, if there is one."""

    lock = threading.Lock()
    listener: Listener | None = None
    address = ""


def address() -> str:
    """Where processes of this machine reach the limits of this one: a path, and what opens it."""
    with _Broker.lock:
        if not _Broker.address:
            from multiprocessing.connection import Listener

            secret = os.urandom(16)
            # On Linux a name that is no file: nothing is left behind, however this process ends.
            name = f"\0tasklineage-{os.urandom(8).hex()}" if sys.platform == "linux" else None
            _Broker.listener = Listener(name, "AF_UNIX", backlog=64, authkey=secret)
            _Broker.address = f"{secret.hex()} {name or _Broker.listener.address}"
            threading.Thread(
                target=_listen, args=(_Broker.listener,), name="tasklineage-limits", daemon=True
            ).start()
        return _Broker.address


def _listen(listener: Listener) -> None:
    from multiprocessing import AuthenticationError

    while True:
        try:
            connection = listener.accept()
        except (AuthenticationError, EOFError, ConnectionError):  # who came has gone, or no key
            continue
        except OSError:
            return
        threading.Thread(
            target=_serve, args=(connection,), name="tasklineage-limits", daemon=True
        ).start()


def _serve(connection: Connection) -> None:
    """The life of a lease: asked for, granted, and given back when the other end is closed."""
    with connection, contextlib.suppress(EOFError, OSError):
        key, asked, numbers = connection.recv()

        def grant() -> None:
            with contextlib.suppress(OSError):  # nobody waits any more
                connection.send(request.lease.number)

        request = reserved_for(key, asked, numbers, grant)
        try:
            request.begin()
            connection.recv()  # there is nothing: it ends
        finally:
            request.end()


class Elsewhere(Limits):
    """Limits that another process counts."""

    def __init__(self, total: Mapping[str, float], key: str, address: str) -> None:
        super().__init__(total, key)
        self._address = address

    def __reduce__(self) -> tuple[Any, ...]:
        from tasklineage.executors.leases import arrived

        return arrived, (self.key, self.total, self._address)

    @contextlib.contextmanager
    def reserve(self, asked: Mapping[str, float]) -> Generator[None]:
        connection = self._connected()
        if connection is None:
            with super().reserve(asked):
                yield
            return
        names = self.names(asked)
        with connection:
            connection.send((self.key, dict(asked), _numbers()))
            with Blocked():
                is_long = not connection.poll(PATIENCE)
                with lasts(names) if is_long else contextlib.nullcontext():
                    number = connection.recv()
            with inside(Held(number, names)):
                yield

    @contextlib.asynccontextmanager
    async def reserve_async(self, asked: Mapping[str, float]) -> AsyncGenerator[None]:
        import asyncio

        connection = await asyncio.to_thread(self._connected)
        if connection is None:
            async with super().reserve_async(asked):
                yield
            return
        names = self.names(asked)
        with connection:
            connection.send((self.key, dict(asked), _numbers()))
            async with Blocked():
                is_long = not await asyncio.to_thread(connection.poll, PATIENCE)
                with lasts(names) if is_long else contextlib.nullcontext():
                    number = await asyncio.to_thread(connection.recv)
            with inside(Held(number, names)):
                yield

    def _connected(self) -> Connection | None:
        """A connection to who counts; None where it cannot be reached: each process counts then."""
        from multiprocessing.connection import Client

        secret, _, path = self._address.partition(" ")
        try:
            made: Any = Client(path, "AF_UNIX", authkey=bytes.fromhex(secret))
        except (FileNotFoundError, ConnectionRefusedError):
            warnings.warn(
                f"the limits {self.total} are counted on another machine: what calls inside of "
                "calls ask for is counted in each process by itself",
                stacklevel=2,
            )
            return None
        connection: Connection = made
        return connection


def _numbers() -> tuple[int, ...]:
    return tuple(lease.number for lease in leases_around.get())


def _after_fork() -> None:
    _Broker.lock = threading.Lock()
    _Broker.listener, _Broker.address = None, ""


os.register_at_fork(after_in_child=_after_fork)
