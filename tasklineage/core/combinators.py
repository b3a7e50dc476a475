"""`map`, `gather`, `join`, `merge`: many calls at once, and many values into one."""

from __future__ import annotations

from collections.abc import Collection, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

from tasklineage import config
from tasklineage.core import engine
from tasklineage.core.ambient import top_frame
from tasklineage.core.call import Outcome
from tasklineage.core.deferred import Deferred
from tasklineage.core.fanout import Failure, Fanout, OnError
from tasklineage.core.frame import Frame, current
from tasklineage.core.future import BoundCall, Future, executor_for
from tasklineage.core.inputs import Inputs
from tasklineage.core.loops import in_thread
from tasklineage.core.source import Source, limited
from tasklineage.core.task import BoundTask, Task
from tasklineage.errors import ConfigError, MergeConflict
from tasklineage.executors.base import Blocked, Executor
from tasklineage.executors.choose import executor_from
from tasklineage.executors.inline import Inline
from tasklineage.key.digest import digest

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")


@overload
def map(
    task: Task[P, Coroutine[Any, Any, R]],
    *iterables: Iterable[Any],
    on_error: OnError = ...,
    max_workers: int | None = ...,
    max_items: int | None = ...,
    executor: Any = ...,
    **shared: Any,
) -> Fanout[R]: ...
@overload
def map(
    task: Task[P, R],
    *iterables: Iterable[Any],
    on_error: OnError = ...,
    max_workers: int | None = ...,
    max_items: int | None = ...,
    executor: Any = ...,
    **shared: Any,
) -> Fanout[R]: ...
@overload
def map(
    task: BoundTask[P, R],
    *iterables: Iterable[Any],
    on_error: OnError = ...,
    max_workers: int | None = ...,
    max_items: int | None = ...,
    executor: Any = ...,
    **shared: Any,
) -> Fanout[R]: ...
def map(
    task: Any,
    *iterables: Iterable[Any],
    on_error: OnError = "raise",
    max_workers: int | None = None,
    max_items: int | None = None,
    executor: Any = None,
    **shared: Any,
) -> Fanout[Any]:
    """Call a task for every element of some iterables, which are read side by side.

    It begins at once and returns; the input, which may be a generator, is read no further ahead
    than keeps the workers busy. Elements whose call was made before are looked up in batches.

    Parameters
    ----------
    task
        A task. The iterables bind to its first parameters that are not in `shared`.
    on_error
        `"raise"`: the first failure is raised where a result is asked for, after the elements in
        flight have finished; `"collect"`: a `Failure` stands in its place; `"skip"`: nothing does.
    max_workers
        How many elements execute at once, at most.
    max_items
        How many elements there may be.
    executor
        Where they execute; by default the executor of the task, else of the run.
    shared
        Arguments that are the same for every element.

    Raises
    ------
    TooManyItems
        There are more than `max_items` elements; nothing has been executed.
    ConfigError
        An option cannot work, or `task` is no task.

    Examples
    --------
    >>> import tasklineage as tl
    >>> @tl.task
    ... def power(base: int, exponent: int) -> int:
    ...     return base**exponent
    >>> tl.map(power, [1, 2, 3], exponent=2).results()
    [1, 4, 9]
    """
    plain, shared = _plain_task(task, shared)
    if on_error not in ("raise", "collect", "skip"):
        raise ConfigError(f"on_error= is 'raise', 'collect' or 'skip', not {on_error!r}")
    _check_width(max_workers, max_items)
    if not iterables:
        raise ConfigError(f"a map of {plain.name} needs at least one iterable")
    parent = current.get() or top_frame()
    return Fanout(
        plain,
        Source([_elements(one) for one in limited(iterables, max_items)]),
        shared,
        parent,
        _executor(executor, plain, parent),
        on_error,
        max_workers,
    )


