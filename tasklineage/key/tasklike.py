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
    __wrapped__: Callable[..., Any]

    closure: Any = None
    closure_as_value: Any = None
    """The closures in force, for `code_version`: of a call of it, and where it is an argument."""

    @property
    def version(self) -> str | None:
        """What stands in for the code, if anything does."""
        return None

    @property
    def key(self) -> Mapping[str, Callable[[Any], Any]]:
        """What of an argument counts, by parameter."""
        return {}

    @property
    def ignore(self) -> tuple[str, ...]:
        """Parameters that do not count."""
        return ()

    @property
    def track(self) -> tuple[Any, ...]:
        """Extra things whose content counts."""
        return ()

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: closures belong to the process."""
        state = dict(self.__dict__)
        state.pop("closure", None)
        state.pop("closure_as_value", None)
        return state
