"""Names of refs, and the keys they have in a store.

A name is parts divided by `/`, as `model/prod`. Two names never share a key, also where a file
system takes `A` for `a` or has two ways to write `é`: in keys stand small letters, digits and
`. _ -`, everything else as its UTF-8 bytes, `%41` each. A part of digits alone begins with such a
byte, so that it is never taken for the number of a version: `model` and `model/1` are two refs.
"""

from __future__ import annotations

import re
import unicodedata

from tasklineage.errors import ConfigError

FOLDER = "refs"
LONGEST, LONGEST_PART = 800, 240
"""Bytes of a key without its number, and of one part of it: what S3 and file systems can take."""

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789._-")
_ID = re.compile(r"(?i)[0-9a-f]{32}|xxh3:.*")
_NUMBERED = re.compile(r"(.+)@([0-9]{1,18})")
_ESCAPE = re.compile(r"%([0-9a-f]{2})")
_DIGITS = re.compile(r"[0-9]{8}|[1-9][0-9]{8,17}")


def checked(name: object) -> str:
    """The name as it is kept: in Unicode's composed form (NFC).

    Raises
    ------
    ConfigError
        It cannot be the name of a ref; the message says why.
    """
    if not isinstance(name, str):
        raise ConfigError(f"the name of a ref is a text such as 'model/prod', not {name!r}")
    found = unicodedata.normalize("NFC", name)
    problem = _problem(found)
    if problem:
        shown = name if len(name) <= 80 else f"{name[:79]}…"
        raise ConfigError(f"a ref cannot have the name {shown!r}: {problem}")
    return found


def is_name(text: str) -> bool:
    """Whether a ref can have that name."""
    return not _problem(unicodedata.normalize("NFC", text))


def numbered(text: str) -> tuple[str, int | None]:
    """Name and number of a version written `model/prod@3`; the number is None without one."""
    match = _NUMBERED.fullmatch(text)
    return (text, None) if match is None else (match[1], int(match[2]))


def folder_key(name: str) -> str:
    """The folder in which the versions of a ref are."""
    return f"{FOLDER}/{_encoded(name)}"


def version_key(name: str, number: int) -> str:
    """The key of one version of a ref."""
    return f"{folder_key(name)}/{number:08}"


def number_of(digits: str) -> int | None:
    """The number of a version that is called so in the folder of its ref; None if none is."""
    return int(digits) if _DIGITS.fullmatch(digits) else None


def version_at(key: str) -> tuple[str, int] | None:
    """Name and number of the version that has this key; None if it is not that of any."""
    folder, _, digits = key.rpartition("/")
    top, _, encoded = folder.partition("/")
    number = number_of(digits)
    if top != FOLDER or number is None:
        return None
    try:
        name = _decoded(encoded)
    except UnicodeError:
        return None
    return (name, number) if is_name(name) and folder_key(name) == folder else None


def _problem(name: str) -> str:
    """Why a ref cannot be named so; empty if it can."""
    parts = name.split("/")
    if not name:
        return "it is empty"
    if not all(parts):
        return "it has an empty part; single slashes divide the parts, as in 'model/prod'"
    if any(part in (".", "..") for part in parts):
        return "'.' and '..' are no parts of names"
    if any(part != part.strip() for part in parts):
        return "a part of it begins or ends with a space"
    if not name.isprintable():
        return "it has a character that cannot be seen, or is none"
    if name.startswith("-"):
        return "it begins with '-', as options of commands do"
    if _ID.fullmatch(name):
        return "it would hide the run, call or artifact that has this id"
    if _NUMBERED.fullmatch(name):
        return "'@' and a number at its end mean an earlier version of a ref"
    return _length_problem(_encoded(name))


def _length_problem(key: str) -> str:
    longest = max(map(len, key.split("/")))
    if longest > LONGEST_PART:
        return f"a part of it takes {longest} bytes, and {LONGEST_PART} is the most"
    if len(key) > LONGEST:
        return f"it takes {len(key)} bytes, and {LONGEST} is the most"
    return ""


def _encoded(name: str) -> str:
    return "/".join(map(_encoded_part, name.split("/")))


def _encoded_part(part: str) -> str:
    first = part.startswith(".") or (part.isascii() and part.isdecimal())
    encoded = part.encode("utf-8")
    return "".join(
        chr(byte) if byte in _PLAIN and not (first and index == 0) else f"%{byte:02x}"
        for index, byte in enumerate(encoded)
    )


def _decoded(key: str) -> str:
    """The name that has this key, if any has."""
    raw = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), key)
    return raw.encode("latin-1").decode("utf-8")
