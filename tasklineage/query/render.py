"""Texts and small tables of HTML: what people see of a run, a call or an artifact.

Previews and names come from the store, which may be somebody else's: all of them are escaped.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

_TABLE = "border-collapse:collapse;font-size:90%"
_CELL = "text-align:left;padding:2px 8px"
_UNITS = ("kB", "MB", "GB", "TB", "PB")
_CONTROL = {i: f"\\x{i:02x}" for i in (*range(32), 127, *range(128, 160))}


def duration_text(started: datetime | None, ended: datetime | None) -> str:
    """How long it took, or has taken so far: `12 ms`, `3.2 s`, `4 min 05 s`."""
    if started is None:
        return ""
    seconds = max(((ended or datetime.now(UTC)) - started).total_seconds(), 0.0)
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms" if seconds < 0.0995 else f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


def time_text(at: datetime | None) -> str:
    """The moment in local time, to the second."""
    return "" if at is None else f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def size_text(nbytes: int) -> str:
    """Bytes in units of a thousand: `1.2 MB`."""
    if nbytes < 1000:
        return f"{nbytes} B"
    value, units = nbytes / 1000, iter(_UNITS)
    unit = next(units)
    while value >= 999.5:
        value, unit = value / 1000, next(units, unit)
    return f"{value:.3g} {unit}"


def one_line(text: str, limit: int = 80) -> str:
    """The text on one line, without control characters, cut to `limit` characters."""
    flat = " ".join(text.split(None)) if len(text) <= 4 * limit else text[: 4 * limit]
    flat = " ".join(flat.split()).translate(_CONTROL)
    return flat if len(flat) <= limit else f"{flat[: limit - 1]}…"


def html_text(text: str) -> str:
    """A paragraph."""
    return f"<p>{html.escape(text)}</p>"


def html_pairs(title: str, pairs: Mapping[str, str]) -> str:
    """A heading and a table of names and values."""
    rows = "".join(
        f'<tr><th style="{_CELL}">{html.escape(name)}</th>'
        f'<td style="{_CELL}">{html.escape(value)}</td></tr>'
        for name, value in pairs.items()
        if value
    )
    return f'<b>{html.escape(title)}</b><table style="{_TABLE}">{rows}</table>'


def html_table(rows: Sequence[Mapping[str, str]]) -> str:
    """A table with one column for each name of the first row."""
    if not rows:
        return html_text("nothing found")
    head = "".join(f'<th style="{_CELL}">{html.escape(name)}</th>' for name in rows[0])
    body = "".join(
        "<tr>"
        + "".join(f'<td style="{_CELL}">{html.escape(cell)}</td>' for cell in row.values())
        + "</tr>"
        for row in rows
    )
    return f'<table style="{_TABLE}"><tr>{head}</tr>{body}</table>'
