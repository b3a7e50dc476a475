"""The digest of a value: 16 bytes that are equal for equal content, and differ where it differs.

The same content has the same digest in every process, under every PYTHONHASHSEED and version of
Python, whether its parts are shared or copied, and however an array lies in memory. The canonical
bytes are described in docs/key.md and made by `digest_tokens`; xxh3-128 hashes them.

The bytes of a container hold atoms in line and everything else by its own digest (a Merkle form),
so each object needs to be looked at once, and `marshal` can write whole containers of atoms.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice, repeat
from marshal import dumps
from typing import Any

from xxhash import xxh3_128, xxh3_128_digest

from tasklineage.key import (
    digest_arrays,
    digest_frames,
    digest_graph,
    digest_library,
    digest_objects,
)
from tasklineage.key.digest_constants import is_immutable, is_number_kind
from tasklineage.key.digest_forms import (
    SAME,
    Code,
    Parts,
    Undigestible,
    Unresolved,
    add_form,
    add_library,
    form_of,
)
from tasklineage.key.digest_tokens import (
    ATOMS,
    HEADS,
    LIMIT,
    SPECIAL,
    VERSION,
    bytes_digest,
    digest_of,
    is_plain,
    joined,
    token,
)

__all__ = [
    "SCHEME",
    "Unresolved",
    "digest",
    "is_immutable",
    "is_trivial",
    "parts",
    "register_digest",
    "register_unresolved",
    "set_code_hook",
]

SCHEME = 1
"""The number of this way of making digests. Whatever changes a digest changes the number."""

_CHUNK = 16_384
"""Parts of a large container that are written at once."""
_BATCH = 64
"""Containers of more elements than this on average are looked at one by one."""
_DEEPEST = 60
_REMEMBERED = 65_536
_FEW = 8
_SETS = (b"<", b">")
_FIXED = frozenset({type(None), bool, int})
_SIMPLE = frozenset({*ATOMS, bytes})


def digest(value: Any, path: str = "value", code: Code | None = None) -> bytes:
    """The digest of a value: 16 bytes.

    Parameters
    ----------
    value
        Nothing of it is changed or consumed.
    path
        What the value is called in an error.
    code
        Gives the digest of a function, class, module or task of the project, None for others; by
        default the function given to `set_code_hook`.

    Raises
    ------
    UnhashableArgument
        Some part has no digest: an iterator, a lock, an open file … `path` names the part.
    Unresolved
        Some part is of a type given to `register_unresolved`.

    Examples
    --------
    >>> digest([1, 2]) == digest((1, 2)), digest({1, 2}) == digest({2, 1})
    (False, True)
    """
    kind = type(value)
    if kind in _FIXED or (kind is str and len(value) <= LIMIT):
        return xxh3_128_digest(dumps(value, VERSION))
    if kind in _SIMPLE:
        return digest_of(token(value))
    hook = _hooks[0] if code is None else code
    try:
        return digest_of(_Walk(hook).token(value))
    except RecursionError:
        return digest_graph.digest(value, path, hook)
    except Undigestible as error:
        raise digest_graph.located(value, path, hook, error) from error.__cause__


def set_code_hook(hook: Code) -> None:
    """Set what gives the digest of the code of a function, class, module or task."""
    _hooks[0] = hook


def register_digest(kind: type, function: Callable[[Any], Any]) -> None:
    """Let values of a type and its subclasses have the digest of what `function` makes of them.

    Raises
    ------
    ConfigError
        The type is one of the plain built-in ones.
    """
    add_form(kind, lambda value, _: (SAME, function(value)), family=True)


def register_unresolved(kind: type) -> None:
    """Let `digest` raise `Unresolved` where it meets a value of a type or a subclass of it."""

    def unresolved(value: Any, _: Code) -> Parts:
        raise Unresolved(f"a {type(value).__name__} stands for a value that is not there yet")

    add_form(kind, unresolved, family=True)


def is_trivial(value: Any) -> bool:
    """Whether a value is too common to say where it came from: None, a number, an empty list."""
    kind: Any = type(value)
    if kind is str or kind is bytes:
        return len(value) <= 32
    if kind in ATOMS:
        return True
    if kind in HEADS:
        return not value
    return is_number_kind(kind)


def parts(value: Any) -> Iterator[tuple[str, Any]]:
    """The direct parts of a list, tuple or dict that are not trivial, each with its path.

    At most 1,000 parts are looked at.

    Examples
    --------
    >>> list(parts({"x": [1], "y": 2}))
    [("['x']", [1])]
    """
    kind: Any = type(value)
    named: Iterator[tuple[str, Any]]
    if kind is list or kind is tuple:
        named = ((f"[{i}]", part) for i, part in enumerate(value))
    elif kind is dict:
        named = ((f"[{key!r}]", part) for key, part in value.items())
    elif issubclass(kind, tuple) and isinstance(getattr(kind, "_fields", None), tuple):
        named = ((f".{name}", part) for name, part in zip(kind._fields, value, strict=False))
    else:
        return
    for suffix, part in islice(named, 1000):
        if not is_trivial(part):
            yield suffix, part


def _no_hook(_: Any) -> bytes | None:
    return None


_hooks: list[Code] = [_no_hook]
for _module in (digest_library, digest_objects, digest_arrays, digest_frames):
    add_library(_module.LIBRARY)


class _Walk:
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
        try:
            return self._versions[id(value)]
        except KeyError:
            version = self._versions[id(value)] = self._code(value)
            self._kept.append(value)
            return version

    def token(self, value: Any) -> Any:
        """What stands for a value in the bytes of its parent: see `digest_tokens`."""
        kind = type(value)
        if kind in _SIMPLE:
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
            found = self._special(form_of(kind)(value, self.code))
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
        own = self.token
        tokens = [
            part
            if (kind := type(part)) in _FIXED or (kind is str and len(part) <= LIMIT)
            else own(part)
            for part in parts
        ]
        return xxh3_128_digest(SPECIAL + dumps(tuple(tokens), VERSION))

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
            own = self.token
            return [value if type(value) in _FIXED else own(value) for value in values]
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

    def _alike(self, values: Sequence[Any], kind: type) -> Sequence[Any]:
        """The tokens of values of one type."""
        if kind in _FIXED:
            return values
        if kind in _SIMPLE:
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
            form = form_of(kind)
            formed = [form(value, self.code) for value in values]
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
        if kind in _FIXED or (kind is str and len(value) <= LIMIT):
            continue
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
