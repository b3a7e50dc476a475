"""Processes that are workers of a Dask cluster: what they are asked to be."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from tasklineage.errors import ConfigError
from tasklineage.executors.dask_workers import is_told_to_log, plans, serve

dask = pytest.importorskip("dask")


@pytest.mark.parametrize(
    ("settings", "is_told"),
    [
        ({}, False),
        ({"logging": {"distributed": "info"}}, True),
        ({"distributed.logging": {"version": 1}}, True),
        ({"logging-file-config": "logging.ini"}, True),
    ],
)
def test_dask_logs_as_its_configuration_says(settings: dict[str, Any], is_told: bool) -> None:
    with dask.config.set(settings):
        assert is_told_to_log() == is_told


def test_where_dask_is_missing_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"pip install .tasklineage\[dask\]"):
        asyncio.run(serve("tcp://127.0.0.1:1", plans(1, ())))
