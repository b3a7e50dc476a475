"""Code has one portable digest under every interpreter, and memos are found again by it.

Other interpreters are those of `test_digests`, where they have what the library needs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compat import portable
from tests.compat.test_digests import OTHERS
from tests.integration.test_accept import EDIT, RESULT, Project
from tests.integration.test_edits import CASES, CHANGES

ROOT = Path(__file__).resolve().parents[2]
UNEQUAL = ("numpy", "Lock", "update_wrapper(self")
"""Projects whose code looks different to other interpreters: the version of a library is in a
digest, a type has another name, an attribute was added."""


def _usable(interpreter: str) -> bool:
    probe = "import sys, msgpack, xxhash; print(sys.version_info[:2])"
    done = subprocess.run(
        [interpreter, "-c", probe], capture_output=True, text=True, check=False, cwd=ROOT
    )
    return done.returncode == 0 and done.stdout.strip() != str(tuple(sys.version_info[:2]))


USABLE = [interpreter for interpreter in OTHERS if _usable(interpreter)]
other = pytest.mark.parametrize(
    "interpreter", USABLE or [pytest.param("", marks=pytest.mark.skip(reason="no other Python"))]
)

PROJECTS = {
    f"{case.name}: {when}": files
    for case in CASES
    for when, files in (("before", case.before), ("after", case.after))
}


def digests(interpreter: str) -> dict[str, str]:
    done = subprocess.run(
        [interpreter, "-B", portable.__file__],
        input=json.dumps(PROJECTS),
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def here() -> dict[str, str]:
    return digests(sys.executable)


def has(files: dict[str, str], words: tuple[str, ...]) -> bool:
    return any(word in text for text in files.values() for word in words)


def test_no_edit_that_changes_results_leaves_the_digest_alone(here: dict[str, str]) -> None:
    pairs = {
        case.name: (here[f"{case.name}: before"], here[f"{case.name}: after"])
        for case in CASES
        if case.expected == CHANGES
    }
    assert [name for name, (before, after) in pairs.items() if before == after != ""] == []


def test_nearly_all_code_has_one(here: dict[str, str]) -> None:
    missing = [name for name, digest in here.items() if not digest]
    assert len(missing) < len(here) / 50


@other
def test_it_is_the_same_under_another_interpreter(here: dict[str, str], interpreter: str) -> None:
    there = digests(interpreter)
    unequal = [
        name
        for name, digest in here.items()
        if there[name] != digest
        and "Error" not in there[name] + digest
        and not has(PROJECTS[name], UNEQUAL)
    ]
    assert unequal == []


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return Project(tmp_path / "project")


@other
def test_a_store_of_one_version_answers_under_another(project: Project, interpreter: str) -> None:
    assert project.executed("main(1)") == (RESULT, ["main", "middle", "train"])
    project.python = interpreter
    assert project.executed("main(1)") == (RESULT, [])
    assert project.executed("main(2)") == (RESULT + 10, ["main", "middle", "train"])
    assert project.executed("list(tl.map(train, [1, 2, 3]))") == ([20, 30, 40], ["train"])
    project.python = sys.executable
    assert project.executed("main(2)") == (RESULT + 10, [])


@other
def test_an_edit_between_two_versions_executes(project: Project, interpreter: str) -> None:
    project.executed("main(1)")
    project.edit("steps.py", "x + 1", "x + 2")
    project.python = interpreter
    assert project.executed("main(1)") == (RESULT + 10, ["main", "middle", "train"])


@other
def test_acceptance_and_upgrade_go_together(project: Project, interpreter: str) -> None:
    project.executed("main(1)")
    project.python = interpreter
    project.edit(*EDIT)
    project.accept()
    assert project.executed("main(1)") == (RESULT, [])
    project.accept(revoke=True)
    assert project.executed("main(1)") == (RESULT, ["main", "middle", "train"])


@other
def test_upgrading_is_nothing_to_accept(project: Project, interpreter: str) -> None:
    project.executed("train(1)")
    project.python = interpreter
    with pytest.raises(AssertionError, match="nothing to accept"):
        project.accept()
