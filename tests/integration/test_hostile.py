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

import pytest

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
UNTIDY = ("odd_", "records_of_a_million", "a_catalog_of_other_types")
"""Those whose errors may be others than ours: fields of other types, under sound checksums."""
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
    assert answer["problems"] == [] or make.__name__.startswith(UNTIDY)
    assert answer["peak"] < 700_000
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "made-by-a-store").exists()
    assert (victim.read_bytes() if victim.exists() else b"") == before


def test_a_sound_store_gives_answers(good: Path, server: Server, tmp_path: Path) -> None:
    root = Path(shutil.copytree(good, tmp_path / "store", copy_function=shutil.copy2))
    assert server.ask(root)["problems"] == []
