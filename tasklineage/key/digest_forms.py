"""Forms: for each type that is no plain container, the tagged parts that stand for a value of it.

A form is a function of a value and of the code hook; it gives a tuple of a tag and the parts. The
parts may be anything that has a digest. A form counts for one type alone, that of a family for its
subclasses too; the nearest in the method resolution order is taken. What has no form of its own is
reduced as pickle would do it (`digest_objects`).

The types of a library are looked up when a type of that library is first met, so that nothing is
imported here for the sake of a type test.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, ClassVar

from tasklineage.errors import ConfigError
from tasklineage.key.digest_tokens import SIMPLE

Code = Callable[[Any], bytes | None]
"""The digest of the code of a function, class, module or task; None for what is not of the project.
"""
Parts = tuple[Any, ...]
Form = Callable[[Any, Code], Parts]

SAME = "the same as"
"""The tag of a stand-in. It never reaches a digest: the digest is that of the one part."""

_CACHED = 4096
_BASIC = frozenset({*SIMPLE, list, tuple, dict, set, frozenset, object, type})


class Undigestible(Exception):
    """A value has no digest; the first argument says why. It never leaves this package."""


class Unresolved(Exception):
    """A value stands for another that is not there yet: it is to be replaced before."""


class Library:
    """Forms by the names of their types, such as `decimal:Decimal`. A module makes one of its own.

    Examples
    --------
    >>> fractions = Library()
    >>> @fractions.form("fractions:Fraction")
    ... def fraction(value, _):
    ...     return "fractions.Fraction", value.numerator, value.denominator
    """

    def __init__(self) -> None:
        self.entries: list[tuple[str, str, Form, bool]] = []

    def form(self, *names: str, family: bool = False) -> Callable[[Form], Form]:
        """Decorate the form of the types of these names, or of the families that they head."""

        def add(form: Form) -> Form:
            for name in names:
                module, _, rest = name.partition(":")
                self.entries.append((module, rest, form, family))
            return form

        return add


class _Table:
    """The forms there are. Process-wide: types are, too."""

    libraries: ClassVar[dict[str, list[tuple[str, str, Form, bool]]]] = {}
    """By the top-level module that defines the type."""
    later: ClassVar[dict[str, str]] = {}
    """By the same, the module of ours whose `LIBRARY` has the forms, until it is loaded."""
    forms: ClassVar[dict[type, Form]] = {}
    families: ClassVar[dict[type, Form]] = {}
    found: ClassVar[dict[type, Form]] = {}
    """What was looked up. It is replaced, never emptied, where a look-up may be going on."""


def form_of(kind: type) -> Form:
    """The form for values of exactly this type."""
    found = _Table.found
    form = found.get(kind)
    if form is None:
        if len(found) >= _CACHED:  # classes come and go in a notebook
            found = _Table.found = {}
        form = found[kind] = _find(kind)
    return form


def parts_of(value: Any, code: Code) -> Parts:
    """The tagged parts of a value that is no plain container.

    Raises
    ------
    Undigestible, Unresolved
        Whatever else the code of the object or of a stand-in raises becomes an Undigestible.
    """
    try:
        return form_of(type(value))(value, code)
    except (Undigestible, Unresolved, RecursionError, MemoryError):
        raise
    except Exception as error:
        raise Undigestible(f"{type(error).__name__}: {error}") from error


def add_form(kind: type, form: Form, *, family: bool) -> None:
    """Let `form` count for a type, or for a family of types."""
    if kind in _BASIC:
        raise ConfigError(f"the digest of {kind.__name__} cannot be replaced")
    (_Table.families if family else _Table.forms)[kind] = form
    _Table.found = {}


def add_library(library: Library, only: str = "") -> None:
    """Let the forms of a library, of its types below one module, count once such a type is met."""
    for entry in library.entries:
        top = entry[0].partition(".")[0]
        if top == only or not only:
            _Table.libraries.setdefault(top, []).append(entry)


def add_library_later(name: str, place: str) -> None:
    """Let the forms in `LIBRARY` of a module count, once a type of the library `name` is met."""
    _Table.later[name] = place


def _find(kind: type) -> Form:
    for base in kind.__mro__:
        _look_up_library(base)
    for base in kind.__mro__:
        form = _Table.families.get(base)
        if form is None and base is kind:
            form = _Table.forms.get(base)
        if form is not None:
            return form
    raise AssertionError("object is a family")


def _look_up_library(kind: type) -> None:
    """Register the forms of the library that defines a type. Twice does no harm."""
    own: Any = kind.__module__
    top = own.partition(".")[0] if isinstance(own, str) else "builtins"
    place = _Table.later.get(top)
    if place is not None:
        add_library(import_module(place).LIBRARY, top)
        _Table.later.pop(top, None)
    for module, name, form, family in _Table.libraries.get(top, ()):
        found = getattr(sys.modules.get(module), name, None)
        if isinstance(found, type):  # a library that is still being imported is met again
            (_Table.families if family else _Table.forms).setdefault(found, form)
