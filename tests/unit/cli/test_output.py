from __future__ import annotations

import json
from typing import Any

import pytest

from tasklineage.cli.output import is_json_like, print_json, print_pairs, print_table


def test_json_carries_its_version_first(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(runs=[{"name": "é"}])
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"version": 1, "runs": [{"name": "é"}]}
    assert printed.startswith('{\n  "version": 1')
    assert "é" in printed


def test_a_table_is_aligned_and_never_cut_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"id": "a" * 32, "name": "x" * 70},
        {"id": "b" * 32, "name": "with\nnewline"},
    ]
    print_table(rows, "id")
    assert capsys.readouterr().out.splitlines() == [
        "id            name",
        f"{'a' * 12}  {'x' * 70}",
        f"{'b' * 12}  with newline",
    ]


def test_an_empty_table_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([], "id")
    print_pairs([])
    assert capsys.readouterr().out == ""


def test_pairs_without_a_value_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    print_pairs([("a", "1"), ("long", "2"), ("empty", "")])
    assert capsys.readouterr().out == "a     1\nlong  2\n"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, True),
        ([1, "a", {"b": (1.5, True)}], True),
        ({1: 2}, False),
        ({"a": {1}}, False),
        (b"", False),
        ([object()], False),
    ],
)
def test_what_json_can_say(value: Any, expected: bool) -> None:
    assert is_json_like(value) is expected
