"""Hits executed again: `tl.run(verify=...)` finds memos that are not what the call gives now."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.cli.main import main
from tasklineage.storage.catalog import FILE

expects_difference = pytest.mark.filterwarnings("ignore:.*executed again.*:UserWarning")


@task
def add_one(x: int) -> int:
    print("adding one to", x)
    return x + 1


@task
async def add_two(x: int) -> int:
    await asyncio.sleep(0)
    return x + 2


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@task
def nested(x: int) -> int:
    return sum(tl.map(add_one, range(x))) + add_one(x)


@task
def submits(x: int) -> Any:
    return [add_one.submit(x), add_one.submit(x + 1)]


@task
def applied(function: Callable[[int], int], x: int) -> int:
    return function(x)


class Scale:
    """A class with a task."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    @task
    def of(self, x: int) -> int:
        return self.factor * x


@task
def draws(x: int) -> float:
    return x + random.random()


@task
def draws_with_numpy(x: int) -> float:
    return x + float(np.random.rand())


@task
def reads_clock(x: int) -> float:
    return x + time.time()


@task
def reads_variable(x: int) -> str:
    return f"{x} {os.environ.get('VERIFIED_BY_TEST')}"


@task
def reads_file(path: str) -> Any:
    return json.loads(Path(path).read_text("utf-8"))


def rows(run: tl.Run) -> list[tuple[str, str, str]]:
    return [(one.task.rpartition(".")[2], one.status, one.cause) for one in run.verifications]


def again(make: Callable[[], Any], **options: Any) -> tl.Run:
    """The run that makes the calls a second time and verifies them."""
    with tl.run("first"):
        make()
    with tl.run("second", **{"verify": 1.0, **options}) as run:
        make()
    return run


# What stays as it is.


@pytest.mark.parametrize(
    "make",
    [
        lambda: add_one(1),
        lambda: add_one.submit(1).result(),
        lambda: tl.map(add_one, range(20)).results(),
        lambda: tl.map(add_one, range(20), executor="inline").results(),
        lambda: tl.gather(add_one.bind(1), add_one.bind(2)),
        lambda: tl.join(total, [add_one.bind(1), 2]),
        lambda: asyncio.run(add_two(1)),  # type: ignore[arg-type]
        lambda: add_two.submit(1).result(),
        lambda: tl.map(add_two, [1, 2]).results(),
        lambda: asyncio.run(tl.amap(add_two, [1, 2])),
        lambda: nested(3),
        lambda: submits(3),
        lambda: Scale(3).of(2),
        lambda: applied(abs, -2),
        lambda: applied(add_one, 2),
        lambda: total(np.arange(5)),  # type: ignore[arg-type]
    ],
)
def test_every_kind_of_hit_is_executed_again_and_nothing_differs(make: Callable[[], Any]) -> None:
    run = again(make)
    assert run.executed == run.failed == run.differing == 0
    assert run.verified == run.hits >= 1
    assert {status for _, status, _ in rows(run)} == {"same"}


def test_without_verify_nothing_is_executed_again() -> None:
    run = again(lambda: [add_one(1), add_one(2)], verify=0)
    assert (run.hits, run.verified, run.differing) == (2, 0, 0)
    assert list(run.verifications) == []


@expects_difference
def test_the_program_gets_what_the_memo_answers() -> None:
    given: list[float] = []
    run = again(lambda: given.append(draws(1)))
    assert given[0] == given[1]
    assert run.differing == 1
    run = again(lambda: given.append(tl.map(draws, [1])[0]))
    assert given[2] == given[3] == given[0]
    assert run.differing == 1


def test_the_body_gets_copies_of_the_arguments() -> None:
    @task(ignore=["seen"])
    def noting(x: int, seen: list[int]) -> int:
        seen.append(x)
        return x

    seen: list[int] = []
    run = again(lambda: noting(1, seen))
    assert run.verified == 1
    assert seen == [1]


