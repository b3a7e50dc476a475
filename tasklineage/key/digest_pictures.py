"""Forms of pictures: images of PIL by their pixels, figures of matplotlib by their drawing."""

from __future__ import annotations

import io
import re
import sys
import threading
from typing import Any

from xxhash import xxh3_128_digest

from tasklineage.key.digest_forms import Code, Library, Parts, Undigestible, form_of

LIBRARY = Library()

_DRAWING = threading.RLock()
"""matplotlib draws for one thread at a time."""
_SALT = "tasklineage"
_NAMES = re.compile(rb"\b[a-zA-Z]{1,3}[0-9a-f]{10}\b")
"""Ids that matplotlib makes of hashes, some of them of addresses."""


@LIBRARY.form("PIL.Image:Image", family=True)
def _image(value: Any, _: Code) -> Parts:
    """Class, mode, size, palette, info and pixels, which is what PIL compares; no file name."""
    value.load()
    palette = value.getpalette()
    if value.palette is not None and value.palette.mode == "RGBA":
        palette = value.getpalette("RGBA")
    pixels = xxh3_128_digest(value.tobytes())
    kind = type(value)
    about = f"{kind.__module__}.{kind.__qualname__}", value.mode, tuple(value.size)
    return "PIL.Image", *about, palette, value.info, pixels


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
