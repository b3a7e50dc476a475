"""A process that runs programs in children of its own: a fresh interpreter state in milliseconds.

Everything slow to import is there already; what a program imports, binds or changes dies with its
child. One server stands for one PYTHONHASHSEED. Run as a script it answers jobs, one JSON object
a line; `Server` is the other end.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = str(Path(__file__).resolve().parents[2])


class Answer(NamedTuple):
    """What came of running a program."""

    value: str
    """The `repr` of what its `answer()` returned, or the error."""
    executed: int
    hits: int
    untracked: list[str]
    """References that could not be resolved."""


class Server:
    """A process with its own PYTHONHASHSEED, in which each job is a fork."""

    def __init__(self, seed: int) -> None:
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("TASKLINEAGE_")},
            "PYTHONHASHSEED": str(seed),
            "PYTHONPATH": ROOT,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, folder: Path, store: Path | None, start: str = "import main") -> Answer:
        """What a program in a folder answers; `store` None: of functions that are no tasks.

        `start` is how it is begun: `import MODULE`, `script FILE` or `-m MODULE`.
        """
        self.begin(folder, store, start)
        return self.finish()

    def begin(self, folder: Path, store: Path | None, start: str = "import main") -> None:
        """Let a program run; `finish` gives its answer, in the order of these calls."""
        assert self._process.stdin is not None
        job = {"folder": str(folder), "store": store and str(store), "start": start}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()

    def finish(self) -> Answer:
        """The answer of the first program that was begun and not finished."""
        assert self._process.stdout is not None
        return Answer(*json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=60)


def _serve() -> None:
    """Answer the jobs on stdin, one at a time, each by a child."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a program prints
    for line in sys.stdin:
        job = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            _be_child(job, writer)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            text = pipe.read()
        _, status = os.waitpid(child, 0)
        out.write((text or json.dumps([f"died of {status}", -1, -1, []])) + "\n")
        out.flush()


def _be_child(job: dict[str, Any], writer: int) -> None:
    code = 1
    try:
        os.write(writer, json.dumps(_result(job)).encode())
        code = 0
    finally:
        os._exit(code)


def _result(job: dict[str, Any]) -> tuple[str, int, int, list[str]]:
    import tasklineage as tl

    os.chdir(job["folder"])
    sys.path.insert(0, job["folder"])
    if job["store"] is None:
        os.environ["TASKLINEAGE_DISABLE"] = "1"
        return _value(job["start"]), 0, 0, []
    tl.configure(store=job["store"])
    with tl.run("case") as run:
        value = _value(job["start"])
        untracked = [text for call in run.calls for text in call.untracked]
    return value, run.executed, run.hits, untracked


def _value(start: str) -> str:
    try:
        space = _started(*start.split())
        answer = space.get("answer") or (lambda: space["run"](3))
        return repr(answer())
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _started(how: str, what: str) -> dict[str, Any]:
    """The namespace of a program, begun as the interpreter would."""
    import importlib
    from types import ModuleType

    if how == "import":
        return vars(importlib.import_module(what))
    module = ModuleType("__main__")
    if how == "-m":
        spec = importlib.util.find_spec(what)
        assert spec is not None
        assert spec.origin is not None
        module.__spec__, module.__package__, path = spec, spec.parent, spec.origin
    else:
        path = os.path.abspath(what)
    module.__file__ = path
    sys.modules["__main__"] = module
    exec(compile(Path(path).read_text(), path, "exec"), vars(module))
    return vars(module)


if __name__ == "__main__":
    from importlib import import_module

    for _name in (
        "asyncio",
        "numpy",
        "sqlite3",
        "tasklineage.core.engine",
        "tasklineage.query.runs",
    ):
        import_module(_name)
    for _name in ("annotations", "changes", "environment", "repository", "surroundings"):
        import_module(f"tasklineage.core.{_name}")
    sys.path.remove(os.path.dirname(os.path.abspath(__file__)))
    gc.freeze()  # so that children share the memory
    _serve()
