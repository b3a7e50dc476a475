"""Where values came from: every kind of edge, across containers, runs and processes."""

from __future__ import annotations

import copy
import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tasklineage as tl
from tasklineage import Lineage, task
from tasklineage.cli.main import main
from tasklineage.query.lineage import Edge, Node

Edges = set[tuple[str, str, str, str]]
LONG = 500
"""Elements that make a value so large that no chance makes another like it."""


def edges_of(found: Lineage) -> Edges:
    """The edges as producer, consumer, path and kind; calls by the last part of their task."""
    return {(_short(e.producer), _short(e.consumer), e.path, e.via) for e in found.edges}


def _short(node: Node) -> str:
    return node.task.rpartition(".")[2] if isinstance(node, tl.Call) else "value"


@task
def load(n: int) -> np.ndarray:
    return np.arange(float(n))


@task
def split(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x[: len(x) // 2].copy(), x[len(x) // 2 :].copy()


@task
def fit(x: np.ndarray, rate: float = 0.1) -> dict[str, Any]:
    return {"model": {"weights": x * rate}, "rate": rate}


@task
def score(weights: np.ndarray, x: np.ndarray) -> float:
    return float(weights[0] + x.mean())


@task
def total(parts: Any) -> float:
    return float(sum(np.sum(part) for part in parts))


# The kinds of edges.


def test_a_value_passed_on_has_an_edge_by_identity() -> None:
    with tl.run("r") as run:
        split(load(10))
    assert edges_of(run.graph()) == {("load", "split", "x", "identity")}


def test_an_unpacked_part_knows_its_producer() -> None:
    with tl.run("r") as run:
        train, test = split(load(10))
        fitted = fit(train)
        score(fitted["model"]["weights"], test)
    assert edges_of(run.graph()) == {
        ("load", "split", "x", "identity"),
        ("split", "fit", "x", "identity"),
        ("split", "score", "x", "identity"),
        ("fit", "score", "weights", "identity"),
    }


def test_a_copy_has_an_edge_by_content() -> None:
    with tl.run("r") as run:
        split(copy.deepcopy(load(10)))
    assert edges_of(run.graph()) == {("load", "split", "x", "content")}


def test_a_copy_of_what_two_calls_gave_has_no_edge() -> None:
    @task
    def also(n: int) -> np.ndarray:
        return np.arange(n, dtype=float)

    with tl.run("r") as run:
        load(10)
        split(copy.deepcopy(also(10)))
    assert edges_of(run.graph()) == set()


def test_futures_and_bound_calls_make_edges() -> None:
    with tl.run("r") as run:
        future = load.submit(10)
        total([future, load.submit(20)])
        tl.join(total, {"a": load.bind(30), "b": load(40)})
    paths = {(path, via) for _, _, path, via in edges_of(run.graph())}
    assert paths == {
        ("parts[0]", "future"), ("parts[1]", "future"),
        ("parts.a", "future"), ("parts.b", "identity"),
    }  # fmt: skip


def test_a_join_of_plain_values_has_an_edge_for_each_branch() -> None:
    with tl.run("r") as run:
        tl.join(total, {"a": load(10), "b": load(20)})
        tl.join(total, [load(30), load(40)])
    assert sorted(path for _, _, path, _ in edges_of(run.graph())) == [
        "parts.a", "parts.b", "parts[0]", "parts[1]",
    ]  # fmt: skip


def test_every_element_of_a_map_is_an_input_of_the_join() -> None:
    with tl.run("r") as run:
        tl.join(total, tl.map(load, range(1, 6)))
    found = run.graph()
    assert edges_of(found) == {("load", "total", f"parts[{i}]", "future") for i in range(5)}
    assert [c.position for c in found.producers(run["total"])] == [(i, 5) for i in range(5)]


def test_a_value_changed_in_place_is_marked() -> None:
    with tl.run("r") as run:
        values = load(10)
        values[0] = 5.0
        split(values)
    assert edges_of(run.graph()) == {("load", "split", "x", "changed in place")}


@pytest.mark.parametrize("value", [True, 0, 1.5, "", "short", None, [], {}, (), np.float64(2)])
def test_what_says_nothing_makes_edges_only_by_future(value: Any) -> None:
    @task
    def give(which: int) -> Any:
        return value

    @task
    def take(x: Any) -> int:
        return 1

    with tl.run("r") as run:
        take(give(1))
        copy.copy(value)
    assert edges_of(run.graph()) == set()
    assert tl.whence(run["take"]).edges == ()
    with tl.run("s") as run:
        take([give.submit(2)])
    assert edges_of(run.graph()) == {("give", "take", "x[0]", "future")}


@dataclasses.dataclass
class Fitted:
    weights: np.ndarray
    note: str = ""


def test_attributes_of_records_are_parts_too() -> None:
    @task
    def train(x: np.ndarray) -> Fitted:
        return Fitted(x + 1)

    @task
    def use(config: Fitted) -> float:
        return float(config.weights.sum())

    with tl.run("r") as run:
        fitted = train(load(10))
        score(fitted.weights, np.ones(3))
        use(Fitted(load(20), "another"))
    assert edges_of(run.graph()) == {
        ("load", "train", "x", "identity"),
        ("train", "score", "weights", "identity"),
        ("load", "use", "config.weights", "identity"),
    }


def test_an_argument_of_which_only_a_part_counts_has_its_edge() -> None:
    @task(key={"x": len}, ignore=("y",))
    def size(x: np.ndarray, y: np.ndarray) -> int:
        return len(x)

    with tl.run("r") as run:
        size(load(10), load(20))
    assert edges_of(run.graph()) == {
        ("load", "size", "x", "identity"),
        ("load", "size", "y", "identity"),
    }


@task
def pipeline(x: np.ndarray) -> float:
    train, test = split(x)
    return score(fit(train)["model"]["weights"], test)


PIPELINE: Edges = {
    ("load", "pipeline", "x", "identity"),
    ("load", "split", "x", "identity"),
    ("split", "fit", "x", "identity"),
    ("split", "score", "x", "identity"),
    ("fit", "score", "weights", "identity"),
    ("split", "pipeline", "", "child"),
    ("fit", "pipeline", "", "child"),
    ("score", "pipeline", "", "child"),
}


def test_calls_in_a_body_belong_to_the_lineage_of_their_caller() -> None:
    with tl.run("r") as run:
        pipeline(load(10))
    assert edges_of(run.graph()) == PIPELINE
    assert edges_of(tl.lineage(run["pipeline"])) == PIPELINE


def test_executors_make_the_same_edges() -> None:
    def program() -> Lineage:
        with tl.run("r", refresh=True) as run:
            x = load(10)
            tl.gather(pipeline.bind(x), fit.bind(x))
            tl.join(count, tl.map(fit, [load(3), load(4)], rate=rate.submit(2)), start=1)
        return run.graph()

    @task
    def count(parts: Any, start: int) -> int:
        return start + len(parts)

    @task
    def rate(n: int) -> float:
        return 1 / n

    found = []
    for executor in (tl.Inline(), tl.Threads(1), tl.Threads(4)):
        tl.configure(executor=executor)
        found.append(sorted(edges_of(program())))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) > 10


# Across runs.


def test_a_run_of_hits_has_the_same_graph() -> None:
    def program() -> tl.Run:
        with tl.run("r") as run:
            train, test = split(load(10))
            pipeline(load(20))
            tl.join(total, {"a": fit.bind(train), "b": fit.bind(test)})
        return run

    @task
    def total(parts: tl.Inputs) -> int:
        return len(parts)

    first, second = program().graph(), program()
    assert second.executed == 0
    again = second.graph()
    assert {e[:3] for e in edges_of(again)} == {e[:3] for e in edges_of(first)}
    assert len(again.edges) == len(first.edges)
    assert {call.status for call in again.calls} == {"hit"}


def test_a_hit_points_at_the_call_that_computed_it() -> None:
    with tl.run("one") as one:
        split(load(10))
    with tl.run("two") as two:
        split(load(10))
    found = tl.whence(two["split"])
    assert edges_of(found) == {
        ("split", "split", "", "hit"),
        ("load", "split", "x", "identity"),
    }
    assert [call.run for call in found.calls] == [one, one, two]


def test_a_new_task_over_hits_reaches_what_computed_them() -> None:
    with tl.run("one"):
        train, _ = split(load(10))
    with tl.run("two"):
        train, _ = split(load(10))
        fitted = fit(train)
    assert edges_of(tl.whence(fitted)) == {
        ("load", "split", "x", "identity"),
        ("split", "split", "", "hit"),
        ("split", "fit", "x", "identity"),
        ("fit", "value", "", "result"),
    }


def test_a_value_read_back_from_the_store_knows_its_producer() -> None:
    with tl.run("one") as one:
        split(load(10 * LONG))
    with tl.run("two") as two:
        train, _ = one.result
        fit(train)
    assert edges_of(two.graph()) == set()
    assert edges_of(tl.whence(two["fit"])) == {
        ("load", "split", "x", "identity"),
        ("split", "fit", "x", "content"),
    }
    down = tl.lineage(one["load"], "down")
    assert ("split", "fit", "x", "content") in edges_of(down)


def test_a_short_value_does_not_join_two_runs() -> None:
    @task
    def few() -> list[int]:
        return [1, 2, 3]

    @task
    def use(numbers: list[int]) -> int:
        return len(numbers)

    with tl.run("one"):
        few()
    with tl.run("two") as two:
        use([1, 2, 3])
    assert tl.whence(two["use"]).edges == ()


def test_a_value_that_two_tasks_gave_does_not_join_runs() -> None:
    @task
    def other(n: int) -> np.ndarray:
        return np.arange(n, dtype=float)

    with tl.run("one"):
        load(LONG)
        other(LONG)
    with tl.run("two") as two:
        split(np.arange(float(LONG)))
    assert tl.whence(two["split"]).edges == ()


PRODUCE = """
import numpy as np, tasklineage as tl
@tl.task
def split(n):
    text = "a text that is long enough to tell it"
    return {"left": np.arange(float(n)), "right": [np.ones(n), text]}
with tl.run("producer"):
    split(100)
"""


def test_a_part_is_known_in_another_process(tmp_path: Path) -> None:
    store = tl.open_store(tmp_path / "store")
    environment = {"TASKLINEAGE_STORE": store.url, "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", PRODUCE], check=True, env=environment)
    for part, path in (
        (np.arange(100.0), "['left']"),
        (np.ones(100), "['right'][0]"),
        ("a text that is long enough to tell it", "['right'][1]"),
    ):
        found = tl.whence(part, store=store)
        assert edges_of(found) == {("split", "value", path, "result")}
        artifact = found.subject
        assert isinstance(artifact, tl.Artifact)
        assert np.array_equal(artifact.value, part)
        assert [call.task.rpartition(".")[2] for call in artifact.producers] == ["split"]


