"""What classes, functions' wrappers and the like consist of, as labelled parts.

Everything here only reads: it decides which parts of a live object count, not how they count.
"""

from __future__ import annotations

import functools
import gc
import re
import sys
import typing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import itemgetter
from types import (
    CellType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

from tasklineage.key.digest import is_immutable

Part = tuple[str, Any]

_NEVER = frozenset(
    {
        "__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__",
        "__annotations_cache__", "__firstlineno__", "__static_attributes__", "__abstractmethods__",
        "_abc_impl", "__orig_bases__", "__parameters__", "__type_params__", "__signature__",
        "__dataclass_fields__", "__dataclass_params__", "__match_args__", "__slotnames__",
        "__pydantic_core_schema__", "__pydantic_validator__", "__pydantic_serializer__",
        "__pydantic_complete__", "__pydantic_parent_namespace__", "__pydantic_setattr_handlers__",
        "__pydantic_decorators__", "__readonly_keys__", "__mutable_keys__",
    }
)  # fmt: skip
"""Names of a class namespace that say nothing more, or nothing that can change a result."""
_DATACLASS_PARAMS = ("init", "repr", "eq", "order", "unsafe_hash", "frozen")
"""Those that every version of Python has; others show in fields and slots."""
_OF_ENUM = frozenset(
    {
        "_member_map_", "_value2member_map_", "_member_names_", "_member_type_", "_new_member_",
        "_unhashable_values_", "_unhashable_values_map_", "_hashable_values_", "_use_args_",
        "_value_repr_", "_sort_order_", "_singles_mask_", "_all_bits_", "_flag_mask_",
        "_inverted_", "__new_member__",
    }
)  # fmt: skip
"""What `enum` derives from the members."""
_OF_MEMBER = frozenset({"_value_", "_name_", "_sort_order_", "__objclass__"})
_OF_MODULE = frozenset(
    {
        "__builtins__", "__cached__", "__doc__", "__file__", "__loader__", "__name__",
        "__package__", "__path__", "__spec__", "__annotations__", "__warningregistry__",
    }
)  # fmt: skip
_OF_IPYTHON = frozenset(
    {
        "In", "Out", "_", "__", "___", "_i", "_ii", "_iii", "_ih", "_oh", "_dh", "_exit_code",
        "exit", "quit", "get_ipython", "__builtin__", "__session__", "__vsc_ipynb_file__",
        "_VSCODE_hashedFileName",
    }
)  # fmt: skip
_RECORDS = frozenset({"SimpleNamespace", "Namespace"})
"""Classes of libraries that hold nothing but attributes: of `types`, and of `argparse`."""
_OF_JAX = "_jit_info"
"""What `jax.jit` keeps of its function, with handles of the process in it; `wraps` copies it."""
_HISTORY = re.compile(r"_i?\d+")


def class_parts(cls: type, namespace: dict[str, Any], *, annotations: bool) -> Iterator[Part]:
    """What a class consists of beside its name: bases, metaclass and namespace.

    The order of methods does not count, that of fields and members does. Annotations count where
    they make fields, or where `annotations` says that somebody reads them.
    """
    if type(cls) is not type:
        yield "metaclass", type(cls)
    for n, base in enumerate(cls.__bases__):
        yield f"base {n}", base
    skipped = _NEVER
    reduction = _reduction(cls)
    if reduction is not None:
        yield "reduction", reduction
    if _is_enum(cls):
        yield from _members(namespace)
        skipped = skipped | _OF_ENUM | frozenset(namespace.get("_member_map_", ()))
        inherited = namespace.get("_generate_next_value_")
        if getattr(getattr(inherited, "__func__", inherited), "__module__", "") == "enum":
            skipped = skipped | {"_generate_next_value_"}
    is_dataclass = "__dataclass_fields__" in namespace
    if is_dataclass:
        yield from _fields(namespace)
    if "_field_defaults" in namespace and issubclass(cls, tuple):
        yield "_field_defaults", tuple(namespace["_field_defaults"].items())
        skipped = skipped | {"_field_defaults", *_generated_by_namedtuple(namespace)}
    yield from _own_match_args(namespace)
    yield from _pydantic_decorators(namespace.get("__pydantic_decorators__"))
    generated = {n for n, v in namespace.items() if _is_generated(v, is_dataclass=is_dataclass)}
    skipped = skipped | generated
    annotated = namespace.get("__annotations__")
    if isinstance(annotated, dict) and (annotations or _has_declared_fields(cls)):
        yield "annotations", tuple(annotated.items())
    for name, value in by_name(namespace):
        is_slot = isinstance(value, (GetSetDescriptorType, MemberDescriptorType))
        if name not in skipped and not is_slot:
            yield name, value


def module_parts(namespace: dict[str, Any]) -> Iterator[Part]:
    """Everything that a module has, but for what the import system puts there.

    Nor what IPython puts into the module that cells run in: the history, which every cell changes.
    """
    is_ipython = "_ih" in namespace and "get_ipython" in namespace
    for name, value in by_name(namespace):
        if name in _OF_MODULE or (is_ipython and _is_of_ipython(name)):
            continue
        yield name, value


def _is_of_ipython(name: str) -> bool:
    return name in _OF_IPYTHON or _HISTORY.fullmatch(name) is not None


def by_name(namespace: Mapping[Any, Any]) -> list[Part]:
    """The items of a namespace in the order of their names, which may be anything."""
    return sorted(((str(name), value) for name, value in namespace.items()), key=itemgetter(0))


def carried_parts(value: Any) -> list[Part] | None:
    """What a partial, a bound method, a property and the like carry; None for anything else."""
    for kind in type(value).__mro__:
        read = _CARRIERS.get(id(kind))
        if read is not None:
            return list(read(value))
    if type(value).__name__ == "ufunc":  # of numpy; those of libraries carry no function
        carried = [part for part in _referents(value) if isinstance(part[1], FunctionType)]
        return carried or None
    return None


def wrapped_parts(value: Any) -> list[Part] | None:
    """What a callable object carries that was put around a function, with its plain settings."""
    settings = _attributes_of(value)
    if "__wrapped__" not in settings and not hasattr(type(value), "__wrapped__"):
        return None
    try:
        wrapped = value.__wrapped__
    except Exception:  # noqa: BLE001 - a proxy runs the code of users
        return None
    if not callable(value) or not callable(wrapped):
        return None
    plain = [p for p in by_name(settings) if not p[0].startswith("__") and is_immutable(p[1])]
    return [("__wrapped__", wrapped), *plain]


def held_parts(value: Any) -> list[Part]:
    """What an object of a library has in its attributes, as what registers accessors keeps them."""
    return by_name(_attributes_of(value)) if not isinstance(value, (type, ModuleType)) else []


def wrapper_parts(function: FunctionType) -> list[Part]:
    """What a function carries in its cells and attributes; of a dispatching one, what it calls."""
    registry = registry_of(function)
    if registry is not None:
        return registry_parts(registry)
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    parts = [(f"cell {name}", content) for name, cell in cells for content in _content(cell)]
    return [*parts, *(part for part in by_name(function.__dict__) if part[0] != _OF_JAX)]


def public_place(value: Any) -> str | None:
    """Where a library keeps a bound method as a function of its own, as `random.choice` is one.

    The state of the hidden instance behind it is no more of the project than that of any library.
    """
    module = sys.modules.get(str(type(value.__self__).__module__))
    name = getattr(value, "__name__", "")
    is_there = getattr(module, "__dict__", {}).get(name) is value
    return f"{type(value.__self__).__module__}.{name}" if is_there else None


def registry_of(function: FunctionType) -> Mapping[type, Any] | None:
    """The implementations of a `functools.singledispatch` function; None for any other."""
    if function.__code__.co_qualname != "singledispatch.<locals>.wrapper":
        return None
    registry: Mapping[type, Any] = getattr(function, "registry", {})
    return registry


def registry_parts(registry: Mapping[type, Any]) -> list[Part]:
    """The types and implementations of a `functools.singledispatch` function."""
    kinds = sorted(registry, key=lambda kind: f"{kind.__module__}.{kind.__qualname__}")
    pairs = enumerate((kind, registry[kind]) for kind in kinds)
    return [(f"for {n}", part) for n, pair in pairs for part in pair]


def source_of(thing: Any) -> str:
    """What `inspect` says that the text of a function, class or module is."""
    import inspect

    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        return ""


def opaque_spaces(value: Any, *, is_ours: bool) -> list[tuple[Any, dict[Any, Any]]]:
    """What holds the parts of a container or record that has no digest as a whole, and its items.

    Of instances of ours the attributes are parts. Nothing is given for what has none.
    """
    found: list[tuple[Any, dict[Any, Any]]] = []
    if isinstance(value, dict):
        found.append((value, dict(dict.items(value))))
    elif isinstance(value, MappingProxyType):
        found.append((value, dict(value)))
    elif isinstance(value, (list, tuple, deque)):
        found.append((value, dict(enumerate(value))))
    if is_ours or type(value).__qualname__ in _RECORDS:
        space = _attributes_of(value)
        found += [(space, dict(space))] if space else []
    return found


def scripted_parts(value: Any) -> list[Part]:
    """What a function or module that `torch.jit` has compiled does: its code, and its tensors."""
    if not str(type(value).__module__).startswith("torch.jit"):
        return []
    modules = list(value.modules()) if hasattr(value, "modules") else [value]
    state = dict(value.state_dict()) if hasattr(value, "state_dict") else {}
    return [("code", tuple(getattr(one, "code", "") for one in modules)), ("state", state)]


def item_parts(items: Mapping[Any, Any]) -> list[Part]:
    """The items of a container as parts; of those whose key is no label, the key is one too."""
    plain = [(str(key), part) for key, part in items.items() if type(key) in (str, int)]
    others = [item for item in items.items() if type(item[0]) not in (str, int)]
    return plain + [(f"item {n}", part) for n, item in enumerate(others) for part in item]


def _attributes_of(value: Any) -> dict[str, Any]:
    try:
        found = value.__dict__
    except Exception:  # noqa: BLE001 - a proxy runs the code of users
        return {}
    return found if isinstance(found, dict) else {}


def _content(cell: CellType) -> Iterator[Any]:
    try:
        yield cell.cell_contents
    except ValueError:  # an empty cell
        return


def _members(namespace: dict[str, Any]) -> Iterator[Part]:
    """The members of an enumeration in order: name, value, and what `__init__` added."""
    for n, (name, member) in enumerate(namespace.get("_member_map_", {}).items()):
        yield f"member {n} {name}", member._value_
        for attribute in sorted(vars(member).keys() - _OF_MEMBER):
            yield f"member {n} {name}.{attribute}", vars(member)[attribute]


def _fields(namespace: dict[str, Any]) -> Iterator[Part]:
    """The fields of a dataclass in order, and its parameters."""
    from dataclasses import MISSING  # whoever has fields has imported it

    params = namespace.get("__dataclass_params__")
    settings = tuple(getattr(params, name, None) for name in _DATACLASS_PARAMS)
    yield "dataclass", (*settings, "__match_args__" in namespace)
    for n, field in enumerate(namespace["__dataclass_fields__"].values()):
        label = f"field {n} {field.name}"
        flags = (field.init, field.repr, field.hash, field.compare, field.kw_only)
        yield label, (str(field._field_type), flags)
        yield f"{label} type", field.type
        if field.default is not MISSING:
            yield f"{label} default", field.default
        if field.default_factory is not MISSING:
            yield f"{label} default_factory", field.default_factory
        if field.metadata:
            yield f"{label} metadata", tuple(field.metadata.items())
    yield from _replaced_defaults(namespace["__dataclass_fields__"].values(), namespace)


def _replaced_defaults(fields: Iterable[Any], namespace: dict[str, Any]) -> Iterator[Part]:
    """The defaults of a generated `__init__`, if somebody has given it other ones."""
    from dataclasses import MISSING

    init = namespace.get("__init__")
    if not isinstance(init, FunctionType) or not _is_of_dataclasses(init):
        return
    with_default = [
        f
        for f in fields
        if _is_passed(f) and (f.default is not MISSING or f.default_factory is not MISSING)
    ]
    found = [*(init.__defaults__ or ()), *(init.__kwdefaults__ or {}).values()]
    made = sorted(with_default, key=lambda f: bool(f.kw_only))
    is_same = len(found) == len(made) and all(
        f.default is MISSING or f.default is value for f, value in zip(made, found, strict=True)
    )
    if not is_same:
        yield "defaults of __init__", (init.__defaults__, init.__kwdefaults__)


def _is_passed(field: Any) -> bool:
    """Whether a field of a dataclass is a parameter of its `__init__`."""
    return bool(field.init) and str(field._field_type) != "_FIELD_CLASSVAR"


def _own_match_args(namespace: dict[str, Any]) -> Iterator[Part]:
    """What patterns match by position, where it does not follow from the fields."""
    found = namespace.get("__match_args__")
    fields = namespace.get("__dataclass_fields__", {}).values()
    made = tuple(f.name for f in fields if _is_passed(f) and not f.kw_only)
    if found not in (None, made, namespace.get("_fields")) and "__attrs_attrs__" not in namespace:
        yield "__match_args__", found


def _pydantic_decorators(decorators: Any) -> Iterator[Part]:
    """How the validators and serializers of a pydantic model are applied; they are methods too."""
    for group, found in by_name(getattr(decorators, "__dict__", {})):
        if isinstance(found, dict):
            for name in sorted(found):
                yield f"pydantic {group} {name}", found[name].info


def _is_generated(value: Any, *, is_dataclass: bool) -> bool:
    """Whether a method was written by `dataclasses` or `attrs`: it follows from the fields."""
    if not isinstance(value, FunctionType):
        return False
    if is_dataclass and value.__module__ == "dataclasses" and value.__name__ == "_replace":
        return True
    if not value.__name__.startswith("__"):
        return False
    file = value.__code__.co_filename
    if file.startswith("<attrs generated"):
        return True
    return is_dataclass and _is_of_dataclasses(value)


def _is_of_dataclasses(function: FunctionType) -> bool:
    """Whether `dataclasses` wrote a method, or the one that keeps a repr from recursing."""
    import dataclasses

    code = function.__code__
    if code.co_filename == "<string>":  # so is the file of whatever is given to `exec`
        return code.co_qualname.startswith("__create_fn__.<locals>.")
    if code.co_filename.endswith("reprlib.py"):
        inner = [c for cell in function.__closure__ or () for c in _content(cell)]
        return any(isinstance(c, FunctionType) and _is_of_dataclasses(c) for c in inner)
    return code.co_filename == dataclasses.__file__


def _generated_by_namedtuple(namespace: dict[str, Any]) -> Iterator[str]:
    """What was written by `namedtuple`: it follows from the fields."""
    for name in ("__new__", "__replace__"):
        function = getattr(namespace.get(name), "__func__", namespace.get(name))
        place = getattr(function, "__globals__", {}).get("__name__", "")
        if isinstance(function, FunctionType) and place.startswith(("namedtuple_", "collections")):
            yield name
    for name in namespace.get("_fields", ()):
        if type(namespace.get(name)).__name__ == "_tuplegetter":
            yield name


def _reduction(cls: type) -> Any:
    """How `copy` and `pickle` take instances apart, if somebody has told them."""
    copyreg = sys.modules.get("copyreg")
    found = getattr(copyreg, "dispatch_table", {}).get(cls)
    if issubclass(cls, BaseException) and _home(found) != _home(cls):
        return (
            None  # libraries do so with the exceptions of everybody, to send them with tracebacks
        )
    return found


def _home(thing: Any) -> str:
    return str(getattr(thing, "__module__", "")).partition(".")[0]


def _is_enum(cls: type) -> bool:
    enum = sys.modules.get("enum")
    return enum is not None and isinstance(cls, enum.EnumMeta)


def _has_declared_fields(cls: type) -> bool:
    """Whether a framework makes fields of the annotations: attrs, pydantic and their like.

    They come with a metaclass or a base of their own; those of the standard library do not.
    """
    if "__attrs_attrs__" in vars(cls):
        return True
    kind = type(cls)
    module = str(kind.__module__).partition(".")[0]
    return kind is not type and module not in sys.stdlib_module_names


def _partial(value: Any) -> Iterator[Part]:
    yield "function", value.func
    for n, argument in enumerate(value.args):
        yield f"argument {n}", argument
    for name, argument in value.keywords.items():
        yield f"argument {name}", argument


def _referents(value: Any) -> Iterator[Part]:
    """What an object of C code holds that shows none of it."""
    for n, part in enumerate(gc.get_referents(value)):
        if not isinstance(part, type):
            yield f"part {n}", part


def _attributes(*names: str) -> Callable[[Any], Iterator[Part]]:
    def read(value: Any) -> Iterator[Part]:
        for name in names:
            part = getattr(value, name, None)
            if part is not None:
                yield name, part

    return read


_READERS: dict[type, Callable[[Any], Iterator[Part]]] = {
    functools.partial: _partial,
    functools.partialmethod: _partial,
    functools.cached_property: _attributes("func"),
    functools.singledispatchmethod: _attributes("dispatcher", "func"),
    type(functools.lru_cache(lambda: None)): _attributes("__wrapped__"),
    type(functools.cmp_to_key(lambda a, b: 0)): _referents,
    staticmethod: _attributes("__func__"),
    classmethod: _attributes("__func__"),
    MethodType: _attributes("__func__", "__self__"),
    getattr(typing, "TypeAliasType", property): _attributes("__value__"),
    property: _attributes("fget", "fset", "fdel"),
}
_CARRIERS = {id(kind): read for kind, read in _READERS.items()}
"""By identity: a class may have a metaclass without a hash."""
