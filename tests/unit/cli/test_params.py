from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

import tasklineage as tl
from tasklineage.cli.params import parameters_of, parse
from tasklineage.errors import ConfigError


def train(
    path: str, learning_rate: float = 0.1, epochs: int | None = None, *, verbose: bool = False
) -> None:
    """Train a model.

    At length.
    """


def given(function: Any, *args: str) -> dict[str, Any]:
    return parse(function, args, "prog")


def test_options_are_kebab_case_and_converted() -> None:
    values = given(train, "--path", "a", "--learning-rate", "1e-2", "--epochs", "3", "--verbose")
    assert values == {"path": "a", "learning_rate": 0.01, "epochs": 3, "verbose": True}


def test_defaults_are_the_functions_own_objects() -> None:
    default = [object()]

    def function(x: list[int] = default, y: Any = default) -> None: ...  # type: ignore[assignment]

    values = given(function)
    assert values["x"] is default
    assert values["y"] is default


def test_a_value_may_begin_with_a_dash_or_follow_an_equals_sign() -> None:
    assert given(train, "--path", "-", "--learning-rate=-1e-3")["learning_rate"] == -0.001


def test_booleans_are_switched_on_and_off() -> None:
    def function(*, on: bool = True, maybe: bool | None = None) -> None: ...

    assert given(function) == {"on": True, "maybe": None}
    assert given(function, "--no-on", "--no-maybe") == {"on": False, "maybe": False}


def test_the_environment_gives_the_default_and_the_command_line_wins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TASKLINEAGE_PARAM_PATH", "from-environment")
    monkeypatch.setenv("TASKLINEAGE_PARAM_LEARNING_RATE", "0.7")
    monkeypatch.setenv("TASKLINEAGE_PARAM_VERBOSE", "true")
    assert given(train) == {
        "path": "from-environment",
        "learning_rate": 0.7,
        "epochs": None,
        "verbose": True,
    }
    values = given(train, "--path", "b", "--learning-rate", "0.2", "--no-verbose")
    assert values == {"path": "b", "learning_rate": 0.2, "epochs": None, "verbose": False}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "--path"),
        (("--path", "a", "--epochs", "many"), "'many' is not an int"),
        (("--path", "a", "--epoch", "1"), "--epoch"),
        (("--path", "a", "stray"), "stray"),
        (("--path",), "--path"),
    ],
)
def test_a_wrong_command_line_exits_with_2_and_says_why(
    args: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        given(train, *args)
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""


def test_help_lists_the_options_and_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        given(train, "--help")
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "Train a model." in printed
    assert "At length." not in printed
    for text in ("--path", "required", "--learning-rate", "default: 0.1", "--no-verbose"):
        assert text in printed
    assert "TASKLINEAGE_PARAM_LEARNING_RATE" in printed


def test_help_shows_a_file_as_its_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def read(data: tl.File = tl.File(tmp_path / "a.csv")) -> None: ...

    with pytest.raises(SystemExit):
        given(read, "--help")
    shown = "".join(capsys.readouterr().out.split())
    assert f"default:{tmp_path}/a.csv" in shown


def test_a_function_without_parameters_has_help_too(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None: ...

    assert given(main) == {}
    with pytest.raises(SystemExit) as ended:
        given(main, "--help")
    assert ended.value.code == 0


def test_a_parameter_named_help_is_an_option() -> None:
    def function(help: str = "") -> None: ...

    assert given(function, "--help", "me") == {"help": "me"}


def test_without_annotation_the_default_tells_the_type() -> None:
    def function(a, b=1, c="1", d=None, e=False):  # type: ignore[no-untyped-def]
        pass

    values = given(function, "--a", "2", "--b", "0.5", "--c", "2", "--d", "[1]", "--e")
    assert values == {"a": 2, "b": 0.5, "c": "2", "d": [1], "e": True}


def test_a_trailing_underscore_that_avoids_a_keyword_is_left_out() -> None:
    def function(lambda_: int = 0, x_: int = 0, _private: int = 0) -> None: ...

    assert [p.option for p in parameters_of(function)] == ["--lambda", "--x", "--private"]
    assert parameters_of(function)[0].variable == "TASKLINEAGE_PARAM_LAMBDA"


def test_two_parameters_of_one_option_are_refused() -> None:
    def function(a_b: int = 0, _a_b: int = 0) -> None: ...

    with pytest.raises(ConfigError, match="--a-b"):
        parameters_of(function)


def test_variadic_parameters_are_no_options() -> None:
    def function(a: int = 1, *rest: int, **more: int) -> None: ...

    assert [p.name for p in parameters_of(function)] == ["a"]


def test_annotations_that_do_not_exist_at_run_time_are_guessed_at() -> None:
    def function(a: Missing, b: int = 1) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    assert given(function, "--a", "[1]", "--b", "2") == {"a": [1], "b": 2}


def test_a_wrapped_function_shows_its_own_parameters() -> None:
    def wrapper(*args: Any) -> None: ...

    wrapper.__wrapped__ = train  # type: ignore[attr-defined]
    assert [p.name for p in parameters_of(wrapper)] == list(inspect.signature(train).parameters)
