"""The parts of a closure as `why` shows them: each with a digest of its own and a text.

A part that changed differs in its own digest; parts that refer to it do not.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from types import FunctionType
from typing import Any, NamedTuple

from xxhash import xxh3_128_digest

from tasklineage.key.nodes import Leaf, Node
from tasklineage.key.source import Sources

_SHOWN = 120


class Part(NamedTuple):
    """A function, class or value that counts for a code version."""

    kind: str
    name: str
    """Module-qualified."""
    digest: bytes
    text: str
    """Source of a function, a short preview of a value."""


def parts_of(nodes: Sequence[Node], owns: Mapping[int, bytes]) -> tuple[Part, ...]:
    """The parts of a closure in the order of the walk; `owns` as for `graph_digest`."""
    found: dict[Part, None] = {}
    sources = Sources()
    for n, node in enumerate(nodes):
        if node.name:
            found[_part(nodes, node, owns.get(n, node.own), sources)] = None
        for leaf in _leaves(node):
            found[Part(leaf.kind, leaf.name, leaf.digest, _leaf_text(leaf))] = None
    return tuple(found)


def _part(nodes: Sequence[Node], node: Node, own: bytes, sources: Sources) -> Part:
    """What a node is in itself, and the names of what it refers to."""
    pieces = [own]
    for label, target in node.edges:
        if isinstance(target, int):
            other = nodes[target]
            pieces.append(f"{label}\0{other.kind}\0{other.name}".encode("utf-8", "surrogatepass"))
    text = _text(nodes, node, sources)
    return Part(node.kind, node.name, xxh3_128_digest(b"\0\0".join(pieces)), text)


def _leaves(node: Node) -> Iterator[Leaf]:
    for _, target in node.edges:
        if isinstance(target, Leaf) and target.kind != "builtin":
            yield target


def _text(nodes: Sequence[Node], node: Node, sources: Sources) -> str:
    if node.kind == "function" and isinstance(node.thing, FunctionType):
        return sources.of(node.thing)
    if node.kind == "class":
        bases = [
            target.name if isinstance(target, Leaf) else nodes[target].name
            for label, target in node.edges
            if label.startswith("base ")
        ]
        return f"class {node.name}({', '.join(bases)})"
    return preview(node.name, node.thing) if node.kind == "value" else ""


def _leaf_text(leaf: Leaf) -> str:
    return preview(leaf.name, leaf.content) if leaf.kind == "value" else str(leaf.content or "")


class _Preview(reprlib.Repr):
    """Looks into plain containers only, and calls no `__repr__` but those of plain types."""

    _PLAIN = (int, float, complex, bool, type(None), str, bytes)

    def repr1(self, x: Any, level: int) -> str:
        kind = type(x)
        if kind in self._PLAIN or kind in (tuple, list, dict, set, frozenset):
            return super().repr1(x, level)
        shape, dtype = getattr(x, "shape", None), getattr(x, "dtype", None)
        if isinstance(shape, tuple) and dtype is not None:
            return f"<{kind.__qualname__} {dtype} {shape}>"
        return f"<{kind.__qualname__}>"


_repr = _Preview()
_repr.maxstring = _repr.maxother = _SHOWN
_SECRET = ("secret", "passw", "token", "apikey", "api_key", "credential", "private")


def preview(name: str, value: Any) -> str:
    """A short text for a value; of texts whose name speaks of a secret only the length."""
    if isinstance(value, (str, bytes)) and any(word in name.lower() for word in _SECRET):
        return f"<{type(value).__name__} of {len(value)}>"
    text = _repr.repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
