"""Executors of other distributions are had by name, and what is wrong with one is told."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.executors.choose import executor_from
from tasklineage.executors.threads import Threads
from tasklineage.testing import ExecutorTests

SOURCE = """
    from tasklineage.executors.threads import Threads

    class Counted(Threads):
        name = "counted"

        def __init__(self, text="2"):
            self.text = text
            super().__init__(int(text) if text.isdecimal() else 3)

        def __repr__(self):
            return f"Counted({self.text})"

    def made(text=""):
        return Counted("5")

    the_one = Counted("4")
    no_executor = dict

    def breaks():
        raise RuntimeError("no licence")
"""
ENTRIES = """
    [tasklineage.executors]
    counted = another_executor:Counted
    by-function = another_executor:made
    the-one = another_executor:the_one
    plain = another_executor:no_executor
    broken = another_executor:breaks
    absent = another_executor:nothing
    threads = another_executor:Counted
"""
Install = Callable[[str, str], None]


def write(folder: Path, name: str, entries: str) -> None:
    """A distribution as an installer leaves it."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text(textwrap.dedent(entries), "utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    found = tmp_path / "site"
    write(found, "another", ENTRIES)
    (found / "another_executor.py").write_text(textwrap.dedent(SOURCE), "utf-8")
    monkeypatch.syspath_prepend(found)
    yield found
    sys.modules.pop("another_executor", None)


@task
def double(x: int) -> int:
    return 2 * x


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("spec", "text", "slots"),
    [
        ("counted", "2", 2),
        ("counted:7", "7", 7),
        ("counted://head:1", "counted://head:1", 3),
        ("by-function:x", "5", 5),
        ("the-one", "4", 4),
    ],
)
def test_a_name_gives_what_the_entry_point_makes(
    spec: str, text: str, slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = executor_from(f"{spec}")
    assert type(executor).__name__ == "Counted"
    assert (getattr(executor, "text", ""), executor.slots) == (text, slots)
    assert executor_from(spec) is executor
    with tl.run("named", executor=spec) as run:
        assert tl.map(double, range(3)).results() == [0, 2, 4]
    assert run.executor == spec
    monkeypatch.setenv("TASKLINEAGE_EXECUTOR", spec)
    with tl.run("configured") as configured:
        assert configured.executor == spec


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("plain", r"plain = another_executor:no_executor of another.*dict, which is no"),
        ("broken", r"broken = another_executor:breaks of another.*RuntimeError: no licence"),
        ("absent", r"absent = another_executor:nothing of another.*AttributeError"),
        ("counted:0", r"counted = another_executor:Counted of another.*Threads\(0\)"),
        ("unheard-of", r'known are "inline".*"by-function", "counted"'),
    ],
)
def test_what_is_wrong_names_the_entry_point(spec: str, message: str) -> None:
    with pytest.raises(tl.ConfigError, match=message), tl.run(executor=spec):
        pass


def test_two_distributions_with_one_name_are_told(folder: Path) -> None:
    write(folder, "yet-another", "[tasklineage.executors]\ncounted = other:Counted\n")
    with pytest.raises(tl.ConfigError, match=r"several.* of another and .* of yet-another"):
        executor_from("counted:9")


@pytest.mark.usefixtures("folder")
def test_names_of_this_package_cannot_be_taken() -> None:
    assert type(executor_from("threads:6")) is Threads


def test_the_environment_may_name_one(folder: Path, tmp_path: Path) -> None:
    code = (
        "import tasklineage as tl\n"
        "from tasklineage.executors.choose import executor_from\n"
        "print(executor_from(None).text)\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ
        | {"PYTHONPATH": f"{root}:{folder}", "TASKLINEAGE_EXECUTOR": "counted://somewhere"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "counted://somewhere\n"


@pytest.mark.usefixtures("folder")
class TestCounted(ExecutorTests):
    def make(self) -> Threads:
        made = executor_from("counted")
        assert isinstance(made, Threads)
        return type(made)()
