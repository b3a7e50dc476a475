"""Assertions on what executed and what memos answered, with messages that say why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from tasklineage.query import find
from tasklineage.query.render import one_line
from tasklineage.query.why import Why, why

if TYPE_CHECKING:
    from tasklineage.query.calls import Call
    from tasklineage.query.runs import Run
    from tasklineage.storage.store import Store

_NOT_MADE = ("skipped", "cancelled")
_SHOWN = 10
_DIFF_LINES = 20


class Assertion(Protocol):
    """What `assert_executed` and `assert_hit` are."""

    def __call__(
        self, task: Any, /, n: int | None = None, *, run: Run | str | None = None, store: Any = None
    ) -> Sequence[Call]: ...


def assert_executed(
    task: Any, /, n: int | None = None, *, run: Run | str | None = None, store: Any = None
) -> Sequence[Call]:
    """The calls of a task that executed, if there are `n`; else an AssertionError that says why.

    A call that failed has executed; one that was skipped or cancelled has not. Calls below a hit
    are not made at all.

    Parameters
    ----------
    task
        A task, its full name, or the last part of that.
    n
        How many; None: one at least.
    run
        Only calls of this run.
    store
        By default that of the run, else the configured one.

    Examples
    --------
    >>> import tasklineage as tl
    >>> @tl.task
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> with tl.run() as run:
    ...     double(4), double(4)
    (8, 8)
    >>> assert_executed(double, 1, run=run)[0].args["x"]
    4
    >>> assert_executed(double, 2, run=run)
    Traceback (most recent call last):
    ...
    AssertionError: double was to execute 2 times, but executed once, and was a hit once
      executed ...double(x=4): first call of ...double: there is no earlier one
      hit      ...double(x=4): answered with the result of call ...
      ...
    """
    __tracebackhide__ = True
    found = _Found(task, run, store)
    return found.checked(found.executed, n, "execute")


def assert_hit(
    task: Any, /, n: int | None = None, *, run: Run | str | None = None, store: Any = None
) -> Sequence[Call]:
    """The calls of a task that a memo answered, if there are `n`; else an AssertionError.

    Parameters are those of `assert_executed`.

    Examples
    --------
    >>> import tasklineage as tl
    >>> @tl.task
    ... def triple(x: int) -> int:
    ...     return 3 * x
    >>> with tl.run() as run:
    ...     triple(4), triple(4)
    (12, 12)
    >>> len(assert_hit(triple, run=run))
    1
    """
    __tracebackhide__ = True
    found = _Found(task, run, store)
    return found.checked(found.hits, n, "be a hit")


class _Found:
    """The calls of one task, in the order they began."""

    def __init__(self, task: Any, run: Run | str | None, store: Any) -> None:
        self.name = str(getattr(task, "name", task))
        self._run, self._store = run, store
        self.calls = self._of(self.name)
        self.hits = [call for call in self.calls if call.hit]
        self.executed = [
            call for call in self.calls if not call.hit and call.status not in _NOT_MADE
        ]

    def checked(self, found: Sequence[Call], n: int | None, verb: str) -> Sequence[Call]:
        """These calls, if they are as many as they should be."""
        __tracebackhide__ = True
        if len(found) == n or (n is None and found):
            return found
        raise AssertionError("\n".join(self._told(n, verb)))

    def _told(self, n: int | None, verb: str) -> Iterator[str]:
        short = self.name.rpartition(".")[2]
        wanted = f"{verb} {_times(n)}" if n is not None else verb
        yield (
            f"{short} was to {wanted}, but executed {_times(len(self.executed))}, "
            f"and was a hit {_times(len(self.hits))}"
        )
        for call in self.calls[:_SHOWN]:
            yield from _line(call)
        if len(self.calls) > _SHOWN:
            yield f"  … and {len(self.calls) - _SHOWN} calls more"
        if not self.calls:
            yield from self._others()
        yield f"  in {self._where()}"

    def _others(self) -> Iterator[str]:
        """What was called instead: the name may be wrong, or a hit above it have spared it."""
        others = self._of(None)
        if not others:
            yield "  no call of any task was recorded"
            return
        counted = Counter((call.task, call.hit) for call in others)
        listed = ", ".join(
            f"{task} ({count} {_plural('hit', count) if hit else 'executed'})"
            for (task, hit), count in counted.most_common(_SHOWN)
        )
        yield f"  no call of {self.name} was recorded; there are: {listed}"
        if any(hit for _, hit in counted):
            yield "  what a task calls is not called when the task itself is a hit"

    def _of(self, task: str | None) -> list[Call]:
        found = find.calls(task, run=self._run, namespace=find.EVERYTHING, store=self._store)
        return list(found)[::-1]

    def _where(self) -> str:
        store: Store | None = find.existing(getattr(self._run, "store", None) or self._store)
        of = "" if self._run is None else f"run {getattr(self._run, 'id', self._run)} of "
        return f"{of}{store.url if store is not None else 'no store: there is none'}"


def _line(call: Call) -> Iterator[str]:
    """What a call was, and why it was that."""
    told = "hit" if call.hit else "executed" if call.status == "done" else call.status
    given = ", ".join(f"{name}={one_line(a.preview, 40)}" for name, a in call.inputs.items())
    found = why(call)
    yield f"  {told:<8} {call.task}({given}): {'; '.join(_reasons(found))}"
    for cause in found.causes:
        lines = cause.diff.splitlines()
        yield from (f"    {line}" for line in lines[:_DIFF_LINES])
        if len(lines) > _DIFF_LINES:
            yield f"    … and {len(lines) - _DIFF_LINES} lines more"


def _reasons(found: Why) -> list[str]:
    if found.causes:
        return [cause.text for cause in found.causes]
    previous = found.previous
    if previous is None:
        return ["no cause was recorded"]
    return [f"answered with the result of call {previous.id}, begun {previous.started:%H:%M:%S}"]


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n} times" if n else "not at all"


def _plural(word: str, n: int) -> str:
    return word if n == 1 else f"{word}s"