# What may be asked about.


def test_whence_takes_values_calls_artifacts_runs_ids_and_paths(tmp_path: Path) -> None:
    @task
    def report(n: int) -> str:
        return f"a report of {n} lines, and no line more"

    with tl.run("r") as run:
        text = report(3)
    call = run["report"]
    assert call.output is not None
    file = tmp_path / "report.txt"
    file.write_text(text)
    asked = (
        text, call, call.id, call.id[:20], call.output, call.output.digest,
        call.output.digest[:20], file, str(file), run,
    )  # fmt: skip
    for one in asked:
        assert tl.whence(one).calls == (call,), one
    assert tl.whence(report.submit(3)).calls[0] == call
    file.write_text(f"{text}\n")
    assert tl.whence(file).calls == (call,)


def test_bytes_in_a_file_are_known(tmp_path: Path) -> None:
    @task
    def packed(n: int) -> bytes:
        return bytes(range(n)) * 4

    path = tmp_path / "packed.bin"
    path.write_bytes(packed(200))
    assert edges_of(tl.whence(path)) == {("packed", "value", "", "result")}


def test_files_and_folders_are_known_by_their_content(tmp_path: Path) -> None:
    @task
    def write(n: int) -> tuple[tl.File, tl.Dir]:
        folder = tmp_path / "out"
        folder.mkdir(exist_ok=True)
        (folder / "rows.csv").write_text("1,2\n" * n)
        return tl.File(folder / "rows.csv"), tl.Dir(folder)

    @task
    def count(rows: tl.File) -> int:
        return len(rows.text().splitlines())

    with tl.run("r") as run:
        rows, folder = write(3)
        count(rows)
    assert edges_of(run.graph()) == {("write", "count", "rows", "identity")}
    moved = tmp_path / "moved.csv"
    (tmp_path / "out" / "rows.csv").rename(moved)
    for asked in (moved, str(moved), tl.File(moved), run["count"].args["rows"]):
        assert edges_of(tl.whence(asked)) == {("write", "value", "[0]", "result")}, asked
    down = edges_of(tl.lineage(moved, "down"))
    assert down == {("value", "count", "rows", "argument")}
    moved.rename(tmp_path / "out" / "rows.csv")
    assert tl.whence(rows).calls == (run["write"],)
    for asked in (folder, tmp_path / "out"):
        assert edges_of(tl.whence(asked)) == {("write", "value", "[1]", "result")}


