"""Files and folders as values: keys by content, results stored, put back and checked."""

from __future__ import annotations

import copy
import os
import pickle
import resource
import shutil
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.storage.objects import Objects
from tasklineage.storage.records import Edge

executed: list[str] = []


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    executed.clear()


def write(name: str, text: str) -> str:
    os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
    Path(name).write_text(text)
    return name


@task
def size(data: tl.File) -> int:
    executed.append("size")
    return len(data.bytes())


@task
def make(text: str, name: str = "out.txt") -> tl.File:
    executed.append("make")
    Path(name).write_text(text)
    return tl.File(name)


@task
def make_folder(text: str) -> tl.Dir:
    executed.append("make_folder")
    write("folder/a.txt", text)
    write("folder/sub/b.txt", "b")
    os.makedirs("folder/empty", exist_ok=True)
    return tl.Dir("folder")


@task
def plain(value: Any) -> str:
    executed.append("plain")
    return type(value).__name__


# -- arguments -------------------------------------------------------------------------


def test_the_content_of_a_file_counts_and_not_its_place(tmp_path: Path) -> None:
    write("a.txt", "hello")
    assert size(tl.File("a.txt")) == 5
    os.rename("a.txt", "b.dat")
    assert size(tl.File("b.dat")) == 5
    assert executed == ["size"]
    write("b.dat", "hellO")
    assert size(tl.File("b.dat")) == 5
    assert executed == ["size", "size"]


def test_a_file_is_told_from_its_bytes_and_its_path() -> None:
    write("a.txt", "hello")
    assert plain(tl.File("a.txt")) == "File"
    assert plain(b"hello") == "bytes"
    assert plain(Path("a.txt")) == type(Path()).__name__


def test_the_content_counts_inside_of_containers_and_dataclasses() -> None:
    write("a.txt", "1")
    values: list[Callable[[], Any]] = [
        lambda: [tl.File("a.txt")],
        lambda: {"x": (tl.File("a.txt"), 1)},
        lambda: Config(tl.File("a.txt"), 2),
    ]
    for value in values:
        plain(value())
        plain(value())
    assert len(executed) == 3
    write("a.txt", "2")
    for value in values:
        plain(value())
    assert len(executed) == 6


@dataclass
class Config:
    file: tl.File
    rate: int


def test_an_annotated_parameter_takes_a_path_and_the_body_gets_a_file() -> None:
    write("a.txt", "hello")
    assert size("a.txt") == 5  # type: ignore[arg-type]
    assert size(Path("a.txt")) == 5  # type: ignore[arg-type]
    assert size(data="a.txt") == 5  # type: ignore[arg-type]
    assert size(tl.File("a.txt")) == 5
    assert executed == ["size"]
    write("a.txt", "more")
    assert size("a.txt") == 4  # type: ignore[arg-type]


def test_annotations_of_many_forms() -> None:
    write("a.txt", "a")
    write("d/b.txt", "b")
    seen: list[Any] = []

    @task
    def many(
        first: tl.File,
        /,
        files: list[tl.File],
        maybe: tl.File | None,
        named: dict[str, tl.File],
        pair: tuple[int, tl.Dir],
        either: tl.File | tl.Dir,
        text: str | tl.File,
        marked: Annotated[tl.File, "doc"],
        default: tl.File = "a.txt",  # type: ignore[assignment]
        *rest: tl.File,
        last: tl.Dir = "d",  # type: ignore[assignment]
        **more: tl.File,
    ) -> int:
        seen.append((first, files, maybe, named, pair, either, text, marked, default, rest, last,
                     more))  # fmt: skip
        return 1

    untyped: Any = many
    a = "a.txt"
    untyped(a, [a], None, {"k": a}, (1, "d"), "d", a, a, a, a, other=a)
    file, folder = tl.File("a.txt"), tl.Dir("d")
    assert seen == [
        (file, [file], None, {"k": file}, (1, folder), folder, "a.txt", file, file, (file,), folder,
         {"other": file})
    ]  # fmt: skip
    untyped(a, [a], a, {}, (1, "d"), a, "x", a)
    assert seen[1][2] == file
    assert seen[1][5] == file
    assert seen[1][8] == file


def test_an_annotation_whose_other_names_only_checkers_know() -> None:
    space: dict[str, Any] = {"__name__": "elsewhere"}
    source = (
        "from __future__ import annotations\n"
        "def load(data: File, table: frames.Table | None = None) -> frames.Table: "
        "return type(data).__name__\n"
    )
    exec(source, space)
    write("a.txt", "1")
    assert task(space["load"])("a.txt") == "File"


