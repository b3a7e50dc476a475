"""A store for one test, and a process that is afterwards as it was before."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Generator
from typing import Any

from tasklineage import config
from tasklineage.core import ambient
from tasklineage.core.run import configure
from tasklineage.key.pins import State
from tasklineage.query import find
from tasklineage.storage.opening import open_store
from tasklineage.storage.store import Store


@contextlib.contextmanager
def temporary_store(path: str | os.PathLike[str] | None = None, **options: Any) -> Generator[Store]:
    """A new store, which calls in the block use; afterwards everything is as it was.

    Settings of `tl.configure` and `tl.namespace`, the run that calls outside every `tl.run` belong
    to, and an open `tl.run` around the block are put aside and come back. The run that begins in
    the block ends with it. Programs that the block starts use the store too, through the
    environment.

    Parameters
    ----------
    path
        Where it is, and stays; None: in a temporary folder, which is removed.
    **options
        As those of `tl.open_store`.

    Notes
    -----
    Settings are those of the process: tests that run at once in threads of one process share the
    store. Workers of pytest-xdist are processes.

    Examples
    --------
    >>> import tasklineage as tl
    >>> @tl.task
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> with temporary_store() as store:
    ...     double(2), double(2), len(tl.calls(store=store))
    (4, 4, 2)
    """
    with contextlib.ExitStack() as stack:
        if path is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            path = os.path.join(folder, "store")
        stack.enter_context(_state_kept())
        store = open_store(path, **options)
        stack.callback(store.close)
        stack.enter_context(_environment_kept())
        os.environ["TASKLINEAGE_STORE"] = store.url
        os.environ.pop("TASKLINEAGE_DISABLE", None)
        stack.enter_context(ambient.set_aside())
        configure(store=store)
        yield store


@contextlib.contextmanager
def _state_kept() -> Generator[None]:
    settings, memory = config.settings(), State.memory
    try:
        with find.namespace_kept():
            yield
    finally:
        configure(**settings._asdict())
        State.memory = memory


@contextlib.contextmanager
def _environment_kept() -> Generator[None]:
    names = ("TASKLINEAGE_STORE", "TASKLINEAGE_DISABLE")
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
