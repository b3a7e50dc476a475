from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tasklineage.query.render import (
    duration_text,
    html_pairs,
    html_table,
    one_line,
    size_text,
    time_text,
)

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.000026, "0.026 ms"),
        (0.0123, "12.3 ms"),
        (0.5, "500 ms"),
        (3.21, "3.2 s"),
        (245, "4 min 05 s"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations_have_a_fitting_unit(seconds: float, text: str) -> None:
    assert duration_text(AT, AT + timedelta(seconds=seconds)) == text


def test_a_duration_without_end_lasts_until_now() -> None:
    assert duration_text(datetime.now(UTC) - timedelta(hours=3), None) == "3 h 00 min"
    assert duration_text(None, None) == ""


def test_an_end_before_the_beginning_is_no_negative_duration() -> None:
    assert duration_text(AT, AT - timedelta(seconds=1)) == "0 ms"


def test_times_are_local() -> None:
    assert time_text(AT) == f"{AT.astimezone():%Y-%m-%d %H:%M:%S}"
    assert time_text(None) == ""


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1234, "1.23 kB"), (999_999, "1 MB"), (5 * 10**9, "5 GB")],
)
def test_sizes_have_a_fitting_unit(nbytes: int, text: str) -> None:
    assert size_text(nbytes) == text


def test_a_text_is_brought_on_one_line_and_cut() -> None:
    assert one_line("a\n  b\tc") == "a b c"
    assert one_line("x" * 100, 10) == "x" * 9 + "…"
    assert one_line("x\n" * 10_000, 10) == "x x x x x…"


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert one_line("\x1b[31mred\x9b") == "\\x1b[31mred\\x9b"


def test_html_is_escaped() -> None:
    hostile = '<script>"&'
    for page in (html_pairs(hostile, {hostile: hostile}), html_table([{hostile: hostile}])):
        assert "<script>" not in page
        assert "&lt;script&gt;" in page


def test_an_empty_table_says_so() -> None:
    assert "nothing found" in html_table([])
