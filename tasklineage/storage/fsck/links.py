"""What the records say, and whether what they refer to is recorded too.

All records are read once. On the way they go into a catalog of their own, in a temporary file:
it tells which ids there are, whatever the number of records, and is what the store's catalog is
compared with.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tasklineage.storage import records
from tasklineage.storage.fsck import facts
from tasklineage.storage.fsck.findings import Finding, Findings
from tasklineage.storage.fsck.segments import Segments
from tasklineage.storage.journal import Batch, Journal
from tasklineage.storage.records import KINDS, CallBegin, CallEnd, Code, LeftOut, Versions
from tasklineage.storage.shapes import malformed
from tasklineage.storage.tables import Tables

_NO_PRODUCER = """SELECT hits.id, hits.producer, runs.id FROM calls AS hits
    LEFT JOIN calls AS made ON made.id = hits.producer AND made.status NOT IN ('hit', 'running')
    LEFT JOIN runs ON runs.n = hits.run WHERE hits.producer IS NOT NULL AND made.id IS NULL"""
_NO_PARENT = """SELECT calls.id, calls.parent, runs.id FROM calls
    LEFT JOIN calls AS above ON above.id = calls.parent
    LEFT JOIN runs ON runs.n = calls.run WHERE calls.parent IS NOT NULL AND above.id IS NULL"""
_NO_RUN = """SELECT calls.id, runs.id, runs.id FROM runs JOIN calls ON calls.run = runs.n
    WHERE runs.started IS NULL AND runs.removed IS NULL"""
_UNENDED_CALLS = """SELECT calls.id, runs.id, segments.writer FROM calls
    JOIN runs ON runs.n = calls.run JOIN segments ON segments.n = calls.segment
    WHERE calls.status = 'running' AND calls.status NOT IN ('done', 'hit')"""
_UNENDED_RUNS = """SELECT NULL, runs.id, segments.writer FROM runs
    JOIN segments ON segments.n = runs.segment WHERE runs.status = 'running'"""

_MOST_SAID = 8
"""Different things that records say of one object."""

Row = tuple[Any, Any, Any]


class Links:
    """Reads all records through `segments`, and finds what they refer to that is not there."""

    def __init__(self, root: Path, segments: Segments, findings: Findings) -> None:
        self.tables = Tables(temporary())
        self.tables.create()
        self.needs: dict[bytes, tuple[tuple[str, int], ...]] = {}
        """Objects that records need: the codec and the least size that they tell; empty: any."""
        self._root = root
        self._segments = segments
        self._findings = findings
        self._codes: set[bytes] = set()
        self._versions: set[bytes] = set()
        self._wanted_codes: set[bytes] = set()
        self._wanted_versions: set[bytes] = set()
        self._left_out: set[bytes] = set()

    def read(self) -> None:
        """Read the records that were not read yet."""
        self.tables.connection.execute("BEGIN")
        self.tables.ingest(self._looked_at(self._segments.batches()))
        self.tables.connection.execute("COMMIT")

    def check(self) -> None:
        """Find what is missing.

        Whatever a record refers to was appended before it, but maybe to a segment that was read
        before that: what is missing is looked for again after one more reading.
        """
        codes = self._wanted_codes - self._codes
        versions = self._wanted_versions - self._versions
        missing = {
            kind: self._rows(query)
            for kind, query in (
                ("producer-missing", _NO_PRODUCER),
                ("parent-missing", _NO_PARENT),
                ("run-missing", _NO_RUN),
            )
        }
        needs = dict(self.needs)
        self.read()
        self.needs = needs
        for digest in codes - self._codes:
            self._missing("code-missing", digest)
        for digest in versions - self._versions:
            self._missing("versions-missing", digest)
        for (kind, rows), query in zip(
            missing.items(), (_NO_PRODUCER, _NO_PARENT, _NO_RUN), strict=True
        ):
            still = set(rows).intersection(self._rows(query)) if rows else ()
            for call, wanted, run in still:
                if kind == "parent-missing" and wanted in self._left_out:
                    continue
                self._missing(kind, wanted).concern(run, call)
        self._check_ends()

    def has(self, kind: str, id: bytes) -> bool:
        """Whether a `run` or a `call` of that id is recorded."""
        if kind == "run":
            query = "SELECT 1 FROM runs WHERE id = ? AND started IS NOT NULL"
        else:
            query = "SELECT 1 FROM calls WHERE id = ?"
        return self.tables.one(query, (id,)) is not None

    def runs(self) -> set[bytes]:
        """The ids of all runs that are recorded."""
        query = "SELECT id FROM runs WHERE started IS NOT NULL"
        return {id for (id,) in self.tables.all(query)}

    def run_of(self, call: bytes) -> bytes | None:
        """The run of a call, if that is known."""
        query = "SELECT runs.id FROM calls JOIN runs ON runs.n = calls.run WHERE calls.id = ?"
        row = self.tables.one(query, (call,))
        return None if row is None else row[0]

    def hits_of(self, calls: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """Run and id of the calls that were answered with what these had computed."""
        query = """SELECT runs.id, calls.id FROM calls JOIN runs ON runs.n = calls.run
            WHERE producer = ? AND producer IS NOT NULL LIMIT 1000"""
        for call in calls:
            yield from self.tables.all(query, (call,))

    def around(self, key: tuple[str, int], start: int, end: int) -> Iterator[bytes]:
        """The runs of the last record before a place of a segment, and of the first behind it."""
        for condition, value, order in (("<", start, "DESC"), (">=", end, "ASC")):
            row = self.tables.one(
                f"""SELECT id FROM (
                    SELECT offset, (SELECT id FROM runs WHERE n = run) AS id, segment FROM calls
                    UNION ALL SELECT offset, id, segment FROM runs WHERE started IS NOT NULL)
                WHERE offset {condition} ? AND segment =
                    (SELECT n FROM segments WHERE writer = ? AND number = ?)
                ORDER BY offset {order} LIMIT 1""",
                (value, *key),
            )
            if row is not None:
                yield row[0]

    def _looked_at(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        counts = self._findings.counts
        for batch in batches:
            counts["records"] += len(batch.frames)
            sound: list[tuple[int, int, int, bytes]] = []
            for frame in batch.frames:
                if self._look(batch, frame):
                    sound.append(frame)
            yield batch._replace(frames=sound)

    def _look(self, batch: Batch, frame: tuple[int, int, int, bytes]) -> bool:
        """Whether the record says what such a record says."""
        offset, length, kind, payload = frame
        path = f"journal/{batch.writer}/{batch.seq:08d}"
        if kind not in KINDS:
            self._findings.add("record-newer", path, f"kind {kind} at {offset}")
            return False
        try:
            record = records.decode(kind, payload)
            problem = malformed(record)
        except (ValueError, TypeError, RecursionError) as error:
            record, problem = None, str(error)
        fault = "record-malformed"
        if not problem and type(record) is Versions and not facts.is_named_right(record):
            fault, problem = "versions-wrong", record.digest.hex()
        if problem:
            text = f"{KINDS[kind].__name__} at {offset}: {problem}"
            finding = self._findings.add(fault, path, text, repair=("reframe",))
            if record is not None:
                finding.concern(*facts.run_of(record))
            self._segments.reject((batch.writer, batch.seq), offset, offset + length, finding)
            return False
        self._note(record, path, offset)
        return True

    def _note(self, record: Any, path: str, offset: int) -> None:
        kind = type(record)
        if kind is Code:
            self._codes.add(record.digest)
        elif kind is Versions:
            self._versions.add(record.digest)
        elif kind is LeftOut:
            self._left_out.add(record.id)
        elif kind is CallBegin:
            self._wanted_codes.add(record.code)
        elif kind is CallEnd:
            self._note_end(record, path, offset)
        for oid, codec, nbytes in facts.needs(record):
            said = self.needs.get(oid, ())
            if (codec, nbytes) not in said and len(said) < _MOST_SAID:
                self.needs[oid] = (*said, (codec, nbytes))

    def _note_end(self, record: CallEnd, path: str, offset: int) -> None:
        if record.code:
            self._wanted_codes.add(record.code)
        if record.versions:
            self._wanted_versions.add(record.versions)
        if record.memo and (problem := facts.impossible(record)):
            text = f"{record.task} at {offset}: {problem}"
            mark = f"memo-{record.id.hex()}"
            finding = self._findings.add("memo-impossible", path, text, mark=mark)
            finding.concern(record.run, record.id)

    def _check_ends(self) -> None:
        """Find calls and runs whose process is gone without a word."""
        alive: dict[str, bool] = {}
        journal = Journal(self._root, read_only=True)
        for kind, query in (("run-unended", _UNENDED_RUNS), ("call-unended", _UNENDED_CALLS)):
            for call, run, writer in self._rows(query):
                if writer not in alive:
                    alive[writer] = journal.is_alive(writer)
                if not alive[writer]:
                    self._findings.add(kind, "", f"run {run.hex()}").concern(run, call)

    def _missing(self, kind: str, wanted: bytes) -> Finding:
        return self._findings.add(
            kind, "", wanted.hex(), subjects=(wanted,), mark=f"{kind}-{wanted.hex()}"
        )

    def _rows(self, query: str) -> list[Row]:
        return self.tables.all(query)


def temporary() -> sqlite3.Connection:
    """A connection to a database of its own, in a file without a name that is gone when closed."""
    connection = sqlite3.connect("", isolation_level=None)
    for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -32768"):
        connection.execute(f"PRAGMA {setting}")
    return connection
