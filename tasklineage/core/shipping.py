"""Calls on their way to another process, and what came of them on their way back.

    here (`elsewhere`)                         in the worker (`receiving`)
    key, look-up, lock ──── Shipment ────> Body: begin record, function, object, end record
    outcome, fold, origins <── Delivery ─┘     what it prints is told at once

The worker has the same store open and writes objects and records itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from tasklineage import config
from tasklineage.core.distance import Distant, is_in_memory
from tasklineage.core.fold import Fold
from tasklineage.core.log_settings import LogSettings, log_settings
from tasklineage.core.program import working_folder
from tasklineage.core.run import RunState
from tasklineage.core.task import Options, Task
from tasklineage.executors import parcels
from tasklineage.executors.place import Here
from tasklineage.executors.resources import held
from tasklineage.key.boundary import is_project_module
from tasklineage.storage.opening import Confided
from tasklineage.storage.records import Attempt, Edge, Ref

if TYPE_CHECKING:
    from tasklineage.executors.base import Executor
    from tasklineage.executors.serving import Tell
    from tasklineage.storage.freight import Freight
    from tasklineage.storage.records import Condition


_PLAIN_LOADERS = ("_frozen_importlib", "zipimport", "importlib.")
"""Where the loaders are defined with which Python imports by itself."""


class Context(NamedTuple):
    """What the calls of one run have in common, as a worker needs it."""

    process: str
    """Where it comes from."""
    store: Any
    """In the worker, the `Store`; None: it is out of reach."""
    settings: config.Settings
    run: bytes
    name: str
    refresh: Any
    refresh_since: float
    store_args: bool
    verify: float
    surroundings: Surroundings


class Surroundings(NamedTuple):
    """What the bodies of calls find around them, beside the store."""

    path: tuple[str, ...]
    """`sys.path`; a worker that has a path of its own looks there first."""
    folder: str | None
    """The working folder; None: that of the worker."""
    environment: dict[bytes, bytes | None]
    """The variables; where the folder is that of the worker, those that count. None: not set."""
    logs: LogSettings | None = None


class Item(NamedTuple):
    """One call on its way."""

    id: bytes
    key: bytes
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    digests: tuple[bytes, ...]
    salt: tuple[Condition, ...]
    position: tuple[int, int | None] | None
    edges: tuple[Edge, ...]
    miss: str
    attempts: tuple[Attempt, ...]
    """Those that are over: workers were lost, or stopped."""


class Shipment(NamedTuple):
    """Calls of one task on their way to a worker, which executes one after the other."""

    items: tuple[Item, ...]
    context: bytes
    """A packed `Context`, equal for many calls."""
    task: bytes
    """The packed task."""
    code: bytes
    """The code version that the worker must come to as well."""
    variables: bytes
    """What context variables stand for that the code reads."""
    parent: bytes | None
    held: frozenset[bytes]
    """The keys that are held while they execute: their own, and those of their ancestors."""
    seconds: float
    """After so long no further call is begun."""
    stops_at_failure: bool
    has_references: bool
    """Whether arguments are where the store has them."""

    def perform(self, tell: Tell) -> Delivery:
        """What came of them, in the worker."""
        from tasklineage.core.receiving import performed

        return performed(self, tell)

    def __reduce__(self) -> tuple[Any, ...]:
        """Without the classes of its parts: they take ten times as long as plain tuples."""
        return _shipment, (tuple(map(tuple, self.items)), *self[1:])


def _shipment(items: Iterable[tuple[Any, ...]], *rest: Any) -> Shipment:
    return Shipment(tuple([Item(*one) for one in items]), *rest)


class Reply(NamedTuple):
    """What came of a call in a worker."""

    status: str
    id: bytes
    output: Ref | None
    """Where the value is, if it is stored."""
    value: Any
    """The value, if it is not."""
    error: bytes
    fold: Fold | None
    """What the call adds to that of its parent; None: nothing."""
    parts: tuple[tuple[str, bytes, str], ...] = ()
    is_hit: bool = False
    """A call before it in the same shipment had made this one, too."""
    warnings: tuple[tuple[str, str], ...] = ()
    """What the run warns of, once each."""


class Delivery(NamedTuple):
    """What came of a shipment."""

    replies: tuple[Reply | None, ...]
    """One for each call, in order; None: it was not begun, or has been told of before."""
    seconds: float
    """How long the worker was at it."""
    freight: Freight | None = None
    """What was recorded, where the store was out of reach."""
    wants_values: bool = False
    """Arguments could not be read from the store: those without a reply were not begun."""
    refusal: bytes = b""
    """The worker has other code, as this exception says; none was begun. The process ends, and the
    next one may have the same."""

    @property
    def retires(self) -> bool:
        """Whether the process that gives this is of no further use."""
        return bool(self.refusal)

    def __reduce__(self) -> tuple[Any, ...]:
        """As that of a `Shipment`."""
        return _delivery, (tuple(map(_plain, self.replies)), *self[1:])


def _plain(reply: Reply | None) -> tuple[Any, ...]:
    if reply is None:
        return ()
    return *reply[:2], None if reply.output is None else tuple(reply.output), *reply[3:]


def _delivery(replies: Iterable[tuple[Any, ...]], *rest: Any) -> Delivery:
    return Delivery(tuple([_reply(*one) if one else None for one in replies]), *rest)


def _reply(status: str, made: bytes, output: tuple[Any, ...] | None, *rest: Any) -> Reply:
    return Reply(status, made, None if output is None else Ref(*output), *rest)


VISIBLE = b"CUDA_VISIBLE_DEVICES"


class _Packed:
    """What was packed last, and by whom."""

    context: ClassVar[tuple[Any, bytes] | None] = None
    tasks: ClassVar[dict[Task[Any, Any], tuple[bytes, bytes]]] = {}
    by_value: ClassVar[set[str]] = set()
    """Modules whose functions and classes travel with the call, as those of the main module do."""


def packed_context(run: RunState, task: Task[Any, Any], executor: Executor) -> bytes:
    """What calls of a run have in common, as it is now."""
    share = 0.0 if run.verification is None else run.verification.share
    near = executor.shares_surroundings
    is_distant = executor.is_remote or is_in_memory(run.store)
    store = Distant(run.store, near) if is_distant else Confided(run.store)
    context = Context(
        Here.token, store, config.settings()._replace(store=None, executor=None), run.id,
        run.name, run.refresh, run.refresh_since, run.store_args, share,
        _surroundings(task, executor),
    )  # fmt: skip
    known = _Packed.context
    if known is not None and known[0] == context:
        return known[1]
    packed = parcels.pack(context)[0]
    _Packed.context = context, packed  # `known` lives on: see `config.change`
    return packed


def _surroundings(task: Task[Any, Any], executor: Executor) -> Surroundings:
    variables = config.environment()
    if not executor.shares_surroundings:
        tracked = [extra[4:].encode() for extra in task.track if str(extra).startswith("env:")]
        return Surroundings(tuple(sys.path), None, {name: variables.get(name) for name in tracked})
    devices = held().devices
    if devices:
        variables[VISIBLE] = ",".join(devices).encode()
    if executor.is_remote:  # its workers have devices of their own
        variables.pop(VISIBLE, None)
    return Surroundings(tuple(sys.path), working_folder(), {**variables}, log_settings())


def is_from_here(context: Context) -> bool:
    """Whether worker and driver are the same process."""
    return context.process == Here.token


def packed_task(task: Task[Any, Any], code: bytes) -> bytes:
    """A task that has this code version."""
    known = _Packed.tasks.get(task)
    if known is None or known[0] != code:
        known = _Packed.tasks[task] = code, parcels.pack(task)[0]
    return known[1]


def starts_by_value(task: Task[Any, Any]) -> bool:
    """Whether the task travels by value from now on, and did not before.

    A worker that imports its module may come to other code, although the file is the same: a hook
    has changed it on import, as pytest does with the assertions of tests.
    """
    rewritten = {name: module for name, module in list(sys.modules.items()) if _is_hooked(module)}
    own, missing = task.__wrapped__.__module__, rewritten.keys() - _Packed.by_value
    if own not in rewritten or not missing:
        return False
    import cloudpickle

    for name in {own} & missing or missing:  # its own; if that was not enough, the others
        cloudpickle.register_pickle_by_value(rewritten[name])
        _Packed.by_value.add(name)
    _Packed.tasks.clear()
    return True


def _is_hooked(module: Any) -> bool:
    """Whether it is of the project, and was loaded by other means than Python's own."""
    spec = getattr(module, "__spec__", None)
    loader = None if spec is None else spec.loader
    if loader is None or type(loader).__module__.startswith(_PLAIN_LOADERS):
        return False
    return is_project_module(module)


