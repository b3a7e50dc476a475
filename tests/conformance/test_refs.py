"""Refs on every backend that can keep them."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from tasklineage.storage.backend import Folder, open_backend
from tests.conformance.refs import Open, RefsTests


class TestFolder(RefsTests):
    @pytest.fixture
    def open(self, tmp_path: Path) -> Open:
        return lambda: Folder(tmp_path)


class TestMemory(RefsTests):
    @pytest.fixture
    def open(self) -> Open:
        url = f"memory://{uuid4().hex}/store"
        return lambda: open_backend(url)
