"""What a name in a function stands for now: looked up as the interpreter would, noted as guards."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

from tasklineage.key.boundary import is_project_module, origin_of
from tasklineage.key.guards import MISSING, Namespace, Recorder, cell_value
from tasklineage.key.references import Reference


class Scope(NamedTuple):
    """Where a function looks its names up."""

    globals: dict[str, Any]
    builtins: dict[str, Any]
    cells: Mapping[str, CellType]
    title: str
    """The function's module and name, for people."""


class Found(NamedTuple):
    """What a reference leads to."""

    value: Any
    """`MISSING` where there is nothing."""
    path: str
    """Where it is bound, for people."""
    rest: tuple[str, ...] = ()
    """Attributes that were not followed: they belong to `value`."""
    kind: str = "value"
    """`value`, `builtin`, `external` (reached through a module not of the project) or `unbound`."""
    text: str = ""
    """What stands for an external thing."""
    get: Callable[[], Any] | None = None
    """Fetches it again, without guards."""


def scope_of(function: FunctionType, code: CodeType) -> Scope:
    """The scope in which a function runs."""
    cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
    title = f"{function.__module__}.{function.__qualname__}"
    builtins: dict[str, Any] = function.__builtins__
    return Scope(function.__globals__, builtins, cells, title)


def find(reference: Reference, scope: Scope, recorder: Recorder) -> Found:
    """Follow a reference through modules, down to the first thing that is none."""
    kind, name, chain, _ = reference
    if kind == "global":
        start = _find_global(name, scope, recorder)
    elif kind == "cell":
        start = _find_cell(name, scope, recorder)
    else:
        start = _find_module(name, scope, recorder, may_import=kind == "import")
    if start.kind == "unbound":
        return start
    if start.kind == "external" and start.value is MISSING:
        return start._replace(text=".".join((start.text, *chain)))
    return _follow(start, chain, recorder)


def _find_global(name: str, scope: Scope, recorder: Recorder) -> Found:
    space = scope.globals
    value = space.get(name, MISSING)
    if value is not MISSING:
        recorder.bind(space, name, value)
        path = f"{space.get('__name__', '')}.{name}"
        return Found(value, path, get=partial(space.get, name))
    recorder.lack(space, name)
    value = scope.builtins.get(name, MISSING)
    if value is MISSING:
        recorder.lack(scope.builtins, name)
        return Found(MISSING, f"{scope.title}: {name}", kind="unbound")
    recorder.bind(scope.builtins, name, value)
    return Found(value, name, kind="builtin")


def _find_cell(name: str, scope: Scope, recorder: Recorder) -> Found:
    cell = scope.cells[name]
    path = f"{scope.title}.{name}"
    get = partial(cell_value, cell)
    value = get()
    if value is MISSING:
        recorder.typed_as(get, type(MISSING))
        return Found(MISSING, path, kind="unbound")
    recorder.hold(cell, value, path)
    return Found(value, path, get=get)


def _find_module(name: str, scope: Scope, recorder: Recorder, *, may_import: bool) -> Found:
    try:
        full = _absolute(name, scope) if may_import else name
        module: Any = sys.modules.get(full) or MISSING
        if module is MISSING and may_import and origin_of(full) == "project":
            module = importlib.import_module(full)
    except (Exception, SystemExit):  # noqa: BLE001 - user code; the body will meet the same
        return Found(MISSING, f"{scope.title}: import {name}", kind="unbound")
    if module is MISSING:
        kind = "external" if origin_of(full) == "foreign" else "unbound"
        if kind == "unbound":
            recorder.lack(sys.modules, full)
        return Found(MISSING, f"{scope.title}: import {name}", kind=kind, text=full)
    recorder.bind(sys.modules, full, module)
    return Found(module, full, text=full)


def _absolute(name: str, scope: Scope) -> str:
    if not name.startswith("."):
        return name
    package = scope.globals.get("__package__")
    if package is None:
        package = scope.globals["__name__"]
        if "__path__" not in scope.globals:
            package = package.rpartition(".")[0]
    return importlib.util.resolve_name(name, package)


def _follow(start: Found, chain: tuple[str, ...], recorder: Recorder) -> Found:
    """Go on through modules, and through classes of modules that are not of the project."""
    value, path, external, get = start.value, start.path, "", start.get
    while chain:
        name = chain[0]
        if isinstance(value, ModuleType):
            if name == "__dict__":
                break
            if not is_project_module(value):
                external = external or start.text or value.__name__
            child = _member(value, name, recorder)
            if child is MISSING and not external:
                return Found(MISSING, f"{value.__name__}.{name}", kind="unbound")
            get = partial(vars(value).get, name)
            path = f"{value.__name__}.{name}"
        elif external and isinstance(value, type):
            child = _class_member(value, name, recorder)
            path = f"{path}.{name}"
        else:
            break
        external = external and f"{external}.{name}"
        chain = chain[1:]
        if child is MISSING:
            return Found(MISSING, path, (), "external", ".".join((external, *chain)))
        value = child
    return Found(value, path, chain, "external" if external else start.kind, external, get)


def _member(module: ModuleType, name: str, recorder: Recorder) -> Any:
    """What a module has under a name: a binding, a submodule, or what its `__getattr__` gives."""
    space: Namespace = vars(module)
    value = space.get(name, MISSING)
    if value is MISSING and is_project_module(module):
        value = _late_member(module, name)
    if name in space:
        recorder.bind(space, name, value)
    else:
        recorder.lack(space, name)
    return value


def _late_member(module: ModuleType, name: str) -> Any:
    full = f"{module.__name__}.{name}"
    try:
        if "__path__" in vars(module) and importlib.util.find_spec(full) is not None:
            return importlib.import_module(full)
        return getattr(module, name, MISSING)
    except (Exception, SystemExit):  # noqa: BLE001 - user code; the body will meet the same
        return MISSING


def _class_member(cls: type, name: str, recorder: Recorder) -> Any:
    for base in cls.__mro__:
        space = vars(base)
        if name in space:
            recorder.bind(space, name, space[name], base)
            return space[name]
    return MISSING
