"""Garbage collection beside writers: what is swept at the worst moment is there all the same."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.storage import fsck, gc, sweeps
from tasklineage.storage.epochs import SWEEPS
from tasklineage.storage.gc import Rules
from tasklineage.storage.opening import open_store
from tasklineage.storage.records import CallEnd, Hit, RunBegin, RunEnvironment
from tasklineage.storage.store import Store

NOTHING = Rules(last=0)


@task
def blob(n: int) -> bytes:
    return n.to_bytes(4, "big") * 25_000


@task
def pair(n: int) -> list[bytes]:
    return [blob(n), blob(n + 1)]


@task
def told(n: int) -> bytes:
    print("x" * 30_000)
    return blob.__wrapped__(n)


@task
def length(data: bytes) -> int:
    return len(data)


@pytest.fixture
def collector(store: Store) -> Iterator[Store]:
    """A handle on the same store as another process has it."""
    other = Store(store.path)
    yield other
    other.close()


def sweep_all(collector: Store) -> None:
    """Condemn all that is not needed now, and sweep it at once."""
    gc.condemn(collector, gc.plan(collector, NOTHING))
    gc.sweep(collector, grace=0)


def before_append(
    store: Store, kind: type[Any], do: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Do something once between the decision to append a record of that kind and the append."""
    done: list[bool] = []

    def first(record: Any) -> None:
        if type(record) is kind and not done:
            done.append(True)
            do()

    one, several = store._write_one, store.journal.append

    def write_one(record: Any) -> Any:
        first(record)
        return one(record)

    def write_several(records: Any) -> Any:
        for record in records:
            first(record)
        return several(records)

    monkeypatch.setattr(store, "_write_one", write_one)
    monkeypatch.setattr(store.journal, "append", write_several)


def check_everything(store: Store) -> None:
    """Every run loads, and another process says so too."""
    reader = Store(store.path, read_only=True)
    for run in tl.runs(store=reader, namespace="*"):
        for call in run.calls:
            if call.status in ("done", "hit"):
                assert call.result is not None
        run.params.values()
        assert run.environment.python
    reader.close()
    report = fsck.check(store.path, read_data=1)
    assert report.is_healthy, report.damage


@pytest.mark.parametrize("made", [blob, pair, told])
def test_a_result_swept_before_its_record_is_written(
    store: Store, collector: Store, monkeypatch: pytest.MonkeyPatch, made: Any
) -> None:
    with tl.run("job", store=store) as run:
        if made is pair:
            before_append(store, CallEnd, lambda: None, monkeypatch)
            blob(1)
        before_append(store, CallEnd, lambda: sweep_all(collector), monkeypatch)
        value = made(1)
    assert run.roots[-1].result == value == made.__wrapped__(1)
    check_everything(store)
    with tl.run("again", store=store) as again:
        assert made(1) == value
    assert again.hits == 1


@pytest.mark.parametrize("made", [blob, pair])
def test_a_result_swept_between_the_look_up_and_the_record_of_the_hit(
    store: Store, collector: Store, monkeypatch: pytest.MonkeyPatch, made: Any
) -> None:
    with tl.run("old", store=store):
        made(1)
    with tl.run("new", store=store) as run:
        before_append(store, Hit, lambda: sweep_all(collector), monkeypatch)
        assert made(1) == made.__wrapped__(1)
    assert [r.id for r in tl.runs(store=store)] == [run.id]
    assert run.calls[0].result == made.__wrapped__(1)
    check_everything(store)


