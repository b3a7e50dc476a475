"""Which codec stores which value, and which name stands for which codec."""

from __future__ import annotations

import warnings
from functools import cache
from importlib import import_module
from typing import Any

from tasklineage.storage.codecs.arrays import ArrayCodec, CupyCodec
from tasklineage.storage.codecs.base import Codec
from tasklineage.storage.codecs.figures import FigureCodec
from tasklineage.storage.codecs.files import DirCodec, FileCodec
from tasklineage.storage.codecs.images import ImageCodec
from tasklineage.storage.codecs.jax_arrays import JaxCodec
from tasklineage.storage.codecs.pickled import CLOUDPICKLE, PICKLE, PickleCodec
from tasklineage.storage.codecs.plain import PlainCodec
from tasklineage.storage.codecs.secret import SecretCodec
from tasklineage.storage.codecs.sparse import SparseCodec
from tasklineage.storage.codecs.text import BytearrayCodec, BytesCodec, TextCodec
from tasklineage.storage.codecs.torch_tensors import TorchCodec

GROUP = "tasklineage.codecs"
"""The entry point group under which other codecs are found."""

PICKLERS = (PickleCodec(PICKLE), PickleCodec(CLOUDPICKLE))
"""In the order in which they are tried."""

_LEAVES: tuple[Codec, ...] = (
    ArrayCodec(), TextCodec(), BytesCodec(), BytearrayCodec(), FileCodec(), DirCodec(),
    SecretCodec(), TorchCodec(), JaxCodec(), CupyCodec(), SparseCodec(), ImageCodec(),
    FigureCodec(),
)  # fmt: skip
_BUILT_IN: dict[str, Codec] = {codec.name: codec for codec in (*_LEAVES, PlainCodec(), *PICKLERS)}
_LIBRARIES: dict[str, str] = {
    "pandas": "tasklineage.storage.codecs.pandas_frames:PandasCodec",
    "polars": "tasklineage.storage.codecs.polars_frames:PolarsCodec",
    "pyarrow": "tasklineage.storage.codecs.arrow:ArrowCodec",
}
"""The codec for the types that a library defines; its name is that of the library."""


class _Plugins:
    """The codecs of other distributions, looked for once in a process."""

    codecs: tuple[Codec, ...] | None = None


def codec_for(value: Any) -> Codec | None:
    """The codec that stores `value` as one object; None where only a pickler may."""
    for codec in _LEAVES:
        if codec.handles(value):
            return codec
    own = _library_codec(type(value).__module__)
    if own is not None and own.handles(value):
        return own
    for codec in plugins():
        if codec.handles(value):
            return codec
    return None


def is_leaf(value: Any) -> bool:
    """Whether `value`, no container, may be a part of a tree."""
    codec = codec_for(value)
    return codec is not None and codec.is_leaf


def codec_named(name: str) -> Codec | None:
    """The codec of that name; None if it is not installed here."""
    codec = _BUILT_IN.get(name)
    if codec is None and name in _LIBRARIES:
        codec = _library_codec(name)
    if codec is not None:
        return codec
    return next((codec for codec in plugins() if codec.name == name), None)


def is_built_in(codec: Codec) -> bool:
    """Whether the codec is one of this package."""
    if codec.name in _LIBRARIES:
        return _library_codec(codec.name) is codec
    return _BUILT_IN.get(codec.name) is codec


def plugins() -> tuple[Codec, ...]:
    """The codecs that other distributions offer; one that cannot be loaded warns."""
    if _Plugins.codecs is None:
        _Plugins.codecs = _load_plugins()
    return _Plugins.codecs


def _library_codec(module: Any) -> Codec | None:
    """The codec for what a module defines; the library itself is not imported."""
    place = _LIBRARIES.get(module.partition(".")[0]) if type(module) is str else None
    return None if place is None else _loaded(place)


@cache
def _loaded(place: str) -> Codec:
    module, _, name = place.partition(":")
    codec: Codec = getattr(import_module(module), name)()
    return codec


def _load_plugins() -> tuple[Codec, ...]:
    from importlib.metadata import entry_points

    found: list[Codec] = []
    for entry in entry_points(group=GROUP):
        try:
            loaded = entry.load()
            codec = loaded() if isinstance(loaded, type) else loaded
        except Exception as error:  # noqa: BLE001 - the code of others
            warnings.warn(f"the codec {entry.value} cannot be loaded: {error}", stacklevel=2)
            continue
        if isinstance(codec, Codec) and codec.name not in (*_BUILT_IN, *_LIBRARIES):
            found.append(codec)
        else:
            warnings.warn(f"{entry.value} is no codec with a name of its own", stacklevel=2)
    return tuple(found)
