"""Memos of the previous code version that were accepted for the present one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import tasklineage as tl

PIPELINE = """
    from tasklineage import task
    from steps import step, other

    @task
    def train(x, lr=0.1):
        return step(x) * 10

    @task
    def middle(x):
        return train(x) + 1

    @task
    def main(x):
        return middle(x) + 1000
"""
BASE = {
    "steps.py": "def step(x):\n    return x + 1\n\ndef other(x):\n    return x\n",
    "pipeline.py": PIPELINE,
}
RESULT = 1021
"""`main(1)` of the base; an edited `step` would give another."""


class Project:
    """A folder with modules, and programs that are run in it by processes of their own."""

    def __init__(self, folder: Path, **python: str) -> None:
        self.folder = folder
        self.python = sys.executable
        self.store = folder / "store"
        folder.mkdir(exist_ok=True)
        for name, text in BASE.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(dedent(text).lstrip())

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text()
        assert old in text
        (self.folder / name).write_text(text.replace(old, new))

    def run(self, program: str) -> Any:
        """What the program has bound to `found`."""
        head = "import json, sys, tasklineage as tl\nfrom pipeline import *\nimport pipeline\n"
        done = subprocess.run(
            [self.python, "-B", "-c", f"{head}{dedent(program)}\nprint(json.dumps(found))"],
            cwd=self.folder,
            env=dict(os.environ, TASKLINEAGE_STORE=str(self.store)),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def executed(self, call: str) -> tuple[Any, list[str]]:
        """The value of a call, and the tasks that were executed for it."""
        value, names = self.run(
            f"""
            with tl.run("probe") as run:
                value = {call}
            found = value, sorted(c.task.rsplit(".")[-1] for c in run.calls if not c.hit)
            """
        )
        return value, names

    def accept(self, task: str = "train", **options: bool) -> Any:
        given = ", ".join(f"{name}={value}" for name, value in options.items())
        return self.run(
            f"""
            made = {task}.accept({given})
            found = {{**made._asdict(), "at": made.at.isoformat()}}
            """
        )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


EDIT = ("steps.py", "x + 1", "x + 2 - 1")
OTHER_EDIT = ("steps.py", "x + 2 - 1", "x + 3 - 2")


def test_memos_of_the_previous_code_answer_once_it_is_accepted(project: Project) -> None:
    assert project.executed("train(1)") == (20, ["train"])
    project.edit(*EDIT)
    made = project.accept()
    assert made["task"] == "pipeline.train"
    assert len(made["accepted"]) == 1
    assert not made["revoked"]
    assert project.executed("train(1)") == (20, [])
    assert project.executed("train(2)") == (30, ["train"])


def test_why_and_plan_tell_of_a_hit_that_stands_by_an_acceptance(project: Project) -> None:
    project.executed("train(1)")
    project.edit(*EDIT)
    program = """
        plan = tl.plan(train, 1)
        train(1)
        call = train.calls(limit=1)[0]
        told, causes = str(tl.why(call)), tl.why(call).to_dict()["causes"]
        found = plan.hits, plan.executes, call.hit, bool(call.accepted), told, causes
    """
    project.accept()
    hits, executes, is_hit, is_accepted, told, causes = project.run(program)
    assert (hits, executes, is_hit, is_accepted, causes) == (1, 0, True, True, [])
    assert "answered with the result of call" in told
    assert told.endswith("whose code was accepted for that of today")


def test_without_an_acceptance_an_edit_executes(project: Project) -> None:
    project.executed("train(1)")
    project.edit(*EDIT)
    assert project.executed("train(1)") == (20, ["train"])


def test_callers_stay_good_where_the_accepted_task_is_all_that_changed(project: Project) -> None:
    assert project.executed("main(1)") == (RESULT, ["main", "middle", "train"])
    project.edit(*EDIT)
    project.accept()
    assert project.executed("main(1)") == (RESULT, [])
    assert project.executed("middle(1)") == (21, [])


def test_a_caller_that_was_edited_itself_executes(project: Project) -> None:
    project.executed("main(1)")
    project.edit(*EDIT)
    project.edit("pipeline.py", "train(x) + 1", "train(x) + 2")
    project.accept()
    assert project.executed("main(1)") == (RESULT + 1, ["main", "middle"])


def test_a_caller_that_uses_the_edited_helper_itself_executes(project: Project) -> None:
    project.edit("pipeline.py", "train(x) + 1", "train(x) + step(0)")
    project.executed("main(1)")
    project.edit("steps.py", "x + 1", "x + 1 + (x == 0)")
    project.accept()
    assert project.executed("main(1)") == (RESULT + 1, ["main", "middle"])


def test_the_default_of_an_accepted_task_is_of_its_callers(project: Project) -> None:
    project.executed("middle(1)")
    project.edit(*EDIT)
    project.edit("pipeline.py", "lr=0.1", "lr=0.2")
    project.accept()
    assert project.executed("middle(1)") == (21, ["middle", "train"])
    assert project.executed("train(1, lr=0.1)") == (20, [])


def test_what_a_caller_made_with_accepted_memos_goes_with_the_acceptance(project: Project) -> None:
    project.executed("train(1)")
    project.edit("steps.py", "x + 1", "x + 5")
    project.accept()
    assert project.executed("main(1)") == (RESULT, ["main", "middle"])
    assert project.executed("main(1)") == (RESULT, [])
    assert project.accept(revoke=True)["revoked"]
    assert project.executed("main(1)") == (1061, ["main", "middle", "train"])


def test_a_revoked_acceptance_answers_no_longer_and_can_be_made_again(project: Project) -> None:
    project.executed("main(1)")
    project.edit(*EDIT)
    project.accept()
    project.accept(revoke=True)
    assert project.executed("main(1)") == (RESULT, ["main", "middle", "train"])
    project.edit(*OTHER_EDIT)
    project.accept()
    project.accept(revoke=True)
    project.accept()
    assert project.executed("main(1)") == (RESULT, [])


def test_acceptances_are_followed_from_version_to_version(project: Project) -> None:
    project.executed("main(1)")
    project.edit(*EDIT)
    project.accept()
    project.executed("main(2)")
    project.edit(*OTHER_EDIT)
    project.accept()
    assert project.executed("main(1)") == (RESULT, [])
    assert project.executed("main(2)") == (RESULT + 10, [])


def test_the_previous_code_is_the_one_last_used(project: Project) -> None:
    project.executed("train(1)")
    project.edit(*EDIT)
    project.executed("train(2)")
    project.edit(*OTHER_EDIT)
    project.accept()
    assert project.executed("train(2)") == (30, [])
    assert project.executed("train(1)") == (20, ["train"])


def test_calls_of_the_present_code_keep_their_own_memos(project: Project) -> None:
    project.executed("train(1)")
    project.edit("steps.py", "x + 1", "x + 5")
    project.executed("train(1)")
    project.executed("train(2)")
    project.accept()
    assert project.executed("train(1)") == (60, [])
    assert project.executed("train(2)") == (70, [])


def test_what_a_caller_had_accepted_stays_when_a_task_below_is_accepted(project: Project) -> None:
    project.executed("main(1)")
    project.edit("pipeline.py", "+ 1000", "+ 1000 + 0")
    project.accept("main")
    project.executed("main(2)")
    project.edit(*EDIT)
    project.accept("train")
    assert project.executed("main(1)") == (RESULT, [])


def test_a_task_that_is_found_at_run_time_stays_good_though_its_caller_does_not(
    project: Project,
) -> None:
    """Whoever takes what it names at run time from a module depends on all that is in it."""
    project.write(
        "pipeline.py",
        """
        from tasklineage import task
        from steps import step

        @task
        def train(x):
            return step(x)

        @task(track=())
        def main(x, name="train"):
            import sys
            return getattr(sys.modules["pipeline"], name)(x)
        """,
    )
    assert project.executed("main(1)") == (2, ["main", "train"])
    project.edit(*EDIT)
    assert project.executed("main(1)") == (2, ["main", "train"])
    project.edit(*OTHER_EDIT)
    project.accept()
    assert project.executed("main(1)") == (2, ["main"])
    project.accept(revoke=True)
    assert project.executed("main(1)") == (2, ["main", "train"])


def test_a_task_that_calls_itself_and_an_accepted_one_stays_good(project: Project) -> None:
    project.write(
        "pipeline.py",
        """
        from tasklineage import task
        from steps import step

        @task
        def train(x):
            return step(x)

        @task
        def main(x):
            return train(x) if x < 2 else main(x - 1) + main(x - 2)
        """,
    )
    value, executed = project.executed("main(3)")
    assert executed
    project.edit(*EDIT)
    project.accept()
    assert project.executed("main(3)") == (value, [])


def test_a_map_finds_accepted_memos(project: Project) -> None:
    project.run("found = list(tl.map(train, range(20)))")
    project.edit(*EDIT)
    project.accept()
    values, executed = project.executed("list(tl.map(train, range(25)))")
    assert values == [10 * (x + 1) for x in range(25)]
    assert len(executed) == 5


def test_what_is_forgotten_is_no_longer_answered_by_accepted_memos(project: Project) -> None:
    project.executed("train(1)")
    project.edit(*EDIT)
    project.accept()
    assert project.executed("train.forget(1) or train(1)") == (20, ["train"])


def test_an_acceptance_by_another_process_is_seen_at_the_next_miss(project: Project) -> None:
    project.executed("train(1)")
    project.edit(*EDIT)
    assert project.run(
        """
        import subprocess
        before = train.cached(1)
        subprocess.run([sys.executable, "-c", "import pipeline; pipeline.train.accept()"],
                       check=True)
        with tl.run("probe") as run:
            train(1)
        found = before, run.hits
        """
    ) == [False, 1]


def test_accepting_twice_records_once(project: Project) -> None:
    project.executed("train(1)")
    project.edit(*EDIT)
    assert project.accept() == project.accept()


def test_parameters_that_changed_places_are_not_accepted(project: Project) -> None:
    project.executed("train(1, 2)")
    project.edit("pipeline.py", "(x, lr=0.1)", "(lr, x=0.1)")
    with pytest.raises(AssertionError, match=r"parameters were \(x, lr\) and are \(lr, x\)"):
        project.accept()


def test_nothing_to_accept_or_revoke_is_said(tmp_path: Path) -> None:
    @tl.task
    def lonely(x: int) -> int:
        return x

    lonely(1)
    with pytest.raises(tl.NotFound, match="nothing to accept"):
        lonely.accept()
    with pytest.raises(tl.NotFound, match="nothing was accepted"):
        lonely.accept(revoke=True)


def test_in_one_process_a_task_defined_anew_accepts_its_predecessor() -> None:
    def defined(text: str) -> Any:
        space: dict[str, Any] = {"task": tl.task, "__name__": "cell"}
        exec(text, space)
        return space["double"]

    first = defined("@task\ndef double(x):\n    return 2 * x")
    assert first(4) == 8
    second = defined("@task\ndef double(x):\n    return x + x")
    assert not second.cached(4)
    second.accept()
    assert second.cached(4)
    assert second(4) == 8
    assert first.cached(4)


def test_a_script_accepts_only_what_it_has_recorded_itself(tmp_path: Path) -> None:
    def run(name: str, body: str, call: str) -> str:
        (tmp_path / name).write_text(
            f"from tasklineage import task\n\n@task\ndef train(x):\n    return {body}\n\n{call}\n"
        )
        done = subprocess.run(
            [sys.executable, name],
            cwd=tmp_path,
            env=dict(os.environ, TASKLINEAGE_STORE=str(tmp_path / "store")),
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    assert run("a.py", "x + 1", "print(train(1))").strip() == "2"
    assert run("b.py", "x + 100", "print(train(1))").strip() == "101"
    assert run("a.py", "x + 7", "train.accept(); print(train(1))").strip() == "2"


def command(folder: Path, *words: str) -> tuple[int, str, str]:
    """Exit code and output of the command `tasklineage`."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", "from tasklineage.cli.main import main; main()", *words],
        cwd=folder,
        env=dict(os.environ, TASKLINEAGE_STORE=str(folder / "store")),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", ["train", "pipeline.train", "pipeline.py:train"])
