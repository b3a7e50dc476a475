"""Which of the files that a body opens are data of the project.

Not so are what belongs to the interpreter, to libraries, to the system and to the tools of a user,
source files of modules that are loaded (they count as code), what Git keeps, and every tasklineage
store. Decided by the folder, once for each.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import ClassVar

from tasklineage import config
from tasklineage.key.guards import Unseen

_PARTS = frozenset(
    {"site-packages", "dist-packages", "lib-dynload", "__pycache__", ".git", ".hg", ".svn"}
)
_SYSTEM = (
    "/proc", "/sys", "/dev", "/etc", "/run", "/bin", "/sbin", "/lib", "/lib64", "/usr/bin",
    "/usr/lib", "/usr/lib64", "/usr/libexec", "/usr/share", "/usr/include", "/usr/local/lib",
    "/usr/local/share", "/var/cache", "/var/run", "/private/etc", "/private/var/run",
    "/private/var/db", "/System", "/Library", "/nix/store", "/boot",
)  # fmt: skip
_OF_PREFIX = ("bin", "lib", "lib64", "share", "include", "etc", "conda-meta", "ssl")
_OF_HOME = (
    ".cache", ".config", ".local", ".ipython", ".jupyter", ".matplotlib", ".aws", ".azure", ".ssh",
    ".kube", ".docker", ".conda", ".nv", ".triton", ".gnupg", "Library",
)  # fmt: skip
_OF_HOME_ITSELF = frozenset({".netrc", ".pypirc", ".gitconfig", ".condarc", ".pgpass"})
_STORE = b"tasklineage store\n"
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_MOST = 50_000


class _Known:
    """Folders by whether what is in them counts."""

    folders: ClassVar[dict[str, bool]] = {"": True}
    excluded: ClassVar[tuple[str, ...]] = ()


def is_data_folder(folder: str) -> bool:
    """Whether files directly in a folder, given by its absolute path, can be project data."""
    known = _Known.folders.get(folder)
    if known is None:
        if len(_Known.folders) > _MOST:
            _Known.folders = {"": True}
        _Known.folders[folder] = known = _is_data_folder(folder)
    return known


def exclude(folder: str) -> None:
    """Let nothing below a folder, which is this package's own, be data of the project."""
    _Known.excluded += (os.path.abspath(folder), os.path.realpath(folder))
    _Known.folders = {"": True}


def is_data_file(path: str) -> bool:
    """Whether a file, given by its absolute path, can be project data."""
    folder, _, name = path.rpartition("/")
    if not is_data_folder(folder):
        return False
    return not (name in _OF_HOME_ITSELF and folder == config.home())


def source_of(path: str) -> str:
    """The source file that a compiled one in a `__pycache__` was made of; else the path itself."""
    folder, _, name = path.rpartition("/")
    if not folder.endswith("/__pycache__"):
        return path
    return f"{folder.removesuffix('__pycache__')}{name.partition('.')[0]}.py"


def is_loaded(path: str) -> bool:
    """Whether a file is the source of a module that is loaded, or was compiled from one."""
    if path.endswith((".pyc", ".pyo")) or path in sys.path:
        return True
    if not path.endswith((".py", ".pyw", ".so", ".pyd", ".ipynb")):
        return False
    for module in list(sys.modules.values()):
        file = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(file, str) and os.path.abspath(file) == path:
            return True
    return False


def _is_data_folder(folder: str) -> bool:
    parent, _, name = folder.rpartition("/")
    if name in _PARTS or not is_data_folder(parent):
        return False
    if folder in _foreign() or folder in _Known.excluded:
        return False
    return not _is_store(folder)


@cache
def _foreign() -> frozenset[str]:
    """The folders below which everything is of somebody else. Imports and opens nothing."""
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    home = config.home()
    found = [*_SYSTEM, _PACKAGE, os.path.dirname(os.__file__), *config.tool_folders()]
    found += [os.path.join(prefix, name) for prefix in prefixes for name in _OF_PREFIX]
    found += [os.path.join(home, name) for name in _OF_HOME if home]
    absolute = [os.path.abspath(path) for path in found if path]
    return frozenset(absolute + [os.path.realpath(path) for path in absolute]) - {"/", home}


def _is_store(folder: str) -> bool:
    try:
        descriptor = os.open(Unseen(f"{folder}/format"), os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return os.read(descriptor, len(_STORE)) == _STORE
    except OSError:
        return False
    finally:
        os.close(descriptor)
