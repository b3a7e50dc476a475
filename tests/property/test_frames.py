"""Laws of tables: they come back as they were, with the same digest, by columns too."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings

from tasklineage.key.digest import column_digests, digest
from tasklineage.storage.codecs import columns, decode, decode_for, encode
from tasklineage.storage.codecs.describe import preview
from tasklineage.storage.codecs.outline import outline
from tasklineage.storage.codecs.registry import codec_for
from tasklineage.storage.records import Ref
from tests.property import tables
from tests.property.test_codecs import Memory, decode_anyhow

limits = st.sampled_from([0, 16 * 1024])
slow_to_draw = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    deadline=None,
    max_examples=30,
)
values = tables.pandas_values | tables.polars_values | tables.arrow_values


def stored(value: Any, limit: int) -> tuple[Ref, Memory]:
    memory = Memory()
    return encode(value, digest(value), memory.put, limit=limit), memory


@slow_to_draw
@given(values, limits)
def test_a_decoded_table_is_the_encoded_one_and_needs_no_pickle(value: Any, limit: int) -> None:
    ref, memory = stored(value, limit)
    assert ref.codec == ref.type.partition(".")[0]
    again = decode(ref, memory.open, allow_pickle=False)
    assert tables.same(value, again)
    assert digest(again) == ref.digest


@slow_to_draw
@given(values, limits)
def test_what_is_decoded_can_be_stored_again(value: Any, limit: int) -> None:
    ref, memory = stored(value, limit)
    again = decode(ref, memory.open)
    second, other = stored(again, limit)
    assert tables.same(value, decode(second, other.open))


@slow_to_draw
@given(st.lists(values, min_size=1, max_size=3), limits)
def test_tables_are_parts_of_containers(found: list[Any], limit: int) -> None:
    ref, memory = stored({"tables": found, "more": 1}, limit)
    again = decode(ref, memory.open, allow_pickle=False)
    assert all(map(tables.same, found, again["tables"]))


@slow_to_draw
@given(tables.pandas_frames() | tables.polars_frames(), limits, st.data())
def test_columns_can_be_read_by_themselves(frame: Any, limit: int, data: st.DataObject) -> None:
    ref, memory = stored(frame, limit)
    names = columns(ref, memory.open)
    if names is None or not names:
        return
    assert names == (frame.columns if isinstance(frame, pl.DataFrame) else frame.columns.tolist())
    name = data.draw(st.sampled_from(names))
    for key in (name, [name, names[0]]):
        try:
            expected = frame[key]
        except Exception as error:
            with pytest.raises(type(error)):
                decode_for(ref, key, memory.open)[key]
        else:
            assert tables.same(expected, decode_for(ref, key, memory.open)[key])


@slow_to_draw
@given(values, limits, st.data())
def test_damaged_tables_are_an_error_of_ours_or_another_value(
    value: Any, limit: int, data: st.DataObject
) -> None:
    ref, memory = stored(value, limit)
    files = {oid: bytearray(content) for oid, content in memory.files.items()}
    inline = bytearray(ref.data or b"")
    content = data.draw(st.sampled_from([c for c in (*files.values(), inline) if c]))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    decode_anyhow(ref._replace(data=bytes(inline) if ref.data else None), files)


@slow_to_draw
@given(values)
def test_the_preview_is_short(value: Any) -> None:
    text = preview(value)
    assert len(text) <= 900
    assert len(text.splitlines()) <= 5


@slow_to_draw
@given(tables.tables)
def test_an_outline_has_the_digests_of_the_columns(table: Any) -> None:
    found = outline(table)
    names = table.column_names if hasattr(table, "column_names") else list(table.columns)
    assert found["shape"] == [len(table), len(names)]
    assert [column[2] for column in found["columns"]] == column_digests(table)


@slow_to_draw
@given(tables.pandas_frames())
def test_a_loaded_frame_can_be_changed(frame: Any) -> None:
    ref, memory = stored(frame, 0)
    before = {oid: bytes(content) for oid, content in memory.files.items()}
    again, own = decode(ref, memory.open), frame.copy()
    for at in range(again.shape[1] if len(frame) else 0):
        try:
            own.iloc[0, at] = frame.iloc[-1, at]
        except Exception:  # pandas cannot do this to every column, wherever it comes from
            continue
        again.iloc[0, at] = frame.iloc[-1, at]
    assert tables.same(own, again)
    assert {oid: bytes(content) for oid, content in memory.files.items()} == before
    assert tables.same(frame, decode(ref, memory.open))


def test_what_would_not_come_back_as_it_is_goes_through_pickle() -> None:
    import datetime as dt

    others = [
        pd.Series([[1], [2]]),
        pd.Series([dt.date(2020, 1, 1)]),
        pd.Series(pd.arrays.SparseArray([0, 0, 1])),
        pd.Series([1], name=dt.date(2020, 1, 1)),
        pd.DataFrame({"x": [object]}),
        pl.Series([object()], dtype=pl.Object),
        pl.LazyFrame({"a": [1]}),
    ]
    for value in others:
        codec = codec_for(value)
        assert codec is None, value
