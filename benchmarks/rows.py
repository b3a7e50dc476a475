"""What is measured: the works, and the rows of the table that they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

OURS = "tasklineage"
Scale = Literal["full", "quick", "tiny"]


class Taken(NamedTuple):
    """What one process told of one step of a work."""

    answer: Any
    seconds: float
    first: float | None
    """Seconds until the store was open and the first result there."""
    lap: float | None
    """Seconds of the quickest hundred calls in a row."""
    calls: int
    cpu: float
    before: float
    """Megabytes of memory before the work."""
    peak: float
    """The most it came to."""
    stored: float = 0.0
    """Megabytes that the store holds after this step."""
    size: int = 0
    """How much was done."""
    wanted: int = 0
    """How much the row is about."""


class Row(NamedTuple):
    """One line of the table: what is taken from one step of a work."""

    label: str
    step: int
    unit: str
    take: Callable[[Taken], float | None]
    at_most: float | None = None
    """Our budget."""
    share: tuple[int, str] | None = None
    """Our goal beside a peer: one part in so many of what that takes."""

    @property
    def is_time(self) -> bool:
        """Whether it says how long something takes."""
        return self.unit in ("µs", "ms", "s")


class Work(NamedTuple):
    """One thing that every library does in its own way."""

    name: str
    title: str
    steps: tuple[str, ...]
    """Works of the programs: each is done by a new process on what the one before has left."""
    rows: tuple[Row, ...]
    sizes: tuple[int, int, int]
    """The size at each scale: full, quick, tiny."""
    most: Mapping[str, int] = {}
    """The largest size for libraries that are slow at it."""
    absent: Mapping[str, str] = {}
    """Why some libraries do not take part."""
    repetitions: int = 99
    """At most so many, where one takes long."""

    def size(self, scale: Scale, library: str = OURS) -> int:
        """How much a library does; 0: this is not done at that scale."""
        wanted = self.sizes[("full", "quick", "tiny").index(scale)]
        most = self.most.get(library)
        if most is None:
            return wanted
        return min(wanted, most if scale == "full" else max(2, most // 4))

    @property
    def is_growth(self) -> bool:
        """Whether it is one size of many."""
        return self.name.startswith("growth")


def per_call(taken: Taken) -> float:
    """Microseconds a call."""
    return taken.seconds / taken.calls * 1e6


def later_call(taken: Taken) -> float:
    """Microseconds a call, opening the store and the first one left out."""
    if taken.first is None:
        return per_call(taken)
    return (taken.seconds - taken.first) / (taken.size - 1) * 1e6


def best_lap(taken: Taken) -> float | None:
    """Microseconds a call in the quickest hundred in a row."""
    return None if taken.lap is None else taken.lap / 100 * 1e6


def first_call(taken: Taken) -> float | None:
    """Milliseconds until the store is open and the first result there."""
    return None if taken.first is None else taken.first * 1e3


def seconds(taken: Taken) -> float:
    """Seconds of the whole work, reckoned from a part where only a part was done."""
    return taken.seconds * taken.wanted / taken.calls


def milliseconds(taken: Taken) -> float:
    """Milliseconds of what was done, however much that is."""
    return taken.seconds * 1e3


def stored(taken: Taken) -> float:
    """Megabytes in the store, reckoned from a part where only a part was done."""
    return taken.stored * taken.wanted / taken.size


def stored_once(taken: Taken) -> float:
    """Megabytes in the store, however much was done."""
    return taken.stored


def peak(taken: Taken) -> float:
    """Megabytes of memory at the most."""
    return taken.peak


def beyond_value(taken: Taken) -> float:
    """Memory beyond that of the value itself, as a multiple of it, if the size is in megabytes."""
    return max(0.0, (taken.peak - taken.before - taken.size) / taken.size)


_HIT = "hit, new process"
_FEW = {"redun": 100, "mandala": 500, "metaflow": 5}
_SAME = "the names that a function reaches are nothing to it: as above"
_SLOW = "too slow for this number"
_NAMES = dict.fromkeys(("redun", "mandala", "metaflow"), _SAME)


def _calls(name: str, title: str, hit: float, absent: Mapping[str, str] = {}) -> Work:
    return Work(
        name,
        title,
        (name, name),
        (
            Row("cold", 0, "µs", per_call, 25, (6, "diskcache")),
            Row(_HIT, 1, "µs", per_call, hit, (4, "diskcache")),
            Row("cold, quickest 100 in a row", 0, "µs", best_lap, 25),
            Row("hit, quickest 100 in a row", 1, "µs", best_lap, hit),
        ),
        (2_000, 1_000, 250),
        {**_FEW, "exca": 400},
        absent,
    )


def _growth(size: int) -> Work:
    most = {"joblib": 10_000, "exca": 1_000, "mandala": 1_000, "redun": 100, "metaflow": 0}
    absent = {name: _SLOW for name, count in most.items() if count < size}
    return Work(
        f"growth_{size}",
        f"{size:,} calls, one after the other",
        ("calls", "calls"),
        (
            Row("cold", 0, "µs", later_call),
            Row(_HIT, 1, "µs", later_call),
            Row("first hit, store opened", 1, "ms", first_call),
        ),
        (size, size if size <= 10_000 else 0, size if size <= 100 else 0),
        absent=absent,
        repetitions=2,
    )


def _memory(size: int, title: str, absent: Mapping[str, str]) -> Work:
    return Work(
        f"memory_{size}",
        f"{title}, memory beyond the array",
        ("memory", "memory"),
        (
            Row("while made and stored", 0, "N", beyond_value, 0.2),
            Row("while loaded and summed up", 1, "N", beyond_value, 0.2),
        ),
        (size, min(size, 100), 20),
        absent=absent,
        repetitions=2,
    )


_OTHER_PROCESS = "its steps are processes of their own"
_NO_QUERIES = "it keeps no record of calls"

WORKS = (
    _calls("calls", "call of a trivial function", 10),
    _calls("closure_20", "call of a function that reaches 20 names", 10, _NAMES),
    _calls("closure_200", "call of a function that reaches 200 names", 20, _NAMES),
    Work(
        "map",
        "map of 10,000 trivial calls, 2 threads",
        ("map", "map"),
        (
            Row("cold", 0, "s", seconds, 0.4, (5, "diskcache")),
            Row(_HIT, 1, "s", seconds, 0.08, (8, "diskcache")),
        ),
        (10_000, 2_000, 50),
        {"redun": 300, "mandala": 500, "metaflow": 20},
    ),
    Work(
        "large",
        "100 MB array in, 100 MB array out",
        ("large", "large"),
        (
            Row("cold", 0, "s", seconds, 0.25),
            Row(_HIT, 1, "s", seconds, 0.025),
            Row("stored", 0, "MB", stored),
        ),
        (100, 100, 2),
    ),
    Work(
        "chain",
        "chain of 5 functions over 100 MB",
        ("chain", "chain"),
        (
            Row("cold", 0, "s", seconds, 1.0),
            Row("again, new process", 1, "s", seconds, 0.08),
            Row("stored", 0, "MB", stored),
        ),
        (100, 25, 2),
        repetitions=3,
    ),
    Work(
        "repeated",
        "the same 10 MB result 100 times",
        ("repeated", "repeated"),
        (
            Row("cold", 0, "s", seconds, 0.5),
            Row(_HIT, 1, "s", seconds),
            Row("stored", 0, "MB", stored_once, 11),
        ),
        (100, 20, 2),
        {"metaflow": 10},
        repetitions=3,
    ),
    _memory(100, "100 MB array", {"metaflow": _OTHER_PROCESS}),
    _memory(
        1000,
        "1 GB array",
        {
            "metaflow": _OTHER_PROCESS,
            **dict.fromkeys(("diskcache", "redun", "mandala"), "it copies: see 100 MB"),
        },
    ),
    Work(
        "driver",
        "map of 100,000 trivial calls, peak memory",
        ("map", "map"),
        (Row("cold", 0, "MB", peak, 300), Row(_HIT, 1, "MB", peak, 300)),
        (100_000, 10_000, 50),
        absent=dict.fromkeys(("joblib", "redun", "mandala", "metaflow"), _SLOW),
        repetitions=1,
    ),
    Work(
        "kilobytes",
        "map of 100,000 calls of 1 KB, peak memory",
        ("kilobytes", "kilobytes"),
        (Row("cold", 0, "MB", peak, 300), Row(_HIT, 1, "MB", peak, 300)),
        (100_000, 10_000, 50),
        absent=dict.fromkeys(("joblib", "redun", "mandala", "metaflow"), _SLOW),
        repetitions=1,
    ),
    Work(
        "queries",
        "100,000 calls in the store",
        ("fill", "list_runs", "open_run", "lineage", "why", "why_in_the_shell"),
        (
            Row("list 50 filtered runs", 1, "ms", milliseconds, 50),
            Row("open a run of 10,000 calls", 2, "ms", milliseconds, 1_000),
            Row("lineage of one value", 3, "ms", milliseconds, 100),
            Row("why a call executed", 4, "ms", milliseconds, 300),
            Row("why a call executed, in the shell", 5, "ms", milliseconds, 300),
        ),
        (100_000, 10_000, 1_000),
        absent={
            **dict.fromkeys(("plain", "joblib", "diskcache", "exca"), _NO_QUERIES),
            **dict.fromkeys(("redun", "mandala", "metaflow"), "filling its store takes too long"),
        },
        repetitions=2,
    ),
    *map(_growth, (100, 1_000, 10_000, 100_000)),
)

IMPORT = Work(
    "import", "import, above bare Python", (), (Row("", 0, "ms", seconds, 60),), (1, 1, 1),
    absent={"plain": "there is nothing to import"},
)  # fmt: skip
"""Measured by starting Python, with and without."""
