"""A digest of a closure that is the same under every version of Python.

Bytecode is not: every minor version compiles the same source to another one. So beside the code
version stands the digest of the same graph with functions by their syntax (syntax.py). It is there
only where the source of every function is: compiling it must give the code that runs.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from types import FunctionType
from typing import Any

from xxhash import xxh3_128_digest

from tasklineage.errors import UnhashableArgument
from tasklineage.key.digest import Unresolved, digest
from tasklineage.key.nodes import Edge, Leaf, Node, graph_digest
from tasklineage.key.source import Sources

Foreign = Mapping[int, tuple[Any, bytes | None]]


def portable_digest(
    nodes: Sequence[Node],
    root: int,
    owns: Mapping[int, bytes],
    tokens: Mapping[int, bytes],
    foreign: Foreign,
) -> bytes:
    """The digest and, in two more bytes, the version of Python; empty where there is none.

    `owns` as for `graph_digest`; `tokens` and `foreign` as in the walk.
    """
    try:
        found = [_own(node, owns.get(n, node.own)) for n, node in enumerate(nodes)]
        names = _tokens(nodes, found, tokens)
        places = {id(node.thing): n for n, node in enumerate(nodes) if node.thing is not None}
        copies = [
            _copy(node, own, names, foreign, places) for node, own in zip(nodes, found, strict=True)
        ]
    except (_NotPortable, UnhashableArgument, Unresolved, RecursionError, SyntaxError, ValueError):
        return b""
    return graph_digest(copies, root, {}) + bytes(sys.version_info[:2])


class _NotPortable(Exception):
    """Something has no source."""


def _own(node: Node, own: bytes) -> bytes:
    """The own digest of a node; that of a function is of its syntax."""
    if node.kind != "function":
        return own
    syntax = Sources().syntax(node.thing) if isinstance(node.thing, FunctionType) else b""
    if not syntax:
        raise _NotPortable
    return syntax


def _tokens(
    nodes: Sequence[Node], owns: Sequence[bytes], tokens: Mapping[int, bytes]
) -> dict[int, bytes]:
    """What stands for code inside values, as in the walk."""
    ties: Counter[bytes] = Counter()
    found: dict[int, bytes] = {}
    for node, own in zip(nodes, owns, strict=True):
        if id(node.thing) in tokens and id(node.thing) not in found:
            found[id(node.thing)] = xxh3_128_digest(b"%s %d" % (own, ties[own]))
            ties[own] += 1
    return found


def _copy(
    node: Node,
    own: bytes,
    tokens: Mapping[int, bytes],
    foreign: Foreign,
    places: Mapping[int, int],
) -> Node:
    if node.kind == "value" and node.edges:
        return _value(node, tokens, foreign, places)
    copy = Node(node.kind, "", own, None)
    # The order of names in bytecode depends on the version, and how often one of them stands there.
    edges = {_order(edge): edge for edge in node.edges}
    copy.edges = [edges[order] for order in sorted(edges)]
    return copy


def _value(
    node: Node, tokens: Mapping[int, bytes], foreign: Foreign, places: Mapping[int, int]
) -> Node:
    """A value with code in it."""
    met: dict[bytes, int] = {}

    def token(thing: Any) -> bytes | None:
        if id(thing) in foreign:
            return foreign[id(thing)][1]
        known = tokens.get(id(thing))
        if known is None:
            raise _NotPortable
        met[known] = places[id(thing)]
        return known

    copy = Node(node.kind, "", digest(node.thing, node.name, token), None)
    copy.edges = [Edge(known.hex(), place) for known, place in sorted(met.items())]
    return copy


def _order(edge: Edge) -> tuple[str, bytes, int]:
    target = edge.target
    return (
        (edge.label, target.digest, -1) if isinstance(target, Leaf) else (edge.label, b"", target)
    )
