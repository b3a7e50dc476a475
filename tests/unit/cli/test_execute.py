from __future__ import annotations

import pytest

from tasklineage.cli.execute import RunOptions, split
from tasklineage.errors import ConfigError


def test_options_of_run_are_taken_from_among_the_others() -> None:
    args = [
        "--lr",
        "1",
        "--store=s",
        "--tag",
        "b",
        "--max-workers",
        "3",
        "-x",
        "--executor",
        "inline",
    ]
    options, rest = split(RunOptions(tags=("a",)), args, ())
    assert options == RunOptions("s", "inline", 3, ("a", "b"), False)
    assert rest == ["--lr", "1", "-x"]


def test_what_follows_two_dashes_is_left() -> None:
    options, rest = split(RunOptions(), ["--quiet", "--", "--quiet", "--", "x"], ())
    assert options == RunOptions(quiet=True)
    assert rest == ["--quiet", "--", "x"]


def test_a_parameter_of_the_same_name_goes_first() -> None:
    options, rest = split(RunOptions(), ["--tag", "x", "--store", "s"], {"--tag"})
    assert options == RunOptions("s")
    assert rest == ["--tag", "x"]


@pytest.mark.parametrize("args", [["--store"], ["--max-workers", "0"], ["--max-workers=many"]])
def test_an_option_without_a_sound_value_is_refused(args: list[str]) -> None:
    with pytest.raises(ConfigError, match=args[0].partition("=")[0]):
        split(RunOptions(), args, ())
