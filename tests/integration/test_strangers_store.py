"""A store of a stranger: whatever is asked of it, none of its code runs, and no file is written."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tasklineage as tl

EVIL = """
import dataclasses, os
open(os.environ["WITNESS"], "a").write("imported ")
@dataclasses.dataclass
class Record:
    x: object
class Bomb:
    def __reduce__(self):
        return eval, ("open(__import__('os').environ['WITNESS'], 'a').write('run ')",)
"""
MAKE = """
import dataclasses, os, sys
import tasklineage as tl
from tasklineage import task
import evil
from evil import Bomb, Record
tl.configure(store=sys.argv[1], store_args=True)

@task
def make(kind, given=None):
    value = VALUES[kind]()
    return value
@task
def broken(given):
    raise ValueError("broken")
class OwnError(Exception):
    pass
def error():
    made = OwnError("x", Bomb())
    made.__cause__ = ValueError(Bomb())
    return made
def objects():
    import numpy
    return numpy.array([Bomb(), 1], dtype=object)
def frame():
    import pandas
    return pandas.DataFrame({"a": [Bomb(), Bomb()], "b": [1, 2]})
def attributes():
    import pandas
    made = pandas.DataFrame({"a": [1]})
    made.attrs["x"] = Bomb()
    return made
def tensor():
    import torch
    class Own(torch.Tensor):
        pass
    return {"t": torch.ones(3), "bomb": Bomb()}
def figure():
    from matplotlib.figure import Figure
    made = Figure()
    made.bomb = Bomb()
    return made
def arrow():
    import pyarrow
    return {"t": pyarrow.table({"a": [1, 2]}), "b": Bomb()}
VALUES = {
    "bomb": Bomb, "large": lambda: [Bomb(), b"x" * 50_000], "dict": lambda: {"a": {"b": Bomb()}},
    "record": lambda: Record([1, 2]), "deep": lambda: Record(Record(Bomb())), "error": error,
    "set": lambda: {Bomb()}, "plain": lambda: {"a": [1, "x", 2.5]}, "bytes": lambda: b"x" * 50_000,
    "lambda": lambda: (lambda: 1), "class": lambda: Bomb, "function": lambda: print,
    "objects": objects, "frame": frame, "attributes": attributes, "tensor": tensor,
    "figure": figure, "arrow": arrow,
}
with tl.run("made", params={"p": Bomb(), "n": 1}, tags=("t",)) as run:
    for kind in sys.argv[2].split(","):
        try:
            make(kind, given=Bomb())
        except tl.UnstorableResult:
            continue
    try:
        broken(Bomb())
    except ValueError:
        pass
with tl.run("again"):
    make("bomb", given=[Bomb()])
tl.tag(tl.calls(task="make")[0].output, "bomb")
tl.tag(tl.runs(name="made")[0], "run")
"""
READ = """
import json, os, sys
unpickled = []
def hook(event, args):
    if event == "pickle.find_class":
        unpickled.append(f"{args[0]}.{args[1]}")
    if event == "open" and args[1] and set(str(args[1])) & set("wax+"):
        if not str(args[0]).startswith(("/dev/", "/proc/")):
            unpickled.append(f"written: {args[0]}")
import tasklineage as tl
from tasklineage.cli.main import main
store = tl.open_store(sys.argv[1], allow_pickle=False, read_only=True)
import io, contextlib, traceback
for library in sys.argv[2].split(","):
    __import__(library)
def ask(what):
    try:
        return what()
    except tl.TasklineageError as error:
        return error
sys.addaudithook(hook)
values, errors = 0, {}
runs = list(tl.runs(store=store))
calls = list(tl.calls(store=store))
for run in runs:
    for what in ("params", "tags", "argv", "environment", "status", "hits", "result"):
        ask(lambda: getattr(run, what))
    ask(lambda: dict(run.params))
    ask(lambda: [run.params[name] for name in run.params])
    repr(run), run._repr_html_(), run.logs(), run.graph().to_mermaid(), list(run.roots)
ask(lambda: list(tl.diff(runs[0], runs[1]).changed))
for call in calls:
    repr(call), call._repr_html_(), call.source, call.stdout, call.error, call.attempts
    list(call.inputs.items()), list(call.children), call.parent, call.producer
    ask(lambda: str(tl.why(call)))
    ask(lambda: str(tl.diff(call, calls[0])))
    ask(lambda: tl.lineage(call).to_dot())
    ask(lambda: tl.frame([call]).to_pandas() if hasattr(tl, "frame") else None)
    for artifact in filter(None, [call.output, *call.inputs.values()]):
        repr(artifact), artifact._repr_html_(), artifact.preview, artifact.type, artifact.nbytes
        ask(lambda: artifact.columns), ask(lambda: artifact.parts), ask(lambda: artifact.picture())
        found = ask(lambda: artifact.value)
        kind = type(found).__name__
        errors[kind] = errors.get(kind, 0) + 1
    ask(lambda: call.result), ask(lambda: dict(call.args))
ask(lambda: tl.load("bomb", store=store)), list(tl.refs(store=store))
ask(lambda: list(tl.reflog("bomb", store=store)))
for run in runs:
    ask(lambda: run.result)
