"""The examples of the README and of the five-minute start do what the text says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def blocks(page: Path) -> list[str]:
    """The Python examples of a page, in order."""
    return re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def output(script: Path) -> str:
    """What a script prints, run by a new interpreter; it must say nothing on stderr."""
    done = subprocess.run(
        [sys.executable, script.name],
        cwd=script.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_the_readmes_example_prints_what_the_readme_says(tmp_path: Path) -> None:
    (example,) = blocks(ROOT / "README.md")
    assert 10 <= len(example.splitlines()) <= 14
    script = tmp_path / "squares.py"
    script.write_text(example, "utf-8")
    assert output(script) == "285 10 0\n"
    assert output(script) == "285 0 10\n"


def test_an_edit_of_the_readmes_example_executes_what_changed(tmp_path: Path) -> None:
    (example,) = blocks(ROOT / "README.md")
    script = tmp_path / "squares.py"
    script.write_text(example, "utf-8")
    output(script)
    script.write_text(example.replace("range(10)", "range(12)"), "utf-8")
    assert output(script) == "506 2 10\n"
    script.write_text("# a comment\n" + example, "utf-8")
    assert output(script) == "285 0 10\n"
    script.write_text(example.replace("x * x", "x * x + 0"), "utf-8")
    assert output(script) == "285 10 0\n"


def test_every_piece_of_the_five_minute_start_runs_and_is_remembered(tmp_path: Path) -> None:
    script = tmp_path / "start.py"
    script.write_text("\n\n".join(blocks(ROOT / "docs" / "start.md")), "utf-8")
    first = output(script)
    assert "cleaning" in first.splitlines()
    assert "executed 8, hits 1" in first
    second = output(script)
    assert "cleaning" not in second.splitlines()
    assert "executed 0, hits 9" in second


def test_the_example_of_the_files_page_follows_the_content(tmp_path: Path) -> None:
    script = tmp_path / "files.py"
    (example,) = blocks(ROOT / "docs" / "files.md")
    script.write_text(example + "print(tl.calls(task='summary')[0].hit)\n", "utf-8")
    assert output(script) == "False\n"
    assert output(script) == "True\n"
    (tmp_path / "summary.txt").unlink()
    assert output(script) == "True\n"
    (tmp_path / "summary.txt").write_text("mine", "utf-8")
    assert output(script) == "False\n"
