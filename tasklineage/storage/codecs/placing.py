"""On which device tensors and arrays come back: on the CPU, unless somebody asks for another one.

A device is named as torch does it, `cuda:1`, or is one of torch or jax. Who asks sets it for a
block; the codecs ask here. Nothing is imported for it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator
from contextvars import ContextVar
from importlib import import_module
from typing import Any, TypeVar

from tasklineage.errors import ConfigError

T = TypeVar("T")
_device: ContextVar[str] = ContextVar("tasklineage_device", default="")
_OF_CUDA = ("cuda", "gpu")


@contextlib.contextmanager
def placed_on(device: Any) -> Generator[None]:
    """A block in which decoded tensors and arrays are put on that device; None: on the CPU."""
    token = _device.set("" if device is None else device_name(device))
    try:
        yield
    finally:
        _device.reset(token)


def device_name(device: Any) -> str:
    """The name of a device: `cuda`, `cuda:1`, `cpu`.

    Raises
    ------
    ConfigError
        It is none.
    """
    if hasattr(device, "platform") and hasattr(device, "id"):  # of jax
        return f"{device.platform}:{device.id}"
    name = str(device)
    kind, colon, index = name.partition(":")
    if not kind.isidentifier() or (colon and not index.isdecimal()):
        raise ConfigError(f'device= is the name of a device, as in "cuda:1", not {device!r}')
    return name


def torch_placed(tensor: Any) -> Any:
    """A tensor on the device that is asked for."""
    name = _device.get()
    if not name:
        return tensor
    kind, colon, index = name.partition(":")
    place = f"cuda{colon}{index}" if kind == "gpu" else name
    return _put(lambda: tensor.to(place), "torch", name)


def jax_device() -> Any:
    """The device of jax that is asked for; None: the default one."""
    name = _device.get()
    if not name:
        return None
    kind, _, index = name.partition(":")
    return _put(lambda: import_module("jax").devices(kind)[int(index or 0)], "jax", name)


def cupy_placed(array: Any) -> Any:
    """An array of numpy that was one of cupy: one again where a GPU is asked for."""
    name = _device.get()
    kind, _, index = name.partition(":")
    if kind not in _OF_CUDA:
        return array

    def put() -> Any:
        cupy: Any = import_module("cupy")
        with cupy.cuda.Device(int(index)) if index else contextlib.nullcontext():
            return cupy.asarray(array)

    return _put(put, "cupy", name)


def is_cupy_array(value: Any) -> bool:
    """Whether `value` is an array of cupy."""
    kind = getattr(sys.modules.get("cupy"), "ndarray", None)
    return kind is not None and type(value) is kind


def _put(put: Callable[[], T], library: str, name: str) -> T:
    try:
        return put()
    except Exception as error:  # whatever the library raises for a device that is not there
        raise ConfigError(
            f"device={name!r}: {library} cannot put a value there: {error}. Ask for another "
            "device, or for none: values then come back on the CPU."
        ) from error
