"""What stores at S3 promise beyond what all do: few requests, patience, and clear refusals."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.errors import StoreError
from tasklineage.storage.opening import open_stores
from tests.conformance.stores import Machine, Place, ended
from tests.servers.fixtures import Bucket, Servers, new_bucket, one_server
from tests.servers.lifetime import Endpoint
from tests.servers.proxy import Proxy

pytestmark = pytest.mark.slow

AT_MOST = 5.0
"""Seconds until a wrong address or name is told."""


def place_of(bucket: Bucket) -> Place:
    return Place(f"{bucket.url}/store", bucket.options, bucket.environ)


@pytest.fixture
def machine(proxied: tuple[Bucket, Proxy], tmp_path: Path) -> Iterator[Callable[[str], Machine]]:
    """Machines that reach their bucket through the proxy."""
    place = place_of(proxied[0])
    yield lambda name: Machine(place, tmp_path / name)
    assert proxied[1].count() > 0  # nobody went around it


# Requests


def test_a_map_of_ten_thousand_small_calls_goes_up_and_comes_back_in_few_requests(
    machine: Callable[[str], Machine], proxied: tuple[Bucket, Proxy]
) -> None:
    proxy = proxied[1]
    first = machine("a").does("map_whole 0 10000")
    assert first["executed"] == 10_000
    assert proxy.count() <= 200, proxy.summary()
    proxy.requests.clear()
    second = machine("b").does("map_whole 0 10000")
    assert (second["executed"], second["hits"]) == (0, 10_000)
    assert second["sum"] == first["sum"]
    assert proxy.count() <= 100, proxy.summary()
    proxy.requests.clear()
    third = machine("b").does("map_whole 0 10000")  # warm: its mirror has it all
    assert (third["executed"], third["hits"]) == (0, 10_000)
    assert proxy.count() <= 100, proxy.summary()


# Servers that fail


@one_server
@pytest.mark.parametrize(
    ("trouble", "count"),
    [
        ("503", 200),
        pytest.param("lost", 200, marks=pytest.mark.nightly),
        ("reset", 200),
    ],
)
def test_a_run_of_many_objects_ends_right_although_half_of_the_requests_fail(
    machine: Callable[[str], Machine], proxied: tuple[Bucket, Proxy], trouble: str, count: int
) -> None:
    proxy, step = proxied[1], f"map_large 0 {count}"
    proxy.inject(trouble, share=0.5, seed=1)
    first = machine("a").does(step)
    assert (first["executed"], first["right"]) == (count, True)
    assert sum(request.status != 200 for request in proxy.requests) > count / 3
    assert machine("b").does(step)["right"]
    proxy.heal()
    third = machine("c").does(step)
    assert (third["executed"], third["hits"], third["right"]) == (0, count, True)


@one_server
def test_a_server_that_is_away_for_a_while_loses_nothing(
    machine: Callable[[str], Machine], proxied: tuple[Bucket, Proxy]
) -> None:
    proxy = proxied[1]
    process = machine("a").start("one_by_one 0 200 + wait 1")
    assert process.stdout is not None
    while int(process.stdout.readline()) < 20:
        pass
    proxy.inject("reset")
    time.sleep(3)
    proxy.heal()
    assert ended(process)["executed"] == 200
    other = machine("b").does("map_large 0 200")
    assert (other["executed"], other["right"]) == (0, True)


@one_server
@pytest.mark.nightly
def test_what_waits_while_the_server_is_gone_arrives_with_the_next_process(
    machine: Callable[[str], Machine], proxied: tuple[Bucket, Proxy]
) -> None:
    proxy = proxied[1]
    process = machine("a").start("one_by_one 0 100")
    assert process.stdout is not None
    assert int(process.stdout.readline()) == 0
    proxy.inject("reset")
    assert ended(process)["executed"] == 100
    proxy.heal()
    assert machine("a").does("map_whole 0 1")["executed"] == 1
    other = machine("b").does("map_large 0 100")
    assert (other["executed"], other["right"]) == (0, True)


# What is wrong is told at once


class Mistake:
    """One thing that is wrong with how a store is opened."""

    def __init__(self, told: str, bucket: str | None = None, **options: Any) -> None:
        self.told = told
        self.bucket = bucket
        self.options = options

    def __repr__(self) -> str:
        return next(iter(self.options), "bucket")


MISTAKES = [
    Mistake("secret|credential|signature|denied|forbidden", secret="wrong"),
    Mistake("key|credential|denied|forbidden", key="nobody"),
    Mistake("bucket", bucket="no-such-bucket-here"),
    Mistake("connect", endpoint_url="http://127.0.0.1:1"),
    Mistake("connect|resolve|name", endpoint_url="http://no-such-host.invalid"),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=repr)
def test_a_mistake_is_told_within_seconds_with_url_and_operation(
    servers: Servers, mistake: Mistake
) -> None:
    pytest.importorskip("s3fs")
    endpoint: Endpoint = servers.get("radosgw")  # the imitation believes everybody
    bucket = new_bucket(endpoint)
    url = f"s3://{mistake.bucket or bucket.name}/store"
    begun = time.monotonic()
    with pytest.raises(StoreError, match=f"(?is)(read|write|open|list).*{url}.*({mistake.told})"):
        tl.open_store(url, storage_options={**bucket.options, **mistake.options})
    assert time.monotonic() - begun < AT_MOST


def test_a_wrong_region_is_told_or_does_not_matter(bucket: Bucket) -> None:
    options = {**bucket.options, "client_kwargs": {"region_name": "mars-1"}}
    begun = time.monotonic()
    try:
        tl.open_store(f"{bucket.url}/store", storage_options=options)
    except StoreError as error:
        assert "mars-1" in str(error) or "region" in str(error).lower()
    assert time.monotonic() - begun < AT_MOST


# Signed stores, and workers


@task
def signed_blob(n: int) -> bytes:
    return bytes([n]) * 50_000


def test_a_signed_store_whose_key_and_credentials_are_given_in_code_alone(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They reach the workers of `tl.Processes`; another machine with the key executes nothing."""
    monkeypatch.chdir(tmp_path)  # in no working tree, whose differences would be stored
    url, given = place_of(bucket).url, " ".join(("the", "key", "of", "this", "store"))

    def made(machine: str, executor: Any, key: str = given) -> tuple[int, int]:
        monkeypatch.setenv("TASKLINEAGE_STATE", str(tmp_path / machine))
        monkeypatch.setattr(open_stores, "_open", WeakValueDictionary())
        store = tl.open_store(url, signing_key=key, storage_options=bucket.options)
        with tl.run(store=store, executor=executor) as run:
            assert [one[0] for one in tl.map(signed_blob, range(6))] == list(range(6))
        store.close()
        return run.executed, run.hits

    assert made("a", tl.Processes(2)) == (6, 0)
    assert made("b", "threads:2") == (0, 6)
    with pytest.raises(StoreError, match="another key"):
        made("c", "inline", "some other key")
    backend = place_of(bucket).backend()
    assert all(given.encode() not in backend.read(entry.key) for entry in backend.list())