@overload
def gather(calls: Mapping[str, BoundCall[R]], /, *, executor: Any = ...) -> dict[str, R]: ...
@overload
def gather(first: BoundCall[A], /, *, executor: Any = ...) -> tuple[A]: ...
@overload
def gather(first: BoundCall[A], second: BoundCall[R], /, *, executor: Any = ...) -> tuple[A, R]: ...
@overload
def gather(*calls: BoundCall[Any] | Future[Any], executor: Any = ...) -> tuple[Any, ...]: ...
@overload
def gather(*, executor: Any = ..., **calls: BoundCall[R]) -> dict[str, R]: ...
def gather(*calls: Any, executor: Any = None, **named: Any) -> Any:
    """Make some calls concurrently; their values, in order, or by name where they are named.

    If some fail, the exception of the first in order is raised after all have finished.

    Raises
    ------
    ConfigError
        A list of calls is passed instead of the calls, or calls by position and by name.

    Examples
    --------
    >>> import tasklineage as tl
    >>> @tl.task
    ... def half(x: float) -> float:
    ...     return x / 2
    >>> tl.gather(half.bind(1.0), half.bind(3.0))
    (0.5, 1.5)
    """
    if len(calls) == 1 and isinstance(calls[0], Mapping) and not named:
        named, calls = dict(calls[0]), ()
    if calls and named:
        raise ConfigError("gather takes calls by position or by name, not both")
    for one in (*calls, *named.values()):
        if isinstance(one, Iterable) and not isinstance(one, Deferred | str | bytes):
            raise ConfigError(
                f"gather takes calls, not a {type(one).__name__} of them: gather(*calls), or "
                "gather(mapping) with nothing else"
            )
    chosen = None if executor is None else executor_from(executor)
    begun = [_begun(one, chosen) for one in (calls or named.values())]
    errors = [one.failure() for one in begun if isinstance(one, Deferred)]
    for error in errors:
        if error is not None:
            raise error
    values = [one.value() if isinstance(one, Deferred) else one for one in begun]
    return dict(zip(named, values, strict=True)) if named else tuple(values)


def join(
    task: Task[Concatenate[Any, P], R],
    inputs: Iterable[Any] | Mapping[str, Any],
    **shared: Any,
) -> R:
    """Call a task with the values of several branches as its first argument, an `Inputs`.

    The values of `inputs`, a mapping or an iterable, may be plain values, Futures, Fanouts or
    BoundCalls; these run concurrently. It is a call like any other, and lineage shows each branch
    as an input of it.

    Examples
    --------
    >>> import tasklineage as tl
    >>> @tl.task
    ... def largest(inputs: tl.Inputs) -> int:
    ...     return max(inputs)
    >>> tl.join(largest, [3, 1, 4])
    4
    """
    call: Any = task
    if not isinstance(call, Task | BoundTask):
        raise ConfigError(f"join takes a task, not {task!r}: put @task on the function")
    if isinstance(inputs, Mapping):
        gathered = Inputs(inputs.values(), [str(name) for name in inputs])
    else:
        gathered = Inputs(_elements(inputs))
    result: R = call(gathered, **shared)
    return result


def merge(
    inputs: Iterable[Mapping[str, Any]],
    include: str | Collection[str] | None = None,
    exclude: str | Collection[str] = (),
    **values: Any,
) -> dict[str, Any]:
    """One mapping out of several: names with equal content are kept once.

    Parameters
    ----------
    inputs
        Mappings, for example the `Inputs` of a joining task.
    include, exclude
        Names to take, by default all; names to leave out.
    values
        Names that are decided here, whatever the inputs say.

    Raises
    ------
    MergeConflict
        The inputs have different values under one name that is not in `values`.
    ConfigError
        The inputs are not mappings.

    Examples
    --------
    >>> import tasklineage as tl
    >>> tl.merge([{"a": 1, "b": 2}, {"a": 1, "c": 3}], exclude=("c",), count=2)
    {'a': 1, 'b': 2, 'count': 2}
    """
    included = None if include is None else _names(include)
    excluded = _names(exclude)
    if isinstance(inputs, Mapping):
        raise ConfigError("merge takes several mappings in a list or an Inputs, not one mapping")
    merged: dict[str, Any] = {}
    conflicts: list[str] = []
    for one in inputs:
        if not hasattr(one, "items"):
            raise ConfigError(f"merge takes mappings, not {type(one).__name__}")
        for name, value in one.items():
            if name in values or name in excluded:
                continue
            if included is not None and name not in included:
                continue
            if name not in merged:
                merged[name] = value
            elif digest(merged[name]) != digest(value) and name not in conflicts:
                conflicts.append(name)
    if conflicts:
        listed = ", ".join(conflicts)
        raise MergeConflict(
            f"the inputs of merge differ in {listed}: decide with "
            f"{conflicts[0]}=…, or leave it out with exclude=({conflicts[0]!r},)",
            names=tuple(conflicts),
        )
    return {**merged, **values}


