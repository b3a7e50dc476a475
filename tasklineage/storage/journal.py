"""The journal: what happened, as records that each process appends to segments of its own.

    <store>/journal/<writer: 16 hex digits>/<sequence number: 8 digits>

Nobody appends to another's segment, so writers never wait for each other. A segment is locked for
as long as it may grow, which tells the living from the dead: an incomplete frame at the end of a
live segment is one that is being written; at the end of a dead one it was never finished. After
damaged bytes reading goes on at the next sound frame. The bytes are described in `frames`, writing
is in `segment`, reading in `listing` and `blocks`.
"""

from __future__ import annotations

import errno
import os
import threading
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from tasklineage.errors import StoreError, StoreReadOnly
from tasklineage.storage import forks, frames
from tasklineage.storage.blocks import Blocks, CheckedBlocks, SignedBlocks, is_writer
from tasklineage.storage.frames import Location
from tasklineage.storage.listing import Listing, Source, is_segment
from tasklineage.storage.records import KIND_OF, KINDS, Record, decode, encode
from tasklineage.storage.regular import open_regular
from tasklineage.storage.segment import (
    LONGEST,
    Head,
    Oversize,
    Segment,
    is_held,
    read_head,
    segment_path,
)

if TYPE_CHECKING:
    from tasklineage.storage.signing import Signer

__all__ = ["Batch", "Cursor", "Damage", "Frame", "Head", "Journal", "Location"]

_CHUNK = 512 << 10
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
UNSIGNED = "not signed"
"""The reason of a `Damage`: whole, but not signed with the key of the store."""
_new: Callable[..., Any] = tuple.__new__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
"""A tenth of a microsecond instead of a fifth; its type is not known to pyright while unapplied."""


class Frame(NamedTuple):
    """A record that is not decoded yet."""

    location: Location
    kind: int
    payload: bytes


class Batch(NamedTuple):
    """Frames that stand one behind the other in one segment."""

    writer: str
    seq: int
    frames: list[tuple[int, int, int, bytes]]
    """Offset, length (header included), kind and payload of each, checksums verified."""
    end: int
    """Where reading goes on next time."""


class Damage(NamedTuple):
    """Bytes of a segment that are no sound frame."""

    writer: str
    seq: int
    start: int
    end: int
    reason: str
    """`damaged`; `not signed`; `unfinished`: the end of a segment whose writer was killed; or why
    it could not be read at all."""