def test_what_the_body_prints_and_logs_is_not_shown(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    @task
    def speaks(x: int) -> int:
        print("printed")
        print("complained", file=sys.stderr)
        logging.getLogger("test").warning("logged")
        return x

    speaks(1)
    capsys.readouterr()
    caplog.clear()
    with tl.run(verify=1.0) as run:
        speaks(1)
        list(tl.map(speaks, [1]))
    assert run.verified == 2
    assert capsys.readouterr() == ("", "")
    assert caplog.records == []


def test_random_generators_of_the_program_stand_where_they_stood() -> None:
    @task
    def stirs(x: int) -> int:
        random.random()
        np.random.rand()
        return x

    stirs(1)
    random.seed(7)
    np.random.seed(7)
    before, arrays = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    with tl.run(verify=1.0) as run:
        stirs(1)
    assert run.verified == 1
    assert random.getstate() == before
    assert np.random.get_state()[1].tolist() == arrays  # type: ignore[index]


def test_sampling_does_not_touch_the_random_generator_of_the_program() -> None:
    with tl.run(verify=0.5):
        random.seed(7)
        before = random.getstate()
        for _ in range(20):
            add_one(1)
        assert random.getstate() == before


def test_an_interrupt_in_the_body_is_the_programs() -> None:
    is_armed = False

    @task(ignore=["arm"])
    def interrupted(x: int, arm: Callable[[], bool]) -> int:
        if arm():
            raise KeyboardInterrupt
        return x

    interrupted(1, lambda: is_armed)
    is_armed = True
    with pytest.raises(KeyboardInterrupt), tl.run(verify=1.0):
        interrupted(1, lambda: is_armed)
    assert not tl.latest().differing  # type: ignore[union-attr]


# Which hits.


def test_about_so_many_hits_are_executed_again() -> None:
    list(tl.map(add_one, range(400)))
    with tl.run(verify=0.5) as run:
        list(tl.map(add_one, range(400)))
        for x in range(400):
            add_one(x)
    assert run.hits == 800
    assert 280 < run.verified < 520


def test_an_inner_run_verifies_as_the_outer_one_does_unless_it_says_otherwise() -> None:
    add_one(1)
    with tl.run(verify=1.0):
        with tl.run() as inherits:
            add_one(1)
        with tl.run(verify=0) as refuses:
            add_one(1)
    assert (inherits.verified, refuses.verified) == (1, 0)


def test_configure_is_for_the_ambient_run_and_for_those_that_say_nothing() -> None:
    add_one(1)
    tl.configure(verify=1.0)
    add_one(1)
    ambient = tl.current_run()
    assert ambient is not None
    assert ambient.verified == 1
    with tl.run() as run:
        add_one(1)
    assert run.verified == 1
    tl.configure(verify=0)
    add_one(1)
    assert ambient.verified == 1


@pytest.mark.parametrize("share", [-0.1, 1.1, "all", float("nan")])
def test_a_share_that_is_none_is_refused(share: Any) -> None:
    with pytest.raises(tl.ConfigError, match="from 0 to 1"), tl.run(verify=share):
        pass
    with pytest.raises(tl.ConfigError, match="from 0 to 1"):
        tl.configure(verify=share)


# What differs, and why.


@pytest.mark.parametrize(
    ("make", "cause", "named"),
    [
        (lambda: draws(1), "randomness", "random.random"),
        (lambda: draws_with_numpy(1), "randomness", "numpy.random"),
        (lambda: reads_clock(1), "time", "time.time"),
    ],
)
def test_what_is_drawn_or_read_anew_is_named(
    make: Callable[[], Any], cause: str, named: str
) -> None:
    with pytest.warns(UserWarning, match=f"executed again.*{cause}") as warned:
        run = again(make)
    (one,) = run.verifications
    assert (one.status, one.cause) == ("differs", cause)
    assert named in one.text
    assert run.differing == run.verified == 1
    hit = run.calls[0]
    assert one.call == hit
    assert one.expected == hit.output.digest != one.found  # type: ignore[union-attr]
    assert hit.id in str(warned[0].message)
    assert one.task in str(warned[0].message)
    assert warned[0].filename == __file__


@expects_difference
def test_a_variable_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    reads_variable(1)
    monkeypatch.setenv("VERIFIED_BY_TEST", "other")
    with tl.run(verify=1.0) as run:
        reads_variable(1)
    (one,) = run.verifications
    assert one.cause == "environment"
    assert "os.environ" in one.text
    assert "'1 None' → '1 other'" in one.text
    assert "env:NAME" in one.text


@expects_difference
def test_code_that_was_accepted_and_should_not_have_been_is_named() -> None:
    @task(name="edited")
    def before(x: int) -> int:
        return x

    @task(name="edited")
    def now(x: int) -> int:
        return x + 1

    before(1)
    now.accept()
    with tl.run(verify=1.0) as run:
        assert now(1) == 1
    (one,) = run.verifications
    assert one.cause == "accepted code"
    assert "--revoke" in one.text


@expects_difference
def test_rounding_is_told_from_other_differences_of_numbers(tmp_path: Path) -> None:
    tl.configure(reads="ignore")  # else a file that is another by now is a miss
    file = tmp_path / "numbers.json"
    run = written_anew(file, [1.0, 2.0], [1.0, 2.0 + 1e-13])
    assert run.verifications[0].cause == "floating point"
    run = written_anew(file, {"a": [1.0, 2.0]}, {"a": [1.0, 2.1]})
    (one,) = run.verifications
    assert one.cause == "files"
    assert "['a'][1]: 2.0 → 2.1" in one.text


def written_anew(file: Path, before: Any, now: Any) -> tl.Run:
    file.write_text(json.dumps(before))
    reads_file.forget(str(file))
    reads_file(str(file))
    file.write_text(json.dumps(now))
    with tl.run(verify=1.0) as run:
        reads_file(str(file))
    return run


@expects_difference
def test_an_exception_is_recorded_and_not_raised(tmp_path: Path) -> None:
    tl.configure(reads="ignore")  # likewise
    tl.configure(reads="ignore")  # else a file that is another by now is a miss
    file = tmp_path / "numbers.json"
    file.write_text("[1]")
    reads_file(str(file))
    file.unlink()
    with pytest.warns(UserWarning, match="raised: FileNotFoundError"), tl.run(verify=1.0) as run:
        assert reads_file(str(file)) == [1]
    (one,) = run.verifications
    assert (one.status, one.cause, one.found) == ("failed", "error", "")
    assert one.error is not None
    assert one.error.type == "FileNotFoundError"
    assert "in reads_file" in one.error.traceback
    assert (run.verified, run.differing, run.failed, run.status) == (1, 1, 0, "done")


@expects_difference
def test_all_elements_of_a_map_that_differ_are_recorded_with_one_warning() -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        run = again(lambda: tl.map(draws, range(10)).results())
    assert run.differing == 10
    assert len([one for one in warned if "executed again" in str(one.message)]) == 1


@expects_difference
def test_arrays_that_differ_are_described() -> None:
    @task
    def noise(n: int) -> Any:
        return np.random.default_rng().random(n)

    run = again(lambda: noise(8))
    assert "8 of 8 elements (100 %) differ, by at most" in run.verifications[0].text


def test_attempts_are_made_as_the_task_says() -> None:
    fails: Iterator[bool] = iter([False, True, True, False])

    @task(retries=2, ignore=["fails"])
    def flaky(x: int, fails: Any) -> int:
        if next(fails()):
            raise ConnectionError
        return x

    assert again(lambda: flaky(1, lambda: fails)).differing == 0


# What cannot be executed again, and what is below.


class Uncopyable:
    """A value that no copy can be made of."""

    def __init__(self) -> None:
        self.x = 1

    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("not this one")


class Forgetful(Uncopyable):
    """A value whose copies are not equal to it."""

    def __deepcopy__(self, memo: Any) -> Any:
        other = Forgetful()
        other.x = 2
        return other


@pytest.mark.parametrize("kind", [Uncopyable, Forgetful])
def test_a_call_whose_arguments_cannot_be_copied_is_passed_over(kind: Any) -> None:
    @task
    def takes(value: Any, more: int = 1) -> int:
        return int(value.x)

    run = again(lambda: takes(kind()))
    (one,) = run.verifications
    assert (one.status, run.verified, run.differing) == ("skipped", 0, 0)
    assert "argument" in one.text


def test_an_argument_that_does_not_count_need_not_be_copied() -> None:
    @task(ignore=["session"])
    def takes(session: Any, x: int) -> int:
        return x + int(session.x)

    assert again(lambda: takes(Uncopyable(), 1)).verified == 1


def test_files_are_not_written_anew(tmp_path: Path) -> None:
    @task
    def writes(x: int) -> tl.File:
        place = tmp_path / "out.txt"
        place.write_text(str(x))
        return tl.File(place)

    @task
    def calls(x: int) -> str:
        return writes(x).text()

    def make() -> None:
        writes(1)
        calls(2)

    with tl.run():
        make()
    before = (tmp_path / "out.txt").stat()
    with tl.run(verify=1.0) as run:
        calls(2)
    assert (tmp_path / "out.txt").stat().st_mtime_ns == before.st_mtime_ns
    assert rows(run) == [("calls", "skipped", "")]
    assert "files" in run.verifications[0].text


def test_files_may_be_arguments(tmp_path: Path) -> None:
    @task
    def size(file: tl.File) -> int:
        return len(file.text())

    place = tmp_path / "in.txt"
    place.write_text("text")
    assert again(lambda: size(tl.File(place))).verified == 1
    assert again(lambda: size(place)).verified == 1  # type: ignore[arg-type]


def test_children_are_calls_below_the_hit() -> None:
    @task
    def child(x: int) -> int:
        return x + 1

    @task
    def parent(x: int) -> int:
        return child(x) + 1

    parent(1)
    child.forget(1)
    with tl.run(verify=1.0) as run:
        parent(1)
    hit, below = run.calls
    assert (hit.hit, below.hit) == (True, False)
    assert below.parent == hit
    assert (run.executed, run.verified, run.differing) == (1, 1, 0)
    assert list(run.roots) == [hit]


def test_a_verified_call_does_not_change_what_its_parents_memo_depends_on() -> None:
    clock = [0]

    @task(memo=False)
    def never(x: int) -> int:
        return x

    @task(ttl=1_000)
    def child(x: int) -> int:
        return x

    @task
    def parent(x: int, n: int) -> int:
        clock.append(1)
        return child(x)

    parent(1, 0)
    with tl.run(verify=1.0):
        parent(1, 1)
    with tl.run() as run:
        parent(1, 1)
    assert run.hits == 1
    assert never(1) == 1


@expects_difference
def test_a_deep_tree_that_differs_is_executed_a_bounded_number_of_times() -> None:
    counts: list[int] = []

    @task
    def leaf(x: int) -> float:
        counts.append(x)
        return random.random()

    def level(below: Any) -> Any:
        @task(name=f"level of {below.name}")
        def above(x: int) -> float:
            return float(below(x)) + random.random()

        return above

    top: Any = leaf
    for _ in range(5):
        top = level(top)
    run = again(lambda: top(1))
    assert run.differing == run.verified == 6
    assert len(counts) == 3


# What is kept of it.


@expects_difference
def test_a_catalog_made_anew_says_the_same(isolated: Path) -> None:
    run = again(lambda: [draws(1), add_one(1)])
    before = [(v.id, v.status, v.call_id, v.text) for v in run.verifications]
    for file in isolated.glob(f"{FILE}*"):
        file.unlink()
    (other,) = tl.runs("second", store=tl.open_store(str(isolated)))
    assert (other.verified, other.differing) == (2, 1)
    assert [(v.id, v.status, v.call_id, v.text) for v in other.verifications] == before


@expects_difference
def test_show_tells_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    run = again(lambda: [draws(1), add_one(1)])
    with pytest.raises(SystemExit):
        main(["show", run.id])
    shown = capsys.readouterr().out
    assert "2, of these differing: 1" in shown
    assert "differs (randomness)" in shown
    assert run.calls[0].id in shown
    with pytest.raises(SystemExit):
        main(["show", run.id, "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert (answer["run"]["verified"], answer["run"]["differing"]) == (2, 1)
    assert [one["status"] for one in answer["verifications"]] == ["differs", "same"]


# In other processes.

PROGRAM = """
    import sys
    import tasklineage as tl
    from tasklineage import task

    @task
    def listed(words: tuple) -> list:
        return list(set(words))

    @task
    def plain(x: int) -> int:
        return x + 1

    if __name__ == "__main__":
        plain(1)
        print(listed(tuple("abcdefghij")))
"""


def program(folder: Path, text: str) -> Path:
    path = folder / "program.py"
    path.write_text(textwrap.dedent(text))
    return path


def execute(path: Path, *options: str, seed: int, code: int = 0, folder: str = "") -> str:
    """What `tasklineage run` says on stderr."""
    root = str(Path(tl.__file__).parents[1])
    environment = os.environ | {
        "PYTHONHASHSEED": str(seed),
        "PYTHONPATH": os.pathsep.join(filter(None, (root, folder))),
    }
    command = [sys.executable, "-c", "from tasklineage.cli.main import main; main()", "run"]
    done = subprocess.run(
        [*command, *options, str(path)],
        env=environment,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stderr


def test_the_order_of_a_set_is_found_out_in_a_process_with_other_hashes(tmp_path: Path) -> None:
    path = program(tmp_path, PROGRAM)
    execute(path, seed=1)
    assert "verified 2, differing 0" in execute(path, "--verify", "1.0", seed=1)
    said = execute(path, "--verify", "1.0", seed=2, code=1)
    assert "verified 2, differing 1" in said
    assert "UserWarning" in said
    (one,) = [v for v in tl.runs()[0].verifications if v.is_differing]
    assert one.cause == "hash order"
    assert "another order" in one.text


def test_the_command_succeeds_where_nothing_differs(tmp_path: Path) -> None:
    path = program(tmp_path, PROGRAM)
    execute(path, seed=1)
    assert "verified 2, differing 0" in execute(path, "--verify=1", seed=1)
    assert "verified" not in execute(path, seed=1)
    assert "--verify" in execute(path, "--verify=2", seed=1, code=2)


LIBRARY = """
    import library
    from tasklineage import task

    @task
    def uses(x: int) -> int:
        return library.answer() + x

    if __name__ == "__main__":
        uses(1)
"""


def test_a_distribution_that_has_changed_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "installed"
    folder.mkdir()
    install(folder, "1.0", 1)
    path = program(tmp_path, LIBRARY)
    execute(path, seed=1, folder=str(folder))
    install(folder, "2.0", 2)
    execute(path, "--verify", "1", seed=1, code=1, folder=str(folder))
    (one,) = tl.runs()[0].verifications
    assert one.cause == "environment"
    assert "library 1.0 → 2.0" in one.text
    assert "2 → 3" in one.text


def install(folder: Path, version: str, answer: int) -> None:
    """A distribution of one module, as an installer would leave it."""
    for old in folder.glob("library*"):
        if old.is_dir():
            for file in old.iterdir():
                file.unlink()
            old.rmdir()
    (folder / "library.py").write_text(f"def answer(): return {answer}\n")
    info = folder / f"library-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: library\nVersion: {version}\n")
    (info / "RECORD").write_text("library.py,,\n")


@task
def takes_a_while(x: int) -> int:
    time.sleep(0.5)
    return x


@pytest.mark.parametrize("executor", ["threads:2", "processes:2"])
def test_hits_that_were_found_after_waiting_for_the_same_call_are_among_them(executor: str) -> None:
    with tl.run(executor=executor, verify=1.0) as run:
        futures = [takes_a_while.submit(1), takes_a_while.submit(1)]
        assert [future.result() for future in futures] == [1, 1]
    assert (run.executed, run.hits) == (1, 1)
    assert (run.verified, run.differing) == (1, 0)
