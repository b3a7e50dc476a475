"""What a File that comes out of a store knows of its content, and what threads do with Files.

A digest, an encoder and a decoder go through a whole value; a File somewhere inside of it is told
here, by the thread that works on the value, who wants to know of it, who pins it and who has its
content.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

if TYPE_CHECKING:
    from tasklineage.key.folders import Entry


class Pin(NamedTuple):
    """The content for which a File or Dir stands, whatever is at its place now."""

    hash: bytes
    """xxh3-128 of a file's bytes; of a folder, `folders.hash_of` its entries."""
    mode: int
    size: int
    oid: bytes | None = None
    """The object that holds it; None: the content was not stored."""
    contents: Contents | None = None


class Contents(Protocol):
    """Who gives the content of what is pinned: a store."""

    def view(self, pin: Pin) -> memoryview:
        """The bytes of a file, verified."""
        ...

    def entries(self, pin: Pin) -> tuple[Entry, ...]:
        """What a folder holds."""
        ...

    def copy(self, pin: Pin, name: str, *, is_folder: bool) -> str:
        """The path of a copy for this process, with that name."""
        ...


Keeper = Callable[[Any], Pin]
"""Gives the pin with which a File or Dir is written down."""


class _Here(threading.local):
    """What this thread is doing with Files."""

    met: list[Any] | None = None
    """Those whose digests were asked for, if somebody wants to know."""
    keeper: Keeper | None = None
    source: Callable[[], Contents] | None = None
    is_live: bool = False


class State:
    """What this process, and each of its threads, does with Files."""

    in_use: ClassVar[bool] = False
    """Whether there has been any: a program without them need not look for them."""
    here: ClassVar[_Here] = _Here()
    memory: ClassVar[Any] = None
    """A `Callable[[], Memory]`, or None: it makes what keeps the hashes of files for the next
    process."""


@contextmanager
def meeting() -> Generator[list[Any]]:
    """A block that collects the Files and Dirs, at any depth, in the values it digests."""
    before, found = State.here.met, list[Any]()
    State.here.met = found
    try:
        yield found
    finally:
        State.here.met = before


@contextmanager
def keeping(keeper: Keeper) -> Generator[None]:
    """A block in which each File that is encoded or pickled is written down with its pin."""
    before, State.here.keeper = State.here.keeper, keeper
    try:
        yield
    finally:
        State.here.keeper = before


@contextmanager
def reading(source: Callable[[], Contents]) -> Generator[None]:
    """A block in which Files that are decoded are pinned to the contents that `source` gives."""
    before, State.here.source = State.here.source, source
    try:
        yield
    finally:
        State.here.source = before


@contextmanager
def live() -> Generator[None]:
    """A block in which Files that are decoded stand for what is at their places: a hit."""
    before, State.here.is_live = State.here.is_live, True
    try:
        yield
    finally:
        State.here.is_live = before


class View(io.RawIOBase):
    """A file in memory that is not copied."""

    def __init__(self, content: memoryview) -> None:
        super().__init__()
        self._content = content
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._content[self._at : self._at + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = (0, self._at, len(self._content))[whence]
        if start + offset < 0:
            raise ValueError(f"negative position: {start + offset}")
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at
