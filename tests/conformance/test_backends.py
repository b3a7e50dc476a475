"""Every backend passes the same tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tasklineage.storage.backend import open_backend
from tests.conformance.backends import BackendTests
from tests.servers.fixtures import Bucket


class TestFolder(BackendTests):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        (tmp_path / "store").mkdir(mode=0o700)
        return str(tmp_path / "store")


class TestFileUrl(BackendTests):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        (tmp_path / "store").mkdir(mode=0o700)
        return f"file://{tmp_path}/store"


class TestMemory(BackendTests):
    @pytest.fixture
    def url(self) -> str:
        return f"memory://{uuid4().hex}/store"

    def test_a_forked_child_uses_it(self) -> None:
        """It has a memory of its own."""


class TestS3(BackendTests):
    """A real server and an imitation."""

    @pytest.fixture
    def url(self, bucket: Bucket) -> str:
        return f"{bucket.url}/some/prefix"

    @pytest.fixture
    def options(self, bucket: Bucket) -> Mapping[str, Any]:
        return bucket.options


def test_a_whole_bucket_is_a_place_as_well(bucket: Bucket) -> None:
    backend = open_backend(bucket.url, bucket.options)
    assert backend.names() == []
    backend.write_many({"a/b": b"1", "c": b"2"})
    assert [entry.key for entry in backend.list()] == ["a/b", "c"]
    assert backend.names() == ["a", "c"]
    assert backend.create("d", b"3")
    backend.delete(["a/b", "c", "d"])
    assert backend.list() == []
