"""Pictures of PIL: pixels as PNG where that is exact and fast to read, else as they are.

What an image is compared by is kept: class, mode, size, palette and `info`. What PNG cannot say
exactly (palettes, CMYK, floats), and very large pictures, which PIL would warn of as bombs, are
stored as raw bytes. A picture of a few bytes may have up to 1,032 times as many pixels (the most
that PNG can compress); no size is believed beyond that.

An image that reads more of its file when it is asked (other frames, the tags of a TIFF) is stored
with that file. Where its frames are nowhere to be had, it cannot be stored. EXIF that was set in
memory is kept as a table.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from typing import Any

from tasklineage.key.digest_pictures import (
    content_of,
    decoded_frames,
    exif_of,
    frames_file,
    tags_of,
)
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
_WITH_FILES = {
    "GIF": ["GIF"], "TIFF": ["TIFF"], "PNG": ["PNG"], "WEBP": ["WEBP"], "AVIF": ["AVIF"],
    "MPO": ["JPEG", "MPO"],
}  # fmt: skip
"""Formats whose files are stored, and the readers that they are given to."""
_OF_FILES = ("fp", "_exif", "tile")
_LARGEST_TAG = 1 << 16
_MODULE = re.compile(r"PIL\.[A-Za-z0-9]+ImagePlugin|PIL\.Image|PIL\.ImageFile")


class ImageCodec(Codec):
    """`PIL.Image.Image`, also as read from a file."""

    name = "image"
    is_safe = True

    def handles(self, value: Any) -> bool:
        if not is_image(value) or value.mode not in _MODES:
            return False
        info, *_ = state = value.__getstate__()
        if type(info) is not dict or plain_kinds([info, *state[5:]]) is None:
            return False
        return _has_plain_exif(value) and (_file_of(value) is not None or not _has_frames(value))

    def encode(self, value: Any) -> Encoded:
        kind = type(value)
        info, mode, size, palette, pixels, *rest = value.__getstate__()
        is_png = mode in _EXACT and 0 < size[0] * size[1] <= _MOST_PIXELS
        where = [kind.__module__, kind.__name__]
        alpha = _alpha_palette(value)
        meta = [where, mode, list(size), alpha or palette, bool(alpha), is_png]
        content = _png(value) if is_png else pixels
        exif = _own_exif(value)
        more = [info, rest] if exif is None else [info, rest, exif]
        file = _file_of(value)
        if file is None:
            return Encoded(meta, [content, pack_any(more)])
        return Encoded([*meta, value.format, value.tell()], [content, pack_any(more), file])

    def decode(self, meta: Any, buffers: list[memoryview]) -> Any:
        where, mode, size, palette, is_rgba, is_png, *shown = meta
        content, packed, *files = buffers
        kind = _image_class(*where)
        _check_size(mode, size)
        pixels: Any = _pixels(content, mode, size) if is_png else bytes(content)
        info, rest, *exif = unpack(bytes(packed))
        if type(info) is not dict or type(rest) is not list:
            raise TypeError("no info of an image")
        state = [info, mode, tuple(size), None if is_rgba else palette, pixels, *rest]
        made = _reopened(kind, files[0], *shown) if files else kind.__new__(kind)
        if not files or made.__getstate__() != state or is_rgba:
            _set_state(made, state, palette if is_rgba else None)
        if exif:
            _set_exif(made, exif[0])
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


def reducers() -> dict[Any, Callable[[Any], Any]]:
    """How pickle is to write images, by type: with their frames. Empty without PIL."""
    image: Any = sys.modules.get("PIL.Image")
    found, pending = set[Any](), [] if image is None else [image.Image]
    while pending:
        kind = pending.pop()
        if kind not in found:
            found.add(kind)
            pending += kind.__subclasses__()
    return {kind: _reduce for kind in found if kind.__reduce_ex__ is object.__reduce_ex__}


def rebuild(packed: bytes, *buffers: Any) -> Any:
    """An image in a pickle. Its name stands in stored pickles."""
    return _CODEC.decode(unpack(packed), [memoryview(buffer) for buffer in buffers])


def _reduce(value: Any) -> Any:
    is_more = _has_frames(value) or tags_of(value) is not None or value._exif is not None
    if is_more and _CODEC.handles(value):
        encoded = _CODEC.encode(value)
        buffers: Any = encoded.buffers
        return rebuild, (bytes(pack_any(encoded.meta)), *map(bytes, buffers))
    if _has_frames(value):
        raise TypeError("the other frames of an image whose file is not open cannot be read")
    return value.__reduce_ex__(5)


def _has_frames(value: Any) -> bool:
    """Whether there are frames beside the one that is shown."""
    return decoded_frames(value) is not None or frames_file(value) is not None


def _file_of(value: Any) -> bytes | None:
    """The content of the file that an image needs and that gives it again; else None."""
    if value.format not in _WITH_FILES:
        return None
    file, frames, tags = frames_file(value), decoded_frames(value), tags_of(value)
    if file is None and frames is None and tags is None:
        return None
    try:
        if file is not None:
            content = content_of(file)
        else:
            with open(value.filename, "rb") as opened:
                content = opened.read()
        again = _reopened(type(value), content, value.format, value.tell())
    except Exception:  # noqa: BLE001 - whatever a reader of PIL raises: it is another file by now
        return None
    same = decoded_frames(again) == frames and tags_of(again) == tags
    return content if same else None


def _reopened(kind: Any, content: Any, form: Any, frame: Any) -> Any:
    """An image of a class, read from a file, at a frame.

    Raises
    ------
    ValueError
        It is not what such a file has.
    """
    from PIL import Image

    if form not in _WITH_FILES or type(frame) is not int:
        raise ValueError("no format or frame of an image")
    made: Any = Image.open(io.BytesIO(content), formats=_WITH_FILES[form])
    if type(made) is not kind:
        raise ValueError("an image of another format")
    made.seek(frame)
    made.load()
    return made


def _set_state(made: Any, state: list[Any], palette: Any) -> None:
    """Let an image have these pixels, info and palette; what reads its file stays."""
    kept = {name: part for name, part in vars(made).items() if name in _OF_FILES}
    made.__setstate__(state)
    vars(made).update(kept)
    if palette is not None:
        made.putpalette(palette, "RGBA")


def _own_exif(value: Any) -> Any:
    """What EXIF says beyond what `info` and the tags of a TIFF do, as pairs; else None."""
    found = exif_of(value)
    if found is None or tags_of(value) is not None:
        return None
    image: Any = sys.modules["PIL.Image"]
    plain = image.Image()
    plain.info = value.info
    return None if exif_of(plain) == found else _pairs(found)


def _has_plain_exif(value: Any) -> bool:
    exif = _own_exif(value)
    return exif is None or plain_kinds(exif) is not None


def _pairs(table: dict[int, Any]) -> list[Any]:
    return [[tag, _pairs(part) if type(part) is dict else part] for tag, part in table.items()]


def _set_exif(made: Any, pairs: Any) -> None:
    exif = made.getexif()
    exif.clear()
    for tag, part in pairs:
        if type(tag) is not int or not 0 <= tag < _LARGEST_TAG:
            raise ValueError("no tag")
        if type(part) is list:
            exif.get_ifd(tag).update((inner, value) for inner, value in part)
        else:
            exif[tag] = part


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


_CODEC = ImageCodec()