class Journal:
    """Appends records for this process and reads those of all.

    Every method may be called from any thread, and in a forked child, which is a writer of its own.
    An append is one `write`: it is whole in the file, or, after a crash, cut off by its checksum.
    """

    _segment: Segment | None = None

    def __init__(
        self,
        root: str | Path,
        *,
        read_only: bool = False,
        durability: str = "process",
        signer: Signer | None = None,
        is_strange: bool = False,
    ) -> None:
        self.folder = Path(os.path.abspath(root)) / "journal"
        self.read_only = read_only
        self.mutex = threading.Lock()
        self._durable = durability == "power"
        self._writer = ""
        self._seq = 0
        self._listing = Listing(self.folder)
        self.signer = signer
        """Who signs what is appended, and refuses what is not signed; None: nobody does."""
        self.is_strange = is_strange and signer is None
        """Whether anybody may have written it: records with odd fields are passed over then."""
        self._blocks = _blocks(self.folder, signer, is_strange=self.is_strange)
        self._has_refused = False
        self._cursor: Cursor | None = None
        self._before_segment: Callable[[str], object] | None = None
        self._lives_elsewhere: Callable[[str], bool] | None = None
        forks.register(self)

    def mirror(
        self,
        before_segment: Callable[[str], object],
        may_grow: Callable[[str], bool],
        lives_elsewhere: Callable[[str], bool],
    ) -> None:
        """Be the journal of a mirror: some of its writers are on other machines.

        Parameters
        ----------
        before_segment
            Told this process's writer before it makes a segment. The journal's mutex is held.
        may_grow, lives_elsewhere
            Whether more of a writer may come that nobody here locks, and whether it is known to
            live.
        """
        self._before_segment = before_segment
        self._lives_elsewhere = lives_elsewhere
        self._listing.may_grow = may_grow

    @property
    def writer(self) -> str:
        """The id of this process among the writers; chosen at first use, anew in a forked child."""
        if not self._writer:
            with self.mutex:
                return self._choose_writer()
        return self._writer

    def append(self, records: Sequence[Record]) -> list[Location]:
        """Where each record now stands.

        When this returns, the records survive the death of this process, and with
        `durability="power"` that of the machine.

        Raises
        ------
        StoreError
            Not all could be written; `errno` says why. Those that could may be found later all the
            same. The next append tries again.
        StoreReadOnly
            The journal was opened read-only, or may not be written.
        """
        return self.append_encoded([(KIND_OF[type(one)], encode(one)) for one in records])

    def append_one(self, record: Record) -> Location:
        """As `append`, of one record. HOT."""
        kind, payload = KIND_OF[type(record)], encode(record)
        with self.mutex:
            try:
                segment = self._segment
                if segment is None or segment.end >= segment.limit:
                    segment = self._next_segment()
                offset, length = segment.write_one(kind, payload)
            except OSError as error:
                self._refuse(error)
            location: Location = _new(Location, (self._writer, segment.seq, offset, length))
        return location

    def append_encoded(self, payloads: Sequence[tuple[int, bytes]]) -> list[Location]:
        """As `append`, of pairs of kind and payload."""
        try:
            with self.mutex:
                return self._write(payloads)
        except OSError as error:
            if not isinstance(error, Oversize) or len(payloads) == 1:
                self._refuse(error)
        half = len(payloads) // 2
        return self.append_encoded(payloads[:half]) + self.append_encoded(payloads[half:])

    def poll(self) -> bool:
        """Whether another writer's segment has grown or appeared since the last `scan`. HOT."""
        if self._cursor is None:
            self._cursor = self.cursor()
        return self._cursor.poll()

    def scan(
        self,
        since: Mapping[tuple[str, int], int],
        *,
        kinds: Collection[int] | None = None,
        on_damage: Callable[[Damage], object] | None = None,
        finished: Iterable[str] = (),
    ) -> Iterator[Frame]:
        """Complete frames of all segments beyond the offsets in `since`, this writer's included.

        Those of one segment come in the order in which they were written. See `cursor`, which is
        faster where the same reader comes back again and again.
        """
        self._cursor = cursor = self.cursor(since, finished)
        for writer, seq, found, _ in cursor.batches(kinds, on_damage):
            for offset, length, kind, payload in found:
                location = _new(Location, (writer, seq, offset, length))
                yield _new(Frame, (location, kind, payload))

    def cursor(
        self, since: Mapping[tuple[str, int], int] | None = None, finished: Iterable[str] = ()
    ) -> Cursor:
        """A position in the whole journal, from which one reader goes on.

        `since` maps (writer, sequence number) to the offset of the first byte not read yet.
        `finished` are writers that a former cursor found `finished` and read wholly: they are not
        looked at, so that opening an old store costs nothing for them.
        """
        self._listing.skip(finished)
        return Cursor(self, self._listing, since or {})

    def read(self, location: Location) -> Any:
        """The record at `location`, verified. HOT.

        Raises
        ------
        CorruptObject
            The bytes there are not the record that was written there.
        MissingObject
            The segment is gone.
        """
        return self._blocks.read(location)

    def reread(self) -> None:
        """All is read from the disk again: somebody has written over records, or moved them.

        Cursors that were made before go on with what they knew.
        """
        self._blocks.close()
        self._listing, self._cursor = self._listing.anew(), None

    def finish(self) -> None:
        """The writer that this process was writes no more; the next append is another one's."""
        with self.mutex:
            if self._segment is not None:
                self._segment.close()
            self.after_fork()
            self._listing.own = ""

    def head(self, writer: str) -> Head | None:
        """Host, boot, process and beginning of a writer; None if it has left no sound segment."""
        newest = self._open_newest(writer)
        if newest is None:
            return None
        try:
            return read_head(newest[1])
        finally:
            os.close(newest[1])

    def is_alive(self, writer: str) -> bool:
        """Whether the process of that writer lives: it locks its segment. This one does."""
        if writer and writer == self._writer:
            return True
        final = 0
        while newest := self._open_newest(writer):
            seq, fd = newest
            try:
                if is_held(fd):
                    return True
            finally:
                os.close(fd)
            if seq == final:
                break
            final = seq  # it may just have begun another one: look again
        return self._lives_elsewhere is not None and self._lives_elsewhere(writer)

    def own_end(self, key: tuple[str, int]) -> int | None:
        """Where the next frame of this process's open segment goes; None for all others."""
        segment = self._segment
        if segment is None or not segment.limit or key != (self._writer, segment.seq):
            return None
        return segment.end

    def check_own(self) -> None:
        """If somebody has removed this process's segment, the next append begins a new one."""
        with self.mutex:
            segment = self._segment
            if segment is not None and segment.fd >= 0 and not os.fstat(segment.fd).st_nlink:
                segment.close()

    def note_damage(self, damage: Damage) -> None:
        """Warn, once, of records that are not signed and so do not answer. Of others fsck tells."""
        if damage.reason == UNSIGNED and not self._has_refused:
            self._has_refused = True
            warnings.warn(
                f"{self.folder} has records that are not signed with the key of the store: they do "
                f"not answer. The first stands at {damage.start} of {damage.writer}/"
                f"{damage.seq:08d}",
                stacklevel=2,
            )

    def close(self) -> None:
        """Let go of all files and of the lock. A later append begins a new segment."""
        with self.mutex:
            if self._segment is not None:
                self._segment.close()
            self._segment = None
        self._listing.close()
        self._blocks.close()

    def after_fork(self) -> None:
        """In a forked child: the parent's segment is the parent's."""
        if self._segment is not None:
            self._segment.close()
        self._segment = None
        self._writer = ""
        self._seq = 0

    def __del__(self) -> None:
        if self._segment is not None:
            self._segment.close()

    def _choose_writer(self) -> str:
        if not self._writer:
            self._writer = self._listing.own = os.urandom(8).hex()
        return self._writer

    def _write(self, payloads: Sequence[tuple[int, bytes]]) -> list[Location]:
        segment = self._segment
        if segment is None or segment.end >= segment.limit:
            segment = self._next_segment()
        spots = segment.write(payloads)
        writer, seq = self._writer, segment.seq
        return [_new(Location, (writer, seq, offset, length)) for offset, length in spots]

    def _next_segment(self) -> Segment:
        if self.read_only:
            raise OSError(errno.EROFS, "it was opened read-only")
        writer, seq = self._choose_writer(), self._seq + 1
        try:
            if self._before_segment is not None:
                self._before_segment(writer)
            segment = Segment(self.folder, writer, seq, self._durable, self.signer)
        except BaseException:
            # No number is left out, and none is given twice: somebody may have seen that segment.
            self._seq += os.path.lexists(segment_path(self.folder, writer, seq))
            raise
        self._seq = seq
        full, self._segment = self._segment, segment
        if full is not None:
            full.close()
        return segment

    def _refuse(self, error: OSError) -> NoReturn:
        if error.errno is None:  # raised by a signal handler that had nothing to do with us
            raise error
        kind = StoreReadOnly if error.errno in _DENIED else StoreError
        raise kind(
            f"cannot append to the journal {self.folder}: {error.strerror}; "
            "nothing that was recorded before is affected, and the next call tries again",
            errno=error.errno,
        ) from error

    def _open_newest(self, writer: str) -> tuple[int, int] | None:
        if not is_writer(writer):
            return None
        folder = self.folder / writer
        try:
            name = max(filter(is_segment, os.listdir(folder)))
            return int(name), open_regular(folder / name)
        except (OSError, ValueError):
            return None


