"""Whether stored values decode, and are those that the records say.

Nothing is unpickled, and no class is imported: what needs that is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasklineage.errors import (
    CorruptObject,
    MissingObject,
    StoreError,
    UnhashableArgument,
    UnsafeFormat,
)
from tasklineage.key.digest import digest
from tasklineage.storage import records
from tasklineage.storage.codecs import Undecodable, decode
from tasklineage.storage.fsck import facts
from tasklineage.storage.fsck.findings import Findings
from tasklineage.storage.journal import Frame, Journal
from tasklineage.storage.objects import Objects
from tasklineage.storage.records import Ref
from tasklineage.storage.shapes import malformed
from tasklineage.storage.signing import Signer

_LASTING = frozenset({"plain", "numpy", "text", "bytes"})
"""Codecs of values whose digest depends on nothing but their content."""
_MOST_REMEMBERED = 1_000_000
Progress = Callable[[str, int, int], object]


def check_values(
    root: Path, findings: Findings, progress: Progress, signer: Signer | None = None
) -> None:
    """Decode every value that the records name, each once."""
    one = _Decoder(root, findings, signer)
    journal = Journal(root, read_only=True, signer=signer)
    for done, frame in enumerate(journal.scan({})):
        if done % 1_000 == 0:
            progress("values", done, findings.counts["records"])
        one.look(frame)


class _Decoder:
    """Decodes the values of one record after the other."""

    def __init__(self, root: Path, findings: Findings, signer: Signer | None) -> None:
        self._objects = Objects(root, read_only=True, signer=signer)
        self._findings = findings
        self._done: set[tuple[bytes, bytes | None]] = set()

    def look(self, frame: Frame) -> None:
        """Decode what a record says is stored."""
        try:
            record = records.decode(frame.kind, frame.payload)
            if malformed(record):
                return
        except (ValueError, TypeError, RecursionError):
            return
        for ref in facts.refs_in(record):
            key = (ref.digest, ref.oid)
            if ref.is_stored and key not in self._done:
                if len(self._done) < _MOST_REMEMBERED:
                    self._done.add(key)
                self._decode(ref, frame, record)

    def _decode(self, ref: Ref, frame: Frame, record: Any) -> None:
        where = f"journal/{frame.location.writer}/{frame.location.seq:08d}"
        name = f"{ref.type} {ref.digest.hex()}"
        kind, text = "", ""
        try:
            value = decode(ref, self._objects.open, allow_pickle=False)
            self._findings.counts["values"] += 1
        except (MissingObject, StoreError):  # told of by who looked at the objects
            return
        except UnsafeFormat:
            self._findings.counts["values that need pickle"] += 1
            return
        except Undecodable as error:
            kind, text = "value-undecodable", f"{name}: {error}"
        except CorruptObject as error:
            kind, text = "value-damaged", f"{name}: {error}"
        else:
            if ref.codec in _LASTING and self._differs(value, ref):
                kind, text = "value-differs", name
        if kind:
            mark = f"{kind}-{ref.digest.hex()}"
            finding = self._findings.add(kind, where, text, mark=mark)
            finding.subjects = () if ref.oid is None else (ref.oid,)
            finding.concern(*facts.run_of(record))

    def _differs(self, value: Any, ref: Ref) -> bool:
        try:
            return bool(ref.digest) and digest(value) != ref.digest
        except UnhashableArgument:
            return False
