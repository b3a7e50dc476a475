"""What is asked of the tables of the catalog, and the rows that come back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from tasklineage.storage.frames import Location
from tasklineage.storage.ingest import ARGUMENT, HIT, OUTPUT, PART, as_sql, from_sql
from tasklineage.storage.records import DONE, CallEnd, Ref
from tasklineage.storage.tables import ORDINARY, Tables

_CANDIDATES = 20
"""Records that are looked at for one that still holds the value."""
_WHOLE_ID = 32
_AT_ONCE = 500
"""Values that stand in one query."""
_NEAR, _AHEAD = 16, 256
"""Calls between two that are near; those that are looked up with the second."""
_MEMOS_OF = "SELECT key, ended, segment, offset, length FROM memos WHERE code = ? AND key"
_ONE_MEMO = f"{_MEMOS_OF} = ?"
_FORGOTTEN = " AND ended >= ifnull((SELECT at FROM forgotten f WHERE f.key = memos.key), 0)"
_new = tuple.__new__


class RunRow(NamedTuple):
    """One run. Without an end its status is `running`, whether its writer is alive or not."""

    id: bytes
    name: str
    parent: bytes | None
    namespace: str
    user: str
    host: str
    started: float
    status: str
    ended: float | None
    location: Location
    """Of its `RunBegin`."""
    end: Location | None
    """Of its `RunEnd`."""
    tags: tuple[str, ...]
    """As they are now, in the order in which they were added."""


class CallRow(NamedTuple):
    """One call. Without an end its status is `running`, whether its writer is alive or not."""

    id: bytes
    run: bytes
    parent: bytes | None
    task: str
    key: bytes
    started: float
    ended: float | None
    status: str
    producer: bytes | None
    """The call that computed what this one, a hit, was answered with."""
    location: Location
    """Of its newest record: `CallEnd`, `Hit`, or while it runs, `CallBegin`."""


class ArtifactRow(NamedTuple):
    """One value."""

    digest: bytes
    ref: Ref
    """Where it is stored, if it is; read from the record and verified."""
    location: Location
    """Of the `CallEnd` that says so."""


class MemoRow(NamedTuple):
    """One memo. The newest of a key answers."""

    key: bytes
    ended: float
    location: Location


class Where:
    """Conditions that must all hold, and the values in them."""

    def __init__(self, *conditions: str) -> None:
        self._conditions = list(conditions)
        self.values: list[Any] = []

    def copy(self) -> Where:
        other = Where(*self._conditions)
        other.values += self.values
        return other

    def add(self, condition: str, *values: Any) -> None:
        self._conditions.append(condition)
        self.values += [as_sql(v) if isinstance(v, str) else v for v in values]

    def equal(self, column: str, value: Any) -> None:
        if value is not None:
            self.add(f"{column} = ?", value)

    def one_of(self, column: str, values: Iterable[Any] | None) -> None:
        if values is not None:
            wanted = tuple(values)
            self.add(f"{column} IN ({', '.join('?' * len(wanted))})", *wanted)
            if column == "status" and not {DONE, HIT}.intersection(wanted):
                self.add(ORDINARY)

    def begins(self, column: str, prefix: str | None) -> None:
        """The column, 16 bytes, begins with these hexadecimal digits."""
        if prefix is not None:
            first, last = (bytes.fromhex(prefix.ljust(_WHOLE_ID, fill)) for fill in "0f")
            self.add(f"{column} BETWEEN ? AND ?", first, last)

    def clause(self) -> str:
        return f"WHERE {' AND '.join(self._conditions)}" if self._conditions else ""


def refs_of(record: CallEnd) -> list[Ref]:
    """Its result and its arguments, as the record has them."""
    refs = [record.output, *(argument[1] for argument in record.arguments)]
    return [Ref(*ref) for ref in refs if ref is not None]


def places(
    tables: Tables, digest: bytes, roles: tuple[int, ...] = (OUTPUT, ARGUMENT, PART)
) -> list[Location]:
    """Where records stand that know the value, role by role, the newest first."""
    query = """SELECT segment, offset, length FROM uses JOIN calls ON id = call
               WHERE digest = ? AND role = ? ORDER BY call DESC LIMIT ?"""
    return [
        tables.location(*place)
        for role in roles
        for place in tables.all(query, (digest, role, _CANDIDATES))
    ]


def first_places(tables: Tables, digest: bytes) -> list[Location]:
    """Where the oldest records stand that have the value as an argument."""
    query = """SELECT segment, offset, length FROM uses JOIN calls ON id = call
               WHERE digest = ? AND role = ? ORDER BY call LIMIT ?"""
    return [tables.location(*row) for row in tables.all(query, (digest, ARGUMENT, _CANDIDATES))]


def limited(limit: int | None) -> int:
    """The limit as SQLite takes it."""
    return -1 if limit is None else limit


def runs(tables: Tables, where: Where, limit: int | None, offset: int) -> list[RunRow]:
    """The runs that fit, newest first."""
    query = f"""SELECT id, name, parent, namespace, user, host, started, status, ended,
                segment, offset, length, end_segment, end_offset, end_length, n
                FROM runs {where.clause()} ORDER BY id DESC LIMIT ? OFFSET ?"""
    rows = tables.all(query, (*where.values, limited(limit), offset))
    return [_run_row(tables, row) for row in rows]


def calls(
    tables: Tables, where: Where, order: str, limit: int | None, offset: int
) -> list[CallRow]:
    """The calls that fit, by id; `order` is `ASC` or `DESC`."""
    query = f"""SELECT id, (SELECT id FROM runs WHERE n = run), parent,
                (SELECT name FROM tasks WHERE n = task), key, started, ended, status, producer,
                segment, offset, length
                FROM calls {where.clause()} ORDER BY id {order} LIMIT ? OFFSET ?"""
    rows = tables.all(query, (*where.values, limited(limit), offset))
    return [
        CallRow._make((*row[:3], from_sql(row[3]), *row[4:9], tables.location(*row[9:])))
        for row in rows
    ]


def calls_where(
    tables: Tables, column: str, values: list[bytes], limit: int | None
) -> list[CallRow]:
    """The calls of which the column has one of these values, in the order they began."""
    found: list[CallRow] = []
    for start in range(0, len(values), _AT_ONCE):
        where = Where()
        where.one_of(column, values[start : start + _AT_ONCE])
        left = None if limit is None else limit - len(found)
        if left is None or left > 0:
            found += calls(tables, where, "ASC", left, 0)
    return sorted(found)


def takers(tables: Tables, producers: list[bytes], limit: int) -> list[CallRow]:
    """The calls with an edge from one of these, at most `limit`."""
    ids: dict[bytes, None] = {}
    for start in range(0, len(producers), _AT_ONCE):
        some = producers[start : start + _AT_ONCE]
        query = (
            f"SELECT consumer FROM edges WHERE producer IN ({', '.join('?' * len(some))}) LIMIT ?"
        )
        ids.update((one, None) for (one,) in tables.all(query, (*some, limit)))
    return calls_where(tables, "id", list(ids)[:limit], None)


def users(tables: Tables, digest: bytes, roles: tuple[int, ...], limit: int | None) -> list[bytes]:
    """The ids of calls that use the value in one of these roles, newest first."""
    query = "SELECT call FROM uses WHERE digest = ? AND role = ? ORDER BY call DESC LIMIT ?"
    found = {
        call: None
        for role in roles
        for (call,) in tables.all(query, (digest, role, limited(limit)))
    }
    return sorted(found, reverse=True)[:limit]


def memos(tables: Tables, code: bytes, most: int) -> list[MemoRow] | None:
    """Memos of the code version that were not forgotten; of one key the newest comes last.

    None if there are more than so many, forgotten ones among them.
    """
    count = "SELECT count(*) FROM (SELECT 1 FROM memos WHERE code = ? LIMIT ?)"
    if tables.one(count, (code, most + 1))[0] > most:
        return None
    tables.segments()
    condition = "code = ?" + _not_forgotten(tables)
    query = f"SELECT key, ended, segment, offset, length FROM memos WHERE {condition}"
    return _memo_rows(tables, tables.all(query, (code,)))


def memos_of(tables: Tables, code: bytes, keys: Sequence[bytes]) -> list[MemoRow]:
    """Memos of these keys that were not forgotten, of each one the newest last."""
    found: list[MemoRow] = []
    for start in range(0, len(keys), _AT_ONCE):
        some = keys[start : start + _AT_ONCE]
        query = _ONE_MEMO if len(some) == 1 else f"{_MEMOS_OF} IN ({','.join('?' * len(some))})"
        found += _memo_rows(tables, tables.all(query + _FORGOTTEN, (code, *some)))
    return found


def memos_next(
    tables: Tables, code: bytes, last: bytes, call: bytes
) -> tuple[bytes, list[MemoRow]] | None:
    """The memos of the calls made after `call`, and the last of these that was looked at.

    None where many calls were made between `last` and it.
    """
    between = "SELECT count(*) FROM (SELECT 1 FROM calls WHERE id > ? AND id < ? LIMIT ?)"
    if tables.one(between, (last, call, _NEAR))[0] == _NEAR:
        return None
    query = "SELECT id, key FROM calls WHERE id > ? ORDER BY id LIMIT ?"
    after = tables.all(query, (call, _AHEAD))
    keys = list(dict.fromkeys(key for _, key in after))
    return (after[-1][0] if after else call), memos_of(tables, code, keys)


def _not_forgotten(tables: Tables) -> str:
    """The condition that leaves out what was forgotten; none where nothing ever was."""
    return "" if tables.one("SELECT 1 FROM forgotten LIMIT 1") is None else _FORGOTTEN


def _memo_rows(tables: Tables, rows: list[Any]) -> list[MemoRow]:
    place = tables.location
    return [
        _new(MemoRow, (key, ended, place(segment, offset, length)))
        for key, ended, segment, offset, length in rows
    ]


def _run_row(tables: Tables, row: tuple[Any, ...]) -> RunRow:
    id, name, parent, namespace, user, host, started, status, ended = row[:9]
    end = None if row[12] is None else tables.location(*row[12:15])
    return RunRow(
        id, from_sql(name), parent, from_sql(namespace), from_sql(user), from_sql(host), started,
        status, ended, tables.location(*row[9:12]), end, tables.tags(row[15]),
    )  # fmt: skip


def codes_like(tables: Tables, column: str, digest: bytes) -> list[tuple[bytes, Location]]:
    """The code versions with that digest in common (`modular` or `portable`), and their records."""
    query = f"""SELECT digest, segment, offset, length FROM codes
                WHERE {column} = ? AND {column} != x''"""
    return [(row[0], tables.location(*row[1:])) for row in tables.all(query, (digest,))]


def accepts(tables: Tables) -> list[Location]:
    """Where all records of accepted code versions stand."""
    query = "SELECT segment, offset, length FROM accepts"
    return [tables.location(*row) for row in tables.all(query)]


def memo_codes(tables: Tables, task: str) -> list[tuple[bytes, float, Location]]:
    """Code versions under which calls of a task are memos; end and record of the last of these."""
    query = """SELECT memos.code, max(memos.ended), calls.segment, calls.offset, calls.length
               FROM calls
               JOIN memos ON memos.segment = calls.segment AND memos.offset = calls.offset
               WHERE task = (SELECT n FROM tasks WHERE name = ?)""" + _not_forgotten(tables)
    rows = tables.all(f"{query} GROUP BY memos.code", (as_sql(task),))
    return [(code, ended, tables.location(*place)) for code, ended, *place in rows]


def located(tables: Tables, table: str, digest: bytes) -> list[Location]:
    """Where records of that digest stand: `codes`, `versions`; of that run: `environments`."""
    query = f"SELECT segment, offset, length FROM {table} WHERE digest = ?"
    return [tables.location(*row) for row in tables.all(query, (digest,))]
