"""Graphs as text and pictures: valid whatever names hold, small however large the graph."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tasklineage as tl
from tasklineage import Lineage
from tasklineage.storage.records import CallEnd, Edge
from tests.unit.query.conftest import Writer

HOSTILE = (
    'say "hi"', "two\nlines\r\n\ttab", "<script>alert(1)</script>", "a]--> b[(x)]{y}", "end",
    "subgraph", "%%{init: {}}%%", "`**bold**`", "back\\slash\\", "ünïcødé 日本 🎉", "&lt;&amp;#35;",
    "\x00\x1b[31m\x7f", "\udcff surrogate", "graph TD; A-->B", "", "—|pipe|—", "'; DROP TABLE--",
    "\u202eright to left", "n0", "x" * 500,
)  # fmt: skip


class Chain:
    """Records of calls, each of which took what the one before it gave."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.run = writer.run()

    def call(self, task: str, *, of: bytes | None = None, path: str = "x", via: str = "future",
             args: Any = None) -> bytes:  # fmt: skip
        store = self.writer.store
        id = self.writer.call(self.run, task, args=args, result=1)
        if of is not None:
            row = store.catalog.calls_of([id])[id]
            end: CallEnd = store.journal.read(row.location)
            store.append(end._replace(edges=(Edge(path, of, via, b""),), ended=end.ended + 0.001))
        return id

    def graph(self) -> Lineage:
        return tl.get(self.run.hex()).graph()  # type: ignore[union-attr]  # it is a run


@pytest.fixture
def chain(writer: Writer) -> Chain:
    return Chain(writer)


@pytest.fixture
def hostile(chain: Chain) -> Lineage:
    """A graph whose tasks, paths and previews are hostile."""
    last: bytes | None = None
    for name in HOSTILE:
        last = chain.call(f"m.{name}", of=last, path=name, args={"a": name, "b": 1})
    return chain.graph()


def test_every_line_of_mermaid_is_a_node_an_edge_or_a_class(hostile: Lineage) -> None:
    first, *lines = hostile.to_mermaid().splitlines()
    assert first == "flowchart LR"
    safe = r"(?:[\w .,=:+\-…]|#\d+;|<br/>)*"
    patterns = [
        rf'    n\d+\[\("{safe}"\)\]:::\w+', rf'    n\d+\(\["{safe}"\]\):::\w+',
        rf'    n\d+\["{safe}"\]:::\w+', rf'    n\d+ (-->|==>|-\.->)(\|"{safe}"\|)? n\d+',
        r"    classDef \w+ [\w:#,-]+",
    ]  # fmt: skip
    for line in lines:
        assert any(re.fullmatch(pattern, line) for pattern in patterns), line
    assert sum("-->" in line for line in lines) == len(hostile.edges) == len(HOSTILE) - 1


def test_every_line_of_dot_is_a_statement(hostile: Lineage) -> None:
    text = hostile.to_dot()
    assert text.startswith("digraph lineage {\n")
    assert text.endswith("}\n")
    string = r'"(?:[^"\\\n\x00-\x1f]|\\.)*"'
    for line in text.splitlines()[3:-1]:
        node = rf"    {string} \[label={string}, tooltip={string}, shape=\w+, color={string}\];"
        edge = rf"    {string} -> {string} \[label={string}, style=\w+\];"
        assert re.fullmatch(f"{node}|{edge}", line), line
    text.encode()


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_draws_it(hostile: Lineage) -> None:
    subprocess.run(
        ["dot", "-Tsvg"], input=hostile.to_dot().encode(), check=True, capture_output=True
    )


def test_the_picture_is_xml_that_loads_and_runs_nothing(hostile: Lineage) -> None:
    for text in (hostile.to_svg(), hostile._repr_html_()):
        root = ElementTree.fromstring(text)
        for element in root.iter():
            kind = element.tag.rpartition("}")[2]
            assert kind in ("svg", "g", "rect", "path", "text", "title", "div", "b")
            for name, value in element.attrib.items():
                assert not name.startswith("on")
                assert "url" not in value
                assert "http" not in value
        text.encode()
        assert "<script" not in text


def test_text_has_one_line_for_each_call(hostile: Lineage) -> None:
    lines = str(hostile).split("\n")
    assert len(lines) == len(HOSTILE)
    assert not any(re.search(r"[\x00-\x1f\x7f]", line) for line in lines)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(codec=None), max_size=30), min_size=2, max_size=2))
