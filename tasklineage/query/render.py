"""Texts and small tables of HTML: what people see of a run, a call or an artifact.

Previews and names come from the store, which may be somebody else's: all of them are escaped.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

_TABLE = "border-collapse:collapse;font-size:90%;margin:2px 0"
_CELL = "text-align:left;vertical-align:top;padding:2px 8px;border:0"
_LINE = "border-bottom:1px solid rgba(128,128,128,.4)"
_FAINT = "opacity:.7;font-weight:normal"
_MONO = "font-family:monospace"
_VALUES = ("arguments", "result", "parameters", "preview", "value")
_STYLES = {
    **dict.fromkeys(
        ("run", "call", "digest", "computed by"), f"{_MONO};{_FAINT};white-space:nowrap"
    ),
    **dict.fromkeys(("started", "status", "took", "size"), "white-space:nowrap"),
    **dict.fromkeys(_VALUES, f"{_MONO};overflow-wrap:anywhere"),
}
"""By the name of the column, or of the row in a table of names and values."""
_NUMBERS = frozenset(("took", "size", "executed", "hits", "failed"))
"""Columns that are aligned to the right."""
_COLOURS = {
    "done": "#2e9e5b", "hit": "#1f9aa5", "running": "#3b82f6", "caught": "#c98a00",
    "interrupted": "#c98a00", "failed": "#d64545", "timeout": "#d64545", "killed": "#d64545",
    "lost": "#d64545",
}  # fmt: skip
"""Of statuses: to be told apart on white and on black. The others are grey."""
_LONGEST = 4_000
_FOR_EVER = 1e12
_UNITS = ("kB", "MB", "GB", "TB", "PB")
_CONTROL = {i: f"\\x{i:02x}" for i in (*range(32), 127, *range(128, 160))}


def duration_text(started: datetime | None, ended: datetime | None) -> str:
    """How long it took, or has taken so far: `12 ms`, `3.2 s`, `4 min 05 s`."""
    if started is None:
        return ""
    return seconds_text(max(((ended or datetime.now(UTC)) - started).total_seconds(), 0.0))


def seconds_text(seconds: float) -> str:
    """So many seconds: `12 ms`, `3.2 s`, `4 min 05 s`."""
    if not seconds < _FOR_EVER:  # nor is what is no number
        return "?"
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


def html_status(status: str) -> str:
    """A status with a dot in its colour."""
    colour = _COLOURS.get(status, "#888")
    return f'<span style="color:{colour}">●</span> {html.escape(status)}'


def html_heading(*parts: str) -> str:
    """What a card begins with, the first part in bold; `html_status` is for the status."""
    first, *others = (part for part in parts if part)
    return "<div>" + " &nbsp; ".join((f"<b>{html.escape(first)}</b>", *others)) + "</div>"


def html_faint(text: str) -> str:
    """A text of less importance, such as an id."""
    return f'<span style="{_MONO};{_FAINT};font-size:90%">{html.escape(text)}</span>'


def html_picture(png: bytes) -> str:
    """A picture."""
    from base64 import b64encode

    return f'<img style="max-width:100%" src="data:image/png;base64,{b64encode(png).decode()}">'


def html_pairs(title: str, pairs: Mapping[str, str]) -> str:
    """A heading, unless it is empty, and a table of names and values; empty values are left out."""
    rows = "".join(
        f'<tr style="background:none"><th style="{_CELL};{_FAINT}">{html.escape(name)}</th>'
        f"{_cell(name, value)}</tr>"
        for name, value in pairs.items()
        if value
    )
    heading = html_heading(title) if title else ""
    return f'{heading}<table style="{_TABLE}">{rows}</table>' if rows else heading


def html_table(rows: Sequence[Mapping[str, str]]) -> str:
    """A table with one column for each name of the first row."""
    if not rows:
        return html_text("nothing found")
    head = "".join(
        f'<th style="{_CELL};{_LINE};{_aligned(name)}">{html.escape(name)}</th>' for name in rows[0]
    )
    body = "".join(
        '<tr style="background:none">'
        + "".join(_cell(name, text, _aligned(name)) for name, text in row.items())
        + "</tr>"
        for row in rows
    )
    return f'<table style="{_TABLE}"><tr style="background:none">{head}</tr>{body}</table>'


def html_folded(title: str, text: str) -> str:
    """A text that is shown on a click, the end of a long one; nothing for an empty text."""
    if not text:
        return ""
    shown = text if len(text) <= _LONGEST else f"…{text[-_LONGEST:]}"
    return (
        f'<details style="margin:2px 8px"><summary style="{_FAINT}">{html.escape(title)}</summary>'
        f"{html_block(shown)}</details>"
    )


def html_block(text: str) -> str:
    """A text with the lines that it has."""
    return f'<pre style="margin:2px 8px;white-space:pre-wrap">{html.escape(text)}</pre>'


def _cell(name: str, text: str, aligned: str = "") -> str:
    shown = html_status(text) if name == "status" else html.escape(text)
    return f'<td style="{_CELL};{_STYLES.get(name, "")};{aligned}">{shown}</td>'


def _aligned(column: str) -> str:
    return "text-align:right" if column in _NUMBERS else ""
