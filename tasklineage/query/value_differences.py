"""How two recorded values differ: from what is stored of them, else from what is known of them.

No code of users is imported and nothing is unpickled: a value that only pickle could decode, or
whose class is not loaded, differs by its digest and preview.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tasklineage.errors import TasklineageError
from tasklineage.key.digest import Unresolved, column_digests, digest
from tasklineage.query.causes import Cause
from tasklineage.query.render import one_line
from tasklineage.storage.codecs.base import Undecodable
from tasklineage.storage.codecs.outline import Outline
from tasklineage.storage.codecs.plain import PLAIN
from tasklineage.storage.codecs.tables import Table, table_of
from tasklineage.storage.opening import open_store
from tasklineage.storage.records import Argument, Ref
from tasklineage.storage.store import Store

_LARGEST = 200_000_000
"""Encoded bytes up to which values are read to be compared."""
_MOST_LINES = 40
_DEEPEST = 20
_MOST_ROWS = 300_000
_SHOWN = 60
ABSENT: Any = object()
"""Stands for a value that cannot be read."""


class Side(NamedTuple):
    """One of two values: where it was recorded, and what is known of it."""

    store: Store
    ref: Ref
    outline: Outline | None = None


def argument_cause(store: Store, name: str, old: Argument | None, new: Argument | None) -> Cause:
    """How an argument differs; None stands for a parameter that was not there."""
    return value_cause("argument", name, _side(store, old), _side(store, new))


def value_cause(kind: str, name: str, old: Side | None, new: Side | None) -> Cause:
    """How a value differs; None stands for one that is not there."""
    what = f"{kind} {name}".rstrip()
    was, now = _preview(old), _preview(new)
    if old is None or new is None:
        text = f"{what} is new: {now}" if old is None else f"{what} is gone: {was}"
        return Cause(kind, name, was, now, "", text)
    lines = list(_lines(old, new))
    if len(lines) > _MOST_LINES:
        lines = [*lines[:_MOST_LINES], f"… {len(lines) - _MOST_LINES} more lines"]
    if was != now and max(len(was), len(now)) <= _SHOWN:
        text = f"{was} is now {now}"
    else:
        text = lines[0] if len(lines) == 1 else _summary(old.ref, new.ref, lines)
    return Cause(kind, name, was, now, "\n".join(lines), f"{what}: {text}")


def _summary(before: Ref, after: Ref, lines: list[str]) -> str:
    if before.type != after.type:
        return f"a {before.type} is now a {after.type}"
    return f"{len(lines)} differences" if lines else f"another {after.type}"


def _side(store: Store, argument: Argument | None) -> Side | None:
    return None if argument is None else Side(store, Ref(*argument.ref), argument.outline)


def _preview(side: Side | None) -> str:
    return "" if side is None else one_line(side.ref.preview, 200)


def _lines(before: Side, after: Side) -> Iterator[str]:
    old, new = readable(before), readable(after)
    if old is not ABSENT and new is not ABSENT:
        yield from value_lines(old, new)
        return
    found = list(_outline_lines(outlined(before, old), outlined(after, new)))
    if before.ref.type != after.ref.type:
        found.insert(0, f"type {before.ref.type} is now {after.ref.type}")
    yield from found or [f"digest {before.ref.digest.hex()} is now {after.ref.digest.hex()}"]


def readable(side: Side) -> Any:
    """The value, if it can be read without running anybody's code; else `ABSENT`."""
    store, ref = side.store, side.ref
    if ref.nbytes > _LARGEST:
        return ABSENT
    try:
        if ref.codec == PLAIN:  # has no way to run any
            return store.get(ref)
        reader = open_store(store.url, allow_pickle=False, read_only=True, create=False)
        stored = ref if ref.is_stored else _stored(store, ref)
        return ABSENT if stored is None else reader.get(stored)
    except (TasklineageError, Undecodable, ImportError):
        return ABSENT


def outlined(side: Side, value: Any) -> Outline:
    """What is known of a value that was recorded without it, else what the value itself says."""
    return side.outline or side.store.catalog.outline(side.ref.digest) or _outline(value)


def _stored(store: Store, ref: Ref) -> Ref | None:
    rows = store.catalog.find_artifacts(digest=ref.digest, limit=1) if ref.digest else []
    return next((row.ref for row in rows if row.ref.is_stored), None)


def _outline(value: Any) -> Outline:
    from tasklineage.storage.codecs.outline import outline

    return {} if value is ABSENT else outline(value)


# Of values.


def value_lines(old: Any, new: Any, path: str = "", depth: int = 0) -> Iterator[str]:
    """How two values differ, a line each; nothing for equal ones."""
    where = f"{path}: " if path else ""
    before, after = table_of(old), table_of(new)
    if before is not None and after is not None and type(old) is type(new):
        yield from (where + line for line in _table_lines(old, new, before, after))
    elif _is_array(old) and _is_array(new):
        yield from (where + line for line in _array_lines(old, new))
    elif type(old) is type(new) is str and ("\n" in old or "\n" in new):
        yield from difflib.unified_diff(
            old.splitlines(),
            new.splitlines(),
            f"{path or 'text'} (before)",
            f"{path or 'text'} (now)",
            lineterm="",
        )
    elif depth < _DEEPEST and type(old) is type(new) and type(old) in (dict, list, tuple):
        yield from _container_lines(old, new, path, depth)
    elif depth < _DEEPEST and type(old) is type(new) and type(old) in (set, frozenset):
        yield from _set_lines(old, new, where)
    elif not is_same(old, new):
        yield f"{where}{shown(old)} is now {shown(new)}"


