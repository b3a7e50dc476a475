"""A call on its way through the engine, and what came of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from xxhash import xxh3_128_digest

from tasklineage import config
from tasklineage.core import extras
from tasklineage.core.deferred import Deferred, walk
from tasklineage.core.frame import Frame, Position
from tasklineage.errors import NotFound, UnhashableArgument, UnreadableFile
from tasklineage.key.code_version import CodeVersion, changed_data
from tasklineage.key.digest import SCHEME, Unresolved, digest, is_immutable
from tasklineage.key.digest_tokens import SIMPLE
from tasklineage.key.guards import epoch
from tasklineage.key.hidden import Hidden
from tasklineage.storage.records import DONE, Condition, Edge, Ref

if TYPE_CHECKING:
    from tasklineage.core.annotations import Files
    from tasklineage.core.run import RunState
    from tasklineage.core.task import Task
    from tasklineage.query.calls import Call as RecordedCall
    from tasklineage.storage.store import Store

R = TypeVar("R")
_NOTHING = Ref(b"")
_PREFIX = b"tasklineage key %d:" % SCHEME
_CHEAP = 100e-6
"""Seconds for looking at shared arguments again that are never saved."""
_LOOKS = 8
"""After so many times it is known how long that takes."""
_IGNORED = xxh3_128_digest(b"tasklineage: this parameter is ignored")


class Plan:
    """What of a task's keys stays the same while its code version does."""

    __slots__ = (
        "_keyed", "_prefix", "_task", "bind", "code", "epoch", "files", "is_plain", "names",
    )  # fmt: skip

    def __init__(self, task: Task[Any, Any], code: CodeVersion) -> None:
        if code.untracked and config.settings().strict:
            from tasklineage.core.strictness import refuse_untracked

            refuse_untracked(task, code)
        self.code = code
        self.bind = task.binding.bind
        self.names = task.binding.names
        self._task = task
        self._prefix = _PREFIX + code.digest
        self._keyed = [(name in task.ignore, task.key.get(name)) for name in task.binding.names]
        self.is_plain = not task.ignore and not task.key
        """Whether every argument counts as a whole."""
        self.epoch = epoch()
        self.files = files_of(task.__wrapped__)
        """Which paths become Files by annotation; None: none do."""

    def digests(self, bound: tuple[Any, ...], trailing: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """One digest per parameter, the last ones known; an ignored one has always the same.

        Raises
        ------
        UnhashableArgument
            It names the task, the parameter and the path inside the value.
        Unresolved
            A Future stands somewhere in the arguments.
        """
        try:
            if trailing:
                bound = bound[: -len(trailing)]
            if self.is_plain:
                return (*map(digest, bound), *trailing)
            if any(True for _ in walk(bound)):
                raise Unresolved
            return (*map(self._counted_digest, bound, self._keyed), *trailing)
        except UnhashableArgument as error:
            raise self._explain(bound, error) from None

    @staticmethod
    def _counted_digest(value: Any, rule: tuple[bool, Callable[[Any], Any] | None]) -> bytes:
        is_ignored, function = rule
        if is_ignored:
            return _IGNORED
        return digest(value if function is None else function(value))

    def key(
        self, digests: tuple[bytes, ...], salt: tuple[Condition, ...], code: bytes | None = None
    ) -> bytes:
        """What makes two calls the same: code version, arguments that count, tracked extras.

        `code` is another code version than that of the task.
        """
        prefix = self._prefix if code is None else _PREFIX + code
        text = prefix + b"".join(digests)
        if salt:
            text += b"".join(condition.digest for condition in salt)
        return xxh3_128_digest(text)

    def counts(self, index: int) -> bool:
        """Whether the parameter at this place is part of the key."""
        return not self._keyed[index][0]

    def is_whole(self, index: int) -> bool:
        """Whether the digest of this argument is that of the whole value."""
        return self._keyed[index] == (False, None)

    def whole_digest(self, this: Call, index: int) -> bytes:
        """The digest of an argument as a whole, whatever of it counts."""
        return this.digests[index] if self.is_whole(index) else digest(this.bound[index])

    def counted(self, index: int, whole: bytes, value: Callable[[], Any]) -> bytes:
        """What the argument at this place adds to the key, by the digest of the whole value.

        `value` gives the value itself, where a function says what of it counts.
        """
        is_ignored, function = self._keyed[index]
        return _IGNORED if is_ignored else whole if function is None else digest(function(value()))

    def still(self, index: int, value: Any, before: bytes) -> bool:
        """Whether an argument has the digest that it had before."""
        function = self._keyed[index][1]
        try:
            counted = value if function is None else function(value)
            return digest(counted) == before or _is_cached(counted, before)
        except (UnhashableArgument, Unresolved):
            return False

    def _explain(self, bound: tuple[Any, ...], error: UnhashableArgument) -> UnhashableArgument:
        for name, value, (ignored, function) in zip(self.names, bound, self._keyed, strict=True):
            try:
                if not ignored:
                    digest(value if function is None else function(value), name)
            except UnhashableArgument as found:
                where = f"{self._task.name}({found.path})"
                if isinstance(found, UnreadableFile):
                    return found.at(where)
                return UnhashableArgument(
                    f"{where} has no digest: {found.message}. Leave it out of the key with "
                    f"@task(ignore=[{name!r}]), or say what of it counts with "
                    f"@task(key={{{name!r}: function}}).",
                    path=where,
                )
        return error


class Shared:
    """What the calls of a map have in common: their last arguments, digested once."""

    __slots__ = ("_cost", "_looks", "changed", "digests")

    def __init__(self, digests: tuple[bytes, ...]) -> None:
        self.digests = digests
        self.changed: dict[str, None] = {}
        """Parameters whose arguments an element has changed: no call after that is a memo, since
        it was not given what was digested, even if it has put that right."""
        self._cost = float("inf")
        """Seconds that it takes at best to look at the arguments again."""
        self._looks = 0

    def is_cheap(self, took: float) -> bool:
        """Whether looking again is worth it after an execution of so many seconds."""
        return self._cost < max(_CHEAP, took / 10) or self._looks < _LOOKS

    def note(self, cost: float) -> None:
        """They were looked at again, in so many seconds."""
        self._looks += 1
        self._cost = min(self._cost, cost)


_NOT_SHARED = Shared(())


def plain_value(task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What the plain function of a task gives, Files in the place of paths as in a call.

    Of an `async` one that is a coroutine.
    """
    files = files_of(task.__wrapped__)
    if files is None:
        return task.__wrapped__(*args, **kwargs)
    _, args, kwargs = files.passed(task.binding.bind(*args, **kwargs))
    value = task.__wrapped__(*args, **kwargs)
    return value if task.is_async else files.returned(value)


def files_of(function: Callable[..., Any]) -> Files | None:
    """What the annotations say of Files and Secrets; nothing is loaded where they cannot."""
    hints = getattr(function, "__annotations__", {}).values()
    texts = [hint for hint in hints if isinstance(hint, str)]
    is_loaded = any(f"tasklineage.key.{name}" in sys.modules for name in ("files", "secrets"))
    if not is_loaded and not any(word in t for t in texts for word in ("File", "Dir", "Secret")):
        return None
    from tasklineage.core import annotations

    return annotations.files_of(function)


class Call:
    """One call: what it was given, its key, and, once it is over, what came of it."""

    __slots__ = (
        "args", "bound", "code", "digests", "edges", "id", "is_checked", "is_hit", "key", "kwargs",
        "miss", "output", "parent", "plan", "position", "run", "salt", "shared", "status", "task",
    )  # fmt: skip

    def __init__(
        self,
        task: Task[Any, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        parent: Frame,
        position: Position | None = None,
        edges: tuple[Edge, ...] = (),
        first: Call | None = None,
    ) -> None:
        """Bind the arguments and make the key.

        `first` is another call of the same map: what they share has been digested for it.

        Raises
        ------
        TypeError
            The arguments do not fit the function.
        UnhashableArgument
            An argument has no digest.
        Unresolved
            A Future stands somewhere in the arguments.
        """
        self.task = task
        self.args = args
        self.kwargs = kwargs
        self.parent = parent
        self.run: RunState = parent.run
        self.position = position
        self.edges = edges
        """Origins known from Futures."""
        self.plan: Plan = task.plan() if first is None else first.plan
        plan = self.plan
        self.code = plan.code
        self.bound: tuple[Any, ...] = plan.bind(*args, **kwargs)
        if plan.files is not None:
            self.bound, self.args, self.kwargs = plan.files.passed(self.bound)
        self.digests = plan.digests(self.bound, () if first is None else first.shared.digests)
        self.salt = extras.current(task.track) if task.track else ()
        self.key = plan.key(self.digests, self.salt)
        if Hidden.in_use:
            self.key = _hidden_key(self, self.key)
        self.shared: Shared = _NOT_SHARED if first is None else first.shared
        self.is_checked = True
        """Whether every argument that counts was looked at again after the execution."""
        self.id = b""
        self.status = DONE
        self.is_hit = False
        self.miss = ""
        """Why the newest memo of its key did not answer, as it is recorded."""
        self.output = _NOTHING

    @classmethod
    def received(
        cls,
        task: Task[Any, Any],
        plan: Plan,
        parent: Frame,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        digests: tuple[bytes, ...],
        salt: tuple[Condition, ...],
        key: bytes,
        position: Position | None,
        edges: tuple[Edge, ...],
        miss: str,
    ) -> Call:
        """A call whose key was made in another process, with the same code."""
        this = cls.__new__(cls)
        this.task, this.plan, this.code = task, plan, plan.code
        this.parent, this.run = parent, parent.run
        this.args, this.kwargs, this.bound = args, kwargs, plan.bind(*args, **kwargs)
        this.digests, this.salt, this.key = digests, salt, key
        this.position, this.edges, this.miss = position, edges, miss
        this.shared, this.is_checked = _NOT_SHARED, True
        this.id, this.status, this.is_hit, this.output = b"", DONE, False, _NOTHING
        return this

    def key_under(self, code: bytes) -> bytes:
        """What the key would be if that were the code version of the task."""
        key = self.plan.key(self.digests, self.salt, code)
        return _hidden_key(self, key) if Hidden.in_use else key

    def changed_arguments(self, took: float) -> list[str]:
        """The parameters whose arguments the body, in `took` seconds, has changed in place.

        What a map shares is left to the map's end where looking at it takes long.
        """
        if SIMPLE.issuperset(map(type, self.bound)):
            return []
        shared = self.shared
        count = len(self.bound)
        own = count - len(shared.digests)
        changed = self.changed_among(range(own))
        if own < count:
            self.is_checked = shared.is_cheap(took)
            if self.is_checked:
                began = perf_counter()
                shared.changed.update(dict.fromkeys(self.changed_among(range(own, count))))
                shared.note(perf_counter() - began)
            changed += shared.changed
        return changed

    def changed_among(self, places: range) -> list[str]:
        """The parameters at these places whose arguments are not what they were."""
        plan, bound, digests = self.plan, self.bound, self.digests
        return [
            plan.names[i]
            for i in places
            if not is_immutable(bound[i])
            and plan.counts(i)
            and not plan.still(i, bound[i], digests[i])
        ]

    def changed_globals(self) -> tuple[str, ...]:
        """The globals that the code reads and that have changed since the key was made."""
        return changed_data(self.code)


def _hidden_key(this: Call, key: bytes) -> bytes:
    from tasklineage.core import hiding  # something is secret

    return hiding.key_of(this, key)


def _is_cached(value: Any, before: bytes) -> bool:
    """Whether all that has happened to a value is that cached properties were computed."""
    from tasklineage.key.lazy import before_caching  # it has changed: seldom

    return any(digest(earlier) == before for earlier in before_caching(value))


def recorded_call(store: Store | None, call_id: bytes, error: BaseException | None) -> RecordedCall:
    """The record of a call that is over.

    Raises
    ------
    NotFound
        It has none.
    """
    if store is None:
        raise NotFound("TASKLINEAGE_DISABLE is set: no call is recorded")
    if not call_id:
        raise NotFound(f"the call was never made, so there is no record of it: {error!r}")
    from tasklineage.query.find import get

    return cast("RecordedCall", get(call_id.hex(), store=store))


class Outcome(Deferred, Generic[R]):
    """What came of a call that ran elsewhere: a value or an exception, and its record."""

    __slots__ = ("_value", "call_id", "digest", "error", "is_hit", "status")

    def __init__(
        self,
        value: R | None,
        error: BaseException | None,
        status: str,
        call_id: bytes = b"",
        digest: bytes = b"",
        is_hit: bool = False,
    ) -> None:
        self._value = value
        self.error = error
        self.status = status
        self.call_id = call_id
        self.digest = digest
        self.is_hit = is_hit

    def get(self) -> R:
        """The value, or the exception raised."""
        if self.error is not None:
            raise self.error
        return self._value  # type: ignore[return-value]  # no error: the value is an R

    def done(self) -> bool:
        return True

    def failure(self) -> BaseException | None:
        return self.error

    def value(self) -> R:
        return self.get()

    def edges(self, path: str) -> Iterator[Edge]:
        yield Edge(path, self.call_id, "future", self.digest)