def test_paths_are_made_files_in_submit_map_join_and_methods() -> None:
    write("a.txt", "a")
    write("b.txt", "bb")

    class Reader:
        @task
        def read(self, data: tl.File) -> int:
            return len(data.bytes())

    assert size.submit("a.txt").result() == 1
    assert list(tl.map(size, ["a.txt", "b.txt"])) == [1, 2]
    assert tl.gather(size.bind("a.txt"), size.bind("b.txt")) == (1, 2)
    assert Reader().read("b.txt") == 2  # type: ignore[arg-type]
    assert executed.count("size") == 2


async def _async_task() -> int:
    @task
    async def length(data: tl.File) -> int:
        return len(data.bytes())

    return await length("a.txt")  # type: ignore[arg-type]


def test_an_async_task_gets_a_file() -> None:
    import asyncio

    write("a.txt", "abc")
    assert asyncio.run(_async_task()) == 3


def test_a_shared_file_of_a_map_counts() -> None:
    @task
    def add(n: int, data: tl.File) -> int:
        executed.append("add")
        return n + len(data.bytes())

    write("a.txt", "a")
    assert list(tl.map(add, [1, 2], data="a.txt")) == [2, 3]
    assert list(tl.map(add, [1, 2], data="a.txt")) == [2, 3]
    write("a.txt", "aa")
    assert list(tl.map(add, [1, 2], data="a.txt")) == [3, 4]
    assert len(executed) == 4


def test_an_argument_is_recorded_by_path_and_digest_and_not_stored(store_path: Path) -> None:
    write("a.txt", "secret content")
    size("a.txt")  # type: ignore[arg-type]
    call = tl.calls(task="size")[0]
    recorded = call.args["data"]
    assert str(recorded) == os.path.abspath("a.txt")
    assert call.inputs["data"].digest == tl.File("a.txt").digest == recorded.digest
    assert recorded.text() == "secret content"
    assert not any(
        b"secret content" in path.read_bytes() for path in store_path.rglob("*") if path.is_file()
    )
    write("a.txt", "changed")
    with pytest.raises(tl.MissingObject, match="described, not stored"):
        recorded.bytes()


def test_an_argument_is_stored_with_store_args() -> None:
    write("a.txt", "content")
    with tl.run(store_args=True) as run:
        size("a.txt")  # type: ignore[arg-type]
    os.remove("a.txt")
    assert run["size"].args["data"].text() == "content"


def test_an_argument_that_is_a_result_reads_from_the_store() -> None:
    size(make("text"))
    os.remove("out.txt")
    assert tl.calls(task="size")[0].args["data"].text() == "text"


def test_a_file_among_the_parameters_of_a_run() -> None:
    write("a.txt", "content")
    with tl.run(params={"data": tl.File("a.txt")}) as run:
        pass
    os.remove("a.txt")
    assert run.params["data"].text() == "content"


def test_a_file_that_changes_in_place_is_noticed_and_never_a_memo() -> None:
    @task
    def append(data: tl.File) -> int:
        executed.append("append")
        with open(data.path, "a") as file:
            file.write("!")
        return 1

    write("a.txt", "a")
    with pytest.warns(UserWarning, match=r"append changes data in place"):
        append("a.txt")  # type: ignore[arg-type]
    assert tl.calls(task=append.name)[0].status == "done"
    write("a.txt", "a")
    append("a.txt")  # type: ignore[arg-type]
    assert len(executed) == 2


@pytest.mark.filterwarnings("ignore:.*in place")
def test_a_changed_input_that_is_returned_is_never_a_memo() -> None:
    @task
    def shout(data: tl.File) -> tl.File:
        executed.append("shout")
        Path(data).write_text(data.text().upper())
        return data

    write("a.txt", "a")
    assert shout("a.txt").text() == "A"  # type: ignore[arg-type]
    write("a.txt", "a")
    assert shout("a.txt").text() == "A"  # type: ignore[arg-type]
    assert len(executed) == 2


def test_without_the_library_the_body_gets_a_file_too(monkeypatch: pytest.MonkeyPatch) -> None:
    @task
    def paths(data: tl.File) -> tl.File:
        return str(data)  # type: ignore[return-value]

    monkeypatch.setenv("TASKLINEAGE_DISABLE", "1")
    write("a.txt", "hello")
    assert size("a.txt") == 5  # type: ignore[arg-type]
    assert size.submit("a.txt").result() == 5
    assert list(tl.map(size, ["a.txt"])) == [5]
    assert paths("a.txt") == tl.File("a.txt")  # type: ignore[arg-type]


