from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tasklineage.query.listing import Listing, paged


class Row(NamedTuple):
    id: bytes


class Source:
    """Numbers, and how many of them were asked for."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.read = 0

    def __iter__(self) -> Iterator[int]:
        for i in range(self.count):
            self.read += 1
            yield i


def test_only_what_is_looked_at_is_read() -> None:
    source = Source(1000)
    listing = Listing(source)
    assert listing[0] == 0
    assert bool(listing)
    assert source.read == 1
    assert listing[2:5] == [2, 3, 4]
    assert source.read == 5
    assert next(iter(listing)) == 0
    assert source.read == 5


def test_it_is_a_sequence() -> None:
    listing = Listing(range(5))
    assert len(listing) == 5
    assert listing[-1] == 4
    assert listing[-2:] == [3, 4]
    assert list(reversed(listing)) == [4, 3, 2, 1, 0]
    assert 3 in listing
    assert listing.index(3) == 3
    assert listing == [0, 1, 2, 3, 4]
    assert listing == Listing(range(5))
    assert listing != [0]
    assert not Listing(())
    with pytest.raises(IndexError):
        listing[5]


def test_each_element_is_read_once() -> None:
    source = Source(10)
    listing = Listing(source)
    assert list(listing) == list(listing) == list(range(10))
    assert source.read == 10


def test_it_says_how_many_there_are_up_to_a_thousand() -> None:
    assert repr(Listing(range(3), "run")) == "<3 runs>"
    assert repr(Listing(range(5000), "call")) == "<over 1,000 calls>"
    assert repr(Listing((0,), "call")) == "<1 call>"


def test_an_error_comes_again_and_does_not_look_like_the_end() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("damaged")

    listing = Listing(broken())
    assert listing[0] == 1
    for _ in range(2):
        with pytest.raises(ValueError, match="damaged"):
            len(listing)


def test_many_threads_read_one_listing() -> None:
    listing = Listing(Source(10_000))
    seen: list[list[int]] = []
    threads = [threading.Thread(target=lambda: seen.append(list(listing))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [list(range(10_000))] * 4


def test_pages_grow_and_end() -> None:
    rows = [Row(i.to_bytes(2, "big")) for i in range(1000)]
    asked: list[tuple[int, int]] = []

    def fetch(limit: int, offset: int) -> list[Row]:
        asked.append((limit, offset))
        return rows[offset : offset + limit]

    assert list(paged(fetch)) == rows
    assert asked == [(64, 0), (256, 64), (1024, 320)]


def test_a_row_that_appears_meanwhile_repeats_nothing() -> None:
    rows = [Row(i.to_bytes(2, "big")) for i in range(100)]

    def fetch(limit: int, offset: int) -> list[Row]:
        page = rows[offset : offset + limit]
        rows.insert(0, Row(b"new" + bytes([offset % 256])))
        return page

    found = list(paged(fetch, first=10))
    assert len(found) == len(set(found))
    assert {i.to_bytes(2, "big") for i in range(100)} <= {row.id for row in found}
