"""A bundle: a store in one file, a tar archive of its `format`, `journal`, `objects` and `refs`.

`tar -x` makes a store of it, and the folder of a store that was packed by `tar` is a bundle. There
is no compression, so that objects are read where they stand.

A bundle may come from a stranger. What is not a plain file, leads out of its folder, is there twice
or is longer than the archive is refused before anything is taken out; names that are of no use here
(indexes, locks) are passed over. Only journal and refs are ever unpacked, into a folder of their
own.

Written is GNU's form of the archive, read are that and POSIX's:
https://www.gnu.org/software/tar/manual/html_node/Standard.html
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import struct
import tarfile
import tempfile
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from xxhash import xxh3_128

from tasklineage.errors import CorruptObject, MissingObject, StoreError, StoreNotFound
from tasklineage.storage import format as layout
from tasklineage.storage import ref_names
from tasklineage.storage.flushing import flush, flush_paths
from tasklineage.storage.modes import create_file
from tasklineage.storage.object_layout import PREAMBLE, children_in, front_length
from tasklineage.storage.objects import unsigned
from tasklineage.storage.parcel import Parcel
from tasklineage.storage.ref_moves import Moves
from tasklineage.storage.refs import encode
from tasklineage.storage.regular import open_regular
from tasklineage.storage.store import Store

_BLOCK = 512
_PIECE = 1 << 20
_LONGEST_HEADER = 64 << 10
"""Bytes of what says a long name; nobody needs more."""
_MOST_MEMBERS = 2_000_000
_FOLDER, _LONG_NAME, _EXTENDED = tarfile.DIRTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)
_OBJECT = re.compile(r"objects/([0-9a-f]{2}/[0-9a-f]{30})")
_UNPACKED = re.compile(r"format|journal/[0-9a-f]{16}/[0-9]{8}|refs/.+", re.DOTALL)
_PATH = re.compile(rb"[0-9]+ path=([^\n]*)\n")


class Span(NamedTuple):
    """Where the bytes of a member are."""

    start: int
    size: int


class BundleWriter:
    """A bundle that is being made: a target of transfers. It has its name once it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
        self._spool = path.with_name(f"{self._temporary.name}.records")
        self._mutex = threading.Lock()
        self._written: set[bytes] = set()
        self._end = 0
        with _telling("write", path):
            self._fd = create_file(self._temporary)
        self.add(layout.FILE, [layout.content()])

    def known(self) -> set[bytes]:
        """Nothing yet."""
        return set()

    def purged(self) -> Mapping[bytes, float]:
        """Nothing."""
        return {}

    def has_end(self, call: bytes) -> bool:
        """No: it is new."""
        del call
        return False

    def has(self, oid: bytes) -> bool:
        """Whether the object is in it."""
        return oid in self._written

    def children(self, oid: bytes) -> tuple[bytes, ...]:
        """None: what is written is not read."""
        del oid
        return ()

    def adopt(self, oid: bytes, pieces: Iterable[Any]) -> int:
        """How many bytes the object has; it is in the bundle now. Many threads may call.

        Raises
        ------
        CorruptObject
            These are not its bytes. Nothing of them is in the bundle.
        StoreError
            They could not be written.
        """
        name = oid.hex()
        with self._mutex:
            size = self.add(f"objects/{name[:2]}/{name[2:]}", unsigned(pieces), name)
            self._written.add(oid)
        return size

    def parcel(self) -> Parcel:
        """What takes the records, in a folder beside the bundle."""
        with _telling("write", self._path):
            os.mkdir(self._spool, 0o700)
        return Parcel(self._spool)

    def publish(self, parcel: Parcel) -> None:
        """The records are in the bundle."""
        parcel.write()
        if parcel.nbytes:
            for name in sorted(os.listdir(parcel.segments)):
                segment = parcel.segments / name
                self.add(f"journal/{parcel.segments.name}/{name}", _content(segment))

    def has_swept(self) -> bool:
        """No: nobody else is here."""
        return False

    def add(self, name: str, pieces: Iterable[Any], expected: str | None = None) -> int:
        """How many bytes there are; they are the member of that name now.

        Raises
        ------
        CorruptObject
            They do not have the hash that was expected. Nothing of them is in the bundle.
        StoreError
            They could not be written.
        """
        start, hasher = self._end, xxh3_128()
        first = at = start + len(_header(name, 0))
        with _telling("write", self._path):
            try:
                for piece in pieces:
                    hasher.update(piece)
                    _write_all(self._fd, piece, at)
                    at += len(piece)
                if expected not in (None, hasher.hexdigest()):
                    raise CorruptObject(f"object {expected} is not what was written")
                _write_all(self._fd, _header(name, at - first), start)
                os.ftruncate(self._fd, _padded(at))
            except BaseException:
                os.ftruncate(self._fd, start)
                raise
        self._end = _padded(at)
        return at - first

    def finish(self, refs: Moves) -> Moves:
        """The refs are in the bundle, as first versions, and it is closed."""
        for ours in refs.moved:
            first = ours._replace(number=1, previous=None)
            self.add(ref_names.version_key(ours.name, 1), [encode(first)])
        self.close()
        return refs

    def close(self) -> None:
        """The bundle is whole, on the disk, and has its name.

        Raises
        ------
        StoreError
            It could not be written.
        """
        with _telling("write", self._path):
            os.ftruncate(self._fd, self._end + 2 * _BLOCK)
            flush(self._fd)
            os.replace(self._temporary, self._path)
            flush_paths(self._path.parent)
        self.discard()

    def discard(self) -> None:
        """Nothing is left of what was not closed."""
        with contextlib.suppress(OSError):
            os.close(self._fd)
        with contextlib.suppress(OSError):
            os.unlink(self._temporary)
        shutil.rmtree(self._spool, ignore_errors=True)


