"""What is of the project and what is not."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

import tasklineage
from tasklineage.key.boundary import (
    Boundary,
    extension_digest,
    is_project_class,
    is_project_file,
    is_project_function,
    is_project_module,
    origin_of,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the import path; what is imported from it is forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def load(folder: Path, name: str, text: str) -> ModuleType:
    path = folder / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    importlib.invalidate_caches()
    return importlib.import_module(name)


def test_a_module_beside_the_script_is_of_the_project(folder: Path) -> None:
    module = load(folder, "boundary_own", "class A: pass\ndef f(): pass")
    assert is_project_module(module)
    assert is_project_class(module.A)
    assert is_project_function(module.f)
    assert origin_of("boundary_own") == "project"


@pytest.mark.parametrize("place", ["lib/python3/site-packages", "lib/dist-packages"])
def test_an_installed_module_is_not(
    tmp_path: Path, folder: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path / place))
    module = load(tmp_path / place, "boundary_installed", "class A: pass\ndef f(): pass")
    assert not is_project_module(module)
    assert not is_project_class(module.A)
    assert not is_project_function(module.f)
    assert origin_of("boundary_installed") == "foreign"


def test_what_a_distribution_put_into_another_folder_is_not(folder: Path) -> None:
    info = folder / "thing-1.0.dist-info"
    info.mkdir()
    (info / "RECORD").write_text("boundary_thing.py,sha256=x,1\nthing-1.0.dist-info/RECORD,,\n")
    assert not is_project_module(load(folder, "boundary_thing", ""))
    assert is_project_module(load(folder, "boundary_beside", ""))


def test_a_package_linked_into_site_packages_is_of_the_project(tmp_path: Path) -> None:
    source = tmp_path / "checkout" / "pack"
    site = tmp_path / "site-packages"
    source.mkdir(parents=True)
    site.mkdir()
    (source / "m.py").write_text("")
    (site / "pack").symlink_to(source)
    (site / "other").mkdir()
    (site / "other" / "m.py").symlink_to(source / "m.py")
    assert is_project_file(str(site / "pack" / "m.py"))
    assert not is_project_file(str(site / "other" / "m.py"))


def test_the_standard_library_and_builtins_are_not() -> None:
    for module in (textwrap, sys, importlib, sys.modules["math"]):
        assert not is_project_module(module)
    assert not is_project_function(textwrap.dedent)  # type: ignore[arg-type]
    for cls in (int, type, Path, textwrap.TextWrapper):
        assert not is_project_class(cls)
    assert origin_of("wave") == origin_of("math") == "foreign"


def test_this_package_is_not() -> None:
    assert not is_project_module(tasklineage)
    assert not is_project_file(str(Path(tasklineage.__file__ or "").parent / "later.py"))


def test_what_has_no_file_is_of_the_project() -> None:
    space: dict[str, Any] = {}
    exec("class A: pass\ndef f(): pass", space)
    assert space["A"].__module__ == "builtins"
    assert is_project_class(space["A"])
    assert is_project_function(space["f"])
    assert is_project_module(ModuleType("made_by_hand"))


def test_wrapping_does_not_make_a_library_function_ours() -> None:
    function = FunctionType(textwrap.dedent.__code__, {"__name__": "textwrap"})
    function.__module__ = __name__
    assert not is_project_function(function)


def test_a_namespace_package_is_where_its_folders_are(folder: Path) -> None:
    (folder / "boundary_space" / "sub").mkdir(parents=True)
    (folder / "boundary_space" / "sub" / "m.py").write_text("")
    module = importlib.import_module("boundary_space.sub.m")
    assert is_project_module(module)
    assert is_project_module(sys.modules["boundary_space"])


def test_a_module_that_nobody_has_is_missing() -> None:
    assert origin_of("no_such_module_anywhere.sub") == "missing"


def test_a_module_can_be_asked_for_by_name() -> None:
    assert not Boundary().has_module(textwrap)
    home = Boundary("textwrap")
    assert home.has_module(textwrap)
    assert home.has_function(textwrap.dedent)  # type: ignore[arg-type]
    assert home.has_class(textwrap.TextWrapper)
    assert not home.has_module(importlib)


def test_a_compiled_module_of_the_project_counts_by_its_file(folder: Path) -> None:
    module = ModuleType("boundary_compiled")
    file = folder / f"boundary_compiled{importlib.machinery.EXTENSION_SUFFIXES[-1]}"
    file.write_bytes(b"one")
    module.__file__ = str(file)
    before = extension_digest(module)
    assert before is not None
    file.write_bytes(b"another")
    assert extension_digest(module) not in (None, before)
    assert extension_digest(sys.modules["math"]) is None
    assert extension_digest(textwrap) is None
