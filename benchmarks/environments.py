"""The environments that are measured: one per library, made once, in a cache folder."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(__file__).resolve().parent / ".cache"

PEERS = {
    "diskcache": ("diskcache==5.6.3", "numpy==2.4.6"),
    "joblib": ("joblib==1.6.0", "numpy==2.4.6"),
}
"""What is installed for each peer."""


def clean_environ() -> dict[str, str]:
    """The environment without what changes how Python or tasklineage behaves."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "TASKLINEAGE_"))
    }


def peer(name: str) -> Path:
    """The interpreter of a peer's environment, made if it is not there."""
    return _environment(name, PEERS[name])


def own() -> Path:
    """The interpreter of an environment with this tree's tasklineage, as a user would install it.

    The package is installed anew each time, compiled, and not as a link to the tree.
    """
    constraints = ROOT / "requirements" / "constraints.txt"
    python = _environment("tasklineage", (str(ROOT), "numpy", "--constraint", str(constraints)))
    _pip(python, "--no-deps", "--force-reinstall", str(ROOT))
    return python


def version(python: Path, package: str) -> str:
    """The installed version of a package."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.check_output([python, "-c", code], text=True).strip()


def _environment(name: str, requirements: tuple[str, ...]) -> Path:
    told = repr((requirements, sys.version_info[:3]))
    folder = CACHE / f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    ready = folder / "installed"
    if not ready.exists():
        print(f"making the environment of {name}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        _pip(python, *requirements)
        ready.touch()
    return python


def _pip(python: Path, *arguments: str) -> None:
    options = ("--quiet", "--disable-pip-version-check")
    command = [str(python), "-m", "pip", "install", *options, *arguments]
    subprocess.run(command, check=True, env=clean_environ())
