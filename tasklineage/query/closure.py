"""What belongs to some runs, calls and values: all that must go along when they go elsewhere.

Of a call: what its value came from, as its lineage tells (the calls that made its arguments, those
in its body, those that hits stand for), each with its code, its set of versions and what was
forgotten of its key. Of a run: its calls, and the runs begun in its block. Of a value: the calls
that made it. And of each call the run that recorded it, with the runs around that; but not the
other calls of those, nor the call in whose body a call was made.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from tasklineage.query import tracing
from tasklineage.query.tracing import Records
from tasklineage.storage.reach import read_graph
from tasklineage.storage.records import CallEnd
from tasklineage.storage.refs import CALL
from tasklineage.storage.transfer import AllBut, Chosen, Selection

if TYPE_CHECKING:
    from tasklineage.storage.catalog import CallRow
    from tasklineage.storage.store import Store

_ID = 16


class Wanted(NamedTuple):
    """What was asked for."""

    runs: tuple[bytes, ...] = ()
    calls: tuple[bytes, ...] = ()
    values: tuple[bytes, ...] = ()
    """Digests."""


class Closure(NamedTuple):
    """What belongs to it."""

    selection: Selection
    asked: frozenset[bytes] | None
    """What was asked for: runs, calls and values, and the calls of the runs. None: everything."""
    left_out: frozenset[bytes] = frozenset()
    """Calls that are not among it though a call that is was made by one of them."""


def closure(store: Store, wanted: Wanted) -> Closure:
    """What belongs to what is wanted.

    Notes
    -----
    Some 50 µs a call, and memory for their records.
    """
    runs = _with_nested(store, wanted.runs)
    calls = dict.fromkeys((*wanted.calls, *_calls_of_runs(store, runs)))
    starts = [*calls, *(row.id for digest in wanted.values for row in _knowing(store, digest))]
    records = Records(store)
    rows = tracing.upstream(records, starts, None, None).calls.values()
    ends = [record for row in rows if (record := records.of(row)) is not None]
    codes = _codes(store, ends)
    subjects = {
        *(row.id for row in rows),
        *(row.key for row in rows),
        *(end.versions for end in ends if end.versions),
        *codes,
        *_with_outer(store, (*runs, *(row.run for row in rows))),
    }
    asked = frozenset((*runs, *calls, *wanted.values))
    left_out = {row.parent for row in rows if row.parent} - {row.id for row in rows}
    selection = Chosen(frozenset(subjects), frozenset(codes))
    return Closure(selection, asked, frozenset(left_out))


def everything(store: Store, removed: frozenset[bytes]) -> Closure:
    """What a store has, but for the runs that were removed from it or are to be left out.

    Of those runs goes what others have from them: calls that answered hits, or gave arguments.
    """
    if not removed:
        return Closure(AllBut(), None)
    graph = read_graph(store.path)
    kept = [id for id in graph.runs if id not in removed]
    named = [one.target for one in store.refs.all() if one.kind == CALL]
    needed = graph.reached(kept, named, ()).calls
    runs = removed - {graph.calls[call].run for call in needed}
    calls = graph.calls.keys() - needed
    parents = {graph.calls[call].parent for call in needed} - {None}
    left_out = frozenset(parent for parent in parents if parent in calls)
    return Closure(AllBut(frozenset(runs | calls)), None, left_out)


def _with_nested(store: Store, runs: Iterable[bytes]) -> list[bytes]:
    """These runs and those that were begun in their blocks."""
    found = dict.fromkeys(runs)
    pending = list(found)
    while pending:
        inner = store.catalog.find_runs(parent=pending.pop())
        pending += [row.id for row in inner if row.id not in found]
        found.update((row.id, None) for row in inner)
    return list(found)


def _with_outer(store: Store, runs: Iterable[bytes]) -> set[bytes]:
    """These runs and those in whose blocks they were begun."""
    found: set[bytes] = set()
    pending = list(dict.fromkeys(runs))
    while pending:
        id = pending.pop()
        if id in found:
            continue
        found.add(id)
        for row in store.catalog.find_runs(prefix=id.hex(), limit=1):
            if row.parent is not None:
                pending.append(row.parent)
    return found


def _calls_of_runs(store: Store, runs: Iterable[bytes]) -> list[bytes]:
    return [row.id for run in runs for row in store.catalog.find_calls(run=run)]


def _knowing(store: Store, digest: bytes) -> Sequence[CallRow]:
    """The calls that made a value, of those with one key the newest; else one that took it."""
    makers = tracing.outermost(store.catalog.producers(digest))
    newest = {row.key: row for row in reversed(makers)}
    return list(newest.values()) or store.catalog.consumers(digest, 1)


def _codes(store: Store, ends: Iterable[CallEnd]) -> set[bytes]:
    """The code versions of these calls, and those that their records and sets name."""
    found = {end.code for end in ends if end.code}
    for versions in {end.versions for end in ends if end.versions}:
        found.update(code for _, code in store.versions(versions))
    for digest in list(found):
        code = store.code(digest)
        cut = b"" if code is None else code.modular[2 * _ID :]
        found.update(cut[at : at + _ID] for at in range(0, len(cut), _ID))
    return found
