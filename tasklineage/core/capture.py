"""What a call prints and logs, kept for its record while it still reaches the screen.

    print ──> sys.stdout: Stream ──> original stream (unless quiet)
                            │
                            └─ the Capture of the call that this context belongs to, if any

While calls are in flight `sys.stdout` and `sys.stderr` are proxies; with the last call the
originals come back, if nobody has replaced the proxies meanwhile. Which call a text belongs to is a
context variable: it is right in threads (a new thread has an empty context, so what it writes goes
to the original stream alone) and in coroutines (each `asyncio` task has a copy), and a child call
sets its own over its parent's.

Logging. Handlers may hold any stream, most often the `sys.stderr` of long ago, so a record is
followed rather than a handler: while calls are in flight `Logger.callHandlers` is wrapped, and when
the handlers have run without having written to the call's capture, the record is formatted into it.
So every record that its logger lets pass is captured exactly once, whatever the handlers are, and
`root.handlers` is never touched: `basicConfig` inside a task does what it says. Where nobody has
imported `logging`, neither does this module.

Not captured: what is written to the file descriptors (by subprocesses and C libraries) or to
`sys.stdout.buffer`.
"""

from __future__ import annotations

import functools
import io
import os
import sys
from _thread import allocate_lock
from collections.abc import Callable, Iterable
from contextvars import ContextVar, Token
from typing import Any, ClassVar

LIMIT = 8 * 1024 * 1024
"""Characters that are kept of a stream of one call."""

_CUT = "\n[tasklineage: this stream was cut here; it had more than {limit} characters]\n"


class Capture:
    """What one call, or one attempt of it, has written.

    Any thread may write; `stdout` and `stderr` may be read at any time.
    """

    __slots__ = ("_err", "_out")

    is_silent: ClassVar[bool] = False
    """Whether what is captured is kept from the screen."""
    is_told: bool = False
    """Whether it tells another process what to show."""

    def __init__(self) -> None:
        self._out: _Text | None = None
        self._err: _Text | None = None

    def is_empty(self) -> bool:
        """Whether nothing was written. HOT."""
        return self._out is None and self._err is None

    def stdout(self) -> str:
        """The text so far, `""` if there is none; at most `LIMIT` characters and a last line."""
        return "" if self._out is None else self._out.getvalue()

    def stderr(self) -> str:
        """The text so far, log records included."""
        return "" if self._err is None else self._err.getvalue()

    def add_out(self, text: str) -> None:
        """Append to the standard output of the call."""
        if self._out is None:
            self._out = _Text()
        self._out.add(text)

    def add_err(self, text: str) -> None:
        """Append to its standard error."""
        if self._err is None:
            self._err = _Text()
        self._err.add(text)


class SilentCapture(Capture):
    """What an execution writes that only checks a result: nothing of it is shown."""

    __slots__ = ()
    is_silent = True


class _Text(io.StringIO):
    """A text that grows up to `LIMIT`."""

    def __init__(self) -> None:
        super().__init__(newline="")
        self._room = LIMIT

    def add(self, text: str) -> None:
        room = self._room
        if room >= len(text):
            self._room = room - len(text)
            self.write(text)
        elif room >= 0:
            self._room = -1
            self.write(text[:room] + _CUT.format(limit=LIMIT))


class _Recorder(Capture):
    """Stands for a capture while the handlers of a record run; notes whether one wrote to it."""

    __slots__ = ("capture", "has_written", "is_told", "record")

    def __init__(self, capture: Capture, record: object) -> None:
        super().__init__()
        self.capture = capture
        self.is_told = capture.is_told
        self.record = record
        self.has_written = False

    def add_out(self, text: str) -> None:
        self.has_written = True
        self.capture.add_out(text)

    def add_err(self, text: str) -> None:
        self.has_written = True
        self.capture.add_err(text)


_current: ContextVar[Capture | None] = ContextVar("tasklineage_capture", default=None)
show_elsewhere: ContextVar[Callable[[str, bool], object] | None] = ContextVar(
    "tasklineage_screen", default=None
)
"""In a quiet process, what has somebody else show a text of calls inside of a call."""


def begin(capture: Capture) -> Token[Capture | None]:
    """From now on what this context writes belongs to `capture`. The token is for `end`. HOT."""
    try:
        _flight.calls.append(None)
        if not _flight.is_installed:
            _flight.install()
        return _current.set(capture)
    except BaseException:  # Ctrl-C: there is no token to end it with
        release()
        raise


