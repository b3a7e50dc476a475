"""Calls whose bodies run in other processes: results, records, losses, limits."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tasklineage as tl
from tasklineage import task
from tasklineage.cli.main import application
from tasklineage.executors.processes import Processes
from tests.integration.orphans import is_alive, numbered

PATIENCE = 60.0


@pytest.fixture(scope="module")
def pool() -> Iterator[Processes]:
    """Two processes for all tests of this module."""
    with Processes(2) as pool:
        yield pool


@task
def square(x: int) -> int:
    return x * x


@task
def total(values: list[int]) -> int:
    return sum(values)


@task
def of_process(x: int) -> tuple[int, int]:
    return x, os.getpid()


def test_bodies_run_in_other_processes_and_results_come_back(pool: Processes) -> None:
    with tl.run("elsewhere", executor=pool) as run:
        found = tl.map(of_process, range(8)).results()
    assert [x for x, _ in found] == list(range(8))
    pids = {pid for _, pid in found}
    assert os.getpid() not in pids
    assert pids <= set(pool.pids())
    assert run.executed == 8


def told(run: tl.Run) -> list[tuple[Any, ...]]:
    """What the records of a run say, but for ids, times and order."""
    calls = list(run.calls)
    names = {call.id: (call.task, str(call.args)) for call in calls}
    return sorted(
        (
            call.task, call.key, call.status, str(call.args), str(call.result), call.stdout,
            str(None if call.parent is None else names[call.parent.id]), str(call.position),
        )
        for call in calls
    )  # fmt: skip


def name(node: object) -> str:
    assert isinstance(node, tl.Call)
    return f"{node.task} {node.args}"


@task
def nested(x: int) -> int:
    print("nested", x)
    return total(tl.map(square, range(10 * x, 11 * x)).results()) + square.submit(-x).result()


@pytest.mark.parametrize("executor", ["inline", "threads:2", "processes"])
def test_every_executor_tells_the_same(executor: str, pool: Processes, tmp_path: Path) -> None:
    found: list[Any] = []
    for i, which in enumerate(("inline", pool if executor == "processes" else executor)):
        with tl.run("same", executor=which, store=tmp_path / str(i)) as run:
            tl.map(nested, [2, 3, 4]).results()
        edges = sorted(
            (name(e.producer), name(e.consumer), e.path, e.via) for e in run.graph().edges
        )
        found.append((told(run), edges, run.executed, run.hits))
    assert found[0] == found[1]


def test_what_ran_elsewhere_is_a_hit_here_and_the_other_way_round(pool: Processes) -> None:
    with tl.run("there", executor=pool):
        tl.map(square, range(5)).results()
    with tl.run("here", executor="inline") as here:
        assert tl.map(square, range(7)).results() == [0, 1, 4, 9, 16, 25, 36]
    assert (here.executed, here.hits) == (2, 5)
    with tl.run("there again", executor=pool) as again:
        tl.map(square, range(7)).results()
    assert (again.executed, again.hits) == (0, 7)


@task
def noisy(x: int) -> int:
    print("to stdout", x)
    print("to stderr", x, file=sys.stderr)
    logging.getLogger("noisy").warning("logged %d", x)
    return x


def test_what_is_printed_and_logged_is_recorded_and_shown(
    pool: Processes, capfd: pytest.CaptureFixture[str]
) -> None:
    with tl.run("noise", executor=pool) as run:
        tl.map(noisy, [1]).results()
    call = run["noisy"]
    assert call.stdout == "to stdout 1\n"
    assert "to stderr 1\n" in call.stderr
    assert "logged 1" in call.stderr
    shown = capfd.readouterr()
    assert shown.out.count("to stdout 1\n") == 1
    assert shown.err.count("to stderr 1\n") == 1
    assert shown.err.count("logged 1\n") == 1


class Refused(Exception):
    """Its arguments are not what its `__init__` takes."""

    def __init__(self, code: int, *, why: str) -> None:
        super().__init__(f"refused with {code}: {why}")
        self.code = code


@task
def refuses(x: int) -> int:
    raise Refused(x, why="because")


def test_an_exception_comes_through_with_its_type_and_the_traceback_of_the_worker(
    pool: Processes,
) -> None:
    with tl.run("refusal", executor=pool) as run:
        with pytest.raises(Refused, match="refused with 7") as caught:
            refuses.submit(7).result()
        assert caught.value.code == 7
        assert "raise Refused(x" in str(caught.value.__cause__)
        assert any(run.id in note for note in caught.value.__notes__)
    assert run["refuses"].status == "failed"
    assert run["refuses"].error.type.endswith("Refused")


class Locked(Exception):
    """It holds what no pickle takes."""

    def __init__(self, what: object) -> None:
        super().__init__("locked", what)
        self.lock = threading.Lock()
        self.code = 5


@task
def locks(size: int) -> None:
    raise Locked(bytes(size) if size else threading.Lock())


@pytest.mark.parametrize("size", [0, 1 << 20])
def test_what_of_an_exception_cannot_travel_is_told_as_text(pool: Processes, size: int) -> None:
    with tl.run("locked", executor=pool), pytest.raises(Locked) as caught:
        locks.submit(size).result()
    assert caught.value.args == ("locked", bytes(size) if size else "<lock>")
    assert caught.value.code == 5
    assert str(caught.value.lock) == "<lock>"


class Fickle(Exception):
    """It cannot be made anew."""

    def __new__(cls, *, what: str) -> Fickle:
        return super().__new__(cls)

    def __init__(self, *, what: str) -> None:
        super().__init__(what)


class Several(ExceptionGroup[Exception]):
    """It is made of something else than its members."""

    def __new__(cls, what: object) -> Several:
        return super().__new__(cls, "outer", [ValueError(1), Fickle(what="told")])


def two_levels(what: object) -> ExceptionGroup[Exception]:
    inner = ExceptionGroup("inner", [Fickle(what="told"), Locked(what)])
    return ExceptionGroup("outer", [ValueError(1), inner])


@task
def fails_severally(make: Callable[[object], Exception]) -> None:
    error = make(threading.Lock())
    error.add_note("a note")
    raise error


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (two_levels, ["ValueError", ["RuntimeError", "Locked"]]),
        (Several, ["ValueError", "RuntimeError"]),
    ],
)
def test_of_a_group_only_members_are_replaced_that_cannot_travel(
    pool: Processes, make: Any, shape: list[Any]
) -> None:
    def shape_of(error: BaseException) -> Any:
        if isinstance(error, BaseExceptionGroup):
            return [shape_of(one) for one in error.exceptions]
        return type(error).__name__

    with tl.run("group", executor=pool), pytest.raises(ExceptionGroup, match="outer") as caught:
        fails_severally.submit(make).result()
    assert shape_of(caught.value) == shape
    assert "a note" in caught.value.__notes__
    assert "Fickle: told" in str(caught.value.__cause__)


@task
def unstorable() -> object:
    return (x for x in range(3))


def test_a_result_that_cannot_be_stored_is_told_of_by_name(pool: Processes) -> None:
    with tl.run("unstorable", executor=pool), pytest.raises(tl.UnstorableResult) as caught:
        unstorable.submit().result()
    assert "the result of tests.integration.test_processes.unstorable" in str(caught.value)


@task(retries=2)
def succeeds_in_the_end(path: str) -> int:
    with open(path, "a", encoding="utf-8") as file:
        file.write("x")
    tried = len(Path(path).read_text(encoding="utf-8"))
    if tried < 3:
        raise ValueError(f"attempt {tried}")
    return tried


def test_retries_happen_in_the_worker_and_every_attempt_is_recorded(
    pool: Processes, tmp_path: Path
) -> None:
    with tl.run("tries", executor=pool) as run:
        assert succeeds_in_the_end.submit(str(tmp_path / "count")).result() == 3
    statuses = [attempt.status for attempt in run["succeeds_in_the_end"].attempts]
    assert statuses == ["failed", "failed", "done"]


@task(catch=ZeroDivisionError, default=-1)
def inverse(x: int) -> float:
    return 1 / x


def test_a_caught_exception_yields_the_default(pool: Processes) -> None:
    with tl.run("caught", executor=pool) as run:
        assert tl.map(inverse, [2, 0]).results() == [0.5, -1]
    assert sorted(call.status for call in run.calls) == ["caught", "done"]


# Limits and losses.


@task(timeout=0.5)
def sleeps(seconds: float) -> float:
    print("asleep", flush=True)
    time.sleep(seconds)
    return seconds


@task(timeout=0.5, retries=1)
def sleeps_twice(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def test_a_call_that_takes_too_long_is_killed_and_the_others_go_on(pool: Processes) -> None:
    with tl.run("limits", executor=pool) as run:
        fanout = tl.map(sleeps, [0.0, 60.0, 0.01, 0.02], on_error="collect")
        found = fanout.results()
    assert [found[i] for i in (0, 2, 3)] == [0.0, 0.01, 0.02]
    assert isinstance(fanout.failures[0].error, tl.TaskTimeout)
    assert "sleeps was stopped: it took longer than its timeout of 0.5 s" in str(
        fanout.failures[0].error
    )
    (late,) = tl.calls(run=run, status="timeout")
    assert late.args == {"seconds": 60.0}
    assert late.stdout == "asleep\n"
    assert run.failed == 1


def test_a_time_limit_holds_for_direct_calls_on_threads_too() -> None:
    with tl.run("direct", executor="threads") as run:
        assert sleeps(0.0) == 0.0
        with pytest.raises(tl.TaskTimeout):
            sleeps(60.0)
    assert [call.status for call in run.calls] == ["done", "timeout"]


def test_a_call_that_took_too_long_is_tried_again_as_often_as_its_retries_say(
    pool: Processes,
) -> None:
    with tl.run("again", executor=pool) as run, pytest.raises(tl.TaskTimeout):
        sleeps_twice.submit(60.0).result()
    assert [attempt.status for attempt in run["sleeps_twice"].attempts] == ["timeout", "timeout"]


@task
def dies(path: str, times: int) -> int:
    with open(path, "ab", buffering=0) as file:
        file.write(b"x")
    if os.path.getsize(path) <= times:
        print("last words", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    return times


def test_a_lost_worker_is_made_good_without_touching_retries(
    pool: Processes, tmp_path: Path
) -> None:
    with tl.run("loss", executor=pool) as run:
        assert dies.submit(str(tmp_path / "once"), 1).result() == 1
    call = run["dies"]
    assert call.status == "done"
    assert [attempt.status for attempt in call.attempts] == ["lost", "done"]
    assert call.attempts[0].stdout == "last words\n"
    assert "SIGKILL" in call.attempts[0].error.message
    assert call.started == call.attempts[0].started
    shown = CliRunner().invoke(application(), ["show", call.id, "--store", str(call.store.url)])
    first, second = shown.stdout.partition("\nattempts\n")[2].splitlines()[1:]
    assert "lost" in first
    assert "was killed by SIGKILL" in first
    assert "done" in second


def test_a_worker_that_dies_costs_only_its_own_call(pool: Processes, tmp_path: Path) -> None:
    paths = [str(tmp_path / str(i)) for i in range(6)]
    with tl.run("culprit", executor=pool) as run:
        fanout = tl.map(dies, paths, [0, 0, 99, 0, 0, 0], on_error="collect")
        found = fanout.results()
    assert [found[i] for i in (0, 1, 3, 4, 5)] == [0] * 5
    (failure,) = fanout.failures
    assert failure.index == 2
    assert isinstance(failure.error, tl.WorkerLost)
    assert failure.call.status == "lost"
    assert (run.executed, run.failed) == (6, 1)
    assert tl.calls(run=run, status="lost")[0].id == failure.call.id


@task
def exits(code: int) -> None:
    os._exit(code)


def test_the_exit_code_of_a_worker_is_told(pool: Processes) -> None:
    with tl.run("exit", executor=pool), pytest.raises(tl.WorkerLost, match="exit code 7") as caught:
        exits.submit(7).result()
    assert caught.value.data["exitcode"] == 7


# What travels.


def test_large_arrays_go_there_and_back(pool: Processes) -> None:
    numpy = pytest.importorskip("numpy")
    big = numpy.arange(2_000_000, dtype="float64")
    with tl.run("large", executor=pool) as run:
        found = tl.map(scaled, [2, 3], values=big)
        assert (found[1] == big * 3).all()
        found[1][0] = 7.0
        assert found[1][0] == 0.0
    assert (big == numpy.arange(2_000_000, dtype="float64")).all()
    assert run.executed == 2
    assert not run["scaled"].attempts[0].error


@task
def scaled(factor: int, values: Any) -> Any:
    return values * factor


@task
def spoils(values: list[int]) -> int:
    values.append(1)
    return len(values)


def test_an_argument_that_is_changed_in_place_is_noticed_there(pool: Processes) -> None:
    mine = [1, 2]
    with tl.run("spoil", executor=pool) as run:
        assert spoils.submit(mine).result() == 3
        assert mine == [1, 2]
    assert spoils.cached([1, 2]) is False
    assert run["spoils"].status == "done"


@pytest.mark.parametrize("size", [1, 200_000])
def test_what_workers_record_is_in_a_store_in_memory(pool: Processes, size: int) -> None:
    pytest.importorskip("fsspec")

    @task
    def repeated(x: int) -> bytes:
        print("made", x)
        return x.to_bytes() * size

    @task
    def lengths(values: list[bytes]) -> list[int]:
        return [len(value) for value in values]

    store = tl.open_store(f"memory://processes-{size}")
    for executed, hits in (6, 0), (0, 6):
        with tl.run("memory", executor=pool, store=store) as run:
            made = tl.map(repeated, range(5)).results()
            assert lengths.submit(made).result() == [size] * 5
        assert (run.executed, run.hits) == (executed, hits)
    assert tl.latest("memory", store=store)["repeated"].stdout.startswith("made")


def test_functions_made_on_the_spot_travel(pool: Processes) -> None:
    offset = 10

    @task
    def shifted(x: int) -> int:
        return x + offset

    with tl.run("closures", executor=pool) as run:
        assert tl.map(shifted, [1, 2]).results() == [11, 12]
        assert tl.map(task(lambda x: x - offset), [1, 2]).results() == [-9, -8]
    assert run.executed == 4


@task
def seen_there() -> tuple[str, str]:
    return os.environ.get("WHERE", ""), os.getcwd()


def test_environment_and_working_folder_are_those_of_the_call(
    pool: Processes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WHERE", "first")
    with tl.run("surroundings", executor=pool):
        assert seen_there.submit().result()[0] == "first"
        monkeypatch.setenv("WHERE", "second")
        monkeypatch.chdir(tmp_path)
        seen_there.forget()
        assert seen_there.submit().result() == ("second", str(tmp_path))


@task
def lines(path: str) -> int:
    with open(path, encoding="utf-8") as file:
        return len(file.readlines())


@task
def both(path: str) -> int:
    return lines.submit(path).result() * 2


def test_files_that_a_worker_reads_are_conditions_here(pool: Processes, tmp_path: Path) -> None:
    path = tmp_path / "data.txt"
    path.write_text("a\nb\n")
    with tl.run("files", executor=pool):
        assert both.submit(str(path)).result() == 4
    path.write_text("a\nb\nc\n")
    with tl.run("files", executor=pool) as run:
        assert both.submit(str(path)).result() == 6
    assert run.executed == 2


@task
def over(tree: int) -> int:
    return square(tree) + sum(tl.map(square, range(tree)))


@task
def above(x: int) -> int:
    return tl.map(over, [x, x + 1], executor=tl.Processes(2)).results()[1]


def test_a_parent_here_answers_for_children_there() -> None:
    assert above(3) == 16 + 14
    with tl.run("again") as run:
        assert above(3) == 16 + 14
    assert (run.executed, run.hits) == (0, 1)


# Programs.


def program(folder: Path, text: str) -> Path:
    """A script that is nobody's module, with a store of its own."""
    path = folder / "program.py"
    path.write_text(text)
    return path


