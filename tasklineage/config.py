"""The settings of this process, and the only place where the environment is read."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

STORE_FOLDER = ".tasklineage"

# `os.environ` decodes at each look-up; its own dict answers in a tenth of the time.
_variables: dict[bytes, bytes] = getattr(os.environ, "_data", {})


class Settings(NamedTuple):
    """What `tl.configure` sets for the whole process."""

    store: Any = None
    """A URL, a path or a `Store`; None: `TASKLINEAGE_STORE`, else the nearest `.tasklineage`."""
    executor: Any = None
    """An executor or its name; None: `TASKLINEAGE_EXECUTOR`, else threads."""
    namespace: str | None = None
    durability: str = "process"
    strict: bool = False
    store_args: bool = False
    verify: float = 0.0
    reads: str = "track"
    """What files that a body opens by their paths are: `track`, `warn`, `error` or `ignore`."""


class _Process:
    """The one mutable place: the settings in force."""

    settings = Settings()


def settings() -> Settings:
    """The settings in force."""
    return _Process.settings


def change(**values: Any) -> Settings:
    """Replace the named settings; the others stay."""
    # CPython forgets last where it has found an attribute of a class: while an old value that
    # nobody else holds comes to its end, other threads would still be given it. So it is held.
    before = _Process.settings
    after = _Process.settings = before._replace(**values)
    return after


def environment() -> dict[bytes, bytes]:
    """Every variable of the environment, as it is now."""
    return dict(_variables or os.environb)


def visible_devices() -> str | None:
    """`CUDA_VISIBLE_DEVICES` as the environment has it now."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def is_disabled() -> bool:
    """Whether `TASKLINEAGE_DISABLE` asks for tasks to be the bare functions."""
    return _variables.get(b"TASKLINEAGE_DISABLE", b"0") not in (b"", b"0")


def default_store() -> Any:
    """The configured store, else `TASKLINEAGE_STORE`, else the nearest `.tasklineage` upward.

    Where none is found upward from the working directory, as Git looks for its own, the answer is
    `.tasklineage` in the working directory, whether it exists or not.
    """
    chosen = _Process.settings.store or os.environ.get("TASKLINEAGE_STORE")
    if chosen:
        return chosen
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / STORE_FOLDER).is_dir():
            return folder / STORE_FOLDER
    return here / STORE_FOLDER


def store_variable() -> bytes | None:
    """`TASKLINEAGE_STORE` as the environment has it now (HOT: read at every ambient call)."""
    return _variables.get(b"TASKLINEAGE_STORE")


def signing_key() -> str | None:
    """`TASKLINEAGE_SIGNING_KEY`: the key of stores that are opened without `signing_key=`."""
    return os.environ.get("TASKLINEAGE_SIGNING_KEY") or None


def cache_folder() -> str:
    """The user's own folder for what can be made again; empty without a home."""
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(chosen):
        chosen = f"{home()}/.cache" if home() else ""
    return f"{chosen}/tasklineage" if chosen else ""


def default_executor() -> Any:
    """The configured executor, else `TASKLINEAGE_EXECUTOR`, else `"threads"`."""
    return _Process.settings.executor or os.environ.get("TASKLINEAGE_EXECUTOR") or "threads"


def user() -> str:
    """`TASKLINEAGE_USER`, else the login name."""
    name = os.environ.get("TASKLINEAGE_USER") or os.environ.get("USER") or os.environ.get("LOGNAME")
    return name or _login_name()


def namespace() -> str:
    """The namespace that new runs belong to and that queries see: by default `user:<name>`."""
    chosen = _Process.settings.namespace or os.environ.get("TASKLINEAGE_NAMESPACE")
    return chosen or f"user:{user()}"


def home() -> str:
    """The user's home folder, as the environment has it; empty if it has none."""
    return os.environ.get("HOME", "").rstrip("/")


def state_folder() -> str:
    """Where mirrors of remote stores are: `TASKLINEAGE_STATE`, else in the user's state folder."""
    chosen = os.environ.get("TASKLINEAGE_STATE")
    if chosen:
        return os.path.abspath(os.path.expanduser(chosen))
    folder = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(folder, "tasklineage")


def cache_size() -> str:
    """How much fetched objects may take on this machine, as `TASKLINEAGE_CACHE_SIZE` says it."""
    return os.environ.get("TASKLINEAGE_CACHE_SIZE") or "20 GB"


def tool_folders() -> list[str]:
    """Folders in which the environment says that tools keep what can be made again."""
    names = ("XDG_CACHE_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")
    return [folder for folder in map(os.environ.get, names) if folder]


def wants_progress() -> bool:
    """Whether progress may be drawn: not in CI, nor for `NO_COLOR` or `TASKLINEAGE_PROGRESS=0`."""
    off = os.environ.get("TASKLINEAGE_PROGRESS") == "0"
    return not (off or os.environ.get("NO_COLOR") or os.environ.get("CI"))


@cache
def _login_name() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
