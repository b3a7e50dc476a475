"""The benchmarks run: with very little to do, and nothing but this library and plain Python."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("numpy", reason="the benchmarks need numpy")

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


class Measured(NamedTuple):
    """The harness's modules, and what it has measured."""

    rows: Any
    measuring: Any
    page: Any
    folder: Path


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    """All works at the scale `tiny`, once."""
    folder = tmp_path_factory.mktemp("benchmarks")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import environments
        import measuring
        import rows
        import run

        clean = environments.clean_environ
        patch.setattr(environments, "clean_environ", lambda: {**clean(), "PYTHONPATH": str(ROOT)})
        patch.setattr(environments, "version", lambda python, library: f"{library} as it is")
        pythons = dict.fromkeys(("tasklineage", "plain"), Path(sys.executable))
        measurement = run.measure(pythons, (), "tiny", 1, folder)
        again = measuring.Measurement.from_json(measurement.to_json())
        assert again == measurement
        yield Measured(rows, measuring, run.write(again, folder), folder)


def test_every_row_has_a_figure_of_ours(measured: Measured) -> None:
    page, rows = measured.page, measured.rows
    done = [work for work in (*rows.WORKS, rows.IMPORT) if work.size("tiny")]
    missing = [
        (work.name, row.label)
        for work in done
        for row in work.rows
        if page.find(work, row, "tasklineage") is None
    ]
    assert missing == []


def test_the_page_has_a_line_for_every_row_and_says_what_ran(measured: Measured) -> None:
    text = (measured.folder / "results.md").read_text("utf-8")
    for work in measured.page.works:
        for row in work.rows:
            assert f"| {work.title}{': ' * bool(row.label)}{row.label} |" in text
    assert "load average" in text
    assert "plain as it is" in text


def test_the_picture_is_xml_and_has_a_bar_for_every_library(measured: Measured) -> None:
    tree = ElementTree.parse(measured.folder / "results.svg")
    bars = {one.get("class") for one in tree.iter() if one.tag.endswith("rect")}
    assert {"tasklineage bar", "plain bar", "ground"} <= bars


def test_libraries_that_disagree_end_the_measurement(measured: Measured) -> None:
    work = measured.rows.WORKS[0]
    taken = measured.rows.Taken(1, 1.0, None, None, 1, 1.0, 1.0, 1.0)
    told = {("one", 0): [taken], ("other", 0): [taken._replace(answer=2)]}
    with pytest.raises(RuntimeError, match="disagree"):
        measured.measuring.check_answers(work, {"one": 5, "other": 5}, told)


def test_nothing_is_left_of_the_stores(measured: Measured) -> None:
    assert not (measured.folder / "tasklineage").exists()
