"""Refs on every backend that can keep them."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from tasklineage.storage.backend import Folder, open_backend
from tasklineage.storage.patience import Patient
from tests.conformance.refs import Open, RefsTests
from tests.servers.fixtures import Bucket


class TestFolder(RefsTests):
    @pytest.fixture
    def open(self, tmp_path: Path) -> Open:
        return lambda: Folder(tmp_path)


class TestMemory(RefsTests):
    @pytest.fixture
    def open(self) -> Open:
        url = f"memory://{uuid4().hex}/store"
        return lambda: open_backend(url)


@pytest.mark.slow
class TestS3(RefsTests):
    """A real server and an imitation."""

    rounds = 1

    @pytest.fixture
    def open(self, bucket: Bucket) -> Open:
        return lambda: Patient(open_backend(f"{bucket.url}/some/prefix", bucket.options))
