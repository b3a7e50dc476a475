"""The named last resort: pickle, and cloudpickle for what pickle cannot name.

An object's first buffer is the pickle stream (protocol 5), the others are the buffers that the
value's parts gave out of band: they are written and mapped without a copy. Functions and classes
are stored by name where pickle can, so that they come back as themselves; lambdas, closures and
local classes by cloudpickle, as copies.
"""

from __future__ import annotations

import copyreg
import io
from collections import ChainMap
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from tasklineage.storage.codecs import (
    array_subclasses,
    attached,
    exceptions,
    images,
    secret,
    torch_tensors,
)
from tasklineage.storage.codecs.base import Codec, Encoded
from tasklineage.storage.object_layout import Buffer, Chunked

if TYPE_CHECKING:
    import pickle

PICKLE, CLOUDPICKLE = "pickle", "cloudpickle"
_DEEPEST_BLAME = 100


class PickleCodec(Codec):
    """Whatever pickle takes, under the name of the pickler."""

    is_leaf = False

    def __init__(self, name: str) -> None:
        self.name = name

    def handles(self, value: Any) -> bool:
        return True

    def encode(self, value: Any) -> Encoded:
        buffers: list[pickle.PickleBuffer] = []
        stream = _Stream()
        self._pickler(stream, buffers.append).dump(value)
        return Encoded(None, [stream.joined(), *(buffer.raw() for buffer in buffers)])

    def decode(self, meta: Any, buffers: list[memoryview]) -> Any:
        import pickle

        return pickle.loads(buffers[0], buffers=buffers[1:])

    def accepts(self, value: Any) -> bool:
        """Whether `value` can be pickled; nothing of the result is kept."""
        try:
            self._pickler(_Sink(), _forget).dump(value)
        except Exception:  # noqa: BLE001 - code of the user's classes, and of cloudpickle
            return False
        return True

    def _pickler(self, stream: Any, callback: Callable[[Any], Any]) -> Any:
        own = {
            **torch_tensors.reducers(), **images.reducers(), **array_subclasses.reducers(),
            **attached.reducers(), **secret.reducers(),
        }  # fmt: skip
        if self.name == PICKLE:
            pickler: Any = _exact_pickler()(stream, protocol=5, buffer_callback=callback)
            if own:  # a plain dict, since pickle looks up the type of every object
                pickler.dispatch_table = {**copyreg.dispatch_table, **own}
            return pickler
        kind = _exact_cloudpickler(tuple(own.items()))
        return kind(stream, protocol=5, buffer_callback=callback)


def blame(value: Any, path: str, accepts: Callable[[Any], bool]) -> str:
    """The path of the innermost thing inside of `value` that cannot be pickled.

    `result['model'].hook`. Slow: everything on the way is pickled once more; so this is for the
    error message only.
    """
    seen: set[int] = set()
    for _ in range(_DEEPEST_BLAME):
        seen.add(id(value))
        try:
            inside = list(_inside(value))
        except Exception:  # noqa: BLE001 - code of the user's classes, and no error worth hiding one
            break
        for suffix, part in inside:
            if id(part) not in seen and not accepts(part):
                value, path = part, path + suffix
                break
        else:
            break
    return path


@cache
def _exact_pickler() -> Any:
    """The pickler of pickle, with our reduction of exceptions."""
    import pickle

    content = {"reducer_override": lambda _, value: exceptions.reduced(value)}
    return type("Pickler", (pickle.Pickler,), content)


@lru_cache(maxsize=16)  # the table must be that of the class; more types may be loaded later
def _exact_cloudpickler(own: tuple[tuple[Any, Callable[[Any], Any]], ...]) -> Any:
    """The pickler of cloudpickle, without what it stores as something else, and `own` reducers."""
    import cloudpickle

    refused: dict[Any, Any] = {io.TextIOWrapper: _refuse, memoryview: _refuse}
    known: Any = cloudpickle.Pickler.dispatch_table
    table = ChainMap(dict(own), refused, known)

    def reducer_override(self: Any, value: Any) -> Any:
        found = exceptions.reduced(value)
        if found is not NotImplemented:
            return found
        return cloudpickle.Pickler.reducer_override(self, value)

    content = {"dispatch_table": table, "reducer_override": reducer_override}
    return type("Pickler", (cloudpickle.Pickler,), content)


def _refuse(value: Any) -> Any:
    """Raise the error that pickle raises: an open file would come back as a `StringIO`."""
    raise TypeError(f"cannot pickle '{type(value).__name__}' object")


class _Stream:
    """The pickle stream as the pickler hands it over: frames, and large bytes uncopied."""

    __slots__ = ("pieces",)

    def __init__(self) -> None:
        self.pieces: list[Any] = []

    def write(self, piece: Any) -> None:
        self.pieces.append(piece)

    def joined(self) -> Buffer:
        if len(self.pieces) == 1 and type(self.pieces[0]) is bytes:
            return self.pieces[0]
        views = [memoryview(piece).cast("B") for piece in self.pieces]
        return Chunked(sum(view.nbytes for view in views), lambda: views)


class _Sink:
    __slots__ = ()

    def write(self, piece: Any) -> None:
        """Forget the piece."""


def _forget(buffer: Any) -> None:
    """Take a buffer out of band."""


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    """What a value holds, each with what its path adds."""
    if isinstance(value, dict):
        yield from ((f"[{key!r}]" if type(key) in (str, int) else "[…]", value[key])
                    for key in value)  # fmt: skip
    elif isinstance(value, tuple) and type(getattr(value, "_fields", None)) is tuple:
        names: Any = getattr(value, "_fields", ())
        yield from ((f".{name}", item) for name, item in zip(names, value, strict=False))
    elif isinstance(value, list | tuple):
        yield from ((f"[{at}]", item) for at, item in enumerate(value))
    elif isinstance(value, set | frozenset):
        yield from (("{…}", item) for item in value)
    for name, part in _attributes(value):
        yield f".{name}", part


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """Its attributes as they are stored; no property is run."""
    if isinstance(value, type):
        return
    held = getattr(value, "__dict__", None)
    if type(held) is dict:
        yield from held.items()
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else tuple(slots):
            if hasattr(value, name):
                yield name, getattr(value, name)
