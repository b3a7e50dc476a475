"""Refs: names that move. Each move is an immutable version, `refs/<name>/<number>`.

The highest number is the ref, the others are its past (the reflog), and a deletion is a version
like any other. A version is only ever created, and only where there is none of its number: of
several writers at once one gets it, the others look again and take the next. So nothing is locked,
no update is lost, and each version says which one it replaced.

    offset  bytes  content
    0       4      magic C1 74 6C 72: a byte that msgpack never uses, then `tlr`
    4       2      version of the layout: 1
    6       2      flags: 1 where it is signed, else 0
    8       8      checksum: xxh3-64 (seed 0) of the bytes before it and those behind it
    16      ...    payload: one msgpack array, the fields of `Version`; behind that of a signed one
                   its MAC, 24 bytes (see `signing`)

Numbers are little endian. Name and number stand in the payload, so that a version verifies only
where it was put. Of a ref whose highest version is damaged nobody can say where it points: it is an
error, and never the version before.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack
from xxhash import xxh3_64_intdigest

from tasklineage import config
from tasklineage.errors import (
    ConfigError,
    CorruptObject,
    MissingObject,
    NotFound,
    StoreReadOnly,
)
from tasklineage.key.hidden import Hidden
from tasklineage.storage import ref_names
from tasklineage.storage.frames import MAC
from tasklineage.storage.records import Ref, as_ref

if TYPE_CHECKING:
    from tasklineage.storage.backend import Backend
    from tasklineage.storage.signing import Signer

RUN, CALL, ARTIFACT, DELETED, DAMAGED = "run", "call", "artifact", "deleted", "damaged"
KINDS = frozenset({RUN, CALL, ARTIFACT, DELETED})
LONGEST_MESSAGE = 10_000
"""Characters."""
MAGIC, LAYOUT, SIGNED = b"\xc1tlr", 1, 1 | 1 << 16
"""`SIGNED` is the layout with the flag."""
_HEAD = struct.Struct("<4sIQ")
_LARGEST = 1 << 20
"""Bytes of a version: what is longer is none, and is not read."""
_YEAR_10000 = 253_402_300_800.0
_TEXTS = ("name", "kind", "user", "host", "message")
_pack = msgpack.Packer(autoreset=True, unicode_errors="surrogatepass").pack


class Version(NamedTuple):
    """One version of a ref: where it points since when, and who said so."""

    name: str
    number: int
    """From 1 on."""
    kind: str
    """`run`, `call` or `artifact`; `deleted` for the deletion of the ref."""
    target: bytes = b""
    """The id of the run or call, the Digest of the artifact."""
    at: float = 0.0
    user: str = ""
    host: str = ""
    message: str = ""
    previous: tuple[str, bytes] | None = None
    """Kind and target of the version before; None for the first, and after a damaged one."""
    value: tuple[Any, ...] | None = None
    """Of an artifact: the fields of the `Ref` to it, so that it can be read without any record."""
    nonce: bytes = b""
    """Random: what two writers write at once differs."""

    @property
    def is_there(self) -> bool:
        """Whether it points to something: it is no deletion, and not damaged."""
        return self.kind in (RUN, CALL, ARTIFACT)

    @property
    def ref(self) -> Ref:
        """Where the value of an artifact is."""
        return Ref(self.target) if self.value is None else as_ref(self.value)


class Target(NamedTuple):
    """What a ref is to point to."""

    kind: str
    id: bytes = b""
    value: Ref | None = None


def encode(version: Version, signer: Signer | None = None) -> bytes:
    """The bytes of a version, signed if there is a signer."""
    payload: bytes = _pack(version)
    if signer is None:
        return _HEAD.pack(MAGIC, LAYOUT, _checksum(LAYOUT, payload)) + payload
    content = payload + signer.mac_of_ref(payload)
    return _HEAD.pack(MAGIC, SIGNED, _checksum(SIGNED, content)) + content


def decode(data: bytes, name: str, number: int, signer: Signer | None = None) -> Version:
    """The version that these bytes are, as that number of the ref of that name.

    With a signer one that is not signed counts as damaged.

    Fields that are not known are passed over; those that are missing have their default.

    Raises
    ------
    CorruptObject
        They are none, or those of another one. Whatever they are, nothing else is raised.
    """
    where = f"version {number} of the ref {name!r}"
    if len(data) < _HEAD.size or not data.startswith(MAGIC):
        raise CorruptObject(f"{where} is damaged: it does not begin as one")
    _, layout, checksum = _HEAD.unpack_from(data)
    payload = data[_HEAD.size :]
    if xxh3_64_intdigest(data[:8] + payload) != checksum:
        raise CorruptObject(f"{where} is damaged: its bytes are not what was written")
    mac = b""
    if layout == SIGNED:
        payload, mac = payload[:-MAC], payload[-MAC:]
    if signer is not None and not signer.is_mac_of_ref(payload, mac):
        raise CorruptObject(f"{where} is not signed with the key of the store")
    if layout not in (LAYOUT, SIGNED):
        raise CorruptObject(f"{where} has layout {layout}: it is of a later tasklineage")
    found = _fields(payload)
    if found is None or not _is_sound(found):
        raise CorruptObject(f"{where} is not what this tasklineage writes")
    if (found.name, found.number) != (name, number):
        raise CorruptObject(f"{where} is that of {found.name!r}, number {found.number}: a copy")
    return found


class Refs:
    """The refs of one store. Any thread or process may call; only `move` writes."""

    def __init__(
        self, backend: Backend, *, read_only: bool = False, signer: Signer | None = None
    ) -> None:
        self._backend = backend
        self._signer = signer
        self._read_only = read_only

    def find(self, name: str) -> Version | None:
        """Where the ref points now; None where there is none of that name, or it was deleted.

        Raises
        ------
        CorruptObject
            Its newest version is damaged.
        """
        newest = self.newest(name)
        if newest is not None and newest.kind == DAMAGED:
            raise CorruptObject(_lost(newest))
        return newest if newest is not None and newest.is_there else None

    def newest(self, name: str) -> Version | None:
        """The newest version, be it a deletion or damaged (of kind `damaged`); None without any."""
        sizes = self._sizes(name)
        return self._read(name, max(sizes), sizes) if sizes else None

    def version(self, name: str, number: int) -> Version:
        """That version of the ref.

        Raises
        ------
        NotFound
            There is none of that number.
        CorruptObject
            It is damaged.
        """
        sizes = self._sizes(name)
        if number not in sizes:
            raise NotFound(f"the ref {name!r} has no version {number}")
        found = self._read(name, number, sizes)
        if found.kind == DAMAGED:
            raise CorruptObject(found.message)
        return found

    def history(self, name: str) -> Iterator[Version]:
        """All versions, newest first; damaged ones are of kind `damaged`."""
        sizes = self._sizes(name)
        for number in sorted(sizes, reverse=True):
            yield self._read(name, number, sizes)

    def kept(self, name: str) -> Iterator[Version]:
        """What it points to and has pointed to since it was made, or made anew, newest first.

        That is what is needed; nothing of a ref that was deleted. Damaged versions are among them.
        """
        return takewhile(lambda version: version.kind != DELETED, self.history(name))

    def prune(self, before: float) -> int:
        """How many versions are gone now: those before a deletion that was made before `before`.

        The deletion itself stays, so that no number is given twice.

        Raises
        ------
        StoreError
            They could not be deleted.
        """
        gone: list[str] = []
        for name in self.names():
            versions = list(self.history(name))
            last = next((v.number for v in versions if v.kind == DELETED and v.at < before), 0)
            gone += [ref_names.version_key(name, v.number) for v in versions if v.number < last]
        if gone:
            self._backend.delete(gone)
        return len(gone)

    def names(self) -> list[str]:
        """The names of all refs that there are or were, sorted."""
        return sorted(self._listed())

    def all(self) -> Iterator[Version]:
        """The newest version of each ref, by name: deleted and damaged ones too."""
        for name, sizes in sorted(self._listed().items()):
            yield self._read(name, max(sizes), sizes)

    def move(
        self,
        name: str,
        target: Target,
        *,
        message: str = "",
        check: Callable[[Version | None], None] | None = None,
    ) -> Version:
        """The version that makes the ref point to `target`, or deletes it; it is stored now.

        Parameters
        ----------
        check
            Called with the newest version, before each attempt: what it raises ends it.

        Raises
        ------
        StoreReadOnly
            The store cannot be written.
        StoreError
            It could not be written, or this kind of store cannot create a file only where there is
            none.
        ConfigError
            No ref can have that name, or the message is longer than 10,000 characters.
        """
        name = ref_names.checked(name)
        if Hidden.in_use:
            from tasklineage.key.redaction import redact  # something is secret

            message = redact(message)
        self._demand(name, message)
        newest = self.newest(name)
        while True:
            if check is not None:
                check(newest)
            version = _following(newest, name, target, message)
            if self._backend.create(
                ref_names.version_key(name, version.number), encode(version, self._signer)
            ):
                return version
            sizes = self._sizes(name)  # somebody else has taken the number
            newest = self._read(name, max(version.number, *sizes), sizes)

    def _demand(self, name: str, message: str) -> None:
        """Nothing, if a version can be written."""
        if self._read_only:
            raise StoreReadOnly(
                f"{self._backend.url} is read-only: the ref {name!r} stays as it is"
            )
        if len(message) > LONGEST_MESSAGE:
            raise ConfigError(f"the message of a ref has at most {LONGEST_MESSAGE:,} characters")

    def _sizes(self, name: str) -> dict[int, int]:
        """The numbers of the versions that there are, and how many bytes each has."""
        folder = ref_names.folder_key(name)
        skipped = len(folder) + 1
        found = {
            ref_names.number_of(key[skipped:]): size for key, size, _ in self._backend.list(folder)
        }
        return {number: size for number, size in found.items() if number is not None}

    def _listed(self) -> dict[str, dict[int, int]]:
        """By name, the numbers and sizes of all versions."""
        found: dict[str, dict[int, int]] = {}
        for key, size, _ in self._backend.list(ref_names.FOLDER):
            place = ref_names.version_at(key)
            if place is not None:
                found.setdefault(place[0], {})[place[1]] = size
        return found

    def _read(self, name: str, number: int, sizes: Mapping[int, int]) -> Version:
        """That version; one that cannot be read is of kind `damaged`."""
        try:
            data = self._bytes(name, number, sizes.get(number, 0))
            return decode(data, name, number, self._signer)
        except CorruptObject as error:
            return Version(name, number, DAMAGED, message=error.message)

    def _bytes(self, name: str, number: int, size: int) -> bytes:
        if not 0 < size <= _LARGEST:
            return b""
        try:
            return self._backend.read(ref_names.version_key(name, number))
        except MissingObject:
            return b""


def _following(newest: Version | None, name: str, target: Target, message: str) -> Version:
    """The version that comes after `newest`."""
    number, previous = 1, None
    if newest is not None:
        number = newest.number + 1
        previous = None if newest.kind == DAMAGED else (newest.kind, newest.target)
    return Version(
        name,
        number,
        target.kind,
        target.id,
        time.time(),
        config.user(),
        os.uname().nodename,
        message,
        previous,
        None if target.value is None else tuple(target.value),
        os.urandom(8),
    )


def _lost(damaged: Version) -> str:
    return (
        f"{damaged.message}, so nobody can say where the ref points. What it pointed to before is "
        f"in its reflog; tag it again to give it a sound version"
    )


def _checksum(layout: int, content: bytes) -> int:
    return xxh3_64_intdigest(struct.pack("<4sI", MAGIC, layout) + content)


def _fields(payload: bytes) -> Version | None:
    """The array that is packed there; None if it is none, or has too few fields."""
    try:
        fields = msgpack.unpackb(payload, use_list=False, unicode_errors="surrogatepass")
        return Version(*fields[: len(Version._fields)]) if type(fields) is tuple else None
    except (ValueError, TypeError):
        return None


def _is_sound(version: Version) -> bool:
    """Whether each field is of its type: a checksum tells damage, not who has written it."""
    return (
        all(type(getattr(version, name)) is str for name in _TEXTS)
        and type(version.number) is int
        and type(version.target) is bytes
        and len(version.target) == (0 if version.kind == DELETED else 16)
        and type(version.at) is float
        and 0 <= version.at < _YEAR_10000
        and version.kind in KINDS
        and (version.previous is None or _is_previous(version.previous))
        and (version.value is not None) == (version.kind == ARTIFACT)
        and (version.value is None or _is_ref(version.value, version.target))
    )


def _is_previous(found: Any) -> bool:
    return type(found) is tuple and tuple(map(type, found)) == (str, bytes) and found[0] in KINDS


def _is_ref(found: Any, digest: bytes) -> bool:
    """Whether these are the fields of a `Ref` to a stored value of that Digest."""
    if type(found) is not tuple or len(found) < len(Ref._fields):
        return False
    ref = as_ref(found)
    return (
        ref.digest == digest
        and all(type(text) is str for text in (ref.type, ref.codec, ref.preview))
        and type(ref.nbytes) is int
        and all(part is None or type(part) is bytes for part in (ref.data, ref.oid))
        and ref.is_stored
    )