class BundledObjects:
    """The objects of a bundle, read where they stand. Any thread may call."""

    def __init__(self, fd: int, places: dict[str, Span]) -> None:
        self._fd = fd
        self._places = places

    def size(self, oid: bytes) -> int | None:
        """Bytes of the object; None where there is none."""
        place = self._places.get(oid.hex())
        return None if place is None else place.size

    def blocks(self, oid: bytes) -> Iterator[memoryview]:
        """The bytes of the object, in order; nobody has verified them.

        Raises
        ------
        MissingObject
            There is none.
        """
        start, size = self._place(oid)
        for at in range(start, start + size, _PIECE):
            yield memoryview(_read(self._fd, at, min(_PIECE, start + size - at)))

    def children(self, oid: bytes) -> tuple[bytes, ...]:
        """Ids of the objects that one refers to, which is not verified; none if it is no object."""
        place = self._places.get(oid.hex())
        if place is None:
            return ()
        try:
            front = front_length(_read(self._fd, place.start, min(PREAMBLE, place.size)))
            return children_in(memoryview(_read(self._fd, place.start, min(front, place.size))))
        except (ValueError, TypeError, LookupError, struct.error):
            return ()

    def _place(self, oid: bytes) -> Span:
        place = self._places.get(oid.hex())
        if place is None:
            raise MissingObject(f"the bundle has no object {oid.hex()}", oid=oid)
        return place


class Bundle(NamedTuple):
    """A bundle that is open for reading."""

    store: Store
    """Its journal and refs, in a folder for as long as it is open; its objects are not there."""
    objects: BundledObjects


@contextlib.contextmanager
def opened(path: Path) -> Generator[Bundle]:
    """The bundle in that file, open for reading.

    Raises
    ------
    StoreNotFound
        There is no such file.
    StoreError
        It is no bundle, is damaged, or was made to do harm; the message names the member.
    """
    try:
        fd = open_regular(path)
    except FileNotFoundError as error:
        raise StoreNotFound(f"there is no file {path}") from error
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}", errno=error.errno) from error
    folder = Path(tempfile.mkdtemp(prefix="tasklineage-"))
    try:
        objects, others = _sorted(path, fd)
        for name, place in others.items():
            _unpack(path, fd, place, folder / name)
        layout.check((folder / layout.FILE).read_bytes(), path)
        with Store(folder, allow_pickle=False, read_only=True) as store:
            yield Bundle(store, BundledObjects(fd, objects))
    finally:
        os.close(fd)
        shutil.rmtree(folder, ignore_errors=True)


