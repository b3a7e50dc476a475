"""What is of the project: everything outside the standard library and installed distributions.

Decided by where a file lies, so that nothing needs to be imported or looked up: below the standard
library, or below a `site-packages` or `dist-packages` folder, it is not of the project. An editable
install leaves its files where they are edited, so it is of the project; so is code that has no
file (a REPL, a notebook, `exec`), unless its module belongs elsewhere. Distributions installed
into other folders of `sys.path` are known by the RECORD in their `.dist-info`.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, ClassVar

from tasklineage.key.contents import carried_parts, wrapped_parts, wrapper_parts
from tasklineage.key.extensions import file_digest, is_compiled_function
from tasklineage.key.patches import Patch, patches_below, patches_of, registered_with
from tasklineage.key.tasklike import TaskLike

_FOREIGN_PARTS = frozenset({"site-packages", "dist-packages", "lib-dynload"})
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_HEAP_TYPE = 1 << 9
_MAIN = frozenset({"__main__", "__mp_main__"})
_MAKERS = frozenset({"builtins", "types", "abc"})
"""Modules that classes made at run time say they are of: by `exec`, `make_dataclass`, `ABCMeta`."""


class _Known:
    """Answers given before: by file name, and the installed top-level names by folder."""

    files: ClassVar[dict[str, bool]] = {}
    installed: ClassVar[dict[str, frozenset[str]]] = {}


def is_project_file(path: str) -> bool:
    """Whether a source or extension file belongs to the project."""
    known = _Known.files.get(path)
    if known is None:
        known = _Known.files[path] = _is_project_path(os.path.abspath(path))
    return known


def is_project_module(module: ModuleType) -> bool:
    """Whether a module belongs to the project; one that was made by hand does."""
    space = getattr(module, "__dict__", {})
    file = space.get("__file__")
    if isinstance(file, str):
        return is_project_file(file)
    folders = space.get("__path__")
    if folders is not None:  # a namespace package
        return any(is_project_file(os.path.join(folder, "__init__.py")) for folder in folders)
    origin = getattr(space.get("__spec__"), "origin", None)
    if origin in ("built-in", "frozen"):
        return False
    return space.get("__name__") not in sys.builtin_module_names


def is_project_function(function: FunctionType) -> bool:
    """Whether a function was written in the project, whatever `functools.wraps` calls it."""
    file = function.__code__.co_filename
    if not file.startswith("<"):
        return is_project_file(file)
    module = sys.modules.get(function.__globals__.get("__name__", ""))
    if file.startswith("<frozen "):
        return False
    return module is None or _is_project_module_or_main(module)


def is_project_class(cls: type) -> bool:
    """Whether a class was written in the project."""
    if not cls.__flags__ & _HEAP_TYPE:
        return False
    name = type.__getattribute__(cls, "__module__")
    if name in _MAKERS:
        return getattr(sys.modules.get(name), cls.__name__, None) is not cls
    module = sys.modules.get(name) if isinstance(name, str) else None
    return module is None or _is_project_module_or_main(module)


def patches(cls: type) -> list[Patch]:
    """What of the project was put into a class that is not: functions, properties and such."""
    return patches_of(cls, _is_surely_ours)


def patches_used(value: Any) -> list[tuple[str, Any]]:
    """What of the project a function of a library uses in the place of the library's own."""
    return patches_below(value, _is_surely_ours) if type(value) is FunctionType else []


def _is_surely_ours(thing: Any) -> bool:
    """Whether a function or class is surely of the project: libraries make some without a file."""
    if isinstance(thing, type):
        return is_project_class(thing)
    if thing.__code__.co_filename.startswith("<"):
        module = sys.modules.get(thing.__globals__.get("__name__", ""))
        return module is not None and is_project_function(thing)
    return is_project_function(thing)


