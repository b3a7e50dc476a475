"""Every question that can be asked of a store, put to one that may be a stranger's.

As a script it does so in a child for each store, within limits of memory and of time, and tells
what was no error of this package.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from typer.main import get_command

import tasklineage as tl
from tasklineage.cli.main import application
from tasklineage.errors import TasklineageError
from tasklineage.query.listing import Listing
from tasklineage.storage.fsck import check

COMMAND = get_command(application())
MEMORY = 3 << 30
SECONDS = 100
_MOST = 15
"""Things of one kind that are looked at."""


class Asked:
    """Puts questions, and keeps what was no proper answer."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.known: set[str] = set()

    def ask(self, name: str, question: Callable[[], Any]) -> Any:
        """The answer; None if there is an error of this package instead."""
        try:
            return question()
        except (TasklineageError, SystemExit) as error:
            if isinstance(error, SystemExit) and error.code not in (None, 0, 1, 2, 3, 4, 5):
                self.tell(name, error)
        except BaseException as error:
            self.tell(name, error)
        return None

    def tell(self, name: str, error: BaseException) -> None:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}:{frame.lineno}"
        problem = f"{name}: {type(error).__name__}: {str(error)[:150]} at {where}"
        if f"{type(error)} {where}" not in self.known:
            self.known.add(f"{type(error)} {where}")
            self.problems.append(problem)

    def some(self, name: str, things: Callable[[], Any]) -> list[Any]:
        return self.ask(name, lambda: list(islice(things(), _MOST))) or []

    def attributes(self, name: str, thing: Any, names: str) -> None:
        for attribute in names.split():
            look = type if attribute in VALUES else shown
            self.ask(f"{name}.{attribute}", lambda a=attribute, f=look: f(getattr(thing, a)))


def shown(value: Any) -> None:
    """Whatever is lazy in a value is looked at."""
    value = value() if callable(value) else value
    repr(value)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, Iterator | list | tuple | Listing):
        for one in islice(value, 5):
            repr(one)


def item(artifact: Any) -> None:
    """One item of a value, if it has such."""
    with contextlib.suppress(KeyError, TypeError, IndexError):
        artifact["x"]


VALUES = ("result", "value", "args", "params")
"""What users would not print without looking at its size."""
RUN = """id name user host namespace tags params started ended status calls roots result hits
executed failed logs graph environment verifications error argv parent _repr_html_"""
CALL = """id key run task started ended hit position inputs output args result error attempts status
children parent source stdout stderr producer tags mutated untracked reads _repr_html_"""
ARTIFACT = "digest type nbytes preview producers consumers value columns parts outline _repr_html_"


def read_everything(root: Path) -> list[str]:
    """What went wrong in another way than by an error of this package."""
    asked = Asked()
    store = asked.ask("open", lambda: tl.open_store(root, allow_pickle=False))
    if store is not None:
        ids = _queries(asked, store)
        _memos(asked, store)
        asked.ask("close", store.close)
    else:
        ids = []
    asked.ask("fsck", lambda: check(root, read_data=1.0, decode=True))
    _commands(asked, root, ids)
    return asked.problems


def _queries(asked: Asked, store: Any) -> list[str]:
    runs = asked.some("runs", lambda: tl.runs(store=store, namespace="*"))
    calls = asked.some("calls", lambda: tl.calls(store=store, namespace="*"))
    for status in ("done", "failed", "killed", "running"):
        asked.some("runs of a status", lambda s=status: tl.runs(status=s, store=store))
    for run in runs:
        asked.attributes("run", run, RUN)
        asked.ask("why of a run", lambda r=run: str(tl.why(r)))
        calls += asked.some("calls of a run", lambda r=run: r.calls)
    if len(runs) > 1:
        asked.ask("diff", lambda: str(tl.diff(runs[0], runs[1])))
    artifacts: list[Any] = []
    for call in calls[: 2 * _MOST]:
        asked.attributes("call", call, CALL)
        asked.ask("why", lambda c=call: str(tl.why(c)))
        asked.ask("lineage", lambda c=call: tl.lineage(c, direction="both").to_mermaid())
        asked.ask("whence", lambda c=call: str(tl.whence(c)))
        inputs = asked.ask("inputs", lambda c=call: list(c.inputs.values())) or []
        artifacts += [*inputs[:3], asked.ask("output", lambda c=call: c.output)]
    for artifact in filter(None, artifacts):
        asked.attributes("artifact", artifact, ARTIFACT)
        asked.ask("item", lambda a=artifact: item(a))
    for ref in asked.some("refs", lambda: tl.refs(store=store)):
        asked.ask("load", lambda r=ref: tl.load(r.name, store=store))
        asked.some("reflog", lambda r=ref: tl.reflog(r.name, store=store))
    asked.ask("get", lambda: tl.get("00", store=store))
    found = (asked.ask("id", lambda o=one: o.id) for one in (*runs[:1], *calls[:2]))
    digests = (asked.ask("digest", lambda a=a: a.digest) for a in list(filter(None, artifacts))[:1])
    return [*filter(None, (*found, *digests))]


def _memos(asked: Asked, store: Any) -> None:
    """What a call looks up."""
    for row in asked.some("find", lambda: store.catalog.find_calls(limit=20)):
        record = asked.ask("read", lambda r=row: store.journal.read(r.location))
        code, key = getattr(record, "code", None), getattr(record, "key", None)
        if isinstance(code, bytes) and isinstance(key, bytes):
            asked.ask("find_memo", lambda c=code, k=key: store.find_memo(c, k))
            asked.ask("older", lambda k=key: list(store.older_memos(k)))
            asked.ask("code", lambda c=code: store.code(c))
            asked.ask("versions", lambda c=code: store.versions(c))


def _commands(asked: Asked, root: Path, ids: list[str]) -> None:
    commands = [["runs"], ["calls"], ["refs"], ["du"], ["gc"], ["accept"], ["fsck", "--decode"]]
    for id in ids:
        words = "show", "logs", "dump", "graph", "lineage", "whence", "why", "env"
        commands += [[word, id] for word in words]
    for number, command in enumerate(commands):
        text, extra = io.StringIO(), ["--json"] * (number % 2)
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(io.StringIO()):
            args = [*command, "--store", str(root), *extra]
            asked.ask(" ".join(args[:1] + extra), lambda a=args: COMMAND(a, prog_name="fsck"))


def serve() -> None:
    """Read paths of stores from stdin; for each tell in a line what a child has found."""
    os.environ["TASKLINEAGE_PROGRESS"] = "0"
    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            _answer(Path(line.rstrip("\n")), writing)
        os.close(writing)
        with open(reading, encoding="utf-8") as file:
            told = file.read()
        _, status = os.waitpid(child, 0)
        found = json.loads(told) if told else {"problems": [], "peak": 0}
        found["status"] = os.waitstatus_to_exitcode(status)
        print(json.dumps(found), flush=True)


def _answer(root: Path, writing: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    signal.alarm(6 * SECONDS)
    os.chdir(root.parent)
    found = read_everything(root)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    os.write(writing, json.dumps({"problems": found, "peak": peak}).encode())
    os._exit(0)


if __name__ == "__main__":
    serve()
