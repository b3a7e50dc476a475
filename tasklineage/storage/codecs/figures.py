"""Figures of matplotlib: pickled, with their pictures beside.

The first buffers are the pictures as PNG and SVG, so that anybody can look at a stored figure
without unpickling it; the others are the pickle stream and its buffers, from which the figure
itself comes back, to be changed and drawn again.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from typing import Any

from tasklineage.key.digest_pictures import drawn
from tasklineage.storage.codecs.base import Codec, Encoded
from tasklineage.storage.codecs.pickled import PICKLE, PickleCodec

_PICKLE = PickleCodec(PICKLE)


class FigureCodec(Codec):
    """`matplotlib.figure.Figure`; what pickle does not take of it is left to cloudpickle."""

    name = "figure"
    is_leaf = False

    def handles(self, value: Any) -> bool:
        figure = sys.modules.get("matplotlib.figure")
        if figure is None or type(value) is not getattr(figure, "Figure", None):
            return False
        return _PICKLE.accepts(value)

    def encode(self, value: Any) -> Encoded:
        svg = drawn(value)
        return Encoded(None, [_png(value), svg, *_PICKLE.encode(value).buffers])

    def decode(self, meta: Any, buffers: list[memoryview]) -> Any:
        _prepare_notebook()
        return _PICKLE.decode(meta, buffers[2:])

    def pictures(self, meta: Any, buffers: list[memoryview]) -> dict[str, bytes]:
        return {"image/png": bytes(buffers[0]), "image/svg+xml": bytes(buffers[1])}


def _prepare_notebook() -> None:
    """Load what shows figures under a cell, as drawing one does: after a hit nothing was drawn.

    It looks itself whether it is the backend in use.
    """
    if "ipykernel" in sys.modules:
        with contextlib.suppress(ImportError):
            importlib.import_module("matplotlib_inline.backend_inline")


def _png(figure: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()
