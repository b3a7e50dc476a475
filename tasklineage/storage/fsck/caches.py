"""The two caches, whose lines carry a checksum each: verified objects, and hashes of files."""

from __future__ import annotations

import os
from pathlib import Path

import xxhash

from tasklineage.storage import file_hashes, verified
from tasklineage.storage.fsck.findings import Findings
from tasklineage.storage.objects import StatKey
from tasklineage.storage.regular import open_regular

_LONGEST = 64 << 20


def vouched(root: Path, findings: Findings) -> dict[bytes, StatKey]:
    """The objects that `verified` vouches for, and in which state of their files."""
    content = _content(root, verified.FILE, findings)
    known, wrong = verified.parsed(content)
    _tell(findings, verified.FILE, wrong, len(content) % verified.LINE)
    return known


def check_hashes(root: Path, findings: Findings) -> None:
    """Find lines of `hashes` that are not what was written."""
    content = _content(root, file_hashes.FILE, findings)
    size = file_hashes.LINE
    lines = (content[at : at + size] for at in range(0, len(content) - size + 1, size))
    wrong = sum(xxhash.xxh3_64_digest(line[:-8])[::-1] != line[-8:] for line in lines)
    _tell(findings, file_hashes.FILE, wrong, len(content) % size)


def _tell(findings: Findings, name: str, wrong: int, torn: int) -> None:
    """A line that was cut off moves all that follow it: then nothing is known of those."""
    if torn:
        findings.add("cache-torn", name, f"{torn} bytes of a line", repair=("move",))
    elif wrong:
        findings.add("cache-damaged", name, f"{wrong} lines", repair=("move",))


def _content(root: Path, name: str, findings: Findings) -> bytes:
    try:
        fd = open_regular(root / name)
    except FileNotFoundError:
        return b""
    except OSError:  # what it is instead was told of
        return b""
    try:
        return os.read(fd, _LONGEST)
    except OSError as error:
        findings.add("unreadable", name, error.strerror or "", repair=("move",))
        return b""
    finally:
        os.close(fd)
