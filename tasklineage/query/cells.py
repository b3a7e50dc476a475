"""What a table shows of a run, a call or an artifact: texts by column."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasklineage.errors import TasklineageError
from tasklineage.query.render import (
    duration_text,
    one_line,
    seconds_text,
    size_text,
    time_text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tasklineage.query.artifacts import Artifact
    from tasklineage.query.calls import Attempt, Call, CallError
    from tasklineage.query.runs import Run

Cells = dict[str, str]
_SHORT, _LONG = 40, 120


def run_cells(run: Run) -> Cells:
    """A run; the column `run` is its id."""
    counts = run.counts
    status, ended = run.status, run.ended
    is_timed = ended is not None or status == "running"
    return {
        "run": run.id,
        "name": run.name,
        "status": status,
        "started": time_text(run.started),
        "took": duration_text(run.started, ended) if is_timed else "",
        "executed": str(counts.executed),
        "hits": str(counts.hits),
        "failed": str(counts.failed),
        "tags": " ".join(run.tags),
    }


def call_cells(call: Call) -> Cells:
    """A call; the column `call` is its id."""
    status, ended = call.status, call.ended
    is_timed = status != "hit" and (ended is not None or status == "running")
    return {
        "call": call.id,
        "task": call.task,
        "status": status,
        "started": time_text(call.started),
        "took": duration_text(call.started, ended) if is_timed else "",
    }


def usage_cells(call: Call) -> Cells:
    """Where a call ran and what it took; an empty text for what is not known."""
    cpu, memory, gpu = call.cpu_time, call.peak_memory, call.peak_gpu_memory
    return {
        "worker": call.worker,
        "cpu time": "" if cpu is None else seconds_text(cpu),
        "peak memory": "" if memory is None else size_text(memory),
        "GPU memory": "" if gpu is None else size_text(gpu),
    }


def attempt_cells(attempt: Attempt) -> Cells:
    """One attempt of a call."""
    return {
        "attempt": str(attempt.index),
        "status": attempt.status,
        "started": time_text(attempt.started),
        "took": duration_text(attempt.started, attempt.ended),
        "error": error_text(attempt.error),
    }


def call_row(call: Call) -> Cells:
    """The same with what it was given and what it gave: for a notebook, which has the width.

    These stay empty where the record cannot be read, so that one damaged record spoils no table.
    """
    try:
        output = call.output
        result = error_text(call.error) if output is None else output.preview
        arguments = arguments_text(call.inputs)
    except TasklineageError:
        arguments = result = ""
    return call_cells(call) | {"arguments": arguments, "result": one_line(result, _SHORT)}


def arguments_text(inputs: Mapping[str, Artifact]) -> str:
    """Names and previews: `lr=0.1, steps=3`."""
    shown = (f"{name}={one_line(value.preview, _SHORT)}" for name, value in inputs.items())
    return one_line(", ".join(shown), _LONG)


def error_text(error: CallError | None) -> str:
    """An exception on one line; empty for none."""
    return "" if error is None else one_line(f"{error.type}: {error.message}")


def artifact_cells(artifact: Artifact) -> Cells:
    """A value; the column `digest` is what it is found by."""
    return {
        "digest": artifact.digest,
        "type": artifact.type,
        "size": size_text(artifact.nbytes) if artifact.is_stored else "not stored",
        "preview": one_line(artifact.preview),
    }
