"""What can be said of the program that runs: its name, and the commit it is at."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path


def program_name() -> str:
    """The name of the script, module or notebook that this process runs."""
    if "ipykernel" in sys.modules:
        return "notebook"
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        name: str = spec.name
        return name.removesuffix(".__main__")
    file = getattr(main, "__file__", None)
    if file:
        return Path(file).stem
    return "interactive" if hasattr(sys, "ps1") else "python"


def working_folder() -> str:
    """The working directory; empty where it has been removed."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def git_commit() -> str:
    """The commit that the working directory's repository is at, read from its files."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        head = folder / ".git" / "HEAD"
        with contextlib.suppress(OSError):
            text = head.read_text().strip()
            return _resolve_head(folder / ".git", text)
    return ""


def _resolve_head(git: Path, head: str) -> str:
    if not head.startswith("ref: "):
        return head
    ref = head.removeprefix("ref: ")
    with contextlib.suppress(OSError):
        return (git / ref).read_text().strip()
    with contextlib.suppress(OSError):
        for line in (git / "packed-refs").read_text().splitlines():
            if line.endswith(" " + ref):
                return line.split(" ", 1)[0]
    return ""
