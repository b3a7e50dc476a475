"""Tensors of torch, in the layout of safetensors.

Dtype, shape, `requires_grad`, `grad` and whether it is a Parameter are kept; strides are not: what
comes back is contiguous, on the CPU unless another device is asked for, and its memory is that of
the stored object, mapped and writable. What bytes cannot say (sparse, quantized and nested
tensors, hooks, attributes, subclasses) is left to pickle. torch is imported only when a tensor is
decoded.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from tasklineage.storage.codecs.base import Codec, Encoded
from tasklineage.storage.codecs.placing import torch_placed
from tasklineage.storage.codecs.safetensors import (
    Tensor,
    check_size,
    pack_header,
    unpack_header,
)
from tasklineage.storage.object_layout import Buffer, Chunked

_NAMES = ("value", "grad")


class TorchCodec(Codec):
    """`torch.Tensor` and `torch.nn.Parameter`."""

    name = "torch"
    is_safe = True

    def handles(self, value: Any) -> bool:
        return is_tensor(value)

    def encode(self, value: Any) -> Encoded:
        torch: Any = sys.modules["torch"]
        flat = _flat(value)
        tensors = {"value": Tensor(_dtype_name(value.dtype), tuple(value.shape), len(flat))}
        buffer: Buffer = flat
        if grad_of(value) is not None:
            grad = _flat(value.grad)
            tensors["grad"] = tensors["value"]._replace(nbytes=len(grad))
            buffer = Chunked(len(flat) + len(grad), lambda: (flat, grad))
        metadata = {"kind": "parameter" if type(value) is torch.nn.Parameter else "tensor"}
        if value.requires_grad:
            metadata["requires_grad"] = "true"
        return Encoded(None, [pack_header(tensors, metadata), buffer])

    def decode(self, meta: Any, buffers: list[memoryview]) -> Any:
        torch: Any = import_module("torch")

        header, content = buffers
        tensors, metadata = unpack_header(header, _NAMES, len(content))
        made: list[Any] = []
        start = 0
        for tensor in tensors.values():
            made.append(torch_placed(_tensor(tensor, content[start : start + tensor.nbytes])))
            start += tensor.nbytes
        value, *grads = made
        needs_grad = "requires_grad" in metadata
        if metadata["kind"] == "parameter":
            value = torch.nn.Parameter(value, needs_grad)
        elif needs_grad:
            value.requires_grad_()
        if grads:
            value.grad = grads[0]
        return value


def is_tensor(value: Any) -> bool:
    """Whether `value` is a tensor that its bytes say everything of."""
    torch = sys.modules.get("torch")
    kind = type(value)
    if torch is None or kind.__module__.partition(".")[0] != "torch":
        return False
    if kind is not torch.Tensor and kind is not getattr(torch.nn, "Parameter", None):
        return False
    if not _is_strided(value) or vars(value):
        return False
    grad = grad_of(value)
    if grad is None:
        return True
    return type(grad) is torch.Tensor and _is_strided(grad) and grad.dtype == value.dtype


def grad_of(value: Any) -> Any:
    """The gradient that a leaf of a graph has gathered; asking another tensor for it warns."""
    return value.grad if value.is_leaf else None


def reducers() -> dict[Any, Callable[[Any], Any]]:
    """How pickle is to write tensors, by type: their bytes out of band. Empty without torch."""
    torch: Any = sys.modules.get("torch")
    kinds = getattr(torch, "Tensor", None), getattr(getattr(torch, "nn", None), "Parameter", None)
    return {kind: _reduce for kind in kinds if kind is not None}


def rebuild(header: bytes, content: Any) -> Any:
    """A tensor in a pickle. Its name stands in stored pickles."""
    return _CODEC.decode(None, [memoryview(header), memoryview(content)])


def rebuild_with_grad(reduced: tuple[Any, ...], grad: Any) -> Any:
    """A tensor in a pickle that has a gradient. Its name stands in stored pickles."""
    function, arguments, *state = reduced
    made = function(*arguments)
    if state and state[0] is not None:
        made.__setstate__(state[0])
    made.grad = grad
    return made


def _reduce(value: Any) -> Any:
    if not is_tensor(value):
        grad = grad_of(value)
        reduced = value.__reduce_ex__(5)
        return reduced if grad is None else (rebuild_with_grad, (reduced[:3], grad))
    from pickle import PickleBuffer

    header, content = _CODEC.encode(value).buffers
    if isinstance(content, Chunked):
        content = bytearray(b"".join(map(bytes, content.chunks())))
    return rebuild, (header, PickleBuffer(content))


def _is_strided(value: Any) -> bool:
    torch: Any = sys.modules["torch"]
    if value.layout is not torch.strided or value.is_quantized or value.is_nested:
        return False
    return value.device.type != "meta" and not value._backward_hooks


def _flat(value: Any) -> memoryview:
    """The elements in C order, in place where they are so in memory."""
    torch: Any = sys.modules["torch"]
    plain = value.detach().resolve_conj().resolve_neg().cpu().contiguous()
    if not plain.numel():
        return memoryview(b"")
    flat = plain.as_strided((plain.numel(),), (1,))  # one element may have any stride
    return memoryview(flat.view(torch.uint8).numpy())


def _tensor(described: Tensor, content: memoryview) -> Any:
    torch: Any = import_module("torch")

    dtype = getattr(torch, described.dtype)
    if not isinstance(dtype, torch.dtype):
        raise ValueError("no dtype")
    check_size(described, dtype.itemsize)
    if not content:
        return torch.empty(described.shape, dtype=dtype)
    return torch.frombuffer(content, dtype=torch.uint8).view(dtype).reshape(described.shape)


def _dtype_name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


_CODEC = TorchCodec()
