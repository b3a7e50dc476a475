"""Forms of what is defined in code: functions, classes, modules, tasks, and instances of classes.

Code of the project counts by the digest that the code hook gives; other code by its qualified name.
"""

from __future__ import annotations

import copyreg
import io
import sys
import types
from typing import Any

from tasklineage.key.digest_forms import Code, Library, Parts, Undigestible, add_form
from tasklineage.key.digest_origin import origin
from tasklineage.key.tasklike import TaskLike

LIBRARY = Library()

_NEW = copyreg.__dict__["__newobj__"]
_PROTOCOL = 5
_HEAP_TYPE = 1 << 9
"""The flag of a type that was made at run time; the others are defined in C, under their name."""


@LIBRARY.form("builtins:type", family=True)
def _class(value: Any, code: Code) -> Parts:
    """A class of the project counts by its name too: a task may ask for it."""
    version = code(value)
    if version is not None:
        return "project class", value.__name__, version
    module, name = value.__module__, value.__qualname__
    if not value.__flags__ & _HEAP_TYPE or _is_importable(value, module, name):
        return "class", module, name
    content = {
        key: part
        for key, part in vars(value).items()
        if isinstance(part, types.FunctionType)
        or (isinstance(part, int | str | tuple) and not key.startswith("__"))
    }
    return "class", module, name, value.__bases__, content


def _function(value: Any, code: Code) -> Parts:
    version = code(value)
    if version is not None:
        return "code", version
    module, name = value.__module__, value.__qualname__
    if _is_importable(value, module, name):
        return "function", module, name
    cells = tuple(_cell(cell) for cell in value.__closure__ or ())
    defaults = value.__defaults__, value.__kwdefaults__
    return "function", module, name, _bytecode(value.__code__), defaults, cells, value.__dict__


def _bytecode(code: types.CodeType) -> Parts:
    """What tells the lambdas of one library from one another."""
    constants = tuple(
        _bytecode(part) if isinstance(part, types.CodeType) else part for part in code.co_consts
    )
    return code.co_code, code.co_names, constants


def _cell(cell: types.CellType) -> Any:
    try:
        return (cell.cell_contents,)
    except ValueError:  # not filled yet
        return ()


def _module(value: Any, code: Code) -> Parts:
    version = code(value)
    return ("module", value.__name__) if version is None else ("code", version)


def _task(value: Any, code: Code) -> Parts:
    version = code(value)
    if version is None:
        raise Undigestible("nobody says what of a task counts")
    return "code", version


def _builtin(value: Any, code: Code) -> Parts:
    """A built-in function; one that is bound to an object counts with the object."""
    owner = value.__self__
    if owner is not None and not isinstance(owner, types.ModuleType):
        return "method", value.__name__, owner
    version = code(value)
    if version is not None:
        return "code", version
    return "function", value.__module__, value.__qualname__


def _method(value: Any, _: Code) -> Parts:
    return "method", value.__func__, value.__self__


def _descriptor(value: Any, _: Code) -> Parts:
    return "function", value.__objclass__, value.__name__


@LIBRARY.form("builtins:staticmethod", "builtins:classmethod")
def _wrapper(value: Any, _: Code) -> Parts:
    return type(value).__name__, value.__func__


@LIBRARY.form("builtins:property")
def _property(value: Any, _: Code) -> Parts:
    return "property", value.fget, value.fset, value.fdel


@LIBRARY.form("builtins:set", "builtins:frozenset", family=True)
def _set(value: Any, code: Code) -> Parts:
    """A subclass of a set: pickle would write the elements in the order of their hashes."""
    kind: Any = type(value)
    if kind.__reduce__ not in (set.__reduce__, frozenset.__reduce__):
        return instance_parts(value, code)
    is_frozen = issubclass(kind, frozenset)
    content = frozenset(frozenset.__iter__(value)) if is_frozen else set(set.__iter__(value))
    return "set", kind, content, value.__getstate__(), _source(kind, code)


