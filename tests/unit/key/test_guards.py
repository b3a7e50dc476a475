"""Guards: what was bound where, and whether it still is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CellType, FunctionType, SimpleNamespace
from typing import Any

import pytest

from tasklineage.key.guards import MISSING, Guards, Recorder, cell_value, epoch


def guards(note: Callable[[Recorder], None]) -> Guards:
    recorder = Recorder()
    note(recorder)
    return Guards(recorder)


def function() -> FunctionType:
    def f(x: int = 1) -> int:
        return x

    return f  # type: ignore[return-value]


def test_nothing_recorded_holds() -> None:
    assert guards(lambda r: None).hold()


@pytest.mark.parametrize("others", [0, 1, 5])
def test_a_name_is_compared_by_identity(others: int) -> None:
    space: dict[str, Any] = {"a": 1, **{f"b{i}": i for i in range(others)}}

    def note(recorder: Recorder) -> None:
        for name, value in space.items():
            recorder.bind(space, name, value)

    checked = guards(note)
    assert checked.hold()
    space["a"] = True  # equal, but another object
    assert not checked.hold()
    space["a"] = 1
    assert checked.hold()
    del space["a"]
    assert not checked.hold()


def test_values_that_do_not_compare_are_guarded() -> None:
    class Odd:
        def __eq__(self, other: object) -> bool:
            raise AssertionError

        __hash__ = None  # type: ignore[assignment]

    space: dict[str, Any] = {"a": Odd(), "b": Odd()}
    checked = guards(lambda r: r.bind(space, "a", space["a"]))
    assert checked.hold()
    space["a"] = Odd()
    assert not checked.hold()


def test_a_name_that_was_absent_must_stay_absent() -> None:
    space: dict[str, Any] = {}
    checked = guards(lambda r: r.lack(space, "a"))
    assert checked.hold()
    space["b"] = 1
    assert checked.hold()
    space["a"] = 1
    assert not checked.hold()


def test_a_whole_namespace_is_guarded_against_additions() -> None:
    class A:
        x = 1

    checked = guards(lambda r: r.bind_all(vars(A), dict(vars(A)), A))
    assert checked.hold()
    A.x = 1
    assert checked.hold()
    A.y = 1  # type: ignore[attr-defined]
    assert not checked.hold()
    del A.y  # type: ignore[attr-defined]
    assert checked.hold()
    A.x = 2
    assert not checked.hold()


def test_elements_of_a_list_are_guarded() -> None:
    values = ["a", "b"]
    checked = guards(lambda r: r.bind_all(values, dict(enumerate(values))))
    assert checked.hold()
    values.append("c")
    assert not checked.hold()
    del values[1:]
    assert not checked.hold()


def test_cells_are_guarded() -> None:
    cell = CellType(1)
    checked = guards(lambda r: r.hold(cell, 1, "f.x"))
    assert checked.hold()
    cell.cell_contents = 2
    assert not checked.hold()
    assert checked.rebound() == [("f.x", 1, 2)]
    del cell.cell_contents
    assert not checked.hold()
    assert checked.rebound() == [("f.x", 1, MISSING)]
    assert cell_value(cell) is MISSING


def test_the_first_attribute_of_a_function_is_noticed() -> None:
    f = function()
    checked = guards(lambda r: r.has_no_attributes(f))
    assert checked.hold()
    f.rate = 1  # type: ignore[attr-defined]
    assert not checked.hold()


def test_what_is_only_written_to_may_change_within_its_type() -> None:
    place = SimpleNamespace(n=1)
    checked = guards(lambda r: r.typed_as(lambda: place.n, int))
    place.n = 2
    assert checked.hold()
    place.n = True
    assert not checked.hold()


@pytest.mark.parametrize("name", ["__code__", "__defaults__", "__kwdefaults__"])
def test_a_replacement_in_place_is_noticed(name: str) -> None:
    f = function()
    before = getattr(f, name)
    checked = guards(lambda r: r.attribute(f, name, before))
    assert checked.hold()
    setattr(f, name, {"__code__": (lambda: 0).__code__, "__defaults__": (2,)}.get(name, {"y": 1}))
    assert not checked.hold()
    assert not checked.hold()
    setattr(f, name, before)
    assert checked.hold()


def test_new_bases_of_a_class_are_noticed() -> None:
    class One:
        pass

    class Two:
        pass

    class A(One):
        pass

    checked = guards(lambda r: r.attribute(A, "__bases__", A.__bases__))
    assert checked.hold()
    A.__bases__ = (Two,)
    assert not checked.hold()


def test_replacements_elsewhere_do_not_matter() -> None:
    f, g = function(), function()
    checked = guards(lambda r: r.attribute(f, "__code__", f.__code__))
    g.__defaults__ = (9,)
    assert checked.hold()


def test_the_hook_is_installed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    epoch()
    monkeypatch.setattr(sys, "addaudithook", lambda hook: pytest.fail("installed again"))
    before = epoch()
    assert epoch() is before
    function().__defaults__ = (3,)
    assert epoch() is not before


def test_what_was_bound_anew_has_its_name() -> None:
    space = {"__name__": "mod", "a": 1, "b": 2}

    def note(recorder: Recorder) -> None:
        recorder.bind(space, "a", 1)
        recorder.bind(space, "b", 2)

    checked = guards(note)
    space["a"] = 5
    assert checked.rebound() == [("mod.a", 1, 5)]
