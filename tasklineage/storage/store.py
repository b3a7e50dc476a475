"""The store: where results and records are, behind one face.

What stands where is said in the parts: `journal` has what happened, `objects` the large values,
`catalog` is an index of the journal, `flight` keeps the same call from executing twice at once.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack
import xxhash

from tasklineage import config
from tasklineage.errors import (
    ConfigError,
    CorruptObject,
    MissingObject,
    StoreError,
    UnreadableFile,
    UnstorableResult,
)
from tasklineage.key.hidden import Hidden
from tasklineage.key.pins import State
from tasklineage.storage import ending, forks
from tasklineage.storage import format as layout
from tasklineage.storage.catalog import Catalog
from tasklineage.storage.epochs import PURGES, SWEEPS, Counters, Purges
from tasklineage.storage.flight import Flight
from tasklineage.storage.frames import Location
from tasklineage.storage.journal import Journal
from tasklineage.storage.memos import Memo
from tasklineage.storage.objects import Objects
from tasklineage.storage.records import Accept, CallEnd, Code, Forget, Record, Ref, Versions
from tasklineage.storage.tail import Tail
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
    from tasklineage.storage.signing import Signer
    from tasklineage.storage.sweeps import Watch

DURABILITIES = ("process", "power")
SAVED_FROM = 1 << 20
"""Bytes of the journal beyond the catalog from which on it is brought up to date at the end."""
_TEXTS = ("plain", "text")
"""Codecs of texts."""
_KEPT_OPEN = 8
_SIGNATURES = "signatures"
"""The file of `signing`, which is imported where there is a key."""
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
        self.signer = signer = _signer(path, signing_key, remote, read_only=read_only)
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
        own = _index_folder(path, signer, is_ours=allow_pickle or remote is not None)
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
        reopen = functools.partial(
            open_store if self.signer is None else _open_signed,
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
        return [self.path, *filter(None, [_distrusting_folder(self.path)])]

    def _warn_read_only(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"the store at {self.url} cannot be written: what is executed is not recorded",
                stacklevel=3,
            )


def own_folder(path: Path, store: bytes) -> Path | None:
    """Where this user keeps what can be made again of a store in which others may write.

    None without a home, or where that cannot be written.
    """
    folder = config.cache_folder()
    if not folder:
        return None
    name = xxhash.xxh3_128_hexdigest(os.fsencode(path) + b"\0" + store)
    own = Path(folder, "stores", name)
    try:
        os.makedirs(own, mode=0o700, exist_ok=True)
        status = os.stat(own)
    except OSError:
        return None
    return own if status.st_uid == os.geteuid() and not status.st_mode & 0o077 else None


def _index_folder(path: Path, signer: Signer | None, *, is_ours: bool) -> Path | None:
    """Where the indexes are: in the store, if what stands there for them may be believed.

    Whoever changes a record of a signed store can change the catalog too, and that of a stranger's
    store may be no catalog at all: then this user has indexes of his own. None: in memory.
    """
    if signer is not None:
        return own_folder(path, signer.store)
    return path if is_ours else _distrusting_folder(path)


def _distrusting_folder(path: Path) -> Path | None:
    """Where this user keeps the indexes of a store that he reads as a stranger's."""
    try:
        found = os.stat(path / layout.FILE)
    except OSError:
        return None
    return own_folder(path, f"{found.st_dev} {found.st_ino} {found.st_ctime_ns}".encode())


def _signer(
    path: Path, key: bytes | None, remote: OpenedRemote | None, *, read_only: bool
) -> Signer | None:
    if key is None:
        if os.path.lexists(path / _SIGNATURES) or (remote is not None and remote.is_signed):
            url = path if remote is None else remote.url
            warnings.warn(
                f"the store at {url} is signed, and opened without signing_key= (or "
                "TASKLINEAGE_SIGNING_KEY): what is in it is not checked, and what is recorded now "
                "will not answer those who have the key",
                stacklevel=5,
            )
        return None
    from tasklineage.storage.backend import Folder  # rarely needed
    from tasklineage.storage.signing import signer_of

    backend = Folder(path, durable=True) if remote is None else remote.backend
    return signer_of(backend, key, read_only=read_only)


