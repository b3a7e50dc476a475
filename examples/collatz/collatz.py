"""The longest Collatz sequence below a limit: a map of a thousand calls, and a join.

    python examples/collatz/collatz.py          # every number from 1 to 1,000
    python examples/collatz/collatz.py 1200     # 200 of them are new

Each number is a call of its own, with a record of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import tasklineage as tl
from tasklineage import task


@task
def steps(number: int) -> int:
    """How many steps lead to 1: halve what is even, else triple it and add one."""
    count = 0
    while number != 1:
        number = number // 2 if number % 2 == 0 else 3 * number + 1
        count += 1
    return count


@task
def longest(counts: Sequence[int]) -> tuple[int, int]:
    """The first number with the most steps, and how many these are."""
    most = max(counts)
    return list(counts).index(most) + 1, most


def main(limit: int = 1_000) -> None:
    """Find it among the numbers from 1 to `limit`."""
    with tl.run("collatz", params={"limit": limit}) as run:
        number, count = tl.join(longest, tl.map(steps, range(1, limit + 1)))
    print(f"{number} takes {count} steps")
    print(f"executed {run.executed}, hits {run.hits}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
