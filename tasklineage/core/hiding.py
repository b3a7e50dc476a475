"""Calls in which something is secret: their keys, and what is recorded of their arguments.

A Secret is recorded by its name. An argument with the text of one in it, passed as a plain value,
is not recorded at all: neither its value nor its digest, which would tell whoever guesses it. Such
an argument counts, so its call has a key that is made under the key of the store.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, ClassVar

from tasklineage.key.redaction import Known, holds_text
from tasklineage.key.secrets import Secret, marking
from tasklineage.storage.hiding import covered
from tasklineage.storage.records import Argument, Ref

if TYPE_CHECKING:
    from tasklineage.core.call import Call
    from tasklineage.storage.store import Store

_MOST_REMEMBERED = 100_000
LONGEST_FILE = 1 << 20
"""Bytes of a file in which a secret is looked for: those that hold one are short."""


class _Seen:
    """What was looked at, by its digest: a map gives the same large argument to all its calls."""

    answers: ClassVar[dict[bytes, bool]] = {}
    known: ClassVar[int] = 0
    """How many texts were secret then."""


def key_of(this: Call, key: bytes) -> bytes:
    """The key of a call: another one, that nobody can guess, if a secret is in a plain argument."""
    if any(map(_holds_text, this.bound, _digests(this))):
        return blake2b(key, digest_size=16, key=this.run.store.secret_key).digest()
    return key


def arguments(this: Call, given: Callable[[Call], tuple[Argument, ...]]) -> tuple[Argument, ...]:
    """The arguments as they are recorded, without what is secret."""
    with marking():
        found = given(this)
    return tuple(
        _named(this, argument, value) if isinstance(value, Secret)
        else covered(argument) if _holds_text(value, digest)
        else argument
        for argument, value, digest in zip(found, this.bound, _digests(this), strict=True)
    )  # fmt: skip


def described(store: Store, value: Any, digest: bytes, name: str) -> Ref:
    """A parameter of a run as it is recorded."""
    with marking():
        return store.describe(_own(value, name), digest, keep=True)


def holds_secret(path: str) -> bool:
    """Whether a secret stands in a file: then the file counts as little as the secret does."""
    try:
        if os.path.getsize(path) > LONGEST_FILE:
            return False
        with open(path, "rb") as file:
            return holds_text(file.read())
    except OSError:
        return False


def _digests(this: Call) -> Sequence[bytes]:
    """The digest of each argument as a whole; nothing where it is another's."""
    return this.digests if this.plan.is_plain else [b""] * len(this.bound)


def _holds_text(value: Any, digest: bytes) -> bool:
    if not digest or isinstance(value, str | bytes | int | float):
        return holds_text(value)
    if len(Known.texts) != _Seen.known or len(_Seen.answers) >= _MOST_REMEMBERED:
        _Seen.answers, _Seen.known = {}, len(Known.texts)
    answers = _Seen.answers
    found = answers.get(digest)
    if found is None:
        found = answers[digest] = holds_text(value)
    return found


def _named(this: Call, argument: Argument, value: Secret[Any]) -> Argument:
    """An argument that is a Secret, under the name of its parameter if it has none."""
    with marking():
        ref = this.run.store.describe(value.named(argument.name), argument.ref[0])
    return argument._replace(ref=ref, outline=None)


def _own(value: Any, name: str) -> Any:
    return value.named(name) if isinstance(value, Secret) else value
