"""The picture: bars on a logarithmic scale for every row, and how cost grows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

from report import Page, amount
from rows import OURS, Row, Work

COLUMNS = 3
WIDTH, GAP, MARGIN = 340, 24, 24
BAR, TITLE = 15, 44
LABEL = 76
CHART = 250
"""Height of a chart of growth."""

COLOURS = {
    OURS: ("#0b6e4f", "#3ddc97"),
    "plain": ("#8a8f98", "#7d8590"),
    "joblib": ("#4f83cc", "#6ea8fe"),
    "diskcache": ("#c77d1e", "#f0a94b"),
    "exca": ("#a04ab0", "#d38be0"),
    "redun": ("#c0433f", "#ff8a80"),
    "mandala": ("#7a6a00", "#d4c24a"),
    "metaflow": ("#2a8c96", "#5fd0dc"),
}
"""Of each library, on a light and on a dark ground."""


_LARGER = {"µs": (("s", 1e6), ("ms", 1e3)), "ms": (("s", 1e3),), "MB": (("GB", 1e3),)}
_LEGEND = (
    "Shorter is better. Logarithmic scales. Dashed: our budget. *: reckoned from fewer calls. "
    "N: size of the array."
)


class Bar(NamedTuple):
    """One library in one panel."""

    library: str
    value: float
    text: str


class Panel(NamedTuple):
    """One row of the table."""

    title: str
    subtitle: str
    bars: tuple[Bar, ...]
    budget: float | None

    @property
    def height(self) -> int:
        """Of the panel, in pixels."""
        return TITLE + BAR * len(self.bars)


def told(value: float, unit: str) -> str:
    """A value in the unit in which it is short."""
    for larger, factor in _LARGER.get(unit, ()):
        if value >= 0.999 * factor:
            return f"{amount(value / factor)} {larger}"
    return f"{amount(value)} {unit}"


def svg(page: Page) -> str:
    """The whole picture, readable on a light and on a dark ground."""
    panels = list(_panels(page))
    body, height = _grid(panels)
    charts = [
        chart
        for label in ("cold", "hit, new process")
        if (chart := _growth(page, label)) is not None
    ]
    for number, chart in enumerate(charts):
        left = MARGIN + number * (WIDTH * 3 // 2 + GAP)
        body.append(f'<g transform="translate({left},{height})">{chart}</g>')
    height += (CHART + MARGIN) if charts else 0
    width = 2 * MARGIN + COLUMNS * WIDTH + (COLUMNS - 1) * GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img">\n<title>tasklineage beside other '
        f"libraries</title>\n<style>{_style()}</style>\n"
        f'<rect class="ground" width="{width}" height="{height}"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _style() -> str:
    light = "".join(f".{one}{{fill:{COLOURS[one][0]};stroke:{COLOURS[one][0]}}}" for one in COLOURS)
    dark = "".join(f".{one}{{fill:{COLOURS[one][1]};stroke:{COLOURS[one][1]}}}" for one in COLOURS)
    return (
        "text{font:11px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;"
        "fill:#1f2328;stroke:none}.title{font-weight:600;font-size:12px}.quiet{fill:#59636e}"
        ".ground{fill:#ffffff}.grid{stroke:#d1d9e0;stroke-width:1;fill:none}"
        ".budget{stroke:#1f2328;stroke-width:1.5;stroke-dasharray:3 2}"
        ".bar{stroke:none}.curve{fill:none;stroke-width:2}"
        f"{light}.curve{{fill:none}}.bar{{stroke:none}}"
        "@media (prefers-color-scheme:dark){text{fill:#e6edf3}.quiet{fill:#9198a1}"
        ".ground{fill:#0d1117}.grid{stroke:#30363d}.budget{stroke:#e6edf3}"
        f"{dark}.curve{{fill:none}}.bar{{stroke:none}}}}"
    )


def _panels(page: Page) -> Iterator[Panel]:
    for work in page.works:
        for row in work.rows:
            panel = None if work.is_growth else _panel(page, work, row)
            if panel is not None and len(panel.bars) > 0 and "quickest" not in row.label:
                yield panel


def _panel(page: Page, work: Work, row: Row) -> Panel | None:
    bars = []
    for library in page.libraries:
        figure = page.find(work, row, library)
        if figure is not None:
            mark = "*" if page.is_less(figure, work) else ""
            bars.append(Bar(library, figure.median, f"{told(figure.median, row.unit)}{mark}"))
    if not bars or bars[0].library != OURS:
        return None
    return Panel(work.title, row.label, tuple(bars), row.at_most)


def _grid(panels: Sequence[Panel]) -> tuple[list[str], int]:
    """The panels in columns, each put where there is most room; and where they end."""
    ends = [MARGIN + 30] * COLUMNS
    drawn = [f'<text class="quiet" x="{MARGIN}" y="{MARGIN + 6}">{_LEGEND}</text>']
    for start in range(0, len(panels), COLUMNS):
        line = panels[start : start + COLUMNS]
        top = max(ends)
        for column, panel in enumerate(line):
            left = MARGIN + column * (WIDTH + GAP)
            drawn.append(f'<g transform="translate({left},{top})">{_bars(panel)}</g>')
            ends[column] = top + panel.height + GAP
    return drawn, max(ends)


def _bars(panel: Panel) -> str:
    """One panel: a bar for each library, a dashed line where our budget is."""
    scale = _Scale([bar.value for bar in panel.bars] + [panel.budget or 0], LABEL, WIDTH - 70)
    parts = [
        f'<text class="title" y="12">{escape(panel.title)}</text>',
        f'<text class="quiet" y="27">{escape(panel.subtitle)}</text>',
    ]
    bottom = TITLE - 8 + BAR * len(panel.bars)
    texts: list[str] = []
    for decade in scale.decades:
        x = scale.place(decade)
        parts.append(f'<path class="grid" d="M{x:.1f} {TITLE - 11}V{bottom}"/>')
    for number, bar in enumerate(panel.bars):
        y = TITLE - 8 + number * BAR
        end = scale.place(bar.value)
        weight = ' font-weight="600"' if bar.library == OURS else ""
        parts.append(
            f'<text x="{LABEL - 6}" y="{y + 9}" text-anchor="end"{weight}>{bar.library}</text>'
            f'<rect class="{bar.library} bar" x="{LABEL}" y="{y}" '
            f'width="{max(1.5, end - LABEL):.1f}" height="{BAR - 4}"/>'
        )
        texts.append(
            f'<rect class="ground" x="{end + 2:.1f}" y="{y}" width="{6 * len(bar.text) + 8}" '
            f'height="{BAR - 3}"/>'
            f'<text x="{end + 5:.1f}" y="{y + 9}"{weight}>{escape(bar.text)}</text>'
        )
    if panel.budget is not None:
        x = scale.place(panel.budget)
        parts.append(f'<path class="budget" d="M{x:.1f} {TITLE - 12}V{bottom}"/>')
    return "".join(parts + texts)


def _growth(page: Page, label: str) -> str | None:
    """Microseconds a call over the number of calls, a curve for each library."""
    works = [work for work in page.works if work.is_growth]
    curves: dict[str, list[tuple[int, float]]] = {}
    for work in works:
        row = next(row for row in work.rows if row.label == label)
        for library in page.libraries:
            figure = page.find(work, row, library)
            if figure is not None:
                curves.setdefault(library, []).append((figure.size, figure.median))
    if not curves or max(map(len, curves.values())) < 2:
        return None
    width = WIDTH * 3 // 2 - 90
    counts = _Scale([size for curve in curves.values() for size, _ in curve], 46, width, 0)
    costs = _Scale([cost for curve in curves.values() for _, cost in curve], CHART - 40, 40)
    parts = [
        f'<text class="title" y="12">cost of a call as the store grows: {escape(label)}</text>',
        '<text class="quiet" y="27">µs a call; from left to right the number of calls</text>',
    ]
    for decade in costs.decades:
        y = costs.place(decade)
        parts.append(
            f'<path class="grid" d="M46 {y:.1f}H{width}"/>'
            f'<text class="quiet" x="40" y="{y + 4:.1f}" text-anchor="end">{decade:,.7g}</text>'
        )
    for decade in counts.decades:
        x = counts.place(decade)
        parts.append(
            f'<path class="grid" d="M{x:.1f} 40V{CHART - 40}"/><text class="quiet" x="{x:.1f}" '
            f'y="{CHART - 24}" text-anchor="middle">{decade:,.0f}</text>'
        )
    ends: list[tuple[float, float, str]] = []
    for library, curve in curves.items():
        points = [(counts.place(size), costs.place(cost)) for size, cost in curve]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        thick = ' style="stroke-width:3.5"' if library == OURS else ""
        parts.append(f'<path class="{library} curve"{thick} d="M{path}"/>')
        parts += [
            f'<circle class="{library}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in points
        ]
        ends.append((*points[-1], library))
    for x, y, library in _apart(ends):
        parts.append(f'<text x="{x + 7:.1f}" y="{y + 4:.1f}">{library}</text>')
    return "".join(parts)


def _apart(ends: Sequence[tuple[float, float, str]]) -> Iterator[tuple[float, float, str]]:
    """The same places, those that are one above the other moved apart."""
    last: dict[float, float] = {}
    for x, y, library in sorted(ends, key=lambda end: end[1]):
        last[x] = max(y, last.get(x, -math.inf) + 11)
        yield x, last[x], library


class _Scale:
    """Places of values on a logarithmic axis between two ends."""

    def __init__(
        self, values: Sequence[float], begin: float, end: float, slack: float = 0.15
    ) -> None:
        positive = [value for value in values if value > 0] or [1.0]
        self._low = math.floor(math.log10(min(positive)) - slack)
        self._high = math.log10(max(positive))
        if self._high - self._low < 1:
            self._high = self._low + 1.0
        self._begin, self._end = begin, end

    @property
    def decades(self) -> list[float]:
        """The powers of ten on it."""
        return [10.0**power for power in range(self._low, math.floor(self._high) + 1)]

    def place(self, value: float) -> float:
        """Where a value is; what is too small is at the beginning."""
        if value <= 0:
            return self._begin
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return self._begin + max(0.0, share) * (self._end - self._begin)
