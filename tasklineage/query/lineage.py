"""Where values came from and what was made of them, as a graph of calls.

Nodes are calls; the value that was asked about is a node too, between the calls that made it and
those that took it. Edges run from the producer of a value to its consumer.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tasklineage.query.artifacts import Artifact
from tasklineage.query.calls import Call
from tasklineage.query.cells import call_cells
from tasklineage.query.render import one_line

if TYPE_CHECKING:
    from tasklineage.query.runs import Run

Node = Call | Artifact


class Edge(NamedTuple):
    """A value went from `producer` to `consumer`."""

    producer: Node
    consumer: Node
    path: str
    """Where in the arguments of the consumer (`df`, `inputs.knn`, `xs[3]`), or, where the consumer
    is a value, where in the producer's result. Empty for the whole result, a hit and a child."""
    via: str
    """How it is known: `future`, `identity`, `content`, `changed in place`; `hit`: the consumer was
    answered with what the producer had computed; `child`: the producer was called in the body of
    the consumer; `result` and `argument`: from the call to the value, and from it to the call."""
    digest: str
    """Of the value, `xxh3:…`; empty for a hit and a child."""

    def __repr__(self) -> str:
        ends = f"{name_of(self.producer)} -> {name_of(self.consumer)}"
        return f"<Edge {ends} {one_line(self.path) or '-'} ({self.via})>"


class Lineage:
    """A graph of calls, and of the value that was asked about. Immutable; nothing is decoded.

    Iteration and `.nodes` give producers before their consumers.
    """

    __slots__ = ("_counts", "_edges", "_is_cut", "_nodes", "_subject")

    def __init__(
        self,
        subject: Run | Node,
        nodes: Iterable[Node],
        edges: Iterable[Edge],
        *,
        is_cut: bool = False,
        counts: Mapping[str, int] | None = None,
    ) -> None:
        self._subject = subject
        self._edges = tuple(edges)
        self._nodes = tuple(_sorted(nodes, self._edges))
        self._is_cut = is_cut
        self._counts = dict(counts or {})

    @property
    def subject(self) -> Run | Node:
        """What was asked about."""
        return self._subject

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The calls, and the value asked about, producers before their consumers."""
        return self._nodes

    @property
    def edges(self) -> tuple[Edge, ...]:
        """In the order of their consumers."""
        return self._edges

    @property
    def calls(self) -> tuple[Call, ...]:
        """The nodes that are calls."""
        return tuple(node for node in self._nodes if isinstance(node, Call))

    @property
    def is_cut(self) -> bool:
        """Whether there is more than `limit` allowed; what is beyond `depth` does not count."""
        return self._is_cut

    @property
    def counts(self) -> dict[str, int]:
        """How many calls of each task made the value asked about, the most first.

        Filled for every value. For one that is too common to tell where it came from, a number or
        an empty list, this is all there is: it has no edges.
        """
        return dict(self._counts)

    def producers(self, node: Node) -> list[Node]:
        """The nodes with an edge to this one, each once."""
        return list(dict.fromkeys(e.producer for e in self._edges if e.consumer == node))

    def consumers(self, node: Node) -> list[Node]:
        """The nodes with an edge from this one, each once."""
        return list(dict.fromkeys(e.consumer for e in self._edges if e.producer == node))

    def to_networkx(self) -> Any:
        """A `networkx.MultiDiGraph`: ids and digests, with what is known of them as attributes.

        Raises
        ------
        ModuleNotFoundError
            networkx is not installed.
        """
        import networkx

        graph = networkx.MultiDiGraph()
        for node in self._nodes:
            graph.add_node(id_of(node), **_attributes(node))
        for edge in self._edges:
            graph.add_edge(
                id_of(edge.producer), id_of(edge.consumer),
                path=edge.path, via=edge.via, digest=edge.digest,
            )  # fmt: skip
        return graph

    def to_mermaid(self) -> str:
        """The graph as a Mermaid flowchart."""
        from tasklineage.query import diagrams

        return diagrams.mermaid(self)

    def to_dot(self) -> str:
        """The graph in the DOT language of Graphviz."""
        from tasklineage.query import diagrams

        return diagrams.dot(self)

    def to_svg(self) -> str:
        """The graph as a picture; many calls of one task are drawn as one box."""
        from tasklineage.query import picture

        return picture.svg(self)

    def to_text(self) -> str:
        """The graph as a tree of text, from what was asked about to where it came from."""
        from tasklineage.query import outline

        return outline.text(self)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, node: object) -> bool:
        return node in self._nodes

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        counted = f"{_count(len(self.calls), 'call')}, {_count(len(self._edges), 'edge')}"
        if self._counts and not self._edges:
            counted = f"too common for edges, made by {_count(sum(self._counts.values()), 'call')}"
        cut = ", cut at the limit" if self._is_cut else ""
        return f"<Lineage of {name_of(self._subject)}: {counted}{cut}>"

    def _repr_html_(self) -> str:
        from tasklineage.query import picture

        return picture.html(self)


def name_of(node: Run | Node) -> str:
    """A few words for people: the task and the id, or the type and the content."""
    if isinstance(node, Call):
        return f"{one_line(node.task.rpartition('.')[2])} {node.id}"
    if isinstance(node, Artifact):
        return one_line(f"{node.type} {node.preview}".strip() or node.digest, 40)
    return f"run {one_line(node.name)} {node.id}"


def id_of(node: Node) -> str:
    """The id of a call, the digest of a value."""
    return node.id if isinstance(node, Call) else node.digest


def _attributes(node: Node) -> dict[str, Any]:
    if isinstance(node, Artifact):
        shown = {"type": node.type, "nbytes": node.nbytes, "preview": node.preview}
        return {"kind": "artifact", **shown}
    cells = call_cells(node)
    return {
        "kind": "call",
        "task": node.task,
        "status": cells["status"],
        "hit": node.hit,
        "run": node.run_id,
        "started": node.started.isoformat(),
    }


def _sorted(nodes: Iterable[Node], edges: Sequence[Edge]) -> Iterator[Node]:
    """Producers before consumers, else in the order of their ids; what is in a cycle comes last."""
    known = {id_of(node): node for node in nodes}
    waits = dict.fromkeys(known, 0)
    after: dict[str, list[str]] = {}
    for edge in edges:
        producer, consumer = id_of(edge.producer), id_of(edge.consumer)
        waits[consumer] += 1
        after.setdefault(producer, []).append(consumer)
    ready = [id for id, count in waits.items() if not count]
    heapq.heapify(ready)
    while ready:
        id = heapq.heappop(ready)
        yield known.pop(id)
        for consumer in after.get(id, ()):
            waits[consumer] -= 1
            if not waits[consumer]:
                heapq.heappush(ready, consumer)
    yield from (known[id] for id in sorted(known))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
