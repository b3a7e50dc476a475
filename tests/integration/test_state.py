"""State in one process: changes that nobody should make are seen, counters do not matter."""

from __future__ import annotations

import contextvars
import dataclasses
import enum
import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.query.calls import Call


class Color(enum.Enum):
    RED = [1]  # noqa: RUF012  # the case is a member that can change


@task
def member(x: int) -> int:
    return x + sum(Color.RED.value)


def test_a_mutable_value_of_an_enumeration_member_is_watched() -> None:
    assert member(1) == 2
    Color.RED.value.append(5)
    assert member(1) == 7
    Color.RED.value.pop()
    with tl.run() as run:
        assert member(1) == 2
    assert run.hits == 1


POWER = functools.partial(pow, 2, mod=100)


@task
def power(x: int) -> Any:
    return POWER(x)


def test_a_partial_that_is_changed_in_place_is_another_one() -> None:
    assert power(3) == 8
    POWER.keywords["mod"] = 5
    assert power(3) == 3
    POWER.__setstate__((pow, (3,), {}, {}))  # type: ignore[attr-defined]
    assert power(3) == 27


@dataclasses.dataclass(frozen=True)
class Inner:
    n: int = 1


@dataclasses.dataclass(frozen=True)
class Frozen:
    n: int = 2
    inner: tuple[Inner, ...] = (Inner(),)


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    n: int = 3


FROZEN, SLOTTED = Frozen(), Slotted()


@task
def frozen(x: int) -> int:
    return x * FROZEN.n * FROZEN.inner[0].n * SLOTTED.n


@pytest.mark.parametrize("thing", [FROZEN, FROZEN.inner[0], SLOTTED])
def test_a_frozen_instance_that_is_changed_all_the_same_is_seen(thing: Any) -> None:
    before, value = thing.n, frozen(1)
    object.__setattr__(thing, "n", 7)
    try:
        assert frozen(1) == value // before * 7
    finally:
        object.__setattr__(thing, "n", before)
    assert frozen(1) == value


@dataclasses.dataclass
class Config:
    size: int = 1
    depth: int = dataclasses.field(default=2, kw_only=True)


@task
def configured(x: int) -> int:
    return x * Config().size * Config().depth


def test_other_defaults_of_a_generated_constructor_are_seen() -> None:
    assert configured(1) == 2
    init: Any = Config.__init__
    before = init.__defaults__, init.__kwdefaults__
    init.__defaults__ = (5,)
    assert configured(1) == 10
    init.__kwdefaults__ = {"depth": 3}
    assert configured(1) == 15
    init.__defaults__, init.__kwdefaults__ = before
    with tl.run() as run:
        assert configured(1) == 2
    assert run.hits == 1


LEVEL: contextvars.ContextVar[int] = contextvars.ContextVar("LEVEL", default=1)


def by_level(x: int) -> int:
    return x * LEVEL.get()


@task
def levelled(x: int) -> int:
    return by_level(x)


@task
def levels(x: int) -> int:
    token = LEVEL.set(x)
    try:
        return by_level(x)
    finally:
        LEVEL.reset(token)


@pytest.mark.parametrize("executor", ["inline", "threads:2"])
def test_what_a_context_variable_stands_for_counts(executor: str) -> None:
    with tl.run(executor=executor):
        assert levelled(2) == 2
        token = LEVEL.set(5)
        assert levelled(2) == 10
        assert list(tl.map(levelled, [2, 3])) == [10, 15]
        LEVEL.reset(token)
        assert list(tl.map(levelled, [2, 3])) == [2, 3]
        assert levels(4) == 16
    with tl.run(executor=executor) as run:
        assert levels(4) == 16
        assert levelled(2) == 2
    assert run.executed == 0


class Lazy:
    def __init__(self, n: int) -> None:
        self.n = n

    @functools.cached_property
    def double(self) -> int:
        return self.n * 2

    @functools.cached_property
    def triple(self) -> int:
        return self.n * 3


LAZY = Lazy(4)


@task
def lazily(x: int) -> int:
    return x + LAZY.double + LAZY.triple


@task
def lazily_of(lazy: Lazy, x: int) -> int:
    return lazy.double + x


@task
def eagerly_of(lazy: Lazy) -> int:
    lazy.n += 1
    return lazy.double


