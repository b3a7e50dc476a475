"""What the key needs to know of a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class TaskLike:
    """A function whose calls are remembered. `core.task.Task` derives from it.

    For a code version it counts by its function and the functions in `key`, or, where `version`
    is given, by name and version alone. Its other options do not count.
    """

    name: str
    version: str | None = None
    key: Mapping[str, Callable[[Any], Any]] = {}
    ignore: tuple[str, ...] = ()
    track: tuple[Any, ...] = ()
    __wrapped__: Callable[..., Any]

    _closure: Any = None
    """The closure in force, for `code_version`."""
