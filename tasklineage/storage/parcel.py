"""Records on their way into a journal: nobody sees any of them before all are there.

They are written as the segments of a writer of their own, below a name that no reader looks at, and
one rename of that writer's folder puts them in place. So a kill at any instant leaves all of them
or none; and as the writer is finished before anybody sees it, what is open in its records reads
like what was left by a killed process.

    journal/.incoming-<random>/journal/<writer>/<n>   until then
    journal/<writer>/<n>                              from then on
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tasklineage.errors import StoreError
from tasklineage.storage.flushing import flush_paths
from tasklineage.storage.journal import Journal
from tasklineage.storage.modes import make_folder

if TYPE_CHECKING:
    from tasklineage.storage.signing import Signer

PREFIX = ".incoming-"
STALE_AFTER = 24 * 3600.0
_AT_ONCE = 1 << 20


class Parcel:
    """Records for the journal of the store at `root`. One thread may use it."""

    def __init__(
        self,
        root: Path,
        *,
        durability: str = "process",
        signer: Signer | None = None,
        prefix: str = PREFIX,
    ) -> None:
        self._folder = root / "journal"
        self._hidden = self._folder / f"{prefix}{os.urandom(8).hex()}"
        self._is_durable = durability == "power"
        self._journal = Journal(self._hidden, durability=durability, signer=signer)
        self._pending: list[tuple[int, bytes]] = []
        self._size = 0
        self.nbytes = 0
        """Bytes of the payloads in it."""

    @property
    def writer(self) -> str:
        """Under which the records will stand."""
        return self._journal.writer

    @property
    def is_empty(self) -> bool:
        """Whether nothing was added."""
        return not self.nbytes and not self._pending

    @property
    def segments(self) -> Path:
        """The folder with the segments that were written, for whoever takes them elsewhere."""
        return self._journal.folder / self.writer

    def paths(self) -> list[Path]:
        """The segments that were written."""
        return sorted(self.segments.iterdir()) if self.nbytes else []

    def add(self, kind: int, payload: bytes) -> None:
        """One more record is in it.

        Raises
        ------
        StoreError
            It could not be written; `errno` says why.
        """
        self._pending.append((kind, payload))
        self._size += len(payload)
        if self._size >= _AT_ONCE:
            self.write()

    def write(self) -> None:
        """All that was added stands in segments now.

        Raises
        ------
        StoreError
            As `add`.
        """
        if not self._pending:
            return
        if not self.nbytes:
            with _telling(self._folder):
                make_folder(self._folder)
                make_folder(self._hidden)
        self._journal.append_encoded(self._pending)
        self.nbytes += self._size
        self._pending, self._size = [], 0

    def written(self) -> Iterator[tuple[int, bytes]]:
        """Kind and payload of each record that was added, read back from its segments."""
        self.write()
        if self.nbytes:
            for batch in self._journal.cursor().batches():
                yield from ((kind, payload) for _, _, kind, payload in batch.frames)

    def publish(self) -> None:
        """Everybody sees the records now, all at once.

        Raises
        ------
        StoreError
            As `add`; nobody sees any of them then.
        """
        self.write()
        if not self.nbytes:
            return
        self._journal.close()
        with _telling(self._folder):
            os.rename(self.segments, self._folder / self.writer)
            if self._is_durable:
                flush_paths(self._folder)
        self.discard()

    def discard(self) -> None:
        """Nothing is left of what was not published."""
        self._journal.close()
        shutil.rmtree(self._hidden, ignore_errors=True)


def remove_stale(root: Path, age: float = STALE_AFTER, prefix: str = PREFIX) -> None:
    """Parcels that somebody was killed over are gone: those not written to for `age` seconds."""
    folder, oldest = root / "journal", time.time() - age
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(folder):
            if name.startswith(prefix) and _last_change(folder / name) < oldest:
                shutil.rmtree(folder / name, ignore_errors=True)


def _last_change(folder: Path) -> float:
    """When something below the folder was last written to; for ever if it is gone meanwhile."""
    try:
        places = [folder, *(Path(at, name) for at, _, names in os.walk(folder) for name in names)]
        return max(os.stat(place).st_mtime for place in places)
    except FileNotFoundError:
        return float("inf")


@contextlib.contextmanager
def _telling(folder: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(f"cannot write to {folder}: {reason}", errno=error.errno) from error
