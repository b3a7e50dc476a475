"""Every kind of store keeps the same promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.stores import Place, StoreTests
from tests.servers.fixtures import Bucket

pytestmark = pytest.mark.slow


class TestLocal(StoreTests):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return Place(str(tmp_path / "store"), {}, {})


class TestS3(StoreTests):
    """A real server and an imitation."""

    @pytest.fixture
    def place(self, bucket: Bucket) -> Place:
        return Place(f"{bucket.url}/store", bucket.options, bucket.environ)
