"""Whether a memo is good now: the conditions of its whole subtree, and how they are folded up."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from tasklineage.core import aliases, extras
from tasklineage.core.accesses import Accesses, inherit
from tasklineage.core.fold import Fold
from tasklineage.errors import CorruptObject, MissingObject
from tasklineage.key.digest import digest
from tasklineage.key.pins import State
from tasklineage.storage.records import CallEnd, Condition, Miss, encode_miss

if TYPE_CHECKING:
    from tasklineage.core.call import Call
    from tasklineage.core.run import RunState
    from tasklineage.core.task import Task
    from tasklineage.storage.store import Store

Member = tuple[str, bytes]

_FOR_ALL = frozenset({"expired", "refreshed"})
"""Why a memo does not answer if no older one does, either."""


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


def is_task(wanted: str) -> bool:
    """Whether this process has a task of that name, or one that ends with it."""
    return any(names_match(wanted, name) for name, tasks in _Live.tasks.items() if tasks)


def find(this: Call) -> CallEnd | None:
    """The memo that answers this call now, or None (HOT)."""
    if not this.task.settings.memo:
        return None
    memo: CallEnd | None = this.run.store.find_memo(this.code.digest, this.key)
    memo = None if memo is None else _checked(this, memo)
    if memo is not None or this.run.store.aliases.get(this.code.digest) == ():
        return memo
    return _find_under_aliases([this])[0]


def find_many(calls: Sequence[Call]) -> list[CallEnd | None]:
    """The memo of each of several calls of one task, looked up in one go."""
    if not calls or not calls[0].task.settings.memo:
        return [None] * len(calls)
    store = calls[0].run.store
    found = store.find_memos(calls[0].code.digest, [call.key for call in calls])
    memos = [
        None if memo is None else _checked(call, memo)
        for call, memo in zip(calls, found, strict=True)
    ]
    missed = [n for n, memo in enumerate(memos) if memo is None]
    if missed and store.aliases.get(calls[0].code.digest) != ():
        others = _find_under_aliases([calls[n] for n in missed])
        for n, memo in zip(missed, others, strict=True):
            memos[n] = memo
    return memos


def keys(this: Call) -> list[bytes]:
    """The key of the call, and what it would be under each alias of its code version."""
    others = aliases.aliases_of(this.run.store, this.task, this.code)
    return [this.key, *(this.key_under(alias.code) for alias in others)]


def refusal(this: Call, memo: CallEnd) -> Miss | None:
    """Why a memo of the call's key does not answer it; None if it does (HOT).

    It does if nothing has expired, every condition holds, and all code below is in force.
    """
    ttl = this.task.settings.ttl
    if ttl is not None and time.time() - memo.ended >= ttl:
        return Miss("expired", this.task.name, f"ttl {ttl:g} s")
    if memo.expires is not None and time.time() >= memo.expires:
        return Miss("expired", "", f"until {memo.expires!r}")
    if memo.conditions:
        broken = next((c for c in memo.conditions if not extras.holds(Condition(*c))), None)
        if broken is not None:
            return Miss(broken[0], broken[1], broken[2].hex())
    run = this.run
    store = run.store
    members: tuple[Member, ...] = ()
    if memo.versions is not None:
        members = store.versions(memo.versions)
        if not members:
            return Miss("missing", "", f"versions {memo.versions.hex()}")
        for name, code in members:
            if code and not _is_live(store, name, code):
                return Miss("version", name, code.hex())
    if not run.refresh:
        return None
    refreshed = _refreshed(run, memo, this.task.name, members)
    return None if refreshed is None else Miss("refreshed", refreshed)


def note_miss(this: Call, memo: CallEnd, miss: Miss) -> None:
    """Let the record of the call say why this memo did not answer it."""
    this.miss = encode_miss(miss._replace(memo=memo.id))


def unreadable(error: Exception) -> Miss:
    """Why the value of a memo could not be had."""
    kinds = {MissingObject: "missing", CorruptObject: "corrupt"}
    kind = next((k for t, k in kinds.items() if isinstance(error, t)), "undecodable")
    return Miss(kind, "", " ".join(str(error).split()))


def _checked(this: Call, memo: CallEnd) -> CallEnd | None:
    """The memo if it is good; else the call knows why not (HOT)."""
    miss = refusal(this, memo)
    if miss is None:
        return memo
    if miss[0] not in _FOR_ALL:  # an edit that was taken back
        for older in this.run.store.older_memos(memo.key):
            if refusal(this, older) is None:
                return older
    if memo.key == this.key or not this.miss:  # not of an alias
        note_miss(this, memo, miss)
    return None


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
    if memo.code != this.code.digest:  # for as long as the one stands for the other
        members = (*members, (this.task.name, memo.code))
    own = _own_end(this, memo.ended)
    conditions = (*this.salt, *(Condition(*c) for c in memo.conditions))
    fold.add(
        this.task.name,
        digest(this.task),
        members=members,
        conditions=_passed_on(fold, this, conditions, None),
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
        conditions=_passed_on(parent, this, (*this.salt, *own.conditions), own.accesses),
        ends=(own.expires, _own_end(this, ended)),
        volatile=volatile,
    )


def _passed_on(
    parent: Fold, this: Call, conditions: tuple[Condition, ...], accesses: Accesses | None
) -> Sequence[Condition]:
    """The conditions that a parent has because of a call, which did this to files."""
    if State.in_use:
        from tasklineage.core.reads import of_arguments  # there are Files

        conditions += of_arguments(this)
    if not conditions and accesses is None:
        return conditions
    return inherit(parent, conditions, accesses)


def names_match(wanted: str, name: str) -> bool:
    """Whether a task is meant: by its full name or its last part."""
    return wanted == name or name.endswith("." + wanted)


def _own_end(this: Call, ended: float) -> float | None:
    ttl = this.task.settings.ttl
    return None if ttl is None else ended + ttl


def _find_under_aliases(calls: Sequence[Call]) -> list[CallEnd | None]:
    """The memo of each of several calls of one task under another code version."""
    found: list[CallEnd | None] = [None] * len(calls)
    store, first = calls[0].run.store, calls[0]
    for alias in aliases.aliases_of(store, first.task, first.code):
        missed = [n for n, memo in enumerate(found) if memo is None]
        there = store.find_memos(alias.code, [calls[n].key_under(alias.code) for n in missed])
        for n, memo in zip(missed, there, strict=True):
            if memo is not None and _has_parameters(first, memo):
                found[n] = _checked(calls[n], memo)
    return found


def _has_parameters(this: Call, memo: CallEnd) -> bool:
    """Whether what stood in the key at some place was the same parameter."""
    return tuple(argument[0] for argument in memo.arguments) == this.plan.names


def _is_live(store: Store, name: str, code: bytes) -> bool:
    tasks = list(_Live.tasks.get(name, ()))
    if any(digest(task) == code for task in tasks):
        return True
    return any(aliases.is_alias(store, task, code) for task in tasks)


def _refreshed(run: RunState, memo: CallEnd, task: str, members: tuple[Member, ...]) -> str | None:
    """The task, this memo's or one below it, that the run executes again; None: there is none."""
    if memo.started >= run.refresh_since:
        return None
    if isinstance(run.refresh, bool):
        return task
    names = (task, *(name for name, _ in members))
    return next((n for n in names for wanted in run.refresh if names_match(wanted, n)), None)
