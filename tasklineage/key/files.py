"""Files and folders as values: what counts is their content, wherever they are.

A `File` says a place, and its digest is that of the content which is there now. One that comes out
of the store (`artifact.value`) is *pinned*: it stands for the content that was stored, and never
for what was written to its place afterwards.

>>> with open("data.csv", "w") as file:
...     _ = file.write("a,b")
>>> File("data.csv").text(), File("data.csv").digest
('a,b', 'xxh3:c2e434e553f4731079cfca48207c33be')
"""

from __future__ import annotations

import builtins
import io
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from marshal import dumps
from types import MemberDescriptorType, ModuleType
from typing import IO, Any, ClassVar, NoReturn, TypeVar

from xxhash import xxh3_128_digest

from tasklineage.errors import ConfigError, MissingObject, UnreadableFile
from tasklineage.key.digest_forms import Code, Parts, add_form
from tasklineage.key.digest_tokens import SIMPLE, SPECIAL, VERSION, bytes_digest
from tasklineage.key.file_contents import content_of, status_of
from tasklineage.key.folders import FILE, entries_of, hash_of
from tasklineage.key.pins import Contents, Pin, State, View

_MODES = ("r", "rt", "rb")
_MOST_LOOKED_AT = 10_000
_HEAP_TYPE = 1 << 9
"""The flag of classes made at run time: what others have as slots are no parts."""
T = TypeVar("T")
V = TypeVar("V", bound="Value")


class Value:
    """What `File` and `Dir` have in common: an `os.PathLike[str]`. Immutable."""

    __slots__ = ("__weakref__", "_path", "_pin", "_store")

    tag: ClassVar[str]
    _path: str
    _store: bool
    _pin: Pin | None

    def __init__(self, path: str | os.PathLike[str], store: bool = True) -> None:
        text = path._path if isinstance(path, Value) else os.fspath(path)
        if not isinstance(text, str):
            raise ConfigError(f"the path of a {type(self).__name__} is text: {text!r}")
        if "://" in text:
            raise ConfigError(f"tl.{type(self).__name__} takes a path on this machine: {text!r}")
        _fill(self, os.path.abspath(text), store, None)

    @property
    def path(self) -> str:
        """Where its content is: an absolute path.

        That of a pinned one whose place has other content by now, or none, is that of a copy, which
        is there until the process ends.

        Raises
        ------
        MissingObject
            It is pinned, its content was not stored, and its place has another.
        """
        pin = self._pin
        if pin is None or self._holds(pin):
            return self._path
        return self._source(pin).copy(
            pin, os.path.basename(self._path), is_folder=type(self) is Dir
        )

    @property
    def place(self) -> str:
        """The absolute path that it was made with, whatever is there now."""
        return self._path

    @property
    def pin(self) -> Pin | None:
        """What one that comes out of a store knows of its content."""
        return self._pin

    @property
    def store(self) -> bool:
        """Whether its content is stored where it is a result."""
        return self._store

    @property
    def digest(self) -> str:
        """The identity of its content, `xxh3:…`: that of every artifact with this content.

        Raises
        ------
        MissingFile, UnreadableFile
            There is nothing to read, or it is being written to.
        """
        return f"xxh3:{value_digest(type(self), self.content_hash()).hex()}"

    def content_hash(self) -> builtins.bytes:
        """The hash of its content alone."""
        pin = self._pin
        return self._content_hash() if pin is None else pin.hash

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return self._path

    def __repr__(self) -> str:
        option = "" if self._store else ", store=False"
        return f"{type(self).__name__}({self._path!r}{option})"

    def __eq__(self, other: object) -> bool:
        """Whether both say the same place, and, if one is pinned, stand for the same content."""
        if not isinstance(other, Value):
            return NotImplemented
        if type(self) is not type(other) or self._path != other._path:
            return False
        if self._pin is None and other._pin is None:
            return True
        try:
            return self.content_hash() == other.content_hash()
        except UnreadableFile:
            return False

    def __hash__(self) -> int:
        return hash((type(self), self._path))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} cannot be changed")

    def __copy__(self: T) -> T:
        return self

    def __deepcopy__(self: T, memo: Any) -> T:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        keeper = State.here.keeper
        if keeper is None:
            return _rebuilt, (type(self) is Dir, self._path, self._store, self._pin)
        return restored, (type(self) is Dir, self._path, self._store, *keeper(self)[:4])

    def _holds(self, pin: Pin) -> bool:
        """Whether its place has the content of the pin now."""
        try:
            return self._content_hash() == pin.hash
        except UnreadableFile:
            return False

    def _source(self, pin: Pin) -> Contents:
        if pin.contents is None or pin.oid is None:
            raise MissingObject(
                f"the content that {self._path} had is gone: it was described, not stored, and "
                "what is there now is another"
            )
        return pin.contents

    def _content_hash(self) -> builtins.bytes:
        raise NotImplementedError


