"""Tables and arrays of pyarrow as Arrow IPC streams.

The one buffer of an object is a stream as https://arrow.apache.org/docs/format/Columnar.html has
it, uncompressed. What is read refers to the bytes of the object, which are not copied.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any

from tasklineage.storage.codecs.base import Codec, Encoded
from tasklineage.storage.object_layout import Chunked

_LEAST_ROWS = 1 << 16
_TABLE, _BATCH, _SCHEMA = "Table", "RecordBatch", "Schema"
_ARRAY, _CHUNKED = "Array", "ChunkedArray"


class ArrowCodec(Codec):
    """Tables, record batches, arrays and schemas of types that are pyarrow's own.

    How a table or a chunked array is divided into chunks is not kept.
    """

    name = "pyarrow"
    is_safe = True

    def handles(self, value: Any) -> bool:
        kind = _kind(value)
        if kind is None:
            return False
        if kind in (_ARRAY, _CHUNKED):
            return is_portable(value.type)
        schema = value if kind == _SCHEMA else value.schema
        return all(is_portable(field.type) for field in schema)

    def encode(self, value: Any) -> Encoded:
        pyarrow: Any = sys.modules["pyarrow"]
        kind = _kind(value)
        if kind == _SCHEMA:
            return Encoded([kind], [stream(value, list)])
        if kind == _BATCH:
            return Encoded([kind], [stream(value.schema, lambda: [value])])
        if kind == _TABLE:
            return Encoded([kind], [table_stream(value)])
        if kind == _CHUNKED:
            return Encoded([kind], [table_stream(pyarrow.table({"": value}))])
        batch = pyarrow.record_batch({"": value})
        return Encoded([kind], [stream(batch.schema, lambda: [batch])])

    def decode(self, meta: Any, buffers: list[memoryview]) -> Any:
        (kind,), (buffer,) = meta, buffers
        table = read_table(buffer)
        if kind == _TABLE:
            return table
        if kind == _SCHEMA:
            return table.schema
        if kind == _CHUNKED:
            return table.column(0)
        if kind not in (_BATCH, _ARRAY):
            raise ValueError("no value of pyarrow")
        (batch,) = table.to_batches() or [_empty(table.schema)]
        return batch if kind == _BATCH else batch.column(0)

    def decode_for(self, meta: Any, buffers: list[memoryview], key: Any) -> Any:
        names = self.columns(meta, buffers)
        if meta[0] == _TABLE and names is not None and names.count(key) == 1:
            return read_table(buffers[0], [key])
        return self.decode(meta, buffers)

    def columns(self, meta: Any, buffers: list[memoryview]) -> list[Any] | None:
        if meta[0] not in (_TABLE, _BATCH):
            return None
        names: list[Any] = open_stream(buffers[0]).schema.names
        return names


def is_portable(kind: Any) -> bool:
    """Whether a stream says everything of the type, and no code of others is run to read it."""
    pyarrow: Any = sys.modules["pyarrow"]
    if isinstance(kind, pyarrow.BaseExtensionType):
        return type(kind).__module__ == "pyarrow.lib" and is_portable(kind.storage_type)
    if pyarrow.types.is_dictionary(kind):
        return is_portable(kind.value_type)
    return all(is_portable(kind.field(i).type) for i in range(kind.num_fields))


def table_stream(table: Any) -> Chunked:
    """The stream of a table, made an eighth at a time."""
    rows = max(_LEAST_ROWS, table.num_rows // 8)
    if any("_view" in str(kind) for kind in table.schema.types):
        rows = max(table.num_rows, 1)  # every slice of views would bring all of their data along
    return stream(table.schema, lambda: table.to_batches(max_chunksize=rows))


def stream(schema: Any, batches: Callable[[], Iterable[Any]]) -> Chunked:
    """The stream of record batches, which are asked for twice: to measure, and to write them."""
    pyarrow: Any = sys.modules["pyarrow"]
    measured = pyarrow.MockOutputStream()
    for _ in _written(schema, batches(), measured):
        pass
    return Chunked(measured.size(), lambda: _pieces(schema, batches()))


def open_stream(buffer: memoryview) -> Any:
    """A reader of record batches.

    Raises
    ------
    ValueError
        It is no stream.
    """
    ipc = import_module("pyarrow.ipc")
    try:
        return ipc.open_stream(sys.modules["pyarrow"].py_buffer(buffer))
    except OSError as error:
        raise ValueError(str(error)) from error


def read_table(buffer: memoryview, names: list[str] | None = None) -> Any:
    """The table whose stream it is, or some columns; its buffers are those of the stream.

    Raises
    ------
    ValueError
        It is no stream, or one whose content would be read beyond its end.
    """
    reader = open_stream(buffer)
    try:
        table = reader.read_all()
    except OSError as error:
        raise ValueError(str(error)) from error
    table = table if names is None else table.select(names)
    table.validate(full=True)
    return table


def _kind(value: Any) -> str | None:
    """Which of the kinds of values that are stored here a value is."""
    module = type(value).__module__
    pyarrow: Any = sys.modules.get("pyarrow")
    if module != "pyarrow.lib" or pyarrow is None:
        return None
    if isinstance(value, pyarrow.Array):
        return _ARRAY
    name = type(value).__name__
    return name if name in (_TABLE, _BATCH, _CHUNKED, _SCHEMA) else None


def _empty(schema: Any) -> Any:
    arrays = [sys.modules["pyarrow"].array([], field.type) for field in schema]
    return sys.modules["pyarrow"].RecordBatch.from_arrays(arrays, schema=schema)


class _Sink:
    """A file that keeps what is written, by reference."""

    closed = False

    def __init__(self) -> None:
        self.pieces: list[Any] = []

    def write(self, piece: Any) -> int:
        self.pieces.append(piece)
        return len(piece)

    def flush(self) -> None:
        """Nothing waits."""

    def taken(self) -> list[Any]:
        pieces, self.pieces = self.pieces, []
        return pieces


def _pieces(schema: Any, batches: Iterable[Any]) -> Iterator[Any]:
    sink = _Sink()
    for _ in _written(schema, batches, sys.modules["pyarrow"].PythonFile(sink, "w")):
        yield from sink.taken()


def _written(schema: Any, batches: Iterable[Any], file: Any) -> Iterator[None]:
    """Writes a stream; stops after each batch."""
    with import_module("pyarrow.ipc").new_stream(file, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            yield
    yield
