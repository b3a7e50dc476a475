"""Hits that were executed again, and how the results compared."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from tasklineage.query.calls import Call, CallError, call_of
from tasklineage.query.ids import digest_text, moment
from tasklineage.query.render import one_line
from tasklineage.storage.records import Verified

if TYPE_CHECKING:
    from tasklineage.storage.store import Store


class Verification:
    """One hit that was chosen to be executed again. Equal by id."""

    __slots__ = ("_record", "_store")

    def __init__(self, store: Store, record: Verified) -> None:
        self._store = store
        self._record = record

    @property
    def id(self) -> str:
        """32 hexadecimal digits that sort by time."""
        return self._record.id.hex()

    @property
    def status(self) -> str:
        """`same`, `differs`, `failed` (it raised) or `skipped` (it could not be executed again)."""
        return self._record.status

    @property
    def is_differing(self) -> bool:
        """Whether the memo is not what the call gave when it was executed again."""
        return self.status in ("differs", "failed")

    @property
    def task(self) -> str:
        """The name of the task."""
        return self._record.task

    @property
    def call_id(self) -> str:
        """The id of the hit; nothing is looked up."""
        return self._record.call.hex()

    @property
    def call(self) -> Call:
        """The hit. Its `.producer` is the call that had computed the result."""
        return call_of(self._store, self._record.call)

    @property
    def cause(self) -> str:
        """The likely one of `randomness`, `time`, `hash order`, `environment`, `floating point`,
        `files`, `accepted code`, `error` and `unknown`; empty where nothing differs.
        """
        return self._record.cause

    @property
    def text(self) -> str:
        """How the results differ, what speaks for the cause, and what to do; or why not done."""
        return self._record.text

    @property
    def expected(self) -> str:
        """The digest of what the memo answered: `xxh3:…`."""
        return digest_text(self._record.expected)

    @property
    def found(self) -> str:
        """The digest of the new result; empty where there is none."""
        return digest_text(self._record.found) if self._record.found else ""

    @property
    def error(self) -> CallError | None:
        """The exception that the new execution raised."""
        error = self._record.error
        return None if error is None else CallError(*error)

    @property
    def at(self) -> datetime:
        """When it was over."""
        return moment(self._record.at)

    def __eq__(self, other: object) -> bool:
        return other.id == self.id if isinstance(other, Verification) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<Verification of {self.call_id} {self.task} {self.status}>"

    def _repr_html_(self) -> str:
        from tasklineage.query.render import html_heading, html_status

        return html_heading(self.task, html_status(self.status), one_line(self.text))


def verifications_of(store: Store, run: bytes) -> list[Verification]:
    """What came of each hit of the run that was chosen, in their order."""
    records = map(store.journal.read, store.catalog.verified(run))
    return [Verification(store, record) for record in records if isinstance(record, Verified)]