def test_any_name_is_drawn(names: list[str]) -> None:
    drawn = _of_two(names)
    ElementTree.fromstring(drawn.to_svg())
    assert drawn.to_mermaid().count("\n") == 8
    assert drawn.to_dot().count("\n") == 7
    (drawn.to_mermaid() + drawn.to_dot() + drawn.to_svg()).encode()


def _of_two(names: list[str]) -> Lineage:
    """A graph of two calls of these names, without a store."""
    from tasklineage.query.lineage import Edge as Arrow

    first, second = (_Named(f"{i:032x}", name) for i, name in enumerate(names))
    edge = Arrow(first, second, names[0], "future", "")
    return Lineage(first, [first, second], [edge])


class _Named(tl.Call):
    """A call that knows its name, and nothing else."""

    __slots__ = ("_id", "_name")

    def __init__(self, id: str, name: str) -> None:
        self._id = id
        self._name = name

    id = property(lambda self: self._id)  # type: ignore[assignment]  # read only, as there
    task = property(lambda self: self._name)  # type: ignore[assignment]
    status = property(lambda self: "done")  # type: ignore[assignment]
    inputs = property(lambda self: {})  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return hash(self._id)


def test_many_calls_of_one_task_are_one_box(chain: Chain) -> None:
    first = chain.call("m.first")
    for _ in range(300):
        chain.call("m.second", of=first)
    found = chain.graph()
    assert len(found.edges) == 300
    assert found.to_svg().count("<rect") == 3
    assert "300 calls" in found.to_svg()
    assert found.to_mermaid().count("-->") == 1
    from tasklineage.query import diagrams

    assert diagrams.mermaid(found, most=None).count("-->") == 300
    assert len(str(found).splitlines()) < 500


def test_a_long_chain_is_drawn_to_its_end(chain: Chain) -> None:
    last: bytes | None = None
    for _ in range(150):
        last = chain.call("m.step", of=last)
    found = chain.graph()
    assert "this was cut" in found.to_svg()
    assert len(str(found).splitlines()) == 150


@pytest.mark.parametrize(
    ("via", "mermaid", "dot", "svg"),
    [
        ("future", "n0 -->", "style=solid", 'stroke="#888888"'),
        ("changed in place", '==>|"changed in place: x"|', "style=bold", "#c0392b"),
    ],
)
def test_kinds_of_edges_look_different(
    chain: Chain, via: str, mermaid: str, dot: str, svg: str
) -> None:
    chain.call("m.b", of=chain.call("m.a"), via=via)
    found = chain.graph()
    assert mermaid in found.to_mermaid()
    assert dot in found.to_dot()
    assert svg in found.to_svg()


def test_hits_children_and_failures_are_marked(writer: Writer) -> None:
    first, second = writer.run(), writer.run()
    parent = writer.call(first, "m.parent", result=1)
    writer.call(first, "m.child", result=2, parent=parent)
    writer.call(first, "m.bad", status="failed")
    writer.hit(second, parent, "m.parent")
    graph = tl.get(first.hex()).graph()  # type: ignore[union-attr]  # it is a run
    assert '|"child"|' in graph.to_mermaid()
    assert ":::failed" in graph.to_mermaid()
    assert 'stroke-dasharray="2 3"' in graph.to_svg()
    again = tl.get(second.hex()).graph()  # type: ignore[union-attr]
    assert again.to_mermaid().count(":::hit") == 2
    hit = tl.whence(tl.calls("parent", status="hit")[0])
    assert '-.->|"hit"|' in hit.to_mermaid()
    assert "computed by parent" in str(hit)


def test_an_empty_graph_is_drawn(writer: Writer) -> None:
    found = tl.get(writer.run().hex()).graph()  # type: ignore[union-attr]
    assert len(found) == 0
    assert "no calls" in found._repr_html_()
    assert found.to_mermaid().startswith("flowchart LR\n")
    assert str(found) == ""
    ElementTree.fromstring(found.to_svg())


@pytest.fixture(autouse=True)
def _everything(tmp_path: Path) -> Iterator[None]:
    tl.namespace(None)
    yield
    tl.namespace(None)
