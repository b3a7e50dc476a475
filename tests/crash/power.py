"""A disk that loses power: of what was written below a folder, only what was flushed is left.

The functions of `os` are replaced, as in `killer`, by ones that do their work and keep a second
account: of each file, the content at its last `fsync` and the writes since; of each folder, the
entries at its last `fsync` and the changes since. At the n-th operation the power fails: the
process ends, and what a disk may be left with is laid out in a new folder. POSIX promises no more
than what was flushed, and no order of the rest, so there are several:

    nothing     nothing of what was not flushed
    names       all names, and of contents only what was flushed: files are empty, or zeros
    contents    all contents, and only the names that were flushed
    some        any of it, drawn at random; a write may be torn at a multiple of 512 bytes

    for outcome in sweep(scenario, check, tmp_path):
        assert not outcome.problems

`scenario(folder, say)` runs once for every fault, `check(folder, said)` on each thing that was
left; what it gives are the problems it found. Both run in processes of their own, and are functions
at the top of a module. SQLite does not write through `os`: its files have whatever content they
had, if their names are left.
"""

from __future__ import annotations

import base64
import inspect
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tests.crash.killer import ROOT, load

WRITES = ("write", "pwrite", "writev", "pwritev")
NAMES = ("mkdir", "rmdir", "unlink", "remove", "rename", "replace", "link")
DESCRIPTORS = ("ftruncate", "fsync", "fdatasync", "close")
VARIANTS = ("nothing", "names", "contents", "some", "some", "some")
_SECTOR = 512

Say = Callable[[str], None]
Scenario = Callable[[Path, Say], None]
Check = Callable[[Path, Sequence[str]], list[str]]


class Outcome(NamedTuple):
    """What was left after one power cut, and what is wrong with it."""

    number: int
    """Before which operation it came, from 1."""
    operation: str
    variant: str
    said: list[str]
    """What the scenario said before."""
    problems: list[str]


class File:
    """A file: its content when it was last flushed, and what was done to it since."""

    def __init__(self, path: str) -> None:
        self.flushed = b""
        self.pending: list[tuple[int, bytes | None]] = []
        """Writes: where and what; None cuts the file off there."""
        self.path = path
        """Where it is now; for the content of files that somebody else writes."""
        self.is_ours = False

    def flush(self) -> None:
        self.flushed = _applied(self.flushed, self.pending)
        self.pending = []


class Folder:
    """A folder: its entries when it was last flushed, and the changes since."""

    def __init__(self) -> None:
        self.flushed: dict[str, File | Folder] = {}
        self.pending: list[tuple[str, File | Folder | None]] = []
        """Names given to something, or taken away."""

    def entries(self) -> dict[str, File | Folder]:
        return _named(self.flushed, self.pending)

    def flush(self) -> None:
        self.flushed = self.entries()
        self.pending = []


