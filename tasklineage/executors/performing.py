"""What executors share whose works run in other processes: how a plain callable gets there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tasklineage.errors import ConfigError
from tasklineage.executors.base import Executor, Work

T = TypeVar("T")


class Performing(Executor):
    """Works are prepared and waited for by `driver`, and run by `perform`."""

    _closed: bool
    """Whether it has been shut down."""

    def submit(
        self,
        call: Callable[[], T],
        *,
        resources: Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> Work[T]:
        self._check()
        perform = self._holding(lambda: self.perform(_Plain(call), timeout=timeout), resources)
        return self.driver.submit(perform)

    def _check(self) -> None:
        if self._closed:
            raise ConfigError(f"{self!r} has been shut down: nothing can be submitted to it")


class _Plain:
    """A callable without parameters, as `perform` takes one."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call

    def __call__(self, tell: Callable[[Any], None]) -> Any:
        tell(True)
        return self.call()
