"""The history of a value, file, call or run: `whence` and `lineage`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tasklineage import config
from tasklineage.errors import ConfigError, NotFound
from tasklineage.key.digest import Unresolved, digest, is_trivial
from tasklineage.key.files import Dir, File
from tasklineage.query import find, tracing
from tasklineage.query.artifacts import Artifact
from tasklineage.query.calls import Call
from tasklineage.query.ids import DIGEST_TAG, digest_text
from tasklineage.query.lineage import Edge, Lineage, Node
from tasklineage.query.runs import Run
from tasklineage.query.tracing import Found, Records
from tasklineage.storage.records import Ref

if TYPE_CHECKING:
    from tasklineage.storage.catalog import CallRow
    from tasklineage.storage.store import Store

Direction = Literal["up", "down", "both"]
_DIRECTIONS = ("up", "down", "both")
LIMIT = 1_000
_ENDS = 20
"""Calls that made or took the value asked about and are shown, the newest."""
_LARGEST_TEXT = 100_000_000
"""Bytes of a file that may be the text which a task returned."""


def whence(
    x: Any,
    /,
    *,
    depth: int | None = None,
    limit: int | None = LIMIT,
    store: Any = None,
) -> Lineage:
    """Where something came from: the calls that made it, and what those were made from.

    Parameters
    ----------
    x
        A value in hand, known by its content; a path to a file, known by what is in it; an
        artifact, call or run; or a text: a path where there is such a file, else an id, a digest
        or the beginning of one, else a value.
    depth
        How many edges to follow; None: all.
    limit
        How many calls at most; `.is_cut` says whether there are more. None: any number.

    Raises
    ------
    NotFound
        The store knows nothing of it.
    AmbiguousId
        A text begins several ids.
    StoreNotFound
        There is no store where `store=` says.
    UnhashableArgument
        The value has no digest.

    Examples
    --------
    >>> import tasklineage as tl
    >>> @tl.task
    ... def squares(n: int) -> list[int]:
    ...     return [i * i for i in range(n)]
    >>> found = squares(4)
    >>> [call.args["n"] for call in tl.whence(found).calls]
    [4]
    """
    return lineage(x, "up", depth=depth, limit=limit, store=store)


def lineage(
    x: Any,
    /,
    direction: Direction = "up",
    *,
    depth: int | None = None,
    limit: int | None = LIMIT,
    store: Any = None,
) -> Lineage:
    """Where something came from (`up`), what was made of it (`down`), or both.

    Parameters and errors as for `whence`. Of a run it is that of all its calls, also beyond
    the run; `run.graph()` is the run alone.

    Notes
    -----
    Time and memory follow the size of the answer, not that of the store.

    Examples
    --------
    >>> import tasklineage as tl
    >>> @tl.task
    ... def load() -> list[int]:
    ...     return [3, 1, 2]
    >>> @tl.task
    ... def order(numbers: list[int]) -> list[int]:
    ...     return sorted(numbers)
    >>> ordered = order(load())
    >>> [call.task.rpartition(".")[2] for call in tl.lineage(ordered).calls]
    ['load', 'order']
    """
    if direction not in _DIRECTIONS:
        raise ConfigError(f"direction={direction!r}: it is one of {', '.join(_DIRECTIONS)}")
    for name, number in (("depth", depth), ("limit", limit)):
        if number is not None and number < 0:
            raise ConfigError(f"{name}={number}: it is None or a number from 0")
    subject = subject_of(x, store)
    if isinstance(subject, Artifact):
        return _Around(subject, direction, depth, limit).lineage()
    records = Records(subject.store)
    starts = _starts(subject, limit)
    found = [
        walk(records, starts, depth, limit)
        for name, walk in (("up", tracing.upstream), ("down", tracing.downstream))
        if direction in (name, "both")
    ]
    is_cut = isinstance(subject, Run) and limit is not None and len(starts) > limit
    return _as_lineage(subject, found, is_cut=is_cut)


def subject_of(x: Any, store: Any = None) -> Run | Node:
    """What `x` stands for.

    Raises
    ------
    NotFound, AmbiguousId, StoreNotFound, UnhashableArgument
        As `whence`.
    """
    if isinstance(x, Run | Call | Artifact):
        return x
    opened = find.existing(store)
    if opened is None:
        raise NotFound(
            f"no store at {config.default_store()}: nothing was recorded here yet, "
            "so nothing is known of any value"
        )
    if isinstance(x, os.PathLike) and not isinstance(x, File | Dir):
        return _of_path(opened, x)
    return _of_text(opened, x) if isinstance(x, str) else _of_value(opened, x)


def _of_text(store: Store, text: str) -> Run | Node:
    """A path where there is such a file, else what has that id, else the value."""
    if "\0" not in text and len(text) < 4096 and os.path.lexists(text):
        return _of_path(store, Path(text))
    try:
        return find.get(text, store=store)
    except NotFound:
        found = _known(store, [digest(text)])
    if found is not None:
        return found
    shown = text if len(text) <= 80 else f"{text[:79]}…"
    raise NotFound(
        f"{shown!r} is not a file, {store.url} has no run, call or artifact whose id begins so, "
        "and no call has given or was given this text"
    )


def _of_value(store: Store, value: Any) -> Node:
    try:
        value_digest = digest(value)
    except Unresolved:
        call = getattr(value, "call", None)  # a Future; others stand for more than one call
        if isinstance(call, Call):
            return call
        raise ConfigError(
            f"a {type(value).__name__} is not a value: pass its results, one by one"
        ) from None
    found = _known(store, [value_digest])
    if found is not None:
        return found
    if is_trivial(value):
        raise NotFound(f"no call in {store.url} has given or was given {value!r}")
    raise NotFound(
        f"{store.url} does not know this {type(value).__name__} ({digest_text(value_digest)}): no "
        "call has returned or was given a value of this content. If a task made it, it was changed "
        "since, or was recorded in another store (store=)"
    )


def _of_path(store: Store, path: os.PathLike[Any]) -> Node:
    """What is known of a file or folder by its content: as such, as bytes, as a text."""
    tried: list[bytes] = []
    for one in _digests_of_file(path):
        found = _known(store, [one])
        if found is not None:
            return found
        tried.append(one)
    name = os.fspath(path)
    if not tried:
        raise NotFound(f"there is no file or folder {name}")
    raise NotFound(
        f"{store.url} does not know the content of {name} ({digest_text(tried[0])}): no call has "
        "returned it as a File, bytes, text or figure. A file that a task only writes is known "
        "if the task returns tl.File(path)"
    )


def _digests_of_file(path: os.PathLike[Any]) -> Iterator[bytes]:
    """The digests under which the content of a file may be known."""
    name = os.fspath(path)
    if os.path.isdir(name):
        yield digest(Dir(path))
    if not os.path.isfile(name):
        return
    yield digest(File(path))
    if os.path.getsize(name) > _LARGEST_TEXT:
        return
    content = Path(name).read_bytes()
    yield digest(content)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return
    yield digest(text)
    yield digest(text.removesuffix("\n"))  # what a shell's redirection added


def _known(store: Store, digests: Iterable[bytes]) -> Artifact | None:
    for one in digests:
        for row in store.catalog.find_artifacts(digest=one, limit=1):
            return Artifact(store, row.ref)
    return None


def _starts(subject: Run | Call, limit: int | None) -> list[bytes]:
    if isinstance(subject, Call):
        return [bytes.fromhex(subject.id)]
    most = None if limit is None else limit + 1
    return [bytes.fromhex(call.id) for call in islice(subject.calls, most)]


def _as_lineage(
    subject: Run | Node,
    found: Iterable[Found],
    extra: Iterable[Edge] = (),
    *,
    is_cut: bool = False,
    counts: dict[str, int] | None = None,
) -> Lineage:
    store = subject.store
    rows: dict[bytes, CallRow] = {}
    links: dict[tracing.Link, None] = {}
    for one in found:
        rows.update(one.calls)
        links.update((link, None) for link in one.links)
        is_cut = is_cut or one.is_cut
    calls = {id: Call(store, rows[id]) for id in rows}
    edges = edges_of(links, calls)
    nodes: list[Node] = [*calls.values()]
    if isinstance(subject, Artifact):
        nodes.append(subject)
    return Lineage(subject, nodes, [*edges, *extra], is_cut=is_cut, counts=counts)


def edges_of(links: Iterable[tracing.Link], calls: dict[bytes, Call]) -> list[Edge]:
    """The links between these calls as edges, by consumer, in the order of its record."""
    known = (link for link in links if link.producer in calls and link.consumer in calls)
    return [
        Edge(
            calls[link.producer],
            calls[link.consumer],
            link.path,
            link.via,
            digest_text(link.digest) if link.digest else "",
        )
        for link in sorted(known, key=lambda link: link.consumer)
    ]


class _Around:
    """The calls on both sides of one value."""

    def __init__(
        self, artifact: Artifact, direction: Direction, depth: int | None, limit: int | None
    ) -> None:
        self._artifact = artifact
        self._digest = bytes.fromhex(artifact.digest.removeprefix(DIGEST_TAG))
        self._direction = direction
        self._depth = None if depth is None else depth - 1
        self._limit = limit
        self._catalog = artifact.store.catalog
        self._records = Records(artifact.store)
        self._is_cut = False

    def lineage(self) -> Lineage:
        counts = self._catalog.producer_counts(self._digest)
        rows = self._catalog.find_artifacts(digest=self._digest, limit=1)
        is_common = bool(rows) and tracing.says_nothing(rows[0].ref)
        if is_common or (self._depth is not None and self._depth < 0):
            return Lineage(self._artifact, [self._artifact], [], counts=counts)
        found, edges = [], list[Edge]()
        if self._direction != "down":
            makers = self._makers()
            found.append(tracing.upstream(self._records, makers, self._depth, self._limit))
            edges += self._from_makers(makers.values(), found[-1])
        if self._direction != "up":
            takers = self._takers()
            found.append(tracing.downstream(self._records, takers, self._depth, self._limit))
            edges += self._to_takers(takers.values(), found[-1])
        return _as_lineage(self._artifact, found, edges, is_cut=self._is_cut, counts=counts)

    def _makers(self) -> dict[bytes, CallRow]:
        """The calls that made the value; of those with one key the newest, as all are the same."""
        rows = self._catalog.producers(self._digest, tracing.CANDIDATES + 1)
        self._is_cut = self._is_cut or len(rows) > tracing.CANDIDATES
        newest = {row.key: row for row in reversed(tracing.outermost(rows))}
        self._is_cut = self._is_cut or len(newest) > _ENDS
        return {row.id: row for row in list(newest.values())[-_ENDS:]}

    def _takers(self) -> dict[bytes, CallRow]:
        rows = self._catalog.consumers(self._digest, _ENDS + 1)
        self._is_cut = self._is_cut or len(rows) > _ENDS
        return {row.id: row for row in rows[:_ENDS]}

    def _from_makers(self, rows: Iterable[CallRow], found: Found) -> Iterator[Edge]:
        for row in rows:
            if row.id in found.calls:
                record = self._records.of(row)
                parts = () if record is None else record.parts
                whole = record is not None and record.output and record.output[0] == self._digest
                path = "" if whole else next((p[0] for p in parts if p[1] == self._digest), "")
                call = Call(self._artifact.store, row)
                yield Edge(call, self._artifact, path, "result", self._artifact.digest)

    def _to_takers(self, rows: Iterable[CallRow], found: Found) -> Iterator[Edge]:
        for row in rows:
            record = self._records.of(row)
            if row.id not in found.calls or record is None:
                continue
            paths = [a[0] for a in record.arguments if Ref(*a[1]).digest == self._digest]
            paths += [e[0] for e in record.edges if e[3] == self._digest]
            call = Call(self._artifact.store, row)
            for path in dict.fromkeys(paths):
                yield Edge(self._artifact, call, path, "argument", self._artifact.digest)
