"""Large arguments on their way to a worker: where they are stored, or in memory that it maps.

What is in the store already travels as where it is. What is not is put there for workers of other
machines; for those of this one it is in a parcel, which is packed once for all calls that get it.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from tasklineage.errors import TasklineageError
from tasklineage.executors.parcels import Parcel
from tasklineage.key.hidden import Hidden
from tasklineage.key.pins import live
from tasklineage.storage.records import Argument, Ref

if TYPE_CHECKING:
    from tasklineage.core.call import Call
    from tasklineage.executors.base import Executor
    from tasklineage.storage.store import Store

_LARGE = 1 << 20
"""Bytes from which on an argument does not travel in the message."""
_KEPT = 4
"""Parcels that are kept for further calls, as long as their values live."""
_MOST = 8
"""Parcels in one shipment: each is an open file."""

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class InStore(NamedTuple):
    """An argument that is where the store has it."""

    ref: Ref


class Luggage:
    """The large arguments of one shipment."""

    def __init__(self, executor: Executor, *, by_value: bool) -> None:
        self._executor = executor
        self._by_value = by_value
        self._parcels: dict[bytes, Parcel] = {}
        self.has_references = False
        """Whether the store is needed to unpack it."""

    def packed(self, this: Call, arguments: Sequence[Argument]) -> Arguments:
        """The arguments of a call, those that are large by what stands for them."""
        if self._by_value or not any(_weight(value) >= _LARGE for value in this.bound):
            return this.args, this.kwargs
        found: dict[int, Any] = {}
        for place, (value, argument) in enumerate(zip(this.bound, arguments, strict=True)):
            if _weight(value) >= _LARGE and this.plan.is_whole(place):
                stand_in = self._stand_in(this, value, this.digests[place], Ref(*argument.ref))
                if stand_in is not None:
                    found[id(value)] = stand_in
        args = tuple([found.get(id(value), value) for value in this.args])
        return args, {name: found.get(id(value), value) for name, value in this.kwargs.items()}

    def _stand_in(self, this: Call, value: Any, digest: bytes, ref: Ref) -> Any:
        if ref.oid is None and self._executor.is_remote and not Hidden.in_use:
            try:
                ref = this.run.store.put(value, digest)
            except TasklineageError:  # it travels in the message
                return None
        if ref.oid is not None:
            self.has_references = True
            return InStore(ref)
        if self._executor.is_remote:
            return None
        if digest not in self._parcels and len(self._parcels) < _MOST:
            self._parcels[digest] = _parcel(value, digest)
        return self._parcels.get(digest)


def unpacked(arguments: Iterable[Any], store: Store) -> tuple[Any, ...]:
    """Arguments as the body gets them."""
    found: list[Any] = []
    for one in arguments:
        value = one
        if type(one) is InStore:
            with live():
                value = store.get(one.ref)
        elif type(one) is Parcel:
            value = one.value()
        found.append(value)
    return tuple(found)


class _Parcels:
    """Those that were packed last."""

    lock = Lock()
    known: ClassVar[OrderedDict[bytes, Parcel]] = OrderedDict()


def _parcel(value: Any, digest: bytes) -> Parcel:
    with _Parcels.lock:  # those who want the same wait for it
        known = _Parcels.known.get(digest)
        if known is not None:
            return known
        made = Parcel(value)
        try:
            weakref.finalize(value, _forget, digest)
        except TypeError:  # nobody would say when it is of no use any more
            return made
        _Parcels.known[digest] = made
        while len(_Parcels.known) > _KEPT:
            _Parcels.known.popitem(last=False)
        return made


def _forget(digest: bytes) -> None:
    _Parcels.known.pop(digest, None)


def _weight(value: Any) -> int:
    """Bytes that a value of a kind that may be large takes; of others nobody asks."""
    kind = type(value)
    if kind in _LIGHT:
        return 0
    if kind is bytes or kind is str or kind is bytearray:
        return len(value)
    nbytes = getattr(value, "nbytes", None)
    if isinstance(nbytes, int):
        return nbytes
    if kind.__name__ == "DataFrame":
        if hasattr(value, "estimated_size"):
            return int(value.estimated_size())
        return int(value.memory_usage().sum())
    return 0


_LIGHT = frozenset({int, float, bool, type(None), complex, list, tuple, dict, set})
