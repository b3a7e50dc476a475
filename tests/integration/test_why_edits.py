"""`why` names exactly the component that was edited, for every edit of `test_edits` that counts.

What was edited is told by the syntax trees of the project before and after: the functions, classes
and names of which the text is another.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasklineage.query.code_differences import code_causes
from tasklineage.storage.records import Code
from tests.integration.test_edits import _RUNNER, CASES, CHANGES, _write

_PARTS = _RUNNER.replace(
    "found[name] = task.code_version",
    "from tasklineage.key.code_version import code_version\n"
    "            found[name] = [[p.kind, p.name, p.digest.hex(), p.text]"
    " for p in code_version(task).parts]",
)
assert _PARTS != _RUNNER

COUNTING = [number for number, this in enumerate(CASES) if this.expected == CHANGES]

ELSEWHERE = {
    "constant computed from another": {"main.LIMIT"},  # its value is what the task reads
    "import under a condition in the body": {"helpers.helper"},
    "re-export: constant from import": {"pack.deep.ALPHA"},  # the name that the helper reads
    "module-level __getattr__": {"config.LAZY"},
    "optional module appears": {"main.f"},
    "optional module of a body appears": {"main.fast.f"},
    "alias points elsewhere": {"main.m.f"},
    "alias swapped": {"main.f", "main.g"},
    "partial: keyword": {"main.g.argument y"},
    "partial: argument": {"main.h.argument 0"},
    "argument of a decorator": {"main.times.<locals>.decorate.<locals>.wrapper.n"},
    "singledispatch: type": {"main.e.for 0", "main.e.for 1"},
    "singledispatch: registered": {"main._"},
    "lambda in a dict": {"main.<lambda>"},
    "lambda deep in a dict": {"main.<lambda>"},
    "constant: lambda": {"main.<lambda>"},
    "lambda assigned": {"main.<lambda>"},
    "closure value": {"main.make.<locals>.inner.n"},
    "closures swapped": {"main.make.<locals>.inner.n"},
    "helper made by a factory": {"main.make.<locals>.<lambda>.n"},
    "base class from a function": {"main.make.<locals>.A.m.n"},
    "function attribute": {"main.helper.factor"},
    "class with an instance of itself": {"main.A.best"},
    "monkeypatched library function": {"main.mean"},
    "exec-defined helper": {"None.helper"},
    "exec-defined class": {"None.A.m"},
    "exec-defined task": {"None.run"},
    "builtin shadowed by an import": {"main.max"},
    "builtin shadowed by a star import": {"main.max"},
    "operator alias": {"main.add", "main.ops"},
    "default arg mutable const": {"main.q(d)"},
    "numpy.vectorize": {"main.f"},
    "global communicates": {"main.set_it"},
    "registry added": {"main.Base.registry"},
    "decorator registry name": {"main.REG"},
    "name that is read": {"main.helper"},
    "swapped library function": {"main.f"},
    "callback in a global list": {"main.STEPS"},
    "decorated task: decorator": {"main.run"},  # `wraps` says that the wrapper is `run`
    "enum members swapped": {"main.Color.RED", "main.Color.BLUE"},
    "typed named tuple default": {"main.Pair._field_defaults"},
    "class deco @deco\n": {"main.deco.<locals>.<lambda>"},
    "version of a child task": {"main.fixed"},
    "slots self.a = 1": {"main.p", "main.P.__init__"},
    "shadowed builtin": {"main.range"},
    "dataclass factory": {"main.Config.<lambda>"},
    "partialmethod": {"main.Service.<lambda>"},
    "lambda as a default": {"main.<lambda>"},
    "key function of a child task": {"main.<lambda>"},
    "frames show locals": {"main.run: names of locals"},
}
"""Where the names are not those of the text that was edited."""


def _causes(number: int, phases: tuple[Any, Any]) -> Any:
    sides = [
        Code(b"", "main.run", tuple((k, n, bytes.fromhex(d), t) for k, n, d, t in phase))
        for phase in (phases[0][f"{number:03}"], phases[1][f"{number:03}"])
    ]
    return code_causes(*sides)


def _parts(root: Path, seed: str) -> Any:
    environment = {
        **os.environ,
        "PYTHONHASHSEED": seed,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", _PARTS, str(root)],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def phases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """The parts of all cases, as records have them, before and after the edits."""
    roots = [tmp_path_factory.mktemp(phase) for phase in ("before", "after")]
    for number, this in enumerate(CASES):
        for root, files in zip(roots, (this.before, this.after), strict=True):
            _write(root, number, files)
    return _parts(roots[0], "1"), _parts(roots[1], "2")


def _edited(before: dict[str, str], after: dict[str, str]) -> Iterator[str]:
    """Names of what was edited, module-qualified."""
    for file, text in after.items():
        if text != before.get(file):
            module = file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
            yield from _differing(_named(before.get(file, ""), module), _named(text, module))


def _differing(old: dict[str, str], new: dict[str, str]) -> list[str]:
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    inner = {name.rpartition(".")[0] for name in names}
    return [n for n in names if n not in inner] or names


def _named(text: str, prefix: str) -> dict[str, str]:
    return dict(_statements(ast.parse(text).body, prefix))


def _statements(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, str]]:
    for statement in body:
        if isinstance(statement, ast.ClassDef):
            name = f"{prefix}.{statement.name}"
            head = [*statement.bases, *statement.keywords, *statement.decorator_list]
            yield name, " ".join(map(ast.unparse, head))
            yield from _statements(statement.body, name)
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}.{statement.name}", ast.unparse(statement)
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                yield f"{prefix}.{ast.unparse(target)}", ast.unparse(statement)
        elif isinstance(statement, ast.If | ast.Try):
            yield from _statements(statement.body, prefix)


def _belongs(name: str, edited: set[str]) -> bool:
    """Whether a cause is about one of the edited things: itself, its default, a part of it."""
    plain = name.partition(": ")[0]
    return any(
        plain == one or plain.startswith((f"{one}(", f"{one}.", f"{one} ")) for one in edited
    )


@pytest.mark.parametrize("number", COUNTING, ids=[CASES[number].name for number in COUNTING])
def test_why_names_what_was_edited_and_nothing_else(phases: tuple[Any, Any], number: int) -> None:
    this = CASES[number]
    causes = _causes(number, phases)
    named = {cause.name for cause in causes}
    told = "\n".join(cause.text for cause in causes)
    assert causes
    if this.name in ELSEWHERE:
        assert named == ELSEWHERE[this.name], told
        return
    edited = set(_edited(this.before, this.after))
    assert all(_belongs(name, edited) for name in named), (edited, told)
    assert len(named) == 1 or len(edited) > 1 or _is_of_one_class(named, edited), (edited, told)


def _is_of_one_class(named: set[str], edited: set[str]) -> bool:
    """A class whose head was edited; a function with its defaults; a namedtuple."""
    (one,) = edited
    return all(name == one or name.startswith((f"{one}.", f"{one}(")) for name in named)


@pytest.mark.parametrize("number", COUNTING, ids=[CASES[number].name for number in COUNTING])
def test_an_edited_function_comes_with_its_diff(phases: tuple[Any, Any], number: int) -> None:
    for cause in _causes(number, phases):
        if cause.kind == "function" and cause.old and cause.new:
            changed = [line for line in cause.diff.splitlines()[2:] if line[0] in "+-"]
            assert changed, cause
