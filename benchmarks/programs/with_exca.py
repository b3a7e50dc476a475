"""The works, done with exca's `MapInfra`, whose users say what makes two items the same.

exca looks at annotations as objects: they are not postponed here.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import exca
import measure
import pydantic
from works import Function, works

_functions: dict[str, Function] = {}


def uid(item: Any) -> str:
    """A number is its own; of an array nothing is looked at."""
    return str(item) if isinstance(item, int) else "array"


class Remembered(pydantic.BaseModel):
    """A function and its results; the name of the function is part of what they are kept under."""

    name: str
    infra: exca.MapInfra = exca.MapInfra()

    @infra.apply(item_uid=uid)
    def process(self, items: Iterable[Any]) -> Iterator[Any]:
        function = _functions[self.name]
        for item in items:
            yield function(item)

    def __call__(self, item: Any) -> Any:
        return next(iter(self.process([item])))


def remember(function: Function, folder: Path) -> Callable[..., Any]:
    _functions[function.__name__] = function
    folder.mkdir(exist_ok=True)
    infra = {"folder": folder, "keep_in_ram": False}
    return Remembered(name=function.__name__, infra=infra)


def spread(remembered: Function, elements: Iterable[Any]) -> Iterable[Any]:
    """All elements in one batch, which is what exca is made for."""
    assert isinstance(remembered, Remembered)
    changes = {"infra.cluster": "threadpool", "infra.max_jobs": measure.THREADS}
    results: Iterable[Any] = remembered.infra.clone_obj(changes).process(elements)
    return results


if __name__ == "__main__":
    logging.getLogger("exca").setLevel(logging.ERROR)
    measure.main(works(remember, spread))
