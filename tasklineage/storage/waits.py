"""Who waits for whom, here and in other processes, so that in a deadlock one waiter yields.

A call that waits for a key while it and its ancestors hold others makes an edge: none of the held
keys is freed before the wanted ones are. Calls that hold keys and want each other's would wait for
ever. Databases solve this by choosing a victim whose transaction is rolled back; here the victim
just executes without waiting, since executing twice is harmless.

Within a process the edges are in memory, and whoever closes a cycle sees it at once. Between
processes each one that waits keeps its edges in a small file, replaced as a whole, and looks at
those of the others now and then. All apply the same rule to the same edges, so that one of them
yields and not all.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

import msgpack
from xxhash import xxh3_64_digest

from tasklineage.storage.blocks import is_writer
from tasklineage.storage.modes import create_file, make_folder
from tasklineage.storage.object_layout import unpacked
from tasklineage.storage.oslock import KeyLocks
from tasklineage.storage.regular import open_regular

_LONGEST = 16 << 20


class Wait(NamedTuple):
    """One waiter: `held` is not freed before `wanted` is."""

    owner: str
    """The writer id of its process."""
    number: int
    held: frozenset[bytes]
    wanted: frozenset[bytes]
    can_yield: bool
    """Whether it can go on without what it wants: it waits to execute a call itself."""


def victims(waits: Collection[Wait]) -> list[Wait]:
    """The waits that must yield so that no cycle remains which yielding can break.

    The answer does not depend on the order of `waits`: everybody who sees the same ones decides
    alike. The youngest of a process yields first.
    """
    left = list(waits)
    chosen: list[Wait] = []
    for wait in sorted(left, key=lambda wait: (wait.owner, -wait.number)):
        if wait.can_yield and is_on_cycle(wait, left):
            chosen.append(wait)
            left.remove(wait)
    return chosen


def is_on_cycle(wait: Wait, waits: Iterable[Wait]) -> bool:
    """Whether what `wait` wants depends, through the other waits, on what it holds."""
    reached = set(wait.wanted)
    others = list(waits)
    while reached.isdisjoint(wait.held):
        further = [other for other in others if not reached.isdisjoint(other.held)]
        if not further:
            return False
        others = [other for other in others if reached.isdisjoint(other.held)]
        reached.update(*(other.wanted for other in further))
    return True


class Board:
    """The waits of all processes of this machine, one file each: `<folder>/<writer>`.

    A process locks its name for as long as it lives, so what a dead one left is known as such.
    """

    def __init__(self, folder: Path, locks: KeyLocks) -> None:
        self._folder = folder
        self._locks = locks
        self._published: tuple[str, frozenset[int]] | None = None

    def publish(self, owner: str, waits: Collection[Wait]) -> None:
        """Others see exactly these waits of this process; nothing happens if they do already.

        Raises
        ------
        OSError
            They could not be written.
        """
        numbers = frozenset(wait.number for wait in waits)
        if not waits:
            self.withdraw()
        elif self._published != (owner, numbers):
            if self._published is None:
                self._locks.try_lock(_name_key(owner))
            self._write(owner, waits)
            self._published = owner, numbers

    def withdraw(self) -> None:
        """Others see no wait of this process."""
        if self._published is not None:
            owner, self._published = self._published[0], None
            with contextlib.suppress(OSError):
                os.unlink(self._folder / owner)
            with contextlib.suppress(OSError):
                self._locks.unlock(_name_key(owner))

    def others(self, owner: str) -> list[Wait]:
        """The waits of all other living processes. Files of dead ones are removed."""
        try:
            names = os.listdir(self._folder)
        except OSError:
            return []
        found: list[Wait] = []
        for name in names:
            if name != owner and is_writer(name):
                found += self._read(name)
        return found

    def forget(self) -> None:
        """In a forked child: what was published is the parent's."""
        self._published = None

    def _write(self, owner: str, waits: Collection[Wait]) -> None:
        content: bytes = msgpack.packb(
            [[wait.number, [*wait.held], [*wait.wanted], wait.can_yield] for wait in waits]
        )
        temporary = make_folder(self._folder) / f".{owner}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        fd = create_file(temporary)
        try:
            os.write(fd, content)
        finally:
            os.close(fd)
        os.replace(temporary, self._folder / owner)

    def _read(self, owner: str) -> list[Wait]:
        path = self._folder / owner
        with contextlib.suppress(OSError, ValueError, TypeError):
            content = _content(path)
            if not self._locks.is_locked(_name_key(owner)):
                os.unlink(path)
                return []
            return [
                Wait(owner, int(number), frozenset(held), frozenset(wanted), bool(can_yield))
                for number, held, wanted, can_yield in unpacked(content)
            ]
        return []


def _content(path: Path) -> bytes:
    fd = open_regular(path)
    try:
        return os.read(fd, _LONGEST)
    finally:
        os.close(fd)


def _name_key(owner: str) -> bytes:
    return xxh3_64_digest(f"waits of {owner}".encode())
