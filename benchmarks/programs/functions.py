"""The functions whose calls are measured, the same for every library."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPEATED = 1_250_000
"""Numbers of 8 bytes in 10 MB."""


def add(x: int) -> int:
    return x + 1


def kilobyte(x: int) -> str:
    return str(x).zfill(1_000)


def filled(count: int) -> Any:
    import numpy as np

    return np.arange(count, dtype=np.float64)


def noise(count: int) -> Any:
    """Numbers that no compression makes less of."""
    import numpy as np

    return np.random.default_rng(0).random(count)


def same(index: int) -> Any:
    import numpy as np

    return np.arange(REPEATED, dtype=np.float64)


def double(x: Any) -> Any:
    return x * 2


def raised(x: Any) -> Any:
    return x + 1


def halved(x: Any) -> Any:
    return x / 2


def lowered(x: Any) -> Any:
    return x - 1


def turned(x: Any) -> Any:
    return x[::-1].copy()


CHAIN = (double, raised, halved, lowered, turned)


def closure(folder: Path, names: int) -> Callable[[int], int]:
    """`add`, written so that the code that it reaches by name has that many functions."""
    helpers = range(names - 1)
    source = "".join(f"def helper_{i}(x):\n    return x + {i}\n\n\n" for i in helpers)
    terms = " + ".join(f"helper_{i}(x)" for i in helpers)
    source += f"def add(x):\n    if x < 0:\n        return {terms}\n    return x + 1\n"
    name = f"closure_{names}_{hashlib.sha256(source.encode()).hexdigest()[:8]}"
    path = folder.parent / f"{name}.py"
    path.write_text(source, "utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    function: Callable[[int], int] = module.add
    return function
