"""Forms of what pydantic keeps: declarations, without what it caches in them."""

from __future__ import annotations

import typing
from typing import Any

from tasklineage.key.digest_forms import Code, Library, Parts

LIBRARY = Library()


@LIBRARY.form("pydantic.fields:FieldInfo", "pydantic.fields:ModelPrivateAttr", family=True)
def _field(value: Any, _: Code) -> Parts:
    """What was declared; names that begin with an underscore are filled in as models are made."""
    names = {name for kind in type(value).__mro__ for name in _slots(kind)}
    declared = {
        name: getattr(value, name)
        for name in sorted(names)
        if not name.startswith("_") and hasattr(value, name)
    }
    return "pydantic field", type(value), declared


@LIBRARY.form("pydantic.type_adapter:TypeAdapter")
def _adapter(value: Any, _: Code) -> Parts:
    """Of what it was made; pydantic numbers what it keeps by addresses in memory."""
    return "pydantic.TypeAdapter", value._type, value._config


@LIBRARY.form("pydantic._internal._validate_call:ValidateCallWrapper")
def _checked_call(value: Any, _: Code) -> Parts:
    """The function, whose annotations count here, and how it is checked."""
    function = value.schema_type
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception:  # noqa: BLE001 - names that are not there, as pydantic found before
        hints = function.__annotations__
    config = value.config_wrapper.config_dict
    settings = value.validate_return, dict(config) if config else None
    return "pydantic.validate_call", value.function, tuple(hints.items()), *settings


def _slots(kind: type) -> tuple[str, ...]:
    found = vars(kind).get("__slots__", ())
    return (found,) if isinstance(found, str) else tuple(found)
