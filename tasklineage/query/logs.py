"""What calls printed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tasklineage.query.calls import Attempt, Call

STREAMS = ("stdout", "stderr")


class LogEntry(NamedTuple):
    """The text of one stream of one attempt."""

    call: Call
    attempt: int
    stream: str
    """`stdout` or `stderr`."""
    text: str


def entries(calls: Iterable[Call], streams: Sequence[str] = STREAMS) -> Iterator[LogEntry]:
    """Everything that the attempts of `calls` printed, call by call, attempt by attempt."""
    for call in calls:
        for attempt in call.attempts:
            for stream in streams:
                text = _text(attempt, stream)
                if text:
                    yield LogEntry(call, attempt.index, stream, text)


def joined(found: Iterable[LogEntry]) -> str:
    """The entries as one text, each under a line that names call, attempt and stream."""
    return "".join(f"{heading(entry)}\n{_ended(entry.text)}" for entry in found)


def heading(entry: LogEntry) -> str:
    """The line above an entry."""
    attempt = f" attempt {entry.attempt}" if entry.attempt else ""
    return f"--- {entry.call.task} {entry.call.id}{attempt} {entry.stream}"


def _text(attempt: Attempt, stream: str) -> str:
    return attempt.stdout if stream == "stdout" else attempt.stderr


def _ended(text: str) -> str:
    return text if text.endswith("\n") else f"{text}\n"
