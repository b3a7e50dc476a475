"""The contents of Files and Dirs in a store: put there, read, and written to places again."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import stat
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from xxhash import xxh3_128

from tasklineage.errors import CorruptObject, MissingObject, UnreadableFile
from tasklineage.key.data_files import exclude
from tasklineage.key.file_contents import (
    BLOCK,
    StatKey,
    changed,
    content_of,
    key_of,
    opened,
    status_of,
)
from tasklineage.key.file_contents import unreadable as cannot_read
from tasklineage.key.files import Dir, File, Value, value_digest
from tasklineage.key.folders import FILE, Entry, Found, entries_of, hash_of
from tasklineage.key.pins import Pin
from tasklineage.storage.checkout import write_file, write_folder
from tasklineage.storage.codecs.files import (
    FILE_CONTENT,
    FOLDER_CONTENT,
    pack_entries,
    unpack_entries,
)
from tasklineage.storage.object_layout import Chunked, Header
from tasklineage.storage.objects import Objects
from tasklineage.storage.records import Ref
from tasklineage.storage.regular import open_regular

Write = Callable[[Header, Any], bytes]
Find = Callable[[type[File | Dir], bytes], bytes | None]
"""The object that holds the content of a File or Dir, by the hash of that; None: there is none."""


class StoredContents:
    """The contents that a store holds, for the pins that come out of it: see `pins.Contents`."""

    __slots__ = ("_objects",)

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def view(self, pin: Pin) -> memoryview:
        """The bytes of a file.

        Raises
        ------
        MissingObject, CorruptObject
            They are gone, or damaged.
        """
        stored = self._objects.open(_oid(pin))
        if stored.header.codec != FILE_CONTENT or len(stored.buffers) != 1:
            raise CorruptObject(f"object {_oid(pin).hex()} holds no file", oid=pin.oid)
        return stored.buffers[0]

    def entries(self, pin: Pin) -> tuple[Entry, ...]:
        """The listing of a folder, in which every name stays inside.

        Raises
        ------
        MissingObject, CorruptObject
            It is gone, damaged, or was made to lead out of the folder.
        """
        oid = _oid(pin)
        stored = self._objects.open(oid)
        if stored.header.codec != FOLDER_CONTENT or len(stored.buffers) != 1:
            raise CorruptObject(f"object {oid.hex()} holds no folder", oid=oid)
        try:
            entries = unpack_entries(stored.buffers[0])
        except ValueError as error:
            raise CorruptObject(f"object {oid.hex()} holds no folder: {error}", oid=oid) from error
        if hash_of(entries) != pin.hash:
            raise CorruptObject(f"object {oid.hex()} holds another folder", oid=oid)
        return entries

    def copy(self, pin: Pin, name: str, *, is_folder: bool) -> str:
        """The path of a copy that is there until this process ends. Made once."""
        return _Copies.path(self, pin, name, is_folder=is_folder)

    def put_back(self, pin: Pin, path: str, *, is_folder: bool) -> None:
        """Let the content be at `path`, where there is nothing, at once or not at all.

        Raises
        ------
        FileExistsError
            Somebody else has put something there meanwhile.
        OSError
            It could not be written.
        MissingObject, CorruptObject
            The content is gone, or damaged. Nothing is at `path` then.
        """
        if is_folder:
            write_folder(path, pin.mode, self.entries(pin), self._write_entry)
        else:
            write_file(path, pin.mode, lambda descriptor: self._write(pin, descriptor))

    def _write_entry(self, entry: Entry, descriptor: int) -> None:
        self._write(Pin(entry.hash, entry.mode, entry.size, entry.oid), descriptor)

    def _write(self, pin: Pin, descriptor: int) -> None:
        """Write the bytes of a file, and hash them on their way."""
        oid, hasher = _oid(pin), xxh3_128()
        for block in self._blocks(oid, pin.size):
            hasher.update(block)
            _write_all(descriptor, block)
        if hasher.digest() != pin.hash:
            self._objects.open(oid)  # it says what is wrong, and moves it out of the way
            raise CorruptObject(f"object {oid.hex()} holds other bytes than a file had", oid=oid)

    def _blocks(self, oid: bytes, size: int) -> Iterator[memoryview]:
        """The last `size` bytes of an object: its buffer. They are read: maps count as memory."""
        try:
            source = open_regular(self._objects.path(oid))
        except FileNotFoundError:
            raise MissingObject(f"the store has no object {oid.hex()}", oid=oid) from None
        try:
            os.lseek(source, max(os.fstat(source).st_size - size, 0), os.SEEK_SET)
            block = memoryview(bytearray(min(BLOCK, size) or 1))
            while count := os.readv(source, [block]):
                yield block[:count]
        finally:
            os.close(source)


class Keeper:
    """Pins Files and Dirs for one value that is written down; see `key.pins.keeping`.

    Parameters
    ----------
    write
        Writes an object; None: contents are not stored, only named where they are stored already.
    """

    __slots__ = ("_find", "_write", "pins")

    def __init__(self, find: Find, write: Write | None) -> None:
        self._find = find
        self._write = write
        self.pins: dict[int, tuple[Value, Pin]] = {}

    def __call__(self, value: Value) -> Pin:
        """The pin of a value; its content is stored now, if that is asked for.

        Raises
        ------
        MissingFile, UnreadableFile
            It cannot be read, or changed meanwhile.
        StoreError
            An object could not be written.
        """
        known = self.pins.get(id(value))
        if known is None:
            known = self.pins[id(value)] = value, self._pin(value)
        return known[1]

    def stored(self) -> Iterator[Ref]:
        """Where each content is that a pin names, whatever its place."""
        for value, pin in self.pins.values():
            if pin.oid is not None:
                digest = value_digest(type(value), pin.hash)
                codec = "dir" if isinstance(value, Dir) else "file"
                yield Ref(digest, value.tag, codec, pin.size, None, pin.oid)

    def _pin(self, value: Value) -> Pin:
        pin = value.pin
        path = value.place if pin is None else value.path
        write = self._write if value.store else None
        return self._folder(path, write) if isinstance(value, Dir) else self._file(path, write)

    def _file(self, path: str, write: Write | None) -> Pin:
        content = content_of(path)
        oid = self._find_file(content.hash)
        if oid is None and write is not None:
            oid = _put_file(path, content.key, content.hash, write)
        return Pin(content.hash, content.mode, content.size, oid)

    def _folder(self, path: str, write: Write | None) -> Pin:
        mode = stat.S_IMODE(status_of(path).st_mode)
        found = entries_of(path)
        listing = hash_of([one.entry for one in found])
        size = sum(one.entry.size for one in found)
        oid = self._find(Dir, listing)
        if oid is None and write is not None:
            entries = [self._stored_entry(one, write) for one in found]
            children = tuple(dict.fromkeys(e.oid for e in entries if e.oid is not None))
            header = Header(FOLDER_CONTENT, Dir.tag, None, children)
            oid = write(header, [pack_entries(entries)])
        return Pin(listing, mode, size, oid)

    def _stored_entry(self, found: Found, write: Write) -> Entry:
        entry, path, key = found
        if entry.kind != FILE or key is None:
            return entry
        oid = self._find_file(entry.hash)
        return entry._replace(oid=oid or _put_file(path, key, entry.hash, write))

    def _find_file(self, content: bytes) -> bytes | None:
        return self._find(File, content)


def _put_file(path: str, key: StatKey, content: bytes, write: Write) -> bytes:
    """The object with the bytes of the file, which had this status and this hash.

    Raises
    ------
    UnreadableFile
        It has changed since.
    """
    descriptor = opened(path, key)
    hasher, failed = xxh3_128(), list[OSError]()

    def blocks() -> Iterator[memoryview]:
        block = memoryview(bytearray(min(BLOCK, key[2]) or 1))
        while count := _read(descriptor, block, failed):
            hasher.update(block[:count])
            yield block[:count]

    try:
        oid = write(Header(FILE_CONTENT, File.tag), [Chunked(key[2], blocks)])
        if hasher.digest() != content or key_of(os.fstat(descriptor)) != key:
            raise changed(path)
    except ValueError as error:  # there were more bytes than its status said, or fewer
        raise cannot_read(path, failed[0]) if failed else changed(path) from error
    finally:
        os.close(descriptor)
    return oid


def _read(descriptor: int, block: memoryview, failed: list[OSError]) -> int:
    """The bytes read. An error ends the file: raised here, it would be one of the store."""
    try:
        return os.readv(descriptor, [block])
    except OSError as error:
        failed.append(error)
        return 0


class _Copies:
    """What this process has taken out of stores to look at."""

    lock: ClassVar[threading.Lock] = threading.Lock()
    folder: ClassVar[str | None] = None
    owner: ClassVar[int] = 0

    @classmethod
    def path(cls, contents: StoredContents, pin: Pin, name: str, *, is_folder: bool) -> str:
        """A copy that nobody has changed; another one if somebody has."""
        root = cls._root()
        for number in itertools.count():
            path = os.path.join(root, f"{pin.hash.hex()}-{number}", name)
            if not os.path.lexists(path):
                # Another thread may be faster: it writes the same.
                with contextlib.suppress(FileExistsError):
                    contents.put_back(pin, path, is_folder=is_folder)
            if _is_copy(path, pin, is_folder=is_folder):
                return path
        raise AssertionError("there are numbers enough")

    @classmethod
    def _root(cls) -> str:
        import tempfile  # slow to import, rarely needed

        with cls.lock:
            if cls.folder is None or cls.owner != os.getpid():
                cls.folder, cls.owner = tempfile.mkdtemp(prefix="tasklineage-"), os.getpid()
                exclude(cls.folder)
                atexit.register(_remove_own, cls.folder, cls.owner)
            return cls.folder


def _is_copy(path: str, pin: Pin, *, is_folder: bool) -> bool:
    try:
        if is_folder:
            return hash_of([found.entry for found in entries_of(path)]) == pin.hash
        return content_of(path).hash == pin.hash
    except UnreadableFile:
        return False


def _remove_own(folder: str, owner: int) -> None:
    import shutil  # as above

    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def _oid(pin: Pin) -> bytes:
    if type(pin.oid) is not bytes or len(pin.oid) != 16:
        raise MissingObject("the content of this file was not stored")
    return pin.oid


def _write_all(descriptor: int, block: memoryview) -> None:
    while block:
        block = block[os.write(descriptor, block) :]
