"""Files that a body opens by their paths are conditions of its memo."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

import tasklineage as tl
from tasklineage import task

PROGRAM = '''
import asyncio, csv, gzip, json, os, sqlite3, sys
from contextlib import closing
from pathlib import Path
import tasklineage as tl
from tasklineage import task

def read(path):
    with open(path) as file:
        return file.read()

@task
def opened(): return read("opened")
@task
def absolute(): return read(os.path.join(os.path.dirname(os.path.abspath(__file__)), "absolute"))
@task
def by_path(): return Path("by_path").read_text()
@task
def by_bytes(): return open(b"by_bytes", "rb").read()
@task
def low():
    descriptor = os.open("low", os.O_RDONLY)
    try: return os.read(descriptor, 100)
    finally: os.close(descriptor)
@task
def updating():
    with open("updating", "r+") as file: return file.read()
@task
def as_json():
    with open("as_json") as file: return json.load(file)
@task
def zipped():
    with gzip.open("zipped", "rt") as file: return file.read()
@task
def array():
    import numpy
    return float(numpy.load("array.npy").sum())
@task
def mapped():
    import numpy
    return float(numpy.load("mapped.npy", mmap_mode="r").sum())
@task
def frame():
    import pandas
    return float(pandas.read_csv("frame")["x"].sum())
@task
def database():
    with closing(sqlite3.connect("database")) as connection:
        return connection.execute("select sum(x) from t").fetchone()[0]
@task
def imported():
    import reader
    return reader.text("imported")
@task
def leaf(path): return read(path)
@task
def parent(): return leaf("parent")
@task
def grandparent(): return middle()
@task
def middle(): return leaf("grandparent")
@task
def threads(): return list(tl.map(leaf, ["threads", "other"]))
@task
async def coroutine():
    await asyncio.sleep(0)
    return read("coroutine")
@task
async def to_thread(): return await asyncio.to_thread(read, "to_thread")
@task
async def several(): return await tl.amap(leaf, ["several", "other"])
@task
def submitted(): return leaf.submit("submitted").result()
@task
def nested_run():
    with tl.run("inner"): return read("nested_run")
@task
def optional():
    try: return read("optional")
    except FileNotFoundError: return "none"
@task
def as_file(): return size(tl.File("as_file"))
@task
def as_folder(): return entries(tl.Dir("as_folder"))
@task
def size(data: tl.File): return len(data.bytes())
@task
def entries(data: tl.Dir): return [each.path for each in data]
@task
def file_text(): return tl.File("file_text").text()
@task
def listed(): return sorted(os.listdir("listed"))
@task
def globbed(): return sorted(path.name for path in Path("globbed").glob("*"))
@task
def retried():
    attempt = tl.current_call().attempt
    text = read("retried")
    if attempt == 0: raise ValueError
    return text

NAMES = sys.argv[1].split(",")
results = {}
with tl.run("reads", executor="threads:2") as run:
    for name in NAMES:
        function = globals()[name]
        if name == "retried": function = function.options(retries=1)
        value = function()
        if asyncio.iscoroutine(value) or hasattr(value, "__await__"):
            async def wait(value=value): return await value
            value = asyncio.run(wait())
        results[name] = repr(value)
roots = [call for call in run.calls if call.parent is None]
tops = {call.task.rpartition(".")[2]: call.hit for call in roots}
print(json.dumps([results, sorted(name for name in NAMES if not tops.get(name))]))
'''  # fmt: skip

READERS = (
    "opened absolute by_path by_bytes low updating as_json zipped array mapped frame database "
    "imported parent grandparent threads coroutine to_thread several submitted nested_run optional "
    "as_file as_folder file_text listed globbed retried"
).split()


class Project:
    """A folder with the program above and one data file for each of its readers."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        (root / "main.py").write_text(PROGRAM)
        (root / "reader.py").write_text("def text(path):\n    return open(path).read()\n")
        (root / "other").write_text("other")
        for name in READERS:
            self.write(name, 1)

    def path(self, name: str) -> Path:
        return self.root / {"array": "array.npy", "mapped": "mapped.npy"}.get(name, name)

    def write(self, name: str, content: int) -> None:
        path = self.path(name)
        if name in ("array", "mapped"):
            np.save(path, np.arange(10.0) + content)
        elif name == "zipped":
            path.write_bytes(gzip.compress(b"%d" % content, mtime=0))
        elif name == "database":
            path.unlink(missing_ok=True)
            connection = sqlite3.connect(path)
            connection.execute("create table t (x int)")
            connection.execute("insert into t values (?)", (content,))
            connection.commit()
            connection.close()
        elif name in ("as_folder", "listed", "globbed"):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
            (path / f"{content}.txt").write_text("x")
        elif name == "frame":
            path.write_text(f"x\n{content}\n")
        elif name == "optional" and content == 1:
            path.unlink(missing_ok=True)
        else:
            path.write_text(f"{content}" * content)

    def run(
        self, *names: str, program: str = "main.py", seed: int = 0
    ) -> tuple[dict[str, str], list[str]]:
        """The results, and which tasks executed."""
        environment = {
            **os.environ,
            "TASKLINEAGE_STORE": str(self.root / ".tasklineage"),
            "PYTHONHASHSEED": str(seed),
        }
        done = subprocess.run(
            [sys.executable, program, ",".join(names or READERS)],
            cwd=self.root, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert not done.returncode, done.stderr
        results, executed = json.loads(done.stdout.splitlines()[-1])
        return results, executed


def test_an_edit_of_a_file_that_was_read_in_any_way_is_a_miss(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    first, executed = project.run()
    assert executed == sorted(READERS)
    assert project.run(seed=1) == (first, [])
    for name in READERS:
        path = project.path(name)
        if path.exists():
            os.utime(path, (1, 1))
    assert project.run(seed=2) == (first, [])  # touched: the content is what it was
    for name in READERS:
        project.write(name, 2)
    second, executed = project.run(seed=3)
    assert executed == sorted(READERS)
    assert all(first[name] != second[name] for name in READERS)
    assert project.run(seed=4) == (second, [])
    for name in READERS:
        project.write(name, 1)
    assert project.run(seed=5) == (first, [])  # an older memo answers what was taken back


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def executes(function: Any, *args: Any) -> bool:
    """Whether a call executes now."""
    with tl.run("probe") as run:
        function(*args)
    roots = [call for call in run.calls if call.parent is None]
    return not roots[0].hit


def read(path: str | Path) -> str:
    with open(path) as file:
        return file.read()


@task
def reads(path: str) -> str:
    return read(path)


@task
def reads_or(path: str, otherwise: str) -> str:
    try:
        return read(path)
    except FileNotFoundError:
        return otherwise


def test_a_file_that_is_gone_is_a_miss_and_the_error_is_that_of_the_body() -> None:
    Path("a").write_text("1")
    reads("a")
    os.remove("a")
    with pytest.raises(FileNotFoundError):
        reads("a")
    Path("a").write_text("1")
    assert not executes(reads, "a")


def test_another_file_is_nothing_to_a_memo() -> None:
    Path("a").write_text("1")
    reads("a")
    Path("b").write_text("1")
    assert not executes(reads, "a")


def test_a_relative_path_is_that_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("a").write_text("1")
    reads("a")
    for name, text in (("same", "1"), ("other", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(text)
    monkeypatch.chdir(tmp_path / "same")
    assert not executes(reads, "a")
    monkeypatch.chdir(tmp_path / "other")
    assert reads("a") == "2"


@task
def resolved(name: str) -> str:
    return Path(name).resolve().read_text()


@task
def listed_at(name: str) -> list[str]:
    return sorted(os.listdir(os.path.join(os.getcwd(), name)))


def test_a_path_made_absolute_in_the_body_is_that_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = tmp_path / "one", tmp_path / "further" / "other"
    (one / "folder").mkdir(parents=True)
    (one / "folder" / "a").write_text("1")
    monkeypatch.chdir(one)
    assert resolved("folder/a") == "1"
    assert listed_at("folder") == ["a"]
    shutil.copytree(one, other)
    monkeypatch.chdir(other)
    assert not executes(resolved, "folder/a")
    assert not executes(listed_at, "folder")
    (other / "folder" / "a").write_text("2")
    (other / "folder" / "b").write_text("")
    assert resolved("folder/a") == "2"
    assert listed_at("folder") == ["a", "b"]
    monkeypatch.chdir(one)
    assert resolved("folder/a") == "1"
    assert not executes(resolved, "folder/a")
    shutil.rmtree(other)
    shutil.move(one, other)
    monkeypatch.chdir(other)
    assert not executes(resolved, "folder/a")
    assert not executes(listed_at, "folder")


def test_an_absolute_path_is_the_same_file_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("a").write_text("1")
    path = os.path.abspath("a")
    reads(path)
    monkeypatch.chdir(tmp_path)
    assert not executes(reads, path)
    Path(path).write_text("2")
    assert reads(path) == "2"


def test_the_working_folder_may_be_another_for_a_while(tmp_path: Path) -> None:
    @task
    def elsewhere() -> str:
        os.chdir("folder")
        try:
            return read("a")
        finally:
            os.chdir("..")

    os.mkdir("folder")
    Path("folder/a").write_text("1")
    assert elsewhere() == "1"
    assert not executes(elsewhere)
    Path("folder/a").write_text("2")
    assert elsewhere() == "2"


@task
def writes(path: str, text: str) -> str:
    with open(path, "w") as file:
        file.write(text)
    return read(path)


def test_what_the_call_itself_wrote_is_no_condition() -> None:
    writes("out", "1")
    assert not executes(writes, "out", "1")
    os.remove("out")
    assert not executes(writes, "out", "1")


def test_what_a_call_below_wrote_is_no_condition_of_the_parent() -> None:
    @task
    def pipeline(text: str) -> str:
        writes("step", text)
        return reads("step") + read("step")

    assert pipeline("1") == "11"
    os.remove("step")
    assert not executes(pipeline, "1")


def test_a_cache_that_the_body_makes_for_itself_is_no_condition() -> None:
    @task
    def cached() -> str:
        try:
            return read("cache")
        except FileNotFoundError:
            Path("cache").write_text("1")
            return "1"

    cached()
    assert not executes(cached)


def test_temporary_files_are_no_conditions(tmp_path: Path) -> None:
    @task
    def scratch() -> str:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "x")
            path.write_text("1")
            os.replace(path, path.with_name("y"))
            text = read(path.with_name("y"))
        with tempfile.NamedTemporaryFile("w+") as file:
            file.write(text)
            file.seek(0)
            return file.read() + str(os.path.exists(path))

    with tl.run("probe"):
        scratch()
    assert not executes(scratch)
    assert tl.calls(task="scratch")[0].reads == ()


def test_a_file_that_another_process_made_for_the_body_and_removed_is_no_condition() -> None:
    @task
    def through_a_process() -> str:
        subprocess.run([sys.executable, "-c", "open('made', 'w').write('1')"], check=True)
        text = read("made")
        os.remove("made")
        return text

    through_a_process()
    assert not executes(through_a_process)


@task
def counts_up() -> int:
    count = int(read("count"))
    Path("count").write_text(str(count + 1))
    return count


def test_a_file_that_is_read_and_written_over_makes_no_memo() -> None:
    Path("count").write_text("1")
    with pytest.warns(UserWarning, match="read count and then wrote to it"):
        assert counts_up() == 1
    assert counts_up() == 2  # warned of once in a run


def test_a_parent_of_such_a_call_is_no_memo_either() -> None:
    @task
    def parent() -> int:
        return counts_up()

    Path("count").write_text("1")
    with pytest.warns(UserWarning, match="count"):
        assert (parent(), parent()) == (1, 2)


def test_a_file_that_is_read_and_then_rewritten_below_makes_no_memo() -> None:
    @task
    def parent() -> str:
        before = read("state")
        writes("state", "2")
        return before

    Path("state").write_text("1")
    with pytest.warns(UserWarning, match="state"):
        assert (parent(), parent()) == ("1", "2")


def test_what_a_child_read_and_a_later_one_changed_makes_no_memo() -> None:
    @task
    def parent() -> str:
        before = reads("state")
        writes("state", "2")
        return before

    Path("state").write_text("1")
    assert parent() == "1"
    assert executes(parent)


def test_a_file_that_somebody_changes_while_the_body_reads_makes_no_memo() -> None:
    @task
    def slow() -> str:
        text = read("input")
        other = threading.Thread(target=Path("input").write_text, args=("changed",))
        other.start()
        other.join()
        return text

    Path("input").write_text("1")
    with pytest.warns(UserWarning, match="input was changed while it ran"):
        slow()
    assert reads_or("input", "") == "changed"


def test_a_log_that_is_appended_to_is_no_condition() -> None:
    @task
    def logs() -> int:
        with open("log", "a") as file:
            file.write("line")
        return 1

    logs()
    assert not executes(logs)


def test_a_database_that_the_body_writes_to_is_no_condition() -> None:
    @task
    def inserts(x: int) -> int:
        connection = sqlite3.connect("db")
        connection.execute("create table if not exists t (x int)")
        connection.execute("insert into t values (?)", (x,))
        connection.commit()
        connection.close()
        return x

    inserts(1)
    inserts(2)
    assert not executes(inserts, 1)


def test_what_the_call_makes_in_a_folder_that_it_lists_does_not_count() -> None:
    @task
    def exports() -> list[str]:
        os.makedirs("out", exist_ok=True)
        names = sorted(os.listdir("out"))
        Path("out/mine").write_text("1")
        return names

    exports()
    Path("out/other").write_text("2")
    exports()
    assert not executes(exports)


def test_a_task_that_clears_its_folder_is_a_hit() -> None:
    @task
    def renews() -> str:
        shutil.rmtree("out", ignore_errors=True)
        os.makedirs("out")
        Path("out/mine").write_text("1")
        return read("out/mine")

    renews()
    assert not executes(renews)


def test_code_that_a_body_imports_is_no_condition(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(os.getcwd())
    Path("imported_by_reads.py").write_text("x = 1\n")

    @task
    def imports() -> int:
        import colorsys
        import importlib

        assert colorsys
        return int(importlib.import_module("imported_by" + "_reads").x)

    imports()
    assert tl.calls(task="imports")[0].reads == ()


def test_a_traceback_that_is_formatted_reads_no_data() -> None:
    @task
    def formats() -> str:
        import linecache
        import traceback

        linecache.clearcache()
        try:
            raise ValueError
        except ValueError:
            return traceback.format_exc()[:9]

    formats()
    assert tl.calls(task="formats")[0].reads == ()


def test_system_files_and_the_store_are_no_conditions(store_path: Path) -> None:
    @task
    def system() -> int:
        with (
            open("/proc/self/stat") as stat,
            open("/etc/passwd") as users,
            open(os.devnull) as null,
        ):
            stat.read(), users.read(), null.read()
        with open(os.__file__) as code:
            code.read()
        return len(read(store_path / "format"))

    system()
    assert tl.calls(task="system")[0].reads == ()
    assert not executes(system)


def test_a_file_argument_that_the_body_opens_counts_by_content_alone() -> None:
    @task
    def lines(data: tl.File) -> int:
        with open(data) as file:
            return len(file.readlines()) + len(data.text())

    @task
    def outer(data: tl.File) -> int:
        return lines(data) + len(reads(str(data)))

    Path("a").write_text("1\n")
    outer("a")  # type: ignore[arg-type]
    assert tl.calls(task="outer")[0].reads == ()
    os.rename("a", "b")
    assert not executes(outer, "b")


def test_a_folder_argument_covers_what_is_in_it() -> None:
    @task
    def members(folder: tl.Dir) -> list[str]:
        return [read(os.path.join(folder, name)) for name in sorted(os.listdir(folder))]

    os.mkdir("one")
    Path("one/a").write_text("1")
    members("one")  # type: ignore[arg-type]
    os.rename("one", "two")
    assert not executes(members, "two")


def test_the_file_that_a_child_returned_is_put_back_for_the_parent() -> None:
    @task
    def makes(text: str) -> tl.File:
        Path("made").write_text(text)
        return tl.File("made")

    @task
    def outer() -> str:
        return read(makes("1"))

    outer()
    os.remove("made")
    assert not executes(outer)
    assert read("made") == "1"


def test_a_stored_file_of_an_artifact_may_be_read() -> None:
    @task
    def makes(text: str) -> tl.File:
        Path("made").write_text(text)
        return tl.File("made")

    makes("1")
    artifact = tl.calls(task="makes")[0].output
    os.remove("made")
    assert reads(str(artifact.value.path)) == "1"
    assert not executes(reads, str(artifact.value.path))


def test_a_call_shows_what_it_has_read() -> None:
    @task
    def outer() -> str:
        return reads("a") + reads_or("b", "none")

    Path("a").write_text("1")
    outer()
    assert tl.calls(task="reads")[0].reads == ("a",)
    assert tl.calls(task="outer")[0].reads == ("a", "b")
    outer()
    assert tl.calls(task="outer")[0].reads == ("a", "b")  # a hit: those of its producer


def test_reads_may_warn_be_an_error_or_be_ignored() -> None:
    Path("a").write_text("1")
    tl.configure(reads="warn")
    with pytest.warns(UserWarning, match=r"reads a by its path.*tl.File\('a'\)"):
        reads("a")
    assert not executes(reads, "a")
    tl.configure(reads="error")
    Path("a").write_text("2")
    with pytest.raises(tl.UntrackedRead, match="reads a by its path") as caught:
        reads("a")
    assert (caught.value.file, caught.value.value) == ("a", "2")
    tl.configure(reads="ignore")
    reads("a")
    Path("a").write_text("3")
    assert not executes(reads, "a")
    with pytest.raises(tl.ConfigError, match="track, warn, error, ignore"):
        tl.configure(reads="often")  # type: ignore[arg-type]


def test_opening_files_outside_of_calls_is_nobodys_business() -> None:
    with tl.run("top") as run, warnings.catch_warnings():
        warnings.simplefilter("error")
        Path("a").write_text("1")
        read("a")
        reads("a")
    assert [call.reads for call in run.calls] == [("a",)]


NAMES = ("a", "b", "c/d")


@st.composite
def edits(draw: st.DrawFn) -> list[tuple[str, str | None]]:
    """Steps: a file is written, or removed."""
    one = st.tuples(st.sampled_from(NAMES), st.sampled_from(["", "1", "2", None]))
    return draw(st.lists(one, max_size=12))


def _combined() -> str:
    parts = [
        reads_or("a", "-"),
        *(f"{name}={read('c/' + name)}" for name in sorted(os.listdir("c"))),
    ]
    if parts[0] == "1":
        parts.append(reads_or("b", "-"))
    return " ".join(parts)


_combined_task = task(_combined)


@pytest.fixture
def fresh() -> list[int]:
    return [0]


@hypothesis.given(steps=edits())
@hypothesis.settings(max_examples=40)
def test_whatever_happens_to_the_files_the_result_is_that_of_a_clean_run(
    steps: list[tuple[str, str | None]], fresh: list[int], tmp_path: Path
) -> None:
    fresh[0] += 1
    folder = tmp_path / f"clean-{fresh[0]}"
    (folder / "c").mkdir(parents=True)
    os.chdir(folder)
    for name, text in steps:
        if text is None:
            Path(name).unlink(missing_ok=True)
        else:
            Path(name).write_text(text)
        assert _combined_task() == _combined_in(folder)
        assert not executes(_combined_task)


def _combined_in(folder: Path) -> str:
    """The same without any task."""
    texts = {name: (folder / name).read_text() for name in NAMES if (folder / name).exists()}
    parts = [texts.get("a", "-")]
    parts += [f"d={texts['c/d']}"] if "c/d" in texts else []
    if parts[0] == "1":
        parts.append(texts.get("b", "-"))
    return " ".join(parts)