def ran(path: Path, *args: str, **more: Any) -> str:
    environ = {**os.environ, "TASKLINEAGE_STORE": str(path.parent / "store"), "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, str(path), *args], env=environ, capture_output=True, text=True,
        timeout=PATIENCE, check=False, cwd=path.parent, **more,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


MAIN = """
from dataclasses import dataclass
import tasklineage as tl
from tasklineage import task

print("the script runs")
OFFSET = 100

@dataclass
class Point:
    x: int
    y: int

def helper(point):
    return Point(point.y + OFFSET, point.x)

@task
def turned(point):
    return helper(point)

@task
def again(n):
    return 1 if n < 2 else n * again(n - 1)

with tl.run("main", executor="processes:2") as run:
    points = tl.map(turned, [Point(1, 2), Point(3, 4)]).results()
    print(points, [type(p) is Point for p in points], tl.map(again, [3, 4]).results())
print(run.executed, run.hits)
"""


def test_a_script_without_a_guard_is_not_run_by_its_workers(tmp_path: Path) -> None:
    path = program(tmp_path, MAIN)
    expected = "[Point(x=102, y=1), Point(x=104, y=3)] [True, True] [6, 24]\n"
    assert ran(path) == f"the script runs\n{expected}6 1\n"
    assert ran(path) == f"the script runs\n{expected}0 4\n"
    path.write_text(MAIN.replace("OFFSET = 100", "OFFSET = 200"))
    assert "x=202" in ran(path)


WRAPPED = """
import functools
from dataclasses import dataclass
import tasklineage as tl
from tasklineage import task

@functools.cache
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

@functools.singledispatch
def kind(x):
    return "anything"

@kind.register
def _(x: int):
    return "a number"

@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int = 2

class Private:
    __slots__ = ("__x",)

    def __init__(self, x):
        self.__x = x

    @functools.cached_property
    def unused(self):
        return self

    @functools.lru_cache(maxsize=3)
    def doubled(self):
        return 2 * self.__x

@task
def wrapped(point):
    return fibonacci(50), kind(1), kind(""), Point(point.y, 5), Private(4).doubled()

with tl.run("wrapped", executor="processes:1"):
    print(wrapped.submit(Point(1)).result())
"""


def test_what_decorators_make_in_a_script_travels(tmp_path: Path) -> None:
    expected = "(12586269025, 'a number', 'anything', Point(x=2, y=5), 8)\n"
    assert ran(program(tmp_path, WRAPPED)) == expected


def test_a_module_that_was_edited_is_loaded_anew_by_the_workers(tmp_path: Path) -> None:
    (tmp_path / "helpers.py").write_text("def f(x):\n    return x + 1\n")
    path = program(
        tmp_path,
        """
import importlib, os, sys
import tasklineage as tl
sys.dont_write_bytecode = True
import helpers
from tasklineage import task

@task
def called(x):
    return helpers.f(x)

with tl.run(executor="processes:1"):
    print(called.submit(1).result())
    with open("helpers.py", "w") as file:
        file.write("def f(x):\\n    return x + 1000\\n")
    importlib.reload(helpers)
    print(called.submit(1).result())
    with open("helpers.py", "w") as file:
        file.write("def f(x):\\n    return x + 50000\\n")
    tl.configure(executor=None)
    try:
        print(tl.map(called, [2], executor=tl.Processes(1)).results())
    except tl.ConfigError as error:
        print("refused" if "another code version" in str(error) else error)
""",
    )
    assert ran(path) == "2\n1001\nrefused\n"


ENDLESS = """
import os, sys, time
import tasklineage as tl
from tasklineage import task

@task
def endless(x):
    with open(f"pid{x}", "w") as file:
        file.write(str(os.getpid()))
    os.rename(f"pid{x}", f"pid-{x}")
    while True:
        pass

tl.map(endless, [1, 2], executor="processes:2").results()
"""


def waited(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_process_that_began_them(tmp_path: Path, end: int) -> None:
    path = program(tmp_path, ENDLESS)
    process = subprocess.Popen(
        [sys.executable, str(path)], cwd=tmp_path, stderr=subprocess.DEVNULL,
        env={**os.environ, "TASKLINEAGE_STORE": str(tmp_path / "store")},
    )  # fmt: skip
    waited(lambda: all((tmp_path / f"pid-{i}").exists() for i in (1, 2)))
    workers = [numbered(int((tmp_path / f"pid-{i}").read_text())) for i in (1, 2)]
    process.send_signal(end)
    if end == signal.SIGINT:
        time.sleep(0.5)
        process.send_signal(end)
    process.wait(PATIENCE)
    waited(lambda: not any(map(is_alive, workers)))


def test_nothing_is_left_behind() -> None:
    pool = Processes(2)
    tl.map(square, range(4), executor=pool).results()
    workers = list(map(numbered, pool.pids()))
    assert workers
    pool.shutdown()
    assert not any(map(is_alive, workers))
    with pytest.raises(tl.ConfigError, match="shut down"):
        tl.map(square, [99], executor=pool).results()


@pytest.mark.parametrize(
    ("kind", "wrong", "least"),
    [
        (tl.Processes, {"n": 0}, 1), (tl.Processes, {"n": 1.5}, 1),
        (tl.Processes, {"gpus": -1}, 0), (tl.Processes, {"gpus": True}, 0),
        (tl.Dask, {"n_workers": 0}, 1), (tl.Dask, {"n_workers": "2"}, 1),
        (tl.Dask, {"gpus": -1}, 0),
    ],
)  # fmt: skip
def test_a_number_that_is_none_is_refused(kind: Any, wrong: dict[str, Any], least: int) -> None:
    with pytest.raises(tl.ConfigError, match=f"is a whole number from {least} on"):
        kind(**wrong)
