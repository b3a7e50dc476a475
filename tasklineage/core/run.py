"""Runs: the set of calls that belong together, and the one that is there without asking."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
import time
import warnings
from collections.abc import Generator, Iterable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

from tasklineage import config
from tasklineage.core.failure import described
from tasklineage.core.frame import Frame, current
from tasklineage.core.metering import Meters
from tasklineage.core.origins import Origins
from tasklineage.core.program import command_line, git_commit, program_name, working_folder
from tasklineage.core.sampling import checked_share, verification
from tasklineage.core.surroundings import Surroundings
from tasklineage.errors import ConfigError, StoreError, UnhashableArgument
from tasklineage.key.digest import digest
from tasklineage.key.guards import renew_epoch
from tasklineage.key.hidden import Hidden
from tasklineage.key.tasklike import TaskLike
from tasklineage.query.slot import Slot
from tasklineage.storage.records import Ref, RunBegin, RunEnd, Swept, Verified, new_id

if TYPE_CHECKING:
    from tasklineage.core.task import Task
    from tasklineage.executors.base import Executor
    from tasklineage.query.calls import Call
    from tasklineage.query.runs import Run
    from tasklineage.storage.store import Store

Refresh = Literal[True] | tuple[str, ...]
_READS = ("track", "warn", "error", "ignore")


def _rerun(call: Call, record: bool, overrides: Mapping[str, Any]) -> Any:
    from tasklineage.core.rerun import rerun  # for those who debug, not for those who compute

    return rerun(call, record, overrides)


Slot.rerun = _rerun


warnings_told: ContextVar[list[tuple[str, str]] | None] = ContextVar(
    "tasklineage_warnings", default=None
)
"""Where this process is a worker: what the process that a call comes from is to warn of."""


class RunState:
    """A run that is going on in this process: its store, its settings, what it knows of values.

    Shared by the threads of the process. A forked child continues it with a writer of its own; only
    the process that began it ends it.
    """

    def __init__(
        self,
        name: str,
        store: Store,
        *,
        around: Frame | None = None,
        executor: Any = None,
        refresh: Refresh = (),
        store_args: bool = False,
        verify: float = 0.0,
        is_ambient: bool = False,
    ) -> None:
        self.id = bytes(new_id())
        self.name = name
        self.store = store
        parent = self.parent = None if around is None else around.run
        self.executor_spec = executor
        self.refresh = refresh
        self.refresh_since = time.time()
        self.store_args = store_args
        self.is_ambient = is_ambient
        self.verification = verification(verify)
        """What executes some of the hits again; None: nothing does."""
        self.origins = Origins()
        self.outlined: dict[bytes, int] = {}
        """How many records outline a large argument, by its digest."""
        self.last_outline: tuple[bytes, dict[str, Any]] = b"", {}
        """The last one with its digest: a map may give the same argument to all its calls."""
        self.frame = Frame(self, parent=around)
        self._pid = os.getpid()
        self._warned: set[str] = set()
        self._interruptions = 0
        self._surroundings = Surroundings(self.id, store)
        if parent is not None and parent.refresh:
            self._inherit_refresh(parent)

    def _inherit_refresh(self, parent: RunState) -> None:
        """What the enclosing run refreshes is refreshed here too; if there is more, all anew."""
        if not self.refresh:
            self.refresh, self.refresh_since = parent.refresh, parent.refresh_since
        elif not isinstance(self.refresh, bool):
            both = parent.refresh
            self.refresh = both if isinstance(both, bool) else (*self.refresh, *both)

    def join(self, run: bytes, refresh_since: float) -> None:
        """Be part of a run that was begun, and will be ended, by another process."""
        self.id, self._pid = run, -1
        self.refresh_since = refresh_since

    def note_interruption(self) -> None:
        """What was submitted before this, and has not started, never will."""
        self._interruptions += 1

    def interruptions(self) -> int:
        """How often this run was interrupted while it waited for calls, or a run around it."""
        return self._interruptions + (0 if self.parent is None else self.parent.interruptions())

    @property
    def executor(self) -> Executor:
        """Where submitted calls of this run execute."""
        from tasklineage.executors.choose import executor_from

        return executor_from(self.executor_spec or config.default_executor())

    def begin(
        self,
        params: Mapping[str, Any] | None = None,
        tags: Iterable[str] = (),
        namespace: str | None = None,
    ) -> None:
        """Record that the run has begun."""
        record = RunBegin(
            self.id,
            self.name,
            None if self.parent is None else self.parent.id,
            namespace or config.namespace(),
            config.user(),
            _host(),
            self._pid,
            command_line(),
            self._described_all(params or {}),
            tuple(tags),
            time.time(),
            _name_of(self.executor_spec or config.default_executor()),
            sys.version.split()[0],
            sys.platform,
            git_commit(),
            ambient=self.is_ambient,
            cwd=working_folder(),
        )
        try:
            self.append(record)
        except Swept:  # a parameter that is a large value was swept at that moment
            with contextlib.suppress(Swept):
                self.append(record._replace(params=self._described_all(params or {})))
        self._surroundings.start()

    def end(self, error: BaseException | None = None, status: str | None = None) -> None:
        """Record how the run ended; in a forked child, leave that to its parent process."""
        if os.getpid() != self._pid:
            return
        self._surroundings.finish()
        interrupted = isinstance(error, KeyboardInterrupt)
        failed = error is not None and not _is_clean_exit(error)
        outcome = "interrupted" if interrupted else "failed" if failed else "done"
        text = described(error) if failed and error is not None else None
        self.append(RunEnd(self.id, status or outcome, time.time(), text))
        self.store.flush()

    def settle(self) -> None:
        """Wait for what was begun at the top of the run, and raise what nobody has seen of it."""
        if self.frame.pending:
            from tasklineage.core.future import settle

            settle(self.frame, None)

    def abandon(self) -> None:
        """Start nothing more at the top of the run; wait for what is in flight."""
        if self.frame.pending:
            from tasklineage.core.future import abandon

            abandon(self.frame)

    def append(self, record: Any) -> None:
        """Append to the journal. A record that no value hangs on is not worth an exception. HOT.

        Raises
        ------
        StoreError
            The record of a memo could not be written; others are dropped with one warning.
        """
        try:
            self.store.append_one(record)
        except StoreError as error:
            if getattr(record, "memo", False):
                raise
            self.warn_unwritten(error)

    def append_all(self, records: Iterable[Any]) -> None:
        """Append records that no value hangs on, with one write."""
        try:
            self.store.append(*records)
        except StoreError as error:
            self.warn_unwritten(error)

    def warn_unwritten(self, error: StoreError) -> None:
        """Warn, once in a run, that records are not being written."""
        self.warn_once("unwritten", f"records of run {self.name!r} are not written: {error}")

    def warn_mutated(self, task: str, names: Iterable[str]) -> None:
        """Warn, once for a task and its parameters, that it changes them in place."""
        listed = ", ".join(names)
        self.warn_once(
            f"mutated {task} {listed}",
            f"{task} changes {listed} in place, so its calls are never memos: "
            "return the changed value instead",
        )

    def warn_differing(self, found: Verified) -> None:
        """Warn, once for a task and a cause, that a memo is not what its call gives now."""
        self.warn_once(
            f"differs {found.task} {found.cause}",
            f"{found.task} was executed again to verify call {found.call.hex()}, a hit, and "
            f"{'raised' if found.status == 'failed' else 'gave another result'}: {found.text}",
        )

    def warn_changed(self, task: str, what: str) -> None:
        """Warn, once for a task and a file, that the file is not what the body has read."""
        self.warn_once(
            f"changed {task} {what}",
            f"{task}: {what}, so this call is no memo: let a task write to files that it does not "
            "read, or take them as tl.File",
        )

    def warn_unknown(self, refreshed: Iterable[str]) -> None:
        """Warn, once for each, of names in `refresh=` that no task has."""
        from tasklineage.core.memos import is_task

        for name in refreshed:
            if not is_task(name):
                self.warn_once(
                    f"unknown {name}",
                    f"refresh={name!r} has made nothing execute again: no task of this program has "
                    "that name. Give its full name, or the last part of that",
                )

    def warn_read(self, task: str, message: str) -> None:
        """Warn, once for a task, that it reads a file by its path."""
        self.warn_once(f"read {task}", message)

    def warn_once(self, what: str, message: str) -> None:
        """Warn, once in a run; in a worker, have it done where the call comes from."""
        if what in self._warned:
            return
        self._warned.add(what)
        told = warnings_told.get()
        if told is None:
            warnings.warn(message, stacklevel=_first_user_level())
        else:
            told.append((what, message))

    def worker_name(self) -> str:
        """`host:pid:thread` where this runs, if it is not the main thread of the program."""
        thread = threading.current_thread()
        if thread is threading.main_thread() and not Meters.in_use:
            return ""
        return f"{_host()}:{os.getpid()}:{thread.name}"

    def view(self) -> Run:
        """The run as queries see it."""
        from tasklineage.query.find import open_run

        return open_run(self.store, self.id)

    def _described_all(self, params: Mapping[str, Any]) -> tuple[tuple[str, Ref], ...]:
        return tuple((name, self._described(name, value)) for name, value in params.items())

    def _described(self, name: str, value: Any) -> Ref:
        try:
            if Hidden.in_use:
                from tasklineage.core.hiding import described as hidden

                return hidden(self.store, value, digest(value), name)
            return self.store.describe(value, digest(value), keep=True)
        except UnhashableArgument:
            return Ref(b"", type(value).__qualname__, preview=type(value).__qualname__)


@contextlib.contextmanager
def run(
    name: str | None = None,
    *,
    executor: Any = None,
    params: Mapping[str, Any] | None = None,
    tags: str | Iterable[str] = (),
    store: Any = None,
    namespace: str | None = None,
    refresh: bool | str | Task[Any, Any] | Iterable[str | Task[Any, Any]] = (),
    durability: str | None = None,
    store_args: bool | None = None,
    verify: float | None = None,
    limits: Mapping[str, Any] | None = None,
) -> Generator[Run]:
    """A run: every call made in the block belongs to it.

    Parameters
    ----------
    name
        By default that of the script or notebook.
    executor
        Where `map`, `gather` and `submit` execute: `"inline"`, `"threads"`, `"threads:8"` or an
        executor. By default that of the enclosing run, else the configured one.
    params, tags
        Kept with the run, to find it by.
    store
        A URL, a path or a `Store`, for all calls of the block. By default that of the enclosing
        run, else the configured one.
    refresh
        Tasks that execute again, or their names, each key once, and with them every memo that
        depends on them. True: all.
    durability
        `"process"`: what was returned survives the death of the process. `"power"`: of the machine.
    store_args
        Store also those arguments that are too large to be kept in the record.
    verify
        This share of the hits, from 0 to 1, is executed again, and the results compared. The
        program gets what the memo answers; see `Run.verified` and `Run.differing`. By default that
        of the enclosing run, else the configured one.
    limits
        How much there is of what tasks ask for by a name of your own: with `limits={"db": 4}`, at
        most four calls of tasks with `resources={"db": 1}` execute at once, on all executors
        together. Those of enclosing runs hold too.

    Yields
    ------
    Run
        The run as queries see it: `.hits`, `.executed`, `.failed` count while it goes on.

    Raises
    ------
    StoreError
        The store cannot be opened.
    ConfigError
        An option cannot work.
    """
    _check_run(name, namespace, params)
    kept, refreshed = _texts(tags, "tags"), _refresh(refresh)
    limited = _limits(limits)
    outer = current.get()
    enclosing = None if outer is None else outer.run
    state = RunState(
        name or program_name(),
        _store_for(store, enclosing, durability),
        around=outer,
        executor=_checked_executor(executor) or (enclosing and enclosing.executor_spec),
        refresh=refreshed,
        store_args=config.settings().store_args if store_args is None else store_args,
        verify=_verify(verify, enclosing),
    )
    state.begin(params, kept, namespace)
    token = current.set(state.frame)
    try:
        with limited:
            try:
                yield state.view()
                state.settle()
            except BaseException:
                state.abandon()
                raise
    except BaseException as error:
        state.end(error)
        raise
    else:
        state.end()
        if not isinstance(refreshed, bool):
            state.warn_unknown(refreshed)
    finally:
        current.reset(token)


def configure(
    *,
    store: Any = ...,
    executor: Any = ...,
    namespace: str | None = ...,  # type: ignore[assignment]
    durability: str = ...,  # type: ignore[assignment]
    strict: bool = ...,  # type: ignore[assignment]
    store_args: bool = ...,  # type: ignore[assignment]
    verify: float = ...,  # type: ignore[assignment]
    reads: Literal["track", "warn", "error", "ignore"] = ...,  # type: ignore[assignment]
) -> None:
    """Set defaults of this process; what is not named stays. A changed store begins a new run.

    Parameters
    ----------
    store
        A URL, a path or a `Store`.
    executor
        An executor or its name.
    namespace
        What new runs belong to, and what queries see.
    durability
        `"process"` or `"power"`.
    strict
        A call of a task with a reference that cannot be resolved is a `ConfigError`; else it is
        listed on the call as `untracked`.
    store_args
        Store also those arguments that are too large to be kept in the record.
    verify
        The share of the hits that is executed again, and the results compared.
    reads
        What files are that a body opens by their paths: `"track"`, the default: conditions of its
        memo; `"warn"`: so, and a warning; `"error"`: an `UntrackedRead`; `"ignore"`: nothing.

    Raises
    ------
    ConfigError
        A setting cannot work.
    """
    given = {name: value for name, value in locals().items() if value is not ...}
    if "executor" in given:
        _checked_executor(given["executor"])
    if given.get("durability", "process") not in ("process", "power"):
        raise ConfigError(f"durability= is 'process' or 'power', not {given['durability']!r}")
    if "verify" in given:
        given["verify"] = checked_share(given["verify"])
    if given.get("reads", "track") not in _READS:
        raise ConfigError(f"reads= is one of {', '.join(_READS)}, not {given['reads']!r}")
    if given.get("strict", config.settings().strict) != config.settings().strict:
        renew_epoch()  # the plans of tasks, by which calls are made, are made anew
    config.change(**given)


def _store_for(store: Any, enclosing: RunState | None, durability: str | None) -> Store:
    if store is None and enclosing is not None and durability is None:
        return enclosing.store
    if store is None and enclosing is not None:
        store = enclosing.store
    from tasklineage.storage.opening import open_store  # not before it is needed

    return open_store(store, durability=durability)


def _verify(share: float | None, enclosing: RunState | None) -> float:
    if share is not None:
        return checked_share(share)
    if enclosing is None:
        return config.settings().verify
    return 0.0 if enclosing.verification is None else enclosing.verification.share


def _limits(given: Mapping[str, Any] | None) -> contextlib.AbstractContextManager[object]:
    """A block in which these limits hold."""
    if given is None:
        return contextlib.nullcontext()
    from tasklineage.executors.leases import Limits
    from tasklineage.executors.limits import limited
    from tasklineage.executors.resources import amounts

    return limited(Limits(amounts(given, "limits")))


def _checked_executor(executor: Any) -> Any:
    if executor is not None:
        from tasklineage.executors.choose import executor_from

        executor_from(executor)
    return executor


def _refresh(refresh: Any) -> Refresh:
    if isinstance(refresh, bool):
        return refresh or ()
    return _texts(refresh, "refresh")


def _is_several(given: Any) -> bool:
    return isinstance(given, Iterable) and not isinstance(given, str)


def _check_run(name: Any, namespace: Any, params: Any) -> None:
    for option, text in (("name", name), ("namespace", namespace)):
        if text is not None and not isinstance(text, str):
            raise ConfigError(f"{option}= of a run is a string, not {text!r}")
    is_mapping = isinstance(params, Mapping | None)
    if not is_mapping or not all(isinstance(one, str) for one in params or ()):
        raise ConfigError(f"params= of a run maps names to values, not {params!r}")


def _texts(given: Any, option: str) -> tuple[str, ...]:
    """The strings given for an option, one or several; a task stands for its name."""
    several = given if _is_several(given) else (given,)
    found = [one.name if isinstance(one, TaskLike) else one for one in several]
    if not all(isinstance(one, str) for one in found):
        raise ConfigError(f"{option}= of a run takes strings, not {given!r}")
    return tuple(found)


def _name_of(executor: Any) -> str:
    """What a record calls it: as it was named, else its kind."""
    return str(getattr(executor, "name", executor))


def _is_clean_exit(error: BaseException) -> bool:
    return isinstance(error, SystemExit) and error.code in (None, 0)


def _first_user_level() -> int:
    """The stack level of the first frame outside this package, for `warnings.warn`."""
    from inspect import currentframe  # slow to import, rarely needed

    level, frame = 0, currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("tasklineage."):
        level, frame = level + 1, frame.f_back
    return level


@functools.cache
def _host() -> str:
    """The name of this machine."""
    return os.uname().nodename
