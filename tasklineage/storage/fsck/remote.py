"""The check of a remote store: that of a local one, of what was brought into a temporary folder."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from tasklineage.errors import MissingObject, StoreError, StoreNotFound
from tasklineage.storage import format as layout
from tasklineage.storage.backend import Backend, open_backend
from tasklineage.storage.fsck import Check, Progress, Report, in_rounds
from tasklineage.storage.fsck.findings import Findings
from tasklineage.storage.fsck.index import Index
from tasklineage.storage.fsck.remote_repair import RemoteRepair
from tasklineage.storage.fsck.repair import Repair
from tasklineage.storage.fsck.scratch import Scratch
from tasklineage.storage.fsck.segments import Segments
from tasklineage.storage.fsck.stored import MOST_HASHED, Stored, blocks_of, oid_of, path_of
from tasklineage.storage.journal import Damage
from tasklineage.storage.mirror import mirror_of
from tasklineage.storage.objects import hashed, id_of
from tasklineage.storage.opening import open_stores
from tasklineage.storage.patience import Patient
from tasklineage.storage.signing import Signer, signer_for
from tasklineage.storage.tables import Offsets

_AT_ONCE = 256
_UNREACHED = 2.0
"""Seconds after which nobody who does not answer is waited for any more."""


def check_remote(
    url: str,
    *,
    storage_options: Mapping[str, Any] | None = None,
    read_data: float = 0.0,
    decode: bool = False,
    repair: bool = False,
    signing_key: bytes | str | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Report:
    """What is wrong with the store at `url`, and with which runs.

    As `check`, whose parameters it has. The journal and the first 4 KB of each object are read,
    with `decode` all of them; what this machine has in its mirror is compared and helps to repair.

    Raises
    ------
    StoreNotFound
        There is no store.
    StoreError
        It cannot be reached or read, or is of another version, or signed with another key.
    """
    options = open_stores.storage_options(url, storage_options).options
    backend = Patient(open_backend(url, options), unreached=_UNREACHED)
    return check_backend(
        backend,
        mirror_of(url, _format(backend)),
        read_data=read_data,
        decode=decode,
        repair=repair,
        signing_key=signing_key,
        progress=progress,
    )


def check_backend(
    backend: Backend,
    mirror: Path | None,
    *,
    read_data: float = 0.0,
    decode: bool = False,
    repair: bool = False,
    signing_key: bytes | str | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Report:
    """As `check_remote`, of a store with a mirror there."""
    signer = signer_for(backend, signing_key)
    with tempfile.TemporaryDirectory(prefix="tasklineage-fsck-") as folder:

        @contextlib.contextmanager
        def begin() -> Generator[Check]:
            scratch = Scratch(backend, Path(tempfile.mkdtemp(dir=folder)), mirror)
            yield RemoteCheck(scratch, read_data, progress, signer)

        return in_rounds(begin, decode=decode, repair=repair)


def _format(backend: Backend) -> bytes:
    """The format file; nothing where it is lost.

    Raises
    ------
    StoreNotFound
        There is no store.
    """
    try:
        return backend.read(layout.FILE)
    except MissingObject:
        if not any(name in layout.PARTS for name in backend.names()):
            raise StoreNotFound(f"there is no store at {backend.url}") from None
        return b""


class RemoteCheck(Check):
    """One check of a remote store."""

    def __init__(
        self, scratch: Scratch, read_data: float, progress: Progress, signer: Signer | None
    ) -> None:
        self._scratch = scratch
        progress("journal", 0, 0)
        scratch.bring()
        super().__init__(scratch.root, read_data, progress, signer)

    def made_index(self) -> Index:
        mirror = self._scratch.mirror
        findings = self.findings if mirror is None else Findings()  # its own faults are its own
        return Index(mirror or self._scratch.root, findings)

    def made_segments(self) -> Segments:
        return RemoteSegments(self._scratch, self.findings, self.signer)

    def made_stored(self) -> Stored:
        return RemoteStored(
            self._scratch,
            self.findings,
            share=self.share,
            signer=self.signer,
            is_whole=self.is_decoding,
            progress=lambda done, total: self.progress("objects", done, total),
        )

    def look_at_layout(self) -> None:
        self._look_at_format()
        for key in self._scratch.foreign:
            self.findings.add("foreign", key)
        names = os.listdir(self.root / "quarantine") if (self.root / "quarantine").is_dir() else []
        kept = sum(not name.endswith(".missing") for name in names)
        if kept:
            self.findings.add("quarantined", "quarantine", f"{kept} keys, which may be deleted")

    def look_at_indexes(self) -> None:
        """What can be made again is in no remote store."""

    def known(self) -> Offsets:
        return self._scratch.known(self.index.offsets())

    def catch_up(self) -> None:
        self._scratch.bring()

    def repair(self) -> Repair:
        return RemoteRepair(self._scratch, self.segments, self.signer)

    def _look_at_format(self) -> None:
        found = _format(self._scratch.backend)
        if not found:
            self.findings.add("format-missing", layout.FILE, repair=("format",))
        elif layout.is_intact(found):
            layout.check(found, self._scratch.backend.url)
        else:
            self.findings.add("format-damaged", layout.FILE, repair=("format",))


class RemoteSegments(Segments):
    """The journal of a remote store: what is wrong with its pieces, then with the segments."""

    def __init__(self, scratch: Scratch, findings: Findings, signer: Signer | None) -> None:
        super().__init__(scratch.root, findings, signer)
        self._scratch = scratch
        alive = scratch.alive
        self.journal.mirror(lambda writer: None, alive.__contains__, alive.__contains__)

    def check_files(self, known: Offsets, explained: Any = ()) -> None:
        for piece, size in self._scratch.torn:
            finding = self._findings.add(
                "piece-torn", piece.key, f"{size} bytes", repair=("reframe", piece.key)
            )
            place = (piece.start, piece.end, finding)
            self.damaged.setdefault((piece.writer, piece.seq), []).append(place)
        for hole in self._scratch.holes():
            writer, seq = hole.key
            path, text = f"journal/{writer}/{seq:08d}", f"bytes {hole.start} to {hole.end}"
            if hole.is_awaited:
                self._findings.add("piece-awaited", path, text)
                continue
            mark = f"{writer}-{seq:08d}+{hole.start}-{hole.end}"
            finding = self._findings.add("piece-missing", path, text, mark=mark)
            self.damaged.setdefault(hole.key, []).append((hole.start, hole.end, finding))
        super().check_files(known, explained)

    def _note(self, damage: Damage) -> None:
        places = self.damaged.get((damage.writer, damage.seq), ())
        if any(start <= damage.start and damage.end <= end for start, end, _ in places):
            return  # that is a hole here
        super()._note(damage)


class RemoteStored(Stored):
    """The objects of a remote store, of which this folder has the first bytes."""

    def __init__(
        self, scratch: Scratch, findings: Findings, *, is_whole: bool, **options: Any
    ) -> None:
        super().__init__(scratch.root, findings, **options)
        self._scratch = scratch
        self._is_whole = is_whole

    def _paths(self) -> Iterator[tuple[bytes, str]]:
        sizes: dict[str, int] = {}
        for key, size in self._scratch.objects():
            oid = oid_of(key)
            if not oid or key != path_of(oid):
                self._stray(key)
            else:
                sizes[key] = size
        keys = list(sizes)
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            failed = self._scratch.bring_fronts({key: sizes[key] for key in some})
            for key, text in failed.items():
                self._bad("unreadable", oid_of(key), key, text)
            if self._is_whole:
                self._scratch.bring_whole(key for key in some if (self._root / key).exists())
            for key in some:
                if key not in failed:
                    yield oid_of(key), key

    def _digested(self, fd: int, path: str) -> tuple[bytes, bool]:
        if self._is_whole:
            return super()._digested(fd, path)
        whole = self._root / "whole"
        try:
            self._scratch.backend.download(path, whole)
            with open(whole, "rb") as file:
                return hashed(blocks_of(file.fileno()), self._signer)
        finally:
            whole.unlink(missing_ok=True)

    def _is_there(self, oid: bytes) -> bool:
        return self._scratch.backend.size(path_of(oid)) is not None

    def _hash_of(self, path: str) -> bytes:
        backend = self._scratch.backend
        try:
            if (backend.size(path) or 0) > MOST_HASHED:
                return b""
            return id_of([memoryview(backend.read(path))])
        except StoreError:
            return b""
