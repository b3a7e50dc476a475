from __future__ import annotations

import importlib
from typing import Any

import pytest

import tasklineage as tl


def test_the_package_of_the_command_line_can_be_called(
    monkeypatch: pytest.MonkeyPatch, store_path: Any
) -> None:
    importlib.import_module("tasklineage.cli.params")
    seen: list[int] = []
    monkeypatch.setattr("sys.argv", ["train.py", "--n", "3"])

    def main(n: int) -> int:
        seen.append(n)
        return n + 1

    assert tl.cli(main, name="trained") == 4
    assert seen == [3]
    run = tl.latest("trained", status="done")
    assert run is not None
    assert run.params == {"n": 3}
