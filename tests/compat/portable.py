"""Portable digests of the code in the edit cases, as the interpreter that runs this finds them.

As a script it reads `{name: {file: text}}` from stdin and prints `{name: digest}`, an empty text
where there is none.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import warnings

from tasklineage.key.code_version import code_version, portable


def digest_of(files: dict[str, str]) -> str:
    """The portable digest of the task `run` of the module `main`, without the version."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        known = set(sys.modules)
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
        try:
            return portable(code_version(importlib.import_module("main").run))[:16].hex()
        except (ImportError, SyntaxError) as error:
            return f"{type(error).__name__}: {error}"
        finally:
            sys.path.remove(folder)
            for name in set(sys.modules) - known:
                if (getattr(sys.modules[name], "__file__", None) or folder).startswith(folder):
                    del sys.modules[name]


def main() -> None:
    """Answer for all projects on stdin."""
    warnings.simplefilter("ignore")
    projects = json.load(sys.stdin)
    print(json.dumps({name: digest_of(files) for name, files in projects.items()}))


if __name__ == "__main__":
    main()
