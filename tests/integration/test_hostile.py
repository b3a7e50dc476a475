"""What a stranger's store can do: give errors, or nothing. It executes, hangs and fills nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import msgpack
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tasklineage.storage import frames
from tests.compat.golden import STORE as GOLDEN
from tests.integration import damages, everything, hostile

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
QUICK = (
    "a_pickle_said_to_be_int", "a_cloudpickle_said_to_be_list", "a_figure_said_to_be_str",
    "a_pickle_as_a_part", "an_environment_that", "a_ref_to_a_pickle", "an_instance_of",
    "records_of_nested_lengths", "records_of_deep", "records_of_an_array", "a_segment_without",
    "a_frame_of", "trees_that_hold", "objects_in_a_circle", "files_that_lead", "folders_that_lead",
    "a_catalog_of_views", "a_catalog_of_triggers", "a_catalog_with_a_journal", "a_fifo_as_format",
    "a_fifo_as_SEGMENT", "a_fifo_as_OBJECT", "a_fifo_as_verified", "a_link_as_verified",
    "a_link_as_hashes", "a_link_as_catalog", "a_dangling_link_as_locks_keys",
)  # fmt: skip
"""How those begin that are tried each time; the others are tried each night."""
TRUSTING = "accept "
"""What the problems of the one command begin with that loads code, and so trusts the store."""
CASES = [
    make
    if make.__name__.startswith(QUICK)
    else pytest.param(make, marks=pytest.mark.nightly, id=make.__name__)
    for make in hostile.CORPUS
]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound store."""
    folder = tmp_path_factory.mktemp("good")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TASKLINEAGE_STORE", str(folder / "store"))
        damages.make(folder / "store")
    return folder / "store"


class Server:
    """A process that puts all questions to a store in a child, within limits."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, everything.__file__],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def ask(self, root: Path) -> dict[str, Any]:
        """What it has found; `status` is how the child ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(root, file=self._process.stdin, flush=True)
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.close()


def problems_of(answer: dict[str, Any]) -> list[str]:
    """What was no proper answer, of those who do not trust the store."""
    return [one for one in answer["problems"] if not one.startswith(TRUSTING)]


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_a_hostile_store_gives_errors_or_nothing(
    good: Path, server: Server, tmp_path: Path, make: Callable[[Path], object]
) -> None:
    root = Path(shutil.copytree(good, tmp_path / "store", copy_function=shutil.copy2))
    make(root)
    victim = tmp_path / "victim"
    before = victim.read_bytes() if victim.exists() else b""
    answer = server.ask(root)
    assert answer["status"] == 0
    assert problems_of(answer) == []
    assert answer["peak"] < 700_000
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "made-by-a-store").exists()
    assert (victim.read_bytes() if victim.exists() else b"") == before


def test_a_sound_store_gives_answers(good: Path, server: Server, tmp_path: Path) -> None:
    root = Path(shutil.copytree(good, tmp_path / "store", copy_function=shutil.copy2))
    assert server.ask(root)["problems"] == []


# Of a store of every kind of record: fields that hold something else, and bytes that are others.

STRANGE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=20)
    | st.just(bytes(16)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=4,
)
PLACE = st.integers(0, 1 << 16)
SWAPS = st.lists(st.tuples(PLACE, st.lists(PLACE, min_size=1, max_size=3), STRANGE), max_size=12)
FLIPS = st.lists(st.tuples(PLACE, PLACE, st.integers(1, 255)), max_size=4)


@given(SWAPS, FLIPS)
@settings(
    max_examples=max(4, settings().max_examples // 25),
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_a_store_of_strange_fields_and_bytes_gives_errors_or_nothing(
    server: Server, tmp_path_factory: pytest.TempPathFactory, swaps: Any, flips: Any
) -> None:
    root = tmp_path_factory.mktemp("mutated") / "store"
    shutil.copytree(GOLDEN, root)
    for one in [root, *root.rglob("*")]:
        one.chmod(0o700 if one.is_dir() else 0o600)
    swap_fields(root, swaps)
    flip_bytes(root, flips)
    answer = server.ask(root)
    assert answer["status"] == 0
    assert answer["peak"] < 700_000
    assert problems_of(answer) == []
    shutil.rmtree(root)


def swap_fields(root: Path, swaps: list[tuple[int, list[int], Any]]) -> None:
    """Put other values into records; every frame is sound afterwards."""
    for path in sorted((root / "journal").glob("*/*")):
        place = frames.place(path.parent.name, int(path.name))
        data = path.read_bytes()
        head = data[: frames.claim(data, 0)]
        records = [list(one[2:]) for one in frames.walk(data, place, 0)[0]]
        for number, way, value in swaps:
            one = records[number % len(records)]
            fields = msgpack.unpackb(one[1], strict_map_key=False, unicode_errors="surrogatepass")
            one[1] = msgpack.packb(_with(fields, way, value), unicode_errors="surrogatepass")
        made = head
        for kind, payload in records:
            made += frames.encode(kind, payload, place, len(made))
        path.write_bytes(made)


def _with(fields: list[Any], way: list[int], value: Any) -> list[Any]:
    """The same with another value at one place, in the record or in an array in it."""
    at = way[0] % len(fields)
    inner = fields[at]
    if len(way) > 1 and isinstance(inner, list) and inner:
        value = _with(inner, way[1:], value)
    return [*fields[:at], value, *fields[at + 1 :]]


def flip_bytes(root: Path, flips: list[tuple[int, int, int]]) -> None:
    """Change bytes anywhere in the store."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_size)
    for number, offset, mask in flips:
        path = files[number % len(files)]
        data = bytearray(path.read_bytes())
        data[offset % len(data)] ^= mask
        path.write_bytes(data)
