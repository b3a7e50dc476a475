"""What would be a hit and what would execute, as it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from tasklineage.query.causes import Cause
from tasklineage.query.render import html_block, html_heading

HIT, EXECUTE, UNKNOWN = "hit", "execute", "unknown"
_ALIKE = 6
"""Calls of one task, one status and equal causes that are all shown; of more, how many."""


class PlannedCall(NamedTuple):
    """One call that would be made."""

    task: str
    status: str
    """`hit`, `execute`, or `unknown`: it depends on what a call would give that would execute."""
    causes: tuple[Cause, ...] = ()
    """Why it would execute, or is unknown."""
    children: tuple[PlannedCall, ...] = ()
    """The calls below it, as the nearest earlier execution made them, and those it takes results
    of. Those below a hit are not made."""
    previous: str | None = None
    """The id of the call whose result a hit would give, or that was the nearest earlier one."""

    def walk(self) -> Iterator[PlannedCall]:
        """It, and all calls below it."""
        yield self
        for child in self.children:
            yield from child.walk()

    def to_dict(self) -> dict[str, Any]:
        """What it says, for programs."""
        return {
            "task": self.task,
            "status": self.status,
            "previous": self.previous,
            "causes": [cause.to_dict() for cause in self.causes],
            "children": [child.to_dict() for child in self.children],
        }


class Plan:
    """What would be a hit and what would execute. True if anything might execute."""

    __slots__ = ("calls", "note")

    def __init__(self, calls: Iterable[PlannedCall], note: str = "") -> None:
        self.calls = tuple(calls)
        """The calls that plain code makes; those below them are their `.children`."""
        self.note = note
        """Where a dry run stopped, and why; empty for one that came to its end."""

    @property
    def hits(self) -> int:
        """How many calls would be hits; what lies below a hit is not made."""
        return self._count(HIT)

    @property
    def executes(self) -> int:
        """How many calls would execute, as far as that is known."""
        return self._count(EXECUTE)

    @property
    def unknown(self) -> int:
        """How many calls depend on the result of one that would execute."""
        return self._count(UNKNOWN)

    def _count(self, status: str) -> int:
        return sum(1 for top in self.calls for call in top.walk() if call.status == status)

    def __bool__(self) -> bool:
        return any(call.status != HIT for call in self.calls) or bool(self.note)

    def __repr__(self) -> str:
        return f"<Plan: {self.summary()}>"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def summary(self) -> str:
        """The counts, on one line."""
        return f"{self.executes:,} would execute, {self.hits:,} hits, {self.unknown:,} unknown"

    def lines(self) -> list[str]:
        """What it says, for people: a line a call, indented below the one that makes it."""
        lines = [self.summary(), *_lines(self.calls, "  ")]
        return [*lines, self.note] if self.note else lines

    def to_dict(self) -> dict[str, Any]:
        """What it says, for programs: fields may be added, never changed or removed."""
        return {
            "kind": "plan",
            "executes": self.executes,
            "hits": self.hits,
            "unknown": self.unknown,
            "note": self.note,
            "calls": [call.to_dict() for call in self.calls],
        }

    def _repr_html_(self) -> str:
        return html_heading("plan", self.summary()) + html_block("\n".join(self.lines()[1:]))


def _lines(calls: Iterable[PlannedCall], indent: str) -> Iterator[str]:
    """The calls, of many that say the same the first and how many more."""
    groups: dict[Any, list[PlannedCall]] = {}
    for call in calls:
        causes = tuple((cause.kind, cause.name) for cause in call.causes)
        groups.setdefault((call.task, call.status, causes), []).append(call)
    for group in groups.values():
        shown = group if len(group) <= _ALIKE else group[:1]
        for call in shown:
            many = f" ({len(group):,} calls)" if len(shown) < len(group) else ""
            yield f"{indent}{call.status:<7} {call.task}{many}{_told(call)}"
            if len(call.causes) > 1:
                yield from (f"{indent}          {cause.text}" for cause in call.causes)
            yield from _lines(call.children, f"{indent}  ")


def _told(call: PlannedCall) -> str:
    if not call.causes:
        return ""
    return f": {call.causes[0].text}" if len(call.causes) == 1 else f": {len(call.causes)} causes"