def test_a_recorded_call_is_made_again_with_its_file() -> None:
    size(make("text"))
    write("other.txt", "other")
    call = tl.calls(task="size")[0]
    os.remove("out.txt")
    assert call.rerun() == 4
    assert call.rerun(data="other.txt") == 5
    write("a.txt", "abc")
    size("a.txt")  # type: ignore[arg-type]
    call = tl.calls(task="size")[0]
    assert call.rerun() == 3
    write("a.txt", "changed")
    with pytest.raises(tl.MissingObject, match="described, not stored"):
        call.rerun()


def test_a_file_with_slots_and_in_a_frozen_dataclass_is_found() -> None:
    write("a.txt", "1")
    write("b.txt", "1")
    with tl.run(store_args=True) as run:
        plain(Slotted(tl.File("a.txt")))
        plain([Slotted(tl.File("b.txt"))])
    os.remove("a.txt")
    os.remove("b.txt")
    values = [call.args["value"] for call in run.calls]
    found = [value[0] if isinstance(value, list) else value for value in values]
    assert sorted(os.path.basename(str(one.file)) for one in found) == ["a.txt", "b.txt"]
    assert [one.file.text() for one in found] == ["1", "1"]


@dataclass(frozen=True, slots=True)
class Slotted:
    file: tl.File


def test_a_file_in_a_global_counts() -> None:
    write("a.txt", "1")
    space: dict[str, Any] = {"__name__": "elsewhere", "DATA": tl.File("a.txt"), "seen": []}
    exec("def read():\n    seen.append(1)\n    return DATA.text()", space)
    read = task(space["read"])
    assert [read(), read()] == ["1", "1"]
    assert len(space["seen"]) == 1
    write("a.txt", "2")
    assert read() == "2"


# -- what cannot be read ---------------------------------------------------------------


def test_errors_name_task_and_parameter_and_what_is_there(tmp_path: Path) -> None:
    os.mkdir("folder")
    write("file", "")
    os.symlink("nothing", "broken")
    os.mkfifo("pipe")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("socket")

    @task
    def walk(folder: tl.Dir) -> int:
        return 1

    for name, text in {
        "nope": r"test_files\.size\(data\): there is no file or folder .*/nope: make it first",
        "folder": r"size\(data\): .* is a folder, and a file is expected: tl\.Dir",
        "broken": r"size\(data\): .*/broken is a symbolic link to nothing, which is not there",
        "pipe": r"size\(data\): .*/pipe is a named pipe",
        "socket": r"size\(data\): .*/socket is a socket",
        "/dev/null": r"size\(data\): /dev/null is a device",
        "file/x": r"size\(data\): there is no file",
    }.items():
        with pytest.raises(tl.UnreadableFile, match=text) as caught:
            size(name)  # type: ignore[arg-type]
        assert isinstance(caught.value, tl.UnhashableArgument | OSError)
    with pytest.raises(FileNotFoundError):
        size("nope")  # type: ignore[arg-type]
    with pytest.raises(tl.UnreadableFile, match=r"walk\(folder\): .*/file is a file, and a folder"):
        walk("file")  # type: ignore[arg-type]
    os.rename("pipe", "folder/pipe")
    with pytest.raises(tl.UnreadableFile, match=r"walk\(folder\): .*/folder/pipe is a named pipe"):
        walk("folder")  # type: ignore[arg-type]
    with pytest.raises(tl.MissingFile, match=r"plain\(value\['x'\]\[0\]\): there is no file"):
        plain({"x": [tl.File("nope")]})
    listener.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_says_so() -> None:
    write("a.txt", "a")
    os.chmod("a.txt", 0)
    with pytest.raises(tl.UnreadableFile, match=r"size\(data\): .* cannot be read: Permission"):
        size("a.txt")  # type: ignore[arg-type]


def test_a_result_that_is_not_there_says_so() -> None:
    @task
    def forgets() -> tl.File:
        return tl.File("never-written")

    with pytest.raises(tl.UnstorableResult, match=r"there is no file or folder .*never-written"):
        forgets()


