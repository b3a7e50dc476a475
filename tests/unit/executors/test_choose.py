"""From names to executors."""

from __future__ import annotations

import pytest

from tasklineage import config
from tasklineage.errors import ConfigError
from tasklineage.executors.choose import executor_from
from tasklineage.executors.inline import Inline
from tasklineage.executors.threads import Threads, default_slots


def test_names_give_executors() -> None:
    assert isinstance(executor_from("inline"), Inline)
    assert executor_from("threads").slots == default_slots()
    assert executor_from("threads:3").slots == 3


def test_one_name_is_one_executor() -> None:
    assert executor_from("threads:3") is executor_from("threads:3")
    assert executor_from("threads:3") is not executor_from("threads:4")


def test_an_executor_is_what_it_is() -> None:
    pool = Threads(1)
    assert executor_from(pool) is pool


def test_none_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert executor_from() is executor_from("threads")
    monkeypatch.setenv("TASKLINEAGE_EXECUTOR", "threads:2")
    assert executor_from(None).slots == 2
    config.change(executor="inline")
    assert executor_from(None).name == "inline"


def test_addresses_give_dask_clusters_and_nothing_is_connected() -> None:
    assert repr(executor_from("dask://host:8786")) == "Dask('tcp://host:8786')"
    assert repr(executor_from("tls://host:1")) == "Dask('tls://host:1')"
    assert repr(executor_from("dask:3")) == "Dask(n_workers=3)"
    assert executor_from("dask") is executor_from("dask")


@pytest.mark.parametrize(
    "spec",
    [
        "dask:0",
        "ftp://host",
        "",
        "thread",
        "threads:0",
        "threads:-1",
        "threads:x",
        "inline:2",
        "Threads",
    ],
)
def test_what_is_unknown_is_a_config_error(spec: str) -> None:
    with pytest.raises(ConfigError):
        executor_from(spec)


def test_something_else_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="neither"):
        executor_from(3)  # type: ignore[arg-type]
