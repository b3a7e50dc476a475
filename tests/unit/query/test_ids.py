from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tasklineage.errors import ConfigError, NotFound
from tasklineage.query.ids import (
    as_prefix,
    digest_text,
    is_full,
    moment,
    seconds_since_epoch,
    shortened,
)


def test_a_digest_names_its_algorithm() -> None:
    assert digest_text(bytes(16)) == "xxh3:" + "0" * 32


@pytest.mark.parametrize("text", ["0AB1", " 0ab1 ", "xxh3:0ab1", "0ab1"])
def test_a_prefix_is_read_with_or_without_its_tag(text: str) -> None:
    assert as_prefix(text) == "0ab1"


@pytest.mark.parametrize("text", ["", "xxh3:", "model/prod", "0" * 33, "xyz"])
def test_what_cannot_begin_an_id_is_not_found(text: str) -> None:
    with pytest.raises(NotFound, match="nor an id"):
        as_prefix(text)


def test_32_digits_are_a_whole_id() -> None:
    assert is_full("0" * 32)
    assert not is_full("0" * 31)


def test_ids_of_one_millisecond_are_not_shortened() -> None:
    a, b, c = "0" * 31 + "1", "0" * 31 + "2", "1" * 32
    assert shortened([a, b, c]) == [a, b, "1" * 12]
    assert shortened([a, a]) == ["0" * 12, "0" * 12]
    assert shortened([]) == []


def test_moments_are_aware_and_in_utc() -> None:
    assert moment(0.5) == datetime(1970, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)


def test_since_is_a_moment_an_age_or_a_text() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    assert seconds_since_epoch(at) == at.timestamp()
    assert seconds_since_epoch("2026-01-02T00:00:00+00:00") == at.timestamp()
    assert seconds_since_epoch(12) == 12.0
    age = datetime.now(UTC).timestamp() - seconds_since_epoch(timedelta(hours=1))
    assert 3599 < age < 3601
    with pytest.raises(ConfigError, match="ISO 8601"):
        seconds_since_epoch("yesterday")