def test_what_makes_no_file() -> None:
    with pytest.raises(ValueError, match="path on this machine"):
        tl.File("s3://bucket/key")
    with pytest.raises(ValueError, match="is text"):
        tl.File(b"bytes")  # type: ignore[arg-type]
    write("a.txt", "a")
    with pytest.raises(ValueError, match="opened for reading"):
        tl.File("a.txt").open("w")
    with pytest.raises(AttributeError, match="cannot be changed"):
        tl.File("a.txt").path = "b"  # type: ignore[misc]
    with pytest.raises(ValueError, match="is no member"):
        tl.Dir(".") / "../x"


# -- results ---------------------------------------------------------------------------


def test_an_absent_file_is_put_back_with_its_mode() -> None:
    @task
    def script() -> tl.File:
        executed.append("script")
        write("deep/er/run.sh", "#!/bin/sh\n")
        os.chmod("deep/er/run.sh", 0o754)
        return tl.File("deep/er/run.sh")

    script()
    shutil.rmtree("deep")
    assert script.cached()
    assert not os.path.exists("deep")
    assert script().text() == "#!/bin/sh\n"
    assert stat.S_IMODE(os.stat("deep/er/run.sh").st_mode) == 0o754
    assert os.listdir("deep/er") == ["run.sh"]
    assert executed == ["script"]


def test_an_unchanged_file_is_left_alone() -> None:
    make("text")
    os.utime("out.txt", ns=(1, 1))
    before = os.stat("out.txt")
    assert make("text") == tl.File("out.txt")
    after = os.stat("out.txt")
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)
    assert executed == ["make"]


def test_a_file_of_other_content_makes_it_a_miss() -> None:
    make("text")
    write("out.txt", "mine")
    assert not make.cached("text")
    assert make("text").text() == "text"
    assert executed == ["make", "make"]


@pytest.mark.parametrize("obstacle", ["folder", "broken link", "no permission"])
def test_what_stands_in_the_way_makes_it_a_miss(obstacle: str) -> None:
    os.mkdir("below")
    make("text", "below/out.txt")
    executed.clear()
    os.remove("below/out.txt")
    if obstacle == "folder":
        os.mkdir("below/out.txt")
        with pytest.raises(IsADirectoryError):
            make("text", "below/out.txt")
    elif obstacle == "broken link":
        os.symlink("nowhere", "below/out.txt")
        make("text", "below/out.txt")
        assert Path("below/nowhere").read_text() == "text"
    else:
        os.rmdir("below")
        write("below", "a file")
        with pytest.raises(NotADirectoryError):
            make("text", "below/out.txt")
    assert executed == ["make"]


def test_a_result_that_is_not_stored_is_a_digest_only() -> None:
    @task
    def large() -> tl.File:
        executed.append("large")
        return tl.File(write("large.bin", "content"), store=False)

    large()
    assert large().text() == "content"
    assert executed == ["large"]
    os.remove("large.bin")
    assert not large.cached()
    assert large().text() == "content"
    assert executed == ["large", "large"]
    artifact = tl.calls(task=large.name)[0].output
    assert artifact is not None
    os.remove("large.bin")
    with pytest.raises(tl.MissingObject):
        artifact.value.bytes()


def test_an_artifact_gives_what_was_stored_whatever_became_of_the_file() -> None:
    make("text" * 10_000)
    artifact = tl.calls(task="make")[0].output
    assert artifact is not None
    assert artifact.value.path == os.path.abspath("out.txt")
    for change in (lambda: write("out.txt", "changed"), lambda: os.remove("out.txt")):
        change()
        value = artifact.value
        assert value.text() == "text" * 10_000
        assert value.open("r").read(4) == "text"
        with open(value) as file:
            assert file.read() == "text" * 10_000
        assert value.path != os.path.abspath("out.txt")
        assert value.digest == artifact.digest
        assert artifact.type == "tasklineage.File"
        assert artifact.nbytes >= 40_000
        assert "out.txt" in artifact.preview


def test_a_file_of_the_store_is_an_argument_by_the_content_that_was_stored() -> None:
    make("text")
    value = tl.calls(task="make")[0].result
    assert size(value) == 4
    write("out.txt", "another content")
    assert size(value) == 4
    assert executed == ["make", "size"]

    @task
    def read_by_path(data: tl.File) -> str:
        return Path(data.path).read_text()

    assert read_by_path(value) == "text"


