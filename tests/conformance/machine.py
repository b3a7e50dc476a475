"""A program that uses a store: a machine of its own, if it has a state folder of its own.

It says on the standard output, as one line of JSON, what came of each thing that it was asked for.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tasklineage as tl
from tasklineage import task
from tasklineage.key.digest import digest


@task
def whole(n: int) -> int:
    return n + 1


@task
def text(n: int) -> str:
    return f"{n} " * 10


@task
def nested(n: int) -> dict[str, Any]:
    return {"n": n, "rows": [(i, float(i), None) for i in range(20)], "b": b"\0" * n}


@task
def long_text(n: int) -> str:
    return f"{n} " * 100_000


@task
def array(n: int) -> Any:
    import numpy as np  # not for those who only count

    return np.full((300, 500), n, dtype="f8")


@task
def frame(n: int) -> Any:
    import numpy as np
    import pandas as pd

    return pd.DataFrame({"a": np.arange(20_000) * n, "b": [str(i) for i in range(20_000)]})


@task
def tree(n: int) -> dict[str, Any]:
    import numpy as np

    return {"left": np.full(50_000, n), "right": [np.full(50_000, -n), "leaf"]}


@task
def file(n: int) -> tl.File:
    path = Path(os.environ["FILES"], f"made-{n}.txt")
    path.write_text(f"{n}\n" * 10_000)
    return tl.File(path)


KINDS: tuple[Callable[[int], Any], ...] = (
    whole, text, nested, long_text, array, frame, tree,
)  # fmt: skip


LARGE = 40_000
"""Bytes of a large result: nothing else that a run stores is of this size."""


@task
def large(n: int) -> bytes:
    return bytes([n % 251]) * LARGE + n.to_bytes(4, "big")


def values(n: str) -> dict[str, Any]:
    """A result of each kind."""
    found = [kind(int(n)) for kind in KINDS]
    made = file(int(n))
    return {"digests": [digest(value).hex() for value in found], "file": made.text()[:20]}


def map_whole(first: str, last: str) -> dict[str, Any]:
    """Many small results."""
    return {"sum": sum(tl.map(whole, range(int(first), int(last))))}


def map_large(first: str, last: str) -> dict[str, Any]:
    """Many results that are objects of their own."""
    wanted = range(int(first), int(last))
    found = list(tl.map(large, wanted))
    return {"right": [one[-4:] for one in found] == [n.to_bytes(4, "big") for n in wanted]}


def one_by_one(first: str, last: str) -> dict[str, Any]:
    """Calls, each said when it has returned."""
    for n in range(int(first), int(last)):
        large(n)
        print(n, flush=True)
    return {}


def load_all() -> dict[str, Any]:
    """How many results of all runs that there are can be loaded; each must be."""
    calls = [call for run in tl.runs(namespace="*") for call in run.calls if not call.error]
    return {"loaded": sum(call.result is not None for call in calls if call.status != "lost")}


def wait(seconds: str) -> dict[str, Any]:
    """Nothing, for a while."""
    time.sleep(float(seconds))
    return {}


def main(steps: list[str]) -> None:
    """Steps are divided by `+`; the run says at the end how many calls were what."""
    warnings.simplefilter("ignore")
    begun = time.monotonic()
    with tl.run("machine", executor=os.environ.get("EXECUTOR", "threads:4")) as run:
        told: dict[str, Any] = {}
        for step in " ".join(steps).split("+"):
            name, *arguments = step.split()
            told |= globals()[name](*arguments)
    told |= {"executed": run.executed, "hits": run.hits, "id": run.id}
    print(json.dumps({**told, "seconds": time.monotonic() - begun}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
