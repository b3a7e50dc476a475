"""Code versions whose memos answer for another one: accepted by somebody, or the same in substance.

Asked on a miss of a call's own key: then the key is tried as it would be under each alias. They
are found once per store and code version, and again after something was accepted or revoked.

    accepted      a decision: `train.accept()`
    modular       the code is the same but for tasks that it calls, whose code versions are aliases
                  of those it had: an accepted edit of `train` is no edit of `main`
    portable      the same source, compiled by another version of Python

All are followed from alias to alias, so that a decision for the code before the last one holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from tasklineage.key.code_version import CodeVersion, TaskLike, code_version, modular, portable
from tasklineage.storage.records import Code

if TYPE_CHECKING:
    from tasklineage.core.task import Task
    from tasklineage.storage.store import Store

_LENGTH = 16
_ITSELF = bytes(_LENGTH)


class Alias(NamedTuple):
    """A code version whose memos answer for another one."""

    code: bytes
    value: bytes
    """The digest of the task as a value, as it was; empty where that is not known."""


def record_of(task: Task[Any, Any], code: CodeVersion) -> Code:
    """The record of a code version."""
    return Code(code.digest, task.name, code.parts, modular(code), portable(code))


def aliases_of(store: Store, task: TaskLike, code: CodeVersion) -> tuple[Alias, ...]:
    """The code versions whose memos answer for calls of the task, nearest first."""
    known: tuple[Alias, ...] | None = store.aliases.get(code.digest)
    if known is None:
        kin = store.kin()
        generation = kin.generation
        found = _Search(store, task, code).reach(code.digest)
        known = tuple(found)
        kin.note(code.digest, known, generation)
    return known


def is_alias(store: Store, task: TaskLike, digest: bytes) -> bool:
    """Whether memos of that code version, or of the task as that value, answer for the task."""
    code = code_version(task)
    return digest == code.digest or any(
        digest in (alias.code, alias.value) for alias in aliases_of(store, task, code)
    )


def is_same(store: Store, code: CodeVersion, other: bytes) -> bool:
    """Whether that code version is this one, also as another version of Python compiles it."""
    record = store.code(other)
    theirs = b"" if record is None else record.portable
    return other == code.digest or (theirs != b"" and theirs[:_LENGTH] == portable(code)[:_LENGTH])


class _Search:
    """One search, over what is recorded and what the tasks of this process are now."""

    def __init__(self, store: Store, task: TaskLike, code: CodeVersion) -> None:
        self._store = store
        self._kin = store.kin()
        self._accepted = self._kin.accepted()
        self._live: dict[bytes, CodeVersion] = {code.digest: code}
        self._children = code.children
        self._reached: dict[bytes, tuple[Alias, ...]] = {}

    def reach(self, code: bytes) -> tuple[Alias, ...]:
        """The aliases of a code version."""
        known = self._reached.get(code)
        if known is not None:
            return known
        self._reached[code] = ()  # tasks that call each other: not found this way
        found: dict[bytes, Alias] = {code: Alias(code, b"")}
        for one in _growing(found):
            for other in self._next(one):
                if other not in found:
                    found[other] = Alias(other, self._digests(other)[_LENGTH : 2 * _LENGTH])
        del found[code]
        self._reached[code] = tuple(found.values())
        return self._reached[code]

    def _next(self, code: bytes) -> Iterator[bytes]:
        yield from self._elsewhere(code)
        if not self._accepted:
            return
        yield from self._accepted.get(code, ())
        ours = self._digests(code)
        below = _below(ours, code)
        if not below:
            return
        for record in self._kin.alike("modular", ours):
            theirs = _below(record.modular, record.digest)
            if len(theirs) == len(below) and all(
                old == new or (new == code and old == record.digest) or self._answers(old, new)
                for new, old in zip(below, theirs, strict=True)
            ):
                yield record.digest

    def _elsewhere(self, code: bytes) -> Iterator[bytes]:
        """The same under other versions of Python."""
        record = self._store.code(code)
        live = self._live.get(code)
        ours = record.portable if record is not None else b"" if live is None else portable(live)
        if ours:
            for other in self._kin.alike("portable", ours):
                if other.portable[_LENGTH:] != ours[_LENGTH:]:
                    yield other.digest

    def _answers(self, old: bytes, new: bytes) -> bool:
        return any(alias.code == old for alias in self.reach(new))

    def _digests(self, code: bytes) -> bytes:
        """What `modular` says of a code version: of this process, or recorded."""
        live = self._live.get(code)
        if live is None and self._children:
            children, self._children = self._children, ()
            for child in children:
                version = code_version(child)
                self._live.setdefault(version.digest, version)
            live = self._live.get(code)
        if live is not None:
            return modular(live)
        record = self._store.code(code)
        return b"" if record is None else record.modular


def _below(digests: bytes, code: bytes) -> list[bytes]:
    """The code versions of the tasks that are called; of the task itself, its own."""
    found = [digests[n : n + _LENGTH] for n in range(2 * _LENGTH, len(digests), _LENGTH)]
    return [code if one == _ITSELF else one for one in found]


def _growing(found: dict[bytes, Alias]) -> Iterator[bytes]:
    """The keys, those that are added on the way too."""
    done = 0
    while done < len(found):
        yield list(found)[done]
        done += 1
