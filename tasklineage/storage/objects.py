"""Objects: immutable files named by the hash of their own bytes.

`ObjectId`, the name, is xxh3-128 over the whole file (`object_layout` says what is in it), zeros
for its signature, so that whether a file is what was written can be told without decoding it.

A file is written under a name of its own in `objects/tmp`, and renamed when it is complete: a
reader sees all of it or nothing. Nobody opens an object for writing afterwards, so a private map
of it (copy on write) stays what it was for as long as somebody holds it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
import struct
import sys
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import xxhash

from tasklineage.errors import CorruptObject, MissingObject, StoreError, StoreReadOnly
from tasklineage.key.hidden import Hidden
from tasklineage.storage.flushing import flush, flush_paths
from tasklineage.storage.modes import make_folder
from tasklineage.storage.object_layout import (
    MAC_AT,
    MAC_SIZE,
    Buffer,
    Header,
    NewerLayout,
    StoredObject,
    children_in,
    front_length,
    in_blocks,
    laid_out,
    parse,
)
from tasklineage.storage.regular import open_regular

if TYPE_CHECKING:
    import mmap

    from tasklineage.storage.signing import Signer

MAPPED_FROM = 256 * 1024
"""Files up to this size are read, and verified at every read; larger ones are mapped."""
STALE_AFTER = 24 * 3600.0

_LEAST_READ = 1 << 20
_MOST_READ = 1 << 24
_RACY = 2_000_000_000  # ns; the coarsest time stamps of the file systems in use
_MAP_OPTIONS: dict[str, bool] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
_FEW_MAPS = 16
_MOST_MAPS = 16_384  # Linux allows a process 65,530 maps of all kinds
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_MOST_REMEMBERED = 100_000
FRONT = 4096  # bytes; most headers are shorter
NO_OBJECT = (ValueError, TypeError, LookupError, struct.error)
"""What the header of something raises that is no object."""
_ANEW = "it is stored anew when the call that gave it is made again"

StatKey: TypeAlias = tuple[int, int, int, int]
"""(device, inode, size, ctime in ns): changes whenever the file does."""


class Objects:
    """The objects of the store at `root`.

    May be used from any thread and after a fork; nothing is kept open. `put` is atomic: another
    process sees the whole object or none.

    Parameters
    ----------
    is_verified, note_verified
        A memory of verifications that outlives the process: whether the file of this id with this
        `StatKey` was verified before, and that it was now. Without them this instance remembers.
    signer
        Who signs what is put, and without whose signature nothing is opened.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        durability: str = "process",
        read_only: bool = False,
        is_verified: Callable[[bytes, StatKey], bool] | None = None,
        note_verified: Callable[[bytes, StatKey], None] | None = None,
        signer: Signer | None = None,
    ) -> None:
        self.root = os.path.abspath(root)
        self.read_only = read_only
        self._is_durable = durability == "power"
        self._mode = _mode(self.root) & 0o666
        self._is_verified = is_verified
        self._note_verified = note_verified
        self._signer = signer
        self._verified: dict[bytes, StatKey] = {}
        self._put: dict[bytes, StatKey] = {}
        self._flushed: set[bytes] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        """For a reader in another process, which has the key from its environment, if there is one.

        A key is in no pickle.
        """
        if self._signer is not None:
            return _signed_objects, (self.root, self._signer.store)
        return functools.partial(Objects, read_only=True), (self.root,)

    def path(self, oid: bytes) -> str:
        """Where the object is, or would be."""
        name = oid.hex()
        return f"{self.root}/objects/{name[:2]}/{name[2:]}"

    def has(self, oid: bytes) -> bool:
        """Whether there is a file of that id; its bytes are not looked at."""
        return _size(self.path(oid)) is not None

    def size(self, oid: bytes) -> int | None:
        """Bytes of the file of that id, which are not looked at; None where there is none."""
        return _size(self.path(oid))

    def put(self, header: Header, buffers: Sequence[Buffer]) -> bytes:
        """The id of the object with this header and these buffers, which is stored now.

        The file of an object that is there is left as it is where this instance has put it, or
        somebody has verified it. Else it is replaced: it may have been damaged.

        Raises
        ------
        StoreError
            It could not be written; `errno` says why. Nothing of it is left behind.
        UnstorableResult
            The text of a Secret is in it.

        Notes
        -----
        Large buffers are hashed and written in place, never copied. With `durability="power"` the
        file and its folder are on the disk before this returns.
        """
        with self._writing():
            size, pieces = laid_out(header, buffers)
            return self._stored(pieces, size=size)[0]

    def adopt(self, oid: bytes, pieces: Iterable[Any]) -> int:
        """How many bytes the object of that id has; it is stored now, and `pieces` are its bytes.

        Whoever signed them, here they are signed by this store, or by nobody.

        Raises
        ------
        CorruptObject
            They are not the bytes of that object. Nothing of them is left behind.
        StoreError
            It could not be written; `errno` says why. Nothing of it is left behind.
        """
        with self._writing():
            return self._stored(unsigned(pieces), expected=oid)[1]

    def blocks(self, oid: bytes) -> Iterator[memoryview]:
        """The bytes of the file of that id, in order; only a signature is looked at.

        A piece is good until the next one is asked for.

        Raises
        ------
        MissingObject
            There is none.
        StoreError
            It cannot be read.
        """
        path = self.path(oid)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise _missing(oid) from None
        except OSError as error:
            raise _unreadable(path, error) from error
        try:
            size = os.fstat(descriptor).st_size
            if self._signer is not None:
                self._is_intact(oid, _blocks(descriptor, size))
                os.lseek(descriptor, 0, os.SEEK_SET)
            block = memoryview(bytearray(max(min(size, _LEAST_READ), 1)))
            while count := _read_some(descriptor, block, path):
                yield block[:count]
        finally:
            os.close(descriptor)

    def flush(self, oid: bytes) -> None:
        """An object that is there outlives a power cut, if this store promises that.

        Whoever wrote it may have promised less. Nothing is done for one that is not there.

        Raises
        ------
        StoreError
            It could not be flushed.
        """
        if not self._is_durable or oid in self._flushed:
            return
        path = self.path(oid)
        folder = os.path.dirname(path)
        try:
            flush_paths(path, folder, os.path.dirname(folder), self.root)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(
                f"cannot flush {path}: {error.strerror or error}", errno=error.errno
            ) from error
        self._note_flushed(oid)

    def open(self, oid: bytes) -> StoredObject:
        """The object of that id, verified.

        Raises
        ------
        MissingObject
            There is none.
        CorruptObject
            Its bytes are not what was written. The file has been moved to `quarantine/`.
        StoreError
            It could not be read.

        Notes
        -----
        Large objects are mapped copy-on-write: their buffers are writable, cost no memory until
        touched, and what is written to them never reaches the file. A large object is verified at
        its first read per `StatKey`, a small one at every read.
        """
        path = self.path(oid)
        try:
            descriptor = open_regular(path)
        except FileNotFoundError:
            raise _missing(oid) from None
        except OSError as error:
            odd = _odd(path)
            if odd is None:
                raise _unreadable(path, error) from error
            raise self._corrupt(oid, path, odd) from error
        try:
            return self._open(oid, path, descriptor)
        except NewerLayout as error:
            raise StoreError(f"{path}: {error}; install a newer tasklineage") from error
        except OSError as error:
            raise _unreadable(path, error) from error
        finally:
            os.close(descriptor)

    def children(self, oid: bytes) -> tuple[bytes, ...]:
        """Ids of the objects that this one refers to, as its header says, which is not verified.

        None of an object that is not there, or is none.

        Raises
        ------
        StoreError
            It could not be read.
        """
        path = self.path(oid)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise _unreadable(path, error) from error
        try:
            front = os.pread(descriptor, FRONT, 0)
            length = front_length(front)
            if length > len(front):
                length = min(length, os.fstat(descriptor).st_size)
                front = os.pread(descriptor, length, 0)
            return children_in(memoryview(front)[:length])
        except NO_OBJECT:
            return ()
        except OSError as error:
            raise _unreadable(path, error) from error
        finally:
            os.close(descriptor)

    def look_ahead(self, oids: Iterable[bytes]) -> None:
        """The children of these objects are about to be asked for.

        Raises
        ------
        StoreError
            Of objects that are elsewhere: they could not be read.
        """

    def refresh(self) -> None:
        """What others have deleted by now is known to be gone. Of files that is so anyway."""

    def remove_stale(self, age: float = STALE_AFTER) -> int:
        """The number of unfinished files removed: those not written to for `age` seconds.

        They belong to writers that were killed; a living one writes far more often.
        """
        folder, removed = f"{self.root}/objects/tmp", 0
        oldest = time.time() - age
        for name in _names(folder):
            path = f"{folder}/{name}"
            try:
                if os.stat(path).st_mtime < oldest:
                    os.unlink(path)
                    removed += 1
            except FileNotFoundError:  # its writer was alive after all
                continue
        return removed

    @contextlib.contextmanager
    def _writing(self) -> Generator[None]:
        """Errors of a block that writes an object are those of the store."""
        if self.read_only:
            raise StoreReadOnly(f"the store at {self.root} was opened read-only")
        try:
            yield
        except OSError as error:
            if isinstance(error, StoreError):  # of another store, which the bytes are read from
                raise
            kind = StoreReadOnly if error.errno in _READ_ONLY else StoreError
            reason = error.strerror or error
            raise kind(
                f"cannot write an object into {self.root}: {reason}", errno=error.errno
            ) from error

    def _stored(
        self, pieces: Iterable[Any], *, size: int | None = None, expected: bytes | None = None
    ) -> tuple[bytes, int]:
        """Id and size of the object of these bytes, which must have that size and that id."""
        temporary, descriptor = self._create()
        try:
            try:
                oid, written = _write(descriptor, pieces, self._signer)
                _check(oid, written, size, expected)
                if self._is_durable:
                    flush(descriptor)
            finally:
                os.close(descriptor)
            self._publish(temporary, oid, written)
        except BaseException:
            _remove(temporary)
            raise
        if self._is_durable:
            self._note_flushed(oid)
        return oid, written

    def _note_flushed(self, oid: bytes) -> None:
        if len(self._flushed) >= _MOST_REMEMBERED:
            self._flushed.clear()
        self._flushed.add(oid)

    def _create(self) -> tuple[str, int]:
        """A new file that is this call's alone, and its descriptor."""
        folder = f"{self.root}/objects/tmp"
        path = f"{folder}/{os.getpid():x}-{os.urandom(8).hex()}"
        flags, mode = os.O_WRONLY | os.O_CREAT | os.O_EXCL, self._mode
        try:
            descriptor = os.open(path, flags, mode)
        except FileNotFoundError:
            self._make_folder(folder)
            descriptor = os.open(path, flags, mode)
        if mode & 0o066:  # the umask must not take away what the root grants
            os.fchmod(descriptor, mode)
        return path, descriptor

    def _publish(self, temporary: str, oid: bytes, size: int) -> None:
        """Give the finished file its name, unless one that is known to be equal has it.

        A file of that name and size may have been damaged, and whoever asked for it then is the
        reason why the object is made again.
        """
        path = self.path(oid)
        folder = os.path.dirname(path)
        if self._is_known(oid, path, size):
            os.unlink(temporary)
            if self._is_durable:  # whoever wrote it may have promised less
                flush_paths(path)
        else:
            try:
                os.replace(temporary, path)
            except FileNotFoundError:
                self._make_folder(folder)
                os.replace(temporary, path)
            self._note_put(oid, path)
        if self._is_durable:
            flush_paths(folder, os.path.dirname(folder))

    def _is_known(self, oid: bytes, path: str, size: int) -> bool:
        """Whether the file at `path` was put by this instance, or verified, and is as it was."""
        key = _stat_key(path)
        if key is None or key[2] != size or self._signer is not None:  # that may be anybody's
            return False
        if key in (self._put.get(oid), self._verified.get(oid)):
            return True
        return self._is_verified is not None and self._is_verified(oid, key)

    def _note_put(self, oid: bytes, path: str) -> None:
        key = _stat_key(path)
        if key is not None:
            if len(self._put) >= _MOST_REMEMBERED:
                self._put.clear()
            self._put[oid] = key

    def _make_folder(self, folder: str) -> None:
        """A folder below the root, and those above it, with the mode of the root."""
        parent = os.path.dirname(folder)
        if parent != self.root and not os.path.isdir(parent):
            self._make_folder(parent)
        make_folder(Path(folder))
        if self._is_durable:
            flush_paths(parent)

    def _open(self, oid: bytes, path: str, descriptor: int) -> StoredObject:
        status = os.fstat(descriptor)
        size = status.st_size
        if size < MAPPED_FROM:
            content = _read(descriptor, size)
            intact = self._is_intact(oid, [content])
        else:
            intact = self._verify(oid, descriptor, status)
            content = _map(descriptor, size) if intact else memoryview(b"")
        if intact:
            try:
                return parse(content)
            except (ValueError, TypeError, struct.error):
                pass  # whole, and yet no object: nobody here wrote it
        raise self._corrupt(oid, path, status.st_ino)

    def _verify(self, oid: bytes, descriptor: int, status: os.stat_result) -> bool:
        """Whether the bytes hash to the id, now or when these same bytes were verified before."""
        key = (status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns)
        if self._verified.get(oid) == key:
            return True
        if self._is_verified is not None and self._is_verified(oid, key):
            return True
        # Within one tick of the clock a file can change twice and keep its times.
        settled = time.time_ns() - status.st_ctime_ns > _RACY
        if not self._is_intact(oid, _blocks(descriptor, status.st_size)):
            return False
        if settled:
            if len(self._verified) >= _MOST_REMEMBERED:
                self._verified.clear()
            self._verified[oid] = key
            if self._note_verified is not None:
                self._note_verified(oid, key)
        return True

    def _is_intact(self, oid: bytes, blocks: Iterable[memoryview]) -> bool:
        """Whether these are the bytes of that id.

        Raises
        ------
        CorruptObject
            They are, and not signed with the key of this store.
        """
        macs = None if self._signer is None else self._signer.hasher()
        found, signature = _hashed(blocks, macs)
        if found != oid or not _is_whole(signature):
            return False
        if macs is not None and not _is_same(signature, macs):
            raise CorruptObject(
                f"object {oid.hex()} is not signed with the key of the store at {self.root}: "
                f"{_ANEW}",
                oid=oid,
                path=self.path(oid),
            )
        return True

    def _corrupt(self, oid: bytes, path: str, inode: int) -> CorruptObject:
        """The error to raise; the file is out of the way, so that it can be written again."""
        place = None if self.read_only else self._quarantine(path, inode)
        where = f"; it is now {place}" if place else ""
        return CorruptObject(
            f"object {oid.hex()} is not what was written{where}: {_ANEW}",
            oid=oid,
            path=place or path,
        )

    def _quarantine(self, path: str, inode: int) -> str | None:
        """Where the bad file went; None if it could not be moved or has been replaced since."""
        folder = f"{self.root}/quarantine"
        name = "".join(path.rsplit("/", 2)[1:])
        place = f"{folder}/{name}-{os.urandom(4).hex()}"
        try:
            if not os.path.isdir(folder):
                self._make_folder(folder)
            os.rename(path, place)
            if os.lstat(place).st_ino != inode:
                # Somebody has written it again since we opened it: give the good one back.
                os.replace(place, path)
                return None
        except OSError:
            return None
        return place