def _sorted(path: Path, fd: int) -> tuple[dict[str, Span], dict[str, Span]]:
    """Where the objects are by their ids, and where what is unpacked is by its name."""
    objects: dict[str, Span] = {}
    others: dict[str, Span] = {}
    for name, place in _members(path, fd):
        match = _OBJECT.fullmatch(name)
        found, key = (objects, match[1].replace("/", "")) if match else (others, name)
        if key in found:
            raise _refused(path, f"{name} is in it twice")
        if match or _UNPACKED.fullmatch(name):
            found[key] = place
        if len(objects) + len(others) > _MOST_MEMBERS:
            raise _refused(path, f"it has more than {_MOST_MEMBERS:,} members")
    if layout.FILE not in others:
        raise StoreError(f"{path} is no bundle: it has no file `{layout.FILE}`")
    return objects, others


def _members(path: Path, fd: int) -> Iterator[tuple[str, Span]]:
    """The names of the files in the archive, and where they are.

    Raises
    ------
    StoreError
        It is no archive, or something in it is no plain file inside of it.
    """
    end, at, long_name = os.fstat(fd).st_size, 0, ""
    while at < end:
        header = _read(fd, at, _BLOCK)
        if not any(header):
            return
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError) as error:
            raise _refused(path, f"at {at} it is no tar archive, or damaged") from error
        name, at = long_name or info.name, at + _BLOCK
        if not 0 <= info.size <= end - at:
            raise _refused(path, f"{name!r} does not end in it")
        if info.type in (_LONG_NAME, _EXTENDED):
            long_name = _long_name(path, fd, info, at)
        else:
            long_name = ""
            inside = _checked(path, name, info.type)
            if info.type != _FOLDER:
                yield inside, Span(at, info.size)
        at = _padded(at + info.size)
    raise _refused(path, "its end is missing")


def _long_name(path: Path, fd: int, info: tarfile.TarInfo, at: int) -> str:
    """The name of the member that follows; empty if only other things are said of it."""
    if info.size > _LONGEST_HEADER:
        raise _refused(path, f"a name in it takes {info.size} bytes")
    said = _read(fd, at, info.size)
    if info.type == _LONG_NAME:
        return os.fsdecode(said.rstrip(b"\0"))
    found = _PATH.search(said)
    return os.fsdecode(found[1]) if found else ""


def _checked(path: Path, name: str, kind: bytes) -> str:
    """The name of a member below the store, if that is a plain file or folder inside of it."""
    if kind not in _FILES and kind != _FOLDER:
        raise _refused(path, f"{name!r} is a link or a device")
    inside = name.removeprefix("./").rstrip("/")
    if kind == _FOLDER and inside in ("", "."):
        return ""
    if "\0" in inside or any(part in ("", ".", "..") for part in inside.split("/")):
        raise _refused(path, f"{name!r} leads out of it")
    return inside


def _unpack(path: Path, fd: int, place: Span, target: Path) -> None:
    with _telling("unpack", path):
        os.makedirs(target.parent, mode=0o700, exist_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            for at in range(0, place.size, _PIECE):
                piece = _read(fd, place.start + at, min(_PIECE, place.size - at))
                _write_all(descriptor, piece, at)
        finally:
            os.close(descriptor)


def _refused(path: Path, reason: str) -> StoreError:
    return StoreError(f"{path} was not opened: {reason}. Nothing was taken out of it")


def _header(name: str, size: int) -> bytes:
    """What stands before the bytes of a member; as long for any size."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _padded(at: int) -> int:
    return -(-at // _BLOCK) * _BLOCK


def _content(path: Path) -> Iterator[bytes]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while piece := os.read(fd, _PIECE):
            yield piece
    finally:
        os.close(fd)


def _read(fd: int, at: int, size: int) -> bytes:
    """So many bytes from there on; zeros where the file has ended meanwhile."""
    return os.pread(fd, size, at).ljust(size, b"\0")


def _write_all(fd: int, piece: Any, at: int) -> None:
    view = memoryview(piece)
    while view:
        written = os.pwrite(fd, view, at)
        view, at = view[written:], at + written


@contextlib.contextmanager
def _telling(what: str, path: Path) -> Generator[None]:
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(f"cannot {what} {path}: {reason}", errno=error.errno) from error
