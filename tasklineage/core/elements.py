"""The elements of a map as calls: read, bound, digested and looked up a batch at a time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from tasklineage import config
from tasklineage.core import engine, memos
from tasklineage.core.call import Call, Outcome, Shared
from tasklineage.core.failure import is_interrupt
from tasklineage.core.frame import Frame
from tasklineage.core.future import reservation
from tasklineage.core.portion import Portion
from tasklineage.core.source import Source
from tasklineage.key.digest import Unresolved
from tasklineage.key.pins import live
from tasklineage.storage.codecs.pickled import CLOUDPICKLE, PICKLE
from tasklineage.storage.codecs.plain import PLAIN
from tasklineage.storage.frames import Location
from tasklineage.storage.records import CallEnd, Edge, Ref, as_ref
from tasklineage.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tasklineage.core.run import RunState
    from tasklineage.core.task import Task
    from tasklineage.executors.base import Executor

R = TypeVar("R")

_KEPT = 32 << 20
"""Bytes of results, as they are encoded, that one map keeps in memory at hand."""
_OWN = (PICKLE, CLOUDPICKLE)
"""Codecs whose values stay: an object of a class made at run time is not read back as that."""
_TINY = 256
"""Bytes of a result that takes no more room than what says where it is."""


class StoredOutcome(Outcome[R]):
    """An outcome whose value is large: it stays in the store and is read each time."""

    __slots__ = ("_device", "_ref", "_store")

    def __init__(self, call: Call, ref: Ref, store: Store) -> None:
        super().__init__(None, None, call.status, call.id, ref.digest, call.is_hit)
        self._ref = ref
        self._store = store
        self._device = call.task.settings.device

    def get(self) -> R:
        with live():
            value: R = self._store.get_on(self._ref, self._device)
        return value


class RecordedOutcome(Outcome[R]):
    """An outcome whose value is in its record, from where it is read each time."""

    __slots__ = ("_device", "_location", "_run")

    def __init__(
        self, outcome: Outcome[R], location: Location, run: RunState, device: str | None
    ) -> None:
        super().__init__(
            None, None, outcome.status, outcome.call_id, outcome.digest, outcome.is_hit
        )
        self._location = location
        self._run = run
        self._device = device

    def get(self) -> R:
        store = self._run.store
        record = store.call_at(self._location, self.digest, self.call_id)
        with live():
            value: R = store.get_on(Ref(*(record.output or ())), self._device)
        self._run.origins.note(value, self.digest, self.call_id, recorded=record.parts)
        return value


class Elements:
    """Turns elements into calls, and answers those that have a memo.

    One thread at a time may `pull`. What all elements share is digested once, and looked at again
    at the end.
    """

    def __init__(
        self,
        task: Task[Any, Any],
        source: Source,
        shared: dict[str, Any],
        parent: Frame,
        executor: Executor,
        most: int | None,
        *,
        stops_at_failure: bool,
    ) -> None:
        self.task = task
        self._elsewhere = None if executor.shares_memory else executor
        """Who runs the bodies, if that is not this process."""
        settings = task.settings
        waits = bool(getattr(settings.retries, "wait", 0)) or settings.timeout is not None
        is_together = self._elsewhere and not settings.resources and not waits
        workers = min(executor.width, most or executor.width)
        self.portion = Portion(executor.portion if is_together else 0.0, workers)
        """How many calls are executed in one go."""
        self._stops_at_failure = stops_at_failure
        self._reserve = reservation(task, executor)
        self._source = source
        self._shared = shared
        self._parent = parent
        self._edges: tuple[Edge, ...] = ()
        self._is_shared_ready = False
        self._count = 0
        self._names = tuple(name for name in task.binding.single if name not in shared)
        self._first: Call | None = None
        """The first call with the code version in force: what all share was digested for it."""
        self._firsts: list[Call] = []
        self._keys: list[bytes] = []
        self._kept = 0
        self.fetching = 0.0
        """Seconds for which the last `pull` waited for a remote store."""

    def pull(self, count: int) -> list[Call | Outcome[Any]]:
        """The next elements, at most `count`, in order: outcomes of hits, calls of misses.

        An element that cannot even be a call, because its arguments do not fit or an input of it
        failed, is an outcome with its exception.
        """
        if config.is_disabled():
            elements = self._source.take(count)
            return [engine.bare(self.task, *self.spread(element)) for element in elements]
        self._resolve_shared()
        if self._first is not None and self._first.plan is not self.task.plan():
            self._first = None
        pulled = [self.prepared(element) for element in self._source.each(count)]
        places = [i for i, one in enumerate(pulled) if isinstance(one, Call)]
        if self._parent.run.verification is not None:
            places = []  # hits are found by those who execute, and some of them executed again
        found = memos.find_many([pulled[i] for i in places])  # type: ignore[misc]  # calls only
        self.fetching = self._fetch(found)
        records: list[Any] = []
        for i, memo in zip(places, found, strict=True):
            call = pulled[i]
            if memo is None or not isinstance(call, Call):
                continue
            value = engine.decoded(call, memo)
            if value is not engine.MISS:
                hit = engine.record_hit(call, memo, value)
                if call.output.oid is None and call.output.codec == PLAIN:
                    records.append(hit)
                else:
                    engine.append_hit(call, memo, value, hit)
                outcome = Outcome(value, None, call.status, call.id, call.output.digest, True)
                pulled[i] = self.outcome_of(call, outcome, memo.ended, memo.ended)
        if records:
            self._parent.run.append_all(records)
        return pulled

    def _fetch(self, found: Iterable[CallEnd | None]) -> float:
        """Bring the results of these memos here, all at once; the seconds that it took."""
        store = self._parent.run.store
        if store.remote is None:
            return 0.0
        began = time.perf_counter()
        store.prefetch(as_ref(memo.output) for memo in found if memo and memo.output)
        return time.perf_counter() - began

    def execute(self, calls: Sequence[Call]) -> list[Outcome[Any] | None]:
        """What came of calls that no memo answered when they were pulled.

        Of several, None stands for one that has not been executed yet.
        """
        began = time.time()
        outcomes: list[Outcome[Any] | None]
        if self._elsewhere is not None and self.portion.varies:
            outcomes, took = engine.outcomes(
                calls, self._elsewhere, 4 * self._elsewhere.portion,
                stops_at_failure=self._stops_at_failure,
            )  # fmt: skip
            self.portion.note(len(calls) - outcomes.count(None), took)
        else:
            outcomes = [engine.outcome(calls[0], self._elsewhere, self._reserve)]
        ended = time.time()
        for place, call in enumerate(calls):
            outcome = outcomes[place]
            if outcome is not None:
                if not call.is_checked:
                    self._keys.append(call.key)
                outcomes[place] = self.outcome_of(call, outcome, began, ended)
        return outcomes

    def outcome_of(
        self, call: Call, outcome: Outcome[Any], since: float, until: float
    ) -> Outcome[Any]:
        """An outcome as a map keeps it: large values stay in the store, many small ones too.

        The call's record, if it is a memo, ended between `since` and `until`.
        """
        if outcome.error is not None:
            return outcome
        run, output = self._parent.run, call.output
        if output.oid is not None:
            is_small = output.data is not None  # a File, whose content is in the store
            return outcome if is_small else StoredOutcome(call, output, run.store)
        if output.nbytes > _TINY:
            if self._kept >= _KEPT and output.codec not in _OWN:
                location = run.store.memo_between(call.key, since, until)
                device = self.task.settings.device
                if location is None:
                    return outcome
                return RecordedOutcome(outcome, location, run, device)
            self._kept += output.nbytes
        return outcome

    def finish(self) -> None:
        """Look again at what all elements shared: if one changed it in place, none is a memo."""
        if self._count:
            self._parent.run.store.flush(wait=False)
        if not self._keys:
            return
        changed = {
            name: None
            for first in self._firsts
            for name in first.changed_among(
                range(len(first.bound) - len(first.shared.digests), len(first.bound))
            )
        }
        if changed:
            run = self._parent.run
            if self._parent.call is not None:
                name = self.task.name
                self._parent.fold.add(name, b"", volatile=f"{name}: changed {', '.join(changed)}")
            for key in self._keys:
                run.store.forget(key)
            run.warn_mutated(self.task.name, changed)

    def prepared(self, element: tuple[Any, ...]) -> Call | Outcome[Any]:
        """An element as a call with its key, or what it came to before it could be one."""
        position = (self._count, self._source.total)
        self._count += 1
        args, kwargs = self.spread(element)
        skipped: list[bytes] = []
        call: Call | None
        try:
            try:
                call = Call(
                    self.task, args, kwargs, self._parent, position, self._edges, self._first
                )
            except Unresolved:
                call = None
            if call is None:
                call = engine.resolved_call(
                    self.task, args, kwargs, self._parent, position, skipped.append
                )
        except BaseException as error:
            if is_interrupt(error) and not skipped:
                raise
            if self._parent.call is not None:
                self._parent.fold.add(self.task.name, b"", volatile=f"{self.task.name}: failed")
            return engine.unmade(error, skipped)
        if self._first is None and args is element:
            call.shared = Shared(call.digests[len(element) :])
            self._first = call
            self._firsts.append(call)
        return call

    def spread(self, element: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of an element: its values stand for the first parameters not shared."""
        binding = self.task.binding
        count = len(element)
        if count <= binding.positional and self._names[:count] == binding.names[:count]:
            return element, self._shared
        named = {**dict(zip(self._names, element, strict=False)), **self._shared}
        if count > len(self._names):
            return element, self._shared  # too many: the function's own TypeError says so
        args = [named.pop(n) for n in binding.names[: binding.positional_only] if n in named]
        return tuple(args), named

    def _resolve_shared(self) -> None:
        """Wait for Futures among what is shared; their edges are those of every element."""
        if self._is_shared_ready:
            return
        self._is_shared_ready = True
        from tasklineage.core.future import resolved_shared

        self._shared, self._edges = resolved_shared(self.task, self._shared, self._parent)
