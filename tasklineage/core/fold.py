"""What a call's memo depends on beyond its own key: the conditions of its whole subtree.

A memo answers for everything that executed below it, so whatever a child depends on is folded into
its parent: when the earliest memo below ends, which tracked extras were read, which tasks took
part with which code, and whether something below can never be a memo.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tasklineage.storage.records import Condition

if TYPE_CHECKING:
    from tasklineage.core.accesses import Accesses


class Fold:
    """The sum over the children of one attempt. Children may add to it from several threads.

    Every change is one operation on a set or dict, or an assignment whose loser says the same or
    less, except `expires`, whose minimum is taken over a list at the end.
    """

    __slots__ = ("_ends", "accesses", "conditions", "members", "volatile")

    def __init__(self) -> None:
        self.members: set[tuple[str, bytes]] = set()
        """(task, code version) of every call below; the version is empty where the code version
        of this call says it already."""
        self.conditions: set[Condition] = set()
        self.volatile = ""
        self.accesses: Accesses | None = None
        """What was done to files; None: nothing."""
        self._ends: list[float] = []

    @property
    def expires(self) -> float | None:
        """When the earliest memo below ends; None: never."""
        return min(self._ends) if self._ends else None

    def begun_again(self) -> Fold:
        """The sum for the next attempt: what the last one wrote to files, it finds there."""
        new = Fold()
        new.accesses = self.accesses
        return new

    def take(
        self, conditions: Iterable[Condition], ends: Iterable[float | None], volatile: str
    ) -> None:
        """Add what was folded elsewhere."""
        self.conditions.update(conditions)
        self._ends.extend(end for end in ends if end is not None)
        if volatile and not self.volatile:
            self.volatile = volatile

    def add(
        self,
        task: str,
        code: bytes,
        *,
        members: Iterable[tuple[str, bytes]] = (),
        conditions: Iterable[Condition] = (),
        ends: Iterable[float | None] = (),
        volatile: str = "",
    ) -> None:
        """Add one child: its task with its code version, and what was folded into it."""
        self.members.add((task, code))
        if members:
            self.members.update(members)
        if conditions:
            self.conditions.update(conditions)
        for end in ends:
            if end is not None:
                self._ends.append(end)
        if volatile and not self.volatile:
            self.volatile = volatile
