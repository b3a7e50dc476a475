"""Push and pull where one side, or both, are remote stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.errors import CorruptObject, StoreError
from tasklineage.storage import format as layout
from tasklineage.storage.mirror import Opened
from tasklineage.storage.store import Store
from tests.unit.storage.test_remote import Bucket

executed: list[int] = []
Machine = Callable[[str, str], Store]


@task
def table(n: int) -> np.ndarray:
    executed.append(n)
    return np.arange(n)


@task
def total(values: np.ndarray) -> int:
    return int(values.sum())


@task
def report(n: int) -> str:
    return f"the sum of {n} numbers is {total(table(n))}"


@pytest.fixture
def buckets(tmp_path: Path) -> dict[str, Bucket]:
    return {}


@pytest.fixture
def machine(tmp_path: Path, buckets: dict[str, Bucket]) -> Iterator[Machine]:
    """Opens the remote store in a bucket of that name as a machine of another name does."""
    stores: list[Store] = []

    def opened(bucket: str, name: str) -> Store:
        root = tmp_path / "buckets" / bucket
        if bucket not in buckets:
            root.mkdir(parents=True)
            buckets[bucket] = Bucket(root)
            buckets[bucket].write(layout.FILE, layout.content(id="00"))
        mirror = tmp_path / "mirrors" / f"{name}-{bucket}"
        layout.open_folder(mirror)
        found = Opened(f"test://{bucket}", buckets[bucket], mirror, True, 1 << 30)
        store = Store(mirror, remote=found)
        stores.append(store)
        return store

    yield opened
    for store in stores:
        store.close()


@pytest.fixture
def run(tmp_path: Path) -> tl.Run:
    tl.configure(store=tmp_path / "here")
    with tl.run("one") as run:
        report(50_000)
    tl.tag(run, "best")
    return run


def test_what_is_pushed_to_a_bucket_is_a_hit_on_another_machine(
    run: tl.Run, machine: Machine
) -> None:
    sent = tl.push(machine("a", "mine"), run)
    assert (sent.runs, sent.calls, sent.refs) == (1, 3, ("best",))
    assert tl.push(machine("a", "mine"), run).records == 0
    executed.clear()
    yours = machine("a", "yours")
    assert tl.get("best", store=yours) == run
    assert tl.get(run["table"].id, store=yours).result.size == 50_000  # type: ignore[union-attr]
    with tl.run("again", store=yours) as again:
        report(50_000)
    assert (again.hits, executed) == (1, [])


def test_pull_brings_what_another_machine_has_put(
    run: tl.Run, machine: Machine, tmp_path: Path
) -> None:
    tl.push(machine("a", "mine"))
    got = tl.pull(machine("a", "yours"), store=tmp_path / "there")
    assert (got.runs, got.calls, got.refs) == (1, 3, ("best",))
    there = tl.get(run.id, store=tmp_path / "there")
    assert isinstance(there, tl.Run)
    assert there["table"].result.sum() == run["total"].result
    again = tl.pull(machine("a", "third"), store=tmp_path / "there")
    assert (again.records, again.objects) == (0, 0)


def test_a_bucket_goes_to_another_bucket(run: tl.Run, machine: Machine) -> None:
    tl.push(machine("a", "mine"))
    assert tl.push(machine("b", "yours"), "best", store=machine("a", "yours")).calls == 3
    third = tl.get("best", store=machine("b", "third"))
    assert isinstance(third, tl.Run)
    assert third["table"].result.size == 50_000


def test_a_second_push_puts_nothing(
    run: tl.Run, machine: Machine, buckets: dict[str, Bucket]
) -> None:
    tl.push(machine("a", "mine"))
    buckets["a"].requests.clear()
    assert tl.push(machine("a", "mine")).records == 0
    assert buckets["a"].requests["write"] == buckets["a"].requests["create"] == 0


def test_a_bucket_that_cannot_be_reached_is_told_and_gets_it_later(
    run: tl.Run, machine: Machine, buckets: dict[str, Bucket]
) -> None:
    mine = machine("a", "mine")

    def trouble(what: str, key: str) -> None:
        if what == "write" and key.startswith("journal"):
            raise StoreError("the bucket is full")

    buckets["a"].trouble = trouble
    with pytest.raises(StoreError, match="full"):
        tl.push(mine, run)
    buckets["a"].trouble = lambda what, key: None
    assert not tl.runs(store=machine("a", "yours"))
    assert tl.push(mine, run).records == 0
    assert tl.get(run.id, store=machine("a", "third")) == run


def test_a_damaged_object_of_a_bucket_is_told_and_not_copied(
    run: tl.Run, machine: Machine, buckets: dict[str, Bucket], tmp_path: Path
) -> None:
    tl.push(machine("a", "mine"))
    root = tmp_path / "buckets" / "a" / "objects"
    large = max((p for p in root.rglob("*") if p.is_file()), key=lambda path: path.stat().st_size)
    large.write_bytes(large.read_bytes()[:-1] + b"?")
    with pytest.raises(CorruptObject, match=f"damaged: {large.parent.name}{large.name}"):
        tl.pull(machine("a", "yours"), store=tmp_path / "there")
    assert len(tl.calls(store=tmp_path / "there")) == 3
