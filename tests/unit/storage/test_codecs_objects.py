"""Objects in trees: what is stored as what, and what changed classes and hostile bytes do."""

from __future__ import annotations

import collections
import dataclasses
import enum
import sys
import textwrap
import types
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import numpy as np
import pydantic
import pytest

from tasklineage.errors import CorruptObject, UnsafeFormat
from tasklineage.key.digest import digest
from tasklineage.storage import codecs
from tasklineage.storage.codecs import Undecodable
from tasklineage.storage.codecs.describe import preview
from tasklineage.storage.objects import Objects
from tasklineage.storage.records import Ref


@dataclasses.dataclass
class Row:
    a: Any
    b: Any = None


@dataclasses.dataclass(frozen=True)
class Key:
    a: Any


@dataclasses.dataclass
class Stated:
    a: Any

    def __getstate__(self) -> Any:
        return {"a": 1}


@dataclasses.dataclass
class Watched:
    a: Any

    def __setattr__(self, name: str, value: Any) -> None:
        Log.lines.append(name)
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        raise AssertionError

    @property
    def length(self) -> int:
        raise AssertionError


class Log:
    lines: list[str] = []  # noqa: RUF012


@dataclasses.dataclass
class Broken(Exception):
    a: Any


class Model(pydantic.BaseModel):
    a: int
    frame: Any = None

    @pydantic.model_validator(mode="after")
    def check(self) -> Any:
        Log.lines.append("validated")
        return self


class Named(NamedTuple):
    x: Any
    y: Any = 2


class HashedNamed(Named):
    __slots__ = ()

    def __hash__(self) -> int:
        Log.lines.append("hashed")
        return 1


class Colour(enum.Enum):
    RED = 1


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    root = tmp_path / "store"
    root.mkdir(mode=0o700)
    return Objects(root)


def encode(value: Any, objects: Objects, **options: Any) -> Ref:
    return codecs.encode(value, digest(value), objects.put, **options)


@pytest.mark.parametrize(
    "value",
    [Stated(1), Broken(1), {Key(1): 2}, [{(Key(1), 2)}], {HashedNamed(1): 2}, Row(object)],
)
def test_what_says_itself_how_it_is_stored_goes_to_pickle(value: Any, objects: Objects) -> None:
    ref = encode(value, objects)
    assert ref.codec == "pickle"
    assert type(codecs.decode(ref, objects.open)) is type(value)
    with pytest.raises(UnsafeFormat):
        codecs.decode(ref, objects.open, allow_pickle=False)


def test_neither_storing_nor_loading_runs_code_of_a_class(objects: Objects) -> None:
    value = [Watched(1), Model(a=1), HashedNamed(1)]
    Log.lines.clear()
    ref = encode(value, objects)
    decoded = codecs.decode(ref, objects.open, allow_pickle=False)
    assert Log.lines == []
    assert [decoded[0].a, decoded[1].a, decoded[2].x] == [1, 1, 1]
    assert ref.preview == "[Watched(a=1), Model(a=1, frame=None), HashedNamed(x=1, y=2)]"


def test_an_array_in_a_field_is_a_part_and_stored_once(objects: Objects) -> None:
    array = np.arange(5_000.0)
    alone = encode(array, objects)
    for value in (Row(array), Model(a=1, frame=array), Named(array), {"x": [Row(1, {"y": array})]}):
        ref = encode(value, objects)
        assert ref.codec == "tree"
        assert codecs.object_ids(ref, objects.open) == (alone.oid,)
        assert type(codecs.decode(ref, objects.open, allow_pickle=False)) is type(value)


def test_records_that_refer_to_each_other_still_do(objects: Objects) -> None:
    parent, child = Row("parent"), Row("child")
    parent.b, child.b = [child, child], parent
    decoded = codecs.decode(encode(parent, objects), objects.open, allow_pickle=False)
    assert decoded.b[0] is decoded.b[1]
    assert decoded.b[0].b is decoded


def test_a_field_that_was_never_set_stays_so(objects: Objects) -> None:
    value = Key.__new__(Key)
    ref = encode(value, objects)
    assert not hasattr(codecs.decode(ref, objects.open), "a")


# -- classes that change ---------------------------------------------------------------------------