def _checked_key(key: bytes | str | None) -> bytes | None:
    if key is None:
        return None
    from tasklineage.storage.signing import checked_key

    return checked_key(key)


def _without_secrets(record: Any) -> Any:
    from tasklineage.storage.hiding import without_secrets  # something is secret

    return without_secrets(record)


def _file_hashes(path: Path) -> Memory:
    from tasklineage.storage.file_hashes import FileHashes  # rarely needed

    return FileHashes(path)


def open_store(
    url: str | os.PathLike[str] | Store | None = None,
    *,
    allow_pickle: bool = True,
    read_only: bool = False,
    durability: str | None = None,
    signing_key: bytes | str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    shared: str | None = None,
    create: bool = True,
) -> Store:
    """The store at `url`, which is made if there is none.

    Within a process there is one `Store` per place and options. A folder that cannot be written
    gives a store that is read-only.

    Parameters
    ----------
    url
        A path, a `file:` URL or a `Store`; by default the configured store, else the environment
        variable TASKLINEAGE_STORE, else the nearest `.tasklineage` upward from the working
        directory.
    allow_pickle
        False: values that only pickle can decode raise `UnsafeFormat`.
    durability
        `process`: what was recorded survives the death of the process; `power`: that of the
        machine too.
    signing_key
        Sign what is recorded and stored, and refuse what is not signed with this key: such records
        do not answer, such values raise `CorruptObject`, before anything of them is decoded. By
        default the environment variable TASKLINEAGE_SIGNING_KEY.
    shared
        `"group"`: a new store belongs to its folder's group, whose members read and write all of
        it, whatever their umask.
    create
        False: a store that is not there is an error.

    Raises
    ------
    StoreNotFound
        There is no store, and none shall be made.
    StoreError
        The store is of a newer version, or damaged where it says what it is, or could not be made;
        or it is signed with another key.
    ConfigError
        The URL or an option is not supported.
    """
    if shared not in (None, "group"):
        raise ConfigError(f"shared={shared!r}: it is None or 'group'")
    if url is None:
        url = config.default_store()
    if isinstance(url, Store):
        if durability in (None, url.durability):
            return url
        allow_pickle, read_only = url.allow_pickle, url.read_only
        signing_key = url.signing_key if signing_key is None else signing_key
        url = url.url
    place, is_remote = place_of(url)
    if storage_options and not is_remote:
        raise ConfigError(f"storage_options=... is for URLs of remote stores, not for {place}")
    if shared and is_remote:
        raise ConfigError(f"shared={shared!r} is for folders: who may write to {place}, it says")
    options = _Options(
        place,
        allow_pickle,
        read_only,
        durability or config.settings().durability,
        open_stores.storage_options(place, storage_options) if is_remote else None,
        _checked_key(config.signing_key() if signing_key is None else signing_key),
    )
    if options.durability not in DURABILITIES:
        raise ConfigError(f"durability={durability!r}: it is one of {', '.join(DURABILITIES)}")
    return open_stores.open(options, create=create, is_shared=shared is not None)


def _open_signed(url: str, **options: Any) -> Store:
    """A store of another process that has a key: without one nothing recorded would be believed."""
    if config.signing_key() is None:
        raise StoreError(
            f"the store at {url} is signed, and this process has no key: set "
            "TASKLINEAGE_SIGNING_KEY for all processes that use it"
        )
    return open_store(url, **options)


class Confided(NamedTuple):
    """A store on its way to a worker of this machine, by a pickle that nobody keeps.

    What was given in code goes with it, the signing key and the options of a file system; else a
    key is in no pickle. It arrives as the `Store`.
    """

    store: Store

    def __reduce__(self) -> tuple[Any, ...]:
        reopen, (url,) = self.store.__reduce__()
        given = {**reopen.keywords, "signing_key": self.store.signing_key}
        if self.store.remote is not None:
            given["storage_options"] = open_stores.storage_options(url, None).options
        return functools.partial(open_store, **given), (url,)


def as_store(store: str | os.PathLike[str] | Store | None) -> Store:
    """The store that `store=` of a query or a run names; None is the default one."""
    return store if isinstance(store, Store) else open_store(store)


