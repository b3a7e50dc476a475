"""Kill a process at its n-th storage operation, or make that operation fail.

The store does all its file work through functions of `os` that it looks up when it calls them. Here
they are replaced, in a process of their own, by ones that count the operations on files below one
folder and, at the n-th, do what a `Fault` says. `sweep` tries a fault at every operation of a
scenario, one fresh process and folder each:

    def scenario(root: Path, say: Callable[[str], None]) -> None:
        journal = Journal(root)
        journal.append([record])
        say("appended")              # the parent hears this whatever happens afterwards

    for outcome in sweep(scenario, tmp_path):
        check(outcome.root, outcome.said)

The scenario is a function at the top of a module; the module is loaded by its path in a process
without threads, which forks for every fault.
"""

from __future__ import annotations

import base64
import inspect
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
WRITES = ("write", "pwrite", "writev", "pwritev")
BY_NAME = (
    "open", "mkdir", "rmdir", "unlink", "remove", "rename", "replace", "link", "symlink", "chmod",
    "truncate",
)  # fmt: skip
BY_DESCRIPTOR = (*WRITES, "ftruncate", "fsync", "fdatasync", "fchmod", "close")
HARMLESS = ("close", "chmod", "fchmod")
"""Not counted: nothing that anybody could read later changes on the disk."""
KILL = 0
SHORT = -1

Say = Callable[[str], None]
Scenario = Callable[[Path, Say], None]


class Fault(NamedTuple):
    """What happens at one operation."""

    number: int
    """Which one, from 1; 0: none."""
    when: str = "before"
    """`before` it, or in the `middle`: half of the bytes of a write are written."""
    action: int = KILL
    """`KILL`; an errno to fail with; or `SHORT`: half of a write is written, which is no error."""
    lasting: int = 1
    """How many operations from `number` on fail."""


class Outcome(NamedTuple):
    """How a process ended."""

    fault: Fault
    root: Path
    said: list[str]
    """What the scenario said before its end."""
    status: str
    """`killed`, `finished`, or the exception that left the scenario."""
    operation: str
    """The operation at which the fault came; empty if there were not so many."""


def sweep(
    scenario: Scenario,
    folder: Path,
    *,
    actions: Sequence[int] = (KILL,),
    lasting: int = 1,
    every: int = 1,
    timeout: float = 120.0,
) -> Iterator[Outcome]:
    """The outcomes of `scenario` with a fault at its first operation, at its second, and so on.

    Or at `every` so many, but for `--nightly`.

    With `KILL`, the process is killed before each operation, and in the middle of each write. After
    one is before the next.
    """
    faults = [
        Fault(0, when, action, lasting)
        for action in actions
        for when in (("before", "middle") if action == KILL else ("before",))
    ]
    return _serve(scenario, folder, faults, timeout, every=1 if is_nightly() else every)


def is_nightly() -> bool:
    """Whether all is tried that takes long."""
    import hypothesis  # whose profile says it

    return hypothesis.settings.default.max_examples > 1_000


def run(scenario: Scenario, folder: Path, fault: Fault, *, timeout: float = 60.0) -> Outcome:
    """The outcome of `scenario` with one fault, or with none: `Fault(0)`."""
    return next(_serve(scenario, folder, [fault], timeout, once=True))


def _serve(
    scenario: Scenario,
    folder: Path,
    faults: Sequence[Fault],
    timeout: float,
    once: bool = False,
    every: int = 1,
) -> Iterator[Outcome]:
    source = inspect.getsourcefile(scenario)
    order = {
        "module": source, "function": scenario.__name__, "folder": str(folder),
        "faults": [list(fault) for fault in faults], "once": once, "every": every,
    }  # fmt: skip
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, __file__, json.dumps(order)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        timeout=timeout,
        check=True,
        text=True,
    )
    for line in done.stdout.splitlines():
        fields = json.loads(line)
        yield Outcome(
            Fault(*fields["fault"]), Path(fields["root"]), fields["said"], fields["status"],
            fields["operation"],
        )  # fmt: skip


