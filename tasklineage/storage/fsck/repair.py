"""What is done about damage. Nothing is ever deleted, cut off or written over.

What is damaged is moved to `quarantine`, so that it is missing, and made again by whoever needs it.
The sound records of a damaged segment are written to a new one before that. What is gone for good
is noted there by an empty file, so that it is told once.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from tasklineage.storage import format as layout
from tasklineage.storage import frames
from tasklineage.storage.catalog import FILE as CATALOG
from tasklineage.storage.fsck.findings import Finding
from tasklineage.storage.fsck.layout import NOTED, QUARANTINE
from tasklineage.storage.fsck.segments import Segments
from tasklineage.storage.journal import Journal
from tasklineage.storage.modes import create_file, make_folder
from tasklineage.storage.regular import open_regular
from tasklineage.storage.segment import FORMAT, LONGEST, is_held, read_head
from tasklineage.storage.signing import FILE as SIGNATURES
from tasklineage.storage.signing import Signer

_AT_ONCE = 500
"""Records that are written again with one append."""


class Repair:
    """Repairs the store at `root`; other processes may use it meanwhile."""

    def __init__(self, root: Path, segments: Segments, signer: Signer | None = None) -> None:
        self._root = root
        self._signer = signer
        self._segments = segments
        self._done: dict[str, str] = {}
        """What became of files that several findings are about."""
        self._verbs: dict[str, Callable[..., str]] = {
            "move": self._move,
            "return": self._return,
            "reframe": self._reframe,
            "format": self._format,
            "mode": self._mode,
            "note": self._note,
        }

    def mend(self, findings: list[Finding]) -> None:
        """Do what can be done about each; `repaired` says what was."""
        for finding in findings:
            if finding.repair and not finding.is_known:
                verb, *given = finding.repair
                try:
                    finding.repaired = self._verbs[verb](finding.path, *given)
                except OSError as error:
                    finding.text += f" (not repaired: {error.strerror or error})"
        if any(path.startswith("journal/") for path in self._done):
            self._forget_catalog()

    def _move(self, path: str) -> str:
        """Out of the way, under a name of its own."""
        if path in self._done:
            return self._done[path]
        if path.startswith("journal/") and self._is_growing(path):
            raise OSError(errno.EBUSY, "its writer lives; try again when it has ended")
        parts = path.split("/")
        name = "".join(parts[1:]) if parts[0] == "objects" else "-".join(parts[1:] or parts)
        folder = make_folder(self._root / QUARANTINE)
        place = f"{QUARANTINE}/{name}-{os.urandom(4).hex()}"
        os.rename(self._root / path, folder.parent / place)
        self._done[path] = f"moved to {place}"
        if parts[0] in ("objects", "journal"):
            self._note(path, name)
        return self._done[path]

    def _return(self, path: str, other: str) -> str:
        """To the place where it belongs, if there is nothing."""
        wrong, right = (other, path) if path.startswith("objects/") else (path, other)
        if os.path.lexists(self._root / right):
            return self._move(wrong)
        make_folder((self._root / right).parent)
        os.link(self._root / wrong, self._root / right, follow_symlinks=False)
        self._move(wrong)
        return f"is at {right} again"

    def _reframe(self, path: str) -> str:
        """The sound records of a segment stand in a new one, and the old one is out of the way."""
        if path in self._done:
            return self._done[path]
        if self._is_growing(path):
            raise OSError(errno.EBUSY, "its writer lives; try again when it has ended")
        if self._signer is None and self._is_there(SIGNATURES):
            raise OSError(errno.EACCES, "what is written anew has to be signed: give the key")
        _, writer, name = path.split("/")
        bad = [
            (start, end) for start, end, _ in self._segments.damaged.get((writer, int(name)), ())
        ]
        count = self._copied(path, frames.place(writer, int(name)), bad)
        return f"{count} sound records written anew, the rest {self._move(path)}"

    def _copied(self, path: str, place: int, bad: list[tuple[int, int]]) -> int:
        data = self._read(path)
        journal = Journal(self._root, durability="power", signer=self._signer)
        count = start = 0
        pending: list[tuple[int, bytes]] = []
        while start >= 0:
            found, end = frames.walk(data, place, 0, start)
            for offset, _, kind, payload in found:
                if not any(first <= offset < last for first, last in bad):
                    pending.append((kind, payload))
            start = frames.find(data, place, 0, end + 1) if end < len(data) else -1
        for at in range(0, len(pending), _AT_ONCE):
            journal.append_encoded(pending[at : at + _AT_ONCE])
            count += len(pending[at : at + _AT_ONCE])
        journal.close()
        return count

    def _read(self, path: str) -> bytes:
        fd = open_regular(self._root / path)
        try:
            return os.pread(fd, LONGEST, 0)
        finally:
            os.close(fd)

    def _format(self, path: str) -> str:
        """The file that every store of this version has: the segments tell the version."""
        if not self._is_this_version():
            raise OSError(errno.EINVAL, "nothing tells the version; restore it from a backup")
        moved = f"; the old one was {self._move(path)}" if self._is_there(path) else ""
        layout.put(self._root / path, layout.content())
        return f"written anew{moved}"

    def _mode(self, path: str, mode: str) -> str:
        status = os.lstat(self._root / path)
        if stat.S_ISLNK(status.st_mode):
            return ""
        os.chmod(self._root / path, int(mode, 8))
        return f"mode {mode}"

    def _note(self, _path: str, mark: str) -> str:
        """An empty file that stands for the loss."""
        place = make_folder(self._root / QUARANTINE) / f"{mark}{NOTED}"
        if not self._is_there(f"{QUARANTINE}/{place.name}"):
            os.close(create_file(place))
        return f"noted as {QUARANTINE}/{place.name}: what needs it is made again"

    def _is_there(self, path: str) -> bool:
        return os.path.lexists(self._root / path)

    def _is_growing(self, path: str) -> bool:
        try:
            fd = open_regular(self._root / path)
        except OSError:
            return False
        try:
            return is_held(fd)
        finally:
            os.close(fd)

    def _is_this_version(self) -> bool:
        """Whether every segment that can be read is of this version, and there is one."""
        heads = []
        for path in (self._root / "journal").glob("*/*"):
            try:
                fd = open_regular(path)
            except OSError:
                continue
            try:
                heads.append(read_head(fd))
            finally:
                os.close(fd)
        known = [head.format for head in heads if head is not None]
        return bool(known) and set(known) == {FORMAT}

    def _forget_catalog(self) -> None:
        """It tells of records that stand elsewhere now."""
        if self._is_there(CATALOG):
            self._move(CATALOG)
