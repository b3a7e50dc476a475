"""Runs, calls and values go from one store to another: `push`, `pull`, and bundles in one file."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tasklineage import config
from tasklineage.errors import (
    ConfigError,
    CorruptObject,
    MissingObject,
    StoreError,
    StoreNotFound,
    StoreReadOnly,
)
from tasklineage.query import find
from tasklineage.query.artifacts import Artifact
from tasklineage.query.calls import Call
from tasklineage.query.closure import Closure, Wanted, closure, everything
from tasklineage.query.ids import DIGEST_TAG
from tasklineage.query.refs import RefVersion, target_text
from tasklineage.query.render import size_text
from tasklineage.query.runs import Run
from tasklineage.query.slot import Slot
from tasklineage.storage import bundle, ref_moves
from tasklineage.storage.codecs import named_ids
from tasklineage.storage.opening import open_store
from tasklineage.storage.records import RUNNING, LeftOut
from tasklineage.storage.ref_moves import Moves
from tasklineage.storage.refs import ARTIFACT, CALL, RUN, Version
from tasklineage.storage.store import Store
from tasklineage.storage.transfer import (
    AllBut,
    IntoStore,
    Nowhere,
    Progress,
    Sent,
    Source,
    Target,
    reader,
    send,
)

_NAMED = 5
"""Lost objects that a message names."""
Tell = Callable[[Progress], object]


class RefConflict(NamedTuple):
    """A ref that was not moved, for it points to something else there, or was deleted."""

    name: str
    ours: str
    """What it points to here: `run 0660…`."""
    theirs: str

    def __str__(self) -> str:
        return (
            f"the ref {self.name!r} was not moved: it is {self.theirs} there, and {self.ours} "
            "here. Whoever knows which is right moves it with `tl.tag(..., store=...)`"
        )


class Transfer(NamedTuple):
    """What has gone from one store to another. As a text, one line for people."""

    source: str
    destination: str
    runs: int
    calls: int
    records: int
    """All that were sent, those of runs and calls included."""
    objects: int
    nbytes: int
    """Of records and objects."""
    present: int
    """Objects that were needed and there already."""
    refs: tuple[str, ...] = ()
    """Names of refs that were moved there."""
    conflicts: tuple[RefConflict, ...] = ()
    """Refs that were not, because they point to something else there."""
    running: tuple[str, ...] = ()
    """Runs among them that are not over: what they do from now on is for the next time."""
    removed: tuple[str, ...] = ()
    """Runs that were taken out there: they stay so."""
    unknown: int = 0
    """Records that this version does not understand, or that nobody writes so: they were left
    out."""
    dry_run: bool = False

    def __str__(self) -> str:
        counts = ((self.runs, "run"), (self.calls, "call"), (self.objects, "object"))
        sent = ", ".join(_count(number, noun) for number, noun in counts)
        names = f", {_count(len(self.refs), 'ref')}" if self.refs else ""
        there = f"{_count(self.present, 'object')} {'was' if self.present == 1 else 'were'} there"
        return f"{sent}{names}, {size_text(self.nbytes)}; {there}"

    def to_dict(self) -> dict[str, Any]:
        """What it says, for programs: fields may be added, never changed or removed."""
        lists = {name: list(getattr(self, name)) for name in ("refs", "running", "removed")}
        return {**self._asdict(), **lists, "conflicts": [c._asdict() for c in self.conflicts]}


def push(
    dest: Any, *things: Any, store: Any = None, dry_run: bool = False, tell: Tell | None = None
) -> Transfer:
    """What another store lacked of this one; it has it now.

    Parameters
    ----------
    dest
        The other store: a path, a URL or a Store. It is made where there is none.
    *things
        Runs, calls and artifacts; ids or their beginnings; names of refs. With each goes all that
        it came from, as its lineage tells: calls, values, code, logs; and the refs to it. Without
        any, everything goes.
    store
        Where they are; by default the store that the things are of, else the default one.
    dry_run
        Only say what would be sent. Objects are not verified then.
    tell
        Called now and then with how far it is: `.done` objects of `.total`, `.nbytes` sent.

    Raises
    ------
    NotFound, AmbiguousId
        An id means nothing, or several things.
    StoreNotFound
        There is no store to take from.
    StoreError
        The other store could not be written. No record of this transfer is visible there then; the
        objects that got there are not sent again.
    CorruptObject, MissingObject
        Objects of the source are not what was written, or gone: `.objects` are their ids. All else
        was sent; `.transfer` says what.

    Warns
    -----
    UserWarning
        A ref points to something else there, so it was not moved: see `.conflicts`.

    Notes
    -----
    What is missing is found by reading the journals of both stores once, at some 10 µs a record.
    Objects and records are verified on their way.

    Examples
    --------
    >>> import tasklineage as tl
    >>> @tl.task
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> with tl.run("small") as run:
    ...     answer = double(21)
    >>> print(push("elsewhere", run))
    1 run, 1 call, ...
    >>> push("elsewhere", run).records
    0
    """
    source = _source(store, things)
    return _moved(source, _destination(dest, dry_run), things, dry_run, tell)


def pull(
    src: Any, *things: Any, store: Any = None, dry_run: bool = False, tell: Tell | None = None
) -> Transfer:
    """What this store lacked of another one; it has it now. As `push`, the other way round.

    Parameters
    ----------
    src
        The other store: a path, a URL or a Store.
    *things
        Of the other store.
    store
        Where they go; by default the default store, which is made where there is none.

    Raises
    ------
    As `push`.

    Examples
    --------
    >>> import tasklineage as tl
    >>> with tl.run("small") as run:
    ...     pass
    >>> _ = push("elsewhere", run)
    >>> pull("elsewhere", run.id).records
    0
    """
    source = src if isinstance(src, Store) else open_store(src, create=False)
    return _moved(source, _destination(store, dry_run), things, dry_run, tell)


def export_bundle(
    path: Any,
    *things: Any,
    store: Any = None,
    replace: bool = False,
    dry_run: bool = False,
    tell: Tell | None = None,
) -> Transfer:
    """What was put into the new file at `path`: a store in one file. Things as for `push`.

    Raises
    ------
    StoreError
        There is such a file already, and `replace` is false; or it could not be written.
    As `push`.
    """
    place = Path(path)
    source = _source(store, things)
    if place.is_dir() or (place.exists() and not replace):
        raise StoreError(f"{place} is there already: name another file, or ask to replace it")
    with _reading(source) as found:
        order = _Order(source, found, source.url, things, dry_run, tell)
        if dry_run:
            return _sent(order, Nowhere(), None, str(place))
        writer = bundle.BundleWriter(place)
        try:
            return _sent(order, writer, None, str(place), writer.finish)
        finally:
            writer.discard()


def import_bundle(
    path: Any,
    *things: str,
    store: Any = None,
    dry_run: bool = False,
    tell: Tell | None = None,
) -> Transfer:
    """What this store lacked of the bundle at `path`; it has it now.

    Nothing of the bundle is executed or unpickled. Whoever reads its values afterwards trusts it as
    any other store: `open_store(allow_pickle=False)` does not.

    Raises
    ------
    StoreNotFound
        There is no such file.
    StoreError
        It is no bundle, is damaged, or was made to do harm: nothing was taken out of it.
    As `push`.
    """
    target = _destination(store, dry_run)
    with bundle.opened(Path(path)) as opened:
        source = Source(reader(opened.store), opened.objects, is_strange=True)
        return _carried(_Order(opened.store, source, str(path), things, dry_run, tell), target)


class _Order(NamedTuple):
    """What is to be sent from where."""

    store: Store
    """Where things are looked for, and refs."""
    source: Source
    url: str
    things: Sequence[Any]
    dry_run: bool
    tell: Tell | None


def _moved(
    source: Store, target: Store | None, things: Sequence[Any], dry_run: bool, tell: Tell | None
) -> Transfer:
    if target is not None and target.path == source.path:
        raise ConfigError(f"{source.url} is both source and destination: name another store")
    with _reading(source) as found:
        return _carried(_Order(source, found, source.url, things, dry_run, tell), target)


@contextlib.contextmanager
def _reading(store: Store) -> Generator[Source]:
    """The records and objects of a store, all that were recorded up to now."""
    store.catch_up()
    for row in store.catalog.find_runs(statuses=(RUNNING,)):
        Slot.await_environment(row.id)  # recorded a moment after the run has begun
    journal = reader(store)
    try:
        yield Source(journal, store.objects)
    finally:
        journal.close()


def _carried(order: _Order, target: Store | None) -> Transfer:
    """Send it to a store; None: to one that a dry run has not made."""
    if target is None:
        return _sent(order, Nowhere(), None, "a new store")
    if target.read_only and not order.dry_run:
        raise StoreReadOnly(f"{target.url} cannot be written: nothing was sent")
    return _sent(order, IntoStore(target), target, target.url)


def _sent(
    order: _Order,
    into: Target,
    target: Store | None,
    url: str,
    finish: Callable[[Moves], Moves] | None = None,
) -> Transfer:
    """Send records and objects, then refs."""
    gone = frozenset[bytes]() if target is None else frozenset(target.catalog.removed_runs())
    chosen = _chosen(order.store, order.things, gone)
    names = _refs(order.store, chosen)
    known = {} if target is None else target.catalog.calls_of(chosen.left_out)
    sent = send(
        order.source,
        into,
        chosen.selection,
        notes=[LeftOut(id) for id in sorted(chosen.left_out - known.keys())],
        extra=[oid for one in names if one.kind == ARTIFACT for oid in named_ids(one.ref)],
        dry_run=order.dry_run,
        tell=order.tell or _silent,
    )
    moves = ref_moves.plan(names, order.store.refs, None if target is None else target.refs)
    if finish is not None:
        moves = finish(moves)
    elif target is not None and not order.dry_run:
        moves = ref_moves.carry_out(moves, order.store.refs, target.refs)
    transfer = Transfer(
        order.url, url, sent.runs, sent.calls, sent.records, sent.objects, sent.nbytes,
        sent.present, tuple(one.name for one in moves.moved),
        tuple(map(_conflict, moves.conflicts)), _running(order.store, chosen),
        _removed(order.store, chosen, gone), sent.unknown, order.dry_run,
    )  # fmt: skip
    _tell_lost(transfer, sent)
    for conflict in transfer.conflicts:
        warnings.warn(str(conflict), stacklevel=5)
    return transfer


def _tell_lost(transfer: Transfer, sent: Sent) -> None:
    """Nothing, if all that was wanted could be read.

    Raises
    ------
    CorruptObject, MissingObject
        It could not.
    """
    lost = (*sent.damaged, *sent.missing)
    if lost or sent.broken:
        kind = CorruptObject if sent.damaged or sent.broken else MissingObject
        objects = tuple(oid.hex() for oid in lost)
        raise kind(_lost_text(transfer.source, sent), transfer=transfer, objects=objects)


def _lost_text(origin: str, sent: Sent) -> str:
    """What of the source could not be sent, and what to do."""
    said = [
        f"{_count(len(oids), 'object')} {what}: {', '.join(oid.hex() for oid in oids[:_NAMED])}"
        + (", …" if len(oids) > _NAMED else "")
        for oids, what in ((sent.damaged, "damaged"), (sent.missing, "missing"))
        if oids
    ]
    if sent.broken:
        first = sent.broken[0]
        said.append(
            f"{_count(len(sent.broken), 'place')} of the journal {first.reason}: the first at "
            f"{first.start} of {first.writer}/{first.seq:08d}"
        )
    return (
        f"{origin} has {'; '.join(said)}. That was not sent, all else was. `tasklineage fsck` "
        "names the runs concerned; what a call computes again is stored again, and then sent"
    )


def _source(store: Any, things: Sequence[Any]) -> Store:
    """The store that the things are of.

    Raises
    ------
    StoreNotFound
        There is none.
    ConfigError
        They are of several.
    """
    if store is None:
        owners = {thing.store.path: thing.store for thing in things if isinstance(thing, _OWNED)}
        if len(owners) > 1:
            named = ", ".join(sorted(str(path) for path in owners))
            raise ConfigError(f"these are of several stores ({named}): push those of one at a time")
        store = next(iter(owners.values()), None)
    found = find.existing(store)
    if found is None:
        raise StoreNotFound(f"no store at {config.default_store()}: nothing was recorded here yet")
    return found


_ITEMS = (Run, Call, Artifact)
_OWNED = (*_ITEMS, RefVersion)


def _destination(store: Any, dry_run: bool) -> Store | None:
    """The store that is written to; None for one that only a dry run has not made."""
    if isinstance(store, Store):
        return store
    try:
        return open_store(store, create=not dry_run)
    except StoreNotFound:
        if not dry_run:
            raise
        return None


def _chosen(source: Store, things: Iterable[Any], gone: frozenset[bytes]) -> Closure:
    """What belongs to these things; without any, everything but the runs that are `gone`."""
    runs: list[bytes] = []
    calls: list[bytes] = []
    values: list[bytes] = []
    for thing in things:
        item = _item(source, thing)
        if isinstance(item, Artifact):
            values.append(bytes.fromhex(item.digest.removeprefix(DIGEST_TAG)))
        else:
            (runs if isinstance(item, Run) else calls).append(bytes.fromhex(item.id))
    if not runs and not calls and not values:
        return everything(source, gone | source.catalog.removed_runs())
    return closure(source, Wanted(tuple(runs), tuple(calls), tuple(values)))


def _refs(source: Store, chosen: Closure) -> list[Version]:
    """The refs to what was chosen, and to what the calls among it gave."""
    found = [version for version in source.refs.all() if _leads_to_something(source, version)]
    asked = chosen.asked
    if asked is None:
        return found
    return [
        one
        for one in found
        if one.target in asked
        or (one.kind == ARTIFACT and not asked.isdisjoint(_makers(source, one.target)))
    ]


def _leads_to_something(source: Store, version: Version) -> bool:
    """Whether what a ref points to is there."""
    if version.kind == RUN:
        return bool(source.catalog.find_runs(prefix=version.target.hex(), removed=True))
    if version.kind == CALL:
        return bool(source.catalog.calls_of([version.target]))
    return version.kind == ARTIFACT


def _makers(source: Store, digest: bytes) -> set[bytes]:
    return {row.id for row in source.catalog.producers(digest)}


def _item(source: Store, thing: Any) -> Run | Call | Artifact:
    if isinstance(thing, RefVersion):
        thing = thing.target
    if isinstance(thing, str):
        return find.get(thing, store=source)
    if not isinstance(thing, _ITEMS):
        raise ConfigError(
            f"a {type(thing).__name__} cannot be sent: runs, calls, artifacts and their ids can; "
            "`tl.whence(value)` finds the calls that made a value"
        )
    if thing.store is source or thing.store.path == source.path:
        return thing
    return find.get(thing.digest if isinstance(thing, Artifact) else thing.id, store=source)


def _running(source: Store, chosen: Closure) -> tuple[str, ...]:
    """The runs that were sent and go on."""
    rows = source.catalog.find_runs(statuses=(RUNNING,))
    runs = [Run(source, row.id, row) for row in rows if _travels(chosen, row.id)]
    return tuple(run.id for run in runs if run.status == RUNNING)


def _removed(source: Store, chosen: Closure, gone: frozenset[bytes]) -> tuple[str, ...]:
    """The runs that were wanted, and were removed where they were to go."""
    wanted = gone if chosen.asked is None else gone & chosen.asked
    known = (id for id in sorted(wanted) if source.catalog.find_runs(prefix=id.hex()))
    return tuple(id.hex() for id in known)


def _travels(chosen: Closure, run: bytes) -> bool:
    is_named = run in chosen.selection.subjects
    return not is_named if isinstance(chosen.selection, AllBut) else is_named


def _conflict(found: ref_moves.Conflict) -> RefConflict:
    return RefConflict(found.ours.name, *(_shown(one) for one in found))


def _shown(version: Version) -> str:
    return f"{version.kind} {target_text(version.kind, version.target)}".rstrip()


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _silent(_: Progress) -> None:
    pass
