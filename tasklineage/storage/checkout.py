"""Content written to a place outside of the store: all of it at once, and never over anything.

A file is written under a name of its own beside the place and linked to it when it is complete, a
folder is renamed. So another process sees nothing or the whole, and of two that write at the same
time one finds that it is there already. Who is killed leaves a `.tasklineage-…` behind, which
nobody reads.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence

from tasklineage.key.folders import FILE, FOLDER, LINK, Entry

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV)
_MODES = 0o777


def write_file(path: str, mode: int, write: Callable[[int], None]) -> None:
    """Let there be a file at `path` with what `write` writes to a descriptor, and this mode.

    Folders above it that are not there are made.

    Raises
    ------
    FileExistsError
        There is something at `path`; it is left as it is.
    OSError
        The file could not be written. Whatever `write` raises comes through. Nothing is left.
    """
    temporary = _beside(path)
    try:
        _write_new(temporary, mode, write)
        _publish(temporary, path)
    finally:
        _remove(temporary)


def write_folder(
    path: str, mode: int, entries: Sequence[Entry], write: Callable[[Entry, int], None]
) -> None:
    """Let there be a folder at `path` with these entries; `write` writes a file to a descriptor.

    The entries are checked already: every name stays in the folder, parents come first. Links are
    made last, so that nothing is written through one.

    Raises
    ------
    FileExistsError, OSError
        As for `write_file`.
    """
    temporary = _beside(path)
    try:
        os.mkdir(temporary, 0o700)
        for entry in entries:
            _write_entry(f"{temporary}/{entry.name}", entry, write)
        for entry in entries:
            if entry.kind == LINK:
                os.symlink(entry.link, f"{temporary}/{entry.name}")
        for entry in reversed(entries):
            if entry.kind == FOLDER:
                os.chmod(f"{temporary}/{entry.name}", entry.mode & _MODES)
        os.chmod(temporary, mode & _MODES)
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        _rename_folder(temporary, path)
    except BaseException:
        import shutil  # slow to import, rarely needed

        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _write_entry(path: str, entry: Entry, write: Callable[[Entry, int], None]) -> None:
    if entry.kind == FOLDER:
        os.mkdir(path, 0o700)
    elif entry.kind == FILE:
        _write_new(path, entry.mode, lambda descriptor: write(entry, descriptor))


def _beside(path: str) -> str:
    """A path in the same folder, which exists now, for what is not complete."""
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    return f"{folder.rstrip('/')}/.tasklineage-{os.urandom(8).hex()}"


def _write_new(path: str, mode: int, write: Callable[[int], None]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        write(descriptor)
        os.fchmod(descriptor, mode & _MODES)
    finally:
        os.close(descriptor)


def _publish(temporary: str, path: str) -> None:
    """Give a finished file its name, if nothing has that name."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None
        os.rename(temporary, path)


def _rename_folder(temporary: str, path: str) -> None:
    try:
        os.rename(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.ENOTDIR):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None
        raise


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:  # it has been renamed, or the error under way matters more
        return
