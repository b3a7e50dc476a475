"""Where the mirror of a remote store is on this machine, and whether the store can be used.

A remote store has a format file like a local one, with one line more: an id, drawn when the store
was made. The folder of its mirror is named by URL and id, so that another store which comes to
stand at the same URL, or at the same URL of another server, has a mirror of its own.

    tasklineage store
    version 1
    hash xxh3-128
    id 3f9c0e…
    checksum 27fec87b7e2fa922
"""

from __future__ import annotations

import atexit
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import xxhash

from tasklineage import config
from tasklineage.errors import ConfigError, MissingObject, StoreError, StoreNotFound, StoreReadOnly
from tasklineage.storage import format as layout
from tasklineage.storage.backend import Backend, open_backend
from tasklineage.storage.patience import Patient
from tasklineage.storage.signing import FILE as SIGNATURES

PROBE = "probe/write"
_PATIENCE, _TIMEOUT = 2.0, 4.0
"""Seconds for which somebody is looked for who answers, and for the first request."""
_BUSY = 20.0
"""Seconds for which somebody is waited for who answers and refuses."""
_OF_PROCESS = ("memory",)
"""Kinds of URLs whose stores end with the process; so do their mirrors."""
_UNITS = {"": 1, "K": 1_000, "M": 1_000_000, "G": 1_000_000_000, "T": 1_000_000_000_000}
_size = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)i?B?\s*", re.IGNORECASE).fullmatch
_not_plain = re.compile(r"[^A-Za-z0-9.]+")


class Opened(NamedTuple):
    """A remote store that can be used."""

    url: str
    backend: Backend
    mirror: Path
    can_be_written: bool
    limit: int
    """Bytes that fetched objects may take on this machine."""
    is_signed: bool = False


def open_mirror(
    url: str, storage_options: Mapping[str, Any] | None, *, read_only: bool, create: bool
) -> Opened:
    """The remote store at `url`, which is made if there is none, and the folder of its mirror.

    Costs three requests, five if it is made. What is wrong with address, credentials or bucket is
    found out here, within seconds.

    Raises
    ------
    StoreNotFound
        There is none, and none shall be made.
    StoreError
        It cannot be read, or is none; the message names URL, operation and reason.
    """
    limit = cache_limit()
    backend = open_backend(url, storage_options)
    found = _format(backend) or _made(backend, may_create=create and not read_only)
    layout.check(found, url)
    can_be_written = not read_only and _can_write(Patient(backend))
    mirror = _folder(url, found)
    layout.open_folder(mirror)
    is_signed = Patient(backend).size(SIGNATURES) is not None
    return Opened(url, backend, mirror, can_be_written, limit, is_signed)


def mirror_of(url: str, found: bytes) -> Path | None:
    """The mirror that this machine has of the store with this format file; None: it has none."""
    if url.partition("://")[0] in _OF_PROCESS:
        return None
    folder = _folder(url, found)
    return folder if folder.is_dir() else None


def cache_limit() -> int:
    """Bytes that fetched objects may take on this machine.

    Raises
    ------
    ConfigError
        What the environment says is no size.
    """
    text = config.cache_size()
    match = _size(text)
    if match is None:
        raise ConfigError(
            f"TASKLINEAGE_CACHE_SIZE={text!r} is no size: say `20 GB`, `500 MB` or a number of "
            "bytes"
        )
    return int(float(match[1]) * _UNITS[match[2].upper()])


def _format(backend: Backend) -> bytes | None:
    """The format file; None where there is none. Whether there is an answer shows soon."""
    backend.timeout = _TIMEOUT
    try:
        return Patient(backend, _BUSY, unreached=_PATIENCE).read(layout.FILE)
    except MissingObject:
        return None
    finally:
        backend.timeout = None


def _made(backend: Backend, *, may_create: bool) -> bytes:
    """The format file of a store that is made now, by this process or another one."""
    if not may_create:
        raise StoreNotFound(f"there is no store at {backend.url}")
    made = layout.content(id=os.urandom(16).hex())
    patient = Patient(backend)
    try:
        patient.create(layout.FILE, made)
    except StoreError as error:
        if error.errno != errno.ENOTSUP:
            raise
        patient.write(layout.FILE, made)  # of two at once the later one holds
    return patient.read(layout.FILE)


def _can_write(backend: Backend) -> bool:
    try:
        backend.write(PROBE, b"")
    except StoreReadOnly:
        return False
    return True


def _folder(url: str, found: bytes) -> Path:
    if url.partition("://")[0] in _OF_PROCESS:
        return _passing_folder()
    name = _not_plain.sub("-", url).strip("-")[:60]
    digest = xxhash.xxh3_64_hexdigest(url.encode() + b"\0" + found)
    return Path(config.state_folder(), "mirrors", f"{name}-{digest}")


def _passing_folder() -> Path:
    """A folder that ends with this process."""
    folder = Path(tempfile.mkdtemp(prefix="tasklineage-"))
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder
