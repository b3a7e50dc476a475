"""The value of an artifact that is known only as a part of a stored result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tasklineage.errors import CorruptObject, MissingObject, UnhashableArgument
from tasklineage.key.digest import digest, parts
from tasklineage.query.tracing import Records
from tasklineage.storage.records import Ref

if TYPE_CHECKING:
    from tasklineage.storage.store import Store

_LOOKED_AT = 20
_DEPTH = 2


class Found(NamedTuple):
    """A part of a result; the value may well be None."""

    value: Any


def part(store: Store, wanted: bytes) -> Found | None:
    """The part of that Digest, from one of the results that have it; None if none can be read.

    A large part, or a picture that is stored with a value, is read alone; for another one the
    result that has it is decoded.
    """
    records = Records(store)
    found_records = map(records.of, store.catalog.producers(wanted, _LOOKED_AT))
    outputs = [Ref(*r.output) for r in found_records if r is not None and r.output is not None]
    for output in outputs:
        try:
            inside = store.inside(output)
            alone = next((ref for ref in inside if ref.digest == wanted and ref.is_stored), None)
            if alone is not None:
                return Found(store.get(alone))
            drawn = store.pictures(output).values()
            picture = next((one for one in map(bytes, drawn) if digest(one) == wanted), None)
            if picture is not None:
                return Found(picture)
            found = _part_of(store.get(output), wanted, _DEPTH)
        except (MissingObject, CorruptObject):
            continue
        if found is not None:
            return found
    return None


def _part_of(value: Any, wanted: bytes, depth: int) -> Found | None:
    for _, one in parts(value):
        try:
            if digest(one) == wanted:
                return Found(one)
        except UnhashableArgument:
            continue
        found = _part_of(one, wanted, depth - 1) if depth > 1 else None
        if found is not None:
            return found
    return None
