"""What many of these tests use: a store in a folder of its own, and the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasklineage.storage.opening import open_store
from tasklineage.storage.store import Store
from tests.integration.shell import Shell


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A new store; the working folder is outside of any working tree, whose state would count."""
    monkeypatch.chdir(tmp_path)
    return open_store(tmp_path / "store")


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    """The command line on the default store."""
    return Shell(capsys)


@pytest.fixture
def command(store: Store, capsys: pytest.CaptureFixture[str]) -> Shell:
    """The command line on `store`."""
    return Shell(capsys, "--store", str(store.path))