print(json.dumps([sorted(set(unpickled)), errors, len(calls)]))
"""
LIBRARIES = "numpy,pandas,pyarrow,polars,matplotlib.figure"
KINDS = (
    "bomb,large,dict,record,deep,error,set,plain,bytes,lambda,class,function,objects,frame,"
    "attributes,figure,arrow"
)


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store full of pickles that leave a trace when they are read."""
    monkeypatch.setenv("WITNESS", str(tmp_path / "witness"))
    for name, text in {"evil": EVIL, "make": MAKE, "read": READ}.items():
        (tmp_path / f"{name}.py").write_text(text)
    kinds, libraries = KINDS, LIBRARIES
    if _has("torch"):
        kinds, libraries = f"{kinds},tensor", f"{libraries},torch"
    monkeypatch.setenv("KINDS", kinds)
    monkeypatch.setenv("LIBRARIES", libraries)
    run(tmp_path, "make.py", str(tmp_path / "store"), kinds)
    (tmp_path / "witness").unlink()
    return tmp_path


def _has(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


def run(folder: Path, *command: str, codes: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode in codes, (command, done.stderr)
    return done.stdout


def test_nothing_that_is_asked_runs_its_code(stranger: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (stranger / "store").rglob("*")}
    out = run(stranger, "read.py", str(stranger / "store"), os.environ["LIBRARIES"])
    unpickled, kinds, calls = json.loads(out.splitlines()[-1])
    assert unpickled == []
    assert not (stranger / "witness").exists()
    assert calls >= 17
    assert kinds["UnsafeFormat"] > 20, "every value with a bomb in it is refused"
    assert kinds["Undecodable"] >= 1, "the module of a dataclass is not imported"
    assert {"dict", "bytes"} <= kinds.keys(), "what is plain can be had"
    after = {path: path.stat().st_mtime_ns for path in (stranger / "store").rglob("*")}
    assert before == after


def test_the_command_line_runs_none_of_its_code(stranger: Path) -> None:
    """Metadata is never unpickled, whatever the store was opened with."""
    place = str(stranger / "store")
    call = tl.calls(task="broken", store=place)[0]
    for command in (
        ["runs"], ["show", call.id], ["calls"], ["why", call.id], ["logs", call.id],
        ["lineage", call.id], ["graph", tl.runs(store=place)[0].id],
        ["diff", *(run.id for run in tl.runs(store=place)[:2])], ["refs"], ["fsck"], ["du"],
    ):  # fmt: skip
        run(stranger, "-m", "tasklineage", *command, "--store", place, codes=(0, 1))
        assert not (stranger / "witness").exists(), command


def test_the_same_store_read_without_care_runs_it(stranger: Path) -> None:
    """So the other tests look in the right place."""
    script = "import sys, tasklineage as tl; tl.load('bomb', store=sys.argv[1])"
    run(stranger, "-c", script, str(stranger / "store"))
    assert "run" in (stranger / "witness").read_text()


def test_its_indexes_are_not_believed(tmp_path: Path) -> None:
    """A view that never ends in the place of a table, behind a seal that is right."""
    import sqlite3

    @tl.task
    def f(n: int) -> int:
        return n

    with tl.run(store=tmp_path / "store"):
        f(1)
    place = tmp_path / "store"
    store = tl.open_store(place)
    store.catalog.save()
    store.close()
    catalog = place / "catalog.sqlite"
    sealed = catalog.stat().st_mtime_ns
    with sqlite3.connect(catalog) as connection:
        connection.execute("ALTER TABLE runs RENAME TO runs_before")
        connection.execute(
            "CREATE VIEW runs AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "
            "SELECT runs_before.* FROM runs_before, c"
        )
    connection.close()
    os.utime(catalog, ns=(sealed, sealed))
    safe = tl.open_store(place, allow_pickle=False, read_only=True)
    assert len(tl.runs(store=safe)) == 1
    assert len(list(tl.calls(store=safe))) == 1


ESCAPES = ("../../outside", "/etc/passwd", "..", "a/../../b", "x/../y", "run/\0", "~/x", "./x")


@pytest.mark.parametrize("name", ESCAPES)
def test_no_name_leads_out_of_the_store(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")

    @tl.task
    def f(n: int) -> int:
        return n

    root = tmp_path / "inner" / "store"
    with tl.run(store=root) as run:
        f(1)
    store = tl.open_store(root)
    list(tl.runs(store=store))
    before = set(tmp_path.rglob("*"))
    for ask in (
        lambda: tl.get(name, store=store),
        lambda: tl.load(name, store=store),
        lambda: tl.untag(name, store=store),
    ):
        with pytest.raises((tl.NotFound, tl.ConfigError)):
            ask()
    with contextlib.suppress(tl.ConfigError):
        tl.tag(run, name, store=store)
    new = set(tmp_path.rglob("*")) - before
    assert all(path.is_relative_to(root) for path in new), new
    assert all(".." not in path.name for path in new)


def test_files_of_a_stranger_are_not_put_anywhere(tmp_path: Path) -> None:
    """A record says where its file was; whoever wrote the record may have chosen that place."""
    target = tmp_path / "home" / ".profile"
    target.parent.mkdir()

    @tl.task
    def make() -> tl.File:
        target.write_text("harmless, this time")
        return tl.File(target)

    with tl.run(store=tmp_path / "store"):
        make()
    target.unlink()
    safe = tl.open_store(tmp_path / "store", allow_pickle=False, read_only=True)
    file = tl.calls(task="make", store=safe)[0].result
    assert file.text() == "harmless, this time"
    assert not target.exists()
    assert not Path(file.path).is_relative_to(target.parent)
