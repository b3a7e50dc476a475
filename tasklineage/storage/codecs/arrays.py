"""numpy arrays as their raw bytes beside a description of their layout.

A dtype is described by its array-protocol string (`<f8`, `|S5`, `<M8[ns]`), a structured one by
`[names, formats, offsets, itemsize, aligned, titles]`, a subarray by `[base, shape]`. What these
cannot say exactly (objects, strings of variable length, metadata, types of other packages) is left
to pickle.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from tasklineage.storage.codecs.base import Codec, Encoded
from tasklineage.storage.codecs.placing import cupy_placed, is_cupy_array
from tasklineage.storage.object_layout import Buffer, Chunked

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, Any]
    DType: TypeAlias = np.dtype[Any]

_SIMPLE = r"[<>|](?:[biufc]\d{1,2}|[SUV]\d{1,10}|[mM]8(?:\[\d{0,9}[A-Za-z]{1,2}\])?)"
_KINDS = frozenset("biufcmMSUV")
_NUMBERS = frozenset("biufc")
_MOST_NESTED = 16
_COPIED_UP_TO = 1 << 20


class ArrayCodec(Codec):
    """Arrays of exactly the type `numpy.ndarray`.

    Byte order, C or Fortran order, fields and units are kept; what is in neither order is stored
    in C order. An array comes back writable.
    """

    name = "numpy"
    is_safe = True

    def handles(self, value: Any) -> bool:
        return is_array(value)

    def encode(self, value: Any) -> Encoded:
        in_fortran = value.flags.f_contiguous and not value.flags.c_contiguous
        meta = [pack_dtype(value.dtype), list(value.shape), "F" if in_fortran else "C"]
        return Encoded(meta, [raw(value.T if in_fortran else value)])

    def decode(self, meta: Any, buffers: list[memoryview]) -> Any:
        import numpy as np

        described, shape, order = meta
        (buffer,) = buffers
        dtype = unpack_dtype(described)
        if order not in ("C", "F") or any(type(n) is not int or n < 0 for n in shape):
            raise ValueError("no shape of an array")
        if math.prod(shape) * dtype.itemsize != len(buffer):
            raise ValueError("an array of another size than its bytes")
        if not buffer:
            return np.empty(shape, dtype, order)
        return np.ndarray(shape, dtype, buffer, order=order)


class CupyCodec(ArrayCodec):
    """Arrays of cupy: stored like their copies on the CPU, as which they come back.

    Where a GPU is asked for they are arrays of cupy again.
    """

    name = "cupy"

    def handles(self, value: Any) -> bool:
        return is_cupy_array(value) and _is_raw(value.dtype)

    def encode(self, value: Any) -> Encoded:
        return super().encode(value.get())

    def decode(self, meta: Any, buffers: list[memoryview]) -> Any:
        return cupy_placed(super().decode(meta, buffers))


def is_array(value: Any) -> bool:
    """Whether `value` is an array that its raw bytes say everything of."""
    return type(value) is loaded("ndarray") and _is_raw(value.dtype)


def is_scalar(value: Any) -> bool:
    """Whether `value` is a numpy scalar that its raw bytes say everything of."""
    generic = loaded("generic")
    if generic is None or not isinstance(value, generic):
        return False
    kind = type(value)
    if kind is loaded("str_") or kind is loaded("bytes_"):
        return True
    return kind is value.dtype.type and _is_raw(value.dtype)


def loaded(name: str) -> Any:
    """That type of numpy; None before numpy is imported, when no value can have it.

    Another thread may be in the midst of importing it.
    """
    return getattr(sys.modules.get("numpy"), name, None)


def pack_scalar(value: Any) -> list[Any]:
    """`[dtype, bytes]`; text has no dtype, since that would cut trailing zeros off."""
    if value.dtype.kind == "U":
        return ["U", str.__str__(value)]
    if value.dtype.kind == "S":
        return ["S", bytes(value)]
    return [pack_dtype(value.dtype), value.tobytes()]


def unpack_scalar(packed: Any) -> Any:
    """The scalar that `pack_scalar` described."""
    import numpy as np

    described, raw = packed
    if described == "U" and type(raw) is str:
        return np.str_(raw)
    if described == "S" and type(raw) is bytes:
        return np.bytes_(raw)
    dtype = unpack_dtype(described)
    if type(raw) is not bytes or dtype.itemsize != len(raw):
        raise ValueError("a scalar of another size than its bytes")
    return np.frombuffer(bytearray(raw), dtype)[0]


def pack_dtype(dtype: DType) -> Any:
    """The description of a dtype that `unpack_dtype` undoes; None if there is none."""
    if dtype.isbuiltin == 1 and dtype.kind in _NUMBERS:
        return dtype.str
    if dtype.metadata is not None or dtype.hasobject:
        return None
    if dtype.names is not None:
        return _pack_fields(dtype)
    if dtype.subdtype is not None:
        base = pack_dtype(dtype.subdtype[0])
        return None if base is None else [base, list(dtype.subdtype[1])]
    return dtype.str if dtype.kind in _KINDS and re.fullmatch(_SIMPLE, dtype.str) else None


def unpack_dtype(described: Any, depth: int = 0) -> DType:
    """The dtype described.

    Raises
    ------
    ValueError, TypeError, OverflowError
        It is none that `pack_dtype` describes: no object, nothing that numpy would evaluate.
    """
    if type(described) is str:
        return _simple_dtype(described)
    import numpy as np

    if depth == _MOST_NESTED:
        raise ValueError("a dtype nested too deeply")
    if len(described) == 2:
        base, shape = described
        return np.dtype((unpack_dtype(base, depth + 1), tuple(shape)))
    names, formats, offsets, itemsize, aligned, titles = described
    fields = [unpack_dtype(one, depth + 1) for one in formats]
    layout: Any = {"names": names, "formats": fields, "offsets": offsets, "itemsize": itemsize}
    if titles is not None:
        layout["titles"] = titles
    dtype: DType = np.dtype(layout, align=bool(aligned))
    return dtype


@lru_cache(maxsize=256)
def _simple_dtype(described: str) -> DType:
    import numpy as np

    if re.fullmatch(_SIMPLE, described) is None:
        raise ValueError(f"no dtype of raw bytes: {described[:40]!r}")
    return np.dtype(described)


def _is_raw(dtype: DType) -> bool:
    if dtype.isbuiltin == 1 and dtype.kind in _NUMBERS and dtype.metadata is None:
        return True
    described = pack_dtype(dtype)
    if described is None or (dtype.itemsize == 0 and dtype.names is None):
        return False
    try:
        again = unpack_dtype(described)
    except (ValueError, TypeError, OverflowError):
        return False
    return (
        again == dtype
        and again.isalignedstruct == dtype.isalignedstruct
        and (again.type is dtype.type or dtype.names is None)
    )


def _pack_fields(dtype: DType) -> Any:
    names: Any = dtype.names
    fields: list[Any] = [dtype.fields[name] for name in names] if dtype.fields else []
    formats = [pack_dtype(field[0]) for field in fields]
    titles = [field[2] if len(field) > 2 else None for field in fields]
    if None in formats or any(type(title) not in (str, type(None)) for title in titles):
        return None
    offsets = [field[1] for field in fields]
    some = titles if any(titles) else None
    return [list(names), formats, offsets, dtype.itemsize, dtype.isalignedstruct, some]


def raw(array: Array) -> Buffer:
    """The elements in C order, in place where they are so in memory."""
    if array.nbytes == 0:
        return b""
    if array.flags.c_contiguous:
        return _bytes(array.reshape(-1))
    if array.nbytes <= _COPIED_UP_TO:
        return array.tobytes()
    return Chunked(array.nbytes, lambda: _in_order(array))


def _in_order(array: Array) -> Iterator[memoryview]:
    """The elements in C order, an eighth at a time."""
    import numpy as np

    access: Any = [["readonly", "contig"]]  # numpy's stubs do not know all flags
    pieces = np.nditer(
        [array],
        flags=["external_loop", "buffered", "zerosize_ok"],
        op_flags=access,
        order="C",
        buffersize=max(_COPIED_UP_TO, array.nbytes // 8) // array.itemsize or 1,
    )
    for piece in pieces:
        yield _bytes(piece)


def _bytes(flat: Any) -> memoryview:
    """The memory of a one-dimensional array, whatever its dtype."""
    return memoryview(flat.view("u1"))
