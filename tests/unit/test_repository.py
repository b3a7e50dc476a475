"""The repository itself: what a stranger needs is there, and nothing in it names one machine."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import tasklineage as tl

ROOT = Path(__file__).resolve().parents[2]

REGISTRY_HOSTS = [
    r"\b(?:\w+\.)?pypi\." + "org",
    "pythonhosted" + r"\.org",
    "registry" + r"\.(?:npmjs|yarnpkg)",
    "deb" + r"\.debian\.org",
    "conda" + r"\.anaconda\.org",
    r"\bindex-" + "url",
]
MACHINE_PATHS = [
    r"(?<![\w.$}~-])/" + rf"{folder}/" for folder in ("root", "work", "home", "opt", "Users")
] + ["/tmp/" + r"venv"]


@cache
def files() -> tuple[Path, ...]:
    """Every file of the repository that Git would take."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a working tree of Git")
    return tuple(path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file())


def lines(patterns: list[str]) -> Iterator[str]:
    wanted = re.compile("|".join(patterns))
    for path in files():
        text = path.read_bytes().decode("utf-8", errors="ignore")
        for number, line in enumerate(text.splitlines(), 1):
            if wanted.search(line):
                yield f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"


@pytest.mark.parametrize(
    "name",
    ["README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", ".ci/run", "docs/index.md"],
)
def test_the_repository_has(name: str) -> None:
    assert (ROOT / name).stat().st_size > 0


@pytest.mark.parametrize("name", [".ci/run", "scripts/demo", "scripts/test"])
def test_commands_can_be_executed(name: str) -> None:
    assert (ROOT / name).stat().st_mode & 0o111


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "tasklineage" / "py.typed").exists()


def test_no_file_names_a_package_registry() -> None:
    assert list(lines(REGISTRY_HOSTS)) == []


def test_no_file_names_a_path_of_one_machine() -> None:
    assert list(lines(MACHINE_PATHS)) == []


def test_the_patterns_find_what_they_are_for() -> None:
    assert re.search("|".join(MACHINE_PATHS), "see /" + "home/will/data")
    assert not re.search("|".join(MACHINE_PATHS), "~/work/x, tests/work/x and $HOME/opt/x")
    assert re.search("|".join(REGISTRY_HOSTS), "files." + "pythonhosted" + ".org")


def test_relative_links_of_the_documentation_lead_somewhere() -> None:
    broken = []
    for page in (path for path in files() if path.suffix == ".md"):
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", page.read_text("utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)} -> {target}")
    assert broken == []


def test_every_module_of_the_package_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "tasklineage").rglob("*.py")
        if path.stat().st_size and ast.get_docstring(ast.parse(path.read_text("utf-8"))) is None
    ]
    assert silent == []


def test_the_changelog_speaks_of_the_present_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    version = project["version"].partition(".dev")[0]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert getattr(tl, "__version__", project["version"]) == project["version"]
