"""Files of a store that are opened only if they are files.

A stranger's store may have anything under the names that are read and written here: a FIFO, which
would keep who opens it waiting for ever; a link to a file of the user, which an append would
change; a device without an end. A file that was put there by this package is none of these.
"""

from __future__ import annotations

import errno
import os
import stat


def open_regular(path: str | os.PathLike[str], flags: int = os.O_RDONLY) -> int:
    """A descriptor of the file at `path`, which is no link, no FIFO and no device.

    Raises
    ------
    OSError
        There is none (`FileNotFoundError`), it is something else, or it cannot be opened.
    """
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        require_regular(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def require_regular(fd: int, path: str | os.PathLike[str]) -> None:
    """Nothing, if `fd` is of a file.

    Raises
    ------
    OSError
        It is of something else.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
