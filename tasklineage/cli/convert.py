"""Text from the command line becomes a value of the type that a parameter is annotated with.

Scalars are written as they are; what has a structure (lists, dicts, dataclasses, pydantic models)
is JSON, or `@file.json` for a file that holds it. A parameter without annotation, or with `Any`,
takes JSON where the text is JSON and the text itself where it is not.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

from tasklineage.key.files import Dir, File
from tasklineage.key.secrets import Secret

_TRUE = frozenset({"1", "true", "yes", "on", "t", "y"})
_FALSE = frozenset({"0", "false", "no", "off", "f", "n"})
_NONE = frozenset({"", "none", "null"})
_NOT_NAMED: frozenset[Any] = frozenset({Any, object, None})


class CannotConvert(ValueError):
    """The text does not fit the type; the message says what would."""


def from_text(text: str, kind: Any) -> Any:
    """The value of type `kind` that `text` stands for.

    Raises
    ------
    CannotConvert
        It stands for none.

    Examples
    --------
    >>> from_text("3", int), from_text("3", float), from_text("3", str)
    (3, 3.0, '3')
    >>> from_text("[1, 2]", tuple[int, ...])
    (1, 2)
    """
    kind = _bare(kind)
    if _is_union(kind):
        return _first_that_fits(text, kind)
    if kind in _NOT_NAMED:
        return _guess(text)
    if get_origin(kind) is Literal:
        return _choose(text, {str(choice): choice for choice in get_args(kind)})
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _choose(text, _members(kind))
    read = _scalar_reader(kind)
    if read is not None:
        return _read_scalar(text, kind, read)
    return from_json(_load(text, kind), kind)


def from_json(data: Any, kind: Any, path: str = "") -> Any:
    """`data`, as the JSON parser gives it, in the form that `kind` asks for.

    Raises
    ------
    CannotConvert
        It does not fit; the message names the place inside the data.
    """
    kind = _bare(kind)
    if kind in _NOT_NAMED or kind is type(data):
        return data
    if _is_union(kind):
        return _first_member(data, kind, path)
    if get_origin(kind) is Literal:
        return _require(data in get_args(kind), data, data, kind, path)
    if dataclasses.is_dataclass(kind):
        return _from_fields(data, kind, _dataclass_types(kind), path)
    if hasattr(kind, "model_validate"):
        return _validated(data, kind, path)
    build = _container(kind)
    if build is not None:
        return build(data, kind, path)
    return _leaf(data, kind, path)


def describe(kind: Any) -> str:
    """The type in the words of a help page: `int`, `JSON`, `a|b`."""
    kind = _bare(kind)
    if _is_union(kind):
        names = dict.fromkeys(describe(k) for k in get_args(kind) if k is not type(None))
        return "|".join(names)
    if kind in _NOT_NAMED:
        return "value"
    if get_origin(kind) is Literal:
        return "|".join(str(choice) for choice in get_args(kind))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "|".join(kind.__members__)
    if _is_path(kind):
        return "path"
    return "JSON" if _scalar_reader(kind) is None else str(kind.__name__)


def is_flag(kind: Any) -> bool:
    """Whether the type is `bool`, or `bool | None`: an option that takes no value."""
    kind = _bare(kind)
    members = set(get_args(kind)) - {type(None)} if _is_union(kind) else {kind}
    return members == {bool}


def _bare(kind: Any) -> Any:
    """`kind` without `Annotated`, and with the names of older and newer spellings made one."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) is Secret:
        return Secret
    if isinstance(kind, typing.NewType):
        return _bare(kind.__supertype__)
    return None if kind is type(None) else kind


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


# Scalars.


def _scalar_reader(kind: Any) -> Callable[[str], Any] | None:
    """What makes a scalar of this type from its text; None for a type that has a structure."""
    if not isinstance(kind, type) or dataclasses.is_dataclass(kind):
        return None
    if kind in _READERS:
        return _READERS[kind]
    if kind is File or kind is Dir:
        return lambda text: _existing(text, kind)
    return kind if _is_path(kind) else None


def _existing(text: str, kind: type[File | Dir]) -> File | Dir:
    is_there = os.path.isfile if kind is File else os.path.isdir
    if not is_there(text):
        what = "file" if kind is File else "folder"
        is_other = os.path.exists(text)
        raise CannotConvert(f"{text} is no {what}" if is_other else f"there is no {what} {text}")
    return kind(text)


def _is_path(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, "__fspath__")


