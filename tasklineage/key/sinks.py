"""Globals that a task only writes to: their content is not an input, so it does not count.

`calls.append(x)`, `groups[key].append(x)`, `counts[key] = value`, `counts[key] += 1` and
`total += 1`, with the result thrown away, tell nothing to the task. That holds for the builtin
types below, whose methods are known to do nothing else.
"""

from __future__ import annotations

from typing import Any

from tasklineage.key.digest_tokens import SIMPLE
from tasklineage.key.names import Found
from tasklineage.key.references import (
    CALLED_SINK,
    COUNTER,
    NESTED_SINK,
    UPDATED_SINK,
    Reference,
)

_CONTAINERS = frozenset(
    {
        "builtins.list", "builtins.dict", "builtins.set", "builtins.bytearray", "array.array",
        "collections.deque", "collections.Counter", "collections.defaultdict",
        "collections.OrderedDict", "numpy.ndarray", "queue.Queue", "queue.LifoQueue",
        "queue.PriorityQueue", "_queue.SimpleQueue", "_contextvars.ContextVar",
    }
)  # fmt: skip
COUNTED = frozenset(
    {
        "builtins.int", "builtins.float", "builtins.complex", "builtins.bool", "builtins.str",
        "builtins.bytes", "builtins.tuple", "builtins.list", "builtins.set",
    }
)  # fmt: skip


def without_call(reference: Reference) -> Reference:
    """What a reference names, without the method that is called on it."""
    is_called = reference.use == CALLED_SINK
    return reference._replace(chain=reference.chain[:-1]) if is_called else reference


def is_sink(found: Found, use: str) -> bool:
    """Whether being used in this way tells nothing about the content of what was found."""
    if found.kind != "value" or found.rest:
        return False
    if use == NESTED_SINK:
        kinds = _kinds_of_parts(found.value)
        return kinds is not None and all(_name(kind) in _CONTAINERS for kind in kinds)
    return _name(type(found.value)) in (COUNTED if use == COUNTER else _CONTAINERS)


def sink_text(found: Found, use: str) -> str:
    """What counts of a sink: its type; of a dict whose items are written to, which there are."""
    name = _name(type(found.value))
    if use not in (UPDATED_SINK, NESTED_SINK):
        return name
    if type(found.value) is dict:
        return f"{name} {sorted(repr(key) for key in found.value if type(key) in SIMPLE)}"
    factory = getattr(found.value, "default_factory", None)
    return name if factory is None else f"{name} {getattr(factory, '__qualname__', '')}"


def _kinds_of_parts(value: Any) -> list[type[Any]] | None:
    """The types of the items that a container gives out; None for what is none."""
    if type(value) is list:
        return list(map(type, value))
    if not isinstance(value, dict):
        return None
    factory = getattr(value, "default_factory", None)
    return [*map(type, value.values()), *(() if factory is None else (factory,))]


def _name(kind: Any) -> str:
    return f"{kind.__module__}.{getattr(kind, '__qualname__', '')}"
