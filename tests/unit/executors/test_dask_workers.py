"""Processes that are workers of a Dask cluster: what they are asked to be."""

from __future__ import annotations

from typing import Any

import pytest

from tasklineage.executors.dask_workers import is_told_to_log

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
