"""The index of memos: the newest of each key that was not forgotten, loaded as it is needed."""

from __future__ import annotations

from collections.abc import Sequence

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tasklineage.storage import memos as module
from tasklineage.storage.catalog import MemoRow
from tasklineage.storage.frames import Location
from tasklineage.storage.memos import Memo, Memos

CODE, OTHER = b"c" * 16, b"d" * 16
BEYOND = {("a" * 16, 1): 1000}


def at(offset: int) -> Location:
    return Location("a" * 16, 1, offset, 100)


class FakeCatalog:
    """Memos by code version, and how often anybody asked."""

    def __init__(self, rows: dict[bytes, list[MemoRow]] | None = None) -> None:
        self.rows = rows or {}
        self.asked: list[object] = []

    def memos(self, code: bytes, most: int, beyond: object) -> list[MemoRow] | None:
        self.asked.append("all")
        rows = self.rows.get(code, [])
        return None if len(rows) > most else rows

    def memos_of(self, code: bytes, keys: Sequence[bytes], beyond: object) -> list[MemoRow]:
        self.asked.append(list(keys))
        return [row for row in self.rows.get(code, []) if row.key in keys]

    def memos_next(
        self, code: bytes, last: bytes, call: bytes, beyond: object
    ) -> tuple[bytes, list[MemoRow]] | None:
        self.asked.append((last, call))
        rows = self.rows.get(code, [])
        return call, rows[-2:]


def find(memos: Memos, code: bytes, key: bytes) -> Memo | None:
    memos.prepare(code, (key,))
    return memos.newest.get(key)


def memos_over(rows: Sequence[MemoRow] = (), beyond: dict | None = None) -> Memos:
    made = Memos(FakeCatalog({CODE: list(rows)}))
    made.begin(BEYOND if rows and beyond is None else beyond or {})
    return made


def test_the_newest_memo_answers_whatever_came_first() -> None:
    made = memos_over()
    for ended, offset in ((2.0, 20), (3.0, 30), (1.0, 10)):
        made.add(b"k", ended, at(offset))
    assert find(made, CODE, b"k") == (3.0, at(30))


def test_of_two_that_ended_together_the_later_place_answers() -> None:
    for order in ((10, 20), (20, 10)):
        made = memos_over()
        for offset in order:
            made.add(b"k", 1.0, at(offset))
        assert find(made, CODE, b"k") == (1.0, at(20))


def test_what_was_forgotten_does_not_answer_whatever_came_first() -> None:
    for forget_first in (True, False):
        made = memos_over()
        if forget_first:
            made.forget(b"k", 2.0)
        made.add(b"k", 1.0, at(10))
        if not forget_first:
            made.forget(b"k", 2.0)
        assert find(made, CODE, b"k") is None
        made.add(b"k", 2.0, at(20))
        assert find(made, CODE, b"k") == (2.0, at(20))


@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([b"a", b"b"]), st.integers(0, 6)), max_size=20
    )
)
def test_any_order_of_memos_and_forgets_gives_the_same(
    events: list[tuple[bool, bytes, int]],
) -> None:
    made = memos_over()
    for is_memo, key, moment in events:
        if is_memo:
            made.add(key, float(moment), at(moment))
        else:
            made.forget(key, float(moment))
    for key in (b"a", b"b"):
        forgotten = max((m for is_memo, k, m in events if k == key and not is_memo), default=0)
        ended = max((m for is_memo, k, m in events if k == key and is_memo), default=-1)
        expected = (float(ended), at(ended)) if ended >= forgotten else None
        assert find(made, CODE, key) == expected


def test_a_code_version_is_loaded_once_and_then_known_to_be_complete() -> None:
    made = memos_over([MemoRow(b"k", 1.0, at(10))])
    assert find(made, CODE, b"k") == (1.0, at(10))
    assert find(made, CODE, b"other") is None
    assert CODE in made.loaded
    assert OTHER not in made.loaded
    assert find(made, OTHER, b"x") is None
    assert made._catalog.asked == ["all", "all"]


def test_what_is_new_wins_over_what_is_loaded_and_forgetting_over_both() -> None:
    made = memos_over([MemoRow(b"k", 1.0, at(10)), MemoRow(b"gone", 1.0, at(20))])
    made.add(b"k", 2.0, at(2000))
    made.forget(b"gone", 1.5)
    assert find(made, CODE, b"gone") is None
    assert find(made, CODE, b"k") == (2.0, at(2000))


def test_without_a_catalog_nobody_asks_it() -> None:
    made = memos_over()
    assert find(made, CODE, b"k") is None
    assert CODE in made.loaded
    assert made._catalog.asked == []