class File(Value):
    """A file whose content counts, not its place or name.

    As an argument its content is part of the key. As a result it is stored; on a hit an absent file
    is put back, and a file of other content makes it a miss. Open it for reading as any path.

    Parameters
    ----------
    path
        The file. It need not be there yet; a relative path is made absolute now.
    store
        False: as a result, remember its digest and not its content. If the file is absent then, the
        call executes again.
    """

    __slots__ = ()
    __module__ = "tasklineage"
    tag = "tasklineage.File"

    def open(self, mode: str = "rb", encoding: str | None = None) -> IO[Any]:
        """The content, opened for reading: `"rb"` for bytes, `"r"` for text (UTF-8 by default).

        Raises
        ------
        ValueError
            Another mode: to write, open `file.path` with the builtin, before it is a result.
        """
        if mode not in _MODES:
            raise ValueError(f"a File is opened for reading: mode 'rb' or 'r', not {mode!r}")
        raw = self._opened()
        return raw if mode == "rb" else io.TextIOWrapper(raw, encoding or "utf-8")

    def bytes(self) -> builtins.bytes:
        """The content."""
        with self.open() as file:
            content: builtins.bytes = file.read()
            return content

    def text(self, encoding: str = "utf-8") -> str:
        """The content as text."""
        with self.open("r", encoding) as file:
            content: str = file.read()
            return content

    def _opened(self) -> IO[builtins.bytes]:
        pin = self._pin
        if pin is None:
            status_of(self._path)
            return open(self._path, "rb")
        if pin.oid is not None:
            return io.BufferedReader(View(self._source(pin).view(pin)))
        if self._holds(pin):
            return open(self._path, "rb")
        self._source(pin)
        raise AssertionError("a source without an object")

    def _content_hash(self) -> builtins.bytes:
        return content_of(self._path).hash


class Dir(Value):
    """A folder whose content counts: the names, files, links and folders in it, not its place.

    As `File`, for everything below the folder. `folder / "name"` is a member; iterating gives those
    directly inside, sorted by name.
    """

    __slots__ = ()
    __module__ = "tasklineage"
    tag = "tasklineage.Dir"

    def __truediv__(self, name: str | os.PathLike[str]) -> File | Dir:
        """The member of that relative path: a Dir where a folder is, else a File.

        Raises
        ------
        ValueError
            The path leads out of the folder.
        """
        text = os.path.normpath(os.fspath(name))
        if os.path.isabs(text) or text.split("/")[0] in ("..", "."):
            raise ValueError(f"{text!r} is no member of {self!r}")
        pin = self._pin
        if pin is None or pin.oid is None:
            path = os.path.join(self.path, text)
            return (Dir if os.path.isdir(path) else File)(path, self._store)
        return self._stored_member(text, pin)

    def __iter__(self) -> Iterator[File | Dir]:
        pin = self._pin
        if pin is None or pin.oid is None:
            entries = [found.entry for found in entries_of(self.path)]
        else:
            entries = list(self._source(pin).entries(pin))
        for entry in entries:
            if "/" not in entry.name:
                yield self / entry.name

    def _stored_member(self, name: str, pin: Pin) -> File | Dir:
        """A member of what was stored: a file is pinned, a folder is that of a copy."""
        contents = self._source(pin)
        for entry in contents.entries(pin):
            if entry.name == name and entry.kind == FILE:
                own = Pin(entry.hash, entry.mode, entry.size, entry.oid, contents)
                return _made(File, os.path.join(self._path, name), self._store, own)
        copy = contents.copy(pin, os.path.basename(self._path), is_folder=True)
        path = os.path.join(copy, name)
        return (Dir if os.path.isdir(path) else File)(path, self._store)

    def _content_hash(self) -> builtins.bytes:
        return hash_of([found.entry for found in entries_of(self._path)])