def end(token: Token[Capture | None]) -> None:
    """The call is over; what this context writes belongs to the call around it again. HOT."""
    try:
        _current.reset(token)
    except ValueError:
        pass  # a coroutine closed by the garbage collector ends in a context of somebody else
    finally:
        _flight.calls.pop()
        if not _flight.calls:
            _flight.restore()


def hold() -> None:
    """Keep the proxies in place until `release`, as a call in flight does."""
    _flight.calls.append(None)
    if not _flight.is_installed:
        _flight.install()


def release() -> None:
    """Undo one `hold`."""
    _flight.calls.pop()
    if not _flight.calls:
        _flight.restore()


def set_quiet(quiet: bool) -> None:
    """Whether what calls write is only captured, and not shown."""
    _flight.quiet = quiet


def is_quiet() -> bool:
    """Whether what calls write is only captured."""
    return _flight.quiet


def echo(text: str, *, is_err: bool) -> None:
    """Show what a call has written in another process; it is captured there."""
    if _flight.quiet:
        _show_elsewhere(text, is_err)
        return
    stream = sys.stderr if is_err else sys.stdout
    if stream is None:
        return
    token = _current.set(None)
    try:
        stream.write(text)
    finally:
        _current.reset(token)


def _show_elsewhere(text: str, is_err: bool) -> None:
    show = show_elsewhere.get()
    if show is not None:
        show(text, is_err)


def set_screen(before_write: Callable[[Any, str], object] | None) -> None:
    """Have `before_write(original stream, text)` called before a text is shown."""
    _flight.before_write = before_write


def shown(stream: Any) -> Any:
    """The stream behind a proxy of ours, on which nothing is captured; any other as it is."""
    return stream.original if type(stream) is Stream else stream


class Stream:
    """A stand-in for `sys.stdout` or `sys.stderr` that also captures; in all else, the original.

    It works also when no call is in flight, since whoever has got hold of it may keep it.
    """

    __slots__ = ("__weakref__", "_is_err", "_patch", "_stream", "original")

    original: Any
    _stream: Any
    _is_err: bool
    _patch: Callable[[str], int] | None

    def __init__(self, original: Any, *, is_err: bool) -> None:
        keep = object.__setattr__  # any other attribute is set on the original
        keep(self, "original", original)
        keep(self, "_stream", _Nowhere() if original is None else original)
        keep(self, "_is_err", is_err)
        keep(self, "_patch", None)

    @property
    def write(self) -> Callable[[str], int]:
        """Writes a text; what somebody has put in its place does, as IPython does for each cell.

        A patch stays on the proxy: it calls what was there before, which writes to the original.
        """
        return self._patch or self._write

    def _write(self, text: str) -> int:
        """Write to the capture of this context, if there is one, and to the original stream."""
        capture = _current.get()
        flight = _flight
        if capture is not None and isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            if self._is_err:
                capture.add_err(text)
            else:
                capture.add_out(text)
            if flight.quiet or capture.is_silent:
                if not (capture.is_silent or capture.is_told):
                    _show_elsewhere(text, self._is_err)
                return len(text)
        if flight.before_write is not None:
            flight.before_write(self._stream, text)
        if not flight.is_tangled:
            written: int = self._stream.write(text)
            return written
        token = _current.set(None)  # another of our proxies may stand behind this stream
        try:
            written = self._stream.write(text)
        finally:
            _current.reset(token)
        return written

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of `lines`."""
        for line in lines:
            self.write(line)

    @property  # type: ignore[misc] # never assigned
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The original's, so that `isinstance` says of this what it says of that."""
        return type(self._stream)  # pyright: ignore[reportUnknownVariableType]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __setattr__(self, name: str, value: object) -> None:
        if name == "write":
            object.__setattr__(self, "_patch", None if value == self._write else value)
        else:
            setattr(self._stream, name, value)

    def __dir__(self) -> list[str]:
        return dir(self._stream)

    def __repr__(self) -> str:
        return repr(self._stream)

    def __enter__(self) -> Stream:
        self._stream.__enter__()
        return self

    def __exit__(self, *error: object) -> Any:
        return self._stream.__exit__(*error)

    def __iter__(self) -> Any:
        return iter(self._stream)


class _Nowhere(io.TextIOBase):
    """Where text goes in a process without the stream: `sys.stdout` is None in a service."""

    def write(self, text: str, /) -> int:
        return len(text)

    def writable(self) -> bool:
        return True