def _reduced_task(task: Task[Any, Any]) -> Any:
    """How a task travels: by name where the worker can import it, else with its function."""
    module = sys.modules.get(task.__wrapped__.__module__)
    spec = getattr(module, "__spec__", None)
    name = getattr(module, "__name__", None)
    if spec is not None and spec.name == name and name not in _Packed.by_value:
        reduced = task.__reduce__()
        if isinstance(reduced, str):
            return reduced
    restore = _restore_with_module if name in _Packed.by_value else _restore_task
    return Task.__new__, (Task,), (task.__wrapped__, task.settings), None, None, restore


def _restore_task(task: Task[Any, Any], state: tuple[Callable[..., Any], Options]) -> None:
    Task.__init__(task, *state)
    home = sys.modules["__main__"]
    if task.__wrapped__.__module__ == home.__name__:
        _bring_classes(task, home)


def _restore_with_module(task: Task[Any, Any], state: tuple[Callable[..., Any], Options]) -> None:
    """As `_restore_task`, where the module itself shall not be imported here."""
    Task.__init__(task, *state)
    name = task.__wrapped__.__module__
    _bring_classes(task, sys.modules.setdefault(name, ModuleType(name)))


def _bring_classes(task: Task[Any, Any], home: ModuleType) -> None:
    """Put the classes that came with a function where codecs look for them."""
    vars(home).update(
        (name, value)
        for name, value in task.__wrapped__.__globals__.items()
        if isinstance(value, type) and value.__module__ == home.__name__
    )


parcels.rules[Task] = _reduced_task
