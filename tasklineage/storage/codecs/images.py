"""Pictures of PIL: pixels as PNG where that is exact and fast to read, else as they are.

What an image is compared by is kept: class, mode, size, palette and `info`. What PNG cannot say
exactly (palettes, CMYK, floats), and very large pictures, which PIL would warn of as bombs, are
stored as raw bytes. A picture of a few bytes may have up to 1,032 times as many pixels (the most
that PNG can compress); no size is believed beyond that.
"""

from __future__ import annotations

import io
import re
import sys
from typing import Any

from tasklineage.storage.codecs.base import Codec, Encoded, Undecodable
from tasklineage.storage.codecs.plain import pack_any, unpack
from tasklineage.storage.codecs.survey import plain_kinds

_EXACT = {"1": 1 / 8, "L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
"""Modes that PNG says exactly, and their bytes for a pixel."""
_MODES = frozenset((*_EXACT, "P", "PA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "La", "RGBa",
                    "RGBX", "I;16", "I;16L", "I;16B", "I;16N"))  # fmt: skip
_MOST_PIXELS = 50_000_000
"""Of a PNG: PIL warns of larger ones."""
_MOST_COMPRESSED = 1032
_FASTEST = 1
_MODULE = re.compile(r"PIL\.[A-Za-z0-9]+ImagePlugin|PIL\.Image|PIL\.ImageFile")


class ImageCodec(Codec):
    """`PIL.Image.Image`, also as read from a file."""

    name = "image"
    is_safe = True

    def handles(self, value: Any) -> bool:
        if not is_image(value) or value.mode not in _MODES:
            return False
        info, *_ = state = value.__getstate__()
        return type(info) is dict and plain_kinds([info, *state[5:]]) is not None

    def encode(self, value: Any) -> Encoded:
        kind = type(value)
        info, mode, size, palette, pixels, *rest = value.__getstate__()
        is_png = mode in _EXACT and 0 < size[0] * size[1] <= _MOST_PIXELS
        where = [kind.__module__, kind.__name__]
        alpha = _alpha_palette(value)
        meta = [where, mode, list(size), alpha or palette, bool(alpha), is_png]
        content = _png(value) if is_png else pixels
        return Encoded(meta, [content, pack_any([info, rest])])

    def decode(self, meta: Any, buffers: list[memoryview]) -> Any:
        where, mode, size, palette, is_rgba, is_png = meta
        content, packed = buffers
        kind = _image_class(*where)
        _check_size(mode, size)
        pixels: Any = _pixels(content, mode, size) if is_png else bytes(content)
        info, rest = unpack(bytes(packed))
        if type(info) is not dict or type(rest) is not list:
            raise TypeError("no info of an image")
        made = kind.__new__(kind)
        made.__setstate__([info, mode, tuple(size), None if is_rgba else palette, pixels, *rest])
        if is_rgba:
            made.putpalette(palette, "RGBA")
        return made

    def pictures(self, meta: Any, buffers: list[memoryview]) -> dict[str, bytes]:
        return {"image/png": bytes(buffers[0])} if meta[5] is True else {}


def is_image(value: Any) -> bool:
    """Whether `value` is an image of a class that PIL defines."""
    image = sys.modules.get("PIL.Image")
    kind = type(value)
    module = kind.__module__
    if image is None or type(module) is not str or _MODULE.fullmatch(module) is None:
        return False
    return isinstance(value, image.Image)


def _alpha_palette(value: Any) -> list[int] | None:
    """The palette with its alpha, where it has one; PIL's own state leaves that out."""
    palette = value.palette
    if palette is None or palette.mode != "RGBA":
        return None
    content: list[int] | None = value.getpalette("RGBA")
    return content


def _png(value: Any) -> bytes:
    """The pixels alone."""
    image: Any = sys.modules["PIL.Image"]
    plain = image.frombytes(value.mode, value.size, value.tobytes())
    stream = io.BytesIO()
    plain.save(stream, "PNG", compress_level=_FASTEST)
    return stream.getvalue()


def _pixels(content: memoryview, mode: str, size: list[int]) -> bytes:
    from PIL import Image

    width, height = size
    most = min(_MOST_PIXELS, 8 * _MOST_COMPRESSED * len(content))
    if mode not in _EXACT or width * height > most:
        raise ValueError("a picture of more pixels than its bytes can say")
    with Image.open(io.BytesIO(content), formats=["PNG"]) as opened:
        if opened.mode != mode or opened.size != (width, height):
            raise ValueError("a picture of another size or mode")
        pixels: bytes = opened.tobytes()
    return pixels


def _check_size(mode: Any, size: Any) -> None:
    if mode not in _MODES or type(size) is not list or len(size) != 2:
        raise ValueError("no mode or size of an image")
    if any(type(side) is not int or not 0 <= side < 1 << 31 for side in size):
        raise ValueError("no size of an image")


def _image_class(module: Any, name: Any) -> Any:
    from importlib import import_module

    from PIL import Image

    if type(name) is not str or type(module) is not str or not _MODULE.fullmatch(module):
        raise ValueError("no class of an image")
    try:
        found = vars(import_module(module)).get(name)
    except ImportError as error:
        raise Undecodable(f"PIL has no {module} here", codec="image", type=name) from error
    if not isinstance(found, type) or not issubclass(found, Image.Image):
        raise Undecodable(f"{module} has no image class {name}", codec="image", type=name)
    return found
