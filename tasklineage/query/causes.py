"""One thing that differs between two calls, and why it matters."""

from __future__ import annotations

import difflib
from typing import Any, NamedTuple


class Cause(NamedTuple):
    """One component of a call that is not what it was."""

    kind: str
    """Of the code: `function class global default attribute closure name version python code`; of
    the call: `argument salt options`; of the memo: `expired refreshed volatile forgotten mutated
    memo missing corrupt undecodable status verified`, or a condition, `env dist code file dir
    read module`; `task` for one below that is gone; `first` where there was nothing before."""
    name: str
    """What it is about: a module-qualified name, a parameter, a path, a variable."""
    old: str = ""
    """What it was, as a short text; empty where it was not there."""
    new: str = ""
    """What it is now."""
    diff: str = ""
    """A unified diff of the source, or how a value differs, line by line."""
    text: str = ""
    """One line for people."""

    def to_dict(self) -> dict[str, Any]:
        """Its fields by name."""
        return self._asdict()


def source_diff(name: str, old: str, new: str) -> str:
    """The unified diff of two sources; empty where they are equal or one is not known."""
    if not old or not new or old == new:
        return ""
    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), f"{name} (before)", f"{name} (now)", lineterm=""
    )
    return "\n".join(lines)
