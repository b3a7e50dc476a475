"""From what users write to an executor."""

from __future__ import annotations

from _thread import allocate_lock
from typing import ClassVar

from tasklineage import config
from tasklineage.errors import ConfigError
from tasklineage.executors.base import Executor
from tasklineage.executors.inline import Inline
from tasklineage.executors.place import Here
from tasklineage.executors.threads import Threads

_KILLING = "processes for time limits"


class _Named:
    """The executors that were asked for by name: one for each name and number."""

    lock = allocate_lock()
    executors: ClassVar[dict[str, Executor]] = {}


def executor_from(spec: Executor | str | None = None) -> Executor:
    """The executor that `spec` names: `"inline"`, `"threads"`, `"threads:8"`; None: the default.

    Other distributions offer further names (see `installed`). An executor is returned as it is. The
    same name gives the same executor, so that nested maps over `"threads:8"` share eight threads.

    Raises
    ------
    ConfigError
        There is no such executor (yet).
    """
    if spec is None:
        spec = config.default_executor()
    if isinstance(spec, Executor):
        return spec
    if not isinstance(spec, str):
        raise ConfigError(f"executor={spec!r}: neither an executor nor the name of one")
    with _Named.lock:
        executor = _Named.executors.get(spec)
        if executor is None:
            executor = _Named.executors[spec] = _made(spec)
        return executor


def _made(spec: str) -> Executor:
    name, _, rest = spec.partition(":")
    if name == "inline" and not rest:
        return Inline()
    if name == "threads":
        return Threads(_number(spec, rest) if rest else None)
    if name == "processes":
        return _processes(_number(spec, rest) if rest else None)
    if name == "dask":
        return _dask(spec, rest)
    from tasklineage.executors.installed import installed_executor, installed_names

    if (found := installed_executor(spec)) is not None:
        return found
    if rest.startswith("//"):
        return _dask(spec, rest)
    others = "".join(f', "{one}"' for one in installed_names())
    raise ConfigError(
        f'executor={spec!r}: known are "inline", "threads", "threads:N", "processes", '
        f'"processes:N", "dask", "dask:N", the address of a Dask scheduler ("tcp://host:port")'
        f"{others}"
    )


def killing_executor() -> Executor:
    """The executor for calls that may have to be stopped, where the run's cannot stop them."""
    with _Named.lock:
        executor = _Named.executors.get(_KILLING)
        if executor is None:
            from tasklineage.executors.processes import Processes

            executor = _Named.executors[_KILLING] = Processes(1 if Here.is_worker else None)
        return executor


def one_thread() -> Executor:
    """The executor of a worker for what its own work is spread over, where others use the CPUs."""
    return executor_from("threads:1")


def _processes(number: int | None) -> Executor:
    """Processes; in a worker process, whose neighbours use the other CPUs, one thread."""
    if Here.is_worker:
        return Threads(1)
    from tasklineage.executors.processes import Processes

    return Processes(number)


def _dask(spec: str, rest: str) -> Executor:
    from tasklineage.executors.dask import Dask

    if rest.startswith("//"):
        return Dask(spec)
    return Dask(n_workers=_number(spec, rest) if rest else None)


def _number(spec: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        kind = spec.partition(":")[0]
        whom = "workers" if kind == "dask" else kind
        raise ConfigError(f'executor={spec!r}: a number of {whom} is expected, as in "{kind}:8"')
    return int(text)