class Cursor:
    """One reader's position in the whole journal. One thread at a time may use it."""

    def __init__(
        self, journal: Journal, listing: Listing, since: Mapping[tuple[str, int], int]
    ) -> None:
        self.offsets = dict(since)
        """(writer, sequence number) to the first byte not read yet."""
        self._journal = journal
        self._listing = listing
        self._arrived = 0
        self._pending: list[Source] = []

    @property
    def finished(self) -> frozenset[str]:
        """Writers that will write no more and whose records this cursor has passed, all of them.

        Together with `offsets` this is what a reader keeps for its next life.
        """
        self._listing.review()
        over = frozenset(self._listing.over)  # first: what is over has arrived before
        arrivals = self._listing.arrivals
        unread = {source.key[0] for source in self._pending + arrivals[self._arrived :]}
        unread.update(source.key[0] for source in arrivals if source.problem)
        return over - unread

    def poll(self) -> bool:
        """Whether another writer's segment has grown or appeared beyond this position. HOT.

        True also while a live segment ends in an incomplete frame.
        """
        if self._listing.refresh():
            self._journal.check_own()
        if self._arrived != len(self._listing.arrivals):
            self._take_arrivals()
        offsets = self.offsets
        for source in self._pending:
            if not source.is_own and source.size() != offsets.get(source.key, 0):
                return True
        return False

    def batches(
        self,
        kinds: Collection[int] | None = None,
        on_damage: Callable[[Damage], object] | None = None,
    ) -> Iterator[Batch]:
        """All frames beyond this position, which passes a batch when the next one is asked for.

        The heads of segments are left out, and with `kinds` all other kinds. The frames of one
        segment come in the order in which they were written; writers come in no order. Damaged
        bytes are told to `on_damage` and passed over.
        """
        if self._listing.refresh():
            self._journal.check_own()
        self._take_arrivals()
        signer = self._journal.signer
        tell = on_damage or self._journal.note_damage
        for source in self._pending[:]:
            may_grow = source.check()
            size = self._journal.own_end(source.key) if source.is_own else None
            if size is None:
                size = source.size()
            start = self.offsets.get(source.key, 0)
            for some, end in _read(source, start, size, may_grow, kinds, tell, signer):
                found = list(filter(_is_usable, some)) if self._journal.is_strange else some
                yield Batch(*source.key, found, end)
                self.offsets[source.key] = end
            if not may_grow:
                source.rest()
                self._pending.remove(source)

    def _take_arrivals(self) -> None:
        arrivals = self._listing.arrivals
        new = arrivals[self._arrived :]
        self._arrived += len(new)
        offsets = self.offsets
        self._pending += [
            source
            for source in new
            if source.final is None or source.final > offsets.get(source.key, 0) or source.problem
        ]


