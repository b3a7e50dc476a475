"""What a call writes is captured for that call, and reaches the screen as before."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import io
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import tasklineage
from tasklineage.core import capture
from tasklineage.core.capture import Capture

ROOT = Path(tasklineage.__path__[0]).parent


@contextlib.contextmanager
def call() -> Iterator[Capture]:
    """A call in flight, as the engine makes one."""
    captured = Capture()
    token = capture.begin(captured)
    try:
        yield captured
    finally:
        capture.end(token)


def is_proxied() -> bool:
    return type(sys.stdout) is capture.Stream or type(sys.stderr) is capture.Stream


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    assert not is_proxied()
    assert logging.Logger.callHandlers.__module__ == "logging"


@pytest.fixture
def logger() -> logging.Logger:
    """A logger that has no handlers, nor a parent that has."""
    return logging.Logger("test_capture")


# print


def test_what_is_printed_is_captured_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with call() as captured:
        print("a result", 3)
        print("a message", file=sys.stderr)
    print("after")
    assert (captured.stdout(), captured.stderr()) == ("a result 3\n", "a message\n")
    assert capsys.readouterr() == ("a result 3\nafter\n", "a message\n")


def test_a_patch_of_write_made_while_calls_are_in_flight_sees_each_text_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen = list[str]()
    with call() as captured:
        stream, write = sys.stdout, sys.stdout.write

        def tee(text: str) -> int:  # as IPython patches the streams for each cell
            seen.append(text)
            return write(text)

        stream.write = tee
        print("in the cell")
        stream.write = write
        print("after it")
    assert captured.stdout() == "in the cell\nafter it\n"
    assert capsys.readouterr().out == "in the cell\nafter it\n"
    assert "".join(seen) == "in the cell\n"
    with call():
        print("later")
    assert capsys.readouterr().out == "later\n"


def test_it_works_at_the_level_of_descriptors(capfd: pytest.CaptureFixture[str]) -> None:
    with call() as captured:
        print("text")
        sys.stdout.flush()
        os.write(1, b"by the descriptor\n")
    assert captured.stdout() == "text\n"
    assert capfd.readouterr().out == "text\nby the descriptor\n"


def test_a_call_that_writes_nothing_has_no_text() -> None:
    with call() as captured:
        pass
    assert (captured.stdout(), captured.stderr()) == ("", "")


def test_the_text_so_far_can_be_read_during_the_call() -> None:
    with call() as captured:
        print("one")
        assert captured.stdout() == "one\n"
        print("two")
        assert captured.stdout() == "one\ntwo\n"


def test_the_text_of_a_child_belongs_to_the_child_alone() -> None:
    with call() as parent:
        print("before")
        with call() as child:
            print("inside")
        print("after")
    assert parent.stdout() == "before\nafter\n"
    assert child.stdout() == "inside\n"


def test_lines_are_captured() -> None:
    with call() as captured:
        sys.stdout.writelines(["one\n", "two\n"])
        assert sys.stdout.write("three") == 5
    assert captured.stdout() == "one\ntwo\nthree"


def test_every_character_can_be_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO(newline=""))
    text = "é \r\n\udc80 \N{SNOWMAN} \x00\r"
    with call() as captured:
        sys.stdout.write(text)
    assert captured.stdout() == text


def test_a_failure_of_the_stream_is_the_callers_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    with call() as captured, pytest.raises(ValueError, match="closed"):
        print("lost")
    assert captured.stdout() == "lost"
    with call() as captured, pytest.raises(TypeError):
        sys.stderr.write(b"bytes")  # type: ignore[arg-type]
    assert captured.stderr() == ""


def test_quiet_captures_only(capsys: pytest.CaptureFixture[str]) -> None:
    capture.set_quiet(True)
    try:
        with call() as captured:
            print("hidden")
    finally:
        capture.set_quiet(False)
    assert captured.stdout() == "hidden\n"
    assert capsys.readouterr().out == ""


# Size


def test_a_huge_text_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setattr(capture, "LIMIT", 1000)
    with call() as captured:
        for _ in range(10):
            sys.stdout.write("x" * 300)
    text = captured.stdout()
    assert text.startswith("x" * 1000 + "\n[tasklineage: ")
    assert "1000 characters" in text
    assert len(text) < 1200
    assert len(shown.getvalue()) == 3000


def test_a_text_of_just_the_limit_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(capture, "LIMIT", 10)
    with call() as captured:
        sys.stdout.write("x" * 10)
        sys.stdout.write("")
    assert captured.stdout() == "x" * 10


# Threads and coroutines


def test_calls_in_many_threads_get_what_they_wrote() -> None:
    def run(i: int) -> str:
        with call() as captured:
            for j in range(20):
                print(i, j)
                with call() as child:
                    print("child", i)
                assert child.stdout() == f"child {i}\n"
        return captured.stdout()

    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(run, range(100)))
    assert texts == ["".join(f"{i} {j}\n" for j in range(20)) for i in range(100)]


def test_a_thread_of_the_user_writes_to_the_screen_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with call() as captured:
        thread = threading.Thread(target=print, args=("from a thread",))
        thread.start()
        thread.join()
    assert captured.stdout() == ""
    assert capsys.readouterr().out == "from a thread\n"


def test_a_thread_that_takes_the_context_along_belongs_to_the_call() -> None:
    with call() as captured:
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(print, "from a thread"))
        thread.start()
        thread.join()
    assert captured.stdout() == "from a thread\n"


def test_coroutines_that_take_turns_get_what_they_wrote() -> None:
    async def run(i: int) -> str:
        with call() as captured:
            for j in range(5):
                print(i, j)
                await asyncio.sleep(0)
                await asyncio.to_thread(print, "thread", i)
        return captured.stdout()

    async def several() -> list[str]:
        return await asyncio.gather(*(run(i) for i in range(20)))

    expected = ["".join(f"{i} {j}\nthread {i}\n" for j in range(5)) for i in range(20)]
    assert asyncio.run(several()) == expected


def test_a_coroutine_closed_in_another_context_ends_its_call() -> None:
    async def never() -> None:
        with call():
            await asyncio.sleep(0)

    coroutine = never()
    context = contextvars.copy_context()
    context.run(coroutine.send, None)
    assert is_proxied()
    with call() as captured:
        coroutine.close()
        print("mine")
    assert captured.stdout() == "mine\n"


# Who owns the streams


def test_streams_are_replaced_only_while_calls_are_in_flight() -> None:
    before = sys.stdout, sys.stderr, logging.Logger.callHandlers
    with call():
        with call():
            assert is_proxied()
        assert is_proxied()
    assert before == (sys.stdout, sys.stderr, logging.Logger.callHandlers)
    capture.hold()
    assert is_proxied()
    with call():
        pass
    assert is_proxied()
    capture.release()
    assert (sys.stdout, sys.stderr) == before[:2]


def test_calls_that_begin_and_end_everywhere_leave_the_streams_as_they_were() -> None:
    before = sys.stdout, sys.stderr, logging.Logger.callHandlers

    def run(_: int) -> None:
        for _ in range(300):
            with call() as captured:
                print("x", file=sys.stdout)
            assert captured.stdout() == "x\n"

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(8)))
    assert before == (sys.stdout, sys.stderr, logging.Logger.callHandlers)


def test_redirect_stdout_inside_a_call_is_left_alone() -> None:
    mine = io.StringIO()
    with call() as captured:
        print("before")
        with contextlib.redirect_stdout(mine), contextlib.redirect_stderr(mine):
            print("mine")
            with call() as child:
                print("of a child")
        print("after")
    assert mine.getvalue() == "mine\nof a child\n"
    assert captured.stdout() == "before\nafter\n"
    assert child.stdout() == ""


def test_redirect_stdout_around_calls_gets_what_they_write() -> None:
    mine = io.StringIO()
    with contextlib.redirect_stdout(mine), call() as captured:
        print("text")
    assert mine.getvalue() == captured.stdout() == "text\n"


def test_a_stream_put_in_place_during_a_call_stays() -> None:
    before, mine = sys.stdout, io.StringIO()
    with call():
        sys.stdout = mine
    assert sys.stdout is mine
    with call() as captured:
        print("text")
    assert mine.getvalue() == captured.stdout() == "text\n"
    assert sys.stdout is mine
    sys.stdout = before


class Tee(io.StringIO):
    """What a user's program puts in the place of a stream, to write to both."""

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self.stream = stream

    def write(self, text: str) -> int:
        super().write(text)
        written: int = self.stream.write(text)
        return written


