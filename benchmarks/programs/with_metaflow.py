"""The works, done with Metaflow: a call is a step of a flow, a hit a step that `resume` clones.

The clock includes the start of the flow's process, for that is how a flow is run. The steps that a
flow has besides are taken for calls, too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import measure
from measure import Work, Works

FLOWS = Path(__file__).with_name("flows.py")


BESIDES = 3
"""Steps of a flow besides those that are counted: its start, a join, its end."""


def flow(name: str, artifact: str, folder: Path, size: int, workers: int = 1) -> Work:
    """Run a flow, or resume it where it was run before; the answer is an artifact of its end."""
    measure.count(size + BESIDES)
    is_new = not folder.exists()
    folder.mkdir(exist_ok=True)
    os.environ.update(
        FLOW=name,
        METAFLOW_DATASTORE_SYSROOT_LOCAL=str(folder),
        METAFLOW_DEFAULT_METADATA="local",
        METAFLOW_USER="benchmarks",
    )
    import metaflow

    command = [sys.executable, str(FLOWS), "--quiet", "--no-pylint"]
    told = ["run", "--size", str(size)] if is_new else ["resume"]

    def work() -> object:
        run = [*command, *told, "--max-workers", str(workers), "--max-num-splits", "1000"]
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL, cwd=folder)
        metaflow.namespace(None)
        answer = getattr(metaflow.Flow(name).latest_run.data, artifact)
        return answer if artifact == "total" else float(answer[-1])

    return work


def calls(folder: Path, size: int) -> Work:
    return flow("Calls", "total", folder, size)


def map_(folder: Path, size: int) -> Work:
    return flow("Calls", "total", folder, size, measure.THREADS)


def large(folder: Path, size: int) -> Work:
    return flow("Large", "result", folder, size)


def chain(folder: Path, size: int) -> Work:
    return flow("Chain", "result", folder, size)


def repeated(folder: Path, size: int) -> Work:
    return flow("Repeated", "total", folder, size)


WORKS: Works = {
    "calls": calls, "map": map_, "large": large, "chain": chain, "repeated": repeated,
}  # fmt: skip

if __name__ == "__main__":
    measure.main(WORKS)