def kept_pin(value: Value) -> Pin:
    """What a File is written down with; outside of `keeping`, its content as it is now."""
    keeper = State.here.keeper
    return described_pin(value) if keeper is None else keeper(value)


def described_pin(value: Value) -> Pin:
    """What is known of the content without storing it."""
    if value.pin is not None:
        return value.pin
    if isinstance(value, Dir):
        entries = [found.entry for found in entries_of(value.place)]
        mode = stat.S_IMODE(status_of(value.place).st_mode)
        return Pin(hash_of(entries), mode, sum(entry.size for entry in entries))
    content = content_of(value.place)
    return Pin(content.hash, content.mode, content.size)


def restored(
    is_folder: bool, path: str, store: bool, content: bytes, mode: int, size: int, oid: bytes | None
) -> File | Dir:
    """The File or Dir that was written down so: pinned, except in a hit."""
    kind: type[File | Dir] = Dir if is_folder else File
    if State.here.is_live:
        return _made(kind, path, store, None)
    source = State.here.source
    contents = None if source is None else source()
    return _made(kind, path, store, Pin(content, mode, size, oid, contents))


def found_in(value: Any) -> bool:
    """Whether there is a File or Dir in a value; some 10,000 parts are looked at."""
    return any(True for _ in values_in(value))


def values_in(value: Any) -> Iterator[Value]:
    """The Files and Dirs in a value; some 10,000 parts are looked at."""
    pending, seen = [value], set[int]()
    while pending and len(seen) < _MOST_LOOKED_AT:
        one = pending.pop()
        if issubclass(type(one), Value):
            yield one
            continue
        if type(one) in SIMPLE or id(one) in seen:
            continue
        seen.add(id(one))
        pending.extend(islice(_parts(one), _MOST_LOOKED_AT))


def value_digest(kind: type[Value], content: bytes) -> bytes:
    """The digest of a File or Dir with this content: that which `digest` gives it."""
    form = (kind.tag, bytes_digest(content))
    return xxh3_128_digest(SPECIAL + dumps(form, VERSION))


def _parts(value: Any) -> Iterable[Any]:
    """What a container or an instance holds."""
    kind = type(value)
    if issubclass(kind, dict):
        return dict.values(value)
    if isinstance(value, list | tuple | set | frozenset):
        return value
    if issubclass(kind, type | ModuleType):
        return ()
    own = getattr(value, "__dict__", None)
    return [*(own.values() if type(own) is dict else ()), *_slots(value, kind)]


def _slots(value: Any, kind: type) -> Iterator[Any]:
    for base in kind.__mro__:
        if base.__flags__ & _HEAP_TYPE:
            for slot in vars(base).values():
                if type(slot) is MemberDescriptorType:
                    with suppress(AttributeError):  # it is not set
                        yield slot.__get__(value)


def _form(value: Value, _: Code) -> Parts:
    if State.here.met is not None:
        State.here.met.append(value)
    return value.tag, value.content_hash()


def _rebuilt(is_folder: bool, path: str, store: bool, pin: Pin | None) -> File | Dir:
    kind: type[File | Dir] = Dir if is_folder else File
    return _made(kind, path, store, pin)


def _made(kind: type[V], path: str, store: bool, pin: Pin | None) -> V:
    value = kind.__new__(kind)
    _fill(value, path, store, pin)
    return value


def _fill(value: Value, path: str, store: bool, pin: Pin | None) -> None:
    State.in_use = True
    object.__setattr__(value, "_path", path)
    object.__setattr__(value, "_store", store)
    object.__setattr__(value, "_pin", pin)


add_form(File, _form, family=True)
add_form(Dir, _form, family=True)
