"""By how much each world record of the marathon was beaten. There is a mistake in it.

    python examples/marathon/marathon.py

It stops in `gains`, with an IndexError. What was finished before is stored: mend the function, run
the script again, and it goes on from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tasklineage as tl
from tasklineage import task


class Mark(NamedTuple):
    """A world record."""

    year: int
    runner: str
    time: str


RECORDS = [
    Mark(1908, "Johnny Hayes", "2:55:18.4"),
    Mark(1925, "Albert Michelsen", "2:29:01.8"),
    Mark(1952, "Jim Peters", "2:20:42.2"),
    Mark(1960, "Abebe Bikila", "2:15:16.2"),
    Mark(1967, "Derek Clayton", "2:09:36.4"),
    Mark(1988, "Belayneh Dinsamo", "2:06:50"),
    Mark(1999, "Khalid Khannouchi", "2:05:42"),
    Mark(2003, "Paul Tergat", "2:04:55"),
    Mark(2008, "Haile Gebrselassie", "2:03:59"),
    Mark(2014, "Dennis Kimetto", "2:02:57"),
    Mark(2018, "Eliud Kipchoge", "2:01:39"),
    Mark(2023, "Kelvin Kiptum", "2:00:35"),
]


@task
def seconds(time: str) -> float:
    """The time `h:mm:ss` in seconds."""
    hours, minutes, rest = time.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


@task
def gains(times: Sequence[float]) -> list[float]:
    """By how many seconds each time is better than the one before."""
    return [times[i] - times[i + 1] for i in range(len(times))]


@task
def report(records: list[Mark], better: list[float]) -> str:
    """A line for each record but the first."""
    rows = zip(records[1:], better, strict=True)
    return "\n".join(f"{mark.year} {mark.runner:20} {gain:7.1f} s" for mark, gain in rows)


def main() -> None:
    """Print the report, and say what had to be executed for it."""
    with tl.run("marathon") as run:
        times = tl.map(seconds, [mark.time for mark in RECORDS])
        print(report(RECORDS, gains(times)))
    print(f"executed {run.executed}, hits {run.hits}")


if __name__ == "__main__":
    main()
