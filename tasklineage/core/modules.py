"""Modules that a body imports under names that only it knows: their source is a condition.

`import_module(f"plugins.{name}")`, a script run by `runpy`, a class that a pickle names: the code
version cannot have foreseen them. What was imported while the body ran is seen by its opening of
the file; what had been imported before, by how the computed name begins. With each module go those
of the project in which it looks up names. The source counts as code does: not its comments.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Iterable, Mapping
from types import FunctionType, ModuleType
from typing import ClassVar

from tasklineage.errors import UnreadableFile
from tasklineage.key.boundary import is_project_module
from tasklineage.key.code_version import code_version
from tasklineage.key.file_contents import content_of
from tasklineage.key.guards import Unseen
from tasklineage.key.source import Sources
from tasklineage.storage.records import Condition

KIND = "module"


class _Known:
    """Digests of sources by the hash of their files; and those of modules as they were loaded."""

    sources: ClassVar[dict[bytes, bytes]] = {}
    loaded: ClassVar[dict[int, tuple[object, bytes]]] = {}
    """By the identity of the spec, which a reload replaces."""


def conditions(computed: frozenset[str], imported: Iterable[str], own: str) -> set[Condition]:
    """One for each module that a body may have imported.

    `computed` says how the names begin that it computes (empty: anyhow), `imported` are files that
    it opened as modules are, and `own` is the file of its code.
    """
    loaded = {file: module for module in _loaded() if (file := _file_of(module)) != own}
    files = {file for file in imported if file in loaded}
    if "" in computed:
        files |= loaded.keys()
    elif computed:
        starts = tuple(computed)
        files |= {file for file, module in loaded.items() if module.__name__.startswith(starts)}
    for file in list(files):
        files |= loaded.keys() & set(
            map(os.path.abspath, code_version(loaded[file]).closure.modules)
        )
    return {found for file in files if (found := _condition(loaded[file], file))}


def is_found(file: str) -> bool:
    """Whether the file is one of a loaded module that an import by its name would find."""
    return any(_file_of(m) == file and _by_finders(m.__name__) == file for m in _loaded())


def holds(condition: Condition) -> bool:
    """Whether the module of that name has the source that it had. Nothing is imported."""
    file = _find(condition.name)
    return bool(file) and bool(condition.digest) and _digest(file) == condition.digest


def _condition(module: ModuleType, file: str) -> Condition | None:
    if _by_finders(module.__name__) != file:
        return None
    return Condition(KIND, module.__name__, _loaded_digest(module, file))


def _loaded_digest(module: ModuleType, file: str) -> bytes:
    """The digest of the source of which a module was made; empty where that has been edited."""
    spec = module.__spec__
    known, digest = _Known.loaded.get(id(spec), (None, b""))
    if known is None or known is not spec:
        digest = _digest(file) if _is_source_of(file, module) else b""
        _Known.loaded[id(spec)] = spec, digest
    return digest


def _is_source_of(file: str, module: ModuleType) -> bool:
    """Whether the functions of a module are those of its file, as far as there are any."""
    functions = [f for f in vars(module).values() if isinstance(f, FunctionType)]
    own = [f for f in functions if os.path.abspath(f.__code__.co_filename) == file]
    return all(map(Sources().of, own))


def _loaded() -> list[ModuleType]:
    """The modules of the project that have a file, but for the one that was started."""
    modules: Mapping[str, ModuleType] = dict(sys.modules)
    return [
        module
        for name, module in modules.items()
        if name not in ("__main__", "__mp_main__")
        and _file_of(module)
        and is_project_module(module)
    ]


def _file_of(module: ModuleType) -> str:
    file = getattr(module, "__dict__", {}).get("__file__")
    return os.path.abspath(file) if isinstance(file, str) else ""


def _find(name: str) -> str:
    """The file of a module, or of the one that would be imported."""
    module = sys.modules.get(name)
    return _by_finders(name) if module is None else _file_of(module)


def _by_finders(name: str) -> str:
    """The file that importing a module would take; nothing is imported, not even packages."""
    places: list[str] | None = None
    spec = None
    parts = name.split(".")
    for n in range(len(parts)):
        spec = _spec(".".join(parts[: n + 1]), places)
        if spec is None:
            return ""
        places = list(spec.submodule_search_locations or ())
    return os.path.abspath(spec.origin) if spec is not None and spec.origin else ""


def _spec(name: str, places: list[str] | None) -> importlib.machinery.ModuleSpec | None:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        found = None if find is None else find(name, places)
        if found is not None:
            return found  # type: ignore[no-any-return]  # that is what finders give
    return None


def _digest(file: str) -> bytes:
    """The digest of a module's source; of a compiled one, of its bytes; empty if there is none."""
    try:
        content = content_of(file).hash
        if content not in _Known.sources:
            _Known.sources[content] = _source_digest(file) or content
    except (OSError, UnreadableFile):
        return b""
    return _Known.sources[content]


def _source_digest(file: str) -> bytes:
    from tasklineage.key.syntax import module_digest  # slow to import

    try:
        with open(Unseen(file), "rb") as source:
            return module_digest(importlib.util.decode_source(source.read()))
    except (SyntaxError, ValueError):  # compiled code
        return b""
