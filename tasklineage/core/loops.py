"""Coroutines where there is no event loop, and blocking work where there is one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Here(threading.local):
    runner: Any = None


_here = _Here()


def run_coroutine(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, run in a loop of this thread, which is kept for the next."""
    import asyncio

    if _here.runner is None:
        _here.runner = asyncio.Runner()
    runner: asyncio.Runner = _here.runner
    return runner.run(coroutine)


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """The result of a blocking function, run in another thread in this context."""
    import asyncio

    return await asyncio.to_thread(function, *args)
