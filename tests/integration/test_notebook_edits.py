"""Edits of cells and of what they import, in one living kernel and after its restart."""

from __future__ import annotations

import os
from pathlib import Path
from textwrap import dedent

import pytest

import tasklineage as tl
from tests.integration.kernels import Kernel, kernel

pytestmark = pytest.mark.slow

HEAD = "import tasklineage as tl\nfrom tasklineage import task"


class Notebook:
    """A kernel, the call that every step ends with, and how many calls had executed before."""

    def __init__(self, kernel: Kernel, call: str) -> None:
        self._kernel = kernel
        self._call = call
        self._before = self._executed()

    def after(self, cell: str) -> tuple[str, int]:
        """What the call gives after a cell was run, and how many calls executed for it."""
        self._kernel.run(dedent(cell))
        shown = self._kernel.run(self._call).displays[-1]["text/plain"]
        executed = self._executed()
        found, self._before = executed - self._before, executed
        return shown, found

    @staticmethod
    def _executed() -> int:
        return sum(run.executed for run in tl.runs())


CELLS = (
    HEAD,
    "RATE = 2\nTABLE = {'a': [1]}\nUNUSED = 1",
    "def helper(x):\n    return inner(x) * RATE",
    "def inner(x):\n    return x + len(TABLE['a'])",
    "class Scaler:\n    by = 3\n    def scale(self, x):\n        return x * self.by",
    "def twice(f):\n    def wrapper(x):\n        return f(x) * 2\n    return wrapper\n\n"
    "@twice\ndef deco(x):\n    return x",
    "@task\ndef run(x):\n    return helper(x), Scaler().scale(x), deco(x)",
)
STEPS = [
    ("", "(8, 9, 6)", 1),
    (CELLS[2], "(8, 9, 6)", 0),  # the same cell again
    ("x = 5\nx", "(8, 9, 6)", 0),
    ("UNUSED = 2", "(8, 9, 6)", 0),
    ("# how\n%time\n\n" + CELLS[2].replace("return", "# so\n    return"), "(8, 9, 6)", 0),
    ("def helper(x):\n    return inner(x) + RATE", "(6, 9, 6)", 1),
    (CELLS[2], "(8, 9, 6)", 0),  # taken back
    ("RATE = 3", "(12, 9, 6)", 1),
    ("RATE = 1 + 1", "(8, 9, 6)", 0),
    ("TABLE['a'].append(2)", "(10, 9, 6)", 1),
    ("TABLE['a'].pop()", "(8, 9, 6)", 0),
    (CELLS[4].replace("by = 3", "by = 4"), "(8, 12, 6)", 1),
    (CELLS[4], "(8, 9, 6)", 0),
    ("Scaler.scale = lambda self, x: x", "(8, 3, 6)", 1),
    (CELLS[4], "(8, 9, 6)", 0),
    (CELLS[5].replace("* 2", "* 5"), "(8, 9, 15)", 1),
    (CELLS[5], "(8, 9, 6)", 0),
    ("inner = lambda x: x", "(6, 9, 6)", 1),
    ("%%time\n" + CELLS[3], "(8, 9, 6)", 0),
    ("%%capture\n" + CELLS[3].replace("+ len", "- len"), "(4, 9, 6)", 1),
    ("if True:\n    def inner(x):\n        return x + len(TABLE['a'])", "(8, 9, 6)", 0),
    ("def len(x): return 10", "(26, 9, 6)", 1),
    ("del len", "(8, 9, 6)", 0),
    (CELLS[6].replace("helper(x), ", ""), "(9, 6)", 1),
    (CELLS[6].replace("@task\n", "@task(tags=('t',))\n# more\n"), "(8, 9, 6)", 0),
    ("_ = Out; print(In[-1])", "(8, 9, 6)", 0),
]


def test_edits_of_cells_execute_exactly_what_they_change(tmp_path: Path) -> None:
    with kernel(tmp_path) as started:
        for cell in CELLS:
            started.run(cell)
        notebook = Notebook(started, "run(3)")
        for number, (cell, value, executed) in enumerate(STEPS):
            assert (number, *notebook.after(cell)) == (number, value, executed), cell
    with kernel(tmp_path) as restarted:
        for cell in ("1 + 1", *CELLS):
            restarted.run(cell)
        assert Notebook(restarted, "run(3)").after("") == ("(8, 9, 6)", 0)


