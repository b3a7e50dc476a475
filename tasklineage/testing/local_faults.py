"""Faults of a local folder: the functions of `os` that touch it do what a plan says.

The store looks its functions up in `os` when it calls them. Here they are replaced, for the whole
process, while there is a folder with faults; what is not below such a folder goes straight through.
SQLite does not write through `os`: the catalog has no faults, and is only an index.
"""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from tasklineage.testing.descriptors import path_of
from tasklineage.testing.faults import Plan, exception

_WRITES = ("write", "pwrite", "writev", "pwritev")
_BY_DESCRIPTOR = {
    **dict.fromkeys(("read", "pread", "readv", "preadv"), "read"),
    **dict.fromkeys((*_WRITES, "ftruncate"), "write"),
    **dict.fromkeys(("fsync", "fdatasync"), "flush"),
}
_BY_PATH = {
    "open": "",  # by its flags
    **dict.fromkeys(("mkdir", "truncate"), "write"),
    **dict.fromkeys(("unlink", "remove", "rmdir"), "delete"),
    **dict.fromkeys(("listdir", "scandir"), "list"),
}
_BY_TARGET = {"rename": "write", "replace": "write", "link": "create"}
_NAMES = (*_BY_DESCRIPTOR, *_BY_PATH, *_BY_TARGET)


class Faulty:
    """A folder whose operations follow a plan, between `begin` and `end`."""

    def __init__(self, folder: str, plan: Plan) -> None:
        self._folder = os.path.realpath(folder)
        self._plan = plan

    def begin(self) -> None:
        """From now on."""
        _Replaced.add(self)

    def end(self) -> None:
        """No longer."""
        _Replaced.remove(self)

    def key(self, path: str | None) -> str | None:
        """The path inside the folder; None for what is not below it."""
        if path is None or not path.startswith(self._folder + os.sep):
            return None
        return path[len(self._folder) + 1 :]

    def perform(self, operation: str, key: str, do: _Do) -> Any:
        """Carry out the operation as the plan has it."""
        for fault in self._plan.draw(operation, key):
            if fault.kind == "slow":
                time.sleep(fault.seconds)
            elif fault.kind == "short":
                return do.part(self._plan) if do.is_write else do.whole()
            else:
                if fault.kind == "lost":
                    do.whole()
                elif fault.kind in ("torn", "kill"):
                    do.part(self._plan)
                if fault.kind == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise exception(fault)
        return do.whole()


class _Do:
    """One operation, to be done whole or in part."""

    def __init__(
        self, name: str, real: Callable[..., Any], args: Sequence[Any], options: dict[str, Any]
    ) -> None:
        self._name, self._real = name, real
        self._args, self._options = args, options

    @property
    def is_write(self) -> bool:
        """Whether a part of it can be done."""
        return self._name in _WRITES

    def whole(self) -> Any:
        """Do it."""
        return self._real(*self._args, **self._options)

    def part(self, plan: Plan) -> Any:
        """Do a part of a write; of anything else, nothing."""
        if not self.is_write:
            return None
        fd, data, *where = self._args
        pieces = data if self._name.endswith("v") else [data]
        content = b"".join(bytes(memoryview(piece).cast("B")) for piece in pieces)
        if len(content) < 2:
            return self.whole()
        piece = content[: plan.part(len(content))]
        return self._real(fd, [piece] if self._name.endswith("v") else piece, *where)


class _Replaced:
    """The functions of `os`, replaced while there is a faulty folder."""

    mutex = threading.Lock()
    real: ClassVar[dict[str, Callable[..., Any]]] = {}
    folders: tuple[Faulty, ...] = ()

    @classmethod
    def add(cls, folder: Faulty) -> None:
        with cls.mutex:
            if not cls.folders:
                for name in _NAMES:
                    if hasattr(os, name):
                        cls.real[name] = getattr(os, name)
                        setattr(os, name, _replacement(name, cls.real[name]))
            cls.folders = (folder, *cls.folders)

    @classmethod
    def remove(cls, folder: Faulty) -> None:
        with cls.mutex:
            cls.folders = tuple(other for other in cls.folders if other is not folder)
            if not cls.folders:
                for name, function in cls.real.items():
                    setattr(os, name, function)
                cls.real.clear()


def _replacement(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(real)
    def operation(*args: Any, **options: Any) -> Any:
        path = _path(name, args, options)
        for folder in _Replaced.folders:
            key = folder.key(path)
            if key is not None:
                kind = _kind(name, args)
                return folder.perform(kind, key, _Do(name, real, args, options))
        return real(*args, **options)

    return operation


def _path(name: str, args: Sequence[Any], options: dict[str, Any]) -> str | None:
    """The absolute path that an operation is about; None where there is none to be known."""
    if name in _BY_DESCRIPTOR:
        return path_of(args[0]) if args else None
    if any(options.get(one) is not None for one in ("dir_fd", "src_dir_fd", "dst_dir_fd")):
        return None
    place = 1 if name in _BY_TARGET else 0
    if len(args) <= place:
        return None
    if isinstance(args[place], int):
        return path_of(args[place])
    return os.path.abspath(os.fsdecode(args[place]))


def _kind(name: str, args: Sequence[Any]) -> str:
    if name == "open":
        flags = args[1] if len(args) > 1 else os.O_RDONLY
        return "write" if flags & (os.O_CREAT | os.O_TRUNC) else "read"
    return _BY_DESCRIPTOR.get(name) or _BY_PATH.get(name) or _BY_TARGET[name]
