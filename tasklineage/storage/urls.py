"""Bytes below any URL that fsspec knows.

It is spoken to in one way, whatever the file system: keys travel at once where it can, and errors
become those of `backend`.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import select
import threading
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, TypeAlias

from tasklineage.errors import ConfigError, StoreError
from tasklineage.storage.backend import Backend, Entries, Entry, Names, check_key, failure, is_key

_AT_ONCE = 64
"""Requests that are under way at once."""
_WHOLE_WRITES = frozenset({"memory", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl"})
"""What puts a key in place as a whole; elsewhere a temporary name is moved over it."""
Answers: TypeAlias = list[Any]
_TIMES = ("LastModified", "mtime", "modified", "last_modified", "updated", "created")


class _Loops:
    """The event loops in which file systems of this process wait for answers."""

    known: ClassVar[set[Any]] = set()


def _part_from_parent() -> None:
    """In a forked child: what is closed here of the parent's loops is not closed there.

    An epoll instance is shared across a fork. If the child forgets a connection, as it does when
    what it has inherited is collected, the parent would wait for its answer for ever.
    """
    loops, _Loops.known = _Loops.known, set()
    for loop in loops:
        selector: Any = getattr(loop, "_selector", None)
        with contextlib.suppress(AttributeError, OSError, ValueError):
            fd = selector.fileno()
            with select.epoll() as own:
                os.dup2(own.fileno(), fd, inheritable=False)


os.register_at_fork(after_in_child=_part_from_parent)


class Fsspec(Backend):
    """Bytes below any URL that fsspec knows.

    Parameters
    ----------
    storage_options
        What the file system of that URL takes.

    Notes
    -----
    One file system, and with it one pool of connections, serves all threads; a forked child makes
    its own. Its cache of listings is off. Many keys travel at once where the file system can.
    """

    can_create = False
    _creating = threading.Lock()

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self.url = url.rstrip("/") if url.rstrip("/")[-1:] != ":" else url
        self.scheme = url.partition("://")[0]
        self.can_create = self.scheme == "memory"
        self._options = dict(storage_options or {})
        self._mutex = threading.Lock()
        self._opened: tuple[int, Any, str] | None = None

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        with self._telling("read", key):
            fs, path = self._at(key)
            if start == 0 and end is None:
                return bytes(fs.cat_file(path))
            return bytes(fs.cat_file(path, start=start, end=end))

    def write(self, key: str, data: bytes) -> None:
        with self._telling("write", key):
            fs, path = self._at(key)
            if self.scheme in _WHOLE_WRITES:
                fs.pipe_file(path, data)
            else:
                self._write_beside(fs, path, lambda place: fs.pipe_file(place, data))

    def create(self, key: str, data: bytes) -> bool:
        with self._telling("create", key):
            fs, path = self._at(key)
            if not self.can_create:
                raise StoreError(
                    f"{self.url} cannot create {key} only where it is not there yet: "
                    f"{self.scheme}:// has no such request, so names cannot be kept there safely",
                    errno=errno.ENOTSUP,
                )
            with self._creating:  # memory: of this process alone
                if fs.exists(path):
                    return False
                fs.pipe_file(path, data)
                return True

    def list(self, prefix: str = "", after: str = "") -> Entries:
        with self._telling("list", prefix):
            fs, path = self._at(prefix)
            try:
                infos = fs.find(path, detail=True).values()
            except FileNotFoundError:
                return []
            root = len(path) - len(prefix) if prefix else len(path) + 1
            found = sorted(_entry(info, root) for info in infos)
        below = f"{prefix}/" if prefix else ""
        return [
            entry
            for entry in found
            if entry.key > after and entry.key.startswith(below) and is_key(entry.key)
        ]

    def names(self, prefix: str = "") -> Names:
        with self._telling("list", prefix):
            fs, path = self._at(prefix)
            try:
                paths = fs.ls(path, detail=False)
            except FileNotFoundError:
                return []
        names = (found.rstrip("/").rpartition("/")[2] for found in paths)
        return sorted({name for name in names if name and name[0] != "."})

    def size(self, key: str) -> int | None:
        with self._telling("look at", key):
            fs, path = self._at(key)
            try:
                return int(fs.info(path)["size"])
            except FileNotFoundError:
                return None

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with self._telling("delete", key):
                fs, path = self._at(key)
                with contextlib.suppress(FileNotFoundError):
                    fs.rm_file(path)

    def now(self) -> float:
        """The clock of the store: that of a key which is written and deleted again."""
        key = f"now/{os.urandom(8).hex()}"
        self.write(key, b"")
        try:
            with self._telling("look at", key):
                fs, path = self._at(key)
                return _modified(fs.info(path)) or time.time()
        finally:
            self.delete([key])

    def upload(self, key: str, path: str | os.PathLike[str]) -> None:
        with self._telling("write", key):
            fs, place = self._at(key)
            if self.scheme in _WHOLE_WRITES:
                fs.put_file(os.fspath(path), place)
            else:
                self._write_beside(fs, place, lambda other: fs.put_file(os.fspath(path), other))

    def download(self, key: str, path: str | os.PathLike[str]) -> None:
        with self._telling("read", key):
            fs, place = self._at(key)
            fs.get_file(place, os.fspath(path))

    def try_read_many(
        self, keys: Sequence[str], end: int | None = None
    ) -> tuple[dict[str, bytes], dict[str, StoreError]]:
        fs, _ = self._file_system()
        if not fs.async_impl:
            return super().try_read_many(keys, end)
        answers = self._at_once([self._get(key, end) for key in keys])
        found: dict[str, bytes] = {}
        failed: dict[str, StoreError] = {}
        for key, answer in zip(keys, answers, strict=True):
            if not isinstance(answer, BaseException):
                found[key] = bytes(answer)
            elif not isinstance(answer, FileNotFoundError):
                failed[key] = failure(self.url, "read", key, answer)
        return found, failed

    def try_write_many(self, items: Mapping[str, bytes]) -> dict[str, StoreError]:
        fs, _ = self._file_system()
        if not fs.async_impl or self.scheme not in _WHOLE_WRITES:
            return super().try_write_many(items)
        answers = self._at_once([fs._pipe_file(self._at(k)[1], data) for k, data in items.items()])
        return {
            key: failure(self.url, "write", key, answer)
            for key, answer in zip(items, answers, strict=True)
            if isinstance(answer, BaseException)
        }

    def close(self) -> None:
        with self._mutex:
            self._opened = None

    def _at(self, key: str) -> tuple[Any, str]:
        """The file system, and the key's path in it."""
        fs, root = self._file_system()
        return fs, f"{root}/{check_key(key)}" if key else root

    def _file_system(self) -> tuple[Any, str]:
        """The file system of this process, and the path of the URL in it."""
        opened = self._opened
        if opened is None or opened[0] != os.getpid():
            with self._mutex:
                opened = self._opened
                if opened is None or opened[0] != os.getpid():
                    fs, root = _opened(self.url, self._fs_options())
                    self._prepare(fs)
                    _Loops.known.add(getattr(fs, "_loop", None))
                    opened = self._opened = (os.getpid(), fs, root.rstrip("/"))
        return opened[1], opened[2]

    def _fs_options(self) -> dict[str, Any]:
        """What the file system is made with."""
        return self._options

    def _prepare(self, fs: Any) -> None:
        """Whatever else a new file system needs."""
        if fs.async_impl:
            atexit.register(_outlive_executors, fs.loop)

    async def _get(self, key: str, end: int | None) -> bytes:
        """What is under the key, up to `end`."""
        fs, path = self._at(key)
        if end is None:
            return bytes(await fs._cat_file(path))
        return bytes(await fs._cat_file(path, start=0, end=end))

    def _at_once(self, coroutines: Sequence[Any], limit: int = _AT_ONCE) -> Answers:
        """What each gives or raises, so many at a time."""
        from fsspec import asyn  # pyright: ignore[reportMissingTypeStubs]

        sync: Any = asyn.sync
        loop = self._file_system()[0].loop
        return list(sync(loop, _gather, coroutines, limit, timeout=self.timeout))

    def _write_beside(self, fs: Any, path: str, write: Any) -> None:
        """What `write` puts under a temporary name is moved to its own."""
        folder, _, name = path.rpartition("/")
        temporary = f"{folder}/.{name}.{os.urandom(8).hex()}"
        fs.makedirs(folder, exist_ok=True)
        try:
            write(temporary)
            fs.mv(temporary, path)
        except BaseException:
            with contextlib.suppress(Exception):
                fs.rm_file(temporary)
            raise

    @contextlib.contextmanager
    def _telling(self, what: str, key: str) -> Generator[None]:
        try:
            yield
        except (StoreError, ConfigError, ValueError):
            raise
        except Exception as error:  # each file system raises errors of its own
            raise failure(self.url, what, key, error) from error


