"""Tokens: what the canonical bytes of a value are made of.

An atom (None, a bool, an int, a float, a short str) stands in the bytes of its parent as itself,
and anything else as a reference: its own digest, a bytes object. Bytes are no atoms, so that a
reference cannot be mistaken. The encoding is `marshal`, version 2: type-tagged, self-delimiting,
without back references or interning, and written at C speed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import repeat
from marshal import dumps
from operator import ne
from typing import Any

from xxhash import xxh3_128, xxh3_128_digest

VERSION = 2
"""Of marshal: the last version that writes no references, and floats in binary."""
LIMIT = 4096
"""A str of more characters is no atom."""
ATOMS = frozenset({type(None), bool, int, float, str})
"""The types of atoms; a str may still be too long, and a nan is not any nan."""
FIXED = frozenset({type(None), bool, int})
"""The types of atoms that always are their own tokens."""
SIMPLE = frozenset({*ATOMS, bytes})
"""The types whose values have no parts."""
HEADS: dict[type, bytes] = {list: b"[", tuple: b"(", dict: b"{", set: b"<", frozenset: b">"}
"""First byte of the form of each plain container, in marshal and here (sets are our own)."""
SPECIAL = b"@"
"""First byte of the form of other types; a tuple of a tag and parts follows."""

_NUMBERS = frozenset({bool, int, float})
_PIECE = 1 << 20


def token(value: Any) -> Any:
    """What stands for a value of an atom's type, or for bytes, in the bytes of its parent."""
    kind = type(value)
    if kind is float:
        return value if value == value else math.nan
    if kind is str:
        return value if len(value) <= LIMIT else _long_digest(value)
    return bytes_digest(value) if kind is bytes else value


def digest_of(found: Any) -> bytes:
    """The digest of a value from its token."""
    if type(found) is bytes:
        return found
    return xxh3_128_digest(dumps(found, VERSION))


def bytes_digest(value: bytes) -> bytes:
    """The digest of a bytes object; a large one is hashed in place."""
    if len(value) <= LIMIT:
        return xxh3_128_digest(b"B" + value)
    state = xxh3_128(b"B")
    state.update(value)
    return state.digest()


def joined(head: bytes, tokens: list[Any]) -> bytes:
    """The form of a value from the tokens of its parts; of a dict: key, value, key and so on."""
    if head == b"{":
        return b"{" + dumps(tokens, VERSION)[5:] + b"0"
    if head == b"[":
        return dumps(tokens, VERSION)
    if head == b"(":
        return dumps(tuple(tokens), VERSION)
    if head == SPECIAL:
        return SPECIAL + dumps(tuple(tokens), VERSION)
    return head + b"".join(sorted(map(dumps, tokens, repeat(VERSION))))


def is_plain(atoms: Iterable[Any], types: set[type], size: int) -> bool:
    """Whether all atoms of these types are their own tokens: no long str, no nan.

    `atoms` may be iterated several times; `size` is at least that of the longest one.
    """
    if float in types and _has_nan(atoms, types):
        return False
    if size <= LIMIT or str not in types:
        return True
    texts = atoms if len(types) == 1 else [atom for atom in atoms if type(atom) is str]
    return max(map(len, texts)) <= LIMIT


def _has_nan(atoms: Iterable[Any], types: set[type]) -> bool:
    """Whether there is a nan among atoms of these types. The sum of numbers tells quickly."""
    if types <= _NUMBERS:
        try:
            total = sum(atoms)
        except OverflowError:  # an int too large for a float
            total = math.nan
        if total == total:
            return False
    return True in map(ne, atoms, atoms)


def _long_digest(text: str) -> bytes:
    """The digest of a long str, encoded a piece at a time."""
    state = xxh3_128(b"U")
    for start in range(0, len(text), _PIECE):
        state.update(text[start : start + _PIECE].encode("utf-8", "surrogatepass"))
    return state.digest()
