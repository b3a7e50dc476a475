"""One program on every executor: equal digests, records and lineage, also after a kill.

`EXECUTORS` is the list: another one is one more word.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

import tasklineage as tl
from tests.integration.orphans import is_alive, workers_of

EXECUTORS = ["inline", "threads:3", "processes:2", "dask:2"]
ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ["branches", "collatz", "counter", "marathon", "movies", "planets"]
PATIENCE = 120.0

NESTED = """
    import logging, os, sys, time
    import numpy as np
    import tasklineage as tl
    from tasklineage import task

    logging.basicConfig(level=logging.INFO, format="%(levelname)s of %(name)s: %(message)s")

    @task
    def noise(seed: int) -> np.ndarray:
        return np.random.default_rng(seed).normal(size=5000)

    @task
    def leaf(place: int, values: np.ndarray, middle: int) -> float:
        time.sleep(float(os.environ.get("PAUSE", "0")))
        print("leaf", middle, place)
        logging.getLogger("leaves").info("at %d", place)
        return float(values[place] * place + middle)

    @task
    def total(inputs: tl.Inputs) -> float:
        return sum(inputs)

    @task
    def middle(number: int, outer: int, values: np.ndarray) -> dict:
        leaves = tl.map(leaf, range(6), values=values, middle=10 * outer + number)
        return {"values": values + number + 1, "sum": tl.join(total, leaves)}

    @task
    def outer(number: int) -> float:
        first, second = tl.map(middle, range(2), outer=number, values=noise.submit(number))
        difference = leaf.submit(7, second["values"], -number)
        return tl.join(total, {"one": first["sum"], "two": second["sum"], "three": difference})

    @task(catch=ZeroDivisionError, default=-1.0)
    def caught(x: float) -> float:
        return x / 0

    @task
    def failing(x: float) -> float:
        raise ValueError(f"no {x:.1f}")

    def main() -> None:
        with tl.run("nested") as run:
            sums = tl.map(outer, range(3))
            tl.map(caught, [1.0, 2.0]).results()
            tl.map(failing, [3.0], on_error="collect").results()
            print(tl.join(total, sums))

    if __name__ == "__main__":
        main()
"""
LEAVES = 3 * 2 * 6 + 3
CALLS = 3 * (1 + 1 + 2 * (1 + 6 + 1) + 1 + 1) + 2 + 1 + 1


def start(script: Path, executor: str, store: Path, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, script.name],
        cwd=script.parent,
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "TASKLINEAGE_STORE": str(store)}
        | {"TASKLINEAGE_EXECUTOR": executor, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(script: Path, executor: str, store: Path) -> Counter[str]:
    """The characters that the program prints: texts of calls at the same time are mixed."""
    process = start(script, executor, store)
    out, _ = process.communicate(timeout=PATIENCE)
    return Counter(out)


def told(store: Path) -> dict[str, Counter[Any]]:
    """What a store tells, but for ids, times and order."""
    runs = tl.runs(store=store)
    calls = [call for run in runs for call in run.calls]
    names = {call.id: (call.task, call.key) for call in calls}
    graphs = [run.graph().edges for run in runs]
    return {
        "runs": Counter((run.name, run.status, run.executed, run.hits, run.failed) for run in runs),
        "calls": Counter(
            (
                call.task, call.key, call.status, call.position,
                tuple((name, value.digest) for name, value in call.inputs.items()),
                call.output and (call.output.digest, call.output.type),
                call.parent_id and names[call.parent_id],
                call.stdout, tuple(re.findall("(?m)^INFO.*", call.stderr)),
                call.error and (call.error.type, call.error.message),
                tuple(attempt.status for attempt in call.attempts),
            )
            for call in calls
        ),
        "edges": Counter(
            (node_name(edge.producer), node_name(edge.consumer), edge.path, edge.via)
            for edges in graphs
            for edge in edges
        ),
    }  # fmt: skip


def node_name(node: Any) -> Any:
    return (node.task, node.key) if isinstance(node, tl.Call) else node.digest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples and the nested program, in one place: a path may count."""
    found = tmp_path_factory.mktemp("programs")
    for name in EXAMPLES:
        shutil.copytree(ROOT / "examples" / name, found / name)
    (found / "nested").mkdir()
    (found / "nested" / "nested.py").write_text(textwrap.dedent(NESTED), "utf-8")
    return found