def test_a_picture_of_a_figure_is_known_in_any_file(tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    @task
    def draw(heights: list[int]) -> Figure:
        figure = Figure()
        figure.subplots().plot(heights)
        return figure

    with tl.run("r") as run:
        draw([3, 1, 2]).savefig(tmp_path / "saved.png")
    output = run["draw"].output
    assert output is not None
    for form in ("png", "svg"):
        picture = output.picture(form)
        assert picture is not None
        stored = tmp_path / f"stored.{form}"
        stored.write_bytes(picture)
        found = tl.whence(stored)
        assert found.calls == (run["draw"],)
        assert isinstance(found.subject, tl.Artifact)
        assert found.subject.value == picture
    assert tl.whence(tmp_path / "saved.png").calls == (run["draw"],)
    with pytest.raises(SystemExit):
        main(["dump", run["draw"].id, "--output", str(tmp_path / "dumped.png")])
    assert tl.whence(tmp_path / "dumped.png").calls == (run["draw"],)
    assert tl.whence(draw([3, 1, 2])).calls == (run["draw"],)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (np.arange(3.0), "does not know this ndarray"),
        (True, "has given or was given True"),
        ("no-such-file.png", "is not a file"),
        (Path("no-such-file.png"), "there is no file"),
        ("ffffffffff", "is not a file"),
    ],
)
def test_what_is_unknown_is_not_found(asked: Any, said: str) -> None:
    tl.open_store(None)
    with pytest.raises(tl.NotFound, match=said):
        tl.whence(asked)


