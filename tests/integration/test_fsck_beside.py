"""fsck gives no false alarm beside processes that write, nor after they were killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tasklineage as tl
from tasklineage.storage import gc
from tasklineage.storage.fsck import Report, check
from tests.crash import killer

ROOT = Path(__file__).resolve().parents[2]
WRITER = """
import itertools, os, random, sys
import numpy as np
import tasklineage as tl
from tasklineage import task

@task
def scalar(n): return n + 1

@task
def array(n):
    print("array", n)
    return np.full(6_000 + n % 40, n)

@task
def nested(n): return {"x": array(n), "y": scalar(n), "names": ["name"] * 5_000}

@task
def failing(n): raise ValueError(n)

store = tl.open_store(sys.argv[1])
chance = random.Random(int(sys.argv[2]))
for number in itertools.count():
    with tl.run("busy", store=store, tags=("t",), params={"n": number}) as run:
        for _ in range(10):
            nested(chance.randrange(400))
            list(tl.map(scalar, range(chance.randrange(50))))
            scalar.forget(chance.randrange(400))
        try:
            failing(number)
        except ValueError:
            pass
    run.add_tags("more")
    if number % 7 == 3:
        store.catalog.sync()
    if number % 5 == 4:
        store.close()
    if os.fork() == 0:
        with tl.run("child", store=store):
            scalar(chance.randrange(400))
        os._exit(0)
    os.wait()
"""
pytestmark = pytest.mark.slow


def begin(root: Path, seed: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TASKLINEAGE_STORE": str(root)}
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root), str(seed)],
        env=environment,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def damage_of(report: Report) -> list[tuple[str, str, str]]:
    return [(finding.kind, finding.path, finding.text) for finding in report.damage]


def reports(root: Path, records: int) -> Iterator[Report]:
    """What is found while some processes write so many, and now and then one is killed."""
    chance = random.Random(1)
    writers = [begin(root, seed) for seed in range(3)]
    seeds = iter(range(3, 10_000))
    found = 0
    try:
        while found < records:
            report = check(root, read_data=1.0, decode=True)
            found = report.counts["records"]
            yield report
            if found and chance.random() < 0.2:
                index = chance.randrange(len(writers))
                os.killpg(writers[index].pid, signal.SIGKILL)
                writers[index].wait()
                writers[index] = begin(root, next(seeds))
    finally:
        for writer in writers:
            os.killpg(writer.pid, signal.SIGKILL)
            writer.wait()
    yield check(root, read_data=1.0, decode=True)


@pytest.mark.parametrize("records", [2_000, pytest.param(60_000, marks=pytest.mark.nightly)])
def test_no_false_alarm_beside_writers_that_are_killed(tmp_path: Path, records: int) -> None:
    root = tmp_path / "store"
    tl.open_store(root).close()
    for report in reports(root, records):
        assert damage_of(report) == []


def a_short_life(root: Path, say: killer.Say) -> None:
    """What a killed process may be at."""
    import numpy as np

    from tasklineage import task

    @task
    def made(n: int) -> object:
        return {"x": np.full(9_000, n), "names": ["name"] * 5_000}

    store = tl.open_store(root)
    with tl.run("first", store=store, params={"grid": np.ones(9_000)}):
        made(1)
        made(1)
        made.forget(1)
    store.catalog.sync()
    with tl.run("second", store=store) as run:
        made(2)
    run.add_tags("done")
    store.close()
    say("over")


def test_no_false_alarm_wherever_a_process_is_killed(tmp_path: Path) -> None:
    seen = 0
    for outcome in killer.sweep(a_short_life, tmp_path, every=3, timeout=600):
        if (outcome.root / "format").exists():
            assert damage_of(check(outcome.root, read_data=1.0)) == [], outcome
            seen += 1
    assert seen > 25


def test_runs_in_two_stores_that_call_each_other_are_no_damage(tmp_path: Path) -> None:
    @tl.task
    def inner(n: int) -> int:
        return n

    @tl.task
    def outer(n: int) -> int:
        with tl.run("inner", store=tmp_path / "b"):
            return inner(n)

    with tl.run("outer", store=tmp_path / "a"):
        assert outer(1) == 1
        with tl.run("inside", store=tmp_path / "b"):
            inner(2)
    for name in "ab":
        assert damage_of(check(tmp_path / name)) == []


def test_what_was_taken_out_and_swept_is_not_missed(tmp_path: Path) -> None:
    @tl.task
    def made(n: int) -> str:
        return "text" * 9_000 + str(n)

    store = tl.open_store(tmp_path / "store")
    with tl.run("gone", store=store) as gone:
        made(1)
        made(2)
    with tl.run("kept", store=store):
        made(2)
    gc.take_out(store, [bytes.fromhex(gone.id)], "rm")
    gc.condemn(store, gc.plan(store))
    swept = gc.sweep(store, grace=0)
    assert swept is not None
    assert swept.objects == 1
    report = check(store.path, read_data=1.0)
    assert damage_of(report) == []
