"""Count to a number, one call at a time.

    python examples/counter/counter.py        # counts to 3
    python examples/counter/counter.py 5      # goes on from 3: two calls execute

The counts are handed on as Futures, so lineage knows which was made of which.
"""

from __future__ import annotations

import sys

import tasklineage as tl
from tasklineage import task


@task
def start() -> int:
    """Where counting begins."""
    return 0


@task
def increment(count: int) -> int:
    """One more."""
    print(f"{count} + 1")
    return count + 1


def main(goal: int = 3) -> None:
    """Count to `goal`, and say how much of that was new."""
    with tl.run("counter", params={"goal": goal}) as run:
        count = start.submit()
        for _ in range(goal):
            count = increment.submit(count)
        print(f"counted to {count.result()}")
    print(f"executed {run.executed}, hits {run.hits}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
