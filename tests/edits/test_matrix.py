"""Edits of small projects: what changes a result is executed again, and nothing else is.

Each phase is a process of its own (a fork of a server that has run nothing) with its own
PYTHONHASHSEED: the project before the edit fills a store; once more, it must hit; after the edit it
runs on that store, and without any memo. Whatever the table says, a value that differs from the
one without memos is stale and fails.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edits import (
    calls,
    classes,
    contents,
    counters,
    families,
    functions,
    idioms,
    imports,
    living,
    loaders,
    modules,
    places,
    reading,
    state,
    values,
    wrapping,
)
from tests.edits.cases import COARSE, EXECUTES, HITS, Edit, Project
from tests.edits.server import Answer, Server

_MODULES = (
    calls, classes, contents, counters, families, functions, idioms, imports, living, loaders,
    modules, places, reading, state, values, wrapping,
)  # fmt: skip
PROJECTS = [project for module in _MODULES for project in module.PROJECTS]
CASES = [case for project in PROJECTS for case in project.cases()]


class Lab:
    """Servers of three hash seeds, and what the projects answered before they were edited."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers = [Server(seed) for seed in (1, 2, 3)]
        self._before: dict[str, tuple[Answer, Answer]] = {}
        self._count = 0

    def begin(
        self, server: Server, files: dict[str, str], store: Path | None, start: str
    ) -> Server:
        """Let a project run, in a folder that is new each time."""
        self._count += 1
        folder = self.folder / f"p{self._count}"
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        server.begin(folder, store, start)
        return server

    def before(self, project: Project) -> tuple[Answer, Answer]:
        """What a project answers before its edits, at first and once more."""
        if project.name not in self._before:
            store = self.folder / project.name
            first, again = (
                self.begin(server, project.files, store, project.start).finish()
                for server in self.servers[:2]
            )
            self._before[project.name] = first, again
        return self._before[project.name]

    def after(self, project: Project, edit: Edit) -> tuple[Answer, Answer]:
        """What it answers after an edit: on a copy of the store, and without memos."""
        self._count += 1
        store = self.folder / f"s{self._count}"
        shutil.copytree(self.folder / project.name, store)
        memoising = self.begin(self.servers[2], edit.after, store, edit.start)
        clean = self.begin(self.servers[1], edit.after, None, edit.start)
        return memoising.finish(), clean.finish()

    def close(self) -> None:
        for server in self.servers:
            server.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("lab"))
    yield made
    made.close()


@pytest.mark.parametrize(("project", "edit"), CASES, ids=[f"{p.name}: {e.name}" for p, e in CASES])
def test_an_edit_executes_exactly_what_it_changes(lab: Lab, project: Project, edit: Edit) -> None:
    first, again = lab.before(project)
    after, clean = lab.after(project, edit)
    assert first.executed > 0, first
    assert (again.executed == 0) == project.is_memo, f"a hit in another process: {again}"
    assert again.value == first.value
    assert after.value == clean.value, "STALE"
    if edit.expected == EXECUTES:
        assert clean.value != first.value, "the table is wrong: the result is the same"
        assert after.executed > 0
    else:
        assert clean.value == first.value, "the table is wrong: the result is another one"
        assert (after.executed > 0) == (edit.expected == COARSE), "NEEDLESS"
    assert not any(item.executed < 0 for item in (first, again, after, clean))


def test_a_value_that_is_new_in_each_process_executes_in_each(lab: Lab) -> None:
    main = "import os\nfrom tasklineage import task\nHERE = os.getpid()\n@task\ndef run(x): return HERE\n"
    store = lab.folder / "new"
    answers = [
        lab.begin(lab.servers[0], {"main.py": main}, store, "import main").finish() for _ in "ab"
    ]
    assert [answer.executed for answer in answers] == [1, 1]
    assert answers[0].value != answers[1].value


def test_names_of_projects_and_edits_are_unique() -> None:
    names = [project.name for project in PROJECTS]
    assert len(names) == len(set(names))
    assert {edit.expected for _, edit in CASES} <= {EXECUTES, HITS, COARSE}
