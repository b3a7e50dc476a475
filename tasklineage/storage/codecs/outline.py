"""What a record keeps of an argument that is too large for it and is not stored.

An outline tells two such arguments apart in part: which column, or which MiB, differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import xxhash

from tasklineage.key.digest import column_digests
from tasklineage.storage.codecs import arrays
from tasklineage.storage.codecs.describe import clipped, preview
from tasklineage.storage.codecs.tables import Table, table_of

BLOCK = 1 << 20
_MOST_BLOCKS = 4096
_MOST_COLUMNS = 1024
_HEAD = 10

Outline = dict[str, Any]
"""By name: `length`, `shape`, `dtype`; `columns`, a name, dtype and digest each; `blocks`, the
xxh3-128 of each `block` bytes of the content in memory order; `head`, a text. All are optional."""


def outline(value: Any) -> Outline:
    """What is known of a value, of msgpack's own types. Runs no code of the value's class.

    Notes
    -----
    One pass over the bytes of an array, table, text or bytes; constant time for anything else.
    """
    kind = type(value)
    if kind is arrays.loaded("ndarray"):
        return _array(value)
    table = table_of(value)
    if table is not None:
        return _table(value, table)
    if kind is str:
        return {"length": len(value), **_blocks(value.encode("utf-8", "surrogatepass"))}
    if kind in (bytes, bytearray):
        return {"length": len(value), **_blocks(value)}
    if kind in (list, tuple, dict, set, frozenset):
        return {"length": len(value), "head": preview(value)}
    return {}


def _array(value: Any) -> Outline:
    found: Outline = {
        "shape": [int(n) for n in value.shape],
        "dtype": clipped(str(value.dtype)),
        "head": clipped(" ".join(map(repr, value.flat[:_HEAD].tolist()))),
    }
    is_whole = value.flags.c_contiguous or value.flags.f_contiguous
    if is_whole and value.dtype.kind in "biufcSUmMV" and not value.dtype.hasobject:
        found |= _blocks(value.reshape(-1, order="A").view("u1"))
    return found


def _table(value: Any, table: Table) -> Outline:
    """The digest of a column is that of which the digest of the table is made."""
    found: Outline = {"shape": [table.rows], "head": preview(value)}
    if table.is_column:
        return found | {"dtype": clipped(str(table.dtypes[0]))}
    found["shape"] = [table.rows, len(table.names)]
    digests = column_digests(value) if len(table.names) <= _MOST_COLUMNS else None
    if digests is not None:
        found["columns"] = [
            [name if type(name) is str else preview(name), clipped(str(dtype)), one]
            for name, dtype, one in zip(table.names, table.dtypes, digests, strict=True)
        ]
    return found


def _blocks(content: Any) -> Outline:
    """Digests of equal pieces: a MiB each, more of a value that has very many."""
    view = memoryview(content)
    size = max(BLOCK, -(-len(view) // _MOST_BLOCKS))
    return {"block": size, "blocks": list(_digests(view, size))}


def _digests(view: memoryview, size: int) -> Iterator[bytes]:
    for start in range(0, len(view), size):
        yield xxhash.xxh3_128_digest(view[start : start + size])