class _Maps:
    """The maps alive that each hold a descriptor of this process (Python before 3.13)."""

    alive: ClassVar[set[weakref.ref[mmap.mmap]]] = set()

    @classmethod
    def has_room(cls) -> bool:
        """Whether one more leaves the process most of its descriptors."""
        count = len(cls.alive)
        if _MAP_OPTIONS or count < _FEW_MAPS:
            return count < _MOST_MAPS
        import resource

        return count < min(resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4, _MOST_MAPS)

    @classmethod
    def add(cls, one: mmap.mmap) -> None:
        cls.alive.add(weakref.ref(one, cls.alive.discard))


def _mode(root: str) -> int:
    try:
        return os.stat(root).st_mode
    except FileNotFoundError:
        return 0o700


def _size(path: str) -> int | None:
    """The size of the file; None where there is none, but nothing or something else."""
    key = _stat_key(path)
    return None if key is None else key[2]


def _stat_key(path: str) -> StatKey | None:
    """What says which file is at `path`; None where there is nothing, or something else."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns


def _odd(path: str) -> int | None:
    """The inode of what stands there if it is no file."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return None if stat.S_ISREG(found.st_mode) else found.st_ino


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:  # the error under way matters more
        return


def _unreadable(path: str, error: OSError) -> StoreError:
    return StoreError(f"cannot read {path}: {error.strerror or error}", errno=error.errno)


