"""A process in which nothing executes: plain code runs, hits give their values.

A call that would execute gives a placeholder. Calls that are given one are unknown and give one
themselves; plain code that needs its value cannot go on, and the dry run ends there. Every store is
opened to be read only, so that nothing is recorded.
"""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from tasklineage.core import elements, engine
from tasklineage.core.call import Call, Outcome
from tasklineage.core.deferred import Deferred
from tasklineage.core.frame import current
from tasklineage.core.inputs import Inputs
from tasklineage.core.planning import Planner
from tasklineage.key.boundary import is_project_file
from tasklineage.key.digest import register_unresolved
from tasklineage.query.causes import Cause
from tasklineage.query.plans import EXECUTE, HIT, UNKNOWN, Plan, PlannedCall
from tasklineage.storage import opening
from tasklineage.storage.records import DONE

if TYPE_CHECKING:
    from tasklineage.core.task import Task

_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_NOT_PLAIN = (_OWN, os.path.dirname(os.__file__))
_QUIET = frozenset({"__class__", "__dict__", "__slots__", "__reduce_ex__", "__init__", "__del__"})


class Needed(BaseException):
    """Plain code needs a value that nobody has computed. Not for `except Exception` to catch."""


class Placeholder:
    """Stands for the result of a call that did not execute: whatever is done with it is refused."""

    __slots__ = ("__weakref__", "_call")

    def __init__(self, call: PlannedCall) -> None:
        object.__setattr__(self, "_call", call)

    def __getattribute__(self, name: str) -> Any:
        return object.__getattribute__(self, name) if name in _QUIET else _need(self)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        _need(self)


def _need(one: Placeholder, *_: Any, **__: Any) -> NoReturn:
    call = object.__getattribute__(one, "_call")
    would = "would execute" if call.status == EXECUTE else "is unknown"
    raise Needed(f"{_place()} depends on the result of {call.task}, which {would}")


def _place() -> str:
    """The line of plain code that is executing."""
    frame = inspect.currentframe()
    while frame is not None and not _is_plain(frame.f_code.co_filename):
        frame = frame.f_back
    if frame is None:
        return "what follows"
    name = os.path.relpath(frame.f_code.co_filename)
    return f"from line {frame.f_lineno} of {name} on it"


def _is_plain(file: str) -> bool:
    """Whether code is the user's: neither this package's, nor that of a library which calls it."""
    return not file.startswith(_NOT_PLAIN) and (
        is_project_file(file) if not file.startswith("<") else not file.startswith("<frozen")
    )


for _name in (
    "repr str bytes format hash bool len iter next contains getitem setitem delitem call enter exit"
    " aenter aexit int float complex index round trunc floor ceil abs neg pos"
    " invert eq ne lt le gt ge add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod"
    " rmod pow rpow matmul rmatmul and rand or ror xor rxor lshift rlshift rshift rrshift divmod"
    " rdivmod iadd isub imul itruediv ifloordiv imod ipow imatmul iand ior ixor ilshift irshift"
    " array array_ufunc array_function reversed length_hint fspath copy deepcopy reduce reduce_ex"
).split():
    setattr(Placeholder, f"__{_name}__", _need)
register_unresolved(Placeholder)


class DryRun:
    """What the calls of this process would do. One a process: it changes the engine for good."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[PlannedCall] = []
        self._planners: dict[int, tuple[Any, Planner]] = {}

    def begin(self) -> None:
        """From now on nothing executes in this process, and nothing is recorded."""
        _read_only()
        self._record_hit = engine.record_hit
        self._call, self._perform = engine.call, engine.perform
        self._prepared = elements.Elements.prepared
        for name in ("call", "perform", "record_hit", "execute", "execute_async"):
            setattr(engine, name, getattr(self, name))
        this = self

        def prepared(self: elements.Elements, element: tuple[Any, ...]) -> Any:
            args, kwargs = self.spread(element)
            one = this.unknown(self.task, args, kwargs)
            return this._prepared(self, element) if one is None else Outcome(one, None, DONE)

        elements.Elements.prepared = prepared  # type: ignore[method-assign]

    def plan(self, note: str = "") -> Plan:
        """What would have been done so far."""
        return Plan(self._calls, note)

    # What takes the place of the engine's functions.

    def call(self, task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        one = self.unknown(task, args, kwargs)
        if one is None:
            return self._call(task, args, kwargs)
        return _at_once(one) if task.is_async else one

    def perform(
        self, task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any], *rest: Any
    ) -> Outcome[Any]:
        one = self.unknown(task, args, kwargs)
        return self._perform(task, args, kwargs, *rest) if one is None else Outcome(one, None, DONE)

    def record_hit(self, this: Call, memo: Any, value: Any) -> Any:
        self._add(PlannedCall(this.task.name, HIT, previous=memo.id.hex()))
        return self._record_hit(this, memo, value)

    def execute(self, this: Call) -> Any:
        planned = self._planner(this).executed(this)
        self._add(planned)
        return Placeholder(planned)

    async def execute_async(self, this: Call) -> Any:
        return self.execute(this)

    def unknown(
        self, task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Placeholder | None:
        """The placeholder for a call that is given one; None for all others."""
        found: dict[str, None] = {}

        def note(part: Placeholder) -> None:
            found[object.__getattribute__(part, "_call").task] = None

        _look(args, note)
        _look(kwargs, note)
        if not found:
            return None
        causes = tuple(
            Cause("argument", name, text=f"takes the result of {name}, which would execute")
            for name in found
        )
        planned = PlannedCall(task.name, UNKNOWN, causes)
        self._add(planned)
        return Placeholder(planned)

    def _add(self, call: PlannedCall) -> None:
        with self._lock:
            self._calls.append(call)

    def _planner(self, this: Call) -> Planner:
        """One for each store: it reads each record once."""
        store = this.run.store
        known = self._planners.get(id(store))
        if known is None:
            known = self._planners[id(store)] = store, Planner(current.get() or this.parent)
        return known[1]


async def _at_once(value: Any) -> Any:
    return value


def _look(value: Any, note: Callable[[Placeholder], object]) -> None:
    """Let `note` see the placeholders in a value, also those that calls have given."""
    if isinstance(value, Deferred):
        value = value.value() if value.failure() is None else None
    kind: Any = type(value)
    if kind is Placeholder:
        note(value)
    elif kind in (list, tuple, Inputs):
        for part in value:
            _look(part, note)
    elif kind is dict:
        for part in value.values():
            _look(part, note)


def _read_only() -> None:
    """Open every store to be read only; where there is none, an empty one that is gone at exit."""
    opened = opening.open_stores.open

    def read_only(options: Any, *, create: bool, **_: bool) -> Any:
        if create and "://" not in options.place and not os.path.isdir(options.place):
            options, create = options._replace(place=_empty()), True
            found = opened(options, create=True)
            found.read_only = True
        else:
            found = opened(options._replace(read_only=True), create=False)
        found.expect_nothing()
        return found

    opening.open_stores.open = read_only  # type: ignore[method-assign]


def _empty() -> str:
    import atexit
    import shutil
    import tempfile

    folder = tempfile.mkdtemp(prefix="tasklineage-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return os.path.join(folder, "store")
