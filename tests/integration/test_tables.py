"""Tables through tasks: hits in a new process, columns and parts from the store, memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tasklineage as tl
from tasklineage.errors import CorruptObject, MissingObject

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")

PROGRAM = """
import sys
import numpy as np, pandas as pd, polars as pl, pyarrow as pa
import tasklineage as tl
from tasklineage import task

@task
def load(rows):
    r = np.random.default_rng(0)
    frame = pd.DataFrame({"a": r.integers(0, 9, rows), "b": r.random(rows), "s": "x"})
    frame.index = pd.MultiIndex.from_arrays([np.arange(rows), frame["a"]], names=["i", None])
    return {"pandas": frame, "polars": pl.from_pandas(frame), "arrow": pa.Table.from_pandas(frame)}

@task
def total(frame, polars, arrow):
    return [float(frame["b"].sum()), float(polars["b"].sum()), arrow.num_rows]

with tl.run("tables") as run:
    found = load(int(sys.argv[1]))
    print(total(found["pandas"], found["polars"], found["arrow"]))
print(run.executed, run.hits)
"""


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> Path:
    tl.configure(store=tmp_path / "store")
    return tmp_path / "store"


@tl.task
def make(rows: int) -> Any:
    frame = pd.DataFrame({"a": np.arange(rows), "b": 1.5, "s": "text"})
    return {
        "frame": frame,
        "polars": pl.from_pandas(frame),
        "score": 0.5,
        "w": [frame["b"].to_numpy()],
    }


@tl.task
def table(rows: int, kind: str) -> Any:
    frame = pd.DataFrame({"a": np.arange(rows), "b": np.ones(rows), "s": "text"})
    frame.index.name = "row"
    if kind == "polars":
        return pl.from_pandas(frame)
    return pa.Table.from_pandas(frame) if kind == "arrow" else frame


@tl.task
def look(frame: Any) -> int:
    return len(frame)


@tl.task
def spoil(frame: Any) -> float:
    frame.iloc[:, 0] = 7
    return float(frame.iloc[0, 1])


def result_of(run: Any, name: str) -> Any:
    return run[name].output


@pytest.mark.parametrize("rows", [10, 100_000])
def test_a_new_process_hits_with_the_tables_that_another_has_stored(
    tmp_path: Path, rows: int
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    lines = []
    for _ in range(2):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, str(program), str(rows)],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        lines.append(done.stdout.splitlines())
    assert lines[0][0] == lines[1][0]
    assert [line[1] for line in lines] == ["2 0", "0 2"]


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
@pytest.mark.parametrize("rows", [3, 50_000])
def test_columns_of_a_stored_table_are_read_by_name(kind: str, rows: int) -> None:
    with tl.run("t") as run:
        table(rows, kind)
    stored = result_of(run, "table")
    assert stored.type == {"pandas": "pandas.DataFrame", "polars": "polars.DataFrame"}.get(
        kind, "pyarrow.Table"
    )
    assert stored.columns[:3] == ["a", "b", "s"]
    value = stored.value
    if kind == "arrow":
        assert stored["a"].equals(value["a"])
    elif kind == "polars":
        assert stored["a"].equals(value["a"])
        assert stored[["s", "a"]].equals(value[["s", "a"]])
    else:
        pd.testing.assert_series_equal(stored["a"], value["a"])
        pd.testing.assert_frame_equal(stored[["s", "a"]], value[["s", "a"]])
        pd.testing.assert_frame_equal(stored[1:2], value[1:2])
    with pytest.raises((KeyError, pl.exceptions.ColumnNotFoundError)):
        stored["absent"]


def test_parts_of_a_stored_container_are_read_by_themselves() -> None:
    with tl.run("t") as run:
        look(make(50_000)["frame"])
    stored = result_of(run, "make")
    assert stored["score"] == 0.5
    assert list(stored.parts) == ["['frame']", "['polars']", "['w'][0]"]
    frame = stored.parts["['frame']"]
    assert frame.columns == ["a", "b", "s"]
    assert [call.task.split(".")[-1] for call in frame.consumers] == ["look"]
    pd.testing.assert_series_equal(frame["b"], stored["frame"]["b"])
    assert stored["polars"].equals(stored.value["polars"])
    with pytest.raises(KeyError):
        stored["absent"]
    with pytest.raises(TypeError):
        iter(stored)


def test_only_the_part_that_is_asked_for_has_to_be_there(store: Path) -> None:
    with tl.run("t") as run:
        make(50_000)
    stored = result_of(run, "make")
    part = stored.parts["['polars']"]
    oid = part._ref.oid.hex()
    (store / "objects" / oid[:2] / oid[2:]).unlink()
    assert len(stored["frame"]) == 50_000
    assert stored["score"] == 0.5
    with pytest.raises(MissingObject):
        stored["polars"]


def test_a_damaged_table_is_not_read_by_columns_either(store: Path) -> None:
    with tl.run("t") as run:
        table(50_000, "pandas")
    stored = result_of(run, "table")
    oid = stored._ref.oid.hex()
    file = store / "objects" / oid[:2] / oid[2:]
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.chmod(0o600)
    file.write_bytes(content)
    with pytest.raises(CorruptObject):
        stored["a"]


def test_what_is_loaded_can_be_written_to_and_the_store_stays_as_it_is() -> None:
    table(50_000, "pandas")
    loaded = table(50_000, "pandas")
    loaded.iloc[0, 0] = 77
    loaded.loc[1, "s"] = "changed"
    loaded["b"] *= 2
    again = table(50_000, "pandas")
    assert again.iloc[0].tolist() == [0, 1.0, "text"]
    assert again.index.name == "row"
    assert float(again["b"].sum()) == 50_000


def test_a_large_table_as_an_argument_is_described_by_its_columns() -> None:
    frame = pd.DataFrame({"a": np.arange(50_000), "s": "text"})
    with tl.run("t") as run:
        look(frame)
        look(frame.assign(s="other"))
    first, second = (call.inputs["frame"] for call in run.calls)
    assert not first.is_stored
    assert first.type == "pandas.DataFrame"
    assert first.preview.startswith("50000 rows x 2 columns: a int64, s ")
    assert list(first.outline["shape"]) == [50_000, 2]
    columns = [{name: digest for name, _, digest in one.outline["columns"]}
               for one in (first, second)]  # fmt: skip
    assert columns[0]["a"] == columns[1]["a"]
    assert columns[0]["s"] != columns[1]["s"]


def test_a_table_changed_in_place_is_noticed() -> None:
    frame = pd.DataFrame({"a": np.arange(9), "b": 1.5})
    with tl.run("t") as run, pytest.warns(UserWarning, match="changed"):
        spoil(frame)
    assert run["spoil"].mutated == ("frame",)


MEMORY = """
import pickle, resource, sys
import numpy as np, pandas as pd, polars as pl, pyarrow as pa
import tasklineage as tl
from tasklineage.key.digest import digest
from tasklineage.storage.records import Ref

