"""What a check of a store can find, by name, and the report it is told in.

What is *damage* says that something which was stored is lost or wrong. A *notice* is something that
happens to sound stores: what a killed process has left behind, what was repaired before, what can
be deleted. Only damage makes a store unhealthy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

MOST_NAMED = 1_000
"""Runs, and calls, that one finding names."""


COUNTED: tuple[str, ...] = (
    "records",
    "objects",
    "bytes",
    "bytes read",
    "values",
    "values that need pickle",
)
"""What is counted: of the objects, their bytes and how many of these were read; decoded values."""


class Kind(NamedTuple):
    """One way in which a store can be other than it should be."""

    is_damage: bool
    meaning: str


_D, _N = True, False
KINDS: dict[str, Kind] = {
    "format-missing": Kind(_D, "the file that says that this is a store is gone"),
    "format-damaged": Kind(_D, "the file that says that this is a store is not what was written"),
    "not-a-file": Kind(_D, "a link, FIFO, device or folder stands where a file of the store goes"),
    "unreadable": Kind(_D, "a file of the store cannot be read"),
    "foreign": Kind(_N, "nobody here has written this"),
    "mode": Kind(_N, "others may do more with a file than with the folder of the store"),
    "leftover": Kind(_N, "a process was killed while it wrote this; nobody reads it"),
    "quarantined": Kind(_N, "found damaged before, and kept"),
    "segment-head": Kind(_D, "a segment of the journal does not begin with its head"),
    "segment-misplaced": Kind(_D, "a segment stands under the name of another one"),
    "segment-missing": Kind(_D, "a segment of the journal is gone"),
    "segment-truncated": Kind(_D, "a segment is shorter than it was when the catalog read it"),
    "segment-oversize": Kind(_D, "a segment is longer than any can be"),
    "segment-unfinished": Kind(_N, "the last record of a killed process was never whole"),
    "piece-torn": Kind(_D, "a piece of a segment is not as long as its name says"),
    "piece-missing": Kind(_D, "a piece of a segment is gone"),
    "piece-awaited": Kind(_N, "a machine has put only a part, and puts the rest when it goes on"),
    "record-damaged": Kind(_D, "bytes of the journal are no record that belongs there"),
    "record-malformed": Kind(_D, "a record is intact and does not say what such a record says"),
    "record-unsigned": Kind(_D, "records that are not signed with the key of the store"),
    "record-newer": Kind(_N, "a record of a later version of tasklineage"),
    "memo-impossible": Kind(_D, "a record is marked as a memo and cannot be one"),
    "versions-wrong": Kind(_D, "a set of code versions does not have the digest it is known by"),
    "run-missing": Kind(_D, "calls are recorded of a run that is not"),
    "code-missing": Kind(_D, "calls are recorded of a code version that is not"),
    "versions-missing": Kind(_D, "a memo depends on a set of code versions that is not recorded"),
    "producer-missing": Kind(_D, "a hit was answered by a call that is not recorded"),
    "parent-missing": Kind(_D, "a call was made by one that is not recorded"),
    "run-unended": Kind(_N, "the process of a run was killed"),
    "call-unended": Kind(_N, "the process of a call was killed"),
    "object-missing": Kind(_D, "a record needs an object that is not there"),
    "object-part-missing": Kind(_D, "an object needs another one that is not there"),
    "object-misplaced": Kind(_D, "an object stands under the name of another one"),
    "object-malformed": Kind(_D, "an object is not laid out as objects are"),
    "object-damaged": Kind(_D, "the bytes of an object do not hash to its name"),
    "object-mismatch": Kind(_D, "a record says something else of an object than the object does"),
    "object-cycle": Kind(_D, "objects need each other in a circle"),
    "object-unsigned": Kind(_D, "an object is not signed with the key of the store"),
    "object-newer": Kind(_N, "an object of a later version of tasklineage"),
    "object-unreferenced": Kind(_N, "objects that no record needs"),
    "value-damaged": Kind(_D, "a stored value does not decode, though its bytes are intact"),
    "value-differs": Kind(_D, "a stored value is not the one whose digest the record has"),
    "value-undecodable": Kind(_N, "the class or the codec of a stored value is not to be had here"),
    "verified-wrong": Kind(_D, "the list of verified objects vouches for one that is damaged"),
    "ref-damaged": Kind(_D, "a version of a ref is not what was written"),
    "ref-unsigned": Kind(_D, "a version of a ref is not signed with the key of the store"),
    "ref-version-missing": Kind(_D, "a version of a ref is gone"),
    "ref-broken": Kind(_D, "a ref points to a run or call that is not recorded"),
    "list-damaged": Kind(_D, "a list of garbage collection is not what was written"),
    "cache-damaged": Kind(_D, "lines of a cache are not what was written"),
    "cache-torn": Kind(_N, "the last line of a cache was never whole"),
    "catalog-damaged": Kind(_D, "the catalog bears its seal and cannot be read"),
    "catalog-differs": Kind(_D, "the catalog bears its seal, and the journal says other things"),
    "catalog-stale": Kind(_N, "the catalog does not bear its seal: the next query makes it anew"),
}  # fmt: skip
"""By name; `docs/fsck.md` says what is done about each."""


@dataclass(slots=True)
class Finding:
    """One thing that was found."""

    kind: str
    path: str
    """The file, relative to the store; empty where it is about no file."""
    text: str
    """What exactly, for people."""
    runs: set[bytes] = field(default_factory=set[bytes])
    """Ids of the runs concerned."""
    calls: set[bytes] = field(default_factory=set[bytes])
    subjects: tuple[bytes, ...] = ()
    """Ids and digests: whoever mentions one of them is concerned."""
    traces: set[bytes] = field(default_factory=set[bytes])
    """What may be ids of runs and calls in damaged bytes."""
    mark: str = ""
    """Under which name a loss is noted in `quarantine`, so that it is told once."""
    is_known: bool = False
    """It was noted by a repair before."""
    repair: tuple[str, ...] = ()
    """What `repair` does about it: a verb and its arguments."""
    repaired: str = ""
    """What was done about it."""

    @property
    def is_damage(self) -> bool:
        return KINDS[self.kind].is_damage and not self.is_known

    def concern(self, run: object, call: object = None) -> None:
        """Name a run, and a call, if these are ids."""
        for found, id in ((self.runs, run), (self.calls, call)):
            if type(id) is bytes and len(id) == 16 and len(found) < MOST_NAMED:
                found.add(id)


class Report(NamedTuple):
    """What a check has found, and what it has looked at."""

    findings: tuple[Finding, ...]
    """Damage first."""
    counts: dict[str, int]
    """What was looked at: segments, records, objects, bytes."""
    seconds: float

    @property
    def damage(self) -> list[Finding]:
        """What is lost or wrong."""
        return [finding for finding in self.findings if finding.is_damage]

    @property
    def notices(self) -> list[Finding]:
        """What happens to sound stores."""
        return [finding for finding in self.findings if not finding.is_damage]

    @property
    def is_healthy(self) -> bool:
        """Whether there is no damage but what was repaired."""
        return all(finding.repaired for finding in self.damage)


class Findings:
    """Collects what is found; the same thing is told once."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._found: dict[tuple[str, str, str], Finding] = {}
        self._known = frozenset(known)
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTED, 0))

    def add(
        self,
        kind: str,
        path: str = "",
        text: str = "",
        *,
        subjects: Iterable[bytes] = (),
        mark: str = "",
        repair: tuple[str, ...] = (),
    ) -> Finding:
        """The finding of this kind, about this; of a loss that is noted, a notice."""
        key = (kind, path, mark or text)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = Finding(kind, path, text, mark=mark)
            found.is_known = bool(mark) and mark in self._known
            found.repair = repair or (("note", mark) if mark else ())
        found.subjects = tuple({*found.subjects, *subjects})
        return found

    def drop(self, kind: str, path: str) -> None:
        """What is known of that file now is another thing."""
        self._found = {key: one for key, one in self._found.items() if key[:2] != (kind, path)}

    def has(self, kind: str, path: str) -> bool:
        """Whether such a thing was found of a file."""
        return any(key[:2] == (kind, path) for key in self._found)

    def all(self) -> list[Finding]:
        """Damage first, then as they were found."""
        return sorted(self._found.values(), key=lambda finding: not finding.is_damage)
