"""Many processes on one store: everybody's work is found, and nobody's harms another's."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tasklineage.storage.catalog import FILE
from tasklineage.storage.opening import open_store
from tasklineage.storage.store import Store
from tests.unit.storage.history import History, digest_of
from tests.unit.storage.test_catalog import said_by_file

pytestmark = pytest.mark.slow

PRELUDE = """
import os, sys, time
from pathlib import Path
from tasklineage.key.digest import digest
from tasklineage.storage import sealed, store as module
from tasklineage.storage.records import Ref
from tasklineage.storage.opening import open_store
from tasklineage.storage.store import Store
from tests.unit.storage.history import History, digest_of
root, number = Path(sys.argv[1]), int(sys.argv[2])
"""


def start(program: str, root: Path, number: int = 0) -> subprocess.Popen[str]:
    code = PRELUDE + textwrap.dedent(program)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(root), str(number)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def results(processes: list[subprocess.Popen[str]]) -> list[str]:
    """What each of them printed; all have ended well."""
    outputs = [process.communicate(timeout=120) for process in processes]
    assert not any(errors for _, errors in outputs), outputs
    assert not any(process.returncode for process in processes)
    return [output for output, _ in outputs]


def rebuilt(root: Path) -> dict[str, list[Any]]:
    """What a catalog says that is made anew."""
    (root / FILE).unlink()
    Store(root).catalog.sync()
    return said_by_file(root)


def test_processes_that_create_a_store_at_once_agree(tmp_path: Path) -> None:
    program = """
        while not (root.parent / "go").exists():
            pass
        store = open_store(root)
        store.append(History(str(number)).run())
        print(len(store.catalog.find_runs()) >= 1)
    """
    root = tmp_path / "store"
    processes = [start(program, root, number) for number in range(8)]
    (tmp_path / "go").touch()
    assert results(processes) == ["True\n"] * 8
    assert len(open_store(root).catalog.find_runs()) == 8
    assert not list(root.glob(".format*"))


WORK = """
    module.SAVED_FROM = 10_000
    store, history = open_store(root), History(str(number))
    run = history.run()
    store.append(run)
    executed = 0
    for step in range(300):
        name = (step * 7 + number * 31) % 300
        key, code = digest_of(("pkg.train", name)), digest_of("pkg.train")
        memo = store.find_memo(code, key)
        if memo is None:
            held = store.flight.acquire(key, frozenset())
            try:
                store.catch_up()
                memo = store.find_memo(code, key)
                if memo is None:
                    executed += 1
                    value = "x" * 20_000 if name % 50 == 0 else name
                    begun = history.begin(run, key=name)
                    store.append(begun)
                    memo = history.end(begun, output=store.put(value, digest(value)))
                    store.append(memo)
            finally:
                if held:
                    store.flight.release(key)
        value = store.get(Ref(*memo.output))
        assert value == ("x" * 20_000 if name % 50 == 0 else name)
        if step % 60 == number:
            assert len(store.catalog.find_calls(run=run.id)) == executed
    store.append(history.end_run(run))
    print(executed)
"""


def test_eight_processes_execute_every_key_once_and_the_catalog_is_right(tmp_path: Path) -> None:
    root = tmp_path / "store"
    counts = results([start(WORK, root, number) for number in range(8)])
    assert sum(map(int, counts)) == 300
    store = open_store(root)
    assert len(store.catalog.find_calls(status="done")) == 300
    assert len(store.catalog.find_runs(statuses=("done",))) == 8
    live = said_by_file(root)
    store.catalog.close()
    assert rebuilt(root) == live


def test_a_process_killed_while_it_writes_the_catalog_leaves_no_trace(tmp_path: Path) -> None:
    root = tmp_path / "store"
    store, history = open_store(root), History()
    run = history.run()
    store.append(run, *(record for _ in range(50) for record in history.call(run)))
    points = {
        "before anything": "sealed.SealedFile.create = kill",
        "before the rows": "from tasklineage.storage.tables import Tables; Tables.ingest = kill",
        "before the seal": "os.utime = kill",
    }
    for name, patch in points.items():
        program = f"""
            def kill(*args, **kwargs):
                os.kill(os.getpid(), 9)
            {patch}
            Store(root).catalog.sync()
        """
        process = start(program, root)
        process.wait(60)
        assert process.returncode == -signal.SIGKILL, name
        other = Store(root)
        assert len(other.catalog.find_calls(run=run.id)) == 50
        other.catalog.close()
        assert rebuilt(root)["calls"] == said_by_file(root)["calls"]
        (root / FILE).unlink()


def test_a_query_beside_a_process_that_holds_the_lock_does_not_wait_for_ever(
    tmp_path: Path,
) -> None:
    root = tmp_path / "store"
    store, history = open_store(root), History()
    run = history.run()
    store.append(run, *history.call(run))
    store.catalog.sync()
    program = """
        with sealed.SealedFile(root / "catalog.sqlite", root / "locks" / "catalog").locked(5.0):
            print("locked", flush=True)
            sys.stdin.read()
    """
    holder = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(program), str(root), "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    sealed_busy = "tasklineage.storage.sealed.BUSY"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sealed_busy, 0.05)
        store.append(*history.call(run))
        assert len(store.catalog.find_calls()) == 2
    holder.kill()
    holder.communicate()
    other = Store(root)
    assert other.catalog.save()
    assert len(said_by_file(root)["calls"]) == 2


def test_the_death_of_a_parent_frees_its_locks_while_a_forked_child_lives(
    tmp_path: Path,
) -> None:
    root = tmp_path / "store"
    program = """
        store, history = open_store(root), History()
        run = history.run()
        store.append(run)
        store.catalog.sync()
        writer = store.journal.writer
        if os.fork() == 0:
            print(writer, flush=True)
            store.append(*History("child").call(run))
            sys.stdin.read()
            assert len(store.catalog.find_calls()) == 1
            os._exit(0)
        os._exit(0)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(program), str(root), "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    writer = parent.stdout.readline().strip()
    parent.wait(60)
    store = open_store(root)
    assert not store.journal.is_alive(writer)
    rows = store.catalog.find_calls()
    while not rows:
        rows = store.catalog.find_calls()
    assert rows[0].location.writer != writer
    assert store.journal.is_alive(rows[0].location.writer)
    assert store.catalog.save()
    parent.communicate()


def test_a_store_of_another_process_is_asked_while_it_is_written(tmp_path: Path) -> None:
    root = tmp_path / "store"
    open_store(root).close()
    program = """
        store, history = open_store(root), History()
        run = history.run()
        store.append(run)
        for _ in range(2000):
            store.append(*history.call(run))
    """
    writer = start(program, root)
    store, seen = Store(root), 0
    while writer.poll() is None:
        now = len(store.catalog.find_calls())
        assert now >= seen
        seen = now
        rows = store.catalog.find_calls(limit=1)
        if rows:
            assert store.journal.read(rows[0].location).id == rows[0].id
    results([writer])
    assert len(store.catalog.find_calls()) == 2000
    with sqlite3.connect(root / FILE) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_memo_appended_elsewhere_is_a_hit_here(tmp_path: Path) -> None:
    root = tmp_path / "store"
    store = open_store(root)
    key = digest_of(("pkg.train", 1))
    assert store.find_memo(digest_of("pkg.train"), key) is None
    program = """
        store, history = open_store(root), History()
        run = history.run()
        store.append(run, *history.call(run, key=1))
    """
    results([start(program, root)])
    assert store.catch_up()
    assert store.find_memo(digest_of("pkg.train"), key) is not None
    assert os.listdir(root / "journal")
