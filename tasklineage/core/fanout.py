"""The results of a map, as its users see them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from tasklineage.core.arrivals import Arrivals
from tasklineage.core.call import Outcome, recorded_call
from tasklineage.core.crew import Room
from tasklineage.core.deferred import Deferred
from tasklineage.core.elements import Elements
from tasklineage.core.frame import Frame
from tasklineage.core.pace import Pace
from tasklineage.core.progress import progress
from tasklineage.core.pumps import Pumps
from tasklineage.core.source import Source
from tasklineage.executors.base import Executor
from tasklineage.key.digest import register_stand_in
from tasklineage.storage.records import Edge

if TYPE_CHECKING:
    from tasklineage.core.task import Task
    from tasklineage.query.calls import Call as RecordedCall

R = TypeVar("R")
OnError = Literal["raise", "collect", "skip"]
_SHOWN_FAILURES = 5


class Failure:
    """What stands in the place of an element that failed."""

    __slots__ = ("_call_id", "_store", "error", "index")

    def __init__(self, index: int, error: BaseException, store: Any, call_id: bytes) -> None:
        self.index = index
        """The element's place in the input."""
        self.error = error
        """The exception as it was raised."""
        self._store = store
        self._call_id = call_id

    @property
    def call(self) -> RecordedCall:
        """The record of the call.

        Raises
        ------
        NotFound
            It was never made: its arguments do not fit the function, or have no digest.
        """
        return recorded_call(self._store, self._call_id, self.error)

    def to_plain(self) -> tuple[str, int, str, str]:
        """What of it counts where it is an argument: its place and its exception as text."""
        return "failure", self.index, type(self.error).__qualname__, str(self.error)

    def __repr__(self) -> str:
        return f"<failure of element {self.index}: {self.error!r}>"


register_stand_in(Failure, Failure.to_plain)


