"""Coroutines where there is no event loop, and blocking work where there is one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, TypeVar

T = TypeVar("T")


class _Here(threading.local):
    runner: Any = None


_here = _Here()


def run_coroutine(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, run in this context in a loop of this thread, which is kept.

    Where a loop is running in this thread already, that of another thread is used meanwhile.
    """
    import asyncio

    if asyncio._get_running_loop() is not None:
        return _run_elsewhere(coroutine)
    if _here.runner is None:
        _here.runner = asyncio.Runner()
    runner: asyncio.Runner = _here.runner
    return runner.run(coroutine, context=copy_context())


def _run_elsewhere(coroutine: Coroutine[Any, Any, T]) -> T:
    import asyncio

    context, outcome = copy_context(), list[Any]()

    def run() -> None:
        try:
            with asyncio.Runner() as runner:
                outcome.append((runner.run(coroutine, context=context), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, name="tasklineage-loop", daemon=True)
    thread.start()
    thread.join()
    value, error = outcome[0]
    if error is not None:
        raise error
    result: T = value
    return result


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """The result of a blocking function, run in another thread in this context.

    A worker of an executor whose coroutine waits here lends its slot meanwhile.
    """
    import asyncio

    from tasklineage.executors.base import Blocked

    async with Blocked():
        return await asyncio.to_thread(function, *args)
