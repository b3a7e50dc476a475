"""`diff`: what differs between two runs, two calls or two values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tasklineage.errors import ConfigError
from tasklineage.query.artifacts import Artifact
from tasklineage.query.calls import Call
from tasklineage.query.comparing import (
    ADDED,
    CHANGED,
    REMOVED,
    SAME,
    Difference,
    Found,
    compared_calls,
    compared_runs,
    compared_values,
)
from tasklineage.query.render import html_folded, html_heading, html_table, html_text, one_line
from tasklineage.query.runs import Run
from tasklineage.query.tagging import Item, item_of

_SIGNS = {ADDED: "+", REMOVED: "-", CHANGED: "~"}


class Diff:
    """What differs between `a` and `b`, and what is the same. True when something differs."""

    __slots__ = ("_found", "a", "b")

    def __init__(self, a: Item, b: Item, found: Iterable[Found]) -> None:
        self.a = a
        self.b = b
        self._found = tuple(found)

    @property
    def added(self) -> tuple[Difference, ...]:
        """What only `b` has."""
        return self._of(ADDED)

    @property
    def removed(self) -> tuple[Difference, ...]:
        """What only `a` has."""
        return self._of(REMOVED)

    @property
    def changed(self) -> tuple[Difference, ...]:
        """What both have, and is not the same."""
        return self._of(CHANGED)

    @property
    def same(self) -> tuple[Difference, ...]:
        """What both have, and is the same."""
        return self._of(SAME)

    def __bool__(self) -> bool:
        return any(side != SAME for side, _ in self._found)

    def __repr__(self) -> str:
        return f"<Diff of {_kind(self.a)}s: {self._counts()}>"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """What it says, for people."""
        lines = [f"{_kind(self.a)} {_id(self.a)} and {_id(self.b)}: {self._counts()}"]
        for side, one in self._found:
            if side != SAME:
                lines.append(f"{_SIGNS[side]} {one_line(one.text, 400)}")
                told = [] if one.diff in one.text else one.diff.splitlines()
                lines += [f"    {line}" for line in told]
        return lines

    def to_dict(self) -> dict[str, Any]:
        """What it says, for programs: fields may be added, never changed or removed."""
        return {
            "kind": _kind(self.a),
            "a": _id(self.a),
            "b": _id(self.b),
            "differs": bool(self),
            **{side: [_as_dict(one) for one in self._of(side)] for side in _SIGNS},
            "same": len(self.same),
        }

    def _repr_html_(self) -> str:
        heading = html_heading(f"{_kind(self.a)}s {_id(self.a)} and {_id(self.b)}")
        rows = [
            {"": _SIGNS[side], "difference": one.text} for side, one in self._found if side != SAME
        ]
        folded = (html_folded(one.text, one.diff) for _, one in self._found if one.diff)
        return (
            heading
            + html_text(self._counts())
            + (html_table(rows) if rows else "")
            + "".join(folded)
        )

    def _of(self, side: str) -> tuple[Difference, ...]:
        return tuple(one for where, one in self._found if where == side)

    def _counts(self) -> str:
        if not self:
            return "nothing differs"
        sides = [*_SIGNS, SAME]
        return ", ".join(f"{len(self._of(side)):,} {side}" for side in sides if self._of(side))


def diff(a: Any, b: Any, /, *, store: Any = None) -> Diff:
    """What differs between two runs, two calls or two values.

    Of runs: how they ended, their parameters, interpreter, distributions and commit, and their
    calls. Calls are compared with those of the same key, else with those of the same task in the
    same place; below calls that differ, the calls that they made. Hits stand for what they answered
    with. Of calls: task, code, arguments, tracked extras, result and error. Of values: columns of
    tables, items of containers, else the value.

    Parameters
    ----------
    a, b
        Both runs, both calls, or both artifacts; or what stands for one: a ref, an id, a Future or
        a value in hand (for its artifact).

    Raises
    ------
    ConfigError
        They are not of one kind.
    NotFound, AmbiguousId
        There is no such thing, or an id begins several.

    Notes
    -----
    Values are read where that runs no code of users; of others digests and what was recorded of
    them are compared.

    Examples
    --------
    >>> import tasklineage as tl
    >>> @tl.task
    ... def scale(x: int, factor: int = 2) -> dict[str, int]:
    ...     return {"x": x, "scaled": x * factor}
    >>> one, other = scale(3), scale(3, factor=4)
    >>> diff(one, other).changed[0].text
    "['scaled']: 6 is now 12"
    >>> after, before = scale.calls()[:2]
    >>> [d.text for d in diff(before, after).changed]
    ['argument factor: 2 is now 4', "result: {'x': 3, 'scaled': 6} is now {'x': 3, 'scaled': 12}"]
    >>> bool(diff(before, before))
    False
    """
    one, other = item_of(a, store), item_of(b, store)
    if isinstance(one, Run) and isinstance(other, Run):
        return Diff(one, other, compared_runs(one, other))
    if isinstance(one, Call) and isinstance(other, Call):
        return Diff(one, other, compared_calls(one, other))
    if isinstance(one, Artifact) and isinstance(other, Artifact):
        return Diff(one, other, compared_values(one, other))
    raise ConfigError(
        f"diff compares two of one kind, and this is the kind of each: {_kind(one)}, "
        f"{_kind(other)}. Take the results (call.output) of both, or the calls"
    )


def _kind(item: Item) -> str:
    return type(item).__name__.lower()


def _id(item: Item) -> str:
    return item.digest if isinstance(item, Artifact) else item.id


def _as_dict(one: Difference) -> dict[str, Any]:
    return {**one._asdict(), "before": _side_id(one.before), "after": _side_id(one.after)}


def _side_id(item: Any) -> str | None:
    return None if item is None else _id(item)
