"""The slow way round a value: iterative, so that neither depth nor cycles matter.

It gives the digests that `digest` gives, for values that are too deep for it, and a digest to those
that contain themselves. Objects are the nodes of a graph, and its strongly connected components
come out children first (Tarjan 1972). A component of one node has the usual form. In a larger one
(or a node that contains itself) each node is written out in the order of a depth-first walk from
the node asked for, and a part that belongs to the component is named by its number in that order.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from marshal import dumps
from typing import Any, NamedTuple

from xxhash import xxh3_128_digest

from tasklineage.errors import UnhashableArgument, UnreadableFile
from tasklineage.key.digest_forms import SAME, Code, Parts, Undigestible, Unresolved, parts_of
from tasklineage.key.digest_tokens import (
    HEADS,
    SIMPLE,
    SPECIAL,
    VERSION,
    digest_of,
    joined,
    token,
)

_STAND_INS = 100
_DEEPEST = 100_000
_HOLDERS = frozenset({"__dict__", "__pydantic_extra__", "__pydantic_private__"})


def digest(value: Any, path: str, code: Code) -> bytes:
    """The digest of a value, as `digest.digest` gives it."""
    try:
        return _Graph(code).digest(value)
    except RecursionError as error:
        reason = Undigestible("what it reduces to has no end")
        raise located(value, path, code, reason) from error
    except Undigestible as error:
        raise located(value, path, code, error) from error.__cause__


def located(value: Any, path: str, code: Code, error: Undigestible) -> UnhashableArgument:
    """The error for the user: it names the first part of a value that has no digest."""
    seen: dict[int, Any] = {}
    stack = [_Place(None, path, value, 0)]
    while stack:
        place = stack.pop()
        if id(place.value) in seen or place.depth > _DEEPEST:
            continue
        seen[id(place.value)] = place.value
        try:
            below = list(_named(place.value, code))
        except Unresolved:
            continue
        except (Undigestible, RecursionError) as reason:
            return _error(place.path(), place.value, reason)
        stack.extend(
            _Place(place, suffix, part, place.depth + 1)
            for suffix, part in reversed(below)
            if type(part) not in SIMPLE
        )
    return _error(path, value, error)


class _Place(NamedTuple):
    """Where a part of a value is."""

    parent: _Place | None
    suffix: str
    value: Any
    depth: int

    def path(self) -> str:
        """The names on the way to it."""
        suffixes = [self.suffix]
        place = self.parent
        while place is not None:
            suffixes.append(place.suffix)
            place = place.parent
        return "".join(reversed(suffixes))


class _Node:
    """An object that is no atom. `parts` are the tokens of atoms, and nodes."""

    __slots__ = ("component", "head", "index", "is_open", "low", "parts", "rest", "token", "value")

    def __init__(self, value: Any, parts: Parts | None) -> None:
        self.value = value, parts  # kept: an address must not be used again
        self.index = -1
        self.token: bytes | None = None
        self.component: frozenset[int] = frozenset()

    def open(self, index: int, head: bytes, parts: list[Any]) -> None:
        """Visit it for the first time."""
        self.is_open = True
        self.index = self.low = index
        self.head = head
        self.parts = parts
        self.rest: Iterator[Any] = iter(parts)


class _Graph:
    """The objects that a value consists of. For one thread, and one use."""

    def __init__(self, code: Code) -> None:
        self._code = code
        self._nodes: dict[int, _Node] = {}
        self._kept: list[Any] = []
        self._open: list[_Node] = []
        self._count = 0

    def digest(self, value: Any) -> bytes:
        root = self._entry(value)
        if not isinstance(root, _Node):
            return digest_of(root)
        path = [root]
        while path:
            node = path[-1]
            below = self._next(node)
            if below is not None:
                path.append(below)
                if len(path) > _DEEPEST:
                    raise Undigestible(f"it is nested more than {_DEEPEST:,} deep")
                continue
            path.pop()
            if path:
                path[-1].low = min(path[-1].low, node.low)
            if node.low == node.index:
                self._close(node)
        return self._token(root)

    def _entry(self, value: Any) -> Any:
        """The node of an object, or the token of an atom."""
        stand_ins: list[Any] = []
        while type(value) not in SIMPLE:
            node = self._nodes.get(id(value))
            parts = None if node or type(value) in HEADS else parts_of(value, self._code)
            if parts is None or parts[0] is not SAME:
                node = node or _Node(value, parts)
                for stand_in in (value, *stand_ins):
                    self._nodes[id(stand_in)] = node
                self._kept.extend(stand_ins)
                return node
            if len(stand_ins) == _STAND_INS:
                raise Undigestible("its stand-in has a stand-in, and so on without end")
            stand_ins.append(value)
            value = parts[1]
        return token(value)

    def _next(self, node: _Node) -> _Node | None:
        """The next part of a node that was not looked at before."""
        if node.index < 0:
            head, parts = _unfolded(*node.value)
            node.open(self._count, head, [self._entry(part) for part in parts])
            self._count += 1
            self._open.append(node)
        for part in node.rest:
            if type(part) is _Node:
                if part.index < 0:
                    return part
                if part.is_open:
                    node.low = min(node.low, part.index)
        return None

    def _close(self, node: _Node) -> None:
        """A component is complete: the nodes opened since its first one."""
        members: list[_Node] = []
        while not members or members[-1] is not node:
            members.append(self._open.pop())
            members[-1].is_open = False
        if len(members) == 1 and not any(part is node for part in node.parts):
            node.token = xxh3_128_digest(joined(node.head, self._tokens(node.parts)))
            node.parts = []
            return
        component = frozenset(map(id, members))
        for member in members:
            member.component = component
            self._tokens([part for part in member.parts if id(part) not in component])

    def _token(self, node: _Node) -> bytes:
        found = node.token
        if found is None:
            forms = self._written(node, node.component, is_cut=False)
            found = node.token = xxh3_128_digest(b"~" + dumps(forms, VERSION))
        return found

    def _tokens(self, parts: list[Any]) -> list[Any]:
        return [self._token(part) if type(part) is _Node else part for part in parts]

    def _written(self, start: _Node, component: frozenset[int], *, is_cut: bool) -> list[bytes]:
        """The forms of the nodes of a component, in the order of a depth-first walk.

        `is_cut` leaves out the elements of sets that belong to the component.
        """
        numbers: dict[int, int] = {}
        order: list[tuple[bytes, list[Any]]] = []
        stack = [start]
        while stack:
            node = stack.pop()
            if id(node) in numbers:
                continue
            numbers[id(node)] = len(order)
            parts = node.parts
            if node.head in (b"<", b">"):
                parts = self._set_in_order(parts, component, is_cut=is_cut)
            order.append((node.head, parts))
            stack.extend(part for part in reversed(parts) if id(part) in component)

        def own_token(part: Any) -> Any:
            if type(part) is not _Node:
                return part
            number = numbers.get(id(part))
            return self._token(part) if number is None else (number,)

        return [joined(head, list(map(own_token, parts))) for head, parts in order]

    def _set_in_order(
        self, parts: list[Any], component: frozenset[int], *, is_cut: bool
    ) -> list[Any]:
        """The elements of a set, those that belong to the component last and by their content."""
        inner = [part for part in parts if id(part) in component]
        outer = [part for part in parts if id(part) not in component]
        if is_cut:
            return [*outer, (len(inner), "elements")]
        if len(inner) < 2:
            return [*outer, *inner]
        keyed = {
            dumps(self._written(part, component, is_cut=True), VERSION): part for part in inner
        }
        if len(keyed) < len(inner):
            raise Undigestible("a set of equal objects that contain the set has no order")
        return [*outer, *(keyed[key] for key in sorted(keyed))]


def _unfolded(value: Any, parts: Parts | None) -> tuple[bytes, list[Any]]:
    """The first byte of a value's form, and its parts; of a dict: key, value, key and so on."""
    if parts is not None:
        return SPECIAL, list(parts)
    kind = type(value)
    return HEADS[kind], list(chain.from_iterable(value.items()) if kind is dict else value)


