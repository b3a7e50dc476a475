"""Values on their way to a worker process: large buffers in anonymous memory that both map.

A parcel is the pickle of a value, protocol 5, with its large buffers beside it, in a file that has
no name and so leaves nothing behind whatever is killed. The descriptor travels over a socket; each
unpacking maps it privately, copy on write, so that nobody sees what somebody else changes.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import struct
import tempfile
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

from tasklineage.executors import by_value

rules: dict[type, Callable[[Any], Any]] = {}
"""By type, how its instances are reduced when they travel; as `__reduce__`, a name included."""

_LARGE = 1 << 16
"""Bytes from which on a buffer does not go through the pipe."""
_ALIGNED = 64
_COUNT = struct.Struct("<I")
_PLACE = struct.Struct("<QQ")


class Parcel:
    """A value that is packed once and unpacked as often as anybody asks, here or elsewhere."""

    def __init__(self, value: Any) -> None:
        self.fds: tuple[int, ...] = ()
        self.blob, self.fds = pack(value)
        for fd in self.fds:
            weakref.finalize(self, os.close, fd)

    @classmethod
    def received(cls, blob: bytes, fds: tuple[int, ...]) -> Parcel:
        """What another process has packed; the descriptors are owned by the new object."""
        parcel = cls.__new__(cls)
        parcel.blob, parcel.fds = blob, fds
        for fd in fds:
            weakref.finalize(parcel, os.close, fd)
        return parcel

    def value(self) -> Any:
        """The value, made anew."""
        return unpack(self.blob, self.fds)

    def __reduce__(self) -> tuple[Any, ...]:
        """Its descriptors are among those of the parcel that it is packed in, or it is copied."""
        packing = _inside.packing
        if packing is None:
            return Parcel, (self.value(),)
        packing.extend(self.fds)
        return _arrived, (self.blob, len(packing) - len(self.fds), len(self.fds))


class _Descriptors(threading.local):
    """Those of the parcels inside of what this thread packs, or unpacks."""

    packing: list[int] | None = None
    unpacking: Sequence[int] = ()


_inside = _Descriptors()


def _arrived(blob: bytes, first: int, count: int) -> Parcel:
    fds = tuple([os.dup(fd) for fd in _inside.unpacking[first : first + count]])
    return Parcel.received(blob, fds)


def pack(value: Any) -> tuple[bytes, tuple[int, ...]]:
    """The pickle of a value, and the descriptor of a file with its large buffers, if it has any.

    Functions and classes of the main module, lambdas and closures are pickled by value.

    Raises
    ------
    pickle.PicklingError, TypeError, ...
        What the value raises that cannot be pickled.
    """
    large: list[memoryview] = []

    def keeps(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < _LARGE:
            return True
        large.append(view)
        return False

    head = io.BytesIO()
    before, inside = _inside.packing, list[int]()
    _inside.packing = inside
    try:
        _pickler(head, keeps).dump(value)
    finally:
        _inside.packing = before
    places: list[tuple[int, int]] = []
    end = 0
    for view in large:
        start = -(-end // _ALIGNED) * _ALIGNED
        end = start + view.nbytes
        places.append((start, view.nbytes))
    prefix = _COUNT.pack(len(places)) + b"".join(_PLACE.pack(*place) for place in places)
    blob = prefix + head.getvalue()
    own = (_stored(large, places, end),) if large else ()
    return blob, (*own, *[os.dup(fd) for fd in inside])


def pack_whole(value: Any) -> bytes:
    """As `pack`, with the large buffers inside."""
    head = io.BytesIO(_COUNT.pack(0))
    head.seek(0, io.SEEK_END)
    before, _inside.packing = _inside.packing, None
    try:
        _pickler(head, None).dump(value)
    finally:
        _inside.packing = before
    return head.getvalue()


def unpack(blob: bytes, fds: Sequence[int]) -> Any:
    """The value that `pack` was given."""
    view = memoryview(blob)
    (count,) = _COUNT.unpack_from(view)
    at = _COUNT.size
    buffers: list[memoryview] = []
    if count:
        memory = memoryview(mmap.mmap(fds[0], 0, access=mmap.ACCESS_COPY))
        for _ in range(count):
            start, size = _PLACE.unpack_from(view, at)
            buffers.append(memory[start : start + size])
            at += _PLACE.size
    before, _inside.unpacking = _inside.unpacking, fds[1:] if count else fds
    try:
        return pickle.loads(view[at:], buffers=buffers)
    finally:
        _inside.unpacking = before


def _stored(views: Sequence[memoryview], places: Sequence[tuple[int, int]], size: int) -> int:
    """The descriptor of a file without a name that holds the buffers at these places."""
    fd = _anonymous()
    try:
        os.ftruncate(fd, size)
        for view, (start, _) in zip(views, places, strict=True):
            written = 0
            while written < view.nbytes:
                written += os.pwrite(fd, view[written:], start + written)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _anonymous() -> int:
    try:
        return os.memfd_create("tasklineage")
    except (AttributeError, OSError):  # not Linux
        fd, path = tempfile.mkstemp(prefix="tasklineage-")
        os.unlink(path)
        return fd


def _pickler(file: io.BytesIO, keeps: Any) -> Any:
    if _Pickler.kind is None:
        import dataclasses  # slow to import, for those who need processes

        import cloudpickle

        for name in ("MISSING", "_HAS_DEFAULT_FACTORY"):  # compared by identity
            rules[type(getattr(dataclasses, name))] = partial(_named, name)
        rules.update(by_value.rules)

        class Pickler(cloudpickle.Pickler):
            """Asks `rules` first."""

            def reducer_override(self, obj: Any) -> Any:
                rule = rules.get(type(obj))
                if rule is not None:
                    return rule(obj)
                reduced: Any = super().reducer_override(obj)
                return by_value.with_slots(obj, reduced) if isinstance(obj, type) else reduced

        _Pickler.kind = Pickler
    return _Pickler.kind(file, protocol=5, buffer_callback=keeps)


def _named(name: str, _: Any) -> str:
    return name


class _Pickler:
    """The class of what pickles, once it is needed."""

    kind: ClassVar[Any] = None
