"""How ids, digests and moments are written, and read back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tasklineage.errors import ConfigError, NotFound

DIGEST_TAG = "xxh3:"
_HEX = frozenset("0123456789abcdef")
_FULL = 32
_SHORT = 12
"""Characters of an id that tell its millisecond."""


def digest_text(digest: bytes) -> str:
    """The digest as users see it: `xxh3:` and 32 hexadecimal digits."""
    return f"{DIGEST_TAG}{digest.hex()}"


def as_prefix(text: object) -> str:
    """The hexadecimal digits of an id, a digest or the beginning of one, without its tag.

    Raises
    ------
    NotFound
        It cannot be the beginning of an id.
    ConfigError
        It is no text.
    """
    if not isinstance(text, str):
        raise ConfigError(f"an id is a text, not {text!r}")
    digits = text.strip().lower().removeprefix(DIGEST_TAG)
    if not digits or len(digits) > _FULL or not _HEX.issuperset(digits):
        raise NotFound(
            f"{text!r} is neither a ref nor an id: ids are up to {_FULL} hexadecimal digits, "
            f"digests {DIGEST_TAG}…"
        )
    return digits


def is_full(prefix: str) -> bool:
    """Whether these digits are a whole id."""
    return len(prefix) == _FULL


def shortened(ids: list[str]) -> list[str]:
    """Each id cut to its first 12 digits where those tell it from the others, else in full.

    The first 12 digits are the millisecond in which the id was made; calls of one process that
    were made in the same millisecond differ at the end.
    """
    heads: dict[str, set[str]] = {}
    for text in ids:
        heads.setdefault(text[:_SHORT], set()).add(text)
    return [text[:_SHORT] if len(heads[text[:_SHORT]]) == 1 else text for text in ids]


def moment(seconds: float) -> datetime:
    """An aware UTC datetime of seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC)


def seconds_since_epoch(since: datetime | timedelta | float | str) -> float:
    """When `since` was: a datetime (a naive one is local time), a text in ISO 8601, an age, or
    seconds since the epoch.

    Raises
    ------
    ConfigError
        The text is not a moment.
    """
    if isinstance(since, timedelta):
        return (datetime.now(UTC) - since).timestamp()
    if isinstance(since, datetime):
        return since.timestamp()
    if isinstance(since, str):
        try:
            return datetime.fromisoformat(since).timestamp()
        except ValueError as error:
            raise ConfigError(f"since={since!r} is not a date or time in ISO 8601") from error
    return float(since)
