"""Frames: what was written comes back, and nothing else ever does."""

from __future__ import annotations

import struct
from typing import NamedTuple

import pytest
import xxhash
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tasklineage.storage import frames
from tasklineage.storage.frames import HEAD, MAGIC, MAX_PAYLOAD

PLACE = frames.place("0123456789abcdef", 1)

records = st.lists(st.tuples(st.integers(1, 255), st.binary(max_size=60)), min_size=1, max_size=12)


class Written(NamedTuple):
    data: bytes
    found: list[tuple[int, int, int, bytes]]
    """What `walk` must give for it."""


def write(payloads: list[tuple[int, bytes]], base: int = 0, place: int = PLACE) -> Written:
    data, found = b"", []
    for kind, payload in payloads:
        frame = frames.encode(kind, payload, place, base + len(data))
        found.append((base + len(data), len(frame), kind, payload))
        data += frame
    return Written(data, found)


def walk_all(data: bytes, place: int = PLACE) -> list[tuple[int, int, int, bytes]]:
    """All sound frames, going on behind whatever is not sound."""
    found, at = frames.walk(data, place, 0)
    while at < len(data) and (at := frames.find(data, place, 0, at + 1)) >= 0:
        more, at = frames.walk(data, place, 0, at)
        found += more
    return found


@given(records, st.integers(0, 1 << 27), st.integers(1, 99_999_999))
def test_frames_come_back_as_they_were_written(
    payloads: list[tuple[int, bytes]], base: int, seq: int
) -> None:
    place = frames.place("ffffffffffffffff", seq)
    written = write(payloads, base, place)
    assert frames.walk(written.data, place, base) == (written.found, len(written.data))


def test_a_frame_is_the_bytes_that_the_format_says() -> None:
    place = frames.place("00000000000000ff", 2)
    fields = struct.pack("<IBBH", 3, 7, 1, 0)
    seed = int.from_bytes(fields, "little") ^ 0xFF ^ (2 << 32 | 40)
    checksum = xxhash.xxh3_64_intdigest(b"abc", seed)
    expected = b"\xc1tlf" + fields + struct.pack("<Q", checksum) + b"abc"
    assert frames.encode(7, b"abc", place, 40) == expected


@given(records, st.data())
def test_one_changed_byte_never_yields_a_wrong_record(
    payloads: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    written = write(payloads)
    at = data.draw(st.integers(0, len(written.data) - 1))
    changed = bytearray(written.data)
    changed[at] ^= data.draw(st.integers(1, 255))
    hit = [frame for frame in written.found if frame[0] <= at < frame[0] + frame[1]]
    assert walk_all(bytes(changed)) == [one for one in written.found if one not in hit]


@given(records, st.data())
def test_whatever_happens_to_the_bytes_only_written_records_are_found(
    payloads: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    written = write(payloads)
    bytes_now = written.data
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(bytes_now)))
        end = data.draw(st.integers(start, len(bytes_now)))
        piece = data.draw(
            st.one_of(
                st.just(b""),  # cut out
                st.binary(max_size=50),  # overwritten, or put in between
                st.just(bytes(end - start)),  # zeroed
                st.just(bytes_now[start:end] * 2),  # doubled
                st.just(written.data),  # a whole segment in the middle of another
            )
        )
        bytes_now = bytes_now[:start] + piece + bytes_now[end:]
    assert set(walk_all(bytes_now)) <= set(written.found)


@given(records, records, st.binary(max_size=80))
def test_records_behind_damage_are_found(
    before: list[tuple[int, bytes]], after: list[tuple[int, bytes]], rubbish: bytes
) -> None:
    first = write(before)
    base = len(first.data) + len(rubbish)
    second = write(after, base)
    assume(not frames.walk(rubbish, PLACE, len(first.data))[0])
    assert walk_all(first.data + rubbish + second.data) == first.found + second.found


@given(records, st.data())
def test_a_cut_ends_the_walk_at_the_last_whole_frame(
    payloads: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    written = write(payloads)
    cut = data.draw(st.integers(0, len(written.data)))
    whole = [frame for frame in written.found if frame[0] + frame[1] <= cut]
    found, end = frames.walk(written.data[:cut], PLACE, 0)
    assert found == whole
    assert end == sum(frame[1] for frame in whole)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_failing(data: bytes) -> None:
    assert walk_all(data) == []
    assert frames.decode(data, PLACE, 0) is None
    assert frames.claim(data, 0) <= HEAD + MAX_PAYLOAD


@given(records, st.integers(0, 3), st.integers(0, 3))
def test_a_frame_verifies_only_where_it_was_written(
    payloads: list[tuple[int, bytes]], seq: int, offset: int
) -> None:
    written = write(payloads)
    place = frames.place("0123456789abcdef", 1 + seq)
    is_there = seq == 0 and offset == 0
    assert bool(frames.walk(written.data, place, offset)[0]) == is_there
    assert frames.walk(written.data, frames.place("0123456789abcdee", 1), 0)[0] == []


def test_a_segment_inside_a_payload_is_not_taken_for_records() -> None:
    inner = write([(1, b"inner")]).data
    outer = bytearray(write([(2, inner)]).data)
    outer[0] ^= 1
    assert walk_all(bytes(outer)) == []


def test_a_huge_length_is_no_claim() -> None:
    header = struct.Struct("<4sIBBHQ")
    assert frames.claim(header.pack(MAGIC, 0xFFFFFFFF, 1, 1, 0, 0), 0) == 0
    assert frames.claim(header.pack(MAGIC, MAX_PAYLOAD, 1, 1, 0, 0), 0) == HEAD + MAX_PAYLOAD
    assert frames.claim(header.pack(b"tlf!", 5, 1, 1, 0, 0), 0) == 0


@pytest.mark.parametrize("length", [1, 4, 19])
def test_the_beginning_of_a_header_claims_a_header(length: int) -> None:
    assert frames.claim(write([(1, b"x")]).data[:length], 0) == HEAD
    assert frames.claim(bytes(length), 0) == 0


def test_walk_gives_only_the_kinds_that_are_asked_for() -> None:
    written = write([(1, b"a"), (2, b"b"), (3, b"c")])
    found, end = frames.walk(written.data, PLACE, 0, 0, {1, 3})
    assert found == [written.found[0], written.found[2]]
    assert end == len(written.data)


def test_heads_and_frames_of_later_versions_are_passed_over() -> None:
    head = frames.encode(frames.SEGMENT_HEAD, b"head", PLACE, 0)
    fields = 5 | 1 << 32 | 2 << 40
    checksum = xxhash.xxh3_64_intdigest(b"later", fields ^ PLACE ^ len(head))
    later = struct.pack("<4sQQ", MAGIC, fields, checksum) + b"later"
    last = frames.encode(3, b"last", PLACE, len(head) + len(later))
    data = head + later + last
    assert [one[3] for one in frames.walk(data, PLACE, 0)[0]] == [b"last"]
    assert frames.decode(data, PLACE, len(head), len(head)) is None
    assert frames.is_sound(data, PLACE, len(head), len(head))


@settings(max_examples=5)
@given(st.integers(1, 60_000))
def test_a_file_of_false_beginnings_is_given_up_in_time(length: int) -> None:
    false = struct.pack("<4sIBBHQ", MAGIC, length, 1, 1, 0, 0)
    assert frames.find(false * 20_000, PLACE, 0, 1) == -1