def _container_lines(old: Any, new: Any, path: str, depth: int) -> Iterator[str]:
    if isinstance(old, dict):
        was, now = old, new
        common = [key for key in old if key in new]
        if list(old) != list(new) and set(old) == set(new):
            yield f"{path or 'the dict'}: other order of keys"
    else:
        was, now = dict(enumerate(old)), dict(enumerate(new))
        common = [key for key in was if key in now]
        if len(old) != len(new):
            yield f"{path or 'the ' + type(old).__name__}: length {len(old)} is now {len(new)}"
    for key in common:
        if not is_same(was[key], now[key]):
            yield from value_lines(was[key], now[key], f"{path}[{key!r}]", depth + 1)
    for key in now:
        if key not in was:
            yield f"{path}[{key!r}] is new: {shown(now[key])}"
    for key in was:
        if key not in now:
            yield f"{path}[{key!r}] is gone: {shown(was[key])}"


def _set_lines(old: Any, new: Any, where: str) -> Iterator[str]:
    for sign, some in (("is new", new - old), ("is gone", old - new)):
        for item in sorted(map(shown, some)):
            yield f"{where}{item} {sign}"


def _array_lines(old: Any, new: Any) -> Iterator[str]:
    if old.dtype != new.dtype:
        yield f"dtype {old.dtype} is now {new.dtype}"
    if old.shape != new.shape:
        yield f"shape {old.shape} is now {new.shape}"
        return
    try:
        same = (old == new) | ((old != old) & (new != new))
        count = int(old.size - same.sum())
    except (TypeError, ValueError):
        return
    if count:
        share = 100 * count / old.size
        yield f"{count:,} of {old.size:,} elements differ ({share:.3g} %)"
        if count <= 3:
            for index in zip(*(~same).nonzero(), strict=True):
                at = ", ".join(map(str, index))
                yield f"[{at}]: {old[index]!s} is now {new[index]!s}"


def _table_lines(old: Any, new: Any, before: Table, after: Table) -> Iterator[str]:
    """By column: which came, went or changed, and in how many rows."""
    if before.is_column:
        yield from _column_line("values", old, new, before.dtypes[0], after.dtypes[0])
        return
    if before.rows != after.rows:
        yield f"{before.rows:,} rows are now {after.rows:,}"
    was = dict(zip(before.names, range(len(before.names)), strict=True))
    now = dict(zip(after.names, range(len(after.names)), strict=True))
    yield from (f"column {name!r} is new" for name in now if name not in was)
    yield from (f"column {name!r} is gone" for name in was if name not in now)
    if list(was) != list(now) and set(was) == set(now):
        yield "other order of columns"
    ones, others = column_digests(old), column_digests(new)
    for name, place in was.items():
        if name not in now:
            continue
        if ones and others and ones[place] == others[now[name]]:
            continue
        dtypes = before.dtypes[place], after.dtypes[now[name]]
        yield from _column_line(f"column {name!r}", old[name], new[name], *dtypes)


def _column_line(title: str, old: Any, new: Any, was: Any, now: Any) -> Iterator[str]:
    if str(was) != str(now):
        yield f"{title}: dtype {was} is now {now}"
        return
    count = _rows_that_differ(old, new)
    if count is None:
        yield f"{title} differs"
    elif count:
        yield f"{title}: {count:,} of {len(old):,} rows differ"


def _rows_that_differ(old: Any, new: Any) -> int | None:
    """None where that cannot be said."""
    if len(old) != len(new):
        return None
    if len(old) > _MOST_ROWS:
        return None
    try:
        one, other = list(old), list(new)
        return sum(
            1 for a, b in zip(one, other, strict=True) if not (a == b or (a != a and b != b))
        )
    except Exception:  # noqa: BLE001 - elements of any type
        return None


def _is_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def is_same(old: Any, new: Any) -> bool:
    """Whether two values have one digest."""
    try:
        return digest(old) == digest(new)
    except (TasklineageError, Unresolved):
        return False


def shown(value: Any) -> str:
    """A value in a few words."""
    from tasklineage.storage.codecs.describe import preview

    return one_line(preview(value), _SHOWN)


# Of outlines.


def _outline_lines(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in ("dtype", "shape", "length"):
        if name in old and name in new and old[name] != new[name]:
            was, now = (_plain(side[name]) for side in (old, new))
            yield f"{name} {was} is now {now}"
    if "columns" in old and "columns" in new:
        yield from _outlined_columns(old["columns"], new["columns"])
    elif old.get("block") == new.get("block") and old.get("blocks") and new.get("blocks"):
        pairs = list(zip(old["blocks"], new["blocks"], strict=False))
        count = sum(1 for a, b in pairs if a != b)
        size = f"{old['block'] / (1 << 20):g} MiB"
        yield f"{count:,} of {len(pairs):,} blocks of {size} differ"
    elif old.get("head") and new.get("head") and old["head"] != new["head"]:
        yield f"{one_line(old['head'], _SHOWN)} is now {one_line(new['head'], _SHOWN)}"


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _outlined_columns(old: Any, new: Any) -> Iterator[str]:
    was, now = ({name: (dtype, own) for name, dtype, own in side} for side in (old, new))
    yield from (f"column {name!r} is new" for name in now if name not in was)
    yield from (f"column {name!r} is gone" for name in was if name not in now)
    for name, (dtype, own) in was.items():
        if name in now and own != now[name][1]:
            changed = dtype != now[name][0]
            yield f"column {name!r}" + (
                f": dtype {dtype} is now {now[name][0]}" if changed else " differs"
            )
