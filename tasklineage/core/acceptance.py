"""Accepting memos of the previous code version: who decides it, for what, and until when.

An acceptance is a record: a pair of code versions of which one's memos answer for the other. It is
made by hand, once for an edit, and holds until it is revoked.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tasklineage import config
from tasklineage.core import aliases
from tasklineage.core.frame import current
from tasklineage.errors import ConfigError, CorruptObject, MissingObject, NotFound, StoreReadOnly
from tasklineage.key.code_version import CodeVersion, code_version
from tasklineage.query.acceptances import Acceptance, acceptance_of
from tasklineage.query.ids import digest_text
from tasklineage.storage.opening import as_store
from tasklineage.storage.records import Accept, CallEnd, RunBegin
from tasklineage.storage.store import Store

if TYPE_CHECKING:
    from tasklineage.core.task import Task

_MAIN = "__main__"


def accept(task: Task[Any, Any], *, revoke: bool, store: Any) -> Acceptance:
    """The decision that memos of the task's previous code version stay good for the present one.

    See `Task.accept`.
    """
    here = _store(store)
    if here.read_only:
        raise StoreReadOnly(f"the store at {here.url} cannot be written: nothing can be accepted")
    here.catch_up()
    present = code_version(task)
    code = present.digest
    in_force = here.kin().accepted().get(code, ())
    if revoke:
        if not in_force:
            raise NotFound(f"nothing was accepted for the present code of {task.name}")
        return _decide(here, task, code, in_force, revoked=True)
    previous = _previous(here, task, present)
    if previous.code in in_force:
        return next(
            acceptance_of(one)
            for one in reversed(here.kin().accepts())
            if one.code == code and previous.code in one.accepted
        )
    _check_parameters(task, previous)
    return _decide(here, task, code, (previous.code,), revoked=False)


def _store(store: Any) -> Store:
    """The store that was named, else that of the run that is open, else the default one."""
    frame = current.get()
    if store is None and frame is not None:
        return frame.run.store
    return as_store(store)


def _decide(
    store: Store, task: Task[Any, Any], code: bytes, codes: tuple[bytes, ...], *, revoked: bool
) -> Acceptance:
    last = max((one.at for one in store.kin().accepts() if one.code == code), default=0.0)
    at = max(time.time(), math.nextafter(last, math.inf))
    record = Accept(task.name, code, codes, at, config.user(), revoked)
    store.append(record)
    return acceptance_of(record)


def _previous(store: Store, task: Task[Any, Any], code: CodeVersion) -> CallEnd:
    """The last call that is a memo of this task under another code version.

    Raises
    ------
    NotFound
        There is none.
    """
    for call in _memos(store, task):
        if not aliases.is_same(store, code, call.code):
            return call
    raise NotFound(
        f"no call of {task.name} under another code version is a memo in {store.url}: there is "
        "nothing to accept"
    )


def _memos(store: Store, task: Task[Any, Any]) -> Iterator[CallEnd]:
    """The last memo under each code version of the task, the newest first."""
    rows = [
        (ended, location, is_main)
        for name, is_main in _names(task)
        for _, ended, location in store.catalog.memo_codes(name)
    ]
    for _, location, is_main in sorted(rows, key=lambda row: row[0], reverse=True):
        try:
            call = store.journal.read(location)
        except (CorruptObject, MissingObject, OSError):
            continue
        if isinstance(call, CallEnd) and (not is_main or _is_of_script(store, task, call)):
            yield call


def _names(task: Task[Any, Any]) -> list[tuple[str, bool]]:
    """The names under which its calls are recorded; whether those of other scripts may be too.

    What a script calls `__main__.train` is `script.train` where the script is imported.
    """
    function: Any = task.__wrapped__
    path = function.__qualname__
    if task.name == f"{_MAIN}.{path}":
        stem = os.path.splitext(os.path.basename(function.__code__.co_filename))[0]
        return [(task.name, True), (f"{stem}.{path}", False)]
    if task.name == f"{function.__module__}.{path}":
        return [(task.name, False), (f"{_MAIN}.{path}", True)]
    return [(task.name, False)]


def _is_of_script(store: Store, task: Task[Any, Any], call: CallEnd) -> bool:
    """Whether a call of a task in `__main__` was made by the script that this task is in."""
    function: Any = task.__wrapped__
    files = {os.path.basename(function.__code__.co_filename)}
    if function.__module__ == _MAIN:
        files.add(os.path.basename(sys.argv[0]))
    runs = store.catalog.find_runs(prefix=call.run.hex(), limit=1, removed=True)
    try:
        begun = store.journal.read(runs[0].location) if runs else None
    except (CorruptObject, MissingObject, OSError):
        return False
    return isinstance(begun, RunBegin) and os.path.basename((*begun.argv, "")[0]) in files


def _check_parameters(task: Task[Any, Any], previous: CallEnd) -> None:
    """
    Raises
    ------
    ConfigError
        The parameters are others now, so that no call of today can be one of then.
    """
    then = tuple(argument[0] for argument in previous.arguments)
    now = task.binding.names
    if then != now:
        raise ConfigError(
            f"the memos of {task.name} under {digest_text(previous.code)} cannot be accepted: its "
            f"parameters were ({', '.join(then)}) and are ({', '.join(now)}) now, so that no call "
            "of today is one of those"
        )
