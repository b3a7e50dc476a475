"""The parts of a closure as `why` shows them: each with a digest of its own and a text.

A part that changed differs in its own digest; parts that refer to it do not. What each part refers
to, by which name, stands in parts of the kind `names`: so a name that leads elsewhere is told from
a function that was edited, and what came or went with an edit from what was edited.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import FunctionType
from typing import Any, NamedTuple

from xxhash import xxh3_128_digest

from tasklineage.errors import UnhashableArgument
from tasklineage.key.digest import Unresolved, digest
from tasklineage.key.hidden import Hidden
from tasklineage.key.nodes import Leaf, Node
from tasklineage.key.previews import preview
from tasklineage.key.source import Sources

__all__ = ["NAMES", "Part", "parts_of", "preview"]

NAMES = "names"
"""The kind of a part that says what another refers to. Its name is `names of` and the other's; the
first line of its text is the module of a function, the others are a label, a kind and the name of
what stands there, divided by tabs. A label that begins with a dot is a cell or an attribute."""


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
    titles = _titles(nodes)
    by_thing = {id(node.thing): title for node, title in zip(nodes, titles, strict=True)}
    found: dict[Part, None] = {}
    sources = Sources()
    for n, node in enumerate(nodes):
        if node.name:
            own = _own(node, owns.get(n, node.own), by_thing)
            own = _hidden(own, node.thing) if node.kind == "value" else own
            found[Part(node.kind, titles[n], own, _text(nodes, node, sources))] = None
        for label, leaf in _leaves(node):
            own = _hidden(leaf.digest, leaf.content) if leaf.kind == "value" else leaf.digest
            found[Part(leaf.kind, _leaf_name(label, leaf), own, _leaf_text(label, leaf))] = None
    for title, node in zip(titles, nodes, strict=True):
        if node.edges:
            text = _names(node, titles, nodes)
            own = xxh3_128_digest(text.encode("utf-8", "surrogatepass"))
            found[Part(NAMES, f"names of {title}", own, text)] = None
    return tuple(found)


def _titles(nodes: Sequence[Node]) -> list[str]:
    """The names of the nodes: of a wrapper that says it is what it wraps, where it was written."""
    root = next((n for n, node in enumerate(nodes) if node.kind == "function"), -1)
    return [node.name if n == root else _title(node) for n, node in enumerate(nodes)]


def _title(node: Node) -> str:
    thing = node.thing
    if node.kind == "function" and isinstance(thing, FunctionType):
        name = thing.__code__.co_qualname
        if name != thing.__qualname__ and "__wrapped__" in thing.__dict__:
            return f"{thing.__globals__.get('__name__')}.{name}"
    return node.name


def _own(node: Node, own: bytes, titles: Mapping[int, str]) -> bytes:
    """What a node is in itself: of a value, whatever the code in it says."""
    if node.kind != "value" or not node.edges:
        return own

    def token(thing: Any) -> bytes | None:
        title = titles.get(id(thing))
        return None if title is None else xxh3_128_digest(title.encode("utf-8", "surrogatepass"))

    try:
        return digest(node.thing, node.name, token)
    except (UnhashableArgument, Unresolved):  # it has changed meanwhile
        return own


def _hidden(own: bytes, value: Any) -> bytes:
    """The digest of a value; of one with the text of a Secret in it nothing, for one may guess."""
    if not Hidden.in_use:
        return own
    from tasklineage.key.redaction import holds_text

    return b"" if holds_text(value) else own


def _leaves(node: Node) -> Iterator[tuple[str, Leaf]]:
    for label, target in node.edges:
        if isinstance(target, Leaf) and target.kind != "builtin":
            yield label, target


def _names(node: Node, titles: Sequence[str], nodes: Sequence[Node]) -> str:
    """What a node refers to: see `NAMES`."""
    thing = node.thing if isinstance(node.thing, FunctionType) else None
    lines = [str(thing.__globals__.get("__name__", "")) if thing else ""]
    own = {*thing.__code__.co_freevars, *thing.__dict__} if thing else set[str]()
    for label, target in node.edges:
        label = f".{label}" if label.partition(".")[0] in own else label  # noqa: PLW2901
        if isinstance(target, Leaf):
            named = (label, target.kind, _leaf_name(label, target))
        else:
            named = (label, nodes[target].kind, titles[target])
        lines.append("\t".join(part.replace("\t", " ").replace("\n", " ") for part in named))
    return "\n".join(lines)


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


def _leaf_name(label: str, leaf: Leaf) -> str:
    return f"{leaf.name}: names of locals" if label == "locals" else leaf.name


def _leaf_text(label: str, leaf: Leaf) -> str:
    if leaf.kind == "value":
        if label == "locals":
            return ""
        return preview(leaf.name, leaf.content)
    text = str(leaf.content or "")
    return text.partition("\0")[2] if leaf.kind == "version" else text
