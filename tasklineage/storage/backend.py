"""Bytes under keys: the one small interface to whatever a store is kept on.

A key is a relative path with `/` between its parts: `journal/00c0ffee00c0ffee/00000001`. No part of
it begins with a dot. Under a key stands a piece of bytes that is seen whole or not at all.

`Folder` keeps them below a local folder, `urls.Fsspec` below any URL that fsspec knows, and `s3.S3`
adds what S3 has beyond that. `open_backend` picks one.

What may fail for a while raises `StoreUnavailable`, whatever the library below calls it, and is not
tried again here: see `patience`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from tasklineage.errors import (
    MissingObject,
    StoreError,
    StoreNotFound,
    StoreReadOnly,
    StoreUnavailable,
)
from tasklineage.storage.flushing import flush, flush_paths
from tasklineage.storage.modes import create_file, make_folder

_BLOCK = 4 << 20
_ABSENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_PASSING = frozenset({
    errno.EAGAIN, errno.EBUSY, errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET,
    errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EPIPE, errno.ETIMEDOUT,
})  # fmt: skip
_PASSING_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_PASSING_CODES = frozenset({"OperationAborted", "RequestTimeout", "SlowDown", "Throttling"})
_NO_BUCKET = "NoSuchBucket"
_MEANING = {
    _NO_BUCKET: "the bucket does not exist",
    "AccessDenied": "these credentials may not do that",
    "InvalidAccessKeyId": "the server does not know this access key",
    "SignatureDoesNotMatch": "the secret is not that of the access key",
    "403": "these credentials may not do that",
    "ExpiredToken": "the credentials have expired",
    "PermanentRedirect": "the bucket is in another region",
    "AuthorizationHeaderMalformed": "the bucket is in another region",
    "IllegalLocationConstraintException": "the bucket is in another region",
}
"""What codes of S3 say; some servers send no more than these."""
_PASSING_NAMES = frozenset({
    "ClientConnectionError", "ClientPayloadError", "ConnectionError", "HTTPClientError",
    "IncompleteRead", "IncompleteReadError", "ResponseParserError", "SSHException",
})  # fmt: skip
"""Classes of libraries that need not be installed."""
_UNREACHED_NAMES = frozenset({
    "ClientConnectorError", "ConnectTimeoutError", "EndpointConnectionError", "gaierror",
})  # fmt: skip


class Entry(NamedTuple):
    """What a listing says of one key."""

    key: str
    size: int
    modified: float
    """Seconds since the epoch by the store's clock, see `Backend.now`; 0.0 where it has none."""


Entries: TypeAlias = list[Entry]
Names: TypeAlias = list[str]