def _named(value: Any, code: Code) -> Iterator[tuple[str, Any]]:
    """The direct parts of a value, each with what is added to the path."""
    kind = type(value)
    if kind in SIMPLE:
        return
    if kind is dict:
        yield from ((f".keys()[{i}]", key) for i, key in enumerate(value))
        yield from ((f"[{_short(key)}]", part) for key, part in value.items())
    elif kind is list or kind is tuple:
        yield from ((f"[{i}]", part) for i, part in enumerate(value))
    elif kind in HEADS:
        yield from (("{...}", part) for part in value)
    else:
        yield from _named_special(value, parts_of(value, code))


def _named_special(value: Any, parts: Any) -> Iterator[tuple[str, Any]]:
    tag, rest = parts[0], parts[1:]
    if tag == "object":
        for state in rest[1] if isinstance(rest[1], tuple) else (rest[1],):
            if type(state) is dict:
                yield from _named_state(state)
            else:
                yield "", state
    elif tag == "namedtuple":
        names = type(value)._fields
        yield from ((f".{name}", part) for name, part in zip(names, value, strict=True))
    elif tag == "types.SimpleNamespace":
        yield from _named_state(rest[0])
    elif tag == "functools.partial":
        yield from zip((".func", ".args", ".keywords", ""), rest, strict=True)
    elif tag == "method":
        yield from (("", rest[0]), (".__self__", rest[1]))
    else:
        yield from (("", part) for part in rest)


def _named_state(state: dict[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Attributes; those of a pydantic model are in dicts of their own."""
    for name, part in state.items():
        if name in _HOLDERS and type(part) is dict:
            yield from ((f".{inner}", held) for inner, held in part.items())
        else:
            yield f".{name}", part


def _short(key: Any) -> str:
    if type(key) in SIMPLE or type(key) is tuple:
        text = repr(key)
        return text if len(text) <= 60 else f"{text[:57]}..."
    return f"<{type(key).__name__}>"


def _error(path: str, value: Any, reason: Exception) -> UnhashableArgument:
    if isinstance(reason.__cause__, UnreadableFile):
        return reason.__cause__.at(path)
    kind = type(value)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__}.{name}"
    return UnhashableArgument(
        f"{path} is a {name}, which has no digest ({reason}); "
        "tl.register_digest can say what of such a value counts",
        path=path,
    )
