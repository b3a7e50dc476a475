"""The walk over everything that a function can reach by name, on live objects.

It starts at a task, function, class or module and goes through names, closure cells, defaults,
attributes, bases and values, as far as the code is of the project. It makes the nodes of the graph
whose digest is the code version, and notes as guards whatever it read on its way.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections import Counter, deque
from collections.abc import Container, Iterable, Iterator
from contextvars import ContextVar
from itertools import chain
from operator import attrgetter
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MethodType,
    ModuleType,
)
from typing import Any, NamedTuple

from xxhash import xxh3_128_digest

from tasklineage.errors import UnhashableArgument
from tasklineage.key import names
from tasklineage.key.boundary import (
    Boundary,
    extension_digest,
    is_project_class,
    patches,
    patches_used,
)
from tasklineage.key.contents import (
    by_name,
    carried_parts,
    class_parts,
    item_parts,
    module_parts,
    opaque_spaces,
    public_place,
    registry_of,
    scripted_parts,
    source_of,
    wrapped_parts,
    wrapper_parts,
)
from tasklineage.key.digest import Unresolved, digest, is_immutable
from tasklineage.key.digest_constants import frozen_instances
from tasklineage.key.digest_tokens import SIMPLE
from tasklineage.key.extensions import is_compiled_function
from tasklineage.key.guards import MISSING, Recorder
from tasklineage.key.names import Found, Scope, scope_of
from tasklineage.key.nodes import Edge, Leaf, Node, leaf
from tasklineage.key.references import (
    ITEM_SINK,
    READ,
    STORE,
    Facts,
    Reference,
    facts_of,
)
from tasklineage.key.silence import NOTHING, Listener, Silence, Without, kind_text
from tasklineage.key.sinks import is_sink, sink_text, without_call
from tasklineage.key.tasklike import TaskLike
from tasklineage.key.virtual import Registered, is_abstract_base

Expansion = Iterator[Edge]

_READS_OWN_MODULE = frozenset({"globals", "eval", "exec"})
_ATTRIBUTES = {
    "names": ("__name__", "__qualname__"),
    "docs": ("__doc__",),
    "annotations": ("__annotations__",),
}
_OF_PLACE = frozenset(name for group in _ATTRIBUTES.values() for name in group)
_PARTIAL = attrgetter("func", "args", "keywords")
_CACHE = type(functools.lru_cache(lambda: None))
_HARMLESS = frozenset(
    {
        "_thread.lock", "_thread.RLock", "threading.Event", "threading.Condition",
        "threading.Semaphore", "threading.BoundedSemaphore", "threading.Barrier",
        "_thread._local", "logging.Logger", "logging.RootLogger",
        "builtins.object", "typing.NewType", "typing.TypeVar", "typing.ParamSpec",
        "typing.TypeVarTuple",
    }
)  # fmt: skip
"""Types whose values have an identity but no content that could change a result."""


class Data(NamedTuple):
    """A mutable value that the closure reads: looked at again on every call."""

    node: int
    value: Any
    name: str
    digest: bytes
    """What the value's node had as its own digest."""


