from __future__ import annotations

import enum
import os
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypedDict
from uuid import UUID

import pytest

import tasklineage as tl
from tasklineage.cli.convert import CannotConvert, describe, from_json, from_text, is_flag


class Colour(enum.Enum):
    RED = "r"
    BLUE = 2


@dataclass
class Inner:
    n: int
    rate: float = 0.5


@dataclass
class Outer:
    inner: Inner
    names: list[str] = field(default_factory=list)
    by_name: dict[str, Inner] = field(default_factory=dict)
    where: Path | None = None


class Point(NamedTuple):
    x: int
    y: int = 0


class Options(TypedDict):
    depth: int


class Document(os.PathLike[str]):
    def __init__(self, path: str) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return self.path


Metres = NewType("Metres", float)


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("3", int, 3),
        ("-3", int, -3),
        ("3", float, 3.0),
        ("1e-3", float, 0.001),
        ("3", str, "3"),
        ("", str, ""),
        ("yes", bool, True),
        ("0", bool, False),
        ("1+2j", complex, 1 + 2j),
        ("a/b", Path, Path("a/b")),
        ("2.50", Decimal, Decimal("2.50")),
        ("2026-01-02", date, date(2026, 1, 2)),
        ("2026-01-02T03:04", datetime, datetime(2026, 1, 2, 3, 4)),
        ("12345678123456781234567812345678", UUID, UUID("12345678123456781234567812345678")),
        ("é", bytes, "é".encode()),
        ("4", Metres, 4.0),
        ("5", Annotated[int, "of them"], 5),
        ("RED", Colour, Colour.RED),
        ("2", Colour, Colour.BLUE),
        ("b", Literal["a", "b"], "b"),
        ("2", Literal[1, 2], 2),
        ("7", int | None, 7),
        ("none", int | None, None),
        ("", int | None, None),
        ("null", str | None, None),
        ("", str | None, ""),
        ("7", int | str, 7),
        ("7", str | int, 7),
        ("x", int | str, "x"),
        ("1.5", int | float, 1.5),
        ("3", Any, 3),
        ("true", Any, True),
        ("hello", Any, "hello"),
        ("[1, 2]", list, [1, 2]),
        ("[1, 2]", list[float], [1.0, 2.0]),
        ("[1, 2]", tuple[int, ...], (1, 2)),
        ('[1, "a"]', tuple[int, str], (1, "a")),
        ("[1, 1]", set[int], {1}),
        ('{"1": 2}', dict[int, float], {1: 2.0}),
        ('{"a": [1]}', dict, {"a": [1]}),
        ('{"x": 1}', Point, Point(1, 0)),
        ('{"depth": 1}', Options, {"depth": 1}),
        ('{"n": 1}', Inner, Inner(1, 0.5)),
    ],
)
def test_a_text_becomes_the_annotated_type(text: str, kind: Any, expected: object) -> None:
    found = from_text(text, kind)
    assert found == expected
    assert type(found) is type(expected)


def test_dataclasses_nest() -> None:
    text = (
        '{"inner": {"n": 1, "rate": 2}, "names": ["a"], "by_name": {"b": {"n": 3}}, "where": "x"}'
    )
    expected = Outer(Inner(1, 2.0), ["a"], {"b": Inner(3)}, Path("x"))
    assert from_text(text, Outer) == expected


def test_a_path_like_class_is_made_from_the_text() -> None:
    found = from_text("a.csv", Document)
    assert isinstance(found, Document)
    assert os.fspath(found) == "a.csv"


def test_a_pydantic_model_is_validated() -> None:
    pydantic = pytest.importorskip("pydantic", reason="the model is pydantic's")
    model = pydantic.create_model("Model", n=(int, ...), name=(str, "x"))
    assert from_text('{"n": "5"}', model).n == 5
    with pytest.raises(CannotConvert, match="n\n"):
        from_text('{"n": "five"}', model)


def test_json_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"n": 4}', "utf-8")
    assert from_text(f"@{tmp_path}/a.json", Inner) == Inner(4)
    assert from_text(f"@{tmp_path}/a.json", Any) == {"n": 4}


def test_a_text_that_begins_with_an_at_sign_is_a_text() -> None:
    assert from_text("@home", str) == "@home"


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("3.5", int, "'3.5' is not an int"),
        ("x", float, "'x' is not a float"),
        ("maybe", bool, "not a bool"),
        ("x", Decimal, "not a Decimal"),
        ("c", Literal["a", "b"], "'c' is not one of: a, b"),
        ("green", Colour, "RED, BLUE"),
        ("x", int | float, "not an int; 'x' is not a float"),
        ("a,b", list[str], "is not JSON"),
        ("a,b", list[str], "a list such as"),
        ("a,b", dict[str, int], "an object such as"),
        ('{"a": "x"}', dict[str, int], r"\['a'\]: \"x\" is not an int"),
        ("[1, true]", list[int], r"\[1\]: true is not an int"),
        ("[1]", tuple[int, int], "not tuple"),
        ("{}", list[int], "not list"),
        ("[]", Inner, "not an Inner"),
        ('{"n": 1, "m": 2}', Inner, "Inner has no field 'm'; it has: n, rate"),
        ("{}", Inner, "missing 1 required"),
        ('{"inner": {"n": "x"}}', Outer, 'inner.n: "x" is not an int'),
        ('{"inner": {"n": 1}, "names": [1]}', Outer, r"names\[0\]: 1 is not a str"),
        ("@nowhere.json", dict, "cannot read nowhere.json"),
    ],
)
def test_a_text_that_does_not_fit_is_refused_with_its_place(
    text: str, kind: Any, message: str
) -> None:
    with pytest.raises(CannotConvert, match=message):
        from_text(text, kind)


def test_json_keeps_what_needs_no_conversion() -> None:
    data = {"a": [1, None, True]}
    assert from_json(data, Any) is data
    assert from_json(None, int | None) is None
    assert from_json(2, int | str) == 2
    assert from_json("2", int | str) == "2"


def test_scalars_inside_json_become_what_they_stand_for() -> None:
    assert from_json("2026-01-02", date) == date(2026, 1, 2)
    assert from_json("BLUE", Colour) is Colour.BLUE
    with pytest.raises(CannotConvert, match="when: 'x' is not a date"):
        from_json("x", date, "when")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (int, "int"),
        (int | None, "int"),
        (int | str, "int|str"),
        (Any, "value"),
        (list[int], "JSON"),
        (Inner, "JSON"),
        (Colour, "RED|BLUE"),
        (Literal["a", 1], "a|1"),
        (Path, "path"),
        (Document, "path"),
    ],
)
def test_a_type_is_described_for_the_help_page(kind: Any, text: str) -> None:
    assert describe(kind) == text


def test_only_booleans_are_flags() -> None:
    assert is_flag(bool)
    assert is_flag(bool | None)
    assert not is_flag(int)
    assert not is_flag(bool | str)


def test_a_file_and_a_folder_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "d").mkdir()
    assert from_text("a.txt", tl.File) == tl.File("a.txt")
    assert from_text("d", tl.Dir) == tl.Dir("d")
    assert from_text("d", tl.File | tl.Dir) == tl.Dir("d")
    assert from_text('["a.txt"]', list[tl.File]) == [tl.File("a.txt")]
    assert from_text("none", tl.File | None) is None
    assert describe(tl.File) == "path"
    for text, kind, message in (
        ("nope", tl.File, "there is no file nope"),
        ("d", tl.File, "d is no file"),
        ("a.txt", tl.Dir, "a.txt is no folder"),
    ):
        with pytest.raises(CannotConvert, match=message):
            from_text(text, kind)