def _blocks(folder: Path, signer: Signer | None, *, is_strange: bool) -> Blocks:
    if signer is not None:
        return SignedBlocks(folder, signer)
    return CheckedBlocks(folder) if is_strange else Blocks(folder)


def _is_usable(frame: tuple[int, int, int, bytes]) -> bool:
    """Whether the fields of the record are what such a record has, as far as it is known here."""
    from tasklineage.storage.shapes import malformed  # for strangers' stores

    _, _, kind, payload = frame
    try:
        return kind not in KINDS or not malformed(decode(kind, payload))
    except (ValueError, TypeError, RecursionError):
        return False


def _read(
    source: Source,
    offset: int,
    size: int,
    may_grow: bool,
    kinds: Collection[int] | None,
    tell: Callable[[Damage], object],
    signer: Signer | None,
) -> Iterator[tuple[list[tuple[int, int, int, bytes]], int]]:
    """Runs of sound frames of a segment between `offset` and `size`, each with its end."""
    if size > LONGEST:
        tell(Damage(*source.key, LONGEST, size, "damaged"))
        size = LONGEST
    wanted = _CHUNK
    while offset < size:
        data = source.read(offset, min(wanted, size - offset))
        if source.problem:
            break
        if signer is None:
            found, sound = frames.walk(data, source.place, offset, 0, kinds)
        else:
            own = signer.segment(*source.key)
            found, sound, refused = frames.walk_signed(data, source.place, offset, kinds, own)
            for first, last in refused:
                tell(Damage(*source.key, first, last, UNSIGNED))
        if sound:
            offset += sound
            wanted = _CHUNK
            yield found, offset
            continue
        claimed = frames.claim(data, 0)
        if len(data) == wanted < claimed <= size - offset:
            wanted = claimed
            continue
        after = _next_sound(source, offset, size)
        if after is None:
            if not may_grow:
                tell(_tail(source, offset, size, claimed))
                yield [], size
            return
        tell(Damage(*source.key, offset, after, "damaged"))
        offset = after
    if source.problem:
        tell(Damage(*source.key, offset, size, source.problem))


def _next_sound(source: Source, offset: int, size: int) -> int | None:
    """Where the next sound frame behind `offset` begins."""
    rest = source.read(offset, size - offset)
    found = frames.find(rest, source.place, offset, 1)
    return None if found < 0 else offset + found


def _tail(source: Source, offset: int, size: int, claimed: int) -> Damage:
    is_cut = claimed > size - offset
    return Damage(*source.key, offset, size, "unfinished" if is_cut else "damaged")
