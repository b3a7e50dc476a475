"""Values that become Files or Secrets because an annotation says so: `data: tl.File`, `-> tl.Dir`.

The annotations are looked at once for each code version of a task, when its first key is made: the
names in them are bound by then. A task without such an annotation pays nothing.
"""

from __future__ import annotations

import builtins
import inspect
import os
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from tasklineage.core.keyed import Key
from tasklineage.key.files import Dir, File, Value
from tasklineage.key.secrets import Secret

Convert = Callable[[Any], Any]
_OURS: dict[str, Any] = {"File": File, "Dir": Dir, "Key": Key, "Secret": Secret}
_CONTAINERS = (list, tuple, set, frozenset)
_ALONE = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


class Files(NamedTuple):
    """What becomes of the arguments and the result of one function."""

    parameters: tuple[tuple[str, Any, Convert | None], ...]
    """Name, kind and conversion of each."""
    result: Convert | None

    def passed(
        self, bound: tuple[Any, ...]
    ) -> tuple[tuple[Any, ...], tuple[Any, ...], dict[str, Any]]:
        """One value per parameter with Files in the place of paths, and how these are passed."""
        values = tuple(
            value if convert is None else convert(value)
            for value, (_, _, convert) in zip(bound, self.parameters, strict=True)
        )
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for value, (name, kind, _) in zip(values, self.parameters, strict=True):
            if kind in _ALONE:
                args.append(value)
            elif kind is inspect.Parameter.VAR_POSITIONAL:
                args.extend(value)
            elif kind is inspect.Parameter.VAR_KEYWORD:
                kwargs.update(value)
            else:
                kwargs[name] = value
        return values, tuple(args), kwargs

    def returned(self, value: Any) -> Any:
        """A result with Files in the place of paths."""
        return value if self.result is None else self.result(value)


def files_of(function: Callable[..., Any]) -> Files | None:
    """The conversions that the annotations of a function ask for; None: none."""
    hints = {
        name: convert
        for name, hint in getattr(function, "__annotations__", {}).items()
        if (convert := _conversion(evaluated(hint, function))) is not None
    }
    if not hints:
        return None
    parameters = inspect.signature(function, follow_wrapped=False).parameters.values()
    return Files(
        tuple((p.name, p.kind, _of_parameter(p, hints.get(p.name))) for p in parameters),
        hints.get("return"),
    )


def _of_parameter(parameter: inspect.Parameter, convert: Convert | None) -> Convert | None:
    if convert is None:
        return None
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        return lambda values: tuple(map(convert, values))
    if parameter.kind is inspect.Parameter.VAR_KEYWORD:
        return lambda values: {name: convert(value) for name, value in values.items()}
    return convert


def evaluated(hint: Any, function: Callable[..., Any]) -> Any:
    """What an annotation written as text means; None where that cannot be told."""
    if not isinstance(hint, str):
        return hint
    cells = zip(
        function.__code__.co_freevars, getattr(function, "__closure__", None) or (), strict=False
    )
    known = {
        **function.__globals__,
        **{name: c.cell_contents for name, c in cells if _is_filled(c)},
    }
    try:
        return eval(hint, {}, _Names(known))  # the function's own annotation, in its own names
    except Exception:
        return None


class _UnknownMeta(type):
    def __getattr__(cls, name: str) -> Any:
        return _OURS.get(name, cls)

    def __getitem__(cls, _: Any) -> Any:
        return cls


class _Unknown(metaclass=_UnknownMeta):
    """Stands for a name that only type checkers import."""


class _Names(dict[str, Any]):
    """The names of an annotation. Those of Files count also if only type checkers import them."""

    def __missing__(self, name: str) -> Any:
        return getattr(builtins, name, None) or _OURS.get(name, _Unknown)


def _conversion(hint: Any) -> Convert | None:
    """What makes Files of the paths in a value of that annotation; None: there are none."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is File or hint is Dir:
        return lambda value: hint(value) if _is_path(value) else value
    if hint is Secret or origin is Secret:
        return _secret
    if origin is Annotated:
        return _conversion(inner[0])
    if origin is Union or origin is types.UnionType:
        return _of_union(inner)
    if not isinstance(origin, type) or not inner:
        return None
    if issubclass(origin, tuple) and inner[-1] is not Ellipsis:
        return _of_tuple(inner)
    if issubclass(origin, Mapping):
        return _of_mapping(inner[-1])
    return _of_items(inner[0]) if issubclass(origin, Iterable) else None


def _of_union(members: tuple[Any, ...]) -> Convert | None:
    """Of `File | Dir`, what is there decides; what is a member as it is stays as it is."""
    kinds = [kind for kind in (File, Dir) if kind in members]
    others = [c for m in members if m not in kinds and (c := _conversion(m))]
    plain = tuple(m for m in members if isinstance(m, type) and m not in kinds)
    if not kinds and not others:
        return None

    def of_union(value: Any) -> Any:
        if kinds and _is_path(value) and not isinstance(value, plain):
            is_folder = Dir in kinds and (File not in kinds or os.path.isdir(value))
            return (Dir if is_folder else File)(value)
        if isinstance(value, plain):
            return value
        for other in others:
            value = other(value)
        return value

    return of_union


def _of_items(item: Any) -> Convert | None:
    one = _conversion(item)
    if one is None:
        return None

    def convert(value: Any) -> Any:
        return type(value)(map(one, value)) if type(value) in _CONTAINERS else value

    return convert


def _of_tuple(items: tuple[Any, ...]) -> Convert | None:
    each = [_conversion(item) or _same for item in items]
    if all(one is _same for one in each):
        return None

    def convert(value: Any) -> Any:
        if type(value) is not tuple or len(value) != len(each):
            return value
        return tuple(one(part) for one, part in zip(each, value, strict=True))

    return convert


def _of_mapping(item: Any) -> Convert | None:
    one = _conversion(item)
    if one is None:
        return None

    def convert(value: Any) -> Any:
        return {k: one(v) for k, v in value.items()} if type(value) is dict else value

    return convert


def _same(value: Any) -> Any:
    return value


def _secret(value: Any) -> Any:
    """What is passed where a Secret is expected, as one; there may be None in its place."""
    return value if value is None or isinstance(value, Secret) else Secret(value)


def _is_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike) and not isinstance(value, Value)


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False
