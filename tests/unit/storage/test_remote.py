"""A remote store by its mirror: what one machine records, another finds.

The remote store is a folder here, behind the same interface as S3; a machine is a mirror.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.errors import ConfigError, StoreError, StoreNotFound, StoreUnavailable
from tasklineage.storage import cached_objects, follower, mirror, pulse, remote
from tasklineage.storage import format as layout
from tasklineage.storage.store import Store
from tests.unit.storage.machines import Bucket, Machines

executed: list[Any] = []


@task
def double(x: int) -> int:
    executed.append(x)
    return 2 * x


@task
def table(n: int) -> Any:
    executed.append(n)
    return np.arange(n)


@task
def tables(n: int) -> Any:
    executed.append(n)
    return {f"a{i}": np.arange(n) + i for i in range(20)}


@pytest.fixture(autouse=True)
def nothing_executed() -> None:
    executed.clear()


@pytest.fixture(autouse=True)
def no_pause(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are looked for at each miss, so that no test has to wait."""
    if "few_requests" in request.node.name:
        return
    monkeypatch.setattr(remote, "_LEAST_PAUSE", 0.0)
    monkeypatch.setattr(remote, "_SHARE", 0.0)


def compute(store: Store, count: int = 5) -> list[int]:
    with tl.run("r", store=store, executor="inline"):
        return tl.map(double, range(count)).results()


def test_what_one_machine_has_computed_another_does_not_compute_again(machine: Machines) -> None:
    assert compute(machine("a")) == [0, 2, 4, 6, 8]
    executed.clear()
    assert compute(machine("b")) == [0, 2, 4, 6, 8]
    assert executed == []


def test_what_is_computed_elsewhere_later_is_found_at_the_next_miss(machine: Machines) -> None:
    a, b = machine("a"), machine("b")
    compute(b, 1)
    compute(a, 5)
    executed.clear()
    assert compute(b, 5) == [0, 2, 4, 6, 8]
    assert executed == []


def test_large_values_come_when_they_are_asked_for_and_are_kept(
    machine: Machines, bucket: Bucket
) -> None:
    with tl.run(store=machine("a")):
        table(100_000)
        tables(10_000)
    b = machine("b")
    assert not list((b.path / "objects").glob("??/*"))
    with tl.run(store=b):
        assert table(100_000).sum() == np.arange(100_000).sum()
        assert tables(10_000)["a7"][5] == 12
    assert executed == [100_000, 10_000]
    bucket.requests.clear()
    with tl.run(store=b):
        table(100_000)
        tables(10_000)
    assert bucket.requests["read"] == 0