def test_a_file_that_nobody_knows_is_not_found(tmp_path: Path) -> None:
    tl.open_store(None)
    other = tmp_path / "other.bin"
    other.write_bytes(b"\xff\x00")
    with pytest.raises(tl.NotFound, match=r"does not know the content of .*other\.bin \(xxh3:"):
        tl.whence(other)


def test_without_a_store_nothing_is_known(isolated: Path) -> None:
    with pytest.raises(tl.NotFound, match="no store at"):
        tl.whence(5)
    assert not isolated.exists()


def test_a_common_value_has_producers_by_count_and_no_edges() -> None:
    @task
    def even(n: int) -> bool:
        return n % 2 == 0

    @task
    def odd(n: int) -> bool:
        return n % 2 == 1

    for n in range(6):
        even(n)
    odd(1)
    found = tl.whence(True)
    assert found.edges == ()
    assert found.calls == ()
    assert [(name.rpartition(".")[2], n) for name, n in found.counts.items()] == [
        ("even", 3), ("odd", 1),
    ]  # fmt: skip


def test_directions_and_depth() -> None:
    with tl.run("r") as run:
        train, _ = split(load(10))
        fit(train)
    middle = run["split"]

    def tasks(*args: Any, **kwargs: Any) -> list[str]:
        return [_short(node) for node in tl.lineage(*args, **kwargs)]

    assert tasks(middle) == ["load", "split"]
    assert tasks(middle, "down") == ["split", "fit"]
    assert tasks(middle, "both") == ["load", "split", "fit"]
    assert tasks(run["fit"], depth=1) == ["split", "fit"]
    assert tasks(run["fit"], depth=0) == ["fit"]
    assert tasks(train, "both", depth=1) == ["split", "value", "fit"]
    with pytest.raises(tl.ConfigError, match="direction='sideways'"):
        tl.lineage(middle, "sideways")  # type: ignore[arg-type]
    with pytest.raises(tl.ConfigError, match="depth=-1"):
        tl.lineage(middle, depth=-1)


