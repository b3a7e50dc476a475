"""Refs that go to another store: there they move forward, never back and never aside.

A ref moves where there is none of its name yet, and where it points to what ours pointed to before:
then ours is what came after. If each has pointed to what the other does now, the later one holds.
Where it points to something else, or was deleted, somebody has done that there, and both may be
right: it stays, and that is told. (Git's `push` does so with branches.)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tasklineage.errors import RefMoved
from tasklineage.storage.refs import ARTIFACT, Refs, Target, Version


class Conflict(NamedTuple):
    """A ref that is not moved."""

    ours: Version
    theirs: Version
    """The newest version there."""


class Moves(NamedTuple):
    """What becomes of some refs."""

    moved: tuple[Version, ...] = ()
    conflicts: tuple[Conflict, ...] = ()


def plan(wanted: Iterable[Version], source: Refs, target: Refs | None) -> Moves:
    """What is to become of these refs of `source` at the target; None: there is nothing yet."""
    moved: list[Version] = []
    conflicts: list[Conflict] = []
    for ours in wanted:
        theirs = None if target is None else target.newest(ours.name)
        if theirs is None or target is None:
            moved.append(ours)
        elif _points_to(ours) == _points_to(theirs):
            continue
        elif _comes_after(ours, theirs, source, target):
            moved.append(ours)
        elif not _comes_after(theirs, ours, target, source):
            conflicts.append(Conflict(ours, theirs))
    return Moves(tuple(moved), tuple(conflicts))


def carry_out(planned: Moves, source: Refs, target: Refs) -> Moves:
    """What has become of them: what somebody else moves at this moment is left to them.

    Raises
    ------
    StoreError
        The target cannot be written, or is of a kind that cannot keep refs.
    """
    moved: list[Version] = []
    conflicts = list(planned.conflicts)
    for ours in planned.moved:
        check = _Check(ours, source, target)
        try:
            target.move(ours.name, _target(ours), message=ours.message, check=check)
            moved.append(ours)
        except RefMoved:
            conflicts += plan([ours], source, target).conflicts
    return Moves(tuple(moved), tuple(conflicts))


class _Check:
    """Lets a ref be moved only where that is forward."""

    def __init__(self, ours: Version, source: Refs, target: Refs) -> None:
        self._ours = ours
        self._sides = source, target

    def __call__(self, theirs: Version | None) -> None:
        ours = self._ours
        if theirs is not None and not _comes_after(ours, theirs, *self._sides):
            raise RefMoved(f"the ref {ours.name!r} was moved meanwhile", name=ours.name)


def _comes_after(later: Version, earlier: Version, here: Refs, there: Refs) -> bool:
    """Whether `later`, of `here`, is what became of a ref that was as `earlier`, of `there`."""
    if not later.is_there or not earlier.is_there or not _has_been(here, earlier):
        return False
    return later.at > earlier.at or not _has_been(there, later)


def _has_been(refs: Refs, version: Version) -> bool:
    """Whether the ref has ever pointed to what this version does."""
    return any(_points_to(one) == _points_to(version) for one in refs.history(version.name))


def _points_to(version: Version) -> tuple[str, bytes]:
    return version.kind, version.target


def _target(version: Version) -> Target:
    value = version.ref if version.kind == ARTIFACT else None
    return Target(version.kind, version.target, value)