def test_equal_content_in_two_places_keeps_both_places() -> None:
    first, second = make("same", "one.txt"), make("same", "two.txt")
    assert first != second
    assert first.digest == second.digest
    os.remove("one.txt")
    os.remove("two.txt")
    assert make("same", "two.txt").path == os.path.abspath("two.txt")
    assert os.listdir(".") == ["two.txt"]
    calls = tl.calls(task="make")
    assert {os.path.basename(str(call.result)) for call in calls} == {"one.txt", "two.txt"}


def test_equal_content_is_stored_once(store_path: Path) -> None:
    text = "content" * 5_000
    make(text, "one.txt")
    make(text, "two.txt")
    write("folder/a.txt", "")
    make_folder(text)
    files = [path for path in (store_path / "objects").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size > 30_000 for path in files) == 1


@pytest.mark.parametrize("wrap", ["list", "dict", "tuple", "dataclass", "nested"])
def test_files_anywhere_in_a_result_are_put_back(wrap: str) -> None:
    @task
    def produce(kind: str) -> Any:
        executed.append("produce")
        one, two = tl.File(write("1.txt", "1")), tl.File(write("2.txt", "2"))
        return {
            "list": [one, two],
            "dict": {"a": one, "b": two, "big": bytes(50_000)},
            "tuple": (one, (two, list(range(20_000)))),
            "dataclass": [Config(one, 1), Config(two, 2)],
            "nested": {"x": [{"y": Config(one, 1)}], "z": {"w": (two,)}},
        }[kind]

    produce(wrap)
    os.remove("1.txt")
    os.remove("2.txt")
    produce(wrap)
    assert [Path("1.txt").read_text(), Path("2.txt").read_text()] == ["1", "2"]
    assert executed == ["produce"]
    write("2.txt", "other")
    stored = tl.calls(task=produce.name, status="done")[0].result
    assert [f.text() for f in files_of(stored)] == ["1", "2"]
    produce(wrap)
    assert executed == ["produce", "produce"]


def files_of(value: Any) -> list[tl.File]:
    if isinstance(value, tl.File):
        return [value]
    if isinstance(value, Config):
        return [value.file]
    parts = value.values() if isinstance(value, dict) else value
    return [f for part in parts if not isinstance(part, int | bytes) for f in files_of(part)]


def test_a_returned_path_becomes_a_file_by_annotation() -> None:
    @task
    def paths() -> list[tl.File]:
        return [write("1.txt", "1"), Path(write("2.txt", "2"))]  # type: ignore[list-item]

    @task
    def one() -> tl.File | None:
        return write("3.txt", "3")  # type: ignore[return-value]

    assert [f.text() for f in paths()] == ["1", "2"]
    assert one() == tl.File("3.txt")
    assert one() == tl.File("3.txt")


def test_a_hit_gives_what_an_executed_call_gives() -> None:
    for _ in range(2):
        file = make("text")
        write("out.txt", "changed")
        assert file.text() == "changed"
        assert size(file) == 7
        write("out.txt", "text")
    assert executed == ["make", "size"]


def test_results_of_a_map_are_files() -> None:
    names = [f"{n}.txt" for n in range(20)]
    for _ in range(2):
        results = list(tl.map(make, [str(n) * 30_000 for n in range(20)], names))
        assert [f.path for f in results] == [os.path.abspath(name) for name in names]
        assert all(f.text()[:2] == str(n) * 2 or n > 9 for n, f in enumerate(results))
        for name in names:
            os.remove(name)
    assert len(executed) == 20


def test_a_damaged_object_makes_it_a_miss_and_heals(store_path: Path) -> None:
    make("text")
    os.remove("out.txt")
    (path,) = [p for p in (store_path / "objects").glob("??/*") if p.is_file()]
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert make("text").text() == "text"
    assert executed == ["make", "make"]
    os.remove("out.txt")
    assert make("text").text() == "text"
    assert executed == ["make", "make"]


def test_a_missing_object_is_stored_again_from_the_file_that_is_there(store_path: Path) -> None:
    make("text")
    shutil.rmtree(store_path / "objects")
    assert make("text").text() == "text"
    assert executed == ["make"]
    os.remove("out.txt")
    assert make("text").text() == "text"
    assert executed == ["make"]
    os.remove("out.txt")
    shutil.rmtree(store_path / "objects")
    assert make("text").text() == "text"
    assert executed == ["make", "make"]
    os.remove("out.txt")
    assert make("text").text() == "text"
    assert executed == ["make", "make"]