class Disk:
    """The second account of what is below `root`, which is there and empty."""

    def __init__(self, root: str, fail_at: int, on_failure: Callable[[str], None]) -> None:
        self.root = Folder()
        self._path = os.path.realpath(root)
        self._open: dict[int, File | Folder] = {}
        self._offsets: dict[int, int] = {}
        self._left = fail_at
        self._on_failure = on_failure
        self._lock = threading.RLock()
        """One operation at a time, and none in any thread once the power fails."""
        self.real = {name: getattr(os, name) for name in ("open", *WRITES, *NAMES, *DESCRIPTORS)}

    def install(self) -> None:
        """Replace the functions of `os` for good."""
        self._replace("open", self._opened)
        for name in WRITES:
            self._replace(name, self._writing(name))
        for name in NAMES:
            self._replace(name, self._naming(name))
        for name in DESCRIPTORS:
            self._replace(name, self._descriptor(name))

    def _replace(self, name: str, function: Callable[..., Any]) -> None:
        def alone(*args: Any, **options: Any) -> Any:
            with self._lock:
                return function(*args, **options)

        setattr(os, name, alone)

    def _count(self, name: str) -> None:
        self._left -= 1
        if self._left == 0:
            self._on_failure(name)

    def _find(self, path: Any) -> tuple[Folder, str] | None:
        """The folder and the name that a path leads to; None if it is not below the root."""
        full = os.path.abspath(os.fsdecode(path))
        full = os.path.join(os.path.realpath(os.path.dirname(full)), os.path.basename(full))
        if full == self._path or not full.startswith(self._path + os.sep):
            return None
        folder: Any = self.root
        *above, name = full[len(self._path) + 1 :].split(os.sep)
        for part in above:
            folder = folder.entries().get(part)
            if not isinstance(folder, Folder):
                return None
        return folder, name

    def _opened(self, path: Any, flags: int, mode: int = 0o777, **options: Any) -> int:
        spot = self._find(path)
        if spot is None:
            fd: int = self.real["open"](path, flags, mode, **options)
            if os.path.realpath(os.fsdecode(path)) == self._path:
                self._open[fd] = self.root
            return fd
        folder, name = spot
        known = folder.entries().get(name)
        if known is None and flags & os.O_CREAT:
            self._count("open")
        fd = self.real["open"](path, flags, mode, **options)
        if known is None:
            known = File(os.fsdecode(path))
            folder.pending.append((name, known))
        if flags & os.O_TRUNC and isinstance(known, File):
            known.pending.append((0, None))
        self._open[fd] = known
        self._offsets[fd] = 0
        return fd

    def _writing(self, name: str) -> Callable[..., int]:
        def write(fd: int, data: Any, *where: int) -> int:
            file = self._open.get(fd)
            if isinstance(file, File):
                self._count(name)
            at = where[0] if where else os.lseek(fd, 0, os.SEEK_CUR) if file else 0
            count: int = self.real[name](fd, data, *where)
            if isinstance(file, File):
                pieces = data if name.endswith("v") else [data]
                whole = b"".join(bytes(memoryview(piece).cast("B")) for piece in pieces)
                file.pending.append((at, whole[:count]))
                file.is_ours = True
            return count

        return write

    def _naming(self, name: str) -> Callable[..., None]:
        def change(path: Any, *args: Any, **options: Any) -> None:
            spot = self._find(path)
            target = self._find(args[0]) if name in ("rename", "replace", "link") else None
            if spot is not None or target is not None:
                self._count(name)
            self.real[name](path, *args, **options)
            if spot is not None:
                self._renamed(name, spot, target, args)

        return change

    def _renamed(self, name: str, spot: Any, target: Any, args: Any) -> None:
        folder, entry = spot
        if name == "mkdir":
            folder.pending.append((entry, Folder()))
            return
        node = folder.entries().get(entry)
        if target is not None and node is not None:
            target[0].pending.append((target[1], node))
            if isinstance(node, File):
                node.path = os.fsdecode(args[0])
        if name != "link":
            folder.pending.append((entry, None))

    def _descriptor(self, name: str) -> Callable[..., None]:
        def act(fd: int, *args: Any) -> None:
            node = self._open.get(fd)
            if name == "close":
                self.real[name](fd)
                self._open.pop(fd, None)
                return
            if node is not None:
                self._count(name)
            if node is None or name == "ftruncate":  # a real flush takes its time for nothing
                self.real[name](fd, *args)
            if name == "ftruncate" and isinstance(node, File):
                node.pending.append((args[0], None))
            elif node is not None and name != "ftruncate":
                node.flush()

        return act


def lay_out(node: File | Folder, path: Path, variant: str, rng: random.Random) -> None:
    """Make at `path` what a disk may be left with."""
    if isinstance(node, Folder):
        path.mkdir(mode=0o700)
        keeps = {"nothing": 0.0, "names": 1.0, "contents": 0.0}.get(variant, 0.5)
        kept = [change for change in node.pending if rng.random() < keeps]
        for name, entry in _named(node.flushed, kept).items():
            lay_out(entry, path / name, variant, rng)
    else:
        if not node.is_ours and os.path.isfile(node.path):
            content = Path(node.path).read_bytes()
        else:
            content = _left_of(node, variant, rng)
        path.write_bytes(content)
        path.chmod(0o600)


