"""A task's exception on its way to the caller and into the record."""

from __future__ import annotations

import contextlib
import os
import threading
from types import TracebackType
from typing import TypeGuard, TypeVar

from tasklineage.storage.records import CANCELLED, FAILED, Error

E = TypeVar("E", bound=BaseException)
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_NOTE = "tasklineage: "
_LONGEST = 1 << 16
"""Characters of a message, and of a traceback, that are recorded."""


def described(error: BaseException) -> Error:
    """The exception as text, without frames of this package; of a very long one both ends."""
    import traceback

    kind = type(error)
    try:
        lines = traceback.format_exception(kind, error, trimmed(error.__traceback__))
    except Exception as broken:  # the user's own properties
        lines = [f"<no traceback: looking at the exception raised {type(broken).__name__}>\n"]
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__}.{name}"
    return Error(name, _shortened(_message(error)), _shortened("".join(lines)))


def noted(error: E, task: str, call: bytes, run: bytes) -> E:
    """The exception with a note that names the innermost call and its run."""
    notes: list[str] = getattr(error, "__notes__", [])
    if not any(note.startswith(_NOTE) for note in notes):
        with contextlib.suppress(Exception):  # one that refuses attributes goes without
            error.add_note(f"{_NOTE}in call {call.hex()} of {task}, run {run.hex()}")
    return error


def without_our_frames(error: E) -> E:
    """The exception with a traceback that begins in the caller's code."""
    with contextlib.suppress(Exception):
        error.__traceback__ = trimmed(error.__traceback__)
    return error


def trimmed(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback without frames of this package; None, if nothing else would be left."""
    kept: list[TracebackType] = []
    while traceback is not None:
        if not traceback.tb_frame.f_code.co_filename.startswith(_OURS):
            kept.append(traceback)
        traceback = traceback.tb_next
    result: TracebackType | None = None
    for entry in reversed(kept):
        result = TracebackType(result, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return result


def is_interrupt(error: BaseException | None) -> TypeGuard[KeyboardInterrupt]:
    """Whether it is a Ctrl-C that has reached this thread."""
    is_main = threading.current_thread() is threading.main_thread()
    return isinstance(error, KeyboardInterrupt) and is_main


def status_of(error: BaseException) -> str:
    """`cancelled` or `failed`: how a call ends that raised this."""
    name = type(error).__name__
    is_cancelled = isinstance(error, KeyboardInterrupt) or name == "CancelledError"
    return CANCELLED if is_cancelled else FAILED


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # the user's own __str__
        return f"<str() of the exception raised {type(broken).__name__}>"


def _shortened(text: str) -> str:
    left_out = len(text) - _LONGEST
    if left_out <= 0:
        return text
    half = _LONGEST // 2
    return f"{text[:half]}\n… {left_out:,} characters left out …\n{text[-half:]}"
