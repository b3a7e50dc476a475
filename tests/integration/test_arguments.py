"""What is recorded of a call's arguments: inline, by reference, described, or stored on request."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tasklineage as tl
from tasklineage import task
from tasklineage.key.digest import digest

LARGE = 100_000


@task
def total(data: Any, scale: float = 1.0) -> float:
    return float(np.sum(data)) * scale


@task
def halves(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(n), np.arange(n) * 2.0


@task
def is_given(value: Any) -> bool:
    return True


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40)
@given(value=plain_values)
def test_a_small_argument_is_read_back_as_it_was(value: Any) -> None:
    with tl.run() as run:
        is_given(value)
    call = run["is_given"]
    assert call.inputs["value"].is_stored
    assert call.inputs["value"].outline == {}
    assert digest(call.args["value"]) == digest(value)


def test_defaults_and_variadics_are_recorded_by_name() -> None:
    @task
    def f(a: int, b: int = 2, *rest: int, c: int = 3, **more: int) -> int:
        return a + b + c

    with tl.run() as run:
        f(1, 2, 5, 6, d=7)
    assert run["f"].args == {"a": 1, "b": 2, "rest": (5, 6), "c": 3, "more": {"d": 7}}
    assert list(run["f"].inputs) == ["a", "b", "rest", "c", "more"]


def test_a_large_argument_that_nobody_made_is_described() -> None:
    with tl.run() as run:
        total(np.arange(LARGE), scale=2.0)
    call = run["total"]
    assert call.args["scale"] == 2.0
    described = call.inputs["data"]
    assert not described.is_stored
    assert described.type == "numpy.ndarray"
    assert described.outline["shape"] == (LARGE,)
    assert described.outline["dtype"] == "int64"
    assert described.outline["head"].startswith("0 1 2")
    with pytest.raises(tl.MissingObject, match=r"'data' of call \w+ of .*total.*store_args=True"):
        _ = call.args["data"]


def test_an_outline_says_which_mib_differs() -> None:
    one = np.zeros(300_000)
    other = one.copy()
    other[200_000] = 1.0
    with tl.run() as run:
        total(one)
        total(other)
    first, second = (call.inputs["data"].outline["blocks"] for call in run.calls)
    assert [a == b for a, b in zip(first, second, strict=True)] == [True, False, True]


def test_what_all_elements_share_is_outlined_by_the_first() -> None:
    @task
    def at(i: int, data: np.ndarray) -> float:
        return float(data[i])

    with tl.run() as run:
        tl.map(at, range(50), data=np.arange(LARGE, dtype=float)).results()
    described = [call.inputs["data"] for call in run.calls]
    assert {tuple(one.outline["shape"]) for one in described} == {(LARGE,)}
    store = run.store
    records = [store.journal.read(row.location) for row in store.catalog.find_calls()]
    assert sum(record.arguments[1][3] is not None for record in records) <= 3


@pytest.mark.parametrize(
    "value",
    [
        "a" * LARGE, b"a" * LARGE, bytearray(LARGE), list(range(LARGE)), np.zeros((300, 300)),
        np.asfortranarray(np.zeros((300, 300))), np.zeros((300, 300))[::2], "\ud800" * LARGE,
        np.zeros(LARGE, [("a", "i4"), ("b", "f8")]), np.array([None] * LARGE, object),
        np.broadcast_to(1.0, (300, 300)), np.zeros(LARGE, "datetime64[ns]"),
        dict.fromkeys(range(LARGE)),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_any_large_argument_has_an_outline_and_a_preview(value: Any) -> None:
    with tl.run() as run:
        is_given(value)
    described = run["is_given"].inputs["value"]
    assert not described.is_stored
    assert described.outline
    assert described.preview


def test_an_argument_that_is_a_result_is_referred_to() -> None:
    @task
    def make(n: int) -> np.ndarray:
        return np.arange(n)

    with tl.run() as run:
        total(make(LARGE))
    assert (run["total"].args["data"] == np.arange(LARGE)).all()


def test_a_part_of_a_result_is_referred_to_also_after_a_hit_in_another_process(
    tmp_path: Path,
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys
            import numpy as np
            import tasklineage as tl

            @tl.task
            def halves(n):
                return np.arange(n), np.arange(n) * 2.0

            @tl.task
            def total(data, number):
                return float(data.sum())

            with tl.run(store=sys.argv[1]) as run:
                one, other = halves(100_000)
                total(one, sys.argv[2])
            print(run["total"].inputs["data"].is_stored, run["halves"].status)
            """
        )
    )

    def run(number: str) -> str:
        command = [sys.executable, str(script), str(tmp_path / "store"), number]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert run("1") == "True done"
    assert run("2") == "True hit"


