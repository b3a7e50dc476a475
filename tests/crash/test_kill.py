"""kill -9 at random moments: what had returned is a hit, nothing wrong is ever read."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import tasklineage as tl

PROGRAM = textwrap.dedent(
    """
    import sys
    import numpy as np
    import tasklineage as tl
    from tasklineage import task

    @task
    def small(i):
        return {"i": i, "square": i * i}

    @task
    def large(i):
        return np.full(40_000, i)

    @task
    def parent(i):
        return sum(r["i"] for r in tl.map(small, range(i, i + 5)))

    def said(kind, i):
        # what has been written to the pipe survives the kill as well
        sys.stdout.write(f"{kind} {i}\\n")
        sys.stdout.flush()

    kind, store, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with tl.run(kind, store=store, executor="threads:2") as run:
        if kind == "loop":
            for i in range(count):
                assert small(i) == {"i": i, "square": i * i}
                said("returned", i)
        elif kind == "map":
            for i, value in enumerate(tl.map(small, range(count))):
                assert value == {"i": i, "square": i * i}
                said("returned", i)
        elif kind == "large":
            for i in range(count):
                value = large(i)
                assert value.shape == (40_000,) and (value == i).all()
                said("returned", i)
        else:
            for i in range(count):
                assert parent(i) == sum(range(i, i + 5))
                said("returned", i)
    print("executed", run.executed)
    print("failed", run.failed)
    """
)
TASKS = {"loop": "small", "map": "small", "large": "large", "nested": "parent"}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def start(program: Path, kind: str, store: Path, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(program), kind, str(store), str(count)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("kind", ["loop", "map", "large", "nested"])
def test_what_had_returned_before_a_kill_is_a_hit(program: Path, tmp_path: Path, kind: str) -> None:
    rng = random.Random(kind)
    store = tmp_path / "store"
    count = 1_500 if kind in ("loop", "map") else 200
    returned: set[int] = set()
    for _ in range(4):
        process = start(program, kind, store, count)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(rng.randint(1, 40))]
        time.sleep(rng.random() * 0.02)
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        process.wait()
        returned |= {int(line.split()[1]) for line in lines if line.startswith("returned")}
    process = start(program, kind, store, count)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    facts = dict(line.split() for line in out.splitlines() if not line.startswith("returned"))
    assert facts["failed"] == "0"
    tl.namespace(None)
    calls = tl.calls(task=TASKS[kind], store=store, namespace="*")
    finished = [c for c in calls if c.status == "done"]
    keys = [c.key for c in finished]
    assert len(keys) == len(set(keys)), "finished work was done again"
    statuses = {c.status for c in calls}
    assert statuses <= {"done", "hit", "lost"}
    runs = tl.runs(store=store, namespace="*")
    statuses = [r.status for r in runs]
    assert statuses[0] == "done"
    assert "killed" in statuses
    assert set(statuses) <= {"done", "killed"}
    process = start(program, kind, store, count)
    out, err = process.communicate(timeout=120)
    assert "executed 0" in out, err
    assert len(returned) > 0


def test_the_death_of_a_holder_frees_its_key_at_once(tmp_path: Path) -> None:
    script = tmp_path / "hold.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, sys, time
            import tasklineage as tl
            @tl.task(ignore="seconds")
            def slow(x, seconds):
                print("in", flush=True)
                time.sleep(seconds)
                return x
            with tl.run(store=sys.argv[1]):
                print(slow(1, float(sys.argv[2])), flush=True)
            """
        )
    )
    command = [sys.executable, str(script), str(tmp_path / "store")]
    first = subprocess.Popen([*command, "60"], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "in\n"
    second = subprocess.Popen([*command, "0"], stdout=subprocess.PIPE, text=True)
    time.sleep(0.5)
    assert second.poll() is None  # it waits
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    out, _ = second.communicate(timeout=30)
    assert out == "in\n1\n"
