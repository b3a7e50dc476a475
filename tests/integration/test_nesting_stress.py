"""Random nested programs on small pools: shared keys, futures, maps in maps; never a deadlock."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PROGRAM = textwrap.dedent(
    '''
    """One process: random programs with seeds FIRST..LAST, each in a store of its own."""
    import faulthandler, random, sys
    import tasklineage as tl
    from tasklineage import task

    @task(ignore="plan")
    def node(name, plan):
        """A node executes its plan; `plan` maps a name to a list of (how, names)."""
        total = 1
        for how, names in plan.get(name, ()):
            if how == "call":
                total += sum(node(n, plan) for n in names)
            elif how == "map":
                total += sum(tl.map(node, names, plan=plan))
            elif how == "gather":
                total += sum(tl.gather(*(node.bind(n, plan) for n in names)))
            elif how == "submit":
                futures = [node.submit(n, plan) for n in names]
                total += sum(f.result() for f in futures)
            elif how == "chain":
                total += sum(tl.map(node, tl.map(echo, names), plan=plan))
            else:
                total += tl.join(add, {f"b{i}": node.bind(n, plan) for i, n in enumerate(names)})
        return total

    @task
    def echo(name):
        return name

    @task
    def add(inputs):
        return sum(inputs)

    def random_plan(rng):
        """An acyclic plan over few names, so that the same keys are wanted from many places."""
        count = rng.randint(3, 9)
        hows = ["call", "map", "map", "gather", "submit", "join", "chain"]
        plan = {}
        for i in range(count):
            below = [f"n{j}" for j in range(i + 1, count)]
            steps = []
            for _ in range(rng.randint(0, 3) if below else 0):
                names = [rng.choice(below) for _ in range(rng.randint(1, 4))]
                steps.append((rng.choice(hows), names))
            plan[f"n{i}"] = steps
        return plan

    def expected(name, plan, known):
        if name not in known:
            known[name] = 1 + sum(
                expected(n, plan, known) for _, names in plan.get(name, ()) for n in names
            )
        return known[name]

    first, last, where, limit = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    for seed in range(first, last):
        faulthandler.dump_traceback_later(limit, exit=True)
        rng = random.Random(seed)
        plan = random_plan(rng)
        store = f"{where}/{seed}"
        with tl.run(f"seed-{seed}", executor=f"threads:{rng.randint(1, 3)}", store=store) as run:
            tops = [rng.choice(sorted(plan)) for _ in range(rng.randint(1, 4))]
            got = list(tl.map(node, tops, plan=plan))
        assert got == [expected(t, plan, {}) for t in tops], (seed, got)
        once = [c.key for c in run.calls if not c.hit and c.task.endswith("node")]
        assert len(once) == len(set(once)), f"seed {seed}: a key executed twice"
    faulthandler.cancel_dump_traceback_later()
    print("ok")
    '''
)


def run_seeds(tmp_path: Path, first: int, last: int) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(script), str(first), str(last), str(tmp_path / "stores"), "120"],
        capture_output=True,
        text=True,
        timeout=1_200,
        check=False,
    )
    assert done.stdout.endswith("ok\n"), done.stderr[-8_000:]


@pytest.mark.parametrize("first", range(0, 500, 125))
def test_500_random_nested_programs_end(tmp_path: Path, first: int) -> None:
    run_seeds(tmp_path, first, first + 125)


CROSSED = textwrap.dedent(
    """
    import faulthandler, sys, time
    import tasklineage as tl
    from tasklineage import task
    faulthandler.dump_traceback_later(90, exit=True)

    @task(ignore=("others", "pause"))
    def want(name, others, pause):
        time.sleep(pause)
        return 1 + sum(want(o, [], 0) for o in others)

    store, mine, theirs = sys.argv[1:]
    with tl.run(store=store, executor="threads:1"):
        print(want(mine, [theirs], 0.3))
    """
)


def test_processes_that_want_each_others_keys_do_not_deadlock(tmp_path: Path) -> None:
    script = tmp_path / "crossed.py"
    script.write_text(CROSSED)
    ring = ["a", "b", "c"]
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(tmp_path / "store"), mine, theirs],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for mine, theirs in zip(ring, [*ring[1:], ring[0]], strict=True)
    ]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.strip() in ("1", "2", "3", "4")  # 4: all around, and one call twice
