"""`why`: what of a call that executed is not what it was, from the store alone."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import tasklineage as tl
from tasklineage import task

ROOT = Path(__file__).parents[2]


def newest(function: Any) -> tl.Why:
    return tl.why(function.calls(limit=1)[0])


def kinds(found: tl.Why) -> list[tuple[str, str]]:
    return [(cause.kind, cause.name) for cause in found.causes]


# Arguments.


def test_the_first_call_ever_says_so() -> None:
    @task
    def first(x: int) -> int:
        return x

    first(1)
    found = newest(first)
    assert kinds(found) == [("first", first.name)]
    assert found.previous is None
    assert found


def test_a_hit_has_no_cause_and_names_its_producer() -> None:
    @task
    def once(x: int) -> int:
        return x

    once(1)
    once(1)
    found = newest(once)
    assert not found
    assert found.previous == once.calls()[1]
    assert "answered" in str(found)


def test_every_argument_that_differs_is_listed_with_old_and_new() -> None:
    @task
    def area(width: int, height: int, unit: str = "m") -> str:
        return f"{width * height} {unit}"

    area(2, 3)
    area(2, 4, unit="km")
    found = newest(area)
    assert kinds(found) == [("argument", "height"), ("argument", "unit")]
    assert [(c.old, c.new) for c in found.causes] == [("3", "4"), ("'m'", "'km'")]
    assert found.previous == area.calls()[1]


def test_an_ignored_argument_is_no_cause() -> None:
    @task(ignore="label")
    def scale(x: int, label: str) -> int:
        return x

    scale(1, "a")
    scale(2, "b")
    assert kinds(newest(scale)) == [("argument", "x")]


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ({"a": [1, 2]}, {"a": [1, 3]}, ["['a'][1]: 2 is now 3"]),
        ({"a": 1}, {"a": 1, "b": 2}, ["['b'] is new: 2"]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, ["the dict: other order of keys"]),
        ([1, 2], [1], ["the list: length 2 is now 1", "[1] is gone: 2"]),
        ({1, 2}, {1, 3}, ["3 is new", "2 is gone"]),
        (1, True, ["1 is now True"]),
        (
            "a\nb",
            "a\nc",
            ["--- text (before)", "+++ text (now)", "@@ -1,2 +1,2 @@", " a", "-b", "+c"],
        ),
    ],
)
def test_containers_differ_by_path_and_texts_by_line(old: Any, new: Any, lines: list[str]) -> None:
    @task
    def keep(x: Any) -> Any:
        return 0

    keep(old)
    keep(new)
    (cause,) = newest(keep).causes
    assert cause.diff.splitlines() == lines


def test_arrays_differ_by_shape_dtype_and_share_of_elements() -> None:
    np = pytest.importorskip("numpy")

    @task(store_args=True)
    def total(x: Any) -> float:
        return float(x.sum())

    big = np.zeros((100, 100))
    total(big)
    other = big.copy()
    other[0, :10] = 1
    total(other)
    assert "10 of 10,000 elements differ (0.1 %)" in newest(total).causes[0].text
    total(np.zeros((100, 50), "f4"))
    diff = newest(total).causes[0].diff
    assert "dtype float64 is now float32" in diff
    assert "shape (100, 100) is now (100, 50)" in diff


def test_an_array_that_is_only_described_differs_by_its_blocks() -> None:
    np = pytest.importorskip("numpy")

    @task
    def size(x: Any) -> int:
        return int(x.size)

    size(np.zeros((1024, 1024)))
    other = np.zeros((1024, 1024))
    other[0, 0] = 1
    size(other)
    assert "1 of 8 blocks of 1 MiB differ" in newest(size).causes[0].text


def test_frames_differ_by_column_and_rows() -> None:
    pd = pytest.importorskip("pandas")

    @task(store_args=True)
    def rows(x: Any) -> int:
        return len(x)

    frame = pd.DataFrame({"a": range(5), "b": [0.5] * 5})
    rows(frame)
    rows(frame.assign(a=[0, 1, 7, 3, 4], c=1))
    diff = newest(rows).causes[0].diff.splitlines()
    assert diff == ["column 'c' is new", "column 'a': 1 of 5 rows differ"]


class Opaque:
    def __init__(self, n: int) -> None:
        self.n = n

    def __reduce__(self) -> Any:
        return _explode, (self.n,)


def _explode(n: int) -> Opaque:
    if os.environ.get("EXPLODE"):
        raise AssertionError("it was unpickled")
    return Opaque(n)


def test_nothing_is_unpickled(monkeypatch: pytest.MonkeyPatch) -> None:
    @task(store_args=True)
    def look(x: Any) -> int:
        return 1

    look(Opaque(1))
    look(Opaque(2))
    monkeypatch.setenv("EXPLODE", "1")
    found = newest(look)
    assert kinds(found) == [("argument", "x")]
    assert "digest" in found.causes[0].diff


# What a memo depends on beside its key.


def test_an_expired_memo_says_when_it_was_made() -> None:
    @task(ttl=0)
    def brief(x: int) -> int:
        return x

    brief(1)
    brief(1)
    found = newest(brief)
    assert kinds(found) == [("expired", brief.name)]
    assert "ttl 0 s" in found.causes[0].text
    assert found.previous == brief.calls()[1]


def test_an_expired_memo_below_is_told() -> None:
    @task(ttl=0.01)
    def leaf(x: int) -> int:
        return x

    @task
    def parent(x: int) -> int:
        return leaf(x)

    parent(1)
    time.sleep(0.02)
    parent(1)
    assert "below it has expired" in newest(parent).causes[0].text


def test_a_refreshed_task_is_named() -> None:
    @task
    def again(x: int) -> int:
        return x

    again(1)
    with tl.run("new", refresh=("again",)):
        again(1)
    assert kinds(newest(again)) == [("refreshed", again.name)]


def test_a_tracked_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    @task(track="env:SPEED")
    def go(x: int) -> int:
        return x

    @task
    def parent(x: int) -> int:
        return go(x)

    monkeypatch.setenv("SPEED", "1")
    parent(1)
    monkeypatch.setenv("SPEED", "2")
    parent(1)
    assert kinds(newest(go)) == [("salt", "SPEED")]
    (cause,) = tl.why(newest(go)).causes
    assert (cause.old, cause.new) == ("'1'", "'2'")
    assert cause.text == "tracked extra SPEED: '1' is now '2'"
    assert kinds(newest(parent)) == [("env", "SPEED")]
    assert "'1'" in tl.why(newest(parent)).causes[0].text


def test_the_text_of_a_tracked_variable_that_speaks_of_a_secret_is_in_no_record(
    monkeypatch: pytest.MonkeyPatch, store_path: Path
) -> None:
    @task(track="env:API_TOKEN")
    def go(x: int) -> int:
        return x

    for text in ("hidden-one", "hidden-two"):
        monkeypatch.setenv("API_TOKEN", text)
        go(1)
    assert kinds(newest(go)) == [("salt", "API_TOKEN")]
    assert not any(b"hidden-" in path.read_bytes() for path in store_path.rglob("journal/*/*"))


def test_a_tracked_function_comes_with_its_diff(tmp_path: Path) -> None:
    text = (
        "import tasklineage as tl\ndef extra(): return 1\n"
        "@tl.task(track=(extra,))\ndef run(x): return x\nrun(1)\n"
    )
    script, store = tmp_path / "script.py", tmp_path / "store"
    for edited in (text, text.replace("return 1", "return 2")):
        script.write_text(edited)
        environment = {**os.environ, "TASKLINEAGE_STORE": str(store)}
        subprocess.run([sys.executable, script], env=environment, check=True, timeout=100)
    call = tl.calls(task="run", store=store)[0]
    (cause,) = tl.why(call).causes
    assert (cause.kind, cause.name) == ("salt", "__main__.extra")
    assert "-def extra(): return 1" in cause.diff
    assert "+def extra(): return 2" in cause.diff


def test_a_file_that_was_changed_is_named(tmp_path: Path) -> None:
    @task
    def write(x: int) -> tl.File:
        path = tmp_path / "out.txt"
        path.write_text(str(x))
        return tl.File(path)

    write(1)
    (tmp_path / "out.txt").write_text("something else")
    write(1)
    assert kinds(newest(write)) == [("file", str(tmp_path / "out.txt"))]


def test_a_file_that_the_body_opened_is_named(tmp_path: Path) -> None:
    data = tmp_path / "data.txt"

    @task
    def read(x: int) -> str:
        return data.read_text() * x

    @task
    def parent(x: int) -> str:
        return read(x)

    data.write_text("a")
    parent(2)
    data.write_text("b")
    assert parent(2) == "bb"
    for one in (read, parent):
        found = newest(one)
        assert kinds(found) == [("read", str(data))]
        assert "the file that was read" in found.causes[0].text
    data.unlink()
    with pytest.raises(FileNotFoundError):
        parent(2)
    assert ("read", str(data)) in kinds(newest(read))


def test_a_module_that_the_body_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = tmp_path / "a_plugin_of_why.py"
    monkeypatch.syspath_prepend(tmp_path)

    @task
    def load(x: str) -> int:
        found: int = importlib.import_module(f"a_plugin{x}").VALUE
        return found

    for value in (1, 22):
        plugin.write_text(f"VALUE = {value}  # {value}")
        sys.modules.pop(plugin.stem, None)
        importlib.invalidate_caches()
        assert load("_of_why") == value
    assert kinds(newest(load)) == [("module", plugin.stem)]
    assert newest(load).causes[0].text.startswith("the source of the module")


def test_all_of_several_causes_are_told(tmp_path: Path) -> None:
    first, second = tmp_path / "1.txt", tmp_path / "2.txt"
    rates = {"a": 1}

    @task
    def read(x: int) -> str:
        return first.read_text() + second.read_text() * x * rates["a"]

    first.write_text("a")
    second.write_text("b")
    read(1)
    rates["a"] = 2
    first.write_text("c")
    read(2)
    found = {cause.kind for cause in newest(read).causes}
    assert found == {"argument", "closure"}  # it is another key: the file was not asked


def test_a_volatile_call_names_the_child() -> None:
    @task(memo=False)
    def clock() -> int:
        return 1

    @task
    def parent(x: int) -> int:
        return clock()

    parent(1)
    parent(1)
    assert kinds(newest(parent)) == [("volatile", clock.name)]
    assert kinds(newest(clock)) == [("memo", clock.name)]


def test_a_failed_a_forgotten_and_a_mutating_call_are_told() -> None:
    broken = [True]

    @task(ignore="state")
    def shaky(x: int, state: Any) -> int:
        if state.pop():
            raise ValueError("no luck")
        return x

    with pytest.raises(ValueError, match="no luck"):
        shaky(1, broken)
    shaky(1, [False])
    found = newest(shaky)
    assert kinds(found) == [("status", "failed")]
    assert "no luck" in found.causes[0].text

    @task
    def plain(x: int) -> int:
        return x

    plain(1)
    plain.forget(1)
    plain(1)
    assert kinds(newest(plain)) == [("forgotten", plain.name)]

    @task
    def append(x: list[int]) -> int:
        x.append(1)
        return 1

    with pytest.warns(UserWarning, match="changes x"):
        append([])
    append([])
    assert kinds(newest(append)) == [("mutated", "x")]


def test_a_missing_object_is_told() -> None:
    @task
    def large(x: int) -> bytes:
        return bytes(1_000_000 + x)

    large(1)
    run = tl.current_run()
    assert run is not None
    for path in Path(run.store.url, "objects").glob("??/*"):
        path.unlink()
    large(1)
    assert [kind for kind, _ in kinds(newest(large))] == ["missing"]


# Of a run.


def test_a_map_that_executed_for_one_cause_is_said_once() -> None:
    @task(version="1")
    def square(x: int) -> int:
        return x * x

    with tl.run("one"):
        list(tl.map(square, range(200)))
    other = square.options(version="2")
    with tl.run("two") as run:
        list(tl.map(other, range(200)))
    found = tl.why(run)
    (group,) = found.groups
    assert len(group) == 200
    assert [(c.kind, c.old, c.new) for c in group.causes] == [("version", "1", "2")]
    assert "200 calls" in str(found)
    for one in group:
        before = one.previous
        assert before is not None
        assert before.args["x"] == one.call.args["x"]


def test_it_shows_itself_on_one_line_and_as_html() -> None:
    @task
    def show(x: str) -> str:
        return x

    show("a")
    show("<b>")
    found = newest(show)
    assert "\n" not in repr(found)
    assert "&lt;b&gt;" in found._repr_html_()
    run = tl.current_run()
    assert "executed" in tl.why(run)._repr_html_()


def test_what_has_no_why_is_refused() -> None:
    with pytest.raises(tl.ConfigError, match="takes a call"):
        tl.why(3)
    with pytest.raises(tl.NotFound):
        tl.why("abcdef")


# From the shell, over edits of a project.

PROJECT = {
    "main.py": """