def test_of_a_code_version_with_many_memos_each_key_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "WORTH", 0)
    monkeypatch.setattr(module, "MANY", 3)
    rows = [MemoRow(b"%d" % n, float(n), at(n)) for n in range(5)]
    made = memos_over(rows)
    assert find(made, CODE, b"4") == (4.0, at(4))
    assert find(made, CODE, b"4") == (4.0, at(4))
    assert find(made, CODE, b"absent") is None
    assert CODE not in made.loaded
    made.prepare(CODE, [b"1", b"4", b"2", b"absent"])
    assert set(made.newest) == {b"1", b"2", b"4"}
    asked = [one for one in made._catalog.asked if one != "all"]
    assert asked == [[b"4"], [b"absent"], [b"1", b"2", b"absent"]]


def test_what_was_made_next_is_looked_up_with_what_was_made_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "WORTH", 1)
    monkeypatch.setattr(module, "MANY", 3)
    made = memos_over([MemoRow(b"%d" % n, float(n), at(n)) for n in range(5)])
    calls = [(n * 1000).to_bytes(7, "big") + bytes(9) for n in (1, 2, 5000)]
    assert made.prepare(CODE, [b"0"])
    assert not made.prepare(CODE, [b"0"])
    made.follow(CODE, calls[0])
    assert set(made.newest) == {b"0"}
    assert made.prepare(CODE, [b"1"])
    made.forget(b"4", 10.0)
    made.follow(CODE, calls[1])
    assert set(made.newest) == {b"0", b"1", b"3"}
    made.follow(CODE, calls[2])
    made.follow(CODE, calls[0])
    assert [one for one in made._catalog.asked if type(one) is tuple] == [(calls[0], calls[1])]


@pytest.mark.parametrize(("most", "is_loaded"), [(5, True), (4, False)])
def test_of_many_memos_all_are_loaded_once_many_keys_were_asked_for(
    monkeypatch: pytest.MonkeyPatch, most: int, is_loaded: bool
) -> None:
    monkeypatch.setattr(module, "MANY", 3)
    monkeypatch.setattr(module, "MOST", most)
    monkeypatch.setattr(module, "WORTH", 2)
    made = memos_over([MemoRow(b"%d" % n, float(n), at(n)) for n in range(5)])
    for number in (4, 2, 0, 1, 3):
        assert find(made, CODE, b"%d" % number) == (float(number), at(number))
    assert find(made, CODE, b"absent") is None
    assert (CODE in made.loaded) == is_loaded
    one_by_one = [[b"0"], [b"1"], [b"3"], [b"absent"]]
    asked = [one for one in made._catalog.asked if one != "all"]
    assert asked == [[b"4"], [b"2"], [b"0"], *(one_by_one[1:] if not is_loaded else [])]


def test_an_older_memo_replaces_one_whose_record_is_damaged() -> None:
    rows = [MemoRow(b"k", 1.0, at(10)), MemoRow(b"k", 2.0, at(20))]
    made = memos_over(rows)
    made.add(b"k", 1.5, at(1500))
    for expected in ((2.0, at(20)), (1.5, at(1500)), (1.0, at(10))):
        assert find(made, CODE, b"k") == expected
        made.replace(b"k", expected)
    assert find(made, CODE, b"k") is None
    made.add(b"k", 0.5, at(4000))  # the clock has been set back
    assert find(made, CODE, b"k") == (0.5, at(4000))


def test_a_forgotten_memo_replaces_nothing() -> None:
    made = memos_over()
    made.add(b"k", 1.0, at(10))
    made.add(b"k", 3.0, at(30))
    made.forget(b"k", 2.0)
    made.replace(b"k", (3.0, at(30)))
    assert find(made, CODE, b"k") is None


def test_a_memo_that_was_appended_meanwhile_is_not_replaced() -> None:
    made = memos_over()
    made.add(b"k", 1.0, at(10))
    made.add(b"k", 2.0, at(20))
    made.replace(b"k", (1.0, at(10)))
    assert find(made, CODE, b"k") == (2.0, at(20))
    made.replace(b"k", (2.0, at(20)))
    assert find(made, CODE, b"k") is None


def test_few_of_many_older_memos_are_remembered() -> None:
    made = memos_over()
    for n in range(1000):
        made.add(b"k", float(n), at(n))
        made.add(b"k", float(n), at(n))
    assert find(made, CODE, b"k") == (999.0, at(999))
    assert len(made._others[b"k"]) == module._OTHERS