def test_results_of_a_map_swept_between_look_up_and_record(
    store: Store, collector: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tl.run("old", store=store):
        tl.map(blob, range(8)).results()
    with tl.run("new", store=store) as run:
        before_append(store, Hit, lambda: sweep_all(collector), monkeypatch)
        found = tl.map(blob, range(8)).results()
    assert list(found) == [blob.__wrapped__(n) for n in range(8)]
    assert sorted(call.result for call in run.calls) == list(found)
    check_everything(store)


def test_a_result_that_another_call_gave_too_is_swept(
    store: Store, collector: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tl.run("old", store=store):
        blob(1)
    with tl.run("new", store=store) as run:
        before_append(store, CallEnd, lambda: sweep_all(collector), monkeypatch)
        told(1)  # the same bytes, which are not written again
    assert run.calls[0].result == blob.__wrapped__(1)
    check_everything(store)


def test_an_argument_that_is_swept_is_described(
    store: Store, collector: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tl.run("old", store=store):
        data = blob(1)
    with tl.run("new", store=store) as run:
        before_append(store, CallEnd, lambda: sweep_all(collector), monkeypatch)
        assert length(data) == 100_000
    assert run.calls[0].result == 100_000
    assert not run.calls[0].inputs["data"].is_stored
    with tl.run("again", store=store) as again:
        length(data)
    assert again.hits == 1


@pytest.mark.parametrize("kind", [RunBegin, RunEnvironment])
def test_parameters_and_environments_are_swept(
    store: Store, collector: Store, monkeypatch: pytest.MonkeyPatch, kind: type[Any]
) -> None:
    before_append(store, kind, lambda: sweep_all(collector), monkeypatch)
    with tl.run("job", store=store, params={"data": b"p" * 40_000}) as run:
        blob(1)
    assert run.params["data"] == b"p" * 40_000
    check_everything(store)


def test_a_record_written_while_a_sweep_goes_on(
    store: Store, collector: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal is read, then the hit is recorded, then the object is deleted."""
    with tl.run("old", store=store):
        blob(1)
    gc.condemn(collector, gc.plan(collector, NOTHING))
    values: list[bytes] = []
    appended, threads = threading.Event(), list[threading.Thread]()

    def write() -> None:
        with tl.run("new", store=store):
            values.append(blob(1))

    append = store._write_one

    def write_one(record: Any) -> Any:
        location = append(record)
        if type(record) is Hit:
            appended.set()
        return location

    monkeypatch.setattr(store, "_write_one", write_one)
    take_out = gc.take_out

    def take_out_late(*args: Any) -> None:
        threads.append(threading.Thread(target=write))
        threads[0].start()
        assert appended.wait(30)
        take_out(*args)

    monkeypatch.setattr(gc, "take_out", take_out_late)
    gc.sweep(collector, grace=0)
    threads[0].join()
    assert values == [blob.__wrapped__(1)]
    run = tl.latest("new", store=store)
    assert run is not None
    assert run.calls[0].result == values[0]
    check_everything(store)


def test_a_writer_that_opens_the_store_during_a_sweep_is_careful(
    store: Store, collector: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tl.run("old", store=store):
        blob(1)
    gc.condemn(collector, gc.plan(collector, NOTHING))
    late: list[Store] = []
    take_out = gc.take_out

    def take_out_late(*args: Any) -> None:
        late.append(Store(store.path))
        take_out(*args)

    monkeypatch.setattr(gc, "take_out", take_out_late)
    gc.sweep(collector, grace=0)
    (writer,) = late
    assert writer._calm == -1
    with tl.run("new", store=writer) as run:
        assert blob(1) == blob.__wrapped__(1)
    assert run.executed == 1
    check_everything(store)
    writer.close()


def test_many_sweeps_while_a_writer_sleeps(
    store: Store, collector: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than lists are kept: then anything may have been swept."""

    def sleep() -> None:
        for n in range(sweeps.LISTS_KEPT + 3):
            collector.put(b"%d" % n * 20_000, n.to_bytes(16, "big"))
            sweep_all(collector)

    with tl.run("old", store=store):
        blob(1)
    with tl.run("new", store=store) as run:
        before_append(store, Hit, sleep, monkeypatch)
        assert blob(1) == blob.__wrapped__(1)
    assert run.calls[0].result == blob.__wrapped__(1)
    check_everything(store)


def test_a_killed_sweep_does_not_make_writers_wait(store: Store, collector: Store) -> None:
    with tl.run("job", store=store):
        blob(1)
    collector._counters.set(SWEEPS, 1)  # and nobody holds the lock
    with tl.run("job", store=store) as run:
        blob(1)
        blob(2)
    assert (run.hits, run.executed) == (1, 1)
    sweep_all(collector)
    assert collector._counters.now()[SWEEPS] == 4


def test_a_tag_made_during_a_sweep_holds_or_fails(
    store: Store, collector: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tl.run("old", store=store) as old:
        blob(1)
    gc.condemn(collector, gc.plan(collector, NOTHING))
    raised: list[BaseException] = []
    started, swept, threads = threading.Event(), threading.Event(), list[threading.Thread]()
    move = store.refs.move

    def moved(*args: Any, **options: Any) -> Any:
        made = move(*args, **options)
        started.set()
        assert swept.wait(30)
        return made

    def tag() -> None:
        try:
            tl.tag(old.id, "kept", store=store)
        except tl.MissingObject as error:
            raised.append(error)

    monkeypatch.setattr(store.refs, "move", moved)
    take_out = gc.take_out

    def take_out_late(*args: Any) -> None:
        threads.append(threading.Thread(target=tag))
        threads[0].start()
        assert started.wait(30)
        take_out(*args)

    monkeypatch.setattr(gc, "take_out", take_out_late)
    gc.sweep(collector, grace=0)
    swept.set()
    threads[0].join()
    assert len(raised) == 1
    assert "collected as garbage" in str(raised[0])


PROGRAM = textwrap.dedent(
    """
    import random, sys, time
    import tasklineage as tl
    from tasklineage import task

    @task
    def blob(n):
        return n.to_bytes(4, "big") * 8_000

    @task
    def several(n):
        return {"parts": [blob(n), blob(n + 1)], "own": b"%d" % n * 20_000}

    def expected(n):
        parts = [blob.__wrapped__(n), blob.__wrapped__(n + 1)]
        return {"parts": parts, "own": b"%d" % n * 20_000}

    name, store, end = sys.argv[1], sys.argv[2], time.time() + float(sys.argv[3])
    chance = random.Random(name)
    count = 0
    while time.time() < end:
        with tl.run(name, store=store) as run:
            for _ in range(chance.randrange(1, 6)):
                n = chance.randrange(12)
                if chance.random() < 0.5:
                    assert blob(n) == blob.__wrapped__(n)
                else:
                    assert several(n) == expected(n)
            if chance.random() < 0.3:
                tl.map(blob, range(n, n + 5)).results()
            for call in run.calls:
                call.result
        if chance.random() < 0.3:  # from now on another writer, so that this one can be packed
            tl.open_store(store).close()
        count += 1
    print(count)
    """
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "seconds", [5, pytest.param(180, marks=pytest.mark.nightly)], ids=["seconds", "minutes"]
)
def test_collecting_beside_eight_writers_loses_nothing(tmp_path: Path, seconds: int) -> None:
    """No grace at all, writers stopped for as long as sweeps take, and a clock an hour off."""
    program, store = tmp_path / "writers.py", tmp_path / "store"
    program.write_text(PROGRAM)
    open_store(store).close()
    writers = [
        subprocess.Popen(
            [sys.executable, str(program), f"writer {n}", str(store), str(seconds)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        for n in range(8)
    ]
    chance, collector, swept, packed = random.Random(8), Store(store), 0, 0
    while any(writer.poll() is None for writer in writers):
        clock = _clock_off_by(collector, chance.choice((-3600.0, 0.0, 3600.0)))
        with _stopped(chance.choice(writers)):
            for _ in range(3):
                gc.condemn(collector, gc.plan(collector, NOTHING), clock=clock)
                time.sleep(chance.random() / 20)
                done = gc.sweep(collector, grace=-2 * 3600, clock=clock)
                swept += done.objects if done else 0
                packed += done is not None and done.packed > 0
    for writer in writers:
        out, error = writer.communicate()
        assert writer.returncode == 0, error
        assert int(out) > 0
    assert swept > 10
    assert packed > 3
    check_everything(collector)
    collector.close()


@contextlib.contextmanager
def _stopped(writer: subprocess.Popen[str]) -> Iterator[None]:
    with contextlib.suppress(ProcessLookupError):
        os.kill(writer.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(writer.pid, signal.SIGCONT)


def _clock_off_by(store: Store, seconds: float) -> Callable[[], float]:
    clock = gc.clock_of(store)
    return lambda: clock() + seconds


def test_a_list_comes_back_as_it_was_written() -> None:
    one = sweeps.Candidates(
        1.5, ("a", "ä"), (bytes(16), b"r" * 16), frozenset({b"c" * 16}), frozenset({b"o" * 16})
    )
    data = sweeps.encode_list(one)
    assert sweeps.decode_list(data) == one
    for cut in range(len(data)):
        assert sweeps.decode_list(data[:cut]) is None
