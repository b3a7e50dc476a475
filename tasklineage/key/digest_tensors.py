"""Forms of what torch, jax, cupy and scipy.sparse define. Neither device nor strides count."""

from __future__ import annotations

import sys
from typing import Any

from xxhash import xxh3_128, xxh3_128_digest

from tasklineage.key.digest_forms import Code, Library, Parts, form_of
from tasklineage.key.digest_origin import origin

LIBRARY = Library()

_COPIED = 1 << 16
_COMPRESSED = ("data", "indices", "indptr")
_ARRAYS = {
    "bsr": _COMPRESSED, "csc": _COMPRESSED, "csr": _COMPRESSED, "dia": ("data", "offsets"),
}  # fmt: skip

_OF_SPARSE = frozenset(
    "_shape maxprint indptr indices data coords row col offsets rows dtype _dict _index".split()
)


@LIBRARY.form("torch:Tensor", family=True)
def _tensor(value: Any, code: Code) -> Parts:
    """Its dtype, shape and elements, whether a gradient is wanted, and the gradient it has."""
    torch: Any = sys.modules["torch"]
    kind = type(value)
    if value.device.type == "meta" or value.is_nested:
        return form_of(object)(value, code)
    grad = value.grad if value.is_leaf else None
    rest = bool(value.requires_grad), grad, vars(value) or None, *_axis_names(value)
    name = "torch.Parameter" if kind is getattr(torch.nn, "Parameter", None) else "torch.Tensor"
    content = _content(value.detach(), torch)
    if kind is torch.Tensor or name == "torch.Parameter":
        return name, *content, *rest
    return name, *content, *rest, kind, origin(kind.__module__) if code(kind) is None else None


@LIBRARY.form("torch:device", "torch:dtype", "torch:layout", "torch:memory_format")
def _constant(value: Any, _: Code) -> Parts:
    return f"torch.{type(value).__name__}", str(value)


@LIBRARY.form("torch:Size")
def _size(value: Any, _: Code) -> Parts:
    return "torch.Size", tuple(value)


@LIBRARY.form("torch._C:Generator", "torch:Generator")
def _torch_generator(value: Any, _: Code) -> Parts:
    return "torch.Generator", str(value.device), value.get_state()


@LIBRARY.form("jax:Array", family=True)
@LIBRARY.form("jaxlib._jax:ArrayImpl", "jaxlib.xla_extension:ArrayImpl", family=True)
def _jax_array(value: Any, _: Code) -> Parts:
    jax: Any = sys.modules["jax"]
    numpy: Any = sys.modules["numpy"]
    if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        data = numpy.asarray(jax.random.key_data(value))
        return "jax key", str(jax.random.key_impl(value)), data
    plain = numpy.asarray(value)
    content = xxh3_128_digest(numpy.ascontiguousarray(plain).reshape(-1).view("u1"))
    return "jax.Array", str(value.dtype), tuple(value.shape), content, bool(value.weak_type)


@LIBRARY.form("cupy:ndarray", "cupy._core.core:ndarray")
def _cupy_array(value: Any, code: Code) -> Parts:
    """That of its copy on the CPU, an array of numpy."""
    plain = value.get()
    return form_of(type(plain))(plain, code)


@LIBRARY.form(
    *(
        f"scipy.sparse:{form}_{kind}"
        for form in ("bsr", "coo", "csc", "csr", "dia", "dok", "lil")
        for kind in ("array", "matrix")
    )
)
def _sparse(value: Any, _: Code) -> Parts:
    """The arrays that it consists of, in their order; how wide the indices are does not count."""
    shape = tuple(int(n) for n in value.shape)
    own = sparse_attributes(value)
    rest = (own,) if own else ()
    return f"scipy.sparse.{type(value).__name__}", shape, value.dtype, *_arrays(value), *rest


def sparse_attributes(value: Any) -> dict[str, Any]:
    """What a sparse array carries that is not scipy's."""
    return {
        name: part
        for name, part in getattr(value, "__dict__", {}).items()
        if name not in _OF_SPARSE and not name.startswith(("_has_", "has_"))
    }


def _arrays(value: Any) -> Parts:
    form = value.format
    if form in _ARRAYS:
        data, *indices = (getattr(value, name) for name in _ARRAYS[form])
        return data, *(part.astype("i8") for part in indices)
    if form == "coo":
        coordinates = value.coords if hasattr(value, "coords") else (value.row, value.col)
        return value.data, *(part.astype("i8") for part in coordinates)
    if form == "lil":
        rows = [list(map(int, row)) for row in value.rows]
        return rows, [_cells(row, value.dtype) for row in value.data]
    numpy: Any = sys.modules["numpy"]
    held = {_place(key): cell for key, cell in value.items()}
    places = sorted(held)
    return places, numpy.array([held[place] for place in places], value.dtype)


def _cells(row: Any, dtype: Any) -> Any:
    return sys.modules["numpy"].array(row, dtype)


def _place(key: Any) -> tuple[int, ...]:
    return tuple(map(int, key)) if isinstance(key, tuple) else (int(key),)


def _content(plain: Any, torch: Any) -> Parts:
    """Dtype, shape and elements of a tensor without a graph."""
    about = str(plain.dtype), tuple(map(int, plain.shape))
    if plain.is_quantized:
        return *about, str(plain.qscheme()), _elements(plain.int_repr().cpu(), torch), _scale(plain)
    if plain.layout is torch.strided:
        return *about, _elements(plain.resolve_conj().resolve_neg().cpu(), torch)
    if plain.layout is torch.sparse_coo:
        if not plain.is_coalesced():
            return *about, "coo", plain._indices(), plain._values()
        return *about, "coo", plain.indices(), plain.values()
    if plain.layout in (torch.sparse_csr, torch.sparse_bsr):
        parts = plain.crow_indices(), plain.col_indices(), plain.values()
        return *about, str(plain.layout), *parts
    return *about, str(plain.layout), plain.ccol_indices(), plain.row_indices(), plain.values()


def _axis_names(value: Any) -> Parts:
    """The names of the dimensions, which torch had until 2.12."""
    names = getattr(value, "names", ())
    return (tuple(names),) if any(name is not None for name in names) else ()


def _scale(plain: Any) -> Parts:
    """What the integers of a quantized tensor stand for."""
    if "tensor" in str(plain.qscheme()):
        return float(plain.q_scale()), int(plain.q_zero_point())
    scales, points = plain.q_per_channel_scales(), plain.q_per_channel_zero_points()
    return int(plain.q_per_channel_axis()), scales, points


def _elements(plain: Any, torch: Any) -> bytes:
    """The digest of the elements' bytes in C order; those that lie so are not copied."""
    if not plain.numel():
        return xxh3_128_digest(b"")
    state = xxh3_128()
    for block in [plain] if plain.is_contiguous() else _blocks(plain):
        flat = block.as_strided((block.numel(),), (1,))  # one element may have any stride
        state.update(flat.view(torch.uint8).numpy())
    return state.digest()


def _blocks(plain: Any) -> Any:
    """Contiguous tensors that make up the tensor in C order."""
    if plain.ndim < 2 or plain.nbytes <= _COPIED or len(plain) > plain.nbytes // _COPIED:
        return [plain.contiguous()]
    return (part.contiguous() for part in plain)
