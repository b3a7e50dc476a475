"""The progress of maps, drawn where somebody is looking.

Nothing runs beside a map: a `Bar` is told of every change, and the `Screen` draws all bars at most
ten times a second, in the thread that told of one. On a terminal the bars are the last lines of
stderr: they are erased before anything else is written there (`capture.set_screen`), and come back
below it once its line is complete. In a notebook they are one output that is replaced. Bars appear
only when their map has run for a while, so quick maps leave no trace.

Drawing never breaks a map: after an error in it nothing is drawn any more.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

from tasklineage import config
from tasklineage.core import capture
from tasklineage.core.program import is_notebook

PERIOD = 0.1
"""Seconds between two drawings."""
PATIENCE = 0.3
"""Seconds after which a map that goes on gets a bar."""
SETTLING = 0.01
"""Seconds after the text of somebody else in which nothing is drawn: it may not be out yet."""
ROWS = 4
"""Bars that are shown at once; of nested maps the outer ones."""
BAR_WIDTH = 30


class Progress(Protocol):
    """Where a map reports how far it is: from any thread, as often as it likes."""

    def update(
        self, done: int, hits: int, executed: int, failed: int, total: int | None = None
    ) -> None:
        """So many elements are done in all; `total` is given when it becomes known."""

    def close(self) -> None:
        """The map is over. A second time nothing happens."""


def progress(label: str, total: int | None = None) -> Progress:
    """The bar of a map; `SILENT` where nobody would see one."""
    if not config.wants_progress():
        return SILENT
    if is_notebook():
        screen: Screen = _notebook
    elif _is_terminal(sys.stderr):
        screen = _terminal
    else:
        return SILENT
    return SILENT if screen.is_broken else screen.add(label.removeprefix("__main__."), total)


class Silent:
    """A progress that nobody sees."""

    __slots__ = ()

    def update(
        self, done: int, hits: int, executed: int, failed: int, total: int | None = None
    ) -> None:
        pass

    def close(self) -> None:
        pass


SILENT = Silent()


class Bar:
    """How far one map is."""

    __slots__ = ("counts", "is_outermost", "is_shown", "label", "screen", "started", "total")

    def __init__(self, screen: Screen, label: str, total: int | None, *, outermost: bool) -> None:
        self.screen = screen
        self.label = label
        self.total = total
        self.counts = (0, 0, 0, 0)
        """Elements done, and of those: hits, executed, failed."""
        self.started = time.monotonic()
        self.is_outermost = outermost
        self.is_shown = False

    def update(
        self, done: int, hits: int, executed: int, failed: int, total: int | None = None
    ) -> None:
        self.counts = (done, hits, executed, failed)
        if total is not None:
            self.total = total
        if time.monotonic() >= self.screen.due:
            self.screen.draw()

    def close(self) -> None:
        self.screen.remove(self)

    def position(self) -> str:
        """How many are done, of how many."""
        return f"{self.counts[0]:,}/{'?' if self.total is None else f'{self.total:,}'}"

    def summary(self) -> str:
        """The other counts in words, without those that are zero."""
        named = zip(("hits", "executed", "failed"), self.counts[1:], strict=True)
        return " · ".join(f"{number:,} {name}" for name, number in named if number)

    def times(self) -> str:
        """How long it has taken, and how long it may still take if hits cost nothing."""
        elapsed = time.monotonic() - self.started
        done, _, executed, failed = self.counts
        left = 0 if self.total is None else self.total - done
        if left <= 0 or not executed + failed:
            return _minutes(elapsed)
        return f"{_minutes(elapsed)} < {_minutes(elapsed / (executed + failed) * left)}"


class Screen(ABC):
    """The bars of this process in one place. Any thread may call any method.

    The lock may be taken again by its holder: a warning or a finaliser may print while it draws.
    """

    def __init__(self) -> None:
        self.due = 0.0
        """When the next drawing is due."""
        self.is_broken = False
        self._bars: list[Bar] = []
        self._lock = threading.RLock()

    def add(self, label: str, total: int | None) -> Bar:
        """A new bar, that is drawn when it has been there for a while."""
        with self._lock:
            bar = Bar(self, label, total, outermost=not self._bars)
            self._bars.append(bar)
            if bar.is_outermost:
                self.due = bar.started + PATIENCE
                self._open()
        return bar

    def draw(self) -> None:
        """Draw the bars, unless another thread is about it."""
        if self._lock.acquire(blocking=False):
            try:
                now = time.monotonic()
                self.due = now + PERIOD
                old = [bar for bar in self._bars if now - bar.started >= PATIENCE]
                if old and not self.is_broken:
                    self._show(old[:ROWS])
            except Exception:  # whatever it is, the map goes on
                self._give_up()
            finally:
                self._lock.release()

    def remove(self, bar: Bar) -> None:
        """Take a bar away; what an outermost one had come to stays on the screen."""
        with self._lock:
            if bar not in self._bars:
                return
            self._bars.remove(bar)
            try:
                if bar.is_shown and not self.is_broken:
                    self._finish(bar)
            except Exception:  # as above
                self._give_up()
            if not self._bars:
                self._close()

    def forget_parent(self) -> None:
        """Begin empty, in a child that was just forked: the bars are the parent's."""
        self._bars = []
        self._lock = threading.RLock()

    def _give_up(self) -> None:
        self.is_broken = True
        self.due = float("inf")

    @abstractmethod
    def _open(self) -> None:
        """The first bar has come."""

    @abstractmethod
    def _show(self, bars: Sequence[Bar]) -> None:
        """Put these bars on the screen in the place of those that are there."""

    @abstractmethod
    def _finish(self, bar: Bar) -> None:
        """Take a bar that is on the screen off it; or leave its last state, if it is outermost."""

    @abstractmethod
    def _close(self) -> None:
        """The last bar has gone."""