def test_the_command_accepts_lists_and_revokes(project: Project, name: str) -> None:
    project.executed("train(1)")
    project.edit(*EDIT)
    code, _, told = command(project.folder, "accept", name)
    assert code == 0, told
    assert "answer for pipeline.train" in told
    assert project.executed("train(1)") == (20, [])
    code, listed, _ = command(project.folder, "accept")
    assert "pipeline.train" in listed
    code, answer, _ = command(project.folder, "accept", name, "--revoke", "--json")
    assert json.loads(answer)["revoked"]
    assert project.executed("train(1)") == (20, ["train"])


def test_the_command_accepts_for_a_script(tmp_path: Path) -> None:
    script = tmp_path / "fit.py"
    text = "from tasklineage import task\n\n@task\ndef train(x):\n    return x + 1\n\n"
    text += "if __name__ == '__main__':\n    print(train(1), train.calls(limit=1)[0].accepted)\n"
    script.write_text(text)
    command(tmp_path, "run", "fit.py")
    script.write_text(text.replace("x + 1", "1 + x"))
    code, _, told = command(tmp_path, "accept", "train")
    assert code == 0, told
    code, printed, told = command(tmp_path, "run", "fit.py")
    assert printed.strip() == "2 True"
    assert "hits 1" in told
    script.write_text(text.replace("x + 1", "0 + 1 + x"))
    assert command(tmp_path, "accept", "fit.py:train")[0] == 0
    assert "hits 1" in command(tmp_path, "run", "fit.py")[2]


def test_the_command_says_what_it_cannot_accept(project: Project) -> None:
    assert command(project.folder, "accept", "train")[0] == 3  # no store
    project.executed("train(1)")
    code, _, told = command(project.folder, "accept", "train")
    assert (code, "nothing to accept" in told) == (3, True)
    code, _, told = command(project.folder, "accept", "nobody")
    assert (code, "no call of a task nobody" in told) == (3, True)
    code, _, told = command(project.folder, "accept", "pipeline.py:step")
    assert (code, "is not a task" in told) == (2, True)
    code, _, told = command(project.folder, "accept", "gone.py:step")
    assert (code, "no file gone.py" in told) == (2, True)


def test_a_hit_tells_that_it_was_accepted(project: Project) -> None:
    project.executed("main(1)")
    assert project.run("train(1); found = train.calls(limit=1)[0].accepted") is False
    project.edit(*EDIT)
    project.accept()
    assert project.run(
        """
        main(1)
        call = main.calls(limit=1)[0]
        found = call.hit, call.accepted, call.result
        """
    ) == [True, True, RESULT]