def test_a_tee_around_a_proxy_captures_nothing_twice(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    with call():
        tee = Tee(sys.stdout)
        sys.stdout = tee
        print("first")
    with call() as captured:
        print("second")
    sys.stdout = before
    assert captured.stdout() == "second\n"
    assert tee.getvalue() == "first\nsecond\n"
    assert capsys.readouterr().out == "first\nsecond\n"


def test_a_proxy_put_back_after_the_last_call_is_replaced_by_the_original() -> None:
    before = sys.stdout
    with call():
        old = sys.stdout
    sys.stdout = old  # as the end of a redirect in another thread does
    with call() as captured:
        print("text")
    assert captured.stdout() == "text\n"
    assert sys.stdout is before


def test_a_proxy_kept_after_the_last_call_still_writes(capsys: pytest.CaptureFixture[str]) -> None:
    with call():
        kept = sys.stdout
    print("later", file=kept)
    assert capsys.readouterr().out == "later\n"
    with call() as captured:
        print("again", file=kept)
    assert captured.stdout() == "again\n"


def test_a_process_without_streams_captures_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with call() as captured:
        print("text")
        print("message", file=sys.stderr)
        assert not sys.stdout.isatty()
        sys.stdout.flush()
    assert (captured.stdout(), captured.stderr()) == ("text\n", "message\n")
    assert sys.stdout is None
    assert sys.stderr is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_at_any_moment_leaves_the_streams_as_they_were() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = sys.stdout, sys.stderr, logging.Logger.callHandlers
    chance = random.Random(7)

    def calls() -> None:
        for _ in range(500):
            capture.end(capture.begin(Capture()))

    handler = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(200):
            with contextlib.suppress(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 5e-4))
                contextvars.copy_context().run(calls)
                signal.setitimer(signal.ITIMER_REAL, 0)
                time.sleep(0.001)  # another thread may have received it, and tell this one late
            # between the two calls above lies the caller, who would use `finally`
            del capture._flight.calls[:]
            with call() as captured:
                print("x")
            assert captured.stdout() == "x\n"
            assert before == (sys.stdout, sys.stderr, logging.Logger.callHandlers)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)


