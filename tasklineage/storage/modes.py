"""New files and folders whose permissions follow those of the folder they are in.

A store whose root has mode 0700 so gets files of 0600; one shared with a group, 2770, gets 0660.
The umask has no say: the root decides.
"""

from __future__ import annotations

import os
from pathlib import Path


def make_folder(path: Path) -> Path:
    """`path`, which is a folder now; a new one has the mode of the folder above it."""
    wanted = os.stat(path.parent).st_mode & 0o7777
    try:
        os.mkdir(path, wanted)
    except FileExistsError:
        return path
    if os.stat(path).st_mode & 0o7777 != wanted:
        os.chmod(path, wanted)
    return path


def create_file(path: Path) -> int:
    """A descriptor, for reading and writing, of a new file.

    Raises
    ------
    FileExistsError
        It is there already.
    """
    wanted = os.stat(path.parent).st_mode & 0o666
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, wanted)
    if os.fstat(fd).st_mode & 0o666 != wanted:
        os.fchmod(fd, wanted)
    return fd