class Operations:
    """The functions of `os` with one fault among them.

    `install` replaces them for good: it is meant for a process that ends with the scenario.
    """

    def __init__(self, root: Path, fault: Fault, announce: Callable[[str], None]) -> None:
        self._root = os.path.realpath(root)
        self._fault = fault
        self._announce = announce
        self._count = 0
        self._open: set[int] = set()

    def install(self) -> None:
        for name in (*BY_NAME, *BY_DESCRIPTOR):
            original = getattr(os, name)
            setattr(os, name, self._wrapped(name, original))

    def _wrapped(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        by_name = name in BY_NAME

        def operation(first: Any, *args: Any, **kwargs: Any) -> Any:
            is_ours = self._is_below(first) if by_name else first in self._open
            if not is_ours or not self._changes(name, args):
                return self._note(name, first, is_ours, original(first, *args, **kwargs))
            self._count += 1
            if not self._fault.number <= self._count < self._fault.number + self._fault.lasting:
                return self._note(name, first, is_ours, original(first, *args, **kwargs))
            return self._fail(name, original, first, args, kwargs)

        # As code of the library that it stands in: what the project patches counts for its tasks.
        operation.__code__ = operation.__code__.replace(co_filename=os.__file__)
        operation.__module__ = os.__name__
        return operation

    def _fail(
        self, name: str, original: Callable[..., Any], first: Any, args: Any, kwargs: Any
    ) -> Any:
        when, action = self._fault.when, self._fault.action
        self._announce(name)
        if action > 0:
            raise OSError(action, os.strerror(action))
        half = (when == "middle" or action == SHORT) and name in WRITES and _halved(args)
        if action == SHORT:
            return original(first, *(half or args), **kwargs)
        if half:
            original(first, *half, **kwargs)
        return os.kill(os.getpid(), signal.SIGKILL)

    def _note(self, name: str, first: Any, is_ours: bool, result: Any) -> Any:
        """Remember which descriptors are of files below the root."""
        if name == "open" and is_ours:
            self._open.add(result)
        elif name == "close":
            self._open.discard(first)
        return result

    def _is_below(self, path: Any) -> bool:
        if isinstance(path, int):
            return path in self._open
        name = os.path.abspath(os.fsdecode(path))
        return os.path.commonpath([self._root, os.path.realpath(os.path.dirname(name))]) == (
            self._root
        )

    def _changes(self, name: str, args: tuple[Any, ...]) -> bool:
        if name == "open":
            return bool(args and args[0] & (os.O_CREAT | os.O_TRUNC))
        return name not in HARMLESS


def _halved(args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """The arguments of a write of half the bytes; None for less than two."""
    data = args[0]
    if isinstance(data, (list, tuple)):  # writev: the first buffer only
        return ([data[0]], *args[1:]) if len(data) > 1 else None
    view = memoryview(data)
    return (view[: len(view) // 2], *args[1:]) if len(view) > 1 else None


def serve(order: dict[str, Any]) -> None:
    """Fork a process for every fault; say on the standard output how each ended."""
    scenario = getattr(load(Path(order["module"])), order["function"])
    folder = Path(order["folder"])
    operations: dict[int, str] = {}
    for kind, template in enumerate(Fault(*fields) for fields in order["faults"]):
        for number in (
            [template.number] if order["once"] else _numbers(template, operations, order["every"])
        ):
            fault = template._replace(number=number)
            root = folder / f"{scenario.__name__}-{kind}-{number}"
            outcome = _fork(scenario, root, fault)
            print(json.dumps(outcome), flush=True)
            if not outcome["operation"]:
                break
            if fault.when == "before" and fault.action == KILL:
                operations[number] = outcome["operation"]


def _numbers(fault: Fault, operations: dict[int, str], every: int) -> Iterable[int]:
    """The operations to try, of which there were these when it was killed before them."""
    if fault.when == "middle":
        return [number for number, name in operations.items() if name in WRITES]
    return itertools.count(1, every)


def _fork(scenario: Scenario, root: Path, fault: Fault) -> dict[str, Any]:
    root.mkdir(parents=True, mode=0o700)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        _live(scenario, root, fault, write)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        lines = [line.decode() for line in pipe.read().splitlines()]
    _, status = os.waitpid(pid, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    marks = {kind: [x[1:] for x in lines if x[0] == kind] for kind in "soe"}
    return {
        "fault": list(fault),
        "root": str(root),
        "said": [base64.b64decode(text).decode() for text in marks["s"]],
        "operation": (marks["o"] or [""])[0],
        "status": "killed" if killed else (marks["e"] or ["finished"])[0],
    }


def _live(scenario: Scenario, root: Path, fault: Fault, pipe: int) -> None:
    """The child: run the scenario with the fault in place, and end."""
    write = os.write
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(60)

    def tell(kind: str, text: str) -> None:
        write(pipe, f"{kind}{text}\n".encode())

    Operations(root, fault, lambda name: tell("o", name)).install()
    try:
        scenario(root, lambda text: tell("s", base64.b64encode(text.encode()).decode()))
    except BaseException as error:
        tell("e", type(error).__name__)
        if not isinstance(error, OSError):
            traceback.print_exc()
    finally:
        os._exit(0)


def load(path: Path) -> Any:
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
