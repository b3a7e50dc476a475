"""The tables of the catalog, kept in step with the journal: in a file, else in memory."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tasklineage.errors import StoreReadOnly
from tasklineage.storage import forks, sealed
from tasklineage.storage.journal import Journal
from tasklineage.storage.sealed import SealedFile, Stamp
from tasklineage.storage.segment import boot
from tasklineage.storage.tables import VERSION, Offsets, Tables

if TYPE_CHECKING:
    import sqlite3

IN_MEMORY_FOR = 30.0
"""Seconds for which a copy in memory serves before the file is tried again."""

_ATTEMPTS = 2
"""Times that a question is put to the file before it is put to a copy in memory."""

T = TypeVar("T")


class Upkeep:
    """Answers questions from tables that are brought up to date first.

    The file is read on from where it ends; it is made anew where it is gone, damaged, or of another
    version. Where it cannot be written, or not now, a copy in memory is brought up to date.

    Any thread may ask, one at a time is served; usable after a fork. Nothing is opened, and SQLite
    not imported, before the first question.
    """

    def __init__(
        self,
        path: Path,
        lock: Path,
        journal: Journal,
        *,
        read_only: bool,
        is_durable: bool = False,
        generation: Callable[[], int] = lambda: 0,
    ) -> None:
        self.mutex = threading.Lock()
        self._is_durable = is_durable
        self._generation = generation
        """Which one of the journal it is now: tables of another one are made anew."""
        self._journal = journal
        self._read_only = read_only
        self._file = SealedFile(path, lock, is_durable=is_durable)
        self._filed: _Index | None = None
        self._stamp: Stamp | None = None
        self._is_usable = True
        self._memory: _Index | None = None
        self._memory_until = 0.0
        self.before: Callable[[], object] | None = None
        """Called before each question: it may bring something into the journal."""
        forks.register(self)

    def ask(self, question: Callable[[Tables], T]) -> T:
        """The answer of tables that have all of the journal.

        The question may be put twice.
        """
        import sqlite3

        if self.before is not None:
            self.before()
        with self.mutex:
            for _ in range(_ATTEMPTS):
                generation = self._generation()
                try:
                    answer = question(self._synced())
                except sqlite3.Error as error:
                    self._react_to(error)
                else:
                    if generation == self._generation():  # else segments may have gone meanwhile
                        return answer
            self._memory = self._begun_in_memory(None)
            return question(self._synced_memory())

    def ask_covering(self, beyond: Offsets, question: Callable[[Tables], T]) -> T:
        """The answer of tables that have at least what the journal has before these offsets.

        The journal is read only where there are no such tables. The question may be put twice.
        """
        import sqlite3

        with self.mutex:
            try:
                index = self._peek()
                if index is not None and index.covers(beyond):
                    return question(index.tables)
            except sqlite3.Error as error:
                self._react_to(error)
        return self.ask(question)

    def known(self) -> tuple[Offsets, list[str]]:
        """How far the tables know the journal, and the writers that they know to have finished.

        Nothing, if there are none to be trusted. The journal is not read.
        """
        with self.mutex:
            index = self._peek() if self._memory or self._file.stamp() else None
            return ({}, []) if index is None else (dict(index.offsets), sorted(index.finished))

    def save(self, patience: float) -> bool:
        """Whether whatever the journal has is in the file now."""
        import sqlite3

        with self.mutex:
            try:
                self._synced_file(patience)
            except (OSError, sqlite3.Error):
                self._let_go()
                return False
            return True

    def discard(self) -> None:
        """The file is gone."""
        with self.mutex:
            self._let_go()
            self._drop_memory()
            self._file.remove()

    def close(self) -> None:
        """Nothing is open. The next question opens what it needs."""
        with self.mutex:
            self._let_go()
            self._drop_memory()

    def __del__(self) -> None:
        self._let_go()
        self._drop_memory()

    def after_fork(self) -> None:
        """In a forked child: what the parent has open is the parent's."""
        sealed.abandon(self._memory)
        self._file.after_fork()
        self._filed = self._memory = None

    def _synced(self) -> Tables:
        """Tables that have all of the journal."""
        import sqlite3

        if self._memory is None or time.monotonic() >= self._memory_until:
            try:
                return self._synced_file(sealed.BUSY)
            except sqlite3.Error as error:
                self._react_to(error)
            except OSError:  # no lock to be had, no room, no permission
                self._let_go()
        return self._synced_memory()

    def _synced_file(self, patience: float) -> Tables:
        index = self._peek_file()
        if index is None or not index.is_current():
            if self._read_only or not self._is_usable:
                raise StoreReadOnly("the catalog's file is not to be written")
            with self._file.locked(patience):
                index = self._trusted() or self._made_anew()
                self._ingest(index)
        self._drop_memory()
        return index.tables

    def _synced_memory(self) -> Tables:
        index = self._peek_memory() or self._begun_in_memory(self._peek_file())
        if not index.is_current():
            self._memory = None  # until the transaction is over, it is good for nothing
            index.tables.connection.execute("BEGIN")
            index.ingest()
            index.tables.connection.execute("COMMIT")
        self._memory = index
        return index.tables

    def _begun_in_memory(self, source: _Index | None) -> _Index:
        """Tables in memory that serve for a while: a copy, or without a source, made anew."""
        generation = self._generation()
        tables = Tables(sealed.connect(None))
        if source is None or source.generation != generation:
            tables.create()
        else:
            source.tables.connection.backup(tables.connection)
        self._memory_until = time.monotonic() + IN_MEMORY_FOR
        return _Index(tables, self._journal, generation)

    def _peek(self) -> _Index | None:
        """The tables there are, however old; None if there are none to be trusted."""
        return self._peek_memory() or self._peek_file()

    def _peek_memory(self) -> _Index | None:
        if self._memory is not None and self._memory.generation != self._generation():
            self._drop_memory()
        return self._memory

    def _peek_file(self) -> _Index | None:
        """The tables of the file, however old; None if they cannot be trusted or read now."""
        import sqlite3

        try:
            return self._trusted()
        except (OSError, sqlite3.Error):
            self._let_go()
            return None

    def _trusted(self) -> _Index | None:
        """The tables of the file, if nobody but a catalog of this version has written it.

        Without the lock None may also mean that somebody is writing.

        Raises
        ------
        sqlite3.Error
            The file could not be read just now.
        """
        stamp, generation = self._file.stamp(), self._generation()
        filed = self._filed
        is_same = stamp is not None and stamp == self._stamp
        if filed is not None and is_same and filed.generation == generation:
            return filed
        self._filed = None
        if stamp is None or not self._is_usable:
            return None
        index = self._opened(stamp, generation)
        if index is not None and self._file.stamp() == stamp:
            self._filed, self._stamp = index, stamp
        return self._filed

    def _opened(self, stamp: Stamp, generation: int) -> _Index | None:
        import sqlite3

        try:
            tables = Tables(self._file.connection())
            if tables.version() != VERSION or not tables.is_whole():
                return None
            seal = tables.seal()
            is_sealed = type(seal) is int and stamp.is_sealed_by(seal)
            if not is_sealed or tables.generation() != generation or not self._outlived(tables):
                return None
            return _Index(tables, self._journal, generation)
        except sqlite3.Error as error:
            if sealed.is_damage(error):
                return None
            raise

    def _outlived(self, tables: Tables) -> bool:
        """Whether no power cut can have taken pages from the file, if that was promised.

        Where the machine has started again since, and the file had not been flushed, it may be old
        in part behind a new seal: rows would be missing without a trace.
        """
        return not self._is_durable or tables.sealed_at() in ("", boot())

    def _made_anew(self) -> _Index:
        generation = self._generation()  # first: the journal is as new as this, or newer
        tables = Tables(self._file.create())
        tables.create()
        return _Index(tables, self._journal, generation)

    def _ingest(self, index: _Index) -> None:
        """The file has all of the journal, and a new seal. The lock is held."""
        execute = index.tables.connection.execute
        try:
            execute("BEGIN IMMEDIATE")
            index.ingest()
            seal = sealed.new_seal()
            index.tables.set_seal(seal, "" if self._is_durable else boot(), index.generation)
            execute("COMMIT")
        except BaseException:
            self._let_go()
            raise
        self._file.seal(seal)
        self._filed, self._stamp = index, self._file.stamp()

    def _react_to(self, error: sqlite3.Error) -> None:
        """Open the file anew next time; one that is damaged behind its seal is made anew."""
        self._let_go()
        self._drop_memory()
        if sealed.is_damage(error):
            self._is_usable = False
            if not self._read_only:
                with contextlib.suppress(OSError), self._file.locked(sealed.BUSY):
                    self._file.remove()
                    self._is_usable = True

    def _drop_memory(self) -> None:
        index, self._memory = self._memory, None
        if index is not None:
            index.tables.connection.close()

    def _let_go(self) -> None:
        self._filed = self._stamp = None
        self._file.close()


class _Index:
    """Tables, and the position in the journal up to which they know it."""

    def __init__(self, tables: Tables, journal: Journal, generation: int) -> None:
        self.tables = tables
        self.generation = generation
        self.finished = set(tables.finished())
        """Writers that will write no more, and are wholly known."""
        self._covered: Offsets | None = None
        self._cursor = journal.cursor(tables.offsets(), self.finished)

    @property
    def offsets(self) -> Offsets:
        """How far each segment is known."""
        return self._cursor.offsets

    def is_current(self) -> bool:
        """Whether the journal has nothing that the tables have not."""
        return not any(batch.frames for batch in self._cursor.batches())

    def covers(self, offsets: Offsets) -> bool:
        """Whether all that stands before these offsets is in the tables: once so, always so."""
        if offsets is not self._covered:
            known = self.offsets
            if any(known.get(segment, 0) < offset for segment, offset in offsets.items()):
                return False
            self._covered = offsets
        return True

    def ingest(self) -> None:
        """Whatever the journal has is in the tables, once the open transaction is committed."""
        self.tables.ingest(self._cursor.batches())
        new = self._cursor.finished - self.finished
        self.tables.add_finished(new)
        self.finished |= new