def module(source: str, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    made = types.ModuleType("changing_module")
    monkeypatch.setitem(sys.modules, "changing_module", made)
    head = "import dataclasses, enum\nfrom typing import Any, NamedTuple\nimport pydantic\n"
    exec(head + textwrap.dedent(source), made.__dict__)
    return made


CLASS = "@dataclasses.dataclass\nclass C:\n  a: Any\n  b: Any = 2\nvalue = C(1)"
MORE = CLASS.replace("b: Any = 2", "b: Any = 2\n  c: Any = dataclasses.field(kw_only=True)")
MORE = MORE.replace("C(1)", "C(1, c=1)")
SLOTS = "@dataclasses.dataclass(slots=True)\nclass C:\n  a: Any\n  b: Any = 2\nvalue = C(1)"
ENUM = "class C(enum.Enum):\n  A = 1\n  B = 2\nvalue = C.A"
NAMED = "class C(NamedTuple):\n  a: Any\n  b: Any = 2\nvalue = C(1)"
MODEL = "class C(pydantic.BaseModel):\n  a: Any\n  b: Any = 2\nvalue = C(a=1)"


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        (CLASS, "D = 1", "no class of that name"),
        (CLASS, "C = 1", "no class of that name"),
        (CLASS, "class C:\n  pass", "their attributes any more"),
        (CLASS, MORE, "a field 'c' that was not stored"),
        (CLASS, SLOTS, "attribute 'a'|field 'a'"),
        (SLOTS, SLOTS.replace("b:", "c:"), "field 'c'|slot 'b'"),
        (ENUM, ENUM.replace("A", "Z"), "no member A"),
        (ENUM, ENUM.replace("A = 1", "A = 3"), "another value"),
        (NAMED, NAMED.replace("b:", "c:"), "fields a, b"),
        (NAMED, CLASS, "fields a, b"),
        (MODEL, MODEL.replace("b:", "c:"), "field 'c'"),
    ],
)  # fmt: skip
def test_a_class_that_changed_is_undecodable(
    before: str, after: str, problem: str, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = encode(module(before, monkeypatch).value, objects)
    assert ref.codec == "tree"
    module(after, monkeypatch)
    with pytest.raises(Undecodable, match=problem) as caught:
        codecs.decode(ref, objects.open, allow_pickle=False)
    assert caught.value.type == "changing_module.C"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (CLASS, CLASS + "\n"),
        (CLASS, CLASS.replace("b: Any = 2", "b: Any = 2\n  c: Any = 3")),
        (CLASS, CLASS.replace("b: Any = 2", "").replace("\n  \n", "\n")),
        (ENUM, ENUM.replace("B = 2", "C = 2")),
    ],
)
def test_a_class_that_changed_compatibly_still_decodes(
    before: str, after: str, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = encode(module(before, monkeypatch).value, objects)
    changed = module(after, monkeypatch)
    decoded = codecs.decode(ref, objects.open, allow_pickle=False)
    assert type(decoded) is changed.C


def test_modules_are_imported_only_where_pickle_is_allowed(
    objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lazy_module.py").write_text("import dataclasses\n" + CLASS.replace("Any", "int"))
    monkeypatch.syspath_prepend(tmp_path)
    import lazy_module  # type: ignore[import-not-found]

    ref = encode(lazy_module.value, objects)
    monkeypatch.delitem(sys.modules, "lazy_module")
    with pytest.raises(Undecodable, match="import lazy_module first"):
        codecs.decode(ref, objects.open, allow_pickle=False)
    assert "lazy_module" not in sys.modules
    assert codecs.decode(ref, objects.open).a == 1
    monkeypatch.delitem(sys.modules, "lazy_module")
    (tmp_path / "lazy_module.py").unlink()
    with pytest.raises(Undecodable, match="No module named 'lazy_module'"):
        codecs.decode(ref, objects.open)


# -- hostile bytes ---------------------------------------------------------------------------------


def node(number: int) -> Any:
    return msgpack.ExtType(8, number.to_bytes(4, "big"))


def tree(rows: Any, forms: Any) -> Ref:
    data: bytes = msgpack.packb([None, msgpack.packb([rows, [], forms])])
    return Ref(b"d" * 16, "T", "tree", 1, data)


HERE = __name__
FORMS: dict[str, Any] = {
    "no form": 5,
    "an unknown form": ["reduce", "os", "system"],
    "a function": ["instance", "os", "system", [], []],
    "a class that is no record": ["instance", "subprocess", "Popen", ["args"], []],
    "a builtin": ["instance", "builtins", "dict", [], []],
    "a module that is not there": ["instance", "no.such", "C", [], []],
    "a module of another type": ["instance", 5, "C", [], []],
    "an attribute of a class": ["instance", HERE, "Row.__init__", ["a"], []],
    "names of another type": ["instance", HERE, "Row", 7, []],
    "too few values": ["instance", HERE, "Row", ["a", "b", "c"], []],
    "slots that are none": ["instance", HERE, "Row", ["a"], ["__class__"]],
    "a property": ["instance", HERE, "Watched", ["a"], ["length"]],
    "a class as a tuple": ["namedtuple", HERE, "Row", ["a"]],
    "a member that is no member": ["enum", HERE, "Colour", "__class__", None],
    "a member of no enumeration": ["enum", HERE, "Row", "a", None],
    "flags of an Enum": ["flag", HERE, "Colour", 1],
    "a factory": ["defaultdict", "os.system"],
    "a long deque": ["deque", "x"],
    "half a pair": ["OrderedDict", []],
    "no arguments": ["instance"],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("allow", [False, True])
def test_hostile_forms_are_an_error(form: Any, allow: bool, objects: Objects) -> None:
    Log.lines.clear()
    ref = tree([[5, 0, 1]], [form])
    with pytest.raises((CorruptObject, Undecodable)):
        codecs.decode(ref, objects.open, allow_pickle=allow)
    assert Log.lines == []


@pytest.mark.parametrize(
    ("rows", "forms"),
    [
        ([[5]], []),
        ([[5, 3]], []),
        ([[5, "x"]], [["deque", None]]),
        ([[3, node(1)], [5, 0, 1, 2]], [["instance", HERE, "Row", ["a", "b"], []]]),
        ([[2, node(1), 1], [1, node(2)], [5, 0, 1]], [["instance", HERE, "Key", ["a"], []]]),
        ([[3, node(1)], [5, 0, 1, 2]], [["namedtuple", HERE, "HashedNamed", ["x", "y"]]]),
        ([[5, 0, node(0), 1]], [["namedtuple", HERE, "Named", ["x", "y"]]]),
        ([[5, 0, node(1), 1], [0]], [["OrderedDict", []]]),
    ],
)
def test_hostile_nodes_are_corrupt_and_hash_nothing(
    rows: Any, forms: Any, objects: Objects
) -> None:
    Log.lines.clear()
    with pytest.raises(CorruptObject):
        codecs.decode(tree(rows, forms), objects.open)
    assert Log.lines == []


STANDARD: list[Any] = [
    [], [99], ["x"], [0, 1], [0, 2024, 13, 1], [0, "a", 1, 1], [1, 1, 1, 1, 1, 0, 5],
    [2, 2024, 1, 1, 0, 0, 0, 0, 0, "UTC"], [3, 10**12, 0, 0], [4, 5], [5, "../../etc/passwd"],
    [5, 7], [6, 1.5], [6, "x"], [7, 1, 0], [7, 2**100_000, 3], [8, b"short", None],
    [8, "x" * 16, None], [9, "system", "ls"], [9, "PosixPath", 5], [10, 0, 0, 0], [10, "a", 1, 1],
    [11, [], 1, 1], [12, "(", 0], [12, "(" * 10_000, 0], [12, "a", 128], [12, "a" * 100_000, 0],
    [12, 5, 0], [13, 1],
]  # fmt: skip


@pytest.mark.parametrize("content", STANDARD, ids=range(len(STANDARD)))
def test_hostile_values_of_the_standard_library_are_an_error(
    content: Any, objects: Objects
) -> None:
    try:
        packed = msgpack.packb(content)
    except OverflowError:
        number = content[1]
        big = msgpack.ExtType(1, number.to_bytes(number.bit_length() // 8 + 1, "little"))
        packed = msgpack.packb([content[0], big, *content[2:]])
    data = msgpack.packb(msgpack.ExtType(10, packed))
    with pytest.raises((CorruptObject, Undecodable)), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        codecs.decode(Ref(b"d" * 16, "T", "plain", 1, data), objects.open)


def test_a_time_zone_that_is_not_here_is_undecodable(objects: Objects) -> None:
    data = msgpack.packb(msgpack.ExtType(10, msgpack.packb([5, "Atlantis/Poseidonis"])))
    with pytest.raises(Undecodable, match="tzdata"):
        codecs.decode(Ref(b"d" * 16, "T", "plain", 1, data), objects.open)


# -- previews --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Row(1, [Row(2)]), "Row(a=1, b=[Row(a=2, b=None)])"),
        (Named(Colour.RED), "Named(x=Colour.RED, y=2)"),
        (Model(a=1, frame=np.zeros(3)), "Model(a=1, frame=float64 (3,))"),
        (collections.Counter("aab"), "Counter({'a': 2, 'b': 1})"),
        (collections.deque(range(30)), "30 items: deque([0, 1, 2, 3, 4, 5, …])"),
        (types.SimpleNamespace(a=1), "SimpleNamespace(a=1)"),
        (Path("a"), "PosixPath('a')"),
        (slice(Watched(1)), "slice"),
    ],
)
def test_previews_name_class_and_fields(value: Any, text: str) -> None:
    assert preview(value) == text
