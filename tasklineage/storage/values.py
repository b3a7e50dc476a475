"""Values in the store: each Digest is stored once, and read back as often as anybody asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tasklineage.errors import (
    CorruptObject,
    MissingObject,
    UnhashableArgument,
    UnstorableResult,
)
from tasklineage.key.digest import Unresolved, is_immutable
from tasklineage.key.digest import digest as digest_of
from tasklineage.key.hidden import Hidden
from tasklineage.key.pins import State, keeping, reading
from tasklineage.storage.codecs import (
    LIMIT,
    WITH_CHILDREN,
    Undecodable,
    columns,
    decode,
    decode_for,
    encode,
    is_present,
    object_ids,
    parts,
    pictures,
    refs_inside,
)
from tasklineage.storage.codecs.describe import preview, type_name
from tasklineage.storage.codecs.plain import PLAIN
from tasklineage.storage.codecs.tables import size_of
from tasklineage.storage.object_layout import Buffer, Chunked, Header
from tasklineage.storage.objects import Objects
from tasklineage.storage.records import Ref

if TYPE_CHECKING:
    import pickle

    from tasklineage.key.files import Dir, File
    from tasklineage.storage.contents import Keeper, StoredContents

_SCALARS = frozenset({int, float, bool, complex, type(None)})
_KNOWN_KINDS = frozenset({str, bytes, bytearray, list, tuple, dict, set, frozenset})
_MOST_REMEMBERED = 100_000


class Values:
    """Puts values into the store and gets them back. Any thread may call.

    Parameters
    ----------
    search
        The `Ref` of a stored value by Digest, as some record has it; asked before an object is
        written. Its objects need not be there any more.
    """

    def __init__(
        self,
        objects: Objects,
        search: Callable[[bytes], Ref | None],
        *,
        allow_pickle: bool = True,
        read_only: bool = False,
        durability: str = "process",
    ) -> None:
        self._objects = objects
        self._is_durable = durability == "power" and not read_only
        self._search = search
        self._allow_pickle = allow_pickle
        self._read_only = read_only
        self._stored: dict[bytes, Ref] = {}
        self._suspect: set[bytes] = set()

    def put(self, value: Any, digest: bytes) -> Ref:
        """Where the value is now. HOT for scalars.

        A value whose Digest is known and whose objects are there is not written again. In a
        read-only store a large value is only described.

        Raises
        ------
        UnstorableResult
            There is no way to store it.
        StoreError
            It could not be written.
        """
        if type(value) in _SCALARS:
            return encode(value, digest, self._objects.put)
        if self._read_only:
            return self.describe(value, digest)
        if State.in_use and _has_files(value):
            return self.put_files(value, digest, self.keeper())
        ref = self._stored.get(digest)
        if ref is not None and self._is_there(ref):
            self._flush(ref)
            return ref
        putting = _Putting(self, digest)
        try:
            ref = encode(value, digest, putting.put, known=putting.known)
        except _Known as found:
            return found.ref
        if Hidden.in_use:
            _check_inline(ref)
        if ref.oid is not None:
            self.note(ref)
            self._suspect.discard(digest)
        return ref

    def put_object(self, text: str, digest: bytes) -> Ref:
        """As `put`, of a text that stays in no record, however short it is."""
        ref = self._stored.get(digest)
        if ref is None or ref.oid is None or not self._is_there(ref):
            from tasklineage.storage.codecs.encoder import Encoder  # not needed for plain values

            ref = Encoder(self._objects.put, 0, None, None, "text").ref(text, digest)
            self.note(ref)
        self._flush(ref)
        return ref

    def keep(self, value: Any, digest: bytes) -> Ref:
        """As `put`, of an argument, which another call may be changing while it is written.

        What was written is then not the value of that Digest, and the argument is described.

        Raises
        ------
        UnstorableResult, StoreError, UnhashableArgument
        """
        was_stored = digest in self._stored
        ref = self.put(value, digest)
        if was_stored or ref.oid is None or is_immutable(value) or digest_of(value) == digest:
            return ref
        self._stored.pop(digest, None)
        return Ref(digest, type_name(type(value)), preview=preview(value))

    def contents(self) -> StoredContents:
        """The contents of the Files and Dirs that are stored here."""
        from tasklineage.storage.contents import StoredContents  # as the others: rarely needed

        return StoredContents(self._objects)

    def keeper(self, *, stores: bool = True) -> Keeper:
        """Who pins the Files of one value, and puts their contents into the store."""
        from tasklineage.storage.contents import Keeper

        write = self.write if stores and not self._read_only else None
        return Keeper(self._content, write)

    def put_files(self, value: Any, digest: bytes, keeper: Keeper) -> Ref:
        """Where a value that has Files and Dirs in it is now.

        Equal ones may be in different places: what is stored of another is only what has none.

        Raises
        ------
        UnreadableFile
            One of them cannot be read, or changed meanwhile.
        UnstorableResult, StoreError
            As `put`.
        """
        if self._read_only:
            return self.describe(value, digest)
        with keeping(keeper):
            ref = encode(value, digest, self.write, known=self._known_without_place)
        if Hidden.in_use:
            _check_inline(ref)
        for content in keeper.stored():
            self.note(content)
        return ref

    def describe(self, value: Any, digest: bytes) -> Ref:
        """The value inline if it is small; where it is, if it is stored; else what it looks like.

        Writes nothing.
        """
        if type(value) in _SCALARS:
            return encode(value, digest, _refuse)
        if State.in_use and _has_files(value):
            return self._described_files(value, digest)
        if digest not in self._stored and _may_be_small(value):
            try:
                return encode(value, digest, _refuse, known=self.known)
            except (_TooLarge, UnstorableResult):
                pass
        ref = self.known(digest)
        return ref or Ref(digest, type_name(type(value)), preview=preview(value))

    def get(self, ref: Ref) -> Any:
        """The value, decoded anew. HOT for small plain ones.

        Raises
        ------
        MissingObject, CorruptObject
            One of its objects is gone, or is not what was written. It will be stored anew when the
            same value is put again.
        UnsafeFormat
            Decoding would need pickle, which the store was opened to forbid.
        Undecodable
            Its class or its codec is not to be had here.
        """
        note = self._note_part if ref.codec == "tree" else None
        try:
            if ref.codec == PLAIN:
                return decode(ref, self._objects.open, allow_pickle=self._allow_pickle)
            with reading(self.contents):
                return decode(
                    ref, self._objects.open, allow_pickle=self._allow_pickle, note_part=note
                )
        except (MissingObject, CorruptObject, Undecodable):
            self._suspect_of(ref)
            raise

    def pictures(self, ref: Ref) -> Mapping[str, bytes]:
        """Pictures that are stored with a value, by media type. Nothing is decoded.

        Raises
        ------
        MissingObject, CorruptObject
            Its object is gone, or is not what was written.
        """
        return pictures(ref, self._objects.open)

    def inside(self, ref: Ref) -> list[Ref]:
        """Where the large parts of a container are that is stored as a tree. Nothing is decoded.

        Raises
        ------
        MissingObject, CorruptObject
            The object that names them is gone, or is not what was written.
        """
        return refs_inside(ref, self._objects.open)

    def get_item(self, ref: Ref, key: Any) -> Any:
        """`get(ref)[key]`, for which less is read where the codec can.

        Raises
        ------
        As `get`, and what the value raises that has no such item.
        """
        try:
            with reading(self.contents):
                holder = decode_for(ref, key, self._objects.open, allow_pickle=self._allow_pickle)
        except (MissingObject, CorruptObject, Undecodable):
            self._suspect_of(ref)
            raise
        return holder[key]

    def columns(self, ref: Ref) -> list[Any] | None:
        """The names of the columns of a table; None of other values."""
        return columns(ref, self._objects.open)

    def parts(self, ref: Ref) -> dict[str, Ref]:
        """Where the parts are that are stored by themselves, by their paths in the value."""
        return parts(ref, self._objects.open)

    def has(self, ref: Ref) -> bool:
        """Whether everything is there that `get` needs; bytes are not verified."""
        return ref.is_stored and self._is_there(ref)

    def note(self, ref: Ref) -> None:
        """Such a value is stored there."""
        if len(self._stored) >= _MOST_REMEMBERED:
            self._stored.clear()
        self._stored[ref.digest] = ref

    def known(self, digest: bytes) -> Ref | None:
        """Where a value of that Digest is stored, if it is and all of it is there."""
        if digest in self._suspect:
            return None
        ref = self._stored.get(digest)
        if ref is None:
            ref = self._search(digest)
            if ref is not None:
                self.note(ref)
        if ref is None or not self._is_there(ref):
            return None
        self._flush(ref)
        return ref

    def verified(self, digest: bytes) -> Ref | None:
        """As `known`, of an object whose bytes are what was written."""
        ref = self.known(digest)
        if ref is not None and ref.oid is not None:
            try:
                self._objects.open(ref.oid)
            except (MissingObject, CorruptObject):
                return None
        return ref

    def is_suspect(self, digest: bytes) -> bool:
        """Whether a value of that Digest could not be read back."""
        return digest in self._suspect

    def write(self, header: Header, buffers: Sequence[Buffer]) -> bytes:
        """The id of an object that holds this."""
        return self._objects.put(header, buffers)

    def write_verified(self, header: Header, buffers: Sequence[Buffer]) -> bytes:
        """As `write`; an object that is there already is read, and replaced if it is damaged."""
        oid = self._objects.put(header, buffers)
        try:
            self._objects.open(oid)
        except (MissingObject, CorruptObject):
            oid = self._objects.put(header, buffers)
        return oid

    def _suspect_of(self, ref: Ref) -> None:
        self._suspect.add(ref.digest)
        self._stored.pop(ref.digest, None)

    def _note_part(self, part: Ref) -> None:
        """A part that was unpacked from a tree may be passed on: then it is referred to."""
        if part.oid is not None:
            self.note(part)

    def _flush(self, ref: Ref) -> None:
        """What a record is about to refer to lasts as long as the record, if that was promised."""
        if self._is_durable and ref.oid is not None:
            for oid in object_ids(ref, self._objects.open):
                self._objects.flush(oid)

    def _described_files(self, value: Any, digest: bytes) -> Ref:
        """A value with Files in it: the places and digests, and no contents."""
        try:
            if digest_of(value) == digest:
                with keeping(self.keeper(stores=False)):
                    return encode(value, digest, _refuse, known=self._known_without_place)
        except (_TooLarge, UnstorableResult, UnhashableArgument, Unresolved):
            pass  # its body may have changed or removed it
        return Ref(digest, type_name(type(value)), preview=preview(value))

    def _known_without_place(self, digest: bytes) -> Ref | None:
        ref = self.known(digest)
        return None if ref is None or ref.codec in ("file", "dir") else ref

    def _content(self, kind: type[File | Dir], content: bytes) -> bytes | None:
        """The object that holds such a content."""
        from tasklineage.key.files import value_digest

        ref = self.known(value_digest(kind, content))
        if ref is None:
            return None
        self._flush(ref)
        return ref.oid

    def _is_there(self, ref: Ref) -> bool:
        """Whether the objects are there; one without children must also be long enough."""
        if ref.oid is None or ref.codec in WITH_CHILDREN:
            return is_present(ref, self._objects.has, self._objects.open)
        try:
            size = self._objects.size(ref.oid)
        except OSError:
            return False
        return size is not None and size >= ref.nbytes


def _check_inline(ref: Ref) -> None:
    from tasklineage.storage.hiding import check_inline  # something is secret

    check_inline(ref)


def _has_files(value: Any) -> bool:
    from tasklineage.key.files import found_in  # it is loaded: there are some

    return found_in(value)


class _Putting:
    """The objects of one `put`: before the value's own is written, the Digest is looked for.

    `known` is asked for each part before it is written, so the object that comes after a part that
    is not known is that part's.
    """

    __slots__ = ("_digest", "_known", "_part", "_values", "_write")

    def __init__(self, values: Values, digest: bytes) -> None:
        self._values = values
        self._digest = digest
        # Where one part was found damaged, the others are looked at too: one repair, not many.
        is_suspect = values.is_suspect(digest)
        self._known = values.verified if is_suspect else values.known
        self._write = values.write_verified if is_suspect else values.write
        self._part: bytes | None = None

    def known(self, digest: bytes) -> Ref | None:
        ref = self._known(digest)
        self._part = digest if ref is None else None
        return ref

    def put(self, header: Header, buffers: Sequence[Buffer]) -> bytes:
        part, self._part = self._part, None
        if part is None:
            ref = self._values.known(self._digest)
            if ref is not None:
                raise _Known(ref)
        oid = self._write(header, buffers)
        if part is not None:
            size = sum(map(_length, buffers))
            self._values.note(Ref(part, header.type, header.codec, size, None, oid))
        return oid


class _Known(BaseException):
    """Nothing needs to be written: the value is stored. It never leaves this module."""

    def __init__(self, ref: Ref) -> None:
        super().__init__()
        self.ref = ref


class _TooLarge(BaseException):
    """The value does not fit into a record. It never leaves this module."""


class _Counter:
    """A file that takes as many bytes as a record may have."""

    def __init__(self) -> None:
        self._left = LIMIT

    def write(self, data: bytes) -> int:
        return self._count(len(data))

    def take(self, buffer: pickle.PickleBuffer) -> None:
        self._count(buffer.raw().nbytes)

    def _count(self, size: int) -> int:
        self._left -= size
        if self._left < 0:
            raise _TooLarge
        return size


def _may_be_small(value: Any) -> bool:
    """False if it is clear, before all of it is encoded, that the value does not fit in a record.

    Instances of other classes may be a few bytes or a table of gigabytes; only pickle can tell.
    """
    kind = type(value)
    if kind in _KNOWN_KINDS:
        return kind not in (str, bytes, bytearray) or len(value) <= LIMIT
    import pickle  # slow to import, and not needed for plain values

    counter = _Counter()
    try:
        size = size_of(value)
        if size is None:
            size = getattr(value, "nbytes", None)
        if type(size) is int:
            return size <= LIMIT
        pickle.Pickler(counter, 5, buffer_callback=counter.take).dump(value)
    except _TooLarge:
        return False
    except Exception:  # noqa: BLE001 - code of the user's classes; there are other codecs
        return True
    return True


def _refuse(_header: Header, _buffers: Sequence[Buffer]) -> bytes:
    raise _TooLarge


def _length(buffer: Buffer) -> int:
    return buffer.nbytes if isinstance(buffer, Chunked | memoryview) else len(buffer)