class _Options(NamedTuple):
    """What makes two stores of a process the same."""

    place: str
    """A path, or the URL of a remote store."""
    allow_pickle: bool
    read_only: bool
    durability: str
    remote: _Remembered | None = None
    """What the file system of a remote store is made with."""
    signing_key: bytes | None = None


class _Remembered:
    """Options of a file system, which are the same as long as they are equal."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = dict(options)
        self._text = repr(sorted(self.options.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Remembered) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "<options of a file system>"  # there are secrets in it


class _OpenStores:
    """The stores that this process has open: those in use, and some that were used lately."""

    def __init__(self) -> None:
        self.mutex = threading.Lock()
        self.opening = threading.Lock()
        """Held while a remote store is opened, which takes its time."""
        self._open: weakref.WeakValueDictionary[_Options, Store] = weakref.WeakValueDictionary()
        self._folders: dict[_Options, tuple[int, int]] = {}
        self._recent: deque[Store] = deque(maxlen=_KEPT_OPEN)
        self._storage_options: dict[str, _Remembered] = {}
        forks.register(self)

    def after_fork(self) -> None:
        """In a forked child: each store takes care of itself."""
        self.opening = threading.Lock()

    def storage_options(self, url: str, given: Mapping[str, Any] | None) -> _Remembered:
        """What the file system of the URL is made with: without options, those given before."""
        if given is None:
            return self._storage_options.get(url) or _Remembered({})
        options = self._storage_options[url] = _Remembered(given)
        return options

    def open(self, options: _Options, *, create: bool, is_shared: bool = False) -> Store:
        """The store of these options, the one that is open if it is still the same."""
        if options.remote is not None:
            return self._open_remote(options, options.remote.options, create)
        with self.mutex:
            return self._open_local(options, create, is_shared)

    def _open_local(self, options: _Options, create: bool, is_shared: bool) -> Store:
        root = Path(options.place)
        known = self._open.get(options)
        is_same = known is not None and self._folders.get(options) == _identity(options.place)
        is_writable = layout.open_folder(
            root,
            read_only=options.read_only,
            create=create,
            durable=options.durability == "power" and not is_same,
            is_shared=is_shared,
        )
        if known is not None and is_same:
            return known
        self._folders[options] = _identity(options.place)
        return self._opened(options, root, is_writable)

    def _open_remote(
        self, options: _Options, storage_options: Mapping[str, Any], create: bool
    ) -> Store:
        from tasklineage.storage.mirror import open_mirror

        with self.opening:
            with self.mutex:
                known = self._open.get(options)
            if known is not None:
                return known
            found = open_mirror(
                options.place, storage_options, read_only=options.read_only, create=create
            )
            store = self._opened(options, found.mirror, found.can_be_written, found)
        ending.reserve_anew()  # it is closed before its connections are
        return store

    def _opened(
        self, options: _Options, root: Path, is_writable: bool, remote: OpenedRemote | None = None
    ) -> Store:
        store = Store(
            root,
            allow_pickle=options.allow_pickle,
            read_only=not is_writable,
            durability=options.durability,
            remote=remote,
            signing_key=options.signing_key,
        )
        self._open[options] = store
        self._recent.append(store)
        return store

    def close_all(self) -> None:
        """At the end of the process."""
        for store in list(self._open.values()):
            store.close()


def _identity(path: str) -> tuple[int, int]:
    """What changes when somebody removes a store and makes a new one in its place."""
    try:
        return os.stat(path).st_ino, os.stat(os.path.join(path, layout.FILE)).st_ino
    except OSError:
        return 0, 0


def place_of(url: object) -> tuple[str, bool]:
    """The local path that the URL stands for, or the URL of a remote store, and whether it is.

    Raises
    ------
    ConfigError
        It stands for neither.
    """
    if not isinstance(url, str | os.PathLike):
        raise ConfigError(f"a store is a path, a URL or a Store, not a {type(url).__name__}")
    text = os.fspath(url)
    if not isinstance(text, str):
        raise ConfigError(f"the path of a store is text: {text!r}")
    scheme, mark, rest = text.partition("://")
    if not mark:
        return os.path.realpath(os.path.expanduser(text)), False
    if scheme in ("file", "local"):
        return os.path.realpath(rest), False
    return text if text.endswith("://") else text.rstrip("/"), True


open_stores = _OpenStores()
ending.at_end(open_stores.close_all)
