"""Forms of what numpy defines: arrays, scalars, dtypes, random generators.

An array counts by its dtype, its shape and its elements in C order; how they lie in memory does
not matter, nor do the padding bytes of structured and extended types. numpy is never imported
here: whoever has an array has imported it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from xxhash import xxh3_128, xxh3_128_digest

from tasklineage.key.digest_forms import Code, Library, Parts, Undigestible
from tasklineage.key.digest_origin import origin

LIBRARY = Library()

_COPIED = 1 << 16
"""An array of so few bytes is copied at once."""
_BLOCK = 1 << 20
"""Bytes that are copied at a time from an array that is not contiguous."""
_BUILT_IN = 256
"""Type numbers from here on are those of user-defined dtypes, and of variable-width strings."""
_OF_MASKED = frozenset(
    "_basedict _baseclass _data _fill_value _hardmask _isfield _mask _optinfo _sharedmask".split()
)
_PLAIN_KINDS = "?bhilqBHILQefdUS"
"""Type codes of the scalars that are exactly a bool, int, float, str or bytes."""


@LIBRARY.form("numpy:ndarray", family=True)
def _array(value: Any, code: Code) -> Parts:
    kind = type(value)
    numpy: Any = sys.modules["numpy"]
    if kind is numpy.ndarray or kind is numpy.memmap:
        return "numpy.ndarray", *_content(value)
    content = _content(value.view(numpy.ndarray))
    own = getattr(value, "__dict__", None) or None
    if kind is numpy.matrix or kind is numpy.recarray:
        return f"numpy.{kind.__name__}", *content, own
    source = origin(kind.__module__) if code(kind) is None else None
    return "numpy.ndarray", *content, kind, own, source


@LIBRARY.form("numpy.ma:MaskedArray", family=True)
def _masked(value: Any, _: Code) -> Parts:
    """A masked array counts by its data, those under the mask included."""
    numpy: Any = sys.modules["numpy"]
    fill = value._fill_value
    if fill is None:
        fill = numpy.ma.default_fill_value(value.dtype)
    fill = numpy.asarray(fill, dtype=value.dtype)
    mask = numpy.ma.getmaskarray(value)
    own = {name: part for name, part in vars(value).items() if name not in _OF_MASKED}
    rest = value._optinfo or None, own or None
    kind = None if type(value) is numpy.ma.MaskedArray else type(value)
    form = "numpy.ma.MaskedArray", value.view(numpy.ndarray), mask, fill, *rest, kind
    base = None if value._baseclass is numpy.ndarray else value._baseclass
    return (*form, bool(value.hardmask), base) if value.hardmask or base is not None else form


@LIBRARY.form("numpy:generic", family=True)
def _scalar(value: Any, _: Code) -> Parts:
    dtype = value.dtype
    if dtype.char in _PLAIN_KINDS:
        return "numpy.generic", dtype.str, value.item()
    return "numpy.generic", *_content(sys.modules["numpy"].asarray(value))


@LIBRARY.form("numpy:dtype", family=True)
def _dtype(value: Any, _: Code) -> Parts:
    return "numpy.dtype", _type_form(value)


@LIBRARY.form("numpy:ufunc")
def _ufunc(value: Any, _: Code) -> Parts:
    for module in ("numpy", "scipy.special"):
        name: str = value.__name__
        if getattr(sys.modules.get(module), name, None) is value:
            return "numpy.ufunc", module, name
    raise Undigestible("it is a ufunc that neither numpy nor scipy.special knows by its name")


@LIBRARY.form("numpy.random:Generator")
def _generator(value: Any, _: Code) -> Parts:
    bits = value.bit_generator
    seeds = getattr(bits.seed_seq, "state", None)
    return "numpy.random.Generator", type(bits).__name__, bits.state, seeds


@LIBRARY.form("numpy.random:RandomState")
def _random_state(value: Any, _: Code) -> Parts:
    return "numpy.random.RandomState", value.get_state(legacy=False)


def _content(array: Any) -> Parts:
    """Type, shape and elements of an array that is of no subclass."""
    return _type_form(array.dtype), array.shape, _elements(array)


def _type_form(dtype: Any) -> Any:
    """What tells dtypes apart: the name, or the parts of a compound one."""
    numpy: Any = sys.modules["numpy"]
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return "array", _type_form(base), shape
    if dtype.names is not None:
        fields = [
            (name, offset, _type_form(inner), *title)
            for name, (inner, offset, *title) in (
                (name, dtype.fields[name]) for name in dtype.names
            )
        ]
        return "record" if dtype.type is numpy.record else "void", dtype.itemsize, fields
    if dtype.num >= _BUILT_IN:
        kind = dtype.type
        return "user", f"{kind.__module__}.{kind.__qualname__}", str(dtype), origin(kind.__module__)
    return dtype.str


def _elements(array: Any) -> Any:
    """The digest of the elements, or, where they are compound or objects, something that has it."""
    dtype = array.dtype
    if dtype.names is not None:
        return [_elements(array[name]) for name in dtype.names]
    if dtype.hasobject or dtype.kind == "T":
        return array.ravel().tolist()
    if dtype.char in "gG":
        array = _significant(array)
    return _raw_digest(array)


def _significant(array: Any) -> Any:
    """The bytes of long doubles that have a meaning: on x86, 10 of the 12 or 16 (IEEE 754)."""
    numpy: Any = sys.modules["numpy"]
    size = numpy.dtype(numpy.longdouble).itemsize
    flat = numpy.ascontiguousarray(array).reshape(-1).view(numpy.uint8).reshape(-1, size)
    used = 10 if numpy.finfo(numpy.longdouble).nmant == 63 else size
    return flat[:, :used]


def _raw_digest(array: Any) -> bytes:
    """The digest of the elements' bytes in C order; a large contiguous array is not copied."""
    if array.nbytes <= _COPIED:
        return xxh3_128_digest(array.tobytes())
    state = xxh3_128()
    for block in _blocks(array):
        state.update(block.reshape(-1).view("u1"))
    return state.digest()


def _blocks(array: Any) -> Iterator[Any]:
    """Contiguous arrays that make up the array in C order."""
    if array.flags.c_contiguous:
        yield array
        return
    row = array.nbytes // len(array)
    if row > _BLOCK and array.ndim > 1:
        for part in array:
            yield from _blocks(part)
        return
    rows = max(1, _BLOCK // row)
    for start in range(0, len(array), rows):
        yield array[start : start + rows].copy()
