"""Laws of the codecs for objects: records, members, dates, collections, and trees of these."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import hypothesis.strategies as st
import numpy as np
from hypothesis import example, given

from tasklineage.key.digest import digest
from tasklineage.storage.codecs import decode, encode, is_present, object_ids
from tasklineage.storage.records import Ref
from tests.property.objects import Colour, Frozen, Level, Model, Typed, objects, same
from tests.property.strategies import Box
from tests.property.test_codecs import Memory, decode_anyhow, limits


def stored(value: Any, limit: int) -> tuple[Ref, Memory]:
    memory = Memory()
    return encode(value, digest(value), memory.put, limit=limit), memory


@given(objects, limits)
@example(Box(Box(Frozen(Colour.RED))), 0)
@example({Typed(1, (Level.LOW,)): {Colour.BLUE}}, 0)
@example(Model(content=np.zeros(3), other=[Model(content=1)]), 0)
def test_an_object_comes_back_without_pickle_and_with_its_digest(value: Any, limit: int) -> None:
    ref, memory = stored(value, limit)
    decoded = decode(ref, memory.open, allow_pickle=False)
    assert same(decoded, value)
    assert digest(decoded) == ref.digest
    assert len(ref.preview) <= 120


@given(objects, limits)
def test_the_ids_of_an_object_are_those_of_its_parts(value: Any, limit: int) -> None:
    ref, memory = stored(value, limit)
    assert set(object_ids(ref, memory.open)) == set(memory.files)
    assert is_present(ref, memory.files.__contains__, memory.open)


@given(objects, limits, st.data())
def test_damaged_objects_are_an_error_of_ours_or_another_value(
    value: Any, limit: int, data: st.DataObject
) -> None:
    ref, memory = stored(value, limit)
    files = {oid: bytearray(content) for oid, content in memory.files.items()}
    inline = bytearray(ref.data or b"")
    content = data.draw(st.sampled_from([one for one in (*files.values(), inline) if one]))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    decode_anyhow(ref._replace(data=bytes(inline) if ref.data else None), files)


@st.composite
def webs(draw: st.DrawFn) -> Any:
    """Records and containers that are shared and may contain each other."""
    makers = [list, dict, lambda: Box(None), lambda: Model(content=None), collections.deque]
    boxes = [draw(st.sampled_from(makers))() for _ in range(draw(st.integers(1, 6)))]
    anything = st.sampled_from(boxes) | st.integers() | st.sampled_from([np.arange(3)])
    for box in boxes:
        if isinstance(box, dict):
            box.update(draw(st.dictionaries(st.text(max_size=2), anything, max_size=3)))
        elif isinstance(box, Box | Model):
            box.content = draw(anything | anything.map(lambda part: Typed(part, (part,))))
        else:
            box.extend(draw(st.lists(anything, max_size=3)))
    return boxes[0]


@given(webs(), limits)
def test_objects_that_are_shared_or_contain_each_other_stay_so(value: Any, limit: int) -> None:
    memory = Memory()
    ref = encode(value, b"d" * 16, memory.put, limit=limit)
    decoded = decode(ref, memory.open, allow_pickle=False)
    partners: dict[int, int] = {}
    pending = [(value, decoded)]
    while pending:
        left, right = pending.pop()
        assert type(left) is type(right)
        if isinstance(left, int):
            assert left == right
            continue
        if isinstance(left, np.ndarray):
            assert partners.setdefault(id(left), id(right)) == id(right)
            continue
        known = partners.setdefault(id(left), id(right))
        if type(left) is not tuple:
            assert known == id(right)
        if known != id(right) or partners.get(~id(left)):
            continue
        partners[~id(left)] = 1
        pending += zip(parts(left), parts(right), strict=True)
    assert len(set(partners.values())) <= len(partners)


def parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        assert all(type(key) is str for key in value)
        return list(value.values())
    if isinstance(value, Box):
        return [getattr(value, field.name) for field in dataclasses.fields(value)][:1]
    return [value.content] if isinstance(value, Model) else list(value)
