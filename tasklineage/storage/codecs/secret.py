"""Secrets: a store keeps their names. meta: [name, whether it counts], no buffers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from tasklineage.storage.codecs.base import Codec, Encoded


class SecretCodec(Codec):
    """`tl.Secret`, in arguments; in a result it is refused."""

    name = "secret"
    is_safe = True

    def handles(self, value: Any) -> bool:
        kind = _kind()
        return kind is not None and isinstance(value, kind)

    def encode(self, value: Any) -> Encoded:
        from tasklineage.key.secrets import check_marking

        check_marking(value)
        return Encoded([value.name, value.counts], [])

    def decode(self, meta: Any, buffers: list[memoryview]) -> Any:
        from tasklineage.key.secrets import marker

        name, counts = meta
        if type(name) is not str or type(counts) is not bool:
            raise ValueError("no Secret")
        return marker(name, counts)


def reducers() -> dict[Any, Callable[[Any], Any]]:
    """How pickle is to write Secrets, by type. Empty in a process that has none."""
    kind = _kind()
    if kind is None:
        return {}
    from tasklineage.key.secrets import reduced

    return {kind: reduced}


def _kind() -> Any:
    """The class `Secret`; None while nobody has imported it."""
    return getattr(sys.modules.get("tasklineage.key.secrets"), "Secret", None)
