"""What every test gets: a store of its own, settings as new, and the options of this suite."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tasklineage import config
from tasklineage.key.hidden import Hidden

collect_ignore = ["typing"]
pytest.register_assert_rewrite("tests.conformance")
pytest_plugins = ["pytester", "tests.servers.fixtures"]

hypothesis.settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.register_profile(
    "nightly", hypothesis.settings.get_profile("ci"), max_examples=5_000
)
hypothesis.settings.load_profile("ci")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--nightly", action="store_true", help="run the tests marked nightly too")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--nightly"):
        hypothesis.settings.load_profile("nightly")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    nightly = pytest.mark.skip(reason="takes minutes: run with --nightly")
    gpu = pytest.mark.skip(reason="no accelerator here: nvidia-smi is not on PATH")
    for item in items:
        if item.get_closest_marker("nightly") and not config.getoption("--nightly"):
            item.add_marker(nightly)
        if item.get_closest_marker("gpu") and shutil.which("nvidia-smi") is None:
            item.add_marker(gpu)


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The path of this test's default store: `TASKLINEAGE_STORE`; settings are restored after."""
    for name in [name for name in os.environ if name.startswith("TASKLINEAGE_")]:
        monkeypatch.delenv(name)
    store = tmp_path / "default-store"
    monkeypatch.setenv("TASKLINEAGE_STORE", str(store))
    monkeypatch.setenv("TASKLINEAGE_STATE", str(tmp_path / "default-state"))
    before = config.settings()
    monkeypatch.setattr(Hidden, "in_use", False)
    yield store
    config.change(**before._asdict())


@pytest.fixture
def store_path(isolated: Path) -> Path:
    """Where calls of this test are stored unless it says otherwise."""
    return isolated
