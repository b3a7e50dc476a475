"""`@task`: a plain function whose calls are remembered and recorded."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import timedelta
from importlib import import_module
from types import FunctionType, MethodType, ModuleType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    NamedTuple,
    ParamSpec,
    TypeVar,
    overload,
)

from tasklineage import config
from tasklineage.core import engine, memos
from tasklineage.core.binding import binding_of
from tasklineage.core.call import Plan
from tasklineage.core.failure import without_our_frames
from tasklineage.errors import ConfigError
from tasklineage.key.code_version import TaskLike, code_version
from tasklineage.key.guards import epoch

if TYPE_CHECKING:
    from tasklineage.core.future import BoundCall, Future
    from tasklineage.core.policy import Retry
    from tasklineage.executors.base import Executor
    from tasklineage.query.acceptances import Acceptance
    from tasklineage.query.why import Why

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
T = TypeVar("T")
S = TypeVar("S")
A = ParamSpec("A")
_IS_COROUTINE, _IS_GENERATOR = 0x80, 0x20 | 0x200
"""Flags of a code object; a generator may be asynchronous."""


class Options(NamedTuple):
    """The options of `@task`, checked; see `task` for their meaning."""

    name: str | None = None
    version: str | None = None
    memo: bool = True
    ignore: tuple[str, ...] = ()
    key: Mapping[str, Callable[[Any], Any]] = {}
    ttl: float | None = None
    track: tuple[Any, ...] = ()
    retries: Retry | None = None
    catch: tuple[type[BaseException], ...] = ()
    default: Any = None
    tags: tuple[str, ...] = ()
    executor: Executor | None = None
    store_args: bool | None = None
    timeout: float | None = None
    resources: Mapping[str, Any] = {}
    device: str | None = None


class Task(TaskLike, Generic[P, R]):
    """A function whose calls are remembered and recorded. Made by `@task`; safe in any thread.

    Calling it returns the plain value: from the store if this call was made before with the same
    code and equal arguments, else by executing the function, in the caller's thread. The
    function's exceptions come through unchanged. `__wrapped__` is the function.
    """

    __wrapped__: Callable[P, R]

    def __init__(self, function: Callable[P, R], options: Options) -> None:
        functools.update_wrapper(self, function)
        if _flags(function) & _IS_GENERATOR:
            raise ConfigError(
                f"{_name_of(function)} is a generator function: a task returns one value. "
                "Return a list instead of yielding."
            )
        self.settings = options
        """The options in force."""
        self.binding = binding_of(function)
        """How arguments become one value per parameter."""
        self._plan: Plan | None = None
        self._annotated: Mapping[str, Callable[[Any], Any]] | None = None
        self.name = options.name or _name_of(function)
        self.is_async = _is_async(function)
        self.is_elsewhere = bool(options.executor or options.timeout or options.resources)
        """Whether a direct call runs on an executor, too."""
        self._check_parameters()
        memos.register(self)

    # What of the task counts for its code version (see `TaskLike`).

    @property
    def version(self) -> str | None:
        """What stands in for the code, if the task has `version=`."""
        return self.settings.version

    @property
    def key(self) -> Mapping[str, Callable[[Any], Any]]:
        """What of an argument counts, by parameter: by `key=` and by annotations."""
        if self._annotated is None:  # not before the first key: then their names are bound
            self._annotated = _annotated_keys(self.__wrapped__)
        return {**self._annotated, **self.settings.key} if self._annotated else self.settings.key

    @property
    def ignore(self) -> tuple[str, ...]:
        """Parameters that do not count."""
        return self.settings.ignore

    @property
    def track(self) -> tuple[Any, ...]:
        """Extra things whose content counts."""
        return self.settings.track

    # `asyncio.iscoroutinefunction` and, from Python 3.12 on, that of `inspect` ask for these marks.

    @property
    def _is_coroutine(self) -> object:
        return _mark("asyncio.coroutines", "_is_coroutine") if self.is_async else None

    @property
    def _is_coroutine_marker(self) -> object:
        own = "_is_coroutine_mark" if sys.version_info >= (3, 13) else "_is_coroutine_marker"
        return _mark("inspect", own) if self.is_async else None

    # Calling.

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if config.is_disabled():
            bare: R = engine.bare_value(self, args, kwargs)
            return bare
        try:
            result: R = engine.call(self, args, kwargs)
        except BaseException as error:
            without_our_frames(error)
            raise
        return result

    @overload
    def submit(
        self: Task[A, Coroutine[Any, Any, T]], /, *args: A.args, **kwargs: A.kwargs
    ) -> Future[T]: ...
    @overload
    def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> Future[R]: ...
    @overload
    def submit(self, /, *args: Any, **kwargs: Any) -> Future[R]: ...
    def submit(self, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Schedule the call on the run's executor.

        Futures, BoundCalls and Fanouts may stand for values, also inside lists, tuples and dicts.
        """
        from tasklineage.core.future import submit

        return submit(self, args, kwargs)

    @overload
    def bind(
        self: Task[A, Coroutine[Any, Any, T]], /, *args: A.args, **kwargs: A.kwargs
    ) -> BoundCall[T]: ...
    @overload
    def bind(self, /, *args: P.args, **kwargs: P.kwargs) -> BoundCall[R]: ...
    @overload
    def bind(self, /, *args: Any, **kwargs: Any) -> BoundCall[R]: ...
    def bind(self, /, *args: Any, **kwargs: Any) -> BoundCall[Any]:
        """A call that is not made yet, for `gather` and `join`.

        Raises
        ------
        TypeError
            The arguments do not fit the function.
        """
        from tasklineage.core.future import BoundCall

        self.binding.bind(*args, **kwargs)
        return BoundCall(self, args, kwargs)

    def cached(self, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Whether this call would be a hit now. Executes and records nothing."""
        return engine.is_cached(self, args, kwargs)

    def forget(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Make the memo of this call, if there is one, answer no longer.

        It acts on the key alone: memos of calls above and below stay.
        """
        engine.forget(self, args, kwargs)

    def accept(self, *, revoke: bool = False, store: Any = None) -> Acceptance:
        """Let memos of the previous code version stay good for the present one.

        The previous one is that, of those whose memos are in the store, which was used last. Where
        the code of callers has changed by nothing else, their memos stay good too. Calls that were
        made under the present code keep their own memos. It is a decision, made once for an edit
        by somebody who knows that it cannot change results: nothing is compared.

        Parameters
        ----------
        revoke
            What was accepted for the present code is no longer good.
        store
            The store to decide for, by default that of the run.

        Raises
        ------
        NotFound
            There is nothing to accept, or nothing to revoke.
        ConfigError
            The task had other parameters.
        """
        from tasklineage.core.acceptance import accept  # rarely needed

        return accept(self, revoke=revoke, store=store)

    def why(self, /, *args: P.args, **kwargs: P.kwargs) -> Why:
        """Why the call with these arguments executed; where no memo answers it, why it would now.

        Executes and records nothing.

        Raises
        ------
        ConfigError
            There is no store yet.
        """
        from tasklineage.core.planning import why_of  # for those who ask, not who compute

        return why_of(self, args, kwargs)

    def calls(self, **filters: Any) -> Sequence[Any]:
        """The recorded calls of this task, newest first; filters as for `tl.calls`."""
        from tasklineage.query.find import calls

        return calls(task=self.name, **filters)

    def options(self, **overrides: Any) -> Task[P, R]:
        """The same function with some options changed."""
        return Task(self.__wrapped__, _known({**self.settings._asdict(), **overrides}))

    @property
    def code_version(self) -> str:
        """The digest of the code that counts, as it is now."""
        return f"xxh3:{code_version(self).digest.hex()}"

    # A method's `self` is an argument.

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Task[P, R]: ...
    @overload
    def __get__(
        self: Task[Concatenate[S, A], T], instance: S, owner: type | None = None
    ) -> BoundTask[A, T]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else BoundTask(self, instance)

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    def __reduce__(self) -> Any:
        found: Any = sys.modules.get(self.__wrapped__.__module__)
        for part in self.__wrapped__.__qualname__.split("."):
            found = getattr(found, part, None)
        if found is self:
            return self.__wrapped__.__qualname__
        return Task, (self.__wrapped__, self.settings)

    # What the engine asks.

    def plan(self) -> Plan:
        """What follows from the code version in force: made anew when that changes (HOT)."""
        plan, closure = self._plan, self.closure
        if (
            plan is not None
            and closure is plan.code.closure
            and closure.version() is plan.code
            and plan.epoch is epoch()
        ):
            return plan
        code = code_version(self)
        if plan is None or plan.code is not code or plan.epoch is not epoch():
            self.binding = binding_of(self.__wrapped__)
            plan = self._plan = Plan(self, code)
        return plan

    def _check_parameters(self) -> None:
        names = self.binding.names
        for option in ("ignore", "key"):
            for name in getattr(self.settings, option):
                if name not in names:
                    raise ConfigError(
                        f"{self.name} has no parameter {name!r} ({option}=); it has: "
                        f"{', '.join(names) or 'none'}"
                    )


class BoundTask(Generic[P, R]):
    """A task that is a method, seen through an instance, which is its first argument."""

    def __init__(self, task: Task[Any, R], instance: Any) -> None:
        self.__wrapped__ = MethodType(task.__wrapped__, instance)
        self._task = task
        self._instance = instance

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._task(self._instance, *args, **kwargs)

    def submit(self, /, *args: Any, **kwargs: Any) -> Future[R]:
        """As `Task.submit`."""
        return self._task.submit(self._instance, *args, **kwargs)

    def bind(self, /, *args: Any, **kwargs: Any) -> BoundCall[R]:
        """As `Task.bind`."""
        return self._task.bind(self._instance, *args, **kwargs)

    def cached(self, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """As `Task.cached`."""
        return self._task.cached(self._instance, *args, **kwargs)

    def forget(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """As `Task.forget`."""
        self._task.forget(self._instance, *args, **kwargs)

    def why(self, /, *args: P.args, **kwargs: P.kwargs) -> Why:
        """As `Task.why`."""
        return self._task.why(self._instance, *args, **kwargs)

    def unbound(self, shared: dict[str, Any]) -> tuple[Task[Any, R], dict[str, Any]]:
        """The task, and the instance among what the elements of a map share."""
        return self._task, {self._task.binding.names[0]: self._instance, **shared}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def __repr__(self) -> str:
        return f"<task {self._task.name} of {type(self._instance).__name__}>"


@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(
    *,
    name: str | None = ...,
    version: str | None = ...,
    memo: bool = ...,
    ignore: str | Iterable[str] = ...,
    key: Mapping[str, Callable[[Any], Any]] | None = ...,
    ttl: float | timedelta | None = ...,
    track: Any = ...,
    retries: int | Retry = ...,
    timeout: float | None = ...,
    catch: type[BaseException] | Iterable[type[BaseException]] = ...,
    default: Any = ...,
    resources: Mapping[str, Any] | None = ...,
    executor: Any = ...,
    tags: str | Iterable[str] = ...,
    store_args: bool | None = ...,
    device: Any = ...,
) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make the calls of a function remembered and recorded.

    Used as `@task` or `@task(...)`. The function keeps its signature, name and docstring.

    Parameters
    ----------
    name
        The name in records; by default the module-qualified name.
    version
        A string that stands in for the code: editing the body no longer matters, changing the
        string does.
    memo
        False: always execute, still record.
    ignore
        Parameters that are not part of the key. They are recorded.
    key
        By parameter, a function of the argument that gives what of it counts. The annotation
        `Annotated[T, tl.Key(function)]` of the parameter does the same.
    ttl
        Seconds, or a timedelta, after which a memo is a miss.
    track
        Extra things whose content counts: functions, modules, `"dist:numpy"` (an installed
        version), `"env:NAME"` (a variable of the environment).
    retries
        Further attempts when the function raises an `Exception`: a number, or a `Retry`.
    catch, default
        Exceptions for which the call yields `default` instead of raising: a value, or a function
        of the exception. Such a call is recorded as `caught` and is never a memo.
    timeout
        Seconds that an attempt may take: the process that runs it is then killed, and `TaskTimeout`
        raised. Where the executor cannot do that, the call runs in a process all the same.
    resources
        What a call holds while it executes: `{"GPU": 1, "cpu": 2, "memory": "8GB"}`, or a name
        that its executor declares. It waits until that is free; what nobody has is an
        `UnsatisfiableResources` when it is submitted.
    executor
        Where this task always runs: an executor or its name. By default a direct call runs in the
        caller's thread.
    tags
        Strings kept on its calls.
    store_args
        Store also those arguments that are too large to be kept in the record.
    device
        Where tensors and device arrays are that come back from the store, `"cuda:1"` for example;
        by default on the CPU. A call that executes here returns what the function returned.

    Raises
    ------
    ConfigError
        An option cannot work; the function is a generator function; `timeout` or `resources`,
        which no executor of this version can honour.

    Examples
    --------
    >>> @task
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> double(21)
    42
    """
    checked = _known(options)
    return _decorating(checked) if function is None else _decorate(function, checked)


def _decorating(options: Options) -> Callable[[Any], Task[Any, Any]]:
    return lambda function: _decorate(function, options)


def _known(options: dict[str, Any]) -> Options:
    """The options as the engine wants them; one that does not exist is an error that names all."""
    names = _checked.__code__.co_varnames[: _checked.__code__.co_argcount]
    for name in options:
        if name not in names:
            raise TypeError(f"@task has no option {name!r}; it has: {', '.join(names)}")
    return _checked(**options)


def _decorate(function: Any, options: Options) -> Task[Any, Any]:
    import_module("tasklineage.storage.opening")  # for who has tasks: calls shall not wait for it
    if isinstance(function, staticmethod | classmethod):
        kind = type(function).__name__
        raise ConfigError(f"@task goes under @{kind}, next to the function: swap the two lines")
    if isinstance(function, Task):
        raise ConfigError(f"{function.name} is a task already; change it with .options(...)")
    if not isinstance(function, FunctionType):
        raise ConfigError(
            f"@task takes a function, not {type(function).__name__}; wrap it in a function"
        )
    return Task(function, options)


def _checked(
    name: str | None = None,
    version: str | None = None,
    memo: bool = True,
    ignore: str | Iterable[str] = (),
    key: Mapping[str, Callable[[Any], Any]] | None = None,
    ttl: float | timedelta | None = None,
    track: Any = (),
    retries: int | Retry = 0,
    timeout: float | None = None,
    catch: type[BaseException] | Iterable[type[BaseException]] = (),
    default: Any = None,
    resources: Mapping[str, Any] | None = None,
    executor: Any = None,
    tags: str | Iterable[str] = (),
    store_args: bool | None = None,
    device: Any = None,
) -> Options:
    """The options as the engine wants them."""
    limit: Any = timeout
    if timeout is not None and not (isinstance(limit, int | float) and limit > 0):
        raise ConfigError(f"timeout= is a number of seconds above 0, not {timeout!r}")
    for option, text in (("name", name), ("version", version)):
        if text is not None and not isinstance(text, str):
            raise ConfigError(f"{option}= is a string, not {text!r}")
    if not isinstance(memo, bool):
        raise ConfigError(f"memo= is True or False, not {memo!r}")
    return Options(
        name=name,
        version=version,
        memo=memo,
        ignore=_strings(ignore, "ignore"),
        key=_key_functions(key),
        ttl=_seconds(ttl),
        track=_tracked(track),
        retries=_retries(retries),
        catch=_exceptions(catch),
        default=default,
        tags=_strings(tags, "tags"),
        executor=None if executor is None else _executor(executor),
        store_args=store_args,
        timeout=None if timeout is None else float(timeout),
        resources=_resources(resources),
        device=None if device is None else _device(device),
    )


def _annotated_keys(function: Callable[..., Any]) -> Mapping[str, Callable[[Any], Any]]:
    """What the annotations of a function say of its key; nothing is loaded where they cannot."""
    hints = getattr(function, "__annotations__", {}).values()
    is_loaded = "tasklineage.core.keyed" in sys.modules
    if not hints or not (is_loaded or any(type(hint) is str and "Key" in hint for hint in hints)):
        return {}
    from tasklineage.core.keyed import key_functions

    return key_functions(function)


def _resources(resources: Mapping[str, Any] | None) -> Mapping[str, float]:
    if not resources and resources in (None, {}):
        return {}
    from tasklineage.executors.resources import amounts  # for those who ask

    return amounts(resources or {})


def _device(device: Any) -> str:
    from tasklineage.storage.codecs.placing import device_name  # for those who ask

    return device_name(device)


def _strings(value: str | Iterable[str], option: str) -> tuple[str, ...]:
    values = (value,) if isinstance(value, str) else _members(value)
    if values is None or not all(isinstance(v, str) for v in values):
        raise ConfigError(f"{option}= takes strings, not {value!r}")
    return values


def _members(value: Any) -> tuple[Any, ...] | None:
    """The elements of an iterable; None of what is none."""
    return tuple(value) if isinstance(value, Iterable) else None


def _key_functions(
    key: Mapping[str, Callable[[Any], Any]] | None,
) -> Mapping[str, Callable[[Any], Any]]:
    if not isinstance(key, Mapping | None):
        raise ConfigError(
            f"key= maps a parameter to a function: key={{'x': function}}, not {key!r}"
        )
    functions = dict(key or {})
    for name, function in functions.items():
        if not callable(function):
            raise ConfigError(f"key= maps a parameter to a function; {name!r} has {function!r}")
    return functions


def _seconds(ttl: float | timedelta | None) -> float | None:
    seconds: Any = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    if seconds is not None and not (isinstance(seconds, int | float) and seconds >= 0):
        raise ConfigError(f"ttl= is a number of seconds or a timedelta, not {ttl!r}")
    return None if seconds is None else float(seconds)


def _retries(retries: int | Retry) -> Retry | None:
    if type(retries) is int and retries == 0:
        return None
    from tasklineage.core.policy import as_retry

    return as_retry(retries)


def _executor(spec: Any) -> Executor:
    from tasklineage.executors.choose import executor_from

    return executor_from(spec)


def _tracked(track: Any) -> tuple[Any, ...]:
    extras = tuple(track) if isinstance(track, list | tuple | set | frozenset) else (track,)
    for extra in extras:
        if isinstance(extra, str) and not extra.startswith(("dist:", "env:")):
            raise ConfigError(f'track= takes "dist:NAME" or "env:NAME", not {extra!r}')
        if not (isinstance(extra, str) or callable(extra) or isinstance(extra, ModuleType)):
            raise ConfigError(f"track= takes functions, modules and strings, not {extra!r}")
    return extras


def _exceptions(
    catch: type[BaseException] | Iterable[type[BaseException]],
) -> tuple[type[BaseException], ...]:
    classes = (catch,) if isinstance(catch, type) else _members(catch)
    if classes is None or not all(map(_is_exception_class, classes)):
        raise ConfigError(f"catch= takes exception classes, not {catch!r}")
    return classes


def _is_exception_class(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, BaseException)


def _flags(function: Callable[..., Any]) -> int:
    code = getattr(function, "__code__", None)
    return 0 if code is None else code.co_flags


def _is_async(function: Callable[..., Any]) -> bool:
    """Whether it is an `async def` function, or one that was marked as such."""
    if _flags(function) & _IS_COROUTINE:
        return True
    if not vars(function):
        return False
    from inspect import iscoroutinefunction  # slow to import

    return iscoroutinefunction(function)


def _mark(module: str, name: str) -> object:
    """The mark of coroutine functions that this module knows, if it is loaded: it is who asks."""
    return getattr(sys.modules.get(module), name, None)


def _name_of(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"
