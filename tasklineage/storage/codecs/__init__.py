"""Codecs: between a value and its `Ref`.

`encode` picks the codec by type, native forms first, pickle last. Small values stay in the `Ref`,
larger ones become objects, containers with large parts become trees (see `tree`). `decode` makes a
new value each time.

What is inline in a `Ref`: for `plain` its packed content; for every other codec a packed array of
the codec's meta and its buffers, which stand in the header and behind it where it is an object.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from tasklineage.errors import (
    ConfigError,
    CorruptObject,
    MissingObject,
    TasklineageError,
    UnsafeFormat,
)
from tasklineage.storage.codecs.base import Codec, Encoded, Undecodable
from tasklineage.storage.codecs.describe import LONGEST, clipped
from tasklineage.storage.codecs.plain import PLAIN, pack_atom, unpack, unpack_items
from tasklineage.storage.object_layout import StoredObject
from tasklineage.storage.records import Ref

if TYPE_CHECKING:
    from tasklineage.storage.codecs.encoder import Put

__all__ = [
    "LIMIT",
    "PURGED",
    "WITH_CHILDREN",
    "Codec",
    "Encoded",
    "Undecodable",
    "columns",
    "decode",
    "decode_for",
    "encode",
    "is_present",
    "named_ids",
    "object_ids",
    "parts",
    "pictures",
]

WITH_CHILDREN = ("tree", "dir")
"""Codecs whose values need objects that their own object names."""
PURGED = "purged"
"""In the place of a codec where a value was erased."""
LIMIT = 16 * 1024
"""Bytes up to which an encoded value stays inside its `Ref`."""

_ATOMS: dict[type, str] = {
    int: "int", float: "float", str: "str", bool: "bool", type(None): "NoneType", bytes: "bytes",
}  # fmt: skip
_SHORT = 60
_DAMAGE = (
    ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError,
    struct.error,
)  # fmt: skip
_TREE = "tree"
_new_ref = tuple.__new__

Open = Callable[[bytes], StoredObject]


def encode(
    value: Any,
    digest: bytes,
    put: Put,
    *,
    limit: int = LIMIT,
    known: Callable[[bytes], Ref | None] | None = None,
    digest_of: Callable[[Any], bytes] | None = None,
    path: str = "result",
) -> Ref:
    """HOT. Where `value` is from now on: inline in the `Ref`, or in objects stored by `put`.

    Parameters
    ----------
    put
        `Objects.put`.
    limit
        Values of more encoded bytes become objects; at most 16 KiB, so that records stay small.
    known
        The `Ref` of a value stored before, by Digest. Asked for the parts of a container; a part
        that is known is not written again.
    digest_of
        The Digest of a part; by default that of `tasklineage.key.digest`.
    path
        How the value is called in messages.

    Raises
    ------
    UnstorableResult
        Something inside cannot be pickled; `path` says where, `value` is the whole value.
    StoreError
        An object could not be written.
    """
    kind = type(value)
    if kind in _ATOMS and ((kind is not str and kind is not bytes) or len(value) <= _SHORT):
        try:
            data = pack_atom(value)
        except OverflowError:  # an int that is not msgpack's own
            pass
        else:
            text = repr(value)
            if len(text) > LONGEST:
                text = clipped(text)
            return _new_ref(Ref, (digest, _ATOMS[kind], PLAIN, len(data), data, None, text))
    from tasklineage.storage.codecs.encoder import Encoder  # not needed for plain values

    return Encoder(put, limit, known, digest_of, path).ref(value, digest)


def decode(
    ref: Ref,
    open_object: Open,
    *,
    allow_pickle: bool = True,
    note_part: Callable[[Ref], object] | None = None,
) -> Any:
    """HOT. A new value, equal to the one encoded. `open_object` is `Objects.open`.

    `note_part` is told of every part of a tree that has been decoded.

    Raises
    ------
    UnsafeFormat
        It needs pickle, and `allow_pickle` is false. Nothing has been read.
    MissingObject
        One of its objects is not there, or it was only described.
    CorruptObject
        Stored bytes are not what they were, or not what any codec writes.
    Undecodable
        The bytes are intact, but its class or codec is not to be had here, or its code raised.
    """
    data = ref.data
    if data is None or ref.codec != PLAIN:
        return _decode(ref, open_object, allow_pickle, note_part)
    try:
        return unpack(data)
    except _DAMAGE as error:
        _raise_damage(ref, error)


def decode_for(ref: Ref, key: Any, open_object: Open, *, allow_pickle: bool = True) -> Any:
    """Something of which `[key]` is what it is of the value: of some codecs less than all of it.

    Raises
    ------
    As `decode`.
    """
    if ref.data is not None and ref.codec == PLAIN:
        return decode(ref, open_object)
    return _decode(ref, open_object, allow_pickle, key=(key,))


def columns(ref: Ref, open_object: Open) -> list[Any] | None:
    """The names of the columns of a stored table; None of other values. Decodes no column.

    Raises
    ------
    MissingObject, CorruptObject
    """
    from tasklineage.storage.codecs import registry

    codec = registry.codec_named(ref.codec) if ref.is_stored else None
    if codec is None or ref.codec == PLAIN:
        return None
    meta, buffers = _content(ref, open_object)
    try:
        return codec.columns(meta, buffers)
    except _DAMAGE as error:
        _raise_damage(ref, error)


def parts(ref: Ref, open_object: Open) -> dict[str, Ref]:
    """Where the parts of a tree are, by their paths; none of other values. Decodes no part.

    Raises
    ------
    MissingObject, CorruptObject
    """
    if ref.codec != _TREE or not ref.is_stored:
        return {}
    from tasklineage.storage.codecs import tree

    _, buffers = _content(ref, open_object)
    try:
        return tree.named_parts(buffers[0])
    except _DAMAGE as error:
        _raise_damage(ref, error)


def object_ids(ref: Ref, open_object: Open) -> tuple[bytes, ...]:
    """Ids of all objects that the value needs, its own first.

    Raises
    ------
    MissingObject, CorruptObject
        The object of a tree is needed to know its parts.
    """
    if ref.oid is not None:
        if ref.codec not in WITH_CHILDREN:
            return (ref.oid,)
        return (ref.oid, *_below(open_object(ref.oid), open_object))
    if ref.codec != _TREE or ref.data is None:
        return ()
    from tasklineage.storage.codecs import tree

    _, buffers = _content(ref, open_object)
    try:
        return (*tree.children(buffers[0]), *_below_parts(buffers[0], open_object))
    except _DAMAGE as error:
        _raise_damage(ref, error)


def named_ids(ref: Ref) -> tuple[bytes, ...]:
    """Ids of the objects that the `Ref` itself names: nothing is read to know them.

    What those objects need stands in their headers.

    Raises
    ------
    CorruptObject
        It is no `Ref` that anybody here has written.
    """
    own = () if ref.oid is None else (ref.oid,)
    if ref.codec != _TREE or ref.data is None:
        return own
    from tasklineage.storage.codecs import tree

    _, buffers = _content(ref, _unopened)
    try:
        return (*own, *tree.children(buffers[0]))
    except _DAMAGE as error:
        _raise_damage(ref, error)


def refs_inside(ref: Ref, open_object: Open) -> list[Ref]:
    """Where the large parts of a tree are; nothing for any other value.

    Raises
    ------
    MissingObject, CorruptObject
        The object of the tree is needed to know its parts.
    """
    if ref.codec != _TREE or not ref.is_stored:
        return []
    from tasklineage.storage.codecs import tree

    _, buffers = _content(ref, open_object)
    try:
        return tree.parts(buffers[0])
    except _DAMAGE as error:
        _raise_damage(ref, error)


def is_present(ref: Ref, has: Callable[[bytes], bool], open_object: Open) -> bool:
    """Whether every object that the value needs is there: only then need it not be stored again.

    `has` is `Objects.has`. Cheap: only the object of a tree is opened, the others are looked for.
    """
    if not ref.is_stored:
        return False
    if ref.codec not in WITH_CHILDREN:
        return ref.oid is None or has(ref.oid)
    try:
        return all(has(oid) for oid in object_ids(ref, open_object))
    except (MissingObject, CorruptObject):
        return False


def _below(stored: StoredObject, open_object: Open) -> Iterator[bytes]:
    """Ids of the objects that an object needs."""
    yield from stored.header.children
    if stored.header.codec == _TREE:
        yield from _below_parts(stored.buffers[0], open_object)


def _below_parts(skeleton: memoryview, open_object: Open) -> Iterator[bytes]:
    """Ids of the objects that the folders among the parts of a tree need."""
    from tasklineage.storage.codecs import tree

    for part in tree.parts(skeleton):
        if part.codec in WITH_CHILDREN and part.oid is not None:
            yield from open_object(part.oid).header.children


def pictures(ref: Ref, open_object: Open) -> Mapping[str, bytes]:
    """Pictures of the value that were stored with it, by media type. Nothing is unpickled.

    Raises
    ------
    MissingObject, CorruptObject
        Its object is gone, or is not what was written.
    """
    if not ref.is_stored or ref.codec in (PLAIN, _TREE):
        return {}
    from tasklineage.storage.codecs import registry

    codec = registry.codec_named(ref.codec)
    if codec is None or type(codec).pictures is Codec.pictures:
        return {}
    meta, buffers = _content(ref, open_object)
    try:
        return codec.pictures(meta, buffers)
    except _DAMAGE as error:
        _raise_damage(ref, error)


def _decode(
    ref: Ref,
    open_object: Open,
    allow_pickle: bool,
    note_part: Callable[[Ref], object] | None = None,
    key: tuple[Any] | None = None,
) -> Any:
    """What `decode` does for all but inline plain values, and `decode_for`, which has a key."""
    if ref.codec == _TREE:
        return _decode_tree(ref, open_object, allow_pickle, note_part, key)
    if not ref.is_stored or ref.codec == PURGED:
        raise MissingObject(f"a {ref.type} was described, not stored: {ref.preview.strip()}")
    from tasklineage.storage.codecs import registry

    codec = registry.codec_named(ref.codec)
    if codec is None:
        raise Undecodable(
            f"no codec named {ref.codec!r} is installed here", codec=ref.codec, type=ref.type
        )
    if not (codec.is_safe or allow_pickle):
        raise UnsafeFormat(
            f"a {ref.type} was stored by {ref.codec}, which may run code when it is read; "
            f"this store was opened with allow_pickle=False"
        )
    meta, buffers = _content(ref, open_object)
    try:
        if key is not None:
            return codec.decode_for(meta, buffers, *key)
        return codec.decode(meta, buffers)
    except (MemoryError, ConfigError):  # the device that was asked for is not there
        raise
    except Exception as error:  # the code of the user's classes
        if codec.is_safe and registry.is_built_in(codec) and isinstance(error, _DAMAGE):
            _raise_damage(ref, error)
        raise Undecodable(
            f"a {ref.type} does not decode here: {type(error).__name__}: {error}{_advice(error)}",
            codec=ref.codec,
            type=ref.type,
        ) from error


def _advice(error: Exception) -> str:
    """What to do about a class that pickle has not found where it was."""
    if not isinstance(error, AttributeError | ImportError):
        return ""
    return " (define or import its class first, under the name that it had)"


def _decode_tree(
    ref: Ref,
    open_object: Open,
    allow_pickle: bool,
    note_part: Callable[[Ref], object] | None,
    key: tuple[Any] | None,
) -> Any:
    from tasklineage.storage.codecs import tree
    from tasklineage.storage.codecs.classes import find_class, find_loaded
    from tasklineage.storage.codecs.encoder import NEVER_PARTS

    def decode_part(part: Ref) -> Any:
        if part.codec in NEVER_PARTS:
            raise ValueError(f"a part stored by {part.codec}")
        value = decode(part, open_object, allow_pickle=allow_pickle)
        if note_part is not None:
            note_part(part)
        return value

    _, buffers = _content(ref, open_object)
    try:
        find = find_class if allow_pickle else find_loaded
        if key is not None:
            return tree.decode_for(buffers[0], *key, decode_part, find)
        return tree.decode_tree(buffers[0], decode_part, find)
    except TasklineageError:
        raise
    except _DAMAGE as error:
        _raise_damage(ref, error)


def _content(ref: Ref, open_object: Open) -> tuple[Any, list[memoryview]]:
    """The meta and the buffers of an encoded value, wherever they are."""
    if ref.data is not None:
        try:
            meta, *raw = unpack_items(memoryview(ref.data), _no_extension)
            return meta, [memoryview(bytearray(memoryview(one))) for one in raw]
        except _DAMAGE as error:
            _raise_damage(ref, error)
    if type(ref.oid) is not bytes or len(ref.oid) != 16:
        raise CorruptObject(f"the record of a {ref.type} names no object")
    stored = open_object(ref.oid)
    if stored.header.codec != ref.codec:
        raise CorruptObject(
            f"object {ref.oid.hex()} was stored by {stored.header.codec}, not by {ref.codec}"
        )
    return stored.header.meta, stored.buffers


def _raise_damage(ref: Ref, error: Exception) -> NoReturn:
    where = "inline" if ref.oid is None else f"object {ref.oid.hex()}"
    raise CorruptObject(f"a {ref.type} ({where}) is no {ref.codec} content: {error}") from error


def _unopened(oid: bytes) -> NoReturn:
    raise MissingObject(f"object {oid.hex()} is not to be opened", oid=oid)


def _no_extension(_code: int, _data: bytes) -> NoReturn:
    raise ValueError("an extension type outside of plain content")
