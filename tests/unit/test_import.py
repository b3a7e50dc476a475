"""What `import tasklineage` does to a process: next to nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from typing import Any

import pytest

import tasklineage as tl

SLOW = (
    "ast", "asyncio", "cloudpickle", "concurrent.futures", "dask", "dataclasses", "distributed",
    "fsspec", "inspect", "logging", "mmap", "multiprocessing", "numbers", "numpy", "pandas",
    "pebble", "pickle", "pydantic", "rich", "socket", "sqlite3", "subprocess", "tokenize", "typer",
    "urllib.request",
)  # fmt: skip
OF_PARALLEL_WORK = (
    "tasklineage.core.combinators", "tasklineage.core.future", "tasklineage.core.policy",
    "tasklineage.core.pumps", "tasklineage.executors",
)  # fmt: skip

PROBE = """
import json, sys, threading
events = []
def note(name, arguments):
    if name.startswith(("socket.", "subprocess.", "os.fork", "os.exec", "os.posix", "os.system")):
        events.append(name)
    if name == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        events.append(f"open {arguments[0]} {arguments[1]}")
before = set(sys.modules)
sys.addaudithook(note)
import tasklineage
bare = set(sys.modules) - before
from tasklineage import task, run, configure
print(json.dumps({
    "bare": sorted(bare),
    "modules": sorted(set(sys.modules) - before),
    "events": events,
    "threads": threading.active_count(),
}))
"""


@cache
def fresh_import() -> dict[str, Any]:
    """What a new process sees when it imports the package, and what every program needs of it."""
    command = [sys.executable, "-B", "-c", PROBE]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


@pytest.mark.parametrize("module", SLOW + OF_PARALLEL_WORK)
def test_import_does_not_load(module: str) -> None:
    loaded = [
        name
        for name in fresh_import()["modules"]
        if name == module or name.startswith(f"{module}.")
    ]
    assert not loaded


def test_the_package_loads_nothing_of_itself_before_a_name_is_asked_for() -> None:
    ours = [name for name in fresh_import()["bare"] if name.startswith("tasklineage.")]
    assert ours == []


def test_import_opens_no_socket_starts_no_process_and_writes_no_file() -> None:
    assert fresh_import()["events"] == []


def test_import_starts_no_thread() -> None:
    assert fresh_import()["threads"] == 1


def test_every_public_name_is_there() -> None:
    assert [name for name in tl.__all__ if not hasattr(tl, name)] == []


def test_public_names_are_sorted_and_named_once() -> None:
    assert len(set(tl.__all__)) == len(tl.__all__)


def test_private_names_are_not_public() -> None:
    assert [name for name in tl.__all__ if name.startswith("_") and name != "__version__"] == []
