"""What happens after an attempt of a call has failed: whether, and when, there is another one."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Any

from tasklineage.errors import ConfigError

LONGEST_WAIT = 86_400.0
"""Seconds; a growing wait grows no further."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often, after which errors and after how long a failed call is attempted again.

    >>> Retry(3, wait=1, backoff=2).delay(2)
    4.0

    Parameters
    ----------
    times
        Further attempts after the first one.
    wait
        Seconds before the second attempt.
    backoff
        The factor by which that grows from each attempt to the next.
    jitter
        Up to so many seconds are added at random, so that calls that failed together are not all
        attempted again at the same moment.
    on
        The exception class, or classes, after which there is another attempt.

    Raises
    ------
    ConfigError
        A number is negative or not finite, `times` is not whole, or `on` names something that is
        not a subclass of `Exception`: an interrupt is never retried.
    """

    times: int
    wait: float = 0.0
    backoff: float = 1.0
    jitter: float = 0.0
    on: type[Exception] | tuple[type[Exception], ...] = (Exception,)

    def __post_init__(self) -> None:
        if type(self.times) is not int or self.times < 0:
            raise ConfigError(f"Retry(times={self.times!r}): a whole number from 0 on is expected")
        for name in ("wait", "backoff", "jitter"):
            number = getattr(self, name)
            if not _is_number(number) or number < 0:
                raise ConfigError(f"Retry({name}={number!r}): a number from 0 on is expected")
        object.__setattr__(self, "on", exception_classes(self.on, "Retry(on=...)"))

    def should_retry(self, error: BaseException, attempt: int) -> bool:
        """Whether there is another attempt after `error` ended attempt `attempt` (from 0)."""
        return attempt < self.times and isinstance(error, self.on)

    def delay(self, attempt: int, random: float = 0.0) -> float:
        """Seconds between attempt `attempt` (from 0) and the next; `random` is from [0, 1)."""
        try:
            grown = self.wait * self.backoff**attempt
        except OverflowError:
            grown = LONGEST_WAIT
        return min(grown + self.jitter * random, LONGEST_WAIT)


def as_retry(retries: int | Retry | None) -> Retry:
    """The `Retry` that `@task(retries=...)` means: a number is that many further attempts."""
    if isinstance(retries, Retry):
        return retries
    if not retries and retries is not False:
        return NO_RETRY
    if type(retries) is not int:
        raise ConfigError(f"retries={retries!r}: a number of further attempts, or a tl.Retry")
    return Retry(retries)


def exception_classes(classes: Any, option: str) -> tuple[type[Exception], ...]:
    """The exception class, or the classes, given for `option`, as a tuple.

    Raises
    ------
    ConfigError
        Something among them is not a subclass of `Exception`.
    """
    members: tuple[Any, ...]
    members = classes if isinstance(classes, tuple) else (classes,)  # pyright: ignore[reportUnknownVariableType]
    for member in members:
        if not (isinstance(member, type) and issubclass(member, Exception)):
            raise ConfigError(f"{option}: {member!r} is not a subclass of Exception")
    return members


def pause(seconds: float, until: threading.Event | None = None) -> bool:
    """Wait so many seconds; True: the event `until` was set before."""
    if seconds <= 0:
        return until is not None and until.is_set()
    return (until or threading.Event()).wait(seconds)


async def pause_async(seconds: float) -> None:
    """The same without blocking the event loop; cancelled as any awaiting coroutine is."""
    import asyncio

    await asyncio.sleep(max(seconds, 0.0))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and math.isfinite(value)


NO_RETRY = Retry(0)