class Fanout(Deferred, Sequence[R], Generic[R]):
    """The results of a map in input order, as they come. Safe to use from many threads.

    Indexing and iterating wait for what they need; `len`, negative indices and `results()` wait
    for the end of the input. With `on_error="raise"` the exception of the first element that failed
    is raised by the first access that needs it, after the elements in flight have finished and were
    stored; with `"collect"` a `Failure` stands in the place of a failed element; with `"skip"`
    there is no such place. Large results, and small ones beyond some 32 MB, are read from the store
    at each access.
    """

    def __init__(
        self,
        task: Task[Any, R],
        source: Source,
        shared: dict[str, Any],
        parent: Frame,
        executor: Executor,
        on_error: OnError,
        max_workers: int | None,
    ) -> None:
        self._task = task
        self._source = source
        self._parent = parent
        self._on_error = on_error
        self._is_seen = False
        self._places: list[int] = []
        self._bar = progress(task.name, source.total) if parent.id is None else None
        self._arrivals = Arrivals(self._show)
        stops = on_error == "raise"
        elements = Elements(
            task, source, shared, parent, executor, max_workers, stops_at_failure=stops
        )
        pace = (
            Pace(min(executor.slots, max_workers or executor.slots))
            if executor.shares_memory
            else Room(executor, max_workers)
        )
        self._pumps = Pumps(
            elements, source, parent, executor.driver, pace,
            stops_at_failure=stops, arrivals=self._arrivals,
        )  # fmt: skip
        self._pumps.start()
        parent.add_pending(self)

    def __len__(self) -> int:
        self._finish()
        count = len(self._arrivals.outcomes)
        return count - len(self._arrivals.failed) if self._on_error == "skip" else count

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> list[R]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = index if index >= 0 else index + len(self)
        if place >= 0 and self._on_error == "skip":
            places = self._kept_places(place)
            if place < len(places):
                return self._value(places[place])
        elif place >= 0 and self._has(place):
            return self._value(place)
        raise IndexError(f"a map has no element {index}")

    def __iter__(self) -> Iterator[R]:
        place = 0
        while self._has(place):
            if not self._is_skipped(place):
                yield self._value(place)
            place += 1

    def __contains__(self, value: object) -> bool:
        return value in self.results()

    def results(self) -> list[R]:
        """All results in input order, waited for."""
        self._finish()
        return list(self)

    def as_completed(self) -> Iterator[R]:
        """The results in the order in which they were finished."""
        arrivals, completed = self._arrivals, self._arrivals.completed
        count = 0

        def is_there() -> bool:
            return arrivals.is_over or len(completed) > count

        while True:
            self._pumps.wait(is_there)
            if count == len(completed):
                break
            place = completed[count]
            count += 1
            if not self._is_skipped(place):
                yield self._value(place)
        self._finish()

    @property
    def failures(self) -> list[Failure]:
        """The elements that failed, in input order, waited for."""
        self._wait()
        self._is_seen = True
        return [self._failure(place) for place in sorted(self._arrivals.failed)]

    @property
    def hits(self) -> int:
        """How many elements a memo answered, waited for."""
        self._wait()
        return self._arrivals.hits

    @property
    def executed(self) -> int:
        """How many elements were executed, those that failed included; waited for."""
        self._wait()
        return self._arrivals.executed

    def done(self) -> bool:
        """Whether every element is over."""
        return self._arrivals.is_over

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Fanout):
            return self is other
        return list(self) == other if isinstance(other, list) else NotImplemented

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        so_far = self._arrivals
        state = "over" if so_far.is_over else "in progress"
        return (
            f"<map of {self._task.name}, {state}: {so_far.hits} hits, {so_far.executed} executed, "
            f"{len(so_far.failed)} failed>"
        )

    def _repr_html_(self) -> str:
        from tasklineage.query.render import html_heading, html_status, html_table, one_line

        so_far = self._arrivals
        failed = [self._failure(place) for place in sorted(so_far.failed)[:_SHOWN_FAILURES]]
        rows = [{"index": str(one.index), "error": one_line(repr(one.error))} for one in failed]
        counts = (
            f"{so_far.hits:,} hits, {so_far.executed:,} executed, {len(so_far.failed):,} failed"
        )
        status = html_status("done" if so_far.is_over else "running")
        heading = html_heading(f"map of {self._task.name}", status, counts)
        return heading + (html_table(rows) if rows else "")

    # As an argument of a call (see `Deferred`), and as what a call waits for (see `Pending`).

    def failure(self) -> BaseException | None:
        self._wait()
        self._is_seen = True
        return self._error()

    def value(self) -> list[R]:
        return self.results()

    def edges(self, path: str) -> Iterator[Edge]:
        for i, one in enumerate(self.outcomes()):
            yield from one.edges(f"{path}[{i}]")

    def outcomes(self) -> Iterator[Outcome[R]]:
        """What came of each element, in input order, as the input of another map.

        A call that gets one that failed is skipped, whatever this map does with failures.
        """
        place = 0
        while self._has(place):
            one = self._arrivals.outcomes[place]
            if one is not None and not self._is_skipped(place):
                yield one
            place += 1

    def settle(self) -> None:
        """Wait until it is over; raise its failure, if nobody has seen that."""
        self._wait()
        if not self._is_seen:
            self._finish()

    def stop(self) -> None:
        """Start no further element."""
        self._pumps.stop()

    def abandon(self) -> None:
        """Start no further element; wait for those in flight."""
        self._pumps.stop()
        self._wait()

    def can_be_dropped(self) -> bool:
        return self._arrivals.is_over and (self._is_seen or self._error() is None)

    def add_done_callback(self, callback: Callable[[], object]) -> None:
        """Call `callback` once every element is over; at once, if that is so."""
        self._arrivals.add_done_callback(callback)

    def _wait(self) -> None:
        self._pumps.wait(lambda: self._arrivals.is_over)

    def _finish(self) -> None:
        """Wait until it is over; raise what stands in the place of the whole, if anything does."""
        self._wait()
        self._is_seen = True
        error = self._error()
        if error is not None:
            raise error

    def _has(self, place: int) -> bool:
        """Whether there is an element at this place; raises if the map broke before it."""
        arrivals, outcomes = self._arrivals, self._arrivals.outcomes

        def is_known() -> bool:
            return arrivals.is_over or (place < len(outcomes) and outcomes[place] is not None)

        self._pumps.wait(is_known)
        if place < len(outcomes) and outcomes[place] is not None:
            return True
        self._finish()
        return False

    def _value(self, place: int) -> R:
        one = self._arrivals.outcomes[place]
        assert one is not None
        if one.error is None:
            value: R = one.get()
            return value
        if self._on_error == "raise":
            self._finish()
        return self._failure(place)  # type: ignore[return-value]  # documented: a Failure

    def _failure(self, place: int) -> Failure:
        one = self._arrivals.outcomes[place]
        assert one is not None
        assert one.error is not None
        return Failure(place, one.error, self._parent.store, one.call_id)

    def _kept_places(self, wanted: int) -> list[int]:
        """The places of the elements that have not failed, at least as far as `wanted`."""
        places = self._places
        while len(places) <= wanted:
            place = places[-1] + 1 if places else 0
            while self._has(place) and self._is_skipped(place):
                place += 1
            if not self._has(place):
                break
            places.append(place)
        return places

    def _is_skipped(self, place: int) -> bool:
        one = self._arrivals.outcomes[place]
        return self._on_error == "skip" and one is not None and one.error is not None

    def _error(self) -> BaseException | None:
        """The exception that stands in the place of the whole."""
        arrivals = self._arrivals
        if self._on_error == "raise" and arrivals.failed:
            first = arrivals.outcomes[min(arrivals.failed)]
            return None if first is None else first.error
        return self._source.error

    def _show(self) -> None:
        bar = self._bar
        if bar is not None:
            so_far = self._arrivals
            failed, done = len(so_far.failed), len(so_far.completed)
            total = done if so_far.is_over and self._source.is_exhausted else None
            bar.update(done, so_far.hits, so_far.executed - failed, failed, total)
            if so_far.is_over:
                bar.close()
