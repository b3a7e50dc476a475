"""The life of a worker process: calls arrive, and what they return goes back.

It is started by `child` as `python -c "...; serve(...)"`. The main module of its parent is not
imported: what a call needs of it comes with the call. SIGINT is for the parent alone. When the
parent is gone, however it ended, the kernel kills this process, whatever it is doing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NoReturn

from tasklineage.executors import channel
from tasklineage.executors.parcels import pack, pack_whole, unpack
from tasklineage.executors.place import Here

_SET_SIGNAL = getattr(fcntl, "F_SETSIG", 10)
Tell = Callable[[Any], None]


def serve(channel_fd: int, life_fd: int) -> None:
    """Run calls until the parent closes the channel."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for fd in (channel_fd, life_fd):  # what a body starts must not keep them open
        os.set_inheritable(fd, False)
    die_with(life_fd)
    Here.is_worker = True
    with socket.socket(fileno=channel_fd) as connection:
        os.register_at_fork(after_in_child=partial(_let_go, connection, life_fd))
        while True:
            try:
                message = channel.receive(connection)
            except OSError:
                return
            if message is None:
                return
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                if _answer(connection, message):
                    return


def _let_go(connection: socket.socket, life_fd: int) -> None:
    """In a copy that a body has forked: nobody waits for what becomes of it.

    While it had the channel open, the end of this process would not be noticed.
    """
    Here.is_copy = True
    connection.close()
    os.close(life_fd)


def end_copy() -> NoReturn:
    """End a copy that a body has forked, and that has come to the end of the body."""
    error, status = sys.exception(), 0
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        sys.excepthook(type(error), error, error.__traceback__)
        status = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status & 0xFF)


def _answer(connection: socket.socket, message: channel.Message) -> bool:
    """Run a call and send what came of it; whether this process is of no use any more."""
    lock = threading.Lock()

    def tell(told: Any) -> None:
        if Here.is_copy:
            return
        content = pickle.dumps(told)
        with lock:
            channel.send(connection, channel.TOLD, content)

    kind, content, fds, retires = _outcome(message, tell)
    with lock:
        channel.send(connection, kind, content, fds)
    for fd in fds:
        os.close(fd)
    return retires


def _outcome(message: channel.Message, tell: Tell) -> tuple[int, bytes, tuple[int, ...], bool]:
    """What came of a call, as it is sent."""
    try:
        try:
            call = unpack(message.content, message.fds)
        finally:
            for fd in message.fds:
                os.close(fd)
        value = call(tell)
        del call
        if Here.is_copy:
            end_copy()
    except BaseException as error:  # noqa: BLE001 - it is told
        if Here.is_copy:
            end_copy()
        return channel.RAISED, packed_error(error), (), False
    try:
        return channel.RETURNED, *pack(value), getattr(value, "retires", False) is True
    except Exception as error:  # noqa: BLE001 - the code of the user's classes
        return channel.UNSENT, packed_error(error), (), False


class RemoteTraceback(Exception):
    """The traceback of an exception that was raised in another process, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n\n{self.text}"


def packed_error(error: BaseException) -> bytes:
    """An exception with its traceback as text; one that cannot travel as what it says."""
    import traceback

    try:
        text = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - the code of the user's classes
        text = f"{type(error).__qualname__}: its traceback cannot be shown"
    for form in _forms(error):
        try:
            blob = pack_whole((form, text))
            unpacked_error(blob)
        except Exception:  # noqa: BLE001 - the code of the user's classes
            continue
        return blob
    raise AssertionError("the last form is that of a text")


def _forms(error: BaseException) -> Iterator[Any]:
    """An exception, and what may travel for it if it cannot: the better first."""
    yield error
    kind, args, state = type(error), error.args, dict(vars(error))
    yield _Bare(kind, args, state)
    if isinstance(error, BaseExceptionGroup):
        parts = error.message, [next(filter(_is_raised, _forms(one))) for one in error.exceptions]
        yield _Bare(kind, parts, _portable(state))
        yield _Bare(BaseExceptionGroup, parts, _portable(state))
    yield _Bare(kind, *map(_portable, (args, state)))
    yield RuntimeError(f"{type(error).__qualname__}: {_shown(error)} (it cannot be pickled)")


def _portable(parts: Any) -> Any:
    """Arguments or attributes of an exception, a text in the place of each that cannot travel."""
    if isinstance(parts, dict):
        return dict(zip(parts, _portable(tuple(parts.values())), strict=True))
    return tuple([part if _can_travel(part) else f"<{type(part).__qualname__}>" for part in parts])


def _can_travel(value: Any, kind: type = object) -> bool:
    """Whether that kind of value arrives."""
    try:
        return isinstance(unpack(pack_whole(value), ()), kind)
    except Exception:  # noqa: BLE001 - the code of the user's classes
        return False


_is_raised = partial(_can_travel, kind=BaseException)


def unpacked_error(content: bytes) -> BaseException:
    """The exception that `packed_error` was given."""
    error: BaseException
    error, text = unpack(content, ())
    error.__cause__ = RemoteTraceback(text)
    return error


class _Bare:
    """An exception that is made without calling `__init__`, which may not take what `args` says."""

    def __init__(self, kind: type[BaseException], args: tuple[Any, ...], state: Any) -> None:
        self._parts = kind, args, state

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, self._parts


def _made(kind: type[BaseException], args: tuple[Any, ...], state: Any) -> BaseException:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def _shown(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - the code of the user's classes
        return "<its text cannot be shown>"


def die_with(life: int) -> None:
    """Have the kernel kill this process when the other end of a pipe is closed."""
    try:
        fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(life, _SET_SIGNAL, signal.SIGKILL)
        flags = fcntl.fcntl(life, fcntl.F_GETFL)
        fcntl.fcntl(life, fcntl.F_SETFL, flags | os.O_ASYNC | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            if not os.read(life, 1):
                os._exit(1)  # it was closed before
    except OSError:  # not Linux: a thread that waits for the end does, except in code that
        os.set_blocking(life, True)  # never lets go of the interpreter
        threading.Thread(target=_wait_for_end, args=(life,), daemon=True).start()


def _wait_for_end(life: int) -> None:
    os.read(life, 1)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run with the two descriptors as arguments."""
    serve(int(sys.argv[1]), int(sys.argv[2]))
