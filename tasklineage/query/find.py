"""The questions one asks of a store: runs, calls, the latest, and whatever has an id."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from tasklineage import config
from tasklineage.errors import AmbiguousId, ConfigError, NotFound, StoreNotFound
from tasklineage.key.digest import digest
from tasklineage.query import calls as calls_module
from tasklineage.query import runs as runs_module
from tasklineage.query.artifacts import Artifact
from tasklineage.query.calls import Call
from tasklineage.query.cells import call_row, run_cells
from tasklineage.query.ids import DIGEST_TAG, as_prefix, digest_text, seconds_since_epoch
from tasklineage.query.listing import Listing, paged
from tasklineage.query.refs import hint, named
from tasklineage.query.runs import Run
from tasklineage.storage.opening import open_store
from tasklineage.storage.records import LOST, RUNNING
from tasklineage.storage.refs import RUN
from tasklineage.storage.store import Store

if TYPE_CHECKING:
    from tasklineage.storage.catalog import CallRow, RunRow

Since = datetime | timedelta | float | str
T = TypeVar("T", Run, Call)
EVERYTHING = "*"
_CANDIDATES = 10
_ROUNDED = 1e-6
"""Seconds by which a datetime may be later than the time of which it was made: `since=run.started`
finds that run."""


class _Seen:
    """What queries see: one place, set by `namespace`."""

    name: str | None = None
    """None: what `config.namespace()` says."""


def namespace(name: str | None, /) -> None:
    """Set what queries of this process see: the runs of one namespace, or with None, of all.

    Without it they see the configured namespace, by default `user:<name>`. Ids are global: `get`
    and `run=` find what they name in any namespace. Memos are shared by all.
    """
    _Seen.name = EVERYTHING if name is None else name


@contextlib.contextmanager
def namespace_kept() -> Generator[None]:
    """What `namespace` sets in the block is forgotten after it."""
    before = _Seen.name
    try:
        yield
    finally:
        _Seen.name = before


def runs(
    name: str | None = None,
    *,
    status: str | Iterable[str] | None = None,
    tag: str | Iterable[str] = (),
    namespace: str | None = None,
    since: Since | None = None,
    limit: int | None = None,
    store: Any = None,
) -> Sequence[Run]:
    """Runs, newest first, read as far as one looks.

    Parameters
    ----------
    status
        One or several of `running done failed interrupted killed`.
    tag
        One or several: all must hold.
    namespace
        `"*"` for all; by default what `tl.namespace` has set.
    since
        Only runs begun at or after it: a datetime, a text in ISO 8601, or an age (timedelta).

    Returns
    -------
    A sequence; empty if there is no default store yet.

    Raises
    ------
    StoreNotFound
        There is no store where `store=` says.
    ConfigError
        A filter cannot work.

    Examples
    --------
    >>> import tasklineage as tl
    >>> with tl.run("nightly", tags=("big",)):
    ...     pass
    >>> [run.name for run in tl.runs(tag="big", status="done")]
    ['nightly']
    """
    _check(limit)
    opened = existing(store)
    if opened is None:
        return Listing((), "run", run_cells)
    statuses = _statuses(status, runs_module.STATUSES)
    begun = None if since is None else seconds_since_epoch(since) - _ROUNDED

    def fetch(limit: int, offset: int) -> list[RunRow]:
        return opened.catalog.find_runs(
            name=name,
            statuses=_stored(statuses, runs_module.KILLED),
            tags=(tag,) if isinstance(tag, str) else tuple(tag),
            namespace=_namespace(namespace),
            since=begun,
            limit=limit,
            offset=offset,
        )

    found = (Run(opened, row.id, row) for row in paged(fetch, _first_page(limit)))
    return Listing(_limited(_having(found, statuses), limit), "run", run_cells)


def latest(
    name: str | None = None,
    *,
    status: str | Iterable[str] | None = None,
    tag: str | Iterable[str] = (),
    namespace: str | None = None,
    since: Since | None = None,
    store: Any = None,
) -> Run | None:
    """The newest run that fits, or None. Filters as for `runs`.

    Examples
    --------
    >>> latest("a name that no run has") is None
    True
    """
    found = runs(
        name, status=status, tag=tag, namespace=namespace, since=since, limit=1, store=store
    )
    return found[0] if found else None


def calls(
    task: Any = None,
    *,
    status: str | Iterable[str] | None = None,
    run: Run | str | None = None,
    where: Mapping[str, Any] | None = None,
    namespace: str | None = None,
    since: Since | None = None,
    limit: int | None = None,
    store: Any = None,
) -> Sequence[Call]:
    """Calls, newest first, read as far as one looks.

    Parameters
    ----------
    task
        The task, its full name, or the last part of that.
    status
        One or several of `running done hit failed caught cancelled skipped lost timeout`.
    run
        Only calls that this run has recorded: a Run, its id, or a ref to it.
    where
        Only calls whose arguments of these names have these values, by content: `{"lr": 0.1}`.
    namespace, since
        As for `runs`.

    Returns
    -------
    A sequence; empty if there is no default store yet.

    Raises
    ------
    StoreNotFound, ConfigError
        As `runs`.
    NotFound, AmbiguousId
        `run=` names none, or several.
    UnhashableArgument
        A value of `where` has no digest.

    Notes
    -----
    `where` reads the record of each call that the other filters leave; some 20 µs each.

    Examples
    --------
    >>> import tasklineage as tl
    >>> @tl.task
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> double(21)
    42
    >>> [call.result for call in tl.calls(double, where={"x": 21})]
    [42]
    """
    _check(limit, where)
    opened = run.store if isinstance(run, Run) and store is None else existing(store)
    if opened is None:
        return Listing((), "call", call_row)
    name = None if task is None else str(getattr(task, "name", task))
    statuses = _statuses(status, calls_module.STATUSES)
    chosen = None if run is None else _run_id(opened, run)
    begun = None if since is None else seconds_since_epoch(since) - _ROUNDED

    def fetch(limit: int, offset: int) -> list[CallRow]:
        return opened.catalog.find_calls(
            task=name,
            statuses=_stored(statuses, LOST),
            run=chosen,
            namespace=None if chosen else _namespace(namespace),
            since=begun,
            limit=limit,
            offset=offset,
        )

    rows = paged(fetch, _first_page(limit))
    if where:
        rows = _matching(opened, rows, where)
    found = _having((Call(opened, row) for row in rows), statuses)
    return Listing(_limited(found, limit), "call", call_row)


def get(id: str, *, store: Any = None) -> Run | Call | Artifact:
    """The run, call or artifact of that name or id, or of the only one whose id begins so.

    A ref, `model/prod`, goes before the beginning of an id; `model/prod@3` is what version 3 of it
    pointed to. A digest may carry its tag, `xxh3:…`; then only artifacts are looked at.

    Raises
    ------
    NotFound
        There is none.
    AmbiguousId
        There are several; `.candidates` names them.
    CorruptObject
        There is a ref of that name, and it is damaged.
    StoreNotFound
        There is no store where `store=` says.

    Examples
    --------
    >>> import tasklineage as tl
    >>> with tl.run("nightly") as run:
    ...     pass
    >>> tl.get(run.id) == run
    True
    """
    if not isinstance(id, str):
        raise ConfigError(f"an id, or the name of a ref, is a text, not {id!r}")
    opened = existing(store)
    if opened is None:
        raise NotFound(f"no store at {config.default_store()}, so nothing is called {id}")
    ref = named(opened, id)
    if ref is not None:
        return ref.target
    try:
        prefix = as_prefix(id)
    except NotFound as error:
        raise NotFound(f"{error.message}{hint(opened, id)}") from None
    found = list(_candidates(opened, prefix, id.strip().lower().startswith(DIGEST_TAG)))
    if not found:
        raise NotFound(f"no run, call or artifact of {opened.url} has an id that begins {id}")
    if len(found) > 1:
        names = tuple(item.digest if isinstance(item, Artifact) else item.id for item in found)
        listed = ", ".join(names[:_CANDIDATES]) + (", …" if len(names) > _CANDIDATES else "")
        raise AmbiguousId(f"{id} begins several ids: {listed}", candidates=names)
    return found[0]


def open_run(store: Store, id: bytes) -> Run:
    """The run of that id, whose records may not be there yet."""
    return Run(store, id)


def existing(store: Any = None) -> Store | None:
    """The store that `store=` names, or the default one; None if the default one is not there.

    Asking a question never makes a store.

    Raises
    ------
    StoreNotFound
        There is none where `store` says.
    """
    if isinstance(store, Store):
        return store
    try:
        return open_store(store, create=False)
    except StoreNotFound:
        if store is None:
            return None
        raise


def _candidates(store: Store, prefix: str, is_digest: bool) -> Iterator[Run | Call | Artifact]:
    limit = _CANDIDATES + 1
    if not is_digest:
        for run in store.catalog.find_runs(prefix=prefix, limit=limit):
            yield Run(store, run.id, run)
        for call in store.catalog.find_calls(prefix=prefix, limit=limit):
            yield Call(store, call)
    for artifact in store.catalog.find_artifacts(prefix=prefix, limit=limit):
        yield Artifact(store, artifact.ref)


def _namespace(asked: str | None) -> str | None:
    """What the catalog is asked for: None means all."""
    name = asked or _Seen.name or config.namespace()
    return None if name == EVERYTHING else name


def _run_id(store: Store, run: Run | str) -> bytes:
    if isinstance(run, Run):
        return bytes.fromhex(run.id)
    ref = named(store, run)
    if ref is not None and ref.kind == RUN:
        return bytes.fromhex(ref.id)
    limit = _CANDIDATES + 1
    found = store.catalog.find_runs(prefix=as_prefix(run), limit=limit)
    if not found:
        raise NotFound(f"no run of {store.url} has an id that begins {run}")
    if len(found) > 1:
        names = tuple(row.id.hex() for row in found)
        raise AmbiguousId(f"{run} begins several ids: {', '.join(names)}", candidates=names)
    return found[0].id


def _statuses(status: str | Iterable[str] | None, known: frozenset[str]) -> frozenset[str] | None:
    if status is None:
        return None
    asked = frozenset({status} if isinstance(status, str) else status)
    unknown = sorted(asked - known)
    if unknown:
        raise ConfigError(f"no status {unknown[0]!r}; there are: {', '.join(sorted(known))}")
    return asked


def _stored(statuses: frozenset[str] | None, orphaned: str) -> tuple[str, ...] | None:
    """The statuses as the catalog has them: it does not know which writers are alive."""
    if statuses is None:
        return None
    stored = statuses | {RUNNING} if orphaned in statuses else statuses
    return tuple(sorted(stored))


def _having(found: Iterator[T], statuses: frozenset[str] | None) -> Iterator[T]:
    return (item for item in found if statuses is None or item.status in statuses)


def _check(limit: Any, where: Any = None) -> None:
    if limit is not None and not (isinstance(limit, int) and limit >= 0):
        raise ConfigError(f"limit= is None or a whole number from 0 on, not {limit!r}")
    if not isinstance(where, Mapping | None):
        raise ConfigError(f"where= maps parameters to values, not {where!r}")


def _limited(found: Iterator[T], limit: int | None) -> Iterator[T]:
    from itertools import islice

    return found if limit is None else islice(found, limit)


def _first_page(limit: int | None) -> int:
    return 64 if limit is None else limit


def _matching(store: Store, rows: Iterator[CallRow], where: Mapping[str, Any]) -> Iterator[CallRow]:
    """The calls whose arguments have these digests; a hit has its producer's arguments."""
    wanted = {name: digest_text(digest(value, name)) for name, value in where.items()}
    known: dict[bytes, bool] = {}
    for row in rows:
        executed = row.producer or row.id
        fits = known.get(executed)
        if fits is None:
            fits = known[executed] = _fits(store, row, wanted)
        if fits:
            yield row


def _fits(store: Store, row: CallRow, wanted: Mapping[str, str]) -> bool:
    inputs = Call(store, row).inputs
    return all(name in inputs and inputs[name].digest == text for name, text in wanted.items())
