"""How a working tree differs from the commit that is checked out, read without starting `git`.

Files whose size and times are those of the index are taken as unchanged, as Git does; the others
are hashed. The index is described in Git's gitformat-index, patterns in gitignore.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tasklineage.core.repository import Entry, Repository, Unreadable

MOST_BYTES = 1 << 20
"""Of the diff that is kept."""
MOST_UNTRACKED = 200
_MOST_FILES = 100_000
_MOST_LINES = 5_000
_PATIENCE = 2.0
_GITLINK, _LINK = 0o160000, 0o120000
_BROKEN = (OSError, ValueError, IndexError, struct.error, zlib.error, RecursionError)


class Changes(NamedTuple):
    """What a working tree has beside its commit."""

    commit: str = ""
    changed: tuple[str, ...] = ()
    """Files that Git knows and that are not as they were committed."""
    diff: str = ""
    untracked: tuple[str, ...] = ()
    note: str = ""
    """What could not be read, or was cut off."""


class _Cached(NamedTuple):
    """An entry of the index."""

    path: bytes
    mode: int
    oid: bytes
    modified: int
    size: int
    is_assumed: bool
    """The user has said that it does not change."""


def changes_of(repository: Repository) -> Changes:
    """The changes; where something cannot be read, what could be, and a note."""
    found = Changes()
    try:
        until = time.monotonic() + _PATIENCE
        found = Changes(repository.head())
        if _has_other_hash(repository):
            raise Unreadable("its objects are named by another hash than SHA-1")
        changed, diff, note = _changed(repository, found.commit, until)
        found = found._replace(changed=changed, diff=diff, note=note)
        untracked = tuple(_untracked(repository, until))
        return found._replace(untracked=untracked)
    except Unreadable as error:
        return found._replace(note=f"the working tree was not read wholly: {error}")
    except _BROKEN as error:
        return found._replace(note=f"the working tree was not read wholly: {error!r}")


def _changed(repository: Repository, commit: str, until: float) -> tuple[tuple[str, ...], str, str]:
    index = repository.folder / "index"
    entries, tree = _index(index.read_bytes()) if index.exists() else ([], None)
    written = index.stat().st_mtime_ns if entries else 0
    head: Mapping[bytes, Entry] | None = {}
    if commit:
        root = repository.tree(commit)
        head = None if tree == root else dict(repository.files(root))
    names: list[str] = []
    pieces: list[str] = []
    size, note = 0, ""
    gone = () if head is None else head.keys() - {entry.path for entry in entries}
    for path, old, new in _differences(repository, entries, head, written, gone, until):
        name = os.fsdecode(path)
        names.append(name)
        text = _diff(name, old, new)
        size += len(text)
        if size > MOST_BYTES:
            note = f"the diff was cut off at {MOST_BYTES >> 20} MiB"
        else:
            pieces.append(text)
    return tuple(names), "".join(pieces), note


def _differences(
    repository: Repository,
    entries: list[_Cached],
    head: Mapping[bytes, Entry] | None,
    written: int,
    gone: Iterator[bytes] | set[bytes] | tuple[()],
    until: float,
) -> Iterator[tuple[bytes, bytes | None, bytes | None]]:
    """Path, committed content and present content of each file that differs."""
    for number, entry in enumerate(entries):
        if number % 256 == 0:
            _check(until)
        base = entry.oid if head is None else getattr(head.get(entry.path), "oid", None)
        if entry.mode == _GITLINK or entry.is_assumed:
            continue
        is_same, content = _present(repository.root, entry, written)
        if is_same and base == entry.oid:
            continue
        if is_same or content is None or _blob_id(content) != base:
            if is_same:
                content = _content(repository.root, entry)
            yield entry.path, None if base is None else repository.read(base), content
    if head is not None:
        for path in sorted(gone):
            yield path, repository.read(head[path].oid), None


def _present(root: Path, entry: _Cached, written: int) -> tuple[bool, bytes | None]:
    """Whether the file is as the index has it; if that takes reading it, its content."""
    path = os.path.join(os.fsencode(root), entry.path)
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False, None
    is_old = status.st_mtime_ns < written  # else it may have changed within a tick of the clock
    if is_old and (status.st_mtime_ns, status.st_size & 0xFFFFFFFF) == (entry.modified, entry.size):
        return True, None
    content = _content(root, entry)
    return content is not None and _blob_id(content) == entry.oid, content


def _content(root: Path, entry: _Cached) -> bytes | None:
    path = os.path.join(os.fsencode(root), entry.path)
    try:
        if stat.S_ISLNK(os.lstat(path).st_mode):
            return os.readlink(path)
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def _blob_id(content: bytes) -> bytes:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).digest()


def _index(data: bytes) -> tuple[list[_Cached], bytes | None]:
    """The entries of an index, and the id of the tree that they make, if that is noted in it."""
    mark, version, count = struct.unpack_from(">4sII", data)
    if mark != b"DIRC" or version not in (2, 3, 4) or count > _MOST_FILES:
        raise Unreadable(f"an index of version {version} with {count} files")
    entries: list[_Cached] = []
    at, name = 12, b""
    for _ in range(count):
        begin = at
        modified, nanoseconds, mode, size = struct.unpack_from(">8xII8xI8xI", data, at)
        oid, flags = data[at + 40 : at + 60], int.from_bytes(data[at + 60 : at + 62], "big")
        at += 62
        is_assumed = bool(flags & 0x8000)
        if flags & 0x4000:
            is_assumed |= bool(data[at] & 0x40)
            at += 2
        if version == 4:
            dropped, at = _dropped(data, at)
            end = data.index(b"\0", at)
            name = name[: len(name) - dropped] + data[at:end]
            at = end + 1
        else:
            end = data.index(b"\0", at)
            name = data[at:end]
            at = begin + (end - begin + 8) // 8 * 8
        modified_ns = modified * 1_000_000_000 + nanoseconds
        entries.append(_Cached(name, mode, oid, modified_ns, size, is_assumed))
    return entries, _noted_tree(data, at)


def _dropped(data: bytes, at: int) -> tuple[int, int]:
    value = data[at] & 127
    while data[at] & 128:
        at += 1
        value = ((value + 1) << 7) | (data[at] & 127)
    return value, at + 1


def _noted_tree(data: bytes, at: int) -> bytes | None:
    while at + 8 <= len(data) - 20:
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "big")
        if kind == b"link":
            raise Unreadable("an index that is split")
        if kind == b"TREE" and data[at + 8 : at + 9] == b"\0":
            line, _, rest = data[at + 9 : at + 8 + size].partition(b"\n")
            return rest[:20] if int(line.split()[0]) >= 0 else None
        at += 8 + size
    return None


def _diff(name: str, old: bytes | None, new: bytes | None) -> str:
    """As `git diff` shows it."""
    import difflib

    head = f"diff --git a/{name} b/{name}\n"
    kind = "new file" if old is None else "deleted file" if new is None else ""
    head += f"{kind} mode 100644\n" if kind else ""
    before, after = old or b"", new or b""
    if b"\0" in before[:8000] or b"\0" in after[:8000]:
        return f"{head}Binary files differ\n"
    was, now = _lines(before), _lines(after)
    if max(len(was), len(now)) > _MOST_LINES:
        return f"{head}{len(was)} and {len(now)} lines, too many to compare\n"
    old_name = "/dev/null" if old is None else f"a/{name}"
    new_name = "/dev/null" if new is None else f"b/{name}"
    return head + "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
        for line in difflib.unified_diff(was, now, old_name, new_name)
    )


def _lines(content: bytes) -> list[str]:
    lines = content.decode("utf-8", "replace").split("\n")
    return [f"{line}\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def _untracked(repository: Repository, until: float) -> Iterator[str]:
    """Files that Git neither knows nor ignores; of a folder of such files, the folder's name."""
    index = repository.folder / "index"
    entries = _index(index.read_bytes())[0] if index.exists() else []
    known = {os.fsdecode(entry.path) for entry in entries}
    folders = {os.path.dirname(path) for path in known}
    folders |= {above for path in folders for above in _above(path)}
    rules = [*_rules(repository.common / "info" / "exclude", "")]
    found = _walk(repository.root, "", rules, known, folders, until)
    yield from sorted(name for _, name in zip(range(MOST_UNTRACKED), found, strict=False))