def test_a_large_graph_is_cut_and_says_so() -> None:
    with tl.run("r") as run:
        joined = tl.join(total, tl.map(load, range(1, 31)))
    found = tl.whence(run["total"], limit=10)
    assert len(found) == 10
    assert found.is_cut
    assert "cut at the limit" in repr(found)
    assert len(run.graph(limit=5)) == 5
    assert run.graph(limit=5).is_cut
    assert not tl.whence(joined).is_cut
    assert len(tl.whence(run["total"], limit=None)) == 31


def test_nothing_is_unpickled_for_a_lineage() -> None:
    class Opaque:
        def __init__(self, x: Any) -> None:
            self.x = x

    @task
    def wrap(x: np.ndarray) -> Opaque:
        return Opaque(x)

    @task
    def unwrap(opaque: Opaque) -> np.ndarray:
        return opaque.x

    with tl.run("r") as run:
        unwrap(wrap(load(10)))
    safe = tl.open_store(run.store.path, allow_pickle=False)
    found = tl.lineage(run["unwrap"].id, store=safe)
    assert edges_of(found) == {
        ("load", "wrap", "x", "identity"),
        ("wrap", "unwrap", "opaque", "identity"),
    }
    assert all((found.to_mermaid(), found.to_dot(), found._repr_html_(), str(found)))


def test_a_graph_is_a_sequence_of_producers_before_consumers() -> None:
    with tl.run("r") as run:
        pipeline(load(10))
    found = run.graph()
    order = {node: i for i, node in enumerate(found)}
    assert len(found) == len(order) == 5
    assert all(order[e.producer] < order[e.consumer] for e in found.edges)
    assert run["fit"] in found
    assert set(found.producers(run["fit"])) == {run["split"]}
    assert set(found.consumers(run["fit"])) == {run["score"], run["pipeline"]}
    assert repr(found) == f"<Lineage of run r {run.id}: 5 calls, 8 edges>"
    assert all(isinstance(edge, Edge) and "->" in repr(edge) for edge in found.edges)


def test_networkx_gets_nodes_and_edges() -> None:
    networkx = pytest.importorskip("networkx")
    with tl.run("r") as run:
        value = pipeline(load(10))
    graph = run.graph().to_networkx()
    assert networkx.is_directed_acyclic_graph(graph)
    assert graph.number_of_edges() == 8
    assert networkx.ancestors(graph, run["score"].id) == {
        run[name].id for name in ("load", "split", "fit")
    }
    assert graph.nodes[run["fit"].id]["task"].endswith("fit")
    assert value is not None


@task
def made(seed: int) -> list[int]:
    return list(range(seed, seed + 9))


@task
def last(values: list[int], place: int) -> int:
    return values[-1] + place


@task
def passing_on(place: int, values: list[int]) -> dict[str, object]:
    return {"values": values, "last": last(values, place)}


@pytest.mark.parametrize("executor", ["inline", "threads:3"])
def test_inside_a_call_an_argument_comes_from_where_the_caller_had_it_from(executor: str) -> None:
    with tl.run("passing", executor=executor) as run:
        first, _ = tl.map(passing_on, range(2), values=made.submit(100))
        tl.map(passing_on, [7], values=first["values"]).results()
    found = {
        (edge.consumer.parent.args["place"], edge.producer.task.rpartition(".")[2], edge.via)
        for edge in run.graph().edges
        if isinstance(edge.producer, tl.Call)
        and isinstance(edge.consumer, tl.Call)
        and edge.consumer.parent is not None
    }
    assert found == {
        (0, "made", "identity"), (1, "made", "identity"), (7, "passing_on", "identity"),
    }  # fmt: skip
