"""Where this process stands: the user's own, or a worker of another."""

from __future__ import annotations

import os
from contextvars import ContextVar
from typing import Any, ClassVar


class Here:
    """What is known of this process."""

    token: ClassVar[str] = os.urandom(16).hex()
    """What tells it from all others."""
    is_worker: ClassVar[bool] = False
    is_copy: ClassVar[bool] = False
    """Whether it was forked from a worker by the body of a call."""
    dask_worker: ClassVar[Any] = None
    """The Dask worker that this process is, if it is one."""


around: ContextVar[Any] = ContextVar("tasklineage_around", default=None)
"""The executor that the work in this context is spread over by default; None: as configured."""
cluster: ContextVar[str | None] = ContextVar("tasklineage_cluster", default=None)
"""The scheduler of the Dask cluster that runs the work in this context, if one does."""


def _after_fork() -> None:
    Here.token = os.urandom(16).hex()


os.register_at_fork(after_in_child=_after_fork)
