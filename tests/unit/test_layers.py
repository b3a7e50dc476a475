"""Imports inside the package point only down, and optional packages are imported where used."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import tasklineage

ROOT = Path(tasklineage.__file__).parent
PACKAGE = ROOT.name

LAYERS = {
    "errors": 0,
    "config": 0,
    "key": 1,
    "storage": 2,
    "executors": 2,
    "query": 3,
    "core": 4,
    "cli": 5,
    "testing": 5,
    "ui": 5,
    "__main__": 6,
}
"""The first component below the package, and its height. Equal heights do not see each other."""

OPTIONAL = {
    "cloudpickle", "dask", "distributed", "fsspec", "jax", "joblib", "networkx", "numpy", "pandas",
    "pebble", "polars", "pyarrow", "pydantic", "pytest", "rich", "s3fs", "sklearn", "torch",
    "typer",
}  # fmt: skip
"""Packages that are not there for everybody, or are slow to import."""

PYTESTS = {"tasklineage.testing.executors", "tasklineage.testing.plugin"}
"""Loaded in tests with pytest, and by nobody else."""

COMMAND_LINE = {"rich", "typer"}
"""What the command line alone may import at the top of its modules: nobody else loads those."""


class Import(NamedTuple):
    """One imported module, as written in `module` at `line`."""

    module: str
    line: int
    target: str
    at_top: bool
    """Executed when the module is imported: in no function and not for type checkers only."""

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found: dict[str, Path] = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = (PACKAGE, *path.relative_to(ROOT).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def is_type_checking(node: ast.AST) -> bool:
    if not isinstance(node, ast.If):
        return False
    test = node.test
    return "TYPE_CHECKING" in (getattr(test, "id", ""), getattr(test, "attr", ""))


def import_nodes(tree: ast.AST, at_top: bool = True) -> Iterator[tuple[ast.stmt, bool]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, at_top
        in_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from import_nodes(node, at_top and not in_function and not is_type_checking(node))


def targets(node: ast.stmt, module: str, path: Path, known: set[str]) -> Iterator[str]:
    """The modules that an import statement names; `from package import module` names the module."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    assert isinstance(node, ast.ImportFrom)
    base = node.module or ""
    if node.level:
        parts = module.split(".")
        drop = node.level - (path.name == "__init__.py")
        base = ".".join(parts[: len(parts) - drop] + ([base] if base else []))
    for alias in node.names:
        inner = f"{base}.{alias.name}"
        yield inner if inner in known else base


def imports() -> Iterator[Import]:
    known = modules()
    for module, path in known.items():
        for node, at_top in import_nodes(ast.parse(path.read_text("utf-8"))):
            for target in targets(node, module, path, set(known)):
                yield Import(module, node.lineno, target, at_top)


def part(module: str) -> str:
    """The layer's name of a module: `storage` of `tasklineage.storage.journal`."""
    pieces = module.split(".")
    return pieces[1] if len(pieces) > 1 else ""


def inside() -> list[Import]:
    """Imports of one module of the package by another; the face, `__init__.py`, sees all."""
    return [
        item
        for item in imports()
        if item.target.split(".")[0] == PACKAGE and item.module != PACKAGE
    ]


def test_every_module_has_a_layer() -> None:
    unknown = {name for name in modules() if part(name) and part(name) not in LAYERS}
    assert not unknown


def test_nobody_inside_imports_the_face() -> None:
    assert not [str(item) for item in inside() if item.target == PACKAGE]


def test_imports_point_down_or_stay_in_their_folder() -> None:
    wrong = [
        str(item)
        for item in inside()
        if item.target != PACKAGE
        and part(item.module) != part(item.target)
        and LAYERS[part(item.module)] <= LAYERS[part(item.target)]
    ]
    assert not wrong


def test_the_root_modules_import_nothing_of_the_package() -> None:
    assert not [str(item) for item in inside() if LAYERS[part(item.module)] == 0]


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for item in inside():
        if item.at_top:
            graph.setdefault(item.module, set()).add(item.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_engine_is_not_loaded_by_its_folder() -> None:
    for folder in ("core", "key"):
        tree = ast.parse((ROOT / folder / "__init__.py").read_text("utf-8"))
        assert not list(import_nodes(tree)), folder


def test_optional_packages_are_imported_where_they_are_used() -> None:
    def allowed(item: Import) -> bool:
        package = item.target.split(".")[0]
        if item.module in PYTESTS:
            return package == "pytest"
        return part(item.module) == "cli" and package in COMMAND_LINE

    wrong = [
        str(item)
        for item in imports()
        if item.at_top and item.target.split(".")[0] in OPTIONAL and not allowed(item)
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import a", [True]),
        ("def f():\n    import a", [False]),
        ("if TYPE_CHECKING:\n    import a", [False]),
        ("class C:\n    import a", [True]),
        ("try:\n    import a\nexcept ImportError:\n    pass", [True]),
        ("async def f():\n    if x:\n        import a", [False]),
    ],
)
def test_what_counts_as_imported_at_the_top(source: str, expected: list[bool]) -> None:
    assert [at_top for _, at_top in import_nodes(ast.parse(source))] == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from tasklineage.storage import journal", "tasklineage.storage.journal"),
        ("from tasklineage.storage.journal import Journal", "tasklineage.storage.journal"),
        ("from . import journal", "tasklineage.storage.journal"),
        ("from ..key import digest", "tasklineage.key.digest"),
    ],
)
def test_an_import_is_resolved_to_its_module(source: str, expected: str) -> None:
    known = {"tasklineage.storage.journal", "tasklineage.key.digest"}
    node = ast.parse(source).body[0]
    path = Path("tasklineage/storage/objects.py")
    assert list(targets(node, "tasklineage.storage.objects", path, known)) == [expected]