def _above(path: str) -> Iterator[str]:
    while path:
        yield path
        path = os.path.dirname(path)


Rule = tuple[re.Pattern[str], bool, bool]
"""What it matches, whether it excludes, whether it is for folders only."""


def _walk(
    root: Path, folder: str, rules: list[Rule], known: set[str], folders: set[str], until: float
) -> Iterator[str]:
    _check(until)
    rules = [*rules, *_rules(root / folder / ".gitignore", folder)]
    with os.scandir(root / folder) as listed:
        entries = sorted(listed, key=lambda entry: entry.name)
    for entry in entries:
        path = f"{folder}/{entry.name}" if folder else entry.name
        is_folder = entry.is_dir(follow_symlinks=False)
        if entry.name == ".git" or path in known or _is_ignored(path, is_folder, rules):
            continue
        if not is_folder:
            yield path
        elif path in folders:
            yield from _walk(root, path, rules, known, folders, until)
        elif not os.path.exists(os.path.join(entry.path, ".git")) and any(
            True for _ in _walk(root, path, rules, known, folders, until)
        ):
            yield f"{path}/"


def _rules(file: Path, folder: str) -> Iterator[Rule]:
    try:
        lines = file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    for line in lines:
        text = line.rstrip()
        if not text or text.startswith("#"):
            continue
        excludes = not text.startswith("!")
        text = text if excludes else text[1:]
        only_folders = text.endswith("/")
        text = text.rstrip("/")
        anchored = "/" in text
        pattern = _pattern(text.lstrip("/"))
        base = re.escape(f"{folder}/") if folder else ""
        yield re.compile(base + ("" if anchored else "(?:.*/)?") + pattern), excludes, only_folders


def _pattern(glob: str) -> str:
    """A regular expression for a pattern of gitignore."""
    replaced = partial(re.sub, r"\*\*/|/\*\*$|\*+|\?|\[!?[^\]]*\]|\\.|.")
    return replaced(lambda found: _piece(found[0]), glob)


def _piece(token: str) -> str:
    fixed = {"**/": "(?:.*/)?", "/**": "/.*", "?": "[^/]"}
    if token in fixed:
        return fixed[token]
    if token.startswith("*"):
        return "[^/]*"
    if token.startswith("[") and len(token) > 1:
        return "[" + token[1:-1].replace("!", "^", 1).replace("\\", "\\\\") + "]"
    return re.escape(token[-1])


def _is_ignored(path: str, is_folder: bool, rules: list[Rule]) -> bool:
    for pattern, excludes, only_folders in reversed(rules):
        if (is_folder or not only_folders) and pattern.fullmatch(path):
            return excludes
    return False


def _has_other_hash(repository: Repository) -> bool:
    try:
        text = (repository.common / "config").read_text("utf-8", "replace")
    except OSError:
        return False
    return re.search(r"objectformat\s*=\s*sha256", text, re.IGNORECASE) is not None


def _check(until: float) -> None:
    if time.monotonic() > until:
        raise Unreadable(f"it took more than {_PATIENCE:.0f} seconds")
