"""Every executor passes the same tests."""

from __future__ import annotations

from tasklineage.executors.base import Executor
from tasklineage.executors.inline import Inline
from tasklineage.executors.processes import Processes
from tasklineage.executors.threads import Threads
from tests.conformance.executors import ExecutorTests


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
    shares_memory = False

    def make(self) -> Executor:
        return Processes(2)
