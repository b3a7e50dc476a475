"""Signed remote stores: what somebody has put there without the key never answers."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.storage import remote
from tasklineage.storage.object_layout import MAC_AT, MAC_SIZE
from tests.unit.storage.machines import Bucket, Machines

KEY = b"a key of any length"
executed: list[Any] = []


@task
def small(n: int) -> int:
    executed.append(n)
    return n + 1


@task
def large(n: int) -> bytes:
    executed.append(n)
    return bytes([n]) * 300_000


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(remote, "_LEAST_PAUSE", 0.0)
    monkeypatch.setattr(remote, "_SHARE", 0.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    executed.clear()


def computed(machine: Machines, name: str, key: bytes | None = KEY) -> list[Any]:
    """What had to be executed there."""
    executed.clear()
    store = machine(name, signing_key=key)
    with tl.run(store=store, executor="inline"):
        assert small(1) == 2
        assert large(2) == bytes([2]) * 300_000
    store.close()
    return list(executed)


def test_machines_with_the_key_answer_each_other(machine: Machines, bucket: Bucket) -> None:
    assert computed(machine, "a") == [1, 2]
    assert computed(machine, "b") == []
    assert bucket.size("signatures") is not None


def test_another_key_is_an_error(machine: Machines) -> None:
    computed(machine, "a")
    with pytest.raises(tl.StoreError, match="another key"):
        machine("b", signing_key=b"another")


def test_what_was_put_without_the_key_does_not_answer(machine: Machines) -> None:
    computed(machine, "a")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store = machine("stranger")
        with tl.run(store=store, executor="inline"):
            small(5)
        store.close()
    executed.clear()
    store = machine("b", signing_key=KEY)
    with pytest.warns(UserWarning, match="not signed"), tl.run(store=store, executor="inline"):
        small(1)
        small(5)
    assert executed == [5]


def test_a_stranger_is_told_that_the_store_is_signed(machine: Machines) -> None:
    computed(machine, "a")
    with pytest.warns(UserWarning, match=r"s3://.* is signed, and opened without"):
        machine("b")


def test_an_object_that_lost_its_signature_is_stored_anew_for_all(
    machine: Machines, bucket: Bucket
) -> None:
    computed(machine, "a")
    (key,) = (entry.key for entry in bucket.list("objects") if entry.size > 300_000)
    data = bytearray(bucket.read(key))
    data[MAC_AT : MAC_AT + MAC_SIZE] = bytes(MAC_SIZE)
    bucket.write(key, bytes(data))
    assert computed(machine, "b") == [2]
    assert computed(machine, "c") == []
