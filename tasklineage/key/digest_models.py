"""Forms of what pydantic keeps in the classes of models: fields, without what it caches in them."""

from __future__ import annotations

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


def _slots(kind: type) -> tuple[str, ...]:
    found = vars(kind).get("__slots__", ())
    return (found,) if isinstance(found, str) else tuple(found)
