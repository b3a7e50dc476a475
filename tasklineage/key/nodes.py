"""The graph of a closure, and a digest of it that does not depend on where its parts stand.

A node is a function, a class, a module, a task, something that carries code (a partial, a
property), or a value that is mutable or has code inside. Its edges lead to other nodes or end in
leaves: constants, builtins, and names of what is not of the project.

The digest is that of the graph up to bisimulation: each node gets a colour from its own content,
then again and again from its content and the colours of what it refers to, until no more nodes
are told apart (colour refinement; Weisfeiler and Leman 1968, Hopcroft 1971). Cycles need no care,
the order of discovery does not matter, and two equal parts may be one or two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from xxhash import xxh3_128_digest


class Leaf(NamedTuple):
    """An end of the graph: a value without code in it, or a name that stands for something."""

    kind: str
    """`value`, or `builtin external unbound opaque sink`: the content is then a text."""
    name: str
    """Where it was found, for people."""
    digest: bytes
    content: Any = None


class Edge(NamedTuple):
    """What a node refers to: the index of a node, or a leaf."""

    label: str
    target: int | Leaf


class Node:
    """A part of the closure.

    `own` is a digest of its content without what it refers to. `name` is for people and does not
    count, nor does `thing`, the live object.
    """

    __slots__ = ("edges", "kind", "name", "own", "thing")

    def __init__(self, kind: str, name: str, own: bytes, thing: Any) -> None:
        self.kind = kind
        self.name = name
        self.own = own
        self.thing = thing
        self.edges: list[Edge] = []


def leaf(kind: str, name: str, text: str) -> Leaf:
    """A leaf that counts by a text."""
    packed = f"{kind}\0{text}".encode("utf-8", "surrogatepass")
    return Leaf(kind, name, xxh3_128_digest(packed), text)


def graph_digest(nodes: list[Node], root: int, owns: Mapping[int, bytes]) -> bytes:
    """A digest of all that can be reached from the root. O(nodes + edges) a round, few rounds.

    `owns` gives digests that stand in for those of some nodes, by index.
    """
    contents = [_content(node, owns.get(n, node.own)) for n, node in enumerate(nodes)]
    children = [[e.target for e in node.edges if isinstance(e.target, int)] for node in nodes]
    colours = [xxh3_128_digest(content) for content in contents]
    count = len(set(colours))
    while True:
        refined = [
            xxh3_128_digest(content + b"".join([colours[c] for c in below]))
            for content, below in zip(contents, children, strict=True)
        ]
        told_apart = len(set(refined))
        if told_apart == count:
            break
        colours, count = refined, told_apart
    # The colours before the last round name the nodes; those after it say what each refers to.
    pairs = sorted({before + after for before, after in zip(colours, refined, strict=True)})
    return xxh3_128_digest(refined[root] + b"".join(pairs))


def _content(node: Node, own: bytes) -> bytes:
    """Everything of a node but the nodes that it refers to."""
    pieces = [node.kind.encode(), b"\0", own]
    for label, target in node.edges:
        pieces.append(label.encode("utf-8", "surrogatepass"))
        pieces.append(b"\0->" if isinstance(target, int) else b"\0" + target.digest)
    return b"".join(pieces)
