"""The segments of the journal as files: names, heads, sequence, and bytes that are no record.

What the records say is not looked at here; see `links`.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import msgpack

from tasklineage.storage import frames, records
from tasklineage.storage.blocks import is_writer
from tasklineage.storage.fsck import facts
from tasklineage.storage.fsck.findings import Finding, Findings
from tasklineage.storage.fsck.layout import entries, is_old, what
from tasklineage.storage.journal import UNSIGNED, Batch, Cursor, Damage, Journal
from tasklineage.storage.listing import PACKING, is_segment
from tasklineage.storage.regular import open_regular
from tasklineage.storage.segment import LONGEST, Head, read_head
from tasklineage.storage.signing import Signer
from tasklineage.storage.tables import Offsets

Key = tuple[str, int]
_SALVAGED = 1 << 20
"""Bytes of one damaged place that are looked through for ids."""
_MOST_GAPS = 1_000
"""Segments that are missed, at most: a stranger may give one any number."""
_MOST_SALVAGED = 1_000
"""Frames of one damaged place that are looked at."""


class Segments:
    """The journal of the store at `root`, as one check sees it."""

    def __init__(self, root: Path, findings: Findings, signer: Signer | None = None) -> None:
        self.journal = Journal(root, read_only=True, signer=signer)
        self.damaged: dict[Key, list[tuple[int, int, Finding]]] = {}
        """By segment, the places that are damaged: first byte, end."""
        self._root = root
        self._findings = findings
        self._cursor: Cursor | None = None
        self._heads: dict[Key, Finding] = {}
        """Segments that do not begin as they should."""
        self._elsewhere: set[Key] = set()
        """Segments that stand under the names of others."""

    @property
    def offsets(self) -> Offsets:
        """How far the journal was read."""
        return {} if self._cursor is None else self._cursor.offsets

    def check_files(self, known: Offsets, explained: Iterable[str] = ()) -> None:
        """Find what is wrong with the files.

        `known` is how far a catalog that is to be trusted has read each; `explained` are segments,
        as `writer-seq`, that were taken out on purpose.
        """
        sizes: dict[Key, int] = {}
        for writer, status in entries(self._root / "journal"):
            if writer.startswith("."):
                if is_old(status) or not self._is_alive(writer[1:17]):
                    self._findings.add("leftover", f"journal/{writer}")
            elif writer == PACKING:
                self._findings.add("leftover", f"journal/{writer}")
            elif not is_writer(writer):
                self._findings.add("foreign", f"journal/{writer}")
            elif not stat.S_ISDIR(status.st_mode):
                self._findings.add(
                    "not-a-file", f"journal/{writer}", what(status), repair=("move",)
                )
            else:
                sizes.update(self._check_writer(writer))
        self._check_sequences(sizes, known, frozenset(explained))

    def batches(self) -> Iterator[Batch]:
        """All records that were not read yet; what is no record is found on the way."""
        if self._cursor is None:
            self._cursor = self.journal.cursor()
        yield from self._cursor.batches(None, self._note)

    def upto(self, since: Offsets, until: Offsets) -> Iterator[Batch]:
        """The records between these offsets."""
        signer = self.journal.signer
        cursor = Journal(self._root, read_only=True, signer=signer).cursor(since)
        for writer, seq, found, end in cursor.batches():
            last = until.get((writer, seq), 0)
            kept = [frame for frame in found if frame[0] < last]
            yield Batch(writer, seq, kept, min(end, last))

    def reject(self, key: Key, start: int, end: int, finding: Finding) -> None:
        """These bytes are an intact record, and yet none that anybody can use."""
        self.damaged.setdefault(key, []).append((start, end, finding))

    def close(self) -> None:
        """Nothing is open."""
        self.journal.close()

    def _is_alive(self, writer: str) -> bool:
        return is_writer(writer) and self.journal.is_alive(writer)

    def _check_writer(self, writer: str) -> Iterator[tuple[Key, int]]:
        for name, status in entries(self._root / "journal" / writer):
            path = f"journal/{writer}/{name}"
            if not is_segment(name):
                self._findings.add("foreign", path)
            elif not stat.S_ISREG(status.st_mode):
                self._findings.add("not-a-file", path, what(status), repair=("move",))
            else:
                key = (writer, int(name))
                if self._has_its_head(key, path):
                    yield key, status.st_size
                if status.st_size > LONGEST:
                    text = f"{status.st_size} bytes"
                    self._findings.add("segment-oversize", path, text, repair=("reframe",))

    def _has_its_head(self, key: Key, path: str) -> bool:
        """False for a segment that is another one."""
        try:
            fd = open_regular(self._root / path)
        except OSError as error:
            self._findings.add("unreadable", path, error.strerror or "", repair=("move",))
            return True
        try:
            head = read_head(fd)
            if head is None:
                self._heads[key] = self._findings.add(
                    "segment-head", path, "no sound one", repair=("reframe",)
                )
            elif key_of(head) != key:
                self._heads[key] = self._misplaced(fd, path, head)
                return False
        except OSError as error:
            self._findings.add("unreadable", path, error.strerror or "", repair=("move",))
        finally:
            os.close(fd)
        return True

    def _misplaced(self, fd: int, path: str, head: Head) -> Finding:
        writer, seq = key_of(head)
        right = f"journal/{writer}/{seq:08d}"
        found = self._findings.add(
            "segment-misplaced", path, f"it is {right}", repair=("return", right)
        )
        self._elsewhere.add((writer, seq))
        data = os.pread(fd, LONGEST, 0)
        for _, _, kind, payload in frames.walk(data, frames.place(writer, seq), 0)[0]:
            with contextlib.suppress(ValueError):
                found.concern(*facts.run_of(records.decode(kind, payload)))
        return found

    def _check_sequences(
        self, sizes: Mapping[Key, int], known: Offsets, explained: frozenset[str]
    ) -> None:
        for key in sorted((_gaps(sizes) | known.keys()) - self._elsewhere):
            writer, seq = key
            name, size = f"{writer}-{seq:08d}", sizes.get(key)
            path = f"journal/{writer}/{seq:08d}"
            if size is None and name not in explained and not self._is_there(path):
                self._findings.add("segment-missing", path, mark=name)
            elif size is not None and size < known.get(key, 0) and not self._has(path, known[key]):
                text = f"{size} bytes, of {known[key]} that were read before"
                self._findings.add("segment-truncated", path, text, mark=f"{name}+{known[key]}")

    def _is_there(self, path: str) -> bool:
        return os.path.lexists(self._root / path)

    def _has(self, path: str, size: int) -> bool:
        try:
            return os.stat(self._root / path).st_size >= size
        except OSError:
            return False

    def _note(self, damage: Damage) -> None:
        key = (damage.writer, damage.seq)
        path = f"journal/{damage.writer}/{damage.seq:08d}"
        text = f"bytes {damage.start} to {damage.end}"
        finding = self._heads.get(key) if damage.start == 0 else None
        if finding is None and damage.reason == "unfinished":
            finding = self._findings.add("segment-unfinished", path, text)
        elif finding is None and damage.reason == UNSIGNED:
            finding = self._findings.add("record-unsigned", path, text, repair=("reframe",))
        elif finding is None and damage.reason == "damaged":
            finding = self._findings.add("record-damaged", path, text, repair=("reframe",))
        elif finding is None:
            if self._findings.has("not-a-file", path):
                return
            finding = self._findings.add("unreadable", path, damage.reason, repair=("move",))
        self.damaged.setdefault(key, []).append((damage.start, damage.end, finding))
        finding.traces.update(self._ids_in(path, damage))

    def _ids_in(self, path: str, damage: Damage) -> Iterator[bytes]:
        """What may be ids of runs and calls in bytes that are no sound record."""
        try:
            fd = open_regular(self._root / path)
        except OSError:
            return
        try:
            data = os.pread(fd, min(damage.end - damage.start, _SALVAGED), damage.start)
        except OSError:
            return
        finally:
            os.close(fd)
        start = 0
        for _ in range(_MOST_SALVAGED):
            yield from _salvaged(data[start + frames.HEAD : start + frames.HEAD + 4096])
            start = data.find(frames.MAGIC, start + 1)
            if start < 0:
                return


def key_of(head: Head) -> Key:
    """Which segment a head is of."""
    return head.writer, head.seq


def _gaps(sizes: Iterable[Key]) -> set[Key]:
    """Segments that must have been there, since later ones of their writer are."""
    newest: dict[str, int] = {}
    here = set(sizes)
    for writer, seq in here:
        newest[writer] = max(seq, newest.get(writer, 0))
    gaps = (
        (writer, seq)
        for writer, last in newest.items()
        for seq in range(max(1, last - _MOST_GAPS), last)
        if (writer, seq) not in here
    )
    return set(islice(gaps, _MOST_GAPS))


def _salvaged(payload: bytes) -> Iterator[bytes]:
    """The first fields of a record that has ids, as far as they can be read."""
    unpacker = msgpack.Unpacker(use_list=False, strict_map_key=False, max_buffer_size=8192)
    unpacker.feed(payload)
    fields: list[Any] = []
    try:
        unpacker.read_array_header()
        for _ in range(6):
            fields.append(unpacker.unpack())
    except (msgpack.UnpackException, ValueError, TypeError):
        pass
    yield from (field for field in fields if type(field) is bytes and len(field) == 16)
