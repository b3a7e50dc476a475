"""Refs as queries see them: a name, what it points to, since when, and who said so."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, overload

from tasklineage.errors import CorruptObject, NotFound, TasklineageError
from tasklineage.query.artifacts import Artifact
from tasklineage.query.calls import Call
from tasklineage.query.ids import digest_text, moment
from tasklineage.query.listing import Listing
from tasklineage.query.render import html_faint, html_heading, html_pairs, one_line, time_text
from tasklineage.query.runs import Run
from tasklineage.storage import ref_names
from tasklineage.storage.records import Ref
from tasklineage.storage.refs import ARTIFACT, CALL, DAMAGED, DELETED, RUN, Version

if TYPE_CHECKING:
    from tasklineage.query.cells import Cells
    from tasklineage.storage.store import Store


class RefVersion:
    """What a ref pointed to from one moment on: its newest version is what it points to now.

    Equal by name and number. Nothing is decoded until `.value` is asked for.
    """

    __slots__ = ("_store", "_version")

    def __init__(self, store: Store, version: Version) -> None:
        self._store = store
        self._version = version

    @property
    def store(self) -> Store:
        """Where it is."""
        return self._store

    @property
    def name(self) -> str:
        """The name of the ref: `model/prod`."""
        return self._version.name

    @property
    def number(self) -> int:
        """1 for the first; `tl.get("model/prod@1")` gives what that pointed to."""
        return self._version.number

    @property
    def kind(self) -> str:
        """`run`, `call`, `artifact`, `deleted`, or `damaged`: what it said cannot be read."""
        return self._version.kind

    @property
    def id(self) -> str:
        """The id of the run or call, the digest of the artifact; empty for `deleted`, `damaged`."""
        return target_text(self._version.kind, self._version.target)

    @property
    def target(self) -> Run | Call | Artifact:
        """What it points to.

        Raises
        ------
        NotFound
            It is a deletion, or the run or call is not in this store.
        CorruptObject
            It is damaged.
        """
        if self.kind == DAMAGED:
            raise CorruptObject(self.message)
        if self.kind == DELETED:
            raise NotFound(f"{self._what} deleted the ref: it points to nothing")
        found = self.known()
        if found is None:
            self._store.refresh()  # a ref is seen at once, records of other machines in a moment
            found = self.known()
        if found is None:
            raise NotFound(
                f"{self._what} points to the {self.kind} {self.id}, which {self._store.url} does "
                "not have: it was removed, or was not copied with the ref"
            )
        return found

    def known(self) -> Run | Call | Artifact | None:
        """What it points to; None for what has nothing, or what is not known here yet."""
        store, target = self._store, self._version.target
        if self.kind == ARTIFACT:
            return Artifact(store, _readable(store, self._version.ref))
        if self.kind == CALL:
            row = store.catalog.calls_of([target]).get(target)
            return None if row is None else Call(store, row)
        rows = store.catalog.find_runs(prefix=target.hex(), limit=1) if target else []
        return Run(store, target, rows[0]) if rows else None

    @property
    def value(self) -> Any:
        """The value of the artifact, the result of the call or run; decoded anew each time.

        Raises
        ------
        As `.target`, and as `.value` or `.result` of it.
        """
        return value_of(self.target)

    @property
    def at(self) -> datetime:
        """When it was written, by the clock of its writer."""
        return moment(self._version.at)

    @property
    def user(self) -> str:
        """Who has written it."""
        return self._version.user

    @property
    def host(self) -> str:
        """The machine on which it was written."""
        return self._version.host

    @property
    def message(self) -> str:
        """What was said to it; of a damaged one, what is wrong with it."""
        return self._version.message

    @property
    def previous(self) -> str | None:
        """The id or digest that it replaced; None where there was none."""
        before = self._version.previous
        return None if before is None else target_text(*before) or None

    @property
    def is_deleted(self) -> bool:
        """Whether it is the deletion of the ref."""
        return self.kind == DELETED

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RefVersion):
            return NotImplemented
        return other._version[:2] == self._version[:2]

    def __hash__(self) -> int:
        return hash(self._version[:2])

    def __reduce__(self) -> tuple[Any, ...]:
        return RefVersion, (self._store, self._version)

    def __repr__(self) -> str:
        return f"<Ref {one_line(self._what)} {one_line(f'{self.kind} {self.id}')}>"

    def _repr_html_(self) -> str:
        cells = ref_cells(self)
        heading = html_heading(self.name, html_faint(f"version {self.number}"))
        return heading + html_pairs("", {k: v for k, v in cells.items() if k != "ref"})

    @property
    def _what(self) -> str:
        return f"{self.name}@{self.number}"


class RefListing(Listing[RefVersion]):
    """Refs, by name: a sequence of which `refs["model/prod"]` is one, if it is there."""

    @overload
    def __getitem__(self, index: int | str) -> RefVersion: ...
    @overload
    def __getitem__(self, index: slice) -> list[RefVersion]: ...
    def __getitem__(self, index: int | str | slice) -> Any:
        if not isinstance(index, str):
            return super().__getitem__(index)
        for one in self:
            if one.name == index:
                return one
        raise NotFound(f"there is no ref {index!r} among these {len(self)}")

    def __contains__(self, item: object) -> bool:
        return any(item in (one, one.name) for one in self)


def ref_cells(version: RefVersion) -> Cells:
    """A version of a ref; the column `id` is what it points to."""
    has_writer = version.kind != DAMAGED
    return {
        "ref": version.name,
        "version": str(version.number),
        "kind": version.kind,
        "id": version.id,
        "target": _target_text(version),
        "at": time_text(version.at) if has_writer else "",
        "by": f"{version.user}@{version.host}" if has_writer else "",
        "message": one_line(version.message, 200),
    }


def target_text(kind: str, target: bytes) -> str:
    """The id of a run or call, or the digest of an artifact, as users see it."""
    return digest_text(target) if kind == ARTIFACT else target.hex()


def named(store: Store, text: object) -> RefVersion | None:
    """What `model/prod`, or `model/prod@3`, stands for; None if there is no such ref now.

    Raises
    ------
    NotFound
        The ref has no version of that number.
    CorruptObject
        That version, or the newest one, is damaged.
    """
    if not isinstance(text, str):
        return None
    name, number = ref_names.numbered(unicodedata.normalize("NFC", text))
    if not ref_names.is_name(name):
        return None
    if number is not None:
        return RefVersion(store, store.refs.version(name, number))
    found = store.refs.find(name)
    return None if found is None else RefVersion(store, found)


def hint(store: Store, name: str) -> str:
    """What to say where there is no ref of that name: what became of it, or which are like it."""
    names = store.refs.names()
    if name in names:
        return f"; there was one, and it was deleted: see tl.reflog({name!r})"
    close = get_close_matches(name, names, 3)
    return f"; there is or was {', '.join(close)}" if close else ""


def value_of(item: Run | Call | Artifact) -> Any:
    """The value of an artifact, the result of a call or run."""
    return item.value if isinstance(item, Artifact) else item.result


def _readable(store: Store, ref: Ref) -> Ref:
    """Where the value can be read: where the version says, else where it was stored again."""
    if store.has(ref):
        return ref
    rows = store.catalog.find_artifacts(digest=ref.digest)
    return next((row.ref for row in rows if row.ref.is_stored and store.has(row.ref)), ref)


def _target_text(version: RefVersion) -> str:
    """What it points to, for people; empty where that is not known."""
    try:
        target = version.known() if version.kind in (RUN, CALL, ARTIFACT) else None
    except TasklineageError:
        return ""
    if target is None:
        return ""
    if isinstance(target, Artifact):
        return one_line(f"{target.type}: {target.preview}", 60)
    return one_line(target.name if isinstance(target, Run) else target.task)