def _missing(oid: bytes) -> MissingObject:
    return MissingObject(f"the store has no object {oid.hex()}: {_ANEW}", oid=oid)


def _check(oid: bytes, written: int, size: int | None, expected: bytes | None) -> None:
    """Nothing, if what was written is what it was to be."""
    if size is not None and written != size:
        raise ValueError(f"the buffers of an object have {written - size:+} bytes of what they say")
    if expected is not None and expected != oid:
        raise CorruptObject(f"object {expected.hex()} is not what was written", oid=expected)


def id_of(blocks: Iterable[memoryview]) -> bytes:
    """The id of the object whose bytes these are, whoever signed it.

    Nothing, if they are no object's: there is something else in the place of a signature.
    """
    found, signature = _hashed(blocks, None)
    return found if _is_whole(signature) else b""


def hashed(blocks: Iterable[memoryview], signer: Signer | None) -> tuple[bytes, bool]:
    """The id of the object of these bytes, and whether it is signed; without a signer it need not.

    Bytes whose signature is damaged have no id.
    """
    macs = None if signer is None else signer.hasher()
    found, signature = _hashed(blocks, macs)
    if not _is_whole(signature):
        return b"", False
    return found, macs is None or _is_same(signature, macs)


def _hashed(blocks: Iterable[memoryview], macs: Any) -> tuple[bytes, bytes]:
    """Id and signature of these bytes, of which `macs` is fed those that are signed."""
    hasher, signature = xxhash.xxh3_128(), b""
    for block in blocks:
        piece = block
        if not signature:
            signature, piece = _without_signature(block)
        hasher.update(piece)
        if macs is not None:
            macs.update(piece)
    return hasher.digest(), signature


