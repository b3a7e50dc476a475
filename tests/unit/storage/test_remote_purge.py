"""Erasing a value from a remote store, and from the mirrors of all machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.errors import MissingObject, StoreError
from tasklineage.key.digest import digest
from tasklineage.storage import erase, gc, remote
from tasklineage.storage.fsck.remote import check_backend
from tasklineage.storage.store import Store
from tests.unit.storage.machines import Bucket, Machines

CANARY = "canary-7f3a"
KEY = b"a key of any length"
executed: list[Any] = []


@task
def secret(n: int) -> str:
    executed.append(n)
    return f"{'a3f7-yranac'[::-1]} {n} " * n  # so that it does not stand in the recorded code


@task
def used(text: str) -> int:
    return len(text)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(remote, "_LEAST_PAUSE", 0.0)
    monkeypatch.setattr(remote, "_SHARE", 0.0)
    monkeypatch.setattr(remote, "_TICK", 3600.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    executed.clear()


def use(store: Store, n: int) -> str:
    with tl.run("job", store=store, executor="inline"):
        value = secret(n)
        used(value)
    store.flush()
    return value


def found_in(folder: Path) -> list[str]:
    """The files below that have the value in them."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and CANARY.encode() in path.read_bytes()
    ]


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "signed"])
@pytest.mark.parametrize("n", [3, 500, 3000])
def test_it_is_gone_from_the_bucket_and_from_every_mirror(
    machine: Machines, bucket: Bucket, n: int, key: bytes | None
) -> None:
    a, b = machine("a", signing_key=key), machine("b", signing_key=key)
    value = use(a, n)
    use(b, n)
    assert executed == [n]
    tl.tag(value, "kept", store=a)
    erase.erase(a, erase.erasure(a, digest(value)), "asked to")
    root = Path(bucket.root)
    assert found_in(root) == []
    assert found_in(a.path) == []
    assert not bucket.list("gc/busy")
    assert bucket.size("gc/purging") is None
    b.refresh()
    assert found_in(b.path) == []
    executed.clear()
    with tl.run("again", store=b, executor="inline"):
        assert not secret.cached(n)
    c = machine("c", signing_key=key)
    for reader in (a, b, c):
        reader.refresh()
        made = [call for call in tl.calls(secret, store=reader) if not call.hit]
        assert [call.status for call in made] == ["done"]
        with pytest.raises(MissingObject):
            _ = made[0].result
        with pytest.raises(MissingObject):
            tl.load("kept", store=reader)
        assert found_in(reader.path) == []
    report = check_backend(bucket, None, read_data=1.0, decode=True, signing_key=key)
    assert report.damage == []
    assert use(b, n) == value
    assert executed == [n]
    c.refresh()
    assert use(c, n) == value
    assert executed == [n], "what was made again is stored again"


def test_what_another_machine_had_not_put_yet_goes_too(machine: Machines, bucket: Bucket) -> None:
    a, b = machine("a"), machine("b")
    value = use(a, 300)
    with tl.run("late", store=b, executor="inline"):
        used(secret(300))
        erase.erase(a, erase.erasure(a, digest(value)))
    b.close()
    c = machine("c")
    c.refresh()
    assert found_in(Path(bucket.root)) == []
    assert found_in(b.path) == []
    a.refresh()
    assert found_in(a.path) == []
    assert found_in(c.path) == []


def test_what_was_put_before_its_machine_knew_is_erased_everywhere(
    machine: Machines, bucket: Bucket
) -> None:
    a, b, c = machine("a"), machine("b"), machine("c")
    value = use(a, 300)
    with tl.run("late", store=b, executor="inline"):
        assert used(value) == len(value)
        erase.erase(a, erase.erasure(a, digest(value)))
        assert b.remote is not None
        assert b.remote._state.entry is not None
        b.remote._spool.put(b.remote._state.entry)
        c.refresh()
    b.close()
    for one in (a, c):
        one.refresh()
        assert found_in(one.path) == []
    assert found_in(Path(bucket.root)) == []


def test_whoever_is_killed_at_it_is_followed_by_the_next(machine: Machines, bucket: Bucket) -> None:
    a, b = machine("a"), machine("b")
    value = use(a, 3000)

    def killed(what: str, key: str) -> None:
        if what == "write" and key.startswith("gc/purges"):
            raise KeyboardInterrupt

    planned = erase.erasure(a, digest(value))
    bucket.trouble = killed
    with pytest.raises(KeyboardInterrupt):
        erase.erase(a, planned)
    bucket.heal()
    bucket.delete([entry.key for entry in bucket.list("gc/busy")])
    assert bucket.size("gc/purging")
    gc.sweep(b, grace=0)
    assert bucket.size("gc/purging") is None
    a.refresh()
    for folder in (Path(bucket.root), a.path, b.path):
        assert found_in(folder) == []


def test_a_signed_store_is_purged_by_who_has_the_key_alone(
    machine: Machines, bucket: Bucket
) -> None:
    a = machine("a", signing_key=KEY)
    value = use(a, 30)
    with pytest.warns(UserWarning, match="signed"):
        stranger = machine("b")
    with pytest.raises(StoreError, match="signing key"):
        erase.erase(stranger, erase.erasure(stranger, digest(value)))
    assert found_in(Path(bucket.root))
