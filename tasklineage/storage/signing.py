"""Signatures: what was written by somebody who has the key of a store, and at that place.

    signatures      a file of four lines: says that this store has some
    records         a frame with the flag 1 ends in the MAC of 24 bytes (see `frames`)
    objects         the 32 bytes of the header: a MAC of 24 bytes, and xxh3-64 of that
    refs            a version with the flag 1 ends in the MAC of 24 bytes (see `refs`)

A MAC is BLAKE2b (RFC 7693), keyed, of 24 bytes. The key is the BLAKE2b of 32 bytes of the key that
was given, so that may have any length; `person` is `tasklineage key` for that, and for records,
objects, refs and what is to be erased it ends in `rec`, `obj`, `ref` and `del`.

    of a record     the id of the store (16 bytes), writer, sequence number and offset (8 each),
                    the 8 bytes of the frame before its checksum, the payload
    of an object    all of its bytes, with zeros for the 32
    of a ref        the id of the store, the payload, in which its name and number stand
    of `gc/purging` the id of the store, the rest of the file

So a record counts only in its store, at its place. An object has no place: it is its content, which
its id names. Whoever has no key reads what is signed, and believes it as any other.
"""

from __future__ import annotations

import hmac
import os
import struct
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import xxhash

from tasklineage.errors import ConfigError, MissingObject, StoreError
from tasklineage.storage.frames import MAC
from tasklineage.storage.object_layout import MAC_SIZE

if TYPE_CHECKING:
    from tasklineage.storage.backend import Backend

FILE = "signatures"
SIZE = MAC
"""Bytes of a MAC."""

keys: dict[bytes, bytes] = {}
"""The keys of the signed stores that this process has opened, by the ids of the stores."""
_NAME = b"tasklineage signatures\nversion 1\n"
_place = struct.Struct("<QQQQ").pack


class Signer:
    """Makes and checks the MACs of one store. Immutable; any thread may call."""

    __slots__ = ("_key", "_object", "_record", "store")

    def __init__(self, key: bytes, store: bytes) -> None:
        self._key = _derived(key)
        self.store = store
        """The id of the store."""
        self._record: Any = blake2b(
            store, digest_size=SIZE, key=self._key, person=b"tasklineage rec"
        )
        self._object: Any = blake2b(digest_size=SIZE, key=self._key, person=b"tasklineage obj")

    def segment(self, writer: str, seq: int) -> SegmentSigner:
        """Who signs the records of a segment."""
        return SegmentSigner(self._record, int(writer, 16), seq)

    def hasher(self) -> Any:
        """What takes the bytes of an object, zeros for its field, one after the other."""
        return self._object.copy()

    def mac_of_ref(self, payload: bytes) -> bytes:
        """The MAC of a version of a ref."""
        made = blake2b(
            self.store + payload, digest_size=SIZE, key=self._key, person=b"tasklineage ref"
        )
        return made.digest()

    def is_mac_of_ref(self, payload: bytes, mac: bytes) -> bool:
        """Whether it is that of this version of a ref."""
        return hmac.compare_digest(self.mac_of_ref(payload), mac)

    def mac_of_purge(self, todo: bytes) -> bytes:
        """The MAC of what is to be erased."""
        made = blake2b(
            self.store + todo, digest_size=SIZE, key=self._key, person=b"tasklineage del"
        )
        return made.digest()

    def secret_key(self) -> bytes:
        """The key of digests of Secrets that count: that of a signed store stands in no file."""
        return blake2b(
            self.store, key=self._key, person=b"tasklineage sec", digest_size=32
        ).digest()


class SegmentSigner:
    """Makes and checks the MACs of one segment's records."""

    __slots__ = ("_begun", "_seq", "_writer")

    def __init__(self, begun: Any, writer: int, seq: int) -> None:
        self._begun = begun
        self._writer = writer
        self._seq = seq

    def mac(self, fields: int, offset: int, payload: bytes) -> bytes:
        """The MAC of a record. `fields` are the bytes 4 to 11 of its frame, as a number."""
        state = self._begun.copy()
        state.update(_place(self._writer, self._seq, offset, fields))
        state.update(payload)
        made: bytes = state.digest()
        return made

    def is_good(self, fields: int, offset: int, content: bytes) -> bool:
        """Whether the content of a frame ends in the MAC of what stands before."""
        made = self.mac(fields, offset, content[:-SIZE])
        return hmac.compare_digest(made, content[-SIZE:])


def field(hasher: Any) -> bytes:
    """What stands in the header of an object that was hashed so."""
    mac: bytes = hasher.digest()
    return mac + xxhash.xxh3_64_digest(mac)


def is_field(found: bytes) -> bool:
    """Whether these bytes can be the field of an object, signed or not.

    So whoever lacks the key sees that one was damaged.
    """
    if found == bytes(MAC_SIZE):
        return True
    return xxhash.xxh3_64_digest(found[:SIZE]) == found[SIZE:]


def is_same(found: bytes, hasher: Any) -> bool:
    """Whether this is the field of an object that was hashed so."""
    return hmac.compare_digest(found, field(hasher))


def checked_key(key: bytes | str | None) -> bytes | None:
    """The key as bytes; None where there is none.

    Raises
    ------
    ConfigError
        It can be none.
    """
    if key is None:
        return None
    given: object = key.encode() if isinstance(key, str) else key
    if not isinstance(given, bytes) or not given:
        raise ConfigError("signing_key= is text or bytes, and not empty")
    return given


def signer_of(backend: Backend, key: bytes, *, read_only: bool) -> Signer:
    """Who signs and checks in the store of this backend, which is a signed one from now on.

    Raises
    ------
    StoreError
        It is signed with another key; or the file that says so is damaged, or cannot be made.
    """
    found = _read(backend)
    if found is None:
        found = _content(os.urandom(16), key)
        if not read_only and not backend.create(FILE, found):
            found = _read(backend) or b""
    lines = found.split(b"\n")
    try:
        store = bytes.fromhex(lines[2].removeprefix(b"store ").decode())
    except (ValueError, IndexError):
        store = b""
    if len(store) != 16 or not hmac.compare_digest(found, _content(store, key)):
        raise StoreError(
            f"the store at {backend.url} is signed with another key than signing_key= (or "
            f"TASKLINEAGE_SIGNING_KEY), or its file {FILE!r} was changed. Give the key that it was "
            "made with, or use another store"
        )
    keys[store] = key
    return Signer(key, store)


def signer_for(backend: Backend, key: bytes | str | None) -> Signer | None:
    """As `signer_of`, for somebody who only checks; None without a key, or if nothing is signed."""
    given = checked_key(key)
    if given is None or _read(backend) is None:
        return None
    return signer_of(backend, given, read_only=True)


def _read(backend: Backend) -> bytes | None:
    try:
        return backend.read(FILE)
    except MissingObject:
        return None


def _content(store: bytes, key: bytes) -> bytes:
    lines = _NAME + b"store " + store.hex().encode() + b"\n"
    check = blake2b(lines, key=_derived(key), digest_size=SIZE, person=b"tasklineage chk")
    return lines + b"check " + check.hexdigest().encode() + b"\n"


def _derived(key: bytes) -> bytes:
    return blake2b(key, digest_size=32, person=b"tasklineage key").digest()
