"""The power fails at every operation: what `durability="power"` promises, and what it costs not to.

`Disk` in `power.py` keeps account of what was flushed; the store that it leaves is opened by
another process, which makes all calls again.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.storage import upkeep
from tests.crash.killer import is_nightly
from tests.crash.power import Outcome, Say, sweep

COUNT = 3


@task
def small(i: int) -> dict[str, int]:
    return {"i": i, "square": i * i}


@task
def large(i: int) -> Any:
    return np.full(40_000, float(i))


@task
def tree(i: int) -> Any:
    return [np.full(5_000, i), "x" * 20_000, i]


@task
def twin(i: int) -> Any:
    return np.full(40_000, float(i)) * 1.0


@task(store_args=True)
def parent(data: Any) -> float:
    return float(data.sum()) + sum(small(i)["square"] for i in range(COUNT))


def calls() -> Iterator[tuple[str, Any]]:
    """Every call of the scenario: its name and its value, one after the other."""
    for i in range(COUNT):
        yield f"small {i}", small(i) == {"i": i, "square": i * i}
        yield f"large {i}", (large(i) == np.full(40_000, float(i))).all()
    found = tree(7)
    yield "tree", (found[0] == 7).all() and found[1:] == ["x" * 20_000, 7]
    yield "parent", parent(np.ones(30_000)) == 30_000 + 0 + 1 + 4


def scenario(folder: Path, say: Say) -> None:
    _live(folder, say, "power")


def careless(folder: Path, say: Say) -> None:
    _live(folder, say, "process")


def _live(folder: Path, say: Say, durability: str) -> None:
    with tl.run("r", store=folder / "below" / "store", durability=durability):
        for name, is_right in calls():
            assert is_right
            say(name)


def check(folder: Path, said: Sequence[str]) -> list[str]:
    """What is wrong with what was left: a call that is lost, or a value that is."""
    with tl.run("again", store=folder / "below" / "store") as run:
        made = list(calls())
    hits = [call.hit for call in run.roots]
    problems = [f"{name} is wrong" for name, is_right in made if not is_right]
    named = zip((name for name, _ in made), hits, strict=True)
    return problems + [f"{name} was lost" for name, is_hit in named if name in said and not is_hit]


def faults(outcomes: Iterator[Outcome], at_least: int) -> list[Outcome]:
    found = list(outcomes)
    assert len({outcome.number for outcome in found}) >= at_least
    return found


def test_nothing_that_returned_is_lost_when_the_power_fails(tmp_path: Path) -> None:
    outcomes = faults(sweep(scenario, check, tmp_path, every=1 if is_nightly() else 3), at_least=35)
    assert [outcome for outcome in outcomes if outcome.problems] == []


def test_without_flushing_the_same_power_cuts_lose_calls_but_no_value_is_wrong(
    tmp_path: Path,
) -> None:
    outcomes = faults(sweep(careless, check, tmp_path, every=7), at_least=10)
    problems = [problem for outcome in outcomes for problem in outcome.problems]
    assert any(problem.endswith("was lost") for problem in problems)
    assert not [problem for problem in problems if problem.endswith("is wrong")]


def test_a_power_cut_loses_nothing_of_a_run_before(tmp_path: Path) -> None:
    outcomes = faults(sweep(second_run, check_second, tmp_path, start=125, every=4), at_least=8)
    assert [outcome for outcome in outcomes if outcome.problems] == []


def second_run(folder: Path, say: Say) -> None:
    _live(folder, lambda _: None, "power")
    say("the first run")
    tl.runs(store=folder / "below" / "store", namespace="*")
    with tl.run("s", store=folder / "below" / "store", durability="power"):
        for i in range(10, 10 + COUNT):
            large(i)
            say(f"large {i}")


def check_second(folder: Path, said: Sequence[str]) -> list[str]:
    problems = check(folder, ["small 0", "large 2", "tree", "parent"] if said else [])
    with tl.run("more", store=folder / "below" / "store") as run:
        right = [(large(i) == i).all() for i in range(10, 10 + COUNT)]
    problems += [] if all(right) else ["a value is wrong"]
    hits = [call.hit for call in run.calls]
    lost = [i for i, is_hit in enumerate(hits, 1) if i < len(said) and not is_hit]
    return problems + [f"number {i} was lost" for i in lost]


def test_what_another_stored_without_flushing_is_flushed_when_it_is_referred_to(
    tmp_path: Path,
) -> None:
    outcomes = faults(sweep(mixed, check_twins, tmp_path, every=3), at_least=10)
    assert [outcome for outcome in outcomes if outcome.problems] == []


def mixed(folder: Path, say: Say) -> None:
    store = folder / "store"
    with tl.run("careless", store=store):
        for i in range(COUNT):
            large(i)
    with tl.run("careful", store=store, durability="power"):
        for i in range(COUNT):
            twin(i)
            say(f"{i}")


def check_twins(folder: Path, said: Sequence[str]) -> list[str]:
    if not said:
        return []
    with tl.run("again", store=folder / "store") as run:
        right = all((twin(i) == i).all() for i in range(COUNT))
        lost = [i for i in said if not run.calls[int(i)].hit]
    return [*(f"{i} was lost" for i in lost), *([] if right else ["a value is wrong"])]


def test_a_catalog_that_was_not_flushed_is_made_anew_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tl.run("r", store=tmp_path / "store"):
        small(1)
    assert len(tl.runs(store=tmp_path / "store")) == 1
    _forget_rows(tmp_path / "store" / "catalog.sqlite")
    monkeypatch.setattr(upkeep, "boot", lambda: "another boot")
    careful = tl.open_store(tmp_path / "store", durability="power")
    assert len(tl.runs(store=careful)) == 1
    _forget_rows(tmp_path / "store" / "catalog.sqlite")
    with tl.open_store(tmp_path / "store", durability="power") as careful:
        careful.close()
        assert len(tl.runs(store=careful)) == 0  # it was flushed, so it is believed


def _forget_rows(catalog: Path) -> None:
    """Rows that a disk has lost, although it kept what was written later: the seal."""
    times = catalog.stat()
    with sqlite3.connect(catalog) as connection:
        connection.execute("DELETE FROM runs")
    connection.close()
    os.utime(catalog, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("durability", ["forever", "Power"])
def test_a_durability_that_is_none_is_refused(durability: str, tmp_path: Path) -> None:
    with pytest.raises(tl.ConfigError, match="durability="):
        tl.open_store(tmp_path / "store", durability=durability)
    with pytest.raises(tl.ConfigError, match="durability="):
        tl.configure(durability=durability)
