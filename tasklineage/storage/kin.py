"""Code versions by what they have in common, and which of them were accepted for which.

It says where to look and is never believed: what is found here is read in the journal.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any

from tasklineage.errors import CorruptObject, MissingObject
from tasklineage.storage import forks
from tasklineage.storage.catalog import Catalog
from tasklineage.storage.frames import Location
from tasklineage.storage.journal import Journal
from tasklineage.storage.records import Accept, Code
from tasklineage.storage.tables import Offsets

MODULAR, PORTABLE = "modular", "portable"
_LENGTH = 16

Accepted = Mapping[bytes, tuple[bytes, ...]]


class Kin:
    """The index of one store in the memory of this process. Any thread may call.

    `aliases` is for whoever looks for memos: by code version, what was found of those whose memos
    answer for it. It is empty again whenever something has been accepted or revoked.
    """

    def __init__(self, journal: Journal, catalog: Catalog) -> None:
        self.mutex = threading.Lock()
        self.aliases: dict[bytes, tuple[Any, ...]] = {}
        self.generation = 0
        """How often something was accepted or revoked, as far as this process knows."""
        self._journal = journal
        self._catalog = catalog
        self._beyond: Offsets = {}
        self._alike: dict[tuple[str, bytes], dict[bytes, Location]] = {}
        self._accepts: dict[Accept, None] = {}
        self._is_loaded = False
        forks.register(self)

    def after_fork(self) -> None:
        """In a forked child: all of it is as good as in the parent."""

    def begin(self, beyond: Offsets) -> None:
        """Forget everything. From now on all that stands behind these offsets will be added."""
        with self.mutex:
            self._beyond = beyond
            self._alike.clear()
            self._accepts.clear()
            self._is_loaded = False
            self._renew()

    def add_code(self, code: Code, location: Location) -> None:
        """There is such a record."""
        for column, digests in ((MODULAR, code.modular), (PORTABLE, code.portable)):
            if digests:
                places = self._alike.setdefault((column, digests[:_LENGTH]), {})
                places[code.digest] = location

    def add_accept(self, accept: Accept) -> None:
        """There is such a record."""
        with self.mutex:
            self._accepts[accept] = None
            self._renew()

    def note(self, code: bytes, aliases: tuple[Any, ...], generation: int) -> None:
        """What was found for a code version, unless something was accepted since `generation`."""
        with self.mutex:
            if generation == self.generation:
                self.aliases[code] = aliases

    def accepts(self) -> list[Accept]:
        """Every acceptance and every revocation, oldest first."""
        if not self._is_loaded:
            found = [self._read(place) for place in self._in_catalog()]
            with self.mutex:
                self._accepts.update((one, None) for one in found if isinstance(one, Accept))
                self._is_loaded = True
        made = list(self._accepts)  # another thread may add one
        return sorted(made, key=lambda accept: accept.at)

    def accepted(self) -> Accepted:
        """By code version, those that are accepted for it now, the last accepted first."""
        return in_force(self.accepts())

    def alike(self, column: str, digests: bytes) -> list[Code]:
        """The records of the code versions whose `modular` or `portable` begins as this does."""
        digest = digests[:_LENGTH]
        places = dict(self._alike.get((column, digest), {}))
        if self._beyond:
            known = self._catalog.codes_like(column, digest, self._beyond)
            places = dict(known) | places
        found = ((code, self._read(place)) for code, place in places.items())
        return [one for code, one in found if isinstance(one, Code) and one.digest == code]

    def _renew(self) -> None:
        self.generation += 1
        self.aliases.clear()

    def _in_catalog(self) -> list[Location]:
        return self._catalog.accepts(self._beyond) if self._beyond else []

    def _read(self, location: Location) -> Any:
        try:
            return self._journal.read(location)
        except (CorruptObject, MissingObject, OSError):
            return None


def in_force(accepts: Iterable[Accept]) -> dict[bytes, tuple[bytes, ...]]:
    """What these decisions, oldest first, amount to."""
    found: dict[bytes, dict[bytes, None]] = {}
    for accept in accepts:
        ours = found.setdefault(accept.code, {})
        for code in accept.accepted:
            ours.pop(code, None)
            if not accept.revoked:
                ours[code] = None
    return {code: tuple(reversed(ours)) for code, ours in found.items() if ours}