def test_a_run_elsewhere_reads_running_while_its_writer_beats_and_killed_after(
    machine: Machines, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = machine("a"), machine("b")
    with tl.run("long", store=a, executor="inline"):
        tl.map(double, [1]).results()
        a.flush()
        (seen,) = tl.runs(name="long", store=b)
        assert seen.status == "running"
        (beat,) = (Path(bucket.root) / "alive").iterdir()
        long_ago = time.time() - 2 * pulse.DEAD_AFTER
        os.utime(beat, (long_ago, long_ago))
        monkeypatch.setattr(pulse, "_FRESH", 0.0)
        assert seen.status == "killed"
        os.utime(beat)
        assert seen.status == "running"
    assert tl.runs(name="long", store=b)[0].status == "done"


def test_what_has_ended_elsewhere_has_no_more_to_come(machine: Machines, bucket: Bucket) -> None:
    a = machine("a")
    compute(a)
    a.close()
    assert not list((Path(bucket.root) / "alive").iterdir())
    assert not list((a.path / "spool").iterdir())
    b = machine("b")
    b.remote.pull()  # type: ignore[union-attr]
    b.remote.pull()  # type: ignore[union-attr]
    lines = (b.path / "followed").read_text().splitlines()
    assert [line[0] for line in lines] == ["+", "-"]


def test_ten_thousand_small_results_go_up_and_come_down_in_few_requests(
    machine: Machines, bucket: Bucket
) -> None:
    a = machine("a")
    with tl.run(store=a):
        assert tl.map(double, range(10_000)).executed == 10_000
    a.close()
    assert bucket.requests.total() <= 200
    bucket.requests.clear()
    executed.clear()
    b = machine("b")
    with tl.run(store=b):
        assert tl.map(double, range(10_000)).hits == 10_000
    b.close()
    assert executed == []
    assert bucket.requests.total() <= 100


def test_a_warm_rerun_makes_few_requests_and_not_one_a_call(
    machine: Machines, bucket: Bucket
) -> None:
    a = machine("a")
    compute(a, 1_000)
    bucket.requests.clear()
    compute(a, 1_000)
    assert bucket.requests.total() <= 5


def test_half_of_all_requests_failing_loses_nothing(
    machine: Machines, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    count = 0

    def every_other(what: str, key: str) -> None:
        nonlocal count
        count += 1
        if hash((count * 7919) % 1000) % 2:
            raise StoreUnavailable("503 SlowDown")

    bucket.trouble = every_other
    a = machine("a")
    with tl.run(store=a):
        wanted = [array.sum() for array in tl.map(table, range(3_000, 3_100))]
    a.close()
    executed.clear()
    b = machine("b")
    with tl.run(store=b):
        assert [array.sum() for array in tl.map(table, range(3_000, 3_100))] == wanted
    assert executed == []


def test_work_goes_on_while_the_store_cannot_be_reached(
    machine: Machines, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_PATIENCE", 0.0)
    a = machine("a")
    compute(a, 2)

    def unplugged(what: str, key: str) -> None:
        raise StoreUnavailable("connection refused", is_reached=False)

    bucket.trouble = unplugged
    with pytest.warns(UserWarning, match=r"connection refused.*Work goes on"):
        assert compute(a, 5) == [0, 2, 4, 6, 8]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with tl.run(store=a):
            table(5_000)
    bucket.trouble = lambda what, key: None
    a.flush()
    executed.clear()
    b = machine("b")
    assert compute(b, 5) == [0, 2, 4, 6, 8]
    with tl.run(store=b):
        table(5_000)
    assert executed == []


def test_what_could_not_be_put_at_the_end_is_put_by_the_next_process(
    machine: Machines, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_PATIENCE", 0.0)

    def no_writes(what: str, key: str) -> None:
        if what == "write":
            raise StoreUnavailable("no answer", is_reached=False)

    a = machine("a")
    bucket.trouble = no_writes
    with pytest.warns(UserWarning, match="Work goes on"):
        compute(a)
    with pytest.warns(UserWarning, match="could not be put into"):
        a.close()
    bucket.trouble = lambda what, key: None
    compute(machine("a"), 1)
    executed.clear()
    compute(machine("b"))
    assert executed == []


def test_a_cache_beyond_its_size_lets_go_of_what_is_in_the_store(
    machine: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = machine("a")
    with tl.run(store=a, executor="inline"):
        tl.map(table, range(20_000, 20_020)).results()
    monkeypatch.setattr(cached_objects, "_YOUNG", -1.0)
    b = machine("b", limit=1_000_000)
    b.objects.trim()  # type: ignore[attr-defined]
    with tl.run(store=b, executor="inline"):
        values = tl.map(table, range(20_000, 20_020)).results()
    assert [len(value) for value in values] == list(range(20_000, 20_020))
    kept = sum(path.stat().st_size for path in (b.path / "objects").glob("??/*"))
    assert kept <= 1_200_000
    assert len(executed) == 20


def test_what_is_not_in_the_store_yet_is_never_let_go(
    machine: Machines, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_PATIENCE", 0.0)
    monkeypatch.setattr(cached_objects, "_YOUNG", -1.0)

    def unplugged(what: str, key: str) -> None:
        raise StoreUnavailable("connection refused", is_reached=False)

    a = machine("a", limit=1_000)
    bucket.trouble = unplugged
    with pytest.warns(UserWarning, match="Work goes on"), tl.run(store=a):
        table(50_000)
    a.objects.trim()  # type: ignore[attr-defined]
    with tl.run(store=a):
        table(50_000)
    assert executed == [50_000]


def test_a_damaged_object_is_moved_away_and_computed_again(
    machine: Machines, bucket: Bucket
) -> None:
    a = machine("a")
    with tl.run(store=a) as run:
        table(5_000)
    oid = run.calls[0].output._ref.oid  # type: ignore[attr-defined]
    key = f"objects/{oid.hex()[:2]}/{oid.hex()[2:]}"
    bucket.write(key, b"x" + bucket.read(key)[1:])
    b = machine("b")
    with tl.run(store=b):
        assert table(5_000).sum() == np.arange(5_000).sum()
    assert executed == [5_000, 5_000]
    assert len(bucket.list("quarantine")) == 1
    c = machine("c")
    with tl.run(store=c):
        table(5_000)
    assert executed == [5_000, 5_000]


def test_a_lost_object_is_a_miss_and_heals(machine: Machines, bucket: Bucket) -> None:
    with tl.run(store=machine("a")):
        table(5_000)
    b = machine("b")
    bucket.delete([entry.key for entry in bucket.list("objects")])
    with tl.run(store=b):
        table(5_000)
    with tl.run(store=machine("c")):
        table(5_000)
    assert executed == [5_000, 5_000]


def test_objects_are_there_before_the_records_that_refer_to_them(
    machine: Machines, bucket: Bucket
) -> None:
    order: list[str] = []

    def note(what: str, key: str) -> None:
        if what == "write":
            order.append(key.partition("/")[0])

    a = machine("a")
    bucket.trouble = note
    with tl.run(store=a):
        tables(3_000)
    assert order.index("journal", order.index("objects")) > max(
        n for n, kind in enumerate(order) if kind == "objects"
    )


def test_an_object_that_is_there_is_not_put_again(machine: Machines, bucket: Bucket) -> None:
    a = machine("a")
    with tl.run(store=a):
        table(5_000)
    keys: list[str] = []
    bucket.trouble = lambda what, key: keys.append(key) if what == "write" else None
    with tl.run(store=a, refresh=True):
        table(5_000)
    assert len(executed) == 2
    assert not [key for key in keys if key.startswith("objects")]


def test_a_reader_writes_nothing(machine: Machines, bucket: Bucket) -> None:
    compute(machine("a"))
    bucket.requests.clear()
    b = machine("b", read_only=True)
    with pytest.warns(UserWarning, match="cannot be written"), tl.run(store=b):
        assert tl.map(double, range(5)).hits == 5
    assert tl.runs(store=b)[0].status == "done"
    b.close()
    assert not bucket.requests["write"] + bucket.requests["delete"] + bucket.requests["create"]


def _child(store: Store) -> None:
    with tl.run("child", store=store, executor="inline"):
        tl.map(double, range(5)).results()


def test_a_forked_child_is_a_writer_of_its_own(machine: Machines) -> None:
    a = machine("a")
    compute(a, 2)
    process = multiprocessing.get_context("fork").Process(target=_child, args=(a,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    executed.clear()
    assert compute(machine("b")) == [0, 2, 4, 6, 8]
    assert executed == []


def test_many_threads_of_many_machines_lose_nothing(machine: Machines, tmp_path: Path) -> None:
    stores = [machine(name) for name in "abc"]

    def work(store: Store, at: int) -> None:
        with tl.run(f"r{at}", store=store, executor="inline"):
            tl.map(double, range(at, at + 100)).results()

    threads = [
        threading.Thread(target=work, args=(store, 50 * n)) for n, store in enumerate(stores)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        store.close()
    executed.clear()
    compute(machine("d"), 200)
    assert executed == []
    assert sorted(run.name for run in tl.runs(store=machine("e"))) == ["r", "r0", "r100", "r50"]


def test_a_journal_of_very_many_pieces_is_listed_by_writer(
    machine: Machines, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "_WHOLE_LISTING", 0)
    a, b = machine("a"), machine("b")
    compute(a, 3)
    executed.clear()
    compute(b, 3)
    a.flush()
    compute(a, 6)
    executed.clear()
    assert compute(b, 6) == [0, 2, 4, 6, 8, 10]
    assert executed == []


# URLs.


@pytest.fixture
def memory_url() -> str:
    return f"memory://bucket-{os.urandom(6).hex()}/prefix"


def test_a_url_is_taken_wherever_a_store_is(memory_url: str) -> None:
    executed.clear()
    with tl.run("first", store=memory_url):
        double(21)
    with tl.run("second", store=memory_url) as run:
        double(21)
    assert executed == [21]
    assert run.hits == 1
    assert tl.open_store(memory_url).url == memory_url
    assert tl.open_store(f"{memory_url}/") is tl.open_store(memory_url)
    assert [found.name for found in tl.runs(store=memory_url)] == ["second", "first"]
    tl.configure(store=memory_url)
    assert tl.latest("second") == run


def test_the_environment_names_a_remote_store(
    memory_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKLINEAGE_STORE", memory_url)
    with tl.run("named"):
        double(1)
    assert tl.runs(store=memory_url)[0].name == "named"


def test_a_store_that_is_not_there_is_not_made_to_be_looked_at(memory_url: str) -> None:
    with pytest.raises(StoreNotFound, match=memory_url):
        tl.open_store(memory_url, read_only=True)
    with pytest.raises(StoreNotFound, match=memory_url):
        tl.runs(store=memory_url)


def test_a_format_of_a_later_version_is_refused(memory_url: str) -> None:
    from tasklineage.storage.backend import open_backend

    open_backend(memory_url).write(layout.FILE, layout.content(version=9, id="00"))
    with pytest.raises(StoreError, match="format version 9"):
        tl.open_store(memory_url)


def test_another_store_at_the_same_url_has_another_mirror() -> None:
    one, other = (layout.content(id=id) for id in ("01", "02"))
    assert mirror._folder("s3://b/x", one) != mirror._folder("s3://b/x", other)


def test_options_of_a_file_system_are_for_urls(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="storage_options"):
        tl.open_store(tmp_path / "s", storage_options={"key": "x"})


@pytest.mark.parametrize("text", ["lots", "-1", "5 PB"])
def test_a_size_of_the_cache_that_is_none_is_refused(
    text: str, memory_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKLINEAGE_CACHE_SIZE", text)
    with pytest.raises(ConfigError, match="TASKLINEAGE_CACHE_SIZE"):
        tl.open_store(memory_url)


def test_sizes_of_the_cache_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, size in (("500 MB", 500_000_000), ("1.5GB", 1_500_000_000), ("77", 77)):
        monkeypatch.setenv("TASKLINEAGE_CACHE_SIZE", text)
        assert mirror.cache_limit() == size
