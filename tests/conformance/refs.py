"""What refs are on every backend that can create a file only where there is none.

A subclass supplies the fixture `open`: a new backend for the same place, as another process has it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise

import pytest

from tasklineage.errors import CorruptObject, RefMoved
from tasklineage.storage.backend import Backend
from tasklineage.storage.ref_names import version_key
from tasklineage.storage.refs import DAMAGED, DELETED, RUN, Refs, Target, Version

Open = Callable[[], Backend]
WRITERS = 16
A, B = b"a" * 16, b"b" * 16


class RefsTests:
    """Inherited by the tests of each backend."""

    rounds = 4

    def test_a_ref_is_moved_and_deleted_and_its_past_stays(self, open: Open) -> None:
        refs, other = Refs(open()), Refs(open())
        made = [
            refs.move("model/prod", target)
            for target in (Target(RUN, A), Target(RUN, B), Target(DELETED), Target(RUN, A))
        ]
        assert [version.number for version in made] == [1, 2, 3, 4]
        assert list(other.history("model/prod")) == made[::-1]
        assert other.find("model/prod") == made[-1]
        assert other.version("model/prod", 2) == made[1]
        refs.move("model/prod", Target(DELETED))
        assert other.find("model/prod") is None

    def test_names_that_begin_alike_or_look_odd_are_refs_of_their_own(self, open: Open) -> None:
        refs = Refs(open())
        names = ["model", "model/prod", "model/1", "Model", "日本/é 1", "a%2fb", "a+b&c=d?#", "~"]
        made = {name: refs.move(name, Target(RUN, A)) for name in names}
        other = Refs(open())
        assert list(other.all()) == [made[name] for name in sorted(names)]
        for name in names:
            assert list(other.history(name)) == [made[name]]

    @pytest.mark.parametrize("damage", [b"", b"?", None])
    def test_a_damaged_version_is_noticed(self, open: Open, damage: bytes | None) -> None:
        backend = open()
        refs = Refs(backend)
        refs.move("model", Target(RUN, A))
        refs.move("model", Target(RUN, B))
        key = version_key("model", 2)
        backend.write(key, backend.read(key)[:-1] if damage is None else damage)
        with pytest.raises(CorruptObject, match="version 2 of the ref 'model'"):
            Refs(open()).find("model")
        assert [version.kind for version in refs.history("model")] == [DAMAGED, RUN]
        assert refs.move("model", Target(RUN, A)).number == 3
        assert refs.find("model") is not None

    def test_sixteen_writers_lose_no_update(self, open: Open) -> None:
        def work(number: int, refs: Refs) -> None:
            for turn in range(self.rounds):
                refs.move("model/prod", Target(RUN, bytes([number, turn]) * 8))

        self._at_once(open, work)
        found = list(Refs(open()).history("model/prod"))
        assert [version.number for version in found] == list(range(WRITERS * self.rounds, 0, -1))
        assert len({version.target for version in found}) == WRITERS * self.rounds
        for newer, older in pairwise(found):
            assert newer.previous == (RUN, older.target)

    def test_of_sixteen_that_expect_the_same_one_wins_each_round(self, open: Open) -> None:
        won: list[int] = []

        def work(number: int, refs: Refs) -> None:
            while (seen := refs.find("counter")) is None or len(won) < self.rounds * 4:

                def check(newest: Version | None, seen: Version | None = seen) -> None:
                    if newest != seen:
                        raise RefMoved("somebody else was faster")

                following = 1 if seen is None else seen.target[0] + 1
                try:
                    refs.move("counter", Target(RUN, bytes([following]) * 16), check=check)
                except RefMoved:
                    continue
                won.append(number)

        self._at_once(open, work)
        found = [version.target[0] for version in Refs(open()).history("counter")]
        assert found == list(range(len(won), 0, -1))

    def _at_once(self, open: Open, work: Callable[[int, Refs], None]) -> None:
        """Each writer has a backend of its own; all begin together, and none may fail."""
        begin, failed = threading.Barrier(WRITERS), list[BaseException]()

        def run(number: int) -> None:
            refs = Refs(open())
            begin.wait()
            try:
                work(number, refs)
            except BaseException as error:
                failed.append(error)
                raise

        threads = [threading.Thread(target=run, args=(number,)) for number in range(WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
