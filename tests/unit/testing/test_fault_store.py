"""Programs meet the faults of a store, and survive them."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from pathlib import Path
from uuid import uuid4

import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.errors import ConfigError, MissingObject, StoreError, StoreUnavailable
from tasklineage.storage.backend import Backend, Folder, open_backend
from tasklineage.storage.patience import Patient
from tasklineage.testing import Fault, FaultStore

FUNCTIONS = {name: getattr(os, name) for name in ("open", "write", "pwrite", "replace", "fsync")}


@task
def big(n: int) -> str:
    return f"{n} " * 20_000


@task
def small(n: int) -> int:
    return n + 1


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def results(store: object, n: int = 20) -> list[str]:
    with tl.run(store=store):
        return [big(i) for i in range(n)]


# A local store


def test_a_full_disk_keeps_the_finished_work_and_the_program_goes_on_later(root: Path) -> None:
    with FaultStore(root, Fault.error("ENOSPC", on="write", key="objects/*", after=30)) as faults:
        with pytest.raises(StoreError) as caught:
            results(faults)
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.value.startswith(("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"))
        assert faults.happened[0].operation == "write"
        assert faults.happened[0].key.startswith("objects/")
        done = int(caught.value.value.split()[0])
    assert done > 0
    with tl.run(store=root) as run:
        assert [big(i)[:2] for i in range(20)] == [f"{i} "[:2] for i in range(20)]
    assert run.hits == done


def test_a_program_that_tries_again_comes_to_its_end(root: Path) -> None:
    with FaultStore(root, Fault.error("EIO", share=0.1), seed=3) as faults:
        for _ in range(100):
            try:
                found = results(faults)
                break
            except StoreError:
                continue
    assert found == [f"{i} " * 20_000 for i in range(20)]
    assert len(faults.happened) > 3
    with tl.run(store=root) as run:
        assert [big(i) for i in range(20)] == found
    assert run.executed == 0


@pytest.mark.parametrize("fault", [Fault.torn(share=0.2), Fault.short(share=0.5)], ids=repr)
def test_torn_and_short_writes_leave_a_sound_store(root: Path, fault: Fault) -> None:
    with FaultStore(root, fault, seed=5) as faults:
        while True:
            try:
                with tl.run(store=faults):
                    assert [small(i) for i in range(50)] == list(range(1, 51))
                    assert [len(big(i)) for i in range(10)] == [40_000] * 10
                break
            except StoreError as error:
                assert fault.kind == "torn"
                assert error.errno == errno.EIO
    assert faults.happened
    with tl.run(store=root) as run:
        assert [small(i) for i in range(50)] == list(range(1, 51))
        assert [len(big(i)) for i in range(10)] == [40_000] * 10
    assert run.executed == 0


def test_reads_fail_too_if_asked(root: Path) -> None:
    results(root, 3)
    with FaultStore(root, Fault.error("EIO", on="read", key="objects/*")):
        with tl.run(store=root) as run, pytest.raises(StoreError) as caught:
            big(0)
        assert caught.value.errno == errno.EIO
    with tl.run(store=root) as run:
        big(0)
    assert run.hits == 1


def test_a_store_that_was_open_before_meets_the_faults_as_well(root: Path) -> None:
    store = tl.open_store(root)
    with tl.run(store=store):
        small(1)
        with FaultStore(store, Fault.error("ENOSPC")) as faults:
            with pytest.raises(StoreError):
                small(2)
            assert faults.url == store.url
            faults.heal()
            assert small(2) == 3
            faults.inject(Fault.error("EDQUOT", on="write"))
            with pytest.raises(StoreError) as caught:
                small(3)
            assert caught.value.errno == errno.EDQUOT
        assert small(3) == 4


def test_only_what_is_below_the_store_is_touched(root: Path, tmp_path: Path) -> None:
    with FaultStore(root, Fault.error("EIO", on=("read", "write", "list"))) as faults:
        (tmp_path / "mine").write_bytes(b"1")
        fd = os.open(tmp_path / "mine", os.O_RDWR)
        os.write(fd, b"2")
        os.close(fd)
        assert os.listdir(tmp_path) == ["mine"]
        (tmp_path / "storeys").mkdir()
        assert faults.happened == []
        with pytest.raises(OSError, match="injected"):
            os.mkdir(root / "x")


def test_afterwards_the_functions_are_what_they_were(root: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), FaultStore(root, Fault.slow(0), unsynced=True):
        with FaultStore(tmp_path / "other", Fault.slow(0)):
            assert os.write is not FUNCTIONS["write"]
        raise RuntimeError
    assert {name: getattr(os, name) for name in FUNCTIONS} == FUNCTIONS


def test_two_stores_have_faults_of_their_own(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with FaultStore(root, Fault.error("EIO")) as one, FaultStore(other, Fault.slow(0)) as two:
        with pytest.raises(StoreError), tl.run(store=one):
            big(1)
        with tl.run(store=two):
            big(1)
        assert {fault.kind for _, _, fault in one.happened} == {"error"}
        assert {fault.kind for _, _, fault in two.happened} == {"slow"}


def test_a_slow_store_is_slow(root: Path) -> None:
    with FaultStore(root, Fault.slow(0.05, on="write", key="objects/*")):
        begun = time.monotonic()
        results(root, 1)
        assert time.monotonic() - begun > 0.05


def test_threads_meet_faults(root: Path) -> None:
    with FaultStore(root, Fault.error("EIO", key="objects/*")) as faults, tl.run(store=faults):
        found = tl.map(big, range(8), on_error="collect", executor="threads:4")
        assert len(found.failures) == 8
        assert all(isinstance(failure.error, StoreError) for failure in found.failures)


def test_a_kill_ends_the_process_and_the_next_one_goes_on(root: Path) -> None:
    tl.open_store(root)
    for number in range(1, 40, 4):
        pid = os.fork()
        if pid == 0:
            with FaultStore(root, Fault.kill(at=number)):
                results(root, 3)
            os._exit(0)
        status = os.waitpid(pid, 0)[1]
        if not os.WIFSIGNALED(status):
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
    assert results(root, 3) == [f"{i} " * 20_000 for i in range(3)]


def test_a_fork_keeps_the_faults(root: Path) -> None:
    with FaultStore(root, Fault.error("EIO", on="write")):
        pid = os.fork()
        if pid == 0:
            try:
                os.mkdir(root)
            except OSError:
                os._exit(0)
            os._exit(0 if root.exists() else 7)
        assert os.waitpid(pid, 0)[1] == 0


# Power


@pytest.mark.parametrize("left", ["nothing", "names", "contents", "some"])
def test_a_power_cut_leaves_what_was_promised(root: Path, tmp_path: Path, left: str) -> None:
    with (
        FaultStore(root, unsynced=True) as faults,
        tl.run(store=faults, durability="power"),
    ):
        values = [big(i) for i in range(3)]
        after = faults.cut_power(tmp_path / "after", left=left)
    with tl.run(store=after) as run:
        assert [big(i) for i in range(3)] == values
    assert run.executed == 0


def test_without_the_promise_a_power_cut_takes_work_and_never_gives_a_wrong_result(
    root: Path, tmp_path: Path
) -> None:
    executed = []
    tl.open_store(root, durability="power")  # that there is a store is flushed
    with FaultStore(root, unsynced=True) as faults:
        values = results(root, 5)
        for seed in range(5):
            faults.cut_power(tmp_path / f"after-{seed}", seed=seed)
    for seed in range(5):
        with tl.run(store=tmp_path / f"after-{seed}") as run:
            assert [big(i) for i in range(5)] == values
        executed.append(run.executed)
    assert any(executed)


def test_power_can_be_cut_of_a_store_that_was_open_before(root: Path, tmp_path: Path) -> None:
    results(root, 2)
    with FaultStore(root, unsynced=True) as faults:
        results(root, 4)
        after = faults.cut_power(tmp_path / "after", left="nothing")
    with tl.run(store=after) as run:
        assert len([big(i) for i in range(4)]) == 4
    assert run.hits == 2


def test_what_cannot_be_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unsynced=True"), FaultStore(root) as faults:
        faults.cut_power(tmp_path / "after")
    with pytest.raises(ConfigError, match="names, contents"), FaultStore(root, unsynced=True) as f:
        f.cut_power(tmp_path / "after", left="everything")
    with pytest.raises(ConfigError, match="no local folder"):
        FaultStore("memory://x", unsynced=True)


# A backend


@pytest.fixture(params=["folder", "memory"])
def backend(request: pytest.FixtureRequest, root: Path) -> Backend:
    if request.param == "folder":
        root.mkdir(mode=0o700)
        return Folder(root)
    return open_backend(f"memory://{uuid4().hex}/store")


def faulty(backend: Backend, *faults: Fault) -> Backend:
    found = FaultStore(backend, *faults).backend
    assert found is not None
    return found


def test_a_backend_with_faults_fails_as_a_real_one(backend: Backend) -> None:
    one = faulty(backend, Fault.error(503, on="write"), Fault.error("EIO", on="read"))
    with pytest.raises(StoreUnavailable, match=r"cannot write .*a.*503"):
        one.write("a", b"1")
    with pytest.raises(StoreError, match="cannot read") as caught:
        one.read("a")
    assert caught.value.errno == errno.EIO
    assert one.names() == []


def test_what_was_lost_was_done(backend: Backend) -> None:
    one = faulty(backend, Fault.lost(503, on=("write", "create"), times=2))
    with pytest.raises(StoreUnavailable):
        one.write("a", b"1")
    assert backend.read("a") == b"1"
    with pytest.raises(StoreUnavailable):
        one.create("b", b"1")
    assert one.create("b", b"1") is False


def test_of_many_keys_each_has_a_fate_of_its_own(backend: Backend) -> None:
    one = faulty(
        backend, Fault.error(503, on="write", key="b"), Fault.lost(503, on="read", key="c")
    )
    assert set(one.try_write_many({"a": b"1", "b": b"2", "c": b"3"})) == {"b"}
    found, failed = one.try_read_many(["a", "b", "c"])
    assert found == {"a": b"1"}
    assert set(failed) == {"c"}
    one.delete(["a", "c"])
    with pytest.raises(MissingObject):
        backend.read("a")


def test_patience_outlives_half_of_all_requests_failing(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    store = FaultStore(backend, Fault.error(503, share=0.5, on=("read", "write", "list")), seed=1)
    assert store.backend is not None
    one = Patient(store.backend)
    items = {f"a/{n}": bytes([n]) for n in range(100)}
    one.write_many(items)
    assert one.read_many(items) == items
    assert [entry.key for entry in one.list()] == sorted(items)
    assert len(store.happened) > 100


def test_every_backend_at_the_url_has_the_faults_in_the_block(root: Path) -> None:
    url = f"memory://{uuid4().hex}/store"
    before, other = (Patient(open_backend(one), 0) for one in (url, url + "2"))
    with FaultStore(url, Fault.error(503)) as faults:
        for one in (before, Patient(open_backend(url), 0)):
            with pytest.raises(StoreUnavailable):
                one.write("a", b"1")
        other.write("a", b"1")
        assert os.fspath(faults) == url
    before.write("a", b"1")


def test_concurrent_operations_are_counted_once_each(backend: Backend) -> None:
    store = FaultStore(backend, Fault.slow(0))
    threads = [
        threading.Thread(target=lambda n=n: [store.backend.write(f"{n}", b"") for _ in range(50)])  # type: ignore[union-attr]
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.operations == len(store.happened) == 200