class TerminalScreen(Screen):
    """The last lines of stderr."""

    def __init__(self) -> None:
        super().__init__()
        self._file: Any = None
        self._console: Any = None
        self._lines = 0
        """Lines that the bars take on the screen now; the cursor is at the end of the last one."""
        self._is_line_open = False
        """Whether somebody else has written a line without its end."""

    def forget_parent(self) -> None:
        super().forget_parent()
        self._lines = 0
        capture.set_screen(None)

    def _open(self) -> None:
        self._file = capture.shown(sys.stderr)
        self._lines, self._is_line_open = 0, False
        capture.hold()
        capture.set_screen(self._before_write)

    def _close(self) -> None:
        capture.set_screen(None)
        capture.release()
        self._file = self._console = None

    def _show(self, bars: Sequence[Bar]) -> None:
        if self._is_line_open:
            return
        text = self._rendered(bars)
        if text:
            self._write(self._erasure() + text)
            self._lines = text.count("\n") + 1
            for bar in bars:
                bar.is_shown = True

    def _finish(self, bar: Bar) -> None:
        text = self._erasure()
        if bar.is_outermost and not self._is_line_open:
            text += self._rendered([bar]) + "\n"
        self._write(text)
        self._lines = 0

    def _before_write(self, stream: Any, text: str) -> None:
        """Make room for the text of somebody else, if it goes to a terminal."""
        if not _is_terminal(stream):
            return
        with self._lock:
            try:
                if self._lines:
                    self._write(self._erasure())
                    self._lines = 0
            except Exception:  # as above
                self._give_up()
            if text:
                self._is_line_open = not text.endswith("\n")
            self.due = max(self.due, time.monotonic() + SETTLING)

    def _write(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()

    def _erasure(self) -> str:
        """What erases the lines on the screen, and leaves the cursor where the first one began."""
        return "\r\x1b[2K" + "\x1b[1A\x1b[2K" * (self._lines - 1) if self._lines else ""

    def _rendered(self, bars: Sequence[Bar]) -> str:
        from rich.console import Console
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        if self._console is None:
            self._console = Console(file=self._file)
        if self._console.is_dumb_terminal:
            return ""
        table = Table.grid(padding=(0, 1))
        for style in ("bold", None, "green", None, "cyan"):
            table.add_column(style=style, no_wrap=True)
        for bar in bars:
            drawn = ProgressBar(bar.total, bar.counts[0], BAR_WIDTH, pulse=bar.total is None)
            texts = (bar.position(), bar.summary(), bar.times())
            table.add_row(Text(bar.label), drawn, *map(Text, texts))
        with self._console.capture() as captured:
            self._console.print(table)
        return str(captured.get()).rstrip("\n")


class NotebookScreen(Screen):
    """One output of the cell that runs, as HTML."""

    def __init__(self) -> None:
        super().__init__()
        self._handle: Any = None

    def forget_parent(self) -> None:
        super().forget_parent()
        self._handle = None

    def _open(self) -> None:
        self._handle = None

    def _close(self) -> None:
        self._handle = None

    def _show(self, bars: Sequence[Bar], *, is_final: bool = False) -> None:
        display = importlib.import_module("IPython.display").display
        lines = [f"{bar.label} {bar.position()} {bar.summary()} {bar.times()}" for bar in bars]
        data = {
            "text/plain": "\n".join(lines),
            "text/html": "".join(_as_html(bar, is_final=is_final) for bar in bars),
        }
        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)
        for bar in bars:
            bar.is_shown = True

    def _finish(self, bar: Bar) -> None:
        if bar.is_outermost:
            self._show([bar], is_final=True)


def _as_html(bar: Bar, *, is_final: bool = False) -> str:
    """One line; a bar that is never to fill is left out of the last one: it would move for ever."""
    import html

    amount = "" if bar.total is None else f' value="{bar.counts[0]}" max="{bar.total}"'
    drawn = "" if is_final and not amount else f"<progress{amount}></progress> "
    texts = " &nbsp; ".join(map(html.escape, (bar.position(), bar.summary(), bar.times())))
    return f"<div><b>{html.escape(bar.label)}</b> {drawn}{texts}</div>"


def _minutes(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # None, or something without it; closed
        return False


_terminal = TerminalScreen()
_notebook = NotebookScreen()


def _forget_parent() -> None:
    _terminal.forget_parent()
    _notebook.forget_parent()


os.register_at_fork(after_in_child=_forget_parent)