kind, phase, folder = sys.argv[1:]
rows = 4_000_000
store = tl.open_store(folder)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def build(rows):
    numbers = {name: np.arange(rows) * 1.5 for name in "abcdefgh"}
    texts = pa.array(np.arange(10**9, 10**9 + rows)).cast(pa.large_string())
    if kind == "pandas":
        return pd.DataFrame({**numbers, "s": pd.Series(texts, dtype="str")}, copy=False)
    arrow = pa.table({**numbers, "s": texts})
    return pl.from_arrow(arrow) if kind == "polars" else arrow

def size(value):
    if kind == "polars":
        return value.estimated_size()
    return int(value.memory_usage().sum()) if kind == "pandas" else value.nbytes

small = build(5000)
assert digest(store.get(store.put(small, digest(small)))) == digest(small)
if phase == "store":
    value = build(rows)
    before = peak()
    ref = store.put(value, digest(value))
    pickle.dump([tuple(ref), size(value)], open(folder + ".ref", "wb"))
    print((peak() - before) / size(value))
else:
    ref, size = pickle.load(open(folder + ".ref", "rb"))
    before = peak()
    value = store.get(Ref(*ref))
    print((peak() - before) / size)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_storing_and_loading_a_table_takes_little_memory(tmp_path: Path, kind: str) -> None:
    program = tmp_path / "memory.py"
    program.write_text(MEMORY)
    used = {}
    for phase in ("store", "load"):
        done = subprocess.run(
            [sys.executable, str(program), kind, phase, str(tmp_path / "own")],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        used[phase] = float(done.stdout)
    print(kind, used)
    assert used["store"] <= 0.2
    assert used["load"] <= 1.2  # of which the value itself is 1 at most
