"""The code version of a task: what of the code and data of a project counts for its results.

    TaskLike, function, class or module
        └── Walk          everything it can reach by name, on live objects      (closure.py)
              ├── Node    the graph; its digest is the code version             (nodes.py)
              └── Guards  what was bound where, compared on every call          (guards.py)

It is made at the first call, when everything is bound, from the objects that will run: a file
that was edited after it was imported does not lend its new text to the old code. From then on a
call costs a comparison of bindings, and a digest of each mutable value that the code reads. Any
mismatch leads to a new walk.

Bytecode differs between minor versions of Python, so these digests do too. What the same code has
under all of them is `portable`, by which memos are found again after an upgrade.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from contextvars import ContextVar
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from tasklineage.errors import UnhashableArgument
from tasklineage.key.boundary import Boundary
from tasklineage.key.closure import Data, Walk
from tasklineage.key.digest import Unresolved, digest, is_immutable, set_code_hook
from tasklineage.key.guards import Guards
from tasklineage.key.nodes import graph_digest
from tasklineage.key.silence import NOTHING
from tasklineage.key.tasklike import TaskLike

if TYPE_CHECKING:
    from tasklineage.key.parts import Part

__all__ = [
    "CodeVersion", "TaskLike", "changed_data", "code_version", "data_state", "modular",
    "portable",
]  # fmt: skip

State = tuple[bytes, ...]
"""Digests of the mutable values that a closure reads, in its order."""

SLOW_DATA = 0.001
"""Seconds: a global that takes longer to digest on every call is worth a warning."""


class CodeVersion:
    """A code version: its digest, and what it was made of; the same object while it holds."""

    __slots__ = ("closure", "digest", "portable", "state")

    def __init__(self, closure: Closure, state: State, digest: bytes) -> None:
        self.closure = closure
        self.state = state
        self.digest = digest
        self.portable: bytes | None = None
        """What `portable` has found."""

    def __repr__(self) -> str:
        return f"<code version {self.digest.hex()}>"

    @property
    def parts(self) -> tuple[Part, ...]:
        """Everything that counts, for people and for `why`: made anew at each look."""
        return self.closure.parts(self.state)

    @property
    def children(self) -> tuple[TaskLike, ...]:
        """The tasks that the code can call, at any depth."""
        return self.closure.children

    @property
    def nested(self) -> frozenset[str]:
        """Module-qualified names of the functions that are defined inside functions of the closure.

        A task of such a name is made when its parent runs, so it need not exist beforehand.
        """
        return self.closure.nested

    @property
    def functions(self) -> tuple[FunctionType, ...]:
        """The functions of the project that count, as they are in this process."""
        return self.closure.functions

    @property
    def variables(self) -> tuple[ContextVar[Any], ...]:
        """The context variables that the code reads."""
        return self.closure.variables

    @property
    def untracked(self) -> tuple[str, ...]:
        """References that could not be resolved, and values without a digest."""
        return self.closure.untracked

    @property
    def data(self) -> tuple[str, ...]:
        """Names of the mutable values that the code reads."""
        return tuple(data.name for data in self.closure.data)


class Closure:
    """What one walk found, and the code versions it has had since; safe in any thread.

    `is_call` is whether the task itself is being called: the defaults of its function are then
    arguments of the call, and count as such.
    """

    __slots__ = (
        "_foreign", "_guards", "_nodes", "_root", "_tokens", "_versions", "caches", "children",
        "computed", "current", "data", "is_loose", "nested", "thing", "untracked",
        "variables",
    )  # fmt: skip

    def __init__(self, thing: Any, *, is_call: bool) -> None:
        walk, root = _walked(thing, is_call=is_call)
        self.thing = thing
        self.children = tuple(walk.children)
        self.nested = frozenset(walk.nested)
        self.computed = frozenset(walk.computed)
        """How the names of modules begin that are imported under computed names (`Facts`)."""
        self.caches = tuple(walk.caches)
        """The `lru_cache`s that the code reaches."""
        self.is_loose = bool(walk.computed or walk.caches)
        """Whether a call may depend on more than this closure and the files that it reads."""
        self.untracked = tuple(walk.untracked)
        self.data: tuple[Data, ...] = tuple(walk.data)
        self.variables: tuple[ContextVar[Any], ...] = tuple(walk.variables)
        self._nodes = walk.nodes
        self._root = root
        self._tokens = walk.tokens
        self._foreign = walk.foreign
        self._guards = Guards(walk.recorder)
        self._versions: dict[State, CodeVersion] = {}
        self.current = self._version(tuple(data.digest for data in self.data))

    def version(self) -> CodeVersion | None:
        """The code version now; None if the closure must be walked again (HOT)."""
        if not self._guards.hold():
            return None
        current = self.current
        if not self.data:
            return current
        state = self._state(current.state)
        if state == current.state:
            return current
        if state is None:
            return None
        self.current = version = self._version(state)
        return version

    def parts(self, state: State) -> tuple[Part, ...]:
        """Everything that counted for the code version of that state."""
        from tasklineage.key.parts import parts_of  # once for a code version

        return parts_of(self._nodes, self._owns(state))

    def cut(self, state: State) -> tuple[bytes, list[TaskLike]]:
        """The digest for that state without the tasks that the code calls, and these in order."""
        from tasklineage.key.modular import cut_digest  # once for a code version

        return cut_digest(self._nodes, self._root, self._owns(state))

    @property
    def functions(self) -> tuple[FunctionType, ...]:
        """Every function that the walk found, as it is in this process."""
        things = (node.thing for node in self._nodes if node.kind == "function")
        return tuple(thing for thing in things if isinstance(thing, FunctionType))

    @property
    def modules(self) -> frozenset[str]:
        """Files of the modules in which names were looked up."""
        return self._guards.files()

    def portable(self, state: State) -> bytes:
        """The digest for that state that does not depend on the version of Python."""
        from tasklineage.key.portable import portable_digest  # once for a code version

        owns = self._owns(state)
        return portable_digest(self._nodes, self._root, owns, self._tokens, self._foreign)

    def changes(self, state: State) -> dict[str, bytes]:
        """Names of what has changed since that state, with the digests that they have now. HOT."""
        if not self.data and self._guards.hold():
            return {}
        tokens = _Tokens(self._tokens, self._foreign)
        now = [(data.name, self._digest(data, tokens)) for data in self.data]
        changed = {
            name: own
            for (name, own), data, before in zip(now, self.data, state, strict=True)
            if own != before and not self._is_cached(data, before, tokens)
        }
        if not self._guards.hold():
            for name, expected, found in self._guards.rebound():
                own = _digest_or_none(found)
                if own is None or own != _digest_or_none(expected):
                    changed[name] = own or b""
            if not changed:
                changed = self._other_code(state)
        return changed

    def _is_cached(self, data: Data, before: bytes, tokens: _Tokens) -> bool:
        """Whether all that has changed is that cached properties were computed."""
        from tasklineage.key.lazy import before_caching  # something has changed: seldom

        return any(
            self._digest(data._replace(value=value), tokens) == before
            for value in before_caching(data.value)
        )

    def _other_code(self, state: State) -> dict[str, bytes]:
        """Parts that are not what they were in that state, after a change that bound no name anew.

        Code was replaced in place, as autoreload does; or a name is now where there was none.
        """
        before, now = self._version(state), code_version(self.thing)
        if now.digest == before.digest:
            return {}
        known = set(before.parts)
        others = {part.name: part.digest for part in now.parts if part not in known}
        return others or {"its code": now.digest}

    def _state(self, last: State) -> State | None:
        """The digests of the mutable values now; None where there is other code in one of them."""
        tokens = _Tokens(self._tokens, self._foreign)
        found: list[bytes] = []
        for data, before in zip(self.data, last, strict=True):
            tokens.are_met = False
            now = self._digest(data, tokens)
            if now != before and (not now or tokens.are_met or self._nodes[data.node].edges):
                return None
            found.append(now)
        return tuple(found)

    def _digest(self, data: Data, tokens: _Tokens) -> bytes:
        """The digest of a mutable value now; empty where it has none any more."""
        began = time.perf_counter()
        try:
            now = digest(data.value, data.name, tokens)
        except (UnhashableArgument, Unresolved):
            return b""
        took = time.perf_counter() - began
        if took > SLOW_DATA and data.name not in _Kept.warned:
            _measure_again(data, tokens)
        return now

    def _version(self, state: State) -> CodeVersion:
        known = self._versions.get(state)
        if known is None:
            if len(self._versions) >= _REMEMBERED:
                self._versions.clear()
            made = graph_digest(self._nodes, self._root, self._owns(state))
            known = self._versions[state] = CodeVersion(self, state, made)
        return known

    def _owns(self, state: State) -> dict[int, bytes]:
        return {data.node: now for data, now in zip(self.data, state, strict=True)}


class _Tokens:
    """What stands for code inside a value: as in the walk, unless other code was put into it."""

    __slots__ = ("_foreign", "_tokens", "are_met")

    def __init__(
        self, tokens: Mapping[int, bytes], foreign: Mapping[int, tuple[Any, bytes | None]]
    ) -> None:
        self._tokens = tokens
        self._foreign = foreign
        self.are_met = False

    def __call__(self, thing: Any) -> bytes | None:
        known = self._foreign.get(id(thing))
        if known is not None:
            return known[1]
        self.are_met = True
        return self._tokens.get(id(thing), _UNKNOWN)


class _Kept:
    """Closures of functions, classes and modules that were asked for by themselves, by identity.

    They hold what they are about, so that no identity is used twice while they are kept. A None
    stands for what is not of the project.
    """

    LIMIT = 4096
    closures: ClassVar[dict[int, tuple[Any, Closure | None]]] = {}
    warned: ClassVar[set[str]] = set()


def code_version(thing: Any) -> CodeVersion:
    """The code version of a task, function, class or module, as everything is bound now (HOT).

    The first look walks everything that can be reached: some 0.1 ms a function. Later ones compare
    bindings, and digest the mutable values that the code reads. Something that is not of the
    project is walked as if it were, if it is asked for by itself.

    Examples
    --------
    >>> def double(x):
    ...     return 2 * x
    >>> def twice(x):
    ...     number = x
    ...     return 2 * number
    >>> code_version(double) is code_version(double)
    True
    >>> code_version(double).digest == code_version(twice).digest
    False
    """
    if not isinstance(thing, TaskLike):
        return _kept(thing)
    version = _current(thing.closure, thing)
    if version is None:
        thing.closure = Closure(thing, is_call=True)
        version = thing.closure.current
    return version


def modular(version: CodeVersion) -> bytes:
    """Digests that tell an edit of a task that the code calls from one of the code itself.

    One after the other: of what is left of the closure when the tasks that it calls are cut off;
    of the task as a value; of the code version of each of those tasks, zeros for the task itself.
    Empty for what is no task, and where something changes meanwhile.
    """
    task = version.closure.thing
    if not isinstance(task, TaskLike):
        return b""
    own, tasks = version.closure.cut(version.state)
    below = [_ITSELF if child is task else code_version(child).digest for child in tasks]
    found = b"".join((own, digest(task), *below))
    return found if code_version(task) is version else b""


def portable(version: CodeVersion) -> bytes:
    """A digest that the same code has under every version of Python, and two bytes: which one.

    Empty where the source of a function is not to be had, and where something changes meanwhile.
    """
    if version.portable is None:
        found = version.closure.portable(version.state)
        version.portable = found if code_version(version.closure.thing) is version else b""
    return version.portable


def changed_data(version: CodeVersion) -> tuple[str, ...]:
    """Names of the globals, cells and attributes that the code reads and that have changed since.

    Since this code version was made, that is: the engine asks after a call. Costs a comparison of
    bindings and a digest of each mutable value that the code reads.
    """
    changes = version.closure.changes(version.state)
    return tuple(changes) if changes else ()


def data_state(version: CodeVersion) -> Mapping[str, bytes]:
    """The digests now of the mutable values that the code reads, and of what was bound anew."""
    closure, state = version.closure, version.state
    known = {data.name: own for data, own in zip(closure.data, state, strict=True)}
    return known | closure.changes(state)


def _current(closure: Closure | None, thing: Any) -> CodeVersion | None:
    """The code version that a closure made before has now; None if there is no good one."""
    return closure.version() if closure is not None and closure.thing is thing else None


def _kept(thing: Any) -> CodeVersion:
    """The code version of what is no task."""
    _, closure = _Kept.closures.get(id(thing), (None, None))
    version = _current(closure, thing)
    if version is None:
        closure = Closure(thing, is_call=False)
        version = closure.current
        if _is_lasting(thing):
            _keep(thing, closure)
    return version


def _keep(thing: Any, closure: Closure | None) -> None:
    if len(_Kept.closures) >= _Kept.LIMIT:
        _Kept.closures.clear()
    _Kept.closures[id(thing)] = thing, closure


def _is_lasting(thing: Any) -> bool:
    """Whether keeping a thing alive costs nothing: a lambda may hold large values in its cells."""
    if not isinstance(thing, FunctionType):
        return isinstance(thing, (type, ModuleType))
    return thing.__closure__ is None and is_immutable(thing.__defaults__ or ())


def _code_of(thing: Any) -> bytes | None:
    """The digest of a function, class, module or task inside a value; None for foreign ones."""
    if isinstance(thing, TaskLike):
        version = _current(thing.closure_as_value, thing)
        if version is None:
            thing.closure_as_value = Closure(thing, is_call=False)
            version = thing.closure_as_value.current
        return version.digest
    held, closure = _Kept.closures.get(id(thing), (None, None))
    if held is thing and closure is None:
        return None
    if closure is None and not _OUTSIDE.has_code(thing):
        if _is_lasting(thing):
            _keep(thing, None)
        return None
    return _kept(thing).digest


def _walked(thing: Any, *, is_call: bool) -> tuple[Walk, int]:
    """A walk that knows from its beginning which special attributes are read, and which are not."""
    boundary = Boundary("" if _OUTSIDE.has_code(thing) else _module_name(thing))
    minded, silence, rounds = frozenset[str](), NOTHING, 0
    while True:
        walk = Walk(boundary, minded, silence)
        root = walk.run(thing, is_call=is_call)
        found = frozenset(walk.reads), walk.listener.silence() if rounds < _ROUNDS else NOTHING
        if found == (minded, silence):
            return walk, root
        (minded, silence), rounds = found, rounds + 1


def _module_name(thing: Any) -> str:
    name = thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", "")
    return name if isinstance(name, str) else ""


def _digest_or_none(value: Any) -> bytes | None:
    try:
        return digest(value)
    except (UnhashableArgument, Unresolved):
        return None


def _measure_again(data: Data, tokens: _Tokens) -> None:
    """Warn, once for each value, unless it was the machine that was slow."""
    began = time.perf_counter()
    digest(data.value, data.name, tokens)
    took = time.perf_counter() - began
    if took <= SLOW_DATA:
        return
    _Kept.warned.add(data.name)
    warnings.warn(
        f"the code of a task reads {data.name}, which takes {took * 1000:.1f} ms to digest at "
        "every call. Pass it as an argument: a map digests it once. Or make it something that "
        "cannot change, such as a tuple of numbers or texts, or bytes.",
        stacklevel=2,
    )


_ITSELF = bytes(16)
"""Stands for the code version of the task that calls itself."""
_OUTSIDE = Boundary()
_UNKNOWN = b"code that was not there"
_REMEMBERED = 64
_ROUNDS = 6
"""Walks after which every attribute counts: somebody makes new objects at each look."""
set_code_hook(_code_of)
