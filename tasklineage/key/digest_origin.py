"""The installed distribution that a module comes from, with its version."""

from __future__ import annotations

import functools
import os
import sys


@functools.lru_cache(maxsize=1024)
def origin(module: str) -> str | None:
    """The name and version of the distribution that defines a loaded module, as `name-version`.

    None for the standard library and for what is not installed.

    Notes
    -----
    A distribution lists its files in `RECORD`, beside the packages themselves (PEP 376, PEP 627).
    The folder names alone carry name and version, so no metadata is parsed.
    """
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top == "__main__":
        return None
    file = getattr(sys.modules.get(module), "__file__", None)
    if not isinstance(file, str):
        file = getattr(sys.modules.get(top), "__file__", None)
    return _owner(file, top) if isinstance(file, str) else None


def _owner(file: str, top: str) -> str | None:
    """The distribution whose RECORD lists a file, in the folder that holds its top package."""
    name = os.path.join(os.sep, top)
    at = file.rfind(name + os.sep)
    folder = file[:at] if at >= 0 else os.path.dirname(file)
    entry = os.path.relpath(file, folder).replace(os.sep, "/")
    try:
        found = [name for name in os.listdir(folder) if name.endswith(".dist-info")]
    except OSError:
        return None
    guess = top.lower().replace("-", "_")
    found.sort(key=lambda name: (not name.lower().startswith(guess), name))
    for name in found:
        if _lists(os.path.join(folder, name, "RECORD"), entry):
            return name.removesuffix(".dist-info")
    return None


def _lists(record: str, entry: str) -> bool:
    try:
        with open(record, encoding="utf-8") as lines:
            text = lines.read()
    except OSError:
        return False
    return text.startswith((f"{entry},", f'"{entry}"')) or f"\n{entry}," in text
