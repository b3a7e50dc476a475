"""Random edits of random programs: a memo never gives another value than a run without memos.

Edits that cannot matter must not execute anything either. Hypothesis makes what fails small.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.edits.programs import Edit, Effect, Program, edits, programs
from tests.edits.server import Server

STEPS, BLOCKS = 10, 5
EXAMPLES = min(hypothesis.settings.default.max_examples, 1_000) // BLOCKS
"""Of each block: a thousand edits in all, and ten thousand in the nightly profile."""


WAYS = ("reload", "rerun", "replace")
DRIVER = '''
import importlib, pathlib, shutil, sys, types
import alpha, beta, gamma, main

def reload(module, path):
    """As after an edit of a file."""
    shutil.copy(path, module.__file__)
    importlib.reload(module)

def rerun(module, path):
    """As a cell of a notebook that is executed again."""
    exec(compile(path.read_text(), str(path), "exec"), vars(module))

def replace(module, path):
    """As autoreload does: new code in the old functions, where that can be done."""
    space = {"__name__": module.__name__}
    exec(compile(path.read_text(), str(path), "exec"), space)
    for name, new in space.items():
        old = getattr(module, name, None)
        if name.startswith("__"):
            continue
        is_plain = type(old) is type(new) is types.FunctionType and new.__globals__ is space
        if is_plain and not old.__closure__ and not new.__closure__ and not new.__dict__:
            old.__code__, old.__defaults__ = new.__code__, new.__defaults__
            old.__kwdefaults__ = new.__kwdefaults__
        else:
            setattr(module, name, new)

def answer():
    answers = [main.run(3)]
    for n, way in enumerate(WAYS):
        for module in (alpha, beta, gamma, main):
            globals()[way](module, pathlib.Path(f"v{n}/{module.__name__}.py"))
        answers.append(main.run(3))
        answers.append(main.run(3))
    return answers
'''


@pytest.fixture(scope="module")
def servers() -> Iterator[list[Server]]:
    made = [Server(seed) for seed in (1, 2, 3)]
    yield made
    for server in made:
        server.close()


@pytest.mark.parametrize("block", range(BLOCKS))
def test_a_rerun_after_any_edit_gives_what_a_run_without_memos_gives(
    servers: list[Server], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each example takes a second: what fails is made small as far as two minutes allow.
    monkeypatch.setattr("hypothesis.internal.conjecture.engine.MAX_SHRINKING_SECONDS", 120)

    @hypothesis.seed(block)
    @hypothesis.settings(max_examples=EXAMPLES)
    @hypothesis.given(program=programs(), changes=st.lists(edits(), min_size=STEPS, max_size=STEPS))
    def check(program: Program, changes: list[Edit]) -> None:
        folder = Path(tempfile.mkdtemp())
        try:
            _check(servers, Effect(program, can_matter=True), changes, folder)
        finally:
            shutil.rmtree(folder)

    check()


@pytest.mark.parametrize("block", range(2))
def test_code_that_is_replaced_in_a_process_gives_what_it_gives_without_memos(
    servers: list[Server], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hypothesis.internal.conjecture.engine.MAX_SHRINKING_SECONDS", 120)

    @hypothesis.seed(block)
    @hypothesis.settings(max_examples=EXAMPLES)
    @hypothesis.given(
        program=programs(),
        changes=st.lists(edits(), min_size=STEPS, max_size=STEPS),
        ways=st.lists(st.sampled_from(WAYS), min_size=STEPS, max_size=STEPS),
    )
    def check(program: Program, changes: list[Edit], ways: list[str]) -> None:
        folder = Path(tempfile.mkdtemp())
        try:
            _check_process(servers, program, changes, ways, folder)
        finally:
            shutil.rmtree(folder)

    check()


def _check_process(
    servers: list[Server], program: Program, changes: list[Edit], ways: list[str], folder: Path
) -> None:
    """Run the program again and again in one process, its code replaced in between."""
    for place in (folder / "memoising", folder / "clean"):
        _written(program, place)
        edited = program
        for n, change in enumerate(changes):
            edited = change.apply(edited).program
            _written(edited, place / f"v{n}")
        (place / "driver.py").write_text(DRIVER.replace("WAYS", repr(ways)))
    servers[0].begin(folder / "memoising", folder / "store", "import driver")
    clean = servers[1].run(folder / "clean", None, "import driver")
    memoising = servers[0].finish()
    assert memoising.value == clean.value
    assert "Error" not in clean.value


def _check(servers: list[Server], first: Effect, changes: list[Edit], folder: Path) -> None:
    """Run the program after each edit, on one store and in one process without memos."""
    effects = [first]
    for change in changes:
        effects.append(change.apply(effects[-1].program))
    places = [_written(program, folder / f"p{n}") for n, (program, _) in enumerate(effects)]
    *memoising, clean = servers
    for place in places:
        clean.begin(place, None)
    answers = [
        memoising[n % len(memoising)].run(place, folder / "store") for n, place in enumerate(places)
    ]
    expected = [clean.finish() for _ in places]
    known: set[Program] = set()
    for n, (program, can_matter) in enumerate(effects):
        told = f"{(None, *changes)[n]} of {_told(effects[max(0, n - 1)].program, program)}"
        assert answers[n].value == expected[n].value, f"STALE after {told}"
        if program in known or not can_matter:
            assert answers[n].executed == 0, f"NEEDLESS after {told}"
        known.add(program)


def _written(program: Program, folder: Path) -> Path:
    folder.mkdir()
    for name, text in program.files().items():
        (folder / name).write_text(text)
    return folder


def _told(before: Program, after: Program) -> str:
    texts = before.files()
    return "\n".join(
        f"--- {name}\n{texts[name]}\n+++ {name}\n{text}"
        for name, text in after.files().items()
        if text != texts[name]
    )
