"""A lineage as a picture: SVG made of plain shapes, without scripts, styles or anything to load.

Layers go from left to right, from producers to consumers. An arrow over several layers gets a place
in each of them, so that it runs between the boxes; the boxes of a layer are put in the order
of the middle of what they are joined to, a few times in both directions.

Reference: Sugiyama, Tagawa and Toda, Methods for visual understanding of hierarchical system
structures (1981).
"""

from __future__ import annotations

import html as escapes
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from tasklineage.query.boxes import Arrow, Box, Drawing, drawing
from tasklineage.query.render import html_text

if TYPE_CHECKING:
    from tasklineage.query.lineage import Lineage

_WIDTH, _LINE, _PAD = 176, 15, 7
_BETWEEN_LAYERS, _BETWEEN_BOXES, _MARGIN = 74, 18, 10
_LANE = 12
_PORT, _PORTS = 12, 8
"""Height for an arrow that ends at a box, and how many make the box higher."""
_SWEEPS = 4
_LETTERS, _LABEL = 25, 13
"""Characters that fit in a box, and between two of them."""
_COLOURS = {
    "call": ("#eef2fa", "#4c72b0"),
    "hit": ("#e6f4f2", "#3a9188"),
    "failed": ("#fbeaea", "#b03a3a"),
    "value": ("#faf5e6", "#8c7430"),
}
_DASHES = {
    "data": "",
    "changed": "",
    "hit": ' stroke-dasharray="6 3"',
    "child": ' stroke-dasharray="2 3"',
}
_WORDS = {"hit": "hit", "changed": "changed in place"}


class _Slot(NamedTuple):
    """A box, or the place where an arrow passes through a layer."""

    layer: int
    box: int | None
    height: float


def html(lineage: Lineage) -> str:
    """A heading and the picture, which can be scrolled."""
    heading = f"<b>{_text(repr(lineage).strip('<>'))}</b>"
    if not len(lineage):
        return f"<div>{heading}{html_text('no calls')}</div>"
    return f'<div>{heading}<div style="overflow:auto;max-height:600px">{svg(lineage)}</div></div>'


def svg(lineage: Lineage) -> str:
    """The picture."""
    return _Layout(drawing(lineage)).svg()


