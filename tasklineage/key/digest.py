"""The digest of a value: 16 bytes that are equal for equal content, and differ where it differs.

The same content has the same digest in every process, under every PYTHONHASHSEED and version of
Python, whether its parts are shared or copied, and however an array lies in memory. The canonical
bytes are described in docs/key.md and made by `digest_tokens`; xxh3-128 hashes them.

The bytes of a container hold atoms in line and everything else by its own digest (a Merkle form),
so each object needs to be looked at once, and `marshal` can write whole containers of atoms.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import islice
from marshal import dumps
from typing import Any

from xxhash import xxh3_128_digest

from tasklineage.key import digest_graph, digest_library, digest_objects
from tasklineage.key.digest_constants import is_immutable, is_number_kind
from tasklineage.key.digest_forms import (
    SAME,
    Code,
    Parts,
    Undigestible,
    Unresolved,
    add_form,
    add_library,
    add_library_later,
)
from tasklineage.key.digest_tokens import (
    ATOMS,
    FIXED,
    HEADS,
    LIMIT,
    SIMPLE,
    VERSION,
    digest_of,
    token,
)
from tasklineage.key.digest_walk import Walk

__all__ = [
    "SCHEME",
    "Unresolved",
    "column_digests",
    "digest",
    "is_immutable",
    "is_trivial",
    "parts",
    "register_digest",
    "register_stand_in",
    "register_unresolved",
    "set_code_hook",
]

SCHEME = 1
"""The number of this way of making digests. Whatever changes a digest changes the number."""


def digest(value: Any, path: str = "value", code: Code | None = None) -> bytes:
    """The digest of a value: 16 bytes.

    Parameters
    ----------
    value
        Nothing of it is changed or consumed.
    path
        What the value is called in an error.
    code
        Gives the digest of a function, class, module or task of the project, None for others; by
        default the function given to `set_code_hook`.

    Raises
    ------
    UnhashableArgument
        Some part has no digest: an iterator, a lock, an open file … `path` names the part.
    Unresolved
        Some part is of a type given to `register_unresolved`.

    Examples
    --------
    >>> digest([1, 2]) == digest((1, 2)), digest({1, 2}) == digest({2, 1})
    (False, True)
    """
    kind = type(value)
    if (
        kind in FIXED
        or (kind is str and len(value) <= LIMIT)
        or (kind is float and value == value)  # no nan
    ):
        return xxh3_128_digest(dumps(value, VERSION))
    if kind in SIMPLE:
        return digest_of(token(value))
    hook = _hooks[0] if code is None else code
    try:
        return digest_of(Walk(hook).token(value))
    except RecursionError:
        return digest_graph.digest(value, path, hook)
    except Undigestible as error:
        raise digest_graph.located(value, path, hook, error) from error.__cause__


def column_digests(value: Any) -> list[bytes] | None:
    """The digests of the columns of a table, of which its own is made; None for other values.

    Raises
    ------
    UnhashableArgument
    """
    for library in _WITH_COLUMNS:
        if library in sys.modules:
            columns = import_module(_LATER[library]).columns(value)
            if columns is not None:
                return [digest(column) for column in columns]
    return None


def set_code_hook(hook: Code) -> None:
    """Set what gives the digest of the code of a function, class, module or task."""
    _hooks[0] = hook


def register_digest(kind: type, function: Callable[[Any], Any]) -> None:
    """Let `function` say what counts of values of a type and its subclasses.

    Their digest is made of what it returns, of the class of the value, and of the function: values
    of two classes are never the same, and an edit of the class or of the function is a change. A
    registration goes before what the library knows of the type; the nearest in the method
    resolution order goes before others. Every process that makes calls has to make it.

    Raises
    ------
    ConfigError
        The type is one of the plain built-in ones.

    Examples
    --------
    >>> class Connection:
    ...     def __init__(self, host, socket):
    ...         self.host, self.socket = host, socket
    >>> register_digest(Connection, lambda connection: connection.host)
    >>> digest(Connection("db1", open)) == digest(Connection("db1", iter([])))
    True
    """

    def form(value: Any, _: Code) -> Parts:
        return "registered", type(value), function, function(value)

    add_form(kind, form, family=True)


def register_stand_in(kind: type, function: Callable[[Any], Any]) -> None:
    """Let values of a type and its subclasses be the same as what `function` makes of them."""
    add_form(kind, lambda value, _: (SAME, function(value)), family=True)


def register_unresolved(kind: type) -> None:
    """Let `digest` raise `Unresolved` where it meets a value of a type or a subclass of it."""

    def unresolved(value: Any, _: Code) -> Parts:
        raise Unresolved(f"a {type(value).__name__} stands for a value that is not there yet")

    add_form(kind, unresolved, family=True)


def is_trivial(value: Any) -> bool:
    """Whether a value is too common to say where it came from: None, a number, an empty list."""
    kind: Any = type(value)
    if kind is str or kind is bytes:
        return len(value) <= 32
    if kind in ATOMS:
        return True
    if kind in HEADS:
        return not value
    return is_number_kind(kind)


def parts(value: Any) -> Iterator[tuple[str, Any]]:
    """The direct parts of a list, tuple, dict or record that are not trivial, each with its path.

    Records are named tuples, dataclasses and instances of attrs and pydantic classes. At most 1,000
    parts are looked at.

    Examples
    --------
    >>> list(parts({"x": [1], "y": 2}))
    [("['x']", [1])]
    """
    kind: Any = type(value)
    named: Iterator[tuple[str, Any]]
    if kind is list or kind is tuple:
        named = ((f"[{i}]", part) for i, part in enumerate(value))
    elif kind is dict:
        named = ((f"[{key!r}]", part) for key, part in value.items())
    elif issubclass(kind, tuple) and isinstance(getattr(kind, "_fields", None), tuple):
        fields: tuple[str, ...] = getattr(kind, "_fields", ())
        named = ((f".{name}", part) for name, part in zip(fields, value, strict=False))
    else:
        named = _attributes(kind, value)
    for suffix, part in islice(named, 1000):
        if not is_trivial(part):
            yield suffix, part


def _attributes(kind: Any, value: Any) -> Iterator[tuple[str, Any]]:
    """The fields of a dataclass or a class like one that are plain attributes, with their paths."""
    if hasattr(kind, "__attrs_attrs__"):
        names = [attribute.name for attribute in kind.__attrs_attrs__]
    else:
        fields = getattr(kind, "__dataclass_fields__", None) or getattr(
            kind, "__pydantic_fields__", ()
        )
        names = list(fields) if isinstance(fields, dict) else []
    for name in names:
        try:
            yield f".{name}", object.__getattribute__(value, name)
        except AttributeError:  # declared, and never set
            continue


def _no_hook(_: Any) -> bytes | None:
    return None


_hooks: list[Code] = [_no_hook]
_LATER = {
    "numpy": "tasklineage.key.digest_arrays",
    "pandas": "tasklineage.key.digest_frames",
    "polars": "tasklineage.key.digest_polars",
    "pyarrow": "tasklineage.key.digest_arrow",
    **dict.fromkeys(("torch", "jax", "jaxlib", "scipy", "cupy"), "tasklineage.key.digest_tensors"),
    **dict.fromkeys(("PIL", "matplotlib"), "tasklineage.key.digest_pictures"),
    "pydantic": "tasklineage.key.digest_models",
}
"""Where the forms for what a library defines are: they are loaded when such a value is met."""
_WITH_COLUMNS = ("pandas", "polars", "pyarrow")
for _module in (digest_library, digest_objects):
    add_library(_module.LIBRARY)
for _library, _place in _LATER.items():
    add_library_later(_library, _place)
