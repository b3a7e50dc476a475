"""What can be said of the program that runs: its name, and the commit it is at."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

_NOTEBOOK_FILES = ("__vsc_ipynb_file__", "__session__")
"""Where front ends tell a kernel which file is open: VS Code, and Jupyter servers."""

_HIDDEN = "***"
_OF_SECRETS = frozenset(
    {"secret", "password", "passwd", "passphrase", "token", "apikey", "secretkey", "privatekey",
     "accesskey", "credential", "credentials"}
)  # fmt: skip
"""Words in the names of options whose values are not recorded."""


def program_name() -> str:
    """The name of the script, module or notebook that this process runs."""
    main: Any = sys.modules.get("__main__")
    if is_notebook():
        return _notebook_name(vars(main))
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        name: str = spec.name
        return name.removesuffix(".__main__")
    file = getattr(main, "__file__", None)
    if file:
        return Path(file).stem
    return "interactive" if hasattr(sys, "ps1") else "python"


def command_line() -> tuple[str, ...]:
    """`sys.argv`, without the values of options whose names speak of a secret: `--token`."""
    shown: list[str] = []
    is_next = False
    for argument in sys.argv:
        option, mark, value = argument.partition("=")
        speaks = option.startswith("-") and not _OF_SECRETS.isdisjoint(_words(option))
        if speaks and mark and value:
            shown.append(f"{option}={_HIDDEN}")
        else:
            shown.append(_HIDDEN if is_next and not argument.startswith("-") else argument)
        is_next = speaks and not mark
    return tuple(shown)


def _words(option: str) -> set[str]:
    """The words of an option, and its last two as one: `api-key` is `apikey`."""
    words = option.lower().replace("_", "-").strip("-").split("-")
    return {*words, "".join(words[-2:])}


def working_folder() -> str:
    """The working directory; empty where it has been removed."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def is_notebook() -> bool:
    """Whether this process is a Jupyter kernel, which is what can replace an output."""
    return any(base.__name__ == "ZMQInteractiveShell" for base in type(_shell()).__mro__)


def is_interactive() -> bool:
    """Whether somebody types the program: an exception does not end it."""
    return hasattr(sys, "ps1") or _shell() is not None


def _shell() -> Any:
    """The shell of IPython that runs the program; None in any other process."""
    return getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()


def _notebook_name(names: dict[str, Any]) -> str:
    """What the front end says is open, without its folder; `notebook` where it says nothing."""
    for name in _NOTEBOOK_FILES:
        file = names.get(name)
        if isinstance(file, str) and file.endswith(".ipynb"):
            return Path(file).stem
    return "notebook"


def git_commit() -> str:
    """The commit that the working directory's repository is at, read from its files."""
    from tasklineage.core.repository import find_repository

    try:
        repository = find_repository(Path.cwd())
    except OSError:
        return ""
    return "" if repository is None else repository.head()
