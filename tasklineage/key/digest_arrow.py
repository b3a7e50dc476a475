"""Forms of what pyarrow defines: tables, batches, arrays, scalars, schemas, types.

An array counts by its type, its elements and where it has nulls. How it is chunked or sliced, what
lies behind its nulls, and where the bytes of its texts begin do not matter. Buffers are hashed in
place. pyarrow is never imported here: whoever has an array has imported it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any

from xxhash import xxh3_128

from tasklineage.key.digest_forms import Code, Library, Parts, Undigestible

LIBRARY = Library()

_BLOCK = 1 << 16
"""Elements that are copied at a time where they cannot be hashed in place."""


@LIBRARY.form("pyarrow.lib:Table", "pyarrow.lib:RecordBatch")
def _table(value: Any, _: Code) -> Parts:
    name, schema = f"pyarrow.{type(value).__name__}", _schema_form(value.schema)
    return name, schema, value.num_rows, columns(value)


@LIBRARY.form("pyarrow.lib:ChunkedArray")
def _chunked(value: Any, _: Code) -> Parts:
    return "pyarrow.ChunkedArray", type_form(value.type), content(value.type, value.chunks)


@LIBRARY.form("pyarrow.lib:Array", family=True)
def _array(value: Any, _: Code) -> Parts:
    return "pyarrow.Array", type_form(value.type), content(value.type, [value])


@LIBRARY.form("pyarrow.lib:Scalar", family=True)
def _scalar(value: Any, _: Code) -> Parts:
    pyarrow: Any = sys.modules["pyarrow"]
    held = pyarrow.repeat(value, 1)
    return "pyarrow.Scalar", type_form(value.type), content(value.type, [held])


@LIBRARY.form("pyarrow.lib:Schema")
def _schema(value: Any, _: Code) -> Parts:
    return "pyarrow.Schema", _schema_form(value)


@LIBRARY.form("pyarrow.lib:Field")
def _field(value: Any, _: Code) -> Parts:
    return "pyarrow.Field", _field_form(value)


@LIBRARY.form("pyarrow.lib:DataType", family=True)
def _type(value: Any, _: Code) -> Parts:
    return "pyarrow.DataType", type_form(value)


@LIBRARY.form("pyarrow._dataset:Dataset", "pyarrow._dataset:Scanner", family=True)
def _dataset(_value: Any, _: Code) -> Parts:
    raise Undigestible(
        "it names data and does not hold it: pass to_table() of it, or its files as tl.File"
    )


def columns(value: Any) -> list[Parts] | None:
    """What has the digest of each column of a table or batch; None for other values."""
    pyarrow: Any = sys.modules.get("pyarrow")
    if pyarrow is None or not isinstance(value, pyarrow.Table | pyarrow.RecordBatch):
        return None
    return [content(column.type, chunks_of(column)) for column in value.columns]


def chunks_of(column: Any) -> list[Any]:
    """The arrays of a column, be it of a table or of a batch."""
    chunks: list[Any] = column.chunks if hasattr(column, "chunks") else [column]
    return chunks


def type_form(kind: Any) -> Parts:
    """What tells types apart, names, nullability and metadata of inner fields included."""
    types: Any = sys.modules["pyarrow"].types
    if isinstance(kind, sys.modules["pyarrow"].BaseExtensionType):
        storage = type_form(kind.storage_type)
        serialize = getattr(kind, "__arrow_ext_serialize__", None)  # pyarrow's own have none
        parameters = str(kind) if serialize is None else serialize()
        return "extension", kind.extension_name, storage, parameters
    if types.is_dictionary(kind):
        return str(kind), type_form(kind.value_type)
    return str(kind), *(_field_form(kind.field(i)) for i in range(kind.num_fields))


def content(kind: Any, chunks: Sequence[Any]) -> Parts:
    """Length, elements and nulls of the arrays of one type, taken as one."""
    chunks = [chunk for chunk in chunks if len(chunk)] or list(chunks[:1])
    length = sum(map(len, chunks))
    return length, _elements(kind, chunks), _nulls(chunks)


def text_form(sizes: Iterable[Any], data: Iterable[Any]) -> Parts:
    """What stands for texts: the digests of their sizes as 64-bit integers, and of their bytes."""
    return "text", _hashed(sizes), _hashed(data)


def text_offsets(chunk: Any, code: str) -> Any:
    """Where the texts of an array begin and end, one more than there are.

    `code` says whether they are numbers of 4 or 8 bytes.
    """
    if not len(chunk):
        return import_module("numpy").zeros(1, code)
    whole = import_module("numpy").frombuffer(chunk.buffers()[1], code)
    return whole[chunk.offset : chunk.offset + len(chunk) + 1]


def _schema_form(schema: Any) -> Parts:
    fields = [_field_form(schema.field(i)) for i in range(len(schema.names))]
    return fields, _metadata(schema)


def _field_form(field: Any) -> Parts:
    return field.name, type_form(field.type), field.nullable, _metadata(field)


def _metadata(described: Any) -> list[Any] | None:
    return sorted(described.metadata.items()) if described.metadata else None


def _nulls(chunks: Sequence[Any]) -> bytes | None:
    if not any(chunk.null_count for chunk in chunks):
        return None
    return _hashed(map(_is_valid, chunks))


def _elements(kind: Any, chunks: Sequence[Any]) -> Any:
    """Something that has a digest, and is the same for the same elements."""
    if isinstance(kind, sys.modules["pyarrow"].BaseExtensionType):
        return content(kind.storage_type, [chunk.storage for chunk in chunks])
    form = _FORMS.get(str(kind).partition("<")[0])
    if form is not None:
        return form(kind, chunks)
    width = kind.bit_width // 8
    return _hashed(piece for chunk in chunks for piece in _fixed(chunk, width))


def _booleans(_kind: Any, chunks: Sequence[Any]) -> bytes:
    return _hashed(_flat(chunk.fill_null(False)).view("u1") for chunk in chunks)


def _texts(kind: Any, chunks: Sequence[Any]) -> Parts:
    """Texts or bytes by their sizes, of nulls 0, and their bytes one after the other."""
    if str(kind).endswith("_view"):
        pyarrow: Any = sys.modules["pyarrow"]
        is_text = str(kind) == "string_view"
        kind = pyarrow.large_string() if is_text else pyarrow.large_binary()
        chunks = [chunk.cast(kind) for chunk in chunks]
    code = "<i8" if str(kind).startswith("large") else "<i4"
    full = [chunk for chunk in chunks if len(chunk)]
    return text_form(
        (piece for chunk in full for piece in _sizes(chunk, code)),
        (_bytes(chunk, code) for chunk in full),
    )


def _sizes(chunk: Any, code: str) -> Iterator[Any]:
    numpy = import_module("numpy")
    offsets = text_offsets(chunk, code)
    valid = _is_valid(chunk) if chunk.null_count else None
    for at in range(0, len(chunk), _BLOCK):
        sizes = numpy.diff(offsets[at : at + _BLOCK + 1]).astype("<i8")
        yield sizes if valid is None else sizes * valid[at : at + _BLOCK]


def _bytes(chunk: Any, code: str) -> Any:
    if chunk.null_count:
        numpy = import_module("numpy")
        behind = numpy.diff(text_offsets(chunk, code))[~_is_valid(chunk)]
        if behind.any():
            chunk = chunk.drop_null()
    offsets, data = text_offsets(chunk, code), chunk.buffers()[2]
    if data is None or not len(chunk):
        return b""
    return memoryview(data).cast("B")[int(offsets[0]) : int(offsets[-1])]


def _lists(kind: Any, chunks: Sequence[Any]) -> Parts:
    name = str(kind).partition("<")[0]
    if name == "map":  # there is no flatten() of maps
        kind = sys.modules["pyarrow"].list_(kind.field(0))
        chunks = [chunk.cast(kind) for chunk in chunks]
    if name.endswith("_view"):
        sizes = (_flat(chunk.value_lengths().fill_null(0)).astype("<i8") for chunk in chunks)
    else:
        code = "<i8" if name == "large_list" else "<i4"
        sizes = (piece for chunk in chunks for piece in _sizes(chunk, code))
    inner = kind.field(0).type
    return _hashed(sizes), content(inner, [chunk.flatten() for chunk in chunks])


def _arrays(kind: Any, chunks: Sequence[Any]) -> Parts:
    return content(kind.value_type, [chunk.flatten() for chunk in chunks])


def _struct(kind: Any, chunks: Sequence[Any]) -> list[Parts]:
    """Each field with nulls where the struct is null."""
    columns = [chunk.flatten() for chunk in chunks]
    return [
        content(kind.field(i).type, [column[i] for column in columns])
        for i in range(kind.num_fields)
    ]


def _dictionary(kind: Any, chunks: Sequence[Any]) -> Parts:
    """Places in one dictionary for all chunks, and what that holds, in order."""
    pyarrow: Any = sys.modules["pyarrow"]
    if len(chunks) > 1:
        chunks = pyarrow.chunked_array(chunks, kind).unify_dictionaries().chunks
    values = [chunk.dictionary for chunk in chunks[:1]]
    places = content(kind.index_type, [chunk.indices for chunk in chunks])
    return places, content(kind.value_type, values)


def _runs(kind: Any, chunks: Sequence[Any]) -> Parts:
    decode = import_module("pyarrow.compute").run_end_decode
    return content(kind.value_type, [decode(chunk) for chunk in chunks])


def _items(_kind: Any, chunks: Sequence[Any]) -> list[Any]:
    return [item for chunk in chunks for item in chunk.to_pylist()]


def _nothing(_kind: Any, _chunks: Sequence[Any]) -> None:
    return None


_FORMS: dict[str, Callable[[Any, Sequence[Any]], Any]] = {
    "null": _nothing,
    "bool": _booleans,
    **dict.fromkeys(("string", "large_string", "string_view"), _texts),
    **dict.fromkeys(("binary", "large_binary", "binary_view"), _texts),
    **dict.fromkeys(("list", "large_list", "list_view", "large_list_view", "map"), _lists),
    "fixed_size_list": _arrays,
    "struct": _struct,
    "dictionary": _dictionary,
    "run_end_encoded": _runs,
    **dict.fromkeys(("dense_union", "sparse_union"), _items),
}
"""By the first word of a type's name; other types have elements of one width."""


def _fixed(chunk: Any, width: int) -> Iterator[Any]:
    """The bytes of elements of one width, with zeros for nulls."""
    buffer = chunk.buffers()[1]
    if buffer is None or not len(chunk) or not width:
        return
    raw = memoryview(buffer).cast("B")[chunk.offset * width : (chunk.offset + len(chunk)) * width]
    if not chunk.null_count:
        yield raw
        return
    numpy = import_module("numpy")
    rows = numpy.frombuffer(raw, "u1").reshape(-1, width)
    valid = _is_valid(chunk)
    for at in range(0, len(chunk), _BLOCK):
        block = rows[at : at + _BLOCK].copy()
        block[~valid[at : at + _BLOCK]] = 0
        yield block.reshape(-1)


def _is_valid(chunk: Any) -> Any:
    """For each element whether it is none of the nulls."""
    return _flat(chunk.is_valid())


def _flat(chunk: Any) -> Any:
    return chunk.to_numpy(zero_copy_only=False)


def _hashed(pieces: Iterable[Any]) -> bytes:
    state = xxh3_128()
    for piece in pieces:
        state.update(piece)
    return state.digest()
