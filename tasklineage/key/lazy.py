"""Instances as they were before a `cached_property` of theirs was computed.

Computing one changes the instance, but tells nothing new: it follows from the other attributes and
from code. A value to which nothing else has happened has not been changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tasklineage.key.silence import Without


def before_caching(value: Any) -> Iterator[Without]:
    """An instance without the last of the attributes that its cached properties have added.

    Without the last one, the last two, and so on: attributes stand in the order of assignment.
    """
    attributes = getattr(value, "__dict__", None)
    if not isinstance(attributes, dict) or isinstance(value, type):
        return
    dropped: list[str] = []
    for name in reversed(attributes):
        if not _is_cached(type(value), name):
            return
        dropped.append(name)
        yield Without(value, frozenset(dropped), frozenset())


def _is_cached(kind: type, name: Any) -> bool:
    found = next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)
    return type(found).__name__ == "cached_property"
