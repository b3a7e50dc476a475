"""The catalog: one SQLite file that answers queries about what is in the journal.

It can be deleted at any time. What it says follows from the journal alone: it is read on from
where it ends whenever somebody asks, and made anew where it is gone, damaged or of another version.
Where the file cannot be written, or not now, a copy in memory is brought up to date instead.

Rows say where the records stand that they were made from. Whoever needs more than a list reads the
record itself, which is verified; a row is never the sole basis of a value or a hit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tasklineage.errors import CorruptObject, MissingObject
from tasklineage.storage import selections
from tasklineage.storage.frames import Location
from tasklineage.storage.ingest import ARGUMENT, HIT, OUTPUT, PART, from_sql
from tasklineage.storage.journal import Journal
from tasklineage.storage.records import CAUGHT, DONE, FAILED, LOST, TIMEOUT, Argument, CallEnd, Ref
from tasklineage.storage.selections import (
    ArtifactRow,
    CallRow,
    MemoRow,
    RunRow,
    Where,
    refs_of,
)
from tasklineage.storage.tables import Offsets, Tables
from tasklineage.storage.upkeep import Upkeep

__all__ = ["FILE", "ArtifactRow", "CallRow", "Catalog", "MemoRow", "RunRow", "refs_of"]

FILE = "catalog.sqlite"


class Catalog:
    """The index of a store. Any thread may ask, one at a time is served; usable after a fork.

    Every query first reads what the journal has beyond what is known, so that it sees whatever was
    appended, by anybody, before it was asked. Nothing is opened, and SQLite not imported, before
    the first question.
    """

    def __init__(
        self,
        root: Path,
        journal: Journal,
        *,
        read_only: bool = False,
        is_durable: bool = False,
        generation: Callable[[], int] = lambda: 0,
    ) -> None:
        """`root` is the folder of the file: that of the store, or one of the user's own."""
        self._journal = journal
        lock = root / "locks" / "catalog"
        self._upkeep = Upkeep(
            root / FILE,
            lock,
            journal,
            read_only=read_only,
            is_durable=is_durable,
            generation=generation,
        )

    def refresh_by(self, bring: Callable[[], object]) -> None:
        """Before each question `bring` is called: it may bring something into the journal."""
        self._upkeep.before = bring

    # What there is.

    def find_runs(
        self,
        *,
        name: str | None = None,
        statuses: Iterable[str] | None = None,
        tags: Iterable[str] = (),
        namespace: str | None = None,
        since: float | None = None,
        prefix: str | None = None,
        parent: bytes | None = None,
        limit: int | None = None,
        offset: int = 0,
        removed: bool = False,
    ) -> list[RunRow]:
        """Runs, newest first.

        Parameters
        ----------
        statuses
            As stored: a run without an end is `running`, and nothing here is `killed`.
        tags
            All must hold.
        prefix
            Of the id, hexadecimal.
        removed
            Those too that were removed.
        """
        where = Where("started IS NOT NULL")
        if not removed:
            where.add("removed IS NULL")
        where.equal("name", name)
        where.equal("namespace", namespace)
        where.equal("parent", parent)
        where.one_of("status", statuses)
        where.begins("id", prefix)
        if since is not None:
            where.add("started >= ?", since)
        for tag in tags:
            where.add("n IN (SELECT run FROM tags WHERE tag = ? AND present)", tag)
        return self._upkeep.ask(lambda tables: selections.runs(tables, where, limit, offset))

    def find_calls(
        self,
        *,
        task: str | None = None,
        status: str | None = None,
        statuses: Iterable[str] | None = None,
        run: bytes | None = None,
        parent: bytes | None = None,
        roots_only: bool = False,
        key: bytes | None = None,
        producer: bytes | None = None,
        output: bytes | None = None,
        namespace: str | None = None,
        prefix: str | None = None,
        since: float | None = None,
        before: bytes | None = None,
        limit: int | None = None,
        offset: int = 0,
        oldest_first: bool = False,
    ) -> list[CallRow]:
        """Calls, newest first.

        Parameters
        ----------
        task
            The full name, or the last part of it.
        status, statuses
            As stored: a call without an end is `running`, and nothing here is `lost`.
        output
            The Digest of the result.
        namespace
            Of the run.
        prefix
            Of the id, hexadecimal.
        before
            Only those whose ids are smaller: that began before it.

        Notes
        -----
        `key`, `since` and `namespace` have no index: they go through what the others leave.
        Calls of removed runs are among them only where they are asked for by id, run, parent, key,
        producer or output.
        """
        where = Where()
        if all(one is None for one in (run, prefix, parent, key, producer, output)):
            where.add("run NOT IN (SELECT n FROM runs WHERE removed IS NOT NULL)")
        where.one_of("status", statuses if status is None else (status,))
        where.equal("parent", parent)
        where.equal("key", key)
        where.equal("producer", producer)
        where.begins("id", prefix)
        if run is not None:
            where.add("run = (SELECT n FROM runs WHERE id = ?)", run)
        if roots_only:
            where.add("parent IS NULL")
        if since is not None:
            where.add("started >= ?", since)
        if before is not None:
            where.add("id < ?", before)
        if output is not None:
            where.add("id IN (SELECT call FROM uses WHERE digest = ? AND role = ?)", output, OUTPUT)
        if namespace is not None:
            where.add("? = (SELECT namespace FROM runs WHERE n = run)", namespace)
        order = "ASC" if oldest_first else "DESC"

        def ask(tables: Tables) -> list[CallRow]:
            narrowed = where.copy()
            if task is not None:
                narrowed.one_of("task", tables.tasks(task))
            return selections.calls(tables, narrowed, order, limit, offset)

        return self._upkeep.ask(ask)

    def find_artifacts(
        self, *, prefix: str | None = None, digest: bytes | None = None, limit: int | None = None
    ) -> list[ArtifactRow]:
        """Values that were results or arguments, in the order of their digests, each once.

        Where some record says that it is stored, that record's word is taken.
        """
        where = Where()
        where.equal("digest", digest)
        where.begins("digest", prefix)
        query = f"SELECT DISTINCT digest FROM uses {where.clause()} ORDER BY digest LIMIT ?"
        found = self._upkeep.ask(
            lambda tables: tables.all(query, (*where.values, selections.limited(limit)))
        )
        rows = (self._artifact(one) for (one,) in found)
        return [row for row in rows if row is not None]

    def producers(self, digest: bytes, limit: int | None = None) -> list[CallRow]:
        """The calls that computed this value, alone or as a part of another, newest first."""
        return self._users(digest, (OUTPUT, PART), limit)

    def consumers(self, digest: bytes, limit: int | None = None) -> list[CallRow]:
        """The calls that took this value, or something that holds it, newest first."""
        return self._users(digest, (ARGUMENT,), limit)

    def earlier_consumers(self, digest: bytes, before: bytes, limit: int) -> list[bytes]:
        """Ids of the last calls before that one which took this value, newest first."""
        query = """SELECT call FROM uses WHERE digest = ? AND role = ? AND call < ?
                   ORDER BY call DESC LIMIT ?"""
        values = (digest, ARGUMENT, before, limit)
        return [id for (id,) in self._upkeep.ask(lambda tables: tables.all(query, values))]

    def forgotten(self, key: bytes) -> float | None:
        """Until when memos of that key were forgotten; None: never."""
        query = "SELECT at FROM forgotten WHERE key = ?"
        row = self._upkeep.ask(lambda tables: tables.one(query, (key,)))
        return None if row is None else float(row[0])

    def producer_counts(self, digest: bytes) -> dict[str, int]:
        """How many calls of each task computed this value, the most first."""
        query = """SELECT (SELECT name FROM tasks WHERE n = task), count(*) FROM uses
                   JOIN calls ON id = call WHERE digest = ? AND role IN (?, ?)
                   GROUP BY task ORDER BY count(*) DESC, task"""
        found = self._upkeep.ask(lambda tables: tables.all(query, (digest, OUTPUT, PART)))
        return {from_sql(name): count for name, count in found}

    def removed_runs(self) -> set[bytes]:
        """The ids of all runs that were removed."""
        query = "SELECT id FROM runs WHERE removed IS NOT NULL"
        return {id for (id,) in self._upkeep.ask(lambda tables: tables.all(query))}

    def call_end(self, id: bytes) -> CallEnd | None:
        """The record of the call of that id, if it is over and can be read."""
        found = self.calls_of((id,)).get(id)
        return None if found is None else self._call_at(found.location)

    # How calls hang together. Each takes many ids, for one question costs as much as a thousand.

    def calls_of(self, ids: Iterable[bytes]) -> dict[bytes, CallRow]:
        """The calls of these ids, those that there are."""
        wanted = list(ids)

        def ask(tables: Tables) -> dict[bytes, CallRow]:
            rows = selections.calls_where(tables, "id", wanted, None)
            return {row.id: row for row in rows}

        return self._upkeep.ask(ask)

    def children_of(self, parents: Iterable[bytes], limit: int) -> list[CallRow]:
        """Calls that were made in the bodies of these calls, in the order they began."""
        wanted = list(parents)
        return self._upkeep.ask(
            lambda tables: selections.calls_where(tables, "parent", wanted, limit)
        )

    def hits_of(self, producers: Iterable[bytes], limit: int) -> list[CallRow]:
        """Calls that were answered with what these calls had computed."""
        wanted = list(producers)
        return self._upkeep.ask(
            lambda tables: selections.calls_where(tables, "producer", wanted, limit)
        )

    def takers_of(self, producers: Iterable[bytes], limit: int) -> list[CallRow]:
        """Calls with a recorded edge from one of these calls."""
        wanted = list(producers)
        return self._upkeep.ask(lambda tables: selections.takers(tables, wanted, limit))

    def makers_of(
        self, digests: Iterable[bytes], limit: int, *, role: str = "result"
    ) -> dict[bytes, list[bytes]]:
        """Ids of calls that have each of these values as result, or as `role="argument"`.

        Of each value at most `limit`, the newest first.
        """
        roles = (ARGUMENT,) if role == "argument" else (OUTPUT, PART)
        wanted = list(digests)
        return self._upkeep.ask(
            lambda tables: {one: selections.users(tables, one, roles, limit) for one in wanted}
        )

    def memo_codes(self, task: str) -> list[tuple[bytes, float, Location]]:
        """Code versions under which calls of this task are memos; end and record of the last."""
        return self._upkeep.ask(lambda tables: selections.memo_codes(tables, task))

    def counts(self, run: bytes) -> tuple[int, int, int]:
        """How many calls of the run were hits, how many executed to their end, how many failed."""
        query = """SELECT status, count(*) FROM calls
                   WHERE run = (SELECT n FROM runs WHERE id = ?) GROUP BY status"""
        found = dict(self._upkeep.ask(lambda tables: tables.all(query, (run,))))
        failed = found.get(FAILED, 0) + found.get(TIMEOUT, 0) + found.get(LOST, 0)
        return found.get(HIT, 0), found.get(DONE, 0) + found.get(CAUGHT, 0) + failed, failed

    def verified_counts(self, run: bytes) -> dict[str, int]:
        """How many hits of the run were executed again, by what came of it."""
        query = """SELECT status, count(*) FROM verified
                   WHERE run = (SELECT n FROM runs WHERE id = ?) GROUP BY status"""
        return dict(self._upkeep.ask(lambda tables: tables.all(query, (run,))))

    def verified(self, run: bytes) -> list[Location]:
        """Where the records stand of hits of the run that were executed again, in order."""
        query = """SELECT segment, offset, length FROM verified
                   WHERE run = (SELECT n FROM runs WHERE id = ?) ORDER BY id"""

        def ask(tables: Tables) -> list[Location]:
            return [tables.location(*row) for row in tables.all(query, (run,))]

        return self._upkeep.ask(ask)

    def call_tasks(self) -> list[str]:
        """The names of all tasks that were called, in alphabetical order."""
        rows = self._upkeep.ask(lambda tables: tables.all("SELECT name FROM tasks"))
        return sorted(from_sql(name) for (name,) in rows)

    # What the store looks up.

    def known(self) -> tuple[Offsets, list[str]]:
        """How far the file knows the journal, and the writers that it knows to have finished.

        Nothing, if there is no file, or none to be trusted. Reads no journal.
        """
        return self._upkeep.known()

    def memos(self, code: bytes, most: int, beyond: Offsets) -> list[MemoRow] | None:
        """The memos of the code version that were not forgotten; None if it has more than `most`.

        `beyond` says what need not be here: all that the journal has behind these offsets.
        """
        return self._upkeep.ask_covering(
            beyond, lambda tables: selections.memos(tables, code, most)
        )

    def memos_of(self, code: bytes, keys: Sequence[bytes], beyond: Offsets) -> list[MemoRow]:
        """The memos of these keys that were not forgotten, of each one the oldest first."""
        return self._upkeep.ask_covering(
            beyond, lambda tables: selections.memos_of(tables, code, keys)
        )

    def memos_next(
        self, code: bytes, last: bytes, call: bytes, beyond: Offsets
    ) -> tuple[bytes, list[MemoRow]] | None:
        """The memos of the calls made after that one, and the last call that was looked at.

        None where that one was not made soon after `last`.
        """
        return self._upkeep.ask_covering(
            beyond, lambda tables: selections.memos_next(tables, code, last, call)
        )

    def codes(self, digest: bytes, beyond: Offsets) -> list[Location]:
        """Where records of this code version stand."""
        return self._upkeep.ask_covering(
            beyond, lambda tables: selections.located(tables, "codes", digest)
        )

    def codes_like(
        self, column: str, digest: bytes, beyond: Offsets
    ) -> list[tuple[bytes, Location]]:
        """Code versions with that digest in common (`modular`, `portable`), and their records."""
        return self._upkeep.ask_covering(
            beyond, lambda tables: selections.codes_like(tables, column, digest)
        )

    def accepts(self, beyond: Offsets) -> list[Location]:
        """Where all records of accepted code versions stand."""
        return self._upkeep.ask_covering(beyond, selections.accepts)

    def versions(self, digest: bytes, beyond: Offsets) -> list[Location]:
        """Where records of this set of versions stand."""
        return self._upkeep.ask_covering(
            beyond, lambda tables: selections.located(tables, "versions", digest)
        )

    def environments(self, run: bytes) -> list[Location]:
        """Where records of this run's environment stand."""
        return self._upkeep.ask(lambda tables: selections.located(tables, "environments", run))

    def stored(self, digest: bytes, beyond: Offsets) -> Ref | None:
        """Where the value of that Digest is stored in an object, as some record says."""
        for location in self._upkeep.ask_covering(
            beyond, lambda tables: selections.places(tables, digest, (OUTPUT, ARGUMENT))
        ):
            ref = self._ref_at(location, digest)
            if ref is not None and ref.oid is not None:
                return ref
        return None

    def outline(self, digest: bytes) -> dict[str, Any] | None:
        """What the first calls that were given the value, which is not stored, say of it."""
        for location in self._upkeep.ask(lambda tables: selections.first_places(tables, digest)):
            record = self._call_at(location)
            arguments = () if record is None else map(Argument._make, record.arguments)
            for argument in arguments:
                if argument.outline is not None and argument.ref[0] == digest:
                    return argument.outline
        return None

    # Its life.

    def sync(self) -> None:
        """Whatever the journal has is in the catalog now, or in a copy of it in memory."""
        self._upkeep.ask(lambda _: None)

    def save(self, patience: float = 1.0) -> bool:
        """Whether whatever the journal has is in the file now; nobody is harmed if not.

        `patience` is for how many seconds to wait for another process that is at it.
        """
        return self._upkeep.save(patience)

    def discard(self) -> None:
        """The file is gone: whoever asks next, in whichever process, makes it anew."""
        self._upkeep.discard()

    def close(self) -> None:
        """Nothing is open. The next question opens what it needs."""
        self._upkeep.close()

    def _users(self, digest: bytes, roles: tuple[int, ...], limit: int | None) -> list[CallRow]:
        def ask(tables: Tables) -> list[CallRow]:
            ids = selections.users(tables, digest, roles, limit)
            return selections.calls_where(tables, "id", ids, None)[::-1]

        return self._upkeep.ask(ask)

    def _artifact(self, digest: bytes) -> ArtifactRow | None:
        """The value as the first record tells that has it stored, else as any tells."""
        found = None
        for location in self._upkeep.ask(lambda tables: selections.places(tables, digest)):
            ref = self._ref_at(location, digest)
            if ref is not None and (found is None or ref.is_stored):
                found = ArtifactRow(digest, ref, location)
                if ref.is_stored:
                    break
        return found

    def _ref_at(self, location: Location, digest: bytes) -> Ref | None:
        """What the record there says of the value."""
        record = self._call_at(location)
        if record is None:
            return None
        for ref in refs_of(record):
            if ref.digest == digest:
                return ref
        for path, part, kind in record.parts:
            if part == digest:
                return Ref(digest, kind, preview=f"{path} of a result of {record.task}")
        return None

    def _call_at(self, location: Location) -> CallEnd | None:
        """The record there, if it can be read and is that of a call that is over."""
        try:
            record = self._journal.read(location)
        except (CorruptObject, MissingObject, OSError):
            return None
        return record if isinstance(record, CallEnd) else None
