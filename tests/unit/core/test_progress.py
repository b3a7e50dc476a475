"""Bars are drawn where somebody looks, in the way of nobody, and never break a map."""

from __future__ import annotations

import io
import re
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tasklineage.core import capture
from tasklineage.core import progress as drawing
from tasklineage.core.progress import SILENT, Bar, NotebookScreen, TerminalScreen, progress


class Clock:
    """A time that tests turn."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A terminal: what is written, and what would be seen of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._monkeypatch = monkeypatch

    def attach(self) -> None:
        """Let both streams go here, as in life."""
        self._monkeypatch.setattr(sys, "stderr", self)
        self._monkeypatch.setattr(sys, "stdout", self)

    def isatty(self) -> bool:
        return True

    def screen(self) -> str:
        lines, row, column = [""], 0, 0
        for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|.", self.getvalue(), re.DOTALL):
            if part == "\n":
                row, column = row + 1, 0
                lines.extend([""] * (row + 1 - len(lines)))
            elif part == "\r":
                column = 0
            elif part == "\x1b[2K":
                lines[row] = ""
            elif part == "\x1b[1A":
                row -= 1
                assert row >= 0
            elif not part.startswith("\x1b"):
                lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + 1 :]
                column += 1
        return "\n".join(line.rstrip() for line in lines)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("tasklineage.core.progress.time.monotonic", clock)
    return clock


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("CI", "NO_COLOR", "TASKLINEAGE_PROGRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(drawing, "_terminal", TerminalScreen())
    monkeypatch.setattr(drawing, "_notebook", NotebookScreen())
    yield
    held = list(capture._flight.calls)
    capture._flight.calls.clear()
    capture._flight.restore()
    assert not held


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Terminal:
    """A terminal, once a test begins with `attach`: between its phases pytest sets the streams."""
    return Terminal(monkeypatch)


# Where


def test_nothing_is_drawn_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert progress("train", 10) is SILENT
    monkeypatch.setattr(sys, "stderr", None)
    assert progress("train", 10) is SILENT
    SILENT.update(1, 0, 1, 0, 5)
    SILENT.close()


def test_nothing_is_drawn_when_stderr_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    assert progress("train", 10) is SILENT


@pytest.mark.parametrize(
    ("name", "value"), [("CI", "1"), ("NO_COLOR", "1"), ("TASKLINEAGE_PROGRESS", "0")]
)
def test_the_environment_can_forbid_it(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    terminal.attach()
    monkeypatch.setenv(name, value)
    assert progress("train", 10) is SILENT


def test_a_terminal_inside_of_a_call_is_still_one(terminal: Terminal) -> None:
    terminal.attach()
    token = capture.begin(capture.Capture())
    bar = progress("train", 10)
    assert bar is not SILENT
    bar.close()
    capture.end(token)


def test_a_dumb_terminal_stays_empty(
    terminal: Terminal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.attach()
    monkeypatch.setenv("TERM", "dumb")
    bar = progress("train", 10)
    clock.now += 1
    bar.update(5, 0, 5, 0)
    bar.close()
    assert terminal.getvalue() == ""


# What


def test_a_quick_map_leaves_no_trace(terminal: Terminal, clock: Clock) -> None:
    terminal.attach()
    bar = progress("train", 1000)
    for i in range(1000):
        clock.now += 0.0002
        bar.update(i + 1, i, 1, 0)
    bar.close()
    bar.close()
    assert terminal.getvalue() == ""


def test_a_bar_tells_how_far_the_map_is(terminal: Terminal, clock: Clock) -> None:
    terminal.attach()
    bar = progress("train", 2000)
    clock.now += 10
    bar.update(1500, 500, 997, 3)
    line = terminal.screen()
    assert line.startswith("train ")
    assert "━" in line
    assert line.endswith("1,500/2,000 500 hits · 997 executed · 3 failed 0:00:10 < 0:00:05")
    clock.now += 3600
    bar.update(2000, 500, 1497, 3)
    bar.close()
    assert terminal.screen().endswith("2,000/2,000 500 hits · 1,497 executed · 3 failed 1:00:10\n")


def test_a_total_may_be_unknown_at_first(terminal: Terminal, clock: Clock) -> None:
    terminal.attach()
    bar = progress("train")
    clock.now += 1
    bar.update(5, 5, 0, 0)
    assert "5/? 5 hits 0:00:01" in terminal.screen()
    clock.now += 1
    bar.update(6, 5, 1, 0, total=7)
    assert "6/7 5 hits · 1 executed 0:00:02 < 0:00:02" in terminal.screen()
    bar.close()


def test_a_label_is_no_markup(terminal: Terminal, clock: Clock) -> None:
    terminal.attach()
    bar = progress("pkg.[red]task[/red]", 3)
    clock.now += 1
    bar.update(1, 0, 1, 0)
    assert terminal.screen().startswith("pkg.[red]task[/red] ")
    bar.close()


def test_a_long_line_is_cut_to_the_terminal(
    terminal: Terminal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.attach()
    monkeypatch.setenv("COLUMNS", "40")
    bar = progress("a.very.long.name." * 5, 3)
    clock.now += 1
    bar.update(1, 0, 1, 0)
    assert max(map(len, terminal.screen().split("\n"))) <= 40
    assert "\n" not in terminal.screen()
    bar.close()


def test_it_draws_ten_times_a_second_at_most(terminal: Terminal, clock: Clock) -> None:
    terminal.attach()
    bar = progress("train", 100_000)
    writes = 0

    def write(text: str) -> int:
        nonlocal writes
        writes += bool(text)
        return len(text)

    terminal.write = write  # type: ignore[method-assign]
    for i in range(20_000):
        clock.now += 0.0005
        bar.update(i, 0, i, 0)
    assert 90 <= writes <= 100
    bar.close()


# Beside other text


def test_other_text_stands_above_the_bar(terminal: Terminal, clock: Clock) -> None:
    terminal.attach()
    bar = progress("train", 10)
    clock.now += 1
    bar.update(1, 0, 1, 0)
    print("a line")
    assert terminal.screen() == "a line\n"
    print("a message", file=sys.stderr)
    clock.now += 1
    bar.update(2, 0, 2, 0)
    first, second, third = terminal.screen().split("\n")
    assert (first, second) == ("a line", "a message")
    assert third.startswith("train")
    bar.close()
    assert terminal.screen().count("train") == 1


def test_a_line_without_its_end_is_not_drawn_over(terminal: Terminal, clock: Clock) -> None:
    terminal.attach()
    bar = progress("train", 10)
    clock.now += 1
    bar.update(1, 0, 1, 0)
    print("half ", end="")
    clock.now += 1
    bar.update(2, 0, 2, 0)
    assert terminal.screen() == "half"
    print("a line")
    clock.now += 1
    bar.update(3, 0, 3, 0)
    first, second = terminal.screen().split("\n")
    assert first == "half a line"
    assert "3/10" in second
    bar.close()


def test_nothing_is_drawn_while_a_text_may_be_on_its_way(terminal: Terminal, clock: Clock) -> None:
    terminal.attach()
    bar = progress("train", 10)
    clock.now += 1
    print("line")
    bar.update(1, 0, 1, 0)
    assert terminal.screen() == "line\n"
    clock.now += 0.02
    bar.update(2, 0, 2, 0)
    assert "2/10" in terminal.screen()
    bar.close()


def test_what_a_call_prints_is_captured_without_the_bar(terminal: Terminal, clock: Clock) -> None:
    terminal.attach()
    bar = progress("train", 10)
    captured = capture.Capture()
    token = capture.begin(captured)
    clock.now += 1
    bar.update(1, 0, 1, 0)
    print("text")
    clock.now += 1
    bar.update(2, 0, 2, 0)
    capture.end(token)
    bar.close()
    assert (captured.stdout(), captured.stderr()) == ("text\n", "")


def test_text_for_a_pipe_leaves_the_bar_alone(
    terminal: Terminal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.attach()
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stdout", pipe)
    bar = progress("train", 10)
    clock.now += 1
    bar.update(1, 0, 1, 0)
    before = terminal.getvalue()
    print("data")
    assert terminal.getvalue() == before
    assert pipe.getvalue() == "data\n"
    bar.close()


def test_nested_maps_are_rows_that_go_away(terminal: Terminal, clock: Clock) -> None:
    terminal.attach()
    outer = progress("outer", 3)
    inner = [progress(f"inner {i}", 5) for i in range(6)]
    clock.now += 1
    outer.update(0, 0, 0, 0)
    rows = terminal.screen().split("\n")
    assert [row.split("━")[0].strip() for row in rows] == ["outer", "inner 0", "inner 1", "inner 2"]
    for bar in inner:
        bar.close()
    assert terminal.screen().strip() == ""
    clock.now += 1
    outer.update(3, 0, 3, 0)
    outer.close()
    assert terminal.screen().startswith("outer")
    assert "\n" not in terminal.screen().rstrip("\n")


def test_a_nested_map_may_outlive_its_outer_one(terminal: Terminal, clock: Clock) -> None:
    terminal.attach()
    outer, inner = progress("outer", 3), progress("inner", 3)
    clock.now += 1
    outer.update(3, 0, 3, 0)
    outer.close()
    clock.now += 1
    inner.update(1, 0, 1, 0)
    assert terminal.screen().split("\n")[1].startswith("inner")
    inner.close()
    assert terminal.screen().count("\n") == 1


# Never in the way


def test_an_error_in_drawing_ends_the_drawing_and_nothing_else(
    terminal: Terminal, clock: Clock
) -> None:
    terminal.attach()
    bar = progress("train", 10)
    terminal.write = None  # type: ignore[method-assign, assignment]
    clock.now += 1
    bar.update(1, 0, 1, 0)
    clock.now += 1
    bar.update(2, 0, 2, 0)
    bar.close()
    assert progress("again", 10) is SILENT


def test_an_error_in_taking_a_bar_away_is_no_error(terminal: Terminal, clock: Clock) -> None:
    terminal.attach()
    bar = progress("train", 10)
    clock.now += 1
    bar.update(1, 0, 1, 0)
    terminal.flush = None  # type: ignore[method-assign, assignment]
    print("text")
    bar.close()
    assert "text" in terminal.getvalue()


def test_a_bar_without_rich_is_none(
    terminal: Terminal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.attach()
    monkeypatch.setitem(sys.modules, "rich.console", None)
    bar = progress("train", 10)
    clock.now += 1
    bar.update(1, 0, 1, 0)
    bar.close()
    assert terminal.getvalue() == ""


def test_a_warning_while_drawing_does_not_hang(
    terminal: Terminal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.attach()
    rendered: Callable[..., str] = TerminalScreen._rendered

    def warns(self: TerminalScreen, bars: Any) -> str:
        print("from inside", file=sys.stderr)
        return rendered(self, bars)

    monkeypatch.setattr(TerminalScreen, "_rendered", warns)
    bar = progress("train", 10)
    clock.now += 1
    thread = threading.Thread(target=bar.update, args=(1, 0, 1, 0), daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    bar.close()
    assert "from inside" in terminal.screen()


def test_many_threads_may_tell_of_one_map(terminal: Terminal, clock: Clock) -> None:
    terminal.attach()
    bar = progress("train", 1000)
    clock.now += 1

    def run() -> None:
        for i in range(1000):
            clock.now += 0.01
            bar.update(i, 0, i, 0)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bar.update(1000, 0, 1000, 0)
    bar.close()
    assert terminal.screen().endswith("\n")
    assert "1,000/1,000" in terminal.screen()


def test_a_forked_child_has_no_bars(terminal: Terminal, clock: Clock) -> None:
    terminal.attach()
    bar = progress("train", 10)
    assert isinstance(bar, Bar)
    clock.now += 1
    bar.update(1, 0, 1, 0)
    before = terminal.getvalue()
    bar.screen.forget_parent()  # as in the child
    clock.now += 1
    bar.update(2, 0, 2, 0)
    bar.close()
    assert terminal.getvalue() == before
    capture.release()


# Notebooks


class Handle:
    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []

    def update(self, data: dict[str, str], raw: bool) -> None:
        assert raw
        self.shown.append(data)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> list[Handle]:
    """The outputs of a notebook."""
    outputs: list[Handle] = []

    class ZMQInteractiveShell:
        pass

    class Shell(ZMQInteractiveShell):  # as in Colab
        pass

    def display(data: dict[str, str], raw: bool, display_id: bool) -> Handle:
        assert raw
        assert display_id
        outputs.append(Handle())
        outputs[-1].update(data, raw)
        return outputs[-1]

    package: Any = types.ModuleType("IPython")
    package.get_ipython = Shell
    package.display = types.ModuleType("IPython.display")
    package.display.display = display
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", package.display)
    return outputs


def test_a_notebook_shows_one_output_that_changes(notebook: list[Handle], clock: Clock) -> None:
    bar = progress("<train>", 10)
    clock.now += 1
    bar.update(5, 2, 3, 0)
    clock.now += 1
    bar.update(9, 2, 7, 0)
    bar.update(10, 2, 8, 0)
    bar.close()
    assert len(notebook) == 1
    first, *_, last = notebook[0].shown
    assert first["text/plain"] == "<train> 5/10 2 hits · 3 executed 0:00:01 < 0:00:01"
    assert "<b>&lt;train&gt;</b>" in first["text/html"]
    assert 'value="5" max="10"' in first["text/html"]
    assert last["text/plain"].startswith("<train> 10/10")
    assert len(notebook[0].shown) == 3


def test_the_last_state_of_a_map_of_unknown_length_does_not_move(
    notebook: list[Handle], clock: Clock
) -> None:
    bar = progress("train")
    clock.now += 1
    bar.update(5, 0, 5, 0)
    bar.close()
    first, last = (text["text/html"] for text in notebook[0].shown)
    assert "<progress></progress>" in first
    assert "<progress" not in last
    assert "5/?" in last


def test_nested_maps_share_the_output_of_a_notebook(notebook: list[Handle], clock: Clock) -> None:
    outer, inner = progress("outer"), progress("inner", 3)
    clock.now += 1
    inner.update(1, 0, 1, 0)
    inner.close()
    outer.update(1, 0, 1, 0)
    outer.close()
    assert len(notebook) == 1
    assert [text["text/plain"].count("\n") for text in notebook[0].shown] == [1, 0]
    assert "max" not in notebook[0].shown[0]["text/html"].split("inner")[0]


def test_each_map_of_a_notebook_has_its_own_output(notebook: list[Handle], clock: Clock) -> None:
    for _ in range(2):
        bar = progress("train", 3)
        clock.now += 1
        bar.update(1, 0, 1, 0)
        bar.close()
    assert len(notebook) == 2


def test_ipython_in_a_terminal_is_a_terminal(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.attach()
    package: Any = types.ModuleType("IPython")
    package.get_ipython = lambda: object()
    monkeypatch.setitem(sys.modules, "IPython", package)
    bar = progress("train", 3)
    assert isinstance(bar, Bar)
    assert isinstance(bar.screen, TerminalScreen)
    bar.close()
