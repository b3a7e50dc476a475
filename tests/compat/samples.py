"""Values whose digests must never change, and their digests under the interpreter that runs this.

`digests.json` maps each expression to its digest. As a script this prints the same mapping as it
is here and now, of what can be imported; it needs nothing but xxhash. A digest in the file is only
ever changed together with `tasklineage.key.digest.SCHEME`.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import importlib
import json
import sys
import types
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).with_name("digests.json")
MODULES = (
    "array collections datetime decimal fractions functools json math operator pathlib random re "
    "string types typing uuid zoneinfo"
).split()
"""What expressions refer to, beside the definitions below and the libraries of their group."""


class Colour(enum.Enum):
    """An enumeration of the project."""

    RED = 1
    BLUE = (2, 3)


class Right(enum.Flag):
    """Flags of the project."""

    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Point:
    """A dataclass of the project."""

    x: Any = 0
    y: Any = None


class Slotted:
    """A class of the project with slots and more."""

    __slots__ = ("__dict__", "a")


class Reduced:
    """A class of the project that says itself what there is of it."""

    def __reduce__(self) -> Any:
        return Reduced, (), {"state": [1, 2]}


class Listed(list[Any]):
    """A list of the project."""


class Chosen(frozenset[Any]):
    """A set of the project."""


Named = collections.namedtuple("Named", "a b")


def slotted() -> Slotted:
    """An instance with a slot and an attribute."""
    made = Slotted()
    made.a, made.b = 1, [2]  # type: ignore[attr-defined]
    return made


def cyclic() -> list[Any]:
    """A list that contains itself, and an object that is contained in its attribute."""
    made: list[Any] = [1, {"point": Point()}]
    made[1]["point"].y = made
    made.append(made)
    return made


def ring() -> list[Any]:
    """A list that contains nothing but itself."""
    made: list[Any] = []
    made.append(made)
    return made


def deep(depth: int) -> list[Any]:
    """Lists inside each other."""
    made: list[Any] = []
    for i in range(depth):
        made = [made, i]
    return made


def shared(levels: int) -> list[Any]:
    """Lists of which each stands twice in the next one."""
    made: list[Any] = [1.5]
    for _ in range(levels):
        made = [made, made]
    return made


def code(thing: Any) -> bytes | None:
    """Stands for the code hook: what is defined here is of the project."""
    if getattr(thing, "__module__", None) == __name__:
        return bytes(thing.__qualname__.ljust(16)[:16], "ascii")
    return None


def namespace(group: str) -> dict[str, Any] | None:
    """What the expressions of a group refer to; None where a library is absent."""
    found: dict[str, Any] = {name: importlib.import_module(name) for name in MODULES}
    found.update(globals())
    libraries = {"np": "numpy", "pd": "pandas", "pa": "pyarrow", "pl": "polars"}
    libraries |= {"torch": "torch", "jax": "jax", "sparse": "scipy.sparse", "Image": "PIL.Image"}
    libraries |= {"attrs": "attrs", "pydantic": "pydantic"}
    for name, library in libraries.items():
        if library in group.split():
            try:
                found[name] = importlib.import_module(library)
            except ImportError:
                return None
    return found


def current(golden: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """The digests, as they are now, of all expressions that can be evaluated."""
    digest = importlib.import_module("tasklineage.key.digest").digest
    found: dict[str, dict[str, str]] = {}
    for group, expressions in golden.items():
        space = namespace(group)
        if space is not None:
            found[group] = {
                text: digest(eval(text, space), code=code).hex() for text in expressions
            }
    return found


def stand_alone() -> None:
    """Make the modules of the key importable without what the rest of the package needs."""
    package = types.ModuleType("tasklineage")
    package.__path__ = [str(Path(__file__).resolve().parents[2] / "tasklineage")]
    sys.modules["tasklineage"] = package


if __name__ == "__main__":
    stand_alone()
    print(json.dumps(current(json.loads(GOLDEN.read_text("utf-8")))))
