"""What calls write, however fast it was made: whole records of the documented form."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgpack
import pytest

import tasklineage as tl
from tasklineage.storage.journal import Journal
from tasklineage.storage.records import KINDS, Argument, CallBegin, CallEnd, Hit, decode, encode


@tl.task(retries=1, track="env:HOME", tags="some")
def child(x: Any, fails: bool = False) -> Any:
    print("out", x)
    print("err", file=sys.stderr)
    if fails and (call := tl.current_call()) and not call.attempt:
        raise ValueError(x)
    return [x]


@tl.task(ignore="label")
def parent(x: int, label: str = "") -> list[Any]:
    return [child(x), child(x, fails=True), *tl.map(child, [b"a" * 20_000, "text", None])]


@tl.task
def failing() -> None:
    raise KeyError("no")


def written(store: Path) -> list[tuple[type[Any], bytes]]:
    return [(KINDS[frame.kind], frame.payload) for frame in Journal(store).scan({})]


@pytest.fixture
def records(tmp_path: Path) -> list[tuple[type[Any], bytes]]:
    with tl.run("program", store=tmp_path / "store", params={"p": 1}, executor="inline"):
        assert parent(1) == parent(1, label="other")
        with pytest.raises(KeyError):
            failing()
        child.forget(1)
    return written(tmp_path / "store")


def test_every_record_has_all_fields_of_its_kind(records: list[tuple[type[Any], bytes]]) -> None:
    assert {CallBegin, CallEnd, Hit} < {kind for kind, _ in records}
    for kind, payload in records:
        assert len(msgpack.unpackb(payload)) == len(kind._fields), kind
    ends = [decode(5, payload) for kind, payload in records if kind is CallEnd]
    assert {len(argument) for end in ends for argument in end.arguments} == {len(Argument._fields)}


def test_every_record_is_written_as_it_is_read(records: list[tuple[type[Any], bytes]]) -> None:
    for kind, payload in records:
        number = next(n for n, one in KINDS.items() if one is kind)
        assert encode(decode(number, payload)) == payload


def test_a_retried_call_keeps_what_each_attempt_printed(
    records: list[tuple[type[Any], bytes]],
) -> None:
    ends = [decode(5, payload) for kind, payload in records if kind is CallEnd]
    (retried,) = [end for end in ends if end.attempts]
    assert [attempt[1] for attempt in retried.attempts] == ["failed", "done"]
    assert retried.stdout == retried.attempts[-1][5]
    assert retried.stderr == retried.attempts[-1][6]
    assert retried.stdout is not None
