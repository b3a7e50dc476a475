"""A call that was shipped to this worker process: its body is run, and what came of it told."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from tasklineage import config
from tasklineage.core import capture, engine
from tasklineage.core.body import Body
from tasklineage.core.call import Call
from tasklineage.core.capture import Capture
from tasklineage.core.failure import without_our_frames
from tasklineage.core.fold import Fold
from tasklineage.core.frame import Frame
from tasklineage.core.metering import Meter, Meters
from tasklineage.core.program import working_folder
from tasklineage.core.run import RunState
from tasklineage.core.shipping import Context, Reply, Shipment
from tasklineage.core.task import Task
from tasklineage.errors import ConfigError
from tasklineage.executors import parcels
from tasklineage.executors.serving import packed_error
from tasklineage.storage.records import FAILED, CallEnd

if TYPE_CHECKING:
    from tasklineage.executors.serving import Tell

T = TypeVar("T")
_REMEMBERED = 64


class _Worker:
    """What this worker has met, by its packed form."""

    runs: ClassVar[dict[bytes, tuple[RunState, Context]]] = {}
    tasks: ClassVar[dict[bytes, Task[Any, Any]]] = {}


def performed(shipment: Shipment, tell: Tell) -> Reply:
    """What came of a call that was shipped here."""
    run = _joined(shipment.context)
    task = _known(_Worker.tasks, shipment.task, lambda: parcels.unpack(shipment.task, ()))
    plan = task.plan()
    if plan.code.digest != shipment.code:
        return Reply(FAILED, None, None, packed_error(_refusal(task, shipment)), Fold(), (), True)
    parent = Frame(run, shipment.parent)
    parent.adopt(shipment.held)
    this = Call.received(
        task, plan, parent, shipment.args, shipment.kwargs, shipment.digests, shipment.salt,
        shipment.key, shipment.position, shipment.edges, shipment.miss,
    )  # fmt: skip
    body = _Here(this, shipment, tell)
    try:
        value = engine.attempt(body)
    except BaseException as error:
        return Reply(this.status, None, None, packed_error(without_our_frames(error)), parent.fold)
    finally:
        body.flush()
    if this.output.is_stored:
        return Reply(this.status, this.output, None, b"", parent.fold, body.parts)
    return Reply(this.status, None, value, b"", parent.fold)


class _Here(Body):
    """The attempts of a call in its worker: what they print is told to the process that asked."""

    __slots__ = ("_tell", "parts")

    def __init__(self, this: Call, shipment: Shipment, tell: Tell) -> None:
        self._tell = tell
        self.parts: tuple[tuple[str, bytes, str], ...] = ()
        this.id = shipment.id
        self.open(this, shipment.attempts)
        if not shipment.attempts:
            self.begin()
        self.describe()

    def enter(self) -> None:
        if self.attempts or self.this.task.settings.timeout is not None:
            self._tell(("attempt", tuple(self.attempts)))
        super().enter()

    def leave(self) -> None:
        super().leave()
        self.flush()

    def made_log(self) -> Capture:
        return _ToldCapture(self._tell)

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
    """Tells each line that a call writes."""

    __slots__ = ("_tell", "_waiting")

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


def _joined(packed: bytes) -> RunState:
    """The run that a call belongs to, as this process takes part in it."""

    def join() -> tuple[RunState, Context]:
        context: Context = parcels.unpack(packed, ())
        run = RunState(
            context.name, context.store, refresh=context.refresh, verify=context.verify,
            store_args=context.store_args, executor="threads:1",
        )  # fmt: skip
        run.join(context.run, context.refresh_since)
        return run, context

    run, context = _known(_Worker.runs, packed, join)
    if config.environment() != context.environment:
        os.environb.clear()
        os.environb.update(context.environment)
    if context.folder and working_folder() != context.folder:
        os.chdir(context.folder)
    sys.path[:] = context.path
    if config.settings() != context.settings:
        config.change(**context.settings._asdict())
    capture.set_quiet(True)
    Meters.in_use = True
    return run


def _known(table: dict[bytes, T], packed: bytes, make: Callable[[], T]) -> T:
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
        "Restart the program, so that both run the same code."
    )
