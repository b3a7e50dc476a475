"""A lineage as a tree of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from tasklineage.query.calls import Call
from tasklineage.query.lineage import Edge, Lineage, Node, id_of
from tasklineage.query.render import one_line, time_text

MOST_LINES = 200
_MOST_ALIKE = 6
"""Calls of one task below one node that are all shown; of more, the first few."""
_SHOWN_ALIKE = 3
_SMALL = 40
"""Encoded bytes up to which an argument is shown; longer ones mostly came from another call."""


def text(lineage: Lineage) -> str:
    """What was asked about, below it what it came from, and then what was made of it."""
    return "\n".join(lines(lineage))


def lines(lineage: Lineage) -> Iterator[str]:
    """The lines of `text`, at most some 200."""
    subject = lineage.subject
    up, down = _by_end(lineage)
    if isinstance(subject, Call) or (subject in lineage):
        roots: Sequence[Node] = [subject]  # type: ignore[list-item]  # in a lineage: a node
        is_down = any(edge.producer == subject for edge in lineage.edges)
        is_up = not is_down or any(edge.consumer == subject for edge in lineage.edges)
    else:
        roots = [node for node in lineage.nodes if id_of(node) not in down]
        is_up, is_down = True, False
    for number, tree in enumerate(_trees(roots, up if is_up else {}, down if is_down else {})):
        if number == MOST_LINES:
            yield "… more: --json, or a smaller depth, shows it whole"
            return
        yield tree
    if lineage.is_cut:
        yield "… more calls than the limit"


def _by_end(lineage: Lineage) -> tuple[dict[str, list[Edge]], dict[str, list[Edge]]]:
    """The edges by their consumers, and by their producers."""
    up: dict[str, list[Edge]] = {}
    down: dict[str, list[Edge]] = {}
    for edge in lineage.edges:
        up.setdefault(id_of(edge.consumer), []).append(edge)
        down.setdefault(id_of(edge.producer), []).append(edge)
    return up, down


def _trees(
    roots: Sequence[Node], up: dict[str, list[Edge]], down: dict[str, list[Edge]]
) -> Iterator[str]:
    seen: set[str] = set()
    for root in roots:
        yield node_line(root)
        yield from _below(root, up, lambda edge: edge.producer, "<-", "", seen)
        if down:
            yield from _below(root, down, lambda edge: edge.consumer, "->", "", set())


def _below(
    node: Node,
    edges: dict[str, list[Edge]],
    far_end: Callable[[Edge], Node],
    sign: str,
    indent: str,
    seen: set[str],
) -> Iterator[str]:
    """Depth first, without recursion: a chain may be long."""
    pending = [_shown(edges.get(id_of(node), ()), far_end, indent)]
    while pending:
        item = next(pending[-1], None)
        if item is None:
            pending.pop()
            continue
        edge, more, indent, is_last = item
        branch, deeper = ("└─ ", "   ") if is_last else ("├─ ", "│  ")
        if edge is None:
            yield f"{indent}{branch}{more}"
            continue
        end = far_end(edge)
        id = id_of(end)
        again = " (above)" if id in seen and id in edges else ""
        yield f"{indent}{branch}{_label(edge, sign)} {node_line(end)}{again}"
        if not again:
            seen.add(id)
            pending.append(_shown(edges.get(id, ()), far_end, indent + deeper))


Item = tuple[Edge | None, str, str, bool]


def _shown(edges: Sequence[Edge], far_end: Callable[[Edge], Node], indent: str) -> Iterator[Item]:
    """The edges at one node; of many to calls of one task the first, and how many more."""
    found: list[tuple[Edge | None, str]] = []
    for _, alike in groupby(edges, key=lambda edge: _kind(edge, far_end(edge))):
        some = list(alike)
        shown = some if len(some) <= _MOST_ALIKE else some[:_SHOWN_ALIKE]
        found += [(edge, "") for edge in shown]
        if len(shown) < len(some):
            last = far_end(some[-1])
            name = one_line(last.task.rpartition(".")[2]) if isinstance(last, Call) else "value"
            paths = f", up to {one_line(some[-1].path)}" if some[-1].path else ""
            found.append((None, f"… {len(some) - len(shown):,} more calls of {name}{paths}"))
    return iter([(edge, more, indent, i == len(found) - 1) for i, (edge, more) in enumerate(found)])


def _kind(edge: Edge, end: Node) -> tuple[str, str]:
    return edge.via, end.task if isinstance(end, Call) else ""


def _label(edge: Edge, sign: str) -> str:
    if edge.via in ("hit", "child"):
        return {"<-hit": "computed by", "->hit": "hit:"}.get(sign + edge.via, f"{edge.via}:")
    changed = " (changed in place)" if edge.via == "changed in place" else ""
    return f"{one_line(edge.path)}{changed} {sign}".lstrip()


def node_line(node: Node) -> str:
    """One line on a call or value."""
    if not isinstance(node, Call):
        return f"{one_line(f'{node.type} {node.preview}', 70)}  {node.digest}"
    small = ", ".join(
        f"{name}={artifact.preview}"
        for name, artifact in node.inputs.items()
        if artifact.is_inline and artifact.nbytes <= _SMALL
    )
    name = f"{one_line(node.task.rpartition('.')[2])}({one_line(small, 60)})"
    return f"{name}  {node.status}  {node.id}  {time_text(node.started)}"