def test_a_file_that_changes_while_it_is_stored_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put = Objects.put

    def interfere(self: Objects, header: Any, buffers: Any) -> bytes:
        with open("out.txt", "a") as file:
            file.write("more")
        return put(self, header, buffers)

    with monkeypatch.context() as patch:
        patch.setattr(Objects, "put", interfere)
        with pytest.raises(tl.UnstorableResult, match="changed while it was read: let whoever"):
            make("text")
    assert make("text").text() == "text"


def test_two_threads_put_back_one_file_at_the_same_time() -> None:
    make("text" * 100_000)
    for _ in range(5):
        os.remove("out.txt")
        barrier = threading.Barrier(4)
        results: list[str] = []

        def ask(barrier: threading.Barrier = barrier, results: list[str] = results) -> None:
            barrier.wait()
            results.append(make("text" * 100_000).text())

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(results) == {"text" * 100_000}
        assert os.listdir(".") == ["out.txt"]
    assert executed == ["make"]


def test_a_store_that_is_not_trusted_writes_no_files(store_path: Path) -> None:
    make("text")
    os.remove("out.txt")
    with tl.run(store=tl.open_store(store_path, allow_pickle=False)) as run:
        make("text")
    assert run.executed == 1


# -- parents ---------------------------------------------------------------------------


@task
def parent(text: str) -> int:
    executed.append("parent")
    return size(make(text))


def test_a_hit_of_a_parent_puts_back_the_file_of_a_child() -> None:
    parent("text")
    os.remove("out.txt")
    assert parent("text") == 4
    assert Path("out.txt").read_text() == "text"
    assert executed == ["parent", "make", "size"]


def test_a_changed_file_of_a_child_makes_the_parent_a_miss() -> None:
    @task
    def grandparent(text: str) -> int:
        executed.append("grandparent")
        return parent(text)

    grandparent("text")
    grandparent("text")
    assert executed == ["grandparent", "parent", "make", "size"]
    write("out.txt", "other")
    assert grandparent("text") == 4
    assert executed[4:] == ["grandparent", "parent", "make"]
    assert Path("out.txt").read_text() == "text"


def test_a_temporary_file_of_a_child_is_not_brought_back() -> None:
    @task
    def clean_up(text: str) -> int:
        executed.append("clean_up")
        file = make(text)
        result = size(file)
        os.remove(file.path)
        return result

    clean_up("text")
    assert clean_up("text") == 4
    assert not os.path.exists("out.txt")
    assert executed.count("clean_up") == 1


def test_of_children_that_write_to_one_place_the_last_one_counts() -> None:
    @task
    def twice() -> int:
        executed.append("twice")
        return size(make("first")) + size(make("second one"))

    twice()
    os.remove("out.txt")
    assert twice() == 15
    assert Path("out.txt").read_text() == "second one"
    assert executed.count("twice") == 1


# -- lineage ---------------------------------------------------------------------------


def test_a_file_from_one_result_to_another_task_makes_an_edge() -> None:
    def edges(run: tl.Run, name: str) -> list[tuple[str, str, str]]:
        store = tl.open_store()
        (row,) = store.catalog.find_calls(prefix=run[name].id)
        found = [Edge(*fields) for fields in store.journal.read(row.location).edges]
        return [(edge.path, edge.producer.hex(), edge.via) for edge in found]

    with tl.run() as run:
        size(make("by identity"))
    assert edges(run, "size") == [("data", run["make"].id, "identity")]
    with tl.run() as run:
        kept = make("by content")
        size("out.txt")  # type: ignore[arg-type]
    assert edges(run, "size") == [("data", run["make"].id, "content")]

    assert kept.path == os.path.abspath("out.txt")

    @task
    def several() -> dict[str, tl.File]:
        return {"x": tl.File(write("x", "x is here")), "y": tl.File(write("y", "y is there"))}

    with tl.run() as run:
        plain([several()["y"]])
    assert edges(run, "plain") == [("value[0]", run[several.name].id, "identity")]
    call = tl.calls(task="make")[0]
    assert call.output is not None
    assert tl.File("out.txt").digest == call.output.digest
    assert [c.id for c in call.output.consumers] == [tl.calls(task="size")[0].id]


def test_a_file_or_folder_on_the_disk_is_asked_where_it_came_from() -> None:
    with tl.run() as run:
        make("text")
        make_folder("more")
    os.rename("out.txt", "moved.dat")
    for path, task_name in (("moved.dat", "make"), ("folder", "make_folder")):
        lineage = tl.whence(path)
        assert run[task_name].id in {getattr(node, "id", "") for node in lineage.nodes}
    write("moved.dat", "something else")
    with pytest.raises(tl.NotFound):
        tl.whence("moved.dat")


