"""The layout of safetensors: a JSON header and the bytes of tensors behind it.

An object's first buffer is the header (its length in 8 bytes, then JSON padded with spaces to a
multiple of 64 bytes), the second the bytes. Buffers begin at multiples of 64 bytes, so what
follows the object's own header is a file of that format, which any program can read.
https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tasklineage.storage.object_layout import ALIGNMENT

_LENGTH = 8
_LONGEST_HEADER = 1 << 20
_MOST_DIMENSIONS = 64
NAMES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32",
    "int32": "I32", "uint64": "U64", "int64": "I64", "float16": "F16", "bfloat16": "BF16",
    "float32": "F32", "float64": "F64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
    "complex64": "C64",
}  # fmt: skip
"""What safetensors calls a dtype; others are stored as bytes, their name in the metadata."""


class Tensor(NamedTuple):
    """What is said of a tensor."""

    dtype: str
    shape: tuple[int, ...]
    nbytes: int


def pack_header(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The header of tensors that follow in this order without gaps."""
    import json

    content: dict[str, Any] = {"__metadata__": dict(metadata)}
    start = 0
    for name, tensor in tensors.items():
        known = NAMES.get(tensor.dtype)
        shape = tensor.shape if known else (tensor.nbytes,)
        end = start + tensor.nbytes
        content[name] = {"dtype": known or "U8", "shape": shape, "data_offsets": [start, end]}
        content["__metadata__"][f"{name}.dtype"] = tensor.dtype
        if not known:
            content["__metadata__"][f"{name}.shape"] = json.dumps(tensor.shape)
        start = end
    packed = json.dumps(content, separators=(",", ":")).encode()
    size = -(-(_LENGTH + len(packed)) // ALIGNMENT) * ALIGNMENT
    return (size - _LENGTH).to_bytes(_LENGTH, "little") + packed.ljust(size - _LENGTH)


def unpack_header(
    header: memoryview, names: Sequence[str], size: int
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of these names, as far as they are there, and the metadata.

    Raises
    ------
    ValueError, TypeError, LookupError, AttributeError
        It is no header for so many bytes.
    """
    import json

    if len(header) > _LONGEST_HEADER or int.from_bytes(header[:_LENGTH], "little") != (
        len(header) - _LENGTH
    ):
        raise ValueError("no header of safetensors")
    content = json.loads(bytes(header[_LENGTH:]))
    metadata = content.pop("__metadata__")
    if set(content) - set(names) or set(map(type, metadata.values())) - {str}:
        raise ValueError("tensors of other names")
    found: dict[str, Tensor] = {}
    start = 0
    for name in names:
        if name in content:
            one = content[name]
            dtype = metadata[f"{name}.dtype"]
            shape = one["shape"] if dtype in NAMES else json.loads(metadata[f"{name}.shape"])
            if one["data_offsets"][0] != start:
                raise ValueError("a gap between tensors")
            end = one["data_offsets"][1]
            found[name] = Tensor(dtype, _shape(shape), _whole(end) - start)
            start = end
    if start != size:
        raise ValueError("tensors of another size than their bytes")
    return found, metadata


def check_size(tensor: Tensor, itemsize: int) -> None:
    """Raise ValueError unless a tensor of that item size has its bytes."""
    if math.prod(tensor.shape) * itemsize != tensor.nbytes:
        raise ValueError("a tensor of another size than its bytes")


def _shape(shape: Any) -> tuple[int, ...]:
    if type(shape) is not list or len(shape) > _MOST_DIMENSIONS:
        raise ValueError("no shape")
    return tuple(map(_whole, shape))


def _whole(number: Any) -> int:
    if type(number) is not int or not 0 <= number < 1 << 62:
        raise ValueError("no size")
    return number
