"""What every executor does: the interface's definition, as tests that a subclass inherits.

An executor gets a test class with a `make` method. What works do here is picklable, in the way of
tasks, for executors whose works do not share the memory of who submits them.
"""

from __future__ import annotations

import contextlib
import contextvars
import glob
import os
import threading
import time
import traceback
from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar

import pytest

from tasklineage.core.combinators import map
from tasklineage.core.run import run
from tasklineage.core.task import task
from tasklineage.errors import ConfigError, TaskTimeout, UnsatisfiableResources
from tasklineage.executors.base import Executor, Work, wait_for
from tasklineage.testing.sandbox import temporary_store

PATIENCE = 30.0
"""Seconds after which something is taken to hang."""

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Oops(BaseException):
    """Not an `Exception`."""


def square(x: int) -> int:
    return x * x


def fail(error: BaseException) -> None:
    raise error


shared_memory = pytest.mark.usefixtures("_shared_memory")
"""For tests whose works and whoever submits them must see the same objects."""


class ExecutorTests:
    """Inherited by the tests of each executor, which say how one is made."""

    is_concurrent: ClassVar[bool] = True
    """False where `submit` returns only after the work is done."""

    @abstractmethod
    def make(self) -> Executor:
        """A new executor, with few slots."""

    @pytest.fixture
    def executor(self) -> Iterator[Executor]:
        """A new executor, of which nothing is left behind."""
        threads, processes = threading.active_count(), children()
        executor = self.make()
        yield executor
        watched(executor.shutdown)
        assert_soon(lambda: threading.active_count() <= threads)
        assert_soon(lambda: children() <= processes)

    @pytest.fixture
    def _shared_memory(self, executor: Executor) -> None:
        if not executor.shares_memory:
            pytest.skip("works and who submits them share no memory")

    # Outcomes

    def test_a_work_gives_what_its_callable_returns(self, executor: Executor) -> None:
        work = executor.submit(partial(square, 7))
        assert work.result(PATIENCE) == 49
        assert work.exception() is None
        assert work.done()
        assert work.started()
        assert not work.cancelled()

    def test_none_is_a_result(self, executor: Executor) -> None:
        assert executor.submit(partial(dict[str, int]().get, "x")).result(PATIENCE) is None

    @pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), Oops("base")], ids=repr)
    def test_whatever_is_raised_is_the_outcome(
        self, executor: Executor, error: BaseException
    ) -> None:
        work = executor.submit(partial(fail, error))
        stored = work.exception(PATIENCE)
        assert stored is not None
        assert type(stored) is type(error)
        assert stored.args == error.args
        with pytest.raises(type(error)):
            work.result()

    def test_an_executor_goes_on_after_a_failure(self, executor: Executor) -> None:
        failed = [executor.submit(partial(fail, SystemExit())) for _ in range(3 * executor.slots)]
        assert executor.submit(partial(square, 3)).result(PATIENCE) == 9
        assert wait_for(failed, PATIENCE)

    @shared_memory
    def test_a_traceback_begins_in_the_callable(self, executor: Executor) -> None:
        error = executor.submit(partial(fail, ValueError())).exception(PATIENCE)
        assert error is not None
        assert error.__traceback__ is not None
        assert error.__traceback__.tb_frame.f_code is fail.__code__

    def test_an_exception_brings_its_traceback(self, executor: Executor) -> None:
        error = executor.submit(partial(fail, ValueError("no"))).exception(PATIENCE)
        assert error is not None
        shown = "".join(traceback.format_exception(error))
        assert ", in fail" in shown
        assert "raise error" in shown

    @shared_memory
    def test_each_work_is_run_once(self, executor: Executor) -> None:
        seen: list[int] = []
        works = [executor.submit(partial(seen.append, i)) for i in range(200)]
        watched(lambda: executor.wait_for(works))
        assert sorted(seen) == list(range(200))
        assert not any(work.claim() for work in works)

    @shared_memory
    def test_works_start_in_the_order_of_submission(self, executor: Executor) -> None:
        seen: list[int] = []
        with Gate(self.is_concurrent) as gate:
            blockers = [executor.submit(gate.wait) for _ in range(executor.slots)]
            works = [executor.submit(partial(seen.append, i)) for i in range(50)]
        watched(lambda: executor.wait_for([*blockers, *works]))
        if executor.slots == 1:
            assert seen == list(range(50))
        else:
            assert max(abs(i - place) for place, i in enumerate(seen)) <= executor.slots

    # Contexts

    @shared_memory
    def test_a_work_runs_in_a_copy_of_the_context_of_its_submitter(
        self, executor: Executor
    ) -> None:
        def change() -> str:
            before = variable.get()
            variable.set("changed in the work")
            return before

        token = variable.set("mine")
        try:
            works = [executor.submit(change) for _ in range(5)]
        finally:
            variable.reset(token)
        assert [work.result(PATIENCE) for work in works] == ["mine"] * 5
        assert variable.get() == "unset"
        assert executor.submit(variable.get).result(PATIENCE) == "unset"

    # Waiting

    @shared_memory
    def test_callbacks_are_called_once_and_late_ones_at_once(self, executor: Executor) -> None:
        told: list[tuple[str, bool]] = []
        with Gate(self.is_concurrent) as gate:
            work = executor.submit(gate.wait)
            work.add_done_callback(lambda w: told.append(("early", w.done())))
        assert work.wait(PATIENCE)
        assert_soon(lambda: bool(told))
        work.add_done_callback(lambda w: told.append(("late", w.done())))
        assert told == [("early", True), ("late", True)]

    @shared_memory
    def test_a_failing_callback_is_reported_and_harms_nobody(
        self, executor: Executor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reported: list[Any] = []
        monkeypatch.setattr(threading, "excepthook", reported.append)
        told: list[int] = []
        with Gate(self.is_concurrent) as gate:
            work = executor.submit(gate.wait)
            work.add_done_callback(lambda _: fail(ValueError("callback")))
            work.add_done_callback(lambda _: told.append(1))
        assert work.wait(PATIENCE)
        assert_soon(lambda: told == [1])
        assert [args.exc_type for args in reported] == [ValueError]
        assert executor.submit(partial(square, 2)).result(PATIENCE) == 4

    @shared_memory
    def test_a_wait_gives_up_after_its_timeout(self, executor: Executor) -> None:
        if not self.is_concurrent:
            pytest.skip("a work is done before anybody can wait for it")
        with Gate() as gate:
            work = executor.submit(gate.wait)
            assert not work.wait(0.001)
            assert not work.wait(0)
            assert not work.wait(-1)
            assert not executor.wait_for([work], 0.001)
            with pytest.raises(TimeoutError):
                work.result(0.001)
            assert not work.done()
        assert work.wait(PATIENCE)
        assert wait_for([], 0)

    @shared_memory
    def test_many_threads_may_wait_for_one_work(self, executor: Executor) -> None:
        results: list[bool] = []
        with Gate(self.is_concurrent) as gate:
            work = executor.submit(gate.wait)
            threads = [
                threading.Thread(target=lambda: results.append(work.wait(PATIENCE)))
                for _ in range(5)
            ]
            for thread in threads:
                thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert results == [True] * 5

    # Cancelling

    @shared_memory
    def test_a_work_that_has_not_started_can_be_cancelled(self, executor: Executor) -> None:
        if not self.is_concurrent:
            pytest.skip("a work has started when its submitter gets it")
        from concurrent.futures import CancelledError

        seen: list[int] = []
        with Gate() as gate:
            blockers = [executor.submit(gate.wait) for _ in range(executor.slots)]
            assert_soon(lambda: all(work.started() for work in blockers))
            work = executor.submit(partial(seen.append, 1))
            told: list[bool] = []
            work.add_done_callback(lambda w: told.append(w.cancelled()))
            assert work.cancel()
            assert work.cancel()
            assert told == [True]
            assert work.done()
            assert not blockers[0].cancel()
        with pytest.raises(CancelledError):
            work.result()
        watched(lambda: executor.wait_for(blockers))
        assert executor.submit(partial(square, 2)).result(PATIENCE) == 4
        assert not seen

    def test_a_work_that_is_done_cannot_be_cancelled(self, executor: Executor) -> None:
        work = executor.submit(partial(square, 2))
        assert work.wait(PATIENCE)
        assert not work.cancel()
        assert not work.cancelled()

    # Nesting

    def test_works_wait_for_works_at_any_depth(self, executor: Executor) -> None:
        def nested(depth: int) -> int:
            return depth and 1 + executor.submit(partial(nested, depth - 1)).result()

        depth = 50
        work = executor.submit(partial(nested, depth))
        assert work.result(PATIENCE) == depth

    def test_works_wait_for_many_works_that_wait(self, executor: Executor) -> None:
        def tree(depth: int) -> int:
            if depth == 0:
                return 1
            works = [executor.submit(partial(tree, depth - 1)) for _ in range(3)]
            executor.wait_for(works)
            return sum(work.result() for work in works)

        assert executor.submit(partial(tree, 4)).result(PATIENCE) == 3**4

    @shared_memory
    def test_no_more_works_run_at_once_than_there_are_slots(self, executor: Executor) -> None:
        running = Gauge()

        def tree(depth: int) -> None:
            with running:
                time.sleep(0.0005)
            if depth:
                works = [executor.submit(partial(tree, depth - 1)) for _ in range(3)]
                executor.wait_for(works)
            with running:
                time.sleep(0.0005)

        works = [executor.submit(partial(tree, 2)) for _ in range(4)]
        watched(lambda: executor.wait_for(works))
        assert running.most <= executor.slots

    def test_a_failure_of_a_child_reaches_its_parent(self, executor: Executor) -> None:
        def parent() -> str:
            try:
                executor.submit(partial(fail, KeyError("child"))).result()
            except KeyError as error:
                return f"seen {error}"
            return "not seen"

        assert executor.submit(parent).result(PATIENCE) == "seen 'child'"

    # Time limits

    def test_a_work_that_takes_too_long_is_stopped(self, executor: Executor) -> None:
        if not executor.can_kill:
            with pytest.raises(ConfigError, match="cannot stop"):
                executor.submit(partial(square, 1), timeout=1)
            return
        began = time.monotonic()
        late = executor.submit(partial(time.sleep, PATIENCE), timeout=0.5)
        other = executor.submit(partial(square, 5), timeout=PATIENCE)
        with pytest.raises(TaskTimeout):
            late.result(PATIENCE)
        assert time.monotonic() - began < PATIENCE / 2
        assert other.result(PATIENCE) == 25
        assert executor.submit(partial(square, 6)).result(PATIENCE) == 36

    # Tasks

    def test_tasks_run_on_it(self, executor: Executor) -> None:
        @task
        def inner(x: int, of: int) -> int:
            print("inner", of, x)
            return 10 * of + x

        @task
        def outer(x: int) -> list[int]:
            print("outer", x)
            return map(inner, range(3), of=x).results()

        @task
        def failing(x: int) -> int:
            print("before it failed")
            raise ValueError(f"no {x}")

        expected = [[10 * x + i for i in range(3)] for x in range(4)]
        with temporary_store(), run("conformance", executor=executor) as first:
            assert map(outer, range(4)).results() == expected
            with pytest.raises(ValueError, match="no 7"):
                failing.submit(7).result(PATIENCE)
            with run("again", executor=executor) as again:
                assert map(outer, range(4)).results() == expected
            assert (first.executed, first.failed) == (4 + 12 + 1, 1)
            assert (again.executed, again.hits) == (0, 4)
            said = {call.stdout for call in first.calls}
            assert said == {
                *(f"outer {x}\n" for x in range(4)),
                *(f"inner {x} {i}\n" for x in range(4) for i in range(3)),
                "before it failed\n",
            }
            assert [len(call.children) for call in first.roots] == [3, 3, 3, 3, 0]

    # The end

    @pytest.mark.parametrize("wait", [True, False])
    def test_what_was_submitted_before_shutdown_is_run(
        self, executor: Executor, wait: bool
    ) -> None:
        works = [executor.submit(partial(square, x)) for x in range(20)]
        watched(partial(executor.shutdown, wait))
        assert not wait or all(work.done() for work in works)
        assert [work.result(PATIENCE) for work in works] == [x * x for x in range(20)]
        watched(executor.shutdown)

    def test_no_file_and_no_socket_stays_open(self) -> None:
        def use() -> None:
            with self.make() as executor:
                works = [executor.submit(partial(square, x)) for x in range(2 * executor.slots)]
                assert wait_for(works, PATIENCE)

        counts = list[int]()
        for _ in range(8):
            use()
            counts.append(open_files())
        # A library opens some for the whole process, or closes them later: they do not add up.
        assert min(counts[4:]) <= max(counts[:4])

    def test_nothing_can_be_submitted_after_shutdown(self) -> None:
        with self.make() as executor:
            executor.submit(partial(square, 1))
        for submit in (
            executor.submit, executor.driver.submit, partial(executor.submit, resources={"cpu": 1})
        ):  # fmt: skip
            with pytest.raises(ConfigError) as refused:
                submit(partial(square, 1))
            assert f"{executor!r} has been shut down" in str(refused.value)

    @shared_memory
    def test_works_of_an_executor_that_ends_may_still_submit(self) -> None:
        executor = self.make()

        def parent() -> int:
            gate.wait()
            return executor.submit(partial(square, 3)).result()

        with Gate(self.is_concurrent) as gate:
            work = executor.submit(parent)
            executor.shutdown(wait=not self.is_concurrent)
        assert work.result(PATIENCE) == 9

    # What is not offered

    def test_what_cannot_be_honoured_is_refused(self, executor: Executor) -> None:
        with pytest.raises(UnsatisfiableResources, match="GPU 99"):
            executor.submit(partial(square, 1), resources={"GPU": 99})
        assert executor.submit(partial(square, 3), resources={"cpu": 1}).result(PATIENCE) == 9

    def test_it_says_what_it_is(self, executor: Executor) -> None:
        assert executor.name
        assert executor.slots >= 1
        assert executor.name.lower() in repr(executor).lower()
        assert isinstance(executor.submit(partial(square, 1)), Work)

    def test_blocked_is_harmless_in_a_thread_that_is_no_worker(self, executor: Executor) -> None:
        with executor.blocked(), executor.blocked():
            assert executor.submit(partial(square, 4)).result(PATIENCE) == 16


class Gate:
    """A context at whose end those who wait go on; closed from the start only if so wished."""

    def __init__(self, closed: bool = True) -> None:
        self._open = threading.Event()
        if not closed:
            self._open.set()

    def wait(self) -> None:
        assert self._open.wait(PATIENCE)

    def open(self) -> None:
        self._open.set()

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.set()


class Gauge:
    """Counts how many threads are inside of it, and remembers the most."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1


def children() -> set[int]:
    """The processes that this one has begun and that have not ended; on Linux."""
    found: set[int] = set()
    for path in glob.glob("/proc/self/task/*/children"):
        with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
            found |= {int(pid) for pid in file.read().split()}
    return found


def open_files() -> int:
    """How many files, pipes and sockets this process has open; on Linux."""
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def watched(function: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """What the function returns, run in another thread; a failure, if it hangs."""
    outcome: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(patience)
    assert not thread.is_alive(), "it hangs"
    if errors:
        raise errors[0]
    return outcome[0]


def assert_soon(condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.001)