# -- folders ---------------------------------------------------------------------------


@task
def names(folder: tl.Dir) -> list[str]:
    executed.append("names")
    return [os.path.basename(member.path) for member in folder]


def test_everything_in_a_folder_counts_but_permissions_and_times() -> None:
    write("d/a.txt", "a")
    write("d/sub/b.txt", "b")
    digests = [tl.Dir("d").digest]

    def is_new() -> bool:
        digests.append(tl.Dir("d").digest)
        return digests[-1] not in digests[:-1]

    os.chmod("d/a.txt", 0o700)
    os.utime("d/sub/b.txt", (1, 1))
    assert not is_new()
    os.mkdir("d/empty")
    assert is_new()
    write("d/sub/b.txt", "c")
    assert is_new()
    os.rename("d/a.txt", "d/z.txt")
    assert is_new()
    write("d/.hidden", "h")
    assert is_new()
    os.symlink("z.txt", "d/link")
    assert is_new()
    os.remove("d/link")
    os.symlink("sub/b.txt", "d/link")
    assert is_new()
    shutil.copytree("d", "moved", symlinks=True)
    assert tl.Dir("moved").digest == digests[-1]


def test_a_link_out_of_a_folder_counts_by_what_it_leads_to() -> None:
    write("outside/data.txt", "1")
    write("outside/sibling.txt", "s")
    os.mkdir("outside/more")
    os.symlink("../sibling.txt", "outside/more/link")
    os.mkdir("d")
    os.symlink("../outside/data.txt", "d/relative")
    os.symlink(os.path.abspath("outside/more"), "d/absolute")
    assert names("d") == ["absolute", "relative"]  # type: ignore[arg-type]
    names("d")  # type: ignore[arg-type]
    write("outside/data.txt", "2")
    names("d")  # type: ignore[arg-type]
    write("outside/sibling.txt", "t")
    names("d")  # type: ignore[arg-type]
    assert len(executed) == 3
    os.symlink("..", "d/up")
    with pytest.raises(tl.UnreadableFile, match="link to a folder around it"):
        names("d")  # type: ignore[arg-type]
    os.remove("d/up")
    os.symlink("/nowhere", "d/broken")
    with pytest.raises(tl.UnreadableFile, match="symbolic link to /nowhere, which is not there"):
        names("d")  # type: ignore[arg-type]


def test_a_store_inside_of_a_folder_does_not_count() -> None:
    write("data.txt", "1")
    with tl.run(store=".tasklineage"):
        names(".")  # type: ignore[arg-type]
        names(".")  # type: ignore[arg-type]
    assert executed == ["names"]


def test_a_folder_is_put_back_whole() -> None:
    make_folder("text")
    write("folder/sub/run.sh", "x")
    os.chmod("folder/sub/run.sh", 0o755)
    os.symlink("sub/run.sh", "folder/link")
    shutil.rmtree("folder")
    assert make_folder("text").digest == tl.Dir("folder").digest
    assert sorted(p.relative_to("folder").as_posix() for p in Path("folder").rglob("*")) == [
        "a.txt", "empty", "sub", "sub/b.txt",
    ]  # fmt: skip
    os.remove("folder/a.txt")
    make_folder("text")
    assert executed == ["make_folder", "make_folder"]
    assert [p for p in os.listdir(".") if p != "folder"] == []


def test_links_and_modes_of_a_folder_come_back() -> None:
    @task
    def linked() -> tl.Dir:
        write("d/sub/run.sh", "x")
        os.chmod("d/sub/run.sh", 0o750)
        os.symlink("sub/run.sh", "d/link")
        os.symlink("../link", "d/sub/back")
        os.chmod("d/sub", 0o500)
        return tl.Dir("d")

    linked()
    os.chmod("d/sub", 0o700)
    shutil.rmtree("d")
    linked()
    assert os.readlink("d/link") == "sub/run.sh"
    assert os.readlink("d/sub/back") == "../link"
    assert stat.S_IMODE(os.stat("d/sub/run.sh").st_mode) == 0o750
    assert stat.S_IMODE(os.stat("d/sub").st_mode) == 0o500
    os.chmod("d/sub", 0o700)


