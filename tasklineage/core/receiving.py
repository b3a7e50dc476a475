"""Calls that were shipped to this worker process: their bodies are run, what came of them told."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from tasklineage import config
from tasklineage.core import capture, engine
from tasklineage.core.body import Body
from tasklineage.core.call import Call, Plan
from tasklineage.core.capture import Capture
from tasklineage.core.failure import without_our_frames
from tasklineage.core.fold import Fold
from tasklineage.core.frame import Frame
from tasklineage.core.log_settings import apply_log_settings
from tasklineage.core.luggage import unpacked
from tasklineage.core.metering import Meter, Meters
from tasklineage.core.program import working_folder
from tasklineage.core.run import RunState, warnings_told
from tasklineage.core.shipping import (
    VISIBLE,
    Context,
    Delivery,
    Item,
    Reply,
    Shipment,
    is_from_here,
)
from tasklineage.core.task import Task
from tasklineage.core.variables import called_with
from tasklineage.errors import ConfigError, TasklineageError
from tasklineage.executors import parcels
from tasklineage.executors.place import Here, around
from tasklineage.executors.serving import end_copy, packed_error
from tasklineage.storage.records import CallEnd

if TYPE_CHECKING:
    from tasklineage.executors.serving import Tell

K = TypeVar("K")
T = TypeVar("T")
_REMEMBERED = 64


class _Worker:
    """What this worker has met, by its packed form."""

    runs: ClassVar[dict[tuple[bytes, Any], tuple[RunState, Context]]] = {}
    tasks: ClassVar[dict[bytes, Task[Any, Any]]] = {}


def performed(shipment: Shipment, tell: Tell) -> Delivery:
    """What came of calls that were shipped here."""
    capture.hold()  # once, not for each call
    try:
        return called_with(shipment.variables, partial(_performed, shipment, tell))
    finally:
        capture.release()


def _performed(shipment: Shipment, tell: Tell) -> Delivery:
    run, context = _joined(shipment.context)
    if context.store is not None:
        delivery = _delivery(shipment, context, run, tell)
        run.store.flush()  # what is told to be done is there for other machines
        return delivery
    if shipment.has_references:
        return Delivery((None,) * len(shipment.items), 0.0, wants_values=True)
    from tasklineage.storage.freight import freight_of, store_apart

    with store_apart(getattr(Here.dask_worker, "local_directory", None)) as store:
        delivery = _delivery(shipment, context, _run(context, store), tell)
        return delivery._replace(freight=freight_of(store))


def _delivery(shipment: Shipment, context: Context, run: RunState, tell: Tell) -> Delivery:
    began = time.perf_counter()
    task = _task(shipment)
    plan = task.plan()
    replies: list[Reply | None] = [None] * len(shipment.items)
    if plan.code.digest != shipment.code:
        return Delivery(tuple(replies), 0.0, refusal=packed_error(_refusal(task, shipment)))
    is_guest = not is_from_here(context)
    for place, item in enumerate(shipment.items):
        if place and is_guest:
            _settle_in(context)
        try:
            this = _received(task, plan, run, shipment, item)
        except (TasklineageError, OSError):  # an argument cannot be read from the store here
            if not shipment.has_references:
                raise
            return Delivery(tuple(replies), time.perf_counter() - began, wants_values=True)
        tell_of = partial(_tell_of, tell, place)
        # What one call sets is nothing to the next.
        reply = replies[place] = copy_context().run(_warning, this, shipment, item, tell_of)
        if reply.error and place < len(replies) - 1:
            tell((place, "reply", reply))  # what is stored nowhere else
            replies[place] = None
            if shipment.stops_at_failure:
                break
        if time.perf_counter() - began > shipment.seconds:
            break
    return Delivery(tuple(replies), time.perf_counter() - began)


def _tell_of(tell: Tell, place: int, told: tuple[str, Any]) -> None:
    tell((place, *told))


def _received(
    task: Task[Any, Any], plan: Plan, run: RunState, shipment: Shipment, item: Item
) -> Call:
    parent = Frame(run, shipment.parent)
    parent.adopt(shipment.held)
    args = unpacked(item.args, run.store)
    kwargs = dict(zip(item.kwargs, unpacked(item.kwargs.values(), run.store), strict=True))
    return Call.received(
        task, plan, parent, args, kwargs, item.digests, item.salt, item.key,
        item.position, item.edges, item.miss,
    )  # fmt: skip


def _warning(this: Call, shipment: Shipment, item: Item, tell: Tell) -> Reply:
    """What came of one call, with what the run warns of."""
    told: list[tuple[str, str]] = []
    warnings_told.set(told)
    reply = _reply(this, shipment, item, tell)
    return reply._replace(warnings=tuple(told)) if told else reply


def _reply(this: Call, shipment: Shipment, item: Item, tell: Tell) -> Reply:
    """What came of one call; one before it may have made it as well."""
    fold = None if shipment.parent is None else this.parent.fold
    if item is not shipment.items[0]:
        value = engine.answer(this)
        if value is not engine.MISS:
            if this.run.verification is not None:
                this.run.verification.check(this, value)
            return _done(this, value, fold, is_hit=True)
    body = _Shipped(this, item, tell)
    try:
        value = engine.attempt(body)
    except BaseException as error:
        return Reply(
            this.status, this.id, None, None, packed_error(without_our_frames(error)), fold
        )
    finally:
        body.flush()
    return _done(this, value, fold, body.parts)


def _done(
    this: Call,
    value: Any,
    fold: Fold | None,
    parts: tuple[tuple[str, bytes, str], ...] = (),
    *,
    is_hit: bool = False,
) -> Reply:
    output = this.output if this.output.is_stored else None
    kept = value if output is None else None
    return Reply(this.status, this.id, output, kept, b"", fold, parts, is_hit)


class _Shipped(Body):
    """The attempts of a call in its worker: what they print is told to the process that asked."""

    __slots__ = ("_screen", "_tell", "parts")

    def __init__(self, this: Call, item: Item, tell: Tell) -> None:
        self._tell = tell
        self.parts: tuple[tuple[str, bytes, str], ...] = ()
        this.id = item.id
        self.open(this, item.attempts)
        if not item.attempts:
            self.begin()
        self.describe()

    def enter(self) -> None:
        if self.attempts or self.this.task.settings.timeout is not None:
            self._tell(("attempt", tuple(self.attempts)))
        super().enter()
        if isinstance(self.log, _ToldCapture):
            self._screen = capture.show_elsewhere.set(self.log.show)

    def leave(self) -> None:
        if Here.is_copy:
            end_copy()
        super().leave()
        if isinstance(self.log, _ToldCapture):
            capture.show_elsewhere.reset(self._screen)
            self.log.flush()

    def trace(self) -> None:
        """It was traced where it was called: here only part of the run is known."""

    def made_log(self) -> Capture:
        return _ToldCapture(self._tell) if capture.is_quiet() else Capture()

    def made_meter(self) -> Meter:
        return Meter(is_outermost=True)

    def flush(self) -> None:
        """Tell what was printed and not told yet."""
        log = getattr(self, "log", None)
        if isinstance(log, _ToldCapture):
            log.flush()

    def appended(self, record: CallEnd) -> None:
        self.parts = record.parts
        super().appended(record)


class _ToldCapture(Capture):
    """Tells each line that a call writes; it is shown there."""

    __slots__ = ("_tell", "_waiting")
    is_told = True

    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self._tell = tell
        self._waiting: list[tuple[str, str]] = []

    def add_out(self, text: str) -> None:
        super().add_out(text)
        self._add("out", text)

    def add_err(self, text: str) -> None:
        super().add_err(text)
        self._add("err", text)

    def show(self, text: str, is_err: bool) -> None:
        """Have a text shown that belongs to a call inside of this one."""
        self._add("shown err" if is_err else "shown out", text)

    def flush(self) -> None:
        """Tell what waits for the end of its line."""
        waiting, self._waiting = self._waiting, []
        while waiting:
            kind, text = waiting.pop(0)
            while waiting and waiting[0][0] == kind:
                text += waiting.pop(0)[1]
            self._tell((kind, text))

    def _add(self, kind: str, text: str) -> None:
        self._waiting.append((kind, text))
        if text.endswith(("\n", "\r")):
            self.flush()


def _joined(packed: bytes) -> tuple[RunState, Context]:
    """The run that calls belong to, as this process takes part in it."""
    executor = around.get()

    def join() -> tuple[RunState, Context]:
        context: Context = parcels.unpack(packed, ())
        return _run(context, context.store), context

    run, context = _known(_Worker.runs, (packed, executor), join)
    if not is_from_here(context):
        capture.set_quiet(True)
        Meters.in_use = True
        _settle_in(context)
    return run, context


def _run(context: Context, store: Any) -> RunState:
    run = RunState(
        context.name, store, refresh=context.refresh, verify=context.verify,
        store_args=context.store_args, executor=around.get() or "threads:1",
    )  # fmt: skip
    run.join(context.run, context.refresh_since)
    return run


def _settle_in(context: Context) -> None:
    """Let this process have the settings and surroundings of the one that the calls come from."""
    if config.settings() != context.settings:
        config.change(**context.settings._asdict())
    around = context.surroundings
    variables = around.environment
    if around.folder is None:
        for name, value in variables.items():
            if value is None:
                os.environb.pop(name, None)
            else:
                os.environb[name] = value
        sys.path += [one for one in around.path if one not in sys.path]
        return
    if VISIBLE not in variables and VISIBLE in os.environb:
        variables = {**variables, VISIBLE: os.environb[VISIBLE]}
    if config.environment() != variables:
        os.environb.clear()
        os.environb.update({name: value for name, value in variables.items() if value is not None})
    if around.folder and working_folder() != around.folder:
        os.chdir(around.folder)
    sys.path[:] = around.path
    apply_log_settings(around.logs)


def _task(shipment: Shipment) -> Task[Any, Any]:
    """The task, made anew where calls before have changed what it reads, if it came by value."""
    task = _known(_Worker.tasks, shipment.task, lambda: parcels.unpack(shipment.task, ()))
    if task.plan().code.digest != shipment.code:
        task = _Worker.tasks[shipment.task] = parcels.unpack(shipment.task, ())
    return task


def _known(table: dict[K, T], packed: K, make: Callable[[], T]) -> T:
    found = table.get(packed)
    if found is None:
        if len(table) >= _REMEMBERED:
            table.clear()
        found = table[packed] = make()
    return found


def _refusal(task: Task[Any, Any], shipment: Shipment) -> ConfigError:
    return ConfigError(
        f"{task.name} has another code version in the worker ({task.code_version}) than where it "
        f"was called (xxh3:{shipment.code.hex()}): a file was edited after it was imported. "
        "Restart the program, so that both run the same code. If none was, the task reads "
        "what does not travel, such as globals() of the script: pass it what it needs."
    )


def _after_fork() -> None:
    if Here.is_copy:  # what it prints is shown, as nobody is told any more
        capture.set_quiet(False)


os.register_at_fork(after_in_child=_after_fork)
