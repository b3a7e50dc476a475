"""Whether a memo is good now: the conditions of its whole subtree, and how they are folded up."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from tasklineage.core import extras
from tasklineage.core.fold import Fold
from tasklineage.key.digest import digest
from tasklineage.storage.records import CallEnd, Condition

if TYPE_CHECKING:
    from tasklineage.core.call import Call
    from tasklineage.core.run import RunState
    from tasklineage.core.task import Task

Member = tuple[str, bytes]


class _Live:
    """The tasks of this process by name; a name may have several."""

    tasks: ClassVar[dict[str, weakref.WeakSet[Task[Any, Any]]]] = {}


def register(task: Task[Any, Any]) -> None:
    """Make a task known by its name.

    A function of a module that is defined again takes the place of the old one, which somebody may
    still hold; of those made inside functions, several of one name may be in use.
    """
    if "<locals>" not in task.__wrapped__.__qualname__:
        _Live.tasks.pop(task.name, None)
    _Live.tasks.setdefault(task.name, weakref.WeakSet()).add(task)


def living(name: str) -> list[Task[Any, Any]]:
    """The tasks of this process that have that name."""
    return list(_Live.tasks.get(name, ()))


def find(this: Call) -> CallEnd | None:
    """The memo that answers this call now, or None (HOT)."""
    if not this.task.settings.memo:
        return None
    memo: CallEnd | None = this.run.store.find_memo(this.code.digest, this.key)
    return memo if memo is not None and is_good(this, memo) else None


def find_many(calls: Sequence[Call]) -> list[CallEnd | None]:
    """The memo of each of several calls of one task, looked up in one go."""
    if not calls or not calls[0].task.settings.memo:
        return [None] * len(calls)
    store = calls[0].run.store
    found = store.find_memos(calls[0].code.digest, [call.key for call in calls])
    return [
        memo if memo is not None and is_good(call, memo) else None
        for call, memo in zip(calls, found, strict=True)
    ]


def is_good(this: Call, memo: CallEnd) -> bool:
    """Whether nothing has expired, every condition holds, and all code below is in force."""
    ttl = this.task.settings.ttl
    if ttl is not None and time.time() - memo.ended >= ttl:
        return False
    if memo.expires is not None and time.time() >= memo.expires:
        return False
    if memo.conditions and not all(extras.holds(Condition(*c)) for c in memo.conditions):
        return False
    run = this.run
    if memo.versions is None:
        return not run.refresh or not _is_refreshed(run, memo, this.task.name, ())
    members: tuple[Member, ...] = run.store.versions(memo.versions)
    if not members or not all(_is_live(name, code) for name, code in members if code):
        return False
    return not run.refresh or not _is_refreshed(run, memo, this.task.name, members)


def own_members(this: Call, fold: Fold) -> tuple[Member, ...]:
    """Every (task, code version) below, as the record keeps it.

    Where the static closure of the call's own code says the version already, and for tasks that
    are defined inside a function of that closure, the name is kept and the version left out.
    """
    if not fold.members:
        return ()
    static = {digest(child) for child in this.code.children}
    nested = this.code.nested
    return tuple(sorted({(n, b"" if c in static or n in nested else c) for n, c in fold.members}))


def fold_memo(fold: Fold, this: Call, memo: CallEnd) -> None:
    """Fold a hit into its parent."""
    members = this.run.store.versions(memo.versions) if memo.versions is not None else ()
    own = _own_end(this, memo.ended)
    fold.add(
        this.task.name,
        digest(this.task),
        members=members,
        conditions=(*this.salt, *(Condition(*c) for c in memo.conditions)),
        ends=(memo.expires, own),
    )


def fold_execution(
    parent: Fold, this: Call, own: Fold, members: Iterable[Member], volatile: str, ended: float
) -> None:
    """Fold a call that has executed into its parent."""
    task = this.task
    if this.status != "done":
        volatile = f"{task.name}: {this.status}"
    elif not task.settings.memo:
        volatile = f"{task.name}: memo=False"
    parent.add(
        task.name,
        digest(this.task),
        members=members,
        conditions=(*this.salt, *own.conditions),
        ends=(own.expires, _own_end(this, ended)),
        volatile=volatile,
    )


def names_match(wanted: str, name: str) -> bool:
    """Whether a task is meant: by its full name or its last part."""
    return wanted == name or name.endswith("." + wanted)


def _own_end(this: Call, ended: float) -> float | None:
    ttl = this.task.settings.ttl
    return None if ttl is None else ended + ttl


def _is_live(name: str, code: bytes) -> bool:
    tasks = _Live.tasks.get(name)
    return tasks is not None and any(digest(task) == code for task in list(tasks))


def _is_refreshed(run: RunState, memo: CallEnd, task: str, members: tuple[Member, ...]) -> bool:
    """Whether the run executes this memo's task, or one below it, again."""
    if memo.started >= run.refresh_since:
        return False
    if isinstance(run.refresh, bool):
        return run.refresh
    names = {task, *(name for name, _ in members)}
    return any(names_match(wanted, name) for wanted in run.refresh for name in names)
