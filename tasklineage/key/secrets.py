"""Values that tasks use and that nothing records: passwords, tokens, keys.

>>> password = Secret("correct horse", "database")
>>> password, password.value
(Secret(database), 'correct horse')
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any, ClassVar, Final, Generic, NoReturn, TypeVar

from tasklineage.errors import MissingObject, UnstorableResult
from tasklineage.key.digest_forms import Code, Parts, Undigestible, add_form
from tasklineage.key.hidden import Hidden
from tasklineage.key.redaction import hide

T = TypeVar("T")
_TAG = "tasklineage.Secret"
_ABSENT: Final = object()


class _Here(threading.local):
    """What this thread is doing with Secrets."""

    marks: bool = False
    """Whether those that are encoded leave a mark; else that is refused."""


class _State:
    here: ClassVar[_Here] = _Here()


class Secret(Generic[T]):
    """A value that is recorded as `Secret(name)` and never as what it is. Immutable.

    A task is given the Secret and uses its `value`. What is printed, logged or raised has `***` in
    the place of its text. A result that holds it, or its text, is not stored: the call is an error
    unless its task is `@task(memo=False)`.

    Parameters
    ----------
    value
        Of one of fewer than six characters the text cannot be told from other text: only the
        Secret itself is hidden then.
    name
        What records call it; by default the name of the parameter that it is passed for.
    counts
        Whether it is part of the key. Then another value is another call; what is recorded is a
        digest under a key that never leaves the store. By default a new password changes nothing.
    """

    __slots__ = ("__weakref__", "_counts", "_name", "_value")
    __module__ = "tasklineage"
    _value: T
    _name: str
    _counts: bool

    def __init__(self, value: T | Secret[T], name: str = "", *, counts: bool = False) -> None:
        if isinstance(value, Secret):
            name, counts, value = name or value._name, counts or value._counts, value._value
        _fill(self, value, name, counts)
        if value is not _ABSENT:
            hide(value, repr(self) if name else "a Secret")

    @property
    def value(self) -> T:
        """What is secret.

        Raises
        ------
        MissingObject
            It comes out of a store, where it never was.
        """
        if self._value is _ABSENT:
            raise MissingObject(f"the value of {self!r} is not stored: pass the Secret again")
        return self._value

    @property
    def name(self) -> str:
        """What records call it; empty if that is the name of its parameter."""
        return self._name

    @property
    def counts(self) -> bool:
        """Whether it is part of the key."""
        return self._counts

    @property
    def is_known(self) -> bool:
        """Whether it has its value; one that comes out of a store has not."""
        return self._value is not _ABSENT

    def named(self, name: str) -> Secret[T]:
        """The same under that name, if it has none."""
        made: Secret[T] = object.__new__(Secret)
        _fill(made, self._value, self._name or name, self._counts)
        return made

    def __repr__(self) -> str:
        return f"Secret({self._name})"

    def __eq__(self, other: object) -> bool:
        """Whether both have the same value."""
        if not isinstance(other, Secret):
            return NotImplemented
        one: Any = self._value
        two: Any = other._value
        if isinstance(one, bytes) and isinstance(two, bytes):
            return hmac.compare_digest(one, two)
        return type(one) is type(two) and bool(one == two)

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Secret cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Secret cannot be changed")

    def __copy__(self) -> Secret[T]:
        return self

    def __deepcopy__(self, memo: Any) -> Secret[T]:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process, value and all. Stores have a way of their own: `reduced`."""
        if self._value is _ABSENT:
            return marker, (self._name, self._counts)
        return _rebuilt, (self._value, self._name, self._counts)


@contextmanager
def marking() -> Generator[None]:
    """A block in which a Secret that is encoded leaves its name: in arguments, not in results."""
    before, _State.here.marks = _State.here.marks, True
    try:
        yield
    finally:
        _State.here.marks = before


def marker(name: str, counts: bool) -> Secret[Any]:
    """What a Secret is when it comes out of a store."""
    made: Secret[Any] = object.__new__(Secret)
    _fill(made, _ABSENT, name, counts)
    return made


def check_marking(value: Secret[Any]) -> None:
    """Nothing, if a Secret may leave its name where it is encoded now.

    Raises
    ------
    UnstorableResult
    """
    if not _State.here.marks:
        raise UnstorableResult(f"{value!r} is in it, and what is secret is not stored")


def reduced(value: Secret[Any]) -> tuple[Any, ...]:
    """What a pickle in a store says of a Secret: its name."""
    check_marking(value)
    return marker, (value.name, value.counts)


def keyed(content: bytes) -> bytes:
    """A digest of 16 bytes that says nothing to whoever lacks the key of the store."""
    key: bytes = Hidden.key()
    return blake2b(content, digest_size=16, key=key).digest()


def _form(value: Secret[Any], _: Code) -> Parts:
    if not value.counts:
        return (_TAG,)
    if not value.is_known:
        raise Undigestible(f"the value of {value!r} is not stored")
    from tasklineage.key.digest import digest  # which imports all forms

    return _TAG, keyed(digest(value.value))


def _rebuilt(value: T, name: str, counts: bool) -> Secret[T]:
    return Secret(value, name, counts=counts)


def _fill(made: Secret[Any], value: Any, name: str, counts: bool) -> None:
    object.__setattr__(made, "_value", value)
    object.__setattr__(made, "_name", name)
    object.__setattr__(made, "_counts", counts)


add_form(Secret, _form, family=True)
