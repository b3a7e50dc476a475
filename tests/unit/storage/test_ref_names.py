"""Names of refs: which there are, and that no two share a file anywhere."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasklineage.errors import ConfigError
from tasklineage.storage.backend import check_key
from tasklineage.storage.ref_names import (
    LONGEST,
    LONGEST_PART,
    checked,
    is_name,
    numbered,
    version_at,
    version_key,
)

PARTS = st.text(st.characters(exclude_characters="/", exclude_categories=("Cs",)), max_size=12)
NAMES = st.lists(PARTS, max_size=4).map("/".join)
ALIKE = st.lists(st.text("aA1%é.e\u0301İ", min_size=1, max_size=3), min_size=1, max_size=3)
NUMBERS = st.integers(1, 10**12)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("model", "refs/model/00000003"),
        ("model/prod", "refs/model/prod/00000003"),
        ("Model", "refs/%4dodel/00000003"),
        ("2024", "refs/%32024/00000003"),
        ("model/1", "refs/model/%31/00000003"),
        (".hidden", "refs/%2ehidden/00000003"),
        ("a b%", "refs/a%20b%25/00000003"),
        ("é", "refs/%c3%a9/00000003"),
        ("a\\b", "refs/a%5cb/00000003"),
    ],
)
def test_a_name_has_this_key(name: str, key: str) -> None:
    assert version_key(name, 3) == key
    assert version_at(key) == (name, 3)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        ("/a", "empty part"),
        ("a/", "empty part"),
        ("a//b", "empty part"),
        (".", "no parts"),
        ("../../etc/passwd", "no parts"),
        ("a/../b", "no parts"),
        ("a /b", "begins or ends with a space"),
        ("a\n", "begins or ends with a space"),
        ("a\nb", "cannot be seen"),
        ("a\0b", "cannot be seen"),
        ("\ud800", "cannot be seen"),
        ("a\u202eb", "cannot be seen"),
        ("--yes", "begins with '-'"),
        ("0123456789abcdef0123456789ABCDEF", "has this id"),
        ("xxh3:0123", "has this id"),
        ("model@2", "earlier version"),
        ("x" * (LONGEST_PART + 1), "241 bytes, and 240"),
        ("é" * 41, "246 bytes"),
        ("/".join(["x" * 200] * 5), f"1004 bytes, and {LONGEST}"),
        (None, "is a text such as 'model/prod', not None"),
        (b"a", "is a text"),
    ],
)
def test_what_can_be_no_name_is_refused_and_why(name: object, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        checked(name)


@given(NAMES, NUMBERS)
@example("e\u0301", 1)
@example("ABC/%41", 12345678)
def test_every_name_that_is_taken_has_a_key_of_the_store_that_leads_back(
    name: str, number: int
) -> None:
    if not is_name(name):
        with pytest.raises(ConfigError):
            checked(name)
        return
    kept = checked(name)
    key = version_key(kept, number)
    assert check_key(key) == key
    assert key.startswith("refs/")
    assert key.isascii()
    assert len(key) <= LONGEST + 30
    assert all(len(part) <= LONGEST_PART for part in key.split("/"))
    assert version_at(key) == (kept, number)


@given(st.lists(ALIKE.map("/".join).filter(is_name).map(checked), max_size=6, unique=True))
@example(["model", "Model", "MODEL"])
@example(["model", "model/1", "model/00000001"])
@example(["%41", "A", "a"])
def test_no_two_names_share_a_file_on_any_file_system(names: list[str]) -> None:
    def as_stored(key: str) -> str:  # by a file system that folds case and decomposes
        return unicodedata.normalize("NFD", key).casefold()

    files = [as_stored(version_key(name, 1)) for name in names]
    assert len(set(files)) == len(files)
    for file in files:  # and none stands where another one needs a folder
        assert not any(other.startswith(f"{file}/") for other in files)


@pytest.mark.parametrize(
    "key",
    [
        "refs/model",
        "refs/model/1",
        "refs/model/prod/x",
        "refs/Model/00000001",
        "refs/%4Dodel/00000001",
        "refs/%zz/00000001",
        "refs/%ff/00000001",
        "refs/é/00000001",
        "refs/日/00000001",
        "refs/../00000001",
        "refs//00000001",
        "refs/model/000000001",
        "journal/00c0ffee00c0ffee/00000001",
    ],
)
def test_other_files_are_taken_for_no_version(key: str) -> None:
    assert version_at(key) is None


def test_a_number_behind_a_name_means_a_version() -> None:
    assert numbered("model/prod@12") == ("model/prod", 12)
    assert numbered("model/prod") == ("model/prod", None)
    assert numbered("ann@home") == ("ann@home", None)
    assert numbered("@3") == ("@3", None)
