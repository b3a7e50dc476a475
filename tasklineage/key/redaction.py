"""The texts that are secret in this process: found in what is about to be recorded, and taken out.

A text is looked for as it is and in the forms in which programs print it: escaped, as JSON, in a
URL, in base64 (also inside of more of it, as in `user:password`), in hexadecimal. What is shorter
than `SHORTEST` cannot be told from other text and is not looked for.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any, ClassVar
from urllib.parse import quote, quote_plus

from tasklineage.errors import UnstorableResult
from tasklineage.key.hidden import Hidden

MARK = "***"
"""What stands in the place of a secret."""
SHORTEST = 6
"""Characters of the shortest text that is looked for."""

_WINDOW = 1 << 20
_MOST_LOOKED_AT = 10_000
_DEEPEST = 8
_PLAIN = (type, str, bytes, bytearray, int, float, complex)


class Known:
    """What is secret in this process. It only grows: what was secret once is never shown."""

    texts: ClassVar[tuple[str, ...]] = ()
    """All forms of all texts, the longest first."""
    raw: ClassVar[Mapping[bytes, str]] = {}
    """The bytes of each text in the encodings that stores and arrays use, and whose they are."""
    pattern: ClassVar[re.Pattern[str]] = re.compile("(?!)")
    lock: ClassVar[Any] = threading.Lock()


def hide(value: Any, owner: str) -> None:
    """From now on the texts in `value` are secret; `owner` is what messages call it."""
    texts = [text for text in _texts_in(value, 0) if len(text) >= SHORTEST]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    shown = dict.fromkeys([*texts, *(line for line in lines if len(line) >= SHORTEST)])
    with Known.lock:
        Hidden.in_use = True
        forms = set(Known.texts).union(chain.from_iterable(map(_forms, shown)))
        if len(forms) > len(Known.texts):
            ordered = sorted(forms, key=len, reverse=True)
            Known.pattern = re.compile("|".join(map(re.escape, ordered)))
            Known.texts = tuple(ordered)
        encoded = {one: owner for text in texts for one in _encodings(text)}
        Known.raw = {**encoded, **Known.raw}


def redact(text: str) -> str:
    """The text with `MARK` in the place of all that is secret."""
    if any(map(text.__contains__, Known.texts)):
        return Known.pattern.sub(MARK, text)
    return text


def owner_in(data: bytes | bytearray) -> str | None:
    """Whose secret text stands in the bytes; None: no one's."""
    return next((owner for one, owner in Known.raw.items() if one in data), None)


def refuse(data: bytes | bytearray) -> None:
    """Nothing, if no secret text is in the bytes, which are about to be stored.

    Raises
    ------
    UnstorableResult
    """
    owner = owner_in(data)
    if owner is not None:
        raise UnstorableResult(f"the text of {owner} is in it, and what is secret is not stored")


def checked(blocks: Iterable[Any]) -> Iterator[Any]:
    """The same blocks, each after it is known that no secret text is in it, or begins before it.

    Raises
    ------
    UnstorableResult
    """
    overlap = max(map(len, Known.raw), default=1) - 1
    tail = b""
    for block in blocks:
        for start in range(0, len(block), _WINDOW):
            window = tail + bytes(block[start : start + _WINDOW])
            refuse(window)
            tail = window[-overlap:] if overlap else b""
        yield block


def holds_text(value: Any) -> bool:
    """Whether a secret text stands in a value: in a text, in bytes, or in what contains some.

    Some 10,000 parts are looked at.
    """
    pending, seen = [value], set[int]()
    while pending and len(seen) < _MOST_LOOKED_AT:
        one = pending.pop()
        if isinstance(one, str):
            if any(map(one.__contains__, Known.texts)):
                return True
        elif isinstance(one, bytes | bytearray):
            if owner_in(one) is not None:
                return True
        elif id(one) not in seen:
            seen.add(id(one))
            pending.extend(islice(_parts(one), _MOST_LOOKED_AT))
    return False


def _texts_in(value: Any, depth: int) -> Iterator[str]:
    """The texts in a secret value: itself, or what it is made of."""
    if isinstance(value, str):
        yield value.strip()
    elif isinstance(value, bytes | bytearray):
        yield bytes(value).decode("utf-8", "surrogateescape").strip()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
    elif depth < _DEEPEST:
        parts = dict.values(value) if isinstance(value, dict) else _parts(value)
        for part in islice(parts, _MOST_LOOKED_AT):
            yield from _texts_in(part, depth + 1)


def _parts(value: Any) -> Iterable[Any]:
    """What a container or an instance holds."""
    if isinstance(value, dict):
        return chain(dict.keys(value), dict.values(value))
    if isinstance(value, list | tuple | set | frozenset):
        return value
    if isinstance(value, _PLAIN):
        return ()
    own = getattr(value, "__dict__", None)
    return list(own.values()) if type(own) is dict else ()


def _forms(text: str) -> Iterator[str]:
    """How the text looks in what programs print."""
    data = _utf8(text)
    yield text
    yield repr(text)[1:-1]
    yield repr(data)[2:-1]
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield quote(data)
    yield quote(data, safe="")
    yield quote_plus(data)
    yield data.hex()
    yield data.hex().upper()
    yield from _in_base64(data)


def _in_base64(data: bytes) -> Iterator[str]:
    """The characters that stand for the data alone, wherever in a longer text it begins."""
    for before in range(3):
        coded = base64.b64encode(bytes(before) + data).decode()
        first, left_over = (0, 2, 3)[before], (before + len(data)) % 3
        inner = coded[first:].rstrip("=")
        inner = inner[:-1] if left_over else inner
        if len(inner) >= SHORTEST:
            yield inner
            yield inner.replace("+", "-").replace("/", "_")


def _encodings(text: str) -> Iterator[bytes]:
    yield _utf8(text)
    for encoding in ("latin-1", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        try:
            yield text.encode(encoding)
        except UnicodeEncodeError:
            continue


def _utf8(text: str) -> bytes:
    """The bytes that were given as text, or that the text is."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate of another kind
        return text.encode("utf-8", "surrogatepass")