# The proxy


def test_a_proxy_is_the_original_in_all_but_writing(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    before = sys.stdout
    with path.open("w", encoding="latin-1") as file:
        sys.stdout = file
        try:
            with call() as captured:
                proxy = sys.stdout
                assert proxy is not file
                assert isinstance(proxy, io.TextIOWrapper)
                assert proxy.encoding == "latin-1"
                assert not proxy.isatty()
                assert proxy.fileno() == file.fileno()
                assert proxy.buffer is file.buffer
                assert proxy.name == file.name
                assert proxy.writable()
                assert repr(proxy) == repr(file)
                assert set(dir(proxy)) == set(dir(file))
                proxy.reconfigure(encoding="utf-8", line_buffering=True)
                assert file.encoding == "utf-8"
                print("é")
                proxy.buffer.write(b"raw\n")
                proxy.flush()
                subprocess.run([sys.executable, "-c", "print('child')"], stdout=proxy, check=True)
        finally:
            sys.stdout = before
    assert path.read_text(encoding="utf-8") == "é\nraw\nchild\n"
    assert captured.stdout() == "é\n"


def test_attributes_are_set_on_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Tee(io.StringIO())
    monkeypatch.setattr(sys, "stdout", mine)
    with call():
        proxy: Any = sys.stdout
        proxy.stream = "changed"
        with pytest.raises(AttributeError):
            _ = proxy.nothing
    assert mine.stream == "changed"


def test_a_proxy_is_a_context_and_iterates_as_its_original(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine = io.StringIO("one\ntwo\n")
    monkeypatch.setattr(sys, "stdout", mine)
    with call():
        assert list(sys.stdout) == ["one\n", "two\n"]
        with sys.stdout as stream:
            assert stream is sys.stdout
    assert mine.closed


def test_input_still_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("answer\n"))
    with call() as captured:
        assert input("question? ") == "answer"
    assert captured.stdout() == "question? "


# logging


def test_a_record_that_no_handler_writes_here_is_formatted(logger: logging.Logger) -> None:
    file = io.StringIO()
    handler = logging.StreamHandler(file)
    handler.setFormatter(logging.Formatter("%(levelname)s <%(message)s>"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    with call() as captured:
        logger.info("at %d %%", 5)
        logger.debug("not of this level")
    assert captured.stderr() == file.getvalue() == "INFO <at 5 %>\n"
    assert captured.stdout() == ""


def test_a_handler_of_the_original_stream_is_no_obstacle(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logger.addHandler(logging.StreamHandler())  # as basicConfig before the first call
    with call() as captured:
        logger.warning("careful")
    assert captured.stderr() == "WARNING:test_capture:careful\n"
    assert capsys.readouterr().err == "careful\n"


def test_a_handler_made_inside_a_call_is_captured_once(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    with call() as captured:
        logger.addHandler(logging.StreamHandler())
        logger.addHandler(logging.StreamHandler(io.StringIO()))
        logger.warning("careful")
    assert captured.stderr() == "careful\n"
    assert capsys.readouterr().err == "careful\n"
    with call() as captured:
        logger.warning("again")
    assert captured.stderr() == "again\n"


def test_the_last_resort_is_captured_once(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    with call() as captured:
        logger.warning("careful")
    assert captured.stderr() == "careful\n"
    assert capsys.readouterr().err == "careful\n"


def test_a_record_below_the_last_resort_is_captured(logger: logging.Logger) -> None:
    logger.setLevel(logging.DEBUG)
    with call() as captured:
        logger.debug("detail")
    assert captured.stderr() == "DEBUG:test_capture:detail\n"


def test_a_filtered_handler_does_not_count_as_writing(logger: logging.Logger) -> None:
    with call() as captured:
        handler = logging.StreamHandler()
        handler.addFilter(lambda _: False)
        logger.addHandler(handler)
        logger.warning("filtered")
    assert captured.stderr() == "WARNING:test_capture:filtered\n"


def test_a_handler_on_stdout_keeps_its_text_there(logger: logging.Logger) -> None:
    with call() as captured:
        logger.addHandler(logging.StreamHandler(sys.stdout))
        logger.warning("text")
    assert (captured.stdout(), captured.stderr()) == ("text\n", "")


def test_caplog_works_inside_a_call(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    before = list(logging.getLogger().handlers)
    with call() as captured:
        logging.getLogger("some.library").info("seen")
        assert logging.getLogger().handlers == before
    assert caplog.messages == ["seen"]
    assert captured.stderr().count("seen") == 1


def test_exceptions_are_logged_with_their_traceback(logger: logging.Logger) -> None:
    logger.addHandler(logging.FileHandler(os.devnull))
    with call() as captured:
        try:
            raise KeyError("missing")
        except KeyError:
            logger.exception("it failed")
    assert captured.stderr().startswith("ERROR:test_capture:it failed\nTraceback")
    assert captured.stderr().endswith("KeyError: 'missing'\n")


def test_a_record_that_cannot_be_formatted_breaks_nothing(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logger.addHandler(logging.NullHandler())
    with call() as captured:
        logger.warning("%d", "text")
    assert captured.stderr() == "WARNING:test_capture:%d [could not be formatted: TypeError]\n"


def test_a_failing_handler_fails_as_before(logger: logging.Logger) -> None:
    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("no space")

    logger.addHandler(Failing())
    with call() as captured, pytest.raises(OSError, match="no space"):
        logger.warning("text")
    assert captured.stderr() == "WARNING:test_capture:text\n"


def test_a_handler_that_logs_has_its_own_record_captured(logger: logging.Logger) -> None:
    class Logging(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == "outer":
                logger.warning("inner")

    logger.addHandler(Logging())
    with call() as captured:
        logger.warning("outer")
    lines = captured.stderr().splitlines()
    assert sorted(lines) == ["WARNING:test_capture:inner", "WARNING:test_capture:outer"]


def test_records_outside_of_calls_are_not_captured(logger: logging.Logger) -> None:
    logger.addHandler(logging.NullHandler())
    with call() as captured:
        thread = threading.Thread(target=logger.warning, args=("from a thread",))
        thread.start()
        thread.join()
    logger.warning("after")
    assert captured.stderr() == ""


def test_another_wrapper_of_the_handlers_is_respected(logger: logging.Logger) -> None:
    seen: list[str] = []

    def wrapped(call_handlers: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
        def wrapper(self: Any, record: Any) -> None:
            seen.append(record.getMessage())
            call_handlers(self, record)

        return wrapper

    loggers: Any = logging.Logger
    original = loggers.callHandlers
    logger.addHandler(logging.NullHandler())
    try:
        loggers.callHandlers = wrapped(original)
        with call() as captured:
            logger.warning("one")
            loggers.callHandlers = wrapped(loggers.callHandlers)
            logger.warning("two")
        with call() as again:
            logger.warning("three")
    finally:
        loggers.callHandlers = original
    assert seen == ["one", "two", "two", "three", "three"]
    assert captured.stderr().count("\n") == 2
    assert again.stderr() == "WARNING:test_capture:three\n"


def python(code: str) -> tuple[str, str]:
    """What a new interpreter writes that runs this code, with `call` as above."""
    prelude = """
import sys
from tasklineage.core import capture
def call(function):
    captured = capture.Capture()
    token = capture.begin(captured)
    try:
        function()
    finally:
        capture.end(token)
    return captured
"""
    ended = subprocess.run(
        [sys.executable, "-c", prelude + code],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return ended.stdout, ended.stderr


def test_basic_config_inside_a_call_does_what_it_says() -> None:
    out, err = python("""
import logging
def first():
    logging.basicConfig(level=logging.INFO, format="%(message)s!")
    logging.info("inside")
captured = call(first)
logging.info("after")
again = call(lambda: logging.info("again"))
print([captured.stderr(), again.stderr()])
""")
    assert err == "inside!\nafter!\nagain!\n"
    assert out == "['inside!\\n', 'again!\\n']\n"


def test_logging_is_imported_by_the_user_or_not_at_all() -> None:
    out, err = python("""
def first():
    print("text")
    assert "logging" not in sys.modules
    import logging
    logging.warning("careful")
captured = call(first)
print([captured.stdout(), captured.stderr()])
""")
    assert out == "text\n['text\\n', 'WARNING:root:careful\\n']\n"
    assert err == "WARNING:root:careful\n"


def test_a_record_may_come_from_a_module_that_is_being_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flight = capture._Flight()
    monkeypatch.setitem(sys.modules, "logging", type(sys)("logging"))
    flight.calls.append(None)
    flight.install()
    flight.calls.pop()
    flight.restore()
    assert flight.logger is None


# Fork


forks = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")


def in_child(function: Callable[[], bool]) -> bool:
    pid = os.fork()
    if pid == 0:
        ended = 1
        try:
            ended = 0 if function() else 2
        finally:
            os._exit(ended)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@forks
def test_a_child_forked_beside_a_call_has_none_in_flight() -> None:
    def child() -> bool:
        proxied_before = is_proxied()
        with call() as captured:
            print("in the child")
        return not proxied_before and not is_proxied() and captured.stdout() == "in the child\n"

    def other() -> None:
        with call():
            began.set()
            over.wait(30)

    began, over = threading.Event(), threading.Event()
    thread = threading.Thread(target=other)
    thread.start()
    assert began.wait(30)
    assert is_proxied()
    assert in_child(child)
    over.set()
    thread.join()


@forks
def test_a_child_forked_by_a_call_is_still_in_it() -> None:
    def child() -> bool:
        print("child")
        with call() as nested:
            print("nested")
        return captured.stdout() == "parent\nchild\n" and nested.stdout() == "nested\n"

    with call() as captured:
        print("parent")
        assert in_child(child)
    assert captured.stdout() == "parent\n"
