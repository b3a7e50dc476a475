"""Which record answers a key: the index of memos in the memory of this process.

It says where to look and is never believed: whoever finds a memo here reads the record. What the
catalog has is loaded for one code version at a time, when its first key is asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from tasklineage.storage import forks
from tasklineage.storage.catalog import Catalog, MemoRow
from tasklineage.storage.frames import Location
from tasklineage.storage.tables import Offsets

MANY = 20_000
"""Memos of a code version that are loaded at once; where there are more, each key is asked for."""
MOST = 400_000
"""More are never loaded, for the memory that they take."""
SOON = 100_000
"""Microseconds between two calls of which the second may have been made next after the first."""
WORTH = 10
"""Memos that are loaded in the time in which one key is asked for: when so many times the keys that
were asked for by themselves are more than there are memos, all are loaded."""

_OTHERS = 8
"""Older memos of one key that are remembered."""

Memo = tuple[float, Location]
"""When the call ended, and where its record stands. The greatest of a key is the newest."""


class Memos:
    """The newest memo of each key that was not forgotten. Any thread may call.

    `newest` is complete for the keys of a code version that is in `loaded`; `prepare` makes it so.
    Both are there to be read directly, where a call costs more than the look-up.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.mutex = threading.Lock()
        self.newest: dict[bytes, Memo] = {}
        self.loaded: set[bytes] = set()
        self._catalog = catalog
        self._beyond: Offsets = {}
        self._forgotten: dict[bytes, float] = {}
        self._large: dict[bytes, int] = {}
        """Code versions whose memos are not all loaded: how many keys were asked for."""
        self._last: dict[bytes, bytes] = {}
        """Of these, the last call whose memo was looked up."""
        self._others: dict[bytes, list[Memo]] = {}
        self._damaged: set[Memo] = set()
        forks.register(self)

    def after_fork(self) -> None:
        """In a forked child: all of it is as good as in the parent."""

    def begin(self, beyond: Offsets) -> None:
        """Forget everything. From now on all that stands behind these offsets will be added."""
        with self.mutex:
            self._beyond = beyond
            self.newest.clear()
            self.loaded.clear()
            self._forgotten.clear()
            self._large.clear()
            self._last.clear()
            self._others.clear()

    def add(self, key: bytes, ended: float, location: Location) -> None:
        """A memo of that key ended then and has its record there. HOT."""
        memo = (ended, location)
        if self._damaged and memo in self._damaged:
            return
        known = self.newest.get(key)
        if known is not None and known != memo:
            memo = self._newer(key, known, memo)
        self.newest[key] = memo
        if self._forgotten and memo[0] < self._forgotten.get(key, 0.0):
            self.newest.pop(key, None)

    def add_all(self, memos: Sequence[tuple[bytes, float, Location]]) -> None:
        """As `add`, of many, most of which have keys that are new."""
        newest, add, damaged = self.newest, self.add, self._damaged
        for key, ended, location in memos:
            if key in newest or damaged:
                add(key, ended, location)
            else:
                newest[key] = (ended, location)
        if self._forgotten:  # looked at last: somebody may have forgotten a key meanwhile
            for key, _, _ in memos:
                if key in self._forgotten:
                    self.forget(key, self._forgotten[key])

    def forget(self, key: bytes, at: float) -> None:
        """Memos of that key that ended before `at` do not answer."""
        self._forgotten[key] = max(at, self._forgotten.get(key, at))
        known = self.newest.get(key)
        if known is not None and known[0] < at:
            self.newest.pop(key, None)

    def prepare(self, code: bytes, keys: Sequence[bytes]) -> bool:
        """What `newest` says of these keys, whose code version that is, is all there is.

        Of a code version with very many memos, a key that has one already is not looked for: True
        where some were, and the others of the code version still are not here.
        """
        if code in self.loaded:
            return False
        missing = [key for key in keys if key not in self.newest]
        if missing or code not in self._large:
            self._load(code, missing)
        return bool(missing) and code not in self.loaded

    def follow(self, code: bytes, call: bytes) -> None:
        """That call has answered a key that was asked for by itself.

        Where the one before it was made just before, those that were made next are looked up now,
        together: programs mostly run again as they did.
        """
        last, self._last[code] = self._last.get(code, call), call
        if not 0 < _microseconds(call) - _microseconds(last) < SOON:
            return
        found = self._catalog.memos_next(code, last, call, self._beyond)
        if found is not None:
            with self.mutex:
                self.add_all([row for row in found[1] if row.key not in self.newest])
            self._last[code] = found[0]

    def replace(self, key: bytes, damaged: Memo) -> None:
        """The newest of the key's other memos answers instead of this one, whose record is bad."""
        self._damaged.add(damaged)
        if self.newest.get(key) == damaged:
            self.newest.pop(key, None)
        for memo in self._others.pop(key, ()):
            self.add(key, *memo)

    def older(self, key: bytes) -> list[Memo]:
        """Other memos of the key than the newest, as far as they are remembered, newest first."""
        since, newest = self._forgotten.get(key, 0.0), self.newest.get(key)
        known = sorted(self._others.get(key, ()), reverse=True)
        return [m for m in known if m[0] >= since and m != newest and m not in self._damaged]

    def _newer(self, key: bytes, one: Memo, other: Memo) -> Memo:
        """The newer of two memos of the key; the older is kept for the day it may be needed."""
        older, newer = sorted((one, other))
        others = self._others.setdefault(key, [])
        if older not in others:
            others.append(older)
            del others[:-_OTHERS]
        return newer

    def _load(self, code: bytes, keys: Sequence[bytes]) -> None:
        """Add what the catalog has: all of the code version, or if that is much, of these keys."""
        with self.mutex:
            if self._beyond and code not in self.loaded:
                self.add_all(self._rows(code, keys))
            if code not in self._large:
                self.loaded.add(code)

    def _rows(self, code: bytes, keys: Sequence[bytes]) -> list[MemoRow]:
        asked = self._large.get(code)
        now = (asked or 0) + len(keys)
        if asked is None or asked.bit_length() < now.bit_length():  # each time that it has doubled
            most = MANY if asked is None else min(now * WORTH, MOST)
            rows = self._catalog.memos(code, most, self._beyond)
            if rows is not None:
                self._large.pop(code, None)
                return rows
        self._large[code] = now
        return self._catalog.memos_of(code, keys, self._beyond)


def _microseconds(call: bytes) -> int:
    """When a call was made, as its id says."""
    return int.from_bytes(call[:7], "big")
