"""Records of the journal as rows of the catalog.

Pure bookkeeping: `Rows` is fed frames and hands out rows; it reads and writes nothing itself.
Numbers stand for what is long and repeats: runs, tasks, segments. They come from mappings that
whoever owns the tables supplies.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, TypeAlias

import msgpack

from tasklineage.storage.object_layout import check_lengths
from tasklineage.storage.records import (
    CHECKED_FROM,
    KIND_OF,
    RUNNING,
    Accept,
    CallBegin,
    CallEnd,
    Code,
    Forget,
    Hit,
    Removed,
    RunBegin,
    RunEnd,
    RunEnvironment,
    RunTags,
    Verified,
    Versions,
    decode,
)

Place: TypeAlias = tuple[int, int, int]
"""Where a record is: the number of its segment, its offset, its length."""
Row: TypeAlias = tuple[Any, ...]

HIT = "hit"
OUTPUT, ARGUMENT, PART = 0, 1, 2
"""The roles in which a call uses a digest; a part is one of its result."""

_ODD = (ValueError, TypeError, LookupError, AttributeError, OverflowError)
"""What a record raises whose fields are of other types than they should be."""
_END_FIELDS = len(CallEnd._fields)
_PARTS = CallEnd._fields.index("parts")
_unpack = functools.partial(msgpack.unpackb, unicode_errors="surrogatepass")


class Rows:
    """The rows that some frames amount to, coalesced: the begin and the end of one call,
    both met, make one row.

    Parameters
    ----------
    runs, tasks
        The number of a run's id and of a task's name; asking for a new one assigns it.
    """

    def __init__(self, runs: Mapping[bytes, int], tasks: Mapping[str, int]) -> None:
        self._runs = runs
        self._tasks = tasks
        self._begun: dict[bytes, tuple[bytes, Place]] = {}
        self._begun_again: list[tuple[bytes, Place]] = []
        self._calls: dict[bytes, Row] = {}
        self.run_begins: list[Row] = []
        self.run_ends: list[Row] = []
        self.tags: list[Row] = []
        self.memos: list[Row] = []
        self.uses: list[Row] = []
        self.edges: list[Row] = []
        self.codes: list[Row] = []
        self.versions: list[Row] = []
        self.forgotten: list[Row] = []
        self.environments: list[Row] = []
        self.accepts: list[Row] = []
        self.verified: list[Row] = []
        self.removed: list[Row] = []

    def add(self, segment: int, frames: Iterable[tuple[int, int, int, bytes]]) -> None:
        """Frames of one segment: offset, length, kind and payload of each.

        A record that is not understood makes no row: `fsck` names it.
        """
        adders = self._adders
        for offset, length, kind, payload in frames:
            adder = adders.get(kind)
            if adder is not None:
                try:
                    if length > CHECKED_FROM:
                        check_lengths(memoryview(payload))
                    adder(self, payload, (segment, offset, length))
                except _ODD:
                    continue

    def calls(self) -> list[Row]:
        """A row for each call, in the order of their ids."""
        for payload, place in (*self._begun.values(), *self._begun_again):
            with contextlib.suppress(*_ODD):
                begun: CallBegin = decode(KIND_OF[CallBegin], payload)
                self._keep(
                    (
                        begun.id, self._runs[begun.run], begun.parent,
                        self._tasks[begun.task], begun.key, begun.started, None, RUNNING, None,
                        *place,
                    )
                )  # fmt: skip
        self._begun, self._begun_again = {}, []
        return [self._calls[id] for id in sorted(self._calls)]

    def _keep(self, row: Row) -> None:
        """Of all rows of one call the newest end stays, else the newest begin."""
        if type(row[0]) is not bytes:
            raise TypeError("not an id: nobody here wrote this record")
        known = self._calls.get(row[0])
        if known is None or _age(known) <= _age(row):
            self._calls[row[0]] = row

    def _call_begin(self, payload: bytes, place: Place) -> None:
        # An array of 8 whose first element is 16 bytes: the id stands at 3. Its end mostly follows
        # in the same batch and says all of this again, so most begins are never decoded.
        id = payload[3:19]
        if id in self._begun:  # its worker was lost, and another one has begun it anew
            self._begun_again.append(self._begun[id])
        self._begun[id] = (payload, place)

    def _call_end(self, payload: bytes, place: Place) -> None:
        fields: Any = _unpack(payload, use_list=False, strict_map_key=False)
        if len(fields) < _END_FIELDS:
            fields = CallEnd(*fields)
        (
            id, run, parent, task, code, key, started, _, status, ended, memo, output, arguments,
            edges,
        ) = fields[:14]  # fmt: skip
        segment, offset, length = place
        row = (
            id, self._runs[run], parent, self._tasks[task], key, started, ended, status, None,
            segment, offset, length,
        )  # fmt: skip
        self._begun.pop(id, None)
        if id in self._calls or type(id) is not bytes:
            self._keep(row)
        else:
            self._calls[id] = row
        if memo:
            self.memos.append((code, key, ended, segment, offset, length))
        uses = self.uses
        if output is not None and output[0]:
            uses.append((output[0], OUTPUT, id))
        for argument in arguments:
            if argument[1][0]:
                uses.append((argument[1][0], ARGUMENT, id))
        for edge in edges:
            self.edges.append((edge[1], id))
            if len(edge) > 3 and edge[3]:
                uses.append((edge[3], ARGUMENT, id))
        for part in fields[_PARTS]:
            uses.append((part[1], PART, id))

    def _hit(self, payload: bytes, place: Place) -> None:
        id, run, parent, task, key, producer, at = _unpack(
            payload, use_list=False, strict_map_key=False
        )[:7]
        self._keep(
            (id, self._runs[run], parent, self._tasks[task], key, at, at, HIT, producer, *place)
        )

    def _run_begin(self, payload: bytes, place: Place) -> None:
        run: RunBegin = decode(KIND_OF[RunBegin], payload)
        number = self._runs[run.id]
        self.run_begins.append(
            (
                as_sql(run.name), run.parent, as_sql(run.namespace), as_sql(run.user),
                as_sql(run.host), run.started, *place, number,
            )
        )  # fmt: skip
        self._tag(number, run.tags, run.started, present=True)

    def _run_end(self, payload: bytes, place: Place) -> None:
        end: RunEnd = decode(KIND_OF[RunEnd], payload)
        self.run_ends.append((end.status, end.ended, *place, self._runs[end.id]))

    def _run_tags(self, payload: bytes, place: Place) -> None:
        tags: RunTags = decode(KIND_OF[RunTags], payload)
        number = self._runs[tags.id]
        self._tag(number, tags.removed, tags.at, present=False)
        self._tag(number, tags.added, tags.at, present=True)

    def _tag(self, run: int, tags: tuple[str, ...], at: float, *, present: bool) -> None:
        self.tags.extend((run, as_sql(tag), at, rank, present) for rank, tag in enumerate(tags))

    def _code(self, payload: bytes, place: Place) -> None:
        code: Code = decode(KIND_OF[Code], payload)
        self.codes.append((code.digest, *place, code.modular[:16], code.portable[:16]))

    def _versions(self, payload: bytes, place: Place) -> None:
        versions: Versions = decode(KIND_OF[Versions], payload)
        self.versions.append((versions.digest, *place))

    def _environment(self, payload: bytes, place: Place) -> None:
        found: RunEnvironment = decode(KIND_OF[RunEnvironment], payload)
        self.environments.append((found.run, *place))

    def _accept(self, payload: bytes, place: Place) -> None:
        accept: Accept = decode(KIND_OF[Accept], payload)
        self.accepts.append((accept.code, *place))

    def _verified(self, payload: bytes, place: Place) -> None:
        found: Verified = decode(KIND_OF[Verified], payload)
        self.verified.append((found.id, self._runs[found.run], found.status, *place))

    def _removed(self, payload: bytes, place: Place) -> None:
        removed: Removed = decode(KIND_OF[Removed], payload)
        self.removed.append((removed.at, self._runs[removed.id]))

    def _forget(self, payload: bytes, place: Place) -> None:
        forget: Forget = decode(KIND_OF[Forget], payload)
        self.forgotten.append((forget.key, forget.at))

    _adders: ClassVar[dict[int, Callable[[Rows, bytes, Place], None]]] = {
        KIND_OF[RunBegin]: _run_begin,
        KIND_OF[RunEnd]: _run_end,
        KIND_OF[RunTags]: _run_tags,
        KIND_OF[CallBegin]: _call_begin,
        KIND_OF[CallEnd]: _call_end,
        KIND_OF[Hit]: _hit,
        KIND_OF[Code]: _code,
        KIND_OF[Versions]: _versions,
        KIND_OF[Forget]: _forget,
        KIND_OF[RunEnvironment]: _environment,
        KIND_OF[Accept]: _accept,
        KIND_OF[Verified]: _verified,
        KIND_OF[Removed]: _removed,
    }
    """By kind of record. Of the class: what refers to itself stays until somebody collects it."""


def as_sql(text: str) -> str | bytes:
    """The text as SQLite takes it: a blob where it is not Unicode, as an undecodable file name."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def from_sql(stored: str | bytes) -> str:
    """The text that `as_sql` was given."""
    return stored if isinstance(stored, str) else stored.decode("utf-8", "surrogatepass")


def _age(row: Row) -> tuple[float, float, int]:
    """What of several rows of one call the greatest wins by: end, begin, offset."""
    return (-1.0 if row[6] is None else row[6], row[5], row[10])
