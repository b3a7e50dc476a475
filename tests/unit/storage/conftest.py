"""Fixtures for remote stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.storage.machines import Bucket, Machines, new_bucket


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return new_bucket(tmp_path / "bucket")


@pytest.fixture
def machine(bucket: Bucket, tmp_path: Path) -> Iterator[Machines]:
    found = Machines(bucket, tmp_path)
    yield found
    found.close()