class Boundary:
    """The line between the project and everything else.

    A module named `home`, and what is below it, counts as of the project too: somebody asked for
    its content.
    """

    def __init__(self, home: str = "") -> None:
        self._home = home

    def has_function(self, function: FunctionType) -> bool:
        """Whether a function's code counts."""
        if is_project_function(function):
            return True
        return self._is_home(function.__globals__.get("__name__"))

    def has_class(self, cls: type) -> bool:
        """Whether a class's code counts."""
        return is_project_class(cls) or self._is_home(cls.__module__)

    def has_module(self, module: ModuleType) -> bool:
        """Whether a module's content counts."""
        return is_project_module(module) or self._is_home(module.__name__)

    def has_code(self, value: Any, depth: int = 4) -> bool:
        """Whether a value is code of the project, or a wrapper around some."""
        kind = type(value)
        if kind is FunctionType:
            return self.has_function(value) or self.carries(value, depth)
        if issubclass(kind, type):
            is_ours = self.has_class(value) or extension_digest(value) is not None
            return is_ours or bool(patches(value) or self.registered(value))
        if issubclass(kind, TaskLike):
            return True
        if is_compiled_function(value) and extension_digest(value) is not None:
            return True
        parts = carried_parts(value) or wrapped_parts(value) or ()
        return depth > 0 and any(self.has_code(part, depth - 1) for _, part in parts)

    def carries(self, function: FunctionType, depth: int = 4) -> bool:
        """Whether a function that is not of the project was wrapped around one that is."""
        if not depth or not (function.__closure__ or function.__dict__):
            return False
        return any(self.has_code(part, depth - 1) for _, part in wrapper_parts(function))

    def registered(self, cls: type) -> list[type]:
        """Classes of the project that were registered with an abstract base which is not."""
        return registered_with(cls, self.has_class)

    def _is_home(self, name: Any) -> bool:
        if not self._home or not isinstance(name, str):
            return False
        return name == self._home or name.startswith(f"{self._home}.")


def extension_digest(thing: Any) -> bytes | None:
    """The digest of the extension module of the project that a thing is or comes from, if any."""
    return file_digest(thing, is_project_file)


def origin_of(name: str) -> str:
    """Where a module that is not loaded would come from: `project`, `foreign` or `missing`.

    Nothing is imported to find out: its top-level package is looked for on the import path.
    """
    top = name.partition(".")[0]
    if top in sys.modules:
        return "project" if is_project_module(sys.modules[top]) else "foreign"
    spec = None if top in sys.stdlib_module_names else _find_spec(top)
    if spec is None:
        return "foreign" if top in sys.stdlib_module_names else "missing"
    files = [os.path.join(f, "__init__.py") for f in spec.submodule_search_locations or ()]
    if spec.has_location:
        files = [spec.origin]
    return "project" if any(map(is_project_file, files)) else "foreign"


def _find_spec(top: str) -> Any:
    import importlib.util

    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None


def _is_project_module_or_main(module: ModuleType) -> bool:
    """What names the main module as its own was written by users, whoever started the process."""
    return module.__name__ in _MAIN or is_project_module(module)


def _is_project_path(path: str) -> bool:
    real = os.path.realpath(path)
    if any(_is_below(p, _PACKAGE) for p in (path, real)):
        return False
    if _is_foreign(path):
        return _is_linked_in(path, real)
    if _is_foreign(real) or any(_is_below(p, f) for p in (path, real) for f in _library_folders()):
        return False
    return not _is_installed(path)


def _library_folders() -> tuple[str, ...]:
    folder = os.path.dirname(os.path.abspath(os.__file__))
    return folder, os.path.realpath(folder)


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder + os.sep)


def _is_foreign(path: str) -> bool:
    return not _FOREIGN_PARTS.isdisjoint(path.split(os.sep))


def _is_linked_in(path: str, real: str) -> bool:
    """Whether a package folder in site-packages is a link to the project: an editable install."""
    parts = path.split(os.sep)
    place = max(n for n, part in enumerate(parts) if part in _FOREIGN_PARTS)
    return os.path.islink(os.sep.join(parts[: place + 2])) and not _is_foreign(real)


def _is_installed(path: str) -> bool:
    """Whether a distribution was installed into the folder of `sys.path` that holds the file."""
    folders = [os.path.abspath(folder) for folder in sys.path]
    holding = [folder for folder in folders if _is_below(path, folder)]
    if not holding:
        return False
    folder = max(holding, key=len)
    top = os.path.relpath(path, folder).split(os.sep)[0]
    if folder not in _Known.installed:
        _Known.installed[folder] = _installed_names(folder)
    return top in _Known.installed[folder]


def _installed_names(folder: str) -> frozenset[str]:
    """First path components that the RECORDs in a folder list."""
    names: set[str] = set()
    with contextlib.suppress(OSError):  # an archive, or nothing
        for entry in filter(_is_dist_info, os.listdir(folder)):
            record = Path(folder, entry, "RECORD")
            if record.exists():
                for line in record.read_text(encoding="utf-8", errors="replace").splitlines():
                    names.add(line.split(",")[0].split("/")[0])
    return frozenset(names)


def _is_dist_info(name: str) -> bool:
    return name.endswith(".dist-info")
