"""The command line in this process."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tasklineage.cli.main import main


class Shell:
    """Runs commands, which must exit with `code`: what they print; on stderr, it is in `err`."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *options: str) -> None:
        self._capsys = capsys
        self._options = options
        """They are given to every command."""
        self.err = ""

    def __call__(self, *args: object, code: int = 0) -> str:
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*map(str, args), *self._options])
        out, self.err = self._capsys.readouterr()
        assert (ended.value.code or 0) == code, (out, self.err)
        return out

    def said(self, *args: object) -> str:
        """What a command prints, on stdout and on stderr."""
        return self(*args) + self.err

    def error(self, *args: object, code: int) -> str:
        """What a command that fails says on stderr."""
        self(*args, code=code)
        return self.err

    def json(self, *args: object) -> dict[str, Any]:
        """What a command tells with `--json`."""
        answer: dict[str, Any] = json.loads(self(*args, "--json"))
        assert answer["version"] == 1
        return answer
