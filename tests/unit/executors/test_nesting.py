"""Random nested programs end, on pools of any size, with at most so many works at once."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from functools import partial

import pytest

from tasklineage.executors.base import wait_for
from tasklineage.executors.threads import Threads
from tasklineage.testing.executors import Gauge, watched

Program = Callable[[], int]


class Programs:
    """Makes random programs, whose parts wait for each other in every way that is allowed.

    Keys stand for calls in flight: who wants one that is held waits for it inside `blocked`, unless
    one of its own ancestors holds it.
    """

    def __init__(self, pool: Threads, seed: int) -> None:
        self.pool = pool
        self.random = random.Random(seed)
        self.running = Gauge()
        self.keys = [threading.Lock() for _ in range(3)]

    def make(self, depth: int, lowest_key: int = 0) -> Program:
        kinds = ["leaf", "all", "each", "late", "fails"] + ["key"] * (lowest_key < len(self.keys))
        kind = self.random.choice(kinds) if depth else "leaf"
        if kind == "key":
            # keys are taken in one order, as only such programs have no deadlock of their own
            key = self.random.randrange(lowest_key, len(self.keys))
            return partial(self.hold, key, self.make(depth - 1, key + 1))
        if kind == "leaf":
            return self.leaf
        parts = [self.make(depth - 1, lowest_key) for _ in range(self.random.randint(1, 3))]
        return partial(getattr(self, kind), parts)

    def leaf(self) -> int:
        with self.running:
            return 1

    def all(self, parts: list[Program]) -> int:
        works = [self.pool.submit(part) for part in parts]
        wait_for(works)
        return self.leaf() + sum(work.result() for work in works)

    def each(self, parts: list[Program]) -> int:
        works = [self.pool.submit(part) for part in parts]
        return self.leaf() + sum(work.result() for work in reversed(works))

    def late(self, parts: list[Program]) -> int:
        first = self.pool.submit(parts[0])
        rest = sum(self.pool.submit(part).result() for part in parts[1:])
        return self.leaf() + rest + first.result()

    def fails(self, parts: list[Program]) -> int:
        def fail() -> int:
            raise ValueError(sum(part() for part in parts))

        with pytest.raises(ValueError, match=r"\d+") as raised:
            self.pool.submit(fail).result()
        return self.leaf() + int(raised.value.args[0])

    def hold(self, key: int, part: Program) -> int:
        lock = self.keys[key]
        if not lock.acquire(blocking=False):
            with self.pool.blocked():
                lock.acquire()
        try:
            return self.leaf() + self.pool.submit(part).result()
        finally:
            lock.release()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_random_nested_programs_end(n: int) -> None:
    for seed in range(60):
        run_some(n, seed)


@pytest.mark.nightly
@pytest.mark.parametrize("n", [1, 2, 3])
def test_many_random_nested_programs_end(n: int) -> None:
    for seed in range(60, 5000):
        run_some(n, seed)


def run_some(n: int, seed: int) -> None:
    with Threads(n) as pool:
        programs = Programs(pool, seed)
        some = [programs.make(programs.random.randint(1, 6)) for _ in range(4)]

        def run() -> list[int]:
            works = [pool.submit(program) for program in some]
            wait_for(works)
            return [work.result() for work in works]

        counts = watched(run)
        assert all(count > 0 for count in counts), seed
        assert programs.running.most <= n, seed
        watched(pool.drain)
        assert pool.statistics().running == 0
