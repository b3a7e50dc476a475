"""Any byte of any file of a store changed: never a wrong value, and it heals by being used."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasklineage.errors import CorruptObject, MissingObject, StoreError
from tasklineage.key.digest import digest
from tasklineage.storage.opening import open_store
from tasklineage.storage.records import Ref
from tasklineage.storage.store import Store
from tests.unit.storage.history import History, digest_of

pytestmark = pytest.mark.slow

CODE = digest_of("pkg.train")
VALUES: dict[str, Any] = {
    "number": 7,
    "list": [1, "two", 3.0],
    "text": "t" * 30_000,
    "array": np.arange(40_000),
    "parts": (np.ones(3_000), {"x": np.zeros(3_000)}),
}
"""Inline values, objects that are read, one that is mapped, and a tree."""


def flip(content: bytearray, place: int) -> None:
    content[place] ^= 1 << place % 8


def cut(content: bytearray, place: int) -> None:
    del content[place:]


def zero(content: bytearray, place: int) -> None:
    content[place : place + 300] = bytes(len(content[place : place + 300]))


def insert(content: bytearray, place: int) -> None:
    content[place:place] = b"\xc1tlf surprise"


def append(content: bytearray, place: int) -> None:
    content += content[:place] or b"\0"


DAMAGES: list[Callable[[bytearray, int], None]] = [flip, cut, zero, insert, append]


def answer(store: Store, history: History, name: str) -> tuple[Any, bool]:
    """What an engine does, without one: the value of a call, and whether it was a hit."""
    key = digest_of(("pkg.train", name))
    memo = store.find_memo(CODE, key)
    if memo is not None:
        assert memo.output is not None
        try:
            return store.get(Ref(*memo.output)), True
        except (CorruptObject, MissingObject):
            pass
    run = history.run()
    begun = history.begin(run, key=name)
    store.append(run, begun)
    output = store.put(VALUES[name], digest(VALUES[name]))
    store.append(history.end(begun, output=output))
    return VALUES[name], False


def answers(root: Path, seed: str) -> set[str]:
    """The names of the calls that were hits, in a process of its own so to speak."""
    store, history, hits = Store(root), History(seed), set()
    for name, expected in VALUES.items():
        value, is_hit = answer(store, history, name)
        assert digest(value) == digest(expected), name
        if is_hit:
            hits.add(name)
    store.close()
    return hits


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose catalog knows most of it, and whose journal has a little more."""
    root = tmp_path_factory.mktemp("good") / "store"
    open_store(root).close()
    assert answers(root, "first") == set()
    store = Store(root)
    store.catalog.sync()
    store.append(History("second").run())
    store.close()
    assert answers(root, "third") == set(VALUES)
    return root


def samples(size: int) -> Iterator[int]:
    """The beginning, where every byte has a meaning, and some places of the rest."""
    yield from range(0, min(size, 120), 11)
    yield from range(120, size, max(1, size // 12))


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("part", ["journal/*/*", "objects/??/*", "catalog.sqlite", "verified"])
def test_damage_anywhere_gives_no_wrong_value_and_heals(
    good: Path, tmp_path: Path, part: str, damage: Callable[[bytearray, int], None]
) -> None:
    for file in sorted(good.glob(part)):
        content = file.read_bytes()
        for place in samples(len(content)):
            root = tmp_path / "store"
            shutil.copytree(good, root)
            bad = bytearray(content)
            damage(bad, place)
            (root / file.relative_to(good)).write_bytes(bad)
            hits = answers(root, "damaged")
            if not part.startswith(("journal", "objects")):
                assert hits == set(VALUES), place
            assert answers(root, "healed") == set(VALUES), (file, place)
            shutil.rmtree(root)


@pytest.mark.parametrize("part", ["journal", "objects", "catalog.sqlite"])
def test_what_is_gone_is_made_again(good: Path, tmp_path: Path, part: str) -> None:
    root = tmp_path / "store"
    shutil.copytree(good, root)
    gone = root / part
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    hits = answers(root, "damaged")
    assert (
        hits
        == {
            "journal": set(),
            "objects": {"number", "list"},
            "catalog.sqlite": set(VALUES),
        }[part]
    )
    assert answers(root, "healed") == set(VALUES)


def test_every_change_of_the_format_file_is_refused(good: Path, tmp_path: Path) -> None:
    root = tmp_path / "store"
    shutil.copytree(good, root)
    content = (good / "format").read_bytes()
    for damage in DAMAGES:
        for place in range(len(content)):
            bad = bytearray(content)
            damage(bad, place)
            (root / "format").write_bytes(bad)
            with pytest.raises(StoreError):
                open_store(root)
    (root / "format").write_bytes(content)
    open_store(root).close()
    assert answers(root, "again") == set(VALUES)


def test_every_query_gives_the_same_after_any_damage_of_the_catalog(
    good: Path, tmp_path: Path
) -> None:
    def asked(root: Path) -> list[Any]:
        catalog = Store(root).catalog
        digests = [digest(value) for value in VALUES.values()]
        return [
            catalog.find_runs(), catalog.find_calls(), catalog.find_artifacts(prefix=""),
            [catalog.producers(one) for one in digests], catalog.call_tasks(),
            [catalog.counts(row.id) for row in catalog.find_runs()],
        ]  # fmt: skip

    expected = asked(good)
    root = tmp_path / "store"
    shutil.copytree(good, root)
    content = (good / "catalog.sqlite").read_bytes()
    for damage in DAMAGES:
        for place in samples(len(content)):
            bad = bytearray(content)
            damage(bad, place)
            (root / "catalog.sqlite").write_bytes(bad)
            assert asked(root) == expected, (damage, place)


def test_a_mapped_array_is_verified_again_when_its_file_was_touched(
    good: Path, tmp_path: Path
) -> None:
    root = tmp_path / "store"
    shutil.copytree(good, root)
    store = Store(root)
    memo = store.find_memo(CODE, digest_of(("pkg.train", "array")))
    assert memo is not None
    assert memo.output is not None
    ref = Ref(*memo.output)
    file = Path(store.objects.path(ref.oid or b""))
    past = os.stat(file).st_mtime_ns - 10**10
    os.utime(file, ns=(past, past))
    for _ in range(2):
        assert np.array_equal(Store(root).get(ref), VALUES["array"])
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(past, past))
    with pytest.raises(CorruptObject):
        Store(root).get(ref)
