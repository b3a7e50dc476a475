"""What tasklineage uses of cloudpickle, which ships no types."""

import pickle
from collections.abc import Callable
from types import ModuleType
from typing import Any

class Pickler(pickle.Pickler):
    def __init__(
        self,
        file: Any,
        protocol: int | None = ...,
        buffer_callback: Callable[[pickle.PickleBuffer], Any] | None = ...,
    ) -> None: ...

def dumps(
    obj: Any,
    protocol: int | None = ...,
    buffer_callback: Callable[[pickle.PickleBuffer], Any] | None = ...,
) -> bytes: ...
def loads(data: Any) -> Any: ...
def register_pickle_by_value(module: ModuleType) -> None: ...
def list_registry_pickle_by_value() -> set[str]: ...
