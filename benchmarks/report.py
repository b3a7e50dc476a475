"""The page of results: tables of what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import rows
from measuring import Figure, Measurement, row_of
from rows import OURS, Row, Work

Cell = Callable[[Work, Row, str], str]


class Page:
    """A measurement, by work, row and library."""

    def __init__(self, measurement: Measurement) -> None:
        self.measurement = measurement
        self._figures = {(one.work, one.label, one.library): one for one in measurement.figures}
        present = {one.library for one in measurement.figures}
        self.libraries = [OURS, *(one for one in _ORDER if one in present)]
        works = {one.work for one in measurement.figures}
        self.works = [work for work in (*rows.WORKS, rows.IMPORT) if work.name in works]

    def find(self, work: Work, row: Row, library: str) -> Figure | None:
        """The figure in that place."""
        return self._figures.get((work.name, row.label, library))

    def is_less(self, figure: Figure, work: Work) -> bool:
        """Whether the library did less than ours, and the figure was reckoned from that."""
        ours = self._figures.get((figure.work, figure.label, OURS))
        return ours is not None and figure.size < ours.size

    def markdown(self) -> str:
        """The whole page."""
        about = "\n".join(f"- {line}" for line in self.measurement.about)
        parts = [
            f"# Measured\n\n{about}",
            "![ours beside the others](results.svg)",
            "What is measured, and how, is told in [README.md](README.md). Every figure is a "
            "median. `*`: the library did fewer calls, and the figure is reckoned from these. "
            "`-`: it does not do that, or not in reasonable time. `N` is the size of the array.",
            self.table(["budget", "met"], self._goals, self._amount, grown=False),
            "## How many times as long as ours it takes",
            "Above 1 ours is faster. *plain* remembers nothing: a *hit* of it executes again.",
            self.table([], None, self._ratio, grown=False, timed=True),
            "## As the number of calls grows",
            "Microseconds a call without opening the store and the first call; then milliseconds "
            "until the store with so many calls is open and has answered.",
            self.table([], None, self._amount, grown=True),
            "## Spread",
            "From the least to the most of all repetitions.",
            self.table([], None, self._spread, grown=None),
        ]
        return "\n\n".join(parts) + "\n"

    def table(
        self,
        titles: list[str],
        goals: Callable[[Work, Row], list[str]] | None,
        cell: Cell,
        *,
        grown: bool | None,
        timed: bool = False,
    ) -> str:
        """A line for each row; `grown`: only of works that grow, or only of others."""
        libraries = [one for one in self.libraries if not timed or one != OURS]
        lines = [["work", *titles, *libraries]]
        lines.append(["---"] + ["---:"] * (len(lines[0]) - 1))
        for work, row in self._rows(grown):
            if timed and not row.is_time:
                continue
            label = f"{work.title}: {row.label}" if row.label else work.title
            cells = [cell(work, row, library) for library in libraries]
            lines.append([label, *(goals(work, row) if goals else []), *cells])
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def _rows(self, grown: bool | None) -> Iterator[tuple[Work, Row]]:
        for work in self.works:
            if grown is None or work.is_growth == grown:
                for row in work.rows:
                    if any(self.find(work, row, library) for library in self.libraries):
                        yield work, row

    def _amount(self, work: Work, row: Row, library: str) -> str:
        figure = self.find(work, row, library)
        if figure is None:
            return "-"
        mark = "*" if self.is_less(figure, work) else ""
        return f"{amount(figure.median)} {row.unit}{mark}"

    def _spread(self, work: Work, row: Row, library: str) -> str:
        figure = self.find(work, row, library)
        if figure is None:
            return "-"
        return f"{amount(min(figure.values))}-{amount(max(figure.values))}"

    def _ratio(self, work: Work, row: Row, library: str) -> str:
        figure, ours = self.find(work, row, library), self.find(work, row, OURS)
        if figure is None or ours is None or not ours.median:
            return "-"
        mark = "*" if self.is_less(figure, work) else ""
        return f"{amount(figure.median / ours.median)}{mark}"

    def _goals(self, work: Work, row: Row) -> list[str]:
        said, judged = [], []
        ours = self.find(work, row, OURS)
        if row.at_most is not None:
            said.append(f"{row.at_most:g} {row.unit}")
            if ours is not None and (ours.size == work.sizes[0] or row.unit == "µs"):
                judged.append(ours.median <= row.at_most)
        if row.share is not None:
            part, peer = row.share
            said.append(f"1/{part} of {peer}")
            beside = self.find(work, row, peer)
            if ours is not None and beside is not None:
                judged.append(ours.median <= beside.median / part)
        return [", ".join(said), ", ".join("yes" if one else "**no**" for one in judged)]


def amount(value: float) -> str:
    """Three digits that count."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    digits = max(0, min(4, 2 - math.floor(math.log10(abs(value)))))
    return f"{value:.{digits}f}"


def misses(page: Page) -> Iterable[str]:
    """Where a peer takes less than ours: what there is to do."""
    for figure in page.measurement.figures:
        if figure.library in (OURS, "plain"):
            continue
        work = next(work for work in page.works if work.name == figure.work)
        ours = page.find(work, row_of(figure), OURS)
        if ours is not None and figure.median < 0.98 * ours.median:
            yield ": ".join(filter(None, (work.title, figure.label, figure.library)))


_ORDER: Sequence[str] = ("plain", "joblib", "diskcache", "exca", "redun", "mandala", "metaflow")
