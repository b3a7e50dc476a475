"""The package `distributed`, for those who need it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tasklineage.errors import ConfigError


def distributed() -> Any:
    """The package; it is imported when something has to run on a cluster.

    Raises
    ------
    ConfigError
        It is not installed.
    """
    try:
        return import_module("distributed")
    except ImportError as error:
        raise ConfigError(
            f"the Dask executor needs a package that is missing ({error}): "
            'pip install "tasklineage[dask]"'
        ) from error
