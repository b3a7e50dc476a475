"""How commands end: exit codes, one clear message for an error of ours, a user's own traceback."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

from tasklineage.errors import (
    AmbiguousId,
    ConfigError,
    CorruptObject,
    MissingObject,
    NotFound,
    StoreBusy,
    StoreNotFound,
    TasklineageError,
)

if TYPE_CHECKING:
    from traceback import TracebackException

P = ParamSpec("P")

FINE, FAILED, USAGE, NOT_FOUND, BUSY, CORRUPT, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
_OURS = str(Path(__file__).parents[1]) + os.sep

_CODES: tuple[tuple[type[TasklineageError], int], ...] = (
    (StoreNotFound, NOT_FOUND),
    (NotFound, NOT_FOUND),
    (MissingObject, NOT_FOUND),
    (AmbiguousId, USAGE),
    (ConfigError, USAGE),
    (StoreBusy, BUSY),
    (CorruptObject, CORRUPT),
)


def exit_code(error: TasklineageError) -> int:
    """What a command that ended by this error exits with."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """The command, with every way in which it can end turned into an exit code."""

    @wraps(command)
    def ended(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except TasklineageError as error:
            message(f"tasklineage: {error}")
            raise SystemExit(exit_code(error)) from None
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None
        except BrokenPipeError:
            _forget_stdout()
            raise SystemExit(FINE) from None

    return ended


def report(error: BaseException) -> int:
    """Show an exception of the user's code with its traceback; the exit code for it.

    An error of ours that no line of the user's code stands behind is shown as one message.
    """
    from traceback import TracebackException

    shown = TracebackException.from_exception(error)
    _trim(shown, isinstance(error, TasklineageError | SyntaxError))
    if isinstance(error, TasklineageError) and not shown.stack:
        message(f"tasklineage: {error}")
        return exit_code(error)
    message("".join(shown.format()).rstrip("\n"))
    return FAILED


def message(text: str) -> None:
    """Write a line to stderr; nobody being there to read it is no error."""
    with contextlib.suppress(BrokenPipeError):
        print(text, file=sys.stderr, flush=True)


def _trim(shown: TracebackException, is_deliberate: bool) -> None:
    """Drop frames of this package from a traceback and from those that it followed from.

    Where nothing would be left of an exception that is not deliberate, it is a bug of ours and all
    of it stays.
    """
    from traceback import StackSummary

    for part in _chain(shown):
        kept = [frame for frame in part.stack if not _is_ours(frame.filename)]
        if kept or is_deliberate:
            part.stack = StackSummary.from_list(kept)


def _chain(shown: TracebackException) -> Iterator[TracebackException]:
    todo: list[Any] = [shown]
    while todo:
        part = todo.pop()
        if part is not None:
            yield part
            todo += [part.__cause__, part.__context__, *(getattr(part, "exceptions", None) or ())]


def _is_ours(filename: str) -> bool:
    return filename.startswith((_OURS, "<frozen "))


def _forget_stdout() -> None:
    """Let the interpreter's last flush of stdout go nowhere: its reader has left."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
