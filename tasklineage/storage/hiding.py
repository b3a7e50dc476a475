"""What is secret, taken out of what is about to be recorded. Only where there was a Secret.

The texts of records have `***` in its place, but for names of tasks, statuses and the like. Of an
argument with a secret in it only that is said; a result is refused, inline and as an object.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tasklineage.key.redaction import owner_in, redact, refuse
from tasklineage.storage.records import Argument, Record, Ref, new

HIDDEN = "hidden: a secret is in it"
"""The preview of a value that is not recorded."""
_KEPT = frozenset({"task", "status", "kind", "via", "type", "codec"})
"""Fields that say what something is; whoever reads records compares them."""


def without_secrets(record: Any) -> Any:
    """The record, with what is secret taken out of it."""
    cleaned: Record = _cleaned(record)
    return cleaned


def covered(argument: Argument) -> Argument:
    """An argument of which only the type is said: even its digest would tell who guesses it."""
    ref = Ref(*argument.ref)
    return Argument(argument.name, Ref(b"", ref.type, preview=HIDDEN), argument.counts)


def check_inline(ref: Ref) -> None:
    """Nothing, if no secret text is in what the `Ref` holds.

    Raises
    ------
    UnstorableResult
    """
    if ref.data is not None:
        refuse(ref.data)


def _cleaned(part: Any) -> Any:
    if type(part) is str:
        return redact(part)
    if isinstance(part, Ref):
        return _cleaned_ref(part)
    if isinstance(part, tuple):
        names: Iterable[str] | None = getattr(part, "_fields", None)
        if names is None:
            return tuple(map(_cleaned, part))
        fields = [p if n in _KEPT else _cleaned(p) for n, p in zip(names, part, strict=True)]
        return new(type(part), fields)
    if isinstance(part, list):
        return list(map(_cleaned, part))
    if isinstance(part, dict):
        return {key: _cleaned(value) for key, value in part.items()}
    return part


def _cleaned_ref(ref: Ref) -> Ref:
    if ref.data is not None and owner_in(ref.data) is not None:
        return Ref(b"", ref.type, preview=HIDDEN)
    return ref._replace(preview=redact(ref.preview))
