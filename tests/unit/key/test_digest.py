"""Digests of values: what counts, what does not, and what has none."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import io
import itertools
import math
import pathlib
import random
import re
import socket
import sys
import threading
import tracemalloc
import types
import uuid
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pytest

from tasklineage.errors import ConfigError, UnhashableArgument
from tasklineage.key import digest as digest_module
from tasklineage.key import digest_forms, digest_graph, digest_origin, digest_walk
from tasklineage.key.digest import (
    Unresolved,
    digest,
    is_immutable,
    is_trivial,
    parts,
    register_digest,
    register_stand_in,
    register_unresolved,
    set_code_hook,
)
from tasklineage.key.tasklike import TaskLike


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test registers is forgotten after it; code counts by qualified names."""
    table = digest_forms._Table
    monkeypatch.setattr(table, "forms", dict(table.forms))
    monkeypatch.setattr(table, "families", dict(table.families))
    monkeypatch.setattr(table, "found", {})
    monkeypatch.setattr(digest_module, "_hooks", [lambda thing: None])


class Plain:
    """An object with attributes."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


class Slotted:
    """An object with slots."""

    __slots__ = ("left", "right")


class Raising:
    """An object that pickle cannot write."""

    def __reduce__(self) -> Any:
        raise RuntimeError("no")


class Point(NamedTuple):
    """A namedtuple."""

    x: Any
    y: Any


@dataclasses.dataclass(frozen=True)
class Frozen:
    """A frozen dataclass."""

    content: Any


class Colour(enum.Enum):
    """An enumeration."""

    RED = 1
    BLUE = 2


class Shade(enum.IntEnum):
    """An enumeration of ints."""

    RED = 1


class OwnInt(int):
    pass


class OwnStr(str):
    pass


class OwnFloat(float):
    pass


class OwnBytes(bytes):
    pass


class OwnList(list[Any]):
    pass


class OwnTuple(tuple[Any, ...]):
    pass


class OwnDict(dict[Any, Any]):
    pass


class OwnSet(set[Any]):
    pass


class OwnFrozenSet(frozenset[Any]):
    pass


class OwnDate(dt.date):
    pass


class OwnDecimal(decimal.Decimal):
    pass


class OwnDeque(collections.deque[Any]):
    pass


class OwnPartial(functools.partial[Any]):
    pass


class OwnNamespace(types.SimpleNamespace):
    pass


class OwnRandom(random.Random):
    pass


class OwnArray(np.ndarray[Any, Any]):
    pass


def generator() -> Iterator[int]:
    yield 1


def nested(depth: int, wrap: Callable[[Any], Any], value: Any = 1) -> Any:
    """A value inside of many others."""
    for _ in range(depth):
        value = wrap(value)
    return value


def path_of(value: Any, path: str = "cfg") -> str:
    """The path that the error for a value names."""
    with pytest.raises(UnhashableArgument) as caught:
        digest(value, path)
    assert str(caught.value).startswith(f"{caught.value.path} is a ")
    return caught.value.path


# Content and type.

ALIKE = [
    [1, 1.0, True, "1", b"1", 1j, np.int64(1), np.float64(1), np.bool_(True), OwnInt(1), Shade.RED],
    [decimal.Decimal(1), decimal.Decimal("1.0"), 1],
    [0.0, -0.0, 0, False, None, "", b"", (), [], {}, set(), frozenset(), bytearray()],
    [1, (1,), [1], {1}, frozenset({1}), {1: 1}, ((1,),), [[1]], collections.deque([1])],
    ["a", OwnStr("a"), b"a", bytearray(b"a"), memoryview(b"a"), OwnBytes(b"a"), np.str_("a")],
    [1.5, OwnFloat(1.5), np.float64(1.5), np.float32(1.5), np.array(1.5), np.array([1.5])],
    [(1, 2), Point(1, 2), OwnTuple((1, 2)), [1, 2], OwnList([1, 2]), range(1, 3), slice(1, 2)],
    [{1: 2}, OwnDict({1: 2}), collections.OrderedDict({1: 2}), collections.Counter({1: 2})],
    [{1: 2}, collections.defaultdict(None, {1: 2}), types.MappingProxyType({1: 2}), [(1, 2)]],
    [{1}, OwnSet({1}), OwnFrozenSet({1}), frozenset({1})],
    [Plain(x=1), types.SimpleNamespace(x=1), {"x": 1}, Point(1, None), Frozen(1)],
    [Colour.RED, Colour.BLUE, Colour, 1, "RED"],
    [pathlib.PurePosixPath("a"), pathlib.PurePosixPath("b"), pathlib.PureWindowsPath("a"), "a"],
    [dt.date(2020, 1, 1), dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, fold=1)],
    [dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, tzinfo=dt.UTC)],
    [dt.UTC, dt.timezone(dt.timedelta(hours=1)), dt.timezone(dt.timedelta(0), "Z")],
    [re.compile("a"), re.compile("a", re.IGNORECASE), re.compile(b"a"), "a"],
    [uuid.UUID(int=1), uuid.UUID(int=2), 1],
    [functools.partial(max, 1), functools.partial(min, 1), functools.partial(max, 2), max],
    [random.Random(1), random.Random(2)],
    [len, max, math, math.sin, int, "len"],
    [[].append, [1].append, [].extend],
    [str.upper, str.lower, bytes.upper],
    [ValueError("a"), ValueError("b"), KeyError("a"), "a"],
    [list[int], list[str], int | None, int | str],
    [collections.deque([1]), collections.deque([1], 3)],
    ["a" * 4096, "a" * 4097, b"a" * 4096, b"a" * 4097, ["a" * 4097], [b"a" * 4097]],
    [[1, [2, 3]], [1, 2, 3], [[1, 2], 3], [[1, 2, 3]], [1, [2], 3]],
    [{"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 2, "b": 1}],
    [{1: {2: 3}}, {1: 2, 3: 4}, [1, 2, 3]],
    [["ab", "c"], ["a", "bc"], ["abc"], ["ab", "c", ""]],
]


@pytest.mark.parametrize("values", ALIKE, ids=[repr(group[0])[:20] for group in ALIKE])
def test_values_that_look_alike_have_digests_of_their_own(values: list[Any]) -> None:
    for wrap in (lambda value: value, lambda value: [value], lambda value: [value] * 9):
        assert len({digest(wrap(value)) for value in values}) == len(values)


@pytest.mark.parametrize(
    ("own", "base"),
    [
        (OwnDate(2020, 1, 1), dt.date(2020, 1, 1)),
        (OwnDecimal(1), decimal.Decimal(1)),
        (OwnDeque([1]), collections.deque([1])),
        (OwnPartial(max), functools.partial(max)),
        (OwnNamespace(x=1), types.SimpleNamespace(x=1)),
        (OwnRandom(1), random.Random(1)),
        (np.zeros(2).view(OwnArray), np.zeros(2)),
    ],
)
def test_what_derives_from_a_library_type_is_not_taken_for_it(own: Any, base: Any) -> None:
    assert digest(own) == digest(own) != digest(base)


def test_every_nan_is_the_same_one() -> None:
    nan = math.inf - math.inf
    odd = np.array([0x7FF8000000000123], "u8").view("f8").tolist()[0]
    assert digest(nan) == digest(math.nan) == digest(odd) == digest(-math.nan)
    assert digest([nan, 1, "x"]) == digest([odd, 1, "x"])
    assert digest({"x": nan}) == digest({"x": -nan})
    assert digest([[nan]] * 20) == digest([[-nan] for _ in range(20)])
    assert digest({nan: 1, -nan: 2}) == digest({-nan: 1, nan: 2})
    assert digest(np.float64(nan)) == digest(-np.float64(nan))
    assert digest([10**400, nan]) == digest([10**400, -nan])


def test_infinities_are_no_nan() -> None:
    assert len({digest(x) for x in ([math.inf, -math.inf], [math.nan, 0], [math.inf] * 2)}) == 3


def test_lone_surrogates_have_digests() -> None:
    assert len({digest("\ud800"), digest("\udfff"), digest("\ud800" * 5000), digest("?")}) == 4


def test_equal_objects_of_one_set_are_counted() -> None:
    assert digest({Plain(x=1), Plain(x=1)}) != digest({Plain(x=1)})
    assert digest({Plain(x=1): 1, Plain(x=2): 2}) != digest({Plain(x=2): 1, Plain(x=1): 2})


def test_sets_have_no_order_but_dicts_do() -> None:
    text = [f"name {i}" for i in range(100)]
    backward = text[::-1]
    assert digest(set(text)) == digest(set(backward))
    assert digest(OwnSet(text)) == digest(OwnSet(backward))
    assert digest(dict.fromkeys(text)) != digest(dict.fromkeys(backward))


def test_attributes_and_slots_count() -> None:
    one, two = Slotted(), Slotted()
    one.left, two.right = 1, 1
    assert digest(one) != digest(two)
    assert digest(Plain(x=1)) == digest(Plain(x=1)) != digest(Plain(x=2))
    assert digest(Plain(x=1)) != digest(Plain(y=1))
    array = np.zeros(2).view(OwnArray)
    named = np.zeros(2).view(OwnArray)
    named.unit = "m"  # type: ignore[attr-defined]
    assert len({digest(array), digest(named), digest(np.zeros(2))}) == 3


def test_what_is_kept_beside_the_content_of_a_builtin_subclass_counts() -> None:
    for kind in (OwnList, OwnSet, OwnDict, OwnTuple, collections.Counter):
        bare, marked = kind(), kind()
        marked.mark = 1  # type: ignore[attr-defined]
        assert digest(bare) != digest(marked)


def test_a_getstate_decides_what_counts() -> None:
    class Half(Plain):
        def __getstate__(self) -> Any:
            return {"kept": self.kept}  # type: ignore[attr-defined]

    assert digest(Half(kept=1, dropped=2)) == digest(Half(kept=1, dropped=3))
    assert digest(Half(kept=1, dropped=2)) != digest(Half(kept=2, dropped=2))


# Deep, shared and cyclic values.

WRAPPINGS: list[Callable[[Any], Any]] = [
    lambda value: [value],
    lambda value: (value, "x"),
    lambda value: {"x": value},
    lambda value: frozenset([value]),
    lambda value: Plain(next=value),
    lambda value: functools.partial(max, value),
    lambda value: Point(value, None),
]


@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_ten_thousand_levels_have_a_digest(wrap: Callable[[Any], Any]) -> None:
    try:
        deep, deeper = nested(10_000, wrap), nested(10_001, wrap)
    except RecursionError:
        pytest.skip("the value itself cannot be built: its hash recurses")
    assert digest(deep) == digest(nested(10_000, wrap)) != digest(deeper)


@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_the_slow_way_agrees_with_the_fast_one(wrap: Callable[[Any], Any]) -> None:
    value = nested(20, wrap)
    assert digest_graph.digest(value, "value", lambda thing: None) == digest(value)


def test_deep_values_have_digests_near_the_end_of_the_stack() -> None:
    def recurse(depth: int) -> bytes:
        return digest(nested(30, lambda value: [value])) if not depth else recurse(depth - 1)

    left = sys.getrecursionlimit() - len(list(traceback_frames()))
    assert recurse(left - 60) == digest(nested(30, lambda value: [value]))


def traceback_frames() -> Iterator[Any]:
    frame = sys._getframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


@pytest.mark.parametrize("wide", [2, 20])
def test_shared_parts_are_looked_at_once(wide: int) -> None:
    calls = 0

    class Counted(Plain):
        def __reduce__(self) -> Any:
            nonlocal calls
            calls += 1
            return Counted, ()

    value: Any = Counted()
    for _ in range(60):
        value = [value] * wide
    digest(value, code=lambda thing: b"code of the class")
    assert calls == 1


def test_layers_of_lists_that_share_all_their_parts_take_no_time() -> None:
    layer: list[Any] = [Plain(x=i) for i in range(12)]
    for _ in range(50):
        layer = [list(layer) for _ in range(12)]
    assert digest(layer)


def test_a_shared_digest_is_that_of_copies() -> None:
    part = [1, [2, 3], {"x": Plain(x=1)}]
    apart = [[1, [2, 3], {"x": Plain(x=1)}] for _ in range(10)]
    assert digest([part] * 10) == digest(apart)


def cyclic(content: Any = 1) -> Any:
    """A list that contains itself in several ways."""
    value: list[Any] = [content]
    value += [value, {"again": value}, Plain(owner=(value,))]
    return value


def test_cycles_have_digests() -> None:
    assert digest(cyclic()) == digest(cyclic()) != digest(cyclic(2))
    assert digest([cyclic(), 1]) == digest([cyclic(), 1]) != digest([cyclic(), 2])
    itself: dict[str, Any] = {}
    itself["self"] = itself
    assert digest(itself) != digest({"self": None})


def test_a_cycle_differs_from_where_it_is_entered() -> None:
    one, two = Plain(name="one"), Plain(name="two")
    one.other, two.other = two, one
    assert digest(one) != digest(two)
    assert digest([one, two]) != digest([two, one])


def doubly_linked(names: list[str]) -> list[Any]:
    nodes = [Plain(name=name, before=None, after=None) for name in names]
    for left, right in itertools.pairwise(nodes):
        left.after, right.before = right, left
    return nodes


def test_long_linked_lists_have_digests() -> None:
    names = [f"node {i}" for i in range(2000)]
    head = doubly_linked(names)[0]
    assert digest(head) == digest(doubly_linked(names)[0])
    assert digest(head) != digest(doubly_linked([*names[:-1], "another"])[0])


def family(order: list[str]) -> Any:
    """A parent with a set of children that know their parent."""
    parent = Plain(name="parent")
    parent.children = {Plain(name=name, parent=parent) for name in order}
    return parent


def test_sets_inside_cycles_have_no_order() -> None:
    names = [f"child {i}" for i in range(8)]
    assert digest(family(names)) == digest(family(names[::-1])) != digest(family(names[1:]))


def test_a_set_of_twins_that_contain_it_has_no_digest() -> None:
    with pytest.raises(UnhashableArgument, match="has no order"):
        digest(family(["twin", "twin"]))


def test_cycles_of_cycles_need_no_stack() -> None:
    value: Any = None
    for _ in range(3000):
        ring: list[Any] = [value]
        ring.append(ring)
        value = ring
    assert len(digest(value)) == 16


def test_what_reduces_to_new_objects_without_end_has_no_digest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Endless:
        def __reduce__(self) -> Any:
            return Endless, (Endless(),)

    monkeypatch.setattr(digest_graph, "_DEEPEST", 300)
    with pytest.raises(UnhashableArgument, match="deep"):
        digest([Endless()])


# What has no digest.

WITHOUT_CONTENT: list[Callable[[], Any]] = [
    object,
    generator,
    lambda: iter([1]),
    lambda: map(abs, [1]),
    lambda: zip([1], [2], strict=True),
    lambda: enumerate([1]),
    lambda: itertools.count(),
    lambda: re.finditer("a", "a"),
    lambda: {1: 2}.keys(),
    lambda: io.StringIO("a"),
    lambda: io.BytesIO(b"a"),
    threading.Lock,
    threading.RLock,
    threading.Event,
    threading.local,
    random.SystemRandom,
    sys._getframe,
    lambda: generator.__code__,
    lambda: weakref.ref(generator),
    lambda: np.frompyfunc(len, 1, 1),
    Raising,
]


@pytest.mark.parametrize("make", WITHOUT_CONTENT)
def test_what_has_no_content_is_an_error_wherever_it_is(make: Callable[[], Any]) -> None:
    value = make()
    for wrapped in (value, [value], {"x": (1, value)}, Plain(x=value), [[value]] * 20):
        assert path_of(wrapped).startswith("cfg")


def test_sockets_and_open_files_have_no_digest(tmp_path: pathlib.Path) -> None:
    with socket.socket() as connection, open(tmp_path / "file", "w+b") as file:
        for value in (connection, file, file.raw):
            assert path_of([value]) == "cfg[0]"


def test_iterators_are_not_consumed() -> None:
    iterators = [iter([1]), generator(), map(abs, [1]), io.StringIO("1")]
    for iterator in iterators:
        path_of({"x": iterator})
    assert [int(next(iter(iterator))) for iterator in iterators] == [1, 1, 1, 1]


PATHS = [
    (lambda bad: bad, "cfg"),
    (lambda bad: Plain(opt=Plain(session=bad)), "cfg.opt.session"),
    (lambda bad: [0, 1, 2, {"x": bad}], "cfg[3]['x']"),
    (lambda bad: {("a", 1): [bad]}, "cfg[('a', 1)][0]"),
    (lambda bad: {1: 2, (bad,): 3}, "cfg.keys()[1][0]"),
    (lambda bad: Point(1, [bad]), "cfg.y[0]"),
    (lambda bad: functools.partial(max, 1, key=bad), "cfg.keywords['key']"),
    (lambda bad: functools.partial(max, bad), "cfg.args[0]"),
    (lambda bad: [bad].append, "cfg.__self__[0]"),
    (lambda bad: {bad}, "cfg{...}"),
    (lambda bad: np.array([None, bad], dtype=object), "cfg[1]"),
    (lambda bad: collections.deque([1, bad]), "cfg[1]"),
    (lambda bad: Frozen([bad]), "cfg.content[0]"),
    (lambda bad: OwnList([1, bad]), "cfg[1]"),
    (lambda bad: [[i] for i in range(1000)] + [[bad]], "cfg[1000][0]"),
    (
        lambda bad: nested(5000, lambda value: [value], bad),
        "cfg" + "[0]" * 5000,
    ),
]


@pytest.mark.parametrize(("wrap", "path"), PATHS, ids=[path[:30] for _, path in PATHS])
def test_the_error_names_the_place(wrap: Callable[[Any], Any], path: str) -> None:
    assert path_of(wrap(Raising())) == path


def test_slots_are_named_in_the_error() -> None:
    value = Slotted()
    value.right = generator()
    assert path_of(value) == "cfg.right"


def test_the_error_says_what_is_wrong_and_carries_its_cause() -> None:
    with pytest.raises(UnhashableArgument) as caught:
        digest({"x": Raising()}, "train")
    assert "train['x'] is a" in str(caught.value)
    assert "Raising" in str(caught.value)
    assert "RuntimeError: no" in str(caught.value)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_the_error_names_the_first_of_several() -> None:
    assert path_of([1, {"a": 2, "b": Raising()}, Raising()]) == "cfg[1]['b']"


@pytest.mark.parametrize("reduction", [None, 1, (), (int,), "absent", (1, 2, 3, 4, 5, 6, 7)])
def test_a_reduction_that_pickle_would_refuse_is_an_error(reduction: Any) -> None:
    class Odd:
        def __reduce_ex__(self, protocol: Any) -> Any:
            return reduction

    path_of(Odd())


def test_an_interrupt_comes_through() -> None:
    class Interrupted:
        def __reduce__(self) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        digest([Interrupted()])


# Code.


def function() -> int:
    return 1


def other_function() -> int:
    return 2


class Task(TaskLike):
    def __init__(self, wrapped: Any) -> None:
        self.__wrapped__ = wrapped
        self.options = threading.Lock()


def hook_for(*things: Any) -> Callable[[Any], bytes | None]:
    """A code hook that knows some things."""
    versions = {id(thing): bytes([i + 1]) * 16 for i, thing in enumerate(things)}
    return lambda thing: versions.get(id(thing))


def test_project_code_counts_by_what_the_hook_says() -> None:
    module = types.ModuleType("some_module")
    task = Task(function)
    for thing in (function, Plain, module, task, Plain.__init__):
        before, after = hook_for(thing), hook_for(None, thing)
        assert digest(thing, code=before) == digest(thing, code=hook_for(thing))
        assert digest([thing], code=before) != digest([thing], code=after)


def test_the_name_of_a_project_function_does_not_count() -> None:
    same_code = lambda thing: b"0" * 16  # noqa: E731
    assert digest(function, code=same_code) == digest(other_function, code=same_code)
    assert digest(Plain, code=same_code) != digest(Slotted, code=same_code)


@pytest.mark.parametrize(
    "make", [Plain, Slotted, lambda: OwnList([1]), lambda: Point(1, 2), lambda: OwnSet([1]),
             lambda: np.zeros(2).view(OwnArray), lambda: Colour.RED, lambda: Frozen(1)]
)  # fmt: skip
def test_an_instance_counts_with_the_code_of_its_class(make: Callable[[], Any]) -> None:
    value = make()
    before, after = hook_for(type(value)), hook_for(None, type(value))
    assert len({digest(value, code=before), digest(value, code=after), digest(value)}) == 3
    assert digest(make(), code=before) == digest(value, code=before)


def test_methods_count_with_their_function_and_object() -> None:
    bound = [Plain(x=x).__init__ for x in (1, 1, 2)]  # type: ignore[misc]
    assert digest(bound[0]) == digest(bound[1]) != digest(bound[2])
    hook = hook_for(Plain.__init__)
    assert digest(bound[0], code=hook) != digest(bound[0])


def test_what_wraps_a_function_counts_with_it() -> None:
    for wrap in (functools.lru_cache, functools.partial, staticmethod, classmethod, property):
        one, two = wrap(function), wrap(other_function)
        assert digest(one) != digest(two)
        assert digest(one, code=hook_for(function)) != digest(one)


def test_the_hook_is_asked_once_for_each_thing() -> None:
    asked: list[Any] = []
    digest([Plain(x=i) for i in range(50)] + [Plain], code=asked.append)
    assert asked == [Plain]


def test_the_default_hook_can_be_set() -> None:
    before = digest(function)
    set_code_hook(hook_for(function))
    assert digest(function) == digest(function, code=hook_for(function)) != before


def test_a_task_without_a_hook_has_no_digest() -> None:
    assert path_of([Task(function)]) == "cfg[0]"


def test_library_lambdas_are_told_apart() -> None:
    def make(amount: int) -> list[Any]:
        return [lambda x: x + 1, lambda x: x + 2, lambda x: x + amount, lambda x, y=amount: x]

    assert len({digest(one) for one in make(3) + make(4)}) == 6


def test_classes_that_cannot_be_imported_are_told_apart_by_content() -> None:
    one = type("Made", (), {"x": 1, "f": function})
    two = type("Made", (), {"x": 2, "f": function})
    three = type("Made", (int,), {"x": 1, "f": function})
    assert len({digest(made) for made in (one, two, three)}) == 3


# The distribution of what goes through pickle.


@pytest.fixture
def library(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """An installed library, in any version: gives an instance of its class."""

    def install(version: str) -> Any:
        root = tmp_path / version
        (root / "faux_lib").mkdir(parents=True)
        (root / "faux_lib/__init__.py").write_text("class Thing:\n    pass\n")
        for name, listed in {
            f"faux-{version}": "faux_lib/__init__.py,sha256=x,1\n",
            "faux_lib_extras-9": "faux_lib/more.py,,\n",
        }.items():
            (root / f"{name}.dist-info").mkdir()
            (root / f"{name}.dist-info/RECORD").write_text(f"other.py,,\n{listed}")
        monkeypatch.syspath_prepend(root)
        monkeypatch.delitem(sys.modules, "faux_lib", raising=False)
        digest_origin.origin.cache_clear()
        return __import__("faux_lib").Thing()

    return install


def test_the_version_of_a_library_counts_for_its_types(library: Callable[[str], Any]) -> None:
    first = digest(library("1.0"))
    assert digest_origin.origin("faux_lib") == "faux-1.0"
    assert digest(library("1.1")) != first
    digest_origin.origin.cache_clear()


def test_the_origin_of_a_module_is_its_distribution() -> None:
    assert digest_origin.origin("numpy.linalg") == f"numpy-{np.__version__}"
    assert digest_origin.origin("collections.abc") is None
    assert digest_origin.origin("__main__") is None
    assert digest_origin.origin("no_such_module") is None


# Registered types.


class Boxed:
    """A value in a box."""

    def __init__(self, content: Any) -> None:
        self.content = content


class SmallerBoxed(Boxed):
    pass


class Pending:
    """A value that is not there yet."""


class PendingMore(Pending):
    pass


@pytest.mark.parametrize("content", [1, math.nan, None, "x" * 5000, b"y", [1, 2], {"x": [Plain()]}])
def test_the_digest_of_a_stand_in_is_that_of_the_value(content: Any) -> None:
    register_stand_in(Boxed, lambda boxed: boxed.content)
    for kind in (Boxed, SmallerBoxed):
        assert digest(kind(content)) == digest(content)
        assert digest(kind(kind(content))) == digest(content)
        assert digest([kind(content), 1]) == digest([content, 1])
        assert digest({"x": (kind(content),)}) == digest({"x": (content,)})
        assert digest([kind(content) for _ in range(20)]) == digest([content] * 20)
        deep = [nested(500, lambda value: [value], part) for part in (kind(content), content)]
        assert digest(deep[0]) == digest(deep[1])


def test_the_nearest_registration_counts() -> None:
    register_stand_in(Boxed, lambda boxed: boxed.content)
    register_stand_in(SmallerBoxed, lambda boxed: "small")
    assert digest(Boxed(1)) == digest(1)
    assert digest(SmallerBoxed(1)) == digest("small")


def content_of(boxed: Boxed) -> Any:
    return boxed.content


def negated(boxed: Boxed) -> Any:
    return -boxed.content


def test_a_registered_function_says_what_of_a_value_counts() -> None:
    register_digest(Boxed, content_of)
    left, right = Boxed(1), Boxed(1)
    left.lock = threading.Lock()  # type: ignore[attr-defined]  # what a registration is for
    assert digest(left) == digest(right) != digest(Boxed(2))
    assert digest([left] * 20) == digest([right for _ in range(20)])
    assert digest(nested(500, lambda v: [v], left)) == digest(nested(500, lambda v: [v], right))


def test_registered_values_are_told_from_what_stands_for_them_and_from_each_other() -> None:
    register_digest(Boxed, content_of)
    register_digest(Pending, lambda pending: 1)
    found = {digest(value) for value in (Boxed(1), SmallerBoxed(1), Pending(), 1, [1])}
    assert len(found) == 5


def test_another_function_registered_is_another_digest() -> None:
    register_digest(Boxed, content_of)
    first = digest(Boxed(0))
    register_digest(Boxed, negated)
    assert digest(Boxed(0)) != first


@pytest.mark.parametrize("kind", [int, str, list])
def test_plain_types_cannot_be_registered(kind: type) -> None:
    with pytest.raises(ConfigError):
        register_digest(kind, repr)


def test_a_registration_replaces_a_form_of_ours() -> None:
    register_stand_in(decimal.Decimal, float)
    assert digest(decimal.Decimal("1.50")) == digest(1.5)


@pytest.mark.parametrize("kind", [int, str, list, dict, set, type(None), object, type])
def test_the_plain_types_cannot_be_replaced(kind: type) -> None:
    with pytest.raises(ConfigError):
        register_stand_in(kind, repr)


def test_an_error_in_a_stand_in_names_the_value() -> None:
    register_stand_in(Boxed, lambda boxed: 1 / 0)
    assert path_of({"x": Boxed(1)}) == "cfg['x']"


def test_a_bad_part_of_a_stand_in_is_named_by_its_path() -> None:
    register_stand_in(Boxed, lambda boxed: {"content": boxed.content})
    assert path_of([Boxed(Raising())]) == "cfg[0]['content']"


def test_a_stand_in_of_a_stand_in_without_end_is_an_error() -> None:
    register_stand_in(Boxed, lambda boxed: Boxed(1))
    path_of([Boxed(1)])


def test_a_stand_in_may_contain_its_value() -> None:
    register_stand_in(Boxed, lambda boxed: [boxed, boxed.content])
    assert digest(Boxed(1)) == digest(Boxed(1)) != digest(Boxed(2))


@pytest.mark.parametrize("kind", [Pending, PendingMore])
def test_unresolved_values_are_seen_anywhere(kind: type) -> None:
    register_unresolved(Pending)
    register_stand_in(Boxed, lambda boxed: [boxed.content])
    pending = kind()
    places = [pending, [pending], (1, [pending]), {"x": pending}, [{"x": (pending,)}] * 20]
    for value in (*places, Boxed(pending), Plain(x=pending), nested(500, lambda v: [v, pending])):
        with pytest.raises(Unresolved):
            digest(value)


# Arrays.


def test_padding_bytes_do_not_count() -> None:
    aligned = np.dtype([("x", "i1"), ("y", "f8")], align=True)
    clean, dirty = np.zeros(3, aligned), np.zeros(3, aligned)
    dirty.view("u1")[1:8] = 7
    assert digest(clean) == digest(dirty)


@pytest.mark.skipif(np.finfo(np.longdouble).nmant != 63, reason="long double has no padding here")
def test_the_unused_bytes_of_long_doubles_do_not_count() -> None:
    for code in "gG":
        clean, dirty = np.ones(3, code), np.ones(3, code)
        dirty.view("u1").reshape(-1, 16)[:, 10:] = 7
        assert digest(clean) == digest(dirty) != digest(np.zeros(3, code))


def test_a_memory_map_is_an_array(tmp_path: pathlib.Path) -> None:
    array = np.arange(20_000.0)
    np.save(tmp_path / "array.npy", array)
    for mode in ("r", "c"):
        assert digest(np.load(tmp_path / "array.npy", mmap_mode=mode)) == digest(array)  # type: ignore[arg-type]


LARGE: list[Callable[[Any], Any]] = [
    lambda array: array[::2],
    lambda array: array[::-1],
    lambda array: array[:, ::2],
    lambda array: array[:, 3],
    lambda array: array.T,
    lambda array: array.T[::3, ::-1],
    lambda array: np.asfortranarray(array),
    lambda array: array.reshape(2, -1)[:, 5:],
    lambda array: np.broadcast_to(array[0], (700, array.shape[1])),
    lambda array: np.broadcast_to(np.float64(3), (300, 400)),
]


@pytest.mark.parametrize("view", LARGE)
def test_the_layout_of_a_large_array_does_not_count(
    view: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasklineage.key.digest_arrays._BLOCK", 10_000)
    array = view(np.arange(600_000.0).reshape(1000, 600))
    assert not array.flags.c_contiguous
    assert digest(array) == digest(array.copy())


def test_an_array_is_hashed_without_being_copied() -> None:
    array = np.arange(2_000_000.0).reshape(1000, 2000)
    for value, limit in ((array, 0.05), (array.T, 0.2), ([array, {"x": array[::2]}], 0.2)):
        digest(value)
        tracemalloc.start()
        digest(value)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < limit * array.nbytes


def test_what_lies_under_a_mask_counts_and_so_does_the_mask() -> None:
    make = np.ma.array
    one = make([1, 2], mask=[0, 1])
    others = [make([1, 3], mask=[0, 1]), make([1, 2], mask=[1, 0]), make([1, 2]), np.array([1, 2])]
    others += [make([1, 2], mask=[0, 1], fill_value=5)]
    assert len({digest(value) for value in [one, *others]}) == 6
    assert digest(make([1, 2])) == digest(make([1, 2], mask=[0, 0]))
    before = digest(one)
    assert one._fill_value is None
    assert one.fill_value == 999999
    assert digest(one) == before


def test_objects_in_an_array_count_by_content() -> None:
    one = np.array([[1, "a"], [None, (2,)]], dtype=object)
    assert digest(one) == digest(np.asfortranarray(one)) == digest(one.copy())
    assert digest(one) != digest(one.reshape(4)) != digest(one.tolist())


def test_the_dtype_of_an_array_counts() -> None:
    codes = ["i4", "u4", "f4", ">f4", "M8[s]", "M8[D]", "m8[s]", "S4", "U1", "V4", "?", "O"]
    assert len({digest(np.zeros(0, code)) for code in codes}) == len(codes)
    fields = [[("x", "i4")], [("y", "i4")], [("x", "u4")], [("x", "i4", (1,))]]
    assert len({digest(np.zeros(1, code)) for code in fields}) == len(fields)


def test_random_generators_count_by_their_state() -> None:
    one, two = np.random.default_rng(1), np.random.default_rng(1)
    assert digest(one) == digest(two)
    one.random()
    assert digest(one) != digest(two)
    two.random()
    assert digest(one) == digest(two)
    assert digest(np.random.default_rng(1)) != digest(np.random.RandomState(1))


# Frames.


def test_frames_count_by_their_columns_and_not_by_their_blocks() -> None:
    pd = pytest.importorskip("pandas")
    whole = pd.DataFrame(np.arange(12.0).reshape(4, 3), columns=list("abc"))
    apart = pd.DataFrame({name: whole[name].to_numpy().copy() for name in "abc"})
    assert digest(whole) == digest(apart) == digest(whole.copy())
    changed = [
        whole.rename(columns={"a": "z"}),
        whole[["b", "a", "c"]],
        whole.astype({"a": "float32"}),
        whole.set_index("a"),
        whole.iloc[::-1],
        whole["a"],
        whole["a"].rename("z"),
        whole["a"].to_numpy(),
    ]
    assert len({digest(value) for value in [whole, *changed]}) == 9


def test_what_a_series_holds_counts() -> None:
    pd = pytest.importorskip("pandas")
    days = pd.Series(pd.to_datetime(["2020-01-01", None]))
    series = [
        pd.Series([1, None], dtype="Int64"),
        pd.Series([1, 0], dtype="Int64"),
        pd.Series([1, 0], dtype="int64"),
        pd.Series(["a", None], dtype="string"),
        pd.Series(["a", None], dtype=object),
        pd.Series(["a", "b"], dtype="category"),
        pd.Series(pd.Categorical(["a", "b"], categories=["b", "a"])),
        pd.Series(pd.Categorical(["a", "b"], ordered=True)),
        days,
        days.dt.tz_localize("UTC"),
        days.dt.tz_localize("Europe/Berlin"),
    ]
    assert len({digest(value) for value in series}) == len(series)
    for value in series:
        assert digest(value.copy()) == digest(value)


# Cheap questions.


def test_immutable_values_are_known() -> None:
    values = [
        None, 1, 1.5, "x" * 10_000, b"y", 1j, (), (1, ("a", 2.5)), frozenset({1, (2,)}), range(3),
        dt.date(2020, 1, 1), dt.datetime(2020, 1, 1), decimal.Decimal(1), pathlib.Path("a"),
        uuid.UUID(int=1), re.compile("a"), Colour.RED, Point(1, "x"), Frozen((1, 2)),
        np.float64(1), np.datetime64("2020"), np.dtype("f8"), ...,
    ]  # fmt: skip
    assert [value for value in values if not is_immutable(value)] == []


def test_mutable_values_are_known() -> None:
    marked = OwnTuple((1,))
    values = [
        [], {}, set(), bytearray(), (1, []), frozenset({Plain()}), Point(1, []), Frozen([]),
        Plain(), marked, OwnInt(1), np.zeros(1), np.zeros((), "i4,i4")[()], generator(), function,
        nested(5000, lambda value: (value,)),
    ]  # fmt: skip
    assert [value for value in values if is_immutable(value)] == []


def test_trivial_values_are_known() -> None:
    trivial = [
        None, True, 0, 10**100, 1.5, 1j, "x" * 32, b"x" * 32, [], (), {}, set(), frozenset(),
        np.float64(1), np.bool_(True), decimal.Decimal(1),
    ]  # fmt: skip
    others = ["x" * 33, b"x" * 33, [0], (0,), {0: 0}, np.zeros(1), Plain(), np.datetime64("2020")]
    assert [value for value in trivial if not is_trivial(value)] == []
    assert [value for value in others if is_trivial(value)] == []


def test_parts_are_those_that_are_not_trivial() -> None:
    array = np.zeros(2)
    assert list(parts([1, array, "x", [2]])) == [("[1]", array), ("[3]", [2])]
    assert list(parts((array, None))) == [("[0]", array)]
    assert list(parts({"x": array, 1: [2], "y": 3})) == [("['x']", array), ("[1]", [2])]
    assert list(parts(Point(array, 1))) == [(".x", array)]
    for value in (array, {array.tobytes()}, Plain(x=[1]), OwnList([[1]]), "text", None):
        assert list(parts(value)) == []


def test_at_most_a_thousand_parts_are_looked_at() -> None:
    assert len(list(parts([[1]] * 2000))) == 1000


# Many threads.


def test_threads_do_not_disturb_each_other() -> None:
    values = [[Plain(x=i), {"y": [i] * 20}, Point(i, {i})] for i in range(50)]
    expected = [digest(value) for value in values]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            assert list(pool.map(digest, values)) == expected


def test_what_was_met_is_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest_walk, "_REMEMBERED", 3)
    value = [[Plain(x=i), [Plain(y=[i, [i]])]] for i in range(5)] * 2
    assert digest(value) == digest_graph.digest(value, "value", lambda thing: None)


def test_the_fields_of_a_namedtuple_are_constants() -> None:
    fields = collections.namedtuple("Named", "a b")
    assert is_immutable(fields.a)
