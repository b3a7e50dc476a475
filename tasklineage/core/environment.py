"""What a run executes in: interpreter, machine, installed distributions, the state of its code.

`surroundings` does this in a thread of its own; no process is started.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tasklineage.key.digest import digest
from tasklineage.key.hidden import Hidden
from tasklineage.storage.records import RunEnvironment

if TYPE_CHECKING:
    from tasklineage.core.changes import Changes
    from tasklineage.storage.store import Store

FRESH = 5.0
"""Seconds for which what was found of a working tree is good for further runs."""
_VERSIONED = re.compile(r"(.+?)-([^-]+)(?:-py\d[^-]*)?(?:-[^-]+)?\.(?:dist|egg)-info")

Distribution = tuple[str, str, str]
"""Name and version, and where it was installed from, if not from an index: a URL."""


def record_environment(run: bytes, store: Store) -> None:
    """Find what the run executes in, and append the record of it.

    Raises
    ------
    StoreError
        It could not be written.
    """
    found, changes = _Process.environment(), _Process.changes()
    text = changes.diff
    if Hidden.in_use:
        from tasklineage.key.redaction import redact

        text = redact(text)
    diff = store.put_object(text, digest(text)) if text else None
    store.append(
        RunEnvironment(
            run,
            store.put_object(found, digest(found)),
            changes.commit,
            changes.changed,
            diff,
            changes.untracked,
            changes.note,
        )
    )


def environment() -> dict[str, Any]:
    """What can be said of interpreter, machine and distributions, as JSON can say it."""
    system = os.uname()
    return {
        "python": sys.version.split()[0],
        "implementation": sys.implementation.name,
        "executable": sys.executable,
        "platform": f"{system.sysname} {system.release}",
        "machine": system.machine,
        "cpus": os.cpu_count(),
        "distributions": [list(found) for found in sorted(distributions())],
    }


def current_environment() -> str:
    """`environment` as JSON text; found anew where a folder of `sys.path` has changed."""
    return _Process.environment()


def distributions() -> Iterator[Distribution]:
    """The installed distributions, by the names of the folders that installers leave.

    The first of a name on `sys.path` counts, as for an import. Reading the metadata of each would
    take a hundred times as long.
    """
    seen: set[str] = set()
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                found = _distribution(os.path.join(folder, name), name)
                if found is not None and found[0] not in seen:
                    seen.add(found[0])
                    yield found


def without_credentials(url: str) -> str:
    """The URL without user and password; a bare user, as in `ssh://git@host`, stays.

    Examples
    --------
    >>> without_credentials("https://me:secret@example.org/x.git")
    'https://example.org/x.git'
    """
    from urllib.parse import urlsplit, urlunsplit  # slow to import, rarely needed

    parts = urlsplit(url)
    user, mark, host = parts.netloc.rpartition("@")
    if not mark or (":" not in user and parts.scheme.endswith("ssh")):
        return url
    return urlunsplit(parts._replace(netloc=host))


def _distribution(path: str, name: str) -> Distribution | None:
    matched = _VERSIONED.fullmatch(name)
    if matched is None:
        version = _version_in(os.path.join(path, "PKG-INFO"))
        return (_normal(name.partition(".")[0]), version, "") if version else None
    return _normal(matched[1]), matched[2].replace("_", "-"), _origin(path)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _version_in(path: str) -> str:
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("Version:"):
                return line.partition(":")[2].strip()
    return ""


def _origin(path: str) -> str:
    """Where it was installed from (PEP 610), as pip writes it behind `@`; empty for an index."""
    try:
        content = Path(path, "direct_url.json").read_bytes()
    except OSError:
        return ""
    try:
        said = json.loads(content)
        url = without_credentials(said["url"])
        if "vcs_info" in said:
            commit = said["vcs_info"].get("commit_id", "")
            return f"{said['vcs_info']['vcs']}+{url}{f'@{commit}' if commit else ''}"
        is_editable = said.get("dir_info", {}).get("editable", False)
        return f"editable {url}" if is_editable else url
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


class _Process:
    """What was found last, for the runs of this process."""

    lock = threading.Lock()
    known: ClassVar[dict[str, Any]] = {}

    @classmethod
    def environment(cls) -> str:
        """`environment` as JSON text; found anew where a folder of `sys.path` has changed."""
        stamps = [(folder, _changed_at(folder)) for folder in sys.path]
        with cls.lock:
            if cls.known.get("stamps") != stamps:
                cls.known["text"] = json.dumps(environment(), ensure_ascii=False)
                cls.known["stamps"] = stamps
            text: str = cls.known["text"]
            return text

    @classmethod
    def changes(cls) -> Changes:
        """How the working tree differs from its commit; found anew after some seconds."""
        from tasklineage.core.changes import Changes, changes_of
        from tasklineage.core.repository import find_repository

        with cls.lock:
            try:
                repository = find_repository(Path.cwd())
            except OSError:
                repository = None
            root = None if repository is None else repository.root
            if cls.known.get("root") != root or time.monotonic() > cls.known.get("until", 0.0):
                cls.known["root"] = root
                cls.known["changes"] = Changes() if repository is None else changes_of(repository)
                cls.known["until"] = time.monotonic() + FRESH
            found: Changes = cls.known["changes"]
            return found


def _changed_at(folder: str) -> int:
    try:
        return os.stat(folder or ".").st_mtime_ns
    except OSError:
        return 0


def _after_fork() -> None:
    _Process.lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
