"""Every error that tasklineage raises on purpose.

    TasklineageError
    ├── ConfigError              (ValueError)    an option or a decoration that cannot work
    ├── UnhashableArgument       (TypeError)     an argument has no digest
    │   └── UnreadableFile       (OSError)       a File or Dir is not what can be read
    │       └── MissingFile      (FileNotFoundError)  there is none
    ├── UnstorableResult                         a result could not be stored; carries `.value`
    ├── UntrackedRead                            a file was read by its path; carries `.value`
    ├── UnsafeFormat                             decoding would need pickle, which the store forbids
    ├── StoreError               (OSError)       the store cannot do what was asked
    │   ├── StoreNotFound                        no store there
    │   ├── StoreBusy                            somebody else holds what is needed
    │   ├── StoreReadOnly                        the store cannot be written
    │   ├── StoreUnavailable                     it cannot be reached, or refuses, for the moment
    │   └── RefMoved                             a ref does not point to what was expected
    ├── CorruptObject                            stored bytes are not what they were
    ├── MissingObject            (KeyError)      a stored object is not there
    ├── NotFound                 (KeyError)      no run, call, artifact or ref of that name
    ├── AmbiguousId              (KeyError)      an id prefix fits more than one
    ├── MergeConflict            (ValueError)    merge found different values under one name
    ├── LengthMismatch           (ValueError)    the iterables of a map differ in length
    ├── TooManyItems             (ValueError)    a map has more elements than `max_items`
    ├── TaskTimeout              (TimeoutError)  a call took longer than its `timeout`
    ├── WorkerLost                               a worker died while it executed a call
    │   └── SchedulerLost                        the scheduler of a cluster is gone
    └── UnsatisfiableResources   (ValueError)    nobody offers the resources a task asks for

A task's own exception is never wrapped: it reaches the caller as it was raised.
"""

from __future__ import annotations

from typing import Any


class TasklineageError(Exception):
    """The root of all errors of this package.

    Keyword arguments become attributes; they travel with the error when it is pickled.
    """

    def __init__(self, message: str = "", **data: Any) -> None:
        super().__init__(message)
        self.message = message
        self.data = data
        for name, value in data.items():
            setattr(self, name, value)

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.data), self.__dict__)


class ConfigError(TasklineageError, ValueError):
    """An option, a setting or a decoration cannot work."""


class UnhashableArgument(TasklineageError, TypeError):
    """An argument has no digest. Attributes: `path`, where in the arguments it was found."""

    path: str


class UnreadableFile(UnhashableArgument, OSError):
    """A `tl.File` or `tl.Dir` is not there, is something else, or changes while it is read.

    Attributes: `path`, where in the arguments it was found; `file`, its place on the disk.
    """

    file: str

    def at(self, path: str) -> UnreadableFile:
        """The same error that says where in the arguments the file stands."""
        problem = self.data.get("problem", self.message)
        return type(self)(f"{path}: {problem}", **{**self.data, "path": path, "problem": problem})


class MissingFile(UnreadableFile, FileNotFoundError):
    """There is no file, or no folder, where a `tl.File` or `tl.Dir` says."""


class UnstorableResult(TasklineageError):
    """A result could not be stored. Attributes: `value`, the finished work; `path` inside it."""

    value: Any
    path: str


class UntrackedRead(TasklineageError):
    """A body has read a file by its path, and `configure(reads="error")` forbids it.

    Attributes: `file`, its path; `value`, the finished work.
    """

    file: str
    value: Any


class UnsafeFormat(TasklineageError):
    """Decoding would execute code from the store, which this store was opened to forbid."""


class StoreError(TasklineageError, OSError):
    """The store cannot do what was asked.

    Attributes: `errno` where the system gave one; `value` where a finished result was at stake.
    """

    value: Any


class StoreNotFound(StoreError):
    """There is no store at that place."""


class StoreBusy(StoreError):
    """Another process holds what is needed."""


class StoreReadOnly(StoreError):
    """The store cannot be written."""


class StoreUnavailable(StoreError):
    """The store cannot be reached, or refuses just now: the same may succeed later.

    Attributes: `is_reached`, whether anybody answered at all.
    """

    is_reached: bool = True


class RefMoved(StoreError):
    """A ref does not point to what was expected. Attributes: its `name`, its newest `number`."""

    name: str
    number: int


class CorruptObject(TasklineageError):
    """Stored bytes are not what was written."""


class MissingObject(TasklineageError, KeyError):
    """A stored object is not there."""


class NotFound(TasklineageError, KeyError):
    """No run, call, artifact or ref answers to that name."""


class AmbiguousId(TasklineageError, KeyError):
    """An id prefix fits more than one thing. Attributes: `candidates`, their ids."""

    candidates: tuple[str, ...]


class MergeConflict(TasklineageError, ValueError):
    """`merge` found different values under one name. Attributes: `names`."""

    names: tuple[str, ...]


class LengthMismatch(TasklineageError, ValueError):
    """The iterables of a map differ in length."""


class TooManyItems(TasklineageError, ValueError):
    """A map has more elements than its `max_items`."""


class TaskTimeout(TasklineageError, TimeoutError):
    """A call took longer than the `timeout` of its task."""


class WorkerLost(TasklineageError):
    """A worker died while it executed a call."""


class SchedulerLost(WorkerLost):
    """The scheduler of a cluster is gone, and with it all that was in flight."""


class UnsatisfiableResources(TasklineageError, ValueError):
    """Nobody offers the resources that a task asks for."""


def _rebuild(kind: type[TasklineageError], message: str, data: dict[str, Any]) -> TasklineageError:
    return kind(message, **data)
