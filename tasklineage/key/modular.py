"""A closure without the tasks that it calls: what is left when these are cut off.

A task is in its caller's code version with all its code, so that an edit of it is one of the
caller too. Where an edit has been accepted for the task itself, its callers have not changed
otherwise if their own parts, up to the tasks that they call, are the same:

    main ──> load ──> parse              main ──> [1] (defaults of train)
      └────> train ──> step      cut:      └────> load ──> parse      where only train is a task

A task that is cut off stands as a number, in the order in which a walk from the root meets them,
and keeps the defaults of its parameters: these are arguments where it is called, and so belong to
the caller. What a caller reaches in another way too stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasklineage.key.nodes import Edge, Node, graph_digest

_DEFAULT = "default "


def cut_digest(
    nodes: Sequence[Node], root: int, owns: Mapping[int, bytes]
) -> tuple[bytes, list[Any]]:
    """The digest of the graph without the tasks below the root, and these in their order.

    `owns` as for `graph_digest`.
    """
    places = {root: 0}
    kept: list[Node] = []
    kept_owns: dict[int, bytes] = {}
    tasks: list[Any] = []
    order = [root]
    for index in order:  # grows on the way: breadth first
        node = nodes[index]
        edges = node.edges
        own = owns.get(index, node.own)
        if node.kind == "task":
            edges = _default_edges(nodes, node)
            own = len(tasks).to_bytes(4, "big")
            tasks.append(node.thing)
        copy = Node(node.kind, "", own, None)
        for label, target in edges:
            if isinstance(target, int) and target not in places:
                places[target] = len(order)
                order.append(target)
            place = places[target] if isinstance(target, int) else target
            copy.edges.append(Edge(label, place))
        kept_owns[len(kept)] = own
        kept.append(copy)
    return graph_digest(kept, 0, kept_owns), tasks


def _default_edges(nodes: Sequence[Node], task: Node) -> list[Edge]:
    """What the function of a task has as defaults."""
    return [
        Edge(f"{label} {below.label}", below.target)
        for label, target in task.edges
        if label == "function" and isinstance(target, int)
        for below in nodes[target].edges
        if below.label.startswith(_DEFAULT)
    ]
