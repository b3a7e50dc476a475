"""Killed or failing at any operation of a remote store: nothing acknowledged is lost.

The mirror and the remote store, a folder here, are below one root, so the faults come at the
operations of both: objects, records, the spool and its files, pieces, heartbeats.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.storage import format as layout
from tasklineage.storage import remote
from tasklineage.storage.backend import Folder
from tasklineage.storage.mirror import Opened
from tasklineage.storage.store import Store
from tests.crash.killer import KILL, SHORT, Fault, Outcome, Say, run, sweep

pytestmark = pytest.mark.slow

executed: list[int] = []


@task
def small(x: int) -> int:
    executed.append(x)
    return x + 1


@task
def large(x: int) -> bytes:
    executed.append(x)
    return bytes([x]) * 20_000


def opened(root: Path, mirror: str) -> Store:
    """The store as the machine of that name has it."""
    for name in ("bucket", mirror):
        os.makedirs(root / name, mode=0o700, exist_ok=True)
    bucket = Folder(root / "bucket")
    if bucket.size(layout.FILE) is None:
        bucket.write(layout.FILE, layout.content(id="00"))
    layout.open_folder(root / mirror)
    found = Opened("s3://bucket", bucket, root / mirror, True, 1 << 30)
    return Store(root / mirror, remote=found)


def computing(root: Path, say: Say) -> None:
    remote._TICK = 3600.0  # the thread would make the order of operations another one each time
    store = opened(root, "a")
    with tl.run("r", store=store, executor="inline"):
        small(1)
        say("small 1")
        large(2)
        say("large 2")
        store.flush()
        say("flushed")
        large(4)
        say("large 4")
    say("ended")
    store.close()
    say("closed")


def fetching(root: Path, say: Say) -> None:
    remote._TICK = 3600.0
    store = opened(root, "b")
    with tl.run("again", store=store, executor="inline"):
        small(1)
        large(2)
        large(4)
    store.close()


def calls_after(root: Path, mirror: str) -> set[int]:
    """What has to be executed there."""
    executed.clear()
    store = opened(root, mirror)
    with tl.run("check", store=store, executor="inline"):
        assert small(1) == 2
        assert large(2) == bytes([2]) * 20_000
        assert large(4) == bytes([4]) * 20_000
    store.close()
    return set(executed)


def check(outcome: Outcome, *, is_lost: bool) -> None:
    """What was returned is found here, and after the next process everywhere."""
    root = outcome.root
    returned = {int(said.split()[1]) for said in outcome.said if said[0] in "sl"}
    if is_lost and "flushed" in outcome.said:
        shutil.copytree(root / "bucket", root / "lost" / "bucket")  # the machine is gone
        assert not calls_after(root / "lost", "elsewhere") & {1, 2}, outcome
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert not calls_after(root, "a") & returned, outcome
    assert not [name for name in os.listdir(root / "a" / "spool") if name[0] != "."], outcome
    assert not Folder(root / "bucket").list("alive"), outcome
    assert calls_after(root, "c") == set(), outcome
    shutil.rmtree(root)


@pytest.mark.parametrize("number", range(4, 100, 12))
def test_who_is_killed_loses_nothing_that_was_returned(number: int, tmp_path: Path) -> None:
    outcome = run(computing, tmp_path / "x", Fault(number))
    assert outcome.status == "killed"
    check(outcome, is_lost=True)


@pytest.mark.nightly
@pytest.mark.parametrize("actions", [(KILL,), (SHORT,), (errno.ENOSPC,), (errno.EIO,)], ids=str)
def test_a_fault_at_any_operation_loses_nothing_that_was_returned(
    actions: tuple[int, ...], tmp_path: Path
) -> None:
    count = 0
    for outcome in sweep(computing, tmp_path, actions=actions, timeout=1800.0):
        count += 1
        check(outcome, is_lost=count % 4 == 0)
    assert count > 60


@pytest.mark.nightly
def test_a_mirror_that_was_killed_while_it_brought_something_goes_on(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    computing(source, lambda said: None)
    count = 0
    for outcome in sweep(prepared_fetching, tmp_path, timeout=1800.0):
        count += 1
        assert calls_after(outcome.root, "b") == set(), outcome
        shutil.rmtree(outcome.root)
    assert count > 20


def prepared_fetching(root: Path, say: Say) -> None:
    source = root.parent / "source" / "bucket"
    subprocess.run(["cp", "-r", source, root], check=True)  # where no fault is counted
    fetching(root, say)
