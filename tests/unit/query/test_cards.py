"""What notebooks show: everything that matters, escaped, and nothing to run or to load."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from tasklineage.errors import CorruptObject
from tasklineage.query.calls import call_of
from tasklineage.query.find import calls, runs
from tasklineage.query.runs import Run
from tasklineage.storage.records import Error
from tasklineage.storage.store import Store

HOSTILE = "<script>alert(1)</script><img src=x onerror='a()'>\"&</table>"
TAGS = {"div", "b", "p", "span", "table", "tr", "th", "td", "details", "summary", "pre"}


class Reader(HTMLParser):
    """Which tags and attributes a page has, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> Reader:
    """The page, which must be well-formed and harmless."""
    reader = Reader(page)
    assert reader.open == []
    assert reader.tags <= TAGS
    assert reader.attributes <= {"style"}
    assert "url(" not in page
    return reader


@pytest.fixture
def hostile(writer: Any) -> bytes:
    """A run in which every text is hostile."""
    run: bytes = writer.run(
        HOSTILE, params={HOSTILE: HOSTILE}, tags=(HOSTILE,), status="failed",
        error=Error(HOSTILE, HOSTILE, HOSTILE),
    )  # fmt: skip
    writer.call(run, HOSTILE, args={HOSTILE: HOSTILE}, result=HOSTILE, stdout=HOSTILE)
    writer.call(run, args={"x": HOSTILE}, status="failed", error=Error(HOSTILE, HOSTILE, HOSTILE))
    return run


def test_whatever_comes_from_the_store_is_escaped(hostile: bytes, store: Store) -> None:
    run = Run(store, hostile)
    good, bad = run.calls
    pages = [run, good, bad, good.output, good.inputs[HOSTILE], run.calls, runs(store=store)]
    for shown in (*pages, run.calls[:1], calls(status="failed", store=store)):
        assert "<script>" in read(shown._repr_html_()).text  # type: ignore[union-attr]


def test_a_run_shows_its_counts_parameters_and_first_calls(writer: Any, store: Store) -> None:
    run = writer.run("churn", params={"lr": 0.1}, tags=("exp",))
    for n in range(10):
        writer.call(run, f"m.step{n}", args={"n": n}, result=n)
    text = read(Run(store, run)._repr_html_()).text
    for part in ("churn", "done", "10 executed", "lr=0.1", "exp", "m.step7", "n=7", "…"):
        assert part in text
    assert "m.step8" not in text


def test_a_call_shows_what_it_took_gave_and_printed(writer: Any, store: Store) -> None:
    made = writer.call(writer.run(), "m.train", args={"lr": 0.5}, result=[7], stdout="epoch 1")
    text = read(call_of(store, made)._repr_html_()).text
    for part in ("m.train", "done", "lr", "float", "0.5", "list", "[7]", "stdout", "epoch 1"):
        assert part in text
    assert "stderr" not in text


def test_a_failed_call_shows_its_error(writer: Any, store: Store) -> None:
    error = Error("ValueError", "no rows", "Traceback …")
    made = call_of(store, writer.call(writer.run(), status="failed", error=error))
    text = read(made._repr_html_()).text
    assert "ValueError: no rows" in text
    assert "Traceback …" in text
    assert "ValueError: no rows" in read(calls(store=store)._repr_html_()).text  # type: ignore[attr-defined]


def test_a_call_that_goes_on_shows_itself(writer: Any, store: Store) -> None:
    begun = call_of(store, writer.begin(writer.run(status=None), "m.slow"))
    assert "m.slow" in read(begun._repr_html_()).text
    assert "running" in read(begun.run._repr_html_()).text


def test_a_record_that_cannot_be_read_spoils_no_table(
    writer: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.call(writer.run(), "m.train", args={"lr": 0.5}, result=7)

    def damaged(location: object) -> None:
        raise CorruptObject("damaged")

    monkeypatch.setattr(store.journal, "read", damaged)
    text = read(calls(store=store)._repr_html_()).text  # type: ignore[attr-defined]
    assert "m.train" in text
    assert "lr" not in text


def test_a_preview_keeps_its_lines(writer: Any, store: Store, monkeypatch: Any) -> None:
    output = call_of(store, writer.call(writer.run(), result=1)).output
    assert output is not None
    monkeypatch.setattr(type(output), "preview", "3 rows\na b\n<1> 2")
    assert "3 rows\na b\n<1> 2" in read(output._repr_html_()).text


def test_a_long_text_is_shown_from_its_end(writer: Any, store: Store) -> None:
    made = writer.call(writer.run(), stdout="x" * 100_000 + "the end")
    page = call_of(store, made)._repr_html_()
    assert len(page) < 20_000
    assert "the end" in page


def test_a_slice_of_a_listing_is_a_list_that_shows_a_table(writer: Any, store: Store) -> None:
    for name in ("a", "b", "c"):
        writer.run(name)
    found = runs(store=store)[:2]
    assert isinstance(found, list)
    assert [run.name for run in found] == ["c", "b"]
    assert "<table" in found._repr_html_()  # type: ignore[attr-defined]
