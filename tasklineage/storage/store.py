"""The store: where results and records are, behind one face.

What stands where is said in the parts: `journal` has what happened, `objects` the large values,
`catalog` is an index of the journal, `flight` keeps the same call from executing twice at once.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgpack
import xxhash

from tasklineage.errors import (
    CorruptObject,
    MissingObject,
    UnreadableFile,
    UnstorableResult,
)
from tasklineage.key.hidden import Hidden
from tasklineage.key.pins import State
from tasklineage.storage.catalog import Catalog
from tasklineage.storage.epochs import PURGES, SWEEPS, Counters, Purges
from tasklineage.storage.flight import Flight
from tasklineage.storage.frames import Location
from tasklineage.storage.journal import Journal
from tasklineage.storage.memos import Memo
from tasklineage.storage.objects import Objects
from tasklineage.storage.records import Accept, CallEnd, Code, Forget, Record, Ref, Versions
from tasklineage.storage.tail import Tail
from tasklineage.storage.trust import distrusting_folder, index_folder, signer_for
from tasklineage.storage.values import Values
from tasklineage.storage.verified import Verified

if TYPE_CHECKING:
    from tasklineage.key.file_contents import Memory
    from tasklineage.storage.backend import Backend
    from tasklineage.storage.contents import Keeper, StoredContents
    from tasklineage.storage.kin import Kin
    from tasklineage.storage.mirror import Opened as OpenedRemote
    from tasklineage.storage.refs import Refs
    from tasklineage.storage.remote import Remote
    from tasklineage.storage.sweeps import Watch

SAVED_FROM = 1 << 20
"""Bytes of the journal beyond the catalog from which on it is brought up to date at the end."""
_TEXTS = ("plain", "text")
"""Codecs of texts."""
_UNMAPPED = (-2, -2)
"""In the place of the counters, until somebody looks at them."""
_INDEXED = frozenset({CallEnd, Forget, Code, Versions, Accept})

Members = tuple[tuple[str, bytes], ...]


class Store:
    """One store, as `open_store` opens it: a local one, or a remote one by its mirror.

    Any thread may call, and a forked child.

    In a store that cannot be written, `append` does nothing (it warns once), and `put` stores
    nothing; everything else works.
    """

    def __init__(
        self,
        path: Path,
        *,
        allow_pickle: bool = True,
        read_only: bool = False,
        durability: str = "process",
        remote: OpenedRemote | None = None,
        signing_key: bytes | None = None,
    ) -> None:
        self.path = path
        self.read_only = read_only
        self.allow_pickle = allow_pickle
        self.durability = durability
        self.signing_key = signing_key
        """It is in no pickle but that of `Confided`: another process takes its own from the
        environment."""
        self._counters = Counters(path, read_only=read_only)
        self._began = began = self._counters.now()[SWEEPS]  # before anything else is read
        self._calm = -1 if began % 2 else began
        """What the counter of sweeps reads as long as nothing can have been swept meanwhile."""
        self._view: Any = _UNMAPPED
        self.signer = signer = signer_for(path, signing_key, remote, read_only=read_only)
        self.journal = journal = Journal(
            path,
            read_only=read_only,
            durability=durability,
            signer=signer,
            is_strange=not allow_pickle,
        )
        self._purges = Purges(self._counters, journal.reread)
        self._heeded = self._purges.seen
        """Of which generation of the journal the memos are that were read."""
        self.flight = Flight(path, lambda: journal.writer, read_only)
        own = index_folder(path, signer, is_ours=allow_pickle or remote is not None)
        indexes = own or path / "none"
        # The indexes of a mirror are written by whoever only reads the store, too.
        is_fixed = own is None or (read_only and remote is None and own == path)
        self.catalog = Catalog(
            indexes,
            self.journal,
            read_only=is_fixed,
            is_durable=durability == "power",
            generation=self._purges.generation,
        )
        verified = Verified(indexes, read_only=is_fixed)
        self.remote: Remote | None = None
        self._url = str(path)
        options: dict[str, Any] = {
            "durability": durability,
            "read_only": read_only,
            "is_verified": verified.is_verified,
            "note_verified": verified.note_verified,
            "signer": signer,
        }
        if remote is None:
            self.objects = Objects(path, **options)
        else:
            self._attach(remote, options)
        self._watch: Watch | None = None
        self._tail = Tail(self.journal, self.catalog)
        self._values = Values(
            self.objects,
            self._tail.stored,
            allow_pickle=allow_pickle,
            read_only=read_only,
            durability=durability,
        )
        if allow_pickle and not is_fixed:  # what a stranger's store says is not believed
            State.memory = functools.partial(_file_hashes, indexes)
        self._sets: dict[bytes, Members] = {}
        self._has_warned = False
        # An attribute of an attribute costs as much as the look-up itself.
        self._write_one = self.journal.append_one
        self._note = self._tail.note
        self._read = self.journal.read
        self._newest = self._tail.memos.newest
        self._loaded = self._tail.memos.loaded
        self._codes = self._tail.codes.known
        self.aliases = self._tail.kin.aliases
        """By code version, what `core.aliases` has found of those whose memos answer for it."""

    @property
    def url(self) -> str:
        """Where it is, as `open_store` takes it."""
        return self._url

    @functools.cached_property
    def backend(self) -> Backend:
        """The store as bytes under keys: the remote one, if this is a mirror."""
        if self.remote is not None:
            return self.remote.backend
        from tasklineage.storage.backend import Folder  # rarely needed

        return Folder(self.path, durable=True)

    # Records.

    def append(self, *records: Record) -> None:
        """Append the records to the journal, with one write.

        Whoever looks for a memo in this process finds it when this returns.

        Raises
        ------
        StoreError
            They could not be written; `errno` says why.
        Swept
            They are written, and what one of them names was deleted meanwhile.
        """
        if self.read_only:
            self._warn_read_only()
        elif records:
            if Hidden.in_use:
                records = tuple(map(_without_secrets, records))
            locations = self.journal.append(records)
            for record, location in zip(records, locations, strict=True):
                if type(record) in _INDEXED:
                    self._note(record, location)
            self._tail.last = locations[-1]
            if self._view[SWEEPS] != self._calm:
                self._look_again(records)

    def append_one(self, record: Record) -> None:
        """As `append`, of one record. HOT."""
        if self.read_only:
            self._warn_read_only()
            return
        if Hidden.in_use:
            record = _without_secrets(record)
        location = self._write_one(record)
        if type(record) in _INDEXED:
            self._note(record, location)
        self._tail.last = location
        if self._view[SWEEPS] != self._calm:
            self._look_again((record,))

    def append_many(self, records: Iterable[Record]) -> None:
        """As `append`."""
        self.append(*records)

    def catch_up(self) -> bool:
        """Whether other writers have added something; look-ups know of it now. HOT."""
        if self.remote is not None:
            self.remote.look()
        return self._tail.catch_up()

    # Memos.

    def find_memo(self, code: bytes, key: bytes) -> CallEnd | None:
        """The newest memo of the key that was not forgotten. HOT.

        `code` is the code version that is in the key. The record is read and verified; one that is
        damaged does not answer, and neither does what only an index says.
        """
        if self._view[PURGES] != self._heeded:
            self.heed_purges()
        if code not in self._loaded:
            self._tail.open()
            if self._tail.memos.prepare(code, (key,)):
                return self._found_by_itself(code, key)
        memo = self._newest.get(key)
        if memo is None:
            return None
        try:
            record = self._read(memo[1])
        except (CorruptObject, MissingObject, OSError):
            return self._older_memo(code, key, memo)
        if type(record) is CallEnd and record.key == key and record.memo:
            return record
        return self._older_memo(code, key, memo)

    def older_memos(self, key: bytes) -> Iterator[CallEnd]:
        """Memos of the key that are older than the one that `find_memo` gives, newest first."""
        for _, location in self._tail.memos.older(key):
            with contextlib.suppress(CorruptObject, MissingObject, OSError):
                record = self._read(location)
                if type(record) is CallEnd and record.key == key and record.memo:
                    yield record

    def find_memos(self, code: bytes, keys: Sequence[bytes]) -> list[CallEnd | None]:
        """As `find_memo`, of several keys."""
        if code not in self._loaded:
            self._tail.open()
            self._tail.memos.prepare(code, keys)
        newest = self._newest
        return [self.find_memo(code, key) if key in newest else None for key in keys]

    def memo_between(self, key: bytes, since: float, until: float) -> Location | None:
        """Where the newest memo of the key stands, if its call ended in that time."""
        memo = self._newest.get(key)
        return memo[1] if memo is not None and since <= memo[0] <= until else None

    def call_at(self, location: Location, digest: bytes, call: bytes) -> CallEnd:
        """The record at `location`, or wherever it is now, of a call with a result of this digest.

        Raises
        ------
        MissingObject, CorruptObject
            The record is gone, or is not what was written.
        """
        try:
            record = self._read(location)
        except MissingObject:  # a pack has moved it
            found = self.catalog.calls_of((call,)).get(call)
            record = self.catalog.call_end((found and found.producer) or call)
        if isinstance(record, CallEnd) and record.output and record.output[0] == digest:
            return record
        raise CorruptObject("the record at that place is of another call", location=location)

    def forget(self, key: bytes) -> None:
        """Memos of this key no longer answer, here and in every other process.

        Raises
        ------
        StoreError
            It could not be recorded.
        """
        known = self._newest.get(key)
        # A memo of a clock that was ahead of this one is forgotten too.
        newest = 0.0 if known is None else math.nextafter(known[0], math.inf)
        self.append(Forget(key, max(time.time(), newest)))

    # Values.

    def put(self, value: Any, digest: bytes) -> Ref:
        """Where the value is stored now. HOT for scalars.

        Up to 16 KiB stay in the `Ref`. What is stored already is not written again. A read-only
        store only describes what does not fit.

        Raises
        ------
        UnstorableResult
            There is no way to store it.
        StoreError
            It could not be written; `errno` says why.
        """
        return self._values.put(value, digest)

    def keeper(self) -> Keeper:
        """Who pins the Files and Dirs of one value for `put_files`, and stores their contents."""
        return self._values.keeper()

    def put_files(self, value: Any, digest: bytes, keeper: Keeper) -> Ref:
        """As `put`, of a value that has Files or Dirs in it. They are pinned by `keeper`."""
        return self._values.put_files(value, digest, keeper)

    @property
    def contents(self) -> StoredContents:
        """The contents of the Files and Dirs that are stored here."""
        return self._values.contents()

    def put_object(self, text: str, digest: bytes) -> Ref:
        """Where the text is stored now: always in an object, so that equal ones share it.

        Raises
        ------
        StoreError
            It could not be written; `errno` says why.
        """
        return self._values.put_object(text, digest)

    def describe(self, value: Any, digest: bytes, *, keep: bool = False) -> Ref:
        """The value inline if it is small; where it is, if it is stored; else what it looks like.

        With `keep` it is stored, if there is a way.

        Raises
        ------
        StoreError
            It was to be stored and could not be written.
        """
        if keep:
            try:
                return self._values.keep(value, digest)
            except (UnstorableResult, UnreadableFile):
                pass
        return self._values.describe(value, digest)

    def get(self, ref: Ref) -> Any:
        """The value, decoded anew, on the CPU. HOT for small plain ones.

        Raises
        ------
        MissingObject, CorruptObject
            One of its objects is gone, or is not what was written. It is stored anew when the same
            value is put again.
        UnsafeFormat
            Decoding would need pickle, which the store was opened to forbid.
        Undecodable
            Its class or its codec is not to be had here.
        """
        return self._values.get(ref)

    def get_on(self, ref: Ref, device: Any) -> Any:
        """As `get`, tensors and device arrays on that device; None: on the CPU.

        Raises
        ------
        ConfigError
            There is no such device here. Else as `get`.
        """
        if device is None:
            return self._values.get(ref)
        from tasklineage.storage.codecs.placing import placed_on  # for those who ask

        with placed_on(device):
            return self._values.get(ref)

    def text(self, ref: Ref) -> str:
        """A text that a record points to: what was printed, an environment, a difference.

        It is read without running anybody's code, whatever the record says that it is.

        Raises
        ------
        MissingObject, CorruptObject
            It is gone, or is no text.
        """
        value = self._values.get(ref) if ref.codec in _TEXTS else None
        if not isinstance(value, str):
            raise CorruptObject(f"what a record says is a text is a {ref.type!r} of {ref.codec!r}")
        return value

    def pictures(self, ref: Ref) -> Mapping[str, bytes]:
        """Pictures that are stored with a value, by media type. Nothing is decoded.

        Raises
        ------
        MissingObject, CorruptObject
            Its object is gone, or is not what was written.
        """
        return self._values.pictures(ref)

    def get_item(self, ref: Ref, key: Any) -> Any:
        """`get(ref)[key]`: of a table that is columns, of a container an item, read by itself.

        Raises
        ------
        As `get`, and what the value raises that has no such item.
        """
        return self._values.get_item(ref, key)

    def columns(self, ref: Ref) -> list[Any] | None:
        """The names of the columns of a stored table; None of other values.

        Raises
        ------
        MissingObject, CorruptObject
        """
        return self._values.columns(ref)

    def parts(self, ref: Ref) -> dict[str, Ref]:
        """Where the parts of a value are that are stored by themselves, by their paths in it.

        Raises
        ------
        MissingObject, CorruptObject
        """
        return self._values.parts(ref)

    def inside(self, ref: Ref) -> list[Ref]:
        """Where the large parts of a container are that is stored as a tree. Nothing is decoded.

        Raises
        ------
        MissingObject, CorruptObject
            The object that names them is gone, or is not what was written.
        """
        return self._values.inside(ref)

    def has(self, ref: Ref) -> bool:
        """Whether everything is there that `get` needs. Bytes are not verified."""
        return self._values.has(ref)

    @functools.cached_property
    def secret_key(self) -> bytes:
        """What digests of Secrets that count are made with. It is in no record and no object.

        Raises
        ------
        StoreError
            It can be neither read nor made.
        """
        if self.signer is not None:
            return self.signer.secret_key()
        from tasklineage.storage.secret_key import secret_key

        return secret_key(self.path, read_only=self.read_only)

    # Code versions.

    def has_code(self, digest: bytes) -> bool:
        """Whether there is a `Code` record of this code version. HOT."""
        return digest in self._codes or self.code(digest) is not None

    def code(self, digest: bytes) -> Code | None:
        """The record of this code version; None where there is none, or none that is undamaged."""
        self._tail.open()
        found = self._tail.codes.find(digest, self._tail.beyond)
        if found is None and self.catch_up():
            found = self._tail.codes.find(digest, self._tail.beyond)
        return found

    def kin(self) -> Kin:
        """Which code versions have something in common, and which were accepted for which."""
        self._tail.open()
        return self._tail.kin

    def intern_versions(self, members: Iterable[tuple[str, bytes]]) -> bytes:
        """The digest that stands for this set of tasks and code versions in records.

        Its record is written if there is none yet.

        Raises
        ------
        StoreError
            It could not be written.
        """
        ordered = tuple(sorted(members))
        digest = xxhash.xxh3_128_digest(msgpack.packb(ordered))
        if digest not in self._sets and not self.versions(digest):
            self.append(Versions(digest, ordered))
            self._sets[digest] = ordered
        return digest

    def versions(self, digest: bytes) -> Members:
        """The tasks and code versions that the digest stands for; none if that is not known."""
        members = self._sets.get(digest)
        if members is None:
            self._tail.open()
            record = self._tail.versions.find(digest, self._tail.beyond)
            if record is None:
                return ()
            members = self._sets[digest] = record.members
        return members

    # Names.

    @functools.cached_property
    def refs(self) -> Refs:
        """The names that point to runs, calls and artifacts."""
        from tasklineage.storage.refs import Refs  # rarely needed

        return Refs(self.backend, read_only=self.read_only, signer=self.signer)

    # Its life.

    def flush(self, *, wait: bool = True) -> None:
        """Other machines can see what was recorded: now, or with `wait=False` in a moment.

        Of a local store that is so anyway.
        """
        if self.remote is not None:
            self.remote.flush(wait=wait)

    def refresh(self) -> None:
        """What other machines had put by now is known. Of a local store that is so anyway."""
        if self.remote is not None:
            self.remote.pull(now=True)

    def prefetch(self, refs: Iterable[Ref]) -> None:
        """Bring the objects of these values here, many at once, as far as they are small."""
        if self.remote is not None:
            self.remote.prefetch(refs)

    def close(self) -> None:
        """Let go of files and locks; bring the catalog up to date if much has been recorded.

        The store may be used again: it opens what it needs.
        """
        if self.remote is not None:
            self.remote.close()
        if not self.read_only and self._tail.length() > SAVED_FROM:
            self.catalog.save()
        self.catalog.close()
        self.journal.close()
        # Readers have been told that this writer is finished: the next append is another one's.
        self.journal.after_fork()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Store {self.url}{' (read-only)' if self.read_only else ''}>"

    def __reduce__(self) -> tuple[Any, ...]:
        from tasklineage.storage import opening  # which opens this

        reopen = functools.partial(
            opening.open_store if self.signer is None else opening.open_signed,
            allow_pickle=self.allow_pickle,
            read_only=self.read_only,
            durability=self.durability,
        )
        return reopen, (self.url,)

    def _attach(self, opened: OpenedRemote, options: Mapping[str, Any]) -> None:
        """Be the mirror of a remote store."""
        from tasklineage.storage.remote import Remote

        self._url = opened.url
        self.remote = remote = Remote(
            opened.backend, self.path, self.journal, read_only=self.read_only, limit=opened.limit
        )
        self.objects = objects = remote.objects(**options)
        self.catalog.refresh_by(remote.pull)
        remote.attach(self, objects)

    def heed_purges(self) -> None:
        """What was erased or moved since the last look is in no cache of this process any more."""
        self._view = self._purges.heed()
        if self._heeded != self._purges.seen:
            self._heeded = self._purges.seen
            self._tail.restart()

    def _look_again(self, records: Iterable[Record]) -> None:
        """Return if what these records name, which were just appended, is there and stays."""
        view = self._view = self._counters.map()
        counter = view[SWEEPS]
        if counter == self._calm:
            return
        watch = self._watch
        if watch is None:
            from tasklineage.storage.sweeps import Watch  # sweeps are rare

            watch = Watch(self.path, self._began, self.objects, self.catalog.call_end)
            self._watch = watch
        watch.check(records, counter)

    def _found_by_itself(self, code: bytes, key: bytes) -> CallEnd | None:
        """The memo of a key of a code version with very many, which has just been looked up."""
        record = self.find_memo(code, key) if key in self._newest else None
        if record is not None:
            self._tail.memos.follow(code, record.id)
        return record

    def _older_memo(self, code: bytes, key: bytes, damaged: Memo) -> CallEnd | None:
        """What answers instead of a memo whose record is damaged, or is not there any more."""
        if self._view[PURGES] == self._heeded:
            self._tail.memos.replace(key, damaged)
        return self.find_memo(code, key)

    def expect_nothing(self) -> None:
        """Give no warning that nothing is recorded: that is what was asked for."""
        self._has_warned = True

    def index_folders(self) -> list[Path]:
        """Where this user may have indexes of it: in it, and of his own."""
        return [self.path, *filter(None, [distrusting_folder(self.path)])]

    def _warn_read_only(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"the store at {self.url} cannot be written: what is executed is not recorded",
                stacklevel=3,
            )


def _without_secrets(record: Any) -> Any:
    from tasklineage.storage.hiding import without_secrets  # something is secret

    return without_secrets(record)


def _file_hashes(path: Path) -> Memory:
    from tasklineage.storage.file_hashes import FileHashes  # rarely needed

    return FileHashes(path)
