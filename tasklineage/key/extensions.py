"""Compiled extensions of the project: they cannot be looked into, so all of a file counts."""

from __future__ import annotations

import importlib.machinery
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import BuiltinFunctionType, ModuleType
from typing import Any, ClassVar

from xxhash import xxh3_128_digest

_SUFFIXES = tuple(importlib.machinery.EXTENSION_SUFFIXES)


_FUNCTIONS = frozenset(
    {"cython_function_or_method", "fused_cython_function", "nb_func", "nb_method"}
)
"""Types of functions that Cython and nanobind bring with them."""


class _Known:
    """Digests by file, its time and its size."""

    digests: ClassVar[dict[tuple[str, int, int], bytes]] = {}


def is_compiled_function(value: Any) -> bool:
    """Whether a value is a function of an extension, of whatever tool."""
    kind = type(value)
    return kind is BuiltinFunctionType or kind.__name__ in _FUNCTIONS


def file_digest(thing: Any, is_project_file: Callable[[str], bool]) -> bytes | None:
    """The digest of the extension of the project that a thing is or comes from, if any.

    Of one that was built anew since it was loaded, the code that runs is not known any more: its
    digest is one that no other process has.
    """
    name = getattr(thing, "__module__", None)
    found = sys.modules.get(name) if isinstance(name, str) else None
    module = thing if isinstance(thing, ModuleType) else found
    file = getattr(module, "__dict__", {}).get("__file__")
    if not isinstance(file, str) or not file.endswith(_SUFFIXES) or not is_project_file(file):
        return None
    try:
        stat = os.stat(file)
    except OSError:
        stamp = file, 0, 0
    else:
        stamp = file, stat.st_mtime_ns, stat.st_size
    if stamp not in _Known.digests:
        is_known = any(stamp) and not _is_replaced(file)
        content = Path(file).read_bytes() if stamp[1] and is_known else os.urandom(16)
        _Known.digests[stamp] = xxh3_128_digest(content)
    return _Known.digests[stamp]


def _is_replaced(file: str) -> bool:
    """Whether another file lies where a loaded one did, as far as the system tells (Linux)."""
    path = os.path.realpath(file)
    try:
        lines = Path("/proc/self/maps").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return False
    mapped = {line.split(None, 5)[5] for line in lines if len(line.split(None, 5)) == 6}
    return f"{path} (deleted)" in mapped and path not in mapped
