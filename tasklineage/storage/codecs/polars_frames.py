"""Frames and series of polars as Arrow IPC streams, one for each so many rows.

They are written and read by pyarrow where it is installed, which copies no numbers, else by polars
itself; the format is the same.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from tasklineage.key.attributes import attached
from tasklineage.storage.codecs import arrow
from tasklineage.storage.codecs.base import Codec, Encoded
from tasklineage.storage.object_layout import Buffer, Chunked

_LEAST_ROWS = 1 << 18
_SHARED = frozenset(
    "Int8 Int16 Int32 Int64 UInt8 UInt16 UInt32 UInt64 Float32 Float64 Boolean String Binary "
    "Date Datetime Duration Time Null".split()
)
"""Types that are the same in Arrow and in polars."""
_NESTED = frozenset("List Array Struct".split())
_OWN = frozenset("Categorical Enum Decimal Int128 UInt128 Float16".split())
"""Types that only polars reads back as they were."""


class PolarsCodec(Codec):
    """`polars.DataFrame` and `polars.Series`, but for columns of Python objects."""

    name = "polars"
    is_safe = True

    def handles(self, value: Any) -> bool:
        polars: Any = sys.modules.get("polars")
        if polars is None or type(value).__module__.partition(".")[0] != "polars":
            return False
        if attached(value):
            return False
        if type(value) is getattr(polars, "Series", None):
            return _is_known(value.dtype, _SHARED | _OWN)
        if type(value) is not getattr(polars, "DataFrame", None):
            return False
        return all(_is_known(dtype, _SHARED | _OWN) for dtype in value.dtypes)

    def encode(self, value: Any) -> Encoded:
        is_frame = type(value).__name__ == "DataFrame"
        frame = value if is_frame else value.to_frame()
        is_shared = all(_is_known(dtype, _SHARED) for dtype in frame.dtypes)
        is_shared = is_shared and not any("\0" in name for name in frame.columns)
        meta = [is_frame, frame.columns, frame.height, is_shared]
        return Encoded(meta, list(_streams(frame, is_shared=is_shared and _has_pyarrow())))

    def decode(self, meta: Any, buffers: list[memoryview]) -> Any:
        return self._decode(meta, buffers, None)

    def columns(self, meta: Any, buffers: list[memoryview]) -> list[Any] | None:
        is_frame, names, _, _ = meta
        return list(names) if is_frame else None

    def decode_for(self, meta: Any, buffers: list[memoryview], key: Any) -> Any:
        wanted = [key] if type(key) is str else key
        wanted = list(dict.fromkeys(wanted)) if _are_names(wanted) else None
        is_known = meta[0] and wanted is not None and set(wanted) <= set(meta[1])
        return self._decode(meta, buffers, wanted if is_known else None)

    def _decode(self, meta: Any, buffers: list[memoryview], columns: list[str] | None) -> Any:
        import polars

        is_frame, names, height, is_shared = meta
        try:
            if is_shared and _has_pyarrow():
                tables = [arrow.read_table(buffer, columns) for buffer in buffers]
                frames: list[Any] = [_from_arrow(table) for table in tables]
            else:
                frames = [
                    polars.read_ipc_stream(io.BytesIO(buffer), columns=columns)
                    for buffer in buffers
                ]
            frame: Any = polars.concat(frames, rechunk=False)
        except (polars.exceptions.PolarsError, polars.exceptions.PanicException, OSError) as error:
            raise ValueError(str(error)) from error
        if columns is None and (frame.columns != names or (names and frame.height != height)):
            raise ValueError("a frame of other columns or rows")
        return frame if is_frame else frame.to_series()


def _from_arrow(table: Any) -> Any:
    """The frame of a table, under the names of its columns; one of them may be empty."""
    import polars

    names = table.column_names
    if "" not in names:  # which polars replaces, maybe by a name that there is already
        return polars.from_arrow(table, rechunk=False)
    numbered = table.rename_columns([str(at) for at in range(len(names))])
    frame: Any = polars.from_arrow(numbered, rechunk=False)
    frame.columns = names
    return frame


def _are_names(key: Any) -> bool:
    return type(key) is list and bool(key) and set(map(type, key)) == {str}


def _is_known(dtype: Any, known: frozenset[str]) -> bool:
    name = type(dtype).__name__
    if name == "Struct":
        # polars hands names over to Arrow as C does: a zero is their end.
        return all("\0" not in f.name and _is_known(f.dtype, known) for f in dtype.fields)
    if name == "Array" and not dtype.size:
        return False  # polars writes arrays of width 0, and does not read them
    return _is_known(dtype.inner, known) if name in _NESTED else name in known


def _has_pyarrow() -> bool:
    return "pyarrow" in sys.modules or find_spec("pyarrow") is not None


def _streams(frame: Any, *, is_shared: bool) -> Iterator[Buffer]:
    """A stream for each so many rows; one for no rows."""
    rows = max(_LEAST_ROWS, frame.height // 16)
    for at in range(0, max(frame.height, 1), rows):
        piece = frame.slice(at, rows)
        yield _arrow_stream(piece) if is_shared else _own_stream(piece)


def _arrow_stream(piece: Any) -> Chunked:
    import polars

    import_module("pyarrow")  # which `arrow.stream` expects
    oldest: Any = polars.CompatLevel.oldest()
    schema = piece.clear().to_arrow(compat_level=oldest).schema
    return arrow.stream(schema, lambda: piece.to_arrow(compat_level=oldest).to_batches())


def _own_stream(piece: Any) -> Chunked:
    measured = _Measure()
    _write(piece, measured)
    return Chunked(measured.size, lambda: _written(piece))


def _written(piece: Any) -> list[bytes]:
    kept = _Kept()
    _write(piece, kept)
    return kept.pieces


def _write(piece: Any, file: Any) -> None:
    oldest = sys.modules["polars"].CompatLevel.oldest()
    piece.write_ipc_stream(file, compression="uncompressed", compat_level=oldest)


class _Measure:
    """A file that only counts."""

    size = 0

    def write(self, piece: bytes) -> int:
        self.size += len(piece)
        return len(piece)

    def flush(self) -> None:
        """Nothing waits."""


class _Kept:
    """A file that keeps what is written."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self.pieces.append(piece)
        return len(piece)

    def flush(self) -> None:
        """Nothing waits."""
