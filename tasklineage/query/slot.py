"""What queries offer and only the engine can do: `core` fills this in when it is imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar


class Slot:
    """The one place where queries reach the engine, which they may not import."""

    rerun: ClassVar[Callable[..., Any]]
    """`rerun(call, record, overrides)`: see `Call.rerun`."""
    await_environment: ClassVar[Callable[[bytes], None]] = lambda run: None
    """Wait until the environment of a run that goes on in this process is recorded. Without the
    engine there is no such run."""
