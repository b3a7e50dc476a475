"""Laws of the codecs for tensors, jax arrays, sparse matrices and images."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from tasklineage.key.digest import digest
from tasklineage.storage.codecs import decode, encode
from tasklineage.storage.records import Ref
from tests.property.test_codecs import Memory, decode_anyhow

limits = st.sampled_from([0, 16 * 1024])
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


def stored(value: Any, limit: int) -> tuple[Ref, Memory]:
    memory = Memory()
    return encode(value, digest(value), memory.put, limit=limit), memory


def through(value: Any, limit: int, codec: str, *, safe: bool = True) -> Any:
    """The value back from the store; its digest is that of the first one."""
    ref, memory = stored(value, limit)
    assert ref.codec == codec
    decoded = decode(ref, memory.open, allow_pickle=not safe)
    assert type(decoded) is type(value)
    assert digest(decoded) == ref.digest
    again, _ = stored(decoded, limit)
    assert again.digest == ref.digest
    return decoded


def damaged(value: Any, limit: int, data: st.DataObject) -> None:
    """Decoding altered bytes is an error of ours or another value."""
    ref, memory = stored(value, limit)
    files = {oid: bytearray(content) for oid, content in memory.files.items()}
    inline = bytearray(ref.data or b"")
    content = data.draw(st.sampled_from([one for one in (*files.values(), inline) if one]))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    decode_anyhow(ref._replace(data=bytes(inline) if ref.data else None), files)


# -- torch -----------------------------------------------------------------------------------------


@st.composite
def tensors(draw: st.DrawFn) -> Any:
    torch = pytest.importorskip("torch")
    names = (
        "bool uint8 int8 int16 int32 int64 uint16 float16 bfloat16 float32 float64 complex64 "
        "complex128 float8_e4m3fn float8_e5m2"
    )
    dtype = getattr(torch, draw(st.sampled_from(names.split())))
    shape = draw(shapes)
    size = int(np.prod(shape)) * dtype.itemsize
    raw = draw(st.binary(min_size=size, max_size=size))
    if dtype is torch.bool:
        raw = bytes(byte & 1 for byte in raw)
    value = torch.empty(shape, dtype=dtype)
    if size:
        value = torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(dtype).reshape(shape)
    layout = draw(st.sampled_from(["as it is", "transposed", "every second"]))
    if layout == "transposed":
        value = value.permute(list(reversed(range(value.ndim))))
    elif layout == "every second" and value.ndim:
        value = value[::2]
    if draw(st.booleans()) and (dtype.is_floating_point or dtype.is_complex):
        kind = draw(st.sampled_from(["tensor", "parameter", "frozen parameter"]))
        if kind == "tensor":
            return value.requires_grad_()
        return torch.nn.Parameter(value, kind == "parameter")
    return value


def bits(tensor: Any) -> bytes:
    import torch

    plain = tensor.detach().contiguous()
    flat = plain.as_strided((plain.numel(),), (1,))
    return bytes(flat.view(torch.uint8).numpy()) if flat.numel() else b""


@given(tensors(), limits)
def test_a_tensor_comes_back(value: Any, limit: int) -> None:
    decoded = through(value, limit, "torch")
    assert (decoded.dtype, decoded.shape) == (value.dtype, value.shape)
    assert decoded.requires_grad == value.requires_grad
    assert bits(decoded) == bits(value)


@given(tensors())
def test_the_layout_of_a_tensor_does_not_count_and_its_dtype_does(value: Any) -> None:
    import torch

    plain = value.detach()
    assert digest(plain.contiguous()) == digest(plain)
    assert digest(plain.reshape(1, *plain.shape)) != digest(plain)
    if plain.numel():
        assert digest(plain.contiguous().reshape(-1).view(torch.uint8)) != digest(plain) or (
            plain.dtype is torch.uint8 and plain.ndim == 1
        )
    assert digest(copy.deepcopy(plain)) == digest(plain)


@given(tensors(), limits, st.data())
def test_damaged_tensors_are_an_error_or_a_tensor(
    value: Any, limit: int, data: st.DataObject
) -> None:
    damaged(value, limit, data)


# -- jax -------------------------------------------------------------------------------------------


@st.composite
def jax_arrays(draw: st.DrawFn) -> Any:
    jax = pytest.importorskip("jax")
    if draw(st.integers(0, 5)) == 0:
        return jax.random.key(draw(st.integers(0, 100)))
    dtypes = st.sampled_from("bool uint8 int8 int32 float16 float32 complex64".split())
    array = draw(hnp.arrays(draw(dtypes), draw(shapes)))
    made = jax.device_put(array)
    return made.astype(jax.numpy.bfloat16) if draw(st.booleans()) and made.dtype == "f4" else made


@given(jax_arrays(), limits)
def test_a_jax_array_comes_back(value: Any, limit: int) -> None:
    import jax

    decoded = through(value, limit, "jax")
    assert (decoded.dtype, decoded.shape) == (value.dtype, value.shape)
    if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        value, decoded = jax.random.key_data(value), jax.random.key_data(decoded)
    assert np.asarray(decoded).tobytes() == np.asarray(value).tobytes()


@given(jax_arrays(), limits, st.data())
def test_damaged_jax_arrays_are_an_error_or_an_array(
    value: Any, limit: int, data: st.DataObject
) -> None:
    damaged(value, limit, data)


# -- scipy -----------------------------------------------------------------------------------------


@st.composite
def matrices(draw: st.DrawFn) -> Any:
    sparse = pytest.importorskip("scipy.sparse")
    form = draw(st.sampled_from("bsr coo csc csr dia dok lil".split()))
    kind = draw(st.sampled_from(["array", "matrix"]))
    dtype = draw(st.sampled_from(["f8", "f4", "i4", "u1", "?", "c16"]))
    side = st.integers(1 if form in ("bsr", "dia") else 0, 4)
    dense = draw(hnp.arrays(dtype, (draw(side), draw(side)), fill=st.just(np.zeros((), dtype)[()])))
    if kind == "array" and form in ("coo", "csr", "dok") and draw(st.booleans()):
        dense = dense.reshape(-1)
    return getattr(sparse, f"{form}_{kind}")(dense)


@given(matrices(), limits)
def test_a_sparse_matrix_comes_back(value: Any, limit: int) -> None:
    decoded = through(value, limit, "scipy")
    assert (decoded.dtype, decoded.shape, decoded.nnz) == (value.dtype, value.shape, value.nnz)
    assert decoded.toarray().tobytes() == value.toarray().tobytes()


@given(matrices())
def test_what_is_only_remembered_of_a_sparse_matrix_does_not_count(value: Any) -> None:
    before = digest(value)
    for name in ("has_canonical_format", "has_sorted_indices"):
        getattr(value, name, None)
    assert digest(value) == before == digest(value.copy())
    assert digest(value.astype("c8")) != before
    assert digest(pickle.loads(pickle.dumps(value))) == before


@given(matrices(), limits, st.data())
def test_damaged_matrices_are_an_error_or_a_matrix(
    value: Any, limit: int, data: st.DataObject
) -> None:
    damaged(value, limit, data)


# -- PIL -------------------------------------------------------------------------------------------


@st.composite
def images(draw: st.DrawFn) -> Any:
    image = pytest.importorskip("PIL.Image")
    mode = draw(st.sampled_from("1 L LA RGB RGBA P PA CMYK YCbCr LAB HSV I F La RGBa I;16".split()))
    size = draw(st.tuples(st.integers(0, 5), st.integers(0, 5)))
    made = image.new(mode, size)
    count = len(made.tobytes())
    if count:
        made.frombytes(draw(st.binary(min_size=count, max_size=count)))
    if mode in ("P", "PA"):
        palette = draw(st.sampled_from(["RGB", "RGBA"]))
        made.putpalette(draw(st.binary(min_size=12, max_size=12)), palette)
    keys = st.sampled_from(["dpi", "exif", "comment"])
    plain = st.integers() | st.binary(max_size=4) | st.tuples(st.integers(), st.integers())
    made.info = draw(st.dictionaries(keys, plain, max_size=2))
    return made


@given(images(), limits)
def test_an_image_comes_back(value: Any, limit: int) -> None:
    decoded = through(value, limit, "image")
    assert decoded == value
    assert decoded.info == value.info


@given(images(), limits, st.data())
def test_damaged_images_are_an_error_or_an_image(
    value: Any, limit: int, data: st.DataObject
) -> None:
    damaged(value, limit, data)