MODULE = "def go(x):\n    return x + 1\n\ndef beside(x):\n    return x\n"
SCRIPT = "def scripted(x):\n    return x + 10\n"
IMPORTING = """
    import helpers
    from helpers import go
    from pack import tool
    @task
    def run(x): return helpers.go(x), go(x), tool(x), scripted(x)
    """


def _write(path: Path, text: str) -> None:
    """Write a file so that it is seen to be another one."""
    path.parent.mkdir(exist_ok=True)
    before = path.stat().st_mtime if path.exists() else 1_000_000_000.0
    path.write_text(text)
    os.utime(path, (before + 10, before + 10))


@pytest.mark.parametrize("reloads", [False, True])
def test_edits_of_imported_modules_and_scripts(tmp_path: Path, reloads: bool) -> None:
    helpers, package, script = (
        tmp_path / name for name in ("helpers.py", "pack/__init__.py", "script.py")
    )
    _write(helpers, MODULE)
    _write(package, "def tool(x):\n    return x * 2\n")
    _write(script, SCRIPT)
    with kernel(tmp_path) as started:
        started.run(HEAD)
        if reloads:
            started.run("%load_ext autoreload\n%autoreload 2")
        started.run("%run script.py")
        started.run(dedent(IMPORTING))
        notebook = Notebook(started, "run(3)")
        assert notebook.after("") == ("(4, 4, 6, 13)", 1)
        _write(helpers, MODULE.replace("return x\n", "return -x\n"))
        assert notebook.after("") == ("(4, 4, 6, 13)", 0)
        _write(helpers, MODULE.replace("x + 1", "x + 5"))
        edited = ("(8, 8, 6, 13)", 1) if reloads else ("(4, 4, 6, 13)", 0)
        assert notebook.after("") == edited
        again = "import importlib; importlib.reload(helpers); from helpers import go"
        assert notebook.after(again) == ("(8, 8, 6, 13)", 0 if reloads else 1)
        _write(package, "def tool(x):\n    # so\n    return x * 2\n")
        assert notebook.after("") == ("(8, 8, 6, 13)", 0)
        _write(package, "def tool(x):\n    return x * 3\n")
        edited = ("(8, 8, 9, 13)", 1) if reloads else ("(8, 8, 6, 13)", 0)
        assert notebook.after("") == edited
        _write(script, SCRIPT.replace("10", "20"))
        value = edited[0]
        assert notebook.after("") == (value, 0)
        assert notebook.after("%run script.py") == (value.replace("13", "23"), 1)
        _write(script, "# more\n" + SCRIPT)
        assert notebook.after("%run script.py") == (value, 0)
    with kernel(tmp_path) as restarted:
        for cell in (HEAD, "%run script.py", dedent(IMPORTING)):
            restarted.run(cell)
        assert Notebook(restarted, "run(3)").after("") == ("(8, 8, 9, 13)", 0 if reloads else 1)


def test_a_cell_that_is_edited_in_the_front_end_and_run_again_counts_by_what_it_says_now(
    tmp_path: Path,
) -> None:
    """As a front end does it: one cell with the helper, the task and the call."""
    cell = "def helper(x):\n    return x + {}\n\n@task\ndef run(x):\n    return helper(x)\n"
    with kernel(tmp_path) as started:
        started.run(HEAD)
        notebook = Notebook(started, "[run(n) for n in range(3)]")
        assert notebook.after(cell.format(1)) == ("[1, 2, 3]", 3)
        assert notebook.after(cell.format(2)) == ("[2, 3, 4]", 3)
        assert notebook.after(cell.format(1)) == ("[1, 2, 3]", 0)
        assert notebook.after(cell.format(2) + "\nrun(7)") == ("[2, 3, 4]", 1)
        assert started.try_to_run("def helper(x) return 1").error == "SyntaxError"
        assert notebook.after("") == ("[2, 3, 4]", 0)
        assert started.try_to_run("def helper(x): return 9\nraise ValueError").error == "ValueError"
        assert notebook.after("") == ("[9, 9, 9]", 3)
