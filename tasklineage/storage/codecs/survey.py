"""What a value holds, found by one walk that no nesting, sharing or cycle can harm."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from tasklineage.storage.codecs import arrays, standard
from tasklineage.storage.codecs.instances import Opened, hashed_items, is_key, opened
from tasklineage.storage.codecs.plain import ATOMS, CONTAINERS, DEEPEST

FLAT: frozenset[type] = ATOMS | {complex}
_PLAIN = FLAT | CONTAINERS


class Survey:
    """The containers reached from `root`, and whether they are plain.

    Objects that can be opened (see `instances`) count as containers; `root` may be one.

    A tuple or frozenset of atoms cannot be told from its copy: it is not listed.

    Parameters
    ----------
    limit
        Arrays of more bytes are parts, smaller ones belong to their container's plain content.
    is_leaf
        What can be a part of a tree.

    Notes
    -----
    Breadth first, so that a container stands behind its first parent. One set operation for each
    container, a step of Python only for elements that are no atoms.
    """

    __slots__ = (
        "_leaves", "_parents", "_places", "boxes", "is_storable", "kinds", "nodes", "objects",
        "twice",
    )  # fmt: skip

    def __init__(self, root: Any, limit: int, is_leaf: Callable[[Any], bool]) -> None:
        self.boxes: list[Any] = [root]
        """Each container once, `root` first."""
        self.nodes: set[int] = set()
        """Positions in `boxes` of what plain content cannot hold: shared, part of a cycle, nested
        too deeply, holding a part, or holding one of these. Empty: all of it is plain."""
        self.objects: dict[int, Opened] = {}
        """The objects among the boxes, by position. All of them are nodes."""
        self.kinds: set[type] = set()
        """The exact types of everything inside."""
        self.twice: set[int] = set()
        """`id` of each leaf that is met more than once and must stay one object."""
        self._parents = [-1]
        self._places = {id(root): 0}
        self._leaves: dict[int, int] = {}
        self.is_storable = self._walk(limit, is_leaf)
        """False if there is something inside that only pickle can store."""

    def _walk(self, limit: int, is_leaf: Callable[[Any], bool]) -> bool:
        depth, level_end = 0, 1
        root = self.boxes[0]
        if type(root) not in CONTAINERS and not self._open(0, opened(root)):
            return False
        for at, whole in enumerate(self.boxes):
            if at == level_end:
                depth, level_end = depth + 1, len(self.boxes)
            found = self.objects.get(at) if self.objects else None
            box = whole if found is None else found.items
            held = _kinds(box)
            self.kinds |= held
            if held <= FLAT:
                continue
            for item in elements(box):
                kind = type(item)
                if kind in FLAT:
                    continue
                if kind in CONTAINERS:
                    self._meet_container(item, kind, at)
                elif standard.is_standard(item) or arrays.is_scalar(item):
                    continue
                elif is_leaf(item):
                    self._meet_leaf(item, at, limit)
                elif not self._meet_object(item, at):
                    return False
        if self.objects and self._has_unsafe_keys():
            return False
        if depth >= DEEPEST - 2:
            self._mark_deep()
        self._spread()
        return True

    def _meet_container(self, item: Any, kind: type, at: int) -> None:
        if (kind is tuple or kind is frozenset) and FLAT.issuperset(map(type, item)):
            self.kinds.update(map(type, item))
            return
        end = len(self.boxes)
        place = self._places.setdefault(id(item), end)
        if place == end:
            self.boxes.append(item)
            self._parents.append(at)
        else:
            self.nodes.update((place, at))

    def _meet_object(self, item: Any, at: int) -> bool:
        """Whether it can be opened; then it is a box."""
        end = len(self.boxes)
        place = self._places.get(id(item), end)
        if place == end and not self._open(end, opened(item)):
            return False
        if place == end:
            self._places[id(item)] = end
            self.boxes.append(item)
            self._parents.append(at)
        else:
            self.nodes.add(at)
        return True

    def _open(self, place: int, found: Opened | None) -> bool:
        if found is None:
            return False
        self.objects[place] = found
        self.nodes.add(place)
        return True

    def _has_unsafe_keys(self) -> bool:
        """Whether something is a key, or in one, that is hashed by code of its class."""
        pending = [item for at, box in enumerate(self.boxes) for item in self._hashed(at, box)]
        while pending:
            item = pending.pop()
            if type(item) is tuple or type(item) is frozenset:
                pending.extend(item)
                continue
            found = self.objects.get(self._places.get(id(item), -1))
            if found is not None:
                if not is_key(item, found):
                    return True
                pending.extend(found.items)
        return False

    def _hashed(self, at: int, box: Any) -> Iterable[Any]:
        """The keys of a box."""
        found = self.objects.get(at)
        if found is not None:
            return hashed_items(found)
        return box if type(box) in (dict, set, frozenset) else ()

    def _meet_leaf(self, item: Any, at: int, limit: int) -> None:
        first = self._leaves.get(id(item))
        if first is not None:
            self.twice.add(id(item))
            self.nodes.update((first, at))
            return
        self._leaves[id(item)] = at
        if not arrays.is_array(item) or item.nbytes > limit:
            self.nodes.add(at)

    def _mark_deep(self) -> None:
        """Make nodes of those with too many levels below them."""
        heights = [0] * len(self.boxes)
        for at in range(len(heights) - 1, 0, -1):
            parent = self._parents[at]
            heights[parent] = max(heights[parent], heights[at] + 1)
        self.nodes |= {at for at, height in enumerate(heights) if height >= DEEPEST - 2}

    def _spread(self) -> None:
        """Make nodes of those that hold a node."""
        if self.nodes:
            for at in range(len(self.boxes) - 1, 0, -1):
                if at in self.nodes:
                    self.nodes.add(self._parents[at])


def plain_kinds(root: Any) -> set[type] | None:
    """The exact types inside of a container that holds atoms and containers, each of these once.

    None where that is not so, or it takes a closer look. This takes no step of Python but one test
    for an element, so that a table or a JSON document costs little more than packing it.
    """
    kinds = _kinds(root)
    if kinds <= FLAT:
        return kinds
    seen = {id(root)}
    level: list[Any] = [root]
    for _ in range(DEEPEST - 2):
        held = set(map(type, _all_elements(level)))
        kinds |= held
        if held <= FLAT:
            return kinds
        if not held <= _PLAIN:
            return None
        level = [item for item in _all_elements(level) if type(item) in CONTAINERS]
        count = len(seen)
        seen.update(map(id, level))
        if len(seen) < count + len(level):
            return None
    return None


def elements(box: Any) -> Iterable[Any]:
    """What a container holds directly, the keys of a dict included."""
    return chain(box, box.values()) if type(box) is dict else box


def _all_elements(boxes: list[Any]) -> Iterable[Any]:
    """What some containers hold directly, at the speed of C."""
    kinds = set(map(type, boxes))
    if dict not in kinds:
        return chain.from_iterable(boxes)
    values = map(dict.values, boxes if len(kinds) == 1 else _only_dicts(boxes))
    return chain(chain.from_iterable(boxes), chain.from_iterable(values))


def _only_dicts(boxes: list[Any]) -> Iterable[dict[Any, Any]]:
    return (box for box in boxes if type(box) is dict)


def _kinds(box: Any) -> set[type]:
    held = set(map(type, box))
    if type(box) is dict:
        held.update(map(type, box.values()))
    return held
