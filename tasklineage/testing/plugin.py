"""The fixtures for pytest: loaded in every session, so it imports nothing of the library itself."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tasklineage.storage.store import Store
    from tasklineage.testing.assertions import Assertion


pytest.register_assert_rewrite("tasklineage.testing.executors")


@pytest.fixture
def tl_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A new store, which all calls of this test use; afterwards the process is as it was."""
    from tasklineage.testing.sandbox import temporary_store

    with temporary_store(tmp_path_factory.mktemp("tl_store") / "store") as store:
        yield store


@pytest.fixture
def assert_executed(tl_store: Store) -> Assertion:
    """`assert_executed(task, n=None, *, run=None)`: it executed, n times, in this test."""
    from tasklineage.testing import assertions

    return _bound(assertions.assert_executed, tl_store)


@pytest.fixture
def assert_hit(tl_store: Store) -> Assertion:
    """`assert_hit(task, n=None, *, run=None)`: memos answered it, n times, in this test."""
    from tasklineage.testing import assertions

    return _bound(assertions.assert_hit, tl_store)


def _bound(assertion: Assertion, store: Store) -> Assertion:
    """The assertion, which looks in this store unless another one, or a run, is named."""

    @functools.wraps(assertion)
    def check(task: Any, /, n: int | None = None, *, run: Any = None, store: Any = store) -> Any:
        __tracebackhide__ = True
        return assertion(task, n, run=run, store=store)

    return check