def _is_whole(signature: bytes) -> bool:
    if not any(signature):
        return True
    from tasklineage.storage.signing import is_field

    return is_field(signature)


def _is_same(signature: bytes, macs: Any) -> bool:
    from tasklineage.storage.signing import is_same

    return is_same(signature, macs)


def unsigned(pieces: Iterable[Any]) -> Iterator[Any]:
    """The bytes of an object with zeros in the place of its signature."""
    front, rest = bytearray(), iter(pieces)
    for piece in rest:
        front += piece
        if len(front) >= MAC_AT + MAC_SIZE:
            front[MAC_AT : MAC_AT + MAC_SIZE] = bytes(MAC_SIZE)
            break
    yield front
    yield from rest


def _signed_objects(root: str, store: bytes) -> Objects:
    from tasklineage import config
    from tasklineage.storage.signing import Signer, checked_key, keys

    key = keys.get(store) or checked_key(config.signing_key())
    if key is None:
        raise StoreError(
            f"the store at {root} is signed: set TASKLINEAGE_SIGNING_KEY for the processes that "
            "read from it"
        )
    return Objects(root, read_only=True, signer=Signer(key, store))


def _write(descriptor: int, pieces: Iterable[Any], signer: Signer | None) -> tuple[bytes, int]:
    """xxh3-128 of what was written, its signature not counted, and how many bytes that are."""
    hasher, written = xxhash.xxh3_128(), 0
    macs = None if signer is None else signer.hasher()
    for block in _checked(in_blocks(pieces)):
        hasher.update(block)
        if macs is not None:
            macs.update(block)
        _write_all(descriptor, block)
        written += len(block)
    if macs is not None:
        _sign(descriptor, macs)
    return hasher.digest(), written