def _read_bool(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered in _TRUE or lowered in _FALSE:
        return lowered in _TRUE
    raise ValueError(text)


_READERS: Mapping[type, Callable[[str], Any]] = {
    str: str,
    int: int,
    float: float,
    bool: _read_bool,
    complex: complex,
    bytes: lambda text: text.encode(),
    Path: Path,
    datetime: datetime.fromisoformat,
    date: date.fromisoformat,
    Decimal: Decimal,
    UUID: UUID,
    Secret: Secret,
}


def _read_scalar(text: str, kind: Any, read: Callable[[str], Any]) -> Any:
    try:
        return read(text)
    except CannotConvert:
        raise
    except (ValueError, ArithmeticError) as error:
        raise CannotConvert(f"{text!r} is not {_article(kind.__name__)}") from error


def _guess(text: str) -> Any:
    """JSON where the text is JSON, else the text."""
    if text.startswith("@"):
        return _load(text, dict)
    try:
        return json.loads(text)
    except ValueError:
        return text


def _choose(text: str, choices: Mapping[str, Any]) -> Any:
    if text in choices:
        return choices[text]
    raise CannotConvert(f"{text!r} is not one of: {', '.join(choices)}")


def _members(kind: type[enum.Enum]) -> dict[str, Any]:
    """Members by value and by name; a name goes before an equal value of another member."""
    return {str(m.value): m for m in kind} | dict(kind.__members__)


def _first_that_fits(text: str, kind: Any) -> Any:
    """The text as the first member of a union that takes it; `str` takes all, so it comes last."""
    members = [_bare(member) for member in get_args(kind)]
    if None in members and text.lower() in _NONE and (text or str not in members):
        return None
    problems: list[str] = []
    for member in sorted((m for m in members if m is not None), key=lambda m: m is str):
        try:
            return from_text(text, member)
        except CannotConvert as error:
            problems.append(str(error))
    raise CannotConvert("; ".join(problems))


# Structures.


def _load(text: str, kind: Any) -> Any:
    if text.startswith("@"):
        text = _read_file(text[1:])
    try:
        return json.loads(text)
    except ValueError as error:
        raise CannotConvert(
            f"{_shorten(text)} is not JSON ({error}); give {_example(kind)}, or @file.json"
        ) from error


def _read_file(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CannotConvert(f"cannot read {name}: {error}") from error


def _example(kind: Any) -> str:
    origin = get_origin(kind) or kind
    is_list = isinstance(origin, type) and issubclass(origin, list | tuple | set | frozenset)
    return "a list such as '[1, 2]'" if is_list else """an object such as '{"name": 1}'"""


def _container(kind: Any) -> Callable[[Any, Any, str], Any] | None:
    """What builds a container of this type, or None where it is none."""
    origin = get_origin(kind) or kind
    if not isinstance(origin, type):
        return None
    if hasattr(origin, "_fields") or typing.is_typeddict(origin):
        return _named_fields
    if issubclass(origin, tuple):
        return _tuple
    if issubclass(origin, Mapping):
        return _mapping
    if not issubclass(origin, str | bytes) and issubclass(origin, Iterable):
        return _list
    return None


def _named_fields(data: Any, kind: Any, path: str) -> Any:
    return _from_fields(data, kind, typing.get_type_hints(kind), path)


def _tuple(data: Any, kind: Any, path: str) -> Any:
    _require(isinstance(data, list), data, data, kind, path)
    items = get_args(kind)
    if not items:
        return tuple(data)
    if len(items) == 2 and items[1] is Ellipsis:
        return tuple(from_json(x, items[0], f"{path}[{i}]") for i, x in enumerate(data))
    _require(len(data) == len(items), data, data, kind, path)
    pairs = enumerate(zip(data, items, strict=True))
    return tuple(from_json(x, item, f"{path}[{i}]") for i, (x, item) in pairs)


def _mapping(data: Any, kind: Any, path: str) -> Any:
    _require(isinstance(data, dict), data, data, kind, path)
    keys, values = get_args(kind) or (Any, Any)
    return {from_text(k, keys) if keys is not Any else k: from_json(v, values, f"{path}[{k!r}]")
            for k, v in data.items()}  # fmt: skip


def _list(data: Any, kind: Any, path: str) -> Any:
    _require(isinstance(data, list), data, data, kind, path)
    (item,) = get_args(kind)[:1] or (Any,)
    origin = get_origin(kind) or kind
    items = [from_json(x, item, f"{path}[{i}]") for i, x in enumerate(data)]
    return origin(items) if origin in (set, frozenset) else items


def _dataclass_types(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {f.name: hints.get(f.name, Any) for f in dataclasses.fields(kind) if f.init}


def _from_fields(data: Any, kind: Any, fields: Mapping[str, Any], path: str) -> Any:
    _require(isinstance(data, dict), data, data, kind, path)
    unknown = [name for name in data if name not in fields]
    if unknown:
        raise CannotConvert(
            f"{_where(path)}{kind.__name__} has no field {unknown[0]!r}; "
            f"it has: {', '.join(fields) or 'none'}"
        )
    values = {k: from_json(v, fields[k], f"{path}.{k}" if path else k) for k, v in data.items()}
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise CannotConvert(f"{_where(path)}{error}") from error


def _validated(data: Any, kind: Any, path: str) -> Any:
    """A pydantic model; its own message says what does not fit."""
    try:
        return kind.model_validate(data)
    except ValueError as error:
        raise CannotConvert(f"{_where(path)}{error}") from error


def _first_member(data: Any, kind: Any, path: str) -> Any:
    members = [_bare(member) for member in get_args(kind)]
    if data is None and None in members:
        return None
    problems: list[str] = []
    for member in sorted((m for m in members if m is not None), key=lambda m: m is not type(data)):
        try:
            return from_json(data, member, path)
        except CannotConvert as error:
            problems.append(str(error))
    raise CannotConvert("; ".join(problems))


def _leaf(data: Any, kind: Any, path: str) -> Any:
    """A scalar that JSON writes as another: an int for a float, a text for a path or a date."""
    if kind is float and type(data) is int:
        return float(data)
    if kind in (int, float, bool, str) or not isinstance(data, str):
        return _require(False, data, data, kind, path)
    try:
        return from_text(data, kind)
    except CannotConvert as error:
        raise CannotConvert(f"{_where(path)}{error}") from error


def _require(holds: bool, value: Any, data: Any, kind: Any, path: str) -> Any:
    if holds:
        return value
    raise CannotConvert(f"{_where(path)}{_shorten(json.dumps(data))} is not {_name(kind)}")


def _name(kind: Any) -> str:
    return _article(kind.__name__) if type(kind) is type else str(kind)


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _where(path: str) -> str:
    return f"{path}: " if path else ""


def _shorten(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
