"""Why a memo did not answer, as the record of the call that executed says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tasklineage as tl
from tasklineage import task
from tasklineage.storage.records import CallEnd, Miss, decode_miss, encode_miss


def miss_of(function: Any) -> Miss | None:
    """What the record of the newest call of the task says."""
    run = tl.current_run()
    assert run is not None
    call = function.calls(limit=1)[0]
    (row,) = run.store.catalog.find_calls(prefix=call.id)
    record = run.store.journal.read(row.location)
    assert isinstance(record, CallEnd)
    return decode_miss(record.miss)


def test_a_first_call_has_no_reason() -> None:
    @task
    def first(x: int) -> int:
        return x

    first(1)
    assert miss_of(first) is None


def test_an_expired_memo_is_named_with_its_call() -> None:
    @task(ttl=0)
    def brief(x: int) -> int:
        return x

    brief(1)
    earlier = brief.calls(limit=1)[0]
    brief(1)
    assert miss_of(brief) == Miss("expired", brief.name, "ttl 0 s", bytes.fromhex(earlier.id))


def test_a_refreshed_task_is_named_also_where_it_is_below() -> None:
    @task
    def leaf(x: int) -> int:
        return x

    @task
    def parent(x: int) -> int:
        return leaf(x)

    parent(1)
    with tl.run("again", refresh=("leaf",)):
        parent(1)
    found = miss_of(parent)
    assert found is not None
    assert (found.kind, found.name) == ("refreshed", leaf.name)


def test_a_condition_below_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    @task(track="env:SPEED")
    def leaf(x: int) -> int:
        return x

    @task
    def parent(x: int) -> int:
        return leaf(x)

    monkeypatch.setenv("SPEED", "1")
    parent(1)
    monkeypatch.setenv("SPEED", "2")
    parent(1)
    found = miss_of(parent)
    assert found is not None
    assert (found.kind, found.name) == ("env", "SPEED")


def test_a_missing_object_is_named() -> None:
    @task
    def large(x: int) -> bytes:
        return bytes(1_000_000 + x)

    large(1)
    run = tl.current_run()
    assert run is not None
    for path in Path(run.store.url, "objects").glob("??/*"):
        path.unlink()
    large(1)
    found = miss_of(large)
    assert found is not None
    assert found.kind == "missing"


@given(st.text(), st.text(), st.text(), st.binary(min_size=16, max_size=16))
def test_a_reason_survives_its_text(kind: str, name: str, detail: str, memo: bytes) -> None:
    plain = [text.replace("\t", " ") for text in (kind, name, detail)]
    assert decode_miss(encode_miss(Miss(kind, name, detail, memo))) == Miss(*plain, memo)
    assert decode_miss(name if name.count("\t") != 3 else "") is None
