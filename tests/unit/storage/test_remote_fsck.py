"""What a check of a remote store finds, what it does not find, and what it does about it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.errors import StoreError, StoreNotFound
from tasklineage.storage import format as layout
from tasklineage.storage import gc, remote
from tasklineage.storage.fsck import KINDS, Report
from tasklineage.storage.fsck.remote import check_backend, check_remote
from tasklineage.storage.store import Store
from tests.unit.storage.machines import Bucket, Machines

executed: list[Any] = []


@task
def small(n: int) -> int:
    executed.append(n)
    return n + 1


@task
def large(n: int) -> Any:
    executed.append(n)
    return np.arange(n)


@task
def parts(n: int) -> dict[str, Any]:
    executed.append(n)
    return {"left": np.arange(n), "right": np.arange(n) + 1}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(remote, "_LEAST_PAUSE", 0.0)
    monkeypatch.setattr(remote, "_SHARE", 0.0)
    monkeypatch.setattr(remote, "_TICK", 3600.0)
    monkeypatch.chdir(tmp_path)
    executed.clear()


def use(store: Store) -> None:
    """Two runs, put in several pieces."""
    with tl.run("first", store=store, executor="inline"):
        for n in range(4):
            assert small(n) == n + 1
            store.flush()
        assert large(5_000).sum() == np.arange(5_000).sum()
        assert parts(9_000)["right"][0] == 1
        store.flush()
    with tl.run("second", store=store, executor="inline"):
        assert tl.map(small, range(50)).results() == list(range(1, 51))
        large(5_000)


@pytest.fixture
def made(machine: Machines) -> Store:
    """A store that was used by machine `a`, which has ended."""
    store = machine("a")
    use(store)
    tl.tag(tl.calls(task=large.name, store=store)[0].output, "data", store=store)
    store.close()
    return store


def check(bucket: Bucket, mirror: Path | None = None, **options: Any) -> Report:
    return check_backend(bucket, mirror, **options)


def kinds(report: Report) -> set[str]:
    return {finding.kind for finding in report.damage}


def pieces(bucket: Bucket) -> list[str]:
    return [entry.key for entry in bucket.list("journal")]


def objects(bucket: Bucket) -> list[str]:
    """Large ones first."""
    found = sorted(bucket.list("objects"), key=lambda entry: -entry.size)
    return [entry.key for entry in found if entry.size > 30_000]


def flip(bucket: Bucket, key: str, place: int) -> None:
    data = bytearray(bucket.read(key))
    data[place] ^= 0xFF
    bucket.write(key, bytes(data))


class Damage(NamedTuple):
    kind: str
    do: Callable[[Bucket], object]
    names_runs: bool = True
    options: dict[str, Any] = {}  # noqa: RUF012 - never changed


DAMAGES = {
    "a piece in the middle is gone": Damage(
        "piece-missing", lambda b: b.delete([pieces(b)[1]])
    ),
    "the first piece is gone": Damage(
        "piece-missing", lambda b: b.delete([pieces(b)[0]]), names_runs=False
    ),
    "a piece is torn": Damage(
        "piece-torn", lambda b: b.write(pieces(b)[2], b.read(pieces(b)[2])[:-7])
    ),
    "a piece is empty": Damage("piece-torn", lambda b: b.write(pieces(b)[2], b"")),
    "a piece has grown": Damage(
        "piece-torn", lambda b: b.write(pieces(b)[1], b.read(pieces(b)[1]) + b"x")
    ),
    "a byte of a record is another": Damage(
        "record-damaged", lambda b: flip(b, pieces(b)[1], 40)
    ),
    "the last piece has other bytes": Damage(
        "record-damaged", lambda b: b.write(pieces(b)[-1], bytes(len(b.read(pieces(b)[-1]))))
    ),
    "the head of the segment is another": Damage(
        "segment-head", lambda b: flip(b, pieces(b)[0], 2), names_runs=False
    ),
    "an object is gone": Damage("object-missing", lambda b: b.delete([objects(b)[-1]])),
    "an object is torn": Damage(
        "object-malformed", lambda b: b.write(objects(b)[0], b.read(objects(b)[0])[:-9])
    ),
    "an object is empty": Damage("object-malformed", lambda b: b.write(objects(b)[0], b"")),
    "an object has another header": Damage(
        "object-malformed", lambda b: flip(b, objects(b)[0], 1)
    ),
    "an object has other bytes": Damage(
        "object-damaged", lambda b: flip(b, objects(b)[0], 20_000), options={"read_data": 1.0}
    ),
    "an object is under another name": Damage(
        "object-misplaced",
        lambda b: (b.write("objects/ab/" + "0" * 30, b.read(objects(b)[0])),
                   b.delete([objects(b)[0]])),
    ),
    "a ref is another": Damage(
        "ref-damaged", lambda b: flip(b, b.list("refs")[0].key, 30), names_runs=False
    ),
    "the format file is gone": Damage(
        "format-missing", lambda b: b.delete([layout.FILE]), names_runs=False
    ),
    "the format file is another": Damage(
        "format-damaged", lambda b: flip(b, layout.FILE, 25), names_runs=False
    ),
    "a list is another": Damage(
        "list-damaged", lambda b: b.write("gc/condemned/00000001", b"nonsense"), names_runs=False
    ),
}  # fmt: skip


def test_a_sound_store_is_found_sound(made: Store, bucket: Bucket) -> None:
    before = {entry.key: bucket.read(entry.key) for entry in bucket.list()}
    for mirror in (None, made.path):
        report = check(bucket, mirror, read_data=1.0, decode=True)
        assert report.findings == ()
        assert report.counts["records"] > 100
        assert report.counts["objects"] > 3
        assert report.counts["values"] > 50
    assert {entry.key: bucket.read(entry.key) for entry in bucket.list()} == before


def test_a_store_that_is_in_use_is_found_sound(machine: Machines, bucket: Bucket) -> None:
    a, b = machine("a"), machine("b")
    with tl.run("going on", store=a, executor="inline"):
        for n in range(20):
            small(n)
            large(3_000 + n)
            if n % 3 == 0:
                a.flush()
                gc.condemn(b, gc.plan(b, gc.Rules(last=0)))
                gc.sweep(b, grace=0)
            assert kinds(check(bucket, a.path)) == set()


@pytest.mark.parametrize("name", DAMAGES)
def test_every_damage_is_found_and_named(made: Store, bucket: Bucket, name: str) -> None:
    damage = DAMAGES[name]
    damage.do(bucket)
    report = check(bucket, **damage.options)
    assert damage.kind in kinds(report), report.findings
    assert not report.is_healthy
    if damage.names_runs:
        (finding,) = (one for one in report.damage if one.kind == damage.kind)
        assert finding.runs


@pytest.mark.parametrize("mirror", ["with its mirror", "without"])
@pytest.mark.parametrize("name", DAMAGES)
def test_what_was_repaired_is_sound_and_nothing_is_deleted(
    made: Store, bucket: Bucket, machine: Machines, name: str, mirror: str
) -> None:
    damage = DAMAGES[name]
    damage.do(bucket)
    kept = {bucket.read(entry.key) for entry in bucket.list()}
    folder = made.path if mirror == "with its mirror" else None
    report = check(bucket, folder, repair=True, **damage.options)
    assert report.is_healthy, [one for one in report.damage if not one.repaired]
    assert kept <= {bucket.read(entry.key) for entry in bucket.list()}
    again = check(bucket, folder, read_data=1.0, decode=True)
    assert again.damage == []
    executed.clear()
    use(machine("heals"))
    if folder is not None and name.startswith(("a piece", "the first piece", "a byte")):
        assert executed == [], "the mirror had it"
    machine("heals").close()
    executed.clear()
    use(machine("healed"))
    assert executed == []
    assert check(bucket, folder, read_data=1.0).is_healthy


def test_the_last_piece_is_missed_where_the_mirror_knows_of_it(made: Store, bucket: Bucket) -> None:
    made.catalog.save()
    made.close()
    last = pieces(bucket)[-1]
    bucket.delete([last])
    assert kinds(check(bucket, made.path)) >= {"segment-truncated"}
    assert check(bucket, made.path, repair=True).is_healthy
    assert kinds(check(bucket, made.path)) == set()


def test_what_a_killed_machine_has_put_in_part_is_no_damage(
    machine: Machines, bucket: Bucket
) -> None:
    a = machine("a")
    with tl.run("r", store=a, executor="inline"):
        for n in range(3):
            small(n)
            a.flush()
    hidden = bucket.read(pieces(bucket)[1])
    assert hidden
    bucket.delete([pieces(bucket)[1]])
    report = check(bucket)
    assert "piece-awaited" in {one.kind for one in report.findings}
    assert kinds(report) <= {"run-missing", "code-missing", "parent-missing", "producer-missing"}


def test_where_there_is_no_store_there_is_nothing_to_check() -> None:
    with pytest.raises(StoreNotFound):
        check_remote("memory://nothing-here")


def test_a_store_in_memory_is_checked() -> None:
    store = tl.open_store("memory://checked")
    use(store)
    store.flush()
    assert check_remote("memory://checked", read_data=1.0, decode=True).is_healthy
    store.close()


@pytest.mark.parametrize("seed", range(10))
def test_whatever_a_key_says_a_check_ends_with_a_report(
    made: Store, bucket: Bucket, seed: int
) -> None:
    """Keys and bytes that somebody has made up."""
    chosen = random.Random(seed)
    keys = [entry.key for entry in bucket.list()]
    for _ in range(6):
        key = chosen.choice(keys)
        data = bytearray(bucket.read(key))
        for _ in range(chosen.randrange(1, 9)):
            if data:
                data[chosen.randrange(len(data))] = chosen.randrange(256)
        other = chosen.choice(
            [
                key,
                "journal/00ff00ff00ff00ff/00000001-000000000-000000099",
                "journal/x",
                "objects/zz/1",
                "gc/sweeps/99999999",
                "nonsense/a",
            ]
        )
        bucket.write(other, bytes(data[: chosen.randrange(len(data) + 1)]))
    try:
        report = check(bucket, read_data=1.0, decode=True)
    except StoreError as error:
        assert "version" in str(error)
    else:
        assert {one.kind for one in report.findings} <= KINDS.keys()
    shutil.rmtree(made.path)
