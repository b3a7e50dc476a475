"""Code versions are what they have been, and their portable digests under every Python."""

from __future__ import annotations

import json

import pytest

from tests.compat import codes


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, str]]:
    return codes.found()


@pytest.fixture(scope="module")
def golden() -> dict[str, dict[str, str]]:
    recorded: dict[str, dict[str, str]] = json.loads(codes.GOLDEN.read_text("utf-8"))
    return recorded


def test_portable_digests_are_those_on_record(
    found: dict[str, dict[str, str]], golden: dict[str, dict[str, str]]
) -> None:
    assert found["portable"] == golden["portable"]
    assert all(found["portable"].values())


def test_code_versions_are_those_on_record_for_this_version_of_python(
    found: dict[str, dict[str, str]], golden: dict[str, dict[str, str]]
) -> None:
    if codes.VERSION not in golden:
        pytest.skip(f"none are recorded for Python {codes.VERSION}")
    assert found[codes.VERSION] == golden[codes.VERSION]
    assert len(set(found[codes.VERSION].values())) == len(codes.programs())