def _sign(descriptor: int, macs: Any) -> None:
    from tasklineage.storage.signing import field

    if os.pwrite(descriptor, field(macs), MAC_AT) != MAC_SIZE:
        raise OSError(errno.EIO, "the system writes nothing and gives no reason")


def _checked(blocks: Iterable[Any]) -> Iterable[Any]:
    """The same blocks; `UnstorableResult` before one that a secret is in is written."""
    if not Hidden.in_use:
        return blocks
    from tasklineage.key.redaction import checked

    return checked(blocks)


def _write_all(descriptor: int, block: Any) -> None:
    done = os.write(descriptor, block)
    while done < len(block):
        count = os.write(descriptor, memoryview(block)[done:])
        if count <= 0:
            raise OSError(errno.EIO, "the system writes nothing and gives no reason")
        done += count


def _read_some(descriptor: int, block: memoryview, path: str) -> int:
    """How many bytes were read into the block; 0 at the end of the file."""
    try:
        return os.readv(descriptor, [block])
    except OSError as error:
        raise _unreadable(path, error) from error


def _read(descriptor: int, size: int) -> memoryview:
    """The whole file in memory of its own; shorter if the file is."""
    content = memoryview(bytearray(size))
    return content[: _fill(descriptor, content)]


def _fill(descriptor: int, content: memoryview) -> int:
    """The number of bytes read into `content` from where the descriptor stands."""
    done = 0
    while done < len(content):
        count = os.readv(descriptor, [content[done:]])
        if count == 0:
            break
        done += count
    return done