import tasklineage as tl
from tasklineage import task
from helpers import clean, Scaler
RATE = 2

@task
def load(n):
    return list(range(n))

@task
def fit(xs, scale=1.0):
    return Scaler(scale).apply(clean(xs)) * RATE

if __name__ == "__main__":
    with tl.run("project"):
        print(fit(load(4)))
""",
    "helpers.py": """
def clean(xs):
    return [x for x in xs if keep(x)]

def keep(x):
    return x > 0

class Scaler:
    unit = "m"
    def __init__(self, scale):
        self.scale = scale
    def apply(self, xs):
        return sum(xs) * self.scale
""",
}

EDITS: list[tuple[list[tuple[str, str, str]], list[str]]] = [
    ([("helpers.py", "x > 0", "x > 1")], ["helpers.keep"]),
    ([("helpers.py", "sum(xs)", "max(xs)")], ["helpers.Scaler.apply"]),
    ([("helpers.py", '"m"', '"km"')], ["helpers.Scaler.unit"]),
    ([("main.py", "RATE = 2", "RATE = 3")], ["main.RATE"]),
    ([("main.py", "scale=1.0", "scale=2.0")], ["scale"]),
    ([("main.py", "* RATE", "+ RATE")], ["main.fit"]),
    ([("main.py", "load(4)", "load(5)")], ["xs"]),
    (
        [
            ("helpers.py", "x > 0", "x > 2"),
            ("main.py", "RATE = 2", "RATE = 5"),
            ("helpers.py", '"m"', '"mm"'),
            ("main.py", "load(4)", "load(6)"),
        ],
        ["helpers.Scaler.unit", "helpers.keep", "main.RATE", "xs"],
    ),
]


def execute(folder: Path, seed: str, *args: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONHASHSEED": seed,
        "PYTHONPATH": f"{ROOT}",
        "TASKLINEAGE_STORE": str(folder / "store"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        [sys.executable, *args], cwd=folder, env=environment,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(("edits", "names"), EDITS, ids=[" ".join(n) for _, n in EDITS])
def test_why_json_names_exactly_the_components(
    tmp_path: Path, edits: list[tuple[str, str, str]], names: list[str]
) -> None:
    texts = dict(PROJECT)
    for number in range(2):
        for file, text in texts.items():
            (tmp_path / file).write_text(text)
        done = execute(tmp_path, str(number), "main.py")
        assert done.returncode == 0, done.stderr
        for file, old, new in edits if number == 0 else ():
            assert old in texts[file]
            texts[file] = texts[file].replace(old, new)
    # The project is gone: the store alone answers.
    for file in texts:
        (tmp_path / file).unlink()
    listed = execute(
        tmp_path, "5", "-m", "tasklineage.cli.main", "calls", "--task", "fit", "--json"
    )
    newest = json.loads(listed.stdout)["calls"][0]["id"]
    told = execute(tmp_path, "6", "-m", "tasklineage.cli.main", "why", newest, "--json")
    assert told.returncode == 0, told.stderr
    answer = json.loads(told.stdout)
    assert answer["version"] == 1
    assert answer["kind"] == "call"
    found = [cause["name"].replace("__main__", "main") for cause in answer["causes"]]
    assert sorted(found) == sorted(names)
    for cause in answer["causes"]:
        if cause["kind"] == "function":
            assert "\n-" in cause["diff"]
    text = execute(tmp_path, "7", "-m", "tasklineage.cli.main", "why", newest)
    for name in names:
        assert name.removeprefix("main.") in text.stdout
