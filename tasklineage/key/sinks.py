"""Globals that a task only writes to: their content is not an input, so it does not count.

`calls.append(x)`, `counts[key] = value`, `counts[key] += 1` and `total += 1`, with the result
thrown away, tell nothing to the task. That holds for the builtin types below, whose methods are
known to do nothing else.
"""

from __future__ import annotations

from typing import Any

from tasklineage.key.names import Found
from tasklineage.key.references import CALLED_SINK, COUNTER, Reference

_CONTAINERS = frozenset(
    {
        "builtins.list", "builtins.dict", "builtins.set", "builtins.bytearray", "array.array",
        "collections.deque", "collections.Counter", "collections.defaultdict",
        "collections.OrderedDict", "numpy.ndarray", "queue.Queue", "queue.LifoQueue",
        "queue.PriorityQueue", "_queue.SimpleQueue",
    }
)  # fmt: skip
_COUNTED = frozenset(
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
    kind: type[Any] = type(found.value)
    known = _COUNTED if use == COUNTER else _CONTAINERS
    return f"{kind.__module__}.{kind.__qualname__}" in known
