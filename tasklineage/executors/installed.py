"""The executors of other distributions, by name: the entry point group `tasklineage.executors`."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from tasklineage.errors import ConfigError
from tasklineage.executors.base import Executor

GROUP = "tasklineage.executors"


def installed_executor(spec: str) -> Executor | None:
    """The executor that a distribution offers under the name in `spec`; None: none does.

    The entry point names an executor, or a class or function that makes one. It is called without
    arguments for `"name"`, with the text behind the colon for `"name:text"`, and with the whole for
    `"name://host"`.

    Raises
    ------
    ConfigError
        Several distributions do, or what is offered cannot be loaded, or makes no executor.
    """
    name, colon, text = spec.partition(":")
    entries = sorted(entry_points(group=GROUP, name=name), key=_shown)
    if not entries:
        return None
    if len({entry.value for entry in entries}) > 1:
        several = " and ".join(map(_shown, entries))
        raise ConfigError(f"executor={spec!r}: several are installed: {several}")
    arguments = (spec if text.startswith("//") else text,) if colon else ()
    try:
        loaded: Any = entries[0].load()
        made = loaded if isinstance(loaded, Executor) else loaded(*arguments)
    except Exception as error:  # the code of others
        raise ConfigError(
            f"executor={spec!r}: the entry point {_shown(entries[0])} gives no executor: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(made, Executor):
        raise ConfigError(
            f"executor={spec!r}: the entry point {_shown(entries[0])} gives a "
            f"{type(made).__name__}, which is no tasklineage.executors.base.Executor"
        )
    return made


def installed_names() -> list[str]:
    """The names under which distributions offer executors."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def _shown(entry: EntryPoint) -> str:
    """`name = module:object of distribution`."""
    dist = getattr(entry, "dist", None)
    return f"{entry.name} = {entry.value}" + ("" if dist is None else f" of {dist.name}")