class Walk:
    """One walk. Afterwards the attributes without underscore say what was found.

    `minded` says which special attributes of unknown functions and classes count everywhere
    (`Facts.reads`), and `silence` which attributes do not: what the walk finds of both is in
    `reads` and `listener`, and calls for another walk if it is something else.
    """

    def __init__(
        self, boundary: Boundary, minded: frozenset[str] = frozenset(), silence: Silence = NOTHING
    ) -> None:
        self.nodes: list[Node] = []
        self.data: list[Data] = []
        self.untracked: dict[str, None] = {}
        self.children: list[TaskLike] = []
        self.caches: list[Any] = []
        self.variables: list[ContextVar[Any]] = []
        self.nested: set[str] = set()
        self.computed: set[str] = set()
        self.reads = set(minded)
        self.recorder = Recorder()
        self.listener = Listener()
        self.tokens: dict[int, bytes] = {}
        """By the identity of a thing with code: what stands for it inside a value's digest."""
        self.foreign: dict[int, tuple[Any, bytes | None]] = {}
        """The same for things met in values that are not of the project: their name does."""
        self._boundary = boundary
        self._minded = minded
        self._silence = silence
        self._indices: dict[int, int] = {}
        self._ties: Counter[bytes] = Counter()
        self._waiting: deque[tuple[Node, Expansion]] = deque()

    def run(self, thing: Any, *, is_call: bool) -> int:
        """Walk everything that can be reached from `thing`; the index of the root.

        `is_call` is whether `thing` is a task that is being called: the defaults of its function
        are then arguments of the call, and do not count for the code.
        """
        is_task = is_call and isinstance(thing, TaskLike)
        edges = self._task_edges(thing) if is_task else self._only(thing)
        root = self._add(Node("root", "", b"", None), edges)
        while self._waiting:
            node, expansion = self._waiting.popleft()
            try:
                node.edges.extend(expansion)
            except Exception as error:  # noqa: BLE001 - objects of users run their own code here
                self._give_up(node, error)
        return root

    def _give_up(self, node: Node, error: Exception) -> None:
        """What cannot be read makes a code version that no memo has, anew on every call."""
        self.untracked[f"{node.name} cannot be read: {type(error).__name__}: {error}"] = None
        node.edges.append(Edge("unread", Leaf("opaque", node.name, os.urandom(16))))
        self.recorder.typed_as(object, type(None))

    # Nodes.

    def _add(self, node: Node, edges: Iterable[Edge]) -> int:
        index = len(self.nodes)
        self.nodes.append(node)
        if node.thing is not None:
            self._indices[id(node.thing)] = index
        self._waiting.append((node, iter(edges)))
        return index

    def _add_code(self, kind: str, name: str, own: bytes, thing: Any, edges: Iterable[Edge]) -> int:
        """Add a node that values may contain, with a token that says what it is."""
        tie = self._ties[own]
        self._ties[own] += 1
        self.tokens[id(thing)] = xxh3_128_digest(b"%s %d" % (own, tie))
        return self._add(Node(kind, name, own, thing), edges)

    def target(self, value: Any, name: str, *, is_watched: bool = True) -> int | Leaf:
        """The node or leaf for a value; one that is not watched is not looked at again."""
        code = self.code_target(value, name)
        return self._value(value, name, is_watched=is_watched) if code is None else code

    def code_target(self, value: Any, name: str) -> int | Leaf | None:
        """The node or leaf for something that is, or directly carries, code; None for data."""
        known = self._indices.get(id(value))
        if known is not None:
            return known
        kind = type(value)
        if kind is FunctionType:
            return self._function(value)
        if issubclass(kind, TaskLike):
            return self._task(value)
        if issubclass(kind, type):
            return self._class(value)
        if issubclass(kind, ModuleType):
            return self._module(value)
        if kind is BuiltinFunctionType:
            return self._builtin(value, name)
        if is_compiled_function(value):
            extension = extension_digest(value)
            if extension is not None:
                return Leaf("extension", _qualified(value), extension, name)
        return self._carrier(value, name)

    def _carrier(self, value: Any, name: str) -> int | Leaf | None:
        """A partial, a property and the like; or a foreign object around a function."""
        kind = type(value)
        is_ours = self._boundary.has_class(kind)
        place = public_place(value) if kind is MethodType else None
        if place is not None:
            return leaf("external", name, place)
        parts = carried_parts(value)
        if parts is None and not is_ours:
            parts = wrapped_parts(value)
        if parts is None:
            return None
        if is_ours:
            parts = [("type", kind), *parts, *by_name(getattr(value, "__dict__", {}))]
        if isinstance(value, functools.partial):
            self.recorder.hold_parts(_PARTIAL, value, name)
            self.recorder.bind_all(value.keywords, dict(value.keywords))
        own = _own("carrier", "" if is_ours else _qualified(kind))
        edges = self._parts(parts, name)
        if kind is _CACHE:
            from tasklineage.key.caches import early_content  # not everybody has any

            self.caches.append(value)
            edges = chain(edges, self._parts(early_content(value), name))
        return self._add_code("carrier", name, own, value, edges)

    def _only(self, thing: Any) -> Expansion:
        self.listener.hand_on(thing)
        yield Edge("", self.target(thing, _qualified(thing)))

    def _parts(
        self,
        parts: Iterable[tuple[str, Any]],
        name: str,
        *,
        watched: Container[str] | None = None,
    ) -> Expansion:
        """Edges to labelled parts; those that are not among the watched are not looked at again."""
        for label, part in parts:
            if label != "__wrapped__":
                self.listener.hand_on(part)
            is_watched = watched is None or label in watched
            yield Edge(label, self.target(part, f"{name}.{label}", is_watched=is_watched))

    # Functions.

    def _function(self, function: FunctionType) -> int | Leaf:
        name = _qualified(function)
        code = function.__code__
        if self._boundary.has_function(function):
            edges = self._function_edges(function, code)
            return self._add_code("function", name, facts_of(code).digest, function, edges)
        place = f"{function.__globals__.get('__name__')}.{code.co_qualname}"
        below = patches_used(function)
        if not below and not self._boundary.carries(function):
            return leaf("external", name, place)
        registry = registry_of(function)
        if registry:
            self.recorder.bind_all(registry, dict(registry), function)
        edges = self._parts([*wrapper_parts(function), *below], name, watched=())
        return self._add_code("wrapper", name, _own("wrapper", place), function, edges)

    def _function_edges(
        self, function: FunctionType, code: CodeType, *, defaults: bool = True
    ) -> Expansion:
        self.recorder.attribute(function, "__code__", code)
        facts, scope = facts_of(code), scope_of(function, code)
        self.reads |= facts.reads
        self.untracked |= dict.fromkeys(f"{scope.title}: {text}" for text in facts.unresolved)
        self.computed |= facts.computed
        self.nested |= {f"{function.__module__}.{qualname}" for qualname in facts.nested}
        for module in facts.imports:
            names.find(Reference("import", module, ()), scope, self.recorder)
        self.listener.hear(facts.uses)
        for reference in facts.references:
            yield from self._reference(reference, scope, facts)
        if defaults:
            yield from self._defaults(function, code, scope.title)
        yield from self._attributes(function, scope.title)
        if "frames" in self._minded:
            yield Edge("locals", Leaf("value", scope.title, facts.locals_digest))
        yield from self._place(function, sorted(self._minded))

    def _defaults(self, function: FunctionType, code: CodeType, title: str) -> Expansion:
        defaults, keywords = function.__defaults__, function.__kwdefaults__
        self.recorder.attribute(function, "__defaults__", defaults)
        self.recorder.attribute(function, "__kwdefaults__", keywords)
        positional = code.co_varnames[: code.co_argcount]
        values = dict(zip(positional[::-1], (defaults or ())[::-1], strict=False))
        if keywords:
            self.recorder.bind_all(keywords, dict(keywords))
            values |= keywords
        for name in sorted(values):
            self.listener.hand_on(values[name])
            yield Edge(f"default {name}", self.target(values[name], f"{title}({name})"))

    def _attributes(self, function: FunctionType, title: str) -> Expansion:
        attributes = dict(function.__dict__)
        if not attributes:
            self.recorder.has_no_attributes(function)
            return
        self.listener.hold(attributes)
        silent = self._silence.of_function(function)
        yield from self._written(attributes, silent, title, function.__dict__)
        yield from self._parts(by_name(attributes), title)

    def _written(
        self, attributes: dict[str, Any], silent: frozenset[str], title: str, space: Any,
        owner: object = None,
    ) -> Expansion:  # fmt: skip
        """Take what is only written to out of the attributes; the rest is bound."""
        count = len(attributes)
        for name in sorted(silent):
            kind = kind_text(attributes.pop(name)) if name in self._silence.updated else ""
            yield Edge(name, leaf("written", f"{title}.{name}", kind))
            if kind:
                self.recorder.typed_as(functools.partial(space.get, name), type(space[name]))
            attributes.pop(name, None)
        self.recorder.bind_all(space, attributes, owner, count)

    def _place(self, thing: Any, special: Iterable[str]) -> Expansion:
        """What a function or class says of itself, where somebody reads it."""
        for kind in special:
            for name in _ATTRIBUTES.get(kind, ()):
                yield Edge(name, self._attribute(thing, name, _qualified(thing)))
            if kind == "source":
                yield Edge(
                    "source", leaf("value", f"source of {_qualified(thing)}", source_of(thing))
                )

    def _attribute(self, thing: Any, name: str, path: str) -> int | Leaf:
        value = getattr(thing, name, None)
        value = tuple(value.items()) if isinstance(value, dict) else value
        return self.target(value, f"{path}.{name}")

    def _builtin(self, function: BuiltinFunctionType, path: str) -> int | Leaf:
        owner, name = function.__self__, _qualified(function)
        extension = extension_digest(function)
        if extension is not None:
            return Leaf("extension", name, extension, name)
        if owner is None or isinstance(owner, (ModuleType, type)):
            return leaf("external", name, name)
        place = public_place(function)
        if place is not None:
            return leaf("external", name, place)
        own = _own("builtin method", name)
        return self._add_code("carrier", path, own, function, self._parts([("self", owner)], path))

    # Names.

    def _reference(self, reference: Reference, scope: Scope, facts: Facts) -> Expansion:
        label = ".".join((reference.name, *reference.chain))
        if reference.use == STORE:
            owner = reference._replace(chain=reference.chain[:-1])
            found = names.find(owner, scope, self.recorder)
            if isinstance(found.value, ModuleType) and not found.rest:
                yield Edge(label, leaf("written", found.path, ""))
                return
        elif reference.use != READ:
            found = names.find(without_call(reference), scope, Recorder())
            if found.get is not None and is_sink(found, reference.use):
                self.recorder.typed_as(found.get, type(found.value))
                is_filled = reference._replace(use=ITEM_SINK) in facts.references
                use = ITEM_SINK if is_filled else reference.use
                yield Edge(label, leaf("sink", found.path, sink_text(found, use)))
                return
        found = names.find(reference, scope, self.recorder)
        if found.value is importlib.import_module and label[-13:] != "import_module":
            self.computed.add("")
        if reference in facts.passed and not found.rest:
            self.listener.hand_on(found.value)
        if found.kind == "unbound" and reference.name not in facts.stored:
            self.untracked[found.path] = None
        yield Edge(label, self._found(found, label))
        if found.kind == "builtin" and label in _READS_OWN_MODULE:
            yield Edge("globals", self._globals(scope))

    def _found(self, found: Found, label: str) -> int | Leaf:
        """The node or leaf for what a reference leads to."""
        if found.kind == "unbound":
            return leaf("unbound", found.path, label)
        if found.kind == "value":
            if found.rest and found.rest[0] in _OF_PLACE and _has_place(found.value):
                return self._attribute(found.value, found.rest[0], found.path)
            return self._bound(found)
        if found.kind == "external" and _is_setting(found):
            return self.target(found.value, found.path)
        if found.value is MISSING or not self._has_code(found.value):
            return leaf(found.kind, found.path, found.text or label)
        return self.target(found.value, found.path)

    def _has_code(self, value: Any) -> bool:
        """Whether something that a library has under a name is, carries or uses the project's."""
        return self._boundary.has_code(value) or bool(patches_used(value))

    def _bound(self, found: Found) -> int | Leaf:
        """The node or leaf for what a name is bound to."""
        code = self.code_target(found.value, found.path)
        if code is not None:
            return code
        if is_project_class(type(found.value)):
            self.listener.hold(getattr(found.value, "__dict__", {}))
        silent = self._silence.of_instance(found.value)
        return self._value(found.value, found.path, is_watched=True, silent=silent)

    def _globals(self, scope: Scope) -> int | Leaf:
        """The whole module of a function that can read it by computed names."""
        module = sys.modules.get(scope.globals.get("__name__", ""))
        if getattr(module, "__dict__", None) is scope.globals:
            return self.target(module, scope.title)
        known = self._indices.get(id(scope.globals))
        if known is not None:
            return known
        edges = self._module_edges(scope.globals, scope.title)
        return self._add(Node("module", scope.title, b"", scope.globals), edges)

    # Classes, modules, tasks.

    def _class(self, cls: type) -> int | Leaf:
        name = _qualified(cls)
        extension = extension_digest(cls)
        if extension is not None:
            return Leaf("extension", name, extension, name)
        own = _own("class", cls.__name__)
        if self._boundary.has_class(cls):
            return self._add_code("class", name, own, cls, self._class_edges(cls, name))
        found, registered = patches(cls), self._boundary.registered(cls)
        if not found and not registered:
            return leaf("external", name, name)
        for patch in found:
            self.recorder.bind(vars(patch.owner), patch.name, patch.value, patch.owner)
        parts = [part for patch in found for part in patch.parts()]
        edges = chain(self._parts(parts, name), self._registered(registered, name))
        return self._add_code("patched", name, own, cls, edges)

    def _class_edges(self, cls: type, name: str) -> Expansion:
        namespace = dict(vars(cls))
        self.listener.hold(namespace)
        silent = self._silence.of_class(cls)
        yield from self._written(namespace, silent, name, vars(cls), cls)
        self.recorder.attribute(cls, "__bases__", cls.__bases__)
        init = namespace.get("__init__")
        if isinstance(init, FunctionType):  # if it was generated, it is no part
            self.recorder.attribute(init, "__defaults__", init.__defaults__)
            self.recorder.attribute(init, "__kwdefaults__", init.__kwdefaults__)
        parts = list(class_parts(cls, namespace, annotations="annotations" in self._minded))
        watched = {attribute for attribute in namespace if not attribute.startswith("__")}
        watched.update(label for label, _ in parts if label.startswith("member "))
        for label, part in parts:
            is_method = isinstance(part, (FunctionType, type))
            target = self.target(part, f"{name}.{label}", is_watched=label in watched)
            yield Edge(label, target)
            if not is_method:
                self.listener.hand_on(part)
        if is_abstract_base(cls):
            registered = Registered(cls)
            self.recorder.measure(registered)
            yield from self._registered(registered.classes(), name)
        yield from self._place(cls, sorted(self._minded - {"annotations"}))
        if "subclasses" in self._minded:
            below: list[type] = type.__subclasses__(cls)
            ours = enumerate(filter(self._boundary.has_class, below))
            yield from self._parts([(f"subclass {n}", sub) for n, sub in ours], name)

    def _registered(self, classes: Iterable[type], name: str) -> Expansion:
        """What was registered with an abstract base, by name: what it is shows where it is used."""
        for n, cls in enumerate(classes):
            yield Edge(f"registered {n}", leaf("value", f"{name}.register", _qualified(cls)))

    def _module(self, module: ModuleType) -> int | Leaf:
        extension = extension_digest(module)
        if extension is not None:
            return Leaf("extension", module.__name__, extension, module.__name__)
        if not self._boundary.has_module(module):
            return leaf("external", module.__name__, module.__name__)
        edges = self._module_edges(vars(module), module.__name__)
        if "source" in self._minded:
            edges = chain(edges, self._place(module, ("source",)))
        own = _own("module", "")
        return self._add_code("module", module.__name__, own, module, edges)

    def _module_edges(self, namespace: dict[str, Any], name: str) -> Expansion:
        items = dict(namespace)
        self.recorder.bind_all(namespace, items)
        yield from self._parts(module_parts(items), name)

    def _task(self, task: TaskLike) -> int:
        self.children.append(task)
        own = _own("task", "")
        return self._add_code("task", task.name, own, task, self._child_edges(task))

    def _child_edges(self, task: TaskLike) -> Expansion:
        if task.version is not None:
            return self._version_edges(task)
        return self._parts([("function", task.__wrapped__), *_key_parts(task)], task.name)

    def _task_edges(self, task: TaskLike) -> Expansion:
        """As for a child task, but without the defaults of its function: they are arguments."""
        function = task.__wrapped__
        if not isinstance(function, FunctionType) or task.version is not None:
            return self._child_edges(task)
        if not self._boundary.has_function(function):
            return self._child_edges(task)
        code = function.__code__
        node = Node("function", _qualified(function), facts_of(code).digest, None)
        index = self._add(node, self._function_edges(function, code, defaults=False))
        node.thing = function
        return chain([Edge("function", index)], self._parts(_key_parts(task), task.name))

    def _version_edges(self, task: TaskLike) -> Expansion:
        yield Edge("version", leaf("version", task.name, f"{task.name}\0{task.version}"))

    # Values.

    def _value(
        self, value: Any, name: str, *, is_watched: bool, silent: frozenset[str] = frozenset()
    ) -> int | Leaf:
        if _qualified(type(value)) in _HARMLESS:
            return leaf("opaque", name, _qualified(type(value)))
        if type(value) is ContextVar:
            self.variables.append(value)
        met: dict[bytes, int] = {}

        subject = Without(value, silent, self._silence.updated) if silent else value

        def token(thing: Any) -> bytes | None:
            if thing is not type(value):
                self.listener.hand_on(thing)
            target = self.code_target(thing, name)
            if isinstance(target, int):
                met[self.tokens[id(thing)]] = target
                return self.tokens[id(thing)]
            is_named = target is None or target.kind == "external"
            found = None if is_named or target is None else target.digest
            self.foreign[id(thing)] = thing, found
            return found

        try:
            own = digest(subject, name, token)
        except (UnhashableArgument, Unresolved):
            return self._opaque(value, name, is_watched=is_watched)
        is_constant = _is_constant(value)
        if is_constant:
            for getter, instance in frozen_instances(value):
                self.recorder.hold_parts(getter, instance, name)
        if is_constant and not met:
            return Leaf("value", name, own, value)
        edges = [Edge("", target) for _, target in sorted(met.items())]
        index = self._add(Node("value", name, own, value), edges)
        if is_watched and not is_constant:
            self.data.append(Data(index, subject, name, own))
        return index

    def _opaque(self, value: Any, name: str, *, is_watched: bool) -> int | Leaf:
        """What has no digest as a whole counts by its type, and by those parts that have one."""
        kind = type(value)
        if kind is CodeType:
            return Leaf("value", name, facts_of(value).digest, value)
        spaces = opaque_spaces(value, is_ours=self._boundary.has_class(kind))
        scripted = scripted_parts(value)
        if not spaces and not scripted:
            return self._without_parts(value, name, is_watched=is_watched)
        parts: list[tuple[str, Any]] = [("type", kind), *scripted]
        for space, items in spaces:
            self.recorder.bind_all(space, items)
            parts += item_parts(items)
        return self._add(Node("opaque", name, _own("opaque", ""), value), self._parts(parts, name))

    def _without_parts(self, value: Any, name: str, *, is_watched: bool) -> int | Leaf:
        """What has neither a digest nor parts counts by its type, with the code of that."""
        if is_watched:
            self.untracked[f"{name}: {_qualified(type(value))}"] = None
        if self._boundary.has_class(type(value)) or extension_digest(type(value)) is not None:
            node = Node("opaque", name, _own("opaque", ""), value)
            return self._add(node, self._parts([("type", type(value))], name))
        return leaf("opaque", name, _qualified(type(value)))


