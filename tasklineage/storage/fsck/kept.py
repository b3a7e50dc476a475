"""What is kept by name, and what runs that were taken out need no more.

Refs and pins are looked at here, and the lists of garbage collection.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tasklineage.storage import ref_names, refs
from tasklineage.storage.backend import Folder
from tasklineage.storage.codecs import named_ids
from tasklineage.storage.epochs import FOLDER as GC
from tasklineage.storage.fsck.findings import Findings
from tasklineage.storage.fsck.layout import entries, is_old, walk, what
from tasklineage.storage.reach import read_graph
from tasklineage.storage.refs import Refs, Version
from tasklineage.storage.roots import ARTIFACT, Pins, Root, reached_by
from tasklineage.storage.signing import Signer
from tasklineage.storage.sweeps import read_list

Needs = dict[bytes, tuple[tuple[str, int], ...]]


class Pointer(NamedTuple):
    """Where a version of a ref points."""

    path: str
    text: str
    kind: str
    target: bytes
    oids: tuple[bytes, ...]
    """The objects that the ref itself names for a value."""


def check_refs(root: Path, findings: Findings, signer: Signer | None = None) -> Iterator[Pointer]:
    """Find versions of refs that are damaged, or lack one before them; and where the others lead.

    To be read before the records are: what a ref points to was recorded before.
    """
    _check_ref_files(root, findings)
    known, anybody = _refs(root, signer), _refs(root)
    for name in known.names():
        last = 0
        needed = {version.number for version in known.kept(name)}
        history = sorted(known.history(name), key=lambda version: version.number)
        deleted = max((one.number for one in history if one.kind == refs.DELETED), default=0)
        for version in history:
            path = ref_names.version_key(name, version.number)
            if version.number != last + 1 and version.number > deleted:  # those before may be gone
                text = f"there is none after number {last}"
                findings.add("ref-version-missing", path, text, mark=f"before-{_mark(path)}")
            last = version.number
            if version.kind == refs.DAMAGED:
                whole = {one.number for one in anybody.history(name) if one.kind != refs.DAMAGED}
                kind = "ref-unsigned" if version.number in whole else "ref-damaged"
                findings.add(kind, path, version.message, mark=_mark(path))
            elif version.number in needed:
                text = f"{name} points to {version.kind} {version.target.hex()}"
                yield Pointer(path, text, version.kind, version.target, _root(version).oids)


def check_pointer(pointer: Pointer, findings: Findings, *, is_recorded: bool) -> None:
    """Find a version of a ref that points to a run or call that no record tells of."""
    if pointer.kind != ARTIFACT and not is_recorded:
        findings.add("ref-broken", pointer.path, pointer.text, mark=_mark(pointer.path))


def still_needed(root: Path, needs: Needs) -> Needs:
    """Those of the objects that are needed by more than runs that were taken out.

    Of several records of one call the newest counts: a call whose result was swept when it was just
    recorded has written a second one.
    """
    roots = list(_roots(root))
    graph = read_graph(root, {one.id for one in roots if one.kind == ARTIFACT})
    if len(graph.kept()) == len(graph.runs) and not was_swept(root):
        return needs
    by_runs = graph.reached((run.id for run in graph.kept()), (), ())
    kept = by_runs.objects | reached_by(graph, roots).objects
    return {oid: said for oid, said in needs.items() if oid in kept}


def check_lists(root: Path, findings: Findings) -> None:
    """Find lists of garbage collection that are not what was written: nobody acts on those."""
    for kind in ("condemned", "sweeps"):
        for name, status in entries(root / GC / kind):
            path = f"{GC}/{kind}/{name}"
            if not stat.S_ISREG(status.st_mode):
                findings.add("not-a-file", path, what(status), repair=("move",))
            elif not name.isdecimal():
                findings.add("leftover" if is_old(status) or name[0] == "." else "foreign", path)
            elif read_list(root / path) is None:
                findings.add("list-damaged", path, repair=("move",))


def was_swept(root: Path) -> bool:
    """Whether garbage was ever collected here."""
    return any(entries(root / GC / "sweeps"))


def _check_ref_files(root: Path, findings: Findings) -> None:
    for path, status in walk(root / ref_names.FOLDER):
        key = str(Path(path).relative_to(root))
        if stat.S_ISDIR(status.st_mode):
            continue
        if not stat.S_ISREG(status.st_mode):
            findings.add("not-a-file", key, what(status), repair=("move",))
        elif ref_names.version_at(key) is None:
            is_half = Path(path).name.startswith(".")
            findings.add("leftover" if is_half else "foreign", key)


def _mark(path: str) -> str:
    return path.replace("/", "+")


def _refs(root: Path, signer: Signer | None = None) -> Refs:
    return Refs(Folder(str(root)), read_only=True, signer=signer)


def _roots(root: Path) -> Iterator[Root]:
    yield from Pins(Folder(root), read_only=True).all()
    known = _refs(root)
    for name in known.names():
        yield from (_root(version) for version in known.kept(name) if version.is_there)


def _root(version: Version) -> Root:
    oids = named_ids(version.ref) if version.kind == ARTIFACT else ()
    return Root(version.kind, version.target, f"ref {version.name}", oids)
