"""The fixtures for users' tests, in sessions of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

PLUGIN = "tasklineage.testing.plugin"
IS_INSTALLED = any(one.value == PLUGIN for one in entry_points(group="pytest11"))
OPTIONS = ("-p", "no:cacheprovider") if IS_INSTALLED else ("-p", PLUGIN, "-p", "no:cacheprovider")

PROGRAM = """
import tasklineage as tl

@tl.task
def load(n):
    return list(range(n))

@tl.task
def total(rows, scale=1):
    return sum(rows) * scale

@tl.task
def pipeline(n):
    return total(load(n))
"""


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.delenv("TASKLINEAGE_STORE")
    pytester.makepyfile(program=PROGRAM)
    return pytester


def outcomes(session: pytest.Pytester, *options: str, **expected: int) -> str:
    """What a session printed, whose tests came out so."""
    result = session.runpytest_subprocess(*OPTIONS, *options)
    result.assert_outcomes(**expected)
    return result.stdout.str()


def test_each_test_has_a_store_of_its_own(session: pytest.Pytester) -> None:
    session.makepyfile(
        """
        import os, pytest, tasklineage as tl
        from program import load

        @pytest.mark.parametrize("n", range(3))
        def test_it(tl_store, assert_executed, assert_hit, n):
            assert len(tl.calls()) == 0
            assert load(5) == [0, 1, 2, 3, 4]
            load(5)
            assert assert_executed(load, 1)[0].args["n"] == 5
            assert len(assert_hit(load)) == 1
            assert tl.current_run().store is tl_store

        def test_nothing_is_left():
            from tasklineage import config
            assert tl.current_run() is None
            assert config.settings().store is None
            assert "TASKLINEAGE_STORE" not in os.environ
        """
    )
    outcomes(session, passed=4)


def test_a_store_of_the_session_goes_on_after_a_test_with_its_own(session: pytest.Pytester) -> None:
    session.makepyfile(
        """
        import tasklineage as tl
        from program import load

        def test_before(): load(1)
        def test_inside(tl_store): load(1); assert len(tl.calls()) == 1
        def test_after(): load(1); assert [c.status for c in tl.calls()] == ["hit", "done"]
        """
    )
    outcomes(session, passed=3)


def test_too_many_executions_are_listed_with_their_causes(session: pytest.Pytester) -> None:
    session.makepyfile(
        """
        from program import total

        def test_it(assert_executed):
            total([1, 2])
            total([1, 2], scale=3)
            total([1, 2])
            assert_executed(total, 1)
        """
    )
    told = outcomes(session, failed=1)
    assert "total was to execute once, but executed 2 times, and was a hit once" in told
    assert "executed program.total(rows=[1, 2], scale=1): first call of program.total" in told
    assert "executed program.total(rows=[1, 2], scale=3): argument scale: 1 is now 3" in told
    assert "hit      program.total(rows=[1, 2], scale=1): answered with the result of" in told
    assert "tl_store" in told
    assert "assertions.py" not in told  # the traceback ends in the user's test


def test_a_hit_that_did_not_come_is_explained_by_what_was_edited(session: pytest.Pytester) -> None:
    session.makepyfile(
        """
        import program

        def test_it(assert_hit):
            program.total([1, 2])
            exec(compile(open("edited.py").read(), "edited.py", "exec"), vars(program))
            program.total([1, 2])
            assert_hit("total", 1)
        """
    )
    (session.path / "edited.py").write_text(PROGRAM.replace("* scale", "* scale + 1"))
    told = outcomes(session, failed=1)
    assert "total was to be a hit once, but executed 2 times, and was a hit not at all" in told
    assert "+    return sum(rows) * scale + 1" in told


def test_what_a_hit_spared_and_what_was_called_instead_is_said(session: pytest.Pytester) -> None:
    session.makepyfile(
        """
        import tasklineage as tl
        from program import pipeline, total

        def test_below_a_hit(tl_store, assert_executed):
            pipeline(3)
            with tl.run() as run:
                pipeline(3)
            assert_executed(total, 1)
            assert_executed(total, 0, run=run)
            assert_executed(total, run=run)

        def test_a_wrong_name(assert_hit):
            pipeline(3)
            assert_hit("totall", 1)

        def test_nothing(assert_executed):
            assert_executed(total)
        """
    )
    told = outcomes(session, failed=3)
    assert "there are: program.pipeline (1 hit)" in told
    assert "not called when the task itself is a hit" in told
    assert "no call of totall was recorded; there are: program.pipeline (1 executed)" in told
    assert "no call of any task was recorded" in told


def test_threads_and_coroutines_are_seen(session: pytest.Pytester) -> None:
    session.makepyfile(
        """
        import asyncio, threading
        import tasklineage as tl
        from program import load

        @tl.task
        async def fetch(n):
            await asyncio.sleep(0)
            return n

        def test_threads(assert_executed, assert_hit):
            threads = [threading.Thread(target=load, args=(3,)) for _ in range(4)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            assert_executed(load, 1)
            assert_hit(load, 3)
            assert list(tl.map(load, [3, 4])) == [[0, 1, 2], [0, 1, 2, 3]]
            assert_executed("load", 2)

        def test_coroutines(assert_executed, assert_hit):
            async def main():
                assert await asyncio.gather(fetch(1), fetch(2)) == [1, 2]
                assert await fetch(1) == 1
                assert_hit(fetch, 1)
            asyncio.run(main())
            assert_executed(fetch, 2)
        """
    )
    outcomes(session, passed=2)


def test_workers_of_xdist_have_stores_of_their_own(session: pytest.Pytester) -> None:
    session.makepyfile(
        """
        import pytest
        from program import load

        @pytest.mark.parametrize("n", range(12))
        def test_it(assert_executed, assert_hit, n):
            load(2); load(2)
            assert_executed(load, 1)
            assert_hit(load, 1)
        """
    )
    outcomes(session, "-n2", passed=12)


def test_unfinished_work_of_a_test_ends_with_it(session: pytest.Pytester) -> None:
    session.makepyfile(
        """
        import time
        import tasklineage as tl

        @tl.task
        def late(n):
            time.sleep(0.2)
            return n

        runs = []

        def test_it(tl_store):
            late.submit(1)
            runs.append(tl.current_run())

        def test_after():
            assert runs[0].status == "done"
            assert [call.status for call in runs[0].calls] == ["done"]
        """
    )
    outcomes(session, passed=2)


def test_a_session_that_does_not_use_it_loads_nothing(session: pytest.Pytester) -> None:
    session.makepyfile(
        """
        import sys

        def test_it():
            loaded = [name for name in sys.modules if name.startswith("tasklineage")]
            assert loaded == ["tasklineage", "tasklineage.testing", "tasklineage.testing.plugin"]
            assert "xxhash" not in sys.modules and "msgpack" not in sys.modules
        """
    )
    outcomes(session, passed=1)


def test_the_fixtures_say_what_they_are(session: pytest.Pytester) -> None:
    told = session.runpytest_subprocess(*OPTIONS, "--fixtures").stdout.str()
    assert "A new store, which all calls of this test use" in told
    assert "assert_executed(task, n=None, *, run=None)" in told


def test_the_plugin_costs_a_session_nothing_to_speak_of() -> None:
    program = (
        "import pytest, sys, json; before = set(sys.modules); import tasklineage.testing.plugin;"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = json.loads(done.stdout)
    assert set(loaded) <= {"tasklineage", "tasklineage.testing", "tasklineage.testing.plugin"}
