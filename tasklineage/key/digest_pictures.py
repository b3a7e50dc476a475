"""Forms of pictures: images of PIL by their pixels, figures of matplotlib by their drawing."""

from __future__ import annotations

import io
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from xxhash import xxh3_128, xxh3_128_digest

from tasklineage.key.digest_forms import Code, Library, Parts, Undigestible, form_of

LIBRARY = Library()

_DRAWING = threading.RLock()
"""matplotlib draws for one thread at a time."""
_SALT = "tasklineage"
_INNER_EXIF = (0x8769, 0x8825, 0xA005)
"""Tags of EXIF that stand for tables of their own: camera, place, interoperability."""
_NAMES = re.compile(rb"\b[a-zA-Z]{1,3}[0-9a-f]{10}\b")
"""Ids that matplotlib makes of hashes, some of them of addresses."""


@LIBRARY.form("PIL.Image:Image", family=True)
def _image(value: Any, _: Code) -> Parts:
    """Class, mode, size, palette, info and pixels, which is what PIL compares; no file name.

    Where there are some: the other frames, and which one is shown; EXIF; the tags of a TIFF.
    """
    value.load()
    palette = value.getpalette()
    if value.palette is not None and value.palette.mode == "RGBA":
        palette = value.getpalette("RGBA")
    pixels = xxh3_128_digest(value.tobytes())
    kind = type(value)
    about = f"{kind.__module__}.{kind.__qualname__}", value.mode, tuple(value.size)
    return "PIL.Image", *about, palette, value.info, pixels, *_more(value)


def _more(value: Any) -> Iterator[Any]:
    file = frames_file(value)
    if file is not None:
        yield "file", value.tell(), xxh3_128_digest(content_of(file))
    elif (frames := decoded_frames(value)) is not None:
        yield "frames", value.tell(), frames
    if (exif := exif_of(value)) is not None:
        yield "exif", exif
    if (tags := tags_of(value)) is not None:
        yield "tags", tags


def frames_file(value: Any) -> Any:
    """The open file from which an image of several frames reads the others; else None."""
    file = vars(value).get("_fp")
    if file is None or type(file).__name__ == "DeferredError" or getattr(file, "closed", False):
        return None
    try:  # asking the image itself would undo changes of its pixels
        is_animated = type(value)(io.BytesIO(content_of(file))).is_animated
    except Exception:  # noqa: BLE001 - no file that PIL reads again: what is in it may matter
        return file
    return file if is_animated else None


def content_of(file: Any) -> bytes:
    """All bytes of an open file, which is left where it was."""
    place = file.tell()
    try:
        file.seek(0)
        content: bytes = file.read()
    finally:
        file.seek(place)
    return content


def decoded_frames(value: Any) -> bytes | None:
    """The digest of the frames of an image whose decoder holds them all: WebP, AVIF; else None."""
    decoder = vars(value).get("_decoder")
    count = vars(value).get("n_frames", 1)
    if decoder is None or count < 2:
        return None
    state = xxh3_128()
    if hasattr(decoder, "get_frame"):
        frames: Iterable[Any] = map(decoder.get_frame, range(count))
    else:
        decoder.reset()
        frames = [decoder.get_next() for _ in range(count)]
        decoder.reset()
        for _ in range(getattr(value, "_WebPImageFile__physical_frame", 0)):
            decoder.get_next()
    for content, *about in frames:
        state.update(repr((len(content), about)).encode())
        state.update(content)
    return state.digest()


def exif_of(value: Any) -> dict[int, Any] | None:
    """The EXIF of an image, what was set in memory included, inner tables last; else None."""
    if value._exif is None and not (
        {"exif", "Raw profile type exif"} & value.info.keys() or "tag_v2" in vars(value)
    ):
        return None
    try:
        exif = value.getexif()
        found = {tag: exif[tag] for tag in sorted(exif)}
        inner = {tag: dict(exif.get_ifd(tag)) for tag in _INNER_EXIF}
    except Exception:  # noqa: BLE001 - it is damaged: nobody can read it, `info` has its bytes
        return None
    found.update({tag: table for tag, table in inner.items() if table})
    return found or None


def tags_of(value: Any) -> list[Any] | None:
    """The tags of a TIFF, in order; None of other images."""
    tags = vars(value).get("tag_v2")
    return None if tags is None else [(tag, tags[tag]) for tag in sorted(tags)]


@LIBRARY.form("matplotlib.figure:Figure")
def _figure(value: Any, _: Code) -> Parts:
    size = tuple(map(float, value.get_size_inches()))
    return "matplotlib.Figure", size, float(value.dpi), xxh3_128_digest(drawn(value))


@LIBRARY.form("matplotlib.artist:Artist", family=True)
def _artist(value: Any, code: Code) -> Parts:
    """Axes, lines and other parts of a figure: the figure, and which part of it."""
    figure = value.get_figure()
    parts = [] if figure is None else figure.findobj()
    place = next((i for i, part in enumerate(parts) if part is value), None)
    if place is None or figure is value:
        return form_of(object)(value, code)
    return "matplotlib.Artist", type(value).__name__, figure, place


def drawn(figure: Any) -> bytes:
    """The figure as SVG: equal figures of the same size give equal bytes, in every process.

    Raises
    ------
    Undigestible
        It cannot be drawn.
    """
    matplotlib: Any = sys.modules["matplotlib"]
    stream = io.BytesIO()
    about: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with _DRAWING, matplotlib.rc_context({"svg.hashsalt": _SALT, "savefig.bbox": None}):
        try:
            figure.savefig(stream, format="svg", dpi=72, metadata=about)
        except Exception as error:
            raise Undigestible(f"it cannot be drawn: {type(error).__name__}: {error}") from error
    return _renamed(stream.getvalue())


def _renamed(svg: bytes) -> bytes:
    """The same picture, its ids in the order in which they occur."""
    names: dict[bytes, bytes] = {}

    def name(match: re.Match[bytes]) -> bytes:
        return names.setdefault(match.group(), b"id%d" % len(names))

    return _NAMES.sub(name, svg)
