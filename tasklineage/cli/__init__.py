"""The command line, and `tl.cli(main)` for scripts.

A package is an attribute of the one above it, so `tl.cli` is this module as soon as anything in it
has been imported; therefore the module itself can be called, and does what `params.cli` does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


class _CallableModule(ModuleType):
    def __call__(self, function: Callable[..., Any], *, name: str | None = None) -> Any:
        from tasklineage.cli.params import cli  # a script that has no command line does without

        return cli(function, name=name)


sys.modules[__name__].__class__ = _CallableModule
