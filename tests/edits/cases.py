"""How a small project and its edits are written down.

The text of a project holds all its files: a line `# FILE.py` (or `.json`, `.txt` …) begins each, and the first is main.py
if nothing else is said, where `task` is imported without being asked. It defines the task `run` and, where `run(3)` is not what is to be called,
a function `answer`. An edit replaces text in one of the files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import dedent
from typing import NamedTuple

EXECUTES, HITS, COARSE = "executes", "hits", "coarse"
"""What an edit leads to: the result is another one; it is not; it is not, and yet the task
executes, as the page about the key says."""

_FILE = re.compile(r"^# ([\w/]+\.(?:py|json|toml|ini|txt|csv))$", re.MULTILINE)


class Edit(NamedTuple):
    """One edit of a project."""

    name: str
    expected: str
    after: dict[str, str]
    start: str


class Project(NamedTuple):
    """A small program and what is done to it."""

    name: str
    files: dict[str, str]
    start: str
    edits: tuple[Edit, ...]
    is_memo: bool = True
    """False: each call changes what the code reads, so every one executes."""

    def cases(self) -> Iterator[tuple[Project, Edit]]:
        """Each edit with its project."""
        for edit in self.edits:
            yield self, edit


class Start(NamedTuple):
    """In the place of an edit: the program is begun in another way, and nothing is edited."""

    how: str


def project(
    name: str,
    text: str,
    *edits: tuple[object, ...],
    start: str = "import main",
    is_memo: bool = True,
) -> Project:
    """A project and its edits, each `(expected, name, old text, new text)` or more such pairs.

    Instead of a pair: a dict of files that are written anew (None: removed), or a `Start`.
    """
    files = _files(text)
    made = tuple(_edit(files, start, *edit) for edit in edits)
    return Project(name, files, start, made, is_memo)


def _edit(
    files: dict[str, str], start: str, expected: object, name: object, *parts: object
) -> Edit:
    after, rest = dict(files), list(parts)
    while rest:
        part = rest.pop(0)
        if isinstance(part, Start):
            start = part.how
        elif isinstance(part, dict):
            after = {k: v for k, v in (after | part).items() if v is not None}
        else:
            _replace(after, str(part), str(rest.pop(0)))
    assert after != files or isinstance(parts[-1], Start), f"{name}: nothing is edited"
    return Edit(str(name), str(expected), after, start)


def _replace(files: dict[str, str], old: str, new: str) -> None:
    found = [name for name, text in files.items() if old in text]
    assert len(found) == 1, f"{old!r} is in {found}"
    count = files[found[0]].count(old)
    assert count == 1, f"{old!r} is there {count} times"
    files[found[0]] = files[found[0]].replace(old, new)


def _files(text: str) -> dict[str, str]:
    pieces = _FILE.split(dedent(text).lstrip("\n"))
    named = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    files = {name: part.lstrip("\n") for name, part in named.items()}
    if pieces[0].strip():
        files["main.py"] = pieces[0]
    if "import task\n" not in files.get("main.py", "import task\n"):
        files["main.py"] = "from tasklineage import task\n" + files["main.py"]
    return files
