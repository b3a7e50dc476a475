"""What a call would do: be a hit, or execute, and why. Nothing executes, nothing is recorded.

A call whose arguments are known is looked up as ever. The calls below one that would execute are
those that its nearest earlier execution made, with the arguments that were recorded: unless one
took the result of a call that would execute, in which case it cannot be known.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from tasklineage.core import extras, memos
from tasklineage.core.body import described_arguments
from tasklineage.core.call import Call
from tasklineage.core.deferred import Deferred, replaced, walk, with_values
from tasklineage.core.frame import Frame, current
from tasklineage.core.future import BoundCall
from tasklineage.core.program import program_name
from tasklineage.core.run import RunState
from tasklineage.core.task import BoundTask, Task
from tasklineage.errors import ConfigError, TasklineageError
from tasklineage.query import find
from tasklineage.query.causes import Cause
from tasklineage.query.earlier import Records, arguments_of
from tasklineage.query.plans import EXECUTE, HIT, UNKNOWN, Plan, PlannedCall
from tasklineage.query.why import Planned, Why, explained
from tasklineage.query.why import why as why_of_call
from tasklineage.storage.records import (
    DONE,
    Argument,
    CallEnd,
    Code,
    Condition,
    Ref,
    as_ref,
    new_id,
)

if TYPE_CHECKING:
    from tasklineage.key.code_version import CodeVersion
    from tasklineage.storage.store import Store

_MOST = 10_000
"""Calls below one that are looked at."""
_NOTHING = Ref(b"")


def plan(task: Any, /, *args: Any, **kwargs: Any) -> Plan:
    """What a call would do, and the calls below it. Nothing executes, nothing is recorded.

    Parameters
    ----------
    task
        A task, or a BoundCall.
    *args, **kwargs
        Its arguments. BoundCalls among them are planned too; a Future must be over for the call
        not to be unknown.

    Returns
    -------
    A `Plan`. The call itself is exact. Of one that would execute, the calls below are those of
    its nearest earlier execution: `hit`, `execute` with the causes, or `unknown` where an input
    comes from a call that would execute.

    Raises
    ------
    TypeError, UnhashableArgument
        As the call would.
    ConfigError
        It is no task.

    Examples
    --------
    >>> import tasklineage as tl
    >>> @tl.task
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> double(1), plan(double, 1), plan(double, 2).calls[0].causes[0].text
    (2, <Plan: 0 would execute, 1 hits, 0 unknown>, 'argument x: 1 is now 2')
    """
    if isinstance(task, BoundCall):
        task, args, kwargs = task.task, task.args, task.kwargs
    task, args = _unbound(task, args)
    frame = _frame()
    if frame is None:
        task.binding.bind(*args, **kwargs)
        return Plan([_first(task.name)])
    return Plan([Planner(frame).call(task, args, kwargs)])


def why_of(task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Why:
    """Why the call that answers executed; where none does, why it would execute now."""
    frame = _frame()
    if frame is None:
        raise ConfigError(f"there is no store yet, so nothing is known of {task.name}")
    planner = Planner(frame)
    this = Call(task, with_values(args), with_values(kwargs), frame)
    memo = memos.find(this)
    if memo is not None and this.run.store.has(as_ref(memo.output or _NOTHING)):
        return why_of_call(memo.id.hex(), store=this.run.store)
    return Why(Planned(task.name, this.run.store), *planner.explained(this))


class Planner:
    """Plans calls of one run; it reads each record once."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._store: Store = frame.run.store
        self._records = Records(self._store)

    def call(
        self, task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> PlannedCall:
        """What the call would do."""
        inputs: list[PlannedCall] = []
        unknown: list[Cause] = []

        def value_of(part: Any) -> Any:
            if isinstance(part, BoundCall) and not part.done():
                planned = self.call(part.task, part.args, part.kwargs)
                inputs.append(planned)
                if planned.status == HIT and planned.previous is not None:
                    memo = self._records.end(bytes.fromhex(planned.previous))
                    if memo is not None:
                        return self._store.get(as_ref(memo.output or _NOTHING))
                unknown.append(_takes(planned.task))
            elif isinstance(part, Deferred) and not part.done():
                unknown.append(_takes("a call that is not over"))
            return part

        args, kwargs = replaced(args, value_of), replaced(kwargs, value_of)
        if unknown:
            return PlannedCall(task.name, UNKNOWN, tuple(unknown), tuple(inputs))
        if any(True for _ in walk([args, kwargs])):
            args, kwargs = with_values(args), with_values(kwargs)
        return self.made(Call(task, args, kwargs, self._frame), inputs)

    def made(self, this: Call, inputs: Iterable[PlannedCall] = ()) -> PlannedCall:
        """What a call whose key is known would do."""
        memo = memos.find(this)
        if memo is not None and self._store.has(as_ref(memo.output or _NOTHING)):
            return PlannedCall(this.task.name, HIT, (), tuple(inputs), memo.id.hex())
        return self.executed(this, inputs)

    def executed(self, this: Call, inputs: Iterable[PlannedCall] = ()) -> PlannedCall:
        """A call that no memo answers."""
        return self._executing(this.task, this.code, *self.explained(this), inputs)

    def explained(self, this: Call) -> tuple[bytes | None, list[Cause]]:
        """The earlier call that a call is compared with, and why it would execute."""
        arguments = described_arguments(this)
        return self._explained(this.task, this.code, this.key, arguments, this.salt, this.miss)

    def _explained(
        self,
        task: Task[Any, Any],
        code: CodeVersion,
        key: bytes,
        arguments: tuple[Any, ...],
        salt: tuple[Condition, ...],
        miss: str,
    ) -> tuple[bytes | None, list[Cause]]:
        """As if the call had just executed."""
        if not self._store.has_code(code.digest):
            self._records.know(Code(code.digest, task.name, code.parts))
        for told in extras.records(task.track, salt, self._store.has_code):
            self._records.know(told)
        tracked = tuple((c.name, c.digest) for c in salt)
        now, id = time.time(), bytes(new_id())
        record = CallEnd(
            id, id, None, task.name, code.digest, key, now, None, DONE, now,
            task.settings.memo, arguments=arguments, salt=tracked, miss=miss,
        )  # fmt: skip
        return explained(self._records, record)

    def _executing(
        self,
        task: Task[Any, Any],
        code: CodeVersion,
        previous: bytes | None,
        causes: list[Cause],
        inputs: Iterable[PlannedCall] = (),
    ) -> PlannedCall:
        below = () if previous is None else self._below(code, previous, causes)
        shown = None if previous is None else previous.hex()
        return PlannedCall(task.name, EXECUTE, tuple(causes), (*inputs, *below), shown)

    # The calls that an earlier execution made.

    def _below(
        self, code: CodeVersion, previous: bytes, causes: Iterable[Cause]
    ) -> Iterable[PlannedCall]:
        known = {child.name: child for child in code.children if isinstance(child, Task)}
        changed = {cause.name for cause in causes if cause.kind == "argument"}
        open_results: dict[bytes, str] = {}
        """Digests of results, and ids of calls, that will not be there: by which task."""
        given: set[bytes] = set()
        for row in self._store.catalog.children_of([previous], _MOST):
            record = self._records.end(row.producer or row.id)
            if record is None:
                yield PlannedCall(row.task, UNKNOWN, (_unrecorded(row.task),))
                continue
            unknown = self._depends(record, open_results, given, changed)
            if unknown is not None:
                child = PlannedCall(row.task, UNKNOWN, (unknown,), previous=record.id.hex())
            else:
                child = self._again(row.task, known.get(row.task), record)
            results = {r[0] for r in (record.output,) if r and r[0]} | {p[1] for p in record.parts}
            if child.status == HIT:
                given |= results
            else:
                open_results |= dict.fromkeys((row.id, record.id, *results), row.task)
            yield child

    def _depends(
        self, record: CallEnd, open_results: dict[bytes, str], given: set[bytes], changed: set[str]
    ) -> Cause | None:
        """Why the arguments of a call cannot be known; None if they are as recorded."""
        digests = {a.ref[0] for a in arguments_of(record).values()}
        sources = {edge[1] for edge in record.edges} | {
            edge[3] for edge in record.edges if edge[3:]
        }
        for one in (*sources, *digests):
            if one in open_results:
                return _takes(open_results[one])
        if changed and not (digests <= given):
            names = ", ".join(sorted(changed))
            return Cause("argument", names, text=f"it may depend on {names}, which differs")
        return None

    def _again(self, name: str, task: Task[Any, Any] | None, record: CallEnd) -> PlannedCall:
        """A call that was made before, with the arguments that were recorded."""
        task = task or _living(name, record.code)
        if task is None:
            text = f"{name} is not defined in this process yet"
            return PlannedCall(name, UNKNOWN, (Cause("task", name, text=text),))
        this = self._recalled(task, record)
        if this is not None:
            memo = memos.find(this)
            if memo is not None and self._store.has(as_ref(memo.output or _NOTHING)):
                return PlannedCall(name, HIT, (), (), memo.id.hex())
        code, salt = task.plan().code, extras.current(task.track)
        key, miss = (b"", "") if this is None else (this.key, this.miss)
        found = self._explained(task, code, key, record.arguments, salt, miss)
        return self._executing(task, code, *found)

    def _recalled(self, task: Task[Any, Any], record: CallEnd) -> Call | None:
        """The call with the digests that were recorded; None where these do not say its key."""
        made, arguments = task.plan(), arguments_of(record)
        if tuple(arguments) != tuple(made.names):
            return None
        try:
            digests = tuple(
                made.counted(i, argument.ref[0], partial(self._value, argument))
                for i, argument in enumerate(arguments.values())
            )
        except TasklineageError:
            return None
        this = Call.__new__(Call)
        this.task, this.plan, this.code = task, made, made.code
        this.parent, this.run = self._frame, self._frame.run
        this.digests, this.salt = digests, extras.current(task.track) if task.track else ()
        this.key, this.miss = made.key(digests, this.salt), ""
        this.position, this.edges = None, ()
        return this

    def _value(self, argument: Argument) -> Any:
        return self._store.get(Ref(*argument.ref))


def _living(name: str, code: bytes) -> Task[Any, Any] | None:
    """A task of that name, the one with that code if there is one."""
    living = memos.living(name)
    same = [task for task in living if task.plan().code.digest == code]
    return next(iter((*same, *living)), None)


def _unbound(task: Any, args: tuple[Any, ...]) -> tuple[Task[Any, Any], tuple[Any, ...]]:
    if isinstance(task, BoundTask):
        plain, shared = task.unbound({})
        return plain, (*shared.values(), *args)
    if not isinstance(task, Task):
        raise ConfigError(f"plan takes a task and its arguments, not {task!r}")
    return task, args


def _frame() -> Frame | None:
    """Where the call would be made: here, or in a run that is never begun. None: no store yet."""
    frame = current.get()
    if frame is not None:
        return frame
    store = find.existing(None)
    return None if store is None else RunState(program_name(), store, is_ambient=True).frame


def _first(task: str) -> PlannedCall:
    text = f"first call of {task}: there is no store yet"
    return PlannedCall(task, EXECUTE, (Cause("first", task, text=text),))


def _takes(task: str) -> Cause:
    return Cause("argument", task, text=f"takes the result of {task}, which would execute")


def _unrecorded(task: str) -> Cause:
    return Cause("status", task, text=f"what {task} was given was not recorded")
