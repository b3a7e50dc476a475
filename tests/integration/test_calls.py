"""What a call does: remembered, recorded, its exceptions unchanged."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
import traceback
import warnings
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.storage.records import Edge

COUNT: dict[str, int] = {}


def counted(name: str) -> None:
    COUNT[name] = COUNT.get(name, 0) + 1


@pytest.fixture(autouse=True)
def fresh_counts() -> None:
    COUNT.clear()


@task(ignore="_n")
def double(x: Any, _n: list[int] | None = None) -> Any:
    """Twice x."""
    (_n if _n is not None else []).append(1)
    return 2 * x


def recorded_edges(call: Any) -> list[Edge]:
    """The edges in the journal: the lineage queries are not there yet."""
    store = tl.open_store()
    (row,) = store.catalog.find_calls(prefix=call.id)
    return [Edge(*e) for e in store.journal.read(row.location).edges]


def executed(function: Any, *args: Any, **kwargs: Any) -> int:
    with tl.run("probe") as run:
        function(*args, **kwargs)
    return run.executed


def test_the_second_call_is_a_hit() -> None:
    with tl.run("a") as run:
        assert double(21) == 42
        assert double(21) == 42
        assert double(22) == 44
    assert (run.executed, run.hits, run.failed) == (2, 1, 0)


def test_a_task_keeps_name_docstring_and_signature() -> None:
    assert double.__name__ == "double"
    assert double.__doc__ == "Twice x."
    assert list(inspect.signature(double).parameters) == ["x", "_n"]
    assert double.__wrapped__(3) == 6
    assert double.name.endswith("test_calls.double")


@pytest.mark.parametrize("value", [None, 0, 0.0, -0.0, False, "", b"", [], {}, (), float("inf")])
def test_falsy_results_are_results(value: Any) -> None:
    @task
    def give(x: Any) -> Any:
        return x

    with tl.run() as run:
        first, second = give(value), give(value)
    assert repr(first) == repr(second) == repr(value)
    assert type(second) is type(value)
    assert (run.executed, run.hits) == (1, 1)


def test_default_positional_and_keyword_are_the_same_call() -> None:
    @task
    def f(a: int, b: int = 2, *, c: int = 3) -> int:
        return a + b + c

    with tl.run() as run:
        f(1)
        f(1, 2)
        f(a=1, b=2, c=3)
        f(1, c=3)
    assert (run.executed, run.hits) == (1, 3)


def test_types_of_arguments_are_kept_apart() -> None:
    @task
    def f(a: Any) -> str:
        return type(a).__name__

    values = [1, 1.0, True, "1", b"1", [1], (1,), {1}, frozenset({1}), {1: 1}, None]
    assert [f(v) for v in values] == [type(v).__name__ for v in values]
    assert [f(v) for v in values] == [type(v).__name__ for v in values]


def test_a_hit_gives_a_fresh_value() -> None:
    @task
    def make() -> dict[str, list[int]]:
        return {"a": [1]}

    make()["a"].append(2)
    make()["a"].append(3)
    assert make() == {"a": [1]}


def test_a_loaded_array_is_writable_and_its_own() -> None:
    @task
    def zeros(n: int) -> np.ndarray:
        return np.zeros(n)

    for n in (3, 100_000):
        zeros(n)
        loaded = zeros(n)
        loaded[0] = 7
        assert zeros(n)[0] == 0


def test_an_executed_call_returns_the_functions_own_object() -> None:
    made = []

    @task
    def make() -> list[int]:
        made.append([1])
        return made[-1]

    with pytest.warns(UserWarning, match="made"):
        result = make()
    assert result is made[0]


def test_exceptions_come_through_unchanged() -> None:
    class Special(Exception):
        pass

    @task
    def fail(x: int) -> int:
        raise Special("no", x)

    with tl.run() as run:
        for _ in range(2):
            with pytest.raises(Special) as caught:
                fail(3)
            assert caught.value.args == ("no", 3)
    assert run.failed == 2
    assert run.status == "done"  # the failures were handled
    (note,) = caught.value.__notes__
    assert run.id in note
    assert "fail" in note
    files = [Path(entry.path).name for entry in caught.traceback]
    assert files.count("test_calls.py") == 2
    assert len(files) <= 3  # at most one frame of the library
    call = run["fail"]
    assert call.status == "failed"
    assert call.error.type.endswith("Special")
    assert "test_calls.py" in call.error.traceback
    assert "tasklineage/core" not in call.error.traceback


def test_a_run_that_is_left_by_an_exception_has_failed() -> None:
    with pytest.raises(ZeroDivisionError), tl.run("x") as run:
        1 / 0  # noqa: B018
    assert run.status == "failed"


def test_retries_are_recorded_as_attempts() -> None:
    attempts: list[int] = []

    @task(retries=3, ignore="log")
    def flaky(x: int, log: Any) -> int:
        call = tl.current_call()
        assert call is not None
        log.append(call.attempt)
        print("attempt", call.attempt)
        if len(log) < 3:
            raise OSError(f"failure {len(log)}")
        return x

    with tl.run() as run:
        assert flaky(5, attempts) == 5
    assert attempts == [0, 1, 2]
    call = run["flaky"]
    assert call.status == "done"
    assert [a.status for a in call.attempts] == ["failed", "failed", "done"]
    assert [a.stdout for a in call.attempts] == ["attempt 0\n", "attempt 1\n", "attempt 2\n"]
    assert "failure 1" in call.attempts[0].error.message
    assert executed(flaky, 5, []) == 0


def test_retries_end() -> None:
    seen: list[int] = []

    @task(retries=tl.Retry(2, on=(OSError,)), ignore="log")
    def f(kind: str, log: Any) -> None:
        log.append(1)
        raise {"os": OSError, "value": ValueError}[kind]

    with pytest.raises(OSError):
        f("os", seen)
    assert len(seen) == 3
    with pytest.raises(ValueError):
        f("value", seen)
    assert len(seen) == 4


def test_catch_yields_the_default_and_is_never_a_memo() -> None:
    @task(catch=ValueError, default=-1)
    def parse(text: str) -> int:
        return int(text)

    @task(catch=(ValueError, KeyError), default=lambda error: str(error))
    def parse2(text: str) -> Any:
        return int(text)

    with tl.run() as run:
        assert parse("3") == 3
        assert parse("x") == -1
        assert parse("x") == -1
        assert "invalid literal" in parse2("x")
    assert run["parse"].status == "caught"
    assert run["parse"].result == -1
    assert run.executed == 4


def test_memo_false_executes_and_records() -> None:
    @task(memo=False)
    def now() -> float:
        return time.time()

    with tl.run() as run:
        assert now() != now()
    assert (run.executed, run.hits) == (2, 0)


def test_version_stands_in_for_the_code() -> None:
    def make(version: str | None, factor: int) -> Any:
        def f(x: int) -> int:
            return x * factor

        return tl.task(version=version, name="f")(f)

    assert make("1", 2)(10) == 20
    assert make("1", 3)(10) == 20  # the body no longer matters
    assert make("2", 3)(10) == 30
    assert make(None, 4)(10) == 40


def test_ignored_parameters_do_not_count_and_may_be_anything() -> None:
    @task(ignore=("log", "depth"))
    def f(x: int, log: Any, depth: int = 0) -> int:
        return x

    with tl.run() as run:
        f(1, threading.Lock())
        f(1, print, depth=3)
    assert (run.executed, run.hits) == (1, 1)


def test_ignoring_another_parameter_is_another_key() -> None:
    def f(a: int, b: int) -> str:
        return f"{a}{b}"

    one, two = task(ignore="a")(f), task(ignore="b")(f)
    assert one(1, 2) == "12"
    assert two(2, 1) == "21"


def test_key_functions_say_what_counts() -> None:
    @task(key={"path": lambda p: Path(p).name})
    def f(path: str) -> str:
        return path

    assert f("/a/x.csv") == "/a/x.csv"
    assert f("/b/x.csv") == "/a/x.csv"
    assert f("/b/y.csv") == "/b/y.csv"


def base(path: str) -> str:
    return Path(path).name


Named = Annotated[str, tl.Key(base)]


def test_an_annotation_says_what_counts() -> None:
    @task
    def f(path: Named, *others: Annotated[str, tl.Key(base)], **more: Named) -> str:
        return " ".join((path, *others, *more.values()))

    assert f("/a/x", "/a/y", z="/a/z") == "/a/x /a/y /a/z"
    assert f("/b/x", "/b/y", z="/b/z") == "/a/x /a/y /a/z"
    assert f("/b/x", "/b/z", z="/b/z") == "/b/x /b/z /b/z"
    assert f("/b/x", "/b/y", w="/b/z") == "/b/x /b/y /b/z"
    with tl.run() as run:
        f("/c/x", "/c/y", z="/c/z")
    assert run["f"].hit


def test_key_goes_before_an_annotation() -> None:
    @task(key={"path": len})
    def f(path: Named) -> str:
        return path

    assert f("/a/x") == "/a/x"
    assert f("/b/y") == "/a/x"
    assert f.options(key={})("/b/y") == "/b/y"


def test_two_keys_in_one_annotation_are_an_error() -> None:
    @task
    def f(path: Annotated[Named, tl.Key(len)]) -> str:
        return path

    with pytest.raises(tl.ConfigError, match="'path' has two"):
        f("x")
    with pytest.raises(tl.ConfigError, match="takes a function"):
        tl.Key("path")  # type: ignore[arg-type]


ANNOTATED = """
import sys
from typing import TYPE_CHECKING, Annotated
import tasklineage as tl

