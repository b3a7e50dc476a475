"""The fast way through a value, which all but very deep and cyclic values take.

`marshal` writes, and xxh3 hashes, whole lists of containers of atoms in C. What Python does is to
tell which those are, and to put references in the place of other parts.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain, islice, repeat
from marshal import dumps
from typing import Any

from xxhash import xxh3_128, xxh3_128_digest

from tasklineage.key.digest_forms import SAME, Code, Parts, parts_of
from tasklineage.key.digest_tokens import (
    ATOMS,
    FIXED,
    HEADS,
    LIMIT,
    SIMPLE,
    SPECIAL,
    VERSION,
    bytes_digest,
    is_plain,
    joined,
    token,
)

_CHUNK = 16_384
"""A container of more parts is written in pieces."""
_BATCH = 64
"""Containers of more parts than this on average are looked at one by one."""
_FEW = 8
"""So many values are looked at one by one, too."""
_DEEPEST = 100
_REMEMBERED = 65_536
_SETS = (b"<", b">")
_UNKNOWN = b"not asked yet"


class Walk:
    """One walk over a value. For one thread.

    It goes down level by level: the parts of many containers of one type are looked at together, so
    that a few calls of C functions do most of the work. An object that is met twice at one level,
    or that stands alone, is remembered; so what is shared is not written out again and again.
    """

    __slots__ = ("_code", "_depth", "_kept", "_met", "_versions")

    def __init__(self, code: Code) -> None:
        self._code = code
        self._depth = 0
        self._met: dict[int, Any] = {}
        self._kept: list[Any] = []  # what was met: an address must not be used again
        self._versions: dict[int, bytes | None] = {}

    def code(self, value: Any) -> bytes | None:
        """What the hook says of a function or class; it is asked once."""
        version = self._versions.get(id(value), _UNKNOWN)
        if version is _UNKNOWN:
            version = self._versions[id(value)] = self._code(value)
            self._kept.append(value)
        return version

    def token(self, value: Any) -> Any:
        """What stands for a value in the bytes of its parent: see `digest_tokens`."""
        kind = type(value)
        if kind in SIMPLE:
            return token(value)
        found = self._met.get(id(value))
        if found is None:
            found = self._one(value, kind)
            if len(self._kept) >= _REMEMBERED:
                self._met.clear()
                self._versions.clear()
                self._kept.clear()
            self._met[id(value)] = found
            self._kept.append(value)
        return found

    def _one(self, value: Any, kind: type) -> Any:
        """The token of one object that was not met before."""
        data = None
        if kind is dict:
            data = _plain_dict(value)
        elif kind is list or kind is tuple:
            data = _plain_sequence(value)
        if data is not None:
            return xxh3_128_digest(data)
        self._enter()
        if kind not in HEADS:
            found = self._special(parts_of(value, self.code))
        elif len(value) > _CHUNK and HEADS[kind] not in _SETS:
            found = self._long(value, kind)
        else:
            flat = _flat((value,), kind)
            found = xxh3_128_digest(joined(HEADS[kind], list(self._tokens(flat))))
        self._depth -= 1
        return found

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise RecursionError

    def _special(self, parts: Parts) -> Any:
        if parts[0] is SAME:
            return self.token(parts[1])
        return xxh3_128_digest(SPECIAL + dumps(tuple(self._few(parts)), VERSION))

    def _long(self, value: Any, kind: type) -> bytes:
        """The digest of a list, tuple or dict that is written in pieces."""
        state = xxh3_128(HEADS[kind])
        if kind is dict:
            rest = chain.from_iterable(value.items())
        else:
            state.update(struct.pack("<I", len(value)))
            rest = iter(value)
        while chunk := list(islice(rest, 2 * _CHUNK)):
            state.update(dumps(list(self._tokens(chunk)), VERSION)[5:])
        if kind is dict:
            state.update(b"0")
        return state.digest()

    def _tokens(self, values: Sequence[Any]) -> Sequence[Any]:
        """The tokens of many values."""
        if len(values) <= _FEW:
            return self._few(values)
        types = set(map(type, values))
        if len(types) == 1:
            return self._alike(values, *types)
        if types <= ATOMS and is_plain(values, types, LIMIT + 1):
            return values
        found = list(values)
        for kind, at in _places(values).items():
            alike = self._alike([values[i] for i in at], kind)
            for i, one in zip(at, alike, strict=True):
                found[i] = one
        return found

    def _few(self, values: Sequence[Any]) -> list[Any]:
        own = self.token
        return [
            value
            if (kind := type(value)) in FIXED
            or (kind is str and len(value) <= LIMIT)
            or (kind is float and value == value)
            else own(value)
            for value in values
        ]

    def _alike(self, values: Sequence[Any], kind: type) -> Sequence[Any]:
        """The tokens of values of one type."""
        if kind in FIXED:
            return values
        if kind in SIMPLE:
            return _simple_tokens(values, kind)
        if len(values) <= _FEW or (kind in HEADS and sum(map(len, values)) > _BATCH * len(values)):
            return list(map(self.token, values))
        if kind not in HEADS:
            return self._group(values, kind)
        flat = _flat(values, kind)
        digests = _leaf_digests(HEADS[kind], values, flat)
        return self._group(values, kind, flat) if digests is None else digests

    def _group(
        self, values: Sequence[Any], kind: type, flat: list[Any] | None = None
    ) -> Sequence[Any]:
        """The tokens of objects of one type, looked at together."""
        if len(set(map(id, values))) < len(values):
            return list(map(self.token, values))
        self._enter()
        found: Sequence[Any] | None
        if flat is not None:
            found = self._joined(HEADS[kind], values, flat)
        else:
            formed = [parts_of(value, self.code) for value in values]
            if formed[0][0] is SAME:
                found = self._tokens([parts[1] for parts in formed])
            else:
                flat = list(chain.from_iterable(formed))
                found = _leaf_digests(SPECIAL, formed, flat)
                if found is None:
                    found = self._joined(SPECIAL, formed, flat)
        self._depth -= 1
        return found

    def _joined(self, head: bytes, values: Sequence[Any], flat: list[Any]) -> Sequence[bytes]:
        """The digests of containers of one kind, whose parts in one list are `flat`."""
        tokens = iter(self._tokens(flat))
        width = 2 if head == b"{" else 1
        return [
            xxh3_128_digest(joined(head, list(islice(tokens, width * len(value)))))
            for value in values
        ]


def _places(values: Sequence[Any]) -> dict[type, list[int]]:
    """Where the values are that may not be their own tokens, by type."""
    places: defaultdict[type, list[int]] = defaultdict(list)
    for i, value in enumerate(values):
        kind = type(value)
        if kind in FIXED or (kind is str and len(value) <= LIMIT):
            continue
        if kind is not float or value != value:
            places[kind].append(i)
    return places


def _flat(values: Sequence[Any], kind: type) -> list[Any]:
    """The parts of containers of one type, in one list."""
    if kind is dict:
        values = list(map(dict.items, values))
        return list(chain.from_iterable(chain.from_iterable(values)))
    return list(chain.from_iterable(values))


def _leaf_digests(head: bytes, values: Sequence[Any], flat: list[Any]) -> list[bytes] | None:
    """The digests of lists, tuples, dicts or the parts of other types, if they have but atoms."""
    types = set(map(type, flat))
    if head in _SETS or not types <= ATOMS:
        return None
    forms = list(map(dumps, values, repeat(VERSION)))
    if not is_plain(flat, types, max(map(len, forms))):
        return None
    return list(map(xxh3_128_digest, map(SPECIAL.__add__, forms) if head == SPECIAL else forms))


def _plain_sequence(value: list[Any] | tuple[Any, ...]) -> bytes | None:
    """The form of a list or tuple, if it has but atoms and is not large."""
    if len(value) > _CHUNK:
        return None
    types = set(map(type, value))
    if not types <= ATOMS:
        return None
    data = dumps(value, VERSION)
    return data if is_plain(value, types, len(data)) else None


def _plain_dict(value: dict[Any, Any]) -> bytes | None:
    """The form of a dict, if it has but atoms and is not large."""
    if len(value) > _CHUNK:
        return None
    keys, values = set(map(type, value)), set(map(type, value.values()))
    if not (keys <= ATOMS and values <= ATOMS):
        return None
    data = dumps(value, VERSION)
    if is_plain(value, keys, len(data)) and is_plain(value.values(), values, len(data)):
        return data
    return None


def _simple_tokens(values: Sequence[Any], kind: type) -> Sequence[Any]:
    """The tokens of floats, of str, or of bytes."""
    if kind is bytes:
        return list(map(bytes_digest, values))
    return values if is_plain(values, {kind}, LIMIT + 1) else list(map(token, values))
