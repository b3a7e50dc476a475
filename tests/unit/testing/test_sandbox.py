"""A store for one test, and a process that is afterwards as it was before."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import tasklineage as tl
from tasklineage import config, task
from tasklineage.testing import temporary_store


@task
def double(x: int) -> int:
    return 2 * x


def test_calls_of_the_block_are_in_its_store_and_nowhere_else(store_path: Path) -> None:
    double(1)
    with temporary_store() as store:
        double(1)
        double(2)
        assert len(tl.calls(double)) == 2
        assert len(tl.calls(store=store, status="hit")) == 0
        path = store.path
    assert not path.exists()
    assert len(tl.calls(double)) == 1
    assert tl.open_store(None).path == store_path.resolve()


def test_the_run_of_the_block_ends_with_it_and_the_one_before_goes_on(tmp_path: Path) -> None:
    double(1)
    outer = tl.current_run()
    with temporary_store(tmp_path / "store") as store:
        assert tl.current_run() is None
        double(1)
        inner = tl.current_run()
        assert inner is not None
        assert inner != outer
        assert inner.status == "running"
    double(2)
    assert tl.current_run() == outer
    assert tl.get(inner.id, store=tmp_path / "store").status == "done"
    assert store.path.exists()


def test_an_open_run_is_put_aside() -> None:
    with tl.run("outer") as outer:
        double(1)
        with temporary_store() as store:
            double(1)
            assert [call.run.name for call in tl.calls(double, store=store)] != ["outer"]
        double(2)
    assert len(outer.calls) == 2


def test_settings_and_variables_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKLINEAGE_DISABLE", "1")
    before, store = config.settings(), os.environ["TASKLINEAGE_STORE"]
    with temporary_store():
        tl.configure(executor="inline", strict=True, namespace="n", verify=0.5)
        tl.namespace("elsewhere")
        assert not config.is_disabled()
        double(3)
        assert len(tl.calls(namespace="n")) == 1
    assert config.settings() == before
    assert os.environ["TASKLINEAGE_STORE"] == store
    assert config.is_disabled()
    monkeypatch.delenv("TASKLINEAGE_DISABLE")
    double(4)
    assert len(tl.calls(double)) == 1


def test_they_come_back_also_after_a_failure() -> None:
    before = config.settings()
    with pytest.raises(ValueError), temporary_store():
        raise ValueError
    assert config.settings() == before


def test_threads_and_programs_use_it() -> None:
    with temporary_store() as store:
        thread = threading.Thread(target=double, args=(1,))
        thread.start()
        thread.join()
        program = "import tasklineage as tl\nf = tl.task(lambda x: x)\nf(1)"
        subprocess.run([sys.executable, "-c", program], check=True)
        assert len(tl.runs(store=store)) == 2


def test_one_inside_another(tmp_path: Path) -> None:
    with temporary_store(tmp_path / "a"):
        double(1)
        with temporary_store(tmp_path / "b"):
            assert not double.cached(1)
        assert double.cached(1)