@cache
def outcome(
    folder: Path, name: str, executor: str
) -> tuple[list[str], dict[str, Counter[Any]], Path]:
    """What the program prints on that executor, what its store tells, and where that is."""
    script = folder / name / f"{name}.py"
    store = folder / f"{name}-{executor.replace(':', '-')}"
    return finish(script, executor, store), told(store), store


@pytest.mark.parametrize(
    ("name", "executor"),
    [
        pytest.param(name, executor, marks=pytest.mark.nightly if is_long else pytest.mark.slow)
        for i, name in enumerate(("nested", *EXAMPLES))
        for executor in EXECUTORS
        for is_long in [i % 2 and executor.startswith("dask")]  # to begin a cluster takes long
    ],
)
def test_every_executor_tells_the_same(folder: Path, name: str, executor: str) -> None:
    expected, known, _ = outcome(folder, name, EXECUTORS[0])
    printed, found, _ = outcome(folder, name, executor)
    if not executor.startswith("dask"):  # where a line may come too late to be shown
        assert printed == expected
    for part in known:
        assert found[part] - known[part] == known[part] - found[part] == Counter(), part
    assert found["calls"].total() > 3
    if name == "nested":
        assert found["calls"].total() == CALLS
        assert ("INFO of leaves: at 7",) in {call[8] for call in found["calls"]}


@pytest.mark.parametrize(
    ("first", "executor"),
    [
        pytest.param(first, executor, marks=[] if (i - k) % 4 == 1 else pytest.mark.nightly)
        for k, first in enumerate(EXECUTORS)
        for i, executor in enumerate(EXECUTORS)
    ],
)
def test_what_one_executor_has_done_no_other_does_again(
    folder: Path, first: str, executor: str
) -> None:
    _, _, store = outcome(folder, "nested", first)
    copy = folder / f"again-{first}-{executor}".replace(":", "-")
    shutil.copytree(store, copy)
    finish(folder / "nested" / "nested.py", executor, copy)
    run = tl.latest("nested", store=copy)
    assert run is not None
    assert {call.task.rpartition(".")[2] for call in run.calls if not call.hit} == {
        "caught", "failing",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second"),
    [(a, b) for a, b in permutations(EXECUTORS, 2) if a != "inline"],
)
def test_after_a_kill_another_executor_executes_only_the_rest(
    folder: Path, tmp_path: Path, first: str, second: str
) -> None:
    script, store = folder / "nested" / "nested.py", tmp_path / "store"
    process = start(script, first, store, PAUSE="0.05")
    done = wait_for_leaves(store, LEAVES // 3, process)
    workers = workers_of(process.pid)
    assert bool(workers) == first.startswith(("processes", "dask"))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    until = time.monotonic() + PATIENCE
    while any(map(is_alive, workers)) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(map(is_alive, workers))

    (killed,) = tl.runs(store=store)
    assert killed.status == "killed"
    finished = {call.key for call in killed.calls if call.status == "done"}
    assert done <= finished
    finish(script, second, store)
    run = tl.latest("nested", store=store)
    assert run is not None
    assert run.status == "done"
    again = [call for call in run.calls if not call.hit]
    assert not finished & {call.key for call in again if call.status == "done"}
    leaves = [call for call in again if call.task.endswith("leaf")]
    assert 0 < len(leaves) <= LEAVES - len(done)
    _, known, _ = outcome(folder, "nested", EXECUTORS[0])
    results = {(task, key): output for task, key, _, _, _, output, *_ in known["calls"]}
    for call in run.calls:
        if call.output is not None:
            expected = results[call.task, call.key]
            assert expected == (call.output.digest, call.output.type)


def wait_for_leaves(store: Path, count: int, process: subprocess.Popen[str]) -> set[str]:
    """The keys of so many finished leaves, as soon as there are."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        if (store / "format").exists():
            done = {call.key for call in tl.calls("leaf", status="done", store=store)}
            if len(done) >= count:
                return done
        time.sleep(0.02)
    raise AssertionError(process.communicate()[1])