class _Flight:
    """The calls in flight, and what was put in place for them.

    `calls` is counted without the lock: a call is added before `is_installed` is read, and
    `restore` clears `is_installed` before it reads `calls` for the last time, so one of the two
    always notices the other (as in Dekker's algorithm).
    """

    __slots__ = (
        "before_write", "call_handlers", "calls", "err", "handlers_before", "is_installed",
        "is_tangled", "lock", "logger", "out", "quiet",
    )  # fmt: skip

    def __init__(self) -> None:
        self.calls: list[None] = []
        """One for each call in flight and each `hold`: a counter that threads may change."""
        self.lock = allocate_lock()
        self.is_installed = False
        self.is_tangled = False
        """Whether somebody kept a proxy of ours in place, and may have wrapped it."""
        self.quiet = False
        self.before_write: Callable[[Any, str], object] | None = None
        self.out = Stream(None, is_err=False)
        self.err = Stream(None, is_err=True)
        self.logger: Any = None
        """The class `logging.Logger`, once it has been imported."""
        self.handlers_before: Any = None
        """What `Logger.callHandlers` was; `call_handlers` is what we made of it."""
        self.call_handlers: Any = None

    def install(self) -> None:
        """Put the proxies in place, unless they are. HOT."""
        with self.lock:
            if self.is_installed:
                return
            if sys.stdout is not self.out.original or sys.stderr is not self.err.original:
                self._remake_streams()
            sys.stdout, sys.stderr = self.out, self.err
            logger = self.logger
            if logger is None:
                logger = self._find_logger()
            if logger is not None:
                if logger.callHandlers is not self.handlers_before:
                    self.handlers_before = logger.callHandlers
                    self.call_handlers = _following(self.handlers_before)
                logger.callHandlers = self.call_handlers
            self.is_installed = True

    def restore(self) -> None:
        """Put back the originals of what nobody has replaced, if no call is left. HOT."""
        with self.lock:
            if not self.is_installed:
                return
            self.is_installed = False
            if self.calls:
                self.is_installed = True
                return
            if sys.stdout is self.out and sys.stderr is self.err:
                sys.stdout, sys.stderr = self.out.original, self.err.original
            else:
                self._restore_what_is_ours()
            logger = self.logger
            if logger is not None and logger.callHandlers is self.call_handlers:
                logger.callHandlers = self.handlers_before

    def _remake_streams(self) -> None:
        """Make proxies for new streams; a proxy that was left in place serves again."""
        out, err = sys.stdout, sys.stderr
        if out is not self.out.original:
            self.out = out if type(out) is Stream else Stream(out, is_err=False)
        if err is not self.err.original:
            self.err = err if type(err) is Stream else Stream(err, is_err=True)

    def _restore_what_is_ours(self) -> None:
        self.is_tangled = True
        if sys.stdout is self.out:
            sys.stdout = self.out.original
        if sys.stderr is self.err:
            sys.stderr = self.err.original

    def _find_logger(self) -> Any:
        logging = sys.modules.get("logging")
        self.logger = getattr(logging, "Logger", None)
        return self.logger


def _following(call_handlers: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """What to put for `Logger.callHandlers`: the same, and the record is captured once."""

    def follow(logger: Any, record: Any) -> None:
        capture = _current.get()
        if isinstance(capture, _Recorder):
            if capture.record is record:  # somebody has wrapped our wrapper, and we wrapped theirs
                return call_handlers(logger, record)
            capture = capture.capture  # a handler logs
        if capture is None:
            return call_handlers(logger, record)
        if capture.is_silent:
            return capture.add_err(_formatted(logger, record) + "\n")
        recorder = _Recorder(capture, record)
        token = _current.set(recorder)
        try:
            return call_handlers(logger, record)
        finally:
            _current.reset(token)
            if not recorder.has_written:
                capture.add_err(_formatted(logger, record) + "\n")

    return follow


def _formatted(logger: Any, record: Any) -> str:
    """The record as the first stream handler would write it, else as `basicConfig` would."""
    formatter = _formatter(logger, record.levelno) or _default_formatter()
    try:
        return str(formatter.format(record))
    except Exception as error:  # the message and its arguments are user code
        where = f"{record.levelname}:{record.name}:{record.msg!s:.200}"
        return f"{where} [could not be formatted: {type(error).__name__}]"


def _formatter(logger: Any, level: int) -> Any:
    import logging

    while logger is not None:
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and level >= handler.level:
                return handler.formatter
        logger = logger.parent if logger.propagate else None
    return None


@functools.cache
def _default_formatter() -> Any:
    import logging

    return logging.Formatter(logging.BASIC_FORMAT)


_flight = _Flight()


def _forget_others() -> None:
    """In a forked child: the calls of other threads are not in flight here."""
    _flight.lock = allocate_lock()
    if _current.get() is None:
        _flight.calls.clear()
        _flight.restore()


os.register_at_fork(after_in_child=_forget_others)
