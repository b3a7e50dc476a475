"""Notebooks for tests: real kernels that run cells, with a store and settings of their own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 300
"""After which a cell that hangs is given up."""


@dataclass(frozen=True)
class Output:
    """What the front end shows under a cell."""

    cell: Any

    @property
    def stdout(self) -> str:
        return self._stream("stdout")

    @property
    def stderr(self) -> str:
        return self._stream("stderr")

    @property
    def error(self) -> str:
        """The name of the exception that ended the cell; empty if none did."""
        return "".join(one.ename for one in self.cell.outputs if one.output_type == "error")

    @property
    def traceback(self) -> str:
        errors = (one for one in self.cell.outputs if one.output_type == "error")
        return "\n".join(line for one in errors for line in one.traceback)

    @property
    def displays(self) -> list[dict[str, str]]:
        """What was displayed, by mime type; the value of the last expression included."""
        kinds = ("display_data", "execute_result")
        return [dict(one.data) for one in self.cell.outputs if one.output_type in kinds]

    def _stream(self, name: str) -> str:
        streams = (one for one in self.cell.outputs if one.output_type == "stream")
        return "".join(one.text for one in streams if one.name == name)


class Kernel:
    """One kernel, from its start to its restart."""

    def __init__(self, client: NotebookClient) -> None:
        self._client = client

    def run(self, source: str) -> Output:
        """Run a cell that works."""
        output = self.try_to_run(source)
        assert not output.error, output.traceback
        return output

    def try_to_run(self, source: str) -> Output:
        """Run a cell that may raise."""
        cells = self._client.nb.cells
        cells.append(nbformat.v4.new_code_cell(source))
        self._client.execute_cell(cells[-1], len(cells) - 1)
        return Output(cells[-1])


@contextmanager
def kernel(folder: Path, **environment: str) -> Iterator[Kernel]:
    """A kernel in `folder`, started anew, and spoken to by sockets of the file system."""
    with tempfile.TemporaryDirectory() as private:  # a short path: that of a socket is limited
        manager = AsyncKernelManager(
            kernel_name="python3", transport="ipc", connection_file=f"{private}/kernel.json"
        )
        client = NotebookClient(
            nbformat.v4.new_notebook(),
            km=manager,
            timeout=_SECONDS,
            allow_errors=True,
            resources={"metadata": {"path": str(folder)}},
        )
        with client.setup_kernel(cleanup_kc=True, env=_environment(private) | environment):
            yield Kernel(client)


def run_all(folder: Path, *cells: str, **environment: str) -> list[Output]:
    """What the cells of a notebook give, in a kernel of their own."""
    with kernel(folder, **environment) as started:
        return [started.run(cell) for cell in cells]


def _environment(private: str) -> dict[str, str]:
    """This process's, with no progress unless a test asks for it, and no settings of a user."""
    mine = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR")}
    places = ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR")
    return (
        mine
        | {"PYTHONPATH": str(ROOT), "TASKLINEAGE_PROGRESS": "0"}
        | dict.fromkeys(places, private)
    )
