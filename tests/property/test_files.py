"""Folders of any shape: what is put back is what was stored, and equal folders are one."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import tasklineage as tl
from tasklineage.key.folders import entries_of, leads_inside
from tasklineage.storage.codecs.files import pack_entries, unpack_entries

NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8
).filter(lambda name: name not in (".", ".."))
LEAVES = st.one_of(st.binary(max_size=100), st.integers(0, 300).map(lambda n: bytes(n * 100)))
TREES = st.dictionaries(
    NAMES,
    st.recursive(LEAVES, lambda below: st.dictionaries(NAMES, below, max_size=4), max_leaves=12),
    max_size=5,
)
Tree = dict[str, "bytes | Tree"]


def build(folder: Path, tree: Tree) -> None:
    folder.mkdir()
    for name, content in tree.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            build(folder / name, content)


def read(folder: Path) -> Tree:
    return {
        path.name: read(path) if path.is_dir() else path.read_bytes() for path in folder.iterdir()
    }


@tl.task
def make(place: str, tree: Tree) -> tl.Dir:
    shutil.rmtree(place, ignore_errors=True)
    build(Path(place), tree)
    return tl.Dir(place)


@given(tree=TREES)
def test_a_folder_comes_back_as_it_was(tree: Tree) -> None:
    with tempfile.TemporaryDirectory() as root, tl.run(store=os.path.join(root, "store")) as run:
        place = os.path.join(root, "place")
        digest = make(place, tree).digest
        shutil.rmtree(place)
        assert make(place, tree).digest == digest
        assert read(Path(place)) == tree
        assert run.executed == 1
        build(Path(root, "copy"), tree)
        assert tl.Dir(os.path.join(root, "copy")).digest == digest
        Path(place, "one more").write_text("")
        assert tl.Dir(place).digest != digest
        assert run["make"].result.digest == digest
        assert read(Path(run["make"].result.path)) == tree


@given(tree=TREES, other=TREES)
def test_folders_have_one_digest_exactly_if_they_are_equal(tree: Tree, other: Tree) -> None:
    with tempfile.TemporaryDirectory() as root:
        build(Path(root, "a"), tree)
        build(Path(root, "b"), other)
        same = tl.Dir(Path(root, "a")).digest == tl.Dir(Path(root, "b")).digest
        assert same == (tree == other)


@given(tree=TREES)
def test_a_listing_is_what_it_was(tree: Tree) -> None:
    with tempfile.TemporaryDirectory() as root:
        build(Path(root, "a"), tree)
        entries = tuple(found.entry for found in entries_of(os.path.join(root, "a")))
    assert unpack_entries(memoryview(pack_entries(entries))) == entries


PATHS = st.lists(st.sampled_from(["a", "b", "..", ".", ""]), min_size=1, max_size=6).map("/".join)


@given(name=st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map("/".join), link=PATHS)
def test_a_link_leads_inside_only_if_its_path_does(name: str, link: str) -> None:
    if leads_inside(name, link):
        place = os.path.normpath(os.path.join("/top", os.path.dirname(name), link))
        assert place == "/top" or place.startswith("/top/")
