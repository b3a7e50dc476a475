"""The tables of the catalog: what they hold, and how records get into them.

Every table is a function of the set of records alone, whatever order they come in and however
often, so that a catalog made anew says the same as one that grew.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from tasklineage.storage import journal
from tasklineage.storage.frames import Location
from tasklineage.storage.ingest import Row, Rows, as_sql, from_sql

if TYPE_CHECKING:
    import sqlite3

VERSION = 7
"""Goes up with any change of the schema, or of what the rows mean; other versions are made anew."""
CHUNK = 4_000
"""Frames whose rows are in memory at once."""

Offsets = dict[tuple[str, int], int]
"""How far each segment, by writer and number, is known."""

ORDINARY = "status NOT IN ('done', 'hit')"
"""A term of the queries for unusual statuses alone: with it, SQLite uses the index of those."""
_SCHEMA = f"""
CREATE TABLE segments (
    n INTEGER PRIMARY KEY, writer TEXT, number INT, known INT DEFAULT 0, UNIQUE (writer, number));
CREATE TABLE finished (writer TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE seals (
    n INTEGER PRIMARY KEY CHECK (n = 1), seal INT, boot TEXT, generation INT);
CREATE TABLE tasks (n INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE runs (
    n INTEGER PRIMARY KEY, id BLOB UNIQUE,
    name TEXT, parent BLOB, namespace TEXT, user TEXT, host TEXT, started REAL,
    segment INT, offset INT, length INT,
    status TEXT DEFAULT 'running', ended REAL, end_segment INT, end_offset INT, end_length INT,
    removed REAL);
CREATE INDEX runs_by_name ON runs (name, id);
CREATE INDEX runs_by_parent ON runs (parent) WHERE parent IS NOT NULL;
CREATE INDEX runs_removed ON runs (n) WHERE removed IS NOT NULL;
CREATE INDEX runs_by_status ON runs (status, id) WHERE status != 'done';
CREATE TABLE tags (
    run INT, tag TEXT, at REAL, rank INT, present INT, PRIMARY KEY (run, tag)) WITHOUT ROWID;
CREATE TABLE calls (
    id BLOB PRIMARY KEY, run INT, parent BLOB, task INT, key BLOB, started REAL, ended REAL,
    status TEXT, producer BLOB, segment INT, offset INT, length INT) WITHOUT ROWID;
CREATE INDEX calls_by_run ON calls (run, id);
CREATE INDEX calls_by_task ON calls (task, id);
CREATE INDEX calls_by_parent ON calls (parent, id) WHERE parent IS NOT NULL;
CREATE INDEX calls_by_producer ON calls (producer, id) WHERE producer IS NOT NULL;
CREATE INDEX calls_by_status ON calls (status, id) WHERE {ORDINARY};
CREATE TABLE uses (
    digest BLOB, role INT, call BLOB, PRIMARY KEY (digest, role, call)) WITHOUT ROWID;
CREATE TABLE edges (
    producer BLOB, consumer BLOB, PRIMARY KEY (producer, consumer)) WITHOUT ROWID;
CREATE TABLE memos (
    code BLOB, key BLOB, ended REAL, segment INT, offset INT, length INT,
    PRIMARY KEY (code, key, ended, segment, offset)) WITHOUT ROWID;
CREATE TABLE forgotten (key BLOB PRIMARY KEY, at REAL) WITHOUT ROWID;
CREATE TABLE codes (
    digest BLOB, segment INT, offset INT, length INT, modular BLOB, portable BLOB,
    PRIMARY KEY (digest, segment, offset)) WITHOUT ROWID;
CREATE INDEX codes_by_modular ON codes (modular) WHERE modular != x'';
CREATE INDEX codes_by_portable ON codes (portable) WHERE portable != x'';
CREATE TABLE accepts (
    digest BLOB, segment INT, offset INT, length INT,
    PRIMARY KEY (digest, segment, offset)) WITHOUT ROWID;
CREATE TABLE versions (
    digest BLOB, segment INT, offset INT, length INT,
    PRIMARY KEY (digest, segment, offset)) WITHOUT ROWID;
CREATE TABLE environments (
    digest BLOB, segment INT, offset INT, length INT,
    PRIMARY KEY (digest, segment, offset)) WITHOUT ROWID;
CREATE TABLE verified (
    id BLOB PRIMARY KEY, run INT, status TEXT, segment INT, offset INT, length INT) WITHOUT ROWID;
CREATE INDEX verified_by_run ON verified (run, id);
"""
_STATEMENTS = sorted(filter(None, map(str.strip, _SCHEMA.split(";"))))
"""As SQLite keeps them."""

_END_WINS = """ON CONFLICT (id) DO UPDATE SET
    run = excluded.run, parent = excluded.parent, task = excluded.task, key = excluded.key,
    started = excluded.started, ended = excluded.ended, status = excluded.status,
    producer = excluded.producer, segment = excluded.segment, offset = excluded.offset,
    length = excluded.length
    WHERE ifnull(excluded.ended, -1) > ifnull(ended, -1)
       OR (excluded.ended IS ended AND (excluded.started, excluded.offset) >= (started, offset))"""
_LATEST_TAG = """ON CONFLICT (run, tag) DO UPDATE SET
    at = excluded.at, rank = excluded.rank, present = excluded.present
    WHERE (excluded.at, excluded.present) >= (at, present)"""
_LATEST_FORGET = "ON CONFLICT (key) DO UPDATE SET at = max(at, excluded.at)"
_BEGIN_RUN = """UPDATE runs SET name = ?, parent = ?, namespace = ?, user = ?, host = ?,
    started = ?, segment = ?, offset = ?, length = ? WHERE n = ?"""
_END_RUN = """UPDATE runs SET status = ?, ended = ?, end_segment = ?, end_offset = ?,
    end_length = ? WHERE n = ? AND ifnull(ended, 0) <= ?"""
_REMOVE_RUN = "UPDATE runs SET removed = max(?, ifnull(removed, 0)) WHERE n = ?"
_MANY = 80
"""Rows that one statement inserts."""

K = TypeVar("K")


class Tables:
    """The tables in one SQLite database. Whoever owns the connection owns its transactions."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._segments: dict[int, tuple[str, int]] = {}

    def create(self) -> None:
        """The tables are there, empty."""
        self.connection.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA.split(";"):
            self.connection.execute(statement)
        self.connection.execute(f"PRAGMA user_version = {VERSION}")
        self.connection.execute("COMMIT")

    def is_whole(self) -> bool:
        """Whether there are just the tables and indices of this version: no view, no trigger."""
        query = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"
        found = self.connection.execute(query).fetchmany(len(_STATEMENTS) + 1)
        return sorted(sql for (sql,) in found if type(sql) is str) == _STATEMENTS

    def version(self) -> int:
        """Which schema this database has; 0 if none."""
        return int(self.one("PRAGMA user_version")[0])

    def seal(self) -> int | None:
        """The seal that the last writer left."""
        row = self.one("SELECT seal FROM seals")
        return None if row is None else row[0]

    def sealed_at(self) -> str:
        """The boot id of the machine when the last writer was there; empty if it has flushed."""
        row = self.one("SELECT boot FROM seals")
        return "" if row is None else row[0]

    def generation(self) -> int:
        """Of which generation of the journal this is: see `epochs`."""
        row = self.one("SELECT generation FROM seals")
        return 0 if row is None else row[0]

    def set_seal(self, seal: int, boot: str, generation: int) -> None:
        """The seal for the transaction that is open, and the boot id; empty: it is flushed."""
        query = "INSERT OR REPLACE INTO seals VALUES (1, ?, ?, ?)"
        self.connection.execute(query, (seal, boot, generation))

    def offsets(self) -> Offsets:
        """How far the journal is in these tables."""
        rows = self.all("SELECT writer, number, known FROM segments")
        return {(writer, number): known for writer, number, known in rows}

    def tasks(self, name: str) -> list[int]:
        """The numbers of the tasks of that full name, or with that as its last part."""
        query = "SELECT n FROM tasks WHERE name = ? OR substr(name, -length(?)) = ?"
        whole, last = as_sql(name), as_sql(f".{name}")
        return [n for (n,) in self.all(query, (whole, last, last))]

    def tags(self, run: int) -> tuple[str, ...]:
        """The tags of the run of that number, in the order in which they were added."""
        query = "SELECT tag FROM tags WHERE run = ? AND present ORDER BY at, rank"
        return tuple(from_sql(tag) for (tag,) in self.all(query, (run,)))

    def one(self, query: str, values: Iterable[Any] = ()) -> Any:
        """The first row, or None."""
        return self.connection.execute(query, tuple(values)).fetchone()

    def all(self, query: str, values: Iterable[Any] = ()) -> list[Any]:
        """Every row."""
        return self.connection.execute(query, tuple(values)).fetchall()

    def segments(self) -> dict[int, tuple[str, int]]:
        """The writer and the number of each segment that a number stands for."""
        rows = self.all("SELECT n, writer, number FROM segments")
        self._segments = {n: (writer, number) for n, writer, number in rows}
        return self._segments

    def location(self, segment: int, offset: int, length: int) -> Location:
        """Where in the journal the record is that a row was made from."""
        known = self._segments.get(segment)
        if known is None:
            query = "SELECT writer, number FROM segments WHERE n = ?"
            known = self._segments[segment] = self.one(query, (segment,)) or ("", 0)
        return Location(known[0], known[1], offset, length)

    def ingest(self, batches: Iterable[journal.Batch]) -> int:
        """The number of records whose rows are in the tables now, in the open transaction.

        `batches` are all those beyond `offsets`, each segment's in order.
        """
        runs: _Numbers[bytes] = _Numbers(self.connection, "runs", "id")
        tasks: _Numbers[str] = _Numbers(self.connection, "tasks", "name")
        segments: _Numbers[tuple[str, int]] = _Numbers(
            self.connection, "segments", "writer", "number"
        )
        known: dict[int, int] = {}
        rows, pending, count = Rows(runs, tasks), 0, 0
        for writer, number, frames, end in batches:
            segment = segments[writer, number]
            known[segment] = end
            rows.add(segment, frames)
            count += len(frames)
            pending += len(frames)
            if pending >= CHUNK:
                self._insert(rows)
                rows, pending = Rows(runs, tasks), 0
        self._insert(rows)
        self.connection.executemany(
            "UPDATE segments SET known = ? WHERE n = ?", [(end, n) for n, end in known.items()]
        )
        return count

    def finished(self) -> list[str]:
        """Writers that will write no more and whose records are all in these tables."""
        return [writer for (writer,) in self.all("SELECT writer FROM finished")]

    def add_finished(self, writers: Iterable[str]) -> None:
        """Note writers that need not be looked at again, in the open transaction."""
        self.connection.executemany(
            "INSERT OR IGNORE INTO finished VALUES (?)", [(writer,) for writer in writers]
        )

    def _insert(self, rows: Rows) -> None:
        for begin in rows.run_begins:
            self._tried(_BEGIN_RUN, begin)
        for end in rows.run_ends:
            ended = end[1]
            self._tried(_END_RUN, (*end, ended))
        for removed in rows.removed:
            self._tried(_REMOVE_RUN, removed)
        self._add("tags", rows.tags, _LATEST_TAG)
        self._add("calls", rows.calls(), _END_WINS)
        self._add("uses", rows.uses)
        self._add("edges", rows.edges)
        self._add("memos", rows.memos)
        self._add("forgotten", rows.forgotten, _LATEST_FORGET)
        self._add("codes", rows.codes)
        self._add("versions", rows.versions)
        self._add("environments", rows.environments)
        self._add("accepts", rows.accepts)
        self._add("verified", rows.verified)

    def _add(self, table: str, rows: list[Row], conflict: str = "") -> None:
        """Insert the rows, many at a time: a statement costs as much as the row it inserts."""
        if not rows:
            return
        verb = "INSERT" if conflict else "INSERT OR IGNORE"
        one = f"({','.join('?' * len(rows[0]))})"
        for start in range(0, len(rows), _MANY):
            some = rows[start : start + _MANY]
            values = ",".join([one] * len(some))
            query = f"{verb} INTO {table} VALUES {values} {conflict}"
            if not self._tried(query, tuple(chain.from_iterable(some))):
                for row in some:
                    self._tried(f"{verb} INTO {table} VALUES {one} {conflict}", row)

    def _tried(self, query: str, values: Row) -> bool:
        """Whether the values are such as SQLite takes; then the query is executed."""
        import sqlite3

        try:
            self.connection.execute(query, values)
        except (sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.IntegrityError):
            return False
        except (OverflowError, UnicodeError):
            return False
        return True


class _Numbers(dict[K, int]):
    """The numbers that stand for ids and names: found, or assigned, as they are asked for."""

    def __init__(self, connection: sqlite3.Connection, table: str, *columns: str) -> None:
        super().__init__()
        self._connection = connection
        self._find = f"SELECT n FROM {table} WHERE {' AND '.join(f'{c} = ?' for c in columns)}"
        places = ", ".join("?" * len(columns))
        self._add = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"

    def __missing__(self, name: K) -> int:
        import sqlite3

        try:
            number = self[name] = self._number(name)
        except (sqlite3.ProgrammingError, sqlite3.InterfaceError, OverflowError) as error:
            raise TypeError("no id and no name: nobody here wrote this record") from error
        return number

    def _number(self, name: K) -> int:
        parts: tuple[Any, ...] = name if isinstance(name, tuple) else (name,)
        values = tuple(as_sql(part) if isinstance(part, str) else part for part in parts)
        row = self._connection.execute(self._find, values).fetchone()
        if row is None:
            self._connection.execute(self._add, values)
            row = self._connection.execute(self._find, values).fetchone()
        return int(row[0])
