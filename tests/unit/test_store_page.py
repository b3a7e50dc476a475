"""The page on the store's format says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasklineage.storage import records

PAGE = Path(__file__).resolve().parents[2] / "docs" / "store.md"
PARTS = (
    records.Ref,
    records.Argument,
    records.Edge,
    records.Condition,
    records.Error,
    records.Attempt,
)


def row(name: str) -> list[str]:
    """The cells of the table row about a record or a part of one."""
    found = re.search(rf"^\|.*`{name}` \|.*$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert found, f"{PAGE.name} has no row about {name}"
    return [cell.strip() for cell in found[0].strip("|").split("|")]


@pytest.mark.parametrize(("kind", "record"), records.KINDS.items())
def test_a_record_stands_there_with_its_kind_and_fields(
    kind: int, record: type[records.Record]
) -> None:
    number, _, fields, _ = row(record.__name__)
    assert number == str(kind)
    assert fields.strip("`").split() == list(record._fields)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_a_record_stands_there_with_its_fields(part: type[records.Ref]) -> None:
    _, fields, _ = row(part.__name__)
    assert fields.strip("`").split() == list(part._fields)
