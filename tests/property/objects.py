"""Objects as tasks return them, beside those of `strategies`: records, members, zones."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import re
import types
import zoneinfo
from typing import Any, NamedTuple

import attrs
import hypothesis.strategies as st
import numpy as np
import pydantic

from tests.property import strategies
from tests.property.strategies import Box, Colour, Pair


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    content: Any
    label: Any = None


@dataclasses.dataclass
class Derived(Box):
    more: list[Any] = dataclasses.field(default_factory=list)
    seed: dataclasses.InitVar[int] = 0
    made: Any = dataclasses.field(init=False, default=None)

    def __post_init__(self, seed: int) -> None:
        self.made = self.made or [seed]


@attrs.define
class Defined:
    content: Any
    label: Any = None


@attrs.define
class DefinedMore(Defined):
    more: Any = attrs.field(factory=dict)


@attrs.frozen(slots=False)
class Settled:
    content: Any


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow", arbitrary_types_allowed=True)
    content: Any
    label: Any = None
    _hidden: Any = pydantic.PrivateAttr(default=5)


class Typed(NamedTuple):
    left: Any
    right: Any = 3


zones = st.sampled_from(
    [
        None,
        dt.UTC,
        dt.timezone(dt.timedelta(hours=-3, minutes=-30)),
        dt.timezone(dt.timedelta(0), "zero"),
        zoneinfo.ZoneInfo("UTC"),
        zoneinfo.ZoneInfo("Europe/Berlin"),
    ]
)
moments = st.datetimes(timezones=zones) | st.times(timezones=zones)
folded = st.builds(lambda moment, fold: moment.replace(fold=fold), moments, st.integers(0, 1))
bounds = st.none() | st.integers() | st.text(max_size=3)
slices = st.builds(slice, bounds, bounds, bounds)
patterns = st.sampled_from(
    [
        re.compile("a.b"),
        re.compile(rb"\d+", re.DOTALL),
        re.compile("x", re.IGNORECASE),
    ]
)
members = st.sampled_from(
    [Colour.RED, Colour.BLUE, Right.READ, Right.READ | Right.WRITE, Right(0), Level.HIGH]
)
hashables = st.recursive(
    strategies.hashable_leaves | folded | patterns | members,
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.frozensets(inner, max_size=3)
        | st.builds(Pair, inner, inner)
        | st.builds(Typed, inner, inner)
    ),
    max_leaves=5,
)
leaves = hashables | slices | strategies.arrays | st.binary(max_size=12).map(bytearray)
names = st.sampled_from(["a", "b", "über"])


def _attributed(mapping: Any, extra: Any) -> Any:
    """A mapping of the standard library with an attribute, as state dicts of torch have."""
    mapping._metadata = extra
    return mapping


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    mappings = st.dictionaries(hashables, inner, max_size=4)
    return (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | mappings
        | st.sets(hashables, max_size=4)
        | mappings.map(collections.OrderedDict)
        | st.builds(_attributed, mappings.map(collections.OrderedDict), inner)
        | st.lists(hashables, max_size=4).map(collections.Counter)
        | mappings.map(lambda content: collections.defaultdict(list, content))
        | st.builds(collections.deque, st.lists(inner, max_size=3), st.none() | st.integers(0, 5))
        | st.builds(Pair, inner, inner)
        | st.builds(Typed, inner, inner)
        | st.builds(Box, inner, inner)
        | st.builds(Frozen, inner, inner)
        | st.builds(Derived, inner, more=st.lists(inner, max_size=2), seed=st.integers())
        | st.builds(Defined, inner, inner)
        | st.builds(DefinedMore, inner, more=inner)
        | st.builds(Settled, inner)
        | st.builds(Model, content=inner, extra=inner)
        | st.dictionaries(names, inner).map(lambda held: types.SimpleNamespace(**held))
    )


objects = st.recursive(leaves, _objects, max_leaves=12)
"""What is stored without pickle, and is no tensor, matrix, picture or table."""


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal in type and content. Recursive, slow, plainly right."""
    return shape(left) == shape(right)


def shape(value: Any) -> Any:
    """Plain tuples that tell values apart."""
    kind = type(value)
    if kind in (list, tuple, collections.deque, Pair, Typed):
        return kind, getattr(value, "maxlen", None), tuple(map(shape, value))
    if kind in (dict, collections.OrderedDict, collections.defaultdict, collections.Counter):
        content = tuple((shape(key), shape(part)) for key, part in value.items())
        own = tuple((name, shape(part)) for name, part in getattr(value, "__dict__", {}).items())
        return kind, content, own, getattr(value, "default_factory", None)
    if kind in (set, frozenset):
        return kind, frozenset(collections.Counter(map(shape, value)).items())
    if kind in (Frozen, Defined, DefinedMore):
        fields = ("content", "label", "more")
        return kind, tuple(shape(getattr(value, name, None)) for name in fields)
    if kind is Model:
        extra, private = value.__pydantic_extra__, value.__pydantic_private__
        held = tuple(sorted(value.model_fields_set))
        return kind, shape(value.__dict__), shape(extra), shape(private), held
    if kind in (Box, Derived, Settled, types.SimpleNamespace):
        return kind, shape(value.__dict__)
    if kind is slice:
        return kind, shape((value.start, value.stop, value.step))
    if isinstance(value, dt.datetime | dt.time):
        zone = value.tzinfo
        name = None if zone is None else (type(zone), str(zone), zone.utcoffset(None))
        return kind, value.replace(tzinfo=None).isoformat(), value.fold, name
    if kind is np.ndarray:
        return strategies.shape(value)
    if isinstance(value, enum.Enum):
        return kind, id(value)
    return strategies.shape(value)
