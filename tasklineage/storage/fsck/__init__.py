"""Whether a store is what was written: every byte that something depends on is looked at.

The order matters beside writers that go on: the journal is read before the objects, since whatever
a record refers to was there before it. Nothing is written, unless it is to be repaired.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from pathlib import Path

from tasklineage.storage import records
from tasklineage.storage.backend import Folder
from tasklineage.storage.fsck import caches, facts, kept, layout
from tasklineage.storage.fsck.findings import KINDS, Finding, Findings, Kind, Report
from tasklineage.storage.fsck.index import Index
from tasklineage.storage.fsck.links import Links
from tasklineage.storage.fsck.repair import Repair
from tasklineage.storage.fsck.segments import Segments
from tasklineage.storage.fsck.stored import Stored
from tasklineage.storage.fsck.values import check_values
from tasklineage.storage.held import reading
from tasklineage.storage.journal import Journal
from tasklineage.storage.shapes import malformed
from tasklineage.storage.signing import Signer, signer_for
from tasklineage.storage.tables import Offsets

__all__ = ["KINDS", "Finding", "Kind", "Report", "check"]

Progress = Callable[[str, int, int], object]
"""Is told what is being done, how much of it is done, and of how much (0: unknown)."""
_ROUNDS = 4
"""Times that a store is looked at while it is repaired: what is gone leaves gaps elsewhere."""
_PATIENCE, _PAUSE = 4, 0.25
"""Times that objects are missed before they are missing, where garbage is collected; seconds."""
_FILES = frozenset({"segment-missing", "segment-truncated", "not-a-file", "unreadable"})


def check(
    root: str | os.PathLike[str],
    *,
    read_data: float = 0.0,
    decode: bool = False,
    repair: bool = False,
    signing_key: bytes | str | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Report:
    """What is wrong with the store at `root`, and with which runs.

    Other processes may use the store meanwhile.

    Parameters
    ----------
    read_data
        The share of the objects of which all bytes are read, from 0 to 1.
    decode
        Decode every value, except those that need pickle, and digest what has a lasting digest.
    repair
        Move what is damaged to `quarantine`, so that it is missing and is made again; note what
        is gone for good, so that it is not told again. Nothing is deleted.
    signing_key
        Of a signed store: what is not signed with it is damaged, and what is written anew is
        signed. Of an object that is seen where its bytes are read, or where it has no signature.

    Raises
    ------
    StoreNotFound
        There is no store.
    StoreError
        It is a store of another version, or signed with another key.
    """
    folder = Path(os.path.realpath(root))
    signer = signer_for(Folder(folder), signing_key)

    @contextlib.contextmanager
    def begin() -> Generator[Check]:
        with reading(folder):
            yield Check(folder, read_data, progress, signer)

    return in_rounds(begin, decode=decode, repair=repair)


def in_rounds(
    begin: Callable[[], AbstractContextManager[Check]], *, decode: bool, repair: bool
) -> Report:
    """The report of a check, or with `repair` of several, until there is nothing to be done."""
    began = time.monotonic()
    found: list[Finding] = []
    counts: dict[str, int] = {}
    for _ in range(_ROUNDS if repair else 1):
        with begin() as one, contextlib.closing(one):
            new = one.look(decode=decode)
            if not counts:
                counts.update(one.findings.counts)
            if repair:
                one.repair().mend(new)
        told = {(finding.kind, finding.path, finding.text) for finding in found}
        found += [one for one in new if (one.kind, one.path, one.text) not in told]
        if not any(finding.repaired and finding.is_damage for finding in new):
            break
    return Report(tuple(found), counts, time.monotonic() - began)


class Check:
    """One check, from the format file to the caches."""

    def __init__(
        self, root: Path, read_data: float, progress: Progress, signer: Signer | None
    ) -> None:
        self.root = root
        self.signer = signer
        self.share = read_data
        self.progress = progress
        self.is_decoding = False
        self.findings = Findings(layout.noted(root))
        self.index = self.made_index()
        self.segments = self.made_segments()
        self._links = Links(root, self.segments, self.findings)

    def look(self, *, decode: bool) -> list[Finding]:
        """Everything that is found, damage first."""
        self.is_decoding = decode
        self.look_at_layout()
        pointers = list(kept.check_refs(self.root, self.findings, self.signer))
        kept.check_lists(self.root, self.findings)
        self.progress("journal", 0, 0)
        known = self.known()
        self.segments.check_files(known)
        self._links.read()
        self._links.check()
        for one in pointers:
            is_recorded = self._links.has(one.kind, one.target)
            kept.check_pointer(one, self.findings, is_recorded=is_recorded)
        self._look_at_objects({oid: () for one in pointers for oid in one.oids})
        self.look_at_indexes()
        if decode:
            check_values(self.root, self.findings, self.progress, self.signer)
        self.progress("runs", 0, 0)
        self._name_runs(known)
        return self.findings.all()

    def close(self) -> None:
        """Nothing is open."""
        self.index.close()
        self._links.tables.connection.close()
        self.segments.close()

    def made_index(self) -> Index:
        """What knows the journal from before."""
        return Index(self.root, self.findings)

    def made_segments(self) -> Segments:
        """What looks at the journal."""
        return Segments(self.root, self.findings, self.signer)

    def made_stored(self) -> Stored:
        """What looks at the objects."""
        return Stored(
            self.root,
            self.findings,
            share=self.share,
            signer=self.signer,
            vouched=caches.vouched(self.root, self.findings),
            progress=lambda done, total: self.progress("objects", done, total),
        )

    def look_at_layout(self) -> None:
        """Look at the format file, at names and modes."""
        layout.check_format(self.root, self.findings)
        layout.check_names(self.root, self.findings)
        layout.check_modes(self.root, self.findings)

    def look_at_indexes(self) -> None:
        """Look at what can be made again."""
        if not self._has_lost_records():
            self.progress("catalog", 0, 0)
            self.index.compare(self._links, self.segments)
        caches.check_hashes(self.root, self.findings)

    def known(self) -> Offsets:
        """How far somebody who is to be trusted has read each segment."""
        return self.index.offsets()

    def catch_up(self) -> None:
        """What others have written meanwhile can be read."""

    def repair(self) -> Repair:
        """What repairs this store."""
        return Repair(self.root, self.segments, self.signer)

    def _look_at_objects(self, named: kept.Needs) -> None:
        """Look at the objects; `named` are needed whatever the records say."""
        stored = self.made_stored()
        stored.read()
        needs = named | self._links.needs
        for _ in range(_PATIENCE):
            if not stored.lacks(needs):
                break
            # Runs that were taken out need nothing, and what a sweep took from under a writer,
            # that writes again.
            self.catch_up()
            needs = kept.still_needed(self.root, needs)
            if not kept.was_swept(self.root):
                break
            time.sleep(_PAUSE)
        stored.check(needs)

    def _has_lost_records(self) -> bool:
        """Whether the catalog may know of more than can be read now."""
        return any(
            finding.kind.startswith(("record-", "segment-"))
            or (finding.kind in _FILES and finding.path.startswith("journal"))
            for finding in self.findings.all()
            if KINDS[finding.kind].is_damage
        )

    def _name_runs(self, known: dict[tuple[str, int], int]) -> None:
        """Say of each finding which runs and calls it concerns."""
        recorded = self._links.runs()
        for key, places in self.segments.damaged.items():
            for start, end, finding in places:
                self.index.concern(key, start, end, finding)
                for id in finding.traces:
                    self._concern(finding, id, recorded)
        for finding in self.findings.all():
            if finding.kind in _FILES and finding.path.startswith("journal/"):
                self._concern_segment(finding, known)
        wanted: dict[bytes, list[Finding]] = {}
        for finding in self.findings.all():
            for subject in finding.subjects:
                wanted.setdefault(subject, []).append(finding)
        if wanted:
            self._name_users(wanted)
        self._name_neighbours()
        for finding in self.findings.all():
            for run, call in self._links.hits_of(list(finding.calls)):
                finding.concern(run, call)

    def _concern(self, finding: Finding, id: bytes, recorded: set[bytes]) -> None:
        if id in recorded:
            finding.concern(id)
            return
        run = self._links.run_of(id)
        if run is not None:
            finding.concern(run, id)

    def _concern_segment(self, finding: Finding, known: dict[tuple[str, int], int]) -> None:
        _, writer, name = (*finding.path.split("/"), "", "")[:3]
        for key in known:
            if key[0] == writer and name in ("", f"{key[1]:08d}"):
                start = 0
                if finding.kind == "segment-truncated":
                    start = os.stat(self.root / finding.path).st_size
                self.index.concern(key, start, 1 << 62, finding)

    def _name_users(self, wanted: dict[bytes, list[Finding]]) -> None:
        """Read the records once more, for those that mention what was found."""
        for frame in Journal(self.root, read_only=True, signer=self.signer).scan({}):
            try:
                record = records.decode(frame.kind, frame.payload)
                if malformed(record):
                    continue
                mentioned = wanted.keys() & set(facts.mentions(record))
            except (ValueError, TypeError, RecursionError):
                continue
            for subject in mentioned:
                for finding in wanted[subject]:
                    finding.concern(*facts.run_of(record))

    def _name_neighbours(self) -> None:
        """Damaged records that nothing names are of the runs that stand around them."""
        for key, places in self.segments.damaged.items():
            for start, end, finding in places:
                if not finding.runs:
                    for run in self._links.around(key, start, end):
                        finding.concern(run)
