"""The commands that look after a store, on remote ones: real servers and `memory://`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.storage import gc
from tasklineage.storage.gc import Rules
from tasklineage.storage.opening import open_store
from tasklineage.storage.usage import usage
from tests.conformance.stores import Machine, Place, ended, results
from tests.servers.fixtures import Bucket, one_server

Machines = Callable[[str], Machine]


@task
def blob(n: int) -> bytes:
    return n.to_bytes(4, "big") * 25_000


@pytest.fixture
def place(bucket: Bucket) -> Place:
    return Place(f"{bucket.url}/store", bucket.options, bucket.environ)


@pytest.fixture
def machine(place: Place, tmp_path: Path) -> Machines:
    return lambda name: Machine(place, tmp_path / name)


def command(machine: Machine, *args: str, code: int = 0) -> str:
    """What a command says there."""
    done = subprocess.run(
        [sys.executable, "-m", "tasklineage", *args],
        env=machine.environ,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def large(place: Place) -> int:
    return len(results(place.backend()))


def test_a_store_in_memory_is_collected() -> None:
    store = open_store(f"memory://{uuid4().hex}")
    with tl.run("old", store=store):
        blob(1)
    with tl.run("new", store=store) as new:
        blob(2)
    planned = gc.plan(store, Rules(last=0, tags=("none",)))
    assert len(planned.runs) == 2
    planned = gc.plan(store, Rules(days=0, last=1))
    new.add_tags("keep")
    gc.condemn(store, gc.plan(store, Rules(tags=("keep",))), Rules(tags=("keep",)))
    swept = gc.sweep(store, grace=0)
    assert swept is not None
    assert len(swept.runs) == 1
    found = usage(store)
    assert found.total == sum(entry.size for entry in store.backend.list())
    assert found.unneeded == 0
    store.close()


@pytest.mark.slow
@one_server
def test_the_commands_of_one_machine_hold_for_all(
    machine: Machines, place: Place, tmp_path: Path
) -> None:
    first = machine("a").does("map_large 0 4")["id"]
    second = machine("a").does("map_large 2 6")["id"]
    b = machine("b")
    told = json.loads(command(b, "du", "--by", "run", "--json"))
    assert told["total"] == sum(entry.size for entry in place.backend().list())
    parts = sum(row["exclusive"] for row in told["rows"])
    assert parts + told["shared"] + told["unneeded"] + told["other"] == told["total"]
    command(b, "pin", second)
    assert second in command(machine("a"), "pin")
    told = json.loads(command(b, "gc", "--keep-last", "0", "--json"))
    assert told["runs"] == [first]
    assert large(place) == 6
    assert "condemned 1 runs" in command(b, "gc", "--keep-last", "0", "--yes")
    assert large(place) == 6, "a day has to pass"
    swept = json.loads(
        command(machine("c"), "gc", "--keep-last", "0", "--grace", "0", "--yes", "--json")
    )
    assert swept["swept"]["runs"] == [first]
    assert large(place) == 4
    again = machine("d").does("map_large 0 6")
    assert (again["executed"], again["hits"], again["right"]) == (2, 4, True)
    command(b, "unpin", second)
    assert second[:12] in command(b, "rm", second)
    command(b, "rm", second, "--yes")
    assert second[:12] not in command(machine("a"), "runs")


@pytest.mark.slow
@one_server
def test_nothing_that_runs_need_is_lost_while_another_machine_collects(
    machine: Machines, place: Place
) -> None:
    """Each round has hits on the results of the one before, whose runs go meanwhile."""
    steps = "map_large 0 30 + wait 0.3 + map_large 20 50 + wait 0.3 + map_large 0 50"
    collector = machine("collector")
    for _ in range(3):
        writers = [machine(f"w{n}").start(steps) for n in range(3)]
        while any(one.poll() is None for one in writers):
            command(collector, "gc", "--keep-last", "3", "--grace", "0", "--yes")
        assert all(ended(one)["right"] for one in writers)
    assert machine("check").does("load_all")["loaded"] >= 300


@pytest.mark.slow
@one_server
def test_a_store_on_a_server_is_checked_and_repaired(machine: Machines, place: Place) -> None:
    assert machine("a").does("map_large 0 6 + map_whole 0 20")["executed"] == 26
    b = machine("b")
    told = json.loads(command(b, "fsck", "--read-data", "--decode", "--json"))
    assert (told["healthy"], told["damage"]) == (True, 0)
    assert told["checked"]["values"] >= 26
    backend = place.backend()
    gone, torn = list(results(backend))[:2]
    backend.delete([gone])
    backend.write(torn, backend.read(torn)[:-3])
    (piece, *_) = (entry.key for entry in backend.list("journal"))
    whole = backend.read(piece)
    backend.write(piece, whole[:-5])
    found = json.loads(command(b, "fsck", "--json", code=5))["findings"]
    damage = {one["kind"] for one in found if one["damage"]}
    assert {"object-malformed", "piece-torn"} <= damage
    a = machine("a")  # whose mirror has the piece, and the objects
    assert json.loads(command(a, "fsck", "--repair", "--json"))["healthy"]
    assert backend.read(piece) == whole
    assert json.loads(command(b, "fsck", "--read-data", "--json"))["damage"] == 0
    assert machine("c").does("map_large 0 6 + map_whole 0 20")["executed"] == 2
    assert json.loads(command(b, "fsck", "--read-data", "--json"))["damage"] == 0
    command(b, "fsck", "--store", f"{place.url}-nowhere", code=3)