def _opened(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    from fsspec.core import url_to_fs  # pyright: ignore[reportMissingTypeStubs]

    try:
        fs, root = url_to_fs(url, skip_instance_cache=True, **options)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"{url}: {error}. A store is a local path, or a URL that fsspec knows and whose "
            "package is installed: s3:// needs `pip install tasklineage[s3]`"
        ) from error
    fs.dircache.use_listings_cache = False
    fs.dircache.clear()
    return fs, root


async def _gather(coroutines: Sequence[Any], limit: int) -> list[Any]:
    import asyncio

    room = asyncio.Semaphore(limit)

    async def one(coroutine: Any) -> Any:
        async with room:
            return await coroutine

    return await asyncio.gather(*map(one, coroutines), return_exceptions=True)


def _outlive_executors(loop: Any) -> None:
    """Let connections be made until the very end, when there are no threads for it any more.

    Names are resolved on the executor of the loop, which Python shuts down before anything that
    is registered with `atexit` is called.
    """
    from concurrent.futures import Future, ThreadPoolExecutor

    class Inline(ThreadPoolExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - it is the future's
                future.set_exception(error)
            return future

    loop.call_soon_threadsafe(loop.set_default_executor, Inline(1))


def _entry(info: Mapping[str, Any], root: int) -> Entry:
    return Entry(str(info["name"])[root:], int(info["size"]), _modified(info))


def _modified(info: Mapping[str, Any]) -> float:
    """When it was changed; file systems have no word in common for it."""
    for name in _TIMES:
        value: Any = info.get(name)
        if isinstance(value, int | float):
            return float(value)
        if hasattr(value, "timestamp"):
            return float(value.timestamp())
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                return datetime.fromisoformat(value).timestamp()
    return 0.0
