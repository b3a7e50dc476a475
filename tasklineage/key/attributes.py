"""What somebody has attached to an object of a library: `frame.source = "survey"`."""

from __future__ import annotations

from typing import Any

_OF_LIBRARIES = frozenset({"sortorder"})
"""Of a MultiIndex of pandas."""


def attached(value: Any) -> dict[str, Any]:
    """The attributes of an object that neither its class nor the library keeps there.

    Libraries keep theirs under names that begin with an underscore, or that the class has too.
    """
    held: dict[str, Any] = getattr(value, "__dict__", {})
    kind = type(value)
    return {
        name: part
        for name, part in held.items()
        if name[:1] != "_" and name not in _OF_LIBRARIES and not hasattr(kind, name)
    }