@LIBRARY.form("builtins:tuple", family=True)
def _tuple(value: Any, code: Code) -> Parts:
    """A namedtuple; another subclass of tuple is an instance like any."""
    kind = type(value)
    fields = getattr(kind, "_fields", None)
    if isinstance(fields, tuple) and kind.__dictoffset__ == 0 and not _has_own_reduction(kind):
        return "namedtuple", kind, fields, tuple(tuple.__iter__(value)), _source(kind, code)
    return instance_parts(value, code)


def _has_own_reduction(kind: Any) -> bool:
    return (
        kind.__reduce_ex__ is not object.__reduce_ex__
        or kind.__reduce__ is not object.__reduce__
        or kind in copyreg.dispatch_table
    )


@LIBRARY.form("builtins:object", family=True)
def instance_parts(value: Any, code: Code) -> Parts:
    """Any other object: the parts that pickle would write, and who defines its class."""
    kind = type(value)
    if kind is object:
        raise Undigestible("it has an identity, but no content")
    is_foreign = code(kind) is None
    if is_foreign and hasattr(kind, "__next__"):
        is_file = isinstance(value, io.IOBase)
        raise Undigestible("an open file" if is_file else "an iterator is used up by reading it")
    source = origin(kind.__module__) if is_foreign else None
    reduced: Any = _reduced(value, kind)
    if isinstance(reduced, str):
        return "global", _module_of(value, kind, reduced), reduced
    padded: list[Any] = [*reduced, None, None, None, None]
    function, arguments, state, items, pairs, setter = padded[:6]
    is_new = function is _NEW and len(arguments) == 1 and arguments[0] is kind
    if is_new and items is None and pairs is None and setter is None:
        return "object", kind, state, source
    items = None if items is None else list(items)
    pairs = None if pairs is None else [part for pair in pairs for part in pair]
    return "reduced", function, arguments, state, items, pairs, setter, source


@LIBRARY.form("builtins:BaseException", family=True)
def _exception(value: Any, code: Code) -> Parts:
    """An exception and its cause; attributes that nobody has set are none."""
    parts = instance_parts(value, code)
    if parts[0] == "reduced" and parts[3] == {}:  # somebody has looked for attributes
        parts = *parts[:3], None, *parts[4:]
    cause = value.__cause__
    return parts if cause is None else (*parts, "cause", cause)


def _source(kind: type, code: Code) -> str | None:
    """Who defines a class, where the hook does not know it."""
    return origin(kind.__module__) if code(kind) is None else None


def _reduced(value: Any, kind: type) -> Any:
    """What pickle would write."""
    reduce = copyreg.dispatch_table.get(kind)
    reduced = value.__reduce_ex__(_PROTOCOL) if reduce is None else reduce(value)
    if isinstance(reduced, str) or (isinstance(reduced, tuple) and 2 <= len(reduced) <= 6):
        return reduced
    raise Undigestible("its __reduce_ex__ gives neither a str nor a tuple of 2 to 6 parts")


def _module_of(value: Any, kind: type, name: str) -> str:
    """The module in which an object that reduces to a name is found under that name."""
    for module in (getattr(value, "__module__", None), kind.__module__):
        if isinstance(module, str) and _is_importable(value, module, name):
            return module
    raise Undigestible(f"it reduces to the name {name!r}, which its module does not have")


def _is_importable(value: Any, module: Any, name: str) -> bool:
    found = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is value


for _kind, _form in (
    (types.FunctionType, _function),
    (types.BuiltinFunctionType, _builtin),
    (types.MethodType, _method),
    (types.MethodDescriptorType, _descriptor),
    (types.WrapperDescriptorType, _descriptor),
    (types.ClassMethodDescriptorType, _descriptor),
    (types.GetSetDescriptorType, _descriptor),
    (types.MemberDescriptorType, _descriptor),
):
    add_form(_kind, _form, family=False)
add_form(types.ModuleType, _module, family=True)
add_form(TaskLike, _task, family=True)