def _blocks(descriptor: int, size: int) -> Iterator[memoryview]:
    """The file from here to its end, whatever its size has become, in blocks used one by one.

    It is read, not mapped: a bad sector is an error here, and would be a signal there.
    """
    block = memoryview(bytearray(max(_LEAST_READ, min(size // 8, _MOST_READ))))
    while count := os.readv(descriptor, [block]):
        yield block[:count]


def _without_signature(front: memoryview) -> tuple[bytes, memoryview]:
    """The signature in the front of an object, and the front with zeros in its place."""
    found = bytes(front[MAC_AT : MAC_AT + MAC_SIZE])
    if not any(found):
        return bytes(MAC_SIZE), front
    zeroed = memoryview(bytearray(front))
    zeroed[MAC_AT : MAC_AT + MAC_SIZE] = bytes(len(found))
    return found, zeroed


def _map(descriptor: int, size: int) -> memoryview:
    """A private, writable image of the file; a copy in memory where a map cannot be had.

    Every map of Python before 3.13 keeps a descriptor open, and a program may hold thousands of
    arrays: beyond a quarter of what the process may open, they are read instead.
    """
    import mmap  # slow to import, and not needed where all values are small

    if _Maps.has_room():
        try:
            image = mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY, **_MAP_OPTIONS)
        except OSError:  # no maps on this file system, or too many of them
            pass
        else:
            _Maps.add(image)
            return memoryview(image)
    own = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    os.lseek(descriptor, 0, os.SEEK_SET)
    content = memoryview(own)
    return content[: _fill(descriptor, content)]