def part(config):
    return config[{place}]

Config = Annotated[list, tl.Key(part)]

@tl.task
def f(config: {annotation}) -> list:
    return config

print(f([int(word) for word in sys.argv[1:]]))
"""


@pytest.mark.parametrize("annotation", ["Config", "'Config'", "'Annotated[list, tl.Key(part)]'"])
def test_the_code_of_a_key_in_an_annotation_counts(annotation: str, tmp_path: Path) -> None:
    def said(place: int, *numbers: int) -> str:
        program = tmp_path / "program.py"
        program.write_text(ANNOTATED.format(place=place, annotation=annotation))
        command = [sys.executable, str(program), *map(str, numbers)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert said(0, 1, 2) == "[1, 2]"
    assert said(0, 1, 3) == "[1, 2]"
    assert said(1, 1, 3) == "[1, 3]"
    assert said(1, 2, 3) == "[1, 3]"


REGISTERED = """
import sys
import tasklineage as tl

class Connection:
    def __init__(self, host):
        self.host, self.socket = host, open(__file__)
    def fetch(self):
        return "{answer} " + self.host

tl.register_digest(Connection, lambda connection: connection.host)

@tl.task
def load(connection):
    print("executed", file=sys.stderr)
    return connection.fetch()

print(load(Connection(sys.argv[1])))
"""


def test_a_registered_type_counts_by_what_was_said_and_by_its_code(tmp_path: Path) -> None:
    def said(host: str, answer: str = "rows of") -> tuple[str, bool]:
        program = tmp_path / "program.py"
        program.write_text(REGISTERED.format(answer=answer))
        command = [sys.executable, str(program), host]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip(), "executed" in done.stderr

    assert said("db1") == ("rows of db1", True)
    assert said("db1") == ("rows of db1", False)
    assert said("db2") == ("rows of db2", True)
    assert said("db1", "tables of") == ("tables of db1", True)


@pytest.mark.parametrize("ttl", [0.05, timedelta(seconds=0.05)])
def test_a_memo_older_than_its_ttl_is_a_miss(ttl: Any) -> None:
    @task(ttl=ttl)
    def f(x: str) -> str:
        return x

    with tl.run() as run:
        f(str(ttl))
        f(str(ttl))
        time.sleep(0.06)
        f(str(ttl))
    assert (run.executed, run.hits) == (2, 1)


def test_tracked_environment_variable_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    @task(track="env:MODE")
    def f() -> int:
        return 1

    @task
    def parent() -> int:
        return f()

    monkeypatch.setenv("MODE", "a")
    assert executed(parent) == 2
    assert executed(parent) == 0
    monkeypatch.setenv("MODE", "b")
    assert executed(parent) == 2
    monkeypatch.setenv("MODE", "a")
    assert executed(parent) == 0 or executed(parent) == 0


def test_tracked_distribution_counts() -> None:
    @task(track="dist:numpy")
    def f() -> int:
        return 1

    assert executed(f) == 1
    assert executed(f) == 0


def test_cached_and_forget() -> None:
    assert not double.cached(8)
    double(8)
    assert double.cached(8)
    double.forget(8)
    assert not double.cached(8)
    assert executed(double, 8) == 1
    assert double.cached(8)


def test_options_makes_another_task() -> None:
    quick = double.options(memo=False, tags=("quick",))
    with tl.run() as run:
        quick(1)
        quick(1)
    assert run.executed == 2
    assert run.calls[0].task == double.name
    with pytest.raises(tl.ConfigError):
        double.options(timeout=0)


def test_bad_options_are_refused_at_decoration() -> None:
    def f(x: int) -> int:
        return x

    def gen() -> Any:
        yield 1

    for options in (
        {"timeout": "3"}, {"resources": {"GPU": 0.5}}, {"resources": {"memory": "much"}},
        {"resources": "GPU"}, {"executor": "ftp://host"}, {"ttl": -1},
        {"ignore": "y"}, {"key": {"y": str}}, {"retries": -1}, {"track": "numpy"},
        {"catch": "ValueError"}, {"version": 3},
    ):  # fmt: skip
        with pytest.raises(tl.ConfigError):
            task(**options)(f)  # type: ignore[call-overload]
    with pytest.raises(tl.ConfigError, match="list"):
        task(gen)
    with pytest.raises(tl.ConfigError):
        task(staticmethod(f))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        task(nonsense=1)(f)  # type: ignore[call-overload]


class Model:
    def __init__(self, scale: int) -> None:
        self.scale = scale

    @task
    def apply(self, x: int) -> int:
        return self.scale * x

    @staticmethod
    @task
    def plain(x: int) -> int:
        return x + 1

    @classmethod
    @task
    def named(cls, x: int) -> str:
        return f"{cls.__name__}{x}"


def test_methods_count_their_instance() -> None:
    with tl.run() as run:
        assert Model(2).apply(3) == 6
        assert Model(2).apply(3) == 6
        assert Model(5).apply(3) == 15
        assert Model.plain(1) == 2
        assert Model(1).plain(1) == 2
        assert Model.named(1) == "Model1"
        assert list(tl.map(Model(3).apply, [1, 2])) == [3, 6]
        assert Model(4).apply.submit(2).result() == 8
    assert run.hits == 2


def test_an_argument_without_digest_names_its_path() -> None:
    @dataclass
    class Config:
        lr: float
        session: Any

    @task
    def train(cfg: Any) -> int:
        return 1

    with pytest.raises(tl.UnhashableArgument, match=r"train\(cfg.*session\)"):
        train({"a": 1, "b": Config(0.1, threading.Lock())}["b"])
    with pytest.raises(tl.UnhashableArgument):
        train(x for x in [1])


def test_a_result_that_cannot_be_stored_is_not_lost() -> None:
    @task
    def make() -> Any:
        return {"lock": threading.Lock()}

    with tl.run() as run, pytest.raises(tl.UnstorableResult) as caught:
        make()
    assert set(caught.value.value) == {"lock"}
    assert "lock" in str(caught.value)
    assert run["make"].status == "failed"
    shown = "".join(traceback.format_exception(caught.value))
    assert f"tasklineage{os.sep}core" not in shown


def test_a_changed_argument_is_no_memo_and_the_rerun_is_right() -> None:
    @task
    def push(items: list[int], x: int) -> list[int]:
        items.append(x)
        return items

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with tl.run() as run:
            assert push([1], 2) == [1, 2]
            assert push([1], 2) == [1, 2]
    assert run.hits == 0
    assert run.executed == 2
    messages = [str(w.message) for w in caught]
    assert sum("items" in m and "push" in m for m in messages) == 1


def test_output_is_captured_per_call_and_still_shown(capsys: pytest.CaptureFixture[str]) -> None:
    @task
    def inner(x: int) -> int:
        print("inner", x)
        return x

    @task
    def outer(x: int) -> int:
        print("before")
        inner(x)
        print("after", file=sys.stderr)
        logging.getLogger("some").warning("careful %s", x)
        return x

    with tl.run() as run:
        outer(1)
    shown = capsys.readouterr()
    assert shown.out == "before\ninner 1\n"
    assert run["outer"].stdout == "before\n"
    assert run["outer"].stderr.startswith("after\n")
    assert "careful 1" in run["outer"].stderr
    assert run["inner"].stdout == "inner 1\n"
    with tl.run() as again:
        outer(1)
    assert capsys.readouterr().out == ""
    assert again["outer"].stdout == "before\n"
    assert again["outer"].hit


def test_output_of_threads_is_not_mixed() -> None:
    @task
    def talk(name: str) -> str:
        for i in range(50):
            print(name, i)
            time.sleep(0.0001)
        return name

    with tl.run(executor="threads:4") as run:
        tl.map(talk, ["a", "b", "c", "d"]).results()
    for call in run.calls:
        name = call.args["name"]
        assert call.stdout == "".join(f"{name} {i}\n" for i in range(50))


def test_async_tasks() -> None:
    ran: list[int] = []

    @task(ignore="log")
    async def fetch(x: int, log: Any) -> int:
        log.append(x)
        print("fetching", x)
        await asyncio.sleep(0.01)
        return x * 10

    async def main() -> list[int]:
        values = await asyncio.gather(*(fetch(i % 3, ran) for i in range(9)))
        return list(values) + await tl.amap(fetch, range(4), log=ran)

    with tl.run() as run:
        assert asyncio.run(main()) == [0, 10, 20] * 3 + [0, 10, 20, 30]
    assert sorted(ran) == [0, 1, 2, 3]
    assert run.executed == 4
    assert {c.stdout for c in run.calls if not c.hit} == {f"fetching {i}\n" for i in range(4)}
    with tl.run() as run:
        assert fetch.submit(7, []).result() == 70
        assert list(tl.map(fetch, [1, 8], log=[])) == [10, 80]
    assert run.executed == 2


def test_async_failures_and_cancellation() -> None:
    @task(retries=1, ignore="log")
    async def flaky(log: Any) -> int:
        log.append(1)
        await asyncio.sleep(0)
        if len(log) < 2:
            raise OSError
        return len(log)

    @task
    async def slow() -> None:
        await asyncio.sleep(30)

    async def main() -> None:
        assert await flaky([]) == 2
        sleeper = asyncio.ensure_future(slow())
        await asyncio.sleep(0.05)
        sleeper.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeper

    with tl.run() as run:
        asyncio.run(main())
    assert run["slow"].status == "cancelled"
    assert not slow.cached()


def test_runs_nest_and_keep_their_store(tmp_path: Path) -> None:
    with tl.run("outer", store=tmp_path / "one") as outer:
        double(1)
        with tl.run("inner", params={"lr": 0.1}, tags=("t",)) as inner:
            double(1)
        with tl.run("other", store=tmp_path / "two") as other:
            double(1)
    assert outer.executed == 1
    assert inner.hits == 1
    assert other.executed == 1
    assert inner.params == {"lr": 0.1}
    assert inner.tags == ("t",)
    assert tl.latest("inner", store=tmp_path / "one") == inner
    assert tl.latest("inner", store=tmp_path / "two") is None


def test_calls_outside_of_runs_belong_to_the_ambient_run() -> None:
    double(100)
    run = tl.current_run()
    assert run is not None
    assert run.status == "running"
    assert run.executed == 1
    assert tl.current_call() is None


def test_configure_store_begins_another_ambient_run(tmp_path: Path) -> None:
    tl.configure(store=tmp_path / "a")
    double(1)
    first = tl.current_run()
    tl.configure(store=tmp_path / "b")
    double(1)
    second = tl.current_run()
    assert first is not None
    assert second is not None
    assert first != second
    assert first.status == "done"
    assert second.executed == 1


def test_disabled_tasks_are_bare_functions(
    monkeypatch: pytest.MonkeyPatch, store_path: Path
) -> None:
    monkeypatch.setenv("TASKLINEAGE_DISABLE", "1")
    calls: list[int] = []

    @task(ignore="log")
    def f(x: int, log: Any) -> int:
        log.append(x)
        return x

    assert f(1, calls) == f(1, calls) == 1
    assert len(calls) == 2
    assert list(tl.map(f, [1, 2], log=calls)) == [1, 2]
    assert tl.gather(f.bind(3, calls), f.bind(4, calls)) == (3, 4)
    assert not store_path.exists()


def test_tasks_pickle_by_name() -> None:
    assert pickle.loads(pickle.dumps(double)) is double


def test_refresh_executes_each_key_once_with_what_depends_on_it() -> None:
    @task
    def leaf(x: int) -> int:
        return x

    @task
    def other(x: int) -> int:
        return -x

    @task
    def parent(x: int) -> int:
        return leaf(x) + leaf(x) + other(x)

    parent(1)
    with tl.run(refresh="leaf") as run:
        parent(1)
        parent(1)
        leaf(1)
    assert run["parent"].hit
    assert run.executed == 2  # parent and leaf, once each
    with tl.run(refresh=True) as run:
        parent(1)
    assert run.executed == 3
    with tl.run(refresh=("other",)) as run:
        leaf(1)
    assert run.executed == 0


def test_a_name_to_refresh_that_no_task_has_is_warned_of() -> None:
    @task
    def leaf_of_refresh(x: int) -> int:
        return x

    with pytest.warns(UserWarning, match="refresh='typo'"), tl.run(refresh="typo"):
        leaf_of_refresh(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with tl.run(refresh=("leaf_of_refresh",)):
            leaf_of_refresh(1)


def test_works_from_a_plain_thread_and_in_a_running_loop() -> None:
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(double(5)))
    thread.start()
    thread.join()

    async def main() -> int:
        return double(6) + sum(tl.map(double, [1, 2, 3]))

    assert results == [10]
    assert asyncio.run(main()) == 24


def test_edges_by_identity_content_and_change_in_place() -> None:
    @task
    def load(n: int) -> list[int]:
        return list(range(n))

    @task
    def split(rows: list[int]) -> tuple[list[int], list[int]]:
        return rows[:2], rows[2:]

    @task
    def total(rows: list[int]) -> int:
        return sum(rows)

    with tl.run() as run:
        rows = load(5)
        left, right = split(rows)
        total(left)
        total(list(right))
        rows.append(9)
        total(rows)
    tasks = {bytes.fromhex(c.id): c.task.rsplit(".")[-1] for c in run.calls}

    def edges(call: Any) -> list[tuple[str, str, str]]:
        return [(e.path, tasks[e.producer], e.via) for e in recorded_edges(call)]

    one, two, three = sorted((c for c in run.calls if c.task.endswith("total")), key=lambda c: c.id)
    assert edges(run["split"]) == [("rows", "load", "identity")]
    assert edges(one) == [("rows", "split", "identity")]
    assert edges(two) == [("rows", "split", "content")]
    assert edges(three) == [("rows", "load", "changed in place")]


def test_trivial_values_invent_no_edge() -> None:
    @task
    def give(x: Any) -> Any:
        return x

    @task
    def take(x: Any) -> None:
        return None

    with tl.run() as run:
        for value in (True, 0, "", None, 1.5, [], {}, "short"):
            take(give(value))
    assert all(not recorded_edges(c) for c in run.calls)


def test_a_broken_result_or_default_is_recorded_as_failed() -> None:
    class Broken:
        def __reduce__(self) -> Any:
            raise ZeroDivisionError("reduce")

    @task
    def make() -> Any:
        return Broken()

    @task(catch=ValueError, default=lambda error: 1 // 0)
    def parse() -> Any:
        raise ValueError

    with tl.run() as run:
        with pytest.raises((ZeroDivisionError, tl.UnstorableResult)):
            make()
        with pytest.raises(ZeroDivisionError):
            parse()
    assert [c.status for c in run.calls] == ["failed", "failed"]


def test_text_that_is_no_unicode_is_recorded() -> None:
    @task
    def fail(name: str) -> None:
        print(name)
        raise OSError(f"no file {name}")

    with tl.run() as run, pytest.raises(OSError):
        fail("a\udc80")
    assert run["fail"].error.message == "no file a\udc80"
    assert run["fail"].args == {"name": "a\udc80"}