def test_a_folder_of_the_store_gives_what_was_stored() -> None:
    make_folder("text")
    artifact = tl.calls(task="make_folder")[0].output
    assert artifact is not None
    assert (artifact.value / "a.txt").text() == "text"
    write("folder/a.txt", "changed")
    value = artifact.value
    assert (value / "a.txt").text() == "text"
    assert ((value / "sub") / "b.txt").text() == "b"
    assert [os.path.basename(str(m)) for m in value] == ["a.txt", "empty", "sub"]
    assert Path(value.path, "a.txt").read_text() == "text"
    assert sorted(os.listdir(value)) == ["a.txt", "empty", "sub"]
    with pytest.raises(FileNotFoundError):
        (value / "nope").text()
    shutil.rmtree("folder")
    assert names(value) == ["a.txt", "empty", "sub"]


# -- the stat cache --------------------------------------------------------------------

_HASH_TWICE = """
import os, sys, time
import tasklineage as tl
from tasklineage.key import file_contents
hashed = []
original = file_contents._hash
file_contents._hash = lambda descriptor, size: hashed.append(size) or original(descriptor, size)

@tl.task
def size(data: tl.File) -> int:
    return os.path.getsize(data)

size(sys.argv[1]); size(sys.argv[1])
print(len(hashed))
"""


def test_an_unchanged_file_is_hashed_once_also_by_the_next_process() -> None:
    write("big.bin", "x" * 40_000_000)
    counts = [
        subprocess.run(
            [sys.executable, "-c", _HASH_TWICE, "big.bin"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for _ in range(2)
    ]
    assert counts == ["1", "0"]


def test_a_file_changed_within_a_tick_with_its_times_put_back_is_seen() -> None:
    for n in range(50):
        write("a.txt", f"{n:05}")
        os.utime("a.txt", (1, 1))
        assert tl.File("a.txt").text() == f"{n:05}"
        assert size(tl.File("a.txt")) == 5
    assert len(executed) == 50


def test_a_large_file_is_stored_and_put_back_with_little_memory() -> None:
    @task
    def large() -> tl.File:
        executed.append("large")
        block = os.urandom(1 << 20)
        with open("large.bin", "wb") as file:
            file.writelines(block[n:] + block[:n] for n in range(300))
        return tl.File("large.bin")

    make("warm up")
    os.remove("out.txt")
    make("warm up")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    digest = large().digest
    os.remove("large.bin")
    assert large().digest == digest
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert executed == ["make", "large"]
    assert used < 60 * 1024  # KiB, of 300 MiB


# -- values ----------------------------------------------------------------------------


def test_a_file_is_an_immutable_value() -> None:
    write("a.txt", "a")
    file = tl.File("a.txt", store=False)
    assert isinstance(file, os.PathLike)
    assert repr(file) == f"File({os.path.abspath('a.txt')!r}, store=False)"
    assert str(file) == os.fspath(file) == os.path.abspath("a.txt")
    assert copy.deepcopy(file) is file
    back = pickle.loads(pickle.dumps(file))
    assert (back, back.store, hash(back)) == (file, False, hash(file))
    assert file == tl.File(Path("a.txt"))
    assert file != tl.Dir("a.txt")
    assert len({file, tl.File("a.txt"), tl.File("b.txt")}) == 2
    assert os.path.basename(tl.File("x/../a.txt").path) == "a.txt"


def test_a_file_of_the_store_can_be_pickled() -> None:
    make("text")
    value = tl.calls(task="make")[0].result
    assert value == tl.File("out.txt")
    os.remove("out.txt")
    assert value != tl.File("out.txt")
    assert pickle.loads(pickle.dumps(value)).text() == "text"


def test_the_command_line_writes_a_file_of_the_store(tmp_path: Path) -> None:
    make("text")
    os.remove("out.txt")
    artifact = tl.calls(task="make")[0].id
    command = [sys.executable, "-m", "tasklineage.cli.main", "dump", artifact, "--output", "copy"]
    subprocess.run(command, check=True)
    assert Path("copy").read_text() == "text"


def test_a_command_line_takes_paths() -> None:
    write(
        "script.py",
        "import tasklineage as tl\n\n@tl.task\ndef main(data: tl.File, folder: tl.Dir | None = None"
        ") -> int:\n    print('size', len(data.bytes()))\n    return 1\n",
    )
    write("a.txt", "abc")
    command = [sys.executable, "-m", "tasklineage.cli.main", "run", "script.py:main", "--data"]
    done = subprocess.run([*command, "a.txt"], capture_output=True, text=True, check=False)
    assert "size 3" in done.stdout, done.stderr
    done = subprocess.run([*command, "nope.txt"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "nope.txt" in done.stderr
