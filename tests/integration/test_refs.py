"""Refs as processes and shells see them: many writers at once, kills, the command line."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.storage import format as layout
from tasklineage.storage.backend import Folder
from tasklineage.storage.mirror import Opened
from tasklineage.storage.ref_names import version_key
from tasklineage.storage.refs import Target
from tasklineage.storage.store import Store
from tests.integration.shell import Shell

WRITERS, ROUNDS = 16, 5


@task
def train(rate: float) -> dict[str, float]:
    return {"rate": rate}


@task
def table(n: int) -> Any:
    return np.arange(n)


def start(program: str, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def results(processes: list[subprocess.Popen[str]]) -> list[str]:
    """What each of them printed; all have ended well."""
    outputs = [process.communicate(timeout=300) for process in processes]
    assert not any(process.returncode for process in processes), outputs
    return [output for output, _ in outputs]


PRELUDE = """
import sys, time
from pathlib import Path
import tasklineage as tl
from tasklineage.storage.refs import Refs, Target
root, number, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
refs = tl.open_store(root).refs
while not (root.parent / "go").exists():
    time.sleep(0.001)
"""


@pytest.mark.slow
def test_sixteen_processes_lose_no_update(tmp_path: Path) -> None:
    program = PRELUDE + textwrap.dedent(
        """
        for turn in range(rounds):
            print(refs.move("model/prod", Target("run", bytes([number, turn]) * 8)).number)
        """
    )
    store = tl.open_store(tmp_path / "store")
    processes = [start(program, str(store.path), str(n), str(ROUNDS)) for n in range(WRITERS)]
    (tmp_path / "go").touch()
    numbers = sorted(int(line) for output in results(processes) for line in output.split())
    assert numbers == list(range(1, WRITERS * ROUNDS + 1))
    found = list(store.refs.history("model/prod"))
    assert [version.number for version in found] == numbers[::-1]
    assert len({version.target for version in found}) == WRITERS * ROUNDS
    for newer, older in pairwise(found):
        assert newer.previous == ("run", older.target)


@pytest.mark.slow
def test_of_sixteen_processes_that_expect_the_same_one_wins_each_round(tmp_path: Path) -> None:
    program = PRELUDE + textwrap.dedent(
        """
        counter, won = refs.find("counter"), 0
        while int.from_bytes(counter.target, "big") < rounds:
            counter = refs.find("counter")
            following = (int.from_bytes(counter.target, "big") + 1).to_bytes(16, "big")
            def check(newest):
                if newest != counter:
                    raise tl.RefMoved("somebody else was faster")
            try:
                refs.move("counter", Target("run", following), check=check)
                won += 1
            except tl.RefMoved:
                pass
        print(won)
        """
    )
    store = tl.open_store(tmp_path / "store")
    store.refs.move("counter", Target("run", bytes(16)))
    rounds = 60
    processes = [start(program, str(store.path), str(n), str(rounds)) for n in range(WRITERS)]
    (tmp_path / "go").touch()
    won = sum(map(int, results(processes)))
    history = [int.from_bytes(v.target, "big") for v in store.refs.history("counter")]
    assert history == list(range(won, -1, -1))
    assert rounds <= won < rounds + WRITERS


# The command line.


@pytest.fixture
def call() -> tl.Call:
    train(0.1)
    return train.calls()[0]


def test_tag_names_what_has_an_id(shell: Shell, call: tl.Call) -> None:
    assert shell("tag", call.id, "model/prod", "-m", "first") == ""
    (ref,) = tl.refs()
    assert (ref.target, ref.message) == (call, "first")
    made = shell.json("tag", "model/prod", "model/dev")["ref"]
    assert (made["name"], made["version"], made["id"]) == ("model/dev", 1, call.id)


def test_refs_lists_as_text_and_json(shell: Shell, call: tl.Call) -> None:
    shell("tag", call.id, "model/prod")
    shell("tag", call.run_id, "run/last")
    text = shell("refs")
    assert "model/prod" in text
    assert "run/last" in text
    assert "model/prod" not in shell("refs", "--match", "run/*")
    first, second = shell.json("refs")["refs"]
    assert first == {
        "name": "model/prod", "version": 1, "kind": "call", "id": call.id, "previous": None,
        "at": tl.refs()[0].at.isoformat(), "user": call.run.user, "host": call.run.host,
        "message": "",
    }  # fmt: skip
    assert second["kind"] == "run"


def test_an_empty_list_says_so(shell: Shell, call: tl.Call) -> None:
    assert shell("refs") == ""
    assert shell.json("refs") == {"version": 1, "refs": []}


def test_reflog_lists_the_past(shell: Shell, call: tl.Call) -> None:
    shell("tag", call.id, "model")
    shell("tag", call.run_id, "model")
    shell("refs", "untag", "model", "--yes", "-m", "old")
    versions = shell.json("refs", "reflog", "model")["versions"]
    assert [one["kind"] for one in versions] == ["deleted", "run", "call"]
    assert [one["previous"] for one in versions] == [call.run_id, call.id, None]
    assert "deleted" in shell("refs", "reflog", "model")
    assert shell("refs") == ""


def test_nothing_is_deleted_without_yes(shell: Shell, call: tl.Call) -> None:
    shell("tag", call.id, "model")
    assert "without --yes" in shell.error("refs", "untag", "model", code=2)
    assert len(tl.refs()) == 1


@pytest.mark.parametrize(
    ("command", "code", "text"),
    [
        (("tag", "model", "../x"), 2, "no parts of names"),
        (("tag", "nothing", "model"), 3, "neither a ref nor an id"),
        (("refs", "reflog", "modle"), 3, "has no ref 'modle'; there is or was model"),
        (("refs", "untag", "modle", "--yes"), 3, "has no ref 'modle'"),
        (("tag", "model", "model", "--expected", "none"), 1, "not what was expected"),
        (("show", "model@7"), 3, "has no version 7"),
        (("refs", "--store", "/nowhere/at/all"), 3, "no store"),
    ],
)
def test_what_cannot_be_done_is_told_with_an_exit_code(
    shell: Shell, call: tl.Call, command: tuple[str, ...], code: int, text: str
) -> None:
    shell("tag", call.id, "model")
    assert text in shell.error(*command, code=code)


def test_a_damaged_ref_exits_with_5(shell: Shell, call: tl.Call, store_path: Path) -> None:
    shell("tag", call.id, "model")
    (store_path / version_key("model", 1)).write_bytes(b"?")
    assert "damaged" in shell.error("show", "model", code=5)
    (listed,) = shell.json("refs")["refs"]
    assert (listed["kind"], listed["id"], listed["at"]) == ("damaged", None, None)
    assert "damaged" in shell("refs")


@pytest.mark.parametrize("command", ["show", "dump", "logs", "why", "graph", "lineage"])
def test_commands_that_take_an_id_take_a_ref(shell: Shell, call: tl.Call, command: str) -> None:
    shell("tag", call.id, "model/prod")
    shell(command, "model/prod")


def test_expected_moves_only_from_there(shell: Shell, call: tl.Call) -> None:
    shell("tag", call.id, "model", "--expected", "none")
    shell("tag", call.run_id, "model", "--expected", call.id)
    assert tl.get("model") == call.run


# Other machines.


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Callable[[str], Store]]:
    """Opens one remote store as a machine of that name does. The remote store is a folder here."""
    bucket = Folder(tmp_path / "bucket", durable=True)
    (tmp_path / "bucket").mkdir()
    bucket.write(layout.FILE, layout.content(id="00"))
    opened: list[Store] = []

    def open(name: str) -> Store:
        folder = tmp_path / name
        layout.open_folder(folder)
        opened.append(Store(folder, remote=Opened("s3://x", bucket, folder, True, 1 << 30)))
        return opened[-1]

    yield open
    for store in opened:
        store.close()


def test_what_one_machine_tags_another_one_loads_at_once(
    machines: Callable[[str], Store],
) -> None:
    here, there = machines("here"), machines("there")
    for turn in range(3):
        assert len(tl.runs(store=there, namespace="*")) == turn  # it has just looked
        with tl.run("nightly", store=here) as run:
            made = table(5_000 + turn)
            tl.tag(run["table"], "call")
            tl.tag(made, "value", store=here)
            tl.tag(run, "run")
            assert tl.get("call", store=there) == run["table"]
            assert (tl.load("value", store=there) == made).all()
            assert tl.get("run", store=there) == run
    assert [ref.number for ref in tl.refs(store=there)] == [3, 3, 3]
    tl.untag("value", store=there)
    assert tl.reflog("value", store=here)[0].is_deleted


def test_machines_that_tag_at_once_lose_no_update(machines: Callable[[str], Store]) -> None:
    stores = [machines(f"machine{n}") for n in range(4)]

    def work(store: Store, number: int) -> None:
        with tl.run(f"run{number}", store=store) as run:
            for _ in range(5):
                tl.tag(run, "last")

    threads = [Thread(target=work, args=(store, n)) for n, store in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = tl.reflog("last", store=stores[0])
    assert [version.number for version in found] == list(range(20, 0, -1))
    assert {version.target.id for version in found} == {run.id for run in tl.runs(store=stores[0])}
