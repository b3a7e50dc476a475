"""Small calls of a map travel together; what happens to one of them happens to no other."""

from __future__ import annotations

import gc
import glob
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.executors import parcels
from tasklineage.executors.processes import Processes


@pytest.fixture(scope="module")
def pool() -> Iterator[Processes]:
    """Two processes for all tests of this module."""
    with Processes(2) as pool:
        yield pool


def note(folder: str, what: object) -> None:
    """Append a line to a file that the test reads, not the store."""
    with open(os.path.join(folder, "notes"), "a") as file:
        file.write(f"{what}\n")


def notes(folder: Path) -> Counter[str]:
    return Counter((folder / "notes").read_text().split("\n")[:-1])


@task(ignore=["folder"])
def noted(x: int, folder: str) -> int:
    note(folder, x)
    return 3 * x


def test_quick_calls_travel_together_in_order(
    pool: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journeys: list[int] = []
    perform = pool.perform

    def counted(*args: Any, **kwargs: Any) -> Any:
        journeys.append(1)
        return perform(*args, **kwargs)

    monkeypatch.setattr(pool, "perform", counted)
    with tl.run("together", executor=pool) as run:
        assert tl.map(noted, range(1000), folder=str(tmp_path)).results() == list(range(0, 3000, 3))
    assert len(journeys) < 200
    assert run.executed == 1000
    assert set(notes(tmp_path).values()) == {1}
    assert sorted(call.position[0] for call in run.calls if call.position) == list(range(1000))


@task(ignore=["folder"])
def dies_once(x: int, folder: str) -> int:
    note(folder, x)
    if x == 300 and notes(Path(folder))["300"] == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return -x


@task(memo=False)
def dies_once_and_is_no_memo(x: int, folder: str) -> int:
    return dies_once.__wrapped__(x, folder)


@pytest.mark.parametrize("which", [dies_once, dies_once_and_is_no_memo], ids=lambda t: t.name)
def test_only_the_call_that_was_executing_pays_for_a_lost_worker(
    which: Any, pool: Processes, tmp_path: Path
) -> None:
    with tl.run("loss", executor=pool) as run:
        assert tl.map(which, range(600), folder=str(tmp_path)).results() == [-x for x in range(600)]
    assert notes(tmp_path) == Counter({str(x): 1 + (x == 300) for x in range(600)})
    assert (run.executed, run.failed) == (600, 0)
    (tried,) = [call for call in run.calls if len(call.attempts) > 1]
    assert tried.args["x"] == 300
    assert [one.status for one in tried.attempts] == ["lost", "done"]


@task(ignore=["folder"])
def deadly(x: int, folder: str) -> int:
    note(folder, x)
    if x % 200 == 7:
        os._exit(3)
    return x


def test_calls_that_always_kill_their_worker_fail_alone(pool: Processes, tmp_path: Path) -> None:
    with tl.run("deadly", executor=pool) as run:
        fan = tl.map(deadly, range(600), folder=str(tmp_path), on_error="collect")
        assert [one.index for one in fan.failures] == [7, 207, 407]
    assert all(isinstance(one.error, tl.WorkerLost) for one in fan.failures)
    assert {one.call.status for one in fan.failures} == {"lost"}
    counts = notes(tmp_path)
    assert {x for x, n in counts.items() if n > 1} == {"7", "207", "407"}
    assert (run.executed, run.failed) == (600, 3)


@task
def fibonacci(n: int) -> int:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def test_calls_that_need_each_other_may_travel_together(pool: Processes) -> None:
    with tl.run("recursive", executor=pool):
        found = tl.map(fibonacci, list(range(60, -1, -1)) + list(range(61))).results()
    assert found[60] == 0
    assert found[0] == found[121] == 1548008755920


def test_equal_elements_execute_once(pool: Processes, tmp_path: Path) -> None:
    with tl.run("equal", executor=pool) as run:
        xs = [i % 40 for i in range(400)]
        assert tl.map(noted, xs, folder=str(tmp_path)).results() == [3 * x for x in xs]
    assert set(notes(tmp_path).values()) == {1}
    assert (run.executed, run.hits) == (40, 360)


@task(ignore=["folder"])
def slow_at_the_end(x: int, folder: str) -> int:
    if x >= 400:
        note(folder, os.getpid())
        time.sleep(0.25)
    return x


def test_calls_that_turn_out_to_be_slow_are_given_back_to_the_others(
    pool: Processes, tmp_path: Path
) -> None:
    with tl.run("uneven", executor=pool):
        tl.map(slow_at_the_end, range(408), folder=str(tmp_path)).results()
    assert min(notes(tmp_path).values()) >= 2  # of 8: neither has got them all
    assert len(notes(tmp_path)) == 2


@task(ignore=["folder"])
def fails_at(x: int, folder: str, bad: int) -> int:
    note(folder, x)
    if x == bad:
        raise ValueError(f"no {x}")
    return x


def test_after_a_failure_nothing_more_is_begun(pool: Processes, tmp_path: Path) -> None:
    with tl.run("stops", executor=pool), pytest.raises(ValueError, match="no 500"):
        tl.map(fails_at, range(5000), folder=str(tmp_path), bad=500).results()
    assert len(notes(tmp_path)) < 2000


def test_failures_that_are_collected_do_not_keep_others_from_travelling_together(
    pool: Processes, tmp_path: Path
) -> None:
    @task(ignore=["folder"])
    def odd_fail(x: int, folder: str) -> int:
        note(folder, x)
        if x % 2:
            raise ValueError(f"no {x}")
        return x

    with tl.run("collects", executor=pool) as run:
        fan = tl.map(odd_fail, range(500), folder=str(tmp_path), on_error="collect")
        assert [one.index for one in fan.failures] == list(range(1, 500, 2))
    assert str(fan.failures[0].error) == "no 1"
    assert set(notes(tmp_path).values()) == {1}
    assert (run.executed, run.failed) == (500, 250)


def test_an_argument_that_cannot_travel_fails_alone(pool: Processes) -> None:
    class Stubborn:
        def __init__(self, x: int) -> None:
            self.x = x

        def __getstate__(self) -> dict[str, int]:
            return {"x": self.x}

        def __reduce_ex__(self, protocol: Any) -> Any:
            if self.x == 150:
                raise RuntimeError("I stay")
            return Stubborn, (self.x,)

    @task(key={"one": lambda one: one.x})
    def of_stubborn(one: Stubborn) -> int:
        return one.x

    with tl.run("stubborn", executor=pool):
        fan = tl.map(of_stubborn, map(Stubborn, range(300)), on_error="collect")
        assert [one.index for one in fan.failures] == [150]
        assert "I stay" in str(fan.failures[0].error)
        assert sum(one for one in fan if isinstance(one, int)) == sum(range(300)) - 150


def test_a_result_that_cannot_travel_fails_alone(pool: Processes, tmp_path: Path) -> None:
    @task(memo=False, ignore=["folder"])
    def locks(x: int, folder: str) -> Any:
        note(folder, x)
        return Lock() if x == 250 else x

    with tl.run("locks", executor=pool) as run:
        fan = tl.map(locks, range(400), folder=str(tmp_path), on_error="collect")
        assert [one.index for one in fan.failures] == [250]
    assert "cannot pickle" in str(fan.failures[0].error)
    assert {x for x, n in notes(tmp_path).items() if n > 1} <= {"250"}
    assert (run.executed, run.failed) == (400, 1)


@task
def paired(x: int) -> int:
    return x if x % 2 else paired(x + 1)


def test_what_calls_before_it_have_made_is_among_the_hits_that_are_verified(
    pool: Processes,
) -> None:
    with tl.run("verified", executor=pool, verify=1.0) as run:
        tl.map(paired, range(300)).results()
    assert (run.executed, run.hits) == (300, 150)
    assert (run.verified, run.differing) == (150, 0)


PROGRAM = """
import os, sys
import tasklineage as tl

@tl.task(ignore=["folder"])
def noted(x: int, folder: str) -> int:
    with open(os.path.join(folder, "notes"), "a") as file:
        file.write(f"{x}\\n")
    return x

tl.configure(store=sys.argv[1], executor="processes:2")
with tl.run("beside"):
    assert tl.map(noted, range(800), folder=sys.argv[2]).results() == list(range(800))
"""


def test_programs_side_by_side_execute_each_call_once(tmp_path: Path) -> None:
    script = tmp_path / "beside.py"
    script.write_text(PROGRAM)
    command = [sys.executable, str(script), str(tmp_path / "store"), str(tmp_path)]
    programs = [subprocess.Popen(command) for _ in range(3)]
    assert [one.wait(120) for one in programs] == [0, 0, 0]
    assert set(notes(tmp_path).values()) == {1}


def test_a_parent_knows_what_its_children_depended_on_when_their_worker_was_lost(
    pool: Processes, tmp_path: Path
) -> None:
    @task(ttl=0.5, ignore=["folder"])
    def brief(x: int, folder: str) -> int:
        return int(dies_once.__wrapped__(x, folder))

    @task(ignore=["folder"])
    def parent(folder: str) -> int:
        return sum(tl.map(brief, range(400), folder=folder).results())

    with tl.run("first", executor=pool):
        parent(str(tmp_path))
    time.sleep(0.6)
    with tl.run("second", executor=pool) as second:
        parent(str(tmp_path))
    assert second.executed == 401


@task
def of_large(place: int, values: Any) -> float:
    values[place] += 1.0  # in memory of its own
    return float(values[place]) + float(values.sum())


def test_a_large_argument_is_packed_once_and_each_call_has_its_own(
    pool: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed: list[int] = []
    stored = parcels._stored

    def counted(views: Any, places: Any, size: int) -> int:
        packed.append(size)
        return stored(views, places, size)

    monkeypatch.setattr(parcels, "_stored", counted)
    values = np.zeros(300_000)
    with tl.run("large", executor=pool, store=tmp_path / "store"):
        found = tl.map(of_large, range(40), values=values).results()
        assert found == [2.0] * 40
        assert of_large.submit(41, values=values).result() == 2.0
    assert packed == [2_400_000]
    assert float(values.sum()) == 0.0
    assert sum(path.stat().st_size for path in (tmp_path / "store/objects").rglob("*")) < 10**6
    del values
    gc.collect()
    links = [path for path in glob.glob("/proc/self/fd/*") if os.path.lexists(path)]
    assert not [path for path in links if "memfd:tasklineage" in os.readlink(path)]


@task
def produced(seed: int) -> Any:
    return np.random.default_rng(seed).normal(size=(400, 500))


@task
def totalled(values: Any, text: str) -> float:
    return float(values.sum()) + len(text)


def test_a_stored_argument_travels_as_where_it_is(
    pool: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tl.run("stored", executor=pool, store=tmp_path / "store") as run:
        made = tl.map(produced, range(4))
        text = "x" * 2_000_000
        expected = [float(one.sum()) + len(text) for one in made]
        monkeypatch.setattr(parcels, "_stored", None)  # nothing is packed, or it fails
        assert tl.map(totalled, made, text=text).results() == expected
    assert {(e.producer.task, e.path) for e in run.graph().edges} >= {(produced.name, "values")}


def test_a_call_that_waits_before_it_is_tried_again_keeps_no_other_waiting(
    pool: Processes, tmp_path: Path
) -> None:
    @task(ignore=["folder"], retries=tl.Retry(1, wait=3))
    def flaky(x: int, folder: str) -> int:
        note(folder, f"{x} {time.monotonic()}")
        if x == 200 and sum(one.startswith("200 ") for one in notes(Path(folder))) == 1:
            raise ValueError("once")
        return x

    with tl.run("flaky", executor=pool):
        assert tl.map(flaky, range(400), folder=str(tmp_path)).results() == list(range(400))
    times = {one.split()[0]: float(one.split()[1]) for one in notes(tmp_path)}
    assert max(times, key=lambda x: times[x]) == "200"


@task
def wrapped(x: int) -> Any:
    return Wrapped(x)


@task
def unwrapped(place: int, one: Any) -> int:
    return int(one.values[place])


class Wrapped:
    """Stored as a pickle, and of a class that a worker may not find."""

    def __init__(self, x: int) -> None:
        self.values = np.full(200_000, x)
        self.nbytes = self.values.nbytes


def test_an_argument_that_the_worker_cannot_read_travels_by_value(
    pool: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tl.run("unreadable", executor="inline", store=tmp_path / "store"):
        one = wrapped(7)
    for path in (tmp_path / "store/objects").glob("??/*"):
        path.chmod(0o600)
        path.write_bytes(b"damaged")
    with tl.run("by value", executor=pool, store=tmp_path / "store") as run:
        found = tl.map(unwrapped, range(30), one=one).results()
    assert found == [7] * 30
    assert run.executed == 30
