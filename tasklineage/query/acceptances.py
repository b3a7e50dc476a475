"""Decisions that memos of another code version stay good, as they were recorded."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from tasklineage.query.ids import digest_text, moment
from tasklineage.storage.records import Accept

if TYPE_CHECKING:
    from tasklineage.storage.store import Store


class Acceptance(NamedTuple):
    """A decision: memos of other code versions stay good for the present one, or no longer do."""

    task: str
    code_version: str
    """The code version that was in force: calls of it are answered."""
    accepted: tuple[str, ...]
    """The code versions whose memos answer."""
    at: datetime
    user: str
    revoked: bool
    """Whether they do so no longer."""


def acceptance_of(record: Accept) -> Acceptance:
    """The decision that a record says."""
    return Acceptance(
        record.task,
        digest_text(record.code),
        tuple(map(digest_text, record.accepted)),
        moment(record.at),
        record.user,
        record.revoked,
    )


def acceptances(store: Store, task: str | None = None) -> list[Acceptance]:
    """All decisions, acceptances and revocations, newest first; of a task by its full name."""
    records = reversed(store.kin().accepts())
    return [acceptance_of(one) for one in records if task is None or one.task == task]


def accepted_ever(store: Store) -> frozenset[bytes]:
    """The code versions that were accepted for some other one at some time."""
    return frozenset(code for one in store.kin().accepts() for code in one.accepted)
