"""Contents of Files and Dirs in a store: hostile listings are refused, nothing is written over."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from xxhash import xxh3_128_digest

from tasklineage.errors import CorruptObject, MissingObject
from tasklineage.key.files import File
from tasklineage.key.folders import FILE, FOLDER, LINK, Entry, hash_of
from tasklineage.key.pins import Pin
from tasklineage.storage.checkout import write_file, write_folder
from tasklineage.storage.codecs.files import FOLDER_CONTENT, pack_entries
from tasklineage.storage.contents import Keeper, StoredContents
from tasklineage.storage.object_layout import Header
from tasklineage.storage.objects import Objects


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    (tmp_path / "store").mkdir()
    return Objects(tmp_path / "store")


def stored_file(objects: Objects, content: bytes = b"evil") -> Entry:
    oid = objects.put(Header("file content", "tasklineage.File"), [content])
    return Entry("name", FILE, 0o644, len(content), xxh3_128_digest(content), "", oid)


def folder_pin(objects: Objects, entries: list[Entry]) -> Pin:
    header = Header(FOLDER_CONTENT, "tasklineage.Dir")
    oid = objects.put(header, [pack_entries(entries)])
    return Pin(hash_of(entries), 0o755, 0, oid)


HOSTILE: dict[str, list[dict[str, Any]]] = {
    "up": [{"name": "../evil"}],
    "absolute": [{"name": "/tmp/evil"}],
    "up inside": [{"name": "a", "kind": FOLDER}, {"name": "a/../../evil"}],
    "dot": [{"name": "."}],
    "empty": [{"name": ""}],
    "null": [{"name": "a\0b"}],
    "no folder above": [{"name": "a/b"}],
    "below a file": [{"name": "a"}, {"name": "a/b"}],
    "below a link": [{"name": "a", "kind": LINK, "link": "b"}, {"name": "a/evil"}],
    "twice": [{"name": "a"}, {"name": "a"}],
    "link up": [{"name": "a", "kind": LINK, "link": "../evil"}],
    "link to root": [{"name": "a", "kind": LINK, "link": "/etc"}],
    "link through": [{"name": "a", "kind": LINK, "link": "b/../../evil"}],
    "no link": [{"name": "a", "kind": LINK, "link": ""}],
    "device": [{"name": "a", "kind": "device"}],
    "double slash": [{"name": "a", "kind": FOLDER}, {"name": "a//b"}],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_listing_that_leads_out_of_the_folder_is_refused(
    case: str, objects: Objects, tmp_path: Path
) -> None:
    good = stored_file(objects)
    entries = [good._replace(**change) for change in HOSTILE[case]]
    contents, pin = StoredContents(objects), folder_pin(objects, entries)
    before = set(os.listdir(tmp_path))
    with pytest.raises(CorruptObject):
        contents.put_back(pin, str(tmp_path / "work" / "place"), is_folder=True)
    assert set(os.listdir(tmp_path)) - {"work"} == before
    with pytest.raises(CorruptObject):
        contents.entries(pin)


@pytest.mark.parametrize("listing", [b"", b"\xc1", b"\x93\x01\x02\x03", b"\xa5hello"])
def test_what_is_no_listing_is_refused(listing: bytes, objects: Objects) -> None:
    oid = objects.put(Header(FOLDER_CONTENT, "tasklineage.Dir"), [listing])
    with pytest.raises(CorruptObject, match="holds no folder"):
        StoredContents(objects).entries(Pin(b"h" * 16, 0o755, 0, oid))


def test_a_listing_of_another_hash_is_refused(objects: Objects) -> None:
    pin = folder_pin(objects, [stored_file(objects)])
    with pytest.raises(CorruptObject, match="another folder"):
        StoredContents(objects).entries(pin._replace(hash=b"h" * 16))


def test_objects_of_another_kind_and_missing_ones_are_refused(objects: Objects) -> None:
    contents = StoredContents(objects)
    oid = objects.put(Header("bytes", "bytes"), [b"x"])
    for is_folder in (False, True):
        with pytest.raises((CorruptObject, MissingObject)):
            contents.put_back(Pin(b"h" * 16, 0, 1, oid), "/nonexistent/x", is_folder=is_folder)
    with pytest.raises(CorruptObject):
        contents.view(Pin(b"h" * 16, 0, 1, oid))
    with pytest.raises(MissingObject):
        contents.view(Pin(b"h" * 16, 0, 1, b"x" * 16))
    with pytest.raises(MissingObject):
        contents.view(Pin(b"h" * 16, 0, 1, None))


def test_other_bytes_than_the_hash_says_are_not_put_back(objects: Objects, tmp_path: Path) -> None:
    entry = stored_file(objects)
    pin = Pin(b"h" * 16, 0o644, entry.size, entry.oid)
    with pytest.raises(CorruptObject, match="other bytes"):
        StoredContents(objects).put_back(pin, str(tmp_path / "w" / "out"), is_folder=False)
    assert os.listdir(tmp_path / "w") == []


@pytest.mark.parametrize("is_folder", [False, True])
def test_nothing_is_written_over(is_folder: bool, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.write_text("mine")

    def put() -> None:
        if is_folder:
            write_folder(str(place), 0o755, [], lambda entry, descriptor: None)
        else:
            write_file(str(place), 0o644, lambda descriptor: None)

    with pytest.raises(FileExistsError):
        put()
    assert place.read_text() == "mine"
    assert os.listdir(tmp_path) == ["place"]


def test_a_file_system_without_hard_links_gets_a_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: str, target: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    place = tmp_path / "place"
    write_file(str(place), 0o640, lambda descriptor: os.write(descriptor, b"x") and None)
    assert place.read_bytes() == b"x"
    with pytest.raises(FileExistsError):
        write_file(str(place), 0o640, lambda descriptor: None)
    assert os.listdir(tmp_path) == ["place"]


def test_a_pin_without_storing_names_what_is_stored_already(
    objects: Objects, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"evil")
    entry = stored_file(objects)
    found = {entry.hash: entry.oid}
    assert Keeper(lambda kind, content: found.get(content), None)(File(path)).oid == entry.oid
    assert Keeper(lambda kind, content: None, None)(File(path)).oid is None
    assert Keeper(lambda kind, content: None, objects.put)(File(path)).oid == entry.oid
