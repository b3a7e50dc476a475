"""Arrays of jax, in the layout of safetensors; they come back on the default device,
unless another is asked for.

Keys of random numbers are stored as their data and the name of their generator. Weakly typed
arrays, and what is spread over other machines, are left to pickle. jax is imported only when an
array is decoded.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from tasklineage.storage.codecs.base import Codec, Encoded, Undecodable
from tasklineage.storage.codecs.placing import jax_device
from tasklineage.storage.codecs.safetensors import (
    Tensor,
    check_size,
    pack_header,
    unpack_header,
)


class JaxCodec(Codec):
    """`jax.Array`."""

    name = "jax"
    is_safe = True

    def handles(self, value: Any) -> bool:
        return is_jax_array(value) and (is_key(value) or not value.weak_type)

    def encode(self, value: Any) -> Encoded:
        metadata = {}
        if is_key(value):
            jax: Any = sys.modules["jax"]
            metadata["key"] = str(jax.random.key_impl(value))
            value = jax.random.key_data(value)
        plain = host_array(value)
        tensors = {"value": Tensor(str(plain.dtype), plain.shape, plain.nbytes)}
        content = memoryview(plain.reshape(-1).view("u1")) if plain.nbytes else b""
        return Encoded(None, [pack_header(tensors, metadata), content])

    def decode(self, meta: Any, buffers: list[memoryview]) -> Any:
        import numpy as np

        jax: Any = import_module("jax")

        header, content = buffers
        tensors, metadata = unpack_header(header, ("value",), len(content))
        described = tensors["value"]
        dtype = _dtype(described.dtype)
        check_size(described, dtype.itemsize)
        plain = np.frombuffer(content, dtype).reshape(described.shape)
        made = jax.device_put(plain, jax_device())
        if made.dtype != dtype:
            raise Undecodable(
                f"jax makes {made.dtype} of {dtype} here: enable jax_enable_x64",
                codec=self.name,
                type="jax.Array",
            )
        return jax.random.wrap_key_data(made, impl=metadata["key"]) if "key" in metadata else made


def is_jax_array(value: Any) -> bool:
    """Whether `value` is an array of jax with all of its elements in this process."""
    jax = sys.modules.get("jax")
    if jax is None or type(value).__module__.partition(".")[0] not in ("jax", "jaxlib"):
        return False
    array: Any = getattr(jax, "Array", ())
    tracer: Any = getattr(getattr(jax, "core", None), "Tracer", ())
    if not isinstance(value, array) or isinstance(value, tracer):
        return False
    return bool(value.is_fully_addressable) and not value.is_deleted()


def is_key(value: Any) -> bool:
    """Whether the elements of an array of jax are keys of random numbers."""
    jax: Any = sys.modules["jax"]
    return bool(jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key))


def host_array(value: Any) -> Any:
    """The elements as an array of numpy in C order."""
    import numpy as np

    return np.ascontiguousarray(np.asarray(value)).reshape(value.shape)


def _dtype(name: str) -> Any:
    import numpy as np

    if not name.isidentifier():
        raise ValueError("no dtype")
    try:
        dtype = np.dtype(name)
    except TypeError:
        dtype = np.dtype(getattr(import_module("ml_dtypes"), name))
    if dtype.hasobject:
        raise ValueError("no dtype")
    return dtype
