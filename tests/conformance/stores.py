"""What every store promises, whatever it is kept on: told by machines that share it.

A machine is a process with a state folder of its own; those of a local store share the folder. A
new kind of store gets a test class with a fixture `place`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tasklineage.storage.backend import Backend, open_backend
from tests.conformance.machine import LARGE
from tests.servers.lifetime import ROOT

PATIENCE = 180.0


class Place(NamedTuple):
    """Where a store is, and how one gets there."""

    url: str
    options: Mapping[str, Any]
    environ: Mapping[str, str]

    def backend(self) -> Backend:
        """The bytes of the store, behind its back."""
        return open_backend(self.url, self.options)


class Machine:
    """A machine that uses the store at a place."""

    def __init__(self, place: Place, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Files that tasks make are in the same place everywhere: their path is part of the result.
        files = folder.parent / "files"
        files.mkdir(exist_ok=True)
        self.environ = {
            **os.environ,
            **place.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
            "TASKLINEAGE_STORE": place.url,
            "TASKLINEAGE_STATE": str(folder / "state"),
            "FILES": str(files),
        }

    def start(self, *steps: str) -> subprocess.Popen[str]:
        """The program, which goes on by itself."""
        return subprocess.Popen(
            [sys.executable, "-m", "tests.conformance.machine", *steps],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def does(self, *steps: str) -> dict[str, Any]:
        """What the program says at its end."""
        return ended(self.start(*steps))


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What a program says at its end."""
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return {**found, "stderr": err}


def results(backend: Backend) -> dict[str, float]:
    """The objects of results of `large`, and since when they are there."""
    return {
        entry.key: entry.modified
        for entry in backend.list("objects")
        if LARGE < entry.size < LARGE + 1000
    }


class StoreTests:
    """Inherited by the tests of each kind of store."""

    @abstractmethod
    def place(self) -> Place:
        """A place where there is no store yet. A fixture."""

    @pytest.fixture
    def machine(self, place: Place, tmp_path: Path) -> Callable[[str], Machine]:
        return lambda name: Machine(place, tmp_path / name)

    def test_another_machine_executes_nothing_and_gets_the_same(
        self, machine: Callable[[str], Machine]
    ) -> None:
        first = machine("a").does("values 3")
        second = machine("b").does("values 3")
        assert (first["executed"], first["hits"]) == (8, 0)
        assert (second["executed"], second["hits"]) == (0, 8)
        assert second["digests"] == first["digests"]
        assert second["file"] == first["file"] == "3\n" * 10

    def test_what_two_write_at_once_a_third_finds_whole(
        self, machine: Callable[[str], Machine]
    ) -> None:
        steps = ("map_whole 0 300 + map_large 0 40", "map_whole 200 500 + map_large 30 70")
        both = [machine(name).start(step) for name, step in zip("ab", steps, strict=True)]
        told = [ended(one) for one in both]
        assert [one["right"] for one in told] == [True, True]
        third = machine("c").does("map_whole 0 500 + map_large 0 70")
        assert (third["executed"], third["hits"]) == (0, 570)
        assert third["right"]
        assert third["sum"] == sum(range(1, 501))

    def test_nothing_that_a_killed_one_returned_is_lost(
        self, machine: Callable[[str], Machine]
    ) -> None:
        process = machine("a").start("one_by_one 0 100000")
        assert process.stdout is not None
        last = next(int(line) for line in process.stdout if int(line) >= 20)
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
        process.wait()
        last = int(rest[-1]) if rest else last
        # Its own machine has everything, at once; it puts what was not put yet.
        again = machine("a").does(f"map_large 0 {last + 1}")
        assert (again["executed"], again["hits"], again["right"]) == (0, last + 1, True)
        other = machine("b").does(f"map_large 0 {last + 1}")
        assert (other["executed"], other["hits"], other["right"]) == (0, last + 1, True)

    @pytest.mark.parametrize("how", ["gone", "torn", "changed", "empty"])
    def test_a_damaged_result_is_computed_again_and_then_there_for_all(
        self, machine: Callable[[str], Machine], place: Place, how: str
    ) -> None:
        assert machine("a").does("map_large 0 4")["executed"] == 4
        backend = place.backend()
        objects = list(results(backend))
        assert len(objects) == 4
        for key in objects[:2]:
            data = backend.read(key)
            backend.delete([key])
            if how != "gone":
                bad = {"torn": data[:-9], "changed": data[:-9] + b"x" * 9, "empty": b""}[how]
                backend.write(key, bad)
        healing = machine("b").does("map_large 0 4")
        assert (healing["executed"], healing["hits"], healing["right"]) == (2, 2, True)
        third = machine("c").does("map_large 0 4")
        assert (third["executed"], third["hits"], third["right"]) == (0, 4, True)

    def test_what_is_there_is_not_stored_again(
        self, machine: Callable[[str], Machine], place: Place
    ) -> None:
        machine("a").does("map_large 0 5")
        before = results(place.backend())
        machine("b").does("map_large 0 6")
        after = results(place.backend())
        assert len(after) == 6
        assert {key: after[key] for key in before} == before
