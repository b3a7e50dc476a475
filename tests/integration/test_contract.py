"""Promises of the public face that are too small for a page of tests of their own."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

import tasklineage as tl
from tasklineage import task


@task
def one(x: int) -> int:
    return x


@task
def failing(x: int) -> int:
    raise ZeroDivisionError(f"of {x}")


@task
def total(numbers: Any) -> int:
    return sum(numbers)


# What has no value has a record.


def test_a_future_whose_input_failed_shows_the_skipped_call() -> None:
    future = one.submit(failing.submit(1))
    assert isinstance(future.exception(), ZeroDivisionError)
    assert future.call.status == "skipped"
    assert future.call.task == one.name


def test_a_cancelled_future_shows_the_cancelled_call() -> None:
    gate = threading.Event()

    @task(memo=False, ignore="gate")
    def waits(gate: threading.Event) -> None:
        gate.wait(10)

    with tl.run(executor="threads:1"):
        first = waits.submit(gate)
        second = waits.submit(gate)
        assert second.cancel()
        gate.set()
        first.result()
    assert second.call.status == "cancelled"


def test_the_failure_of_a_skipped_element_shows_its_call() -> None:
    elements = tl.map(failing, [1, 2], on_error="collect")
    skipped = tl.map(one, elements, on_error="collect")
    assert [failure.call.status for failure in skipped.failures] == ["skipped", "skipped"]
    assert len({failure.call.id for failure in skipped.failures}) == 2


def test_the_failure_of_a_skipped_element_of_an_amap_shows_its_call() -> None:
    @task
    async def later(x: int) -> int:
        return x

    async def main() -> list[Any]:
        return await tl.amap(later, [failing.submit(3)], on_error="collect")

    (failure,) = asyncio.run(main())
    assert failure.call.status == "skipped"


def test_a_call_that_could_not_be_made_says_why_it_has_no_record() -> None:
    future = one.submit(threading.Lock())
    with pytest.raises(tl.NotFound, match=r"never made.*UnhashableArgument"):
        _ = future.call
    failures = tl.map(one, [threading.Lock()], on_error="collect").failures
    with pytest.raises(tl.NotFound, match="never made"):
        _ = failures[0].call


# Combinators.


def test_gather_of_a_list_says_how_to_pass_it() -> None:
    calls = [one.bind(1), one.bind(2)]
    with pytest.raises(tl.ConfigError, match=r"gather\(\*calls\)"):
        tl.gather(calls)  # type: ignore[call-overload]  # that is the point
    assert tl.gather(*calls) == (1, 2)


def test_gather_of_a_generator_says_how_to_pass_it() -> None:
    with pytest.raises(tl.ConfigError, match="generator"):
        tl.gather(one.bind(i) for i in range(2))  # type: ignore[call-overload]  # as above


def test_one_name_will_do_for_merge() -> None:
    state = {"t": 1, "tmp": 2, "m": 3}
    assert tl.merge([state], exclude="tmp") == {"t": 1, "m": 3}
    assert tl.merge([state], include="tmp") == {"tmp": 2}


@pytest.mark.parametrize("inputs", [{"a": {"x": 1}}, [1, 2]])
def test_merge_says_what_it_takes(inputs: Any) -> None:
    with pytest.raises(tl.ConfigError, match="merge takes"):
        tl.merge(inputs)


def test_what_a_join_was_given_has_its_public_name() -> None:
    with tl.run() as run:
        tl.join(total, {"a": one.bind(1), "b": 2})
    inputs = run["total"].inputs["numbers"]
    assert inputs.type.startswith("tasklineage.Inputs")
    assert inputs.preview == "Inputs(a=1, b=2)"
    assert inputs.value.names == ("a", "b")


# Options.


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": 3}, "name= is a string"),
        ({"version": 3}, "version= is a string"),
        ({"memo": "no"}, "memo= is True or False"),
        ({"ignore": 3}, "ignore= takes strings"),
        ({"tags": [1]}, "tags= takes strings"),
        ({"key": len}, "key= maps a parameter"),
        ({"ttl": "1h"}, "ttl= is a number of seconds"),
        ({"catch": ValueError()}, "catch= takes exception classes"),
        ({"retries": "3"}, "retries='3'"),
        ({"track": "numpy"}, "dist:NAME"),
    ],
)
def test_a_bad_option_of_a_task_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(tl.ConfigError, match=said):
        task(**options)
    with pytest.raises(tl.ConfigError, match=said):
        one.options(**options)


def test_an_unknown_option_of_a_task_says_which_there_are() -> None:
    with pytest.raises(TypeError, match=r"no option 'cache'.*retries"):
        task(cache=True)  # type: ignore[call-overload]  # there is none


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": 3}, "name= of a run is a string"),
        ({"namespace": 3}, "namespace= of a run is a string"),
        ({"params": 3}, "params= of a run maps"),
        ({"params": {1: 2}}, "params= of a run maps"),
        ({"tags": 3}, "tags= of a run takes strings"),
        ({"tags": [3]}, "tags= of a run takes strings"),
        ({"refresh": 3}, "refresh= of a run takes strings"),
        ({"refresh": [3]}, "refresh= of a run takes strings"),
    ],
)
def test_a_bad_option_of_a_run_is_named(options: dict[str, Any], said: str) -> None:
    before = tl.current_run()
    with pytest.raises(tl.ConfigError, match=said), tl.run(**options):
        pass
    assert tl.current_run() == before


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: tl.get(5), "an id, or the name of a ref, is a"),  # type: ignore[arg-type]  # all of them are wrong
        (lambda: tl.calls(run=5), "an id is a text"),  # type: ignore[arg-type]
        (lambda: tl.calls(where=5), "where= maps"),  # type: ignore[arg-type]
        (lambda: tl.runs(limit=-1), "limit= is None or"),
        (lambda: tl.calls(limit="3"), "limit= is None or"),  # type: ignore[arg-type]
        (lambda: tl.map(one, [1], max_items="3"), "max_items= is a"),  # type: ignore[call-overload]
        (lambda: tl.join(len, [1]), "join takes a task"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_argument_is_named(ask: Callable[[], Any], said: str) -> None:
    one(1)
    with pytest.raises(tl.ConfigError, match=said):
        ask()


def test_refresh_takes_tasks_too() -> None:
    one(1)
    for refresh in (one, [one], one.name, ["one"]):
        with tl.run(refresh=refresh) as run:
            one(1)
        assert run.executed == 1, refresh


# Tasks as functions.


def test_an_async_task_is_known_as_a_coroutine_function() -> None:
    @task
    async def later(x: int) -> int:
        return x

    is_coroutine: list[Callable[..., bool]] = [asyncio.iscoroutinefunction]
    if sys.version_info >= (3, 12):
        is_coroutine.append(inspect.iscoroutinefunction)
    for asked in is_coroutine:
        assert asked(later)
        assert not asked(one)


def test_the_current_call_knows_its_run() -> None:
    seen: list[Any] = []

    @task(memo=False, ignore="seen")
    def look(seen: list[Any]) -> None:
        call = tl.current_call()
        assert call is not None
        seen.extend((call.run, call.run_id, call.id, call.task))

    with tl.run() as run:
        look(seen)
    assert seen == [run, run.id, run.calls[0].id, look.name]


def test_disabled_tasks_take_futures_as_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKLINEAGE_DISABLE", "1")
    assert tl.join(total, [one.bind(1), one.submit(2), 3]) == 6
    assert total(tl.map(one, [1, 2])) == 3
    assert total([one.submit(4)]) == 4
    failed = tl.map(failing, [1], on_error="collect")
    assert isinstance(failed[0], tl.Failure)
    with pytest.raises(tl.NotFound, match="TASKLINEAGE_DISABLE"):
        _ = failed.failures[0].call


def test_the_package_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "tasklineage", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert tl.__version__ in done.stdout


# What shows itself.


def test_every_query_object_is_one_line_and_a_piece_of_html() -> None:
    @task(name="a\n<evil>name")
    def text(x: str) -> str:
        return "line\n<evil>" + x

    with tl.run("a\n<evil>run", params={"p": "<evil>\n"}, tags=("<evil>\n",)) as run:
        text("x\n<evil>")
    call = run.calls[0]
    assert call.output is not None
    shown: list[Any] = [
        run, call, call.output, call.inputs["x"], run.graph(), tl.lineage(call), tl.runs(),
        tl.calls(), run.calls, run.roots, run.environment, tl.runs()[:1],
    ]  # fmt: skip
    for thing in shown:
        html = thing._repr_html_()
        assert "<evil>" not in html, thing
    for thing in [*shown, *call.attempts, call.args, run.params]:
        assert "\n" not in repr(thing), thing


def test_the_environment_is_shown_in_brief() -> None:
    with tl.run() as run:
        pass
    environment = run.environment
    assert environment is not None
    assert len(repr(environment)) < 250
    assert environment.python in repr(environment)
    assert f"{len(environment.distributions)} distributions" in environment._repr_html_()


def test_what_is_too_common_for_a_history_says_how_many_made_it() -> None:
    tl.map(one, [1, 1.0, True]).results()  # type: ignore[list-item]  # equal, and not the same
    assert "made by 1 call" in repr(tl.whence(True))


def test_the_exception_of_an_input_has_no_context_of_ours() -> None:
    @task
    async def later(x: int) -> int:
        return x

    @task
    def gives(x: int, is_bound: bool) -> Any:
        return [failing.bind(x) if is_bound else failing.submit(x)]

    def contexts(error: BaseException | None) -> list[BaseException]:
        return [] if error is None else [error, *contexts(error.__context__)]

    async def element() -> Any:
        return await tl.amap(later, [failing.bind(6)])

    asked: list[Callable[[], Any]] = [
        lambda: one(failing.bind(1)),
        lambda: one.submit(failing.bind(2)).result(),
        lambda: tl.map(one, [failing.bind(3)]).results(),
        lambda: tl.join(total, [failing.bind(4)]),
        lambda: asyncio.run(later(failing.bind(5))),  # type: ignore[arg-type]  # a bound call
        lambda: asyncio.run(element()),
        lambda: gives(7, False),
        lambda: gives(8, True),
    ]
    for ask in asked:
        with pytest.raises(ZeroDivisionError) as caught:
            ask()
        assert contexts(caught.value) == [caught.value]


def test_since_the_start_of_a_run_finds_that_run() -> None:
    for _ in range(20):
        with tl.run("often"):
            one(1)
    for run in tl.runs("often"):
        assert run in tl.runs("often", since=run.started)
        assert run in tl.runs("often", since=run.started.isoformat())
        assert run.calls[0] in tl.calls(one, since=run.calls[0].started)