@overload
async def amap(
    task: Task[P, Coroutine[Any, Any, R]],
    *iterables: Iterable[Any],
    on_error: OnError = ...,
    max_workers: int | None = ...,
    max_items: int | None = ...,
    executor: Any = ...,
    **shared: Any,
) -> list[R]: ...
@overload
async def amap(
    task: Task[P, R] | BoundTask[P, R],
    *iterables: Iterable[Any],
    on_error: OnError = ...,
    max_workers: int | None = ...,
    max_items: int | None = ...,
    executor: Any = ...,
    **shared: Any,
) -> list[R]: ...
async def amap(
    task: Any,
    *iterables: Iterable[Any],
    on_error: OnError = "raise",
    max_workers: int | None = None,
    max_items: int | None = None,
    executor: Any = None,
    **shared: Any,
) -> list[Any]:
    """As `map`, for use in a coroutine: the results in input order, awaited.

    An `async def` task runs on the caller's loop, `max_workers` elements at once (by default 100);
    any other on the executor, and so does one with a `timeout`, which only there can be stopped.
    The loop is never blocked.
    """
    plain, shared = _plain_task(task, shared)
    if not plain.is_async or plain.settings.timeout is not None:
        begin = partial(
            map, plain, *iterables, on_error=on_error, max_workers=max_workers,
            max_items=max_items, executor=executor, **shared,
        )  # fmt: skip
        return await _amap_executor(await in_thread(begin))
    _check_width(max_workers, max_items)
    parent = current.get() or top_frame()
    _executor(executor, plain, parent)  # which raises what it would, though the loop executes
    limit = await in_thread(limited, iterables, max_items)
    source = Source([_elements(one) for one in limit])
    outcomes = await _amap_loop(plain, source, shared, max_workers or 100, on_error == "raise")
    if source.error is not None:
        raise source.error
    values: list[Any] = []
    for index, one in enumerate(outcomes):
        if one.error is None:
            values.append(one.get())
        elif on_error == "collect":
            values.append(Failure(index, one.error, parent.store, one.call_id))
        elif on_error == "raise":
            raise one.error
    return values


async def _amap_executor(fanout: Fanout[R]) -> list[R]:
    import asyncio

    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    fanout.add_done_callback(lambda: loop.call_soon_threadsafe(over.set))
    try:
        async with Blocked():
            await over.wait()
    except BaseException:
        fanout.stop()
        raise
    return await in_thread(fanout.results)


async def _amap_loop(
    task: Task[Any, Any],
    source: Source,
    shared: dict[str, Any],
    width: int,
    stops_at_failure: bool,
) -> list[Outcome[Any]]:
    """What came of each element, executed on this loop, `width` at once."""
    import asyncio

    outcomes: list[Outcome[Any]] = []
    running: set[asyncio.Task[None]] = set()
    is_stopped = False
    names = [name for name in task.binding.single if name not in shared]

    async def one(index: int, element: tuple[Any, ...]) -> None:
        nonlocal is_stopped
        arguments = {**dict(zip(names, element, strict=False)), **shared}
        outcomes[index] = await engine.outcome_async(task, arguments, (index, source.total))
        is_stopped = is_stopped or (stops_at_failure and outcomes[index].error is not None)

    try:
        while not source.is_exhausted and not is_stopped:
            is_quick = source.total is not None
            for element in source.take(1) if is_quick else await in_thread(source.take, 1):
                outcomes.append(Outcome(None, None, "running"))
                running.add(asyncio.create_task(one(len(outcomes) - 1, element)))
            if len(running) >= width:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for finished in done:
                    finished.result()
        if running:
            await asyncio.gather(*running)
    except BaseException:
        for unfinished in running:
            unfinished.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        raise
    return outcomes


def _plain_task(task: Any, shared: dict[str, Any]) -> tuple[Task[Any, Any], dict[str, Any]]:
    """The task behind what a user passed; the instance of a method is shared."""
    if isinstance(task, Task):
        return task, shared
    if isinstance(task, BoundTask):
        return task.unbound(shared)
    raise ConfigError(f"map takes a task, not {task!r}: put @task on the function")


def _check_width(max_workers: Any, max_items: Any) -> None:
    if max_items is not None and not (isinstance(max_items, int) and max_items >= 0):
        raise ConfigError(f"max_items= is a whole number from 0 on, not {max_items!r}")
    if max_workers is not None and not (isinstance(max_workers, int) and max_workers >= 1):
        raise ConfigError(f"max_workers= is a whole number from 1 on, not {max_workers!r}")


def _names(given: str | Collection[str]) -> Collection[str]:
    return (given,) if isinstance(given, str) else given


def _elements(iterable: Iterable[Any]) -> Iterable[Any]:
    return iterable.outcomes() if isinstance(iterable, Fanout) else iterable


def _begun(one: Any, executor: Executor | None) -> Any:
    return one.submit(executor) if isinstance(one, BoundCall) else one


def _executor(given: Any, task: Task[Any, Any], parent: Frame) -> Executor:
    if config.is_disabled():
        return Inline()
    chosen = task.settings.executor if given is None else executor_from(given)
    return executor_for(task, chosen, parent)
