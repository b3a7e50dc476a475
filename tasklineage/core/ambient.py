"""The run that is there without asking: of calls outside every `tl.run`."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import time
import warnings
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from tasklineage import config
from tasklineage.core.frame import Frame, current
from tasklineage.core.program import is_interactive, program_name
from tasklineage.core.run import RunState
from tasklineage.core.sampling import verification
from tasklineage.key.hidden import Hidden
from tasklineage.storage import ending

if TYPE_CHECKING:
    from tasklineage.query.runs import Run

_SECONDS = 24 * 3600.0


class _Ambient:
    """The run that calls outside every `tl.run` belong to; one a process, renewed after a day."""

    lock = threading.Lock()
    run: RunState | None = None
    settings: config.Settings | None = None
    variable: bytes | None = None
    until = 0.0


def top_frame() -> Frame:
    """The top of the ambient run, which is begun at the first call that needs it (HOT).

    Where tasks are the bare functions, there is no run: the frame only waits for what is pending.
    """
    if config.is_disabled():
        return Frame(None)
    run = _Ambient.run
    if (
        run is not None
        and _Ambient.settings is config.settings()
        and _Ambient.variable == config.store_variable()
        and time.time() < _Ambient.until
    ):
        return run.frame
    with _Ambient.lock:
        old, new = _Ambient.run, _renewed()
    if old is not None and old is not new:
        _end(old, None)
    return new.frame


def current_run() -> Run | None:
    """The innermost open run, the ambient one included; None before the first call."""
    frame = current.get() or _ambient_frame()
    return None if frame is None else frame.run.view()


@contextlib.contextmanager
def set_aside() -> Generator[None]:
    """In the block no run has begun yet; the ambient run that begins there ends with it.

    Afterwards the runs that were open before go on: the ambient one, and that of this context.
    """
    until, outer = _Ambient.until, _exchange(None)
    token = current.set(None)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the block has ended in another context
            current.reset(token)
        inner = _exchange(outer)
        _Ambient.until = until
        if inner is not None:
            _end(inner, None)


def _exchange(run: RunState | None) -> RunState | None:
    """The ambient run there was; from now on it is this one."""
    with _Ambient.lock:
        before, _Ambient.run, _Ambient.settings = _Ambient.run, run, None
        return before


def _ambient_frame() -> Frame | None:
    """The top of the ambient run if there is one already."""
    run = _Ambient.run
    return None if run is None else run.frame


def _renewed() -> RunState:
    """The ambient run: a new one, where there is none or the store has changed or a day is over."""
    from tasklineage.storage.opening import open_store  # not before it is needed

    settings, variable = config.settings(), config.store_variable()
    old = _Ambient.run
    store = open_store(None)
    fits = old is not None and old.store is store and time.time() < _Ambient.until
    if old is None or not fits:
        old = RunState(program_name(), store, is_ambient=True, store_args=settings.store_args)
        old.begin()
        _watch_exit()
        if store.remote is not None:  # its connections are to be there when the run ends
            atexit.unregister(_at_exit)
            atexit.register(_at_exit)
        _Ambient.until = time.time() + _SECONDS
        _Ambient.run = old
    old.verification = verification(settings.verify)
    _before, _Ambient.settings = _Ambient.settings, settings  # held: see `config.change`
    _Ambient.variable = variable
    return old


def _end(run: RunState, status: str | None) -> None:
    """Wait for what was begun at the top of the run, and record how it ended."""
    try:
        if status == "interrupted":
            run.abandon()
        else:
            run.settle()
    except BaseException as error:
        run.end(error)
        warnings.warn(f"run {run.name!r} failed: {error!r}", stacklevel=2)
    else:
        run.end(status=status)


def _at_exit() -> None:
    run, _Ambient.run = _Ambient.run, None
    if run is None:
        return
    error = getattr(sys, "last_value", None)
    if error is None or is_interactive():
        _end(run, None if _Exit.code in (None, 0) else "failed")
    else:
        _end(run, "interrupted" if isinstance(error, KeyboardInterrupt) else "failed")


class _Exit:
    """The code of the last `sys.exit`: nothing else tells how the interpreter ends."""

    code: Any = None
    is_watched = False


def _watch_exit() -> None:
    """Note the code that `sys.exit` is called with, until the interpreter ends."""
    if _Exit.is_watched:
        return
    _Exit.is_watched = True
    original = sys.exit

    def exit(status: Any = None, /) -> Any:
        _Exit.code = status
        original(status)

    sys.exit = exit


def _after_fork() -> None:
    _Ambient.lock = threading.Lock()
    frame = current.get()
    while frame is not None:
        frame.pending.clear()
        frame = frame.parent
    if _Ambient.run is not None:
        _Ambient.run.frame.pending.clear()


def _secret_key() -> bytes:
    """That of the store in which calls made now are recorded."""
    from tasklineage.storage.opening import open_store  # not before it is needed

    frame = current.get() or _ambient_frame()
    store = None if frame is None else frame.store
    return (open_store(None) if store is None else store).secret_key


Hidden.key = _secret_key
ending.reserve()  # a store is closed after its run has ended
atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork)
