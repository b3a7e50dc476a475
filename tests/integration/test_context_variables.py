"""Context variables that code reads, where its calls run in other processes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.executors.processes import Processes

LEVEL = ContextVar("level", default=1)
UNSET: ContextVar[Any] = ContextVar("unset")


@pytest.fixture(scope="module")
def pool() -> Iterator[Processes]:
    with Processes(1) as pool:
        yield pool


@task
def child(x: int) -> int:
    return x + LEVEL.get()


@task
def leveled(x: int) -> tuple[int, int, Any]:
    return LEVEL.get(), child(x), UNSET.get("nothing")


def test_a_worker_reads_what_the_caller_has_set(pool: Processes) -> None:
    with tl.run("levels", executor=pool) as run:
        assert list(tl.map(leveled, range(2))) == [(1, 1, "nothing"), (1, 2, "nothing")]
        tokens = LEVEL.set(7), UNSET.set({"a": [1]})
        try:
            assert list(tl.map(leveled, range(2))) == [(7, 7, {"a": [1]}), (7, 8, {"a": [1]})]
            assert leveled.submit(5).result() == (7, 12, {"a": [1]})
        finally:
            LEVEL.reset(tokens[0])
            UNSET.reset(tokens[1])
        assert leveled.submit(0).result() == (1, 1, "nothing")  # a hit of the first
    assert run.failed == 0
    with tl.run("again"), tl.run("inline", executor="inline") as again:
        assert list(tl.map(leveled, range(2))) == [(1, 1, "nothing"), (1, 2, "nothing")]
    assert again.executed == 0


def test_what_cannot_travel_is_named(pool: Processes) -> None:
    token = UNSET.set(threading.Lock())
    try:
        with tl.run("locked", executor=pool), pytest.raises(tl.ConfigError, match="unset"):
            leveled.submit(99).result()
    finally:
        UNSET.reset(token)


def test_variables_of_a_script_are_the_same_for_all_its_tasks(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        dedent("""
        from contextvars import ContextVar
        import tasklineage as tl

        DEPTH = ContextVar("depth", default=0)

        @tl.task
        def below(x):
            return DEPTH.get()

        def deeper(x):
            DEPTH.set(DEPTH.get() + 1)
            return DEPTH.get()

        @tl.task
        def above(x):
            return below(x), deeper(x)

        if __name__ == "__main__":
            DEPTH.set(3)
            with tl.run(executor="processes:1"):
                print(list(tl.map(above, range(50))))
        """)
    )
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[(3, 4)" + ", (3, 4)" * 49 + "]"
