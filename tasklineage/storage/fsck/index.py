"""Whether the catalog says what the journal says.

A copy of it is read on to where the journal was read to, as every query does, and then compared
with a catalog made anew from the whole journal: both follow from the records alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasklineage.storage import sealed
from tasklineage.storage.catalog import FILE
from tasklineage.storage.epochs import PURGES, Counters
from tasklineage.storage.fsck.findings import Finding, Findings
from tasklineage.storage.fsck.layout import entries, is_regular
from tasklineage.storage.fsck.links import Links, temporary
from tasklineage.storage.fsck.segments import Segments
from tasklineage.storage.listing import replaced
from tasklineage.storage.sealed import SealedFile
from tasklineage.storage.tables import VERSION, Offsets, Tables

_RUN = "(SELECT id FROM runs WHERE n = run)"
_PLACE = "(SELECT writer || '-' || number FROM segments WHERE n = {0}segment), {0}offset"
_ROWS: dict[str, str] = {
    "runs": f"""SELECT id, name, parent, namespace, user, host, started, status, ended,
        {_PLACE.format("")}, {_PLACE.format("end_")} FROM runs ORDER BY id""",
    "calls": f"""SELECT id, {_RUN}, parent, (SELECT name FROM tasks WHERE n = task), key, started,
        ended, status, producer, {_PLACE.format("")} FROM calls ORDER BY id""",
    "tags": f"SELECT {_RUN}, tag, at, rank, present FROM tags ORDER BY 1, 2",
    "uses": "SELECT digest, role, call FROM uses ORDER BY digest, role, call",
    "edges": "SELECT producer, consumer FROM edges ORDER BY producer, consumer",
    "memos": f"SELECT code, key, ended, {_PLACE.format('')} FROM memos ORDER BY 1, 2, 3, 4, 5",
    "forgotten": "SELECT key, at FROM forgotten ORDER BY key",
    "codes": f"""SELECT digest, {_PLACE.format("")}, modular, portable FROM codes
        ORDER BY 1, 2, 3""",
    "versions": f"SELECT digest, {_PLACE.format('')} FROM versions ORDER BY 1, 2, 3",
    "environments": f"SELECT digest, {_PLACE.format('')} FROM environments ORDER BY 1, 2, 3",
    "accepts": f"SELECT digest, {_PLACE.format('')} FROM accepts ORDER BY 1, 2, 3",
    "verified": f"SELECT id, {_RUN}, status, {_PLACE.format('')} FROM verified ORDER BY id",
}
"""Of each table all that follows from the journal, without the numbers that stand for ids."""
_MOST_APART = 10_000
_AT_ONCE = 1_000
_ATTEMPTS = 5

Row = tuple[Any, ...]


class Index:
    """A copy of the store's catalog as it is now, if it is one to be trusted."""

    def __init__(self, root: Path, findings: Findings) -> None:
        self._findings = findings
        self._tables: Tables | None = None
        path = root / FILE
        self._generation = Counters(root, read_only=True).now()[PURGES]
        is_moving = replaced(root / "journal", {name for name, _ in entries(root / "journal")})[0]
        if is_regular(path) and not is_moving:
            try:
                self._tables = self._copied(SealedFile(path, root / "locks" / "catalog"))
            except sqlite3.Error as error:
                if sealed.is_damage(error):
                    findings.add("catalog-stale", FILE, str(error))

    def offsets(self) -> Offsets:
        """How far it knows the journal; nothing, if there is none."""
        if self._tables is None:
            return {}
        try:
            return {
                (writer, number): known
                for (writer, number), known in self._tables.offsets().items()
                if type(writer) is str and type(number) is int and type(known) is int
            }
        except sqlite3.Error as error:
            self._broken(error)
            return {}

    def concern(self, key: tuple[str, int], start: int, end: int, finding: Finding) -> None:
        """Name in `finding` the runs and calls of which records stood at this place."""
        query = f"""SELECT {_RUN}, id FROM calls WHERE offset >= ? AND offset < ?
            AND segment = (SELECT n FROM segments WHERE writer = ? AND number = ?)
            UNION ALL SELECT id, NULL FROM runs WHERE offset >= ? AND offset < ?
            AND segment = (SELECT n FROM segments WHERE writer = ? AND number = ?) LIMIT 2000"""
        place = (start, end, *key)
        if self._tables is not None:
            try:
                for run, call in self._tables.all(query, (*place, *place)):
                    finding.concern(run, call)
            except sqlite3.Error as error:
                self._broken(error)

    def compare(self, links: Links, segments: Segments) -> None:
        """Find rows that the journal does not say, and rows that are not there."""
        if self._tables is None:
            return
        tables = self._tables
        try:
            tables.connection.execute("BEGIN")
            tables.ingest(segments.upto(tables.offsets(), segments.offsets))
            tables.connection.execute("COMMIT")
            for name, query in _ROWS.items():
                apart = differences(rows(tables, query), rows(links.tables, query))
                if apart:
                    finding = self._findings.add(
                        "catalog-differs", FILE, f"{len(apart)} rows of {name}", repair=("move",)
                    )
                    self._name(finding, name, apart, links)
        except sqlite3.Error as error:
            self._broken(error)

    def close(self) -> None:
        """The copy is gone."""
        if self._tables is not None:
            self._tables.connection.close()

    def _copied(self, file: SealedFile) -> Tables | None:
        """What the file holds between two writes; None if it is not to be trusted, or too busy."""
        for _ in range(_ATTEMPTS):
            stamp = file.stamp()
            if stamp is None:
                return None
            copy = temporary()
            source = sqlite3.connect(f"{file.path.absolute().as_uri()}?mode=ro", uri=True)
            try:
                source.backup(copy)
            finally:
                source.close()
            tables = Tables(copy)
            if file.stamp() != stamp:
                continue
            if tables.version() != VERSION:
                self._findings.add("catalog-stale", FILE, "it is of another version")
                return None
            seal = tables.seal()
            if type(seal) is not int or not stamp.is_sealed_by(seal):
                self._findings.add("catalog-stale", FILE, "it does not bear its seal")
                return None
            if not tables.is_whole():
                self._findings.add("catalog-damaged", FILE, "other tables", repair=("move",))
                return None
            return tables if tables.generation() == self._generation else None
        return None

    def _broken(self, error: sqlite3.Error) -> None:
        """What bears its seal cannot be read."""
        self._findings.add("catalog-damaged", FILE, str(error), repair=("move",))
        self._tables = None

    def _name(self, finding: Finding, table: str, apart: list[Row], links: Links) -> None:
        for row in apart:
            if table in ("runs", "tags"):
                finding.concern(row[0])
            elif table in ("calls", "verified"):
                finding.concern(row[1], row[0] if table == "calls" else None)
            elif table in ("uses", "edges"):
                finding.concern(links.run_of(row[-1]), row[-1])


def rows(tables: Tables, query: str) -> Iterator[Row]:
    """The rows of a query, some at a time."""
    cursor = tables.connection.execute(query)
    while some := cursor.fetchmany(_AT_ONCE):
        yield from some


def differences(left: Iterator[Row], right: Iterator[Row]) -> list[Row]:
    """The rows that only one of the two has, which are in the same order; or the first of them."""
    alone: list[set[Row]] = [set(), set()]
    pending = [left, right]
    ended = [False, False]
    while not all(ended) and len(alone[0]) + len(alone[1]) < _MOST_APART:
        pair: list[Row | None] = []
        for side in (0, 1):
            row = None if ended[side] else next(pending[side], None)
            ended[side] = ended[side] or row is None
            pair.append(row)
        if pair[0] != pair[1]:
            _cancel(pair[0], alone[0], alone[1])
            _cancel(pair[1], alone[1], alone[0])
    return [*alone[0], *alone[1]]


def _cancel(row: Row | None, own: set[Row], other: set[Row]) -> None:
    """A row is alone, unless the other side had it."""
    if row is not None:
        if row in other:
            other.remove(row)
        else:
            own.add(row)