def _left_of(file: File, variant: str, rng: random.Random) -> bytes:
    if variant == "nothing":
        return file.flushed
    if variant == "contents":
        return _applied(file.flushed, file.pending)
    if variant == "names":
        whole = len(_applied(file.flushed, file.pending))
        return file.flushed if rng.random() < 0.5 else file.flushed.ljust(whole, b"\0")
    kept: list[tuple[int, bytes | None]] = []
    for at, data in file.pending:
        drawn = rng.random()
        if drawn < 0.4:
            kept.append((at, data))
        elif drawn < 0.7 and data is not None:
            cut = rng.randrange(len(data) // _SECTOR + 1) * _SECTOR
            kept.append((at, data[:cut]))
    return _applied(file.flushed, kept)


def _applied(content: bytes, writes: Sequence[tuple[int, bytes | None]]) -> bytes:
    image = bytearray(content)
    for at, data in writes:
        if len(image) < at:
            image.extend(bytes(at - len(image)))
        if data is None:
            del image[at:]
        else:
            image[at : at + len(data)] = data
    return bytes(image)


def _named(
    entries: dict[str, File | Folder], changes: Sequence[tuple[str, File | Folder | None]]
) -> dict[str, File | Folder]:
    found = dict(entries)
    for name, node in changes:
        if node is None:
            found.pop(name, None)
        else:
            found[name] = node
    return found


def sweep(
    scenario: Scenario,
    check: Check,
    folder: Path,
    *,
    variants: Sequence[str] = VARIANTS,
    start: int = 1,
    every: int = 1,
    all_variants: bool = False,
    timeout: float = 900.0,
) -> Iterator[Outcome]:
    """The outcomes of a power cut before each operation from `start` on, or `every` so many.

    Each leaves the first variant and one of the others, in turn; or all of them.
    """
    order = {
        "module": inspect.getsourcefile(scenario), "scenario": scenario.__name__,
        "check": check.__name__, "folder": str(folder), "variants": list(variants),
        "start": start, "every": every, "all": all_variants,
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
        yield Outcome(**json.loads(line))


def serve(order: dict[str, Any]) -> None:
    """Fork a process for every fault and every check; print the outcomes."""
    module = load(Path(order["module"]))
    scenario, check = getattr(module, order["scenario"]), getattr(module, order["check"])
    base, number = Path(order["folder"]) / order["scenario"], order["start"]
    while True:
        live, left = base / f"{number}", base / f"{number}-left"
        live.mkdir(parents=True, mode=0o700)
        left.mkdir(mode=0o700)
        drawn = order["variants"] if order["all"] else _some(order["variants"], number)
        lines = _forked(partial(_live, scenario, live, left, number, drawn))
        said = [line[1:] for line in lines if line.startswith("s")]
        operation = "".join(line[1:] for line in lines if line.startswith("o"))
        if not operation:
            _expect_end(lines)
            break
        for at, variant in enumerate(drawn):
            problems = _forked(partial(_checked, check, left / f"{at}", said))
            print(
                json.dumps(Outcome(number, operation, variant, said, problems)._asdict()),
                flush=True,
            )
        shutil.rmtree(live)
        shutil.rmtree(left)
        number += order["every"]


def _some(variants: Sequence[str], number: int) -> list[str]:
    return [variants[0], variants[1 + number % (len(variants) - 1)]]


def _expect_end(lines: list[str]) -> None:
    """A scenario that did not come to its end found a bug in itself."""
    if "e" not in lines:
        raise RuntimeError(f"the scenario failed without a fault: {lines}")


def _live(
    scenario: Scenario,
    live: Path,
    left: Path,
    number: int,
    variants: Sequence[str],
    tell: Callable[[str], None],
) -> None:
    def fail(operation: str) -> None:
        for at, variant in enumerate(variants):
            lay_out(disk.root, left / f"{at}", variant, random.Random(f"{number} {at}"))
        tell(f"o{operation}")
        os.kill(os.getpid(), signal.SIGKILL)

    disk = Disk(str(live), number, fail)
    disk.install()
    scenario(live, lambda text: tell(f"s{text}"))
    tell("e")


def _checked(check: Check, folder: Path, said: Sequence[str], tell: Callable[[str], None]) -> None:
    for problem in check(folder, said):
        tell(problem)


def _forked(act: Callable[[Callable[[str], None]], None]) -> list[str]:
    """What `act` told, in a process of its own; an exception is told as well."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        put, end = os.write, os._exit
        signal.alarm(120)

        def tell(text: str) -> None:
            put(write, base64.b64encode(text.encode("utf-8", "replace")) + b"\n")

        try:
            act(tell)
        except BaseException:
            tell(traceback.format_exc())
        end(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        lines = [base64.b64decode(line).decode() for line in pipe.read().splitlines()]
    os.waitpid(pid, 0)
    return lines


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