class Backend(ABC):
    """Bytes under keys. Any thread may call, and a forked child.

    Raises
    ------
    StoreUnavailable
        From any method: it cannot be reached or refuses just now. Trying again may help.
    StoreError
        From any method: it will not do, and `errno` says why, where there is one.
    ValueError
        From any method: the key is none.
    """

    url: str
    """Where it is, for people and for messages."""
    can_create: bool = True
    """Whether `create` is to be had."""
    timeout: float | None = None
    """Seconds that one request may take before it counts as failed, where that can be told."""

    @abstractmethod
    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """The bytes under the key, from `start` up to `end`; fewer where it has fewer.

        Raises
        ------
        MissingObject
            There is nothing under that key.
        """

    @abstractmethod
    def write(self, key: str, data: bytes) -> None:
        """The bytes are under the key, whole or not at all, instead of what was there."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> bool:
        """Whether the bytes are under the key now; False: something is there already.

        Of any number of callers at once one wins.

        Raises
        ------
        StoreError
            This backend cannot tell (`can_create` is false).
        """

    @abstractmethod
    def list(self, prefix: str = "", after: str = "") -> Entries:
        """Everything below the folder `prefix`, at any depth, in the order of the keys.

        With `after`, only what comes behind that key. Costs a request per thousand keys.
        """

    @abstractmethod
    def names(self, prefix: str = "") -> Names:
        """The names directly below the folder `prefix`, those of folders included, sorted."""

    @abstractmethod
    def size(self, key: str) -> int | None:
        """How many bytes are under the key; None where there is nothing."""

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """There is nothing under these keys. One that is not there is no error."""

    @abstractmethod
    def now(self) -> float:
        """Seconds since the epoch by the clock that `Entry.modified` is from."""

    def upload(self, key: str, path: str | os.PathLike[str]) -> None:
        """As `write`, of the content of a local file, which is not held in memory."""
        self.write(key, Path(path).read_bytes())

    def download(self, key: str, path: str | os.PathLike[str]) -> None:
        """The local file, which is made or emptied, holds what is under the key.

        Raises
        ------
        MissingObject
            There is nothing under that key.
        """
        Path(path).write_bytes(self.read(key))

    def read_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The bytes under each key, read at once. A key that has none is left out."""
        found, failed = self.try_read_many(list(keys))
        for error in failed.values():
            raise error
        return found

    def write_many(self, items: Mapping[str, bytes]) -> None:
        """As `write`, of several at once. When it raises, any of them may have been written."""
        for error in self.try_write_many(items).values():
            raise error

    def try_read_many(
        self, keys: Sequence[str], end: int | None = None
    ) -> tuple[dict[str, bytes], dict[str, StoreError]]:
        """As `read_many`, and by key what went wrong instead of raising it.

        With `end`, only the bytes before that.
        """
        found: dict[str, bytes] = {}
        failed: dict[str, StoreError] = {}
        for key in keys:
            try:
                found[key] = self.read(key) if end is None else self.read(key, 0, end)
            except MissingObject:
                continue
            except StoreError as error:
                failed[key] = error
        return found, failed

    def try_write_many(self, items: Mapping[str, bytes]) -> dict[str, StoreError]:
        """As `write_many`, and by key what went wrong instead of raising it."""
        failed: dict[str, StoreError] = {}
        for key, data in items.items():
            try:
                self.write(key, data)
            except StoreError as error:
                failed[key] = error
        return failed

    def close(self) -> None:
        """Connections are let go; the next call opens what it needs."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"


def open_backend(
    url: str | os.PathLike[str],
    storage_options: Mapping[str, Any] | None = None,
    *,
    durable: bool = False,
) -> Backend:
    """The backend for a path or URL. Nothing is read or written yet.

    Parameters
    ----------
    storage_options
        What fsspec gives to the file system of the URL.
    durable
        What a `Folder` has written outlives a power cut.

    Raises
    ------
    ConfigError
        There is no such kind of URL, or its package is not installed.
    """
    text = os.fspath(url)
    scheme, mark, rest = text.partition("://")
    if not mark:
        return Folder(os.path.expanduser(text), durable=durable)
    if scheme in ("file", "local"):
        return Folder(rest, durable=durable)
    if scheme in ("s3", "s3a"):
        from tasklineage.storage.s3 import S3

        return S3(text, storage_options)
    from tasklineage.storage.urls import Fsspec

    return Fsspec(text, storage_options)


def is_key(key: str) -> bool:
    """Whether this can be a key: it leads nowhere else, and is no file in the making."""
    return "\0" not in key and all(part and part[0] != "." for part in key.split("/"))


def check_key(key: str) -> str:
    """The key, which is one.

    Raises
    ------
    ValueError
        It could lead elsewhere, or to a file in the making.
    """
    if not is_key(key):
        raise ValueError(f"{key!r} is no key of a store")
    return key


class Folder(Backend):
    """Bytes in files below a local folder, which has to be there. Modes follow those of the folder.

    A file is written under a temporary name beside its own and moved over it; `create` links it
    there. So readers never see a part of one, and a process that is killed leaves at most a file
    whose name begins with a dot.
    """

    def __init__(self, root: str | os.PathLike[str], *, durable: bool = False) -> None:
        self.root = os.path.abspath(root)
        self.url = self.root
        self._is_durable = durable

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        with self._telling("read", key):
            fd = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                length = os.fstat(fd).st_size if end is None else end
                return _read(fd, start, length - start)
            finally:
                os.close(fd)

    def write(self, key: str, data: bytes) -> None:
        with self._telling("write", key):
            self._place(key, data, os.replace)

    def create(self, key: str, data: bytes) -> bool:
        with self._telling("create", key):
            try:
                self._place(key, data, _link)
            except FileExistsError:
                return False
        return True

    def list(self, prefix: str = "", after: str = "") -> Entries:
        with self._telling("list", prefix):
            found = sorted(self._walk(self._path(prefix), f"{prefix}/" if prefix else ""))
        return [entry for entry in found if entry.key > after]

    def names(self, prefix: str = "") -> Names:
        with self._telling("list", prefix):
            try:
                return sorted(name for name in os.listdir(self._path(prefix)) if name[0] != ".")
            except (FileNotFoundError, NotADirectoryError):
                return []

    def size(self, key: str) -> int | None:
        with self._telling("look at", key):
            try:
                return os.stat(self._path(key)).st_size
            except (FileNotFoundError, NotADirectoryError):
                return None

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with self._telling("delete", key), contextlib.suppress(FileNotFoundError):
                os.unlink(self._path(key))

    def now(self) -> float:
        """The clock of the file system: on a network one it is the server's."""
        path = Path(self.root, f".now.{os.urandom(8).hex()}")
        try:
            fd = create_file(path)
        except OSError:  # read-only: nothing here gets younger
            return time.time()
        try:
            return os.fstat(fd).st_mtime
        finally:
            os.close(fd)
            os.unlink(path)

    def _path(self, key: str) -> str:
        return f"{self.root}/{check_key(key)}" if key else self.root

    def _place(self, key: str, data: bytes, place: Any) -> None:
        """A file with these bytes gets the key's name by `place`."""
        path = Path(self._path(key))
        temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
        try:
            fd = create_file(temporary)
        except FileNotFoundError:
            self._make_folders(path.parent)
            fd = create_file(temporary)
        try:
            try:
                _write(fd, data)
                if self._is_durable:
                    flush(fd)
            finally:
                os.close(fd)
            place(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        if self._is_durable:
            flush_paths(path.parent)

    def _make_folders(self, folder: Path) -> None:
        if not os.path.isdir(folder.parent) and str(folder) != self.root:
            self._make_folders(folder.parent)
        make_folder(folder)
        if self._is_durable:
            flush_paths(folder.parent)

    def _walk(self, folder: str, prefix: str) -> Iterator[Entry]:
        try:
            entries = list(os.scandir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(entry.path, f"{prefix}{entry.name}/")
            elif entry.is_file(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):  # it is gone meanwhile
                    status = entry.stat(follow_symlinks=False)
                    yield Entry(prefix + entry.name, status.st_size, status.st_mtime)

    @contextlib.contextmanager
    def _telling(self, what: str, key: str) -> Generator[None]:
        try:
            yield
        except OSError as error:
            if error.errno is None:  # raised by a signal handler that had nothing to do with us
                raise
            raise failure(self.url, what, key, error) from error


def failure(url: str, what: str, key: str, error: BaseException) -> Any:
    """The error to raise instead of one that a file system has raised: where, what, and why."""
    number = getattr(error, "errno", None)
    status, code = answer_of(error)
    place = f"{url}/{key}" if key else url
    reason = (getattr(error, "strerror", None) if number else None) or str(error) or repr(error)
    if code:
        reason = f"{_MEANING.get(code, reason)} ({code}, HTTP {status})"
    if code == _NO_BUCKET:
        return StoreNotFound(f"cannot {what} {place}: {reason}", errno=errno.ENOENT)
    if what == "read" and isinstance(error, _ABSENT):
        return MissingObject(f"there is nothing at {place}", key=key)
    if is_passing(error):
        return StoreUnavailable(
            f"cannot {what} {place} now: {reason}", errno=number, is_reached=_is_reached(error)
        )
    is_denied = number in _DENIED or isinstance(error, PermissionError)
    kind = StoreReadOnly if is_denied and what in ("write", "create", "delete") else StoreError
    return kind(f"cannot {what} {place}: {reason}", errno=number)


def answer_of(error: BaseException | None) -> tuple[int, str]:
    """HTTP status and code of the server's answer that an error came from; 0 and nothing else."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return int(status), str(response.get("Error", {}).get("Code", ""))
        error = error.__cause__
    return 0, ""


def is_passing(error: BaseException | None) -> bool:
    """Whether trying again may help: it, or what it came from, tells of an overload or a reset."""
    status, code = answer_of(error)
    if status:
        return status in _PASSING_STATUS or code in _PASSING_CODES
    while error is not None:
        if isinstance(error, StoreUnavailable | ConnectionError | TimeoutError):
            return True
        if isinstance(error, OSError) and error.errno in _PASSING:
            return True
        if any(kind.__name__ in _PASSING_NAMES for kind in type(error).__mro__):
            return True
        error = error.__cause__
    return False


def _is_reached(error: BaseException | None) -> bool:
    """Whether an error that may pass tells of somebody at the other end."""
    while error is not None:
        names = {kind.__name__ for kind in type(error).__mro__}
        if isinstance(error, ConnectionRefusedError | TimeoutError) or names & _UNREACHED_NAMES:
            return False
        error = error.__cause__
    return True


def _link(temporary: Path, path: Path) -> None:
    os.link(temporary, path)
    with contextlib.suppress(OSError):  # it is there, that is what counts
        os.unlink(temporary)


def _read(fd: int, start: int, length: int) -> bytes:
    """Up to so many bytes from there on."""
    parts: list[bytes] = []
    while length > 0:
        part = os.pread(fd, min(length, _BLOCK), start)
        if not part:
            break
        parts.append(part)
        start += len(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        count = os.write(fd, view)
        if count == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        view = view[count:]