def last(task: Any) -> Call:
    found: Call = task.calls()[0]
    return found


def test_a_cached_property_that_the_body_computes_is_no_mutation() -> None:
    assert lazily(1) == 21
    del LAZY.double, LAZY.triple
    with tl.run() as run:
        assert lazily(1) == 21
    assert run.hits == 1


def test_a_cached_property_of_an_argument_is_no_mutation() -> None:
    assert lazily_of(Lazy(5), 1) == 11
    with tl.run() as run:
        assert lazily_of(Lazy(5), 1) == 11
        assert lazily_of(Lazy(6), 1) == 13
    assert (run.hits, run.executed) == (1, 1)


def test_what_changes_beside_a_cached_property_is_a_mutation() -> None:
    with pytest.warns(UserWarning, match="changes lazy in place"):
        assert eagerly_of(Lazy(5)) == 12
    with tl.run() as run, pytest.warns(UserWarning, match="changes lazy in place"):
        assert eagerly_of(Lazy(5)) == 12
    assert run.hits == 0


RATES = {"a": 2}


@functools.lru_cache
def rate(name: str) -> int:
    return RATES[name]


@task
def rated(x: int) -> int:
    return x * rate("a")


def test_what_a_cache_has_kept_from_other_globals_makes_no_memo() -> None:
    assert rated(3) == 6
    RATES["a"] = 5
    assert rated(3) == 6  # the program's own cache is out of date
    rate.cache_clear()
    assert rated(3) == 15
    with tl.run() as run:
        assert (rated(4), rated(4)) == (20, 20)
    assert (run.executed, run.hits) == (1, 1)
    RATES["a"] = 2
    with tl.run() as run:
        assert rated(3) == 6
    assert run.hits == 1


class Stats:
    calls = 0


def counted(x: int) -> int:
    Stats.calls += 1
    counted.calls += 1  # type: ignore[attr-defined]
    return x


counted.calls = 0  # type: ignore[attr-defined]


@task
def counts(x: int) -> int:
    return counted(x)


@task
def tells(x: int) -> int:
    return counted(x) + Stats.calls


def test_a_counter_counts_only_for_the_task_that_reads_it() -> None:
    with tl.run() as run:
        assert [counts(1), counts(2), counts(1)] == [1, 2, 1]
    assert (run.executed, run.hits) == (2, 1)
    before = Stats.calls
    with pytest.warns(UserWarning, match=r"tests.integration.test_state.Stats.calls"):
        assert tells(1) == before + 2
    assert tells(1) == before + 3


def run_twice(folder: Path, text: str) -> tuple[str, str]:
    """What a script prints: as it is, and after `PLUGIN` says 2 and compiled code is there."""
    script = folder / "script.py"
    script.write_text(text)
    environment = {**os.environ, "TASKLINEAGE_STORE": str(folder / "store")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    found: list[str] = []
    for old, new in (("", ""), ("x + 1", "x + 2  # more")):
        plugin = folder / "plugins" / "one.py"
        plugin.write_text(plugin.read_text().replace(old, new) if old else plugin.read_text())
        done = subprocess.run(
            [sys.executable, str(script)],
            cwd=folder, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        found.append(done.stdout.strip())
    return found[0], found[1]


@pytest.mark.parametrize(
    "load",
    [
        "importlib.import_module('plugins.' + 'eno'[::-1])",
        "load('plugins/one.py')",
        "pickle.loads(pickle.dumps(load('plugins/one.py')) if 0 else b'cplugins.one\\nGo\\n.')",
    ],
)
def test_compiled_code_that_a_body_loads_stands_for_its_source(tmp_path: Path, load: str) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "one.py").write_text(
        "def go(x): return x + 1\nclass Go:\n    go = staticmethod(go)\n"
    )
    text = f"""
import importlib, importlib.util, pickle
from tasklineage import task
import tasklineage as tl
def load(path):
    spec = importlib.util.spec_from_file_location("one", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
@task
def run(x): return {load}.go(x)
if __name__ == "__main__":
    import py_compile
    py_compile.compile("plugins/one.py")
    with tl.run() as first:
        value = run(3)
    print(value, first.executed)
"""
    assert run_twice(tmp_path, text) == ("4 1", "5 1")
