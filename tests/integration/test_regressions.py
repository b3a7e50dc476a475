"""What was once wrong: each of these gave a wrong value, a hang, or a lost record."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.core import environment, surroundings


def run_script(tmp_path: Path, text: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(text))
    return subprocess.run(
        [sys.executable, str(path), str(tmp_path / "store")],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


class Holder:
    def __init__(self, data: Any) -> None:
        self.data = data


def test_what_counts_of_an_argument_is_not_taken_for_the_whole() -> None:
    @task(key={"o": lambda o: o.data}, store_args=True)
    def f(o: Holder) -> int:
        return 1

    @task
    def make(n: int) -> np.ndarray:
        return np.arange(n)

    f(Holder(np.arange(100_000)))
    make(100_000)
    assert type(make(100_000)) is np.ndarray


def test_key_functions_see_values_and_not_futures() -> None:
    @task
    def c(x: int) -> list[int]:
        return [x] * x

    @task(key={"x": str}, ignore="log")
    def f(x: Any, log: Any = None) -> Any:
        assert not isinstance(log, tl.BoundCall | tl.Future)
        return ["f", x]

    assert f(c.bind(1)) == ["f", [1]]
    assert f(c.bind(2)) == ["f", [2, 2]]
    assert tl.map(f, [c.submit(1), c.submit(2)]).results() == [["f", [1]], ["f", [2, 2]]]
    assert f(3, c.bind(1)) == ["f", 3]


@pytest.mark.parametrize("executor", ["inline", "threads:1", "threads:2"])
def test_coroutines_on_workers_have_the_context_of_their_own_call(executor: str) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("v", default=0)

    @task(memo=False)
    def now(x: int) -> float:
        return time.time()

    @task
    async def parent(x: int) -> list[Any]:
        call = tl.current_call()
        assert call is not None
        print("in", x)
        return [now(x), list(call.position or ())]

    with tl.run(executor=executor) as run:
        values = tl.map(parent, [1, 2, 3]).results()
    assert [v[1][0] for v in values] == [0, 1, 2]
    calls = {c.args["x"]: c for c in run.calls if c.task.endswith("parent")}
    assert {x: c.stdout for x, c in calls.items()} == {x: f"in {x}\n" for x in (1, 2, 3)}
    with tl.run(executor=executor):
        assert tl.map(parent, [1, 2, 3]).hits == 0
    assert variable.get() == 0


@pytest.mark.parametrize("executor", ["threads:1", "threads:2"])
def test_coroutines_that_wait_lend_their_slot(tmp_path: Path, executor: str) -> None:
    done = run_script(
        tmp_path,
        f"""
        import asyncio, faulthandler, sys
        import tasklineage as tl
        from tasklineage import task
        faulthandler.dump_traceback_later(40, exit=True)
        @task
        def child(x): return x + 1
        @task
        async def other(x): return x + 2
        @task
        async def one(x): return await child.submit(x)
        @task
        async def two(x): return (await tl.amap(child, [x]))[0]
        @task
        async def three(x): return await other(child.submit(x))
        @task
        def four(x): return asyncio.run(two.__wrapped__(x))
        @task
        async def five(x): return tl.map(other, [x]).results()[0]
        with tl.run(store=sys.argv[1], executor="{executor}"):
            for f in (one, two, three, four, five):
                assert one.submit(1).result() == 2
                print(tl.map(f, range(10, 18)).results()[0])
        """,
    )
    assert done.stdout.split() == ["11", "11", "13", "11", "12"], done.stderr[-3000:]


def test_a_map_that_cannot_start_does_not_hang_the_run() -> None:
    @task
    def f(x: int) -> int:
        return x

    executor = tl.Threads(1)
    executor.shutdown()
    with tl.run():
        with pytest.raises(tl.ConfigError):
            tl.map(f, [1], executor=executor)
        with pytest.raises(tl.ConfigError):
            f.options(executor=executor).submit(2)
        first = f.submit(3)
        assert f.submit(first).result() == 3


def test_a_map_begun_before_a_fork_is_lost_in_the_child(tmp_path: Path) -> None:
    done = run_script(
        tmp_path,
        """
        import faulthandler, os, sys, time
        import tasklineage as tl
        faulthandler.dump_traceback_later(40, exit=True)
        @tl.task
        def slow(x):
            time.sleep(0.05)
            return x
        with tl.run(store=sys.argv[1], executor="threads:2"):
            with tl.run("inner"):
                fan = tl.map(slow, range(20))
                if os.fork() == 0:
                    try:
                        fan.results()
                    except tl.WorkerLost:
                        os._exit(7)
                    os._exit(1)
                assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
                assert fan.results() == list(range(20))
        print("ok")
        """,
    )
    assert done.stdout == "ok\n", done.stderr[-3000:]


@pytest.mark.parametrize("executor", ["inline", "threads:2"])
@pytest.mark.parametrize("on_error", ["raise", "collect"])
def test_an_interrupt_stops_a_map(tmp_path: Path, executor: str, on_error: str) -> None:
    done = run_script(
        tmp_path,
        f"""
        import faulthandler, os, signal, sys, threading, time
        import tasklineage as tl
        faulthandler.dump_traceback_later(40, exit=True)
        @tl.task
        def slow(x):
            time.sleep(0.1)
            return x
        try:
            with tl.run(store=sys.argv[1], executor="{executor}") as run:
                threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
                tl.map(slow, range(300), on_error="{on_error}").results()
        except KeyboardInterrupt:
            print(run.status, run.executed < 30)
        """,
    )
    assert done.stdout == "interrupted True\n", done.stderr[-3000:]


@pytest.mark.parametrize("on_error", ["raise", "collect", "skip"])
def test_an_interrupt_while_an_element_is_digested_stops_a_map(on_error: Any) -> None:
    def interrupts(x: int) -> int:
        if x == 3:
            raise KeyboardInterrupt
        return x

    @task(key={"x": interrupts})
    def same(x: int) -> int:
        return x

    with tl.run(executor="inline"), pytest.raises(KeyboardInterrupt):
        tl.map(same, range(6), on_error=on_error)


def test_a_run_ends_although_its_environment_cannot_be_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = threading.Event()
    monkeypatch.setattr(environment, "record_environment", lambda run, store: gate.wait())
    monkeypatch.setattr(surroundings, "PATIENCE", 0.01)
    try:
        with tl.run() as run:
            pass
        assert run.status == "done"
    finally:
        gate.set()


def test_a_map_that_was_stopped_asks_for_no_more_workers() -> None:
    class Counting(tl.Threads):
        submitted = 0

        def submit(self, *args: Any, **kwargs: Any) -> Any:
            self.submitted += 1
            if self.submitted > 1000:
                raise RuntimeError("endless")
            return super().submit(*args, **kwargs)

    @task(ignore="gate")
    def first_waits_second_fails(x: int, gate: threading.Event) -> int:
        if x == 0:
            gate.wait()
        elif x == 1:
            raise ValueError(x)
        return x

    pool, gate = Counting(3), threading.Event()
    with pytest.raises(ValueError, match="1"), tl.run(executor=pool):
        tl.map(first_waits_second_fails, range(100), gate=gate)
        while not tl.current_run().failed or pool.statistics().running > 1:
            time.sleep(0.001)
        gate.set()
    pool.drain()
    assert pool.submitted < 20


def test_an_interrupt_of_submit_leaves_no_endless_calls_for_workers() -> None:
    begun, gate = threading.Event(), threading.Event()

    class Interrupted(tl.Threads):
        submitted = 0

        def submit(self, *args: Any, **kwargs: Any) -> Any:
            self.submitted += 1
            if self.submitted > 1000:
                raise RuntimeError("endless")
            work = super().submit(*args, **kwargs)
            if self.submitted == 1:
                begun.wait()
                raise KeyboardInterrupt
            return work

    @task(ignore=("begun", "gate"))
    def waits(x: int, begun: threading.Event, gate: threading.Event) -> int:
        begun.set()
        gate.wait()
        return x

    pool = Interrupted(1)
    with tl.run(executor=pool), pytest.raises(KeyboardInterrupt):
        tl.map(waits, range(100), begun=begun, gate=gate)
    gate.set()
    pool.drain()
    assert pool.submitted < 100


def test_an_unseen_failure_of_the_ambient_run_is_its_status(tmp_path: Path) -> None:
    run_script(
        tmp_path,
        """
        import sys
        import tasklineage as tl
        tl.configure(store=sys.argv[1])
        @tl.task
        def fails(x):
            raise ValueError(x)
        tl.map(fails, [1])
        """,
    )
    (run,) = tl.runs(store=tmp_path / "store", namespace="*")
    assert run.status == "failed"


def test_surplus_iterables_go_to_star_args() -> None:
    @task
    def g(a: int, *r: int, k: int = 0, **kw: int) -> list[Any]:
        return [a, list(r), k, kw]

    @task
    def po(a: int, b: int, /) -> int:
        return a - b

    @task
    def ko(a: int, *, b: int) -> int:
        return a - b

    assert tl.map(g, [1, 2], [3, 4], [5, 6], k=2).results()[0] == [1, [3, 5], 2, {}]
    assert tl.map(po, [1, 2], a=5).results() == [4, 3]
    assert tl.map(ko, [1], [2]).results() == [-1]


def test_replaced_defaults_of_the_called_task_are_noticed() -> None:
    @task
    def f(x: int, k: int = 1) -> int:
        return x * k

    assert f(10) == 10
    f.__wrapped__.__defaults__ = (5,)  # type: ignore[attr-defined]
    assert f(10) == 50


def test_a_failed_element_of_another_map_skips_its_call() -> None:
    @task
    def f(x: int) -> int:
        if x == 1:
            raise ValueError(x)
        return x

    @task
    def g(x: int) -> int:
        return x

    @task
    def count(xs: Any) -> int:
        return len(xs)

    fan = tl.map(f, [0, 1, 2], on_error="collect")
    second = tl.map(g, fan, on_error="collect")
    assert [isinstance(v, tl.Failure) for v in second] == [False, True, False]
    assert count(fan) == count(fan) == 3


def test_exceptions_that_refuse_attributes_and_contexts_come_through() -> None:
    @dataclass(frozen=True)
    class Frozen(Exception):
        code: int

    @task
    def fail(how: str) -> None:
        if how == "frozen":
            raise Frozen(3)
        try:
            {}["a"]  # type: ignore[var-annotated]
        except KeyError:
            raise ValueError("x")  # noqa: B904

    with pytest.raises(Frozen):
        fail("frozen")
    with pytest.raises(ValueError) as caught:
        fail("context")
    assert isinstance(caught.value.__context__, KeyError)
    assert not caught.value.__suppress_context__


def test_a_future_hidden_in_a_result_or_argument_says_so() -> None:
    @dataclass
    class Box:
        inside: Any

    @task
    def one() -> int:
        return 1

    @task
    def make() -> Any:
        return Box(one.submit())

    @task
    def take(box: Any) -> int:
        return 1

    with pytest.raises(tl.UnstorableResult) as caught:
        make()
    assert isinstance(caught.value.value, Box)
    with pytest.raises(tl.UnhashableArgument):
        take(Box(one.submit()))
    assert not take.cached(one.submit())


def test_a_default_of_a_caught_call_is_fresh() -> None:
    @task(catch=ValueError, default=[])
    def f(x: int) -> list[int]:
        raise ValueError

    f(1).append(5)
    assert f(2) == []


def test_a_nested_refresh_adds_to_the_outer_one() -> None:
    @task
    def a() -> int:
        return 1

    @task
    def b() -> int:
        return 2

    a(), b()
    with tl.run(refresh="a"), tl.run(refresh="b") as run:
        a(), b()
    assert run.executed == 2


def test_an_element_without_digest_makes_its_parent_volatile() -> None:
    @task
    def f(x: Any) -> int:
        return 1

    @task
    def parent() -> int:
        return len(tl.map(f, [1, iter([])], on_error="skip"))

    assert parent() == 1
    assert not parent.cached()


def test_a_parameter_may_be_named_self() -> None:
    @task
    def f(self: int, x: int) -> int:
        return self + x

    assert f(self=1, x=2) == 3
    assert f.submit(self=1, x=2).result() == 3


def test_many_unfinished_futures_are_all_waited_for() -> None:
    import threading

    @task(ignore="done")
    def f(x: int, done: Any) -> None:
        done.append(x)

    done: list[int] = []
    with tl.run(executor="threads:2"):
        context = contextvars.copy_context()
        threads = [
            threading.Thread(
                target=context.copy().run,
                args=(lambda k=k: [f.submit(k * 100 + i, done) for i in range(100)],),
            )
            for k in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(done) == list(range(400))


def test_amap_does_not_block_the_loop_and_stops_when_cancelled() -> None:
    @task(ignore="log", memo=False)
    def slow(x: int, log: Any) -> int:
        time.sleep(0.05)
        log.append(x)
        return x

    log: list[int] = []

    async def main() -> float:
        longest, last = 0.0, time.monotonic()
        work = asyncio.ensure_future(tl.amap(slow, range(10), log=log, executor="inline"))
        while not work.done():
            await asyncio.sleep(0.005)
            now = time.monotonic()
            longest, last = max(longest, now - last), now
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(
                tl.amap(slow, range(100), log=log, executor="threads:1"), timeout=0.12
            )
        return longest

    with tl.run():
        asyncio.run(main())
    assert 10 < len(log) < 60


def helper(x: int = 1) -> int:
    return x


def two_more(x: int) -> int:
    return x + 2


class Base:
    value = 1


class Derived(Base):
    pass


def attributed() -> int:
    return getattr(attributed, "value", 1)


@task(ignore="change")
def reads_code(change: Callable[[], object]) -> Any:
    change()
    return helper(), Derived().value, attributed(), repr(3)


IN_PLACE: dict[str, tuple[object, str, object]] = {
    "code": (helper, "__code__", two_more.__code__),
    "defaults": (helper, "__defaults__", (2,)),
    "a name that a class has inherited": (Derived, "value", 2),
    "an attribute that a function lacked": (attributed, "value", 2),
    "a builtin that was not shadowed": (sys.modules[__name__], "repr", bin),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_a_call_whose_code_was_replaced_while_it_ran_is_no_memo(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = reads_code.__wrapped__(tuple)
    with pytest.warns(UserWarning, match="reads_code changes"):
        changed = reads_code(lambda: monkeypatch.setattr(*IN_PLACE[name], raising=False))
    monkeypatch.undo()
    assert changed != expected
    assert reads_code(tuple) == expected


def test_a_failure_with_an_endless_message_is_recorded_with_both_ends_of_it() -> None:
    @task
    def shouts() -> None:
        raise ValueError("first" + "x" * 20_000_000 + "last")

    with pytest.raises(ValueError, match=r"^first"), tl.run() as run:
        shouts()
    call = run["shouts"]
    assert call.status == "failed"
    for text in (call.error.message, call.error.traceback):
        assert len(text) < 100_000
        assert "first" in text
        assert text.rstrip().endswith("last")


def test_a_failure_that_cannot_be_shown_is_recorded_and_reaches_the_caller() -> None:
    class Hidden(Exception):
        @property
        def __traceback__(self) -> Any:  # type: ignore[override]
            raise KeyError("no")

        __cause__ = __traceback__

    @task
    def fails() -> None:
        raise Hidden("a message")

    @task(catch=Exception, default=5)
    def catches() -> Any:
        return fails()

    with tl.run() as run:
        with pytest.raises(Hidden):
            fails()
        assert catches() == 5
    assert [(c.status, c.error.message) for c in run.calls if c.task.endswith("fails")] == [
        ("failed", "a message")
    ] * 2
