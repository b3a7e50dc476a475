"""Every executor passes the same tests."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import ClassVar

import pytest

from tasklineage.executors.base import Executor
from tasklineage.executors.inline import Inline
from tasklineage.executors.processes import Processes
from tasklineage.executors.threads import Threads
from tasklineage.testing.executors import ExecutorTests, square


class TestInline(ExecutorTests):
    is_concurrent = False

    def make(self) -> Executor:
        return Inline()


class TestOneThread(ExecutorTests):
    def make(self) -> Executor:
        return Threads(1)


class TestTwoThreads(ExecutorTests):
    def make(self) -> Executor:
        return Threads(2)


class TestManyThreads(ExecutorTests):
    def make(self) -> Executor:
        return Threads(8)


class TestProcesses(ExecutorTests):
    def make(self) -> Executor:
        return Processes(2)


class TestDask(ExecutorTests):
    """Of one cluster, each test with a connection of its own."""

    address: ClassVar[str]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _workers(cls) -> Iterator[None]:
        pytest.importorskip("distributed")
        from tasklineage.executors.dask import Dask
        from tasklineage.executors.dask_local import LocalWorkers

        workers = LocalWorkers(2, 0)
        cls.address = workers.client.scheduler.address
        with Dask(cls.address) as first:  # some threads of Dask stay for all that come later
            first.submit(partial(square, 1)).result()
        yield
        workers.close()

    def make(self) -> Executor:
        from tasklineage.executors.dask import Dask

        return Dask(self.address)
