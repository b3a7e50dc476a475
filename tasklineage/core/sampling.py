"""Which hits of a run are executed again to verify what their memos answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasklineage.errors import ConfigError

if TYPE_CHECKING:
    from tasklineage.core.call import Call


def verification(share: float) -> Sample | None:
    """What a run that verifies this share of its hits asks at each; None: it verifies none."""
    return Sample(share) if share else None


def checked_share(share: Any) -> float:
    """The share as a number from 0 to 1.

    Raises
    ------
    ConfigError
        It is something else.
    """
    if not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ConfigError(
            f"verify= is the share of the hits to execute again, from 0 to 1, not {share!r}"
        )
    return float(share)


class Sample:
    """Each hit is in it with the same probability. Safe to use from many threads.

    Chance comes from a generator of its own: those of the program are not touched.
    """

    __slots__ = ("_random", "share")

    def __init__(self, share: float) -> None:
        from random import Random  # slow to import, rarely needed

        self.share = share
        self._random = Random()

    def check(self, this: Call, value: Any) -> None:
        """Execute the call again, if it is in the sample, and record how the results compare.

        `value` is what the memo answered; nobody else has seen it yet.
        """
        if self._has_next():
            from tasklineage.core.verification import verify

            verify(this, value)

    async def check_async(self, this: Call, value: Any) -> None:
        """As `check`, for an `async def` task, on the caller's loop."""
        if self._has_next():
            from tasklineage.core.verification import verify_async

            await verify_async(this, value)

    def _has_next(self) -> bool:
        return self._random.random() < self.share