class _Layout:
    """Where everything stands. For one picture."""

    def __init__(self, shown: Drawing) -> None:
        self._shown = shown
        arrivals = Counter(arrow.target for arrow in shown.arrows)
        self._slots = [
            _Slot(b.layer, i, _height(b, arrivals[i])) for i, b in enumerate(shown.boxes)
        ]
        self._routes = [self._route(arrow) for arrow in shown.arrows]
        self._first = min((slot.layer for slot in self._slots), default=0)
        self._order = self._ordered()
        self._tops = self._placed()
        self._ports = self._all_ports()

    def svg(self) -> str:
        columns = [self._x(slot) + _WIDTH for slot in self._slots]
        rows = [top + slot.height for top, slot in zip(self._tops, self._slots, strict=True)]
        width = max(columns, default=0) + _MARGIN
        height = max(rows, default=0) + _MARGIN + (_LINE + 6 if self._shown.is_cut else 0)
        body = [self._arrow(i) for i in range(len(self._routes))]
        body += [self._box(i, box) for i, box in enumerate(self._shown.boxes)]
        if self._shown.is_cut:
            note = "there is more: this was cut"
            body.append(_words(_MARGIN, height - _MARGIN, note, "#777777", 11))
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif" font-size="12">'
            f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(body)}</svg>'
        )

    def _route(self, arrow: Arrow) -> list[int]:
        """The slots through which an arrow goes, both ends included."""
        boxes = self._shown.boxes
        route = [arrow.source]
        for layer in range(boxes[arrow.source].layer + 1, boxes[arrow.target].layer):
            route.append(len(self._slots))
            self._slots.append(_Slot(layer, None, _LANE))
        return [*route, arrow.target]

    def _ordered(self) -> list[list[int]]:
        """The slots of each layer, from top to bottom."""
        layers: dict[int, list[int]] = {}
        for i, slot in enumerate(self._slots):
            layers.setdefault(slot.layer, []).append(i)
        order = [layers[layer] for layer in sorted(layers)]
        before: dict[int, list[int]] = {}
        after: dict[int, list[int]] = {}
        for route in self._routes:
            for left, right in pairwise(route):
                before.setdefault(right, []).append(left)
                after.setdefault(left, []).append(right)
        for sweep in range(_SWEEPS):
            joined, across = (before, order) if sweep % 2 == 0 else (after, order[::-1])
            place = {slot: i for layer in order for i, slot in enumerate(layer)}
            for layer in across:
                layer.sort(
                    key=lambda slot: _middle([place[o] for o in joined.get(slot, ())], place[slot])
                )
                place.update((slot, i) for i, slot in enumerate(layer))
        return order

    def _placed(self) -> list[float]:
        """The upper edge of each slot; layers are centred on each other."""
        heights = [
            sum(self._slots[i].height + _BETWEEN_BOXES for i in layer) for layer in self._order
        ]
        tallest = max(heights, default=0)
        tops = [0.0] * len(self._slots)
        for layer, height in zip(self._order, heights, strict=True):
            y = _MARGIN + (tallest - height) / 2
            for i in layer:
                tops[i] = y
                y += self._slots[i].height + _BETWEEN_BOXES
        return tops

    def _all_ports(self) -> list[tuple[float, bool]]:
        """Where on its target's left side each arrow ends, and whether there is room for words."""
        ports: dict[int, tuple[float, bool]] = {}
        ending: dict[int, list[int]] = {}
        for i, route in enumerate(self._routes):
            ending.setdefault(route[-1], []).append(i)
        for target, arrows in ending.items():
            arrows.sort(key=lambda i: self._centre(self._routes[i][-2]))
            step = self._slots[target].height / len(arrows)
            for i, arrow in enumerate(arrows):
                ports[arrow] = self._tops[target] + (i + 0.5) * step, step >= _PORT - 1
        return [ports[i] for i in range(len(self._routes))]

    def _x(self, slot: _Slot) -> float:
        return _MARGIN + (slot.layer - self._first) * (_WIDTH + _BETWEEN_LAYERS)

    def _box(self, place: int, box: Box) -> str:
        x, y, height = self._x(self._slots[place]), self._tops[place], self._slots[place].height
        fill, stroke = _COLOURS[box.kind]
        corner = height / 2 if box.kind == "value" else 4
        parts = [
            f"<g><title>{_text(box.tooltip)}</title>"
            f'<rect x="{x:.0f}" y="{y:.1f}" width="{_WIDTH}" height="{height:.0f}" '
            f'rx="{corner:.0f}" fill="{fill}" stroke="{stroke}" stroke-width="1.5"/>'
        ]
        lines = [line for line in box.lines if line]
        first = y + (height - _LINE * len(lines)) / 2
        for i, line in enumerate(lines):
            baseline = first + (i + 1) * _LINE - 4
            colour, size = ("#222222", 12) if i == 0 else ("#555555", 10)
            parts.append(_words(x + _WIDTH / 2, baseline, _fitted(line), colour, size, "middle"))
        return "".join([*parts, "</g>"])

    def _arrow(self, number: int) -> str:
        arrow, (end, has_room) = self._shown.arrows[number], self._ports[number]
        points = [(self._x(self._slots[i]), self._centre(i)) for i in self._routes[number]]
        points[-1] = points[-1][0], end
        x, y = points[0][0] + _WIDTH, points[0][1]
        path = [f"M{x:.0f},{y:.1f}"]
        for left, top in points[1:]:
            bend = (left - x) / 2
            path.append(f"C{x + bend:.0f},{y:.1f} {left - bend:.0f},{top:.1f} {left:.0f},{top:.1f}")
            if (left, top) != points[-1]:
                path.append(f"L{left + _WIDTH:.0f},{top:.1f}")
            x, y = left + _WIDTH, top
        left, top = points[-1]
        stroke = "#c0392b" if arrow.kind == "changed" else "#888888"
        label = ": ".join(filter(None, (_WORDS.get(arrow.kind, ""), arrow.label)))
        words = _words(left - 9, top - 3, _end_of(label), "#777777", 9, "end")
        words = words if has_room else ""
        head = f"M{left - 6:.0f},{top - 4:.1f}L{left:.0f},{top:.1f}L{left - 6:.0f},{top + 4:.1f}"
        return (
            f"<g><title>{_text(label)}</title>"
            f'<path d="{" ".join(path)}" fill="none" stroke="{stroke}"{_DASHES[arrow.kind]}/>'
            f'<path d="{head}" fill="none" stroke="{stroke}"/>'
            f"{words}</g>"
        )

    def _centre(self, place: int) -> float:
        return self._tops[place] + self._slots[place].height / 2


def _height(box: Box, arrivals: int) -> float:
    lines = sum(1 for line in box.lines if line)
    return max(2 * _PAD + _LINE * lines, _PORT * min(arrivals, _PORTS))


def _middle(places: Sequence[int], otherwise: int) -> float:
    return sum(places) / len(places) if places else otherwise


def _words(x: float, y: float, text: str, colour: str, size: int, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.1f}" font-size="{size}" fill="{colour}" '
        f'text-anchor="{anchor}">{_text(text)}</text>'
    )


def _fitted(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"


def _end_of(path: str) -> str:
    """The path, or its end: branches of a join differ there."""
    return path if len(path) <= _LABEL else f"…{path[1 - _LABEL :]}"


def _text(text: str) -> str:
    """The text for XML: escaped, without what XML cannot hold."""
    printable = text.encode("utf-8", "backslashreplace").decode()
    return escapes.escape("".join(c if c.isprintable() else " " for c in printable))
