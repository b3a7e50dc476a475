"""What is drawn of a lineage: boxes in layers, and arrows between them.

A box stands in the layer after the last of those that point to it. Where there are too many nodes
to look at, calls of one task in one layer are one box, which keeps the drawing free of cycles.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from tasklineage.query.calls import Call
from tasklineage.query.lineage import Edge, Lineage, Node, id_of
from tasklineage.query.render import one_line, size_text

MOST = 60
"""Nodes that are drawn one by one."""
_LONGEST, _LONGER = 34, 200
_SAME_PATHS = 3
_FAILED = frozenset({"failed", "lost", "timeout", "cancelled", "skipped"})
_SMALL = 40
"""Encoded bytes up to which an argument is shown; longer ones mostly came from another call."""


class Box(NamedTuple):
    """One or several calls, or a value."""

    id: str
    kind: str
    """`call`, `hit`, `failed` or `value`."""
    lines: tuple[str, ...]
    """The first is the name."""
    tooltip: str
    layer: int


class Arrow(NamedTuple):
    """From one box to another, by their places."""

    source: int
    target: int
    label: str
    kind: str
    """`data`, `changed`, `hit` or `child`."""


class Drawing(NamedTuple):
    """Boxes in the order of their layers."""

    boxes: list[Box]
    arrows: list[Arrow]
    is_cut: bool


def drawing(lineage: Lineage, most: int | None = MOST) -> Drawing:
    """The boxes of a lineage, at most `most`, the last layers if there are more."""
    layers = _layers(lineage)
    groups = _groups(lineage, layers, most)
    is_cut = lineage.is_cut
    if most is not None and len(groups) > most:
        groups, is_cut = groups[-most:], True
    place = {id_of(node): i for i, group in enumerate(groups) for node in group}
    boxes = [_box(group, layers[id_of(group[0])]) for group in groups]
    return Drawing(boxes, _arrows(lineage.edges, place), is_cut)


def _layers(lineage: Lineage) -> dict[str, int]:
    """How many edges lie before each node, at most."""
    before: dict[str, list[str]] = {}
    for edge in lineage.edges:
        before.setdefault(id_of(edge.consumer), []).append(id_of(edge.producer))
    layers: dict[str, int] = {}
    for node in lineage.nodes:
        above = (layers.get(one, -1) for one in before.get(id_of(node), ()))
        layers[id_of(node)] = 1 + max(above, default=-1)
    return layers


def _groups(lineage: Lineage, layers: dict[str, int], most: int | None) -> list[list[Node]]:
    """The nodes of each box, layer by layer."""
    is_grouped = most is not None and len(lineage) > most
    groups: dict[object, list[Node]] = {}
    for node in lineage.nodes:
        key: object = id_of(node)
        if is_grouped and isinstance(node, Call):
            key = (layers[id_of(node)], node.task, _kind(node))
        groups.setdefault(key, []).append(node)
    return sorted(groups.values(), key=lambda group: layers[id_of(group[0])])


def _box(group: Sequence[Node], layer: int) -> Box:
    first = group[0]
    if not isinstance(first, Call):
        shown = (_cut(first.type.rpartition(".")[2] or "value"), _cut(first.preview))
        size = f" {size_text(first.nbytes)}" if first.nbytes else ""
        tooltip = one_line(f"{first.type}{size} {first.digest}", _LONGER)
        return Box(id_of(first), "value", shown, tooltip, layer)
    kind, name = _kind(first), _cut(first.task.rpartition(".")[2])
    if len(group) > 1:
        counted = (name, f"{len(group):,} {'hits' if kind == 'hit' else 'calls'}")
        tooltip = one_line(f"{len(group):,} calls of {first.task}, the first {first.id}", _LONGER)
        return Box(first.id, kind, counted, tooltip, layer)
    status = first.status
    note = status if kind != "call" or status not in ("done", "hit") else ""
    lines = (name, _arguments(first), note)
    tooltip = one_line(f"{first.id} {status} {first.task}", _LONGER)
    return Box(first.id, kind, lines, tooltip, layer)


def _kind(call: Call) -> str:
    status = call.status
    return "hit" if status == "hit" else "failed" if status in _FAILED else "call"


def _arguments(call: Call) -> str:
    """The small arguments, as far as there is room."""
    small = (
        f"{name}={artifact.preview}"
        for name, artifact in call.inputs.items()
        if artifact.is_inline and artifact.nbytes <= _SMALL
    )
    return _cut(", ".join(islice(small, 6)))


def _arrows(edges: Iterable[Edge], place: dict[str, int]) -> list[Arrow]:
    """One arrow between two boxes for each kind of edge, with the paths as its label."""
    labels: dict[tuple[int, int, str], list[str]] = {}
    for edge in edges:
        source, target = place.get(id_of(edge.producer)), place.get(id_of(edge.consumer))
        if source is not None and target is not None:
            kind = {"hit": "hit", "child": "child", "changed in place": "changed"}.get(edge.via)
            labels.setdefault((source, target, kind or "data"), []).append(edge.path)
    return [
        Arrow(source, target, _label(paths), kind)
        for (source, target, kind), paths in labels.items()
    ]


def _label(paths: Sequence[str]) -> str:
    unique = list(dict.fromkeys(path for path in paths if path))
    more = ", …" if len(unique) > _SAME_PATHS else ""
    return _cut(", ".join(unique[:_SAME_PATHS]) + more)


def _cut(text: str) -> str:
    return one_line(text, _LONGEST)
