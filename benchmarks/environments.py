"""The environments that are measured: one per library, made once, in a cache folder."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(__file__).resolve().parent / ".cache"

_NUMPY = "numpy==2.4.6"
PEERS: dict[str, tuple[str, ...]] = {
    "plain": (_NUMPY,),
    "joblib": ("joblib==1.6.0", _NUMPY),
    "diskcache": ("diskcache==5.6.3", _NUMPY),
    "exca": ("exca==0.6.0", "pydantic==2.14.3", _NUMPY),
    "redun": ("redun==0.44.1", "SQLAlchemy==2.1.9", _NUMPY),
    "mandala": (
        "pymandala==0.2.0a0", "pandas==3.1.1", "pyarrow==26.0.1", "joblib==1.6.0", "tqdm==4.70.1",
        "graphviz==0.21", "prettytable==3.18.0", "ipython==9.18.1", _NUMPY,
    ),
    "metaflow": ("metaflow==2.19.39", _NUMPY),
}  # fmt: skip
"""What is installed for each peer. mandala needs more than it says that it does."""

DISTRIBUTIONS = {"mandala": "pymandala"}
"""What a library is called where it is installed from, if that is not its name."""
MODULES = {"mandala": "mandala.imports"}
"""What a program imports of it, if that is not its name."""


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


def version(python: Path, library: str) -> str:
    """The installed version of a library."""
    if library == "plain":
        return ""
    package = DISTRIBUTIONS.get(library, library)
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
    options = ("--quiet", "--quiet", "--disable-pip-version-check")
    command = [str(python), "-m", "pip", "install", *options, *arguments]
    subprocess.run(command, check=True, env=clean_environ())
