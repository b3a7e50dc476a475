"""What an `lru_cache` of the project was filled with before the first call of any task.

The content of a cache does not count: it follows from the function, the arguments, and the files
that were read, which calls note. But nobody has noted what was read when modules were imported.
So what a cache holds by then counts as a constant does that was computed at import.
"""

from __future__ import annotations

import functools
import gc
import sys
import weakref
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from tasklineage.errors import UnhashableArgument
from tasklineage.key.boundary import is_project_class, is_project_module
from tasklineage.key.digest import Unresolved, digest

_CACHE: Any = type(functools.lru_cache(lambda: None))


class _Early:
    """The digests of what was in each cache when the first code version was made."""

    found: ClassVar[weakref.WeakKeyDictionary[Any, tuple[bytes, ...]] | None] = None


def early_content(cache: Any) -> list[tuple[str, bytes]]:
    """The digests of what the cache held before the first call, as labelled parts."""
    if _Early.found is None:
        _Early.found = weakref.WeakKeyDictionary()  # first: what is looked at may run code
        for one in _filled():
            _Early.found[one] = tuple(map(_digest_of, _content(one)))
    content = _Early.found.get(cache, ())
    return [(f"content {n}", own) for n, own in enumerate(content)]


def _digest_of(part: Any) -> bytes:
    try:
        return digest(part)
    except (UnhashableArgument, Unresolved):
        return b""


def _filled() -> Iterator[Any]:
    for module in list(sys.modules.values()):
        namespace = getattr(module, "__dict__", None)
        if isinstance(namespace, dict) and is_project_module(module):
            yield from _filled_in(namespace)
            classes = [v for v in namespace.values() if type(v) is type and is_project_class(v)]
            for one in classes:
                yield from _filled_in(vars(one))


def _filled_in(namespace: Mapping[Any, Any]) -> Iterator[Any]:
    for thing in list(namespace.values()):
        value: Any = thing.__func__ if isinstance(thing, (staticmethod, classmethod)) else thing
        if type(value) is _CACHE and value.cache_info().currsize:
            yield value


def _content(cache: Any) -> Iterator[Any]:
    """Keys and results: what the cache refers to, but for its function and what `wraps` left."""
    for part in gc.get_referents(cache):
        if part is cache.__dict__ or part is cache.__wrapped__ or isinstance(part, type):
            continue
        if type(part) is not dict:
            yield part
        elif not any(type(value).__name__ == "_lru_list_elem" for value in part.values()):
            yield dict(part)
