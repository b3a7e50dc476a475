from __future__ import annotations

import os
import sys
from typing import Any

import pytest

from tasklineage import errors
from tasklineage.cli.failures import exit_code, guarded, report


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.NotFound, 3),
        (errors.StoreNotFound, 3),
        (errors.MissingObject, 3),
        (errors.AmbiguousId, 2),
        (errors.ConfigError, 2),
        (errors.StoreBusy, 4),
        (errors.CorruptObject, 5),
        (errors.StoreError, 1),
        (errors.UnsafeFormat, 1),
    ],
)
def test_an_error_of_ours_is_one_line_and_an_exit_code(
    kind: type[errors.TasklineageError], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    @guarded
    def command() -> None:
        raise kind("what went wrong")

    with pytest.raises(SystemExit) as ended:
        command()
    assert ended.value.code == code == exit_code(kind("x"))
    assert capsys.readouterr().err == "tasklineage: what went wrong\n"


def test_an_interrupt_exits_with_130() -> None:
    @guarded
    def command() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        command()
    assert ended.value.code == 130


def test_a_reader_that_left_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    redirected: list[Any] = []
    monkeypatch.setattr(os, "dup2", lambda *ends: redirected.append(ends))

    @guarded
    def command() -> None:
        raise BrokenPipeError

    with pytest.raises(SystemExit) as ended:
        command()
    assert ended.value.code == 0


def test_a_bug_of_ours_is_not_hidden() -> None:
    @guarded
    def command() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        command()


def test_a_users_exception_is_shown_with_its_own_frames_and_notes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def theirs() -> None:
        error = ValueError("no such column")
        error.add_note("in call 12 of load")
        raise error from KeyError("cause")

    with pytest.raises(ValueError, match="column") as raised:
        guarded(theirs)()
    assert report(raised.value) == 1
    printed = capsys.readouterr().err
    assert "in theirs" in printed
    assert "KeyError: 'cause'" in printed
    assert "ValueError: no such column\nin call 12 of load" in printed
    assert os.path.dirname(sys.modules[guarded.__module__].__file__ or "") not in printed


def test_an_error_of_ours_below_a_users_frame_keeps_the_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def theirs() -> None:
        raise errors.UnhashableArgument("train(x) has no digest")

    with pytest.raises(errors.UnhashableArgument) as raised:
        theirs()
    assert report(raised.value) == 1
    assert "in theirs" in capsys.readouterr().err


def test_a_bug_of_ours_is_shown_with_our_frames(capsys: pytest.CaptureFixture[str]) -> None:
    code = compile("1 / 0", exit_code.__code__.co_filename, "exec")
    with pytest.raises(ZeroDivisionError) as broken:
        exec(code, {})
    assert broken.value.__traceback__ is not None
    assert report(broken.value.with_traceback(broken.value.__traceback__.tb_next)) == 1
    assert "failures.py" in capsys.readouterr().err