@pytest.mark.parametrize("where", ["task", "run", "configure"])
def test_store_args_stores_them(where: str) -> None:
    plain = task(store_args=True)(total.__wrapped__) if where == "task" else total
    if where == "configure":
        tl.configure(store_args=True)
    data = np.arange(LARGE)
    with tl.run(store_args=True if where == "run" else None) as run:
        plain(data)
    stored = run["total"]
    assert (stored.args["data"] == data).all()
    assert stored.inputs["data"].outline == {}


def test_the_tasks_own_store_args_goes_before_the_runs() -> None:
    with tl.run(store_args=True) as run:
        total.options(store_args=False)(np.arange(LARGE))
    assert not run["total"].inputs["data"].is_stored


def test_an_argument_is_recorded_as_it_was_before_the_body_changed_it() -> None:
    @task(store_args=True)
    def grow(small: list[int], large: np.ndarray) -> int:
        small.append(3)
        large += 1
        return len(small)

    @task
    def fails(small: list[int]) -> None:
        small.append(3)
        raise ValueError

    with warnings.catch_warnings(), tl.run() as run:
        warnings.simplefilter("ignore")
        grow([1, 2], np.zeros(LARGE))
        with pytest.raises(ValueError):
            fails([1, 2])
    assert run["grow"].args["small"] == [1, 2]
    assert not run["grow"].args["large"].any()
    assert run["fails"].args["small"] == [1, 2]


def test_a_stored_argument_that_the_body_changed_answers_for_no_result() -> None:
    @task(store_args=True)
    def grow(large: np.ndarray) -> int:
        large += 1
        return 1

    @task
    def zeros() -> np.ndarray:
        return np.zeros(LARGE)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        grow(np.zeros(LARGE))
    zeros()
    assert not zeros().any()


def test_ignored_arguments_are_recorded_whole_and_keyed_ones_too() -> None:
    @task(ignore="log", key={"text": len})
    def f(text: str, log: list[str]) -> int:
        return len(text)

    with tl.run() as run:
        f("abc", ["a"])
    assert run["f"].args == {"text": "abc", "log": ["a"]}


def test_an_ignored_argument_without_a_digest_is_missing_by_name() -> None:
    @task(ignore="session")
    def f(x: int, session: Any) -> int:
        return x

    with tl.run() as run:
        f(1, (n for n in ()))
    assert run["f"].args["x"] == 1
    with pytest.raises(tl.MissingObject, match=r"'session' of call .* has no digest"):
        _ = run["f"].args["session"]


def test_a_full_disk_keeps_no_call_from_executing_for_its_arguments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replace = os.replace

    def full(source: Any, target: Any) -> None:
        if "/objects/" in os.fspath(target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    with tl.run(store_args=True) as run:
        monkeypatch.setattr(os, "replace", full)
        with pytest.warns(UserWarning, match="records of run"):
            assert total(np.ones(LARGE)) == LARGE
        monkeypatch.undo()
    assert run["total"].status == "done"
    assert not run["total"].inputs["data"].is_stored