def _own(kind: str, text: str) -> bytes:
    return xxh3_128_digest(f"{kind}\0{text}".encode("utf-8", "surrogatepass"))


def _qualified(thing: Any) -> str:
    """Module and name of a function, a class or an instance's class, for people."""
    if isinstance(thing, TaskLike):
        return thing.name
    if isinstance(thing, ModuleType):
        return thing.__name__
    name = getattr(thing, "__qualname__", None)
    return f"{getattr(thing, '__module__', '')}.{name}" if name else _qualified(type(thing))


def _is_constant(value: Any) -> bool:
    """Whether a value can only change by changes of the code in it, which are guarded."""
    if is_immutable(value) or isinstance(value, (type, FunctionType)):
        return True
    if type(value) is not tuple and type(value) is not frozenset:
        return False
    try:
        return all(map(_is_constant, value))
    except RecursionError:
        return False


def _is_setting(found: Found) -> bool:
    """Whether a library has a plain constant there, which somebody may have set.

    What `sys` and `os` have says where a program runs.
    """
    is_plain = type(found.value) in SIMPLE and not found.rest
    return is_plain and found.text.partition(".")[0] not in ("sys", "os")


def _has_place(value: Any) -> bool:
    return isinstance(value, (FunctionType, type))


def _key_parts(task: TaskLike) -> list[tuple[str, Any]]:
    return [(f"key {name}", task.key[name]) for name in sorted(task.key)]
