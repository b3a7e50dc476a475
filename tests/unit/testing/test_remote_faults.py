"""Programs meet the faults of a remote store, and survive them."""

from __future__ import annotations

import warnings
from uuid import uuid4

import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.errors import StoreError, StoreUnavailable
from tasklineage.testing import Fault, FaultStore


@task
def big(n: int) -> str:
    return f"{n} " * 20_000


@task
def small(n: int) -> int:
    return n + 1


@pytest.fixture
def url() -> str:
    return f"memory://{uuid4().hex}/store"


def test_what_passes_is_waited_out(url: str) -> None:
    with FaultStore(
        url, Fault.error(503, share=0.3, on=("read", "write", "create", "list"))
    ) as faults:
        with tl.run(store=faults) as run:
            assert [len(big(i)) for i in range(10)] == [40_000] * 10
            assert [small(i) for i in range(100)] == list(range(1, 101))
        assert run.executed == 110
        assert len(faults.happened) > 3
    backend = tl.open_store(url).backend
    assert len([one for one in backend.list("objects") if one.size > 40_000]) == 10


def test_a_store_that_refuses_at_the_beginning_is_an_error(url: str) -> None:
    with FaultStore(url, Fault.error("EACCES", on="read")), pytest.raises(StoreError, match=url):
        tl.open_store(url)
    tl.open_store(url)


def test_a_store_that_was_open_before_meets_the_faults_as_well(url: str) -> None:
    with tl.run(store=url):
        big(1)
    with FaultStore(tl.open_store(url), Fault.error("EIO", on="write")) as faults:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with tl.run(store=url):
                    assert len(big(2)) == 40_000
            except StoreError:
                pass
        assert faults.happened
    with tl.run(store=url) as run:
        assert len(big(2)) == 40_000
    assert run.status == "done"


def test_after_the_block_all_is_well(url: str) -> None:
    with FaultStore(url, Fault.error("EIO", on="write", key="none/*")) as faults:
        store = tl.open_store(faults)
    with tl.run(store=store):
        small(1)
    with tl.run(store=url) as run:
        small(1)
    assert run.hits == 1
    assert not isinstance(faults.happened, StoreUnavailable)
